"""Cuts the sample archive and its labels from the sample data: `python examples/make_archive.py DATA_FOLDER`.

DATA_FOLDER holds claims/ and coding/ as examples/README.md names their sources. The same input gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import sys
from pathlib import Path

import zstandard

NUM_DOCUMENTS = 170  # at most: patients with the fewest notes first
NUM_TRAIN_NOTES = 20
DATE_OF_SERVICE = "2026-05-04"  # ACI-Bench gives none; the silver labels are of fiscal year 2026
RIF = ("beneficiary_2015", "carrier", "dme", "hha", "hospice", "inpatient", "outpatient", "pde", "snf")


def write(path: Path, data: bytes) -> None:
    """Writes a file; its ending says whether it is compressed. Neither gzip's time stamp nor its file name goes in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data, 9, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(data)
    path.write_bytes(data)


def cut_fhir(source: Path, target: Path) -> None:
    """Patient, Encounter, Condition and DocumentReference lines of the patients with the fewest notes."""
    names = {kind: source / f"{kind}.000.ndjson" for kind in ("Patient", "Encounter", "Condition", "DocumentReference")}
    notes: dict[str, int] = {}
    for line in names["DocumentReference"].read_text().splitlines():
        owner = json.loads(line)["subject"]["reference"]
        notes[owner] = notes.get(owner, 0) + 1
    chosen: set[str] = set()
    total = 0
    for owner in sorted(notes, key=lambda name: (notes[name], name)):
        if total + notes[owner] > NUM_DOCUMENTS:
            break
        chosen.add(owner)
        total += notes[owner]
    for kind, path in names.items():
        kept = []
        for line in path.read_text().splitlines():
            resource = json.loads(line)
            owner = f"Patient/{resource['id']}" if kind == "Patient" else resource["subject"]["reference"]
            if owner in chosen:
                kept.append(line + "\n")
        ending = ".gz" if kind == "Encounter" else ""
        write(target / f"{kind}.000.ndjson{ending}", "".join(kept).encode())


def cut_x12(source: Path, target: Path) -> None:
    """All files of the implementation guides' examples; one folder as gzip, one as zstd."""
    endings = {"837_005010X223A3": ".gz", "837_004010X096A1": ".zst"}
    for path in sorted(source.rglob("*.83*")):
        write(target / path.parent.name / (path.name + endings.get(path.parent.name, "")), path.read_bytes())


def cut_notes(source: Path, labels: Path, target: Path, label_target: Path) -> None:
    """The validation notes of the silver labels, and every third of the training ones; their labels go beside the archive."""
    silver = {row["id"]: row for row in map(json.loads, labels.read_text().splitlines())}
    train = sorted(name for name, row in silver.items() if row["split"] == "train")[::3][:NUM_TRAIN_NOTES]
    chosen = train + sorted(name for name, row in silver.items() if row["split"] == "valid")
    notes: dict[str, str] = {}
    people: dict[str, dict[str, str]] = {}
    for split in ("train", "valid"):
        with open(source / f"{split}.csv", newline="") as file:
            notes |= {row["encounter_id"]: row["note"] for row in csv.DictReader(file)}
        with open(source / f"{split}_metadata.csv", newline="") as file:
            people |= {row["encounter_id"]: row for row in csv.DictReader(file)}
    rows = []
    for name in chosen:
        sex, years = (people[name][column].strip() for column in ("patient_gender", "patient_age"))
        age = int(years) if years.isdigit() else None
        note = {"id": name, "text": notes[name], "sex": sex or None, "age": age, "date_of_service": DATE_OF_SERVICE}
        rows.append(json.dumps(note, ensure_ascii=False) + "\n")
    write(target / "notes.jsonl", "".join(rows).encode())
    write(label_target, "".join(json.dumps(silver[name]) + "\n" for name in chosen).encode())


def main() -> None:
    data, here = Path(sys.argv[1]), Path(__file__).parent
    archive, labels = here / "archive", here / "labels" / "aci_icd10_silver.jsonl"
    shutil.rmtree(archive, ignore_errors=True)
    cut_fhir(data / "claims/fhir/synthea_bulk_10", archive / "fhir")
    cut_x12(data / "claims/x12/linuxforhealth", archive / "x12")
    for name in RIF:
        write(archive / "medicare_rif" / f"{name}.csv", (data / "claims/medicare_rif/rif-synthea" / f"{name}.csv").read_bytes())
    cut_notes(data / "coding/aci_bench", data / "coding/aci_icd10_silver/labels.jsonl", archive / "aci_bench", labels)
    size = sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())
    print(f"{archive}: {size:,} bytes")


if __name__ == "__main__":
    main()
