"""Jobs of a real Ray cluster, submitted with its token."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from nosology.config import Config, flatten, load
from nosology.distributed import submit as jobs
from nosology.errors import ConfigError, InputError, NosologyError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A small repository whose `code` job prints its arguments and ends with the status that it finds among them."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "code_archive.py").write_text(
        "import os, sys, signal\n"
        "print('arguments', sys.argv[1:], flush=True)\n"
        "wanted = sys.argv[-1].partition('=')[2]\n"
        "os.kill(os.getpid(), signal.SIGKILL) if wanted == 'kill' else sys.exit(int(wanted))\n"
    )
    (tmp_path / "runtime_env.yaml").write_text("working_dir: .\nenv_vars: {PYTHONPATH: platform}\nexcludes: [secret.txt]\n")
    (tmp_path / "secret.txt").write_text("stays here")
    return tmp_path


def test_a_job_that_succeeds(cluster: Any, toy: Path) -> None:
    log = io.StringIO()
    report = jobs.submit("code", ["--in", "a b.jsonl", "--out=s3://bucket/out", "status=0"], cluster.address, root=toy, log=log)
    assert report["job_status"] == "SUCCEEDED" and report["job"].startswith("raysubmit_")
    assert f"arguments ['--in', '{Path.cwd() / 'a b.jsonl'}', '--out', 's3://bucket/out', 'status=0']" in log.getvalue()


def test_a_job_server_that_takes_no_job(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def submit_job(self, **_: Any) -> str:
            raise RuntimeError("Request failed with status code 500: No available agent for secret.jsonl")

    monkeypatch.setattr(jobs, "connect", lambda _: Client())
    with pytest.raises(NosologyError, match="takes no job now") as failed:
        jobs.submit("code", ["--in", "secret.jsonl"], "http://127.0.0.1:1", root=toy, log=io.StringIO())
    assert failed.value.exit_code == 1 and "secret" not in str(failed.value) and failed.value.__suppress_context__


@pytest.mark.parametrize(("wanted", "status"), [("7", 7), ("kill", 137)])
def test_the_exit_status_of_a_job_that_fails_comes_back(cluster: Any, toy: Path, wanted: str, status: int) -> None:
    with pytest.raises(jobs.JobError) as failed:
        jobs.submit("code", [f"status={wanted}"], cluster.address, root=toy, log=io.StringIO())
    assert failed.value.exit_code == status and failed.value.report["job_status"] == "FAILED"


def test_the_repository_runs_as_a_job(cluster: Any) -> None:
    """The real scripts, packed as the real runtime_env.yaml says: the package is found there, and no test and no data went along."""
    log = io.StringIO()
    jobs.submit("ingest", ["--help"], cluster.address, root=ROOT, log=log)
    assert "Read archives" in log.getvalue()
    packed = [p for p in (cluster.folder / "r").rglob("working_dir_files/*/*") if (p / "nosology").is_dir()]
    assert packed
    names = {p.name for p in packed[0].parent.iterdir()}
    assert {"platform", "jobs", "runtime_env.yaml"} <= names and not names & {"tests", ".git", ".venv", "runs"}


def test_notes_are_coded_by_a_job(cluster: Any, tmp_path: Path) -> None:
    """`nosology submit code …` as a user types it: exit status, report, and the predictions in the run folder."""
    notes, out = tmp_path / "notes.jsonl", tmp_path / "coded"
    rows = [{"id": "a", "text": "ASSESSMENT: 1. Hypertension.", "date_of_service": "2026-05-01"}, {"id": "b", "text": " "}]
    notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "raw.yaml").write_text("coding: {input: raw}\n")
    command = [Path(sys.executable).with_name("nosology"), "submit", "code", "--address", cluster.address, "--json"]
    command += ["--in", "notes.jsonl", "--out", "coded", "--config", "raw.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["job_status"] == "SUCCEEDED"
    from nosology.distributed.stages import job_status, read_output

    status = job_status(str(out))
    assert status["finished"] and (status["ok"], status["dead"]) == (1, 1)
    (prediction,) = read_output(str(out), "predictions").to_pylist()
    assert prediction["document_id"] == "a" and "I10" in [code["code"] for code in prediction["codes"]]


CANARY = "Zebulon Quackenbush 908-66-1234"


def test_no_word_of_a_record_reaches_the_logs_of_jobs(cluster: Any, tmp_path: Path) -> None:
    """Good and broken records through two jobs, one of which fails: nothing in what is printed, nor in Ray's folder with its job logs."""
    good = {"id": "a", "text": f"Mr. {CANARY} has hypertension.", "sex": "male", "date_of_service": "2026-05-01"}
    bad = [{**good, "date_of_service": CANARY}, {**good, "text": [CANARY]}, {**good, "text": ""}]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [good, *bad]) + '{"text": "' + CANARY)
    (tmp_path / "in" / "cut.csv.gz").write_bytes(gzip.compress(f"id,text\na,{CANARY}\n".encode() * 9, 0)[:-30])
    said, statuses = "", []
    program = [Path(sys.executable).with_name("nosology"), "submit"]
    for verb, place, more in (("ingest", "in", "run.allowed_dead_share=0.1"), ("code", "in/notes.jsonl", "coding.input=raw")):
        command = [*program, verb, "--address", cluster.address, "--in", place, "--out", f"out/{verb}", more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        said, statuses = said + done.stdout + done.stderr, [*statuses, done.returncode]
    assert statuses == [3, 0] and "dead letters" in said, said.replace(CANARY, "CANARY")
    searched = [file for file in cluster.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.name.startswith("job-driver-") for file in searched), "job logs are where the test looks"
    words = [word.encode() for word in CANARY.split()]
    assert not [file.name for file in searched if any(word in file.read_bytes() for word in words)]
    assert not any(word in said for word in CANARY.split())


def test_without_the_token_nothing_is_answered(cluster: Any, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"entrypoint": "touch /tmp/never"}
    assert httpx.post(f"{cluster.address}/api/jobs/", json=body).status_code == 401
    assert httpx.post(f"{cluster.address}/api/jobs/", json=body, headers={"Authorization": "Bearer wrong"}).status_code == 403
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(InputError, match="refuses the token"):
        jobs.submit("code", ["status=0"], cluster.address, root=toy)


def test_an_address_without_a_cluster(toy: Path, unused_port: int) -> None:
    with pytest.raises(InputError, match="no job server answers"):
        jobs.submit("code", ["status=0"], f"http://127.0.0.1:{unused_port}", root=toy)


def test_a_verb_that_is_no_job() -> None:
    with pytest.raises(ConfigError, match="cannot run as a job"):
        jobs.submit("serve", [], "http://127.0.0.1:1")


def test_configs_travel_as_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("model: {base: model, encoder: hub/elsewhere}\ntrain: {epochs: 3, targets: [q_proj, v_proj]}\ncluster: c.yaml\n")
    (tmp_path / "c.yaml").write_text("address: auto\nbatch_rows: 99\n")
    second.write_text("train: {epochs: 4}\n")
    monkeypatch.chdir(tmp_path)
    sent = jobs.portable(["--config", "a.yaml", "--in=x", f"--config={second}", "train.epochs=5", "--json"])
    assert jobs.portable(["model.artefact=here"]) == [f"model.artefact={tmp_path / 'here'}"]
    assert sent[-4:] == ["--in", str(tmp_path / "x"), "train.epochs=5", "--json"]
    overrides = [argument for argument in sent if "=" in argument]
    there = dict(flatten(load([], overrides)))
    here = dict(flatten(load([first, second], ["train.epochs=5"])))
    assert there["model.base"] == str(tmp_path / "model") and there["cluster.address"] is None
    different = {key for key in here if here[key] != there[key]}
    assert different == {"model.base", "model.encoder", "cluster.address"}
    assert there["model.encoder"] == str(tmp_path / "hub" / "elsewhere")


def test_proof_of_de_identification_travels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("deid: {leave_out: [DEVICE], thresholds: {NAME: 0.1}}\n")
    monkeypatch.chdir(tmp_path)
    *overrides, accepted, option, gold = jobs.portable(["-c", "a.yaml", "--accept-residual", "--measure", "gold.jsonl"])
    assert load([], overrides).deid == load(["a.yaml"], ["deid.accept_residual=true"]).deid
    assert (accepted, option, gold) == ("--accept-residual", "--measure", str(tmp_path / "gold.jsonl"))


def test_a_config_that_does_not_load_stops_before_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("train: {epoch: 3}\n")
    with pytest.raises(ConfigError, match="train.epochs"):
        jobs.submit("train", ["--config", str(tmp_path / "bad.yaml")], "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="needs a value"):
        jobs.portable(["--in"])


@pytest.mark.parametrize("verb", jobs.SCRIPTS)
def test_every_script_runs_its_verb(verb: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "jobs" / f"{jobs.SCRIPTS[verb]}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and f" {verb} [OPTIONS]" in done.stdout, done.stderr


def test_the_example_configs_differ_from_the_defaults_only_where_they_say() -> None:
    for path in sorted((ROOT / "jobs" / "configs").glob("*.yaml")):
        assert load([path]) != Config(), path.name
