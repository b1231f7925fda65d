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

_CASES = [("lora", 0), ("lora", 3), ("full", 2)]

_SCRIPT = """
import json, os, sys
from pathlib import Path
import torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
from nosology.config import ModelConfig, TrainConfig
from nosology.training.generate import Generate
from nosology.training.loop import train
from nosology.training.step import DeepSpeedStepper

base, blocks, out = sys.argv[1:4]

class Stop(Exception):
    pass

for method, stage in json.loads(sys.argv[4]):
    config = TrainConfig(precision="fp32", batch_size=2, learning_rate=1e-2, max_steps=6, epochs=9, checkpoint_steps=3, rank=4,
                         zero=stage, method=method, weight_decay=0.1)
    folder = Path(out) / f"{method}{stage}"
    model = ModelConfig(base=base)
    train(Generate(), config, model, blocks, folder / "whole", stepper=DeepSpeedStepper)
    stopped = []
    class Halting(DeepSpeedStepper):
        def learn(self, loss, rate):
            if len(stopped) == 4:
                raise Stop
            stopped.append(1)
            super().learn(loss, rate)
    try:
        train(Generate(), config, model, blocks, folder / "cut", stepper=Halting)
    except Stop:
        pass
    report = train(Generate(), config, model, blocks, folder / "cut", stepper=DeepSpeedStepper)
    if dist.get_rank() == 0:
        (folder / "report.json").write_text(json.dumps(report))
dist.destroy_process_group()
"""


def _free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.fixture(scope="module")
def runs(base, blocks, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("deepspeed")
    port = _free_port()
    workers = []
    for rank in ("0", "1"):
        env = {**os.environ, "RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
               "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
        log = (out / f"{rank}.log").open("w")
        command = [sys.executable, "-c", _SCRIPT, base, blocks, str(out), json.dumps(_CASES)]
        workers.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    codes = []
    try:
        codes = [worker.wait(timeout=400) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert codes == [0, 0], (out / "0.log").read_text()[-3000:]
    return out


def curve(folder: Path) -> dict[int, float]:
    return {line["step"]: line["value"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())}


@pytest.mark.parametrize(("method", "stage"), _CASES)
def test_a_stopped_run_continues_on_the_same_curve(runs, method, stage):
    folder = runs / f"{method}{stage}"
    whole, cut = curve(folder / "whole"), curve(folder / "cut")
    assert list(whole) == list(range(6)) and whole.keys() == cut.keys()
    assert all(whole[step] == pytest.approx(cut[step], abs=1e-6) for step in whole)
    assert whole[5] < whole[0]
    assert json.loads((folder / "report.json").read_text())["start_step"] == 3


def test_sharding_does_not_change_the_curve(runs):
    plain, sharded = curve(runs / "lora0" / "whole"), curve(runs / "lora3" / "whole")
    assert all(plain[step] == pytest.approx(sharded[step], abs=1e-5) for step in plain)


@pytest.mark.parametrize("stage", [0, 3])
def test_the_adapter_of_a_sharded_run_is_whole(runs, base, stage):
    from safetensors.torch import load_file

    found = checkpoint.newest(runs / f"lora{stage}" / "whole" / "checkpoints")
    assert found is not None and found.step == 6
    tensors = load_file(str(found.folder / "adapter_model.safetensors"))
    assert len(tensors) == 2 * 2 * 7  # A and B of seven linear layers in two blocks
    assert all(tensor.numel() > 0 and bool(tensor.any()) for tensor in tensors.values())
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (4, 32)


def test_deepspeed_settings_follow_ours():
    config = TrainConfig(precision="bf16", batch_size=4, accumulation_steps=2, zero=3, gradient_clip=0.5, use_gpu=True, offload="all")
    settings = zero.deepspeed_config(config, world_size=8)
    assert settings["train_batch_size"] == 64 and settings["gradient_clipping"] == 0.5 and settings["bf16"]["enabled"]
    assert settings["zero_optimization"]["stage"] == 3 and settings["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert not settings["optimizer"]["params"]["torch_adam"] and "fp16" not in settings
    on_cpu = zero.deepspeed_config(TrainConfig(precision="fp32", zero=0), world_size=2)
    assert on_cpu["optimizer"]["params"]["torch_adam"] and on_cpu["zero_optimization"] == {"stage": 0} and not on_cpu["bf16"]["enabled"]
    # in bf16 the fp32 weights live in ZeRO's optimizer, so the stage is 1 at least
    assert zero.deepspeed_config(TrainConfig(precision="bf16", zero=0), world_size=2)["zero_optimization"]["stage"] == 1


REFUSED = [
    ({"offload": "optimizer", "zero": 0, "use_gpu": True}, "cannot move"), ({"offload": "all", "zero": 2, "use_gpu": True}, "zero of 3"),
    ({"offload": "optimizer", "zero": 2}, "use_gpu"), ({"offload_folder": "/nvme"}, "offload is none"),
    ({"offload_folder": "/nvme", "offload": "optimizer", "zero": 2, "use_gpu": True}, "NVMe disks at that stage"),
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
