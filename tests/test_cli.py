"""The command line as a user meets it: exit status, the last JSON line, errors without traces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from nosology import cli, config, doctor
from nosology.errors import ConfigError, DeadLettersError

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
