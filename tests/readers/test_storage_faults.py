"""A storage that fails while it is read stops the job, in words with a remedy; it is never taken for damage of the content."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology import readers, storage
from nosology.config import IngestConfig, InputConfig
from nosology.distributed import sink, source, work
from nosology.distributed.coverage import Interval, PlannedFile, Tally
from nosology.distributed.isolation import Guard
from nosology.readers import parquet, tabular
from nosology.records import DeadLetter, from_dict
from test_members import zipped

ROWS = [{"id": str(n), "text": random.Random(n).randbytes(40).hex()} for n in range(12_000)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
FILES = {
    "rows.parquet": samples.parquet(ROWS, row_group_size=2000),
    "rows.jsonl": LINES,
    "rows.jsonl.gz": gzip.compress(LINES),
    "rows.zip": zipped({"rows.jsonl": LINES}),
    "rows.parquet.gz": gzip.compress(samples.parquet(ROWS, row_group_size=2000)),
    "claims.837": samples.x12(samples.HEAD + samples.CLAIM * 4000),
    "one.rtf": rb"{\rtf1\ansi " + b"seen " * 200_000 + b"}",
    "one.txt": b"seen " * 200_000,
    "rows.ndjson": samples.lines(samples.PATIENT) * 4000,
}
ERRORS = [
    (OSError(errno.EIO, "ADA QUIMBY"), "input/output error. Check the disk"),
    (ConnectionResetError("ADA QUIMBY"), "storage failed (ConnectionResetError"),
    (FileNotFoundError("ADA QUIMBY"), "no such file or folder any more"),
    (PermissionError(errno.EACCES, "ADA QUIMBY"), "permission denied. Give this user access"),
]


class Flaky(io.FileIO):
    """A file whose storage fails once it is read from a place on."""

    error: Exception | None = None
    begin, opened, from_open = 0, 0, 1

    def readinto(self, target: Any) -> int:
        if Flaky.error is not None and Flaky.opened >= Flaky.from_open and self.tell() + len(target) > Flaky.begin:
            raise Flaky.error
        return super().readinto(target)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: bytes(memoryview(piece := bytearray(1 << 16))[: self.readinto(piece)]), b""))

    def read(self, size: int | None = -1) -> bytes:
        assert size is None or size < 0, "a buffer reads by `readinto`"
        return self.readall()


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def opened(path: Path, *args: Any, **options: Any) -> Flaky:
        Flaky.opened += 1
        return Flaky(path)

    def set_up(error: Exception, begin: int, from_open: int = 1) -> None:
        Flaky.error, Flaky.begin, Flaky.opened, Flaky.from_open = error, begin, 0, from_open

    monkeypatch.setattr(storage, "open", opened, raising=False)
    yield set_up
    Flaky.error = None


def ingest(path: Path) -> tuple[int, list[DeadLetter]]:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    units = work.IngestWork(
        IngestConfig(max_document_bytes=1 << 20),
        InputConfig(),
        [PlannedFile(digest, str(path), digest, 1, "archive", "", "x", len(data))],
    )
    units.open()
    rows, dead, written = 0, list[DeadLetter](), list[DeadLetter]()
    for name, table in units.produce(Interval(0, 0, 1), Tally(), dead, Guard(lambda: None)):
        if name == sink.DEAD:  # many are written before the end
            written += [from_dict(DeadLetter, row) for row in table.to_pylist()]
        else:
            rows += table.num_rows
    return rows, written + dead


@pytest.mark.parametrize(("error", "told"), ERRORS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", FILES)
def test_ingest_stops(name: str, error: Exception, told: str, tmp_path: Path, fails: Any) -> None:
    (path := tmp_path / name).write_bytes(FILES[name])
    fails(error, len(FILES[name]) // 2)
    with pytest.raises(storage.StorageError) as caught:
        ingest(path)
    assert told in str(caught.value) and str(path) in str(caught.value) and "QUIMBY" not in str(caught.value)
    assert caught.value.exit_code == 1 and caught.value.__suppress_context__
    fails(OSError(errno.EIO, "x"), 1 << 60)
    rows, dead = ingest(path)
    assert rows and not dead


@pytest.mark.parametrize("begin", [0.0, 0.99])
@pytest.mark.parametrize("name", FILES)
def test_planning_stops(name: str, begin: float, tmp_path: Path, fails: Any) -> None:
    """The second time that the file is opened: the first is for its digest. None is left out for it."""
    (path := tmp_path / name).write_bytes(FILES[name])
    fails(OSError(errno.EIO, "x"), int(begin * len(FILES[name])), from_open=2)
    try:
        archive = source.plan_archive([str(path)], IngestConfig(allow_unreadable=True), InputConfig())
    except storage.StorageError as error:
        assert "Check the disk" in str(error)
    else:  # what it looks at comes before the fault
        assert begin and len(archive.files) == 1 and not archive.unreadable


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl", "rows.jsonl.gz", "rows.parquet.gz"])
def test_a_table_of_a_stage(name: str, tmp_path: Path, fails: Any) -> None:
    (path := tmp_path / name).write_bytes(FILES[name])
    fails(OSError(errno.EIO, "x"), len(FILES[name]) // 2)
    with pytest.raises(storage.StorageError):
        list(tabular.read_rows(str(path), 0, len(ROWS)))
    with pytest.raises(storage.StorageError):
        storage.digest(str(path))
    with pytest.raises(storage.StorageError):
        storage.read_bytes(str(path))


def test_a_remote_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/faults/rows.jsonl", LINES)

    class Broken(io.BytesIO):
        def readinto(self, target: Any) -> int:
            raise ConnectionError("ADA QUIMBY")

        read = read1 = readinto  # type: ignore[assignment]

    monkeypatch.setattr(storage, "_patiently", lambda call, *args, **options: Broken())
    with storage.open_input("memory://faults/rows.jsonl") as stream, pytest.raises(storage.StorageError, match="endpoint does not answer"):
        stream.read(10)


def test_a_disk_for_copies_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet within a gzip file is copied before it is read."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(parquet.tempfile, "TemporaryFile", Full)
    data = FILES["rows.parquet.gz"]
    with pytest.raises(storage.StorageError, match="disk is full"):
        list(readers.read_file(readers.SourceFile("/x/f", "f", "0" * 64, len(data)), io.BytesIO(data)))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_note_beside(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that this user may not look into is no note that lies elsewhere."""
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "e.txt").write_text("Seen.")
    data = samples.lines(
        *[samples.document(content=[{"attachment": {"contentType": "text/plain", "url": url}}]) for url in ("n/e.txt", "n/f.txt")]
    )
    described = readers.SourceFile(str(tmp_path / "a.ndjson"), "a.ndjson", "0" * 64, len(data))
    note, letter = readers.read_file(described, io.BytesIO(data))
    assert getattr(note, "text", None) == "Seen." and getattr(letter, "reason", None) == "note_elsewhere"
    real = os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("e.txt"):
            raise OSError(number, "x")
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(storage.StorageError) as caught:
        list(readers.read_file(described, io.BytesIO(data)))
    assert "e.txt" not in str(caught.value) and "a.ndjson" in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(storage, "open", lambda path, *args, **options: Flaky(path), raising=False)
    Flaky.error, Flaky.begin, Flaky.opened, Flaky.from_open = OSError(number, "x"), 0, 1, 1
    try:
        with pytest.raises(storage.StorageError):
            list(readers.read_file(described, io.BytesIO(data)))
    finally:
        Flaky.error = None


def test_damage_of_the_content_goes_on(tmp_path: Path) -> None:
    data = bytearray(FILES["rows.parquet"])
    data[4:40] = b"\xff" * 36  # the header of the first page
    (path := tmp_path / "rows.parquet").write_bytes(data)
    rows, dead = ingest(path)
    assert rows and {letter.reason for letter in dead} == {"unreadable_rows"} and (rows, len(dead)) == (10_000, 2_000)
