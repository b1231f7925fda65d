"""The ledger without Ray: kills, zombies, repeats, two drivers, damage."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections import Counter

import fsspec
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_sample import SCHEMA, SCHEMAS, assert_exact, complete, fill, keys, open_job, work
from nosology import storage
from nosology.distributed import seal, sink
from nosology.distributed.stages import job_status, read_output
from nosology.errors import FingerprintError, InputError

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["driver", "work", "work", "work", "unreported", "parts only", "repeat", "parts then commit later"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 14), min_size=1, max_size=3), st.integers(1, 5), ACTIONS)
def test_every_row_once_under_any_kill(make_plan, sizes, batch_rows, actions):
    """Drivers come and go (a kill is a driver that does nothing more); workers of any driver, dead or alive, act at any time."""
    out = f"memory://ledger-{uuid.uuid4().hex}"
    plan = [make_plan(f"f{number}", size) for number, size in enumerate(sizes)]
    drivers = [open_job(out, plan, batch_rows)]
    todo = {0: list(drivers[0].pending())}
    late = []
    for action, which, what in actions:
        number = which % len(drivers)
        ledger = drivers[number]
        if action == "driver":
            drivers.append(open_job(out, plan, batch_rows))
            todo[len(drivers) - 1] = list(drivers[-1].pending())
        elif todo[number]:
            interval = todo[number][what % len(todo[number])]
            if action == "parts only":
                fill(ledger.writer(SCHEMAS).begin(interval), plan, interval)
            elif action == "parts then commit later":
                attempt = ledger.writer(SCHEMAS).begin(interval)
                late.append((attempt, fill(attempt, plan, interval)))
            else:
                commit = work(ledger, plan, interval)
                if commit and action != "unreported":
                    ledger.accept(commit)
                if commit and action == "repeat":
                    again = work(ledger, plan, interval)
                    assert again == commit and not ledger.accept(again)
        if late and what % 3 == 0:
            attempt, tally = late.pop()
            attempt.commit(tally)
    last = open_job(out, plan, batch_rows)
    complete(last, plan)
    assert_exact(out, plan)
    for attempt, tally in late:  # zombies that wake after the end
        assert attempt.commit(tally) is None
    for old in drivers:
        if list(old.pending()):
            assert work(old, plan, next(old.pending())) is None
    assert_exact(out, plan)
    again = open_job(out, plan, batch_rows)
    assert again.finished and not list(again.pending())
    assert again.tally.records == again.tally.ok + again.tally.dead.total() == sum(sizes)
    fsspec.filesystem("memory").rm(out, recursive=True)


def test_two_drivers_one_wins(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 9)]
    first = open_job(out, plan)
    ready = [work(first, plan, interval) for interval in list(first.pending())]
    second = open_job(out, plan)  # sees what the first one's workers did
    assert not list(second.pending())
    for commit in ready:
        first.accept(commit)
    with pytest.raises(InputError, match="took over"):
        first.finish()
    second.finish()
    assert_exact(out, plan)


def test_two_drivers_at_the_same_moment(tmp_path, make_plan, monkeypatch):
    out, plan = str(tmp_path / "out"), [make_plan("a", 9)]
    open_job(out, plan)
    newest = sink._newest
    monkeypatch.setattr(sink, "_newest", lambda place: (newest(place), open_rival())[0])

    def open_rival():
        monkeypatch.setattr(sink, "_newest", newest)
        open_job(out, plan)

    with pytest.raises(InputError, match="same moment"):
        open_job(out, plan)


def test_manifest_between_listing_and_epoch_is_a_zombie(tmp_path, make_plan, monkeypatch):
    out, plan = str(tmp_path / "out"), [make_plan("a", 8)]
    old = open_job(out, plan)
    first, second = old.pending()
    work(old, plan, first)
    create = sink.create_epoch

    def commit_then_create(*arguments, **options):
        monkeypatch.setattr(sink, "create_epoch", create)
        assert work(old, plan, second)  # after the new driver listed, before its epoch exists
        return create(*arguments, **options)

    monkeypatch.setattr(sink, "create_epoch", commit_then_create)
    new = open_job(out, plan)
    assert list(new.pending()) == [second]
    complete(new, plan)
    assert_exact(out, plan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "b"}, ["model differs"]),
        ({"model": "b", "prompt": "p"}, ["model, prompt differ"]),
        ({"plan": 1}, ["input"]),
    ],
)
def test_another_fingerprint_is_refused_by_name(tmp_path, make_plan, change, words):
    out, plan = str(tmp_path / "out"), [make_plan("a", 9)]
    open_job(out, plan)
    before = storage.list_files(out)
    if change.pop("plan", None):
        plan = [make_plan("a", 10)]
    with pytest.raises(FingerprintError) as caught:
        open_job(out, plan, **change)
    assert all(word in str(caught.value) for word in words) and out in str(caught.value)
    assert storage.list_files(out) == before


def test_resume_keeps_the_batch_rows_of_the_first_run(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 10)]
    first = open_job(out, plan, batch_rows=4)
    first.accept(work(first, plan, next(first.pending())))
    second = open_job(out, plan, batch_rows=3)
    assert [(i.start, i.stop) for i in second.pending()] == [(4, 8), (8, 10)]
    complete(second, plan)
    assert_exact(out, plan)


def test_status_counts_what_is_committed_but_not_yet_accepted(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 10)]
    ledger = open_job(out, plan)
    work(ledger, plan, next(ledger.pending()))
    found = job_status(out)
    assert found.pop("units_per_second") > 0 and found.pop("seconds_left") >= 0
    assert found == {
        "verb": "toy", "done": 4, "total": 10, "share": 0.4, "files": 1, "records": 4, "ok": 2, "dead": 2,
        "skipped": 0, "dead_by_reason": {"third": 2}, "rows": {"rows": 2}, "finished": False,
    }  # fmt: skip
    assert read_output(out, "rows").num_rows == 0  # readers see accepted manifests only
    complete(open_job(out, plan), plan)
    assert job_status(out)["finished"] and job_status(out)["share"] == 1.0


def test_same_content_twice_is_read_twice(tmp_path):
    from nosology.distributed import source
    from nosology.distributed.coverage import PlannedFile

    twin = PlannedFile("a" * 64, "/x", "a" * 64, 5, "rows", "rows", "csv", 1)
    assert [file.key for file in source._checked([twin, twin], [], ["/"])] == ["a" * 64, "a" * 64 + ".1"]
    plan = source._checked([twin, twin], [], ["/"])
    out = str(tmp_path / "out")
    complete(open_job(out, plan), plan)
    assert Counter(keys(out, "rows")) == Counter({("a" * 64, unit): 2 for unit in (1, 2, 4)})


@pytest.fixture
def finished(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 30)]
    complete(open_job(out, plan), plan)
    return out


def change(uri, how):
    data = storage.read_bytes(uri)
    os.unlink(uri)
    with open(uri, "wb") as stream:
        stream.write(how(data))


@pytest.mark.parametrize("how", [lambda d: d[:-9], lambda d: d[: len(d) // 2] + bytes([d[len(d) // 2] ^ 1]) + d[len(d) // 2 + 1 :]])
def test_changed_part_is_found(finished, how):
    part = sink.snapshot(finished).table("rows")[2]
    change(part.uri, how)
    with pytest.raises(InputError, match="truncated or changed") as caught:
        read_output(finished, "rows")
    assert part.uri in str(caught.value)


def test_missing_part_is_found(finished):
    os.unlink(sink.snapshot(finished).table("rows")[0].uri)
    with pytest.raises(InputError, match="no such file"):
        read_output(finished, "rows")


def some_manifest(out):
    return storage.list_files(storage.join(out, "manifests"))[0]


def test_changed_manifest_is_found(finished):
    change(some_manifest(finished), lambda data: data.replace(b'"records": 4', b'"records": 5'))
    with pytest.raises(InputError, match="checksum"):
        sink.snapshot(finished)


def test_forged_manifest_is_found(finished):
    """One whose own checksum was made to match: the epoch's sum of all manifests still tells."""

    def forge(data):
        value = json.loads(data)
        value.pop("sha256")
        value["ok"] += 1
        return seal.sealed(value)

    change(some_manifest(finished), forge)
    with pytest.raises(InputError, match="not those that were accepted"):
        sink.snapshot(finished)


def test_missing_manifest_is_found(finished):
    os.unlink(some_manifest(finished))
    with pytest.raises(InputError, match="no such file"):
        sink.snapshot(finished)


@pytest.mark.parametrize("name", ["job.json", "epoch-2.json"])
def test_changed_epoch_or_job_is_found(finished, name):
    change(storage.join(finished, name), lambda data: data.replace(b"2", b"3", 1))
    with pytest.raises(InputError, match=f"{name}.*(checksum|JSON)"):
        sink.snapshot(finished)


def test_sweep_leaves_files_of_others(finished):
    part = sink.snapshot(finished).table("rows")[0].uri
    orphan = part.rsplit("-e1-", 1)[0] + "-e1-" + "0" * 12 + "-0.parquet"
    shutil.copy(part, orphan)
    other = storage.join(finished, "rows", "mine.txt")
    storage.write_bytes(other, b"x")
    sink.sweep(finished)
    assert not os.path.exists(orphan) and os.path.exists(other) and os.path.exists(part)


def test_folder_is_a_plain_dataset(finished):
    rows = ds.dataset(storage.join(finished, "rows"), format="parquet").to_table()
    assert sorted(rows["source_row"].to_pylist()) == [unit for unit in range(30) if unit % 3]


def test_table_without_rows_still_has_its_columns(tmp_path, make_plan):
    out, plan = str(tmp_path / "out"), [make_plan("a", 1)]  # its only row is a dead letter
    complete(open_job(out, plan), plan)
    assert ds.dataset(storage.join(out, "rows"), format="parquet").to_table().schema.names == SCHEMA.names
    assert read_output(out, "rows").num_rows == 0 and read_output(out, "dead").num_rows == 1


def test_unknown_table_and_no_run(finished, tmp_path):
    with pytest.raises(InputError, match="no table `codes`.*rows, dead"):
        read_output(finished, "codes")
    with pytest.raises(InputError, match="not a run folder"):
        job_status(str(tmp_path))
