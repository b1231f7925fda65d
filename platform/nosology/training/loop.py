"""The training loop: the same for one process and for many, for the generator and for the encoder heads.

Everything that decides a step is a pure function of (config, step): samples, learning rate, dropout. So a run that continues from
a checkpoint takes the very steps that an unbroken run would have taken.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.errors import InputError, ModelError
from nosology.training import checkpoint, order
from nosology.training.step import LocalStepper, Stepper

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training import Objective

Report = Callable[[dict[str, float]], None]


def train(
    objective: Objective, config: TrainConfig, model: ModelConfig, data: str, out: Path, *,
    stepper: Callable[[Callable[[], torch.nn.Module], TrainConfig], Stepper] = LocalStepper, on_step: Report | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, or continue training, in a folder.

    Args:
        objective: what is learnt.
        config: how.
        model: where the base lies.
        data: where `objective.rows` finds its rows.
        out: folder that every worker sees; gets `checkpoints/` and `metrics.jsonl` (one line `loss` a step).
        stepper: `LocalStepper`, or `DeepSpeedStepper` inside a process group.
        on_step: called on rank 0 with the measurements of each step.

    Returns:
        steps, start_step, first_loss, last_loss, tokens, tokens_per_second, seconds, checkpoint (folder), parameters, metrics (of the
        validation rows, where there are any).

    Raises:
        InputError: no training rows.
        ModelError: the loss is not finite, or a checkpoint fails its check; the last good checkpoint stays.
        StorageError: the disk is full or refuses; likewise.
    """
    import torch

    from nosology.training.adapters import count

    started = time.monotonic()
    torch.manual_seed(config.seed)
    group = stepper(lambda: objective.build(config, model), config)
    rows = objective.rows(data, "train")
    if not len(rows):
        raise InputError("no training rows", file=data, remedy="Prepare data with a train split first")
    per_step = config.batch_size * config.accumulation_steps
    total = order.num_steps(len(rows), config.epochs, per_step * group.world_size, config.max_steps)
    root = out / "checkpoints"
    found = checkpoint.newest(root)
    start = group.load(found.folder) if found else 0
    log = _Log(out / "metrics.jsonl", on_step) if group.rank == 0 else None
    group.module.train()
    losses: dict[int, float] = {}
    tokens = 0.0
    loop_started = time.monotonic()
    for step in range(start, total):
        step_started = time.monotonic()
        # dropout must not depend on how the run came here
        torch.manual_seed(_mixed(config.seed, step, group.rank))
        indices = order.batch_indices(len(rows), config.seed, step, per_step, group.rank, group.world_size)
        rate = order.learning_rate(step, total, config.learning_rate, config.warmup_share, config.schedule)
        loss_sum, step_tokens = 0.0, 0
        for micro in range(config.accumulation_steps):
            batch = objective.collate([rows[i] for i in indices[micro * config.batch_size : (micro + 1) * config.batch_size]])
            batch = {name: tensor.to(group.device) for name, tensor in batch.items()}
            with group.autocast:
                loss = objective.loss(group.module, batch)
            group.learn(loss, rate)
            loss_sum += float(loss.detach()) / config.accumulation_steps
            step_tokens += _num_tokens(batch)
        mean = group.mean(loss_sum)
        if not math.isfinite(mean):
            raise ModelError(f"the loss of step {step} is not finite; the last good checkpoint stays. Lower train.learning_rate")
        losses[step] = mean
        all_tokens = group.total(step_tokens)
        tokens += all_tokens
        if log:
            seconds = time.monotonic() - step_started
            log.step({"step": step, "value": mean, "learning_rate": rate, "gradient_norm": group.gradient_norm(), "tokens": all_tokens,
                      "tokens_per_second": all_tokens / seconds, "seconds": seconds})  # fmt: skip
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == total:
            save(group, root, step + 1, config.keep_checkpoints)
    if log:
        log.close()
    seconds = time.monotonic() - loop_started
    validation = objective.rows(data, "validation")
    metrics: dict[str, float] = {}
    if len(validation):
        group.module.eval()
        with torch.no_grad(), group.autocast:
            metrics = objective.evaluate(group.module, validation, config.batch_size)
    last = checkpoint.newest(root)
    if last is None:
        raise ModelError("training ended without a checkpoint")
    learning, parameters = count(group.bare)
    return {
        "steps": total, "start_step": start, "first_loss": losses.get(start), "last_loss": losses.get(total - 1), "rows": len(rows),
        "tokens": int(tokens), "tokens_per_second": round(tokens / seconds, 1) if tokens else 0.0,
        "workers": group.world_size, "rank": group.rank,
        "parameters_learning": learning, "parameters": parameters, "checkpoint": str(last.folder),
        "metrics": metrics, "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip


def save(group: Stepper, root: Path, step: int, keep: int) -> None:
    """Write, check and publish a checkpoint; collective. Every worker raises when rank 0's check fails."""
    folder = group.share(str(checkpoint.new_folder(root, step)) if group.rank == 0 else "")
    fault = ""
    try:
        group.save(Path(folder), step)
        if group.rank == 0:
            checkpoint.publish(root, step, Path(folder), keep)
    except ModelError as error:
        fault = str(error)
    fault = group.share(fault)
    if fault:
        raise ModelError(fault)


def _mixed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step * 1_009 + rank) % (1 << 63)


def _num_tokens(batch: dict[str, torch.Tensor]) -> int:
    """Tokens of a batch without padding, where the batch says which those are."""
    for name in ("segment_ids", "attention_mask"):
        if name in batch:
            return int((batch[name] > 0).sum())
    return batch["input_ids"].numel()


class _Log:
    """metrics.jsonl and TensorBoard; a line is on disk when the step is done, so that a kill loses none."""

    def __init__(self, path: Path, on_step: Report | None) -> None:
        self._path, self._on_step = str(path), on_step
        with storage.named_errors(self._path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a")

    def step(self, measures: dict[str, float]) -> None:
        rounded = {name: round(value, 8) for name, value in measures.items()}
        with storage.named_errors(self._path):
            self._stream.write(json.dumps({"time": round(time.time(), 3), "name": "loss", **rounded}) + "\n")
            self._stream.flush()
            if self._on_step:
                self._on_step(measures)

    def close(self) -> None:
        self._stream.close()
