"""DE-SynPUF (CMS 2008-2010 Data Entrepreneurs' Synthetic Public Use File): comma-separated, a row a claim, beneficiary or drug event.

Inpatient and outpatient claims with more than 45 procedure codes take a second row, their SEGMENT 2, right behind the first; both are one
claim. Codes are ICD-9-CM, in diagnoses and in procedures, and say so (`system`): nothing takes them for ICD-10. Amounts are what was
paid and allowed, not what was charged, so a claim has none. Columns: the DE-SynPUF codebook (cms.gov, Synthetic Medicare Claims).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.delimited import header, mapping, rows
from nosology.readers.rif import SEXES, STATES
from nosology.readers.source import Builder, Draft, Job, Skipped, Unit, record_bytes
from nosology.readers.values import HCPCS, ICD9CM, NDC
from nosology.records import ClaimLine, Coding, Diagnosis, RawClaim, RawPatient

LONE_SEGMENT = Reason("scattered_claim", "SEGMENT", "SEGMENT 2 of a claim right behind its SEGMENT 1; sort the file by CLM_ID")
_DIAGNOSES, _PROCEDURES, _LINES = 10, 6, 45  # most columns of a kind in any of the files

Row = Mapping[str, str]


class Synpuf:
    """Reader of DE-SynPUF files."""

    name = "synpuf"

    def sniff(self, head: bytes) -> bool:
        found = header(head)
        return found is not None and found[1] == "," and "DESYNPUF_ID" in found[0]

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        source = rows(stream, ",", record_bytes(job.ingest))
        first = next(source, None)
        if first is None or isinstance(first, Reason):
            yield first or Reason("empty_file", None, "a header")
            return
        names = [name.strip() for name in first]
        job.unlisted.header(names, self.name)
        if "CLM_ID" in names:
            yield from self._claims(names, source, job.builder)
            return
        build = _drug_event if "PDE_ID" in names else _patient if "BENE_BIRTH_DT" in names else None
        for row in source:
            if isinstance(row, Reason):
                yield row
            elif build is None:
                yield Skipped("unknown")
            else:
                yield job.builder.make(lambda row, build=build: _one(build, names, row), row)

    def _claims(self, names: list[str], source: Iterator[list[str] | Reason], builder: Builder) -> Iterator[Unit]:
        at = names.index("CLM_ID")
        held: list[Row] = []  # segments of one claim
        fault: Reason | None = None
        for cells in source:
            row = cells if isinstance(cells, Reason) else _named(names, cells)
            second = not isinstance(row, Reason) and row.get("SEGMENT", "1") != "1"
            more = second or isinstance(row, Reason)
            if held and more and not isinstance(cells, Reason) and len(cells) > at and cells[at].strip() == held[0].get("CLM_ID"):
                if isinstance(row, Reason):
                    fault = fault or row
                else:
                    held.append(row)
                continue
            if held:
                yield fault if fault is not None else builder.make(_joined, held)
                held, fault = [], None
            if isinstance(row, Reason):
                yield row
            elif second:
                yield LONE_SEGMENT
            else:
                held = [row]
        if held:
            yield fault if fault is not None else builder.make(_joined, held)


def _named(names: list[str], cells: list[str]) -> Row | Reason:
    """The cells that hold something, by column."""
    try:
        return {name: text for name, cell in mapping(names, cells).items() if (text := cell.strip())}
    except RecordError as error:
        return error.reason


def _one(build: Callable[[Row], Draft], names: list[str], cells: list[str]) -> Unit:
    row = _named(names, cells)
    return row if isinstance(row, Reason) else [build(row)]


def _joined(segments: list[Row]) -> Unit:
    return [_claim(segments)]


def _claim(segments: list[Row]) -> Draft:
    row = segments[0]
    first, last = values.day(row.get("CLM_FROM_DT"), "CLM_FROM_DT"), values.day(row.get("CLM_THRU_DT"), "CLM_THRU_DT")
    values.in_order(first, last, "CLM_THRU_DT")
    diagnoses = _diagnoses(row)
    procedures = tuple(
        Coding(system=ICD9CM, code=one[f"ICD9_PRCDR_CD_{n}"].upper())
        for one in segments
        for n in range(1, _PROCEDURES + 1)
        if f"ICD9_PRCDR_CD_{n}" in one
    )
    billed = [(one, n) for one in segments for n in range(1, _LINES + 1) if f"HCPCS_CD_{n}" in one]
    institutional = "SEGMENT" in row or "PRVDR_NUM" in row
    return partial(
        RawClaim, claim_id=values.required(row.get("CLM_ID"), "CLM_ID"), patient_id=row.get("DESYNPUF_ID"),
        form="institutional" if institutional else "professional", service_from=first, service_to=last, diagnoses=tuple(diagnoses),
        procedures=procedures, lines=tuple(_line(one, n, at, diagnoses) for at, (one, n) in enumerate(billed, start=1)), payer="Medicare",
        subscriber_id=row.get("DESYNPUF_ID"),
    )  # fmt: skip


def _diagnoses(row: Row) -> list[Diagnosis]:
    """Diagnoses in the order of the claim; the first is the principal one."""
    codes = [row[name] for name in (f"ICD9_DGNS_CD_{n}" for n in range(1, _DIAGNOSES + 1)) if name in row]
    kinds = ["principal"] + ["other"] * len(codes)
    found = [Diagnosis(system=ICD9CM, code=values.dotted(code, ICD9CM), kind=kind) for code, kind in zip(codes, kinds, strict=False)]
    if admitting := row.get("ADMTNG_ICD9_DGNS_CD"):
        found.append(Diagnosis(system=ICD9CM, code=values.dotted(admitting, ICD9CM), kind="admitting"))
    return found


def _line(row: Row, column: int, number: int, diagnoses: list[Diagnosis]) -> ClaimLine:
    pointed = values.dotted(row.get(f"LINE_ICD9_DGNS_CD_{column}", ""), ICD9CM)
    places = [at for at, one in enumerate(diagnoses, start=1) if one.code == pointed]
    return ClaimLine(number=number, system=HCPCS, code=row[f"HCPCS_CD_{column}"], diagnosis_pointers=tuple(places[:1]))


def _patient(row: Row) -> Draft:
    birth, death = values.day(row.get("BENE_BIRTH_DT"), "BENE_BIRTH_DT"), values.day(row.get("BENE_DEATH_DT"), "BENE_DEATH_DT")
    values.in_order(birth, death, "BENE_DEATH_DT")
    return partial(
        RawPatient, patient_id=values.required(row.get("DESYNPUF_ID"), "DESYNPUF_ID"), birth_date=birth, death_date=death,
        sex=SEXES.get(row.get("BENE_SEX_IDENT_CD", ""), "unknown"), state=STATES.get(row.get("SP_STATE_CODE", "").zfill(2)),
    )  # fmt: skip


def _drug_event(row: Row) -> Draft:
    served = values.day(row.get("SRVC_DT"), "SRVC_DT")
    charge = values.number(row.get("TOT_RX_CST_AMT"), "TOT_RX_CST_AMT")
    quantity = values.number(row.get("QTY_DSPNSD_NUM"), "QTY_DSPNSD_NUM")
    line = ClaimLine(number=1, system=NDC, code=row.get("PROD_SRVC_ID"), quantity=quantity, charge=charge, service_date=served)
    return partial(
        RawClaim, claim_id=values.required(row.get("PDE_ID"), "PDE_ID"), patient_id=row.get("DESYNPUF_ID"), form="pharmacy",
        service_from=served, service_to=served, lines=(line,), total_charge=charge, payer="Medicare", subscriber_id=row.get("DESYNPUF_ID"),
    )  # fmt: skip
