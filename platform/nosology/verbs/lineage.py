"""What came from what: digests of files and folders, the report of a stage."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import InputConfig
from nosology.errors import DeadLettersError
from nosology.runs import Run

if TYPE_CHECKING:
    from nosology.distributed.stages import StageReport


def finish(run: Run, report: StageReport, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Lineage and report of a stage; DeadLettersError when too many records were given up."""
    from nosology.distributed.sink import DEAD, snapshot

    seen = snapshot(run.uri)
    run.lineage("inputs", {file.uri: file.digest for file in seen.job.files})
    run.lineage("outputs", {name: joined(part.digest for part in seen.table(name)) for name in [*seen.job.schemas, DEAD]})
    counts = {
        "records_in": report.records_in, "records_ok": report.ok, "records_dead": report.dead, "dead_by_reason": report.dead_by_reason,
        "rows": report.rows, "resumed_share": report.resumed_share,
    }  # fmt: skip
    whole = run.finish({**counts, **extra})
    allowed = run.config.run.allowed_dead_share
    if report.dead > allowed * report.records_in:
        raise DeadLettersError(f"{report.dead} of {report.records_in} records are dead letters; run.allowed_dead_share is {allowed}", whole)
    return whole


def joined(digests: Iterable[str]) -> str:
    """One SHA-256 for a set of parts, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def file_digest(path: str | None) -> str:
    """SHA-256 of a file; `none` of no file."""
    return storage.digest(path) if path else "none"


def folder_digest(uri: str) -> str:
    """One SHA-256 for all files below a folder; of a file, its own."""
    if not storage.is_folder(uri):
        return storage.digest_once(uri)
    return joined(storage.digest_once(file) for file in storage.list_files(uri))


class Repeats:
    """Counts texts that were there before, however many there are: digests of 64 bits, in shares that are compared one at a time and
    lie on disk where they are large. The digests have a key of their own, for an id may name a patient."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._shares = [tempfile.SpooledTemporaryFile(max_size=1 << 16) for _ in range(256)]  # noqa: SIM115 - closed by `count`

    def add(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), key=self._key, digest_size=9).digest()
        with storage.named_errors(tempfile.gettempdir()):
            self._shares[digest[0]].write(digest[1:])

    def count(self) -> int:
        """How many of the texts came a second time or more; nothing can be added afterwards."""
        import numpy as np

        repeated = 0
        for share in self._shares:
            with storage.named_errors(tempfile.gettempdir()), share:
                share.seek(0)  # what is buffered is written
                data = share.read()
            digests = np.frombuffer(data, np.uint64)
            repeated += len(digests) - len(np.unique(digests))
        return repeated


def input_columns(config: InputConfig) -> list[str]:
    """Columns that a user's own table of notes must have."""
    return [config.text_column, config.id_column]
