"""The ledger of a job: every unit of the input is in the output or in the dead-letter table, exactly once, under any kill.

    DIR/job.json                             what the job is; created only if absent; holds the fingerprint and the plan
    DIR/epoch-N.json                         manifests accepted when epoch N began; created only if absent
    DIR/manifests/epoch-N/KEY-START-STOP     one manifest per interval, created only if absent
    DIR/<table>/KEY-START-STOP-EPOCH-….parquet  immutable parts; DIR/dead holds the dead letters

A unit is a row of a table, or a whole file for ingest. An interval is [start, stop) of the units of one file; intervals
begin at multiples of the job's `batch_rows`, so that what is accepted is kept as merged ranges: kilobytes for any archive.

A driver opens the next epoch before it works. Work of an older epoch that the new epoch's list does not name is a zombie's:
it is ignored for ever, by name and not by time. The list of accepted manifests, never a directory listing, is what readers
read; each group of accepted manifests carries the sum of their SHA-256, so that a changed manifest is found.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from nosology import storage
from nosology.distributed.coverage import MODULUS, Commit, Coverage, Group, Interval, Job, Part, PlannedFile, Snapshot, Tally
from nosology.distributed.parts import parquet_bytes
from nosology.distributed.seal import sealed, sum_of, unseal, unsealed
from nosology.errors import FingerprintError, InputError
from nosology.records import DeadLetter, arrow_schema

DEAD = "dead"
_READ_AT_ONCE = 256
PART = re.compile(r"[0-9a-f]{64}(\.\d+)?-\d+-\d+-e(?P<epoch>\d+)-[0-9a-f]{12}-\d+\.parquet")
MANIFEST = re.compile(r"(?P<key>[0-9a-f]{64}(?:\.\d+)?)-(?P<start>\d+)-(?P<stop>\d+)\.json")


class Writer:
    """Commits intervals from a worker. Picklable; knows no driver.

    Args:
        out: folder of the job.
        epoch: epoch of the driver that sent the work.
        keys: keys of the plan's files, by number.
        schemas: schema of each output table.
    """

    def __init__(self, out: str, epoch: int, keys: Sequence[str], schemas: Mapping[str, pa.Schema]) -> None:
        self.out, self.epoch, self.keys = out, epoch, keys
        self.schemas = {**schemas, DEAD: arrow_schema(DeadLetter)}

    def begin(self, interval: Interval) -> Attempt:
        """Starts an attempt at an interval."""
        return Attempt(self, interval)

    def committed(self, interval: Interval) -> Commit:
        """What this epoch committed of an interval."""
        return read_manifest(manifest_uri(self.out, self.epoch, self.keys[interval.file], interval), interval)[0]

    def superseded(self) -> bool:
        """Whether another driver took the job over: then nothing that this worker writes counts any more."""
        return storage.exists(epoch_uri(self.out, self.epoch + 1))


class Attempt:
    """The parts of one interval, until they are committed by their manifest."""

    def __init__(self, writer: Writer, interval: Interval) -> None:
        self._writer, self.interval = writer, interval
        self._nonce = uuid.uuid4().hex[:12]
        self._parts: list[dict[str, Any]] = []
        self._num_written = 0

    def add(self, table: str, rows: pa.Table) -> None:
        """Writes an immutable part.

        Args:
            table: an output table or `dead`.
            rows: rows in the table's schema; none writes nothing.
        """
        if not rows.num_rows:
            return
        interval, writer = self.interval, self._writer
        data = parquet_bytes(rows.cast(writer.schemas[table]))
        stem = f"{writer.keys[interval.file]}-{interval.start}-{interval.stop}"
        name = f"{stem}-e{writer.epoch}-{self._nonce}-{self._num_written}.parquet"
        self._num_written += 1  # of a part that is rolled back the number is not used again
        if not storage.create_if_absent(storage.join(writer.out, table, name), data):
            raise InputError("a part of this name exists already", file=storage.join(writer.out, table, name))
        digest = hashlib.sha256(data).hexdigest()
        self._parts.append({"table": table, "name": name, "sha256": digest, "bytes": len(data), "rows": rows.num_rows})

    def commit(self, tally: Tally) -> Commit | None:
        """Creates the manifest.

        Returns:
            What was committed: this attempt, or the one that came first. None if another driver took the job over; the parts
            of an attempt that does not count are removed.
        """
        writer = self._writer
        tally.rows = Counter()
        for part in self._parts:
            tally.rows[part["table"]] += part["rows"]
        body = {"epoch": writer.epoch, "file": writer.keys[self.interval.file], "start": self.interval.start, "stop": self.interval.stop,
                "parts": self._parts, **tally.to_json()}  # fmt: skip
        data = sealed(body)
        uri = manifest_uri(writer.out, writer.epoch, writer.keys[self.interval.file], self.interval)
        if writer.superseded():
            self.abandon()
            return None
        sent, self._parts = self._parts, []  # an error from here on leaves open whether the manifest is there: its parts must stay
        if storage.create_if_absent(uri, data):
            return Commit(self.interval, sum_of(data), tally)
        found, parts = read_manifest(uri, self.interval)
        named = {part["name"] for part in parts}
        self._parts = [part for part in sent if part["name"] not in named]
        self.abandon()
        return found

    def mark(self) -> int:
        """A place to roll back to."""
        return len(self._parts)

    def rollback(self, mark: int) -> None:
        """Removes the parts written since a mark."""
        while len(self._parts) > mark:
            part = self._parts.pop()
            storage.remove(storage.join(self._writer.out, part["table"], part["name"]))

    def abandon(self) -> None:
        """Removes the parts written so far."""
        self.rollback(0)


class Ledger:
    """The driver's side of a job. Made by `open_ledger`."""

    def __init__(self, out: str, job: Job, epoch: int, groups: dict[int, Group], finished: bool) -> None:
        self.out, self.job, self.epoch, self.finished = out, job, epoch, finished
        self.groups = groups
        self.done = Coverage()
        self.tally = Tally()
        for group in groups.values():
            self._count(group)
        self.num_resumed = self.done.num_units
        self.mine = Group()

    def _count(self, group: Group) -> None:
        for file, spans in group.coverage.ranges.items():
            for start, stop in spans:
                self.done.add(file, start, stop)
        self.tally.add(group.tally)

    def pending(self) -> Iterator[Interval]:
        """What is still to do, in order."""
        for number, file in enumerate(self.job.files):
            for start, stop in self.done.missing(number, file.num_units):
                yield from self.job.intervals(number, start, stop)

    def writer(self, schemas: Mapping[str, pa.Schema]) -> Writer:
        """What a worker needs to commit in this epoch."""
        return Writer(self.out, self.epoch, [file.key for file in self.job.files], schemas)

    def accept(self, commit: Commit) -> bool:
        """Counts a commit of this epoch; False if it was counted before (a task that ran twice)."""
        interval = commit.interval
        if self.mine.coverage.holds(interval.file, interval.start, interval.stop):
            return False
        self.done.add(interval.file, interval.start, interval.stop)
        self.mine.add(commit)
        self.tally.add(commit.tally)
        return True

    def commits(self) -> Iterator[Commit]:
        """All that is done, a manifest at a time."""
        return (commit for commit, _ in self._accepted())

    def parts(self) -> Iterator[Part]:
        """The parts of all that is done, a manifest at a time."""
        return (_part(self.out, part, commit.interval) for commit, parts in self._accepted() for part in parts)

    def _accepted(self) -> Iterator[tuple[Commit, list[dict[str, Any]]]]:
        return (found for number, group in self._all().items() for found in _accepted(self.out, self.job, number, group))

    def reopened(self, files: Collection[int]) -> Ledger:
        """The job in its next epoch, in which all of these files is to be done again; what they had stays until its end.

        Raises:
            InputError: another driver took the job over.
        """
        groups = copy.deepcopy(self._all())  # an error leaves this ledger as it is
        _take_back(self.out, self.job, groups, lambda commit: commit.interval.file in files)
        if not create_epoch(self.out, self.epoch + 1, groups, finished=False):
            raise taken_over(self.out)
        made = Ledger(self.out, self.job, self.epoch + 1, groups, False)
        made.num_resumed = self.num_resumed
        return made

    def _all(self) -> dict[int, Group]:
        return {**self.groups, self.epoch: self.mine} if self.mine.coverage.ranges else dict(self.groups)

    def finish(self) -> None:
        """Proves that coverage equals the plan, closes the job, removes parts that no accepted manifest names.

        Raises:
            InputError: another driver took the job over.
            RuntimeError: a unit is missing or too many, which is a fault of this program.
        """
        for number, file in enumerate(self.job.files):
            if list(self.done.missing(number, file.num_units)):
                raise RuntimeError(f"units of file number {number} are missing")
        if self.done.num_units != self.job.num_units:
            raise RuntimeError("more units are done than the plan has")
        if not self.finished:
            if not create_epoch(self.out, self.epoch + 1, self._all(), finished=True):
                raise taken_over(self.out)
            self.finished = True
        sweep(self.out)


def open_ledger(
    out: str, verb: str, fingerprint: Mapping[str, str], files: Sequence[PlannedFile], batch_rows: int, schemas: Mapping[str, pa.Schema]
) -> Ledger:
    """Starts or resumes a job: creates or checks `job.json`, then opens the next epoch.

    Args:
        out: folder of the job.
        verb: the command.
        fingerprint: what makes two runs the same job, by named field.
        files: the plan; a resumed job keeps the order of its first run.
        batch_rows: units of one commit; a resumed job keeps that of its first run.
        schemas: schema of each output table.

    Raises:
        FingerprintError: the folder belongs to another job; names the fields that differ.
        InputError: the storage cannot create only if absent, or another driver took the same epoch, or a manifest is damaged.
    """
    if DEAD in schemas or "manifests" in schemas:
        raise ValueError("an output table cannot be named `dead` or `manifests`")
    encoded = {name: base64.b64encode(schema.serialize()).decode() for name, schema in sorted(schemas.items())}
    plan_digest = hashlib.sha256(json.dumps(sorted((file.key, file.num_units, file.table) for file in files)).encode()).hexdigest()
    job = Job(verb, dict(fingerprint), plan_digest, batch_rows, tuple(files), encoded)
    storage.probe(out)
    held = job if storage.create_if_absent(_job_uri(out), _job_bytes(job)) else read_job(out)
    differing = held.differences(job)
    if differing:
        raise FingerprintError(
            f"{out} belongs to another job; {', '.join(differing)} {'differs' if len(differing) == 1 else 'differ'}. "
            "Choose another output folder, or run with what the first run had"
        )
    places = {file.key: file for file in files}
    job = Job(held.verb, held.fingerprint, held.input, held.batch_rows, tuple(places[file.key] for file in held.files), held.schemas)
    newest, groups, finished = _newest(out)
    if finished:
        return Ledger(out, job, newest, groups, True)
    for name, schema in {**schemas, DEAD: arrow_schema(DeadLetter)}.items():  # a table without rows still has its columns
        storage.create_if_absent(storage.join(out, name, "empty.parquet"), parquet_bytes(schema.empty_table()))
    if newest:
        group = _harvest(out, job, newest)
        if group.coverage.ranges:
            groups[newest] = group
    if not create_epoch(out, newest + 1, groups, finished=False):
        raise InputError("another run of this job started at the same moment", file=out, remedy="Let it finish, or stop it first")
    return Ledger(out, job, newest + 1, groups, False)


def taken_over(out: str) -> InputError:
    """What a driver says when a later one works on its job."""
    return InputError("another run of this job took over", file=out, remedy="Let it finish; `nosology status` shows how far it is")


def _harvest(out: str, job: Job, epoch: int) -> Group:
    """Manifests that workers of an epoch committed; one that a listing does not show yet is lost work, never a lost row."""
    folder = storage.join(out, "manifests", f"epoch-{epoch}")
    group = Group()
    if not storage.exists(folder):
        return group
    numbers = {file.key: number for number, file in enumerate(job.files)}
    found = []
    for uri in storage.list_files(folder):
        match = MANIFEST.fullmatch(uri.rsplit("/", 1)[-1])
        if match and match["key"] in numbers:
            found.append((uri, Interval(numbers[match["key"]], int(match["start"]), int(match["stop"]))))
    for commit, _ in _manifests(found):
        group.add(commit)
    return group


def create_epoch(out: str, epoch: int, groups: Mapping[int, Group], *, finished: bool) -> bool:
    """Creates the list of what is accepted; False if another driver created that epoch first."""
    value = {
        "epoch": epoch, "finished": finished, "nonce": uuid.uuid4().hex, "accepted": {n: group.to_json() for n, group in groups.items()}
    }  # fmt: skip
    return storage.create_if_absent(epoch_uri(out, epoch), sealed(value))


def _newest(out: str) -> tuple[int, dict[int, Group], bool]:
    """Number of the newest epoch (0: none), what it accepts, whether the job is finished. Epochs have no gaps."""
    epoch = 0
    while storage.exists(epoch_uri(out, epoch + 1)):
        epoch += 1
    if not epoch:
        return 0, {}, False
    value = unsealed(epoch_uri(out, epoch))
    return epoch, {int(number): Group.of(group) for number, group in value["accepted"].items()}, bool(value["finished"])


def snapshot(out: str) -> Snapshot:
    """The newest snapshot of a run.

    Raises:
        InputError: the folder holds no job, or a manifest is missing or changed.
    """
    job = read_job(out)
    epoch, groups, finished = _newest(out)
    placed: list[tuple[Interval, int, list[Part]]] = []
    tally = Tally()
    for number, group in groups.items():
        total = 0
        for commit, parts in _accepted(out, job, number, group):
            total = (total + commit.sum) % MODULUS
            tally.add(commit.tally)
            placed.append((commit.interval, number, [_part(out, part, commit.interval) for part in parts]))
        if total != group.sum:
            raise InputError("manifests are not those that were accepted", file=storage.join(out, "manifests", f"epoch-{number}"),
                             remedy="The folder was changed after the run; restore it or run again into a new one")  # fmt: skip
    placed.sort(key=lambda entry: (entry[0].file, entry[0].start))
    found = tuple(part for _, _, parts in placed for part in parts)
    return Snapshot(job, epoch, finished, found, tally, tuple((number, interval) for interval, number, _ in placed))


def _accepted(out: str, job: Job, epoch: int, group: Group) -> Iterator[tuple[Commit, list[dict[str, Any]]]]:
    """The accepted manifests of an epoch, by file and place."""
    return _manifests(
        (manifest_uri(out, epoch, job.files[file].key, interval), interval)
        for file, spans in sorted(group.coverage.ranges.items())
        for start, stop in spans
        for interval in job.intervals(file, start, stop)
    )


def reopen(out: str, reasons: Collection[str] | None) -> int:
    """Takes back the intervals of a finished job that hold dead letters of these reasons; None is any reason. A driver that resumes the
    job then does them again; until its end readers see the job as unfinished.

    Returns:
        Dead letters that will be tried again.

    Raises:
        InputError: the job is not finished, or another driver took it over.
    """
    job = read_job(out)
    epoch, groups, finished = _newest(out)
    if not finished:
        raise InputError("this run is not finished", file=out, remedy="Resume it first (nosology resume), then retry its dead letters")

    def count(commit: Commit) -> int:
        return sum(number for reason, number in commit.tally.dead.items() if reasons is None or reason in reasons)

    again = _take_back(out, job, groups, count)
    if again and not create_epoch(out, epoch + 1, groups, finished=False):
        raise taken_over(out)
    return again


def _take_back(out: str, job: Job, groups: dict[int, Group], chosen: Callable[[Commit], int]) -> int:
    """Takes commits for which `chosen` is not 0 out of their groups; the sum of it."""
    total = 0
    for number, group in list(groups.items()):
        taken = [(commit, chosen(commit)) for commit, _ in _accepted(out, job, number, group)]
        for commit, weight in taken:
            if weight:
                group.take(commit)
                total += weight
        if not group.coverage.ranges:
            del groups[number]
    return total


def _part(out: str, part: Mapping[str, Any], interval: Interval) -> Part:
    uri = storage.join(out, part["table"], part["name"])
    return Part(part["table"], uri, part["sha256"], part["rows"], part["bytes"], interval)


def status(out: str) -> tuple[Job, Coverage, Tally, bool, float | None]:
    """How far a job is, with what workers committed since its epoch began: the job, units done, counts, whether finished, units a
    second since the epoch began (None before its first commit)."""
    job = read_job(out)
    epoch, groups, finished = _newest(out)
    pace = None
    if epoch and not finished:
        mine = groups[epoch] = _harvest(out, job, epoch)
        seconds = time.time() - storage.modified(epoch_uri(out, epoch))
        pace = mine.coverage.num_units / seconds if mine.coverage.ranges and seconds > 0 else None
    ledger = Ledger(out, job, epoch, groups, finished)
    return job, ledger.done, ledger.tally, finished, pace


def sweep(out: str) -> None:
    """Removes parts that no accepted manifest names: those of killed or repeated attempts. Other files stay, and so do parts of the
    snapshot's own epoch or a later one: a driver that came meanwhile can have reopened the job, and its workers be writing them."""
    seen = snapshot(out)
    kept = {(part.table, part.uri.rsplit("/", 1)[-1]) for part in seen.parts}
    for table in (*seen.job.schemas, DEAD):
        for uri in storage.list_files(storage.join(out, table)):
            name = uri.rsplit("/", 1)[-1]
            match = PART.fullmatch(name)
            if match and int(match["epoch"]) < seen.epoch and (table, name) not in kept:
                storage.remove(uri)


def is_run(uri: str) -> bool:
    """Whether a folder is the output of a job."""
    return storage.exists(_job_uri(uri))


def read_job(out: str) -> Job:
    """What `job.json` says.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not is_run(out):
        raise InputError("not a run folder (it holds no job.json)", file=out, remedy="Give the --out folder of an earlier run")
    value = unsealed(_job_uri(out))
    files = tuple(PlannedFile(**file) for file in value["files"])
    return Job(value["verb"], value["fingerprint"], value["input"], value["batch_rows"], files, value["schemas"])


def read_manifest(uri: str, interval: Interval) -> tuple[Commit, list[dict[str, Any]]]:
    """What a manifest says: the commit and its parts.

    Raises:
        InputError: it is missing or damaged, or is of another interval.
    """
    return _manifest(uri, storage.read_json(uri), interval)


def _manifests(places: Iterable[tuple[str, Interval]]) -> Iterator[tuple[Commit, list[dict[str, Any]]]]:
    """Many manifests, in order; from an object store several at a time."""
    source = iter(places)
    while group := list(itertools.islice(source, _READ_AT_ONCE)):
        for (uri, interval), data in zip(group, storage.read_many([uri for uri, _ in group]), strict=True):
            yield _manifest(uri, storage.parse_json(data, uri), interval)


def _manifest(uri: str, sealed: Any, interval: Interval) -> tuple[Commit, list[dict[str, Any]]]:
    value = unseal(sealed, uri)
    if (value["start"], value["stop"]) != (interval.start, interval.stop):
        raise InputError("the manifest is of another interval", file=uri, remedy="The folder was changed after the run")
    return Commit(interval, int(value["sha256"], 16), Tally.of(value)), value["parts"]


def epoch_uri(out: str, epoch: int) -> str:
    return storage.join(out, f"epoch-{epoch}.json")


def manifest_uri(out: str, epoch: int, key: str, interval: Interval) -> str:
    return storage.join(out, "manifests", f"epoch-{epoch}", f"{key}-{interval.start}-{interval.stop}.json")


def _job_uri(out: str) -> str:
    return storage.join(out, "job.json")


def _job_bytes(job: Job) -> bytes:
    return sealed({**asdict(job), "nonce": uuid.uuid4().hex})
