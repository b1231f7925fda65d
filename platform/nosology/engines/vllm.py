"""The engine of GPUs, offline: vLLM's LLM class on the same directory or artefact. (Served models go through Ray Serve's LLM module.)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nosology.engines import Completion, Message
from nosology.errors import ConfigError, ModelError
from nosology.quantization.manifest import check_directory


class Vllm:
    """A generator on this machine's GPUs.

    Args:
        directory: transformers directory, or a quantized artefact.
        adapter: not taken here: merge it first (`nosology quantize`).

    Raises:
        ConfigError: vLLM is not installed; an adapter was given.
        ModelError: the directory is incomplete or differs from its manifest; vLLM cannot load it on this machine.
    """

    def __init__(self, directory: str, adapter: str | None = None) -> None:
        if adapter:
            raise ConfigError("engine vllm takes a merged model or an artefact; run `nosology quantize` on the adapter first")
        check_directory(directory)
        try:
            import vllm
        except ImportError:
            raise ConfigError(
                "engine vllm: vLLM is not installed. Install the extra `gpu` (pip install 'nosology[gpu]'), or set serve.engine=laptop"
            ) from None
        self._vllm: Any = vllm
        try:
            self._model = vllm.LLM(model=directory, trust_remote_code=False, enable_prefix_caching=True)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise ModelError(
                f"model {directory}: vLLM cannot load it here ({type(error).__name__}). It needs a GPU; or set serve.engine=laptop"
            ) from error
        self._tokenizer = self._model.get_tokenizer()

    def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Probabilities of each prompt's choices, which must be of one token each (letters).

        Raises:
            ConfigError: a choice has several tokens.
        """
        options = [[self._tokenizer.encode(choice, add_special_tokens=False) for choice in offered] for offered in choices]
        if any(len(ids) != 1 for offered in options for ids in offered):
            raise ConfigError("engine vllm chooses among labels of one token; use letters")
        settings = [
            self._vllm.SamplingParams(max_tokens=1, temperature=1.0, logprobs=len(offered), allowed_token_ids=[ids[0] for ids in offered])
            for offered in options
        ]
        answers = self._model.chat([list(prompt) for prompt in prompts], sampling_params=settings, use_tqdm=False)
        found = []
        for answer, offered in zip(answers, options, strict=True):
            logs = answer.outputs[0].logprobs[0]
            weights = [math.exp(logs[ids[0]].logprob) if ids[0] in logs else 0.0 for ids in offered]
            found.append([weight / sum(weights) for weight in weights])
        return found

    def chat(self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None) -> Completion:
        """One answer; with `choices`, one of them by guided decoding."""
        guide = {}
        if choices:
            from vllm.sampling_params import StructuredOutputsParams

            guide["structured_outputs"] = StructuredOutputsParams(choice=list(choices))
        settings = self._vllm.SamplingParams(max_tokens=max_tokens, temperature=temperature, **guide)
        answer = self._model.chat([list(messages)], sampling_params=settings, use_tqdm=False)[0]
        output = answer.outputs[0]
        return Completion(output.text, str(output.finish_reason), len(answer.prompt_token_ids), len(output.token_ids))
