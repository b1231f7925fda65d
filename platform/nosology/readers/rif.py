"""Medicare RIF (Research Identifiable Files, as CMS's Beneficiary FHIR Data Server reads them): pipe-separated, one row a claim line.

Rows of a claim follow each other with one CLM_ID and become one claim. Beneficiary rows become patients, PDE rows pharmacy claims.
Column names: CCW codebooks (ccwdata.org). Sheets that hold neither (export_summary) are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial

from nosology.errors import Reason
from nosology.readers import values
from nosology.readers.source import BOM, CUT_HEADER, TOO_LONG, Builder, Draft, Job, Lines, Skipped, Unit, invalid_bytes, record_bytes
from nosology.readers.values import HCPCS, ICD9CM, ICD10CM, ICD10PCS, NDC, REVENUE
from nosology.records import ClaimLine, Coding, Diagnosis, RawClaim, RawPatient

SCATTERED = Reason("scattered_claim", "CLM_ID", "rows of a claim next to each other; sort the file by CLM_ID")
SEXES = {"1": "male", "2": "female", "0": "unknown"}
# SSA state codes (not FIPS): Social Security Administration, as used in STATE_CODE and SP_STATE_CODE
_STATE_NAMES = "ALAKAZARCACOCTDEDCFLGAHIIDILINIAKSKYLAMEMDMAMIMNMSMOMTNENVNHNJNMNYNCNDOHOKORPAPRRISCSDTNTXUTVTVIVAWAWVWIWY"  # 01 to 53
STATES = {f"{n + 1:02d}": _STATE_NAMES[2 * n : 2 * n + 2] for n in range(53)}

Row = Mapping[str, str]


def columns(head: bytes) -> list[str]:
    """The names in a header line."""
    return [name.strip() for name in head.removeprefix(BOM).split(b"\n", 1)[0].decode("ascii", "replace").strip("\r").split("|")]


class Rif:
    """Reader of RIF files."""

    name = "rif"

    def sniff(self, head: bytes) -> bool:
        names = set(columns(head))
        if "BENE_ID" in names:
            return bool(names & {"CLM_ID", "PDE_ID", "BENE_BIRTH_DT"})
        return head.removeprefix(BOM).startswith(b"BENE_ID,CARRIER_CLAIMS,")

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        source = Lines(stream, record_bytes(job.ingest))
        first = next(source, None) or b""
        names = columns(first)
        if len(names) > 1:
            job.unlisted.header(names, self.name)
        if not source.ended:
            yield CUT_HEADER
        elif (fault := invalid_bytes(first, source.start, "header")).offset is not None:  # which column it is cannot be told
            yield fault
        elif len(names) == 1:
            yield from (Skipped("export_summary") for _ in source)
        elif "CLM_ID" in names:
            yield from self._claims(names, source, job.builder)
        else:
            build = _drug_claim if "PDE_ID" in names else _patient
            for line in source:
                row = _row(names, line, source.start)
                yield row if isinstance(row, Reason) else job.builder.make(lambda row: [build(row)], row)

    def _claims(self, names: list[str], source: Lines, builder: Builder) -> Iterator[Unit]:
        at = names.index("CLM_ID")
        rows: list[Row] = []
        fault: Reason | None = None
        current: bytes | None = None
        closed: set[bytes] = set()
        for line in source:
            fields = line.split(b"|", at + 1) if line is not None else []
            claim_id = fields[at].strip() if len(fields) > at else b""
            if not claim_id:  # whose row it is cannot be told: it counts for itself
                yield TOO_LONG if line is None else Reason("missing_field", "CLM_ID", "a value")
                continue
            if claim_id != current:
                if current is not None:
                    yield fault if fault is not None else builder.make(_joined, rows)
                    closed.add(current)
                rows, fault, current = [], SCATTERED if claim_id in closed else None, claim_id
            row = _row(names, line, source.start)
            if isinstance(row, Reason):
                fault = fault or row
            else:
                rows.append(row)
        if current is not None:
            yield fault if fault is not None else builder.make(_joined, rows)


def _joined(rows: list[Row]) -> Unit:
    return [_claim(rows)]


def _row(names: list[str], line: bytes | None, start: int) -> Row | Reason:
    if line is None:
        return TOO_LONG
    try:
        fields = line.decode().split("|")
    except UnicodeDecodeError:
        return invalid_bytes(line, start)
    if len(fields) != len(names):
        return Reason("column_count", None, f"{len(names)} columns, as in the header")
    return {name: text.strip() for name, text in zip(names, fields, strict=True) if text and not text.isspace()}


def _patient(row: Row) -> Draft:
    name = " ".join(row[part] for part in ("BENE_GVN_NAME", "BENE_MDL_NAME", "BENE_SRNM_NAME") if part in row)
    street = " ".join(row[part] for part in (f"DRVD_LINE_{n}_ADR" for n in range(1, 7)) if part in row)
    zip_code = row.get("BENE_ZIP_CD")
    birth, death = values.day(row.get("BENE_BIRTH_DT"), "BENE_BIRTH_DT"), values.day(row.get("DEATH_DT"), "DEATH_DT")
    values.in_order(birth, death, "DEATH_DT")
    return partial(
        RawPatient, patient_id=values.required(row.get("BENE_ID"), "BENE_ID"), names=(name,) if name else (), birth_date=birth,
        death_date=death, sex=SEXES.get(row.get("BENE_SEX_IDENT_CD", ""), "unknown"), address=street or None, city=row.get("CITY_NAME"),
        state=STATES.get(row.get("STATE_CODE", "").zfill(2)) or row.get("STATE_CD"),
        postal_code=zip_code.zfill(5) if zip_code and zip_code.isdigit() and len(zip_code) < 5 else zip_code,
        identifiers=tuple(row[part] for part in ("BENE_CRNT_HIC_NUM", "MBI_NUM") if part in row),
    )  # fmt: skip


def _drug_claim(row: Row) -> Draft:
    served, charge = values.day(row.get("SRVC_DT"), "SRVC_DT"), values.number(row.get("TOT_RX_CST_AMT"), "TOT_RX_CST_AMT")
    quantity = values.number(row.get("QTY_DSPNSD_NUM"), "QTY_DSPNSD_NUM")
    line = ClaimLine(number=1, system=NDC, code=row.get("PROD_SRVC_ID"), quantity=quantity, charge=charge, service_date=served)
    return partial(
        RawClaim, claim_id=values.required(row.get("PDE_ID"), "PDE_ID"), patient_id=row.get("BENE_ID"), form="pharmacy",
        status=row.get("FINAL_ACTION"), service_from=served, service_to=served, lines=(line,), total_charge=charge, payer="Medicare",
        subscriber_id=row.get("BENE_ID"),
    )  # fmt: skip


def _claim(rows: list[Row]) -> Draft:
    row = rows[0]
    first, last = values.day(row.get("CLM_FROM_DT"), "CLM_FROM_DT"), values.day(row.get("CLM_THRU_DT"), "CLM_THRU_DT")
    values.in_order(first, last, "CLM_THRU_DT")
    latest = last or first
    default = ICD9CM if latest and latest < values.ICD10_BEGAN else ICD10CM
    diagnoses = _diagnoses(row, default)
    systems = {"9": ICD9CM, "0": ICD10PCS, "": ICD9CM if default == ICD9CM else ICD10PCS}
    procedures = tuple(
        Coding(system=systems.get(row.get(f"ICD_PRCDR_VRSN_CD{n}", "")), code=row[f"ICD_PRCDR_CD{n}"].upper())
        for n in range(1, 26)
        if f"ICD_PRCDR_CD{n}" in row
    )
    institutional = "CLM_FAC_TYPE_CD" in row or "REV_CNTR" in row
    return partial(
        RawClaim, claim_id=row["CLM_ID"], patient_id=row.get("BENE_ID"), form="institutional" if institutional else "professional",
        status=row.get("FINAL_ACTION"), service_from=first, service_to=last, diagnoses=tuple(diagnoses), procedures=procedures,
        lines=tuple(_line(one, at, diagnoses) for at, one in enumerate(rows, start=1)),
        total_charge=values.number(row.get("CLM_TOT_CHRG_AMT") or row.get("NCH_CARR_CLM_SBMTD_CHRG_AMT"), "CLM_TOT_CHRG_AMT"),
        payer="Medicare", provider_npi=row.get("ORG_NPI_NUM") or row.get("CARR_CLM_BLG_NPI_NUM") or row.get("PRVDR_NPI"),
        subscriber_id=row.get("BENE_ID"),
    )  # fmt: skip


def _diagnoses(row: Row, default: str) -> list[Diagnosis]:
    """Diagnoses in the order of the claim; the version column says 9 or 0 (ICD-10), where it is empty the date decides."""
    found: list[Diagnosis] = []

    def add(code: str | None, version: str | None, kind: str, present: str | None = None) -> None:
        if code:
            system = {"9": ICD9CM, "0": ICD10CM}.get(version or "", default)
            found.append(Diagnosis(system=system, code=values.dotted(code, system), kind=kind, present_on_admission=present))

    principal = row.get("PRNCPAL_DGNS_CD")
    for n in range(1, 26):
        code = row.get(f"ICD_DGNS_CD{n}")
        kind = "principal" if code == principal and all(one.kind != "principal" for one in found) else "other"
        add(code, row.get(f"ICD_DGNS_VRSN_CD{n}"), kind, row.get(f"CLM_POA_IND_SW{n}"))
    if principal and all(one.kind != "principal" for one in found):
        add(principal, row.get("PRNCPAL_DGNS_VRSN_CD"), "principal")
        found.insert(0, found.pop())
    add(row.get("ADMTG_DGNS_CD"), row.get("ADMTG_DGNS_VRSN_CD"), "admitting")
    for n in range(1, 4):
        add(row.get(f"RSN_VISIT_CD{n}"), row.get(f"RSN_VISIT_VRSN_CD{n}"), "reason")
    external = {row.get("FST_DGNS_E_CD"): row.get("FST_DGNS_E_VRSN_CD")}
    external |= {row.get(f"ICD_DGNS_E_CD{n}"): row.get(f"ICD_DGNS_E_VRSN_CD{n}") for n in range(1, 13)}
    for code, version in external.items():
        add(code, version, "external_cause")
    return found


def _line(row: Row, at: int, diagnoses: list[Diagnosis]) -> ClaimLine:
    code, revenue, drug = row.get("HCPCS_CD"), row.get("REV_CNTR"), row.get("LINE_NDC_CD")
    system = HCPCS if code else REVENUE if revenue else NDC if drug else None
    names = ("LINE_1ST_EXPNS_DT", "REV_CNTR_DT")
    date = next((values.day(row[name], name) for name in names if name in row), None)
    pointed = row.get("LINE_ICD_DGNS_CD", "").replace(".", "").upper()
    places = [n for n, one in enumerate(diagnoses, start=1) if one.code.replace(".", "") == pointed] if pointed else []
    quantity = row.get("REV_CNTR_UNIT_CNT") or row.get("LINE_SRVC_CNT")
    charge = row.get("REV_CNTR_TOT_CHRG_AMT") or row.get("LINE_SBMTD_CHRG_AMT")
    number = values.count(row.get("CLM_LINE_NUM") or row.get("LINE_NUM"), "CLM_LINE_NUM")
    return ClaimLine(
        number=number or at, system=system, code=code or revenue or drug,
        modifiers=tuple(row[name] for name in (f"HCPCS_{nth}_MDFR_CD" for nth in ("1ST", "2ND", "3RD", "4TH")) if name in row),
        revenue_code=revenue, quantity=values.number(quantity, "REV_CNTR_UNIT_CNT"), charge=values.number(charge, "REV_CNTR_TOT_CHRG_AMT"),
        service_date=date, diagnosis_pointers=tuple(places[:1]),
    )  # fmt: skip
