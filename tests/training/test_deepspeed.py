"""Real DeepSpeed on gloo: two processes, every stage, one after the other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from nosology.config import TrainConfig
from nosology.errors import ConfigError
from nosology.training import checkpoint, zero

# method, stage, and what else: LoRA and full at every stage, the other objectives at every stage by one or the other; bf16 and recomputation at some
_CASES = {
    **{f"{method}{stage}": {"method": method, "zero": stage} for method in ("lora", "full") for stage in range(4)},
    "again0": {"method": "lora", "zero": 0, "gradient_checkpointing": True}, "again3": {"method": "full", "zero": 3, "gradient_checkpointing": True},
    "dora0": {"method": "lora", "zero": 0, "decomposed": True}, "dora3": {"method": "lora", "zero": 3, "decomposed": True},
    "dropout1": {"method": "lora", "zero": 1, "dropout": 0.3},
    "rslora1": {"method": "lora", "zero": 1, "rank_stabilized": True},
    **{f"{name}{stage}": {"objective": name, "method": ("lora", "full")[(stage + odd) % 2], "zero": stage, "max_steps": 12, "temperature": 0.1}
       for odd, name in enumerate(("prefer", "embed", "rerank", "classify")) for stage in range(4)},
    "half2": {"method": "full", "zero": 2, "precision": "bf16"}, "half3": {"method": "lora", "zero": 3, "precision": "bf16"},
}  # fmt: skip

_SCRIPT = """
import json, os, sys, threading
from pathlib import Path
import torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
from nosology.config import ModelConfig, TrainConfig
from nosology.training import objective
from nosology.training.loop import train
from nosology.training.step import DeepSpeedStepper

places, out = json.loads(sys.argv[1]), sys.argv[2]
model = ModelConfig(base=places["base"], encoder=places["encoder"])

class Stop(Exception):
    pass

for name, changes, folder, stop in json.loads(sys.argv[3]):
    config = TrainConfig(**{**dict(precision="fp32", batch_size=2, accumulation_steps=1, learning_rate=1e-2, max_steps=9, epochs=9, checkpoint_steps=3,
                                   rank=4, weight_decay=0.1, workers=2), **changes})
    class Halting(DeepSpeedStepper):
        taken = 0
        def learn(self, loss, rate):
            for thread in threading.enumerate():  # the checkpoint of step 3 is published in step 4
                if thread.name == "checkpoint" and Halting.taken == stop - 2:
                    thread.join()
            super().learn(loss, rate)
        def total(self, values):
            if len(values) > 1:  # the figures of a step, after which it is taken
                Halting.taken += 1
                if Halting.taken == stop:
                    raise Stop
            return super().total(values)
    try:
        report = train(objective(config.objective), config, model, places[config.objective], Path(out) / name / folder, stepper=Halting)
        if dist.get_rank() == 0:
            (Path(out) / name / f"{folder}.json").write_text(json.dumps(report))
    except Stop:
        pass
    dist.barrier()
dist.destroy_process_group()
"""


def _free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def _group(workers: int, places: dict[str, str], out: Path, tasks: list) -> None:
    """Run tasks in a group of so many processes; each is cut off in the step of its number (0: never)."""
    port, running = _free_port(), []
    for rank in map(str, range(workers)):
        env = {**os.environ, "RANK": rank, "WORLD_SIZE": str(workers), "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
               "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
        log = (out / f"{rank}.log").open("w")
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", _SCRIPT, json.dumps(places), str(out), json.dumps(tasks)], env=env, stdout=log, stderr=log
            )
        )
    codes = []
    try:
        codes = [worker.wait(timeout=400) for worker in running]
    finally:
        for worker in running:
            worker.kill()
    assert set(codes) == {0}, (out / "0.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def runs(base, encoder, blocks, preferences, pairs, tmp_path_factory) -> Path:
    """Each case unbroken on two workers; cut off and resized 2, 1, 2; begun on one and gone on with on two."""
    out = tmp_path_factory.mktemp("deepspeed")
    cases = list(_CASES.items())
    places = {
        "base": base,
        "encoder": encoder,
        "generate": blocks,
        "prefer": preferences,
        **dict.fromkeys(("embed", "rerank", "classify"), pairs),
    }
    _group(2, places, out, [*((n, c, "whole", 0) for n, c in cases), *((n, c, "resized", 5) for n, c in cases)])
    _group(1, places, out, [*((n, c, "resized", 5) for n, c in cases), *((n, c, "grown", 5) for n, c in cases)])
    _group(2, places, out, [*((n, c, "resized", 0) for n, c in cases), *((n, c, "grown", 0) for n, c in cases)])
    return out


def curve(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["value"] for line in lines if line["name"] == "loss"}


@pytest.mark.parametrize("name", _CASES)
def test_the_loss_falls(runs, name):
    losses = curve(runs / name / "whole")
    last = _CASES[name].get("max_steps", 9) - 1
    assert list(losses) == list(range(last + 1)) and losses[last] < losses[0]


@pytest.mark.parametrize("name", _CASES)
@pytest.mark.parametrize("folder", ["resized", "grown"])
def test_on_another_number_of_workers_a_run_goes_on_as_if_it_had_not_stopped(runs, name, folder):
    report = json.loads((runs / name / f"{folder}.json").read_text())
    whole = json.loads((runs / name / "whole.json").read_text())
    assert report["start_step"] >= 3 and report["workers"] == 2
    left, right = curve(runs / name / "whole"), curve(runs / name / folder)
    # in bf16 the sum of two workers' gradients is rounded, which the steps after it amplify
    near = 0.06 if _CASES[name].get("precision") == "bf16" else 1e-3
    assert left.keys() == right.keys() and max(abs(left[step] - right[step]) for step in left) < near
    assert (
        report["ledger"]["exact"]
        and report["ledger"]["workers"] == [1, 2]
        and report["ledger"]["samples"] == whole["ledger"]["samples"] == 4 * _CASES[name].get("max_steps", 9)
    )
    assert report["ledger"]["attempts"] == (3 if folder == "resized" else 2) == report["restarts"] + 1
    assert report["metrics"]["loss"] == pytest.approx(whole["metrics"]["loss"], abs=near)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_norm_of_the_gradient_is_told_at_every_stage(runs, method):
    def norms(name):
        lines = map(json.loads, (runs / name / "whole" / "metrics.jsonl").read_text().splitlines())
        return [line["gradient_norm"] for line in lines if line["name"] == "loss"]

    plain = norms(f"{method}0")
    assert min(plain) > 0 and all(norms(f"{method}{stage}") == pytest.approx(plain, rel=1e-3) for stage in (1, 2, 3))


def test_sharding_and_recomputation_do_not_change_the_curve(runs):
    for method in ("lora", "full"):
        plain = curve(runs / f"{method}0" / "whole")
        others = [f"{method}{stage}" for stage in (1, 2, 3)] + [name for name in ("again0", "again3") if _CASES[name]["method"] == method]
        for name in others:
            other = curve(runs / name / "whole")
            assert all(plain[step] == pytest.approx(other[step], abs=1e-4) for step in plain), name


@pytest.mark.parametrize("stage", range(4))
def test_the_adapter_of_a_sharded_run_is_whole(runs, stage):
    from safetensors.torch import load_file

    found = checkpoint.newest(runs / f"lora{stage}" / "whole" / "checkpoints")
    assert found is not None and found.step == 9
    tensors = load_file(str(found.folder / "adapter_model.safetensors"))
    assert len(tensors) == 2 * 2 * 7  # A and B of seven linear layers in two blocks
    assert all(tensor.numel() > 0 and bool(tensor.any()) for tensor in tensors.values())
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (4, 32)


@pytest.mark.parametrize("stage", range(4))
def test_every_weight_of_a_full_run_loads_from_its_parts(runs, blocks, stage):
    import torch
    from nosology.training.generate import Generate
    from transformers import AutoModelForCausalLM

    found = checkpoint.newest(runs / f"full{stage}" / "whole" / "checkpoints")
    assert found is not None and len(list(found.folder.glob("model-*-of-00002.safetensors"))) == 2
    module, task = AutoModelForCausalLM.from_pretrained(found.folder).eval(), Generate()
    with torch.no_grad():
        again = task.evaluate(module, task.rows(blocks, "validation"), 2)
    report = json.loads((runs / f"full{stage}" / "whole.json").read_text())
    assert again["loss"] == pytest.approx(report["metrics"]["loss"], abs=1e-4)


def _libaio() -> bool:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    return bool(AsyncIOBuilder().is_compatible(verbose=False))


def test_an_optimizer_on_disk_goes_on_at_another_size(blocks, tmp_path):
    """Only groups of parameters of 1 MiB and more go to disk, so the base is a larger toy."""
    if not _libaio():
        pytest.skip("DeepSpeed's asynchronous reads and writes need libaio with its headers")
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
    LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=64, pad_token_id=0)).save_pretrained(tmp_path / "base")
    case = {"method": "full", "zero": 3, "learning_rate": 1e-3}
    disk = {**case, "offload": "nvme", "offload_folder": str(tmp_path / "disk")}
    places = {"base": str(tmp_path / "base"), "encoder": "", "generate": blocks}
    _group(2, places, tmp_path, [("memory", case, "whole", 0), ("disk", disk, "whole", 0), ("disk", disk, "resized", 5)])
    _group(1, places, tmp_path, [("disk", disk, "resized", 0)])
    assert list((tmp_path / "disk" / "zero_stage_3").rglob("*exp_avg*"))
    curves = [curve(tmp_path / name / folder) for name, folder in (("memory", "whole"), ("disk", "whole"), ("disk", "resized"))]
    for other in curves[1:]:
        assert all(curves[0][step] == pytest.approx(other[step], abs=1e-3) for step in curves[0])
    assert json.loads((tmp_path / "disk" / "resized.json").read_text())["start_step"] >= 3


def test_deepspeed_settings_follow_ours():
    config = TrainConfig(
        precision="bf16", batch_size=4, accumulation_steps=2, zero=3, gradient_clip=0.5, use_gpu=True, offload="all", workers=8
    )
    settings = zero.deepspeed_config(config, world_size=8)
    assert settings["train_batch_size"] == 64 and settings["gradient_clipping"] == 0.5 and settings["bf16"]["enabled"]
    assert settings["zero_optimization"]["stage"] == 3 and settings["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert not settings["optimizer"]["params"]["torch_adam"] and "fp16" not in settings
    on_cpu = zero.deepspeed_config(TrainConfig(precision="fp32", zero=0), world_size=2)
    assert on_cpu["optimizer"]["params"]["torch_adam"] and on_cpu["zero_optimization"] == {"stage": 0} and not on_cpu["bf16"]["enabled"]
    on_disk = zero.deepspeed_config(TrainConfig(zero=3, offload="nvme", offload_folder="/scratch"), world_size=2)
    assert on_disk["zero_optimization"]["offload_optimizer"] == {"device": "nvme", "nvme_path": "/scratch", "pin_memory": False}
    # in bf16 the fp32 weights live in ZeRO's optimizer, so the stage is 1 at least
    assert zero.deepspeed_config(TrainConfig(precision="bf16", zero=0), world_size=2)["zero_optimization"]["stage"] == 1


REFUSED = [
    ({"offload": "optimizer", "zero": 0, "use_gpu": True}, "cannot move"), ({"offload": "all", "zero": 2, "use_gpu": True}, "zero of 3"),
    ({"offload": "optimizer", "zero": 2}, "use_gpu"),
    ({"offload": "nvme", "zero": 2, "offload_folder": "/x"}, "zero of 3"), ({"offload": "nvme", "zero": 3}, "go together"),
    ({"patience": 2}, "evaluate_steps is not set"), ({"least_workers": 4, "workers": 2}, "is more than train.workers"),
    ({"objective": "rerank", "negatives": 0}, "from wrong ones"), ({"objective": "embed", "negatives": 0, "batch_size": 1}, "nothing to choose"),
    ({"method": "qlora"}, "GPU kernels"), ({"method": "qlora", "zero": 3, "use_gpu": True}, "packed 4-bit"),
    ({"method": "qlora", "use_gpu": True, "precision": "fp32"}, "bf16"), ({"method": "qlora", "use_gpu": True, "objective": "tag"}, "generate"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_settings_that_cannot_work_are_refused(changes, reason):
    with pytest.raises(ConfigError, match=reason):
        zero.deepspeed_config(TrainConfig(**changes), world_size=2)


def test_every_refusal_has_its_case():
    configs = [TrainConfig(**changes) for changes, _ in REFUSED]
    assert all(any(fails(config) for config in configs) for fails, _ in zero.REFUSED) and len(REFUSED) == len(zero.REFUSED)


def test_half_precision_is_no_choice():
    with pytest.raises(ValueError, match="precision"):
        TrainConfig(precision="fp16")
