"""The generator on GPUs, as far as a machine without one can run it: requests, answers, and the files for `serve deploy`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from nosology.distributed.llm import LlmEngine, deployment_name, probabilities
from nosology.errors import ConfigError, ModelError

ROOT = Path(__file__).parents[2]


def answer(*top: tuple[str, float], text: str = "A") -> dict[str, Any]:
    """A chat answer of vLLM with the given (token, probability) of its first token."""
    tokens = [{"token": token, "logprob": math.log(share)} for token, share in top]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    choice["logprobs"] = {"content": [{"token": top[0][0], "logprob": 0.0, "top_logprobs": tokens}]} if top else None
    return {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 1}}


def test_choices_are_weighed_by_their_first_token() -> None:
    asked: list[dict[str, Any]] = []

    async def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        asked.append(body)
        return answer(("B", 0.5), (" A", 0.1), ("A", 0.2), ("the", 0.2))

    engine = LlmEngine(ask, "m")
    (first, second) = asyncio.run(engine.choose([[{"role": "user", "content": "q"}]] * 2, [["A", "B"], ["A", "B", "C"]]))
    assert first == pytest.approx([0.375, 0.625]) and second == pytest.approx([0.375, 0.625, 0.0])
    assert asked[1]["structured_outputs"] == {"choice": ["A", "B", "C"]}
    assert (asked[0]["max_tokens"], asked[0]["temperature"], asked[0]["logprobs"], asked[0]["model"]) == (1, 0.0, True, "m")


def test_chat_passes_text_and_usage() -> None:
    asked: list[dict[str, Any]] = []

    async def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        asked.append(body)
        return answer(text="well")

    done = asyncio.run(LlmEngine(ask, "m").chat([{"role": "user", "content": "q"}], 9, 0.5))
    assert (done.text, done.finish_reason, done.prompt_tokens, done.completion_tokens) == ("well", "stop", 11, 1)
    assert "structured_outputs" not in asked[0] and asked[0]["max_tokens"] == 9


@pytest.mark.parametrize(
    ("given", "choices", "said"),
    [
        (answer(), ["A", "B"], "no log-probabilities"),
        (answer(("x", 1.0)), ["A", "B"], "processed_logprobs"),
        (answer(("I", 1.0)), ["I10", "I11"], "same token"),
    ],
)
def test_answers_that_cannot_be_weighed(given: dict[str, Any], choices: list[str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        probabilities(given, choices)


def test_the_gpu_file_fits_the_llm_module_and_names_its_deployment() -> None:
    from ray.llm._internal.serve.core.configs.llm_config import LLMConfig  # ray.serve.llm itself needs vLLM
    from ray.serve.schema import ServeDeploySchema

    tree = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "serve" / "gpu_vllm.yaml").read_text()))
    llm, ours = tree.applications
    (config,) = [LLMConfig.model_validate(entry) for entry in llm.args["llm_configs"]]
    assert ours.args["llm"] == {"application": llm.name, "model": config.model_id}
    assert deployment_name(config.model_id) == "LLMServer:nosology"
    assert config.engine_kwargs["logprobs_mode"] == "processed_logprobs"


@pytest.mark.parametrize("name", ["laptop.yaml", "gpu_vllm.yaml"])
def test_serve_files_keep_to_loopback_and_say_one_port(name: str) -> None:
    tree = yaml.safe_load((ROOT / "serve" / name).read_text())
    ours = next(app["args"]["config"]["serve"] for app in tree["applications"] if app["import_path"] == "serve.app:build")
    assert tree["http_options"]["host"] == ours["host"] == "127.0.0.1" and tree["http_options"]["port"] == ours["port"]
    assert tree["logging_config"] == {"log_level": "WARNING", "enable_access_log": False}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"configs": {}}, "known here are config and llm"), ({"config": {"model": {"encodr": "x"}}}, r"args.config: model.encodr: Extra")],
)
def test_wrong_arguments_of_a_serve_file_are_named(arguments: dict[str, Any], said: str) -> None:
    from nosology.distributed.serving import build

    with pytest.raises(ConfigError, match=said):
        build(arguments)


def test_an_artefact_or_an_llm_application_makes_a_generator() -> None:
    from nosology.distributed.serving import build

    def bound(arguments: dict[str, Any]) -> list[object]:
        return [value for value in build(arguments)._bound_deployment.init_args if value is not None]

    without = len(bound({}))
    assert len(bound({"config": {"model": {"artefact": "/models/artefact"}}})) == without + 1
    assert len(bound({"llm": {"application": "generator", "model": "nosology"}})) == without + 1
