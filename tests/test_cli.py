"""The command line as a user meets it: exit status, the last JSON line, errors without traces."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from nosology import cli, config, doctor
from nosology.errors import ConfigError, DeadLettersError, FingerprintError

CANARY = "Zebulon Quackenbush"


def nosology(*args: object) -> tuple[int, dict[str, Any], str]:
    """(exit status, last JSON line, everything printed)."""
    done = subprocess.run([sys.executable, "-m", "nosology.cli", *map(str, args)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a"), 2),
        (DeadLettersError("b", {"records_in": 1}), 3),
        (KeyboardInterrupt(), 1),
        (ValueError(CANARY), 1),
        (RuntimeError(CANARY), 1),
    ],
)
def test_exit_status_and_no_text_of_an_unforeseen_error(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> dict[str, Any]:
        raise error

    with pytest.raises(cli.typer.Exit) as left:
        cli._perform("code", True, work)
    out, err = capsys.readouterr()
    assert left.value.exit_code == status
    assert json.loads(out.splitlines()[-1])["exit"] == status
    assert CANARY not in out + err and "Traceback" not in out + err


def test_wrong_key_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("deid: {treshold: 0.5}\n")
    status, last, text = nosology("deidentify", "--config", bad, "--in", tmp_path, "--out", tmp_path / "out", "--json")
    assert status == 2 and "deid.threshold" in last["error"] and "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_config_prints_the_tree_and_writes_its_schema(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    status, last, _ = nosology("config", "train.zero=3", "--schema", schema, "--json")
    assert status == 0 and last["train"]["zero"] == 3
    assert json.loads(schema.read_text())["properties"].keys() == last.keys()
    status, _, text = nosology("config", "train.zero=2")
    assert status == 0 and yaml.safe_load(text)["train"]["zero"] == 2


def test_unknown_verb_and_missing_option_are_wrong_use() -> None:
    assert nosology("cod")[0] == 2
    assert nosology("code", "--out", "x")[0] == 2


def test_ingest_takes_a_csv_with_columns_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("nid,note\n1,has a cough\n2,has no cough\n")
    status, last, text = nosology(
        "ingest", "--in", tmp_path / "in.csv", "--out", tmp_path / "out", "--json", "input.text_column=note", "input.id_column=nid"
    )
    assert status == 0 and (last["records"], last["notes"], last["by_format"]) == (2, 2, {"csv": 2}), text


def test_doctor_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("")
    findings = {f.check: f for f in doctor.examine(config.Config(), str(blocked / "run"))}
    assert findings["encoder"].state == "bad" and "make models" in str(findings["encoder"].remedy)
    assert findings["storage"].state == "bad"
    assert findings["python"].state == "good" and findings["ray"].state == "good"
    assert all((f.state == "good") == (f.remedy is None) for f in findings.values())


def test_doctor_leaves_nothing_behind(tmp_path: Path) -> None:
    doctor.examine(config.Config(), str(tmp_path))
    assert not list(tmp_path.iterdir())


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_score_claims_its_folder(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", {"id": "1", "codes": ["I10"]})
    found = lines(tmp_path / "found.jsonl", {"id": "1", "codes": ["I10", "E11.9"]})
    base = lines(tmp_path / "base.jsonl", {"id": "1", "codes": ["E11.9"]})
    out = tmp_path / "out"
    command = ("score", "--in", found, "--gold", gold, "--out", out, "--json")
    lines(gold, {"id": "1", "codes": 0})
    assert nosology(*command)[0] == 2 and not (out / "fingerprint.json").exists(), "a file that was refused can be mended"
    lines(gold, {"id": "1", "codes": ["I10"]})
    first, again = nosology(*command), nosology(*command)
    assert first[0] == again[0] == 0 and first[1]["micro_f1"] == again[1]["micro_f1"] == 0.6667, first[2]
    kept = (out / "report.json").read_bytes()
    status, last, text = nosology(*command, "--base", base)
    assert status == 2 and "belongs to another job; different: base" in last["error"] and "Traceback" not in text
    assert "different: seed" in nosology(*command, "run.seed=5")[1]["error"]
    lines(gold, {"id": "1", "codes": ["E11.9"]})
    assert "different: gold" in nosology(*command)[1]["error"]
    assert (out / "report.json").read_bytes() == kept


def test_score_takes_no_folder_of_a_verb_with_a_ledger(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", {"id": "1", "codes": ["I10"]})
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "a cough"}\n')
    assert nosology("ingest", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out")[0] == 0
    kept = (tmp_path / "out" / "report.json").read_bytes()
    status, last, _ = nosology("score", "--in", gold, "--gold", gold, "--out", tmp_path / "out", "--json")
    assert status == 2 and "belongs to a run of ingest" in last["error"]
    assert (tmp_path / "out" / "report.json").read_bytes() == kept


def test_terms_score_has_a_folder_for_each_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology import verbs
    from nosology.engines import encoder
    from nosology.terminology import index

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder, "load_encoder", lambda _: None)
    monkeypatch.setattr(index, "score_terms", lambda path, *_: {"n": len(index.read_phrases(path))})
    one = lines(tmp_path / "one.jsonl", {"phrase": "high blood pressure", "code": "I10"})
    two = lines(tmp_path / "two.jsonl", {"phrase": "gout", "code": "M10.9"}, {"phrase": "asthma", "code": "J45.909"})
    plain = config.load([])
    first = verbs.terms_score(plain, one, None)
    assert re.fullmatch(r"runs/terms-score-[0-9a-f]{12}", first["run"])
    assert verbs.terms_score(plain, one, None)["run"] == first["run"], "the same command finds its folder again"
    others = [verbs.terms_score(plain, two, None), verbs.terms_score(config.load([], ["terminology.dense_weight=0.5"]), one, None)]
    left = verbs.terms_score(config.load([], [f"terminology.leave_out={two}"]), one, None)
    assert len({report["run"] for report in (first, left, *others)}) == 4
    verbs.terms_score(plain, one, "named")
    verbs.terms_score(plain, one, "named")
    with pytest.raises(FingerprintError, match="different: phrases"):
        verbs.terms_score(plain, two, "named")
