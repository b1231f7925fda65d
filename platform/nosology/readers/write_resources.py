"""Where the fields of records stand in FHIR resources (R4; of the other releases what is named alike)."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nosology.readers import values
from nosology.readers.changes import changed
from nosology.records import ClaimLine, Coding, Diagnosis, RawDocument, RawRecord

Path = tuple[str | int, ...]
Edit = tuple[Path, Any]


def places(resource: Any, old: RawRecord, new: RawRecord) -> Iterator[Edit]:
    """Paths in a resource, each with the value that is to stand there, for what differs between two records of it. What has no place
    that is known is left out."""
    of_a_claim = isinstance(old, RawDocument) and _get(resource, ("resourceType",)) in ("Claim", "ExplanationOfBenefit")
    fields = _FIELDS["supportingInfo" if of_a_claim else type(old).__name__]
    for name in changed(old, new):
        if name in fields:
            for path, value in fields[name](resource, getattr(old, name), getattr(new, name)):
                if path and value is not None:
                    yield path, value


def _get(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(value, dict) if isinstance(step, str) else isinstance(value, list) and step < len(value):
            value = value.get(step) if isinstance(value, dict) else value[step]
        else:
            return None
    return value


Field = Callable[[Any, Any, Any], Iterator[Edit]]


def _plain(*paths: Path) -> Field:
    """The first of these paths that is there."""

    def edit(resource: Any, old: Any, new: Any) -> Iterator[Edit]:
        path = next((path for path in paths if _get(resource, path) is not None), ())
        yield path, new

    return edit


def _day(*paths: Path) -> Field:
    """A date; a time behind it stays."""

    def edit(resource: Any, old: datetime.date | None, new: datetime.date | None) -> Iterator[Edit]:
        for path in paths:
            text = _get(resource, path)
            if isinstance(text, str) and new is not None and text[:10] == str(old):
                yield path, new.isoformat() + text[10:]
                return

    return edit


def _reference(*paths: Path) -> Field:
    """The id within a reference."""

    def edit(resource: Any, old: str | None, new: str | None) -> Iterator[Edit]:
        for path in paths:
            held = _get(resource, path)
            for number, one in enumerate(held if isinstance(held, list) else [held]):
                text = _get(one, ("reference",))
                if isinstance(text, str) and old and new and old in text:
                    before, _, behind = text.rpartition(old)
                    yield (*path, *((number,) if isinstance(held, list) else ()), "reference"), before + new + behind
                    return

    return edit


def _code(was: str, now: str, written: str) -> str:
    """A code as the source writes codes: with its dot or without."""
    return now.replace(".", "") if "." in was and "." not in written else now


def _codings(*paths: Path) -> Field:
    """Codes of concepts in order; `*` in a path stands for each of an array."""

    def edit(resource: Any, old: Sequence[Coding], new: Sequence[Coding]) -> Iterator[Edit]:
        found = [path for pattern in paths for path in _each(resource, (*pattern, "coding", "*")) if _get(resource, (*path, "code"))]
        for path, was, now in zip(found, old, new, strict=False):
            if was.code != now.code:
                yield (*path, "code"), _code(was.code, now.code, _get(resource, (*path, "code")))
            if was.display != now.display:
                yield (*path, "display"), now.display

    return edit


def _each(resource: Any, pattern: Path, path: Path = ()) -> Iterator[Path]:
    """The paths that a pattern stands for."""
    if not pattern:
        yield path
    elif pattern[0] != "*":
        yield from _each(resource, pattern[1:], (*path, pattern[0]))
    else:
        held = _get(resource, path)
        for number in range(len(held) if isinstance(held, list) else 0):
            yield from _each(resource, pattern[1:], (*path, number))


def _first_code(*paths: Path) -> Field:
    """The code of a concept, or a string that stands for one."""

    def edit(resource: Any, old: str, new: str) -> Iterator[Edit]:
        for path in paths:
            held = _get(resource, path)
            if isinstance(held, str):
                yield path, new
                return
            for place in ((*path, "coding", 0, "code"), (*path, "code"), (*path, "text")):
                if isinstance(_get(resource, place), str):
                    yield place, new
                    return

    return edit


def _texts(*patterns: Path) -> Field:
    """Texts of which the record has each once: wherever one stands, the new one does."""

    def edit(resource: Any, old: Any, new: Any) -> Iterator[Edit]:
        before, after = ((one,) if isinstance(one, str) else one or () for one in (old, new))
        if len(before) == len(after):
            renamed = {was: now for was, now in zip(before, after, strict=True) if was != now}
            for pattern in patterns:
                for path in _each(resource, pattern):
                    text = _get(resource, path)
                    if isinstance(text, str) and text.strip() in renamed:
                        yield path, renamed[text.strip()]

    return edit


def _names(resource: Any, old: Sequence[str], new: Sequence[str]) -> Iterator[Edit]:
    if len(old) != len(new):
        return
    renamed = dict(zip(old, new, strict=True))
    for path in _each(resource, ("name", "*")):
        human = _get(resource, path)
        if isinstance(text := human.get("text"), str) and text.strip():
            yield (*path, "text"), renamed.get(text.strip(), text)
            continue
        parts: list[tuple[Path, str]] = []
        for name in ("prefix", "given", "family", "suffix"):
            held = human.get(name)
            parts += [((*path, name), held)] if isinstance(held, str) else [((*path, name, n), one) for n, one in enumerate(held or [])]
        parts = [(place, text) for place, text in parts if isinstance(text, str) and text.strip()]
        whole = " ".join(text.strip() for _, text in parts)
        if renamed.get(whole, whole) != whole:
            yield from _spread(path, human, parts, renamed[whole].split())


def _spread(path: Path, human: dict[str, Any], parts: list[tuple[Path, str]], words: list[str]) -> Iterator[Edit]:
    """A name over the parts of the one before: as many words to each; where their number differs, the last one is the family name."""
    lengths = [len(text.split()) for _, text in parts]
    if sum(lengths) != len(words):
        rest = {key: value for key, value in human.items() if key not in ("prefix", "given", "family", "suffix")}
        yield path, {**rest, **({"given": words[:-1]} if len(words) > 1 else {}), "family": " ".join(words[-1:])}
        return
    for (place, text), length in zip(parts, lengths, strict=True):
        if (part := " ".join(words[:length])) != text:
            yield place, part
        words = words[length:]


def _street(resource: Any, old: str, new: str) -> Iterator[Edit]:
    yield ("address", 0, "line"), [new]


def _reach(*systems: str) -> Field:
    def edit(resource: Any, old: Sequence[str], new: Sequence[str]) -> Iterator[Edit]:
        found = [path for path in _each(resource, ("telecom", "*")) if _get(resource, (*path, "system")) in systems]
        found = [(*path, "value") for path in found if _get(resource, (*path, "value"))]
        yield from ((path, now) for path, was, now in zip(found, old, new, strict=False) if was != now)

    return edit


def _note(resource: Any, old: str, new: str) -> Iterator[Edit]:
    """Plain text within the resource."""
    for path in _each(resource, ("content", "*", "attachment")):
        attachment = _get(resource, path)
        if isinstance(attachment.get("data"), str) and (charset := _plain_charset(attachment)):
            yield (*path, "data"), base64.b64encode(new.encode(charset)).decode()
            return


def _supporting(resource: Any, old: str, new: str) -> Iterator[Edit]:
    """Plain text that supports a claim: wherever the old one stands, the new one does."""
    for element in ("supportingInfo", "information"):
        for path in _each(resource, (element, "*")):
            entry = _get(resource, path)
            if isinstance(text := entry.get("valueString"), str) and text.strip() == old:
                yield (*path, "valueString"), new
            elif isinstance(attachment := entry.get("valueAttachment"), dict) and isinstance(attachment.get("data"), str):
                charset = _plain_charset(attachment)
                if charset and _decoded(attachment["data"], charset) == old:
                    yield (*path, "valueAttachment", "data"), base64.b64encode(new.encode(charset)).decode()


def _plain_charset(attachment: Any) -> str | None:
    """The encoding of an attachment of plain text; None of another."""
    kind = str(attachment.get("contentType") or "text/plain").lower()
    found = re.search(r"charset=\"?([\w.:-]+)", kind)
    return None if not kind.startswith("text/plain") else found[1] if found else "utf-8"


def _decoded(data: str, charset: str) -> str | None:
    try:
        return base64.b64decode(data).decode(charset)
    except (ValueError, LookupError):
        return None


def _diagnoses(resource: Any, old: Sequence[Diagnosis], new: Sequence[Diagnosis]) -> Iterator[Edit]:
    """Codes by sequence, of those that are in the resource itself."""
    paths = list(_each(resource, ("diagnosis", "*")))
    paths.sort(key=lambda path: values.count(_get(resource, (*path, "sequence")), "sequence") or 0)
    held = [
        path
        for path in paths
        if _get(resource, (*path, "diagnosisCodeableConcept", "coding")) or _get(resource, (*path, "diagnosisReference"))
    ]
    for path, was, now in zip(held, old, new, strict=False):
        if was.code != now.code:
            yield from _one_code(resource, (*path, "diagnosisCodeableConcept"), was.code, now.code)
        if was.present_on_admission != now.present_on_admission and now.present_on_admission:
            yield (*path, "onAdmission", "coding", 0, "code"), now.present_on_admission.lower()


def _one_code(resource: Any, concept: Path, was: str, now: str) -> Iterator[Edit]:
    """The coding of a concept whose code was chosen."""
    for path in _each(resource, (*concept, "coding", "*")):
        written = _get(resource, (*path, "code"))
        if isinstance(written, str) and written.strip().replace(".", "").upper() == was.replace(".", "").upper():
            yield (*path, "code"), _code(was, now, written)
            return


def _lines(resource: Any, old: Sequence[ClaimLine], new: Sequence[ClaimLine]) -> Iterator[Edit]:
    for path, was, now in zip(_each(resource, ("item", "*")), old, new, strict=False):
        for name in changed(was, now):
            before, after = getattr(was, name), getattr(now, name)
            item = _get(resource, path)
            if name == "code" and before and after:
                product = "productOrService" if "productOrService" in item else "service"
                yield from _one_code(resource, (*path, product), before, after)
            elif name in _LINE:
                yield from ((((*path, *place)), value) for place, value in _LINE[name](item, before, after) if place)


def _total(resource: Any, old: float, new: float) -> Iterator[Edit]:
    if isinstance(resource.get("total"), dict):
        yield ("total", "value"), new
        return
    for path in _each(resource, ("total", "*")):
        if "submitted" in [_get(resource, (*one, "code")) for one in _each(resource, (*path, "category", "coding", "*"))]:
            yield (*path, "amount", "value"), new
            return


_SUBJECT, _ENCOUNTER = _reference(("subject",)), _reference(("encounter",), ("context",))
_LINE: dict[str, Field] = {
    "number": _plain(("sequence",)), "revenue_code": _first_code(("revenue",)), "quantity": _plain(("quantity", "value")),
    "charge": _plain(("net", "value")), "service_date": _day(("servicedDate",), ("servicedPeriod", "start")),
    "diagnosis_pointers": lambda item, old, new: iter([(("diagnosisSequence",), list(new))]),
}  # fmt: skip
_FIELDS: dict[str, dict[str, Field]] = {
    "RawPatient": {
        "patient_id": _plain(("id",)), "names": _names, "sex": _plain(("gender",)), "birth_date": _day(("birthDate",)),
        "death_date": _day(("deceasedDateTime",)), "address": _street, "city": _plain(("address", 0, "city")),
        "state": _plain(("address", 0, "state")), "postal_code": _plain(("address", 0, "postalCode")),
        "phones": _reach("phone", "fax", "sms", "pager"), "emails": _reach("email"), "identifiers": _texts(("identifier", "*", "value")),
        "contacts": _texts(("contact", "*", "name", "text")), "contact_phones": _texts(("contact", "*", "telecom", "*", "value")),
    },
    "RawEncounter": {
        "encounter_id": _plain(("id",)), "patient_id": _SUBJECT, "setting": _first_code(("class",), ("class", 0)),
        "start_date": _day(("period", "start"), ("actualPeriod", "start")), "end_date": _day(("period", "end"), ("actualPeriod", "end")),
        "reasons": _codings(("reasonCode", "*"), ("reason", "*")),
        "providers": _texts(("participant", "*", "individual", "display"), ("participant", "*", "actor", "display")),
        "facility": _texts(("serviceProvider", "display"), ("location", "*", "location", "display")),
    },
    "RawCondition": {
        "condition_id": _plain(("id",)), "patient_id": _SUBJECT, "encounter_id": _ENCOUNTER, "codings": _codings(("code",)),
        "onset_date": _day(("onsetDateTime",), ("onsetPeriod", "start")), "status": _first_code(("clinicalStatus",)),
    },
    "RawProcedure": {
        "procedure_id": _plain(("id",)), "patient_id": _SUBJECT, "encounter_id": _ENCOUNTER, "codings": _codings(("code",)),
        "start_date": _day(("performedPeriod", "start"), ("performedDateTime",), ("occurrencePeriod", "start"), ("occurrenceDateTime",)),
        "end_date": _day(("performedPeriod", "end"), ("occurrencePeriod", "end")), "status": _plain(("status",)),
        "reasons": _codings(("reasonCode", "*"), ("reason", "*")), "performers": _texts(("performer", "*", "actor", "display")),
    },
    "RawDocument": {
        "document_id": _plain(("id",)), "patient_id": _SUBJECT, "encounter_id": _reference(("context", "encounter"), ("encounter",)),
        "claim_id": _reference(("context", "related")), "kind": _first_code(("type",), ("code",)), "text": _note,
        "date": _day(("context", "period", "start"), ("created",), ("date",)), "authors": _texts(("author", "*", "display")),
    },
    "supportingInfo": {"text": _supporting},
    "RawClaim": {
        "claim_id": _plain(("id",)), "patient_id": _reference(("patient",)), "encounter_id": _reference(("item", 0, "encounter")),
        "status": _plain(("status",)), "service_from": _day(("billablePeriod", "start")), "service_to": _day(("billablePeriod", "end")),
        "diagnoses": _diagnoses, "procedures": _codings(("procedure", "*", "procedureCodeableConcept")), "lines": _lines,
        "total_charge": _total, "payer": _texts(("insurer", "display"), ("insurance", "*", "coverage", "display")),
        "provider_name": _plain(("provider", "display")), "provider_npi": _plain(("provider", "identifier", "value")),
        "authorizations": _texts(("insurance", "*", "preAuthRef", "*")),
    },
    "RawRemittance": {
        "payer_claim_id": _plain(("id",)), "claim_id": _reference(("claim",)), "status": _first_code(("outcome",)),
        "paid": _plain(("payment", "amount", "value")), "charge": _total, "service_from": _day(("billablePeriod", "start")),
    },
}  # fmt: skip
