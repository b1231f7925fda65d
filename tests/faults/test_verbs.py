"""The four verbs of the batch, killed at every crash point: workers of Ray by their points, drivers by theirs, on local disk and on S3.

Points follow one another in one job, each with a command of its own that is killed there; after each the folder is proved as far as it
is. Only the whole form runs this (`make faults`); the short form has the same points with a light stage (test_crash_points.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drivers
import pyarrow.parquet as pq
import pytest
from crash_points import LOCAL_MOMENTS, REMOTE_MOMENTS, REMOTE_OTHERS
from drivers import Nursery
from nosology import storage
from nosology.distributed import sink, upkeep
from nosology.distributed.stages import read_output
from oracle import WHOLE, Counts, unaccepted
from s3_server import BUCKET

pytestmark = pytest.mark.skipif(not WHOLE, reason="part of the whole form (make faults)")
ARCHIVE = Path(__file__).parents[2] / "examples" / "archive"
VERBS = ("ingest", "deidentify", "prepare", "code")
LONGEST_SECONDS = 420.0


@dataclass
class Case:
    """One verb on one backend.

    Attributes:
        sources: parameter of the verb that names its input, and the input.
        sets: the configuration, as overrides of the command line.
    """

    verb: str
    backend: str
    sources: dict[str, Any]
    out: str
    lake: str
    sets: list[str]
    marks: Path
    ray: Path
    nursery: Nursery
    counts: Counts

    def environment(self, crash: str) -> dict[str, str]:
        clients = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return {**clients, "NOSOLOGY_CRASH": crash, "NOSOLOGY_CRASH_FOLDER": str(self.marks), "OMP_NUM_THREADS": "1"}

    def alone(self, crash: str = "", verb: str | None = None, **arguments: Any) -> int:
        """The verb, or another on its run, without Ray; its exit status."""
        from nosology.config import load

        if verb is None:
            arguments = {**self.sources, "out": self.out, "config": load([], self.sets).model_dump(mode="json")}
        return self.nursery.run("verb", self.environment(crash), name=verb or self.verb, **{"config": {}, **arguments})

    def command(self, crash: str = "") -> subprocess.CompletedProcess[str]:
        """The verb as a user runs it."""
        given: list[str] = []
        for name, value in self.sources.items():
            flag = {"inputs": "--in", "source": "--in", "phrases": "--phrases"}.get(name)
            for one in (value if isinstance(value, list) else [value]) if flag and value else []:
                given += [str(flag), one]
        package = Path(storage.__file__).parents[1]
        paths = f"{drivers.HERE / 'inject'}:{package}"
        environment = {**os.environ, **self.environment(crash), "RAY_TMPDIR": str(self.ray), "PYTHONPATH": paths}
        return subprocess.run(
            [sys.executable, "-m", "nosology.cli", self.verb, *given, "--out", self.out, "--json", *self.sets],
            capture_output=True, text=True, env=environment, timeout=LONGEST_SECONDS,
        )  # fmt: skip

    def fired(self, points: Sequence[str]) -> list[str]:
        """Those of the points (with their hits) at which a process was killed."""
        found = [point for point in points if (self.marks / point.replace(":", ".")).exists()]
        self.counts.points.update((self.backend, self.verb, point.partition(":")[0]) for point in found)
        return found

    def forget(self) -> None:
        for mark in self.marks.iterdir():
            mark.unlink()

    def proved(self) -> None:
        if storage.exists(storage.join(self.out, "job.json")):
            assert upkeep.verify(self.out).faults == []

    def killed_at(self, point: str, verb: str | None = None, **arguments: Any) -> None:
        """A driver that ends at a point."""
        self.forget()
        assert self.alone(point if ":" in point else f"{point}:1", verb, **arguments) == -9, f"{self.verb}: {point} was not reached"
        self.counts.points.add((self.backend, self.verb, point.partition(":")[0]))
        self.proved()

    def ended(self, crash: str = "") -> None:
        """The verb, again and again until it ends: without Ray, which the command before had, but for `code`, which needs its service.
        It is killed at each of the points once, for the hits of all of its processes are counted together."""
        for _ in range(20):
            status = self.command(crash).returncode if self.verb == "code" else self.alone(crash)
            self.proved()
            if status == 0:
                return
            assert status in (1, -9) if self.verb == "code" else status == -9
        pytest.fail(f"{self.verb} did not end")


def rows_of(out: str) -> Counter[tuple[Any, ...]]:
    """Every row of every table, as a digest with its table; which attempt of which run made it does not show."""
    found: Counter[tuple[Any, ...]] = Counter()
    for table in [*sink.snapshot(out).job.schemas, sink.DEAD]:
        for row in read_output(out, table).to_pylist():
            found[table, hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()] += 1
    return found


def published(to: str) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for uri in storage.list_files(to):
        if uri.endswith(".parquet"):
            table = uri.rsplit("/", 2)[-2]
            for row in pq.read_table(io.BytesIO(storage.read_bytes(uri))).to_pylist():
                found[table, hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()] += 1
    return found


def write_archive(folder: Path) -> int:
    """Sixteen small files of four formats, with bad records in some; the number of notes and dead letters among JSON lines."""
    notes = [json.loads(line) for line in (ARCHIVE / "aci_bench" / "notes.jsonl").read_text().splitlines()[:20]]
    column = "text" if "text" in notes[0] else "note"
    lengths = {3: 3000, 11: 6000}
    for number, note in enumerate(notes):
        text = (note[column] * 9)[: lengths.get(number, 500)] if number % 10 != 7 else " "
        with (folder / f"notes-{number // 2}.jsonl").open("a") as lines:
            lines.write(json.dumps({"id": f"n{number}", "text": text}) + "\n")
    for name in ("demo.example1.837", "demo.example2.837", "demo.autoaccident.837"):
        (folder / name).write_bytes((ARCHIVE / "x12" / "837_005010X222A2" / name).read_bytes())
    for name in ("Patient.000.ndjson", "Condition.000.ndjson"):
        lines = (ARCHIVE / "fhir" / name).read_text().splitlines(keepends=True)[:5]
        (folder / name).write_text("".join(lines) + "{broken\n")
    return len(notes)


@dataclass
class References:
    """What runs give that nobody kills: run folders, by verb, and the input of each."""

    root: Path
    sets: dict[str, list[str]]
    sources: dict[str, dict[str, Any]]

    def out(self, verb: str) -> str:
        return str(self.root / "whole" / verb)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, generator: str, nursery: Nursery) -> Iterator[References]:
    root = tmp_path_factory.mktemp("verbs")
    (root / "in").mkdir()
    num_notes = write_archive(root / "in")
    phrases = [{"phrase": f"diabetes {n}", "code": "E11.9"} for n in range(9)] + [{"phrase": "x", "code": "no code"}, {"code": "E11.9"}]
    (root / "phrases.jsonl").write_text("".join(json.dumps(phrase) + "\n" for phrase in phrases))
    common = [f"deid.key_file={root / 'key'}", "cluster.num_cpus=2", "cluster.batch_rows=3", f"model.base={generator}"]
    sets = {
        "ingest": common, "prepare": common, "deidentify": [*common, "ingest.max_document_bytes=4000"],
        "code": [*common, "ingest.max_document_bytes=2000"],
    }  # fmt: skip
    held = References(root, sets, {})
    held.sources = {
        "ingest": {"inputs": [str(root / "in")]},
        "deidentify": {"source": held.out("ingest"), "spans": None},
        "prepare": {"inputs": [held.out("deidentify")], "phrases": str(root / "phrases.jsonl")},
        "code": {"inputs": [held.out("deidentify")], "jsonl": None},
    }
    ray = Path(f"/tmp/{os.getpid():x}v")
    for verb in VERBS:
        case = Case(verb, "local", held.sources[verb], held.out(verb), "", sets[verb], root, ray, nursery, Counts())
        done = case.command()
        assert done.returncode == 0, done.stdout + done.stderr
    counted = json.loads((root / "whole" / "ingest" / "report.json").read_text())
    assert counted["records_in"] >= num_notes + 3 + 2 * 6 and counted["dead"] == 2 + 2  # two empty notes, two broken lines
    yield held


@pytest.fixture
def case(request: pytest.FixtureRequest, references: References, nursery: Nursery, counts: Counts, tmp_path: Path, short: Path) -> Case:
    verb, backend = request.param
    sources, root = references.sources[verb], str(tmp_path / "store")
    if backend == "s3":
        request.getfixturevalue("store")
        root = f"s3://{BUCKET}/{tmp_path.name}"
        if verb == "ingest":  # one archive lies there too
            for file in (references.root / "in").iterdir():
                storage.write_bytes(storage.join(root, "in", file.name), file.read_bytes())
            sources = {"inputs": [storage.join(root, "in")]}
    marks = tmp_path / "marks"
    marks.mkdir()
    out, lake = storage.join(root, "out"), storage.join(root, "lake")
    return Case(verb, backend, sources, out, lake, references.sets[verb], marks, short, nursery, counts)


@pytest.mark.parametrize("case", [(verb, backend) for verb in VERBS for backend in ("local", "s3")], indirect=True, ids="-".join)
def test_killed_at_every_point(case: Case, references: References) -> None:
    moments = LOCAL_MOMENTS if case.backend == "local" else REMOTE_MOMENTS
    wanted = rows_of(references.out(case.verb))

    # before any work
    if case.backend == "s3":
        for point in REMOTE_OTHERS:
            case.killed_at(point)
    for thing in ("config", "command", "job", "table", "epoch"):
        for moment in moments:
            case.killed_at(f"{thing}.{moment}")

    # workers, at hits that lie in different intervals; then the driver, when all is committed
    left = [f"{thing}.{moment}:{1 + place * step}" for thing, step in (("part", 4), ("manifest", 2), ("dead", 1))
            for place, moment in enumerate(moments)]  # fmt: skip
    case.forget()
    done = case.command(",".join([*left, "finish.before_create:1"]))
    for _ in range(8):
        if done.returncode == -9:
            break
        assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]  # lost workers three times at one place, say
        case.proved()
        done = case.command(",".join([*left, "finish.before_create:1"]))
    assert done.returncode == -9, done.stdout[-3000:] + done.stderr[-3000:]
    case.fired(["finish.before_create:1"])
    hit = case.fired(left)
    case.proved()

    # drivers that find all of it; an epoch that had nothing left to do has nothing to find, then one that did all is made
    whole = case.out
    if not any(f"/manifests/epoch-{sink.snapshot(whole).epoch}/" in uri for uri in storage.list_files(whole)):
        case.out = f"{whole}-found"
        case.killed_at("finish.before_create")
    for point in ("harvest.listed", "harvest.read"):
        case.killed_at(point)
    case.out = whole
    for moment in moments[1:]:
        if moment != "created":
            case.killed_at(f"finish.{moment}")
    if case.backend == "s3":
        case.killed_at("finish.created")
    case.killed_at("sweep.listed")
    case.killed_at("sweep.before_remove")
    case.killed_at("sweep.removed")
    assert case.alone() == 0
    case.counts.compare(wanted, rows_of(case.out))

    # what was not reached: once more, from the start
    rest = [f"{point.partition(':')[0]}:1" for point in left if point not in hit]
    if rest:
        case.forget()
        case.out = f"{whole}-again"
        case.ended(",".join(rest))
        assert case.fired(rest) == rest, f"{case.verb}: not reached: {set(rest) - set(case.fired(rest))}"
        case.counts.compare(wanted, rows_of(case.out))
        case.out = whole

    # dead letters again
    for moment in moments:
        case.killed_at(f"reopen.{moment}", "deadletter_retry", run=case.out, reasons=None)
        if not sink.snapshot(case.out).finished:
            case.forget()
            if moment != "linked" or case.backend == "s3":
                case.ended()
            else:
                case.ended("finish.created:1")
                case.fired(["finish.created:1"])
    case.counts.compare(wanted, rows_of(case.out))

    # handed on, each time to another place; what tells of the text before stays
    kept = {"sealed", "audit", "spans"} if case.verb == "deidentify" else set()
    handed_on = Counter({row: count for row, count in wanted.items() if row[0] not in kept})
    for thing in ("publish_part", "publish"):
        for moment in moments:
            lake = f"{case.lake}-{thing}-{moment}"
            case.killed_at(f"{thing}.{moment}", "publish", run=case.out, to=lake)
            assert case.alone("", "publish", run=case.out, to=lake) == 0
            case.counts.compare(handed_on, published(lake))

    proof = upkeep.verify(case.out)
    assert proof.faults == [] and proof.finished
    before, doomed = set(storage.list_files(case.out, hidden=True)), set(unaccepted(case.out))
    count = upkeep.collect_garbage(case.out, 0.0)["removed"]
    removed = before - set(storage.list_files(case.out, hidden=True))
    assert (
        len(removed) == count and doomed <= removed and all("/commands/" in uri for uri in removed - doomed) and unaccepted(case.out) == []
    )
    case.counts.compare(wanted, rows_of(case.out))
