"""The ledger on S3 over HTTP, against a server that answers late, never, with errors, with half of a body, with old listings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import drivers
import pyarrow.parquet as pq
import pytest
from drivers import Nursery
from nosology import storage
from nosology.distributed import upkeep
from nosology.errors import InputError
from oracle import WHOLE, Counts
from s3_server import BUCKET, KINDS, Chaos, Fault, Store
from test_crash_points import check, expected, keys_of

RUN = ("run", "publish", "gc")
SCRIPTS = {
    "a bucket that is being split": [Fault("slow_down", "PUT", r"/(doubles|manifests)/", 7)],
    "an internal error beyond the client's own attempts": [Fault("internal", "PUT", r"/manifests/", 6)],
    "conflict over a manifest": [Fault("conflict", "PUT", r"/manifests/", 2)],
    "conflict over the epochs": [Fault("conflict", "PUT", r"/epoch-\d+\.json", 4)],
    "conflict over the job": [Fault("conflict", "PUT", r"/job\.json", 2), Fault("conflict", "PUT", r"/probe-", 2)],
    "answers to parts lost": [Fault("lost_answer", "PUT", r"/(doubles|odds|dead)/", 6)],
    "answers to manifests lost": [Fault("lost_answer", "PUT", r"/manifests/", 3)],
    "answers to epochs lost": [Fault("lost_answer", "PUT", r"/epoch-\d+\.json", 2)],
    "answers to job and probe lost": [Fault("lost_answer", "PUT", r"/(job\.json|probe-)", 3)],
    "answers to removals lost": [Fault("lost_answer", "DELETE", "/", 2), Fault("lost_answer", "POST", "/", 2)],
    "connections reset": [Fault("reset", method, "/out/", 3) for method in ("GET", "PUT", "HEAD")],
    "bodies cut": [Fault("cut_body", "GET", r"/out/.*\.(parquet|json)", 3), Fault("cut_body", "GET", r"/in/.*jsonl", 2)],
    "bodies short": [Fault("short_body", "GET", r"/out/.*\.(parquet|json)", 3), Fault("short_body", "GET", r"/in/.*jsonl", 2)],
    "answers late": [Fault("late_answer", "PUT", r"/manifests/|/epoch-2", 2)],
}


@pytest.fixture
def folders(store: Store, tmp_path: Path) -> tuple[str, str, str]:
    """Input, run and lake in the store."""
    root = f"s3://{BUCKET}/{tmp_path.name}"
    drivers.write_rows(storage.join(root, "in"), 12)
    return storage.join(root, "in"), storage.join(root, "out"), storage.join(root, "lake")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits one second for an answer."""
    import fsspec.config
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1}})


SHORT = (
    "conflict over a manifest",
    "conflict over the epochs",
    "answers to manifests lost",
    "answers to epochs lost",
    "bodies cut",
    "bodies short",
)


@pytest.mark.parametrize("name", SCRIPTS if WHOLE else SHORT)
def test_the_command_ends_well(name: str, folders: tuple[str, str, str], store: Store, counts: Counts, hasty: None) -> None:
    store.late_seconds = 2.0
    store.faults = [Fault(fault.kind, fault.method, fault.match, fault.times) for fault in SCRIPTS[name]]
    before = store.injected.copy()
    drivers.toy(*folders, RUN)
    assert all(fault.hits for fault in store.faults) or name == "answers to removals lost", [
        (f.kind, f.match, f.hits) for f in store.faults
    ]
    counts.faults += (store.injected - before).total()
    store.behave()
    check(counts, *folders)


@pytest.mark.parametrize("seed", range(12 if WHOLE else 1))
def test_chaos(seed: int, folders: tuple[str, str, str], store: Store, counts: Counts) -> None:
    """A share of all requests fails, in ways drawn from the seed; what the client gives up, the same command takes up again."""
    before = store.injected.copy()
    store.chaos = Chaos(seed, 0.08)
    store.stale_seconds = 2.0 if seed % 2 else 0.0
    for _ in range(6):
        try:
            drivers.toy(*folders, RUN)
            break
        except storage.StorageError:
            continue
    else:
        pytest.fail(f"seed {seed}: six runs of the command did not end it")
    counts.faults += (store.injected - before).total()
    store.behave()
    drivers.toy(*folders, RUN)
    check(counts, *folders)


def test_an_answer_that_is_lost_for_good(folders: tuple[str, str, str], store: Store, counts: Counts) -> None:
    """The manifest is there, the worker cannot know: it must leave its parts."""
    store.faults = [Fault("lost_answer", "PUT", r"/manifests/"), Fault("slow_down", "PUT", r"/manifests/", 1000)]
    with storage.impatient(5), pytest.raises(storage.StorageError):
        drivers.toy(*folders, RUN)
    counts.faults += 2
    store.behave()
    drivers.toy(*folders, RUN)
    check(counts, *folders)


def test_a_listing_that_is_old_costs_work_and_no_row(folders: tuple[str, str, str], store: Store, counts: Counts) -> None:
    source, out, to = folders
    store.faults = [Fault("slow_down", "PUT", r"/epoch-2\.json", 1000)]
    with storage.impatient(5), pytest.raises(storage.StorageError):
        drivers.toy(*folders, RUN)  # all is committed but not closed
    store.behave()
    store.stale_seconds = 60.0
    report = drivers.toy(*folders, RUN)
    assert report.resumed_share == 0.0 and store.injected["stale"] > 0
    counts.faults += 2
    store.behave()
    counts.compare(expected(source), keys_of(out))  # the sweep, too, saw an old listing: what it left no manifest names
    assert upkeep.verify(out).faults == []


def test_a_server_without_conditional_puts_is_refused(folders: tuple[str, str, str], store: Store, counts: Counts) -> None:
    store.strip_conditions = True
    with pytest.raises(InputError, match="does not honour conditional writes.*If-None-Match"):
        drivers.toy(*folders, RUN)
    counts.faults += 1
    assert not storage.exists(storage.join(folders[1], "job.json"))
    assert not [uri for uri in storage.list_files(folders[1]) if "probe-" in uri]


def test_the_same_files_are_listed_as_on_a_local_disk(folders: tuple[str, str, str], store: Store, tmp_path: Path) -> None:
    """Folders and files whose names begin with a dot (`.git`, `.attachments`, a Mac's `.DS_Store`) are no input on either."""
    names = ["a/b.txt", "c.txt", ".git/d.txt", "a/.git/deep/e.txt", ".DS_Store", "a/.f.txt", "g.h/i.txt"]
    roots = storage.join(folders[0], "archive"), str(tmp_path / "archive")
    for root in roots:
        for name in names:
            storage.write_bytes(storage.join(root, name), b"Seen.")
    for hidden in (False, True):
        remote, local = ([uri.partition("/archive/")[2] if "://" not in root else uri.removeprefix(root + "/") for uri in
                          storage.list_files(root, hidden=hidden)] for root in roots)  # fmt: skip
        assert remote == local and "a/b.txt" in local and not any("git" in name for name in local)


def test_published_to_delta_in_the_store(folders: tuple[str, str, str], store: Store, nursery: Nursery, counts: Counts) -> None:
    """In a process of its own, for deltalake holds the interpreter's lock while it waits for the proxy."""
    pytest.importorskip("deltalake")
    source, out, to = folders
    drivers.toy(*folders, ("run",))
    store.chaos = Chaos(5, 0.1, kinds=("slow_down", "internal", "reset"))
    before = store.injected.copy()
    clients = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert nursery.run("publish", clients, out=out, to=f"delta://{to}") == 0
    store.behave()
    assert nursery.run("publish", clients, out=out, to=f"delta://{to}") == 0  # and adds nothing
    counts.faults += (store.injected - before).total()
    found: Counter[tuple[object, ...]] = Counter()
    for table in ("doubles", "odds", "dead"):
        for uri in storage.list_files(storage.join(to, table, "_delta_log")):
            if uri.endswith(".json"):
                for added in filter(None, (json.loads(line).get("add") for line in storage.read_bytes(uri).splitlines())):
                    data = storage.read_bytes(storage.join(to, table, added["path"]))
                    rows = pq.read_table(io.BytesIO(data))
                    found.update(
                        (table, *key) for key in zip(rows["source_digest"].to_pylist(), rows["source_row"].to_pylist(), strict=True)
                    )
    counts.compare(expected(source), found)


def test_workers_of_ray_have_the_same_store(folders: tuple[str, str, str], store: Store, counts: Counts, short: Path) -> None:
    """Endpoint and credentials come by the environment."""
    if not WHOLE:
        pytest.skip("part of the whole form (make faults)")
    source, out, to = folders
    store.chaos = Chaos(11, 0.05)
    before = store.injected.copy()
    package = Path(storage.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{package}:{drivers.HERE.parent / 'distributed'}", "RAY_TMPDIR": str(short)}
    command = [sys.executable, str(drivers.HERE.parent / "distributed" / "toy.py"), source, out, "batch_rows=4"]
    for _ in range(6):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["records_in"] == 12
    counts.faults += (store.injected - before).total()
    store.behave()
    counts.compare(expected(source), keys_of(out))
    assert upkeep.verify(out).faults == []


def test_every_kind_of_fault_is_in_a_script() -> None:
    assert {fault.kind for script in SCRIPTS.values() for fault in script} == set(KINDS)
