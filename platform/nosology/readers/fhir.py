"""FHIR R4: bulk NDJSON, one resource a line; Bundles (in a line, or a whole pretty-printed file) are split into their entries.

Fields are picked tolerantly: what is absent is None; what is there and cannot be right (an impossible date, text that is no text) makes the
resource a dead letter. References are cut to the id behind them ("Patient/123", "urn:uuid:…"); conditional ones ("Patient?identifier=…")
and contained ones have none.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from html.parser import HTMLParser
from itertools import chain
from typing import Any

import orjson

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.source import BOM, TOO_LONG, Draft, Job, Skipped, Unit, lines, record_bytes
from nosology.records import (
    ClaimLine,
    Coding,
    Diagnosis,
    RawClaim,
    RawCondition,
    RawDocument,
    RawEncounter,
    RawPatient,
    RawRemittance,
)

BAD_JSON = Reason("bad_json", None, "a JSON object (FHIR resource)")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,40}", re.ASCII)
_LONE = re.compile(rb'\s*\{.*"resourceType"\s*:.*\}\s*$')
_FORMS = {
    "professional": "professional", "institutional": "institutional", "oral": "dental", "pharmacy": "pharmacy",
    "carrier": "professional", "inpatient": "institutional", "outpatient": "institutional", "snf": "institutional", "hha": "institutional",
    "hospice": "institutional", "dme": "professional", "pde": "pharmacy",
}  # fmt: skip
_KINDS = {"principal": "principal", "admitting": "admitting", "patientreasonforvisit": "reason", "externalcauseofinjury": "external_cause",
          "external-cause": "external_cause", "external_cause": "external_cause"}  # fmt: skip

Resource = Mapping[str, Any]


def _wrong(field: str, rule: str) -> RecordError:
    return RecordError("wrong_type", field, rule)


def _list(value: Any, field: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(field, "a JSON array")
    return value


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(field, "a JSON object")
    return value


def _objects(value: Any, field: str) -> list[Mapping[str, Any]]:
    return [_object(one, field) for one in _list(value, field)]


def _string(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong(field, "a string")
    return value.strip() or None


def _strings(value: Any, field: str) -> list[str]:
    return [text for one in _list(value, field) if (text := _string(one, field))]


def _id(resource: Resource) -> str:
    return values.required(_string(resource.get("id"), "id"), "id")


def _reference(value: Any, field: str) -> str | None:
    """The id of what a Reference points at."""
    text = _string(_object(value, field).get("reference"), field)
    if text is None or "?" in text or text.startswith("#"):
        return None
    if text.startswith("urn:"):
        return text.rsplit(":", 1)[1] or None
    return text.split("/_history/")[0].rstrip("/").rsplit("/", 1)[-1] or None


def _codings(concept: Any, field: str) -> list[Coding]:
    """The codes of a CodeableConcept."""
    found = []
    for one in _objects(_object(concept, field).get("coding"), field):
        if code := _string(one.get("code"), field):
            system = values.system(_string(one.get("system"), field))
            found.append(Coding(system=system, code=values.dotted(code, system), display=_string(one.get("display"), field)))
    return found


def _day(value: Any, field: str) -> datetime.date | None:
    return values.day(_string(value, field), field)


def _period(value: Any, field: str) -> tuple[datetime.date | None, datetime.date | None]:
    period = _object(value, field)
    start, end = _day(period.get("start"), f"{field}.start"), _day(period.get("end"), f"{field}.end")
    values.in_order(start, end, field)
    return start, end


def _money(value: Any, field: str) -> float | None:
    return values.number(_object(value, field).get("value"), field)


def _displays(references: Any, field: str) -> tuple[str, ...]:
    names = (_string(one.get("display"), field) for one in _objects(references, field))
    return tuple(dict.fromkeys(name for name in names if name))


def _name(human: Mapping[str, Any]) -> str | None:
    if text := _string(human.get("text"), "name.text"):
        return text
    parts = _strings(human.get("prefix"), "name.prefix") + _strings(human.get("given"), "name.given")
    parts += [_string(human.get("family"), "name.family") or "", *_strings(human.get("suffix"), "name.suffix")]
    return " ".join(part for part in parts if part) or None


def _patient(resource: Resource) -> list[Draft]:
    home = next(iter(_objects(resource.get("address"), "address")), {})
    names = [name for one in _objects(resource.get("name"), "name") if (name := _name(one))]
    contacts = _objects(resource.get("telecom"), "telecom")
    reach = [(_string(one.get("system"), "telecom.system"), _string(one.get("value"), "telecom.value")) for one in contacts]
    identifiers = [_string(one.get("value"), "identifier.value") for one in _objects(resource.get("identifier"), "identifier")]
    return [
        partial(
            RawPatient, patient_id=_id(resource), names=tuple(dict.fromkeys(names)),
            sex=values.sex(_string(resource.get("gender"), "gender")),
            birth_date=_day(resource.get("birthDate"), "birthDate"), death_date=_day(resource.get("deceasedDateTime"), "deceasedDateTime"),
            address=" ".join(_strings(home.get("line"), "address.line")) or None, city=_string(home.get("city"), "address.city"),
            state=_string(home.get("state"), "address.state"), postal_code=_string(home.get("postalCode"), "address.postalCode"),
            phones=tuple(value for kind, value in reach if value and kind in ("phone", "fax", "sms", "pager")),
            emails=tuple(value for kind, value in reach if value and kind == "email"),
            identifiers=tuple(dict.fromkeys(value for value in identifiers if value)),
        )
    ]  # fmt: skip


def _encounter(resource: Resource) -> list[Draft]:
    start, end = _period(resource.get("period"), "period")
    kind = resource.get("class")
    if isinstance(kind, list):  # R5: CodeableConcepts
        kind = next(iter(_objects(_object(next(iter(kind), None), "class").get("coding"), "class")), None)
    participants = _objects(resource.get("participant"), "participant")
    people = [_object(one.get("individual") or one.get("actor"), "participant") for one in participants]
    places = [_object(one.get("location"), "location") for one in _objects(resource.get("location"), "location")]
    facility = _displays([_object(resource.get("serviceProvider"), "serviceProvider"), *places], "serviceProvider")
    return [
        partial(
            RawEncounter, encounter_id=_id(resource), patient_id=_reference(resource.get("subject"), "subject"),
            setting=_string(_object(kind, "class").get("code"), "class"), start_date=start, end_date=end,
            reasons=tuple(code for one in _list(resource.get("reasonCode"), "reasonCode") for code in _codings(one, "reasonCode")),
            providers=_displays(people, "participant"), facility=next(iter(facility), None),
        )
    ]  # fmt: skip


def _condition(resource: Resource) -> list[Draft]:
    onset = _day(resource.get("onsetDateTime"), "onsetDateTime") or _period(resource.get("onsetPeriod"), "onsetPeriod")[0]
    status = _codings(resource.get("clinicalStatus"), "clinicalStatus")
    return [
        partial(
            RawCondition, condition_id=_id(resource), patient_id=_reference(resource.get("subject"), "subject"),
            encounter_id=_reference(resource.get("encounter"), "encounter"), codings=tuple(_codings(resource.get("code"), "code")),
            onset_date=onset, status=status[0].code if status else None,
        )
    ]  # fmt: skip


def _document(resource: Resource) -> list[Draft]:
    context = resource.get("context")
    # R4: context is an element with `encounter` and `period`; R5: context is a list of references and period stands beside it
    if isinstance(context, list):
        encounters, period, related = context, resource.get("period"), []
    else:
        element = _object(context, "context")
        encounters, period = _list(element.get("encounter"), "context.encounter"), element.get("period")
        related = _objects(element.get("related"), "context.related")
    start, _ = _period(period, "context.period")
    codings = _codings(resource.get("type"), "type")
    kind = codings[0].code if codings else _string(_object(resource.get("type"), "type").get("text"), "type.text")
    claims = [one for one in related if (_string(one.get("reference"), "context.related") or "").startswith("Claim/")]
    return [
        partial(
            RawDocument, document_id=_id(resource), patient_id=_reference(resource.get("subject"), "subject"),
            encounter_id=next((found for one in encounters if (found := _reference(one, "context.encounter"))), None),
            claim_id=next((_reference(one, "context.related") for one in claims), None), kind=kind, text=_note(resource),
            date=start or _day(resource.get("date"), "date"), authors=_displays(resource.get("author"), "author"),
        )
    ]  # fmt: skip


def _note(resource: Resource) -> str:
    """The text of a DocumentReference: the first attachment that carries text in itself; contents are forms of the same document."""
    found: list[tuple[str, str]] = []
    attachments = [_object(one.get("attachment"), "content.attachment") for one in _objects(resource.get("content"), "content")]
    for attachment in attachments:
        kind = (_string(attachment.get("contentType"), "content.attachment.contentType") or "text/plain").lower()
        data = attachment.get("data")
        if data is not None and not isinstance(data, str):
            raise _wrong("content.attachment.data", "a string")
        if data is not None and kind.startswith(("text/", "application/xhtml")):
            found.append((kind, data))
    if not found:
        if not attachments:
            raise RecordError("empty_note", "content", "an attachment")
        if any("data" in attachment for attachment in attachments):
            raise RecordError("unsupported_content", "content.attachment.contentType", "text/plain, another text type, or XHTML")
        raise RecordError("note_elsewhere", "content.attachment.data", "text inside the resource; one behind a URL is not fetched")
    kind, data = min(found, key=lambda pair: not pair[0].startswith("text/plain"))
    text = _plain(data, kind)
    return _visible(text) if "html" in kind else text


def _plain(data: str, kind: str) -> str:
    """`data` is Base64 by the standard; some servers put the text itself there. Blanks inside (Base64 has none) tell it."""
    charset = re.search(r"charset=\"?([\w.:-]+)", kind)
    try:
        content = base64.b64decode(re.sub(r"[\r\n]", "", data), validate=True)
    except (binascii.Error, ValueError):
        return data
    try:
        return content.decode(charset[1] if charset else "utf-8")
    except UnicodeDecodeError:
        raise RecordError("invalid_utf8", "content.attachment.data", "text in UTF-8, or in the charset that contentType names") from None
    except LookupError:
        raise RecordError("unsupported_content", "content.attachment.contentType", "a known charset") from None


class _Visible(HTMLParser):
    """Text of an (X)HTML page, a line for each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")
        if tag in ("p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style") and self.hidden > 0
        if tag in ("p", "div", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6"):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def _visible(page: str) -> str:
    parser = _Visible()
    parser.feed(page)
    parser.close()
    rows = (re.sub(r"[ \t]+", " ", row).strip() for row in "".join(parser.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip()


def _claim(resource: Resource, conditions: Mapping[str, list[Coding]]) -> list[Draft]:
    start, end = _period(resource.get("billablePeriod"), "billablePeriod")
    kinds = [code.code.lower() for code in _codings(resource.get("type"), "type")]
    items = _objects(resource.get("item"), "item")
    insurances = _objects(resource.get("insurance"), "insurance")
    encounters = [_reference(one, "item.encounter") for item in items for one in _list(item.get("encounter"), "item.encounter")]
    procedures = [
        code for one in _objects(resource.get("procedure"), "procedure")
        for code in _codings(one.get("procedureCodeableConcept"), "procedure")[:1]
    ]  # fmt: skip
    totals = resource.get("total")  # an amount in a Claim, a list by category in an ExplanationOfBenefit
    total = _money(totals, "total") if isinstance(totals, dict) else _category(totals, "submitted")
    provider = _object(resource.get("provider"), "provider")
    payers = _displays([_object(one.get("coverage"), "insurance.coverage") for one in insurances], "insurance.coverage")
    insurer = _string(_object(resource.get("insurer"), "insurer").get("display"), "insurer")
    npi = _object(provider.get("identifier"), "provider.identifier")
    return [
        partial(
            RawClaim, claim_id=_id(resource), patient_id=_reference(resource.get("patient"), "patient"),
            encounter_id=next((found for found in encounters if found), None),
            form=next((_FORMS[kind] for kind in kinds if kind in _FORMS), "unknown"), status=_string(resource.get("status"), "status"),
            service_from=start, service_to=end, diagnoses=tuple(_diagnoses(resource, conditions)), procedures=tuple(procedures),
            lines=tuple(_line(item, at) for at, item in enumerate(items, start=1)), total_charge=total,
            payer=insurer or next(iter(payers), None), provider_name=_string(provider.get("display"), "provider"),
            provider_npi=_string(npi.get("value"), "provider.identifier") if "npi" in str(npi.get("system")) else None,
        )
    ]  # fmt: skip


def _category(totals: Any, name: str) -> float | None:
    for one in _objects(totals, "total"):
        if any(code.code == name for code in _codings(one.get("category"), "total.category")):
            return _money(one.get("amount"), "total.amount")
    return None


def _diagnoses(resource: Resource, conditions: Mapping[str, list[Coding]]) -> list[Diagnosis]:
    """Diagnoses by sequence. One that only refers to a Condition has the code of that Condition when it lies in the same Bundle."""
    found = []
    entries = _objects(resource.get("diagnosis"), "diagnosis")
    for entry in sorted(entries, key=lambda one: values.count(one.get("sequence"), "diagnosis.sequence") or 0):
        codings = _codings(entry.get("diagnosisCodeableConcept"), "diagnosis")
        codings = codings or conditions.get(_reference(entry.get("diagnosisReference"), "diagnosis.diagnosisReference") or "", [])
        if not codings:
            continue
        chosen = min(codings, key=lambda code: code.system not in (values.ICD10CM, values.ICD9CM))
        types = [code for one in _list(entry.get("type"), "diagnosis.type") for code in _codings(one, "diagnosis.type")]
        kinds = [_KINDS.get(code.code.lower(), "other") for code in types]
        present = _codings(entry.get("onAdmission"), "diagnosis.onAdmission")
        found.append(
            Diagnosis(
                system=chosen.system, code=chosen.code, kind=min(kinds, key=lambda kind: kind == "other", default="other"),
                present_on_admission=present[0].code.upper() if present else None,
            )
        )  # fmt: skip
    return found


def _line(item: Mapping[str, Any], at: int) -> ClaimLine:
    codings = _codings(item.get("productOrService"), "item.productOrService")
    chosen = min(codings, key=lambda code: code.system != values.HCPCS, default=None)
    revenue = _codings(item.get("revenue"), "item.revenue")
    served = _day(item.get("servicedDate"), "item.servicedDate") or _period(item.get("servicedPeriod"), "item.servicedPeriod")[0]
    return ClaimLine(
        number=values.count(item.get("sequence"), "item.sequence") or at, system=chosen.system if chosen else None,
        code=chosen.code if chosen else None,
        modifiers=tuple(code.code for one in _list(item.get("modifier"), "item.modifier") for code in _codings(one, "item.modifier")[:1]),
        revenue_code=revenue[0].code if revenue else None, quantity=_money(item.get("quantity"), "item.quantity"),
        charge=_money(item.get("net"), "item.net"), service_date=served,
        diagnosis_pointers=tuple(values.count(one, "item.diagnosisSequence") or 0 for one in _list(item.get("diagnosisSequence"), "item")),
    )  # fmt: skip


def _benefit(resource: Resource, conditions: Mapping[str, list[Coding]]) -> list[Draft]:
    """The payer's answer; it stands for the claim too when it names none (as CMS's own data do)."""
    claim_id = _reference(resource.get("claim"), "claim")
    paid = _money(_object(resource.get("payment"), "payment").get("amount"), "payment.amount")
    total = partial(_category, resource.get("total"))
    answer = partial(
        RawRemittance, claim_id=claim_id or _id(resource), payer_claim_id=_id(resource), status=_string(resource.get("outcome"), "outcome"),
        charge=total("submitted"), paid=total("benefit") if paid is None else paid,
        patient_responsibility=total("patientresponsibility") or total("memberliability"),
        service_from=_period(resource.get("billablePeriod"), "billablePeriod")[0],
    )  # fmt: skip
    return [answer] if claim_id else [*_claim(resource, conditions), answer]


_BUILD: dict[str, Callable[[Resource], list[Draft]]] = {
    "Patient": _patient, "Encounter": _encounter, "Condition": _condition, "DocumentReference": _document,
}  # fmt: skip


def _units(resource: Any, conditions: Mapping[str, list[Coding]], depth: int = 0) -> Iterator[Unit]:
    """What one JSON value gives: a unit, or those of a Bundle's entries."""
    try:
        if not isinstance(resource, dict):
            raise RecordError(BAD_JSON.code, None, BAD_JSON.rule)
        kind = values.required(_string(resource.get("resourceType"), "resourceType"), "resourceType")
        if kind == "Bundle" and depth < 4:
            entries = [one.get("resource") for one in _objects(resource.get("entry"), "entry")]
            inside = {_id(one): _codings(one.get("code"), "code") for one in entries if isinstance(one, dict) and _is_condition(one)}
        elif kind in _BUILD:
            yield _BUILD[kind](resource)
            return
        elif kind in ("Claim", "ExplanationOfBenefit"):
            yield (_claim if kind == "Claim" else _benefit)(resource, conditions)
            return
        else:
            yield Skipped(kind if _TYPE.fullmatch(kind) else "unknown")
            return
    except RecordError as error:
        yield error.reason
        return
    for entry in entries:
        if entry is not None:  # a Bundle's answer to a delete, for instance, has no resource
            yield from _units(entry, inside, depth + 1)


def _is_condition(resource: Mapping[str, Any]) -> bool:
    """Whether it is a Condition whose code can be read; a broken one becomes its own dead letter later."""
    try:
        return resource.get("resourceType") == "Condition" and bool(_id(resource) and _codings(resource.get("code"), "code"))
    except RecordError:
        return False


def _parse(text: bytes) -> Any:
    """The JSON value.

    Raises:
        RecordError: `invalid_utf8`, or `bad_json`.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            text.decode()
        except UnicodeDecodeError:
            raise RecordError("invalid_utf8", None, "UTF-8 throughout") from None
        raise RecordError(BAD_JSON.code, None, BAD_JSON.rule) from None


class Fhir:
    """Reader of FHIR resources in JSON."""

    name = "fhir"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip()
        return head.startswith(b"{") and re.search(rb'"resourceType"\s*:', head) is not None

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        limit = record_bytes(job.ingest)
        source = lines(stream, limit)
        first, second = next(source, b""), next(source, b"")
        if first is not None and second is not None and second and not second.lstrip().startswith(b"{"):
            yield from self._whole(first, second, source, limit)
            return
        for line in chain([first, second], source):
            if line is None:
                yield TOO_LONG
            elif line:
                try:
                    resource = _parse(line)
                except RecordError as error:
                    yield error.reason
                else:
                    yield from _units(resource, {})

    @staticmethod
    def _whole(first: bytes, second: bytes, source: Iterator[bytes | None], limit: int) -> Iterator[Unit]:
        """A pretty-printed file: the second line of NDJSON would begin with a brace. When it is no JSON after all, line by line."""
        held, size = [first, second], len(first) + len(second)
        for line in source:
            held.append(line or b"")
            size += len(held[-1])
            if line is None or size > 16 * limit:
                yield TOO_LONG
                return
        try:
            yield from _units(orjson.loads(b"\n".join(held)), {})
            return
        except orjson.JSONDecodeError:
            pass
        if not any(_LONE.match(line) for line in held):  # one damaged document
            yield BAD_JSON
            return
        for line in held:
            try:
                yield from _units(_parse(line), {})
            except RecordError as error:
                yield error.reason
