"""Billed diagnoses by what joins a note to its claim, in a file that workers look into: the archive's claims need not fit into memory.

The keys (`coding.stage.links`) are stored as digests, so that the file names no patient.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nosology import storage

Diagnoses = list[dict[str, Any]]
_NAME = "billed.sqlite"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]


@contextlib.contextmanager
def written(folder: str, claims: Iterable[tuple[str, Diagnoses]]) -> Iterator[Billed]:
    """A lookup of some claims, in a folder that all workers reach, for as long as the block lasts.

    Args:
        folder: local or `s3://`.
        claims: key and diagnoses; those of one key come together in the order in which they are given.
    """
    uri = storage.join(folder, _NAME)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / _NAME
        with contextlib.closing(sqlite3.connect(path)) as table:
            table.execute("PRAGMA journal_mode=OFF")
            table.execute("CREATE TABLE billed (key BLOB, diagnoses TEXT)")
            table.executemany("INSERT INTO billed VALUES (?, ?)", ((_digest(key), json.dumps(found)) for key, found in claims))
            table.execute("CREATE INDEX by_key ON billed (key)")
            table.commit()
        with open(path, "rb") as source, storage.open_output(uri) as target:
            while piece := source.read(1 << 20):
                target.write(piece)
    try:
        yield Billed(uri)
    finally:
        storage.remove(uri)


class Billed(Mapping[str, Diagnoses]):
    """The lookup as a worker sees it. Picklable; opens its file when it is first asked."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._table: sqlite3.Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_uri": self._uri, "_table": None}

    def __getitem__(self, key: str) -> Diagnoses:
        found = self._open().execute("SELECT diagnoses FROM billed WHERE key = ? ORDER BY rowid", (_digest(key),)).fetchall()
        if not found:
            raise KeyError("no claim of this key")
        return [diagnosis for (text,) in found for diagnosis in json.loads(text)]

    def __len__(self) -> int:
        (count,) = self._open().execute("SELECT count(DISTINCT key) FROM billed").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("the keys are stored as digests")

    def _open(self) -> sqlite3.Connection:
        if self._table is None:
            if storage.is_local(self._uri):
                path = storage.local_path(self._uri).absolute()
            else:
                self._folder = tempfile.TemporaryDirectory()  # as long as this worker
                path = Path(self._folder.name) / _NAME
                with storage.open_input(self._uri) as source, open(path, "wb") as target:
                    while piece := source.read(1 << 20):
                        target.write(piece)
            self._table = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, check_same_thread=False)
        return self._table
