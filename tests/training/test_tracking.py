"""TensorBoard and MLflow as they are read back, without a server; and the figures of each step."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nosology.config import ModelConfig, TrainConfig, flatten
from nosology.errors import ConfigError
from nosology.storage import StorageError
from nosology.training import figures, tracking
from nosology.training.generate import Generate
from nosology.training.loop import STOP, train
from nosology.training.planning.architecture import KNOWN, of_name
from nosology.training.planning.hardware import CARDS

FOLLOWED = {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_gib"}


def settings(**changes):
    toy = {"precision": "fp32", "batch_size": 4, "learning_rate": 1e-2, "epochs": 9, "max_steps": 6, "checkpoint_steps": 2,
           "rank": 8, "alpha": 16, "workers": 1, "tracking": ("tensorboard", "mlflow")}  # fmt: skip
    return TrainConfig(**{**toy, **changes})


def trained(base, blocks, out, stop_after=None, **changes):
    config = settings(**changes)
    tracked = tracking.trackers(config.tracking, out, config)
    if stop_after is not None:
        call = type(tracked).__call__

        class Stopping(tracking.Trackers):
            def __call__(self, measures):
                call(self, measures)
                if measures["step"] == stop_after:
                    (out / STOP).touch()

        tracked = Stopping(config.tracking, out, config)
    report = train(Generate(), config, ModelConfig(base=base), blocks, out, on_step=tracked)
    (out / STOP).unlink(missing_ok=True)
    return report


def measures(out: Path, name: str = "loss"):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if line["name"] == name}


def store(out: Path):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=(out / "mlruns").as_uri())
    return client, client.search_runs([client.get_experiment_by_name("nosology").experiment_id])


def scalars(out: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    found = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    assert all(len({step for step, _ in events}) == len(events) for events in found.values()), "a step is there twice"
    return {tag: dict(events) for tag, events in found.items()}


def test_every_figure_of_every_step_is_read_back(base, blocks, tmp_path):
    out = tmp_path / "tuned"
    trained(base, blocks, out, evaluate_steps=3)
    told, validated = measures(out), measures(out, "validation")
    assert len(told) == 6 and set(validated) == {2, 5} and "mfu" not in told[0]
    assert 0.05 < told[0]["memory_gib"] <= told[5]["memory_gib"] < 64
    client, (run,) = store(out)
    assert run.info.run_name == "tuned" and run.info.status == "FINISHED"
    assert run.data.params == {k: v if isinstance(v, str) else json.dumps(v) for k, v in flatten(settings(evaluate_steps=3))}
    board = scalars(out)
    assert set(board) >= FOLLOWED | {"validation/loss", "validation/accuracy"} and set(board) == set(run.data.metrics)
    for name in FOLLOWED:
        history = {one.step: one.value for one in client.get_metric_history(run.info.run_id, name)}
        assert history == pytest.approx({step: line["value" if name == "loss" else name] for step, line in told.items()}, abs=1e-7)
        assert board[name] == pytest.approx(history, rel=1e-5)
    history = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "validation/loss")}
    assert history == pytest.approx({step: line["loss"] for step, line in validated.items()})
    assert history == pytest.approx(board["validation/loss"])


def test_mlflow_is_told_of_no_user_host_or_program(base, blocks, tmp_path):
    trained(base, blocks, tmp_path / "tuned", max_steps=1)
    _, (run,) = store(tmp_path / "tuned")
    assert run.data.tags == {"mlflow.runName": "tuned"} and run.info.user_id == "unknown"
    written = b"".join(path.read_bytes() for path in (tmp_path / "tuned" / "mlruns").rglob("*") if path.is_file())
    for word in (os.uname().nodename, sys.executable, "pytest"):
        assert word.encode() not in written.replace(str(tmp_path).encode(), b"")


def test_a_resumed_training_goes_on_in_the_same_run_and_steps_taken_twice_do_no_harm(base, blocks, tmp_path):
    first = trained(base, blocks, tmp_path, stop_after=1, checkpoint_steps=100)
    assert first["stopped"] and store(tmp_path)[1][0].info.status == "KILLED"
    # what a kill leaves: steps that no checkpoint has, in every tracker
    lost = tracking.trackers(("tensorboard", "mlflow"), tmp_path, settings())
    done = first["steps_done"]
    for step in (done, done + 1):
        lost({"step": step, "value": 99.0, "learning_rate": 0.0, "gradient_norm": 0.0, "tokens_per_second": 1.0})
    lost._made["tensorboard"]._writer.flush()
    client, (run,) = store(tmp_path)
    assert run.info.status == "RUNNING"
    trained(base, blocks, tmp_path, checkpoint_steps=100, max_failures=7)
    client, (run,) = store(tmp_path)
    assert run.info.status == "FINISHED" and run.data.params["max_failures"] == "3"  # as it began
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {one.step for one in history} == set(range(6)) and len(history) == 8
    last = {one.step: one.value for one in sorted(history, key=lambda one: one.timestamp)}
    assert last == pytest.approx({step: line["value"] for step, line in measures(tmp_path).items()}, abs=1e-7)
    assert scalars(tmp_path)["loss"] == pytest.approx(last, rel=1e-5)
    trained(base, blocks, tmp_path)  # there is nothing left to do
    assert len(store(tmp_path)[1]) == 1


def test_nothing_phones_home(tmp_path):
    """In a process of its own, for under pytest and in CI MLflow is silent by itself."""
    code = """if True:
        import socket, sys, threading, time
        from pathlib import Path
        tried = []
        def refuse(self, address):
            tried.append(address)
            raise OSError("refused")
        socket.socket.connect = socket.socket.connect_ex = refuse
        from nosology.config import TrainConfig
        from nosology.training.loop import train
        import deepspeed
        assert "mlflow" in sys.modules, "DeepSpeed no longer imports it by itself"
        from nosology.training.tracking import trackers
        tracked = trackers(("mlflow",), Path(sys.argv[1]), TrainConfig())
        for step in range(3):
            tracked({"step": step, "value": 1.0})
        tracked.validation(2, {"recall@10": 0.5})
        tracked.close()
        from mlflow.telemetry import get_telemetry_client
        from mlflow.telemetry.utils import is_telemetry_disabled
        assert get_telemetry_client() is None and is_telemetry_disabled() and not tried, tried
        assert tracked._made and not [thread for thread in threading.enumerate() if "elemetry" in thread.name]
    """
    quiet = {"CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {"XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    assert not list(tmp_path.rglob("telemetry*")), "MLflow gave this installation a number"
    assert len(list((tmp_path / "mlruns").rglob("metrics/validation/recall_10"))) == 1


def test_a_tracker_whose_package_is_absent_is_refused_with_the_remedy(monkeypatch):
    tracking.check(("tensorboard", "mlflow"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tracking.check(("tensorboard",))
    with pytest.raises(ConfigError, match=r"train.tracking: mlflow .*pip install 'nosology\[mlflow\]'"):
        tracking.check(("tensorboard", "mlflow"))


def test_it_is_refused_before_anything_is_launched(base, blocks, tmp_path, monkeypatch):
    from nosology.config import ClusterConfig
    from nosology.distributed import train as distributed

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="mlflow-skinny"):
        distributed.run_training(settings(), ModelConfig(base=base), blocks, str(tmp_path / "out"), ClusterConfig())
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_fails_costs_no_training(base, blocks, tmp_path, caplog):
    out = tmp_path / "tuned"
    trained(base, blocks, out, max_steps=2)
    for file in (out / "mlruns").rglob("metrics/loss"):
        file.write_text("damaged\n")
    caplog.set_level("WARNING", "nosology")
    report = trained(base, blocks, out)
    assert report["steps_done"] == 6 and len(measures(out)) == 6 and len(scalars(out)["loss"]) == 6
    assert "mlflow is left out" in caplog.text and "damaged" not in caplog.text


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.ENOSPC, errno.EDQUOT])
def test_of_a_disks_faults_a_full_one_alone_ends_the_training(base, blocks, tmp_path, monkeypatch, number):
    def fails(self, step, figures):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tracking.TensorBoard, "write", fails)
    if number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(StorageError):
            trained(base, blocks, tmp_path, tracking=("tensorboard",))
    else:
        assert trained(base, blocks, tmp_path, tracking=("tensorboard",))["steps_done"] == 6


def test_nobody_is_told_a_place(base, blocks, tmp_path):
    trained(base, blocks, tmp_path / "tuned", tracking=("mlflow",), max_steps=1, checkpoint_folder=str(tmp_path / "st-mary-hospital"))
    _, (run,) = store(tmp_path / "tuned")
    assert run.data.params["checkpoint_folder"] == run.data.params["offload_folder"] == "null"


def test_no_tracker_writes_nothing(base, blocks, tmp_path):
    assert tracking.trackers((), tmp_path, settings()) is None
    trained(base, blocks, tmp_path, tracking=(), max_steps=1)
    assert not (tmp_path / "tensorboard").exists() and not (tmp_path / "mlruns").exists() and len(measures(tmp_path)) == 1


def test_every_tracker_of_the_config_is_made_here():
    assert set(tracking.TRACKERS) == set(TrainConfig.model_fields["tracking"].annotation.__args__[0].__args__)


@pytest.mark.parametrize(("name", "card"), [
    ("NVIDIA H200", "h200"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100-PCIE-40GB", "a100-40"),
    ("NVIDIA B200", "b200"), ("NVIDIA H100 PCIe", None), ("NVIDIA H100 NVL", None), ("NVIDIA H200 NVL", None), ("NVIDIA GH200 480GB", None),
    ("NVIDIA H200 MIG 1g.18gb", None), ("NVIDIA L4", None), ("NVIDIA GeForce RTX 4090", None), ("NVIDIA GB200", None),
])  # fmt: skip
def test_a_card_is_known_by_its_drivers_name(name, card):
    assert figures.card_of(name) == (CARDS[card] if card else None)


def test_mfu_counts_the_operations_by_the_planners_convention():
    """By hand: 2 N a token forward (N without the embedding, which is a look-up), as many again for activations, and for weights."""
    model, card, sequence = of_name("llama-3.1-8b"), CARDS["h100"], 4096
    assert model in KNOWN.values()
    weights = model.linear_parameters + model.vocabulary * model.hidden_size
    attention = 3 * 0.5 * 4 * model.num_layers * model.query_size * sequence
    for method, passes in (("full", 3), ("lora", 2), ("qlora", 2)):
        config = TrainConfig(method=method)
        assert figures.mfu(model, card, config, sequence, 8000.0) == pytest.approx(
            (2 * passes * weights + attention) * 8000.0 / card.peak_flops, rel=1e-9
        )


def test_mfu_is_of_each_card_and_only_where_card_and_model_are_known(base, monkeypatch):
    import torch

    module = Generate().build(settings(), ModelConfig(base=base))  # with its adapter
    group = SimpleNamespace(device=torch.device("cuda"), world_size=2, bare=module)
    batch = {"input_ids": torch.zeros(4, 32, dtype=torch.long)}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    found = figures.Figures(group, settings(), "generate").step(1000.0, batch)
    assert found["memory_gib"] == 3.0
    weights = 64 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64)
    attention = 3 * 0.5 * 4 * 2 * 32 * 32
    assert found["mfu"] == pytest.approx((4 * weights + attention) * 500.0 / CARDS["h200"].peak_flops)
    assert set(figures.Figures(group, settings(), "tag").step(1000.0, batch)) == {"memory_gib"}
    group.bare = torch.nn.Linear(2, 2)
    assert set(figures.Figures(group, settings(), "generate").step(1000.0, batch)) == {"memory_gib"}
    group.bare = module
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L4")
    assert set(figures.Figures(group, settings(), "generate").step(1000.0, batch)) == {"memory_gib"}
