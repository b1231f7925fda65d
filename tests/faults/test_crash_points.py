"""A process is killed at every named point of the commit protocol; the same command ends with every key once."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import crash_points
import drivers
import pyarrow.parquet as pq
import pytest
from drivers import STEPS, Nursery
from nosology import storage
from nosology.distributed import sink, upkeep
from nosology.distributed.stages import read_output
from oracle import WHOLE, Counts

# What has to have happened before: manifests to find, parts of a dead attempt to sweep.
BEFORE = {"harvest": "manifest.created:2", "sweep": "manifest.before_create:2"}
HITS = {"table": 2, "part": 3, "dead": 2, "manifest": 2, "publish_part": 3}
POINTS = [(backend, point) for backend in ("local", "s3") for point in crash_points.points(local=backend == "local")]
if not WHOLE:  # on S3 the moment before a put is the one after the put before it
    POINTS = [(backend, point) for backend, point in POINTS if backend == "local" or not point.endswith("before_create")]


def expected(source: str) -> Counter[tuple[Any, ...]]:
    """Keys by table, from plain Python."""
    keys: Counter[tuple[Any, ...]] = Counter()
    for file in storage.list_files(source):
        data = storage.read_bytes(file)
        digest = hashlib.sha256(data).hexdigest()
        for row, line in enumerate(data.splitlines()):
            n = json.loads(line)["n"]
            good = n % 11 and n % 7
            keys["doubles" if good else "dead", digest, row] += 1
            if good and n % 2:
                keys["odds", digest, row] += 1
    return keys


def keys_of(out: str) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for table in ("doubles", "odds", "dead"):
        rows = read_output(out, table)
        found.update((table, *key) for key in zip(rows["source_digest"].to_pylist(), rows["source_row"].to_pylist(), strict=True))
    return found


def published(to: str) -> Counter[tuple[Any, ...]]:
    """All Parquet files of the folders, as any reader takes them; their list must name the same."""
    found: Counter[tuple[Any, ...]] = Counter()
    for table in ("doubles", "odds", "dead"):
        files = {uri.rsplit("/", 1)[-1]: uri for uri in storage.list_files(storage.join(to, table))}
        (listing,) = (name for name in files if name.endswith(".json"))
        assert sorted(storage.read_json(files.pop(listing))["files"]) == sorted(files)
        for uri in files.values():
            rows = pq.read_table(io.BytesIO(storage.read_bytes(uri)), columns=["source_digest", "source_row"])
            found.update((table, *key) for key in zip(rows["source_digest"].to_pylist(), rows["source_row"].to_pylist(), strict=True))
    return found


def check(counts: Counts, source: str, out: str, to: str) -> None:
    wanted = expected(source)
    counts.compare(wanted, keys_of(out))
    counts.compare(wanted, published(to))
    proof = upkeep.verify(out)
    assert proof.faults == [] and proof.finished
    parts = {part.uri.rsplit("/", 1)[-1] for part in sink.snapshot(out).parts}
    there = {uri.rsplit("/", 1)[-1] for table in ("doubles", "odds", "dead") for uri in storage.list_files(storage.join(out, table))}
    assert there == parts | {"empty.parquet"}  # nothing of killed attempts is left for other readers of the folder


def hits(point: str) -> list[int]:
    """At which time that a process comes to the point it is killed: one in between; in the whole form also the first, and a late one."""
    thing = point.partition(".")[0]
    some = HITS.get(thing, 1)
    return sorted({1, some, some + 3} if thing in ("part", "manifest") else {1, some}) if WHOLE else [some]


@pytest.mark.parametrize(("backend", "point", "hit"), [(backend, point, hit) for backend, point in POINTS for hit in hits(point)])
def test_killed_at(backend: str, point: str, hit: int, nursery: Nursery, counts: Counts, tmp_path: Path, request: Any) -> None:
    root = str(tmp_path / "store") if backend == "local" else f"s3://archive/{tmp_path.name}"
    if backend == "s3":
        request.getfixturevalue("store")
    source, out, to = (storage.join(root, name) for name in ("in", "out", "lake"))
    drivers.write_rows(source, 30 if backend == "local" else 20 if WHOLE else 12)  # a request to the server takes some 9 ms
    marks = tmp_path / "marks"
    marks.mkdir()

    def run(crash: str, steps: tuple[str, ...] = STEPS) -> int:
        environment = {"NOSOLOGY_CRASH": crash, "NOSOLOGY_CRASH_FOLDER": str(marks)}
        if backend == "s3":
            environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return nursery.run("toy", environment, source=source, out=out, to=to, steps=steps)

    before = BEFORE.get(point.split(".")[0])
    if before:
        assert run(before, ("run",)) == -9
    assert run(f"{point}:{hit}") == -9, f"{point} was not reached: {sorted(path.name for path in marks.iterdir())}"
    counts.points.add((backend, "toy", point))
    if storage.exists(storage.join(out, "job.json")):  # what is there already is proved, and nothing of it is there twice
        assert upkeep.verify(out).faults == []
    done = ("run", "publish") if point.startswith(("publish", "gc")) or not WHOLE else STEPS[:-1]
    drivers.toy(source, out, to, done)
    check(counts, source, out, to)
    upkeep.collect_garbage(out, 0.0)
    assert not [uri for uri in storage.list_files(out, hidden=True) if uri.rsplit("/", 1)[-1].startswith(".")]
    counts.compare(expected(source), keys_of(out))
    if WHOLE:  # done again, nothing changes
        again = {uri: storage.version(uri) for uri in storage.list_files(to)}
        drivers.toy(source, out, to, ("run", "publish", "gc"))
        assert {uri: storage.version(uri) for uri in storage.list_files(to)} == again
        check(counts, source, out, to)
