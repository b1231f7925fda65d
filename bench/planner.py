"""The planner against published measurements, DeepSpeed's own estimates, and runs on this machine.

    python bench/planner.py --json          the figures
    python bench/planner.py --fit           fit the constants again and print them; the points that are held out take no part

median_error, worst_error  of tokens a second and GPU, on the points that the constants were not fitted on (`held` in planner_points.csv)
fit_error      the same on the points that they were fitted on (median)
zero_error     worst of the five memory estimates that DeepSpeed documents for T5-3B on 8 GPUs
memory_error   a published peak: Llama-3.1 8B, FSDP over 8 GPUs, 8,192 tokens (not fitted)
measured       peak memory of tiny runs here (DeepSpeed on gloo, processes of their own) against the prediction

Sources of planner_points.csv: mosaicml/llm-foundry scripts/train/benchmarking (llm-foundry), NVIDIA NeMo's and NeMo Automodel's performance
summaries (nemo, nemo-automodel), pytorch/torchtitan benchmarks of December 2024 (torchtitan; cards of 96 GB at 500 W with slower memory).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine
from nosology.config import TrainConfig
from nosology.training.planning import throughput
from nosology.training.planning.architecture import Architecture, of_name
from nosology.training.planning.hardware import CARDS, GIB, Card
from nosology.training.planning.memory import LOGIT_BYTES, activation_bytes, memory, states

POINTS = Path(__file__).with_name("planner_points.csv")
MPT = {"mpt-70b": (8192, 80, 64), "mpt-30b": (7168, 48, 56), "mpt-13b": (5120, 40, 40), "mpt-7b": (4096, 32, 32), "mpt-3b": (2560, 32, 20)}
SLOWER = 0.9125  # clock of a card limited to 500 W against 700 W, fitted on torchtitan's run on 128 of them
# DeepSpeed's documentation: stage, offload of the optimizer, offload of weights, GiB a GPU, GiB a host; host memory is without the sharded
# creation of the model where the first number of stage 3 has it
ZERO = [
    (2, False, False, 15.93, 127.45),
    (2, True, False, 5.31, 127.45),
    (3, False, False, 6.09, 1.43),
    (3, True, False, 0.78, 63.72),
    (3, True, True, 0.12, 71.69),
]
CASES: list[dict[str, Any]] = [
    *({"method": "full", "zero": stage, "workers": 2} for stage in range(4)),
    *({"method": "lora", "zero": stage, "workers": 2} for stage in (0, 3)),
    {"method": "full", "zero": 0, "workers": 1, "gradient_checkpointing": True}, {"method": "lora", "zero": 0, "workers": 1, "gradient_checkpointing": True},
    {"method": "lora", "zero": 0, "workers": 1, "batch_size": 8}, {"method": "full", "zero": 2, "workers": 2, "accumulation_steps": 2},
]  # fmt: skip
SHAPE = {
    "hidden_size": 640,
    "intermediate_size": 1792,
    "num_hidden_layers": 10,
    "num_attention_heads": 10,
    "num_key_value_heads": 5,
    "vocab_size": 4096,
}
SEQUENCE = 256

WORKER = """
import json, os, sys, threading
import torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
import deepspeed
from nosology.config import ModelConfig, TrainConfig
from nosology.training.generate import Generate
from nosology.training.step import DeepSpeedStepper
import peft, transformers
config, sequence, out = TrainConfig(**json.loads(sys.argv[2])), int(sys.argv[3]), sys.argv[4]
peak, over = 0, threading.Event()
def resident():  # KiB, with the weights that are mapped from their file
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
def watch():
    global peak
    while not over.wait(0.002):
        peak = max(peak, resident())
transformers.LlamaForCausalLM(transformers.LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=16))
before = resident()
task = Generate()
group = DeepSpeedStepper(lambda: task.build(config, ModelConfig(base=sys.argv[1])), config)
group.module.train()
watcher = threading.Thread(target=watch)
watcher.start()
torch.manual_seed(group.rank)
for _ in range(2 * config.accumulation_steps + 1):
    shape = (config.batch_size, sequence)
    batch = {"input_ids": torch.randint(3, 4000, shape), "labels": torch.randint(3, 4000, shape), "position_ids": torch.arange(sequence).expand(shape).contiguous(),
             "segment_ids": torch.ones(shape, dtype=torch.long)}
    group.learn(task.loss(group.module, batch) / task.targets(batch), 1e-4)
over.set()
watcher.join()
open(f"{out}.{group.rank}", "w").write(str(peak - before))
dist.destroy_process_group()
"""


def architecture(name: str) -> Architecture:
    """The shapes of a point's model."""
    if name in MPT:
        hidden, layers, heads = MPT[name]
        return Architecture("mpt", hidden, layers, heads, heads, hidden // heads, 4 * hidden, 50368, tied=True, gated=False)
    known = of_name(name)
    assert known is not None, name
    return known


def card(name: str) -> Card:
    if name == "h100-500w":
        fast = CARDS["h100"]
        return dataclasses.replace(fast, peak_flops=fast.peak_flops * SLOWER, memory_bytes_per_second=2.4e12)
    return CARDS[name]


def points() -> list[dict[str, str]]:
    with POINTS.open() as lines:
        return list(csv.DictReader(lines))


def predicted(point: dict[str, str]) -> float:
    """Tokens a second and GPU."""
    layout = throughput.Layout(
        gpus=int(point["gpus"]), micro_batch=int(point["micro_batch"]), accumulation=int(point["accumulation"]), sequence=int(point["sequence"]),
        method=point["method"], sharded=point["sharded"] == "1", recompute=float(point["recompute"]), rank=8,  # type: ignore[arg-type]
        tensor=int(point["tensor"]), pipeline=int(point["pipeline"]), fp8=point["fp8"] == "1",
    )  # fmt: skip
    return throughput.step(architecture(point["model"]), layout, card(point["gpu"])).tokens_per_second / layout.gpus


def errors(held: str) -> dict[str, float]:
    rows = [point for point in points() if point["held"] == held]
    names = [f"{p['model']} {p['method']} {p['gpus']} x {p['gpu']} {p['sequence']} ({p['source']})" for p in rows]
    return {name: predicted(p) / float(p["tokens_per_second_per_gpu"]) - 1 for name, p in zip(names, rows, strict=True)}


def zero_errors() -> dict[str, float]:
    """Of DeepSpeed's estimates for T5-3B: 2,851 M parameters, the largest layer of 32 M, one node of 8 GPUs."""
    found = {}
    for stage, optimizer, weights, gpu, host in ZERO:
        got = states(2851e6, 0, 32e6, stage=stage, gpus=8, gpus_per_node=8, offload_optimizer=optimizer, offload_weights=weights)
        on_gpu = (got.weights + got.gradients + got.optimizer + got.gathered) / GIB
        found[f"stage {stage} {'cpu' if optimizer else 'gpu'}{'+weights' if weights else ''}"] = max(
            abs(round(on_gpu, 2) / gpu - 1), abs(round(got.host / GIB, 2) / host - 1)
        )
    return found


def published_memory() -> dict[str, float]:
    """Llama-3.1 8B with every weight over 8 GPUs: weights, gradients and Adam in fp32 shared out (16 bytes), two layers gathered in bf16.

    torchtitan's selective recomputation keeps a layer's input, its attention and every second product (keys, output, up)."""
    llama = architecture("llama-3-8b")
    tokens, layers = 2 * 8192, llama.num_layers
    layer = (llama.linear_parameters + llama.small_parameters) / layers
    held = 16 * llama.num_parameters / 8 + 2 * (2 * layer + llama.largest_module)
    kept = layers * tokens * 2 * (2 * llama.hidden_size + llama.query_size + llama.key_size + llama.intermediate_size)
    again = activation_bytes(llama, 0, full=True) * tokens
    total = (held + kept + again + tokens * llama.vocabulary * LOGIT_BYTES) / GIB + CARDS["h100"].reserved_gib
    return {"predicted_gib": round(total, 1), "published_gib": 82.4, "error": round(total / 82.4 - 1, 4)}


def measured(folder: Path) -> list[dict[str, Any]]:
    """Peak of each process above what it had before it built the model, worst of the group, against the sum of the items."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    base = folder / "base"
    model = LlamaForCausalLM(
        LlamaConfig(**SHAPE, max_position_embeddings=512, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    )
    model.save_pretrained(base)
    from nosology.training.planning.architecture import of_model

    shapes, _ = of_model(str(base))
    bare = dataclasses.replace(CARDS["cpu"], reserved_gib=0.0)
    rows = []
    for number, case in enumerate(CASES):
        config = TrainConfig(**{"precision": "fp32", "batch_size": 4, "rank": 16, **case})
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = str(server.getsockname()[1])
        out = folder / f"case{number}"
        running = []
        for rank in range(config.workers):
            env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(config.workers), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}  # fmt: skip
            command = [sys.executable, "-c", WORKER, str(base), config.model_dump_json(), str(SEQUENCE), str(out)]
            running.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for process in running:
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said.decode()[-2000:]
        peak = max(int(Path(f"{out}.{rank}").read_text()) for rank in range(config.workers)) / (1 << 20)
        expected = memory(shapes, config, SEQUENCE, bare, 8).gpu_step
        rows.append({**case, "predicted_gib": round(expected, 3), "measured_gib": round(peak, 3), "error": round(expected / peak - 1, 3)})
    return rows


def fit() -> dict[str, float]:
    """Constants that make the smallest robust error on the points that are not held out; others than llm-foundry's weigh three times."""
    import numpy as np
    from scipy.optimize import least_squares

    rows = [point for point in points() if point["held"] == "0"]
    names = ["h100 gemm", "h100 attention", "a100 gemm", "a100 attention", "elementwise", "link", "node", "fp8", "fused", "slower"]
    first, low, high = (np.array(v) for v in (
        [0.72, 0.3, 0.85, 0.33, 3.7, 0.56, 0.58, 1.5, 0.5, 0.8], [0.4, 0.1, 0.4, 0.1, 0.5, 0.2, 0.1, 1.0, 0.05, 0.5], [0.95, 0.8, 0.95, 0.8, 8, 1, 1, 2.0, 1, 1]))  # fmt: skip

    def residuals(p: Any) -> list[float]:
        global SLOWER
        throughput.ELEMENTWISE, throughput.LINK_SHARE, throughput.NODE_SHARE, throughput.FP8_GAIN, throughput.FUSED, SLOWER = (
            float(x) for x in p[4:]
        )
        for name, gemm, attention in (("h100", p[0], p[1]), ("a100-40", p[2], p[3]), ("a100-80", p[2], p[3])):
            CARDS[name] = dataclasses.replace(CARDS[name], gemm_share=float(gemm), attention_share=float(attention))
        weights = [1.0 if point["source"] == "llm-foundry" else 3.0 for point in rows]
        return [w * float(np.log(predicted(r) / float(r["tokens_per_second_per_gpu"]))) for w, r in zip(weights, rows, strict=True)]

    found = least_squares(residuals, first, bounds=(low, high), loss="soft_l1", f_scale=0.05).x
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--fit", action="store_true", help="fit the constants again and print them")
    asked = parser.parse_args()
    if asked.fit:
        print(json.dumps(fit()))
        return
    held, fitted, zero = errors("1"), errors("0"), zero_errors()
    with machine.folder() as folder:
        runs = measured(folder)
    sizes = [abs(value) for value in held.values()]
    wrong = [abs(row["error"]) for row in runs]
    machine.finish({
        "median_error": round(statistics.median(sizes), 4), "worst_error": round(max(sizes), 4),
        "errors": {name: round(value, 4) for name, value in held.items()},
        "fit_error": round(statistics.median(map(abs, fitted.values())), 4), "fit_points": len(fitted), "zero_error": round(max(zero.values()), 4),
        "memory": published_memory(), "measured": runs, "measured_median_error": statistics.median(wrong), "measured_worst_error": max(wrong),
    }, asked.json)  # fmt: skip


if __name__ == "__main__":
    main()
