"""Counts against an independent count of the raw files: plain text, json and csv, none of the readers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from nosology.distributed.stages import read_output
from nosology.records import TABLES

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "claims"
SYNTHEA = ("patients", "encounters", "conditions", "procedures", "claims")
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
    held = sum(kinds.count(kind) for kind in ("Patient", "Encounter", "Condition", "Procedure", "Claim", "ExplanationOfBenefit")) + notes
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
    for path in paths:
        found = read(path.read_bytes(), path.name)
        assert probe(path.read_bytes(), path.name) == found.format == name, path.name
        assert (found.counts.records, found.counts.notes, found.counts.skipped) == count(path), path.name
        assert len(found.of("RawDocument")) == found.counts.notes
        assert found.counts.dead == 0


FHIR_TABLES = {
    "Patient": "patients", "Encounter": "encounters", "Condition": "conditions", "Procedure": "procedures", "DocumentReference": "documents", "Claim": "claims",
}  # fmt: skip


def rows_x12(path: Path) -> Counter[str]:
    found = Counter(piece.strip()[:4] for piece in content(path).replace("\n", "").split("~"))
    return Counter(claims=found["CLM*"], remittances=found["CLP*"], documents=count_x12(path)[1])


def rows_fhir(path: Path) -> Counter[str]:
    kinds = [json.loads(line)["resourceType"] for line in content(path).splitlines()]
    return Counter(FHIR_TABLES[kind] for kind in kinds if kind in FHIR_TABLES)


def rows_rif(path: Path) -> Counter[str]:
    return Counter({"patients" if path.name.startswith("beneficiary") else "claims": count_rif(path)[0]})


def rows_synthea(path: Path) -> Counter[str]:
    return Counter({path.stem: count_synthea(path)[0]})


def rows_hl7v2(path: Path) -> Counter[str]:
    text = re.sub(r"\r\n?", "\n", content(path))
    found = Counter(line[:4] for line in text.split("\n"))
    messages = [message for message in re.split(r"(?m)^(?=MSH\|)", text)[1:] if re.match(r"MSH(\|[^|\n]*){7}\|DFT\b", message)]
    charged = [re.findall(r"(?m)^FT1(?:\|[^|\n]*){5}\|([^|\n]*)", message) for message in messages]
    claims = sum(bool(kinds) and set(kinds) <= {"CG"} for kinds in charged)
    held = {"patients": "PID|", "encounters": "PV1|", "conditions": "DG1|", "procedures": "PR1|"}
    return Counter(documents=count_hl7v2(path)[1], claims=claims, **{table: found[segment] for table, segment in held.items()})


def rows_jsonl(path: Path) -> Counter[str]:
    return Counter(documents=count_jsonl(path)[1])


ROWS: dict[str, Callable[[Path], Counter[str]]] = {
    "x12": rows_x12, "fhir": rows_fhir, "rif": rows_rif, "synthea": rows_synthea, "hl7v2": rows_hl7v2, "jsonl": rows_jsonl,
}  # fmt: skip
RUNS = [[one] for one in FOLDERS if one[2].is_relative_to(SHARED)] + [[one for one in FOLDERS if not one[2].is_relative_to(SHARED)]]


@pytest.mark.parametrize("folders", RUNS, ids=[*(run[0][0] for run in RUNS[:-1]), "all formats of the repository"])
def test_the_command_counts_what_an_independent_count_finds(folders: list[Any], tmp_path: Path) -> None:
    """`nosology ingest` as a user types it: its last line, and the tables that it leaves on disk."""
    if not all(folder.exists() for _, _, folder in folders):
        pytest.skip("no ../shared here, as in a clean clone; the samples of the repository are counted by the last of these tests")
    expected, rows, by_format = Counter[str](), Counter[str](), Counter[str]()
    unlike: dict[bytes, Counter[str]] = {}  # rows of files with the same content have the same keys
    for name, count, folder in folders:
        for path in (path for path in folder.rglob("*") if path.is_file()):
            records, notes, skipped = count(path)
            expected += Counter(files=1, records=records, notes=notes, skipped=skipped)
            by_format[name] += records
            rows += (found := ROWS[name](path))
            unlike[path.read_bytes()] = found
    assert by_format and all(by_format.values())
    out = tmp_path / "out"
    inputs = [part for _, _, folder in folders for part in ("--in", os.path.relpath(folder, ROOT))]
    command = [Path(sys.executable).with_name("nosology"), "ingest", *inputs, "--out", out, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert {key: last[key] for key in ("files", "records", "notes", "skipped", "dead")} == {
        **{key: expected[key] for key in ("files", "records", "notes", "skipped")},
        "dead": 0,
    }
    assert last["by_format"] == by_format
    for table in TABLES:
        on_disk = read_output(str(out), table)
        assert on_disk.num_rows == rows[table], table
        keys = set(zip(on_disk["source_digest"].to_pylist(), on_disk["source_row"].to_pylist(), strict=True))
        assert len(keys) == sum(found[table] for found in unlike.values()), f"{table}: each record is there once"
    assert read_output(str(out), "dead").num_rows == 0


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
