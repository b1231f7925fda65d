"""Checkpoints beside the training: a snapshot is taken between two steps, a thread writes and checks it while training goes on.

Every worker writes its part; the marker that publishes the checkpoint is written when all of them have told that theirs is on disk, which
they tell with the figures of a step, so that it costs no collective of its own.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nosology.errors import ModelError, NosologyError
from nosology.runs import describe
from nosology.storage import StorageError, create_if_absent, join, read_bytes
from nosology.training import checkpoint
from nosology.training.step import Stepper

_NAMED = "checkpoints.name"  # in the run folder: what its checkpoints are called elsewhere, so that no other run takes them for its own


class Saver:
    """One worker's side of the checkpoints of a run; at most one is being written."""

    def __init__(self, group: Stepper, root: str, keep: int) -> None:
        self._group, self._root, self._keep = group, root, keep
        self._thread: threading.Thread | None = None
        self._fault: NosologyError | None = None
        self._due: tuple[int, str, dict[str, float], float | None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is not published yet."""
        return self._due is not None

    @property
    def written(self) -> bool:
        """Whether this worker's part is on disk and right, or will never be."""
        return self._thread is not None and not self._thread.is_alive()

    def begin(self, step: int, fields: Mapping[str, Any], metrics: Mapping[str, float], score: float | None) -> None:
        """Take a snapshot and start to write it; collective. One that is still being written is waited for."""
        if self.busy:
            self.finish()
        group = self._group
        name = group.share(self._named(step) if group.rank == 0 else "")
        self._raise_together()
        snapshot = group.snapshot(step, fields)
        self._due = (step, name, dict(metrics), score)
        self._fault = None
        self._thread = threading.Thread(target=self._write, args=(name, snapshot), name="checkpoint", daemon=True)
        self._thread.start()

    def _named(self, step: int) -> str:
        try:
            return checkpoint.new_folder(self._root, step)
        except NosologyError as error:
            self._fault = error
            return ""

    def _write(self, name: str, snapshot: checkpoint.Snapshot) -> None:
        for last in (False, True):
            try:
                checkpoint.write_part(self._root, name, snapshot)
                return
            except NosologyError as error:
                self._fault = error
                return
            except Exception as error:  # a client of a store that fails in its own way; its text could quote anything
                logging.getLogger("nosology").warning("a part of a checkpoint is written again after %s", describe(error))
                if last:
                    self._fault = ModelError(f"the checkpoint could not be written ({describe(error)})")

    def finish(self) -> None:
        """Wait for what is being written and publish it; collective.

        Raises:
            ModelError, StorageError: on every worker, with the reason of the first that could not write or publish. Checkpoints before
                it stay.
        """
        if self._due is None:
            return
        if self._thread:
            self._thread.join()
        (step, name, metrics, score), self._due, self._thread = self._due, None, None
        self._raise_together()
        if self._group.rank == 0:
            try:
                checkpoint.publish(self._root, step, name, self._group.world_size, self._keep, metrics=metrics, score=score)
            except NosologyError as error:
                self._fault = error
        self._raise_together()

    def _raise_together(self) -> None:
        """Raises on every worker when one has a fault; collective."""
        fault = self._fault
        faults = [text for text in self._group.gather(f"{type(fault).__name__}: {fault}" if fault else "") if text]
        if not faults:
            return
        self._due, self._thread = None, None
        if fault is not None and len(faults) == 1:
            raise fault
        # whoever found the disk full removed the folder, and others have failed because of that
        kind, _, text = min(faults, key=lambda told: not told.startswith("StorageError")).partition(": ")
        raise StorageError(text) if kind == "StorageError" else ModelError(text)


def root_of(out: Path, folder: str | None, group: Stepper) -> str:
    """Where the checkpoints of a run lie: in its folder, or in a folder of its own below `train.checkpoint_folder`; collective."""
    if folder is None:
        return str(out / "checkpoints")
    name = ""
    if group.rank == 0:
        create_if_absent(str(out / _NAMED), f"run-{uuid.uuid4().hex[:16]}".encode())
        name = read_bytes(str(out / _NAMED)).decode()
    return join(folder, group.share(name))
