"""The HTTP face over a made-up backend, without a cluster."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.config import ServeConfig
from nosology.distributed.ingress import Refusal, build_app

CANARY = "Zebulon Quackenbush 987-65-4329"
JSON = {"content-type": "application/json"}
CONFIG = ServeConfig(max_body_bytes=4096, max_tokens=64, request_timeout_seconds=5)


class Fake:
    """A backend whose answers a test can read."""

    def __init__(self, *, loaded: bool = True, generator: bool = True, fail: Callable[[], Exception] | None = None) -> None:
        self.loaded, self.generator, self.fail = loaded, generator, fail
        self.asked: list[Any] = []

    def models(self) -> list[dict[str, Any]]:
        return [{"id": "nosology", "digest": "d1"}] if self.generator else []

    def ready(self) -> bool:
        return self.loaded

    async def code(self, note: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(note)
        if self.fail:
            raise self.fail()
        if note["text"] == "slow":
            await asyncio.sleep(60)
        evidence = [{"start": 0, "end": 5, "text": note["text"][:5]}]
        code = {"code": "J06.9", "title": "Cold", "confidence": 0.9, "route": "auto", "assertion": "present", "section": "body"}
        return {"codes": [{**code, "trail": [], "evidence": evidence}], "route": "auto", "release": "2026-04", "source_digest": "x"}

    async def chat(self, messages: list[dict[str, str]], max_tokens: int, temperature: float, choices: list[str] | None) -> dict[str, Any]:
        self.asked.append((messages, max_tokens, temperature, choices))
        return {"text": choices[0] if choices else "hello", "finish_reason": "stop", "prompt_tokens": 7, "completion_tokens": 2}


def ask(backend: Fake, method: str, path: str, config: ServeConfig = CONFIG, **options: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(backend, config))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(go())


def test_code_answers_with_codes_and_evidence() -> None:
    backend = Fake()
    answer = ask(
        backend, "POST", "/v1/code", json={"id": "n1", "text": "A cold.", "sex": "female", "age": 40, "date_of_service": "2026-05-01"}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"] == "n1" and body["release"] == "2026-04"
    assert body["codes"][0]["code"] == "J06.9" and body["codes"][0]["evidence"] == [{"start": 0, "end": 5, "text": "A col"}]
    assert str(backend.asked[0]["date_of_service"]) == "2026-05-01" and backend.asked[0]["age"] == 40


def test_chat_has_the_form_of_openai() -> None:
    backend = Fake()
    messages = [{"role": "user", "content": "say"}]
    body = ask(backend, "POST", "/v1/chat/completions", json={"model": "nosology", "messages": messages, "max_tokens": 9}).json()
    assert body["object"] == "chat.completion" and body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "hello",
        "refusal": None,
    }
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert backend.asked == [(messages, 9, 0.0, None)]


def test_chat_passes_the_constraint_on() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "structured_outputs": {"choice": ["B", "A"]}, "temperature": 0.0}
    assert ask(Fake(), "POST", "/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "B"


def test_models_health_and_openapi() -> None:
    assert [m["id"] for m in ask(Fake(), "GET", "/v1/models").json()["data"]] == ["nosology"]
    assert ask(Fake(generator=False), "GET", "/v1/models").json()["data"] == []
    assert ask(Fake(), "GET", "/healthz").json() == {"status": "ok"}
    assert "/v1/code" in ask(Fake(), "GET", "/openapi.json").json()["paths"]


NOTE = {"text": "A cold."}
TURN = [{"role": "user", "content": "x"}]
BAD: list[tuple[str, str, dict[str, Any], int, str | None, str]] = [
    # method, path, request, status, param, code
    ("POST", "/v1/code", {"content": b"{" + CANARY.encode(), "headers": JSON}, 400, None, "invalid_json"),
    ("POST", "/v1/code", {"content": b'{"text": "\xff\xfe"}', "headers": JSON}, 400, None, "invalid_json"),
    ("POST", "/v1/code", {"content": b""}, 422, None, "wrong_type"),
    ("POST", "/v1/code", {"json": [CANARY]}, 422, None, "wrong_type"),
    ("POST", "/v1/code", {"json": {"sex": "female"}}, 422, "text", "missing_field"),
    ("POST", "/v1/code", {"json": {"text": "  \n"}}, 422, "text", "value_error"),
    ("POST", "/v1/code", {"json": {"text": 5}}, 422, "text", "string_type"),
    ("POST", "/v1/code", {"content": b'{"text": "a\\ud800b"}', "headers": JSON}, 422, "text", "value_error"),
    ("POST", "/v1/code", {"json": {**NOTE, "sex": CANARY}}, 422, "sex", "literal_error"),
    ("POST", "/v1/code", {"json": {**NOTE, "age": "forty"}}, 422, "age", "float_type"),
    ("POST", "/v1/code", {"json": {**NOTE, "age": -1}}, 422, "age", "greater_than_equal"),
    ("POST", "/v1/code", {"json": {**NOTE, "date_of_service": CANARY}}, 422, "date_of_service", "date_from_datetime_parsing"),
    ("POST", "/v1/code", {"json": {**NOTE, CANARY: 1}}, 422, None, "unknown_field"),
    ("POST", "/v1/code", {"json": {"text": CANARY * 200}}, 413, None, "body_too_large"),
    ("GET", "/v1/code", {}, 405, None, "method_not_allowed"),
    ("POST", "/v1/" + CANARY.replace(" ", "_"), {"json": NOTE}, 404, None, "unknown_route"),
    ("POST", "/v1/chat/completions", {"json": {"messages": []}}, 422, "messages", "too_short"),
    ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": CANARY, "content": "x"}]}}, 422, "messages.0.role", "literal_error"),
    ("POST", "/v1/chat/completions", {"json": {"messages": TURN, "stream": True}}, 422, "stream", "literal_error"),
    ("POST", "/v1/chat/completions", {"json": {"messages": TURN, "n": 2}}, 422, "n", "literal_error"),
    ("POST", "/v1/chat/completions", {"json": {"messages": TURN, "tools": []}}, 422, "tools", "unsupported_parameter"),
    ("POST", "/v1/chat/completions", {"json": {"messages": TURN, "max_tokens": 65}}, 422, "max_tokens", "less_than_equal"),
    ("POST", "/v1/chat/completions", {"json": {"messages": TURN, "model": CANARY}}, 404, "model", "model_not_found"),
]


@pytest.mark.parametrize(("method", "path", "request_", "status", "param", "code"), BAD)
def test_bad_requests(method: str, path: str, request_: dict[str, Any], status: int, param: str | None, code: str) -> None:
    answer = ask(Fake(), method, path, **request_)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["message"] and error["type"] == "invalid_request_error"
    assert "Zebulon" not in answer.text and "Quackenbush" not in answer.text


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["/v1/code", "/v1/chat/completions"]),
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=True) | st.just(CANARY),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["messages", "role", "sex", "age", CANARY]), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
def test_no_value_is_ever_repeated(path: str, body: Any) -> None:
    answer = ask(Fake(), "POST", path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and "Zebulon" not in answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_loading_is_503_and_liveness_of_metrics_stays() -> None:
    backend = Fake(loaded=False)
    for method, path, options in (("POST", "/v1/code", {"json": NOTE}), ("GET", "/healthz", {}), ("GET", "/v1/models", {})):
        answer = ask(backend, method, path, **options)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1" and answer.json()["error"]["code"] == "loading"
    assert ask(backend, "GET", "/metrics").status_code == 200


def test_chat_without_generator_is_404() -> None:
    answer = ask(Fake(generator=False), "POST", "/v1/chat/completions", json={"messages": TURN})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"


def test_timeout_is_504() -> None:
    answer = ask(Fake(), "POST", "/v1/code", CONFIG.model_copy(update={"request_timeout_seconds": 0.05}), json={"text": "slow"})
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("fail", "status", "kind"),
    [
        (lambda: Refusal(429, "Busy.", code="busy"), 429, "rate_limit_error"),
        (lambda: Refusal(422, "date_of_service: before the first release.", param="date_of_service"), 422, "invalid_request_error"),
        (lambda: RuntimeError(CANARY), 500, "server_error"),
    ],
)
def test_failures_of_the_backend(
    fail: Callable[[], Exception], status: int, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = ask(Fake(fail=fail), "POST", "/v1/code", json=NOTE)
    assert answer.status_code == status and answer.json()["error"]["type"] == kind
    said = answer.text + caplog.text + "".join(capfd.readouterr())
    assert "Zebulon" not in said
    assert status != 500 or "RuntimeError on /v1/code" in caplog.text


def test_metrics_count_without_labels_from_input() -> None:
    async def go() -> str:
        transport = httpx.ASGITransport(build_app(Fake(), CONFIG))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post("/v1/code", json=NOTE)
            await client.post("/v1/code", json={})
            await client.get("/" + CANARY.replace(" ", "_"))
            await client.post("/v1/chat/completions", json={"messages": TURN})
            return (await client.get("/metrics")).text

    text = asyncio.run(go())
    for line in (
        'nosology_requests_total{route="/v1/code",status="200"} 1.0',
        'nosology_requests_total{route="/v1/code",status="422"} 1.0',
        'nosology_requests_total{route="other",status="404"} 1.0',
        'nosology_codes_total{route="auto"} 1.0',
        'nosology_tokens_total{kind="prompt"} 7.0',
        'nosology_request_seconds_count{route="/v1/code"} 2.0',
    ):
        assert line in text.splitlines()
    assert "Zebulon" not in text
