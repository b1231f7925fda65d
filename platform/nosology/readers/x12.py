"""X12 837 (professional, institutional, dental; 5010 and 4010) and 835.

Loops are told by the segments that open them (HL, CLM, LX, a SBR inside a claim; CLP, SVC), as in the implementation guides
005010X222, X223, X224 and X221 and their 4010 forms. A claim whose loops are broken is one dead letter; its neighbours stand.
"""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.segments import LAST, Segment, segments
from nosology.readers.source import BOM, Draft, Job, Skipped, Unit, record_bytes
from nosology.readers.values import HCPCS, ICD9CM, ICD10CM, ICD10PCS, NDC, REVENUE
from nosology.records import ClaimLine, Coding, Diagnosis, RawClaim, RawDocument, RawRemittance

_FORMS = {
    "X222": "professional", "X098": "professional", "X223": "institutional", "X096": "institutional", "X224": "dental", "X097": "dental",
}  # fmt: skip
_DIAGNOSES = {
    "BK": (ICD9CM, "principal"), "ABK": (ICD10CM, "principal"), "BF": (ICD9CM, "other"), "ABF": (ICD10CM, "other"),
    "BJ": (ICD9CM, "admitting"), "ABJ": (ICD10CM, "admitting"), "PR": (ICD9CM, "reason"), "APR": (ICD10CM, "reason"),
    "BN": (ICD9CM, "external_cause"), "ABN": (ICD10CM, "external_cause"),
}  # fmt: skip
_PROCEDURES = {"BR": ICD9CM, "BQ": ICD9CM, "BBR": ICD10PCS, "BBQ": ICD10PCS}
_SERVICES = {"HC": HCPCS, "N4": NDC, "HP": "HIPPS", "AD": "CDT"}
_OTHER_SEPARATOR = re.compile(r"[A-Z0-9]{2,3}>", re.ASCII)

NO_SUBSCRIBER = Reason("broken_loop", "CLM", "a claim inside the loop of a subscriber (HL 22) or patient (HL 23)")
NO_PARENT = Reason("broken_loop", "HL", "a loop whose parent was opened before it: 22 below 20, 23 below 22")
NO_LINE = Reason("broken_loop", "LX", "a service (SV1, SV2, SV3) below its LX, and one LX at least in a claim")
NO_CLAIM = Reason("broken_loop", "CLP", "a payment's segments below its CLP")
NO_TRANSACTION = Reason("broken_loop", "ST", "claims inside a transaction, from ST to SE")
NO_END = Reason("truncated_record", "SE", "a transaction that ends with SE")
NO_INTERCHANGE_END = Reason("truncated_record", "IEA", "an interchange that ends with IEA")


def _at(segment: Sequence[str], place: int) -> str:
    """An element by its number; empty when the segment is shorter."""
    return segment[place].strip() if place < len(segment) else ""


@dataclass
class _Party:
    """A person or organisation as NM1 names it and N3, N4, DMG describe it."""

    name: str | None = None
    ident: str | None = None
    address: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    birth: str | None = None
    sex: str | None = None
    given: str = ""

    def describe(self, segment: Segment) -> None:
        kind = segment[0]
        if kind == "NM1":
            family, given, middle, suffix = (_at(segment, place) for place in (3, 4, 5, 7))
            self.name = " ".join(part for part in (given, middle, family, suffix) if part) or None
            self.given, self.ident = given, _at(segment, 9) or None
        elif kind == "N3":
            self.address = " ".join(part.strip() for part in segment[1:3] if part.strip()) or None
        elif kind == "N4":
            self.city, self.state, self.postal_code = (_at(segment, place) or None for place in (1, 2, 3))
        elif kind == "DMG":
            self.birth, self.sex = _at(segment, 2) or None, _at(segment, 3) or None


@dataclass
class _Loop:
    """A hierarchical level (20 billing provider, 22 subscriber, 23 patient) with what was said in it."""

    level: str
    parent: _Loop | None = None
    party: _Party = field(default_factory=_Party)
    payer: str | None = None
    fault: Reason | None = None
    reported: bool = False

    def blame(self) -> Reason | None:
        """The fault of this loop or of one above it; whoever asks reports it."""
        loop: _Loop | None = self
        while loop is not None:
            if loop.fault is not None:
                loop.reported = True
                return loop.fault
            loop = loop.parent
        return None


@dataclass
class _Line:
    number: str
    service: Segment | None = None
    dates: list[Segment] = field(default_factory=list)
    drug: str | None = None


@dataclass
class _Claim:
    """The segments of an open claim; values are read when it closes."""

    head: Segment
    loop: _Loop | None
    codes: list[str] = field(default_factory=list)
    dates: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=list)
    adjustments: list[Segment] = field(default_factory=list)
    people: dict[str, _Party] = field(default_factory=dict)
    fault: Reason | None = None


class _Transaction:
    """What 837 and 835 share: one claim open at a time, closed into a `Unit`."""

    def __init__(self, component: str) -> None:
        self.component = component
        self.claim: _Claim | None = None

    def feed(self, segment: Segment) -> Iterator[Unit]:
        raise NotImplementedError

    def build(self, claim: _Claim) -> list[Draft]:
        raise NotImplementedError

    def blame(self, reason: Reason) -> Iterator[Unit]:
        """A bad segment: the claim that is open is a dead letter, or the segment by itself."""
        if self.claim is None:
            yield reason
        else:
            self.claim.fault = self.claim.fault or reason

    def close(self) -> Iterator[Unit]:
        """The claim that is open, as rows or as a dead letter."""
        claim, self.claim = self.claim, None
        if claim is None:
            return
        fault = claim.fault or (claim.loop.blame() if claim.loop else None)
        if fault is not None:
            yield fault
            return
        try:
            yield self.build(claim)
        except RecordError as error:
            yield error.reason

    def end(self) -> Iterator[Unit]:
        yield from self.close()

    def parts(self, element: str) -> list[str]:
        """Components of an element. Some senders write `>` whatever their ISA16 says; a qualifier before it gives them away."""
        if self.component not in element and _OTHER_SEPARATOR.match(element):
            return element.split(">")
        return element.split(self.component)

    def period(self, segment: Segment) -> tuple[datetime.date | None, datetime.date | None]:
        """First and last day of a DTP (D8, RD8, DT) segment; nothing for a time of day."""
        name, form, text = f"DTP{_at(segment, 1)}", _at(segment, 2), _at(segment, 3)
        if form in ("D8", "DT"):
            found = values.day(text, name)
            return found, found
        if form != "RD8":
            return None, None
        first, dash, last = text.partition("-")
        begin, finish = values.day(first, name), values.day(last if dash else first, name)
        values.in_order(begin, finish, name)
        return begin, finish


class _Claims(_Transaction):
    """An 837."""

    def __init__(self, component: str, form: str) -> None:
        super().__init__(component)
        self.form = form
        self.levels: dict[str, _Loop] = {}
        self.loop: _Loop | None = None
        self.who: _Party | None = None
        self.pending: list[_Loop] = []  # loops with a fault that no claim has reported yet

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

    def feed(self, segment: Segment) -> Iterator[Unit]:
        kind, claim = segment[0], self.claim
        if kind == "HL":
            yield from self.close()
            self.open_loop(segment)
        elif kind == "CLM":
            yield from self.close()
            outside = self.loop is None or self.loop.level == "20"
            self.claim = _Claim(segment, self.loop, fault=NO_SUBSCRIBER if outside else None)
            self.who = None
        elif claim is not None:
            self.in_claim(claim, segment)
        elif kind == "NM1" and self.loop is not None:
            owner = {"85": "20", "IL": "22", "QC": "23"}.get(_at(segment, 1))
            self.who = self.loop.party if owner == self.loop.level else None
            if self.who is not None:
                self.who.describe(segment)
            elif _at(segment, 1) == "PR" and self.loop.payer is None:
                self.loop.payer = _at(segment, 3) or None
        elif kind in ("N3", "N4", "DMG") and self.who is not None:
            self.who.describe(segment)

    def open_loop(self, segment: Segment) -> None:
        level, above = _at(segment, 3), self.levels.get(_at(segment, 2))
        loop = _Loop(level, parent=above)
        expected = {"22": "20", "23": "22"}.get(level)
        if level not in ("20", "22", "23") or (expected and (above is None or above.level != expected)):
            loop.fault = NO_PARENT
            self.pending.append(loop)
        self.levels = {name: held for name, held in self.levels.items() if held.level < level}  # what cannot be a parent any more
        self.levels[_at(segment, 1)] = loop
        self.loop, self.who = loop, None

    def in_claim(self, claim: _Claim, segment: Segment) -> None:
        kind = segment[0]
        line = claim.lines[-1] if claim.lines else None
        if kind == "LX":
            claim.lines.append(_Line(_at(segment, 1)))
        elif kind == "HI":
            claim.codes += [element for element in segment[1:] if element.strip()]
        elif kind == "DTP":
            (line.dates if line else claim.dates).append(segment)
        elif kind == "NTE":
            claim.notes.append(_at(segment, 2))
        elif kind in ("SV1", "SV2", "SV3"):
            if line is None or line.service is not None:
                claim.fault = claim.fault or NO_LINE
            else:
                line.service = segment
        elif kind == "LIN" and line is not None and _at(segment, 2) == "N4":
            line.drug = _at(segment, 3)

    def build(self, claim: _Claim) -> list[Draft]:
        loop = claim.loop
        subscriber = loop if loop is None or loop.level == "22" else loop.parent
        provider = subscriber.parent.party if subscriber and subscriber.parent else _Party()
        holder = subscriber.party if subscriber else _Party()
        person = loop.party if loop else holder
        if not claim.lines or any(line.service is None for line in claim.lines):
            raise RecordError(NO_LINE.code, NO_LINE.field, NO_LINE.rule)
        claim_id = values.required(_at(claim.head, 1), "CLM01")
        diagnoses, procedures = self.read_codes(claim.codes)
        lines = [self.read_line(at, line) for at, line in enumerate(claim.lines, start=1)]
        periods = {_at(segment, 1): self.period(segment) for segment in claim.dates}
        first, last = periods.get("434", (None, None))
        days = [day for _, begin, finish in lines for day in (begin, finish) if day]
        if first is None and days:
            first, last = min(days), max(days)
        birth, sex = values.day(person.birth, "DMG02"), values.sex(person.sex)
        patient_id = holder.ident
        if person is not holder:  # a dependent seldom has an id: the subscriber's, the given name and the birth date make one
            patient_id = person.ident or (f"{holder.ident}:{person.given}:{person.birth or ''}" if holder.ident else None)
        whole = partial(
            RawClaim, claim_id=claim_id, patient_id=patient_id, form=self.form_of(claim), status=self.frequency(claim),
            service_from=first, service_to=last, diagnoses=tuple(diagnoses), procedures=tuple(procedures),
            lines=tuple(line for line, _, _ in lines), total_charge=values.number(_at(claim.head, 2), "CLM02"),
            payer=subscriber.payer if subscriber else None, provider_npi=provider.ident, provider_name=provider.name,
            subscriber_id=holder.ident, patient_names=tuple(dict.fromkeys(n for n in (person.name, holder.name) if n)),
            birth_date=birth, sex=sex, address=person.address, city=person.city, state=person.state, postal_code=person.postal_code,
        )  # fmt: skip
        text = "\n".join(note for note in claim.notes if note)
        if not text:
            return [whole]
        note = partial(
            RawDocument, document_id=f"{claim_id}/NTE", patient_id=patient_id, claim_id=claim_id, kind="NTE", text=text, date=first,
            sex=sex, age=values.age(birth, first),
        )  # fmt: skip
        return [whole, note]

    def frequency(self, claim: _Claim) -> str | None:
        facility = _at(claim.head, 5)
        parts = self.parts(facility) if self.component in facility else facility.split(">")
        return parts[2] or None if len(parts) > 2 else None

    def form_of(self, claim: _Claim) -> str:
        if self.form != "unknown":
            return self.form
        first = claim.lines[0].service or [""]
        return {"SV1": "professional", "SV2": "institutional", "SV3": "dental"}.get(first[0], "unknown")

    def read_codes(self, elements: Sequence[str]) -> tuple[list[Diagnosis], list[Coding]]:
        """HI: diagnoses in order, procedures; occurrence, value and condition codes are left."""
        diagnoses, procedures = [], []
        for element in elements:
            parts = self.parts(element)
            kind = parts[0].strip()
            if kind not in _DIAGNOSES and kind not in _PROCEDURES:
                continue
            code = values.required(parts[1] if len(parts) > 1 else None, f"HI {kind}")
            if kind in _PROCEDURES:
                procedures.append(Coding(system=_PROCEDURES[kind], code=code.upper()))
            else:
                system, use = _DIAGNOSES[kind]
                present = parts[8].strip() or None if len(parts) > 8 else None
                diagnoses.append(Diagnosis(system=system, code=values.dotted(code, system), kind=use, present_on_admission=present))
        return diagnoses, procedures

    def read_line(self, at: int, line: _Line) -> tuple[ClaimLine, datetime.date | None, datetime.date | None]:
        service = line.service or []
        kind = service[0]
        institutional = kind == "SV2"
        parts = [part.strip() for part in self.parts(_at(service, 2 if institutional else 1))]
        system, code = _SERVICES.get(parts[0], parts[0] or None), parts[1] if len(parts) > 1 else ""
        revenue = _at(service, 1) or None if institutional else None
        if not code:
            system, code = (REVENUE, revenue or "") if revenue else (NDC, line.drug or "") if line.drug else (None, "")
        charge, quantity = {"SV1": (2, 4), "SV2": (3, 5), "SV3": (2, 6)}[kind]
        periods = {_at(segment, 1): self.period(segment) for segment in line.dates}
        first, last = periods.get("472", (None, None))
        pointers = self.parts(_at(service, 7)) if kind == "SV1" else []
        return ClaimLine(
            number=values.count(line.number, "LX01") or at, system=system, code=code or None,
            modifiers=tuple(part for part in parts[2:6] if part), revenue_code=revenue,
            quantity=values.number(_at(service, quantity), f"{kind}{quantity:02d}"),
            charge=values.number(_at(service, charge), f"{kind}{charge:02d}"), service_date=first,
            diagnosis_pointers=tuple(int(part) for part in pointers if part.isascii() and part.isdigit() and len(part) <= 2),
        ), first, last  # fmt: skip


class _Remittances(_Transaction):
    """An 835."""

    def feed(self, segment: Segment) -> Iterator[Unit]:
        kind, claim = segment[0], self.claim
        if kind == "CLP":
            yield from self.close()
            self.claim = _Claim(segment, None)
        elif kind in ("LX", "PLB"):
            yield from self.close()
        elif kind in ("SVC", "CAS") and claim is None:
            yield NO_CLAIM
        elif claim is None:
            return
        elif kind == "CAS":
            claim.adjustments.append(segment)
        elif kind == "DTM":
            claim.dates.append(segment)
        elif kind == "NM1" and _at(segment, 1) in ("QC", "IL"):
            claim.people.setdefault(_at(segment, 1), _Party()).describe(segment)

    def build(self, claim: _Claim) -> list[Draft]:
        days: dict[str, list[datetime.date]] = {}
        for segment in claim.dates:
            name = _at(segment, 1)
            if found := values.day(_at(segment, 2), f"DTM{name}"):
                days.setdefault(name, []).append(found)
        stated, served = days.get("232", []), days.get("472", []) + days.get("150", [])
        people = [claim.people[role] for role in ("QC", "IL") if role in claim.people]
        codes = [
            f"{_at(segment, 1)}-{_at(segment, place)}"
            for segment in claim.adjustments
            for place in range(2, len(segment), 3)  # CAS: group, then reason, amount, quantity up to six times
            if _at(segment, place)
        ]
        head = claim.head
        return [
            partial(
                RawRemittance, claim_id=values.required(_at(head, 1), "CLP01"), payer_claim_id=_at(head, 7) or None,
                status=_at(head, 2) or None,
                charge=values.number(_at(head, 3), "CLP03"), paid=values.number(_at(head, 4), "CLP04"),
                patient_responsibility=values.number(_at(head, 5), "CLP05"), adjustments=tuple(codes),
                service_from=min(stated or served, default=None),
                patient_names=tuple(dict.fromkeys(person.name for person in people if person.name)),
                subscriber_id=next((person.ident for person in reversed(people) if person.ident), None),
            )
        ]  # fmt: skip


class X12:
    """Reader of X12 interchanges; transactions other than 837 and 835 are skipped, one each."""

    name = "x12"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip()
        return head.startswith(b"ISA") and not head[3:4].isalnum() and not head[3:4].isspace()

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        component, group, stray = ":", "", False
        inside = False  # an interchange
        skipping = False  # a transaction of another kind
        current: _Transaction | None = None
        for segment in segments(stream, record_bytes(job.ingest)):
            if isinstance(segment, Reason):
                if current is not None and segment in LAST:
                    yield from self._cut(current, segment)
                    current, inside = None, False
                elif current is not None:
                    yield from current.blame(segment)
                elif not skipping:
                    inside = False  # what follows a lost envelope is not asked for its end
                    yield segment
                continue
            kind = segment[0]
            if kind in ("ISA", "GS", "ST", "GE", "IEA") and current is not None:  # SE is missing
                yield from self._cut(current, NO_END)
                current = None
            if kind == "ISA":
                if inside:
                    yield NO_INTERCHANGE_END
                component, inside, skipping = segment[16], True, False
            elif kind == "GS":
                group = _at(segment, 8)
            elif kind == "ST":
                version, number, skipping = _at(segment, 3) or group, _at(segment, 1), False
                stray = False
                if number == "837":
                    current = _Claims(component, next((form for part, form in _FORMS.items() if part in version), "unknown"))
                elif number == "835":
                    current = _Remittances(component)
                else:
                    skipping = True
                    yield Skipped(number if re.fullmatch(r"\d{3}", number, re.ASCII) else "unknown")
            elif kind == "SE":
                if current is not None:
                    yield from current.end()
                current, skipping = None, False
            elif kind == "IEA":
                inside = False
            elif current is not None:
                yield from current.feed(segment)
            elif not skipping and kind in ("HL", "CLM", "CLP") and not stray:
                stray = True
                yield NO_TRANSACTION
        if current is not None:
            yield from self._cut(current, NO_END)
        elif inside:
            yield NO_INTERCHANGE_END

    @staticmethod
    def _cut(current: _Transaction, why: Reason) -> Iterator[Unit]:
        """The end of a transaction that has no SE: what was open is a dead letter; where nothing was, the loss itself is one."""
        claim = current.claim
        if claim is not None:
            claim.fault = claim.fault or why
        units = list(current.end())
        yield from units or [why]
