"""`serve.engine` reaches the application: the engine that a replica opens, and the GPU that it asks Ray for."""

from __future__ import annotations

from typing import Any

import pytest
from nosology import engines
from nosology.config import Config, load
from nosology.distributed import serving
from nosology.errors import ConfigError


def config_of(choice: str) -> Config:
    return load([], ["model.artefact=/models/artefact", f"serve.engine={choice}"])


def generator_of(app: Any) -> Any:
    return app._bound_deployment.init_args[2]._bound_deployment


def test_vllm_that_is_absent_is_refused_before_anything_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="extra `gpu`"):
        serving.application(config_of("vllm"))
    assert generator_of(serving.application(config_of("laptop"))).ray_actor_options["num_gpus"] == 0


@pytest.mark.parametrize(("choice", "cluster", "gpus"), [("vllm", {"GPU": 2.0}, 1), ("vllm", {"CPU": 2.0}, 0), ("laptop", {"GPU": 2.0}, 0)])
def test_a_replica_of_vllm_asks_for_a_gpu(monkeypatch: pytest.MonkeyPatch, choice: str, cluster: dict[str, float], gpus: int) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(serving.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(serving.ray, "cluster_resources", lambda: cluster)
    assert generator_of(serving.application(config_of(choice))).ray_actor_options["num_gpus"] == gpus


def test_the_choice_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engines, "open_engine", lambda directory, adapter=None, *, kind="laptop": asked.append((directory, kind)))
    for choice in ("auto", "vllm", "laptop"):
        serving.open_engine(config_of(choice))
    assert asked == [("/models/artefact", choice) for choice in ("auto", "vllm", "laptop")]
