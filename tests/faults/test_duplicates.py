"""Records that stand in several files: counted, kept once, refused; and kept once whatever is killed in between."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drivers
import numpy as np
import pytest
from crash_points import LOCAL_MOMENTS, REMOTE_MOMENTS
from drivers import Nursery
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import ClusterConfig, Config, IngestConfig
from nosology.distributed import duplicates, sink, stages, upkeep, work
from nosology.distributed.isolation import KILLED
from nosology.distributed.stages import StageReport, read_output
from nosology.errors import InputError
from nosology.readers.source import Builder
from nosology.storage import StorageError
from oracle import WHOLE, Counts
from s3_server import BUCKET

NAME = "Quimby"


def second(*, local: bool) -> list[str]:
    """All points of the second pass, which its epoch begins."""
    moments = LOCAL_MOMENTS if local else REMOTE_MOMENTS
    made = [f"{thing}.{moment}" for thing in ("epoch", "part", "dead", "manifest", "finish") for moment in moments]
    return [*made, "rollback.removed", "sweep.listed", "sweep.before_remove", "sweep.removed"]


POINTS = [("local", point) for point in ("part.created", "manifest.before_create")]  # of the first pass
POINTS += [("local", f"{point}:second") for point in (second(local=True) if WHOLE else
            ["epoch.before_create", "epoch.created", "part.created", "manifest.created", "finish.created", "sweep.removed"])]  # fmt: skip
POINTS += [("s3", f"{point}:second") for point in (second(local=False) if WHOLE else ["epoch.created", "manifest.created"])]


def note(number: int) -> str:
    return json.dumps({"id": f"n{number}", "text": f"Seen today by {NAME}, number {number}."}) + "\n"


def patient(number: int) -> str:
    return json.dumps({"resourceType": "Patient", "id": f"p{number}", "gender": "female", "birthDate": "1980-02-29"}) + "\n"


# A note twice in its own file; others again in later files; of two kinds.
FILES = {
    "a.jsonl": [note(0), note(1), note(1), note(2)], "b.jsonl": [note(3), note(1), note(4)], "c.jsonl": [note(4), note(1), note(0)],
    "d.ndjson": [patient(0), patient(1)], "e.ndjson": [patient(1), patient(2), "{broken\n", patient(0)], "f.jsonl": [note(9)],
}  # fmt: skip
REPEATED = {("b.jsonl", 1): ("a.jsonl", 1), ("c.jsonl", 0): ("b.jsonl", 2), ("c.jsonl", 1): ("a.jsonl", 1), ("c.jsonl", 2): ("a.jsonl", 0),
            ("e.ndjson", 0): ("d.ndjson", 1), ("e.ndjson", 3): ("d.ndjson", 0)}  # fmt: skip
BY_TABLE = {"documents": 4, "patients": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_files(tmp_path / "in")
    return tmp_path / "in"


def write_files(folder: Path) -> None:
    folder.mkdir()
    for name, lines in FILES.items():
        (folder / name).write_text("".join(lines))


def ingest(source: Path, out: Path, policy: str) -> StageReport:
    config: Any = IngestConfig(duplicates=policy)  # type: ignore[arg-type]
    with drivers.without_ray():
        return stages.run_ingest([str(source)], str(out), config, ClusterConfig(), {"policy": policy}, lambda _: None)


def keys(source: Path) -> dict[str, str]:
    return {hashlib.sha256((source / name).read_bytes()).hexdigest(): name for name in FILES}


def places(source: Path, out: Path | str, table: str) -> Counter[tuple[str, int]]:
    rows, names = read_output(str(out), table), keys(source)
    return Counter(
        (names[digest], row) for digest, row in zip(rows["source_digest"].to_pylist(), rows["source_row"].to_pylist(), strict=True)
    )


def everywhere(source: Path, out: Path | str) -> Counter[tuple[str, int]]:
    return sum((places(source, out, table) for table in ("documents", "patients", "dead", "duplicates")), Counter())


ALL = Counter((name, row) for name, lines in FILES.items() for row in range(len(lines)))


def test_all_are_kept_and_counted(source: Path, tmp_path: Path) -> None:
    report = ingest(source, tmp_path / "out", "keep")
    assert report.duplicate_records == BY_TABLE and (report.records_in, report.dead) == (17, 1)
    assert (report.rows["documents"], report.rows["patients"]) == (11, 5) and "duplicates" not in report.rows
    assert ingest(source, tmp_path / "out", "keep").duplicate_records == BY_TABLE


def test_the_first_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = ingest(source, out, "first")
    assert report.duplicate_records == BY_TABLE and (report.records_in, report.ok, report.dead) == (17, 16, 1)
    assert (report.rows["documents"], report.rows["patients"], report.rows["duplicates"]) == (7, 3, 6)
    names = keys(source)
    rows = read_output(str(out), "duplicates").to_pylist()
    assert {(names[row["source_digest"]], row["source_row"]): (names[row["first_digest"]], row["first_row"]) for row in rows} == REPEATED
    assert everywhere(source, out) == ALL and upkeep.verify(str(out)).faults == []
    seen = sink.snapshot(str(out))
    done_twice = {seen.job.files[interval.file].uri.rsplit("/", 1)[-1] for epoch, interval in seen.placed if epoch > 1}
    assert done_twice == {name for name, _ in REPEATED}, "no other file is read again"
    again = ingest(source, out, "first")
    assert (again.duplicate_records, again.resumed_share) == (BY_TABLE, 1.0)
    assert sink.reopen(str(out), None) == 1  # the broken line is tried again: its file's repeated rows are found again
    assert ingest(source, out, "first").duplicate_records == BY_TABLE and everywhere(source, out) == ALL


def test_they_are_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(InputError, match="6 records stand in another file already") as caught:
            ingest(source, out, "refuse")
        assert "e.ndjson has 2 of" in str(caught.value) and NAME not in str(caught.value)
        assert not sink.snapshot(str(out)).finished
    for name in ("b.jsonl", "c.jsonl", "e.ndjson"):
        (source / name).unlink()
    assert ingest(source, tmp_path / "other", "refuse").records_in == 7


def test_a_message_says_again_what_another_said(source: Path, tmp_path: Path) -> None:
    """Two messages of one patient are two records; one message in two files is one."""
    for path in source.iterdir():
        path.unlink()
    for name, texts in {"a.hl7": ["first", "second"], "b.hl7": ["third"], "c.hl7": ["third", "fourth"]}.items():
        messages = (
            f"MSH|^~\\&|A|B|C|D|20240301||ORU^R01|{text}|P|2.5\rPID|1||5||{NAME}^Ada||19800229|F\rPV1|1|I\r"
            f"OBX|1|TX|11488-4||{text} note of the day\r" for text in texts
        )  # fmt: skip
        (source / name).write_text("".join(messages))
    assert ingest(source, tmp_path / "out", "keep").duplicate_records == {"documents": 1}


def test_what_named_a_row_that_is_lost_is_read_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that repeats another, and is repeated itself, ends its process when it is read once more."""
    out, produce = tmp_path / "out", work.IngestWork.produce

    def dies_when_done_again(self: Any, interval: Any, tally: Any, dead: list[Any], guard: Any) -> Iterator[Any]:
        if interval.file in self._left_out and self._files[interval.file].uri.endswith("b.jsonl"):
            counted, letter = self.lost(interval, KILLED)
            tally.add(counted)
            dead.append(letter)
        else:
            yield from produce(self, interval, tally, dead, guard)

    monkeypatch.setattr(work.IngestWork, "produce", dies_when_done_again)
    assert ingest(source, out, "first").dead == 2
    lost = {("b.jsonl", row) for row in range(1, 3)}  # its letter has row 0
    assert everywhere(source, out) == Counter({place: 1 for place in ALL if place not in lost})
    assert ("c.jsonl", 0) in places(source, out, "documents"), "note 4, which stands in b.jsonl and here"


def test_what_was_left_out_stays_out_after_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was dead at first, and is the first of another, makes a file be read again of which more was left out."""
    (tmp_path / "in").mkdir()
    for name, texts in {"e": ["a"], "f": ["x", "f"], "g": ["a", "x", "g"]}.items():
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts))
    make, flaky = Builder.make, [True]

    def dies_at_first(self: Any, build: Any, *parts: Any) -> Any:
        if flaky and b'"x"' in parts[0]:
            flaky.clear()
            return KILLED
        return make(self, build, *parts)

    monkeypatch.setattr(Builder, "make", dies_at_first)
    out = tmp_path / "out"
    first = ingest(tmp_path / "in", out, "first")
    assert (first.dead, first.duplicate_records) == (1, {"documents": 1})
    assert sink.reopen(str(out), {KILLED.code}) == 1
    again = ingest(tmp_path / "in", out, "first")
    assert (again.dead, again.duplicate_records) == (0, {"documents": 2})
    assert sorted(read_output(str(out), "documents")["document_id"].to_pylist()) == ["a", "f", "g", "x"]


def test_a_file_of_dead_letters_is_written_in_parts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.ndjson").write_text(patient(0) + "{\n" * 5001)
    report = ingest(tmp_path / "in", tmp_path / "out", "keep")
    assert (report.records_in, report.ok, report.dead_by_reason) == (5002, 1, {"bad_json": 5001})
    parts = sink.snapshot(str(tmp_path / "out")).table(sink.DEAD)
    assert [part.rows for part in parts] == [2000, 2000, 1001] and upkeep.verify(str(tmp_path / "out")).faults == []


def ended(nursery: Nursery, crash: str, marks: Path, source: Path, out: str) -> int:
    config = Config(ingest=IngestConfig(duplicates="first")).model_dump(mode="json")
    clients = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    marks.mkdir()
    environment = {**clients, "NOSOLOGY_CRASH": crash, "NOSOLOGY_CRASH_FOLDER": str(marks)}
    return nursery.run("verb", environment, name="ingest", config=config, inputs=[str(source)], out=out)


@pytest.fixture(scope="module")
def hits(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often the first pass reaches each point."""
    root = tmp_path_factory.mktemp("first")
    crash = ",".join(["epoch.before_create:2", *(f"{point}:1000" for point in second(local=True))])  # a point that is named is counted
    write_files(root / "in")
    assert ended(nursery, crash, root / "marks", root / "in", str(root / "out")) == -9
    return Counter(mark.name.rpartition(".")[0] for mark in (root / "marks").iterdir()) - Counter(["epoch.before_create"])


@pytest.mark.parametrize(("backend", "point"), POINTS)
def test_killed_at(
    backend: str, point: str, source: Path, tmp_path: Path, nursery: Nursery, counts: Counts, hits: Counter[str], request: Any
) -> None:
    out = str(tmp_path / "out")
    if backend == "s3":
        request.getfixturevalue("store")
        out = f"s3://{BUCKET}/{tmp_path.name}/out"
    name, _, later = point.partition(":")
    hit = hits[name] + 1 if later else 3
    assert ended(nursery, f"{name}:{hit}", tmp_path / "killed", source, out) == -9, f"{point} was not reached"
    counts.points.add((backend, "duplicates", point))
    assert upkeep.verify(out).faults == []
    assert ended(nursery, "", tmp_path / "marks", source, out) == 0
    counts.compare(Counter({(*place,): count for place, count in ALL.items()}), everywhere(source, out))
    assert places(source, out, "duplicates") == Counter(dict.fromkeys(REPEATED, 1))
    proof = upkeep.verify(out)
    assert proof.finished and proof.faults == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_the_sorted_search_equals_a_plain_one(rows: list[tuple[int, int, int]]) -> None:
    entries = np.zeros(len(rows), duplicates._ENTRY)
    wanted, first = Counter[tuple[int, int, int, int, int]](), dict[tuple[int, int], tuple[int, int]]()
    for number, (file, high, low) in enumerate(rows):
        entries[number]["high"], entries[number]["low"], entries[number]["file"], entries[number]["row"] = high, low, file, number
    for file, number, key in sorted((file, number, (high, low)) for number, (file, high, low) in enumerate(rows)):
        held = first.setdefault(key, (file, number))
        if held[0] != file:
            wanted[file, *key, *held] += 1
    found = duplicates._repeated(entries)
    names = ("file", "high", "low", "first_file", "first_row")
    assert Counter(zip(*(found[name].tolist() for name in names), strict=True)) == wanted


def test_the_local_disk_is_full(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates.tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b", buffering=0))  # noqa: SIM115
    with pytest.raises(StorageError, match="disk is full"):
        ingest(source, tmp_path / "out", "first")
    monkeypatch.undo()
    assert ingest(source, tmp_path / "out", "first").duplicate_records == BY_TABLE


def test_many_buckets(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BUCKET_ROWS", 3)
    assert ingest(source, tmp_path / "out", "keep").duplicate_records == BY_TABLE
