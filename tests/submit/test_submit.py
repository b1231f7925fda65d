"""Jobs of a real Ray cluster that the test starts itself: own ports, own folder, own token, ended by process id."""

from __future__ import annotations

import io
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from nosology.config import Config, flatten, load
from nosology.distributed import submit as jobs
from nosology.errors import ConfigError, InputError

ROOT = Path(__file__).parents[2]


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass(frozen=True)
class Cluster:
    address: str
    folder: Path
    token: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))  # 0700, and short: Unix sockets lie in it
    token_file = folder / "token"
    token_file.touch(0o600)
    token_file.write_text(secrets.token_hex(32))
    gcs, dashboard, client, agent, agent_grpc, metrics, environment = free_ports(7)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONPATH"}
    options = {
        "node-ip-address": "127.0.0.1", "port": gcs, "dashboard-host": "127.0.0.1", "dashboard-port": dashboard,
        "ray-client-server-port": client, "dashboard-agent-listen-port": agent, "dashboard-agent-grpc-port": agent_grpc,
        "metrics-export-port": metrics, "runtime-env-agent-port": environment, "include-dashboard": "true", "num-cpus": 2,
        "object-store-memory": 100 << 20, "temp-dir": folder / "r",
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with open(folder / "start.log", "w") as log:
        head = subprocess.Popen(command, env=inherited | own, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    os.environ.update({name: own[name] for name in before})
    try:
        url = f"http://127.0.0.1:{dashboard}"
        _wait_for_jobs_server(url, token_file.read_text(), head, folder / "start.log")
        yield Cluster(url, folder, token_file.read_text())
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _end(head)


def _wait_for_jobs_server(url: str, token: str, head: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert head.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("no job server: " + log.read_text())


def _end(head: subprocess.Popen[bytes]) -> None:
    """Ends the head and what it started, each by its process id."""
    family = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    head.wait(30)
    _, left = psutil.wait_procs(family, 10)
    for process in left:
        process.kill()


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


def test_a_job_that_succeeds(cluster: Cluster, toy: Path) -> None:
    log = io.StringIO()
    report = jobs.submit("code", ["--in", "a b.jsonl", "--out=s3://bucket/out", "status=0"], cluster.address, root=toy, log=log)
    assert report["job_status"] == "SUCCEEDED" and report["job"].startswith("raysubmit_")
    assert f"arguments ['--in', '{Path.cwd() / 'a b.jsonl'}', '--out', 's3://bucket/out', 'status=0']" in log.getvalue()


@pytest.mark.parametrize(("wanted", "status"), [("7", 7), ("kill", 137)])
def test_the_exit_status_of_a_job_that_fails_comes_back(cluster: Cluster, toy: Path, wanted: str, status: int) -> None:
    with pytest.raises(jobs.JobError) as failed:
        jobs.submit("code", [f"status={wanted}"], cluster.address, root=toy, log=io.StringIO())
    assert failed.value.exit_code == status and failed.value.report["job_status"] == "FAILED"


def test_the_repository_runs_as_a_job(cluster: Cluster) -> None:
    """The real scripts, packed as the real runtime_env.yaml says: the package is found there, and no test and no data went along."""
    log = io.StringIO()
    jobs.submit("ingest", ["--help"], cluster.address, root=ROOT, log=log)
    assert "Read archives" in log.getvalue()
    packed = [p for p in (cluster.folder / "r").rglob("working_dir_files/*/*") if (p / "nosology").is_dir()]
    assert packed
    names = {p.name for p in packed[0].parent.iterdir()}
    assert {"platform", "jobs", "runtime_env.yaml"} <= names and not names & {"tests", ".git", ".venv", "runs"}


def test_without_the_token_nothing_is_answered(cluster: Cluster, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"entrypoint": "touch /tmp/never"}
    assert httpx.post(f"{cluster.address}/api/jobs/", json=body).status_code == 401
    assert httpx.post(f"{cluster.address}/api/jobs/", json=body, headers={"Authorization": "Bearer wrong"}).status_code == 403
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(InputError, match="refuses the token"):
        jobs.submit("code", ["status=0"], cluster.address, root=toy)


def test_an_address_without_a_cluster(toy: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(InputError, match="no job server answers"):
        jobs.submit("code", ["status=0"], f"http://127.0.0.1:{port}", root=toy)


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
    assert sent[-4:] == ["--in", str(tmp_path / "x"), "train.epochs=5", "--json"]
    overrides = [argument for argument in sent if "=" in argument]
    there = dict(flatten(load([], overrides)))
    here = dict(flatten(load([first, second], ["train.epochs=5"])))
    assert there["model.base"] == str(tmp_path / "model") and there["cluster.address"] is None
    different = {key for key in here if here[key] != there[key]}
    assert different == {"model.base", "cluster.address"}


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
