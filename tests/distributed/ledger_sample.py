"""A ledger job of made-up units, worked on in this process."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from nosology import storage
from nosology.distributed import sink
from nosology.distributed.coverage import Tally
from nosology.distributed.stages import read_output
from nosology.records import DeadLetter, arrow_schema

SCHEMA = pa.schema([("source_digest", pa.string()), ("source_row", pa.int64()), ("source_format", pa.string()), ("by", pa.int64())])
SCHEMAS = {"rows": SCHEMA}


def open_job(out, plan, batch_rows=4, **fingerprint):
    return sink.open_ledger(out, "toy", {"model": "a", **fingerprint}, plan, batch_rows, SCHEMAS)


def fill(attempt, plan, interval):
    """Rows 0, 3, 6, … are dead letters, the others are output."""
    digest = plan[interval.file].digest
    units = range(interval.start, interval.stop)
    rows = [{"source_digest": digest, "source_row": unit, "source_format": "jsonl", "by": interval.file} for unit in units if unit % 3]
    dead = [
        {"source_digest": digest, "source_row": unit, "source_format": "jsonl", "stage": "toy", "reason": "third"}
        for unit in units
        if unit % 3 == 0
    ]
    attempt.add("rows", pa.Table.from_pylist(rows, schema=SCHEMA))
    attempt.add("dead", pa.Table.from_pylist(dead, schema=arrow_schema(DeadLetter)))
    return Tally(records=len(units), ok=len(rows), dead=Counter({"third": len(dead)} if dead else {}), formats=Counter(jsonl=len(units)))


def work(ledger, plan, interval):
    attempt = ledger.writer(SCHEMAS).begin(interval)
    return attempt.commit(fill(attempt, plan, interval))


def complete(ledger, plan):
    for interval in list(ledger.pending()):
        ledger.accept(work(ledger, plan, interval))
    ledger.finish()


def keys(out, table):
    found = read_output(out, table)
    return list(zip(found["source_digest"].to_pylist(), found["source_row"].to_pylist(), strict=True))


def assert_exact(out, plan):
    every = [(file.digest, unit) for file in plan for unit in range(file.num_units)]
    assert keys(out, "rows") == [key for key in every if key[1] % 3]  # in order of file and row, once each
    assert keys(out, "dead") == [key for key in every if key[1] % 3 == 0]
    names = {part.uri.rsplit("/", 1)[-1] for part in sink.snapshot(out).parts}
    there = {uri.rsplit("/", 1)[-1] for table in ("rows", "dead") for uri in storage.list_files(storage.join(out, table))}
    assert there == names | {"empty.parquet"}
