"""A Ray cluster with dashboard and token, as `ray start` makes it: own ports, own folder, own token, ended by process id."""

from __future__ import annotations

import os
import secrets
import shutil
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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))  # 0700, and short: Unix sockets lie in it
    token_file = folder / "token"
    token_file.touch(0o600)
    token_file.write_text(secrets.token_hex(32))
    gcs, dashboard, client, agent, agent_grpc, metrics, environment = free_ports(7)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    own["PYTHONPATH"] = str(ROOT)  # `serve.app` is found there
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
        shutil.rmtree(folder, ignore_errors=True)


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
    _, left = psutil.wait_procs([psutil.Process(head.pid), *family], 10)
    for process in left:
        process.kill()
    head.wait()


@pytest.fixture
def unused_port() -> int:
    return free_ports(1)[0]
