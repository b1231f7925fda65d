"""The `Generator` of a cluster with GPUs: an application of Ray Serve's LLM module (vLLM) behind the same methods.

`serve/gpu_vllm.yaml` deploys both. Requests and answers have OpenAI's chat form. A choice is one constrained request of one
token: the candidates' labels start with different tokens, so the distribution of the first token is that of the choice. vLLM
must give log-probabilities after the constraint (`logprobs_mode: processed_logprobs`), else labels outside its top list count 0.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.errors import ModelError

if TYPE_CHECKING:
    from nosology.engines import Completion, Message

TOP_LOGPROBS = 20  # vLLM's own limit, unless max_logprobs says more; a question has at most ten candidates
Ask = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]


class LlmEngine:
    """The engine's methods, as coroutines, over whatever answers a chat request.

    Args:
        ask: sends a request body, returns the response body.
        model: the name under which the LLM application serves.
    """

    def __init__(self, ask: Ask, model: str) -> None:
        self._ask, self._model = ask, model

    async def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Probabilities over the choices of each prompt, in order. All prompts are sent at once: vLLM batches them.

        Raises:
            ModelError: the answer holds no log-probabilities, or two choices start with the same token.
        """
        bodies = [
            self._body(prompt, 1, 0.0, offered) | {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
            for prompt, offered in zip(prompts, choices, strict=True)
        ]
        answers = await asyncio.gather(*(self._ask(body) for body in bodies))
        return [probabilities(answer, offered) for answer, offered in zip(answers, choices, strict=True)]

    async def chat(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None
    ) -> Completion:
        """One answer."""
        from nosology.engines import Completion

        answer = await self._ask(self._body(messages, max_tokens, temperature, choices))
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(
            text=choice["message"]["content"] or "",
            finish_reason=choice["finish_reason"],
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )

    def _body(self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None) -> dict[str, Any]:
        body = {"model": self._model, "messages": list(messages), "max_tokens": max_tokens, "temperature": temperature}
        return body | {"structured_outputs": {"choice": list(choices)}} if choices else body


def probabilities(answer: Mapping[str, Any], choices: Sequence[str]) -> list[float]:
    """The distribution over the choices that the first token of an answer shows.

    Raises:
        ModelError: as `LlmEngine.choose`.
    """
    content = (answer["choices"][0].get("logprobs") or {}).get("content")
    if not content:
        raise ModelError("the LLM application gives no log-probabilities; serve.llm's engine_kwargs must not turn them off")
    mass = [0.0] * len(choices)
    for candidate in content[0]["top_logprobs"]:
        token = candidate["token"].strip()
        begun = [i for i, choice in enumerate(choices) if token and choice.startswith(token)]
        if len(begun) > 1:
            raise ModelError("two choices start with the same token; the LLM application cannot tell them apart in one step")
        if begun:
            mass[begun[0]] += math.exp(candidate["logprob"])
    total = sum(mass)
    if not total:
        raise ModelError("no choice is among the likeliest tokens; set logprobs_mode: processed_logprobs in engine_kwargs")
    return [m / total for m in mass]


def deployment_name(model: str) -> str:
    """The name that Ray Serve's LLM module gives to the deployment of a model."""
    return "LLMServer:" + model.replace("/", "--").replace(".", "_")


def served_ask(application: str, model: str) -> Ask:
    """Asks the LLM application of this cluster through its Serve handle; needs vLLM's request classes, so the `gpu` extra.

    The handle is made at the first request: the two applications of one file come up side by side.
    """
    from ray import serve
    from ray.serve.llm.openai_api_models import ChatCompletionRequest

    handles: list[Any] = []

    async def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        if not handles:
            handles.append(serve.get_deployment_handle(deployment_name(model), application).options(stream=True))
        async for answer in handles[0].chat.remote(ChatCompletionRequest.model_validate(body)):
            found: dict[str, Any] = answer.model_dump()
            if "choices" not in found:  # its ErrorResponse; the text can quote the prompt
                raise ModelError("the LLM application refused the request")
            return found
        raise ModelError("the LLM application gave no answer")

    return ask
