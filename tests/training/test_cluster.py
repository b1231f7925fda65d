"""Real Ray Train with two DeepSpeed workers: one of them is killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from nosology.config import ClusterConfig, ModelConfig, TrainConfig
from nosology.errors import ConfigError, InputError, ModelError

_CLUSTER = ClusterConfig(num_cpus=2)


@pytest.fixture(scope="module")
def cluster():
    from nosology.distributed.session import session

    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # a lost worker is seen sooner than the usual two seconds after
    with session(_CLUSTER) as running:
        yield running
    del os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"]


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


@pytest.fixture(scope="module")
def whole(cluster, base, blocks, tmp_path_factory):
    """The run that nobody disturbs: its folder and its report."""
    from nosology.distributed.train import run_training

    folder = tmp_path_factory.mktemp("whole")
    return folder, run_training(settings(), ModelConfig(base=base), blocks, str(folder), _CLUSTER)


@contextlib.contextmanager
def disturbed(folder: Path, disturb):
    """`disturb(steps done, pids of the workers)` again and again while the block runs, until it returns True."""
    over = threading.Event()

    def watch():
        while not over.is_set():
            taken = lines(folder)
            if taken and disturb(taken[-1]["step"] + 1, workers_of_this_process()):
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def same_curve(left: Path, right: Path) -> None:
    one = {line["step"]: line["value"] for line in lines(left) if line["name"] == "loss"}
    other = {line["step"]: line["value"] for line in lines(right) if line["name"] == "loss"}
    assert list(one) == list(range(60)) and one.keys() == other.keys()
    assert max(abs(one[step] - other[step]) for step in one) < 1e-3


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_ten_random_steps_change_nothing(whole, base, blocks, tmp_path, seed):
    from nosology.distributed.train import run_training

    chance = random.Random(seed)
    moments = sorted(chance.sample(range(1, 59), 10))
    killed: list[int] = []

    def kill(done, pids):
        if done >= moments[len(killed)] and len(pids) == 2 and not set(pids) & set(killed):
            victim = chance.choice(pids)
            killed.extend([victim])
            os.kill(victim, signal.SIGKILL)
        return len(killed) == len(moments)

    with disturbed(tmp_path, kill):
        report = run_training(settings(max_failures=30), ModelConfig(base=base), blocks, str(tmp_path), _CLUSTER)
    assert len(killed) == 10 and report["restarts"] == 10
    same_curve(whole[0], tmp_path)
    assert report["ledger"]["exact"] and report["ledger"]["samples"] == whole[1]["ledger"]["samples"]
    assert report["ledger"]["attempts"] == 11 and report["ledger"]["least"] == whole[1]["ledger"]["least"]
    assert report["last_loss"] == pytest.approx(whole[1]["last_loss"], abs=1e-6) and whole[1]["last_loss"] < whole[1]["first_loss"]
    assert (Path(report["checkpoint"]) / "adapter_model.safetensors").is_file() and report["workers"] == 2
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_worker_that_hangs_is_named_and_the_group_goes_on(whole, base, blocks, tmp_path):
    from nosology.distributed.train import run_training

    stopped: list[int] = []

    def stop(done, pids):
        if done >= 20 and len(pids) == 2:
            stopped.append(pids[1])
            os.kill(pids[1], signal.SIGSTOP)
        return bool(stopped)

    with disturbed(tmp_path, stop):
        report = run_training(settings(stall_seconds=8), ModelConfig(base=base), blocks, str(tmp_path), _CLUSTER)
    same_curve(whole[0], tmp_path)
    (hang,) = report["hangs"]
    assert len(hang["workers"]) == 1 and hang["told_by"] not in hang["workers"] and hang["said"].startswith("does not answer")
    assert hang["step"] >= 18 and hang["phase"] and hang["collective"] and report["restarts"] == 1


def test_a_group_shrinks_and_grows_with_the_cluster(whole, base, blocks_of, tmp_path):
    """Two nodes of a core each, in a process of their own; the second is lost while the run goes on, and another comes."""
    script = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from nosology.config import ClusterConfig, ModelConfig, TrainConfig
from nosology.distributed import train
train._RESIZE_SECONDS = 1.0
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
folder = Path(sys.argv[4])
def done():
    file = folder / "metrics.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")] if file.is_file() else []
    return [(line["step"], line["workers"]) for line in found if line["name"] == "loss"]
def change():
    while not [1 for step, workers in done() if step >= 10]:
        time.sleep(0.05)
    cluster.remove_node(second, allow_graceful=False)
    while not [1 for step, workers in done() if workers == 1 and step >= 16]:
        time.sleep(0.05)
    cluster.add_node(num_cpus=1)
reports = []
def run():
    reports.append(train.run_training(TrainConfig(**eval(sys.argv[1])), ModelConfig(base=sys.argv[2]), sys.argv[3], str(folder), ClusterConfig()))
working = threading.Thread(target=run, daemon=True)
working.start()
change()  # here, because Ray starts a node from the main thread alone
working.join()
print(json.dumps(reports[0]))
ray.shutdown()
cluster.shutdown()
"""
    # the same training blocks, and so many to evaluate that a step takes long enough for the nodes to come and go
    blocks = blocks_of(tmp_path / "blocks", validation=500)
    config = settings(least_workers=1, checkpoint_steps=2, evaluate_steps=1, keep_checkpoints=1, max_failures=10)
    command = [sys.executable, "-c", script, repr(config.model_dump()), base, blocks, str(tmp_path / "out")]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]
    report = json.loads(finished.stdout.splitlines()[-1])
    same_curve(whole[0], tmp_path / "out")
    counts = [line["workers"] for line in lines(tmp_path / "out") if line["name"] == "loss"]
    assert counts[0] == 2 and 1 in counts and counts[-1] == 2, "the group did not shrink, or did not grow again"
    assert report["ledger"]["exact"] and report["ledger"]["workers"] == [1, 2]


def test_ctrl_c_saves_and_the_same_command_goes_on(cluster, whole, base, blocks, tmp_path):
    """In a process of its own, as from a terminal."""
    script = """
import sys
from nosology.config import ClusterConfig, ModelConfig, TrainConfig
from nosology.distributed.train import InterruptedTraining, run_training
try:
    run_training(TrainConfig(**eval(sys.argv[1])), ModelConfig(base=sys.argv[2]), sys.argv[3], sys.argv[4], ClusterConfig(num_cpus=2))
except InterruptedTraining as error:
    print(error)
    sys.exit(9)
"""
    command = [sys.executable, "-c", script, repr(settings(checkpoint_steps=1000).model_dump()), base, blocks, str(tmp_path)]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while running.poll() is None and len(lines(tmp_path)) < 5:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 9, err[-2000:]
    assert "is saved; the same command goes on" in out and "again to end at once" in err
    done = len(lines(tmp_path))
    assert 5 <= done < 60
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr[-2000:]
    same_curve(whole[0], tmp_path)
    assert len(lines(tmp_path)) == 60, "a step was taken twice"


def test_what_cannot_run_is_refused_at_once(cluster, base, blocks, tmp_path):
    from nosology.distributed.train import run_training

    with pytest.raises(ConfigError, match="train.workers 3"):
        run_training(settings(workers=3), ModelConfig(base=base), blocks, str(tmp_path / "a"), _CLUSTER)
    with pytest.raises(ConfigError, match="model.base"):
        run_training(settings(max_failures=1), ModelConfig(), blocks, str(tmp_path / "b"), _CLUSTER)


def test_several_seeds_are_trained_by_one_flag_and_compared(cluster, generator, blocks, blocks_of, tmp_path):
    """Through the verb: what goes with a model is there, and quantize takes the best of them."""
    from nosology import verbs
    from nosology.config import Config, ProofConfig, QuantizeConfig

    train = settings(max_steps=3, seeds=(3, 4), workers=1, max_failures=0)
    config = Config(model=ModelConfig(base=generator), train=train, cluster=_CLUSTER, quantize=QuantizeConfig(phrases=0),
                    proof=ProofConfig(vouched_by="Ada Byron, Example Hospital, 2026-05-04"))  # fmt: skip
    out = tmp_path / "tuned"
    report = verbs.train(config, blocks, str(out))
    assert report["seeds"] == [3, 4] and set(report["each"]) == {3, 4} and report["spread"]["loss"] > 0
    losses = {seed: metrics["loss"] for seed, metrics in report["each"].items()}
    assert report["metrics"]["loss"] == pytest.approx(sum(losses.values()) / 2) and report["best_seed"] == min(
        losses, key=losses.__getitem__
    )
    assert report["best_run"] == str(out / f"seed-{report['best_seed']}")
    for name in ("training.json", "tokenizer.json", "deidentification.json", "adapter_model.safetensors"):
        assert (Path(report["checkpoint"]) / name).is_file()
    with pytest.raises(InputError, match="CodedText"):  # blocks are no pairs; told before anything begins
        verbs.train(config.model_copy(update={"train": settings(objective="embed")}), blocks, str(tmp_path / "refused"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing in it to train on"):
        verbs.train(config.model_copy(update={"train": settings()}), str(tmp_path / "empty"), str(tmp_path / "refused"))
    with pytest.raises(InputError, match="no validation rows, by which train.seeds"):
        verbs.train(config, blocks_of(tmp_path / "unmeasured", validation=0), str(tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
    best = Path(report["best_run"])
    told = {name: (best / name).read_bytes() for name in ("report.json", "lineage.json", "report.html", "config.yaml")}
    again = verbs.train(config, blocks, str(out))
    assert again["metrics"] == report["metrics"] and all((best / name).read_bytes() == held for name, held in told.items())
    made = verbs.quantize(config, report["best_run"], str(tmp_path / "quantized"))
    assert Path(made["artefact"], "manifest.json").is_file()


def test_an_encoder_that_was_trained_takes_the_place_of_the_one_before(cluster, encoder, pairs, tmp_path):
    """Through the verb: the run folder has a whole model, which embeds as `model.encoder`, and which quantize refuses."""
    from nosology import verbs
    from nosology.config import Config, ProofConfig
    from nosology.engines.encoder import load_encoder

    train = settings(objective="embed", max_steps=6, learning_rate=1e-2, temperature=0.1, max_failures=0, batch_size=4)
    vouched = ProofConfig(vouched_by="Ada Byron, Example Hospital, 2026-05-04")
    config = Config(model=ModelConfig(encoder=encoder), train=train, cluster=_CLUSTER, proof=vouched)
    report = verbs.train(config, pairs, str(tmp_path / "tuned"))
    assert report["last_loss"] < report["first_loss"] and report["metrics"].keys() == {"loss", "top1", "mrr"}
    model = Path(report["model"])
    assert model == tmp_path / "tuned" / "model"
    for name in ("model.safetensors", "tokenizer.json", "training.json", "deidentification.json"):
        assert (model / name).is_file(), name
    before, after = (load_encoder(path).embed(["high blood pressure"]) for path in (encoder, str(model)))
    assert abs(before - after).max() > 1e-3
    with pytest.raises(ModelError, match="objective embed"):
        verbs.quantize(config, str(tmp_path / "tuned"), str(tmp_path / "quantized"))
