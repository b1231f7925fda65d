"""What a worker does with an interval: reads its units, processes them, commits parts and manifest by itself.

No exception that could quote a row leaves a worker: faults are values. What a library prints or logs while it holds rows is discarded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nosology.config import IngestConfig, InputConfig
from nosology.distributed import duplicates, isolation, sink, source
from nosology.distributed.coverage import Commit, Interval, PlannedFile, Tally
from nosology.distributed.silence import silenced
from nosology.distributed.unchanged import open_checked
from nosology.errors import NosologyError, Reason, RecordError
from nosology.records import (
    DIGEST,
    DUPLICATES,
    ORIGINALS,
    TABLES,
    DeadLetter,
    Duplicate,
    Original,
    arrow_schema,
    digested_table,
    to_dict,
    to_table,
)
from nosology.runs import describe

if TYPE_CHECKING:
    import pyarrow as pa

    from nosology.distributed.duplicates import Found

_RETRY_SECONDS = (1.0, 4.0, 15.0)  # a replica restarts within these; longer, and the job stops and can be resumed
_PART_ROWS, _PART_BYTES = 2000, 32 << 20  # a part is written at either
_WATCHED_ROWS = 64  # rows that a stage may take cluster.stall_seconds for
_HELD_ROWS, _HELD_CHARACTERS = 500, 8 << 20  # records that an ingest holds as objects, which are many times larger than their table


class Stage(Protocol):
    """What runs over rows: plain, picklable, without a cluster. May also have `num_cpus` (cores of one worker; 0 for a client
    that only waits) and `isolable = False`: it calls a service of the cluster, so it cannot run in a child process, and holds no row
    that could end its own."""

    verb: str

    def schemas(self) -> dict[str, pa.Schema]:
        """Schema of each output table; dead letters are not among them."""
        ...

    def open(self) -> None:
        """Loads models; called once in each worker."""
        ...

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Rows of the input to rows of each output table. Raises RecordError for a bad row."""
        ...


class StageWork:
    """The rows of an interval through a stage."""

    def __init__(self, stage: Stage, schemas: Mapping[str, pa.Schema], files: Sequence[PlannedFile]) -> None:
        self._stage, self._schemas, self._files = stage, schemas, files
        self.isolable: bool = getattr(stage, "isolable", True)

    def open(self) -> None:
        self._stage.open()
        self._rows = source.Rows(self._files)

    def produce(self, interval: Interval, tally: Tally, dead: list[DeadLetter], guard: isolation.Guard) -> Iterator[tuple[str, pa.Table]]:
        file = self._files[interval.file]
        rows: list[dict[str, Any]] = []
        for row in self._rows.read(interval):
            tally.records += 1
            if isinstance(row, tuple):
                dead.append(self._dead((file.digest, row[0], file.format), row[1]))
                tally.formats[file.format] += 1
            else:
                rows.append(row)
                tally.formats[str(row["source_format"])] += 1
        # what only waits for a service has its own limits there, and is given all at once, to keep the service busy
        size, moved = (_WATCHED_ROWS, guard.moved) if self.isolable else (len(rows), lambda: None)
        for at in range(0, len(rows), size or 1):
            for tables in self._process(rows[at : at + size], dead, moved):
                yield from tables.items()

    def lost(self, unit: Interval, reason: Reason) -> tuple[Tally, DeadLetter]:
        file = self._files[unit.file]
        tally = Tally(records=1)
        key = (file.digest, unit.start, file.format)
        if file.kind == "part":  # a table of ours, checked by its digest: reading it ends no process
            (row,) = self._rows.read(unit)
            assert isinstance(row, dict)
            key = (row["source_digest"], row["source_row"], row["source_format"])
        tally.formats[key[2]] += 1
        return tally, self._dead(key, reason)

    def _process(self, rows: Sequence[dict[str, Any]], dead: list[DeadLetter], moved: Callable[[], None]) -> Iterator[dict[str, pa.Table]]:
        """Output tables; a batch that fails is tried again in halves until the bad row is alone."""
        moved()
        try:
            yield self._tables(rows)
        except Exception as error:
            if isinstance(error, NosologyError):
                raise
            if len(rows) == 1:
                row = rows[0]
                dead.append(self._dead((row["source_digest"], row["source_row"], row["source_format"]), _reason(error)))
                return
            middle = len(rows) // 2
            yield from self._process(rows[:middle], dead, moved)
            yield from self._process(rows[middle:], dead, moved)

    def _tables(self, rows: Sequence[dict[str, Any]]) -> dict[str, pa.Table]:
        import pyarrow as pa

        for pause in (*_RETRY_SECONDS, None):
            try:
                output = self._stage.process(rows)
                break
            except Exception as error:
                if not _is_transient(error):
                    raise
                if pause is None:
                    raise NosologyError(
                        f"the service that this stage calls does not answer ({type(error).__name__}). "
                        "What was committed stands; run the same command again, it resumes"
                    ) from None
                time.sleep(pause)
        return {table: pa.Table.from_pylist(made, schema=self._schemas[table]) for table, made in output.items()}

    def _dead(self, key: tuple[str, int, str], reason: Reason) -> DeadLetter:
        digest, row, name = key
        return DeadLetter(source_digest=digest, source_row=row, source_format=name, stage=self._stage.verb,
                          reason=reason.code, field=reason.field, rule=reason.rule)  # fmt: skip


class IngestWork:
    """The records of a file; a unit is a file.

    Args:
        left_out: by number of the file, records that an earlier file holds: they are named in the table `duplicates` instead.
    """

    isolable = True

    def __init__(
        self, ingest: IngestConfig, columns: InputConfig, files: Sequence[PlannedFile], left_out: Mapping[int, Found] | None = None
    ) -> None:
        self._ingest, self._columns, self._files, self._left_out = ingest, columns, files, left_out or {}

    def open(self) -> None:
        self._names: dict[type[Any], str] = {record: name for name, record in TABLES.items()}
        if self._ingest.keep_originals:
            self._names[Original] = ORIGINALS

    def produce(self, interval: Interval, tally: Tally, dead: list[DeadLetter], guard: isolation.Guard) -> Iterator[tuple[str, pa.Table]]:
        """Tables of the file's records, in pieces of bounded size."""
        from nosology import readers

        file = self._files[interval.file]
        again = self._left_out.get(interval.file)
        repeated = {} if again is None else duplicates.firsts(again)
        held: dict[str, list[Any]] = {}
        characters = 0
        with open_checked(file.uri, file.digest, guard.moved) as stream:
            described = readers.SourceFile(file.uri, readers.name_of(file.uri), file.digest, file.size_bytes)
            builder = readers.Builder(guard.deadly, guard.told)
            reading = readers.read_file(described, stream, self._ingest, self._columns, builder)
            for item in reading:
                guard.moved()
                if isinstance(item, DeadLetter):
                    dead.append(item)
                    if len(dead) >= _PART_ROWS:
                        yield sink.DEAD, _letters(tally, dead)
                elif type(item) in self._names:
                    name = self._names[type(item)]
                    held.setdefault(name, []).append(item)
                    characters += len(getattr(item, "text", "")) + len(getattr(item, "content", b""))
                    if len(held[name]) >= _HELD_ROWS or characters >= _HELD_CHARACTERS:
                        yield from self._tables(held, dead, repeated)
                        held, characters = {}, 0
        yield from self._tables(held, dead, repeated)
        counts = reading.counts
        tally.records, tally.skipped = counts.records, counts.skipped
        tally.formats += reading.formats
        tally.encodings += reading.encodings
        tally.unknown += reading.unknown

    def lost(self, unit: Interval, reason: Reason) -> tuple[Tally, DeadLetter]:
        file = self._files[unit.file]
        tally = Tally(records=1)
        tally.formats[file.format] += 1
        letter = DeadLetter(source_digest=file.digest, source_row=0, source_format=file.format, stage="ingest",
                            reason=reason.code, field=reason.field, rule=reason.rule)  # fmt: skip
        return tally, letter

    def _tables(
        self, held: Mapping[str, Sequence[Any]], dead: list[DeadLetter], repeated: Mapping[str, tuple[int, int]]
    ) -> Iterator[tuple[str, pa.Table]]:
        for name, rows in held.items():
            for table in _converted(name, rows, dead):
                if repeated and name in TABLES:
                    table, again = self._apart(name, table, repeated)
                    yield DUPLICATES, again
                yield name, table

    def _apart(self, name: str, rows: pa.Table, repeated: Mapping[str, tuple[int, int]]) -> tuple[pa.Table, pa.Table]:
        """The rows that no earlier file has, and the names of the others."""
        import pyarrow as pa

        # by content, not by number: where a record ended its process, those behind it are numbered anew
        is_again = [digest in repeated and duplicates.is_compared(name, kind)
                    for digest, kind in zip(rows[DIGEST].to_pylist(), rows["source_format"].to_pylist(), strict=True)]  # fmt: skip
        again = []
        for row in rows.select(["source_digest", "source_row", "source_format", DIGEST]).filter(pa.array(is_again, pa.bool_())).to_pylist():
            file, first_row = repeated[row.pop(DIGEST)]
            again.append(Duplicate(**row, table=name, first_digest=self._files[file].digest, first_row=first_row))
        return rows.filter(pa.array([not one for one in is_again], pa.bool_())), to_table(Duplicate, again)


def _converted(name: str, rows: Sequence[Any], dead: list[DeadLetter]) -> Iterator[pa.Table]:
    """The rows as tables; one that no table can hold becomes a dead letter, and rows that its record gave besides stand."""
    try:
        yield (digested_table if name in TABLES else to_table)(type(rows[0]), rows)
    except Exception as error:
        if name not in TABLES or isinstance(error, (NosologyError, OSError, MemoryError)):
            raise
        if len(rows) > 1:
            middle = len(rows) // 2
            yield from _converted(name, rows[:middle], dead)
            yield from _converted(name, rows[middle:], dead)
            return
        (row,), reason = rows, _reason(error)
        dead.append(DeadLetter(source_digest=row.source_digest, source_row=row.source_row, source_format=row.source_format,
                               stage="ingest", reason=reason.code, field=reason.field, rule=reason.rule))  # fmt: skip


def run(work: isolation.Work, writer: sink.Writer, interval: Interval, watch: isolation.Watch) -> Commit | None:
    """Works on an interval and commits it; None if another driver took the job over."""
    tally, dead = Tally(), list[DeadLetter]()
    attempt = writer.begin(interval)
    with silenced(), _abandoned_on_failure(attempt):
        _write(attempt, work.produce(interval, tally, dead, isolation.Guard(watch.moved)))
        return _commit(attempt, tally, dead)


def run_carefully(work: isolation.Work, child: isolation.Child, writer: sink.Writer, interval: Interval) -> Commit | None:
    """The same in a child process, for an interval in which a worker was lost before."""
    tally, dead = Tally(), list[DeadLetter]()
    attempt = writer.begin(interval)
    with silenced(), _abandoned_on_failure(attempt):
        isolation.carefully(work, child, attempt, interval, tally, dead)
        return _commit(attempt, tally, dead)


def _write(attempt: sink.Attempt, parts: Iterator[tuple[str, pa.Table]]) -> None:
    """Writes tables, small ones together."""
    import pyarrow as pa

    gathered: dict[str, list[pa.Table]] = {}
    for table, part in parts:
        gathered.setdefault(table, []).append(part)
        if sum(piece.num_rows for piece in gathered[table]) >= _PART_ROWS:
            attempt.add(table, pa.concat_tables(gathered.pop(table)))
        if sum(piece.nbytes for pieces in gathered.values() for piece in pieces) >= _PART_BYTES:
            _flush(attempt, gathered)
    _flush(attempt, gathered)


def _flush(attempt: sink.Attempt, gathered: dict[str, list[pa.Table]]) -> None:
    import pyarrow as pa

    for table, pieces in gathered.items():
        attempt.add(table, pa.concat_tables(pieces))
    gathered.clear()


def _commit(attempt: sink.Attempt, tally: Tally, dead: list[DeadLetter]) -> Commit | None:
    """Writes the dead letters that are left, then the manifest."""
    attempt.add(sink.DEAD, _letters(tally, dead))
    tally.ok = tally.records - tally.dead.total()
    return attempt.commit(tally)


def _letters(tally: Tally, dead: list[DeadLetter]) -> pa.Table:
    """Dead letters as a table; they are counted and taken from the list."""
    import pyarrow as pa

    dead.sort(key=lambda letter: letter.source_row)
    tally.dead.update(letter.reason for letter in dead)
    table = pa.Table.from_pylist([to_dict(letter) for letter in dead], schema=arrow_schema(DeadLetter))
    dead.clear()
    return table


@contextlib.contextmanager
def _abandoned_on_failure(attempt: sink.Attempt) -> Iterator[None]:
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):
            attempt.abandon()
        raise


def give_back() -> None:
    """Hands memory that nothing holds any more back to the system: else a worker keeps, for good, what fell between the records of
    each file, and grows with their number."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None where the C library has none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def fault(error: Exception) -> Exception:
    """What the driver raises: an error of this package as it is, any other without its text."""
    if isinstance(error, NosologyError):
        return error
    return NosologyError(f"internal error in a worker: {describe(error)}; please report this line")


def _reason(error: Exception) -> Reason:
    """Why a row is dead. Of an unforeseen exception its class and place in the code, never its text."""
    cause = getattr(error, "cause", None)  # Ray's wrapper of an exception that a replica raised
    for candidate in (error, cause):
        if isinstance(candidate, RecordError):
            return candidate.reason
    return Reason("internal_error", None, describe(cause if isinstance(cause, Exception) else error))


def _is_transient(error: Exception) -> bool:
    """Whether a failure is of the connection or the process behind it, and so says nothing of the rows."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    ray = sys.modules.get("ray")
    return ray is not None and isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError)
