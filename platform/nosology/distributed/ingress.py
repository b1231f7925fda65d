"""The HTTP face of the service: an ASGI application over a `Backend`. It knows no Ray, so it is tested without a cluster.

Every error has OpenAI's form, `{"error": {"message", "type", "param", "code"}}`. A message names fields and rules; it never
repeats a value, an unknown key or a path of the request. The counters under /metrics are labelled by route and status alone.

Status: 400 not JSON, 404 unknown route or model, 405 method, 413 body too large, 422 a field is wrong, 429 queue full,
500 internal, 503 still loading, 504 no answer in time.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Annotated, Any, Literal, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from starlette.exceptions import HTTPException

from nosology.config import ServeConfig

logger = logging.getLogger("nosology.serving")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CODE, CHAT = "/v1/code", "/v1/chat/completions"
ROUTES = {CODE: "POST", CHAT: "POST", "/v1/models": "GET", "/healthz": "GET", "/metrics": "GET"}


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: what was expected, without any value of the request.
        param: field at fault, by its name in our own schema.
        code: a slug that a program can read.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        self.status, self.message, self.param, self.code = status, message, param, code
        super().__init__(message)


class Backend(Protocol):
    """What stands behind the routes. Methods raise `Refusal`; any other exception is answered with 500."""

    def models(self) -> list[dict[str, Any]]:
        """The models that can be asked, `{"id", "digest"}`; empty when there is no generator."""
        ...

    def ready(self) -> bool:
        """True once every model is loaded."""
        ...

    async def code(self, note: dict[str, Any]) -> dict[str, Any]:
        """Prediction of one note `{"id", "text", "sex", "age", "date_of_service"}`, as the dict of its record."""
        ...

    async def chat(self, messages: list[dict[str, str]], max_tokens: int, temperature: float, choices: list[str] | None) -> dict[str, Any]:
        """`{"text", "finish_reason", "prompt_tokens", "completion_tokens"}` of one conversation."""
        ...


# ------------------------------------------------------------------------------------------------------------ requests


def _unicode(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode (no lone surrogates)") from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold more than white space")
    return text


Text = Annotated[str, AfterValidator(_unicode)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NoteRequest(_Closed):
    """One note to code."""

    id: Annotated[Text | None, Field(max_length=256)] = None
    text: Annotated[Text, AfterValidator(_not_blank)]
    sex: Literal["female", "male", "other", "unknown"] | None = None
    age: Annotated[float | None, Strict(), Field(ge=0, le=130)] = None
    date_of_service: datetime.date | None = None


class ChatMessage(_Closed):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: Text


class ResponseFormat(_Closed):
    """Free text is the only format; `structured_outputs` constrains it."""

    type: Literal["text"]


class StructuredOutputs(_Closed):
    """vLLM's form of a constraint: the answer is one of these strings."""

    choice: Annotated[list[Annotated[Text, Field(min_length=1, max_length=1024)]], Field(min_length=1, max_length=512)]


class ChatRequest(_Closed):
    """The part of OpenAI's chat request that the engine really obeys; anything else is refused, not ignored."""

    model: Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int | None, Strict(), Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Strict(), Field(ge=1)] = None
    temperature: Annotated[float, Strict(), Field(ge=0, le=2)] = 0.0
    n: Literal[1] | None = None
    stream: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None


def _names(model: type[BaseModel]) -> set[str]:
    """Names of the fields of a request and of what it holds: the only words of a location that may be repeated."""
    names = set(model.model_fields)
    for nested in (ChatMessage, ResponseFormat, StructuredOutputs) if model is ChatRequest else ():
        names |= set(nested.model_fields)
    return names


KNOWN = _names(NoteRequest) | _names(ChatRequest)
# OpenAI's parameters that the engine does not have; named so that the refusal can say which one it was.
UNSUPPORTED = frozenset(
    (
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream_options",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    )  # fmt: skip
)


def explain(problem: Mapping[str, Any]) -> Refusal:
    """The answer to a validation error of pydantic, without the value that it holds."""
    if problem["type"] == "json_invalid":
        return Refusal(400, "The body is not valid JSON.", code="invalid_json")
    path = [part for part in problem["loc"][1:] if isinstance(part, int) or part in KNOWN | UNSUPPORTED]
    param = ".".join(map(str, path)) or None
    if problem["type"] == "extra_forbidden":
        named = param if path and path[-1] == problem["loc"][-1] else None
        if named and path[-1] in UNSUPPORTED:
            return Refusal(422, f"{named}: not supported by this server.", param=named, code="unsupported_parameter")
        return Refusal(422, "The body holds a field that is not known here.", param=named, code="unknown_field")
    if not path:
        return Refusal(422, "The body must be a JSON object, sent as application/json.", code="wrong_type")
    if problem["type"] == "missing":
        return Refusal(422, f"{param}: required.", param=param, code="missing_field")
    # Own rules arrive as "Value error, …"; pydantic's other messages hold the rule, never the input.
    rule = str(problem["msg"]).removeprefix("Value error, ")
    return Refusal(422, f"{param}: {rule}.", param=param, code=str(problem["type"]))


# ------------------------------------------------------------------------------------------------------------- answers


def error_response(refusal: Refusal) -> JSONResponse:
    kind = "invalid_request_error" if refusal.status < 500 and refusal.status != 429 else "server_error"
    kind = "rate_limit_error" if refusal.status == 429 else kind
    body = {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}}
    return JSONResponse(body, refusal.status, headers={"Retry-After": "1"} if refusal.status in (429, 503) else None)


def code_response(note_id: str | None, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The public form of a prediction."""
    return {
        "id": note_id,
        "codes": [
            {key: code[key] for key in ("code", "title", "confidence", "route", "assertion", "section", "evidence", "trail")}
            for code in prediction["codes"]
        ],
        "route": prediction["route"],
        "release": prediction["release"],
    }


def _chat_response(model: str, answer: Mapping[str, Any], number: int) -> dict[str, Any]:
    prompt, completion = answer["prompt_tokens"], answer["completion_tokens"]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer["text"], "refusal": None},
                "logprobs": None,
                "finish_reason": answer["finish_reason"],
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


class Measures:
    """Counters and latencies of one ingress replica, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("nosology_requests", "Answers by route and status", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "nosology_request_seconds",
            "Time to answer",
            ["route"],
            registry=self.registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
        )
        self.in_flight = Gauge("nosology_requests_in_flight", "Requests being answered", registry=self.registry)
        self.codes = Counter("nosology_codes", "Codes given, by route", ["route"], registry=self.registry)
        self.tokens = Counter("nosology_tokens", "Tokens of chat requests", ["kind"], registry=self.registry)


def _routes(app: FastAPI, backend: Backend, config: ServeConfig, measures: Measures) -> None:
    """Adds the five routes."""

    def loaded() -> None:
        if not backend.ready():
            raise Refusal(503, "The models are still loading; try again.", code="loading")

    async def answered(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await asyncio.wait_for(work, config.request_timeout_seconds)
        except TimeoutError:
            raise Refusal(504, f"No answer within {config.request_timeout_seconds:g} seconds.", code="timeout") from None

    @app.post(CODE)
    async def code(note: NoteRequest) -> JSONResponse:
        loaded()
        prediction = await answered(backend.code(note.model_dump()))
        for item in prediction["codes"]:
            measures.codes.labels(item["route"]).inc()
        return JSONResponse(code_response(note.id, prediction))

    @app.post(CHAT)
    async def chat(body: ChatRequest) -> JSONResponse:
        loaded()
        served = [model["id"] for model in backend.models()]
        if not served or body.model not in (None, *served):
            message = "No such model; GET /v1/models lists them." if served else "This server has no generator (model.artefact is not set)."
            raise Refusal(404, message, param="model", code="model_not_found")
        max_tokens = body.max_completion_tokens or body.max_tokens or config.max_tokens
        if max_tokens > config.max_tokens:
            param = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
            raise Refusal(422, f"{param}: must be at most {config.max_tokens}.", param=param, code="less_than_equal")
        choices = body.structured_outputs.choice if body.structured_outputs else None
        answer = await answered(backend.chat([message.model_dump() for message in body.messages], max_tokens, body.temperature, choices))
        measures.tokens.labels("prompt").inc(answer["prompt_tokens"])
        measures.tokens.labels("completion").inc(answer["completion_tokens"])
        return JSONResponse(_chat_response(body.model or served[0], answer, time.time_ns()))

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        loaded()
        data = [{"id": m["id"], "object": "model", "created": 0, "owned_by": "nosology", "digest": m["digest"]} for m in backend.models()]
        return JSONResponse({"object": "list", "data": data})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        loaded()
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(measures.registry), media_type=CONTENT_TYPE_LATEST)


def build_app(backend: Backend, config: ServeConfig) -> Asgi:
    """The ASGI application over a backend."""
    app = FastAPI(title="nosology", docs_url=None, redoc_url=None)
    measures = Measures()
    _routes(app, backend, config, measures)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> JSONResponse:
        return error_response(refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(explain(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def unrouted(_: Request, error: HTTPException) -> JSONResponse:
        words = {
            400: ("The body could not be read as JSON.", "invalid_json"),
            404: (f"No such route; there are {', '.join(ROUTES)}.", "unknown_route"),
            405: ("This route takes another method.", "method_not_allowed"),
        }
        message, slug = words.get(error.status_code, ("The request was refused.", "refused"))
        return error_response(Refusal(error.status_code, message, code=slug))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return error_response(Refusal(500, "Internal error.", code="internal_error"))

    return _guarded(app, config.max_body_bytes, measures)


def _guarded(app: Asgi, max_body_bytes: int, measures: Measures) -> Asgi:
    """The outermost layer: bounds the body, counts, and lets no exception out, for its text could hold a value."""

    async def guarded(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        route = scope["path"] if scope["path"] in ROUTES else "other"
        started, status = time.perf_counter(), 0

        async def sent(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message["status"] if message["type"] == "http.response.start" else status
            await send(message)

        with measures.in_flight.track_inprogress():
            try:
                body = await _body(scope, receive, max_body_bytes)
                if body is None:
                    refusal = Refusal(413, f"The body must be at most {max_body_bytes} bytes.", code="body_too_large")
                    await error_response(refusal)(scope, receive, sent)
                else:
                    await app(scope, _replay(body, receive), sent)
            except Exception as error:
                logger.error("request failed: %s on %s", type(error).__name__, route)
                if not status:
                    await error_response(Refusal(500, "Internal error.", code="internal_error"))(scope, receive, sent)
        if status:  # 0: the client left before an answer began
            measures.requests.labels(route, str(status)).inc()
            measures.seconds.labels(route).observe(time.perf_counter() - started)

    return guarded


async def _body(scope: Mapping[str, Any], receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None above the limit. A body in excess is read to its end up to eight limits, and thrown away, so that
    a client that is still writing sees the answer and not a broken pipe."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > 8 * limit:
        return None
    parts: list[bytes] = []
    total, more = 0, True
    while more and total <= 8 * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        total += len(chunk)
        if total <= limit:
            parts.append(chunk)
        more = message.get("more_body", False)
    return b"".join(parts) if total <= limit else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then whatever comes after it (a disconnect)."""
    given = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
