"""What runs inside the replicas of the Serve application, and the faults that they answer with.

No exception crosses a Serve boundary: Serve would log its text. A replica answers with a `Fault` instead, and the caller raises
from it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from nosology.config import ServeConfig
from nosology.distributed.ingress import Asgi, Refusal, build_app
from nosology.distributed.isolation import Watch
from nosology.distributed.llm import LlmEngine, served_ask
from nosology.distributed.silence import silenced
from nosology.errors import InputError, NosologyError, Reason, RecordError
from nosology.runs import describe

if TYPE_CHECKING:
    from nosology.engines import Completion, Engine, Message

logger = logging.getLogger("nosology.serving")

UNAVAILABLE = (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError)

Row = dict[str, Any]
Codes = Callable[[Sequence[Mapping[str, Any]]], list[Row]]  # rows of notes in, predictions as dicts out
OpenEngine = Callable[[], "Engine"]
OpenCoder = Callable[["Engine | None"], Codes]


class ServiceError(NosologyError):
    """A served model does not answer. No record is at fault: a job must stop, and can be resumed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a replica has no answer. Holds no value of a record.

    Attributes:
        error: class and position of the exception, or the text of one of ours.
        reason: set when one record is at fault.
        of_service: True when no record is: a model behind this replica is away, or cannot work at all.
    """

    error: str
    reason: Reason | None = None
    of_service: bool = False


def _fault(error: Exception) -> Fault:
    if isinstance(error, RecordError):
        return Fault(str(error), error.reason)
    if isinstance(error, InputError):  # an engine's word on a prompt that does not fit
        return Fault(str(error), Reason("unusable_input", error.field, error.rule))
    return Fault(describe(error), of_service=isinstance(error, (*UNAVAILABLE, TimeoutError, NosologyError)))


class _Desk:
    """Where a replica answers: one request at a time, and none for ever.

    What a library prints while it holds a note is thrown away. A request in which nothing moves for `stall_seconds` ends the replica;
    Serve starts another.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._lock, self._watch = threading.Lock(), Watch(stall_seconds)

    def answer(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, or the `Fault` that it ended in."""
        with self._lock:
            self._watch.moved()
            try:
                with silenced():
                    return work()
            except Exception as error:
                return _fault(error)
            finally:
                self._watch.rest()


async def _awaited(work: Awaitable[Any]) -> Any:
    """As `_answer`, for work that only waits."""
    try:
        return await work
    except Exception as error:
        return _fault(error)


# ---------------------------------------------------------------------------------------------------------- replicas


class GeneratorReplica:
    """Holds one engine; one request computes at a time, others wait in Serve's queue.

    Args:
        open_engine: loads the engine, here in the replica.
        name: what `/v1/models` calls it.
        digest: of the artefact that it serves.
        stall_seconds: longest time for one request.
    """

    def __init__(self, open_engine: OpenEngine, name: str, digest: Callable[[], str], stall_seconds: float) -> None:
        self._engine = open_engine()
        self._about = {"id": name, "digest": digest()}
        self._desk = _Desk(stall_seconds)

    def about(self) -> dict[str, str]:
        return self._about

    def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]] | Fault:
        return cast("list[list[float]] | Fault", self._desk.answer(lambda: self._engine.choose(prompts, choices)))

    def chat(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None
    ) -> Completion | Fault:
        return cast("Completion | Fault", self._desk.answer(lambda: self._engine.chat(messages, max_tokens, temperature, choices)))


class LlmReplica:
    """A `Generator` that passes everything on to an LLM application of this cluster; many requests at once, for vLLM batches them."""

    def __init__(self, application: str, model: str, name: str) -> None:
        self._engine = LlmEngine(served_ask(application, model), model)
        self._about = {"id": name, "digest": ""}  # the LLM application loads its directory by itself

    def about(self) -> dict[str, str]:
        return self._about

    async def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]] | Fault:
        return cast("list[list[float]] | Fault", await _awaited(self._engine.choose(prompts, choices)))

    async def chat(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None
    ) -> Completion | Fault:
        return cast("Completion | Fault", await _awaited(self._engine.chat(messages, max_tokens, temperature, choices)))


class ServedEngine:
    """The `Engine` protocol over the handle of a `Generator`; for threads without an event loop, as Serve runs plain methods in."""

    def __init__(self, generator: DeploymentHandle[Any], timeout_seconds: float) -> None:
        self._generator, self._timeout_seconds = generator, timeout_seconds

    def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        return cast("list[list[float]]", self._wait(self._generator.choose.remote(prompts, choices)))

    def chat(self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None) -> Completion:
        return cast("Completion", self._wait(self._generator.chat.remote(messages, max_tokens, temperature, choices)))

    def _wait(self, response: Any) -> Any:
        value = response.result(timeout_s=self._timeout_seconds)
        if not isinstance(value, Fault):
            return value
        if value.of_service:
            raise ServiceError(f"generator: {value.error}")
        reason = value.reason or Reason("generator_failed", None, value.error)
        raise RecordError(reason.code, reason.field, reason.rule)


class CoderReplica:
    """Holds one coder; `generator` is None when the encoder heads code alone."""

    def __init__(
        self, open_coder: OpenCoder, generator: DeploymentHandle[Any] | None, timeout_seconds: float, stall_seconds: float
    ) -> None:  # fmt: skip
        self._generator, self._timeout_seconds = generator, timeout_seconds
        self._codes = open_coder(ServedEngine(generator, timeout_seconds) if generator else None)
        self._desk = _Desk(stall_seconds)

    def about(self) -> None:
        """Answers once the coder, and the generator behind it, are loaded."""
        if self._generator:
            self._generator.about.remote().result(timeout_s=self._timeout_seconds)

    def code(self, rows: Sequence[Mapping[str, Any]]) -> list[Row] | Fault:
        return cast("list[Row] | Fault", self._desk.answer(lambda: self._codes(rows)))


class IngressReplica:
    """The HTTP application; it answers 503 until coder and generator have answered once."""

    def __init__(self, config: ServeConfig, coder: DeploymentHandle[Any], generator: DeploymentHandle[Any] | None) -> None:
        self._config, self._coder, self._generator = config, coder, generator
        self._models: list[dict[str, Any]] = []
        self._loaded = False
        self._loading = asyncio.create_task(self._load())

    def __serve_build_asgi_app__(self) -> Asgi:  # noqa: PLW3201  (name fixed by Ray Serve)
        return build_app(self, self._config)

    def ready(self) -> bool:
        if not self._loaded and self._loading.done():  # it failed, for instance because a replica died under it
            self._loading = asyncio.create_task(self._load())
        return self._loaded

    async def _load(self) -> None:
        await self._coder.about.remote()
        self._models = [await self._generator.about.remote()] if self._generator else []
        self._loaded = True

    def models(self) -> list[dict[str, Any]]:
        return self._models

    async def code(self, note: dict[str, Any]) -> dict[str, Any]:
        (prediction,) = await self._ask(self._coder.code, [note])
        return cast("dict[str, Any]", prediction)

    async def chat(self, messages: list[dict[str, str]], max_tokens: int, temperature: float, choices: list[str] | None) -> dict[str, Any]:
        assert self._generator
        done = await self._ask(self._generator.chat, messages, max_tokens, temperature, choices)
        return {
            "text": done.text,
            "finish_reason": done.finish_reason,
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
        }

    async def _ask(self, method: Any, *arguments: Any) -> Any:
        try:
            value = await method.remote(*arguments)
        except BackPressureError:
            raise Refusal(429, "Too many requests are waiting; try again.", code="busy") from None
        except UNAVAILABLE:
            raise Refusal(503, "A model is being restarted; try again.", code="unavailable") from None
        if not isinstance(value, Fault):
            return value
        if value.reason:
            raise Refusal(422, value.error, param=value.reason.field, code=value.reason.code)
        logger.error("replica answered with a fault: %s", value.error)
        if value.of_service:
            raise Refusal(503, "A model does not answer; try again.", code="unavailable")
        raise Refusal(500, "Internal error.", code="internal_error")
