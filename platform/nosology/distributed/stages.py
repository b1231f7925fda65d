"""Runs a stage, or an ingest, over Ray Data: every row of the input is in the output or among the dead letters, exactly once.

Ray Data carries intervals (three integers) in and counts out. A worker reads the rows of an interval, processes them, commits
parts and manifest by itself. So no row is ever in Ray's object store, and no exception that could quote one reaches Ray: a
worker hands faults back as values. What a library prints or logs while it holds rows is discarded.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nosology.config import ClusterConfig, IngestConfig, InputConfig
from nosology.distributed import sink, source
from nosology.distributed.coverage import Commit, Interval, PlannedFile, Tally
from nosology.distributed.session import session
from nosology.distributed.silence import native_muted, silenced
from nosology.errors import InputError, NosologyError, Reason, RecordError
from nosology.records import TABLES, DeadLetter, arrow_schema, to_dict, to_table
from nosology.runs import describe

if TYPE_CHECKING:
    import pyarrow as pa

_RETRY_SECONDS = (1.0, 4.0, 15.0)  # a replica restarts within these; longer, and the job stops and can be resumed
_BLOCKS_PER_WORKER = 100
_WORKER_DEATHS = 3  # workers that one task may lose before the job stops; Ray Data's own default is to go on for ever
_PART_ROWS, _PART_CHARACTERS = 2000, 32 << 20  # an ingest writes a part at either


class Stage(Protocol):
    """What runs over rows: plain, picklable, without a cluster. May also have `num_cpus` (cores of one worker; 0 for a client
    that only waits)."""

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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        done: units committed. total: units planned. tally: counts so far, earlier runs included.
    """

    done: int
    total: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a job did, all its runs together. `records_in` = `ok` + `dead`."""

    verb: str
    files: int
    records_in: int
    ok: int
    dead: int
    skipped: int = 0
    dead_by_reason: dict[str, int] = field(default_factory=dict)
    by_format: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    resumed_share: float = 0.0


OnProgress = Callable[[Progress], None]


def run_stage(
    stage: Stage,
    inputs: Sequence[str],
    out: str,
    cluster: ClusterConfig,
    fingerprint: Mapping[str, str],
    on_progress: OnProgress | None = None,
    *,
    needed: Sequence[str] = (),
    tables: Sequence[str] | None = None,
    workers: int | None = None,
) -> StageReport:
    """Runs a stage over files, folders or folders of earlier runs; resumes what `out` holds.

    Args:
        stage: what to run.
        inputs: where the rows are.
        out: folder of the job.
        cluster: where it runs.
        fingerprint: what makes two runs the same job (`runs.fingerprint`).
        on_progress: called in this process after each commit that became known; None shows a bar on a terminal.
        needed: columns that a user's own table must have.
        tables: tables of an earlier run that the stage reads; None is all.
        workers: processes; None is as many as the free cores allow.

    Raises:
        FingerprintError: `out` belongs to another job.
        InputError: the input cannot be read, the storage fails, or another run took the job over.
        ModelError: the stage cannot load its models.
    """
    files = source.plan(inputs, needed, tables)
    schemas = stage.schemas()
    ledger = sink.open_ledger(out, stage.verb, fingerprint, files, cluster.batch_rows, schemas)
    work = _StageWork(stage, ledger.writer(schemas), ledger.job.files)
    return _run(ledger, work, cluster, on_progress, workers, float(getattr(stage, "num_cpus", 1)))


def run_ingest(
    inputs: Sequence[str],
    out: str,
    ingest: IngestConfig,
    cluster: ClusterConfig,
    fingerprint: Mapping[str, str],
    on_progress: OnProgress | None = None,
    *,
    columns: InputConfig | None = None,
    workers: int | None = None,
) -> StageReport:
    """Reads an archive into the tables of `records.TABLES`; a unit is a file. Otherwise as `run_stage`."""
    files = source.plan_archive(inputs, ingest, columns or InputConfig())
    schemas = {name: arrow_schema(record) for name, record in TABLES.items()}
    ledger = sink.open_ledger(out, "ingest", fingerprint, files, 1, schemas)
    work = _IngestWork(ingest, columns or InputConfig(), ledger.writer(schemas), ledger.job.files)
    return _run(ledger, work, cluster, on_progress, workers, 1.0)


def read_output(out: str, table: str) -> pa.Table:
    """The rows of a table of a run, ordered by file and row, from its newest snapshot; every part's digest is checked.

    Raises:
        InputError: the folder is no run, has no such table, or a part is missing or changed.
    """
    import pyarrow as pa

    seen = sink.snapshot(out)
    if table != sink.DEAD and table not in seen.job.schemas:
        raise InputError(f"this run has no table `{table}`", file=out, remedy=f"It has {', '.join([*seen.job.schemas, sink.DEAD])}")
    schema = arrow_schema(DeadLetter) if table == sink.DEAD else seen.job.schema(table)
    return pa.concat_tables([schema.empty_table(), *(sink.read_part(part).cast(schema) for part in seen.table(table))])


def job_status(out: str) -> dict[str, Any]:
    """How far a job is, from its folder alone: `verb, done, total, share, files, records, ok, dead, dead_by_reason, finished`.

    Raises:
        InputError: the folder is no run, or it is damaged.
    """
    job, done, tally, finished = sink.status(out)
    return {
        "verb": job.verb, "done": done.num_units, "total": job.num_units, "share": round(done.num_units / job.num_units, 4),
        "files": len(job.files), "records": tally.records, "ok": tally.ok, "dead": tally.dead.total(),
        "dead_by_reason": dict(tally.dead), "rows": {name: n for name, n in tally.rows.items() if name != sink.DEAD}, "finished": finished,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- driver


def _run(
    ledger: sink.Ledger, work: _Work, cluster: ClusterConfig, on_progress: OnProgress | None, workers: int | None, num_cpus: float
) -> StageReport:
    started = time.monotonic()
    if list(ledger.pending()):
        bar = _bar(ledger.job.verb) if on_progress is None else contextlib.nullcontext(on_progress)
        with native_muted(), bar as show, session(cluster):
            show(Progress(ledger.done.num_units, ledger.job.num_units, ledger.tally))
            for commit in _commits(ledger, work, workers, num_cpus):
                if ledger.accept(commit):
                    show(Progress(ledger.done.num_units, ledger.job.num_units, ledger.tally))
    ledger.finish()
    tally = ledger.tally
    return StageReport(
        ledger.job.verb, len(ledger.job.files), tally.records, tally.ok, tally.dead.total(), tally.skipped, dict(tally.dead),
        dict(tally.formats), {name: tally.rows[name] for name in ledger.job.schemas}, round(time.monotonic() - started, 3),
        round(ledger.num_resumed / ledger.job.num_units, 4),
    )  # fmt: skip


def _commits(ledger: sink.Ledger, work: _Work, workers: int | None, num_cpus: float) -> Iterator[Commit]:
    """Sends what is pending through Ray Data; yields commits as they become known, in any order."""
    import ray
    import ray.data

    untyped: Any = ray
    free = float(untyped.available_resources().get("CPU", 0.0))
    pending = [{"file": i.file, "start": i.start, "stop": i.stop} for i in ledger.pending()]
    if workers is None:
        workers = int(free // num_cpus) if num_cpus else 1
    num_cpus = min(num_cpus, free)  # where a Serve application holds every core, one worker shares them rather than wait for ever
    workers = max(1, min(workers, len(pending)))
    todo = ray.data.from_items(pending, override_num_blocks=min(len(pending), _BLOCKS_PER_WORKER * workers))
    with warnings.catch_warnings():  # Ray 2.64 will name this option anew; this package holds to 2.60
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = todo.map_batches(
            _Worker, fn_constructor_args=(work,), batch_size=1, batch_format="numpy", num_cpus=num_cpus,
            compute=ray.data.ActorPoolStrategy(size=workers), max_task_retries=_WORKER_DEATHS,
        )  # fmt: skip
    try:
        for batch in rows.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for data in batch["result"]:
                result = pickle.loads(data)
                if isinstance(result, Exception):
                    raise result
                if result is None:
                    raise sink.taken_over(ledger.out)
                yield result
    except (NosologyError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:  # of Ray itself; its text can be long and names no cause that a user could mend
        raise NosologyError(
            f"a worker process was lost again and again ({type(error).__name__}), perhaps for lack of memory. "
            "What was committed stands; run the same command again, it resumes"
        ) from None


class _Worker:
    """What Ray Data holds in each worker process. Nothing is raised out of it: faults are results."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._fault: Exception | None = None
        try:
            with silenced():
                work.open()
        except Exception as error:
            self._fault = _fault(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        results: list[bytes] = []
        for file, start, stop in zip(batch["file"], batch["start"], batch["stop"], strict=True):
            result: Commit | Exception | None = self._fault
            if result is None:
                try:
                    result = self._work.run(Interval(int(file), int(start), int(stop)))
                except Exception as error:
                    result = _fault(error)
            results.append(pickle.dumps(result))
        return {"result": results}


def _fault(error: Exception) -> Exception:
    """What the driver raises: an error of this package as it is, any other without its text."""
    if isinstance(error, NosologyError):
        return error
    return NosologyError(f"internal error in a worker: {describe(error)}; please report this line")


class _Work(Protocol):
    def open(self) -> None: ...

    def run(self, interval: Interval) -> Commit | None: ...


# ------------------------------------------------------------------------------------------------------------ workers


class _StageWork:
    """The rows of an interval through a stage, into the ledger."""

    def __init__(self, stage: Stage, writer: sink.Writer, files: Sequence[PlannedFile]) -> None:
        self._stage, self._writer, self._files = stage, writer, files

    def open(self) -> None:
        self._stage.open()
        self._rows = source.Rows(self._files)

    def run(self, interval: Interval) -> Commit | None:
        file = self._files[interval.file]
        dead: list[DeadLetter] = []
        rows: list[dict[str, Any]] = []
        tally = Tally()
        with silenced():
            for row in self._rows.read(interval):
                tally.records += 1
                if isinstance(row, tuple):
                    dead.append(self._dead((file.digest, row[0], file.format), row[1]))
                    tally.formats[file.format] += 1
                else:
                    rows.append(row)
                    tally.formats[str(row["source_format"])] += 1
            outputs = list(self._process(rows, dead)) if rows else []
        attempt = self._writer.begin(interval)
        return _committed(attempt, tally, dead, ((table, part) for tables in outputs for table, part in tables.items()))

    def _process(self, rows: Sequence[dict[str, Any]], dead: list[DeadLetter]) -> Iterator[dict[str, pa.Table]]:
        """Output tables; a batch that fails is tried again in halves until the bad row is alone."""
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
            yield from self._process(rows[:middle], dead)
            yield from self._process(rows[middle:], dead)

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
        return {table: pa.Table.from_pylist(made, schema=self._writer.schemas[table]) for table, made in output.items()}

    def _dead(self, key: tuple[str, int, str], reason: Reason) -> DeadLetter:
        digest, row, name = key
        return DeadLetter(source_digest=digest, source_row=row, source_format=name, stage=self._stage.verb,
                          reason=reason.code, field=reason.field, rule=reason.rule)  # fmt: skip


class _IngestWork:
    """The records of a file, into the ledger."""

    def __init__(self, ingest: IngestConfig, columns: InputConfig, writer: sink.Writer, files: Sequence[PlannedFile]) -> None:
        self._ingest, self._columns, self._writer, self._files = ingest, columns, writer, files

    def open(self) -> None:
        self._names = {record: name for name, record in TABLES.items()}

    def run(self, interval: Interval) -> Commit | None:
        tally, dead = Tally(), list[DeadLetter]()
        attempt = self._writer.begin(interval)
        with silenced():
            return _committed(attempt, tally, dead, self._parts(self._files[interval.file], tally, dead))

    def _parts(self, file: PlannedFile, tally: Tally, dead: list[DeadLetter]) -> Iterator[tuple[str, pa.Table]]:
        """Tables of the file's records, in pieces of bounded size."""
        from nosology import readers, storage

        held: dict[str, list[Any]] = {}
        characters = 0
        if storage.size(file.uri) != file.size_bytes:
            raise InputError("the file changed during the run", file=file.uri, remedy="Run again into a new folder")
        with storage.open_input(file.uri) as stream:
            described = readers.SourceFile(file.uri, file.uri.rsplit("/", 1)[-1], file.digest, file.size_bytes)
            reading = readers.read_file(described, stream, self._ingest, self._columns)
            for item in reading:
                if isinstance(item, DeadLetter):
                    dead.append(item)
                elif type(item) in self._names:
                    name = self._names[type(item)]
                    held.setdefault(name, []).append(item)
                    characters += len(getattr(item, "text", ""))
                    if len(held[name]) >= _PART_ROWS or characters >= _PART_CHARACTERS:
                        yield from ((table, to_table(TABLES[table], rows)) for table, rows in held.items())
                        held, characters = {}, 0
        yield from ((table, to_table(TABLES[table], rows)) for table, rows in held.items())
        counts = reading.counts
        tally.records, tally.skipped = counts.records, counts.skipped
        tally.formats[reading.format] += counts.records


def _committed(attempt: sink.Attempt, tally: Tally, dead: list[DeadLetter], parts: Iterator[tuple[str, pa.Table]]) -> Commit | None:
    """Writes parts, then dead letters, then the manifest; what was written is removed when that fails."""
    import pyarrow as pa

    gathered: dict[str, list[pa.Table]] = {}
    try:
        for table, part in parts:
            gathered.setdefault(table, []).append(part)
            if sum(piece.num_rows for piece in gathered[table]) >= _PART_ROWS:
                attempt.add(table, pa.concat_tables(gathered.pop(table)))
        for table, pieces in gathered.items():
            attempt.add(table, pa.concat_tables(pieces))
        dead.sort(key=lambda letter: letter.source_row)
        attempt.add(sink.DEAD, pa.Table.from_pylist([to_dict(letter) for letter in dead], schema=arrow_schema(DeadLetter)))
        for letter in dead:
            tally.dead[letter.reason] += 1
        tally.ok = tally.records - len(dead)
        return attempt.commit(tally)
    except Exception:
        with contextlib.suppress(Exception):
            attempt.abandon()
        raise


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


@contextlib.contextmanager
def _bar(verb: str) -> Iterator[OnProgress]:
    """A progress bar on a terminal; silent where stderr is none."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    name, counts = TextColumn("{task.description}"), TextColumn("{task.fields[counts]}")
    with Bar(name, BarColumn(), TaskProgressColumn(), counts, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(verb, total=None, counts="")

        def show(progress: Progress) -> None:
            tally = progress.tally
            words = f"{tally.records:,} records  dead {tally.dead.total():,}"
            bar.update(task, total=progress.total, completed=progress.done, counts=words)

        yield show
