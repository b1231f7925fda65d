"""The real coder and a real quantized artefact behind Ray Serve: what HTTP and the batch get is what both give in this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from nosology.config import Config, ModelConfig, QuantizeConfig

NOTE = """ASSESSMENT AND PLAN:
1. High blood pressure, not at goal. Increase lisinopril.
2. Sugar diabetes with kidney trouble.
No evidence of pneumonia.
"""


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> str:
    from nosology.quantization import quantize
    from nosology.training.generator import make_generator

    folder = tmp_path_factory.mktemp("model")
    texts = ["Essential (primary) hypertension", "Type 2 diabetes mellitus without complications", "Pneumonia, unspecified organism"]
    base = make_generator(texts, folder / "base", 0, width=32, layers=1, threads=1)["path"]
    return str(quantize(QuantizeConfig(), ModelConfig(base=base), base, str(folder))["artefact"])


@pytest.fixture(scope="module")
def service(artefact: str) -> Iterator[tuple[Config, str]]:
    from nosology.distributed import serving
    from nosology.distributed.session import session

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config.model_validate({"model": {"artefact": artefact}, "serve": {"port": port}, "cluster": {"num_cpus": 2}})
    with session(config.cluster):
        yield config, serving.start(config)
        serving.stop()


def inside(config: Config, note: dict[str, Any]) -> list[dict[str, Any]]:
    """Codes of a note by coder and engine in this process; fails when the note gives the engine nothing to choose."""
    from nosology.distributed.serving import open_coder, open_engine

    engine, asked = open_engine(config), []

    class Counted:
        chat = engine.chat

        def choose(self, prompts: Any, choices: Any) -> list[list[float]]:
            asked.extend(prompts)
            return engine.choose(prompts, choices)

    (prediction,) = open_coder(config, Counted())([note])
    assert asked
    return list(prediction["codes"])


def test_served_codes_are_those_of_coder_and_engine(service: tuple[Config, str]) -> None:
    from nosology.distributed.serving import CoderClient

    config, url = service
    note = {"id": "n1", "text": NOTE, "sex": "female", "age": 61, "date_of_service": "2026-05-04"}
    answer = httpx.post(f"{url}/v1/code", json=note, timeout=120)
    assert answer.status_code == 200, answer.text
    codes = answer.json()["codes"]
    assert codes and answer.json()["route"] in ("auto", "review")
    for code in codes:
        assert code["evidence"] and all(NOTE[e["start"] : e["end"]] == e["text"] for e in code["evidence"])
    there = [(c["code"], c["confidence"]) for c in codes]
    assert there == [(c["code"], c["confidence"]) for c in inside(config, note)]
    assert there == [(c["code"], c["confidence"]) for c in CoderClient(application="nosology")([note])[0]["codes"]]


def test_chat_comes_from_the_same_artefact(service: tuple[Config, str], artefact: str) -> None:
    from nosology import storage
    from nosology.engines import open_engine

    url = service[1]
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["digest"] == storage.digest(f"{artefact}/manifest.json")
    messages = [{"role": "user", "content": "Which?"}]
    body = {"messages": messages, "max_tokens": 5}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    here = open_engine(artefact).chat(messages, 5, 0.0)  # type: ignore[arg-type]
    assert answer["choices"][0]["message"]["content"] == here.text and answer["usage"]["completion_tokens"] == here.completion_tokens
    chosen = httpx.post(f"{url}/v1/chat/completions", json=body | {"structured_outputs": {"choice": ["A", "B"]}}, timeout=60).json()
    assert chosen["choices"][0]["message"]["content"] in ("A", "B")


def test_a_prompt_beyond_the_context_is_the_requests_fault(service: tuple[Config, str]) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 3000}]}
    answer = httpx.post(f"{service[1]}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "unusable_input"


def test_an_impossible_date_is_refused(service: tuple[Config, str]) -> None:
    answer = httpx.post(f"{service[1]}/v1/code", json={"text": NOTE, "date_of_service": "1066-10-14"}, timeout=60)
    assert answer.status_code == 422 and answer.json()["error"]["param"] == "date_of_service"
