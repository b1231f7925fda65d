"""Codes in Clean records: one stays where it has the form of its system, and its check digit where the system has them, for anything can
be typed into a code field.

A code that does not is replaced by the tag `[ID]`, so that places (a line's diagnosis pointers) still hold; a system that is not known
has no name. Forms: ICD-10-CM and ICD-10-PCS Official Guidelines, ICD-9-CM tabular list, CPT and HCPCS level II, NDC (FDA's three forms, 21
CFR 207.33, with their hyphens, and HIPAA's 11 digits; ten bare digits could be any of FDA's, and a telephone), NUBC revenue codes, LOINC,
SNOMED CT concepts (Release File Specifications, 6: no other component is a code), X12 5010 code sources. Letters alone without a system
could be initials.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nosology.deid.checksums import with_loinc, with_sctid
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
        RXNORM: r"\d{1,7}",
        NDC: r"\d{4}-\d{4}-\d\d|\d{5}-\d{3}-\d\d|\d{5}-\d{4}-\d{1,2}|\d{11}",
        REVENUE: r"\d{3,4}",
        SNOMED: r"[1-9]\d{2,14}00\d|[1-9]\d{7,14}10\d",  # item; in the second form a namespace of seven digits; partition, check digit
    }.items()
}
_CHECKED: Mapping[str, Callable[[str], str]] = {LOINC: with_loinc, SNOMED: with_sctid}
# without a system: a diagnosis with its dot, or a table's code of three characters at most
_BARE = re.compile(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?|[A-Z]\d?|\d[A-Z0-9]?|\d{3}", re.A)
_MODIFIER = re.compile(r"[A-Z0-9]{2}", re.A)
_SHORT = {"revenue_code": _FORMS[REVENUE], "present_on_admission": re.compile(r"[A-Z0-9]", re.A)}
_KINDS = frozenset(("principal", "admitting", "reason", "external_cause", "other"))  # of a diagnosis
_CODE_FIELDS = frozenset(("system", "code", "kind", "modifiers", *_SHORT))


def is_code_field(name: str) -> bool:
    """Whether `kept` decides on a field of this name."""
    return name in _CODE_FIELDS


def is_code(code: str, system: str | None) -> bool:
    """Whether a text in capitals can be a code of a system; None: of one that is not known."""
    if not _FORMS.get(system or "", _BARE).fullmatch(code):
        return False
    mend, plain = _CHECKED.get(system or ""), code.replace("-", "")
    return mend is None or mend(plain) == plain


def kept(name: str, part: Mapping[str, Any]) -> Any:
    """What stays of a field of a coding, a diagnosis or a service line."""
    value = part[name]
    if value is None:
        return None
    system = part.get("system")
    if name == "system":
        return value if value in _FORMS else None
    if name == "code":
        return value if isinstance(value, str) and is_code(value.strip().upper(), system if isinstance(system, str) else None) else UNKNOWN
    if name == "kind":
        return value if value in _KINDS else "other"
    if name == "modifiers":
        return [one if isinstance(one, str) and _MODIFIER.fullmatch(one.strip().upper()) else UNKNOWN for one in value]
    return value if isinstance(value, str) and _SHORT[name].fullmatch(value) else None
