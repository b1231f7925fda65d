"""Processes that are killed or stopped by their id, two drivers, a full disk, inputs and outputs that change: over Ray."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drivers
import psutil
import pytest
from nosology import storage
from nosology.distributed import sink, upkeep
from nosology.distributed.stages import job_status, read_output
from nosology.errors import InputError
from oracle import WHOLE, Counts, unaccepted
from test_crash_points import expected, keys_of

LONGEST_SECONDS = 300.0  # a hang is a failure, not a wait
ROWS = 60
_FDOPEN = os.fdopen
whole_form = pytest.mark.skipif(not WHOLE, reason="part of the whole form (make faults)")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background has it ignored


class Command:
    """`toy.py IN OUT` as a user runs it, with a Ray cluster of its own; with crash points, if any are named. It may be deaf to SIGINT."""

    def __init__(self, folder: Path, ray: Path, crash: str = "", seconds: float = 0.0, deaf: bool = False) -> None:
        marks = folder / f"marks-{time.time_ns()}"
        marks.mkdir()
        self.marks = marks
        package = Path(storage.__file__).parents[1]
        tests = drivers.HERE.parent / "distributed"
        environment = {
            **os.environ,
            "RAY_TMPDIR": str(ray),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{drivers.HERE / 'inject'}:{package}:{tests}",
        }
        environment |= {"NOSOLOGY_CRASH": crash, "NOSOLOGY_CRASH_FOLDER": str(marks)}
        arguments = [str(tests / "toy.py"), str(folder / "in"), str(folder / "out"), "batch_rows=4", f"seconds={seconds}"]
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
            start_new_session=True, preexec_fn=_ignore_interrupts if deaf else _hear_interrupts,
        )  # fmt: skip

    def reached(self, point: str, hit: int = 1) -> int:
        """Waits until a process is at a point; its id."""
        mark = self.marks / f"{point}.{hit}"
        limit = time.monotonic() + LONGEST_SECONDS
        while not (mark.exists() and mark.read_text()):
            assert self.process.poll() is None, f"the command ended before {point}: {self.process.communicate()}"
            assert time.monotonic() < limit, f"{point} was not reached"
            time.sleep(0.05)
        return int(mark.read_text())

    def committed(self, units: int) -> None:
        """Waits until the command says that it has so many units."""
        assert self.process.stdout
        for line in self.process.stdout:
            if json.loads(line).get("done", 0) >= units:
                return
        raise AssertionError("the command ended too early")

    def ends(self, code: int | None = 0) -> dict[str, Any]:
        """What it says at its end."""
        out, err = self.process.communicate(timeout=LONGEST_SECONDS)
        assert code is None or self.process.returncode == code, out[-2000:] + err[-2000:]
        last: dict[str, Any] = json.loads(out.splitlines()[-1]) if out.strip() else {}
        return last

    def child(self, name: str) -> psutil.Process:
        """A process of its cluster, by the name of the program."""
        limit = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < limit:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.name() == name:
                        return process
            time.sleep(0.05)
        raise AssertionError(f"{name} was not found")

    def tidy(self) -> None:
        """Ends what is left of it."""
        with contextlib.suppress(psutil.Error):
            left = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drivers.write_rows(str(tmp_path / "in"), ROWS)
    return tmp_path


@pytest.fixture
def begin(folder: Path, short: Path) -> Iterator[Any]:
    """Starts commands; ends what is left of them."""
    commands: list[Command] = []

    def start(crash: str = "", seconds: float = 0.0, deaf: bool = False) -> Command:
        commands.append(Command(folder, short, crash, seconds, deaf))
        return commands[-1]

    yield start
    for command in commands:
        command.tidy()


def check(counts: Counts, folder: Path, num_faults: int = 1) -> None:
    counts.faults += num_faults
    out = str(folder / "out")
    counts.compare(expected(str(folder / "in")), keys_of(out))
    proof = upkeep.verify(out)
    assert proof.faults == [] and proof.finished


@whole_form
def test_the_driver_is_killed(folder: Path, begin: Any, counts: Counts) -> None:
    for units in (8, 24):
        command = begin(seconds=0.1)
        command.committed(units)
        command.process.kill()
        command.process.wait()
        assert not job_status(str(folder / "out"))["finished"]
    assert begin().ends()["records_in"] == ROWS
    check(counts, folder, 2)


@whole_form
def test_workers_are_killed_by_id(folder: Path, begin: Any, counts: Counts) -> None:
    """Each is stopped at a place and killed there; the same command goes on and ends well."""
    points = [("part.linked", 2), ("dead.before_create", 3), ("manifest.linked", 5)]
    command = begin(",".join(f"{point}:{hit}:STOP" for point, hit in points))
    for point, hit in points:
        worker = command.reached(point, hit)
        assert worker != command.process.pid
        os.kill(worker, signal.SIGKILL)
    assert command.ends()["records_in"] == ROWS
    check(counts, folder, len(points))


@pytest.mark.parametrize(("name", "deaf"), [("raylet", False), ("gcs_server", False), ("raylet", True)] if WHOLE else [("raylet", False)])
def test_a_process_of_ray_itself_is_killed(folder: Path, begin: Any, counts: Counts, name: str, deaf: bool) -> None:
    """Ray's native code would end the driver without a word. One that is deaf (it waits in native code, say) cannot end by itself."""
    command = begin(seconds=0.1, deaf=deaf)
    command.committed(8)
    command.child(name).kill()
    out, err = command.process.communicate(timeout=LONGEST_SECONDS)
    assert command.process.returncode == 1
    said = err if deaf else json.loads(out.splitlines()[-1])["error"]
    assert f"Ray's node process on this machine ({name}) died" in said and said.strip().endswith("run the same command again, it resumes")
    report = begin().ends()
    assert report["records_in"] == ROWS and report["resumed_share"] > 0
    check(counts, folder)


def test_a_signal_reaches_every_process_of_a_run(folder: Path, begin: Any, counts: Counts) -> None:
    """As `timeout` and schedulers send it: Ray's processes end before the driver has done with them. Ray would abort."""
    command = begin(seconds=0.1)
    command.committed(8)
    os.killpg(command.process.pid, signal.SIGTERM)
    command.ends(1)
    counts.faults += 1
    assert not job_status(str(folder / "out"))["finished"] and upkeep.verify(str(folder / "out")).faults == []


def test_a_stopped_worker_wakes_after_takeover(folder: Path, begin: Any, counts: Counts) -> None:
    """It had looked at the epochs and was about to create its manifest: that of a zombie, which counts for nothing."""
    first = begin("manifest.before_create:3:STOP")
    worker = first.reached("manifest.before_create", 3)
    first.process.send_signal(signal.SIGSTOP)  # else it hears from its other worker and takes this one with it
    assert begin().ends()["records_in"] == ROWS
    manifests = storage.join(str(folder / "out"), "manifests", "epoch-1")
    before = {uri: storage.version(uri) for uri in storage.list_files(str(folder / "out"))}
    os.kill(worker, signal.SIGCONT)
    limit = time.monotonic() + LONGEST_SECONDS
    while not set(storage.list_files(manifests)) - before.keys():
        assert time.monotonic() < limit, "the zombie committed nothing"
        time.sleep(0.05)
    first.process.send_signal(signal.SIGCONT)
    assert "another run of this job took over" in first.ends(2)["error"]
    after = {uri: storage.version(uri) for uri in storage.list_files(str(folder / "out"))}
    assert {uri: after[uri] for uri in before} == before
    check(counts, folder, 2)


@whole_form
@pytest.mark.parametrize("point", ["epoch.created", "manifest.created:4", "finish.before_create", "finish.temporary_written"])
def test_a_stopped_driver_wakes_after_takeover(folder: Path, begin: Any, counts: Counts, point: str) -> None:
    name, _, hit = point.partition(":")
    first = begin(f"{name}:{hit or 1}:STOP")
    stopped = first.reached(name, int(hit or 1))
    if name.startswith("manifest"):  # the worker waits there; it is the driver that is to be stopped
        os.kill(first.process.pid, signal.SIGSTOP)
        os.kill(stopped, signal.SIGCONT)
    assert begin().ends()["records_in"] == ROWS
    first.process.send_signal(signal.SIGCONT)
    assert "another run of this job took over" in first.ends(2)["error"]
    check(counts, folder)


@whole_form
def test_two_drivers_at_once(folder: Path, begin: Any, counts: Counts) -> None:
    """One ends the job; the other says why it did not, or finds the job done."""
    both = [begin(seconds=0.02), begin(seconds=0.02)]
    said = [command.ends(None) for command in both]
    won = [report for report in said if report.get("records_in") == ROWS]
    lost = [report["error"] for report in said if "error" in report]
    assert won and len(won) + len(lost) == 2
    assert all("took over" in error or "at the same moment" in error for error in lost)
    check(counts, folder)


@whole_form
def test_the_input_changes_during_the_run(folder: Path, begin: Any, counts: Counts) -> None:
    file = folder / "in" / "1.jsonl"
    held = file.read_bytes()
    command = begin("manifest.created:2:STOP")
    worker = command.reached("manifest.created", 2)
    file.write_bytes(held.replace(b"row", b"now"))
    os.kill(worker, signal.SIGCONT)
    error = command.ends(2)["error"]
    assert "changed during the run" in error and "1.jsonl" in error
    assert upkeep.verify(str(folder / "out")).faults == []
    file.write_bytes(held)
    assert begin().ends()["records_in"] == ROWS
    check(counts, folder)


class Mounted:
    """A file system of two megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, pages: int) -> None:
        with (self.folder / "filler").open("wb", buffering=0) as stream:
            with contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(4096))
            stream.truncate(max(0, stream.tell() // 4096 - pages) * 4096)

    def free(self) -> None:
        (self.folder / "filler").unlink()


class Quota:
    """The same where mounting is not allowed: what the storage writes into the folder comes to an end after so many pages."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pages, self.refused = folder, 1 << 20, 0

    def leave(self, pages: int) -> None:
        self.pages = pages

    def free(self) -> None:
        assert self.refused
        self.pages = 1 << 20

    def room(self) -> int:
        held = (path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return max(0, self.pages - sum(-(-size // 4096) for size in held)) * 4096

    def opened(self, descriptor: int, *mode: Any, **options: Any) -> Any:
        if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self.folder):
            return _FDOPEN(descriptor, *mode, **options)
        quota = self

        class Limited(io.FileIO):
            def write(self, data: Any) -> int:
                room = quota.room()
                if not room:
                    quota.refused += 1
                    raise OSError(errno.ENOSPC, "x")
                return super().write(memoryview(data)[:room])

        return io.BufferedWriter(Limited(descriptor, *mode))


@pytest.fixture(params=["mounted", "quota"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mounted | Quota]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if request.param == "quota":
        quota = Quota(disk)
        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "fdopen", quota.opened)
            yield quota
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here; the quota is tested")
    yield Mounted(disk)
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("pages", [0, 1, 3, 8, 14, 20, 33] if WHOLE else [1, 20])
def test_the_disk_is_full(small_disk: Mounted | Quota, tmp_path: Path, pages: int, counts: Counts) -> None:
    """With so many pages of 4,096 bytes left at the start; then room is made."""
    source, out, to = (str(place) for place in (small_disk.folder / "in", small_disk.folder / "out", small_disk.folder / "lake"))
    drivers.write_rows(source, 30)
    small_disk.leave(pages + 2 if isinstance(small_disk, Quota) else pages)  # its two files of input are among what it counts
    with pytest.raises(storage.StorageError, match="disk is full.*run the same command again") as caught:
        drivers.toy(source, out, to, ("run",))
    assert caught.value.exit_code == 1
    counts.faults += 1
    small_disk.free()
    drivers.toy(source, out, to, ("run", "publish", "gc"))
    counts.compare(expected(source), keys_of(out))
    assert upkeep.verify(out).faults == []
    assert unaccepted(out) == []


def test_what_is_no_part_of_a_run_is_found_and_collected(tmp_path: Path, counts: Counts) -> None:
    source, out, to = (str(tmp_path / name) for name in ("in", "out", "lake"))
    drivers.write_rows(source, 30)
    drivers.toy(source, out, to, ("run", "gc"))
    assert unaccepted(out) == []
    part = sink.snapshot(out).table("doubles")[0].uri
    folder, name = part.rsplit("/", 1)
    manifest = next(uri for uri in storage.list_files(f"{out}/manifests"))
    left = [f"{folder}/{re.sub(r'-[0-9a-f]{12}-', '-0123456789ab-', name)}", f"{folder}/.{name}.01234567",
            re.sub(r"-[0-9]+-[0-9]+[.]json$", "-900-901.json", manifest)]  # fmt: skip
    for uri in left:
        Path(uri).write_bytes(b"x")
    assert unaccepted(out) == sorted(left)
    assert upkeep.collect_garbage(out, 0.0)["removed"] == 3 and unaccepted(out) == []
    counts.compare(expected(source), keys_of(out))


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("harm", [_cut, _flipped, lambda _: b""], ids=["cut", "flipped", "emptied"])
@pytest.mark.parametrize("thing", ["part", "dead part", "manifest", "last epoch", "job"])
def test_what_is_damaged_afterwards_is_named_and_refused(tmp_path: Path, thing: str, harm: Any, counts: Counts) -> None:
    source, out, to = (str(tmp_path / name) for name in ("in", "out", "lake"))
    drivers.write_rows(source, 30)
    drivers.toy(source, out, to, ("run",))
    seen = sink.snapshot(out)
    uri = {
        "part": seen.table("doubles")[1].uri, "dead part": seen.table("dead")[0].uri, "job": f"{out}/job.json",
        "manifest": storage.list_files(f"{out}/manifests")[2], "last epoch": f"{out}/epoch-{seen.epoch}.json",
    }[thing]  # fmt: skip
    file = Path(uri)
    file.write_bytes(harm(file.read_bytes()))
    counts.faults += 1
    with pytest.raises(InputError, match=file.name):
        for table in ("doubles", "dead"):
            read_output(out, table)
    with pytest.raises(InputError, match=file.name):
        upkeep.publish(out, to)
    if thing == "job":
        with pytest.raises(InputError, match="job.json"):
            upkeep.verify(out)
    else:
        assert [fault for fault in upkeep.verify(out).faults if file.name in fault]
