"""Named crash points of the commit protocol, put around `nosology.storage` from outside.

`NOSOLOGY_CRASH` holds `POINT:HIT[:SIGNAL]`, several with commas between them: the process that is the HIT-th to reach POINT sends itself
SIGNAL (KILL, or STOP for a process that is to wake later). Hits are counted over all processes, by files in `NOSOLOGY_CRASH_FOLDER` that
are created only if absent; a file holds the id of its process.

A point is OBJECT.MOMENT. Objects: `config`, `command` (records of the run), `probe`, `job`, `table` (empty.parquet), `epoch`, `part`,
`dead`, `manifest`, `finish` (the last epoch), `reopen` (the epoch of a retry), `publish_part`, `publish`. Moments of a creation:
`before_create`, on a local disk also `half_written`, `temporary_written`, `linked`, then `created`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

CREATED = ("config", "command", "job", "table", "epoch", "part", "dead", "manifest", "finish", "reopen", "publish_part", "publish")
LOCAL_MOMENTS = ("before_create", "half_written", "temporary_written", "linked", "created")
REMOTE_MOMENTS = ("before_create", "created")
OTHERS = ("harvest.listed", "harvest.read", "sweep.listed", "sweep.before_remove", "sweep.removed", "rollback.removed", "gc.removed")
REMOTE_OTHERS = ("probe.created", "probe.before_remove", "probe.removed")

_PLAIN = {"config.yaml": "config", "command.json": "command", "job.json": "job", "empty.parquet": "table"}
_CALLERS = {"_copy": "publish_part", "_to_folder": "publish", "probe": "probe", "reopen": "reopen", "finish": "finish"}
_REMOVERS = {"sweep": "sweep", "rollback": "rollback", "collect_garbage": "gc", "probe": "probe", "_to_folder": "publish"}
_PART = re.compile(r"[0-9a-f.]+-\d+-\d+-e\d+-[0-9a-f]{12}-\d+\.parquet")


def points(*, local: bool) -> list[str]:
    """All names."""
    moments = LOCAL_MOMENTS if local else REMOTE_MOMENTS
    created = [f"{thing}.{moment}" for thing in CREATED for moment in moments]
    return [*created, *OTHERS, *(() if local else REMOTE_OTHERS)]


def watch() -> None:
    """Wraps `nosology.storage` as soon as something imports it."""
    if os.environ.get("NOSOLOGY_CRASH"):
        sys.meta_path.insert(0, Finder("nosology.storage", install))


class Finder(importlib.abc.MetaPathFinder):
    """Wraps a module when it is imported."""

    def __init__(self, name: str, install: Callable[[ModuleType], None]) -> None:
        self._name, self._install = name, install

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                self._install(module)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


def at(point: str) -> None:
    """Counts a hit; ends (or stops) this process when it is its turn."""
    how = _turn(point)
    if how:
        os.kill(os.getpid(), how)


def _turn(point: str) -> signal.Signals | None:
    """The signal that this process has to send itself, if this is the hit that was asked for."""
    for wanted in os.environ.get("NOSOLOGY_CRASH", "").split(","):
        name, _, rest = wanted.partition(":")
        if name == point:
            hit, _, how = rest.partition(":")
            return signal.Signals[f"SIG{how or 'KILL'}"] if _count(point) == int(hit or 1) else None
    return None


def _count(point: str) -> int:
    number = 1
    while True:
        try:
            descriptor = os.open(f"{os.environ['NOSOLOGY_CRASH_FOLDER']}/{point}.{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            number += 1
            continue
        os.write(descriptor, str(os.getpid()).encode())
        os.close(descriptor)
        return number


def install(storage: Any) -> None:
    """Puts the points around the functions of the module."""
    create, remove, list_files, read_many = storage.create_if_absent, storage.remove, storage.list_files, storage.read_many
    current: list[str] = []

    def create_if_absent(uri: str, data: bytes) -> bool:
        thing = _thing(uri, data)
        if thing is None:
            return bool(create(uri, data))
        at(f"{thing}.before_create")
        current.append(thing)
        try:
            made = create(uri, data)
        finally:
            current.pop()
        at(f"{thing}.created")
        return bool(made)

    def remove_(uri: str) -> None:
        thing = next((_REMOVERS[name] for name in _callers() if name in _REMOVERS), "other")
        at(f"{thing}.before_remove")
        remove(uri)
        at(f"{thing}.removed")

    def list_files_(uri: str, **options: Any) -> list[str]:
        found: list[str] = list_files(uri, **options)
        callers = _callers()
        for name, thing in (("_harvest", "harvest"), ("sweep", "sweep"), ("collect_garbage", "gc")):
            if name in callers:
                at(f"{thing}.listed")
        return found

    def read_many_(uris: Sequence[str]) -> list[bytes]:
        found: list[bytes] = read_many(uris)
        if "_harvest" in _callers():
            at("harvest.read")
        return found

    class System:
        """`os` as the module sees it: the steps of a local creation."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, descriptor: int) -> None:
            if not current:
                return os.fsync(descriptor)
            how = stat.S_ISREG(os.fstat(descriptor).st_mode) and _turn(f"{current[-1]}.half_written")  # else it is the folder
            if how:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                os.kill(os.getpid(), how)
            os.fsync(descriptor)

        def link(self, source: Any, target: Any) -> None:
            at(f"{current[-1]}.temporary_written")
            os.link(source, target)
            at(f"{current[-1]}.linked")

    storage.create_if_absent, storage.remove, storage.list_files, storage.read_many = create_if_absent, remove_, list_files_, read_many_
    storage.os = System()


def _thing(uri: str, data: bytes) -> str | None:
    folder, name = uri.rsplit("/", 2)[-2:]
    callers = _callers()
    if name in _PLAIN:
        return _PLAIN[name]
    if name.startswith("probe-"):
        return "probe"
    if re.fullmatch(r"epoch-\d+\.json", name):
        return next((_CALLERS[one] for one in callers if one in ("reopen", "finish")), "epoch")
    if re.fullmatch(r"epoch-\d+", folder):
        return "manifest"
    if _PART.fullmatch(name):
        return "dead" if folder == "dead" else "part"
    return next((_CALLERS[one] for one in callers if one in ("_copy", "_to_folder")), None)


def _callers() -> list[str]:
    names, frame = [], sys._getframe(2)
    while frame and len(names) < 12:
        names.append(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return names
