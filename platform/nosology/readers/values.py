"""Values as the formats write them: dates, numbers, sex, codes and code systems.

Everything here raises `RecordError` (field and rule, never the value) for what cannot be right, and gives None for what is absent.
"""

from __future__ import annotations

import datetime
import functools
import math
import re

from nosology.errors import RecordError
from nosology.records import RawClaim

ICD10CM, ICD9CM, ICD10PCS, SNOMED, HCPCS, LOINC, RXNORM, NDC, REVENUE = (
    "ICD-10-CM", "ICD-9-CM", "ICD-10-PCS", "SNOMED CT", "HCPCS", "LOINC", "RxNorm", "NDC", "REVENUE",
)  # fmt: skip
ICD10_BEGAN = datetime.date(2015, 10, 1)  # 45 CFR 162.1002(c)

_MONTHS = {"JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"[3 * n : 3 * n + 3]: n + 1 for n in range(12)}
_FULL = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]?\d{2}.*)?", re.ASCII | re.DOTALL)
_NAMED = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", re.ASCII)
_PARTIAL = re.compile(r"\d{4}(-?(0[1-9]|1[0-2]))?", re.ASCII)
_YEARS = range(1850, 2151)  # nobody alive today was born before, no claim is that far ahead
DATE_RULE = "a day that exists, as 20150530, 2015-05-30 or 30-May-2015, from 1850 to 2150"


@functools.lru_cache(maxsize=1 << 12)  # an archive has few days and many dates
def _parsed(text: str) -> datetime.date | None:
    """Raises ValueError for a text that names no day that can be."""
    if match := _FULL.fullmatch(text):
        year, month, number = int(match[1]), int(match[2]), int(match[3])
    elif match := _NAMED.fullmatch(text):
        year, month, number = int(match[3]), _MONTHS.get(match[2].upper(), 0), int(match[1])
    elif _PARTIAL.fullmatch(text) and int(text[:4]) in _YEARS:
        return None
    else:
        raise ValueError
    if year not in _YEARS:
        raise ValueError
    return datetime.date(year, month, number)


def day(text: str | None, field: str) -> datetime.date | None:
    """The day a text names; a time behind it is cut off. None when there is none, or only a year or a month.

    Raises:
        RecordError: `impossible_date`.
    """
    text = text.strip() if text else ""
    try:
        return _parsed(text) if text else None
    except ValueError:
        raise RecordError("impossible_date", field, DATE_RULE) from None


def in_order(first: datetime.date | None, last: datetime.date | None, field: str) -> None:
    """Raises `impossible_date` when the end is before the beginning."""
    if first is not None and last is not None and last < first:
        raise RecordError("impossible_date", field, "a last day not before the first")


def number(text: str | float | int | None, field: str) -> float | None:
    """A number; None when there is none.

    Raises:
        RecordError: `bad_number`.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    try:
        value = float(text)
    except (ValueError, TypeError, OverflowError):
        value = math.nan
    if not math.isfinite(value) or isinstance(text, bool):
        raise RecordError("bad_number", field, "a decimal number")
    return value


def count(text: str | float | int | None, field: str) -> int | None:
    """A whole number from 0 to a billion; None when there is none."""
    value = number(text, field)
    if value is None:
        return None
    if not 0 <= value <= 1e9 or value != int(value):
        raise RecordError("bad_number", field, "a whole number, not negative")
    return int(value)


def required(text: str | None, field: str) -> str:
    """The text, which must be there.

    Raises:
        RecordError: `missing_field`.
    """
    if text is None or not (text := text.strip()):
        raise RecordError("missing_field", field, "a value")
    return text


_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "o": "other", "other": "other", "a": "other"}


def sex(text: str | None) -> str | None:
    """female, male, other or unknown; None when nothing is said."""
    text = text.strip().lower() if text else ""
    return _SEXES.get(text, "unknown") if text else None


def age(birth: datetime.date | None, on: datetime.date | None) -> float | None:
    """Completed years on a day; None when either is unknown or the day is before birth."""
    if birth is None or on is None or on < birth:
        return None
    return float(on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day)))


def dotted(code: str, system: str | None) -> str:
    """An ICD code with its dot: after three characters, after four for an ICD-9-CM external cause (E8120)."""
    code = code.strip().upper() if system in (ICD10CM, ICD9CM, ICD10PCS) else code.strip()
    if "." in code or system not in (ICD10CM, ICD9CM):
        return code
    at = 4 if system == ICD9CM and code.startswith("E") else 3
    return f"{code[:at]}.{code[at:]}" if len(code) > at else code


_SYSTEMS = {
    "hl7.org/fhir/sid/icd-10-cm": ICD10CM, "hl7.org/fhir/sid/icd-9-cm": ICD9CM, "hl7.org/fhir/sid/icd-10-pcs": ICD10PCS,
    "hl7.org/fhir/sid/icd-10": ICD10CM,  # WHO's ICD-10 by its name; CMS's own data (Blue Button 1) mean the Clinical Modification
    "www.cms.gov/medicare/coding/icd10": ICD10PCS, "snomed.info/sct": SNOMED, "loinc.org": LOINC, "hl7.org/fhir/sid/ndc": NDC,
    "www.nlm.nih.gov/research/umls/rxnorm": RXNORM, "www.nubc.org/codesystem/revenuecodes": REVENUE,
    "www.cms.gov/medicare/coding/hcpcsreleasecodesets": HCPCS, "www.ama-assn.org/go/cpt": HCPCS,
    "bluebutton.cms.gov/resources/codesystem/hcpcs": HCPCS,
    "terminology.hl7.org/codesystem/icd9cm": ICD9CM, "terminology.hl7.org/codesystem/icd-9-cm": ICD9CM,
    # HL7 v2 table 0396 and the names seen beside it
    "i10": ICD10CM, "i10c": ICD10CM, "icd10": ICD10CM, "icd-10": ICD10CM, "icd10cm": ICD10CM, "icd-10-cm": ICD10CM, "i10p": ICD10PCS,
    "i9": ICD9CM, "i9c": ICD9CM, "i9cdx": ICD9CM, "icd9": ICD9CM, "icd-9": ICD9CM, "icd9cm": ICD9CM, "icd-9-cm": ICD9CM,
    "sct": SNOMED, "snm": SNOMED, "snomed-ct": SNOMED, "snomed ct": SNOMED, "ln": LOINC, "lnc": LOINC, "loinc": LOINC, "c4": HCPCS,
    "cpt": HCPCS, "hcpcs": HCPCS, "hpc": HCPCS, "ndc": NDC, "rxnorm": RXNORM, "icd-10-pcs": ICD10PCS, "revenue": REVENUE,
}  # fmt: skip


def system(name: str | None) -> str | None:
    """Our name for a code system; one that is not known keeps the name the source gives it."""
    if not name or not (name := name.strip()):
        return None
    plain = name.lower().removeprefix("http://").removeprefix("https://").rstrip("/")
    return _SYSTEMS.get(plain, name)


def check_days(claim: RawClaim) -> None:
    """Raises `impossible_date` for a claim that ends before it begins, or serves someone not yet born."""
    in_order(claim.service_from, claim.service_to, "service_to")
    days: list[datetime.date] = [day for day in (claim.service_to, claim.service_from, *(line.service_date for line in claim.lines)) if day]
    if claim.birth_date is not None and days and max(days) < claim.birth_date:
        raise RecordError("impossible_date", "birth_date", "a birth not after the service")
