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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from nosology import storage
from nosology.config import ClusterConfig, IngestConfig, InputConfig
from nosology.distributed import duplicates, sink, source, work
from nosology.distributed.coverage import Commit, Coverage, Interval, PlannedFile, Tally
from nosology.distributed.isolation import Child, Watch, Work
from nosology.distributed.parts import read_part
from nosology.distributed.session import session
from nosology.distributed.silence import native_muted, silenced, without_core
from nosology.distributed.work import IngestWork, Stage, StageWork
from nosology.errors import InputError, NosologyError
from nosology.records import DeadLetter, arrow_schema, ingest_schemas

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCKS_PER_WORKER = 100
_LOSSES = 3  # workers that one interval may lose, the last in careful mode, before the job stops; Ray Data's own default is no limit
_LEAST_ROWS, _MOST_ROWS, _COMMITS = 16, 4096, 4096  # of a commit; commits of a job, where that can be


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
    """What a job did, all its runs together. `records_in` = `ok` + `dead`. The last six fields are of an ingest: `unreadable`,
    `duplicates` and `left_out` as in `source.Archive`; `duplicate_records` counts rows, by table, of which an earlier file holds the same;
    `unknown_fields` says how often a field came that no list has (`nosology.deid.fields`), by format and name.
    """

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
    inputs: tuple[PlannedFile, ...] = ()
    by_encoding: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    duplicates: int = 0
    left_out: int = 0
    duplicate_records: dict[str, int] = field(default_factory=dict)
    unknown_fields: dict[str, dict[str, int]] = field(default_factory=dict)


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
    planned: Sequence[PlannedFile] | None = None,
    before: Callable[[], None] | None = None,
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
        planned: what `source.plan` made of these inputs, where the caller has it already.
        before: called once the folder is known to be this job's, before the first worker starts; not where nothing is left to do.

    Raises:
        FingerprintError: `out` belongs to another job.
        InputError: the input cannot be read, the storage fails, or another run took the job over.
        ModelError: the stage cannot load its models.
    """
    out = storage.absolute(out)  # workers of a cluster have folders of their own
    if planned is None:
        source.check_apart(inputs, out)
    files = source.plan(inputs, needed, tables) if planned is None else planned
    schemas = stage.schemas()
    rows = cluster.batch_rows or batch_rows(sum(file.num_units for file in files))
    ledger = sink.open_ledger(out, stage.verb, fingerprint, files, rows, schemas)
    stage_work = StageWork(stage, {**schemas, sink.DEAD: arrow_schema(DeadLetter)}, ledger.job.files)
    started = time.monotonic()
    if before is not None and next(ledger.pending(), None) is not None:
        before()
    _do(ledger, stage_work, ledger.writer(schemas), cluster, on_progress, workers, float(getattr(stage, "num_cpus", 1)))
    ledger.finish()
    return _report(ledger, started)


def batch_rows(num_units: int) -> int:
    """Rows of one commit when the user names none: some thousand commits for a large job, so that its ledger stays small, and few
    rows of a small one, so that a kill costs little."""
    return min(max(_LEAST_ROWS, num_units // _COMMITS), _MOST_ROWS)


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
    """Reads an archive into the tables of `records.ingest_schemas`; a unit is a file. Otherwise as `run_stage`.

    When all files are read, records that stand in several of them are looked for. With `ingest.duplicates: first` the files that repeat
    any are done once more, without those; a run that is killed in between finds the same ones again.

    Raises:
        InputError: as `run_stage`; also where `ingest.duplicates: refuse` and records repeat.
    """
    columns = columns or InputConfig()
    out = storage.absolute(out)  # workers of a cluster have folders of their own
    source.check_apart(inputs, out)
    archive = source.plan_archive(inputs, ingest, columns)
    schemas = ingest_schemas(ingest.keep_originals, ingest.duplicates == "first")
    ledger = sink.open_ledger(out, "ingest", fingerprint, archive.files, 1, schemas)
    started = time.monotonic()

    def do(left_out: Mapping[int, duplicates.Found]) -> None:
        reading = IngestWork(ingest, columns, ledger.job.files, left_out)
        _do(ledger, reading, ledger.writer(schemas), cluster, on_progress, workers, 1.0)

    do({})
    if ingest.duplicates == "refuse":
        duplicates.refuse(duplicates.find(ledger), ledger.job.files)
    while ingest.duplicates == "first" and not ledger.finished:
        repeated = duplicates.by_file(duplicates.find(ledger))
        # what files lack already must be found too, before it is left out anew
        if repeated and (lacking := repeated.keys() & duplicates.files_without(ledger)):
            ledger = ledger.reopened(lacking)
            do({})
            repeated = duplicates.by_file(duplicates.find(ledger))
        if repeated:
            ledger = ledger.reopened(repeated)
            do(repeated)
        orphaned = duplicates.orphaned(ledger)
        if not orphaned:
            break
        ledger = ledger.reopened(orphaned)
        do({})
    ledger.finish()
    again = duplicates.left_out(out) if ingest.duplicates == "first" else duplicates.by_table(duplicates.find(ledger))
    return replace(_report(ledger, started), unreadable=archive.unreadable, duplicates=archive.duplicates, left_out=archive.left_out,
                   duplicate_records=dict(again))  # fmt: skip


def read_output(out: str, table: str) -> pa.Table:
    """The rows of a table of a run, ordered by file and row, from its newest snapshot; every part's digest is checked.

    Raises:
        InputError: the folder is no run, has no such table, or a part is missing or changed.
    """
    import pyarrow as pa

    schema, parts = output_parts(out, table)
    return pa.concat_tables([schema.empty_table(), *parts])


def output_parts(out: str, table: str, columns: Sequence[str] | None = None) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """As `read_output`, a part at a time: the schema, and the rows of each part.

    Args:
        columns: those wanted; None is all.
    """
    seen = sink.snapshot(out)
    if table != sink.DEAD and table not in seen.job.schemas:
        raise InputError(f"this run has no table `{table}`", file=out, remedy=f"It has {', '.join([*seen.job.schemas, sink.DEAD])}")
    schema = arrow_schema(DeadLetter) if table == sink.DEAD else seen.job.schema(table)
    found = (read_part(part).cast(schema) for part in seen.table(table))
    return schema, found if columns is None else (part.select(columns) for part in found)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a stage made of one interval.

    Attributes:
        rows: rows of the user's table with their keys; none where the input is the run of an earlier verb.
        output: rows of the table asked for. dead: reasons of dead letters by key.
    """

    rows: list[dict[str, Any]]
    output: list[dict[str, Any]]
    dead: dict[tuple[str, int], str]


def answers(out: str, table: str, files: Sequence[PlannedFile]) -> Iterator[Answers]:
    """Input and output of a run side by side, an interval at a time, in the order of the input.

    Args:
        files: the input as it lies now (`StageReport.inputs`).
    """
    seen = sink.snapshot(out)
    reader = source.Rows(files)
    parts: dict[Interval, list[Any]] = {}
    for part in seen.parts:
        if part.table in (table, sink.DEAD):
            parts.setdefault(part.interval, []).append(part)
    for _, interval in seen.placed:
        made: list[dict[str, Any]] = []
        dead: dict[tuple[str, int], str] = {}
        for part in parts.get(interval, []):
            found = read_part(part).to_pylist()
            if part.table == sink.DEAD:
                dead |= {(row["source_digest"], row["source_row"]): row["reason"] for row in found}
            else:
                made += found
        own = files[interval.file].kind == "rows"
        yield Answers([row for row in reader.read(interval) if isinstance(row, dict)] if own else [], made, dead)


def job_status(out: str) -> dict[str, Any]:
    """How far a job is, from its folder alone: `verb, done, total, share, files, records, ok, dead, skipped, dead_by_reason, finished`; while it is
    not finished also `units_per_second` since its last start and `seconds_left`, None before the first commit.

    Raises:
        InputError: the folder is no run, or it is damaged.
    """
    job, done, tally, finished, pace = sink.status(out)
    speed = (
        {}
        if finished
        else {"units_per_second": pace and round(pace, 3), "seconds_left": pace and round((job.num_units - done.num_units) / pace)}
    )
    return {
        "verb": job.verb, "done": done.num_units, "total": job.num_units, "share": round(done.num_units / job.num_units, 4),
        "files": len(job.files), "records": tally.records, "ok": tally.ok, "dead": tally.dead.total(), "skipped": tally.skipped,
        "dead_by_reason": dict(tally.dead), "rows": {name: n for name, n in tally.rows.items() if name != sink.DEAD}, "finished": finished, **speed,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- driver


def _do(
    ledger: sink.Ledger, units: Work, writer: sink.Writer, cluster: ClusterConfig, on_progress: OnProgress | None, workers: int | None,
    num_cpus: float,
) -> None:  # fmt: skip
    """Works on all that is pending."""
    if next(ledger.pending(), None) is None:
        return
    bar = _bar(ledger.job.verb) if on_progress is None else contextlib.nullcontext(on_progress)
    with native_muted(), bar as show, session(cluster):
        show(Progress(ledger.done.num_units, ledger.job.num_units, ledger.tally))
        for commit in _commits(ledger, units, writer, workers, num_cpus, cluster.stall_seconds):
            if ledger.accept(commit):
                show(Progress(ledger.done.num_units, ledger.job.num_units, ledger.tally))


def _report(ledger: sink.Ledger, started: float) -> StageReport:
    tally = ledger.tally
    return StageReport(
        ledger.job.verb, len(ledger.job.files), tally.records, tally.ok, tally.dead.total(), tally.skipped, dict(tally.dead),
        dict(tally.formats), {name: tally.rows[name] for name in ledger.job.schemas}, round(time.monotonic() - started, 3),
        round(ledger.num_resumed / ledger.job.num_units, 4), ledger.job.files, dict(tally.encodings), unknown_fields=_by_format(tally.unknown),
    )  # fmt: skip


def _by_format(unknown: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts by format and name; the most frequent first."""
    found: dict[str, dict[str, int]] = {}
    for key, count in sorted(unknown.items(), key=lambda one: (-one[1], one[0])):
        name, _, path = key.partition(" ")
        found.setdefault(name, {})[path] = count
    return found


def _commits(
    ledger: sink.Ledger, units: Work, writer: sink.Writer, workers: int | None, num_cpus: float, stall_seconds: float
) -> Iterator[Commit]:
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
    foreman = _Office(ray.remote(_Foreman).options(num_cpus=0).remote())
    todo = ray.data.from_items(pending, override_num_blocks=min(len(pending), _BLOCKS_PER_WORKER * workers))
    with warnings.catch_warnings():  # Ray 2.64 will name this option anew; this package holds to 2.60
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = todo.map_batches(
            _Worker, fn_constructor_args=(units, writer, foreman, stall_seconds), batch_size=1, batch_format="numpy", num_cpus=num_cpus,
            compute=ray.data.ActorPoolStrategy(size=workers), max_task_retries=-1,
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
        raise _lost_workers(type(error).__name__) from None


def _lost_workers(detail: str) -> NosologyError:
    return NosologyError(
        f"a worker process was lost again and again ({detail}), perhaps for lack of memory. "
        "What was committed stands; run the same command again, it resumes"
    )


class _Foreman:
    """Knows what each worker began and did not end: an actor of the run's cluster, which needs no core.

    Ray Data gives a block whose worker was lost to another one and tells it nothing.
    """

    def __init__(self) -> None:
        self._begun: Counter[tuple[int, int, int]] = Counter()
        self._done = Coverage()
        self._opening = 0

    def opening(self) -> int:
        """A worker begins to load its models; how many did and were not heard of again since one could."""
        self._opening += 1
        return self._opening - 1

    def opened(self) -> None:
        self._opening = 0

    def begin(self, file: int, start: int, stop: int) -> int | Literal["done"]:
        """A worker begins an interval; how many did before and were lost, or that it is committed."""
        if self._done.holds(file, start, stop):
            return "done"
        self._begun[file, start, stop] += 1
        return self._begun[file, start, stop] - 1

    def end(self, file: int, start: int, stop: int) -> None:
        """An interval is committed."""
        self._begun.pop((file, start, stop), None)
        if not self._done.holds(file, start, stop):
            self._done.add(file, start, stop)


class _Office:
    """The foreman as a worker calls it."""

    def __init__(self, foreman: Any) -> None:
        self._foreman = foreman

    def opening(self) -> int:
        return int(self._get(self._foreman.opening.remote()))

    def opened(self) -> None:
        self._foreman.opened.remote()

    def begin(self, file: int, start: int, stop: int) -> int | Literal["done"]:
        found: int | Literal["done"] = self._get(self._foreman.begin.remote(file, start, stop))
        return found

    def end(self, file: int, start: int, stop: int) -> None:
        self._foreman.end.remote(file, start, stop)

    def _get(self, reference: Any) -> Any:
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:  # the foreman is gone: with its node, or for lack of memory
            raise _lost_workers(type(error).__name__) from None


class _Worker:
    """What Ray Data holds in each worker process. Nothing is raised out of it: faults are results."""

    def __init__(self, units: Work, writer: sink.Writer, foreman: _Office | _Foreman, stall_seconds: float) -> None:
        self._units, self._writer, self._foreman, self._stall_seconds = units, writer, foreman, stall_seconds
        self._watch = Watch(stall_seconds)
        self._fault: Exception | None = None
        without_core()
        try:
            if foreman.opening() > _LOSSES:
                raise _lost_workers("while it loaded its models")
            with silenced():
                units.open()
            foreman.opened()
        except Exception as error:
            self._fault = work.fault(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        results: list[bytes] = []
        for file, start, stop in zip(batch["file"], batch["start"], batch["stop"], strict=True):
            result: Commit | Exception | None = self._fault
            if result is None:
                try:
                    result = self._run(Interval(int(file), int(start), int(stop)))
                except Exception as error:
                    result = work.fault(error)
                finally:
                    self._watch.rest()
                    work.give_back()
            results.append(pickle.dumps(result))
        return {"result": results}

    def _run(self, interval: Interval) -> Commit | None:
        place = (interval.file, interval.start, interval.stop)
        before = self._foreman.begin(*place)
        if before == "done":
            return self._writer.committed(interval)
        if before >= _LOSSES:
            raise _lost_workers(f"{before} times at the same place")
        if before == 0 or not self._units.isolable:
            commit = work.run(self._units, self._writer, interval, self._watch)
        else:
            from ray import cloudpickle

            packed: bytes = cloudpickle.dumps(self._units)  # type: ignore[no-untyped-call]  # by value where the class is a script's own
            with Child(packed, self._stall_seconds) as child:
                commit = work.run_carefully(self._units, child, self._writer, interval)
        self._foreman.end(*place)
        return commit


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
