"""Synthea CSV: patients, encounters, conditions and claims; the other tables of an export are known, skipped and counted.

Tables are told by their header. Columns: github.com/synthetichealth/synthea/wiki/CSV-File-Data-Dictionary. Diagnoses are SNOMED CT.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from nosology.errors import Reason
from nosology.readers import values
from nosology.readers.delimited import header, mapping, rows
from nosology.readers.source import Draft, Job, Skipped, Unit, record_bytes
from nosology.readers.values import SNOMED
from nosology.records import Coding, Diagnosis, RawClaim, RawCondition, RawEncounter, RawPatient

# Columns that tell a table: the longest set that lies in the header wins.
_TABLES = {
    "patients": "Id BIRTHDATE SSN FIRST LAST GENDER ADDRESS ZIP",
    "encounters": "Id START PATIENT ORGANIZATION ENCOUNTERCLASS CODE DESCRIPTION",
    "conditions": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION",
    "claims": "Id PATIENTID PROVIDERID DIAGNOSIS1 SERVICEDATE APPOINTMENTID HEALTHCARECLAIMTYPEID1",
    "allergies": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION TYPE CATEGORY REACTION1",
    "careplans": "Id START STOP PATIENT ENCOUNTER CODE DESCRIPTION REASONCODE REASONDESCRIPTION",
    "claims_transactions": "ID CLAIMID CHARGEID PATIENTID TYPE AMOUNT",
    "devices": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION UDI",
    "imaging_studies": "PATIENT ENCOUNTER BODYSITE_CODE MODALITY_CODE SOP_CODE",
    "immunizations": "DATE PATIENT ENCOUNTER CODE DESCRIPTION BASE_COST",
    "medications": "START STOP PATIENT PAYER ENCOUNTER CODE DESCRIPTION DISPENSES",
    "observations": "DATE PATIENT ENCOUNTER CODE DESCRIPTION VALUE UNITS TYPE",
    "organizations": "Id NAME ADDRESS CITY STATE ZIP PHONE REVENUE UTILIZATION",
    "payer_transitions": "PATIENT START_YEAR END_YEAR PAYER",
    "payers": "Id NAME AMOUNT_COVERED AMOUNT_UNCOVERED COVERED_ENCOUNTERS",
    "procedures": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION BASE_COST REASONCODE",
    "providers": "Id ORGANIZATION NAME GENDER ADDRESS CITY UTILIZATION",
    "supplies": "DATE PATIENT ENCOUNTER CODE DESCRIPTION QUANTITY",
}  # fmt: skip
_SIGNATURES = {name: frozenset(columns.split()) for name, columns in _TABLES.items()}
_FORMS = {"1": "professional", "2": "institutional"}

Row = Mapping[str, str]


def table(names: list[str]) -> str | None:
    """The Synthea table of a header, or None. SPECIALITY is the source's own spelling, PROVIDERS' newer exports have SPECIALTY."""
    held = set(names)
    found = [name for name, columns in _SIGNATURES.items() if columns <= held]
    return max(found, key=lambda name: len(_SIGNATURES[name]), default=None)


def _optional(row: Row, name: str) -> str | None:
    return row.get(name, "").strip() or None


def _patient(row: Row) -> Draft:
    name = " ".join(part for column in ("PREFIX", "FIRST", "MIDDLE", "LAST", "SUFFIX") if (part := row.get(column, "").strip()))
    maiden = " ".join(part for column in ("FIRST", "MAIDEN") if (part := row.get(column, "").strip())) if _optional(row, "MAIDEN") else ""
    birth, death = values.day(row["BIRTHDATE"], "BIRTHDATE"), values.day(row.get("DEATHDATE"), "DEATHDATE")
    values.in_order(birth, death, "DEATHDATE")
    return partial(
        RawPatient, patient_id=values.required(row["Id"], "Id"), names=tuple(n for n in (name, maiden) if n), birth_date=birth,
        death_date=death, sex=values.sex(row["GENDER"]), address=_optional(row, "ADDRESS"), city=_optional(row, "CITY"),
        state=_optional(row, "STATE"), postal_code=_optional(row, "ZIP"),
        identifiers=tuple(found for column in ("SSN", "DRIVERS", "PASSPORT") if (found := _optional(row, column))),
    )  # fmt: skip


def _encounter(row: Row) -> Draft:
    start, end = values.day(row["START"], "START"), values.day(row.get("STOP"), "STOP")
    values.in_order(start, end, "STOP")
    reason = _optional(row, "REASONCODE")
    reasons = (Coding(system=SNOMED, code=reason, display=_optional(row, "REASONDESCRIPTION")),) if reason else ()
    return partial(
        RawEncounter, encounter_id=values.required(row["Id"], "Id"), patient_id=_optional(row, "PATIENT"),
        setting=_optional(row, "ENCOUNTERCLASS"), start_date=start, end_date=end, reasons=reasons,
    )  # fmt: skip


def _condition(row: Row) -> Draft:
    start = values.day(row["START"], "START")
    values.in_order(start, values.day(row["STOP"], "STOP"), "STOP")
    system = values.system(row.get("SYSTEM")) or SNOMED
    code = values.dotted(values.required(row["CODE"], "CODE"), system)
    return partial(
        RawCondition, patient_id=_optional(row, "PATIENT"), encounter_id=_optional(row, "ENCOUNTER"), onset_date=start,
        codings=(Coding(system=system, code=code, display=_optional(row, "DESCRIPTION")),),
    )  # fmt: skip


def _claim(row: Row) -> Draft:
    served = values.day(row["SERVICEDATE"], "SERVICEDATE")
    codes = [code for n in range(1, 9) if (code := _optional(row, f"DIAGNOSIS{n}"))]
    kinds = ["principal"] + ["other"] * len(codes)
    return partial(
        RawClaim, claim_id=values.required(row["Id"], "Id"), patient_id=_optional(row, "PATIENTID"),
        encounter_id=_optional(row, "APPOINTMENTID"), form=_FORMS.get(row["HEALTHCARECLAIMTYPEID1"].strip(), "unknown"),
        status=_optional(row, "STATUS1"), service_from=served, service_to=served,
        diagnoses=tuple(Diagnosis(system=SNOMED, code=code, kind=kind) for code, kind in zip(codes, kinds, strict=False)),
    )  # fmt: skip


_BUILD: dict[str, Callable[[Row], Draft]] = {
    "patients": _patient, "encounters": _encounter, "conditions": _condition, "claims": _claim,
}  # fmt: skip


class Synthea:
    """Reader of Synthea's CSV tables."""

    name = "synthea"

    def sniff(self, head: bytes) -> bool:
        found = header(head)
        return found is not None and found[1] == "," and table(found[0]) is not None

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        source = rows(stream, ",", record_bytes(job.ingest))
        first = next(source, None)
        if first is None or isinstance(first, Reason):
            yield first or Reason("empty_file", None, "a header")
            return
        names = [name.strip() for name in first]
        kind = table(names) or "unknown"
        build = _BUILD.get(kind)
        for row in source:
            if isinstance(row, Reason):
                yield row
            elif build is None:
                yield Skipped(kind)
            else:
                yield job.builder.make(lambda row, build=build: [build(mapping(names, row))], row)
