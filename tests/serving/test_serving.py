"""The Serve application on a real Ray cluster of this machine, with made-up coder and engine, over loopback HTTP."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from nosology.config import ClusterConfig, Config
from nosology.errors import ConfigError, ModelError, NosologyError, RecordError

CANARY = "Zebulon Quackenbush 987-65-4329"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Done:
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class FakeEngine:
    """Prefers the choice that stands in the last message."""

    def choose(self, prompts: Sequence[Any], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[1.0 if c in prompt[-1]["content"] else 0.0 for c in offered] for prompt, offered in zip(prompts, choices, strict=True)]

    def chat(self, messages: Sequence[Any], max_tokens: int, temperature: float, choices: Sequence[str] | None = None) -> Done:
        if "fail" in messages[-1]["content"]:
            raise ValueError(messages[-1]["content"])
        return Done(choices[-1] if choices else "hello", "stop", len(messages), 1)


class FakeCoder:
    """Codes J06.9 or I10, whichever the served engine chooses; refuses, breaks or dies on a word."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        predictions = []
        for row in rows:
            if "refuse" in row["text"]:
                raise RecordError("impossible_date", "date_of_service", "must not lie before the first release")
            if "away" in row["text"]:
                raise NosologyError("the index is gone")
            if "break" in row["text"]:
                print(row["text"], flush=True)  # as a careless library would
                raise ValueError(row["text"])
            if "always" in row["text"]:
                os._exit(1)
            if "hang" in row["text"]:
                re.match(r"(a+)+b", "a" * 64)  # some years, with the interpreter's lock held
            if "die" in row["text"] and not Path(row["text"].split()[-1]).exists():
                Path(row["text"].split()[-1]).touch()
                os._exit(1)
            ((cold, _),) = self.engine.choose([[{"role": "user", "content": row["text"]}]], [["cold", "pressure"]])
            code = {"code": "J06.9" if cold > 0.5 else "I10", "title": "t", "confidence": 1.0, "route": "auto", "assertion": "present"}
            code |= {"section": "body", "trail": [], "evidence": [{"start": 0, "end": 1, "text": row["text"][:1]}]}
            predictions.append({"codes": [code], "route": "auto", "release": "2026-04"})
        return predictions


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    from nosology.distributed.session import session

    with session(ClusterConfig(num_cpus=2)) as running:
        yield Path(running.folder)


@pytest.fixture(scope="module")
def service(cluster: Path) -> Iterator[tuple[Config, str]]:
    from nosology.distributed import serving

    config = Config.model_validate({"serve": {"port": free_port(), "max_body_bytes": 65536}})
    url = serving.start(config, serving.application(config, coder=FakeCoder, engine=FakeEngine, digest=lambda: "d1"))
    yield config, url
    serving.stop()


def broken_coder(_: Any) -> Any:
    raise ModelError("model.encoder: no such directory")


def test_a_model_that_cannot_be_loaded_is_named_and_leaves_nothing_behind(cluster: Path) -> None:
    from nosology.distributed import serving
    from ray import serve

    config = Config.model_validate({"serve": {"port": free_port()}})
    with pytest.raises(ModelError, match=r"did not start: model\.encoder: no such directory$"):
        serving.start(config, serving.application(config, coder=broken_coder))
    assert not serve.status().applications


def test_the_served_model_makes_the_choice(service: tuple[Config, str]) -> None:
    for text, code in (("a cold", "J06.9"), ("high pressure", "I10")):
        answer = httpx.post(f"{service[1]}/v1/code", json={"id": "n1", "text": text}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == "n1" and answer.json()["codes"][0]["code"] == code


def test_chat_models_health_metrics(service: tuple[Config, str]) -> None:
    url = service[1]
    body = {"model": "nosology", "messages": [{"role": "user", "content": "x"}], "structured_outputs": {"choice": ["A", "B"]}}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["message"]["content"] == "B" and answer["usage"]["total_tokens"] == 2
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["digest"] == "d1"
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert 'nosology_requests_total{route="/v1/chat/completions",status="200"} 1.0' in httpx.get(f"{url}/metrics").text


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/v1/code", {"json": {"text": f"refuse {CANARY}"}}, 422),
        ("/v1/code", {"json": {"text": f"break {CANARY}"}}, 500),
        ("/v1/code", {"json": {"text": CANARY * 20_000}}, 413),  # 620 kB against 64 kB: the client may still be writing
        ("/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": f"fail {CANARY}"}]}}, 500),
        (f"/v1/{CANARY}", {"json": {"text": "x"}, "headers": {"x-request-id": CANARY}}, 404),
        ("/v1/code", {"content": b'{"text": "' + CANARY.encode(), "headers": {"content-type": "application/json"}}, 400),
        ("/v1/code", {"json": {"text": "x", "sex": CANARY, CANARY: 1}}, 422),
        ("/v1/code", {"json": {"text": ["x"]}, "params": {"patient": CANARY}, "headers": {"user-agent": CANARY, "cookie": CANARY}}, 422),
        ("/v1/chat/completions", {"json": {"model": CANARY, "messages": [{"role": "user", "content": "x"}]}}, 404),
    ],
)
def test_faults_are_answered_and_no_value_is_logged(
    service: tuple[Config, str], cluster: Path, path: str, options: dict[str, Any], status: int
) -> None:
    answer = httpx.post(service[1] + path, timeout=60, **options)
    assert answer.status_code == status and set(answer.json()) == {"error"}
    assert "Zebulon" not in answer.text
    assert not leaks(cluster)


@pytest.mark.parametrize(
    "request_",
    [
        f"{CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\n\r\n",
        f"POST /v1/code HTTP/1.1\r\nhost: x\r\ncontent-length: {CANARY}\r\n\r\n",
        f"POST /v1/code HTTP/1.1\r\nhost: x\r\nexpect: {CANARY}\r\n{CANARY}\r\n\r\n",
        f"POST /v1/code?patient={CANARY.replace(' ', '+')} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{CANARY}\r\n",
        f'POST /v1/code HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{{"text": "{CANARY}',
        f"PURGE /v1/code/{CANARY.replace(' ', '%20')} HTTP/1.1\r\nhost: {CANARY}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_is_not_logged_either(service: tuple[Config, str], cluster: Path, request_: str) -> None:
    """Bytes that the HTTP server itself refuses, and a client that leaves in the middle of its body."""
    with socket.create_connection(("127.0.0.1", service[0].serve.port), timeout=10) as client:
        client.sendall(request_.encode())
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert b"Zebulon" not in answer and not answer.startswith(b"HTTP/1.1 2")
    assert httpx.get(f"{service[1]}/healthz").status_code == 200
    assert not leaks(cluster)


def test_no_measure_holds_a_value(service: tuple[Config, str]) -> None:
    """Those of Ray, which its metrics port tells anyone, and those of the service; asked when Ray's know of the faults above."""
    import ray

    httpx.post(f"{service[1]}/v1/{CANARY}", json={"text": "x"}, timeout=60)
    ports = [f"http://127.0.0.1:{node['MetricsExportPort']}/metrics" for node in ray.nodes()]
    for _ in range(300):
        told = "".join(httpx.get(port, timeout=30).text for port in ports)
        if re.search(r'(?m)^ray_serve_num_http_error_requests.*"404"', told):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("Ray's measures never told of the requests")
    assert "Zebulon" not in told and "Zebulon" not in httpx.get(f"{service[1]}/metrics").text


def leaks(cluster: Path) -> list[str]:
    """Files of Ray's folder in which the canary stands."""
    logs = [file for file in cluster.rglob("*") if file.is_file() and not file.is_symlink()]
    assert [file for file in logs if "serve" in file.parts]
    return [file.name for file in logs if b"Zebulon" in file.read_bytes()]


def test_the_client_of_the_batch(service: tuple[Config, str], tmp_path: Path) -> None:
    import pickle

    from nosology.distributed.serving import CoderClient

    client = pickle.loads(pickle.dumps(CoderClient(application="nosology")))
    rows = [{"text": "cold"}, {"text": "pressure"}]
    assert [p["codes"][0]["code"] for p in client(rows)] == ["J06.9", "I10"]
    with pytest.raises(RecordError) as refused:
        client([{"text": f"refuse {CANARY}"}])
    assert refused.value.reason.code == "impossible_date"
    with pytest.raises(RecordError) as broke:
        client([{"text": f"break {CANARY}"}])
    assert broke.value.reason.code == "internal_error" and "ValueError" in str(broke.value) and "Zebulon" not in str(broke.value)


def test_a_batch_has_an_application_of_its_own(service: tuple[Config, str]) -> None:
    import ray
    from nosology.distributed import serving
    from ray import serve

    config, url = service
    orphan = serving.BATCH + "ffffffff"  # as a batch leaves it whose driver was killed
    serve.run(serving.application(config, coder=FakeCoder, engine=FakeEngine, digest=lambda: ""), name=orphan, route_prefix=None)
    with serving.served(config, serving.application(config, coder=lambda _: lambda rows: [{"own": True} for _ in rows])) as client:
        assert set(serve.status().applications) == {"nosology", serving.batch_name()}
        assert ray.get(ray.remote(num_cpus=0)(lambda: client([{"text": "x"}])).remote()) == [{"own": True}]
        assert httpx.post(f"{url}/v1/code", json={"text": "cold"}, timeout=60).json()["codes"][0]["code"] == "J06.9"
    assert set(serve.status().applications) == {"nosology"}


def test_a_replica_that_dies_is_asked_again(service: tuple[Config, str], tmp_path: Path) -> None:
    from nosology.distributed.serving import CoderClient

    (prediction,) = CoderClient(application="nosology")([{"text": f"die cold {tmp_path / 'died'}"}])
    assert (tmp_path / "died").exists() and prediction["codes"][0]["code"] == "J06.9"


def test_a_note_that_ends_its_replica_each_time_is_dead_and_no_other(service: tuple[Config, str]) -> None:
    """As a batch meets it: the rows are halved until the note is alone."""
    from nosology.distributed.serving import CoderClient

    client = CoderClient(application="nosology")

    def dead(rows: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
        try:
            assert len(client(rows)) == len(rows)
        except RecordError as error:
            if len(rows) == 1:
                yield rows[0]["text"], error.reason.code
                return
            yield from dead(rows[: len(rows) // 2])
            yield from dead(rows[len(rows) // 2 :])

    rows = [{"text": text} for text in ("cold", "always", "pressure", "cold")]
    assert list(dead(rows)) == [("always", "process_lost")]


def test_a_replica_that_hangs_ends_itself(cluster: Path) -> None:
    from nosology.distributed import serving

    config = Config.model_validate({"cluster": {"stall_seconds": 3}})
    with (
        serving.served(config, serving.application(config, coder=FakeCoder, engine=FakeEngine, digest=lambda: "")) as client,
        pytest.raises(RecordError) as lost,
    ):
        client([{"text": "hang"}])
    assert lost.value.reason.code == "process_lost"


def test_a_service_that_cannot_work_is_no_fault_of_a_record(service: tuple[Config, str]) -> None:
    from nosology.distributed.serving import CoderClient, ServiceError

    with pytest.raises(ServiceError, match="2 times: the index is gone"):
        CoderClient(attempts=2, application="nosology")([{"text": "away"}])
    assert httpx.post(f"{service[1]}/v1/code", json={"text": "away"}, timeout=60).status_code == 503


def test_a_second_service_on_another_port_is_refused(service: tuple[Config, str]) -> None:
    from nosology.distributed import serving

    config = service[0].model_copy(update={"serve": service[0].serve.model_copy(update={"port": free_port()})})
    with pytest.raises(ConfigError, match="another port"):
        serving.start(config, serving.application(config, coder=FakeCoder, engine=FakeEngine, digest=lambda: "d1"))


SCRIPT = """
import sys
from nosology.config import Config
from nosology.distributed import serving
from nosology.errors import NosologyError

config = Config.model_validate({"serve": {"port": int(sys.argv[1])}, "cluster": {"num_cpus": 2}})

def open_coder(_):
    return lambda rows: [{"codes": [], "route": "reject", "release": "r"} for _ in rows]

try:
    print(serving.run(config, serving.application(config, coder=open_coder)), flush=True)
except NosologyError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def serve_in_background(port: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_serve_says_one_line_answers_and_ends_on_sigterm() -> None:
    port = free_port()
    process = serve_in_background(port)
    assert process.stderr and process.stderr.readline().startswith(f"nosology serves at http://127.0.0.1:{port}")
    assert httpx.post(f"http://127.0.0.1:{port}/v1/code", json={"text": "x"}, timeout=60).json()["route"] == "reject"
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    listening = [c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err
    assert out.startswith("{'url': ") and "'signal': 'SIGTERM'" in out and len(out.splitlines()) == 1
    assert not psutil.wait_procs(family, 15)[1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


def test_a_port_in_use_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, err = (process := serve_in_background(port)).communicate(timeout=60)
    assert process.returncode == 2 and f"serve.port {port}" in err and "in use" in err and "Traceback" not in err
