"""The table of originals: written by an ingest that asks for it, read by no other stage."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nosology.config import Config, InputConfig
from nosology.distributed import sink, source
from nosology.distributed.coverage import Interval, PlannedFile, Tally
from nosology.distributed.isolation import Guard
from nosology.distributed.work import IngestWork
from nosology.readers.write import write_file
from nosology.records import Original, from_dict, ingest_schemas

ARCHIVE = Path(__file__).parents[2] / "examples" / "archive" / "x12"


def tables(path: Path, keep: bool) -> tuple[dict[str, pa.Table], Tally, PlannedFile]:
    """What an ingest makes of a file, without a cluster."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    file = PlannedFile(digest, str(path), digest, 1, "archive", "", "x12", len(data))
    work = IngestWork(Config.model_validate({"ingest": {"keep_originals": keep}}).ingest, InputConfig.model_validate({}), [file])
    work.open()
    tally = Tally()
    parts: dict[str, list[pa.Table]] = {}
    for name, table in work.produce(Interval(0, 0, 1), tally, [], Guard(lambda: None)):
        parts.setdefault(name, []).append(table)
    return {name: pa.concat_tables(several) for name, several in parts.items()}, tally, file


@pytest.fixture(scope="module")
def sample() -> Path:
    return next(path for path in sorted(ARCHIVE.rglob("*.837")))


def test_an_ingest_keeps_them_only_when_asked(sample: Path) -> None:
    without, plain, _ = tables(sample, keep=False)
    with_them, tally, _ = tables(sample, keep=True)
    originals = with_them.pop("originals")
    assert without == with_them and (tally.records, tally.skipped) == (plain.records, plain.skipped)
    assert b"".join(write_file(from_dict(Original, row) for row in originals.to_pylist())) == sample.read_bytes()


def test_no_stage_reads_them_unless_it_names_them(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, tally, file = tables(sample, keep=True)
    schemas = ingest_schemas(True, False)
    out = str(tmp_path / "run")
    ledger = sink.open_ledger(out, "ingest", {"x": "1"}, [file], 1, schemas)
    (interval,) = ledger.pending()
    attempt = ledger.writer(schemas).begin(interval)
    for name, table in made.items():
        attempt.add(name, table)
    tally.ok = tally.records
    commit = attempt.commit(tally)
    assert commit is not None and ledger.accept(commit)
    ledger.finish()
    assert {part.table for part in source.plan([out])} >= {"claims", "originals"}

    from nosology.distributed import stages
    from nosology.verbs import archive

    asked: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def run_stage(*args: Any, **named: Any) -> None:
        asked.update(named)
        raise Stop

    monkeypatch.setattr(stages, "run_stage", run_stage)
    config = Config.model_validate({"deid": {"key_file": str(tmp_path / "key")}})
    with pytest.raises(Stop):
        archive.deidentify(config, out, str(tmp_path / "clean"), None)
    assert {part.table for part in asked["planned"]} == {"claims"} | (set(made) - {"originals"})
