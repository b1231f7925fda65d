"""Structured records: from a Raw row to its Clean row, by the `phi` treatment that nosology.records gives each field.

name, contact, geography: dropped (no Clean record has them). id: keyed pseudonym, the same in every table. date: cut to
1 January of its year, or shifted by the patient's secret days. birth_date: as a date, and None when it tells an age over 89;
an age over 89 is None. postal_code: three digits of a ZIP code. text: rewritten by the caller. A policy may drop more
(`Policy.columns`): under MEDDOCAN sex, age, date of birth, state and postal code.

Fields of a short text, into which anything can be typed, come in two kinds. Neither is ever kept for want of a reason.

code (`setting`, `status`, `form`, `sex`, `state`, `payer_type`; codes of adjustments and attachments): kept when the field's list has it, where there is one (`LISTS`); else when it is a
    code by its form (one or two characters that are not both letters, which could be initials; three digits with or without a zero before
    them), or when each of its words is in the field's own vocabulary; else dropped (`form`: unknown).
label (`kind` of a document, `payer`): kept when it is a LOINC code with its right check digit, a code by its form or of HL7's table of
    document types, or when each of its words is in a
    closed vocabulary of document types, or of public programmes and national insurers; else searched by the detector that notes get and
    for the names in the record's own fields; a word in it that is no ordinary one counts as a name. A name, a place, an organisation, a number or a contact makes the whole of it a tag,
    for what stands beside half a name is often the other half; dates, ages and ZIP codes are rewritten in place. So an insurer that
    the vocabulary lacks, which could be the patient's employer with its own plan, becomes `[ORGANIZATION]`, as in a note.
Codes of codings, diagnoses and service lines: see `codes`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.deid import codes
from nosology.deid.clock import told_on
from nosology.deid.dossier import whose
from nosology.deid.languages import language, languages
from nosology.deid.policies import OLDEST, policy_of, tells_over_89
from nosology.deid.rewrite import TAG, rewrite
from nosology.deid.zips import postal_code
from nosology.errors import RecordError
from nosology.readers.values import LOINC
from nosology.records import CLEAN_TABLES, TABLES, Span, misfit

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.secret import Secret

# dates that can tell what age a date of birth means
REFERENCE = ("service_from", "service_to", "start_date", "date", "onset_date", "death_date")

CODE = re.compile(r"[A-Z]\d?|\d[A-Z0-9]?|0?\d{3}", re.A)
CODES = {  # of lists with codes of another form: X12 code lists 139 (adjustment reasons) and 411 (remarks)
    "reason": re.compile(r"[A-Z]?\d{1,3}", re.A),
    "remarks": re.compile(r"(M|N|MA)\d{1,4}", re.A),
}
WORDS = re.compile(r"[^\W_]+")
MAX_LABEL_CHARACTERS = 200
_DOCUMENTS = "AR CD CN DI DS ED HP OP PC PH PN PR SP TS"
DOCUMENT_TYPES = frozenset(_DOCUMENTS.split())  # HL7 v2 table 0270
# HL7 v3 ActCode (encounters), HL7 v2 table 0004, FHIR R4 statuses, Synthea, X12; words, in small letters
_SETTING = """amb emer fld hh imp acute nonac obsenc prenc ss vr ambulatory emergency field home health inpatient outpatient nonacute non
    observation encounter preadmission pre admission short stay virtual urgent care urgentcare wellness hospice snf skilled nursing
    facility rehabilitation rehab telehealth telemedicine office clinic hospital recurring patient obstetrics newborn commercial account
    not applicable unknown other department room day surgery psychiatric dialysis obs er ed ip op lab pharmacy"""
_STATUS = """active inactive recurrence relapse remission resolved unknown cancelled canceled draft entered in error queued complete
    completed partial billed closed open pending paid denied submitted accepted rejected suspended reversed final preliminary amended
    planned arrived triaged progress onleave finished not present preparation done hold stopped aborted refuted"""
VOCABULARY: dict[str, frozenset[str]] = {
    "setting": frozenset(_SETTING.split()),
    "status": frozenset(_STATUS.split()),
}
# Whole names, because Virginia, Georgia and Washington are persons' names too, and two of them together a person.
_STATES = """alabama, alaska, arizona, arkansas, california, colorado, connecticut, delaware, district of columbia, florida, georgia, hawaii,
    idaho, illinois, indiana, iowa, kansas, kentucky, louisiana, maine, maryland, massachusetts, michigan, minnesota, mississippi,
    missouri, montana, nebraska, nevada, new hampshire, new jersey, new mexico, new york, north carolina, north dakota, ohio, oklahoma,
    oregon, pennsylvania, rhode island, south carolina, south dakota, tennessee, texas, utah, vermont, virginia, washington,
    west virginia, wisconsin, wyoming, puerto rico, guam, american samoa, virgin islands, us virgin islands, northern mariana islands"""
# states, district and territories of the United States and its military (USPS Publication 28, appendix B); provinces of Canada (ISO 3166-2)
_UNITED_STATES = """AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN
    TX UT VT VA WA WV WI WY PR GU AS VI MP FM MH PW UM AA AE AP"""
_CANADA = "AB BC MB NB NF NL NS NT NU ON PE PQ QC SK YT"
_NUMBERS = (f"{number:02d}" for number in range(100))  # of states: FIPS 5-2, and Social Security's
# X12 5010, code lists 755, 756 and 1032, and those of 4010; 974
_REPORTS = """03 04 05 06 07 08 09 10 11 13 15 21 77 A3 A4 AM AS B2 B3 B4 BR BS BT CB CK CT D2 DA DB DG DJ DS EB HC HR I5 IR LA M1 MT NN OB OC
    OD OE OX OZ P4 P5 P6 PE PN PO PQ PY PZ RB RR RT RX SG V5 XP"""
_SENT = "AA AB AD AF AG BM EL EM FT FX"
_FILED = "09 10 11 12 13 14 15 16 17 AM BL CH CI DS FI HM HN LI LM MA MB MC MH OF TV VA WC ZZ"
# Lists of which a field's value is one, in small letters
LISTS: dict[str, frozenset[str]] = {
    "form": frozenset(("professional", "institutional", "dental", "pharmacy", "vision", "oral", "unknown")),
    "sex": frozenset(("female", "male", "other", "unknown", *"fmouan")),  # the letters are those of HL7 v2 table 0001, X12's among them
    "state": frozenset(
        [name.strip() for name in _STATES.split(",")]
        + [code for country, codes in (("us", _UNITED_STATES), ("ca", _CANADA)) for one in codes.lower().split() for code in (one, f"{country} {one}")]
        + list(_NUMBERS)
    ),
    "payer_type": frozenset(_FILED.lower().split()),
    "kind": frozenset(_REPORTS.lower().split()),
    "transmission": frozenset(_SENT.lower().split()),
    "group": frozenset(("co", "cr", "oa", "pi", "pr")),
}  # fmt: skip
NO_WORDS: frozenset[str] = frozenset()
FALLBACK = {"form": "unknown", "group": "unknown", "reason": "unknown"}  # where a Clean record needs a value
NO_PAYER = frozenset(("self", "self pay", "selfpay", "uninsured", "none", "no insurance", "government", "charity", "dual eligible"))
# A payer's name needs one of these …
_PAYERS = """medicare medicaid tricare champva chip schip aetna anthem humana cigna unitedhealthcare uhc bcbs bluecross blueshield permanente
    centene wellcare ambetter caresource highmark carefirst medi"""
_BLUES = (frozenset(("blue", "cross")), frozenset(("blue", "shield")))
# … and beside it only such as stand in no person's name; so the states that are given names too are not here
_PAYER_WORDS = """of the and a b c d health healthcare plan plans insurance company inc part parts advantage hmo ppo epo pos services life
    blue cross shield kaiser care better supplement supplemental program programs administration federal state national managed dual
    eligible cal options choice community united alabama alaska arizona arkansas california colorado connecticut delaware florida hawaii
    idaho illinois iowa kansas kentucky louisiana maryland massachusetts michigan minnesota mississippi missouri nebraska nevada ohio
    oklahoma oregon pennsylvania tennessee texas utah vermont wisconsin wyoming"""
_INSURERS = frozenset(_PAYERS.split())
_PAYER_VOCABULARY = _INSURERS | frozenset(_PAYER_WORDS.split())
_IN_PLACE = frozenset({"DATE", "AGE", "ZIP"})


def date_under(value: datetime.date, config: DeidConfig, days: int) -> datetime.date | None:
    """A date by policy; None where the shifted day lies outside the calendar."""
    if config.dates == "year":
        return datetime.date(value.year, 1, 1)
    try:
        return datetime.date(value.year, value.month, value.day) + datetime.timedelta(days=days)
    except OverflowError:
        return None


def coded(field: str, value: str | None) -> str | None:
    """A value of a `code` field when it is one; else None, or what stands for an unknown one."""
    if value is None:
        return None
    words = WORDS.findall(value.lower())
    if field in LISTS:
        known = " ".join(words) in LISTS[field]
    else:
        known = bool(words) and VOCABULARY.get(field, NO_WORDS).issuperset(words) or bool(CODES.get(field, CODE).fullmatch(value.strip()))
    return value if known else FALLBACK.get(field)


def listed(field: str, value: str) -> bool:
    """Whether a value of a `label` field is one that needs no search: a LOINC code, a code, a known document type, a known payer."""
    value = value.strip()
    if not value or CODE.fullmatch(value):
        return True
    words = WORDS.findall(value.lower())
    if field == "payer":
        named = not _INSURERS.isdisjoint(words) or any(blue.issubset(words) for blue in _BLUES)
        return " ".join(words) in NO_PAYER or (named and _PAYER_VOCABULARY.issuperset(words))
    return value in DOCUMENT_TYPES or codes.is_code(value, LOINC) or (bool(words) and _kinds().issuperset(words))


@functools.cache
def _kinds() -> frozenset[str]:
    """Words of which the names of kinds of documents are made, in every language."""
    return frozenset(word for spoken in languages() for word in spoken.kinds)


def to_search(table: str, row: Mapping[str, Any]) -> dict[str, str]:
    """The values of a row's `label` fields that have to be searched, by field. Too long a one is no label, and not kept.

    Raises:
        RecordError: `wrong_type`.
    """
    found = {}
    for item in dataclasses.fields(TABLES[table]) if table in TABLES else ():
        value = row.get(item.name)
        if item.metadata["phi"] != "label" or value is None:
            continue
        if not isinstance(value, str):
            raise RecordError("wrong_type", item.name, f"treated as label; found {type(value).__name__}")
        if len(value) <= MAX_LABEL_CHARACTERS and not listed(item.name, value):
            found[item.name] = value
    return found


def own_names(table: str, row: Mapping[str, Any]) -> list[str]:
    """Names that the record's own fields hold."""
    values = (row.get(item.name) for item in dataclasses.fields(TABLES[table]) if item.metadata["phi"] == "name")
    return [str(name) for value in values if value for name in (value if isinstance(value, list | tuple) else (value,))]


def _ordinary(value: str, spans: Sequence[Span], words: frozenset[str]) -> bool:
    """Whether every word outside the spans and the tags of an earlier pass is an ordinary one, or of the vocabularies of labels."""
    rest = list(value)
    for start, end in [*((s.start, s.end) for s in spans), *(m.span() for m in TAG.finditer(value))]:
        rest[start:end] = " " * (end - start)
    found = WORDS.findall("".join(rest).lower())
    return all(word.isdigit() or word in words or word in _kinds() or word in _PAYER_VOCABULARY for word in found)


def relabelled(value: str, spans: Sequence[Span], row: Mapping[str, Any], config: DeidConfig, secret: Secret, patient: str) -> str:
    """A searched label without identifiers. A label gives a tagger nothing to go by but the words themselves, so that a word which is no
    ordinary one counts as a name, found or not.

    Args:
        spans: what the detector found in it, and what records say of its patient and itself.
        patient: as in `clean`.
    """
    spoken = language(config.language)
    whole = next((s.label for s in spans if s.label not in _IN_PLACE), None)
    if whole is None and not _ordinary(value, spans, spoken.label_words):
        whole = "NAME"
    if whole:
        spans = [Span(start=0, end=len(value), label=whole)]
    return rewrite(value, spans, config, secret, patient=patient, reference=max(_dates(row), default=None)).text


def _dates(row: Mapping[str, Any]) -> list[datetime.date]:
    """Those of a record that can tell what age a date of birth means."""
    return [row[name] for name in REFERENCE if isinstance(row.get(name), datetime.date)]


def clean(
    table: str,
    row: Mapping[str, Any],
    config: DeidConfig,
    secret: Secret,
    *,
    text: str | None = None,
    labels: Mapping[str, str] | None = None,
    patient: str | None = None,
) -> dict[str, Any]:
    """The Clean row of a row of `table`.

    Args:
        patient: whose secret moves the dates (`dossier.whose`); None: the row alone says it.
        text: the rewritten note, for documents.
        labels: the labels of `to_search` after `relabelled`, by field; one that is missing here is not kept.

    Raises:
        RecordError: `unknown_table`; or `wrong_type` for a field that is not what its treatment needs.
    """
    if table not in TABLES:
        raise RecordError("unknown_table", "_table", f"one of {', '.join(TABLES)}")
    days = secret.shift_days(patient or whose(row, secret))
    on = told_on(config, *_dates(row))
    treatments = {item.name: item.metadata["phi"] for item in dataclasses.fields(TABLES[table])}
    dropped = policy_of(config).columns
    cleaned: dict[str, Any] = {}
    for item in dataclasses.fields(CLEAN_TABLES[table]):
        if item.name not in treatments:  # the mark, which is set when the record is whole
            continue
        if item.name in dropped:
            cleaned[item.name] = None
            continue
        if item.name not in row:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING and treatments[item.name] != "text":
                raise RecordError("missing_field", item.name, "a column of the table's schema")
            cleaned[item.name] = text if treatments[item.name] == "text" else [] if item.default == () else None
            continue
        if treatments[item.name] in ("code", "label"):
            cleaned[item.name] = _short(treatments[item.name], item.name, row[item.name], labels or {})
            continue
        try:
            cleaned[item.name] = (
                text if treatments[item.name] == "text" else _treated(treatments[item.name], row[item.name], config, secret, days, on)
            )
            if treatments[item.name] is None:
                cleaned[item.name] = _nested(_hints(CLEAN_TABLES[table])[item.name], row[item.name], config, secret, days, on)
        except (TypeError, ValueError, AttributeError) as error:
            raise RecordError(
                "wrong_type", item.name, f"treated as {treatments[item.name] or 'plain'}; found {type(row[item.name]).__name__}"
            ) from error
    if fault := misfit(CLEAN_TABLES[table], cleaned):  # nothing but the type says of a plain number that it is none
        raise RecordError("wrong_type", fault[0], fault[1])
    return cleaned


def _short(phi: str, field: str, value: Any, labels: Mapping[str, str]) -> str | None:
    """A code or a label under its treatment."""
    if value is not None and not isinstance(value, str):
        raise RecordError("wrong_type", field, f"treated as {phi}; found {type(value).__name__}")
    if phi == "code":
        return coded(field, value)
    return value if value is not None and len(value) <= MAX_LABEL_CHARACTERS and listed(field, value) else labels.get(field)


def _treated(phi: str | None, value: Any, config: DeidConfig, secret: Secret, days: int, on: datetime.date) -> Any:
    """One value under its treatment; lists value by value."""
    if value is None or phi is None:
        return value
    if isinstance(value, list | tuple):
        return [_treated(phi, v, config, secret, days, on) for v in value]
    if phi == "id":
        return secret.pseudonym(str(value))
    if phi == "postal_code":
        return postal_code(value, config)
    if phi == "date":  # a date of someone's life that long ago tells an age over 89 (164.514(b)(2)(i)(C))
        return None if isinstance(value, datetime.date) and tells_over_89(value.year, on) else date_under(value, config, days)
    if phi == "birth_date":
        if isinstance(value, int | float):
            return None if value > OLDEST else value
        return None if tells_over_89(value.year, on) else date_under(value, config, days)
    return None  # names, contacts, places: never in a Clean record


_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)  # kept, for every row asks


def _nested(hint: Any, value: Any, config: DeidConfig, secret: Secret, days: int, on: datetime.date) -> Any:
    """Lists of parts (service lines …): each field of a part under its own treatment."""
    part = next((a for a in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(a)), None)
    if part is None or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_nested(part, v, config, secret, days, on) for v in value]
    if not isinstance(value, Mapping):
        raise TypeError
    hints = _hints(part)
    return {
        item.name: codes.kept(item.name, value)
        if item.metadata["phi"] is None and codes.is_code_field(item.name)
        else _part(item.name, item.metadata["phi"], hints[item.name], value[item.name], config, secret, days, on)
        for item in dataclasses.fields(typing.cast("type[Any]", part))
        if item.name in value
    }


def _part(field: str, phi: str | None, hint: Any, value: Any, config: DeidConfig, secret: Secret, days: int, on: datetime.date) -> Any:
    """One field of a part, which may hold parts itself."""
    if phi is None:
        return _nested(hint, value, config, secret, days, on)
    if phi != "code":
        return _treated(phi, value, config, secret, days, on)
    if isinstance(value, list | tuple):
        return [kept for one in value if (kept := _short(phi, field, one, {})) is not None]
    return _short(phi, field, value, {})
