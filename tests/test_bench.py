"""The benches run as their pages say, and their last line has the figures. Sizes are tiny: what is tested is form and truth, not time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]


def bench(name: str, *arguments: str, status: int = 0) -> dict[str, Any]:
    """The last line of a bench."""
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/nb", "PYTHONPATH": str(ROOT / "platform")}
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment)
    assert done.returncode == status, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def archive(tmp_path):
    made = bench(
        "make_archive", "--claims", "230", "--notes-per-claim", "0.5", "--seed", "3", "--records-per-file", "60", "--out", str(tmp_path)
    )
    return tmp_path, made


def test_archive_is_what_its_truth_says(archive):
    from nosology import readers
    from nosology.records import RawClaim, RawDocument, RawRemittance

    folder, made = archive
    truth = pq.read_table(folder / "truth.parquet").to_pylist()
    files = {str(path.relative_to(folder / "archive")) for path in (folder / "archive").rglob("*") if path.is_file()}
    assert {row["file"] for row in truth} == files and len(files) == made["files"] > 7
    assert made["records"] == len(truth) == 230 + 46 + 115  # claims, an answer to each of FHIR's, notes
    assert len({(row["kind"], row["id"]) for row in truth}) == len(truth)
    for name in files:
        due = [row["id"] for row in truth if row["file"] == name]
        assert len(due) <= 60
        path = folder / "archive" / name
        with open(path, "rb") as stream:
            read = list(readers.read_file(readers.SourceFile(str(path), path.name, "0" * 64, path.stat().st_size), stream))
        ids = {RawClaim: "claim_id", RawDocument: "document_id", RawRemittance: "payer_claim_id"}
        found = [getattr(row, ids[type(row)]) for row in read]
        assert [one for one in found if not one.endswith("/NTE")] == due


def test_archive_is_the_same_from_the_same_seed(archive, tmp_path):
    def digests(folder):
        files = sorted(path for path in (folder / "archive").rglob("*") if path.is_file())
        return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    folder, _ = archive
    same = ("--claims", "230", "--notes-per-claim", "0.5", "--records-per-file", "60")
    bench("make_archive", *same, "--seed", "3", "--out", str(tmp_path / "again"))
    bench("make_archive", *same, "--seed", "4", "--out", str(tmp_path / "other"))
    assert digests(folder) == digests(tmp_path / "again") != digests(tmp_path / "other")


def test_fhir_of_the_archive_is_valid(archive):
    pytest.importorskip("fhir.resources")
    from fhir.resources.R4B import get_fhir_model_class

    folder, _ = archive
    for path in (folder / "archive" / "fhir").iterdir():
        for line in path.read_bytes().splitlines():
            resource = json.loads(line)
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def test_ingest():
    pytest.importorskip("pyx12")
    pytest.importorskip("fhir.resources")
    found = bench("ingest", "--claims", "160", "--rounds", "1", "--ledger-rounds", "1", "--ledger-claims", "200", "--claims-per-file", "50")
    assert {"x12_ratio", "fhir_ratio", "ledger_overhead"} <= found.keys()
    assert found["x12_per_second"].keys() == {"nosology", "pyx12", "segment_split"}
    assert found["fhir_per_second"].keys() == {"nosology", "fhir.resources", "orjson"}
    assert all(rate > 0 for rates in ("x12_per_second", "fhir_per_second") for rate in found[rates].values())


def test_scale():
    found = bench("scale", "--sizes", "100,300", "--records-per-file", "40", "--workers", "1")
    assert {"memory_growth", "rate_ratio"} <= found.keys()
    assert [size["claims"] for size in found["sizes"]] == [100, 300]
    for size in found["sizes"]:
        assert (size["lost"], size["doubled"], size["dead"]) == (0, 0, 0)
        assert size["driver_mb"] > 20 and size["worker_mb"] > 20


def test_scale_sees_a_lost_and_a_doubled_record(tmp_path, monkeypatch):
    """The check itself: an output that lacks a file, and one that has a record which the truth does not know."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import make_archive
    import scale

    made = make_archive.make(tmp_path / "a", 40, 0.5, seed=1, records_per_file=15)
    scale.drive(str(tmp_path / "a" / "archive"), str(tmp_path / "out"), 1)
    assert scale.differences(tmp_path / "a" / "truth.parquet", tmp_path / "out") == {"lost": 0, "doubled": 0}
    truth = pq.read_table(tmp_path / "a" / "truth.parquet")
    pq.write_table(truth.slice(3), tmp_path / "less.parquet")
    assert scale.differences(tmp_path / "less.parquet", tmp_path / "out") == {"lost": 0, "doubled": 3}
    more = make_archive.make(tmp_path / "b", 60, 0.5, seed=1, records_per_file=15)
    lost = more["records"] - made["records"]
    assert scale.differences(tmp_path / "b" / "truth.parquet", tmp_path / "out") == {"lost": lost, "doubled": 0}


def test_restore():
    found = bench("restore", "--rows", "240000")
    assert {"seconds", "peak_mb"} <= found.keys()
    assert (found["rows_done"], found["rows_left"]) == (found["killed"]["rows_done"], found["epoch"]["rows_left"])
    assert found["rows_done"] + found["rows_left"] == 288_000 and found["manifests"] > 1000


def test_kills_on_ours_and_on_a_peer():
    found = bench("peer_checkpoint", "--rows", "300", "--sinks", "ours,parquet")
    assert (found["ours"]["lost"], found["ours"]["doubled"], found["ours"]["kills"]) == (0, 0, 2)
    assert found["parquet"].keys() == found["ours"].keys()
