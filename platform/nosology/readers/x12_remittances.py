"""X12 835: what a payer answered to a claim and to each of its lines (005010X221, 004010X091)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from nosology.errors import Reason
from nosology.readers import values
from nosology.readers.segments import Segment
from nosology.readers.source import Draft, Unit
from nosology.readers.x12_loops import SERVICES, Claim, Party, Transaction, at, date_field
from nosology.records import Adjustment, RawRemittance, RemittanceLine

NO_CLAIM = Reason("broken_loop", "CLP", "a payment's segments below its CLP")


@dataclass(slots=True)
class Service:
    """The segments of a line of the answer; of the claim itself where `head` is empty."""

    head: Segment = field(default_factory=list)
    dates: list[Segment] = field(default_factory=list)
    adjustments: list[Segment] = field(default_factory=list)
    control: Segment = field(default_factory=list)
    allowed: Segment = field(default_factory=list)
    remarks: list[Segment] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """The segments of a claim's payment by what they say."""

    whole: Service = field(default_factory=Service)
    lines: list[Service] = field(default_factory=list)
    people: dict[str, Party] = field(default_factory=dict)

    def persons(self) -> list[Party]:
        """Patient, then subscriber, as far as they are named."""
        return [self.people[role] for role in ("QC", "IL") if role in self.people]


def answer_of(claim: Claim) -> Answer:
    """Sorts the segments of a payment."""
    answer = Answer()
    service = answer.whole
    for segment in claim.segments:
        kind = segment[0]
        if kind == "CAS":
            service.adjustments.append(segment)
        elif kind == "DTM":
            service.dates.append(segment)
        elif kind == "SVC":
            service = Service(segment)
            answer.lines.append(service)
        elif kind == "REF":
            if at(segment, 1) == "6R":
                service.control = segment
        elif kind == "AMT":
            if at(segment, 1) == "B6":
                service.allowed = segment
        elif kind == "LQ":
            service.remarks.append(segment)
        elif at(segment, 1) in ("QC", "IL"):  # NM1
            answer.people[at(segment, 1)] = Party(segment)
    return answer


def _adjustments(segments: list[Segment]) -> tuple[Adjustment, ...]:
    """CAS: a group, then reason, amount, quantity up to six times."""
    return tuple(
        Adjustment(
            group=at(segment, 1), reason=at(segment, place), amount=values.number(at(segment, place + 1), f"CAS{place + 1:02d}"),
            quantity=values.number(at(segment, place + 2), f"CAS{place + 2:02d}"),
        )
        for segment in segments
        for place in range(2, len(segment), 3)
        if at(segment, place)
    )  # fmt: skip


class Remittances(Transaction):
    """An 835."""

    wanted = frozenset(("CAS", "DTM", "SVC", "REF", "AMT", "LQ", "NM1"))
    turns = frozenset(("CLP", "LX", "PLB"))
    lost = 0  # payments' segments outside a claim

    def outside(self, segment: Segment) -> None:
        self.lost += segment[0] in ("SVC", "CAS")

    def turn(self, segment: Segment) -> Iterator[Unit]:
        yield from self.close()
        self.append = self.outside
        if segment[0] == "CLP":
            self.claim = Claim(segment)
            self.append = self.claim.segments.append

    def close(self) -> Iterator[Unit]:
        for _ in range(self.lost):
            yield NO_CLAIM
        self.lost = 0
        yield from super().close()

    def build(self, claim: Claim) -> list[Draft]:
        answer, head = answer_of(claim), claim.head
        days: dict[str, list[datetime.date]] = {}
        lines = [self.read_line(line, days) for line in answer.lines]
        stated = _days(answer.whole.dates, days).get("232", [])
        served = days.get("472", []) + days.get("150", [])
        people = answer.persons()
        return [
            partial(
                RawRemittance, claim_id=values.required(at(head, 1), "CLP01"), payer_claim_id=at(head, 7) or None, status=at(head, 2) or None,
                charge=values.number(at(head, 3), "CLP03"), paid=values.number(at(head, 4), "CLP04"),
                patient_responsibility=values.number(at(head, 5), "CLP05"), adjustments=_adjustments(answer.whole.adjustments),
                lines=tuple(lines), service_from=min(stated or served, default=None),
                patient_names=tuple(dict.fromkeys(name for person in people if (name := person.name))),
                subscriber_id=next((ident for person in reversed(people) if (ident := person.ident)), None),
            )
        ]  # fmt: skip

    def read_line(self, line: Service, days: dict[str, list[datetime.date]]) -> RemittanceLine:
        """A line; its days join those of the claim."""
        own = _days(line.dates, {})
        for name, found in own.items():
            days.setdefault(name, []).extend(found)
        parts = [part.strip() for part in self.marks.parts(at(line.head, 1))]
        return RemittanceLine(
            control_number=at(line.control, 2) or None, system=SERVICES.get(parts[0], parts[0] or None),
            code=parts[1] or None if len(parts) > 1 else None, modifiers=tuple(filter(None, parts[2:6])),
            revenue_code=at(line.head, 4) or None, charge=values.number(at(line.head, 2), "SVC02"),
            paid=values.number(at(line.head, 3), "SVC03"), allowed=values.number(at(line.allowed, 2), "AMT02"),
            quantity=values.number(at(line.head, 5), "SVC05"), service_date=min(own.get("472", []) + own.get("150", []), default=None),
            adjustments=_adjustments(line.adjustments), remarks=tuple(filter(None, [at(remark, 2) for remark in line.remarks])),
        )  # fmt: skip


def _days(segments: list[Segment], days: dict[str, list[datetime.date]]) -> dict[str, list[datetime.date]]:
    """Adds the days of DTM segments to those known, by qualifier."""
    for segment in segments:
        name = at(segment, 1)
        if found := values.day(at(segment, 2), date_field("DTM", name)):
            days.setdefault(name, []).append(found)
    return days
