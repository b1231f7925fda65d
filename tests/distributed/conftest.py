from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from nosology.distributed import sink
from nosology.distributed.coverage import PlannedFile, Tally

sys.path.append(str(Path(__file__).parent))  # for ledger_sample and toy


def planned(name: str, num_units: int) -> PlannedFile:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return PlannedFile(digest, f"/in/{name}", digest, num_units, "rows", "rows", "jsonl", num_units)


SCHEMA = pa.schema([
    ("source_digest", pa.string()), ("source_row", pa.int64()), ("source_format", pa.string()), ("n", pa.int64()), ("text", pa.string())
])  # fmt: skip


def write_run(out: str, rows: int, files: int, secret: str = "text") -> None:
    """A finished run of another verb: a table `numbers` that a stage can read."""
    plan = [planned(f"file-{number}", rows // files) for number in range(files)]
    ledger = sink.open_ledger(out, "make", {"toy": "1"}, plan, 50, {"numbers": SCHEMA})
    writer = ledger.writer({"numbers": SCHEMA})
    for interval in list(ledger.pending()):
        made = [
            {"source_digest": plan[interval.file].digest, "source_row": row, "n": interval.file * (rows // files) + row, "text": secret}
            for row in range(interval.start, interval.stop)
        ]
        attempt = writer.begin(interval)
        attempt.add("numbers", pa.Table.from_pylist([{**r, "source_format": "jsonl"} for r in made], schema=SCHEMA))
        commit = attempt.commit(Tally(records=len(made), ok=len(made)))
        assert commit is not None
        ledger.accept(commit)
    ledger.finish()


@pytest.fixture(scope="session")
def make_run():
    return write_run


@pytest.fixture
def make_plan():
    return planned
