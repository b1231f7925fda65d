"""What every bench shares: the environment of a run, the machine it ran on, memory of processes, the last line."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "examples" / "archive"


def prepare() -> None:
    """Sets the environment of this process and of those it starts: one thread a process, a short path for Ray's sockets."""
    os.environ.update(OMP_NUM_THREADS="1", RAY_TMPDIR=os.environ.get("RAY_TMPDIR", "/tmp/nb"))
    Path(os.environ["RAY_TMPDIR"]).mkdir(parents=True, exist_ok=True)
    source = str(ROOT / "platform")
    if source not in sys.path:  # this tree, wherever the environment's own copy of the package comes from
        sys.path.insert(0, source)
    os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every bench has."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    return made


def needs(*modules: str) -> None:
    """Leaves with a sentence when a package is missing that only benches use."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            say(f"this bench compares with {name}, which is not installed; run: make bench-deps")
            raise SystemExit(2) from None


def say(line: str) -> None:
    """A line for a person, on standard error."""
    print(line, file=sys.stderr, flush=True)


def finish(result: dict[str, Any], as_json: bool) -> None:
    """The figures and what they were measured on: lines for a person, and the JSON line where it was asked for."""
    result = {**result, "machine": hardware()}
    for name, value in result.items():
        say(f"{name:>24}  {value}")
    if as_json:
        print(json.dumps(result), flush=True)


def hardware() -> str:
    """The machine in one line, with the day."""
    import psutil

    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        else:
            model = platform.machine()
    gibibytes = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} cores, {gibibytes:.0f} GiB, Python {platform.python_version()}, {datetime.date.today()}"


@contextlib.contextmanager
def folder(keep: str | None = None) -> Iterator[Path]:
    """A folder for the data of a bench, removed at the end; `keep` names one that stays."""
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    made = Path(tempfile.mkdtemp(prefix="nosology-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Memory:
    """Peak memory of a process, of its Ray workers, and of Ray's own processes, sampled while the block runs.

    Counted is what a process has for itself (resident less shared), so that Ray's object store, which all of them map, is nobody's.
    """

    def __init__(self, pid: int, seconds: float = 0.2) -> None:
        self._pid, self._seconds = pid, seconds
        self.peak_mb = {"driver": 0.0, "worker": 0.0, "ray": 0.0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psutil

        driver = psutil.Process(self._pid)
        roles: dict[psutil.Process, str] = {driver: "driver"}
        while not self._stop.wait(self._seconds):
            with contextlib.suppress(psutil.Error):
                for process in driver.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if roles.get(process) in (None, "ray"):  # a worker takes its name only when it gets its first task
                            roles[process] = "worker" if "Worker(" in " ".join(process.cmdline()[:1]) else "ray"
            for process, role in list(roles.items()):
                try:
                    found = process.memory_info()
                    self.peak_mb[role] = max(self.peak_mb[role], round((found.rss - found.shared) / 2**20, 1))
                except psutil.Error:
                    del roles[process]


class Processor:
    """Processor time of this process and all below it while the block runs, sampled: of a process that ended, what was last seen of it.

    (A parent's own count of its children's time would not do: Ray's raylet does not wait for its workers.)
    """

    def __init__(self, seconds: float = 0.2) -> None:
        self._period = seconds
        self._before: dict[Any, float] = {}
        self._last: dict[Any, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Processor:
        self._look()
        self._before = dict(self._last)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def seconds(self) -> float:
        return sum(last - self._before.get(process, 0.0) for process, last in self._last.items())

    def _look(self) -> None:
        import psutil

        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()
                self._last[process] = used.user + used.system

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self._look()
