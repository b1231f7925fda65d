"""`nosology reidentify` on a run that was made here, through the ledger of every run, without Ray."""

from __future__ import annotations

import datetime
import json
import os
import pwd
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from fixed_key import fixed
from nosology import verbs
from nosology.config import Config, load
from nosology.deid import disclosures
from nosology.deid.detect import Detector
from nosology.deid.secret import load_secret
from nosology.deid.stage import Deidentify
from nosology.distributed import sink
from nosology.distributed.coverage import Tally
from nosology.distributed.source import Rows, plan
from nosology.distributed.stages import read_output
from nosology.errors import ConfigError, FingerprintError, InputError
from nosology.records import TABLES
from nosology.runs import Run, fingerprint
from nosology.storage import StorageError
from nosology.verbs.lineage import input_columns
from nosology.verbs.upkeep import ProofError

NOTES = [
    {"id": "note-77", "patient_id": "pat-1", "text": "Patient: Quackenbush, Zebulon. Dr. Quackenbush on 03/14/2019, MRN: 00412345."},
    {"id": "note-78", "patient_id": "pat-1", "text": "Mr. Quackenbush called from 617-726-2000."},
    {"id": "note-79", "patient_id": "pat-2", "text": "Ms. Okonkwo, SSN 123-45-6789."},
]
VALUES = ("Quackenbush", "Zebulon", "00412345", "726-2000", "Okonkwo", "123-45-6789", "note-77", "pat-1")
ASKED = {"by": "Dr. A. Privacy", "reason": "call the patient back"}


def make_run(folder: Path, *overrides: str, key: str = "key") -> Path:
    """A finished run of `deidentify` over the notes, as its workers would commit it."""
    source, out = folder / "notes.jsonl", folder / "run"
    source.write_text("".join(json.dumps(note) + "\n" for note in NOTES))
    config: Config = load(overrides=[f"deid.key_file={fixed(folder / key)}", *overrides])
    with Run(str(out), "deidentify", config, source=str(source)) as run:
        files = plan([str(source)], input_columns(config.input), list(TABLES))
        stage = Deidentify(config.deid, config.input)
        stage._detector = Detector(config.deid, rules_only=True)
        schemas = stage.schemas()
        marks = fingerprint("deidentify", config.deid, deid_key=load_secret(config.deid).fingerprint)  # by rules alone: no tagger is loaded
        ledger = sink.open_ledger(str(out), "deidentify", marks, files, 16, schemas)
        for interval in list(ledger.pending()):
            rows: list[Any] = list(Rows(files).read(interval))
            attempt = ledger.writer(schemas).begin(interval)
            for name, made in stage.process(rows).items():
                attempt.add(name, pa.Table.from_pylist(made, schema=schemas[name]))
            ledger.accept(attempt.commit(Tally(records=len(rows), ok=len(rows), formats=Counter(jsonl=len(rows)))))
        ledger.finish()
        run.finish({})
    return out


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_run(tmp_path, "deid.reversible=true", "deid.rewrite=surrogates")


def pseudonyms(run: Path) -> list[tuple[str, str]]:
    found = read_output(str(run), "documents")
    return list(zip(found["document_id"].to_pylist(), found["patient_id"].to_pylist(), strict=True))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_note_comes_back_with_an_entry_and_no_value_elsewhere(made: Path, tmp_path: Path) -> None:
    note, _ = pseudonyms(made)[0]
    to = tmp_path / "back.jsonl"
    report = verbs.reidentify(str(made), [note], to=to, **ASKED)
    (line,) = map(json.loads, to.read_text().splitlines())
    assert line["text"] == NOTES[0]["text"] and line["fields"]["document_id"] == "note-77" and line["fields"]["patient_id"] == "pat-1"
    assert stat.S_IMODE(to.stat().st_mode) == 0o600 and report["records"] == 1
    entry = json.loads((made / "reidentifications" / "000001.json").read_text())
    assert entry["claimed_by"] == ASKED["by"] and entry["reason"] == ASKED["reason"] and entry["count"] == 1 and entry["ids"] == [note]
    assert entry["records"][0]["source_row"] == 0 and entry["time"].endswith("+00:00") and line["entry_sha256"] == report["entry_sha256"]
    tables = {name: read_output(str(made), name).to_pylist() for name in sink.snapshot(str(made)).job.schemas}  # uncompressed
    assert len(tables["sealed"]) == len(tables["documents"]) == 3
    for name, data in {**files_of(made), **{name: repr(rows).encode() for name, rows in tables.items()}}.items():
        assert not [value for value in VALUES if value.encode() in data], name
    assert not any(value in json.dumps(report) for value in VALUES)


def test_a_patient_brings_all_of_its_notes(made: Path, tmp_path: Path) -> None:
    patient = pseudonyms(made)[0][1]
    report = verbs.reidentify(str(made), [patient, pseudonyms(made)[2][0]], to=tmp_path / "back", **ASKED)
    assert report["records"] == 3
    assert [json.loads(line)["text"] for line in (tmp_path / "back").read_text().splitlines()] == [note["text"] for note in NOTES]


def test_another_key_or_none_is_refused_and_nothing_is_entered(made: Path, tmp_path: Path) -> None:
    note = pseudonyms(made)[0][0]
    other = tmp_path / "other"
    load_secret(Config().deid.model_copy(update={"key_file": str(other)}))
    with pytest.raises(ConfigError, match="not the one"):
        verbs.reidentify(str(made), [note], to=tmp_path / "back", key_file=other, **ASKED)
    with pytest.raises(ConfigError, match="cannot be read"):
        verbs.reidentify(str(made), [note], to=tmp_path / "back", key_file=tmp_path / "none", **ASKED)
    (tmp_path / "key").rename(tmp_path / "moved")
    with pytest.raises(ConfigError):
        verbs.reidentify(str(made), [note], to=tmp_path / "back", **ASKED)
    assert not (tmp_path / "key").exists() and not (tmp_path / "back").exists() and not (made / "reidentifications").exists()
    assert verbs.reidentify(str(made), [note], to=tmp_path / "back", key_file=tmp_path / "moved", **ASKED)["records"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"by": " "}, ConfigError),
        ({"reason": ""}, ConfigError),
        ({"ids": []}, ConfigError),
        ({"ids": ["nobody"]}, InputError),
        ({"to": "here"}, InputError),
        ({"to": "no/such/folder"}, InputError),
        ({"to": "run/back"}, InputError),
        ({"to": "run/documents/back"}, InputError),
        ({"to": "link/back"}, InputError),
        ({"run": "."}, InputError),
    ],
)
def test_wrong_use_is_refused_before_the_register(made: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception]) -> None:
    (tmp_path / "here").write_text("mine")
    (tmp_path / "link").symlink_to(made / "documents")
    given = {"run": str(made), "ids": [pseudonyms(made)[0][0]], "to": "back", **ASKED, **change}
    with pytest.raises(error) as caught:
        verbs.reidentify(**{**given, "to": tmp_path / given["to"], "run": str(tmp_path / given["run"])})
    assert getattr(caught.value, "exit_code", None) == 2
    assert not (made / "reidentifications").exists() and (tmp_path / "here").read_text() == "mine"


def test_a_run_that_is_not_reversible_has_nothing_to_open(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert not (run / "sealed").exists()
    with pytest.raises(InputError, match="reversible"):
        verbs.reidentify(str(run), [pseudonyms(run)[0][0]], to=tmp_path / "back", **ASKED)


def test_without_a_writable_register_nothing_comes_back(made: Path, tmp_path: Path) -> None:
    (made / "reidentifications").write_text("no folder")
    with pytest.raises((StorageError, InputError)):
        verbs.reidentify(str(made), [pseudonyms(made)[0][0]], to=tmp_path / "back", **ASKED)
    assert not (tmp_path / "back").exists()


def ask(made: Path, tmp_path: Path, times: int) -> list[Path]:
    for number in range(times):
        verbs.reidentify(str(made), [pseudonyms(made)[number % 3][0]], to=tmp_path / f"back-{number}", **ASKED)
    return sorted((made / "reidentifications").iterdir())


def test_an_entry_of_another_history_of_the_run_is_found(made: Path, tmp_path: Path) -> None:
    """Right in itself, but not the one that the second follows."""
    note, entry = pseudonyms(made)[0][0], made / "reidentifications" / "000001.json"
    verbs.reidentify(str(made), [note], "B", "another time", tmp_path / "before")
    first = entry.read_text()
    entry.unlink()
    ask(made, tmp_path, 2)
    entry.write_text(first)
    with pytest.raises(InputError, match="register"):
        verbs.reidentify(str(made), [note], to=tmp_path / "back", **ASKED)


def test_entries_are_a_chain(made: Path, tmp_path: Path) -> None:
    ask(made, tmp_path, 3)
    secret = load_secret(load(overrides=[f"deid.key_file={tmp_path / 'key'}"]).deid, make=False)
    found = disclosures.entries(str(made), secret)
    assert [entry.body["number"] for entry in found] == [1, 2, 3]
    assert [entry.body["before"] for entry in found] == ["0" * 64, found[0].digest, found[1].digest]
    assert len({entry.body["nonce"] for entry in found}) == 3
    assert sorted(entry.body["time"] for entry in found) == [entry.body["time"] for entry in found]


def test_an_entry_names_the_account_and_only_its_owner_reads_it(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody else")
    old = os.umask(0)
    try:
        (entry,) = ask(made, tmp_path, 1)
    finally:
        os.umask(old)
    body = json.loads(entry.read_text())
    assert body["account"] == pwd.getpwuid(os.geteuid()).pw_name and body["uid"] == os.geteuid() and body["claimed_by"] == ASKED["by"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (entry.parent, entry, tmp_path / "back-0")] == [0o700, 0o600, 0o600]


def test_no_entry_is_older_than_the_one_before_it(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Behind(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.now(tz) - datetime.timedelta(hours=1)

    ask(made, tmp_path, 1)
    monkeypatch.setattr(disclosures, "datetime", SimpleNamespace(datetime=Behind, UTC=datetime.UTC))
    with pytest.raises(InputError, match="clock.*behind"):
        verbs.reidentify(str(made), [pseudonyms(made)[0][0]], to=tmp_path / "back", **ASKED)
    assert not (tmp_path / "back").exists() and len(list((made / "reidentifications").iterdir())) == 1


def test_anybody_can_verify_the_register(made: Path, tmp_path: Path) -> None:
    assert "register" not in verbs.verify(str(made), False)
    entries = ask(made, tmp_path, 3)
    assert verbs.verify(str(made), False)["register"] == {"entries": 3, "by": "key"}
    right = entries[2].read_text()
    entries[2].write_text(right.replace("Privacy", "Nobody"))  # nothing follows it, so the key alone finds it
    with pytest.raises(ProofError, match="entry 3 of the register"):
        verbs.verify(str(made), False)
    entries[2].write_text(right)
    (tmp_path / "key").rename(tmp_path / "away")
    assert verbs.verify(str(made), False)["register"] == {"entries": 3, "by": "chain"}
    entries[1].write_text(entries[1].read_text().replace("Privacy", "Nobody"))
    with pytest.raises(ProofError, match="entry 3 of the register"):
        verbs.verify(str(made), False)
    entries[1].unlink()
    with pytest.raises(ProofError, match="entry 2 of the register"):
        verbs.verify(str(made), False)


@pytest.mark.parametrize("harm", ["change", "remove", "remove first", "forge", "add", "swap", "exchange", "exchange last"])
def test_a_changed_register_is_found_and_nothing_comes_back(made: Path, tmp_path: Path, harm: str) -> None:
    entries = ask(made, tmp_path, 3)
    if harm == "change":
        entries[1].write_text(entries[1].read_text().replace("Privacy", "Nobody"))
    elif harm == "remove":
        entries[1].unlink()
    elif harm == "remove first":
        entries[0].unlink()
    elif harm == "forge":  # the last one, after which no other tells its digest
        entries[2].write_text(entries[2].read_text().replace("Privacy", "Nobody"))
    elif harm == "add":
        (made / "reidentifications" / "000004.json").write_text("{}")
    elif harm.startswith("exchange"):  # a right one, of another run with the same key, or of this one at another time
        (tmp_path / "other").mkdir()
        other = make_run(tmp_path / "other", "deid.reversible=true", "deid.dates=shift")
        entries[1 if harm == "exchange" else 2].write_text(ask(other, tmp_path / "other", 3)[1 if harm == "exchange" else 2].read_text())
    else:
        first, second = entries[0].read_text(), entries[1].read_text()
        entries[0].write_text(second)
        entries[1].write_text(first)
    with pytest.raises(InputError, match="register of re-identifications"):
        verbs.reidentify(str(made), [pseudonyms(made)[0][0]], to=tmp_path / "back", **ASKED)
    assert not (tmp_path / "back").exists()


def test_a_run_keeps_its_folder_and_its_proof(made: Path, tmp_path: Path) -> None:
    ask(made, tmp_path, 1)
    assert verbs.verify(str(made), False)["faults"] == [] and verbs.gc(str(made), 0.0)
    assert (made / "reidentifications" / "000001.json").exists()
    with pytest.raises(FingerprintError):  # the policy cannot be made reversible afterwards
        make_run(tmp_path)


def test_what_tells_of_the_text_before_is_not_handed_on(made: Path, tmp_path: Path) -> None:
    report = verbs.publish(str(made), str(tmp_path / "lake"))
    assert set(report["not_handed_on"]) == {"sealed", "audit", "spans"} and all(report["not_handed_on"].values())
    there = {path.name for path in (tmp_path / "lake").iterdir()}
    assert there == set(sink.snapshot(str(made)).job.schemas) - {"sealed", "audit", "spans"} | {"dead"} == set(report["tables"])
    assert report["tables"]["documents"] == {"rows": 3, "added": 3}


def test_the_command(made: Path, tmp_path: Path) -> None:
    note = pseudonyms(made)[0][0]

    def run(*more: str) -> tuple[int, str, str]:
        call = [sys.executable, "-m", "nosology.cli", "reidentify", "--in", str(made), "--id", note, "--by", "A", *more, "--json"]
        done = subprocess.run(call, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert run("--to", str(tmp_path / "back"))[0] == 2  # no reason
    status, out, err = run("--to", str(tmp_path / "back"), "--reason", "asked by the court")
    assert status == 0 and json.loads(out.splitlines()[-1])["records"] == 1
    assert not any(value in out + err for value in VALUES) and "Quackenbush" in (tmp_path / "back").read_text()
    status, out, _ = run("--to", str(tmp_path / "back"), "--reason", "again")
    assert status == 2 and "already" in json.loads(out.splitlines()[-1])["error"]
