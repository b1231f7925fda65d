"""Training on a Ray cluster: Ray Train's TorchTrainer, one DeepSpeed process a worker, gloo or NCCL between them.

A worker that dies is replaced and the group continues from the newest good checkpoint (`train.max_failures` times); a node that is lost
for good leaves a smaller group where `train.least_workers` allows one, which grows again. The checkpoints are this product's own
(`training/checkpoint.py`), because Ray's hold whatever the function wrote, whole or not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from nosology import runs, storage
from nosology.config import ClusterConfig, ModelConfig, TrainConfig
from nosology.distributed.session import session
from nosology.errors import ConfigError, InputError, ModelError, NosologyError
from nosology.training import objective, tracking, zero
from nosology.training.loop import STOP
from nosology.training.watch import events

_REPORT, _FAULT = "train.json", "fault.json"
_RESIZE_SECONDS = 30.0  # between two looks whether a group that is too small can grow


def run_training(config: TrainConfig, model: ModelConfig, data: str, out: str, cluster: ClusterConfig) -> dict[str, Any]:
    """Fine-tune, or continue a fine-tuning, in a folder.

    Args:
        config: objective, method, ZeRO stage, workers.
        model: where the base lies; on a cluster, a path that every node sees.
        data: what the objective reads, for `generate` a folder of packed blocks.
        out: folder that every node sees. Gets checkpoints/, metrics.jsonl, ledger.jsonl, events.jsonl, train.json and what
            `train.tracking` names (tensorboard/, mlruns/).
        cluster: the cluster to join or to start; the session is the running one when there is one.

    Returns:
        The report of `training.loop.train`: steps, first_loss, last_loss, tokens_per_second, checkpoint, seconds, metrics.

    Raises:
        ConfigError: a combination that cannot work, a tracker that is not installed, or more workers than the cluster has cores or GPUs.
        InputError, ModelError, StorageError: as the loop raises them.
        InterruptedTraining: Ctrl-C or SIGTERM came; what was done is saved.
    """
    zero.check(config)
    tracking.check(config.tracking)
    objective(config.objective)
    folder = storage.local_path(out).absolute()
    storage.make_folder(str(folder))
    for name in (_REPORT, _FAULT, STOP):
        storage.remove(str(folder / name))
    places = {name: os.path.abspath(value) if value and storage.is_local(value) else value for name, value in model.model_dump().items()}
    elsewhere = storage.absolute(config.checkpoint_folder) if config.checkpoint_folder else None  # workers stand in another folder
    # a folder of the run's own, because DeepSpeed names its files by number alone
    swap = os.path.join(os.path.abspath(config.offload_folder), f"run-{_mark(folder)}") if config.offload_folder else None
    plan: dict[str, Any] = {
        "config": config.model_copy(update={"checkpoint_folder": elsewhere, "offload_folder": swap}).model_dump(), "model": places, "data": os.path.abspath(data) if storage.is_local(data) else data,
        "out": str(folder), "since": time.time(),
    }  # fmt: skip
    with session(cluster):
        _fit(config, plan, folder)
    report: dict[str, Any] = storage.read_json(str(folder / _REPORT))
    if report["stopped"]:
        raise InterruptedTraining(report["steps_done"], report["steps"])
    return report


class InterruptedTraining(NosologyError):
    """Training was told to end, and has saved what was done."""

    def __init__(self, done: int, steps: int) -> None:
        self.done, self.steps = done, steps
        super().__init__(f"interrupted after step {done} of {steps}, which is saved; the same command goes on from there")

    def __reduce__(self) -> tuple[object, ...]:
        return InterruptedTraining, (self.done, self.steps)


def _mark(folder: Path) -> str:
    """What tells a run's files from those of others on a disk that they share."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:16]


def _fit(config: TrainConfig, plan: dict[str, Any], folder: Path) -> None:
    import ray as package
    import ray.train.torch as _  # noqa: F401

    ray: Any = package

    kind = "GPU" if config.use_gpu else "CPU"
    there, least = int(ray.cluster_resources().get(kind, 0)), config.least_workers or config.workers
    if there < least:
        key = "train.least_workers" if config.least_workers else "train.workers"
        raise ConfigError(f"{key} {least}: the cluster has {there} {kind}s. Lower {key}, or add nodes")
    environment = {"DS_ACCELERATOR": "cuda" if config.use_gpu else "cpu", "TOKENIZERS_PARALLELISM": "false"}
    if ray.util.get_node_ip_address() == "127.0.0.1":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # gloo would look up the host's name, which need not resolve
    trainer = ray.train.torch.TorchTrainer(
        _work, train_loop_config=plan,
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers if least == config.workers else (least, config.workers), use_gpu=config.use_gpu,
            elastic_resize_monitor_interval_s=_RESIZE_SECONDS,
        ),
        run_config=ray.train.RunConfig(
            name="train", storage_path=str(folder / "ray"), failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": environment},
        ),
    )  # fmt: skip
    try:
        with _stopping(folder):
            _in_thread(trainer.fit)
    except Exception as error:
        if (folder / _FAULT).is_file():
            fault = storage.read_json(str(folder / _FAULT))
            kinds = {kind.__name__: kind for kind in (ConfigError, InputError, ModelError, storage.StorageError)}
            raise kinds.get(fault["kind"], ModelError)(fault["text"]) from None
        _check_space(folder)
        hangs = [one for one in events(folder, plan["since"]) if one["event"] == "hang"]
        cause = f"training failed ({runs.describe(error)}) after {config.max_failures} restarts"
        cause += f"; {_told(hangs[-1])}" if hangs else ""
        raise ModelError(f"{cause}; the last good checkpoint stays and the same command continues from it") from None


def _told(hang: dict[str, Any]) -> str:
    """A hang in words."""
    workers = ", ".join(map(str, hang["workers"]))
    return (f"worker {workers} {hang['said']}: step {hang['step']}, in {hang['phase']}, last collective {hang['collective']}, "
            f"nothing moved for {hang['seconds']:.0f} s")  # fmt: skip


def _in_thread(work: Callable[[], Any]) -> None:
    """Run Ray's fit beside the main thread, where it would take SIGINT for itself and end the workers without a checkpoint."""
    fault: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            fault.append(error)

    thread = threading.Thread(target=run, name="fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if fault:
        raise fault[0]


@contextlib.contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """Within, the first Ctrl-C or SIGTERM asks the workers to save and to end; the next one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        with contextlib.suppress(OSError):
            (folder / STOP).touch()
        print("saving after this step, then ending; again to end at once", file=sys.stderr, flush=True)

    try:
        for number in before:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_space(folder: Path) -> None:
    """A full disk leaves no room for a worker to say so."""
    probe = str(folder / f".space-{os.getpid()}")
    try:
        storage.write_bytes(probe, bytes(1 << 16))
        storage.remove(probe)
    except storage.StorageError as error:
        raise storage.StorageError(error.rule, file=str(folder), remedy=error.remedy) from None


def _work(plan: dict[str, Any]) -> None:
    """What each worker runs. No exception leaves with a text that is not ours: Ray writes it to its logs."""
    from nosology.training.loop import train as loop
    from nosology.training.step import DeepSpeedStepper

    config, model, folder = TrainConfig(**plan["config"]), ModelConfig(**plan["model"]), Path(plan["out"])
    fault = folder / _FAULT
    if fault.is_file():  # Ray starts the group again after any error; one of our own would come again
        raise ModelError("a worker of this run has refused to go on")
    try:
        task = objective(config.objective)
        report = loop(
            task,
            config,
            model,
            plan["data"],
            folder,
            stepper=DeepSpeedStepper,
            on_step=tracking.trackers(config.tracking, folder, config),
            preempted=_preempted,
            since=plan["since"],
        )
    except NosologyError as error:
        storage.create_if_absent(str(fault), json.dumps({"kind": type(error).__name__, "text": str(error)}).encode())
        raise error from None
    except Exception as error:
        raise RuntimeError(runs.describe(error)) from None
    finally:
        if config.offload_folder:
            shutil.rmtree(config.offload_folder, ignore_errors=True)
    if report.pop("rank") == 0:
        storage.write_json(str(folder / _REPORT), report)


def _preempted() -> bool:
    """Whether Ray was told that a node of the group is about to be taken away; a barrier of all workers."""
    import ray.train as package

    train: Any = package
    return train.get_preemption_info() is not None
