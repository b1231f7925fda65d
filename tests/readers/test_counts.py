"""Counts against an independent count of the raw files: plain text, json and csv, none of the readers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from nosology import readers

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "claims"
SYNTHEA = ("patients", "encounters", "conditions", "claims")
Count = tuple[int, int, int]  # records, notes, skipped


def content(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.decode("utf-8-sig")


def count_x12(path: Path) -> Count:
    found = [piece.strip() for piece in content(path).replace("\n", "").split("~")]
    claims = notes = 0
    noted = True
    for piece in found:
        if piece.startswith(("CLM*", "CLP*")):
            claims, noted = claims + 1, False
        elif piece.startswith("NTE*") and not noted:
            notes, noted = notes + 1, True
    return claims, notes, 0


def count_fhir(path: Path) -> Count:
    kinds = [json.loads(line)["resourceType"] for line in content(path).splitlines()]
    notes = kinds.count("DocumentReference")
    held = sum(kinds.count(kind) for kind in ("Patient", "Encounter", "Condition", "Claim", "ExplanationOfBenefit")) + notes
    return held, notes, len(kinds) - held


def count_rif(path: Path) -> Count:
    text = content(path)
    rows = list(csv.DictReader(io.StringIO(text), delimiter="|"))
    if "|" not in text:
        return 0, 0, len(rows)
    return (len({row["CLM_ID"] for row in rows}) if "CLM_ID" in rows[0] else len(rows)), 0, 0


def count_synthea(path: Path) -> Count:
    rows = sum(1 for _ in csv.reader(io.StringIO(content(path)))) - 1
    return (rows, 0, 0) if path.stem in SYNTHEA else (0, 0, rows)


def count_hl7v2(path: Path) -> Count:
    text = re.sub(r"\r\n?", "\n", content(path))
    messages = re.split(r"(?m)^(?=MSH\|)", text)[1:]
    notes = sum(bool(re.search(r"(?m)^OBX\|[^|\n]*\|(TX|FT)\|[^|\n]*\|[^|\n]*\|[^|\s]", message)) for message in messages)
    return len(messages), notes, 0


def count_jsonl(path: Path) -> Count:
    rows = [json.loads(line) for line in content(path).splitlines()]
    return len(rows), sum(bool(row["text"]) for row in rows), 0


FOLDERS: list[tuple[str, Callable[[Path], Count], Path]] = [
    ("x12", count_x12, SHARED / "x12/linuxforhealth"),
    ("fhir", count_fhir, SHARED / "fhir/synthea_bulk_10"),
    ("rif", count_rif, SHARED / "medicare_rif"),
    ("synthea", count_synthea, SHARED / "synthea_csv"),
    ("hl7v2", count_hl7v2, SHARED / "hl7v2"),
    ("x12", count_x12, ROOT / "examples/archive/x12"),
    ("fhir", count_fhir, ROOT / "examples/archive/fhir"),
    ("rif", count_rif, ROOT / "examples/archive/medicare_rif"),
    ("jsonl", count_jsonl, ROOT / "examples/archive/aci_bench"),
    ("synthea", count_synthea, ROOT / "tests/data/synthea"),
    ("hl7v2", count_hl7v2, ROOT / "tests/data/hl7v2"),
]


@pytest.mark.parametrize(("name", "count", "folder"), FOLDERS, ids=[str(folder.relative_to(ROOT.parent)) for _, _, folder in FOLDERS])
def test_counts_equal_an_independent_count(name: str, count: Callable[[Path], Count], folder: Path, read, probe) -> None:
    if not folder.exists() and folder.is_relative_to(SHARED):
        pytest.skip("no shared samples here")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert paths
    done = []
    for path in paths:
        found = read(path.read_bytes(), path.name)
        assert probe(path.read_bytes(), path.name) == found.format == name, path.name
        assert (found.counts.records, found.counts.notes, found.counts.skipped) == count(path), path.name
        assert len(found.of("RawDocument")) == found.counts.notes
        done.append((found.format, found.counts))
    totals = readers.summarise(done)
    expected = [sum(column) for column in zip(*map(count, paths), strict=True)]
    assert [totals[key] for key in ("records", "notes", "skipped")] == expected
    assert totals["files"] == len(paths) and totals["dead"] == 0
    assert totals["by_format"] == {name: {key: totals[key] for key in ("files", "records", "notes", "dead", "skipped")}}


def test_archive_has_notes_and_labels_of_the_same_encounters() -> None:
    notes = {
        json.loads(line)["id"]: json.loads(line) for line in (ROOT / "examples/archive/aci_bench/notes.jsonl").read_text().splitlines()
    }
    labels = [json.loads(line) for line in (ROOT / "examples/labels/aci_icd10_silver.jsonl").read_text().splitlines()]
    assert [row["id"] for row in labels] == list(notes)
    assert sum(row["split"] == "valid" for row in labels) == sum(row["split"] == "train" for row in labels) == 20
    for row in labels:
        assert all(code["evidence"] in notes[row["id"]]["text"] for code in row["codes"]), row["id"]
    assert sum(path.stat().st_size for path in (ROOT / "examples/archive").rglob("*") if path.is_file()) < 6_000_000
