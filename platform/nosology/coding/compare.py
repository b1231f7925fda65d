"""Billed codes against the code set, and against what a note supports."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nosology.records import Diagnosis, Discrepancy
from nosology.terminology.codeset import CodeSet


def check_codes(billed: Iterable[Diagnosis | Mapping[str, Any]], date: datetime.date | None, codes: CodeSet) -> list[Discrepancy]:
    """Faults of billed diagnoses themselves: unknown_code, not_billable, not_in_force; other_system for what is not ICD-10-CM."""
    found = []
    for system, code in _pairs(billed):
        if system not in (None, "ICD-10-CM"):
            found.append(Discrepancy(code=code, kind="other_system"))
        elif (fault := codes.fault(code, date)) is not None:
            found.append(Discrepancy(code=codes.dotted(code), kind=fault))
    return found


def compare(
    billed: Iterable[Diagnosis | Mapping[str, Any]], supported: Sequence[str], date: datetime.date | None, codes: CodeSet
) -> list[Discrepancy]:
    """Every billed code as agrees, billed_not_supported or its fault; then every supported code that was not billed."""
    rows = list(billed)
    faults = check_codes(rows, date, codes)
    faulty = {fault.code for fault in faults}
    names = list(dict.fromkeys(codes.dotted(code) for system, code in _pairs(rows) if system in (None, "ICD-10-CM")))
    kept = [name for name in names if name not in faulty]
    agreed = [Discrepancy(code=name, kind="agrees" if name in supported else "billed_not_supported") for name in kept]
    missed = [Discrepancy(code=code, kind="supported_not_billed") for code in supported if code not in names]
    return [*faults, *agreed, *missed]


def _pairs(billed: Iterable[Diagnosis | Mapping[str, Any]]) -> list[tuple[str | None, str]]:
    return [(row.system, row.code) if isinstance(row, Diagnosis) else (row.get("system"), str(row["code"])) for row in billed]
