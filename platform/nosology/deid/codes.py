"""Codes in Clean records: one stays where it has the form of its system, for anything can be typed into a code field.

A code that does not is replaced by the tag `[ID]`, so that places (a line's diagnosis pointers) still hold; a system that is not known
has no name. Forms: ICD-10-CM and ICD-10-PCS Official Guidelines, ICD-9-CM tabular list, CPT and HCPCS level II, NDC (FDA, 21 CFR
207.33; HIPAA's 11 digits), NUBC revenue codes, LOINC and SNOMED CT release formats, X12 5010 code sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nosology.readers.values import HCPCS, ICD9CM, ICD10CM, ICD10PCS, LOINC, NDC, REVENUE, RXNORM, SNOMED

UNKNOWN = "[ID]"
_FORMS = {
    system: re.compile(form, re.A)
    for system, form in {
        ICD10CM: r"[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?",
        ICD9CM: r"\d{2,3}(\.?\d{1,2})?|V\d{2}(\.?\d{1,2})?|E\d{3}(\.?\d)?",
        ICD10PCS: r"[0-9A-HJ-NP-Z]{7}",
        HCPCS: r"[A-Z]\d{4}|\d{4}[0-9A-Z]",
        LOINC: r"\d{1,5}-\d",
        RXNORM: r"\d{1,8}",
        NDC: r"\d{4,5}-\d{3,4}-\d{1,2}|\d{10,11}",
        REVENUE: r"\d{3,4}",
        SNOMED: r"\d{6,18}",
    }.items()
}
# without a system: a diagnosis with its dot, or a table's code of three characters at most
_BARE = re.compile(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?|[A-Z0-9]{1,2}|\d{3}", re.A)
_MODIFIER = re.compile(r"[A-Z0-9]{2}", re.A)
_SHORT = {"revenue_code": _FORMS[REVENUE], "present_on_admission": re.compile(r"[A-Z0-9]", re.A)}
_KINDS = frozenset(("principal", "admitting", "reason", "external_cause", "other"))  # of a diagnosis
_CODE_FIELDS = frozenset(("system", "code", "kind", "modifiers", *_SHORT))


def is_code_field(name: str) -> bool:
    """Whether `kept` decides on a field of this name."""
    return name in _CODE_FIELDS


def kept(name: str, part: Mapping[str, Any]) -> Any:
    """What stays of a field of a coding, a diagnosis or a service line."""
    value = part[name]
    if value is None:
        return None
    system = part.get("system")
    if name == "system":
        return value if value in _FORMS else None
    if name == "code":
        form = _FORMS.get(system, _BARE) if isinstance(system, str) else _BARE
        return value if isinstance(value, str) and form.fullmatch(value.strip().upper()) else UNKNOWN
    if name == "kind":
        return value if value in _KINDS else "other"
    if name == "modifiers":
        return [one if isinstance(one, str) and _MODIFIER.fullmatch(one.strip().upper()) else UNKNOWN for one in value]
    return value if isinstance(value, str) and _SHORT[name].fullmatch(value) else None
