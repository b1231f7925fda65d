"""`nosology ingest` as a user types it, on one folder: every file of the shared samples at once; the same cut in half, with a flipped byte,
under a wrong name, beside files that nobody can read. Files of the repository stand in where there are no shared ones.

What is expected of each file is what the table in docs/bad_input.md says of its fault; counts are by plain counting of the raw files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nosology import readers
from nosology.distributed.stages import read_output
from nosology.records import TABLES
from test_bad_input import CASES, table
from test_counts import ROOT, ROWS
from test_folders import FILES, SMALL

Report = dict[str, Any]
STOPS = {fault: case for fault, case in CASES.items() if table()[fault][0] == "stops" and not case.options}
WRONG = (".parquet", ".zip", ".tif", ".gz", ".json", ".837", ".hl7", ".txt", "")


def nosology(*words: object) -> tuple[int, Report, str]:
    """Exit status, last line of stdout, stderr."""
    command = [str(Path(sys.executable).with_name("nosology")), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def proved(out: Path, files: int) -> None:
    """`nosology verify`: every file is covered, every part is what its manifest says, the input is what was read."""
    status, proof, _ = nosology("verify", out, "--inputs")
    assert (status, proof["faults"], proof["finished"], proof["units"], proof["covered"]) == (0, [], True, files, files)


def rows_of(out: Path) -> dict[str, Counter[str]]:
    """Rows in each table by the digest of the file, dead letters among them; a key comes once."""
    found: dict[str, Counter[str]] = {}
    for name in (*TABLES, "dead"):
        held = read_output(str(out), name)
        keys = list(zip(held["source_digest"].to_pylist(), held["source_row"].to_pylist(), strict=True))
        assert len(set(keys)) == len(keys), f"{name}: each record is there once"
        for digest, _ in keys:
            found.setdefault(digest, Counter())[name] += 1
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_file_at_once(tmp_path: Path) -> None:
    folder, out = tmp_path / "all", tmp_path / "out"
    folder.mkdir()
    expected, by_format, rows = Counter[str](), Counter[str](), Counter[str]()
    seen: set[str] = set()
    for number, (path, (name, count)) in enumerate(FILES.items()):
        if (own := digest(path.read_bytes())) in seen:  # the rows of two files with one digest have the same keys
            continue
        seen.add(own)
        (folder / f"{number:04d}-{path.name}").symlink_to(path)
        records, notes, skipped = count(path)
        expected += Counter(files=1, records=records, notes=notes, skipped=skipped)
        by_format[name] += records
        rows += ROWS[name](path)
    status, last, told = nosology("ingest", "--in", folder, "--out", out)
    assert status == 0, told
    assert {key: last[key] for key in ("files", "records", "notes", "skipped")} == dict(expected)
    assert (last["records_ok"], last["records_dead"], last["dead"], last["dead_by_reason"]) == (expected["records"], 0, 0, {})
    assert last["by_format"] == by_format and last["unreadable"] == {"count": 0, "files": []}
    assert sum(last["by_encoding"].values()) == len(seen) and last["duplicates"]["files"] == 0
    assert sum(rows_of(out).values(), Counter()) == rows
    assert {name: number for name, number in last["rows"].items() if number} == dict(rows)
    proved(out, len(seen))


@dataclass
class Damaged:
    """A damaged file: a row of docs/bad_input.md, what of it may happen besides, and how many dead letters it has."""

    path: Path
    change: str
    data: bytes
    fault: str
    besides: frozenset[str] = frozenset()
    letters: Callable[[int], bool] = lambda n: n == 1

    def reasons(self) -> set[str]:
        told = set(re.findall(r"`([a-z0-9_]+)`", table()[self.fault][1])) & readers.REASONS.keys()
        return told | self.besides


def cut(path: Path, data: bytes) -> Damaged:
    name, half = FILES[path][0], data[: len(data) // 2]
    if name in ("rif", "synthea") and b"\n" not in half:
        return Damaged(path, "cut", half, "Table cut in its header")
    if name in ("rif", "synthea"):
        return Damaged(path, "cut", half, "CSV cut in half", letters=lambda n: n <= 1)
    if name == "hl7v2":
        return Damaged(path, "cut", half, "HL7 v2 message cut in half, without a batch around it", letters=lambda n: n == 0)
    return Damaged(
        path, "cut", half, {"x12": "X12 file cut in half", "fhir": "FHIR lines cut in half"}.get(name, "JSON line that is no JSON")
    )


def flipped(path: Path, data: bytes) -> Damaged:
    """The highest bit of a letter or digit in the middle: no separator is harmed, and what is left is no UTF-8."""
    at = next(at for at in range(len(data) // 2, len(data)) if data[at : at + 1].isalnum())
    loops = frozenset({"broken_loop"} if FILES[path][0] == "x12" else ())  # claims below the subscriber that is lost
    changed = data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]
    return Damaged(path, "flipped", changed, "Bytes that are not UTF-8", loops, letters=lambda n: n >= 1 if loops else n == 1)


def damaged() -> Iterator[Damaged]:
    """Of each format the smallest, a middle and a larger file, in each way."""
    for name in sorted({name for name, _ in FILES.values()}):
        held: dict[bytes, Path] = {
            path.read_bytes(): path for path in SMALL if FILES[path][0] == name and path.suffix not in (".gz", ".zst")
        }
        found = sorted((data for data in held if len(data) < 100_000), key=len)
        if not found:  # where there are no shared samples, a format may have packed ones alone
            continue
        for data in dict.fromkeys((found[0], found[len(found) // 2], found[-1])):
            packed = gzip.compress(data)
            yield cut(held[data], data)
            yield flipped(held[data], data)
            yield Damaged(held[data], "renamed", data, "File with a wrong extension", letters=lambda n: n == 0)
            yield Damaged(held[data], "packed and cut", packed[: len(packed) // 2], "Gzip cut in half")


def test_damaged_files_and_files_that_nobody_can_read(tmp_path: Path) -> None:
    folder, out = tmp_path / "archive", tmp_path / "out"
    folder.mkdir()
    ways = {digest(one.data): one for one in damaged()}
    for number, one in enumerate(ways.values()):
        (folder / f"{number:04d}-{one.change.replace(' ', '-')}{WRONG[number % len(WRONG)]}").write_bytes(one.data)
    names = {fault: f"none-{number:02d}-{case.name}" for number, (fault, case) in enumerate(STOPS.items())}
    for fault, case in STOPS.items():
        (folder / names[fault]).write_bytes(case.data)

    status, last, told = nosology("ingest", "--in", folder, "--out", out)
    assert status == last["exit"] == 2 and f"{len(STOPS)} files cannot be read" in told and "--allow-unreadable" in told
    assert [name for name in names.values() if f"file {folder / name}" not in told] == [], "all of them at once, each with its folder"
    assert not [path.name for path in folder.iterdir() if path.name in told and not path.name.startswith("none-")]
    assert not out.exists(), "before any work"

    status, last, told = nosology("ingest", "--in", folder, "--out", out, "--allow-unreadable")
    assert status == 0, told
    partly = {fault for fault, case in STOPS.items() if case.kept}  # an archive of which one member cannot be read
    left_out = {str(folder / names[fault]) for fault in STOPS.keys() - partly}
    reported = {next((whole for whole in left_out if uri.startswith(whole)), uri) for uri in last["unreadable"]["files"]}
    assert left_out < reported and last["unreadable"]["count"] == len(STOPS)
    assert [uri.startswith(str(folder / "none-")) for uri in reported - left_out] == [True] * len(partly)
    assert last["files"] == len(ways) + len(partly)

    found = rows_of(out)
    letters: dict[str, list[str]] = {}
    dead = read_output(str(out), "dead")
    for own, reason in zip(dead["source_digest"].to_pylist(), dead["reason"].to_pylist(), strict=True):
        letters.setdefault(own, []).append(reason)
    whole = {one.path: found.get(digest(one.data), Counter()) for one in ways.values() if one.change == "renamed"}
    for own, one in ways.items():
        about = f"{one.path.name}, {one.change}"
        assert set(letters.get(own, [])) <= one.reasons(), about
        assert one.letters(len(letters.get(own, []))), about
        rows = found.get(own, Counter()) - Counter(dead=len(letters.get(own, [])))
        assert rows <= whole[one.path], f"{about}: rows that the whole has not"
        if one.change == "renamed":
            assert rows == +ROWS[FILES[one.path][0]](one.path), about
    for fault in partly:
        assert letters[digest(STOPS[fault].data)] == ["unreadable_file"] and found[digest(STOPS[fault].data)].total() == 3
    assert last["records"] == last["records_ok"] + last["dead"] and last["records_dead"] == last["dead"] == dead.num_rows
    assert last["dead_by_reason"] == Counter(dead["reason"].to_pylist())
    assert {name: number for name, number in last["rows"].items() if number} == Counter(
        {name: sum(one[name] for one in found.values()) for name in TABLES if any(one[name] for one in found.values())}
    )
    proved(out, last["files"])

    again = nosology("ingest", "--in", folder, "--out", out, "--allow-unreadable", "run.allowed_dead_share=0.01")
    assert again[0] == again[1]["exit"] == 3 and again[1]["resumed_share"] == 1.0 and again[1]["dead"] == last["dead"]
