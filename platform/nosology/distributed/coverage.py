"""What there is to do and what is done: files, intervals, ranges, counts. Pure arithmetic; nothing here touches storage."""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nosology.errors import printable

_FEW = 3  # files that an error names of each kind

MODULUS = 1 << 256
_MOST_UNKNOWN = 1000  # names of fields that are told; the rest of a format together
_OTHERS = "more names"


class Coverage:
    """Which units of each file are done: sorted, merged, disjoint ranges [start, stop) by file number."""

    def __init__(self, ranges: Mapping[int, Sequence[Sequence[int]]] | None = None) -> None:
        self.ranges: dict[int, list[tuple[int, int]]] = {}
        for file, spans in (ranges or {}).items():
            for start, stop in spans:
                self.add(file, start, stop)

    def add(self, file: int, start: int, stop: int) -> None:
        """Adds a range.

        Raises:
            ValueError: it is empty or overlaps one that is there; then a unit would be in the output twice.
        """
        if not 0 <= start < stop:
            raise ValueError(f"not a range: {start}, {stop}")
        spans = self.ranges.setdefault(file, [])
        place = bisect_left(spans, (start, stop))
        if (place and spans[place - 1][1] > start) or (place < len(spans) and spans[place][0] < stop):
            raise ValueError(f"units {start} to {stop} of file {file} overlap what is done already")
        if place < len(spans) and spans[place][0] == stop:
            stop = spans.pop(place)[1]
        if place and spans[place - 1][1] == start:
            place -= 1
            start = spans.pop(place)[0]
        spans.insert(place, (start, stop))

    def remove(self, file: int, start: int, stop: int) -> None:
        """Takes a range back.

        Raises:
            ValueError: not all of it is there.
        """
        if not self.holds(file, start, stop):
            raise ValueError(f"units {start} to {stop} of file {file} are not done")
        spans = self.ranges[file]
        place = bisect_left(spans, (start + 1,)) - 1
        begin, end = spans.pop(place)
        spans[place:place] = [span for span in ((begin, start), (stop, end)) if span[0] < span[1]]
        if not spans:
            del self.ranges[file]

    def holds(self, file: int, start: int, stop: int) -> bool:
        """Whether all of a range is done."""
        spans = self.ranges.get(file, [])
        place = bisect_left(spans, (start + 1,))
        return place > 0 and spans[place - 1][1] >= stop

    def missing(self, file: int, num_units: int) -> Iterator[tuple[int, int]]:
        """Ranges of [0, num_units) that are not done, in order."""
        start = 0
        for done, until in self.ranges.get(file, []):
            if start < done:
                yield start, done
            start = until
        if start < num_units:
            yield start, num_units

    @property
    def num_units(self) -> int:
        """Units done, in all files."""
        return sum(stop - start for spans in self.ranges.values() for start, stop in spans)


@dataclass
class Tally:
    """Counts of what was done. `records` = `ok` + sum of `dead`; `skipped` ones (of a kind that no table holds) are apart."""

    records: int = 0
    ok: int = 0
    skipped: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)  # files of an ingest, members of archives each, by encoding
    unknown: Counter[str] = field(default_factory=Counter)  # fields that no list has, by format and name parted by a blank

    def add(self, other: Tally) -> None:
        """Adds another's counts."""
        self.records += other.records
        self.ok += other.ok
        self.skipped += other.skipped
        self.dead += other.dead
        self.formats += other.formats
        self.rows += other.rows
        self.encodings += other.encodings
        for name, count in other.unknown.items():
            self.unknown[self._told(name)] += count

    def take(self, other: Tally) -> None:
        """Takes another's counts back."""
        self.records -= other.records
        self.ok -= other.ok
        self.skipped -= other.skipped
        self.dead -= other.dead
        self.formats -= other.formats
        self.rows -= other.rows
        self.encodings -= other.encodings
        for name, count in other.unknown.items():
            self.unknown[self._told(name)] -= count
        self.unknown = +self.unknown

    def _told(self, name: str) -> str:
        """The name under which an unknown field is counted: its own as long as there is room, so that no input makes the ledger grow."""
        has_room = name in self.unknown or len(self.unknown) < _MOST_UNKNOWN
        return name if has_room else f"{name.partition(' ')[0]} {_OTHERS}"

    def to_json(self) -> dict[str, Any]:
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @staticmethod
    def of(counts: Mapping[str, Any]) -> Tally:
        """From the JSON of a manifest or an epoch."""
        return Tally(
            counts["records"],
            counts["ok"],
            counts["skipped"],
            *(Counter(counts.get(n, {})) for n in ("dead", "formats", "rows", "encodings", "unknown")),
        )


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of the input.

    Attributes:
        key: its digest; a second file with the same content has `.1` after it, and so on.
        uri: where it lies now.
        digest: SHA-256 of its bytes.
        num_units: rows, or 1 where the unit is the file.
        kind: `part` (Parquet part of an earlier run), `rows` (a user's JSONL, CSV or Parquet), `archive` (ingest).
        table: name of the table it holds, `rows` where it is none of ours.
        format: reader of the file; "part" for a part, whose rows name their own.
        size_bytes: bytes of the file.
    """

    key: str
    uri: str
    digest: str
    num_units: int
    kind: str
    table: str
    format: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Units [start, stop) of the file with this number in the plan: the work of one commit."""

    file: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an accepted manifest: rows of one table made from one interval."""

    table: str
    uri: str
    digest: str
    rows: int
    size_bytes: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class Job:
    """What `job.json` says."""

    verb: str
    fingerprint: dict[str, str]
    input: str
    batch_rows: int
    files: tuple[PlannedFile, ...]
    schemas: dict[str, str]

    @property
    def num_units(self) -> int:
        return sum(file.num_units for file in self.files)

    def schema(self, table: str) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schemas[table])))

    def differences(self, other: Job) -> list[str]:
        """What makes the other one another job, in words; files by name, a few of them."""
        if self.verb != other.verb:
            return [f"verb ({self.verb}, not {other.verb})"]
        fields = sorted(set(self.fingerprint) | set(other.fingerprint))
        names = [name for name in fields if self.fingerprint.get(name) != other.fingerprint.get(name)]
        if self.input != other.input:
            names.append(f"input ({'; '.join(self._unlike(other)) or 'the number of rows'})")
        if self.schemas != other.schemas:
            names.append("columns of the output")
        return names

    def _unlike(self, other: Job) -> Iterator[str]:
        gone, new = set(_surplus(self.files, other.files)), set(_surplus(other.files, self.files))
        for said, uris in (("changed", gone & new), ("no longer named or there", gone - new), ("new", new - gone)):
            if uris:
                few = ", ".join(map(printable, sorted(uris)[:_FEW]))
                yield f"{said}: {few}{f' and {len(uris) - _FEW} more' if len(uris) > _FEW else ''}"

    def intervals(self, file: int, start: int, stop: int) -> Iterator[Interval]:
        """The commits that a range consists of."""
        while start < stop:
            until = min((start // self.batch_rows + 1) * self.batch_rows, stop)
            yield Interval(file, start, until)
            start = until


def _surplus(files: Sequence[PlannedFile], others: Sequence[PlannedFile]) -> Iterator[str]:
    """Where files lie whose content others have not, or less often; wherever those lie."""
    places = {file.uri for file in others}
    left = Counter(file.digest for file in others)
    for file in sorted(files, key=lambda file: file.uri not in places):
        if left[file.digest]:
            left[file.digest] -= 1
        else:
            yield file.uri


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What readers of a run see: parts of accepted manifests, ordered by file and row.

    Attributes:
        placed: epoch and interval of each accepted manifest, in the same order.
    """

    job: Job
    epoch: int
    finished: bool
    parts: tuple[Part, ...]
    tally: Tally
    placed: tuple[tuple[int, Interval], ...]

    def table(self, name: str) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.table == name)


@dataclass(frozen=True, slots=True)
class Commit:
    """What a worker tells of an interval that it committed, or found committed."""

    interval: Interval
    sum: int
    tally: Tally


@dataclass
class Group:
    """Accepted manifests of one epoch."""

    coverage: Coverage = field(default_factory=Coverage)
    sum: int = 0
    tally: Tally = field(default_factory=Tally)

    def add(self, commit: Commit) -> None:
        self.coverage.add(commit.interval.file, commit.interval.start, commit.interval.stop)
        self.sum = (self.sum + commit.sum) % MODULUS
        self.tally.add(commit.tally)

    def take(self, commit: Commit) -> None:
        """Takes a commit back: its units are to be done again."""
        self.coverage.remove(commit.interval.file, commit.interval.start, commit.interval.stop)
        self.sum = (self.sum - commit.sum) % MODULUS
        self.tally.take(commit.tally)

    def to_json(self) -> dict[str, Any]:
        return {"ranges": self.coverage.ranges, "sum": f"{self.sum:064x}", "tally": self.tally.to_json()}

    @staticmethod
    def of(value: Mapping[str, Any]) -> Group:
        ranges = {int(file): spans for file, spans in value["ranges"].items()}
        return Group(Coverage(ranges), int(value["sum"], 16), Tally.of(value["tally"]))
