"""X12 837: claims, professional, institutional and dental, of version 5010 and 4010 (005010X222, X223, X224; 004010X098, X096, X097)."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.segments import Segment
from nosology.readers.source import Builder, Draft, Unit
from nosology.readers.values import ICD9CM, ICD10CM, ICD10PCS, NDC, REVENUE
from nosology.readers.x12_loops import SERVICES, Claim, Loop, Marks, Party, Transaction, at, period, split
from nosology.records import Attachment, ClaimLine, Coding, Diagnosis, RawClaim, RawDocument

FORMS = {
    "X222": "professional", "X098": "professional", "X223": "institutional", "X096": "institutional", "X224": "dental", "X097": "dental",
}  # fmt: skip
DIAGNOSES = {
    "BK": (ICD9CM, "principal"), "ABK": (ICD10CM, "principal"), "BF": (ICD9CM, "other"), "ABF": (ICD10CM, "other"),
    "BJ": (ICD9CM, "admitting"), "ABJ": (ICD10CM, "admitting"), "PR": (ICD9CM, "reason"), "APR": (ICD10CM, "reason"),
    "BN": (ICD9CM, "external_cause"), "ABN": (ICD10CM, "external_cause"),
}  # fmt: skip
PROCEDURES = {"BR": ICD9CM, "BQ": ICD9CM, "BBR": ICD10PCS, "BBQ": ICD10PCS}
AMOUNTS = {"SV1": (2, 4), "SV2": (3, 5), "SV3": (2, 6)}  # places of charge and quantity
_FIELDS = {kind: tuple(f"{kind}{place:02d}" for place in places) for kind, places in AMOUNTS.items()}
_SERVICE_FORMS = {"SV1": "professional", "SV2": "institutional", "SV3": "dental"}

NO_SUBSCRIBER = Reason("broken_loop", "CLM", "a claim inside the loop of a subscriber (HL 22) or patient (HL 23)")
NO_PARENT = Reason("broken_loop", "HL", "a loop whose parent was opened before it: 22 below 20, 23 below 22")
NO_LINE = Reason("broken_loop", "LX", "a service (SV1, SV2, SV3) below its LX, and one LX at least in a claim")


@dataclass(slots=True)
class Line:
    """The segments of a service line."""

    head: Segment
    service: Segment = field(default_factory=list)
    dates: list[Segment] = field(default_factory=list)
    drug: Segment = field(default_factory=list)
    control: Segment = field(default_factory=list)


@dataclass(slots=True)
class Body:
    """The segments of a claim by what they say."""

    codes: list[Segment] = field(default_factory=list)
    dates: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    references: dict[str, list[Segment]] = field(default_factory=dict)
    attachments: list[tuple[Segment, Line | None]] = field(default_factory=list)
    information: list[Segment] = field(default_factory=list)


def body_of(claim: Claim) -> Body:
    """Sorts the segments of a claim.

    Raises:
        RecordError: a service outside a line, or a line without one.
    """
    body = Body()
    line: Line | None = None
    elsewhere = False  # inside what another payer of the same claim said (loop 2320 and below)
    for segment in claim.segments:
        kind = segment[0]
        if kind == "DTP":
            (line.dates if line else body.dates).append(segment)
        elif kind == "LX":
            line, elsewhere = Line(segment), False
            body.lines.append(line)
        elif kind in AMOUNTS:
            if line is None or line.service:
                raise RecordError(NO_LINE.code, NO_LINE.field, NO_LINE.rule)
            line.service = segment
        elif kind == "HI":
            body.codes.append(segment)
        elif kind == "SBR":
            elsewhere = True
        elif kind == "REF":
            name = at(segment, 1)
            if name == "6R":
                if line is not None:
                    line.control = line.control or segment
            elif not elsewhere:
                body.references.setdefault(name, []).append(segment)
        elif kind == "NTE":
            body.notes.append(segment)
        elif kind == "LIN":
            if line is not None and at(segment, 2) == "N4":
                line.drug = segment
        elif kind == "PWK":
            body.attachments.append((segment, line))
        elif kind == "K3":  # not the names and addresses of others (NM1, N3, N4, DMG), which loops 2310 to 2420 have
            body.information.append(segment)
    if not body.lines or not all(line.service for line in body.lines):
        raise RecordError(NO_LINE.code, NO_LINE.field, NO_LINE.rule)
    return body


def roles(claim: Claim) -> tuple[Loop, Party, Party, Party]:
    """The subscriber's loop of a claim; billing provider, subscriber and patient (who may be the subscriber)."""
    loop = claim.loop or Loop("22")
    subscriber = loop.parent or Loop("22") if loop.level == "23" else loop
    provider = subscriber.parent or Loop("20")
    for one in (loop, subscriber, provider):
        one.sort()
    return subscriber, provider.party, subscriber.party, loop.party


class Claims(Transaction):
    """An 837."""

    wanted = frozenset(("NM1", "N3", "N4", "DMG", "SBR", "LX", "HI", "DTP", "NTE", "SV1", "SV2", "SV3", "LIN", "REF", "PWK", "K3"))
    turns = frozenset(("HL", "CLM"))

    def __init__(self, marks: Marks, version: str, builder: Builder, seen: Callable[[Claim, Unit], None] | None = None) -> None:
        super().__init__(marks, builder, seen)
        self.form = next((form for part, form in FORMS.items() if part in version), None)
        self.levels: dict[str, Loop] = {}
        self.loop: Loop | None = None
        self.pending: list[Loop] = []  # loops with a fault that no claim has reported yet

    def blame(self, reason: Reason) -> Iterator[Unit]:
        if self.claim is None and self.loop is not None:
            if self.loop.fault is None:
                self.loop.fault = reason
                self.pending.append(self.loop)
        else:
            yield from super().blame(reason)

    def end(self) -> Iterator[Unit]:
        yield from self.close()
        for loop in self.pending:
            if not loop.reported and loop.fault is not None:
                yield loop.fault
        self.pending = []

    def turn(self, segment: Segment) -> Iterator[Unit]:
        yield from self.close()
        if segment[0] == "HL":
            self.open_loop(segment)
            return
        outside = self.loop is None or self.loop.level == "20"
        self.claim = Claim(segment, self.loop, fault=NO_SUBSCRIBER if outside else None)
        self.append = self.claim.segments.append

    def open_loop(self, segment: Segment) -> None:
        level, above = at(segment, 3), self.levels.get(at(segment, 2))
        loop = Loop(level, parent=above)
        expected = {"22": "20", "23": "22"}.get(level)
        if level not in ("20", "22", "23") or (expected and (above is None or above.level != expected)):
            loop.fault = NO_PARENT
            self.pending.append(loop)
        self.levels = {name: held for name, held in self.levels.items() if held.level < level}  # what cannot be a parent any more
        self.levels[at(segment, 1)] = loop
        self.loop, self.append = loop, loop.segments.append

    def build(self, claim: Claim) -> list[Draft]:
        body = body_of(claim)
        subscriber, provider, holder, person = roles(claim)
        claim_id = values.required(at(claim.head, 1), "CLM01")
        diagnoses, procedures = read_codes(body.codes, self.marks)
        lines = [self.read_line(number, line) for number, line in enumerate(body.lines, start=1)]
        first = last = None
        for segment in body.dates:
            begin, finish = period(segment)
            if at(segment, 1) == "434":
                first, last = begin, finish
        if first is None:
            days = [day for _, begin, finish in lines for day in (begin, finish) if day]
            first, last = (min(days), max(days)) if days else (None, None)
        born = person.born
        birth, sex = values.day(at(born, 2), "DMG02"), values.sex(at(born, 3))
        member = holder.ident
        patient_id, names = member, [holder.name]
        if person is not holder:  # a dependent seldom has an id: the subscriber's, the given name and the birth date make one
            patient_id = person.ident or (f"{member}:{at(person.named, 4)}:{at(born, 2)}" if member else None)
            names.insert(0, person.name)
        references, town, insured = body.references, person.town, subscriber.insured
        whole = partial(
            RawClaim, claim_id=claim_id, patient_id=patient_id, form=self.form or _SERVICE_FORMS[body.lines[0].service[0]],
            status=self.frequency(claim), service_from=first, service_to=last, diagnoses=diagnoses, procedures=procedures,
            lines=tuple(line for line, _, _ in lines), total_charge=values.number(at(claim.head, 2), "CLM02"),
            payer=at(subscriber.payer, 3) or None, payer_type=at(insured, 9) or None, provider_npi=provider.ident,
            provider_name=provider.name, subscriber_id=member, group_number=at(insured, 3) or None,
            original_payer_claim_id=next(iter(_numbers(references, "F8")), None),
            medical_record_number=next(iter(_numbers(references, "EA")), None),
            authorizations=_numbers(references, "G1", "9F") if references else (),
            attachments=tuple(_attachment(one, line) for one, line in body.attachments),
            file_information=tuple(text for segment in body.information if (text := at(segment, 1))),
            patient_names=tuple(dict.fromkeys(name for name in names if name)), birth_date=birth, sex=sex, address=person.address,
            city=at(town, 1) or None, state=at(town, 2) or None, postal_code=at(town, 3) or None,
        )  # fmt: skip
        text = "\n".join(filter(None, [at(note, 2) for note in body.notes]))
        if not text:
            return [whole]
        note = partial(
            RawDocument, document_id=f"{claim_id}/NTE", patient_id=patient_id, claim_id=claim_id, kind="NTE", text=text, date=first,
            sex=sex, age=values.age(birth, first),
        )  # fmt: skip
        return [whole, note]

    def frequency(self, claim: Claim) -> str | None:
        facility = at(claim.head, 5)
        parts = facility.split(self.marks.component if self.marks.component in facility else ">")
        return parts[2].strip() or None if len(parts) > 2 else None

    def read_line(self, number: int, line: Line) -> tuple[ClaimLine, datetime.date | None, datetime.date | None]:
        service, (component, repetition) = line.service, self.marks
        kind = service[0]
        institutional = kind == "SV2"
        system, code, modifiers = _procedure(at(service, 2 if institutional else 1), component, repetition)
        revenue = at(service, 1) or None if institutional else None
        if not code:
            drug = at(line.drug, 3)
            system, code = (REVENUE, revenue or "") if revenue else (NDC, drug) if drug else (None, "")
        charge, quantity = AMOUNTS[kind]
        first = last = None
        for segment in line.dates:
            begin, finish = period(segment)
            if at(segment, 1) == "472":
                first, last = begin, finish
        return ClaimLine(
            number=values.count(at(line.head, 1), "LX01") or number, control_number=at(line.control, 2) or None, system=system,
            code=code or None, modifiers=modifiers, revenue_code=revenue, quantity=values.number(at(service, quantity), _FIELDS[kind][1]),
            charge=values.number(at(service, charge), _FIELDS[kind][0]), service_date=first,
            diagnosis_pointers=_pointers(at(service, 7), component) if kind == "SV1" else (),
        ), first, last  # fmt: skip


def read_codes(segments: list[Segment], marks: Marks) -> tuple[tuple[Diagnosis, ...], tuple[Coding, ...]]:
    """HI: diagnoses in order, procedures; occurrence, value and condition codes are left."""
    component, repetition = marks
    found = [code for segment in segments for element in segment[1:] for code in _codes(element, component, repetition)]
    diagnoses = tuple(code for code in found if isinstance(code, Diagnosis))
    return diagnoses, tuple(code for code in found if isinstance(code, Coding))


# What composites say; an archive has few different ones, and reads each many times.


@functools.lru_cache(maxsize=1 << 14)
def _codes(element: str, component: str, repetition: str | None) -> tuple[Diagnosis | Coding, ...]:
    """Codes of an element of HI, as often as it is repeated."""
    found: list[Diagnosis | Coding] = []
    for one in Marks(component, repetition).repeats(element):
        parts = split(one, component)
        kind = parts[0].strip()
        if kind not in DIAGNOSES and kind not in PROCEDURES:
            continue
        code = values.required(parts[1] if len(parts) > 1 else None, f"HI {kind}")
        if kind in PROCEDURES:
            found.append(Coding(system=PROCEDURES[kind], code=code.upper()))
        else:
            system, use = DIAGNOSES[kind]
            present = parts[8].strip() or None if len(parts) > 8 else None
            found.append(Diagnosis(system=system, code=values.dotted(code, system), kind=use, present_on_admission=present))
    return tuple(found)


@functools.lru_cache(maxsize=1 << 12)
def _procedure(element: str, component: str, repetition: str | None) -> tuple[str | None, str, tuple[str, ...]]:
    """System, code and modifiers of a service."""
    parts = [part.strip() for part in Marks(component, repetition).parts(element)]
    return SERVICES.get(parts[0], parts[0] or None), parts[1] if len(parts) > 1 else "", tuple(filter(None, parts[2:6]))


@functools.lru_cache(maxsize=1 << 10)
def _pointers(element: str, component: str) -> tuple[int, ...]:
    parts = split(element, component)
    return tuple(int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 2)


def _numbers(references: dict[str, list[Segment]], *names: str) -> tuple[str, ...]:
    """What REF segments of these qualifiers say, each once."""
    found = (at(segment, 2) for name in names for segment in references.get(name, ()))
    return tuple(dict.fromkeys(number for number in found if number))


def _attachment(segment: Segment, line: Line | None) -> Attachment:
    """PWK: what report supports the claim, how it travels, and the control number under which it does."""
    number = at(segment, 6) or None if at(segment, 5) in ("AC", "") else None
    return Attachment(
        kind=at(segment, 1) or None, transmission=at(segment, 2) or None, control_number=number,
        line=values.count(at(line.head, 1), "LX01") if line else None,
    )  # fmt: skip
