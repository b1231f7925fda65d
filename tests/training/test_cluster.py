"""Real Ray Train with two DeepSpeed workers: one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from nosology.config import ClusterConfig, ModelConfig, TrainConfig
from nosology.errors import ConfigError

_CLUSTER = ClusterConfig(num_cpus=2)


@pytest.fixture(scope="module")
def cluster():
    from nosology.distributed.session import session

    with session(_CLUSTER) as running:
        yield running


def settings(**changes):
    toy = {"precision": "fp32", "batch_size": 2, "learning_rate": 5e-3, "max_steps": 60, "epochs": 30, "checkpoint_steps": 7, "rank": 4}
    return TrainConfig(**{**toy, **changes})


def lines(folder: Path) -> list[dict]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")] if file.is_file() else []


def workers_of_this_process() -> list[int]:
    """Processes of Ray Train's workers below the cluster that this test started."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_killed_worker_comes_back_and_the_curve_is_that_of_an_unkilled_run(cluster, base, blocks, tmp_path):
    from nosology.distributed.train import run_training

    whole = run_training(settings(), ModelConfig(base=base), blocks, str(tmp_path / "whole"), _CLUSTER)
    killed: list[int] = []

    over = threading.Event()

    def kill_one():
        pids: list[int] = []
        while not over.is_set() and not killed:
            done = len(lines(tmp_path / "killed"))
            if done >= 1 and not pids:
                pids = workers_of_this_process()
            if done >= 10 and pids:
                os.kill(pids[-1], signal.SIGKILL)
                killed.append(pids[-1])
            time.sleep(0.005)

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        report = run_training(settings(), ModelConfig(base=base), blocks, str(tmp_path / "killed"), _CLUSTER)
    finally:
        over.set()
        thread.join()
    assert killed and report["start_step"] >= 7, "the kill came too late to prove anything"
    left = {line["step"]: line["value"] for line in lines(tmp_path / "whole")}
    right = {line["step"]: line["value"] for line in lines(tmp_path / "killed")}
    assert list(left) == list(range(60)) and left.keys() == right.keys()
    assert max(abs(left[step] - right[step]) for step in left) < 1e-6
    assert len(lines(tmp_path / "killed")) >= 60
    assert report["last_loss"] == pytest.approx(whole["last_loss"], abs=1e-6) and whole["last_loss"] < whole["first_loss"]
    assert (Path(report["checkpoint"]) / "adapter_model.safetensors").is_file() and report["workers"] == 2
    assert list((tmp_path / "killed" / "tensorboard").iterdir())


def test_what_cannot_run_is_refused_at_once(cluster, base, blocks, tmp_path):
    from nosology.distributed.train import run_training

    with pytest.raises(ConfigError, match="train.workers 3"):
        run_training(settings(workers=3), ModelConfig(base=base), blocks, str(tmp_path / "a"), _CLUSTER)
    with pytest.raises(ConfigError, match="model.base"):
        run_training(settings(max_failures=1), ModelConfig(), blocks, str(tmp_path / "b"), _CLUSTER)
