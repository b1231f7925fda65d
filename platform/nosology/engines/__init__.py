"""Generators behind one protocol: a laptop engine on transformers, and vLLM on GPUs. What may come out is closed: `choose` gives
probabilities over the choices that were handed in, and over nothing else.

A new engine is one file with a class of the `Engine` protocol and one line in `ENGINES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from nosology.errors import ConfigError
from nosology.tasks import Message

__all__ = ["ENGINES", "Completion", "Engine", "Message", "open_engine"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        text: the answer without the end token.
        finish_reason: `stop`, or `length` when `max_tokens` cut it.
        prompt_tokens, completion_tokens: counted by the model's tokenizer.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """A loaded generator."""

    def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """For each prompt, the probabilities of its choices, in their order; they sum to 1."""
        ...

    def chat(self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None) -> Completion:
        """One answer; with `choices`, one of them word for word."""
        ...


ENGINES: dict[str, str] = {"laptop": "nosology.engines.laptop:Laptop", "vllm": "nosology.engines.vllm:Vllm"}


def open_engine(directory: str, adapter: str | None = None, *, kind: str = "laptop") -> Engine:
    """The engine of a model directory or of a quantized artefact, whose digests are checked.

    Args:
        directory: transformers directory or artefact.
        adapter: directory of a LoRA adapter on it.
        kind: a name in `ENGINES`.

    Raises:
        ConfigError: no engine of that name.
        ModelError: the directory is incomplete or not what its manifest says.
    """
    if kind not in ENGINES:
        raise ConfigError(f"engine {kind}: this version has {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[kind].partition(":")
    opener: Any = getattr(importlib.import_module(module), attribute)
    return cast("Engine", opener(directory, adapter))
