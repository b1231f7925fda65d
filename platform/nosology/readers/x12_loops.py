"""The loops of X12 transactions: which segments belong together. Values are read from them by `x12_claims` and `x12_remittances`.

What is gathered are the segments themselves, so that `write_x12` finds the very elements a field was read from.
"""

from __future__ import annotations

import abc
import datetime
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nosology.errors import Reason
from nosology.readers import values
from nosology.readers.segments import Segment
from nosology.readers.source import Builder, Draft, Unit
from nosology.readers.values import HCPCS, NDC, REVENUE

SERVICES = {"HC": HCPCS, "N4": NDC, "HP": "HIPPS", "AD": "CDT", "NU": REVENUE}  # product or service id qualifiers (data element 235)
# Date qualifiers (data element 374) of the 5010 guides: only these are named in a message, whatever else stands there may be a value.
DATES = frozenset((
    "009", "036", "050", "090", "091", "096", "150", "151", "232", "233", "295", "296", "297", "303", "304", "314", "360", "361", "405", "431",
    "434", "435", "439", "441", "444", "446", "452", "453", "454", "455", "461", "463", "471", "472", "473", "484", "573", "607", "738", "739",
))  # fmt: skip
_OTHER_SEPARATOR = re.compile(r"[A-Z0-9]{2,3}>", re.ASCII)


def at(segment: Sequence[str], place: int) -> str:
    """An element by its number; empty when the segment is shorter."""
    return segment[place].strip() if place < len(segment) else ""


class Marks(NamedTuple):
    """Separators inside an element: of components, and of repetitions (None before version 00402)."""

    component: str = ":"
    repetition: str | None = None

    def parts(self, element: str) -> list[str]:
        """Components of an element, of the first repetition."""
        return split(self.repeats(element)[0], self.component)

    def repeats(self, element: str) -> list[str]:
        """An element that may be repeated, once for each time."""
        return [element] if self.repetition is None or self.repetition not in element else element.split(self.repetition)


def split(element: str, component: str) -> list[str]:
    """Components of an element. Some senders write `>` whatever their ISA16 says; a qualifier before it gives them away."""
    return element.split(mark_of(element, component))


def mark_of(element: str, component: str) -> str:
    """The mark that separates the components of this element."""
    return component if component in element or not _OTHER_SEPARATOR.match(element) else ">"


@dataclass(slots=True)
class Party:
    """A person or organisation: NM1, and the N3, N4 and DMG that describe it."""

    named: Segment = field(default_factory=list)
    street: Segment = field(default_factory=list)
    town: Segment = field(default_factory=list)
    born: Segment = field(default_factory=list)

    @property
    def name(self) -> str | None:
        """Given, middle, family name and suffix; of an organisation its name."""
        return " ".join(filter(None, [at(self.named, place) for place in (4, 5, 3, 7)])) or None

    @property
    def ident(self) -> str | None:
        return at(self.named, 9) or None

    @property
    def address(self) -> str | None:
        return " ".join(filter(None, map(str.strip, self.street[1:3]))) or None


_OWNERS = {"85": "20", "IL": "22", "QC": "23"}


@dataclass(slots=True)
class Loop:
    """A hierarchical level (20 billing provider, 22 subscriber, 23 patient) with what was said in it."""

    level: str
    parent: Loop | None = None
    segments: list[Segment] = field(default_factory=list)
    fault: Reason | None = None
    reported: bool = False
    party: Party = field(default_factory=Party)
    payer: Segment = field(default_factory=list)
    insured: Segment = field(default_factory=list)
    _sorted: bool = False

    def blame(self) -> Reason | None:
        """The fault of this loop or of one above it; whoever asks reports it."""
        loop: Loop | None = self
        while loop is not None:
            if loop.fault is not None:
                loop.reported = True
                return loop.fault
            loop = loop.parent
        return None

    def sort(self) -> None:
        """Says which segment is which; a claim asks when it is read, for the loop is complete then."""
        if self._sorted:
            return
        self._sorted, named = True, False
        for segment in self.segments:
            kind = segment[0]
            if kind == "NM1":
                role = at(segment, 1)
                named = _OWNERS.get(role) == self.level
                if named:
                    self.party.named = segment
                elif role == "PR" and not self.payer:
                    self.payer = segment
            elif kind == "DMG":  # of nobody else, wherever it stands
                self.party.born = segment
            elif kind == "SBR":
                self.insured = self.insured or segment
            elif named and kind == "N3":
                self.party.street = segment
            elif named and kind == "N4":
                self.party.town = segment


@dataclass(slots=True)
class Claim:
    """The segments of a claim, from CLM or CLP on; values are read when it closes."""

    head: Segment
    loop: Loop | None = None
    segments: list[Segment] = field(default_factory=list)
    fault: Reason | None = None


class Transaction(abc.ABC):
    """What 837 and 835 share: one claim open at a time, closed into a `Unit`. `append` takes the next segment of a kind in `wanted`;
    one of `turns` begins something new and goes to `turn`; all others are of no interest.

    Args:
        seen: called with each claim and its rows before they are given out; a writer finds there what to change.
    """

    wanted: frozenset[str]
    turns: frozenset[str]

    def __init__(self, marks: Marks, builder: Builder, seen: Callable[[Claim, Unit], None] | None = None) -> None:
        self.marks, self._builder, self._seen = marks, builder, seen
        self.claim: Claim | None = None
        self.append: Callable[[Segment], None] = self.outside

    def outside(self, segment: Segment) -> None:  # noqa: B027 - a remittance has nothing there
        """A segment that comes before any loop or claim."""

    @abc.abstractmethod
    def turn(self, segment: Segment) -> Iterator[Unit]:
        """A segment that begins something new; what it ends is given out."""

    @abc.abstractmethod
    def build(self, claim: Claim) -> list[Draft]:
        """The rows of a claim.

        Raises:
            RecordError: it is none.
        """

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
        unit: Unit | None = claim.fault or (claim.loop.blame() if claim.loop else None)
        if unit is None:
            unit = self._builder.make(self.build, claim)
        if self._seen is not None:
            self._seen(claim, unit)
        yield unit

    def end(self) -> Iterator[Unit]:
        yield from self.close()


def date_field(tag: str, qualifier: str) -> str:
    """What a message calls a date: the segment and its qualifier, or its place where the qualifier is none."""
    return tag + (qualifier if qualifier in DATES else {"DTP": "03", "DTM": "02"}[tag])


def period(segment: Segment) -> tuple[datetime.date | None, datetime.date | None]:
    """First and last day of a DTP (D8, RD8, DT) segment; nothing for a time of day."""
    return _period(at(segment, 1), at(segment, 2), at(segment, 3))


@functools.lru_cache(maxsize=1 << 12)  # an archive has few days and many dates
def _period(name: str, form: str, text: str) -> tuple[datetime.date | None, datetime.date | None]:
    name = date_field("DTP", name)
    if form in ("D8", "DT"):
        found = values.day(text, name)
        return found, found
    if form != "RD8":
        return None, None
    first, dash, last = text.partition("-")
    begin, finish = values.day(first, name), values.day(last if dash else first, name)
    values.in_order(begin, finish, name)
    return begin, finish
