"""The same training through Hugging Face's Trainer (accelerate and DeepSpeed) and through this product.

    python bench/train_parity.py --json

loss_max_diff  largest difference of the loss of a step, packing off: same model, rows, order, learning rates and DeepSpeed settings
speed_ratio    tokens a second, ours over theirs, packing off, medians over the steps after the first; LoRA and full, the lower of the two
packing_gain   tokens a second of this product with packing over without

Each run is a group of two processes with one thread each, DeepSpeed on gloo, ZeRO 1, fp32; the runs take turns, three times. The model is a Llama
of random weights; rows are 24 to 256 tokens long, as questions of coding are, and a batch is padded to its longest.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine

WORKERS, BATCH, STEPS, TURNS, CONTEXT = 2, 8, 24, 3, 256
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
}
TRAIN = {
    "precision": "fp32", "batch_size": BATCH, "workers": WORKERS, "zero": 1, "max_steps": STEPS, "epochs": 9, "learning_rate": 1e-3, "schedule": "linear",
    "warmup_share": 0.0, "checkpoint_steps": 10_000, "rank": 8, "alpha": 16,
}  # fmt: skip

OURS = """
import json, os, sys
import torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
from pathlib import Path
from nosology.config import ModelConfig, TrainConfig
from nosology.training.generate import Generate
from nosology.training.loop import train
from nosology.training.step import DeepSpeedStepper
base, data, out, config = sys.argv[1:5]
train(Generate(), TrainConfig(**json.loads(config)), ModelConfig(base=base), data, Path(out), stepper=DeepSpeedStepper)
dist.destroy_process_group()
"""

THEIRS = """
import json, os, sys, time
import torch
torch.set_num_threads(1)
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
from pathlib import Path
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from nosology.config import TrainConfig
from nosology.training import order, zero
from nosology.training.adapters import attach
from nosology.training.generate import Generate
base, data, out, config = sys.argv[1:5]
config = TrainConfig(**json.loads(config))
settings = zero.deepspeed_config(config, config.workers)
arguments = TrainingArguments(
    output_dir=out, use_cpu=True, ddp_backend="gloo", deepspeed=settings, per_device_train_batch_size=config.batch_size, max_steps=config.max_steps,
    learning_rate=config.learning_rate, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, save_strategy="no",
    report_to=[], disable_tqdm=True, seed=0, dataloader_num_workers=0, remove_unused_columns=False,
)
rows = Generate().rows(data, "train")
per_step = config.batch_size * config.workers
# accelerate deals batches out in turns: worker r takes batch s * workers + r, which is micro-batch r of step s here
places = order.sample_indices(len(rows), config.seed, 0, config.max_steps * per_step)
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return len(places)
    def __getitem__(self, index):
        return rows[places[index]]
def collate(batch):
    whole = Generate().collate(batch)
    return {"input_ids": whole["input_ids"], "labels": whole["labels"], "attention_mask": (whole["segment_ids"] > 0).long()}
class Sequential(Trainer):
    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)
lines, tokens = [], []
class Note(TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.began = time.monotonic()
    def on_step_end(self, *_, **__):
        self.took = time.monotonic() - self.began
    def on_log(self, args, state, control, logs=None, **__):
        if logs and "loss" in logs:
            lines.append({"step": state.global_step - 1, "value": logs["loss"], "seconds": self.took})
torch.manual_seed(config.seed)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
model = attach(model, config, task="CAUSAL_LM")
trainer = Sequential(model=model, args=arguments, train_dataset=Rows(), data_collator=collate, callbacks=[Note()])
trainer.train()
if os.environ["RANK"] == "0":
    for line in lines:
        indices = places[line["step"] * per_step : (line["step"] + 1) * per_step]
        line["tokens"] = sum(int((rows[i]["segment_ids"] > 0).sum()) for i in indices)
    Path(out).mkdir(parents=True, exist_ok=True)
    Path(out, "metrics.jsonl").write_text("".join(json.dumps({"name": "loss", **line}) + chr(10) for line in lines))
"""


def write(folder: Path) -> tuple[str, str, str]:
    """A base model; the same examples a block each, and packed."""
    import numpy as np
    import pyarrow.parquet as pq
    import torch
    from nosology.records import PackedBlock, to_table
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPE, max_position_embeddings=CONTEXT, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    chance = np.random.default_rng(0)
    examples = []
    for length in np.exp(chance.normal(4.3, 0.6, size=WORKERS * BATCH * STEPS)).clip(24, CONTEXT).astype(int):
        ids = [int(x) for x in chance.integers(3, SHAPE["vocab_size"], size=length)]
        answer = length // 4
        examples.append((ids, [-100] * (length - answer) + ids[-answer:]))
    for name, packed in (("alone", False), ("packed", True)):
        bins: list[list[int]] = []
        for number, (ids, _) in enumerate(examples):
            room = next((b for b in bins[-64:] if packed and sum(len(examples[i][0]) for i in b) + len(ids) <= CONTEXT), None)
            bins.append([number]) if room is None else room.append(number)
        blocks = []
        for number, members in enumerate(bins):
            ids = [t for i in members for t in examples[i][0]]
            labels = [t for i in members for t in examples[i][1]]
            positions = [p for i in members for p in range(len(examples[i][0]))]
            segments = [s for s, i in enumerate(members, 1) for _ in examples[i][0]]
            fill = [0] * (CONTEXT - len(ids))
            blocks.append(PackedBlock(block_id=number, split="train", input_ids=(*ids, *fill), labels=(*labels, *[-100] * len(fill)),
                                      position_ids=(*positions, *fill), segment_ids=(*segments, *fill)))  # fmt: skip
        (folder / name).mkdir()
        pq.write_table(to_table(PackedBlock, blocks), folder / name / "blocks.parquet")
    return str(folder / "base"), str(folder / "alone"), str(folder / "packed")


def run(script: str, base: str, data: str, out: Path, method: str) -> list[dict[str, Any]]:
    """Lines of the steps of a group of processes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    running = []
    for rank in map(str, range(WORKERS)):
        env = {**os.environ, "RANK": rank, "WORLD_SIZE": str(WORKERS), "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
               "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false",
               "LOCAL_WORLD_SIZE": str(WORKERS)}  # fmt: skip
        command = [sys.executable, "-c", script, base, data, str(out), json.dumps({**TRAIN, "method": method})]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    for process in running:
        _, said = process.communicate(timeout=900)
        if process.returncode:
            raise SystemExit(said.decode()[-3000:])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["name"] == "loss"]


def rate(lines: list[dict[str, Any]]) -> float:
    """Tokens a second without padding, of the steps after the first ones."""
    return statistics.median(line["tokens"] / line["seconds"] for line in lines[3:])


def main() -> None:
    asked = machine.parser(__doc__).parse_args()
    ratios: dict[str, list[float]] = {"lora": [], "full": []}
    rates: dict[str, list[float]] = {"ours": [], "theirs": [], "packed": []}
    gains, worst = [], 0.0
    with machine.folder() as folder:
        base, alone, packed = write(folder)
        for turn in range(TURNS):
            for method in ratios:
                ours = run(OURS, base, alone, folder / f"ours-{method}-{turn}", method)
                theirs = run(THEIRS, base, alone, folder / f"theirs-{method}-{turn}", method)
                worst = max(worst, *(abs(a["value"] - b["value"]) for a, b in zip(ours, theirs, strict=True)))
                ratios[method].append(rate(ours) / rate(theirs))
                rates["ours"].append(rate(ours))
                rates["theirs"].append(rate(theirs))
                machine.say(
                    f"turn {turn}, {method}: ours {rate(ours):.0f}, theirs {rate(theirs):.0f} tokens/s; loss apart by {worst:.6f} at most"
                )
            together = run(OURS, base, packed, folder / f"packed-{turn}", "lora")
            rates["packed"].append(rate(together))
            gains.append(rate(together) / rate(run(OURS, base, alone, folder / f"again-{turn}", "lora")))
    medians = {method: round(statistics.median(values), 3) for method, values in ratios.items()}
    machine.finish({
        "loss_max_diff": round(worst, 6), "speed_ratio": min(medians.values()), "speed_ratios": medians,
        "packing_gain": round(statistics.median(gains), 3),
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "peer": "transformers.Trainer with accelerate and DeepSpeed",
    }, asked.json)  # fmt: skip


if __name__ == "__main__":
    main()
