"""Generators behind one protocol: a laptop engine on transformers, and vLLM on GPUs. What may come out is closed: `choose` gives
probabilities over the choices that were handed in, and over nothing else.

A new engine is one file with a class of the `Engine` protocol and one line in `ENGINES`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from nosology.errors import ConfigError
from nosology.tasks import Message

__all__ = ["ENGINES", "Completion", "Engine", "Message", "engine_of", "open_engine"]


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


_GPU_SHARE = 0.8  # of a GPU's memory that weights may take; the rest is for the cache of what is being read


def engine_of(choice: str, directory: str, adapter: str | None = None) -> str:
    """The name in `ENGINES` of a choice (`serve.engine`) on this machine.

    `auto` is vLLM where it is installed, this process sees a GPU that holds the weights, and nothing is to be merged first; else
    the laptop engine.

    Raises:
        ConfigError: no engine of that name; vLLM is chosen and not installed.
    """
    if choice != "auto" and choice not in ENGINES:
        raise ConfigError(f"engine {choice}: this version has auto, {', '.join(ENGINES)}")
    there = importlib.util.find_spec("vllm") is not None
    if choice == "vllm" and not there:
        raise ConfigError(
            "serve.engine vllm: vLLM is not installed. Install the extra `gpu` (pip install 'nosology[gpu]'), or set serve.engine=laptop"
        )
    if choice != "auto":
        return choice
    return "vllm" if there and not adapter and _fits_gpu(directory) else "laptop"


def _fits_gpu(directory: str) -> bool:
    import torch

    if not torch.cuda.is_available():
        return False
    weights = sum(path.stat().st_size for path in Path(directory).glob("*.safetensors"))
    return 0 < weights <= _GPU_SHARE * int(torch.cuda.get_device_properties(0).total_memory)


def open_engine(directory: str, adapter: str | None = None, *, kind: str = "laptop") -> Engine:
    """The engine of a model directory or of a quantized artefact, whose digests are checked.

    Args:
        directory: transformers directory or artefact.
        adapter: directory of a LoRA adapter on it.
        kind: a name in `ENGINES`, or `auto` (see `engine_of`).

    Raises:
        ConfigError: no engine of that name, or it is not installed.
        ModelError: the directory is incomplete or not what its manifest says.
    """
    module, _, attribute = ENGINES[engine_of(kind, directory, adapter)].partition(":")
    opener: Any = getattr(importlib.import_module(module), attribute)
    return cast("Engine", opener(directory, adapter))
