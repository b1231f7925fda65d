"""A worker that hangs is named within `train.stall_seconds`, instead of after the half hour in which collectives give up.

Each worker writes where it is (step, phase, last collective, and how many phases and collectives it has entered) into a file of the run folder, from a thread. The
thread of one whose own phase lasts too long reads the files of all: who has the smallest number is behind, and who has not written
lately does not run at all. It says so in events.jsonl and ends its process, so that the group is started again from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.training import lines

EVENTS, BEATS = "events.jsonl", "beats"
# phases in which a worker does one long thing (a base or a checkpoint of 70B is read, written, copied): they may last so many times longer
_LONG = {"build": 20, "begin": 20, "load": 20, "checkpoint": 20, "report": 20}
STALLED = 75  # exit status of a worker that gives up on a group that hangs


def note(out: Path, event: str, **fields: Any) -> None:
    """Add a line to the events of a run: start, hang, preemption, stop. Never a value of a record."""
    with storage.named_errors(str(out / EVENTS)), lines.append_to(out / EVENTS) as stream:
        stream.write(json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n")


def events(out: Path, since: float = 0.0) -> list[dict[str, Any]]:
    """Events of a run from a moment on, in order."""
    return [one for one in lines.read(out / EVENTS) if one["time"] >= since]


class Watch:
    """One worker's place in the training, and the thread that tells it.

    Args:
        out: run folder, which every worker sees.
        stall_seconds: longest that a phase may last.
        leave: what is done about a hang; ends the process.
    """

    def __init__(self, out: Path, rank: int, world_size: int, stall_seconds: float, leave: Callable[[int], Any] = os._exit) -> None:
        self._folder, self._out, self._rank, self._world_size = out / BEATS, out, rank, world_size
        self._stall, self._leave = stall_seconds, leave
        self._number, self._step, self._phase, self._since = 0, 0, "build", time.monotonic()
        self._collective = "none"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        with storage.named_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._file(self._rank).unlink(missing_ok=True)

    def enter(self, phase: str, step: int) -> None:
        """A new phase begins."""
        self._number, self._step, self._phase, self._since = self._number + 1, step, phase, time.monotonic()

    def collective(self, name: str) -> None:
        """The worker enters a collective operation."""
        self._number, self._collective, self._since = self._number + 1, name, time.monotonic()

    def alive(self, *_: Any) -> None:
        """Something moves within a phase; a hook on the model's forward pass."""
        self._since = time.monotonic()

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.json"

    def _write(self) -> None:
        beat = {"number": self._number, "step": self._step, "phase": self._phase, "collective": self._collective, "time": time.time()}
        temporary = self._folder / f".rank-{self._rank}.{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk is told by whoever saves
            temporary.write_text(json.dumps(beat))
            temporary.replace(self._file(self._rank))

    def _run(self) -> None:
        every = min(5.0, self._stall / 4)
        while not self._over.wait(every):
            self._write()
            lasting = time.monotonic() - self._since
            if lasting > self._stall * _LONG.get(self._phase, 1):
                self._tell(lasting, every)
                self._leave(STALLED)
                return

    def _tell(self, lasting: float, every: float) -> None:
        beats: dict[int, dict[str, Any]] = {}
        for rank in range(self._world_size):
            with contextlib.suppress(OSError, ValueError):
                beats[rank] = json.loads(self._file(rank).read_text())
        silent = [rank for rank in range(self._world_size) if rank not in beats or time.time() - beats[rank]["time"] > 3 * every + 1]
        least = min((beat["number"] for beat in beats.values()), default=0)
        behind = silent or [rank for rank, beat in beats.items() if beat["number"] == least]
        fields: dict[str, Any] = {"workers": behind, "told_by": self._rank, "seconds": round(lasting, 1)}
        if len(behind) == self._world_size:
            fields |= {"said": "all workers wait in the same collective: the network between them"}
        else:
            fields |= {"said": "does not answer, and the others wait for it" if silent else "is behind the others"}
        # of one that is silent nobody knows where it is: then it is told where the others wait
        at = {"step": self._step, "phase": self._phase, "collective": self._collective}
        at = at if silent or not behind else beats[behind[0]]
        fields |= {name: at.get(name) for name in ("step", "phase", "collective")}
        with contextlib.suppress(storage.StorageError):
            note(self._out, "hang", **fields)
