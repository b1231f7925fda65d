"""Synthea CSV: patients, encounters, conditions, procedures, claims; the other tables of an export are known, skipped and counted.

Tables are told by their header. Columns: github.com/synthetichealth/synthea/wiki/CSV-File-Data-Dictionary. Diagnoses and procedures are
SNOMED CT. Older exports have DATE for START and STOP of a procedure, and COST for BASE_COST.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from nosology.errors import InputError, Reason
from nosology.readers import values
from nosology.readers.delimited import header, mapping, rows, stand_once
from nosology.readers.source import HEAD_BYTES, Draft, Job, Skipped, Unit, record_bytes
from nosology.readers.values import SNOMED
from nosology.records import Coding, Diagnosis, RawClaim, RawCondition, RawEncounter, RawPatient, RawProcedure

# Columns that tell a table, in one form or another: the longest set that lies in the header wins.
_TABLES = {
    "patients": "Id BIRTHDATE SSN FIRST LAST GENDER ADDRESS ZIP",
    "encounters": "Id START PATIENT ORGANIZATION ENCOUNTERCLASS CODE DESCRIPTION",
    "conditions": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION",
    "claims": "Id PATIENTID PROVIDERID DIAGNOSIS1 SERVICEDATE APPOINTMENTID HEALTHCARECLAIMTYPEID1",
    "allergies": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION TYPE CATEGORY REACTION1",
    "careplans": "Id START STOP PATIENT ENCOUNTER CODE DESCRIPTION REASONCODE REASONDESCRIPTION"
                 " | ID START STOP PATIENT ENCOUNTER CODE DESCRIPTION REASONCODE REASONDESCRIPTION",
    "claims_transactions": "ID CLAIMID CHARGEID PATIENTID TYPE AMOUNT",
    "devices": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION UDI",
    "imaging_studies": "PATIENT ENCOUNTER BODYSITE_CODE MODALITY_CODE SOP_CODE",
    "immunizations": "DATE PATIENT ENCOUNTER CODE DESCRIPTION BASE_COST | DATE PATIENT ENCOUNTER CODE DESCRIPTION COST",
    "medications": "START STOP PATIENT PAYER ENCOUNTER CODE DESCRIPTION BASE_COST DISPENSES TOTALCOST REASONCODE"
                   " | START STOP PATIENT PAYER ENCOUNTER CODE DESCRIPTION DISPENSES"
                   " | START STOP PATIENT ENCOUNTER CODE DESCRIPTION COST DISPENSES TOTALCOST REASONCODE",
    "observations": "DATE PATIENT ENCOUNTER CODE DESCRIPTION VALUE UNITS TYPE",
    "organizations": "Id NAME ADDRESS CITY STATE ZIP PHONE REVENUE UTILIZATION",
    "payer_transitions": "PATIENT START_YEAR END_YEAR PAYER | PATIENT MEMBERID START_DATE END_DATE PAYER",
    "payers": "Id NAME AMOUNT_COVERED AMOUNT_UNCOVERED COVERED_ENCOUNTERS",
    "procedures": "START STOP PATIENT ENCOUNTER CODE DESCRIPTION BASE_COST REASONCODE"
                  " | DATE PATIENT ENCOUNTER CODE DESCRIPTION BASE_COST REASONCODE REASONDESCRIPTION"
                  " | DATE PATIENT ENCOUNTER CODE DESCRIPTION REASONCODE REASONDESCRIPTION",
    "providers": "Id ORGANIZATION NAME GENDER ADDRESS CITY UTILIZATION | Id ORGANIZATION NAME GENDER ADDRESS CITY ENCOUNTERS PROCEDURES",
    "supplies": "DATE PATIENT ENCOUNTER CODE DESCRIPTION QUANTITY",
}  # fmt: skip
_SIGNATURES = [(name, frozenset(form.split())) for name, forms in _TABLES.items() for form in forms.split("|")]
_MOST_ABSENT, _LEAST_HELD = 2, 3  # of a table's columns, where a header looks like it
_FORMS = {"1": "professional", "2": "institutional"}
# Columns that are read beside those that tell a table.
_BESIDE = "DEATHDATE DRIVERS PASSPORT PREFIX MIDDLE SUFFIX MAIDEN CITY STATE STOP REASONCODE REASONDESCRIPTION SYSTEM STATUS1"
_MORE = frozenset((*_BESIDE.split(), *(f"DIAGNOSIS{n}" for n in range(1, 9))))

Row = Mapping[str, str]


def _told(names: list[str]) -> tuple[str, frozenset[str]] | None:
    """The table of a header, and the columns that tell it."""
    held = set(names)
    found = [(name, columns) for name, columns in _SIGNATURES if columns <= held]
    return max(found, key=lambda one: len(one[1]), default=None)


def table(names: list[str]) -> str | None:
    """The Synthea table of a header, or None. SPECIALITY is the source's own spelling, PROVIDERS' newer exports have SPECIALTY."""
    found = _told(names)
    return found[0] if found else None


def resembled(names: list[str], file: str) -> tuple[str, list[str]] | None:
    """The Synthea table that a header looks like, and the one or two columns that it lacks; None where it is whole, or is none.

    Columns may be all those of a smaller table, as procedures without BASE_COST hold those of conditions. Which is meant the file's name
    tells; without one, it is the larger where the header has as many more of its columns as it lacks.
    """
    named = max((name for name in _TABLES if name in file.lower()), key=len, default=None)
    held, whole = set(names), _told(names)
    if whole and whole[0] == named:
        return None
    near: list[tuple[str, frozenset[str]]] = []
    for name, columns in _SIGNATURES:
        absent, has = len(columns - held), len(columns & held)
        larger = named is None and whole is not None and whole[1] < columns and has - len(whole[1]) >= absent
        if 0 < absent <= _MOST_ABSENT and has >= _LEAST_HELD and (whole is None or name == named or larger):
            near.append((name, columns))
    if not near:
        return None
    kind, columns = min(near, key=lambda one: (one[0] != named, len(one[1] - held), -len(one[1])))
    return kind, sorted(columns - held)


def refuse_partial(names: list[str], file: str) -> None:
    """Raises `InputError` for the header of a Synthea table that lacks a column or two."""
    if found := resembled(names, file):
        kind, absent = found
        lacks = f"column{'s' if len(absent) > 1 else ''} {', '.join(absent)}"
        rule = f"it looks like Synthea {kind}; it lacks {lacks}"
        raise InputError(rule, file=file, field=", ".join(absent), remedy="Export it again with all its columns, or take it out")


def _optional(row: Row, name: str) -> str | None:
    return row.get(name, "").strip() or None


def _reasons(row: Row) -> tuple[Coding, ...]:
    code = _optional(row, "REASONCODE")
    return (Coding(system=SNOMED, code=code, display=_optional(row, "REASONDESCRIPTION")),) if code else ()


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
    return partial(
        RawEncounter, encounter_id=values.required(row["Id"], "Id"), patient_id=_optional(row, "PATIENT"),
        setting=_optional(row, "ENCOUNTERCLASS"), start_date=start, end_date=end, reasons=_reasons(row),
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


def _procedure(row: Row) -> Draft:
    """A procedure has no id in the source: what it is, where and when is one."""
    begun = "START" if "START" in row else "DATE"
    start, end = values.day(row[begun], begun), values.day(row.get("STOP"), "STOP")
    values.in_order(start, end, "STOP")
    system = values.system(row.get("SYSTEM")) or SNOMED
    code = values.dotted(values.required(row["CODE"], "CODE"), system)
    parts = (_optional(row, column) for column in ("PATIENT", "ENCOUNTER", begun))
    return partial(
        RawProcedure, procedure_id="/".join([*(part for part in parts if part), code]), patient_id=_optional(row, "PATIENT"),
        encounter_id=_optional(row, "ENCOUNTER"), start_date=start, end_date=end, reasons=_reasons(row),
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
    "patients": _patient, "encounters": _encounter, "conditions": _condition, "procedures": _procedure, "claims": _claim,
}  # fmt: skip


class Synthea:
    """Reader of Synthea's CSV tables."""

    name = "synthea"

    def sniff(self, head: bytes) -> bool:
        found = header(head, repeats=True)
        return found is not None and found[1] == "," and table(found[0]) is not None

    def check(self, stream: io.BufferedReader, job: Job) -> None:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        found = header(head, repeats=True) if b"\n" in head or b"\r" in head else None
        if found is None:  # one that is cut is left to `read`
            return
        names, file = found[0], job.source.name
        refuse_partial(names, file)
        if (told := _told(names)) and told[0] in _BUILD:
            stand_once(names, told[1] | _MORE, file)

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        self.check(stream, job)
        source = rows(stream, ",", record_bytes(job.ingest))
        first = next(source, None)
        if first is None or isinstance(first, Reason):
            yield first or Reason("empty_file", None, "a header")
            return
        names = [name.strip() for name in first]
        kind = table(names) or "unknown"
        build = _BUILD.get(kind)
        job.unlisted.header(names, self.name, table=kind)
        for row in source:
            if isinstance(row, Reason):
                yield row
            elif build is None:
                yield Skipped(kind)
            else:
                yield job.builder.make(lambda row, build=build: [build(mapping(names, row))], row)
