"""What is done with a run afterwards, through the command: status, resume, dead letters, proof, garbage, publication."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAME = "Quackenbush"


def nosology(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "nosology.cli", *map(str, arguments), "--json"], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert NAME not in done.stdout + done.stderr and "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ingest of three files, with three dead letters of two reasons."""
    folder = tmp_path_factory.mktemp("upkeep")
    notes = [{"id": f"n{n}", "text": f"{NAME} has a cough {n}."} for n in range(6)]
    notes[2]["text"] = notes[5]["text"] = " "
    (folder / "in").mkdir()
    (folder / "in" / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes) + '{"id": "' + NAME + "\n")
    (folder / "in" / "one.txt").write_text(f"{NAME} sleeps badly.")
    (folder / "in" / "patients.ndjson").write_text('{"resourceType": "Patient", "id": "p1", "birthDate": "1970-01-01"}\n')
    report = nosology("ingest", "--in", folder / "in", "--out", folder / "run")
    assert (report["records_in"], report["dead"]) == (9, 3)
    return folder


def test_status(run: Path) -> None:
    found = nosology("status", run / "run")
    assert found["finished"] and found["share"] == 1.0 and (found["records"], found["dead"]) == (9, 3)
    assert found["dead_by_reason"] == {"empty_note": 2, "bad_json": 1}
    assert (found["verb"], found["run_verb"]) == ("status", "ingest") and "ended_with" not in found


def test_status_tells_why_the_last_driver_gave_up(tmp_path: Path) -> None:
    """An ingest that is refused for its duplicates is done, and not finished."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.jsonl").write_text('{"id": "1", "text": "Seen."}\n' + json.dumps({"id": name, "text": name}) + "\n")
    out = tmp_path / "out"
    nosology("ingest", "--in", tmp_path / "in", "--out", out, "ingest.duplicates=refuse", code=2)
    found = nosology("status", out)
    assert (found["finished"], found["share"]) == (False, 1.0) and "1 records stand in another file already" in found["ended_with"]
    (fault,) = nosology("verify", out, code=1)["faults"]
    assert "2 of its 2 units are done; its last driver gave up: " in fault and found["ended_with"] in fault
    (out / "epoch-2.json").write_bytes((out / "epoch-1.json").read_bytes())  # another driver came
    assert "ended_with" not in nosology("status", out)


def test_dead_letters_are_listed_shown_and_exported(run: Path) -> None:
    kinds = nosology("deadletter", "list", run / "run")["kinds"]
    assert [(kind["reason"], kind["count"]) for kind in kinds] == [("empty_note", 2), ("bad_json", 1)]
    letters = nosology("deadletter", "show", run / "run", "--reason", "empty_note")["letters"]
    assert [(Path(one["file"]).name, one["row"], one["field"]) for one in letters] == [
        ("notes.jsonl", 2, "text"),
        ("notes.jsonl", 5, "text"),
    ]
    assert len(nosology("deadletter", "show", run / "run", "--limit", "1")["letters"]) == 1
    report = nosology("deadletter", "export", run / "run", "--to", run / "letters.jsonl")
    lines = [json.loads(line) for line in (run / "letters.jsonl").read_text().splitlines()]
    assert report["exported"] == len(lines) == 3 and {line["reason"] for line in lines} == {"empty_note", "bad_json"}
    assert NAME not in (run / "letters.jsonl").read_text()


def test_dead_letters_are_exported_to_an_object_store(run: Path) -> None:
    from nosology import cli, storage
    from typer.testing import CliRunner

    uri = "memory://bucket/letters/dead.jsonl"  # of this process
    done = CliRunner().invoke(cli.app, ["deadletter", "export", str(run / "run"), "--to", uri, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["to"] == uri and len(storage.read_bytes(uri).splitlines()) == 3


def test_places_are_found_through_the_runs_before(run: Path) -> None:
    key = f"deid.key_file={run / 'key'}"
    nosology("deidentify", "--in", run / "run", "--out", run / "clean", key)
    from nosology.distributed.source import plan
    from nosology.verbs.upkeep import _Places

    digests = [file.digest for file in plan([str(run / "in")])]
    places = _Places(str(run / "clean"))
    found = [places({"source_digest": digest, "source_row": 0, "stage": "deidentify"}) for digest in digests]
    assert [Path(uri or "").name for uri in found] == ["notes.jsonl", "one.txt", "patients.ndjson"]


def test_each_copy_of_a_file_has_its_letters(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.jsonl").write_text('{"id": "1", "text": " "}\n{"id": "2", "text": "Seen."}\n{"id": "3", "text": ""}\n')
    nosology("ingest", "--in", tmp_path / "in", "--out", tmp_path / "run")
    letters = nosology("deadletter", "show", tmp_path / "run")["letters"]
    assert sorted((Path(one["file"]).name, one["row"]) for one in letters) == [
        ("a.jsonl", 0),
        ("a.jsonl", 2),
        ("b.jsonl", 0),
        ("b.jsonl", 2),
    ]
    nosology("deadletter", "export", tmp_path / "run", "--to", tmp_path / "letters.jsonl")
    (tmp_path / "in" / "a.jsonl").unlink()
    error = nosology("ingest", "--in", tmp_path / "in", "--out", tmp_path / "run", code=2)["error"]
    assert f"input (no longer named or there: {tmp_path}/in/a.jsonl) differs" in error
    lines = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
    assert sorted((Path(one["file"]).name, one["source_row"]) for one in lines) == [
        ("a.jsonl", 0),
        ("a.jsonl", 2),
        ("b.jsonl", 0),
        ("b.jsonl", 2),
    ]


def test_resume_reads_a_table_with_few_columns_as_its_first_run(tmp_path: Path) -> None:
    """The configuration of a run names every column, and no table has all of them."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.csv").write_text("id,text\n1,Seen.\n2,\n")
    nosology("ingest", "--in", tmp_path / "in", "--out", tmp_path / "run", "--allow-unreadable")
    assert nosology("resume", tmp_path / "run")["records"] == 2
    assert nosology("deadletter", "retry", tmp_path / "run")["retried"] == 1
    shutil.copytree(tmp_path / "run", tmp_path / "begun")
    for path in (tmp_path / "begun").iterdir():
        if path.name not in ("config.yaml", "command.json"):  # as after a kill in the plan
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = nosology("resume", tmp_path / "begun")
    assert (report["records"], report["unreadable"]["count"]) == (2, 0)


def test_another_input_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.txt").write_text(f"{NAME} {name}")
    nosology("ingest", "--in", tmp_path / "in", "--out", tmp_path / "run")
    (tmp_path / "in" / "a.txt").unlink()
    (tmp_path / "in" / "b.txt").write_text(f"{NAME} again")
    (tmp_path / "in" / "d.txt").write_text(f"{NAME} d")
    error = nosology("ingest", "--in", tmp_path / "in", "--out", tmp_path / "run", code=2)["error"]
    said = re.search(r"input \((.*)\) differs", error)
    assert said is not None
    assert [[Path(word).name for word in one.split(": ")] for one in said[1].split("; ")] == [
        ["changed", "b.txt"], ["no longer named or there", "a.txt"], ["new", "d.txt"],
    ]  # fmt: skip


def test_the_folder_of_a_run_is_no_archive(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "run", tmp_path / "in" / "below" / "run")
    for folder in (run / "run", tmp_path / "in"):
        error = nosology("ingest", "--in", folder, "--out", tmp_path / "out", "--allow-unreadable", code=2)["error"]
        assert f"{'' if folder == run / 'run' else 'below'}/run: files of an archive, not the folder of a run" in error


def test_verify_and_resume_leave_a_finished_run_as_it_is(run: Path) -> None:
    tables = ("documents", "patients", "dead", "manifests")
    before = {path: path.stat().st_mtime_ns for name in tables for path in (run / "run" / name).rglob("*") if path.is_file()}
    proof = nosology("verify", run / "run", "--inputs")
    assert proof["faults"] == [] and proof["units"] == proof["covered"] == 3 and proof["rows"] == 9
    again = nosology("resume", run / "run")
    assert (again["verb"], again["run_verb"]) == ("resume", "ingest") and again["resumed_share"] == 1.0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_resume_in_another_folder_goes_on_where_a_kill_left_it(run: Path, tmp_path: Path) -> None:
    """The last epoch and two manifests are taken away: what a driver killed in its middle leaves."""
    nosology("ingest", "--in", run / "in", "--out", tmp_path / "run")
    whole = nosology("status", tmp_path / "run")
    (tmp_path / "run" / "epoch-2.json").unlink()
    for manifest in sorted((tmp_path / "run" / "manifests" / "epoch-1").iterdir())[:2]:
        manifest.unlink()
    half = nosology("status", tmp_path / "run")
    assert not half["finished"] and half["done"] == 1 and "seconds_left" in half
    unfinished = nosology("verify", tmp_path / "run", code=1)
    assert unfinished["finished"] is False and "not finished: 1 of its 3 units are done; nosology resume" in unfinished["faults"][0]
    report = nosology("resume", tmp_path / "run")
    assert (report["records_in"], report["dead"]) == (9, 3) and 0 < report["resumed_share"] < 1
    after = nosology("status", tmp_path / "run")
    assert after == whole
    assert nosology("verify", tmp_path / "run")["faults"] == []
    assert nosology("gc", tmp_path / "run", "--grace-seconds", "0")["removed"] == 0  # the end of the run swept


def test_retry_tries_dead_letters_again(run: Path, tmp_path: Path) -> None:
    nosology("ingest", "--in", run / "in", "--out", tmp_path / "run")
    assert nosology("deadletter", "retry", tmp_path / "run", "--reason", "process_lost")["retried"] == 0
    report = nosology("deadletter", "retry", tmp_path / "run", "--reason", "bad_json")
    assert report["retried"] == 1 and (report["records_in"], report["dead"]) == (9, 3)  # still broken: dead again, once
    assert nosology("verify", tmp_path / "run")["faults"] == []


def test_a_retry_that_was_killed_is_gone_on_with(run: Path, tmp_path: Path) -> None:
    from nosology.distributed import sink

    out = tmp_path / "run"
    nosology("ingest", "--in", run / "in", "--out", out)
    before = nosology("status", out)
    sink.reopen(str(out), {"bad_json"})  # and killed before anything was done
    assert not nosology("status", out)["finished"]
    report = nosology("deadletter", "retry", out, "--reason", "bad_json")
    assert (report["verb"], report["continued"], report["retried"], report["dead"]) == ("deadletter retry", True, 3, 3)
    assert nosology("status", out) == before and nosology("verify", out)["faults"] == []
    assert "continued" not in nosology("deadletter", "retry", out, "--reason", "bad_json")


def test_a_reason_that_no_letter_can_have_is_refused(run: Path) -> None:
    for what, more in (("show", ()), ("retry", ()), ("export", ("--to", run / "none.jsonl"))):
        error = nosology("deadletter", what, run / "run", "--reason", "bad_json", "--reason", "empty_notes", *more, code=2)["error"]
        assert "--reason empty_notes" in error and "the nearest is empty_note" in error
        error = nosology("deadletter", what, run / "run", "--reason", "Xyz", *more, code=2)["error"]
        assert "this run has bad_json, empty_note" in error
    assert not (run / "none.jsonl").exists() and nosology("deadletter", "show", run / "run", "--reason", "timed_out")["letters"] == []


def test_every_reason_of_the_package_is_known() -> None:
    import nosology
    from nosology.readers import REASONS
    from nosology.verbs.upkeep import STAGE_REASONS

    source = "".join(file.read_text() for file in Path(nosology.__path__[0]).rglob("*.py"))
    given = set(re.findall(r'\b(?:RecordError|Reason|InvalidBytes)\(\s*"(\w+)"', source))
    assert len(given) > 20 and not given - REASONS.keys() - STAGE_REASONS


@pytest.mark.parametrize("grace", ["-5", "nan"])
def test_a_grace_that_is_no_time_is_refused(run: Path, grace: str) -> None:
    assert "--grace-seconds" in nosology("gc", run / "run", "--grace-seconds", grace, code=2)["error"]


def test_answers_go_to_an_object_store(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology import cli, storage, verbs
    from typer.testing import CliRunner

    uri, given = "memory://bucket/answers/spans.jsonl", list[Any]()  # of this process
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "1", "text": f"{NAME}, born 1970-02-03."}) + "\n")
    done = CliRunner().invoke(
        cli.app, ["deidentify", "--in", str(rows), "--out", str(tmp_path / "out"), "--spans", uri, f"deid.key_file={tmp_path / 'key'}"]
    )
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["id"] for line in storage.read_bytes(uri).splitlines()] == ["1"]
    monkeypatch.setattr(verbs, "code", lambda *arguments: given.append(arguments[-1]) or {})
    assert CliRunner().invoke(cli.app, ["code", "--in", "x", "--out", "y", "--jsonl", "s3://bucket/codes.jsonl"]).exit_code == 0
    assert given == ["s3://bucket/codes.jsonl"]


def test_a_retry_that_is_refused_leaves_the_run_finished(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology import runs, verbs
    from nosology.errors import NosologyError

    source, out, elsewhere = tmp_path / "in", tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(run / "in", source)
    none_allowed = ("ingest", "--out", out, "run.allowed_dead_share=0")
    nosology(*none_allowed, "--in", source, code=3)
    before = nosology("status", out)

    def refused(match: str) -> None:
        with pytest.raises(NosologyError, match=match) as caught:
            verbs.deadletter_retry(str(out), None)
        assert caught.value.exit_code == 2 and nosology("status", out) == before and not (out / "epoch-3.json").exists()

    for away, match in ((source, "no such file"), (source / "one.txt", "input .* differs"), (out / "command.json", "own command again"),
                        (out / "config.yaml", "own command again")):  # fmt: skip
        away.rename(elsewhere)
        refused(match)
        elsewhere.rename(away)
    text = (source / "one.txt").read_text()
    (source / "one.txt").write_text(text.swapcase())
    refused("input .* differs")
    (source / "one.txt").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "VERSION", "another")
        refused("package differs")
    source.rename(elsewhere)  # for good: the remedy is to give the command with the new place
    nosology(*none_allowed, "--in", elsewhere, code=3)
    assert nosology("deadletter", "retry", out, "--reason", "bad_json", code=3)["records_dead"] == 3
    assert (out / "epoch-5.json").exists() and nosology("status", out) == before
    assert nosology("verify", out)["faults"] == []


def test_harm_is_told_with_its_file(run: Path, tmp_path: Path) -> None:
    nosology("ingest", "--in", run / "in", "--out", tmp_path / "run")
    part = next(path for path in sorted((tmp_path / "run" / "documents").iterdir()) if path.name != "empty.parquet")
    data = part.read_bytes()
    part.unlink()
    part.write_bytes(data[:-7])
    report = nosology("verify", tmp_path / "run", code=1)
    assert len(report["faults"]) == 1 and part.name in report["faults"][0] and "truncated" in report["faults"][0]
    error = nosology("publish", tmp_path / "run", "--to", tmp_path / "lake", code=2)["error"]
    assert "damaged: " in error and part.name in error and not (tmp_path / "lake").exists()


def test_publish_twice_adds_once(run: Path) -> None:
    import pyarrow.parquet as pq

    assert nosology("publish", run / "run", "--to", run / "lake")["added"] == 9
    assert pq.read_table(run / "lake" / "dead").num_rows == 3, "a folder of Parquet as any reader takes it"
    assert nosology("publish", run / "run", "--to", run / "lake")["added"] == 0
    assert "the input of this run" in nosology("publish", run / "run", "--to", run / "in", code=2)["error"]


def test_a_damaged_snapshot_is_a_fault_that_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "run", tmp_path / "run")
    (tmp_path / "run" / "epoch-2.json").unlink()  # as if it were not finished
    (tmp_path / "run" / "log.jsonl").write_bytes(b"")
    assert "ended_with" not in nosology("status", tmp_path / "run")
    epoch = tmp_path / "run" / "epoch-1.json"
    data = epoch.read_bytes()
    epoch.unlink()
    epoch.write_bytes(data[:-9])
    (fault,) = nosology("verify", tmp_path / "run", code=1)["faults"]
    assert "epoch-1.json" in fault


@pytest.mark.parametrize("verb", ["resume", "verify", "gc", "status"])
def test_no_run(tmp_path: Path, verb: str) -> None:
    assert str(tmp_path) in nosology(verb, tmp_path, code=2)["error"]
    assert str(tmp_path) in nosology("deadletter", "list", tmp_path, code=2)["error"]
