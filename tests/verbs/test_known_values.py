"""What records say of a patient is gone from the notes, through the command; what was gathered for it leaves nothing behind."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nosology import storage, verbs
from nosology.config import Config
from nosology.deid.detect import Detector
from nosology.deid.dossier import COMPLETE
from nosology.deid.stage import Deidentify
from nosology.distributed import dossiers
from nosology.distributed.stages import read_output
from nosology.errors import FingerprintError, InputError
from nosology.records import RawClaim, RawEncounter, RawPatient, RawProcedure, RawRemittance, to_table

TESTS = Path(__file__).parents[1]
sys.path[:0] = [path for path in map(str, (TESTS / "faults", TESTS / "faults" / "inject", TESTS / "readers")) if path not in sys.path]

import reader_samples as samples  # noqa: E402
from drivers import without_ray  # noqa: E402
from fixed_key import fixed  # noqa: E402

PATIENT = {
    "resourceType": "Patient", "id": "pat-77001", "name": [{"given": ["Marnie", "Q"], "family": "Coker-Larkspire"}],
    "telecom": [{"system": "phone", "value": "(415) 555-0134"}], "identifier": [{"value": "88-417"}],
    "address": [{"line": ["12 Larkmeadow Ln"], "city": "Mirefield", "state": "WI", "postalCode": "53140"}],
    "contact": [{"name": {"family": "Thornapple", "given": ["Odile"]}, "telecom": [{"system": "phone", "value": "555 0177"}]}],
}  # fmt: skip
# in small letters and in sentences in which no rule and no tagger takes them for names; a number with no word before it
TEXTS = {
    "d1": "cough gone. coker ok",
    "d2": "rash gone, larkspire cream tid",
    "d3": "fever since mirefield trip",
    "d4": "tray 88417 sent",
    "d5": "rash gone, thornapple cream tid, 555 01 77",
}
TOLD = ("coker", "larkspire", "mirefield", "88417", "thornapple", "01 77")


def fhir(folder: Path) -> None:
    """Patient and notes in files of their own; the notes in base64, as FHIR has them."""
    folder.mkdir()
    notes = [
        {
            "resourceType": "DocumentReference", "id": name, "status": "current", "subject": {"reference": "Patient/pat-77001"},
            "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}}],
        }
        for name, text in TEXTS.items()
    ]  # fmt: skip
    (folder / "a_notes.ndjson").write_text("".join(json.dumps(note) + "\n" for note in notes))
    (folder / "z_patients.ndjson").write_text(json.dumps(PATIENT) + "\n")


def texts(run: Path) -> list[str]:
    return [row["text"] for row in read_output(str(run), "documents").to_pylist()]


def configured(folder: Path, **deid: Any) -> Config:
    return Config.model_validate({"deid": {"key_file": fixed(folder / "key"), **deid}, "cluster": {"num_cpus": 1}})


def deidentified(folder: Path, source: Path, out: str = "clean", **deid: Any) -> dict[str, Any]:
    with without_ray():
        return verbs.deidentify(configured(folder, **deid), str(source), str(folder / out), None)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    fhir(tmp_path / "in")
    with without_ray():
        verbs.ingest(configured(tmp_path), [str(tmp_path / "in")], str(tmp_path / "raw"))
    return tmp_path / "raw"


def test_values_of_the_patient_are_gone_through_the_command(tmp_path: Path) -> None:
    fhir(tmp_path / "in")
    for arguments in (["ingest", "--in", "in", "--out", "raw"], ["deidentify", "--in", "raw", "--out", "clean", "deid.key_file=key"]):
        command = [sys.executable, "-m", "nosology.cli", *arguments, "cluster.num_cpus=1", "--json"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
    clean = " ".join(texts(tmp_path / "clean"))
    assert not [value for value in TOLD if value in clean.lower()], clean
    assert (
        clean
        == "cough gone. [NAME] ok rash gone, [NAME] cream tid fever since [LOCATION] trip tray [ID] sent rash gone, [NAME] cream tid, [PHONE]"
    )
    assert not (tmp_path / "clean" / ".known").exists()
    # the same notes without the records: the rules find none of these (a tagger may find some)
    alone = Deidentify(configured(tmp_path).deid)
    alone._detector = Detector(alone._config, rules_only=True)
    rows = [{**row, "_table": "documents"} for row in read_output(str(tmp_path / "raw"), "documents").to_pylist()]
    assert sorted(row["text"] for row in alone.process(rows)["documents"]) == sorted(TEXTS.values())


def test_claims_and_remittances_tell_of_the_notes_that_name_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "claim.837").write_bytes(samples.x12(samples.HEAD + samples.CLAIM.replace("QUIMBY", "COKER")))
    (folder / "answer.835").write_bytes(samples.x12(samples.REMITTANCE.replace("QUIMBY", "LARKSPIRE"), "005010X221A1", "835"))
    notes = [
        {"id": 1, "text": "cough gone. coker ok. W0001 seen", "claim_id": "C-1"},  # no patient: the claim's, W0001
        {"id": 2, "text": "cough gone. coker ok", "patient_id": "W0001"},
        {"id": 3, "text": "rash gone, larkspire cream tid", "claim_id": "C-1", "patient_id": "W0001"},
        {"id": 4, "text": "cough gone. coker ok", "patient_id": "W0002"},  # another patient, of whom nothing is known
        {"id": 5, "text": "cough gone", "patient_id": "W0001", "kind": "note coker"},
    ]
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    with without_ray():
        verbs.ingest(configured(tmp_path), [str(folder)], str(tmp_path / "raw"))
    deidentified(tmp_path, tmp_path / "raw")
    rows = read_output(str(tmp_path / "clean"), "documents").to_pylist()
    first, second, third, fourth, fifth = sorted(
        (row for row in rows if row["source_format"] == "jsonl"), key=lambda row: row["source_row"]
    )
    assert "coker" not in first["text"] + second["text"] and "W0001" not in first["text"] and "larkspire" not in third["text"]
    assert all("[NAME]" in row["text"] for row in (first, second, third)) and "[BENEFICIARY]" in first["text"]
    assert fourth["text"] == "cough gone. coker ok"  # nothing but the records finds it
    assert fifth["kind"] == "[NAME]"


def test_tables_of_a_user_tell_too(tmp_path: Path) -> None:
    """A table of patients in our schema beside notes; a row that cannot be read is passed over here, and a dead letter of the run."""
    folder = tmp_path / "in"
    folder.mkdir()
    key = {"source_digest": "d" * 64, "source_row": 0, "source_format": "jsonl"}
    names = dict.fromkeys(item.name for item in dataclasses.fields(RawPatient))
    patients = [{**names, **key, "patient_id": 7, "names": ["Marnie Coker"]}, {**names, **key, "patient_id": "\ud800", "names": [5, None]}]
    (folder / "patients.jsonl").write_text("".join(json.dumps(row) + "\n" for row in patients) + "{broken\n")
    (folder / "notes.jsonl").write_text(json.dumps({"id": 1, "patient_id": "7", "text": "cough gone. coker ok"}) + "\n")
    report = deidentified(tmp_path, folder)
    assert (report["records_in"], report["records_dead"]) == (4, 2) and "coker" not in texts(tmp_path / "clean")[0]


def notes_of_two(folder: Path) -> Path:
    """A name that the first note's context shows, and that stands without any in the second; another patient's note."""
    notes = [
        {"id": 1, "patient_id": "p1", "text": "Patient: Marnie Coker\nDr. Tindlemoor saw her for cough."},
        {"id": 2, "patient_id": "p1", "text": "cough gone. coker ok. tindlemoor cream tid"},
        {"id": 3, "patient_id": "p2", "text": "cough gone. coker ok. tindlemoor cream tid"},
        {"id": 4, "text": "cough gone. coker ok"},
    ]
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    return folder / "notes.jsonl"


def test_a_name_of_one_note_is_gone_from_the_others_of_the_patient(tmp_path: Path) -> None:
    notes, rules = notes_of_two(tmp_path), {"rules_alone": ("NAME", "ORGANIZATION", "LOCATION"), "accept_residual": True}
    deidentified(tmp_path, notes, "alone", **rules)
    assert texts(tmp_path / "alone")[1] == "cough gone. coker ok. tindlemoor cream tid"
    report = deidentified(tmp_path, notes, "together", consistency="patient", **rules)
    assert texts(tmp_path / "together")[1:] == [
        "cough gone. [NAME] ok. [NAME] cream tid",
        "cough gone. coker ok. tindlemoor cream tid",
        "cough gone. coker ok",
    ]
    assert report["records_ok"] == 4 and not (tmp_path / "together" / ".known").exists()


NOTE = "Patient: Marnie Coker\nSeen 03/04/2021 for cough. Ms. Coker is well."
SEEN = datetime.date(2021, 3, 4)


def joined(folder: Path) -> Path:
    """Records of one day: of a patient, by what they name; of a claim C-9 that nobody says the patient of; of another patient."""
    folder.mkdir()
    key = {"source_digest": "d" * 64, "source_format": "x12"}

    def table(name: str, record: type[Any], *rows: dict[str, Any]) -> None:
        pq.write_table(
            to_table(record, [record(**{**key, "source_row": n}, **row) for n, row in enumerate(rows)]), folder / f"{name}.parquet"
        )

    day = {"start_date": SEEN, "end_date": SEEN + datetime.timedelta(2)}
    table("encounters", RawEncounter, {"encounter_id": "E1", "patient_id": "P1", **day}, {"encounter_id": "E2", "patient_id": "P2", **day})
    # one claim names its patient, one its encounter alone, one neither
    claims = ({"claim_id": "C1", "patient_id": "P1"}, {"claim_id": "C2", "encounter_id": "E1"}, {"claim_id": "C9"})
    table("claims", RawClaim, *({"form": "professional", "service_from": SEEN, **claim} for claim in claims))
    table("remittances", RawRemittance, *({"claim_id": claim["claim_id"], "service_from": SEEN} for claim in claims))
    table("procedures", RawProcedure, {"procedure_id": "Q1", "encounter_id": "E1", **day})
    named = ({"patient_id": "P1"}, {"encounter_id": "E1"}, {"claim_id": "C1"}, {"claim_id": "C2"}, {"claim_id": "C9"}, {"patient_id": "P2"})
    rows = [{"id": n, "text": NOTE, "date_of_service": str(SEEN), **ids} for n, ids in enumerate(named)]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def of_each(run: Path) -> dict[str, list[Any]]:
    """What became of the day, by table, in the order of the input; of notes, the whole text too."""
    found = {}
    for table, column in {
        "encounters": "start_date",
        "claims": "service_from",
        "remittances": "service_from",
        "procedures": "start_date",
    }.items():
        found[table] = [row[column] for row in sorted(read_output(str(run), table).to_pylist(), key=lambda row: row["source_row"])]
    notes = sorted(read_output(str(run), "documents").to_pylist(), key=lambda row: row["source_row"])
    return {**found, "notes": [row["date"] for row in notes], "texts": [row["text"] for row in notes]}


def check_joined(found: dict[str, list[Any]]) -> None:
    """All of a patient move by the same days, and are told by the same names, whatever they name; what is another's moves by others."""
    days = found["encounters"][0]
    assert days != SEEN and days != found["encounters"][1]
    assert (
        found["claims"][:2] == found["remittances"][:2] == [days] * 2 and found["procedures"] == [days] and found["notes"][:4] == [days] * 4
    )
    assert len(set(found["texts"][:4])) == 1 and "Coker" not in " ".join(found["texts"]) and found["texts"][5] != found["texts"][0]
    # the claim stands for its patient in itself, its remittance and its note
    assert found["claims"][2] == found["remittances"][2] == found["notes"][4] not in (days, SEEN)
    assert found["notes"][5] == found["encounters"][1] and len({found["texts"][n] for n in (0, 4, 5)}) == 3


MOVED = {"dates": "shift", "rewrite": "surrogates"}


def test_rows_without_a_patient_move_with_the_patient_whose_they_are(tmp_path: Path) -> None:
    deidentified(tmp_path, joined(tmp_path / "in"), **MOVED)
    check_joined(of_each(tmp_path / "clean"))
    assert not (tmp_path / "clean" / ".known").exists()


def test_rows_without_a_patient_move_with_it_through_the_command(tmp_path: Path) -> None:
    joined(tmp_path / "in")
    sets = [f"deid.key_file={fixed(tmp_path / 'key')}", "deid.dates=shift", "deid.rewrite=surrogates", "cluster.num_cpus=1", "--json"]
    command = [sys.executable, "-m", "nosology.cli", "deidentify", "--in", "in", "--out", "clean", *sets]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    check_joined(of_each(tmp_path / "clean"))


def test_notes_alone_tell_whose_an_encounter_is(tmp_path: Path) -> None:
    """No table of records: a note names both, another the encounter alone. Where nothing is moved, nothing is gathered."""
    ids = ({"patient_id": "P1", "encounter_id": "E1"}, {"encounter_id": "E1"}, {"encounter_id": "E2"})
    rows = [{"id": n, "text": NOTE, **each} for n, each in enumerate(ids)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    deidentified(tmp_path, tmp_path / "notes.jsonl", **MOVED)
    first, second, third = texts(tmp_path / "clean")
    assert first == second != third
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dossiers, "gather", lambda *_: pytest.fail("gathered"))
        deidentified(tmp_path, tmp_path / "notes.jsonl", "plain")


def test_a_run_that_is_killed_moves_the_rest_by_the_same_days(tmp_path: Path) -> None:
    """Killed when all is gathered, and after its first commit."""
    source = joined(tmp_path / "in")
    deidentified(tmp_path, source, "whole", **MOVED)
    for moment in ("run", "commit"):
        out = f"killed-{moment}"
        code = KILLED.format(tests=str(TESTS), moment=moment, folder=str(tmp_path), source=str(source), out=out, deid=MOVED)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert ran.returncode == -signal.SIGKILL, ran.stderr[-2000:]
        assert (tmp_path / out / ".known" / "values" / COMPLETE).exists()
        deidentified(tmp_path, source, out, **MOVED)
        assert of_each(tmp_path / out) == of_each(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/verbs"]
import test_known_values as these
from nosology import storage
from nosology.deid import dossier
from nosology.distributed import stages
if {moment!r} == "building":
    dossier._file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
elif {moment!r} == "commit":
    answer = stages._Worker.__call__
    done = []
    def counted(worker, batch):
        if done:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(batch)
        return answer(worker, batch)
    stages._Worker.__call__ = counted
else:
    do = stages._do
    stages._do = lambda ledger, *rest: os.kill(os.getpid(), signal.SIGKILL) if ledger.out.endswith({out!r}) else do(ledger, *rest)
these.deidentified(Path({folder!r}), Path({source!r}), {out!r}, **{deid!r})
"""


@pytest.mark.parametrize("moment", ["building", "run"])
def test_a_run_that_is_killed_meanwhile_resumes_and_shows_nothing(raw: Path, moment: str) -> None:
    folder = raw.parent
    deidentified(folder, raw, "whole", consistency="patient")
    deid = {"consistency": "patient"}
    code = KILLED.format(tests=str(TESTS), moment=moment, folder=str(folder), source=str(raw), out="killed", deid=deid)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == -signal.SIGKILL, ran.stderr[-2000:]
    known = folder / "killed" / ".known"
    assert (known / "names" / "job.json").exists() and (known / "values" / COMPLETE).exists() == (moment == "run")
    held = {file: file.read_bytes() for file in (folder / "killed").rglob("*") if file.is_file()}
    assert any(file.name.startswith("patients-") for file in held) == (moment == "run")
    values = [*TOLD, "pat-77001", "Marnie", "Coker", "Larkspire", "Mirefield", "Larkmeadow", "555-0134", "88-417"]
    assert not [(file, value) for file, data in held.items() for value in values if value.encode() in data]
    deidentified(folder, raw, "killed", consistency="patient")
    assert texts(folder / "killed") == texts(folder / "whole") and not known.exists()
    deidentified(folder, raw, "killed", consistency="patient")  # a finished run gathers nothing
    assert not known.exists()


def test_a_run_that_is_refused_gathers_nothing(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deidentified(raw.parent, raw)
    monkeypatch.setattr(dossiers, "gather", lambda *_: pytest.fail("gathered"))
    with pytest.raises(FingerprintError, match=r"deid\.dates"):
        deidentified(raw.parent, raw, dates="shift")
    deidentified(raw.parent, raw, policy="safe_harbor")  # which None means: the same job, finished


def test_values_that_vanish_stop_the_run_and_lose_no_row(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot read what is known must not clean without it."""
    gather = dossiers.gather

    def gone(files: Any, folder: str, *rest: Any) -> None:
        gather(files, folder, *rest)
        for uri in storage.list_files(folder):
            if "/patients-" in uri:
                storage.remove(uri)

    with monkeypatch.context() as patch:
        patch.setattr(dossiers, "gather", gone)
        with pytest.raises(InputError):
            deidentified(raw.parent, raw)
    storage.remove(str(raw.parent / "clean" / ".known" / "values" / COMPLETE))
    assert deidentified(raw.parent, raw)["records_ok"] == 6
    assert not any(value in " ".join(texts(raw.parent / "clean")) for value in TOLD)
