"""A stage over Ray: kill -9, poison rows whose text must be nowhere, another fingerprint, resume of what is missing only."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from nosology import storage
from nosology.config import IngestConfig, InputConfig
from nosology.distributed import sink, source, stages, work
from nosology.distributed.coverage import Interval
from nosology.distributed.isolation import Watch
from nosology.distributed.silence import silenced
from nosology.distributed.stages import job_status, read_output
from nosology.distributed.work import StageWork
from nosology.errors import ModelError, RecordError
from nosology.records import ingest_schemas
from ray import cloudpickle

TOY = Path(__file__).with_name("toy.py")
SECRET = "Zyxomma Quillfeather 555-0199"
ROWS, FILES = 240, 3


def command(source_uri, out, **options):
    return [sys.executable, str(TOY), str(source_uri), str(out), *(f"{name}={value}" for name, value in options.items())]


def environment(folder):
    package = str(Path(stages.__file__).parents[2])
    return {
        **os.environ,
        "RAY_TMPDIR": str(folder),
        "NOSOLOGY_KEEP_RAY_LOGS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{package}:{TOY.parent}",
    }


@contextlib.contextmanager
def short_folder():
    """Ray's sockets need a short path."""
    folder = Path(f"/tmp/{os.getpid():x}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def expected():
    """What the toy stage makes of all rows, by plain Python."""
    doubles = [2 * n for n in range(ROWS) if n % 11 and n % 7]
    odds = [f"{n} is odd" for n in range(ROWS) if n % 11 and n % 7 and n % 2]
    dead = ["internal_error" if n % 11 == 0 else "toy_refused" for n in range(ROWS) if not (n % 11 and n % 7)]
    return doubles, odds, dead


def assert_output(out):
    doubles, odds, dead = expected()
    assert read_output(out, "doubles")["n"].to_pylist() == doubles
    assert read_output(out, "odds")["text"].to_pylist() == odds
    letters = read_output(out, "dead")
    assert letters["reason"].to_pylist() == dead
    assert set(letters["stage"].to_pylist()) == {"toy"}
    refused = [row for row in letters.to_pylist() if row["reason"] == "toy_refused"]
    assert {(row["field"], row["rule"]) for row in refused} == {("n", "a number that 7 does not divide")}
    assert all("ValueError" in row["rule"] for row in letters.to_pylist() if row["reason"] == "internal_error")


def files_with(text, *folders):
    found = []
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError), open(os.path.join(place, name), "rb") as stream:
                    if text.encode() in stream.read():
                        found.append(os.path.join(place, name))
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_run):
    """A run of an earlier verb whose rows all hold the secret, and a Ray folder."""
    folder = tmp_path_factory.mktemp("stages")
    make_run(str(folder / "in"), ROWS, FILES, SECRET)
    with short_folder() as ray_folder:
        yield folder, ray_folder


def test_kill_nine_three_times(run):
    folder, ray_folder = run
    out = folder / "killed"
    chance = random.Random(time.time_ns())
    print(f"moments drawn with {chance.getstate()[1][0]}")
    done_before = 0
    for attempt in range(3):
        # killed once a few more commits are known; how many is drawn, so that the moment differs
        wanted = done_before + chance.randint(1, 40)
        with subprocess.Popen(
            command(folder / "in", out, seconds=0.04),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(ray_folder),
        ) as driver:
            assert driver.stdout
            for line in driver.stdout:
                if json.loads(line).get("done", ROWS) >= wanted:
                    break
            time.sleep(chance.random() * 0.3)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        status = job_status(str(out))
        assert not status["finished"] and done_before < status["done"] < ROWS, attempt
        assert status["records"] == status["done"] == status["ok"] + status["dead"]
        done_before = status["done"]
    last = subprocess.run(command(folder / "in", out), capture_output=True, text=True, env=environment(ray_folder), timeout=120)
    assert last.returncode == 0, last.stdout + last.stderr
    report = json.loads(last.stdout.splitlines()[-1])
    doubles, odds, dead = expected()
    assert report["records_in"] == ROWS and report["ok"] == len(doubles) and report["dead"] == len(dead)
    assert report["rows"] == {"doubles": len(doubles), "odds": len(odds)}
    assert report["resumed_share"] >= round(done_before / ROWS, 4)  # what was committed before was not done again
    assert json.loads(last.stdout.splitlines()[0])["done"] >= done_before
    assert_output(str(out))
    assert job_status(str(out))["finished"]
    assert last.stderr == ""  # nothing of Ray's reaches the terminal

    # no text of a row is anywhere: not in the outputs, not in Ray's folder, not on the terminal
    logs = [path for path in ray_folder.rglob("*") if path.is_file()]
    assert any("worker" in path.name for path in logs)
    assert files_with("Quillfeather", ray_folder, out) == [] and "Quillfeather" not in last.stdout
    assert all(path.stat().st_mode & 0o077 == 0 for path in ray_folder.iterdir())  # and none but this user enters there


def test_finished_job_starts_nothing_and_another_is_refused(run):
    folder, ray_folder = run
    out = folder / "killed"
    assert (out / "job.json").exists(), "needs the run of the test before"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    sessions = len(list(ray_folder.rglob("session_*")))
    again = subprocess.run(command(folder / "in", out), capture_output=True, text=True, env=environment(ray_folder), timeout=120)
    assert again.returncode == 0 and json.loads(again.stdout)["resumed_share"] == 1.0
    other = subprocess.run(command(folder / "in", out, toy=2), capture_output=True, text=True, env=environment(ray_folder), timeout=120)
    assert other.returncode == 2 and "toy differs" in json.loads(other.stdout)["error"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert len(list(ray_folder.rglob("session_*"))) == sessions


# ------------------------------------------------------------------------------- the same work without Ray, in this process


class Counting:
    verb = "toy"

    def __init__(self, fault=lambda row: None):
        self.fault, self.seen = fault, []

    def schemas(self):
        return {"seen": pa.schema([("source_digest", pa.string()), ("source_row", pa.int64())])}

    def open(self):
        pass

    def process(self, rows):
        self.seen.append([row["n"] for row in rows])
        for row in rows:
            error = self.fault(row)
            if error:
                raise error
        return {"seen": [{"source_digest": row["source_digest"], "source_row": row["source_row"]} for row in rows]}


def work_of(stage, folder, make_run, batch_rows=16):
    make_run(str(folder / "in"), 32, 1)
    files = source.plan([str(folder / "in")])
    ledger = sink.open_ledger(str(folder / "out"), "toy", {}, files, batch_rows, stage.schemas())
    units = StageWork(stage, ledger.writer(stage.schemas()).schemas, ledger.job.files)
    units.open()
    return ledger, Here(units, ledger.writer(stage.schemas()))


class Here:
    """A worker of this process, without Ray."""

    def __init__(self, units, writer):
        self.units, self.writer, self.watch = units, writer, Watch(600)

    def run(self, interval):
        try:
            return work.run(self.units, self.writer, interval, self.watch)
        finally:
            self.watch.rest()


def test_bad_row_alone_is_dead(tmp_path, make_run):
    stage = Counting(lambda row: RecordError("bad_row", "n", "not five") if row["n"] == 5 else None)
    ledger, here = work_of(stage, tmp_path, make_run)
    commit = here.run(next(ledger.pending()))
    assert commit.tally.ok == 15 and dict(commit.tally.dead) == {"bad_row": 1} and commit.tally.records == 16
    assert commit.tally.rows == {"seen": 15, "dead": 1}
    assert len(stage.seen) == 9 and [5] in stage.seen  # 16, then two halves four times, not sixteen single rows


@pytest.mark.parametrize("isolable", [True, False])
def test_the_watch_is_told_often_and_not_at_all_of_a_client_that_waits(tmp_path, make_run, monkeypatch, isolable):
    """A client of a service has the service's own limits: ended for waiting it would be done again and again, for ever."""
    monkeypatch.setattr(work, "_WATCHED_ROWS", 4)
    stage, told = Counting(), []
    stage.isolable = isolable
    ledger, here = work_of(stage, tmp_path, make_run)
    here.watch.moved = lambda: told.append(len(stage.seen))
    assert here.run(next(ledger.pending())).tally.ok == 16
    assert [len(rows) for rows in stage.seen] == ([4] * 4 if isolable else [16])
    assert told == ([0, 1, 2, 3] if isolable else [])


def test_parts_are_cut_by_bytes_too(tmp_path, monkeypatch):
    """Long notes fill memory long before there are many of them."""
    monkeypatch.setattr(work, "_PART_BYTES", 1000)
    lines = "".join(json.dumps({"id": str(n), "text": "x" * 400}) + "\n" for n in range(9))
    (tmp_path / "in.jsonl").write_text(lines)
    monkeypatch.setattr(work, "_HELD_ROWS", 1)
    files = source.plan_archive([str(tmp_path / "in.jsonl")], IngestConfig(), InputConfig()).files
    schemas = ingest_schemas(False, False)
    ledger = sink.open_ledger(str(tmp_path / "out"), "ingest", {}, files, 1, schemas)
    units = work.IngestWork(IngestConfig(), InputConfig(), ledger.job.files)
    units.open()
    assert ledger.accept(Here(units, ledger.writer(schemas)).run(next(ledger.pending())))
    assert [part.rows for part in ledger.parts()] == [2, 2, 2, 2, 1]


def test_row_that_no_schema_takes_is_dead_without_its_text(tmp_path, make_run):
    stage = Counting()
    plain = stage.process
    stage.process = lambda rows: {
        "seen": [{"source_row": SECRET if r["source_row"] == 3 else r["source_row"]} for r in plain(rows)["seen"]]
    }
    ledger, here = work_of(stage, tmp_path, make_run)
    commit = here.run(next(ledger.pending()))
    assert dict(commit.tally.dead) == {"internal_error": 1} and commit.tally.ok == 15
    assert files_with(SECRET, tmp_path / "out") == []


def test_lost_connection_is_no_dead_letter(tmp_path, make_run, monkeypatch):
    monkeypatch.setattr(work, "_RETRY_SECONDS", (0.0, 0.0))
    failures = iter([ConnectionResetError(SECRET), TimeoutError(SECRET), None])
    ledger, here = work_of(Counting(lambda row: next(failures, None)), tmp_path, make_run)
    pending = ledger.pending()
    assert here.run(next(pending)).tally.ok == 16
    failures = iter([ConnectionError(SECRET)] * 9)
    with pytest.raises(stages.NosologyError, match="does not answer") as caught:
        here.run(next(pending))
    assert SECRET not in str(caught.value)
    assert job_status(str(tmp_path / "out"))["done"] == 16


@pytest.mark.parametrize(("where", "left"), [("dead", 0), ("manifests", 1)])
def test_full_disk_stops_the_job(tmp_path, make_run, monkeypatch, where, left):
    """Parts go, but for those that a manifest could name: whether it is there an error does not say."""
    stage = Counting(lambda row: RecordError("bad_row") if row["n"] == 5 else None)
    ledger, here = work_of(stage, tmp_path, make_run)
    real = storage.create_if_absent

    def full(uri, data):
        if f"/{where}/" in uri:
            raise storage.StorageError("the disk is full", file=uri, remedy="Free space")
        return real(uri, data)

    monkeypatch.setattr(storage, "create_if_absent", full)
    worker = stages._Worker(here.units, here.writer, stages._Foreman(), 600)
    results = worker({"file": [0], "start": [0], "stop": [16]})["result"]
    fault = pickle.loads(results[0])
    assert isinstance(fault, storage.StorageError) and "disk is full" in str(fault)
    names = [uri.rsplit("/", 1)[-1] for uri in storage.list_files(str(tmp_path / "out" / "seen"))]
    assert "empty.parquet" in names and (len(names) > 1) == left


def test_fault_in_open_is_told_once_and_without_text(tmp_path, make_run):
    def fail(error):
        def open_():
            raise error

        return open_

    for error, words in [(ModelError("no model in /m"), "no model in /m"), (KeyError(SECRET), "KeyError")]:
        stage = Counting()
        stage.open = fail(error)
        worker = stages._Worker(StageWork(stage, {}, []), None, stages._Foreman(), 600)
        fault = pickle.loads(worker({"file": [0], "start": [0], "stop": [1]})["result"][0])
        assert words in str(fault) and SECRET not in str(fault) and isinstance(fault, stages.NosologyError)


def test_what_is_printed_while_rows_are_in_hand_is_discarded(tmp_path, capfd):
    import logging

    log = logging.getLogger("a.library")
    with silenced():
        print(SECRET)
        print(SECRET, file=sys.stderr)
        log.error(SECRET)
        os.write(2, SECRET.encode())  # as native code does
        os.write(1, SECRET.encode())
    print("after")
    log.error("after")
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err and "after" in captured.out


def test_part_changed_after_planning_stops_the_job(tmp_path, make_run):
    ledger, here = work_of(Counting(), tmp_path, make_run)
    part = ledger.job.files[0].uri
    data = bytearray(Path(part).read_bytes())
    data[len(data) // 2] ^= 1
    os.unlink(part)
    Path(part).write_bytes(data)
    with pytest.raises(stages.InputError, match="truncated or changed"):
        here.run(Interval(0, 0, 16))


def test_unfinished_run_is_no_input(tmp_path, make_run):
    make_run(str(tmp_path / "in"), 32, 1)
    os.unlink(tmp_path / "in" / "epoch-2.json")
    with pytest.raises(stages.InputError, match="not finished.*make"):
        source.plan([str(tmp_path / "in")])


def test_only_the_tables_asked_for(tmp_path, make_run):
    make_run(str(tmp_path / "in"), 32, 1)
    assert {file.table for file in source.plan([str(tmp_path / "in")], tables=["numbers"])} == {"numbers"}
    with pytest.raises(stages.InputError, match="nothing to read"):
        source.plan([str(tmp_path / "in")], tables=["claims"])


def test_work_on_a_users_table_travels_to_a_child_after_it_was_begun(tmp_path):
    """A worker that reads a table of the user takes over what another one was lost in."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(8)))
    files = source.plan([str(tmp_path / "in.jsonl")])
    ledger = sink.open_ledger(str(tmp_path / "out"), "toy", {}, files, 4, Counting().schemas())
    here = Here(StageWork(Counting(), ledger.writer({}).schemas, ledger.job.files), ledger.writer(Counting().schemas()))
    here.units.open()
    first, second = ledger.pending()
    here.run(first)
    units = pickle.loads(cloudpickle.dumps(here.units))
    units.open()
    assert Here(units, here.writer).run(second).tally.records == 4


# ------------------------------------------------------------------------------------- rows that end or hang their process


def poison(out, make_run, tmp_path, stall_seconds=600, **options):
    make_run(str(tmp_path / "in"), 64, 2)
    code = (
        "import json, sys, toy; from nosology.config import ClusterConfig; "
        "from nosology.distributed import stages; stage = toy.Poison(json.loads(sys.argv[3])); "
        f"report = stages.run_stage(stage, [sys.argv[1]], sys.argv[2], ClusterConfig(num_cpus=2, batch_rows=16, stall_seconds={stall_seconds}), {{}}); "
        "print(json.dumps([report.records_in, report.ok, report.dead_by_reason]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "in"), str(out), json.dumps(options)]
    with short_folder() as ray_folder:
        return subprocess.run(arguments, capture_output=True, text=True, env=environment(ray_folder), timeout=240)


def test_row_that_kills_its_process_is_dead_and_no_other(tmp_path, make_run):
    done = poison(tmp_path / "out", make_run, tmp_path, kill=[5, 17, 60])
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [64, 61, {"process_lost": 3}]
    assert sorted(read_output(str(tmp_path / "out"), "doubles")["n"].to_pylist()) == [2 * n for n in range(64) if n not in (5, 17, 60)]
    assert {row["stage"] for row in read_output(str(tmp_path / "out"), "dead").to_pylist()} == {"poison"}


def test_row_that_hangs_its_process_is_dead_and_no_other(tmp_path, make_run):
    """Its child may take longer to load its models than a row may."""
    done = poison(tmp_path / "out", make_run, tmp_path, stall_seconds=3, hang=[9], opening_seconds=5)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [64, 63, {"timed_out": 1}]


def test_process_that_something_else_killed_costs_no_row(tmp_path, make_run):
    done = poison(tmp_path / "out", make_run, tmp_path, once=[3, 40], marks=str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [64, 64, {}]
