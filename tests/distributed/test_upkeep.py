"""A run proved, tidied and handed on; dead letters tried again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from ledger_sample import SCHEMAS, assert_exact, complete, fill, open_job, work
from nosology import storage
from nosology.config import load
from nosology.distributed import sink, upkeep
from nosology.distributed.parts import read_part
from nosology.errors import InputError
from nosology.runs import Run


@pytest.fixture
def run(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 30), make_plan("b", 7)]
    complete(open_job(out, plan), plan)
    return out, plan


def rewrite(uri, data):
    os.unlink(uri)
    with open(uri, "wb") as stream:
        stream.write(data)


def test_a_whole_run_is_proved(run):
    out, _ = run
    proof = upkeep.verify(out)
    assert proof.faults == [] and proof.finished
    assert (proof.units, proof.covered, proof.manifests) == (37, 37, 10)
    assert proof.rows == 37 and proof.parts == len(sink.snapshot(out).parts) and proof.bytes > 0


def test_an_unfinished_run_is_proved_as_far_as_it_is(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 30)]
    ledger = open_job(out, plan)
    work(ledger, plan, next(ledger.pending()))
    open_job(out, plan)
    proof = upkeep.verify(out)
    assert proof.faults == [] and not proof.finished and (proof.units, proof.covered) == (30, 4)


def flipped(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            lambda out: rewrite(sink.snapshot(out).parts[3].uri, flipped(storage.read_bytes(sink.snapshot(out).parts[3].uri))),
            "truncated or changed",
        ),
        (lambda out: os.unlink(sink.snapshot(out).parts[0].uri), "no such file"),
        (lambda out: os.unlink(storage.list_files(f"{out}/manifests")[1]), "no such file"),
        (lambda out: rewrite(f"{out}/epoch-2.json", storage.read_bytes(f"{out}/epoch-2.json").replace(b"37", b"36")), "checksum"),
    ],
)
def test_harm_is_named(run, harm, words):
    out, _ = run
    harm(out)
    proof = upkeep.verify(out)
    assert len(proof.faults) == 1 and words in proof.faults[0] and out in proof.faults[0]


def test_page_checksum_is_read(run):
    """A part whose pages are harmed, and whose manifests were made to match: the page's own checksum is left."""
    out, _ = run
    part = next(part for part in sink.snapshot(out).parts if part.table == "rows")
    data = bytearray(storage.read_bytes(part.uri))
    column = pq.read_metadata(part.uri).row_group(0).column(1)
    place = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2
    data[place] ^= 0xFF
    rewrite(part.uri, bytes(data))
    harmed = upkeep.Part(part.table, part.uri, upkeep.hashlib.sha256(data).hexdigest(), part.rows, part.size_bytes, part.interval)
    with pytest.raises(OSError, match="(?i)crc|checksum|corrupt"):
        read_part(harmed)


def test_a_changed_input_is_found_when_asked(run, tmp_path):
    out, _ = run
    assert len(upkeep.verify(out, inputs=True).faults) == 2  # the plan's files are made up


def test_retry_does_the_intervals_again_and_no_other(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 10), make_plan("b", 3)]
    ledger = open_job(out, plan, batch_rows=2)
    complete(ledger, plan)
    before = {part.uri for part in sink.snapshot(out).parts}
    assert sink.reopen(out, {"another"}) == 0 and sink.snapshot(out).finished
    assert sink.reopen(out, {"third"}) == 5  # units 0, 3, 6, 9 and 0
    assert not sink.snapshot(out).finished
    with pytest.raises(InputError, match="not finished"):
        sink.reopen(out, None)
    again = open_job(out, plan, batch_rows=2)
    assert [(i.file, i.start) for i in again.pending()] == [(0, 0), (0, 2), (0, 6), (0, 8), (1, 0)]
    complete(again, plan)
    assert_exact(out, plan)
    assert upkeep.verify(out).faults == []
    kept = {part.uri for part in sink.snapshot(out).parts} & before
    assert len(kept) == 2 and all(os.path.exists(uri) for uri in kept)  # intervals without a dead letter
    assert not any(os.path.exists(uri) for uri in before - kept)


def test_killed_between_reopen_and_resume(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 10)]
    complete(open_job(out, plan), plan)
    sink.reopen(out, None)
    half = open_job(out, plan)
    work(half, plan, next(half.pending()))
    complete(open_job(out, plan), plan)
    assert_exact(out, plan)
    assert upkeep.verify(out).faults == []


def test_garbage_goes_after_its_grace_and_nothing_else(run):
    out, plan = run
    before = {uri: storage.read_bytes(uri) for uri in storage.list_files(out)}
    part = sink.snapshot(out).table("rows")[0].uri
    orphans = [part.rsplit("-e1-", 1)[0] + f"-e1-{n:012x}-0.parquet" for n in range(3)]
    for orphan in orphans:
        shutil.copy(part, orphan)
    zombie = storage.list_files(f"{out}/manifests")[0].replace("-0-4.json", "-90-94.json")
    storage.write_bytes(zombie, b"{}")
    temporary = f"{out}/rows/.part.parquet.0123abcd"
    storage.write_bytes(temporary, b"x")
    storage.write_bytes(f"{out}/notes of mine.txt", b"x")
    old = time.time() - 3 * 24 * 3600
    for uri in [*orphans[1:], zombie, temporary, *before]:
        os.utime(uri, (old, old))
    found = upkeep.collect_garbage(out)
    assert found["removed"] == 4 and found["too_young"] == 1
    left = set(storage.list_files(out))
    assert left == {*before, orphans[0], f"{out}/notes of mine.txt"} and not os.path.exists(temporary)
    assert upkeep.collect_garbage(out, 0) == {"removed": 1, "bytes": os.path.getsize(part), "too_young": 0}
    assert {uri: storage.read_bytes(uri) for uri in before} == before
    assert_exact(out, plan)


def test_garbage_is_not_what_the_newest_epoch_committed(tmp_path, make_plan):
    """A job that runs for longer than the grace: its manifests are in no list until the next epoch begins."""
    out, plan = str(tmp_path / "out"), [make_plan("a", 10)]
    ledger = open_job(out, plan)
    commits = [work(ledger, plan, interval) for interval in list(ledger.pending())[:2]]
    assert upkeep.collect_garbage(out, 0)["removed"] == 0
    for commit in commits:
        ledger.accept(commit)
    complete(ledger, plan)
    assert_exact(out, plan)


def test_a_late_sweep_leaves_the_parts_of_a_job_reopened_meanwhile(tmp_path, make_plan, monkeypatch):
    out, plan = str(tmp_path / "out"), [make_plan("a", 10)]
    complete(open_job(out, plan), plan)
    finished, snapshot = open_job(out, plan), sink.snapshot

    def while_it_reads(place):
        seen = snapshot(place)
        monkeypatch.setattr(sink, "snapshot", snapshot)
        sink.reopen(out, None)
        again = open_job(out, plan)
        for interval in list(again.pending()):
            work(again, plan, interval)
        return seen

    monkeypatch.setattr(sink, "snapshot", while_it_reads)
    finished.finish()
    complete(open_job(out, plan), plan)
    assert_exact(out, plan)
    assert upkeep.verify(out).faults == []


def test_an_error_after_the_manifest_was_created_costs_no_part(tmp_path, make_plan, monkeypatch):
    """The answer to the put is lost for good, or the folder cannot be synced after the link."""
    out, plan, create = str(tmp_path / "out"), [make_plan("a", 10)], storage.create_if_absent
    ledger = open_job(out, plan)
    attempt = ledger.writer(SCHEMAS).begin(interval := next(ledger.pending()))
    tally = fill(attempt, plan, interval)

    def lost(uri, data):
        create(uri, data)
        raise storage.StorageError("the storage endpoint does not answer", file=uri)

    monkeypatch.setattr(storage, "create_if_absent", lost)
    with pytest.raises(storage.StorageError):
        attempt.commit(tally)
    attempt.abandon()  # as a worker does after an error
    monkeypatch.setattr(storage, "create_if_absent", create)
    complete(open_job(out, plan), plan)
    assert_exact(out, plan)


def test_commands_of_killed_drivers_go_when_no_run_needs_them(tmp_path, make_plan, monkeypatch):
    """Until the run has its own, one of each kind may be it; a file that one wrote is part of the input."""
    monkeypatch.chdir(tmp_path)
    drivers = [
        Run("out", "toy", load([]), inputs=[f"/archive/{name}"]).__enter__() for name in "ABBCD"
    ]  # the first lies in the folder itself
    written = drivers[4].put("phrases.jsonl", b"x")
    plan = [replace(make_plan("a", 10), uri=storage.absolute(written))]
    complete(open_job("out", plan), plan)

    def left():
        places = (storage.join("out", driver._beside) if driver._beside else "out" for driver in drivers)
        return "".join(name for name, place in zip("AB2CD", places, strict=True) if os.path.exists(f"{place}/command.json"))

    assert upkeep.collect_garbage("out")["too_young"] == 2 and left() == "AB2CD"
    assert upkeep.collect_garbage(str(tmp_path / "out"), 0)["removed"] == 2 and len(left()) == 4 and {*"ACD"} < {*left()}
    drivers[0].finish({})
    assert upkeep.collect_garbage("out", 0)["removed"] == 4 and left() == "AD"
    assert len(os.listdir("out/commands")) == 1 and upkeep.verify("out").faults == []


def test_garbage_of_a_relative_folder(run, monkeypatch):
    out, plan = run
    monkeypatch.chdir(os.path.dirname(out))
    before = set(storage.list_files(out))
    assert upkeep.collect_garbage("./out/", 0)["removed"] == 0
    assert set(storage.list_files(out)) == before


def rows_of(place, plan):
    found = ds.dataset(place, format="parquet", exclude_invalid_files=True).to_table()
    return Counter(zip(found["source_digest"].to_pylist(), found["source_row"].to_pylist(), strict=True))


def wanted(plan):
    return Counter((file.digest, unit) for file in plan for unit in range(file.num_units) if unit % 3)


def test_publish_to_a_folder_adds_once(run, tmp_path):
    out, plan = run
    to = str(tmp_path / "lake")
    first = upkeep.publish(out, to)
    assert first["tables"]["rows"] == {"rows": 24, "added": 24} and first["tables"]["dead"]["added"] == 13
    assert upkeep.publish(out, to)["added"] == 0
    assert rows_of(f"{to}/rows", plan) == wanted(plan)


def test_publish_killed_in_the_middle_is_repeated(run, tmp_path, monkeypatch):
    out, plan = run
    to, create, calls = str(tmp_path / "lake"), storage.create_if_absent, []

    def killed(uri, data):
        calls.append(uri)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return create(uri, data)

    monkeypatch.setattr(storage, "create_if_absent", killed)
    with pytest.raises(KeyboardInterrupt):
        upkeep.publish(out, to)
    monkeypatch.setattr(storage, "create_if_absent", create)
    upkeep.publish(out, to)
    assert rows_of(f"{to}/rows", plan) == wanted(plan)


@pytest.mark.parametrize("scheme", ["", "delta://"])
def test_publish_after_a_retry_adds_nothing_to_the_same_place(run, tmp_path, scheme):
    if scheme:
        pytest.importorskip("deltalake")
    out, plan = run
    to = f"{scheme}{tmp_path}/lake"
    upkeep.publish(out, to)
    sink.reopen(out, None)
    complete(open_job(out, plan), plan)
    with pytest.raises(InputError, match="before its dead letters"):
        upkeep.publish(out, to)
    if not scheme:
        assert rows_of(f"{to}/rows", plan) == wanted(plan)


def test_publish_killed_before_a_retry_leaves_no_row_twice(run, tmp_path, monkeypatch):
    out, plan = run
    to, create = str(tmp_path / "lake"), storage.create_if_absent

    def killed(uri, data):
        if uri.endswith(".json"):
            raise KeyboardInterrupt
        return create(uri, data)

    monkeypatch.setattr(storage, "create_if_absent", killed)
    with pytest.raises(KeyboardInterrupt):
        upkeep.publish(out, to)
    monkeypatch.setattr(storage, "create_if_absent", create)
    sink.reopen(out, None)
    complete(open_job(out, plan), plan)
    upkeep.publish(out, to)
    assert rows_of(f"{to}/rows", plan) == wanted(plan)


def test_publish_to_delta_is_one_transaction_and_adds_once(run, tmp_path):
    deltalake = pytest.importorskip("deltalake")
    out, plan = run
    to = f"delta://{tmp_path}/lake"
    assert upkeep.publish(out, to)["tables"]["rows"]["added"] == 24
    assert upkeep.publish(out, to)["added"] == 0
    table = deltalake.DeltaTable(f"{tmp_path}/lake/rows")
    assert table.version() == 1  # made, then the rows
    found = table.to_pyarrow_table() if hasattr(table, "to_pyarrow_table") else None
    assert Counter(zip(found["source_digest"].to_pylist(), found["source_row"].to_pylist(), strict=True)) == wanted(plan)


@pytest.mark.parametrize("others", ["publish", "append"])
@pytest.mark.parametrize("there", [False, True])
def test_publish_to_delta_while_another_does(run, tmp_path, monkeypatch, others, there):
    """Another comes between the look at the table and the commit: with the same run, or with rows of its own."""
    deltalake = pytest.importorskip("deltalake")
    out, plan = run
    place, write, calls = f"{tmp_path}/lake/rows", deltalake.write_deltalake, []
    if there:
        deltalake.DeltaTable.create(place, SCHEMAS["rows"])

    def late(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            if others == "publish":
                assert upkeep.publish(out, f"delta://{tmp_path}/lake")["tables"]["rows"]["added"] == 24
            else:
                write(place, SCHEMAS["rows"].empty_table(), mode="append")
        return write(*arguments, **options)

    monkeypatch.setattr(deltalake, "write_deltalake", late)
    added = upkeep.publish(out, f"delta://{tmp_path}/lake")["tables"]["rows"]["added"]
    assert added == (0 if others == "publish" else 24)
    found = deltalake.DeltaTable(place).to_pyarrow_table()
    assert Counter(zip(found["source_digest"].to_pylist(), found["source_row"].to_pylist(), strict=True)) == wanted(plan)


def test_processes_that_publish_to_delta_at_once_add_once(run, tmp_path):
    deltalake = pytest.importorskip("deltalake")
    out, plan = run
    code = f"import sys; sys.stdin.read(1); from nosology.distributed.upkeep import publish; print(publish({out!r}, 'delta://{tmp_path}/lake'))"
    publishers = [subprocess.Popen([sys.executable, "-c", "import deltalake, nosology.distributed.upkeep; " + code], stdin=subprocess.PIPE)
                  for _ in range(3)]  # fmt: skip
    for publisher in publishers:
        publisher.stdin.close()  # all begin, where their imports took as long
    assert [publisher.wait(120) for publisher in publishers] == [0, 0, 0]
    found = deltalake.DeltaTable(f"{tmp_path}/lake/rows").to_pyarrow_table()
    assert Counter(zip(found["source_digest"].to_pylist(), found["source_row"].to_pylist(), strict=True)) == wanted(plan)


@pytest.mark.parametrize("scheme", ["", "delta://"])
def test_a_run_that_was_retried_is_not_added_to_its_earlier_state(run, tmp_path, scheme):
    out, plan = run
    if scheme:
        pytest.importorskip("deltalake")
    to = f"{scheme}{tmp_path}/lake"
    upkeep.publish(out, to)
    sink.reopen(out, None)
    complete(open_job(out, plan), plan)
    with pytest.raises(InputError, match="before its dead letters were tried again"):
        upkeep.publish(out, to)
    assert upkeep.publish(out, f"{scheme}{tmp_path}/other")["tables"]["rows"]["added"] == 24


def test_two_runs_lie_in_one_table(tmp_path, make_plan):
    to, plans = str(tmp_path / "lake"), []
    for name in "ab":
        plan = [make_plan(name, 9)]
        complete(open_job(str(tmp_path / name), plan), plan)
        upkeep.publish(str(tmp_path / name), to)
        plans += plan
    assert rows_of(f"{to}/rows", plans) == wanted(plans)


def test_unfinished_run_is_not_published(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 9)]
    open_job(out, plan)
    with pytest.raises(InputError, match="not finished"):
        upkeep.publish(out, str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()


def test_publish_looks_at_the_place_first(run, tmp_path):
    out, _ = run
    for to in ("delta:/lake", "s3:/lake", out, f"delta://{out}"):
        with pytest.raises(InputError, match="neither a path nor an address|folder of a run"):
            upkeep.publish(out, to)


def test_what_is_published_to_delta_has_no_value_in_its_log(run, tmp_path):
    """Delta Lake keeps the least and the greatest value of a column in its log, in clear."""
    deltalake = pytest.importorskip("deltalake")
    out, _ = run
    upkeep.publish(out, f"delta://{tmp_path}/lake")
    logs = list((tmp_path / "lake").rglob("_delta_log/*.json"))
    assert logs and not [path for path in logs if re.search(r"minValues[^}]*source_digest", path.read_text())]
    other = pa.schema([pa.field("text", pa.string())])
    deltalake.DeltaTable.create(f"{tmp_path}/other/rows", other)
    with pytest.raises(InputError, match="other columns"):
        upkeep.publish(out, f"delta://{tmp_path}/other")
    assert not (tmp_path / "other" / "dead").exists(), "before anything is written"
