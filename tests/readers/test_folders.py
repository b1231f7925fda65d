"""Every file of the shared samples at once; the same cut in half, with a flipped byte, under a wrong name. Files of the repository stand in
where there are no shared ones. What is damaged is dead or told before work; what is not is read as before."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nosology import readers
from nosology.config import IngestConfig, InputConfig
from nosology.distributed.source import plan_archive
from nosology.errors import InputError
from test_counts import FOLDERS, SHARED

CONFIG, COLUMNS = IngestConfig(), InputConfig()
HERE = [one for one in FOLDERS if one[2].exists() and one[2].is_relative_to(SHARED) == SHARED.exists()]
FILES = {path: (name, count) for name, count, folder in HERE for path in sorted(folder.rglob("*")) if path.is_file()}
SMALL = [path for path in FILES if path.stat().st_size < 2_000_000]
PACKED = (".gz", ".zst")
MOST = 12  # rows that one source record becomes in these files


def read(path: Path, data: bytes, name: str | None = None) -> readers.Reading:
    import io

    source = readers.SourceFile(str(path), name or path.name, hashlib.sha256(data).hexdigest(), len(data))
    return readers.read_file(source, io.BytesIO(data), CONFIG, COLUMNS)


def content(item: Any) -> Any:
    """The item without what depends on the file's digest."""
    import dataclasses

    if not dataclasses.is_dataclass(item) or isinstance(item, (type, readers.Skipped)):
        return item
    return dataclasses.replace(item, source_digest="", source_row=0)


def test_all_at_once(tmp_path: Path) -> None:
    """One plan over one folder that holds them all, told by content alone; counts by an independent count of the raw files."""
    folder = tmp_path / "all"
    folder.mkdir()
    for number, path in enumerate(FILES):
        (folder / f"{number:04d}").symlink_to(path)
    archive = plan_archive([str(folder)], CONFIG, COLUMNS)
    assert len(archive.files) == len(FILES) and not archive.unreadable
    assert archive.duplicates == len(FILES) - len({hashlib.sha256(path.read_bytes()).digest() for path in FILES})
    found, expected, formats = Counter[str](), Counter[str](), Counter[str]()
    for planned, (path, (name, count)) in zip(archive.files, FILES.items(), strict=True):
        assert planned.format == name, path.name
        with path.open("rb") as stream:
            reading = readers.read_file(readers.SourceFile(planned.uri, planned.uri[-4:], planned.digest, planned.size_bytes), stream)
            rows = Counter(item.source_row for item in reading if not isinstance(item, readers.Skipped))
        assert set(rows.values()) <= {1}, "a key twice"
        records, notes, skipped = count(path)
        expected += Counter(records=records, notes=notes, skipped=skipped)
        found += Counter(records=reading.counts.records, notes=reading.counts.notes, skipped=reading.counts.skipped)
        formats += reading.formats
        assert reading.counts.dead == 0
    assert found == expected
    assert formats.keys() == {name for name, _, _ in HERE}


def dead(reading: readers.Reading) -> tuple[list[Any], list[str]]:
    items = list(reading)
    letters = [item.reason for item in items if type(item).__name__ == "DeadLetter"]
    assert set(letters) <= readers.REASONS.keys() and len(letters) == reading.counts.dead
    return [content(item) for item in items if type(item).__name__ != "DeadLetter"], letters


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_cut_in_half(path: Path) -> None:
    data = path.read_bytes()
    whole, none = dead(read(path, data))
    assert none == []
    for share in (0.25, 0.5, 0.9):
        half = data[: int(len(data) * share)]
        items, letters = dead(read(path, half))
        # what comes out is how the whole begins, but for the record that was cut, which can look whole (HL7 v2 and RIF have no end mark)
        same = next((at for at, (a, b) in enumerate(zip(items, whole, strict=False)) if a != b), min(len(items), len(whole)))
        last = len(items) - same
        assert last <= (6 if FILES[path][0] == "hl7v2" else 1), f"{last} rows that were not in the whole"
        if FILES[path][0] in ("x12", "fhir") or path.suffix in PACKED:
            assert len(letters) == 1 or items == whole[: len(items)], "cut between two lines"


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_flipped_byte(path: Path) -> None:
    """One byte costs its record, at most the rest of the file where separators or a compressed stream break; never another's content."""
    data = path.read_bytes()
    whole, _ = dead(read(path, data))
    keys = Counter(map(repr, whole))
    head = data.find(b"\n") + 1  # of a table its header: a name that is another drops its column, and nothing can tell
    rng = random.Random(path.name)
    for _ in range(6):
        place = rng.randrange(len(data))
        items, letters = dead(read(path, data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]))
        if path.suffix in PACKED:
            assert items == whole or letters, "a checksum, or a header, that is wrong"
        elif place >= max(head, 200):
            strange = Counter(map(repr, items)) - keys
            lost = keys - Counter(map(repr, items))
            assert strange.total() <= MOST, "one record has the byte"
            assert lost.total() <= MOST or letters, "rows lost without a dead letter"


WRONG = (".837", ".json", ".parquet", ".csv", ".hl7", ".zip", ".gz", "")


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_under_a_wrong_name(path: Path) -> None:
    data = path.read_bytes()
    whole = dead(read(path, data))
    for ending in WRONG:
        found = read(path, data, f"file{ending}")
        assert found.format == FILES[path][0] and dead(found) == whole, ending


def test_a_folder_of_damaged_files(tmp_path: Path) -> None:
    """All of them in one folder: some stop the job before work, all of those named at once; the others are read with --allow-unreadable."""
    changes: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda data: data[: len(data) // 2],
        "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x80]) + data[len(data) // 2 + 1 :],
        "renamed": lambda data: data,
    }
    planned: dict[str, int] = {}
    for number, path in enumerate(SMALL):
        for change, make in changes.items():
            data = make(path.read_bytes())
            (tmp_path / f"{number:04d}-{change}.{random.Random(number).choice(['parquet', 'zip', 'tif'])}").write_bytes(data)
            planned[change] = planned.get(change, 0) + 1
    (tmp_path / "scan.tif").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "half.parquet").write_bytes(b"PAR1" + b"x" * 50)
    with pytest.raises(InputError) as caught:
        plan_archive([str(tmp_path)], CONFIG, COLUMNS)
    assert "scan.tif" in str(caught.value) and "half.parquet" in str(caught.value)
    archive = plan_archive([str(tmp_path)], IngestConfig(allow_unreadable=True), COLUMNS)
    assert {Path(name).name for name in archive.unreadable} >= {"scan.tif", "half.parquet"}
    assert len(archive.files) + len(archive.unreadable) == sum(planned.values()) + 2
    total = Counter[str]()
    for file in archive.files:
        items, letters = dead(read(Path(file.uri), Path(file.uri).read_bytes()))
        total += Counter(rows=len(items), dead=len(letters), silent=not items and not letters)
    assert total["dead"] > 0 and total["rows"] > 100 and not total["silent"]
