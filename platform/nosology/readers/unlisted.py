"""Fields of an input that no list of `nosology.deid.fields` has: they are dropped, and told by name in the report, never by value.

A name is told when it is one: a column or an element by what it is called, a segment by its id; whatever has another form (too long, odd
characters, many digits) by its place. What is counted: segments of X12 and HL7 v2 that have it, FHIR resources, records of a table.

The lists reach to each element of X12 and field of HL7 v2. Of FHIR, names of the resource itself are looked at in each resource; those
below in the first `_DEEP_FIRST` resources of a type in a file and in one of `_DEEP_EVERY` after, for to look at all of them would cost as
much as to read them.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nosology.deid.fields import has_column, listed

MOST_NAMES = 200  # told of a file; the rest together
OTHERS = "more names"
_NAME = re.compile(r"[A-Za-z_][\w.:/()#%-]*", re.ASCII)  # one word: two may be a person's, where a JSON object has names for keys
_NUMBER = re.compile(r"(?:\d\D?){5}", re.ASCII)  # a year may stand in a name, a record number or a date may not
_LONGEST = 64
_DEEP_FIRST, _DEEP_EVERY = 20, 50
_ALL = 1 << 30  # fields of a segment that is listed as a whole
_SEGMENT = re.compile(
    r"(?P<set>\d{3}) \S+ (?P<id>[A-Z][A-Z0-9]{1,2})(?P<first>\d\d)(?:-(?P<last>\d\d))?(?: (?P<qualifiers>\S+))?", re.ASCII
)
_FIELD = re.compile(r"(?P<id>[A-Z][A-Z0-9]{2})(?:-(?P<first>\d+)(?:\.\d+)?(?:\.\.(?P<last>\d+))?)?", re.ASCII)
# ids of X12 segments of health care transactions beside those that are listed; anything else at that place may be a part of a value
_IDS = """AAA ACT ADX AK1 AK2 AK3 AK4 AK5 AK9 AMT BGN BHT BPR CAS CL1 CLM CLP CN1 COB CR1 CR2 CR3 CR4 CR5 CR6 CR7 CR8 CRC CSC CTP CTX CUR DMG DN1 DN2
    DSB DTM DTP EB EC ENT EQ FRM HC HCP HCR HD HI HL HLH HSD ICM IDC III IIS IK3 IK4 IK5 IMM IN1 IN2 INS IT1 ITA K3 LE LIN LQ LS LUI LX MEA MIA
    MOA MPI MSG N1 N2 N3 N4 NM1 NTE OI OTI PAT PER PLA PLB PO3 PRV PS1 PSA PWK QTY RDM REF RMR RMT RYL SAC SBR SV1 SV2 SV3 SV4 SV5 SV6 SV7 SVC SVD
    STC TA1 TED TOO TRN TS2 TS3 UM UR VEH"""
_X12_IDS = frozenset(_IDS.split())


def name(text: str, place: int) -> str:
    """A field's name where it is one, else its place (from 1)."""
    return text if len(text) <= _LONGEST and _NAME.fullmatch(text) and not _NUMBER.search(text) else f"field {place}"


class Unlisted:
    """Names of one file that its list lacks, with how often each came; `MOST_NAMES` of them, the rest together."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._header: Sequence[str] = ()

    def add(self, path: str, count: int = 1) -> None:
        """Counts a name."""
        if count > 0:
            self.counts[path if path in self.counts or len(self.counts) < MOST_NAMES else OTHERS] += count

    def header(self, names: Sequence[str], form: str, table: str | None = None, known: Collection[str] | None = None) -> None:
        """The columns of a table, which each of its records has.

        Args:
            form: whose list it is. table: of Synthea. known: the columns that are listed, in place of a list.
        """
        self._header = [
            f"{table}.csv {name(column, place)}" if table else name(column, place)
            for place, column in enumerate(names, start=1)
            if column and not (column in known if known is not None else has_column(form, f"{table}.csv {column}" if table else column))
        ]

    def keys(self, row: Iterable[str], known: Collection[str]) -> None:
        """The keys of a row that has its own."""
        for place, key in enumerate(row, start=1):
            if key not in known:
                self.add(name(key, place))

    def close(self, num_records: int) -> Counter[str]:
        """What was found in a file that has ended, with as many records."""
        for column in self._header:
            self.add(column, num_records)
        counts, self.counts, self._header = self.counts, Counter(), ()
        return counts


# ---------------------------------------------------------------------------------------------------------------- X12


class Limits(NamedTuple):
    """Most parts (the id and the listed elements) of a segment. Plain dicts: they are asked for each segment.

    Attributes:
        parts: by id; 0 where the list names qualifiers, in element 01.
        qualified: of those, by id and qualifier.
    """

    parts: dict[str, int]
    qualified: dict[str, dict[str, int]]


class _Anything(dict[str, int]):
    def get(self, key: str, default: Any = None) -> int:
        return _ALL


ANYTHING = Limits(_Anything(), {})  # outside of what is listed: a transaction that is skipped


@functools.cache
def segment_limits(transaction: str) -> Limits:
    """What is listed of a transaction. Where one line of a segment has qualifiers and another has none, any will do."""
    found = Limits({}, {})
    for field in listed("x12"):
        part = _SEGMENT.fullmatch(field.path)
        assert part is not None, field.path
        if part["set"] != transaction:
            continue
        most, kind = int(part["last"] or part["first"]) + 1, part["id"]
        if not part["qualifiers"]:
            found.parts[kind] = max(found.parts.get(kind, 0), most)
            continue
        found.parts.setdefault(kind, 0)
        own = found.qualified.setdefault(kind, {})
        own |= {one: max(own.get(one, 0), most) for one in part["qualifiers"].split("/")}
    return found


def meet_segment(segment: Sequence[str], transaction: str, limits: Limits, unlisted: Unlisted) -> None:
    """Counts what the list lacks of a segment that is longer than it, or whose id or qualifier it does not have."""
    kind = segment[0]
    if kind not in limits.parts:
        unlisted.add(f"{transaction} {kind}" if kind in _X12_IDS else f"{transaction} segment that X12 lacks")
        return
    qualifier, most = "", limits.parts[kind]
    if not most:
        qualifier = segment[1].strip() if len(segment) > 1 else ""
        most = limits.qualified[kind].get(qualifier, 0)
        if not most:
            unlisted.add(f"{transaction} {kind}01 with a qualifier that the list lacks")
            return
    for place in range(most, len(segment)):
        if segment[place].strip():
            unlisted.add(f"{transaction} {kind}{place:02d}{f' {qualifier}' if qualifier else ''}")


# ------------------------------------------------------------------------------------------------------------ HL7 v2


@functools.cache
def field_limits() -> Mapping[str, int]:
    """Most parts (the id and the listed fields) of a segment, by id."""
    found: dict[str, int] = {}
    for field in listed("hl7v2"):
        part = _FIELD.fullmatch(field.path)
        assert part is not None, field.path
        most = int(part["last"] or part["first"]) + 1 if part["first"] else _ALL
        found[part["id"]] = max(found.get(part["id"], 0), most)
    return found


def meet_fields(fields: Sequence[str], unlisted: Unlisted) -> None:
    """As `meet_segment`, of a segment of HL7 v2. Ids that begin with Z are a site's own."""
    kind = fields[0]
    most = field_limits().get(kind)
    if most is None:
        unlisted.add(kind if kind.startswith("Z") else "segment that HL7 lacks")
        return
    for place in range(most, len(fields)):
        if fields[place].strip():
            unlisted.add(f"{kind}-{place}")


# -------------------------------------------------------------------------------------------------------------- FHIR


class _Element:
    """An element with those listed below it; none where it is listed as a whole."""

    __slots__ = ("below", "inner", "known")

    def __init__(self) -> None:
        self.below: dict[str, _Element] = {}
        self.known: frozenset[str] = frozenset()
        self.inner: tuple[tuple[str, _Element], ...] = ()

    def seal(self, everywhere: frozenset[str]) -> None:
        self.known = frozenset(self.below) | everywhere | {f"_{name}" for name in self.below}  # `_birthDate` extends `birthDate`
        self.inner = tuple((name, one) for name, one in self.below.items() if one.below)
        for one in self.below.values():
            one.seal(everywhere)


@functools.cache
def _elements() -> Mapping[str, _Element]:
    """The listed resources by type."""
    root = _Element()
    everywhere = set()
    for field in listed("fhir"):
        path = field.path.split(".")
        if path[0] == "*":
            everywhere.add(path[1])
            continue
        at = root
        for part in path:
            at = at.below.setdefault(part, _Element())
    root.seal(frozenset(everywhere))
    return root.below


class Elements:
    """Looks at the names in the resources of a file."""

    def __init__(self, unlisted: Unlisted) -> None:
        self._unlisted, self._types, self._seen = unlisted, _elements(), dict.fromkeys(_elements(), 0)

    def meet(self, resource: Mapping[str, Any]) -> None:
        """Counts the names in a resource of a listed type that its list lacks."""
        kind = resource["resourceType"]
        element, number = self._types[kind], self._seen[kind]
        self._seen[kind] = number + 1
        if number < _DEEP_FIRST or not number % _DEEP_EVERY:
            found: set[str] = set()
            _below(resource, element, kind, found)
        elif element.known.issuperset(resource):
            return
        else:
            found = {f"{kind}.{name(key, place)}" for place, key in enumerate(resource, start=1) if key not in element.known}
        for path in found:
            self._unlisted.add(path)


def _below(held: Mapping[str, Any], element: _Element, path: str, found: set[str]) -> None:
    if not element.known.issuperset(held):
        found.update(f"{path}.{name(key, place)}" for place, key in enumerate(held, start=1) if key not in element.known)
    for key, inner in element.inner:
        value = held.get(key)
        if value is None:
            continue
        for one in value if type(value) is list else (value,):
            if type(one) is dict:
                _below(one, inner, f"{path}.{key}", found)
