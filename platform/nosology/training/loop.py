"""The training loop: the same for one process and for many, for the generator and for the encoder heads.

Everything that decides a step is a pure function of (config, step): samples, learning rate, dropout; and the gradient of a step is the
mean over its targets, wherever they are. So a run that continues from a checkpoint, on as many workers as there are now, takes the very
steps that an unbroken run would have taken.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.errors import ConfigError, InputError, ModelError
from nosology.training import checkpoint, ledger, lines, order
from nosology.training.figures import Figures
from nosology.training.saving import Saver, root_of
from nosology.training.step import LocalStepper, Stepper, place
from nosology.training.tracking import Trackers
from nosology.training.watch import Watch, events, note

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training import Objective

Report = Callable[[dict[str, float]], None]
STOP = "stop"  # a file of this name in the run folder: save and end after this step
_BROUGHT = "brought"  # folder for checkpoints that are copied from a store, while they are read
_ASK_SECONDS = 5.0  # between two questions whether a node is to be taken away


def train(
    objective: Objective, config: TrainConfig, model: ModelConfig, data: str, out: Path, *,
    stepper: Callable[[Callable[[], torch.nn.Module], TrainConfig], Stepper] = LocalStepper, on_step: Report | None = None,
    preempted: Callable[[], bool] | None = None, since: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Train, or continue training, in a folder.

    Args:
        objective: what is learnt.
        config: how. A step takes `batch_size` times `accumulation_steps` times `workers` samples, however many workers there are.
        model: where the base lies.
        data: where `objective.rows` finds its rows.
        out: folder that every worker sees; gets `checkpoints/`, `metrics.jsonl` (one line `loss` a step), `ledger.jsonl`, `events.jsonl`.
        stepper: `LocalStepper`, or `DeepSpeedStepper` inside a process group.
        on_step: called on rank 0 with the measurements of each step; `Trackers` get those of the validation rows too.
        preempted: whether a node of the group is about to be taken away; asked by all workers equally often.
        since: moment from which on restarts and hangs are counted.

    Returns:
        steps, start_step, stopped (before the last step, because it was asked to), early (stopped because the metric grew no better),
        first_loss, last_loss, tokens, tokens_per_second, seconds, checkpoint (folder), checkpoint_step, parameters, metrics (of the
        validation rows, where there are any), ledger, restarts, hangs.

    Raises:
        InputError: no training rows.
        ConfigError: `train.metric` is none that the objective measures.
        ModelError: the loss is not finite, nothing is to be learnt in a step, or a checkpoint fails its check; the last good checkpoint stays.
        StorageError: the disk is full or refuses; likewise.
    """
    import torch

    started = time.monotonic()
    if config.evaluate_steps and config.metric not in objective.metrics:
        raise ConfigError(f"train.metric {config.metric}: the objective {objective.name} measures {', '.join(objective.metrics)}")
    rows, validation = objective.rows(data, "train"), objective.rows(data, "validation")
    if not len(rows):
        raise InputError("no training rows", file=data, remedy="Prepare data with a train split first")
    if config.patience and not len(validation):
        raise InputError(
            "no validation rows, and train.patience counts evaluations of them", file=data, remedy="Raise prepare.validation_share"
        )
    torch.manual_seed(config.seed)
    with Watch(out, *place(), config.stall_seconds) as watch:
        group = stepper(lambda: objective.build(config, model), config)
        group.on_collective(watch.collective)
        group.bare.register_forward_pre_hook(watch.alive)
        watch.enter("begin", 0)
        facts = objective.begin(group, rows, validation, config, out)
        run = _Run(objective, config, group, rows, validation, out, watch)
        run.go(on_step, preempted)
        return {**run.report(since), **facts, "seconds": round(time.monotonic() - started, 2)}


class _Run:
    """State of one worker's training."""

    def __init__(
        self, objective: Objective, config: TrainConfig, group: Stepper, rows: Any, validation: Any, out: Path, watch: Watch
    ) -> None:
        self.objective, self.config, self.group, self.rows, self.validation, self.out = objective, config, group, rows, validation, out
        self.watch = watch
        self.micro_batches = config.accumulation_steps * config.workers
        self.samples = self.micro_batches * config.batch_size
        self.total = order.num_steps(len(rows), config.epochs, self.samples, config.max_steps)
        self.root = root_of(out, config.checkpoint_folder, group)
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        self.losses: dict[int, float] = {}
        self.tokens, self.stopped, self.early, self.leaving = 0.0, False, False, False
        self.saver = Saver(group, self.root, config.keep_checkpoints)
        self.start = self._continue()
        self.step = self.start
        self.loop_seconds = 0.0

    def _continue(self) -> int:
        """Steps done, as the newest checkpoint has them; collective."""
        self.watch.enter("load", 0)
        into = self.out / _BROUGHT / f"rank-{self.group.rank}"
        # the first worker chooses and verifies, because a store or a shared disk may show another to the others
        found = self._shared(checkpoint.newest(self.root, into) if self.group.rank == 0 else None)
        if found is None:
            return 0
        state, tensors = checkpoint.load_state(checkpoint.opened(self.root, found["folder"], into))
        self.group.restore(state, tensors)
        del tensors
        shutil.rmtree(into, ignore_errors=True)
        self.evaluations = [(int(step), dict(metrics)) for step, metrics in state.get("evaluations", [])]
        return int(state["step"])

    def _shared(self, found: checkpoint.Checkpoint | None) -> dict[str, Any] | None:
        """The first worker's checkpoint, on every worker; collective."""
        text = json.dumps({"step": found.step, "folder": found.folder.name, "metrics": dict(found.metrics)}) if found else ""
        text = self.group.share(text)
        return dict(json.loads(text)) if text else None

    def go(self, on_step: Report | None, preempted: Callable[[], bool] | None) -> None:
        """All steps that are due."""
        import torch

        group, config = self.group, self.config
        log = _Log(self.out / "metrics.jsonl", on_step) if group.rank == 0 else None
        book = ledger.Ledger(self.out / ledger.FILE, len(self.rows), config.seed, self.samples) if group.rank == 0 else None
        if group.rank == 0:
            note(self.out, "start", step=self.start, workers=group.world_size)
        figures = Figures(group, config, self.objective.name)
        group.module.train()
        began = last_save = last_asked = time.monotonic()
        self.early = self._worse()
        while self.step < self.total and not self.stopped and not self.early:
            step, step_started = self.step, time.monotonic()
            rate = order.learning_rate(step, self.total, config.learning_rate, config.warmup_share, config.schedule)
            batches = self._batches(step)
            self.watch.enter("count", step)
            self.watch.collective(f"targets of step {step}")
            targets = group.total([float(sum(self.objective.targets(batch) for batch, weight, _ in batches if weight))])[0]
            if not targets:
                raise ModelError(f"step {step}: no token of its {self.samples} samples counts in the loss (all labels are masked). "
                                 "Look at the template and at prepare.context_tokens")  # fmt: skip
            loss_sum, bad = 0.0, []
            for turn, (batch, weight, indices) in enumerate(batches):
                # dropout must not depend on how the run came here, nor on who does it
                torch.manual_seed(_mixed(config.seed, step, turn * group.world_size + group.rank))
                self.watch.enter("forward", step)
                moved = {name: tensor.to(group.device) for name, tensor in batch.items()}
                with group.autocast:
                    loss = self.objective.loss(group.module, moved) * (weight / targets)
                value = float(loss.detach())
                if not math.isfinite(value):
                    bad += [self.objective.key(self.rows, index) for index in indices]
                loss_sum += value
                self.watch.enter("backward and update", step)
                group.learn(loss, rate)
            now = time.monotonic()
            told = [
                loss_sum, float(sum(_num_tokens(batch) for batch, weight, _ in batches if weight)), float(len(bad)),
                float(sum(sum(indices) for _, weight, indices in batches if weight)), float(self.saver.busy and self.saver.written),
                float(group.rank == 0 and (self.out / STOP).exists()),
                float(group.rank == 0 and config.checkpoint_minutes is not None and now - last_save > 60 * config.checkpoint_minutes),
                float(group.rank == 0 and preempted is not None and now - last_asked > _ASK_SECONDS),
            ]  # fmt: skip
            self.watch.enter("figures", step)
            self.watch.collective(f"figures of step {step}")
            value, tokens, faults, taken, written, stop, due, ask = group.total(told)
            if faults or not math.isfinite(value):
                keys = [key for text in group.gather("\n".join(bad)) for key in text.split("\n") if key]
                where = f" ({', '.join(keys[:8])}{' and others' if len(keys) > 8 else ''})" if keys else ""
                raise ModelError(f"the loss of step {step} is not finite{where}; the last good checkpoint stays. Lower train.learning_rate, "
                                 "or take these rows out of the data")  # fmt: skip
            self.losses[step], self.tokens, self.step = value, self.tokens + tokens, step + 1
            if log and book:
                book.step(step, int(taken), group.world_size)
                seconds = time.monotonic() - step_started
                log.step({"step": step, "value": value, "learning_rate": rate, "gradient_norm": group.gradient_norm(), "tokens": tokens,
                          "tokens_per_second": tokens / seconds, "seconds": seconds, "workers": group.world_size,
                          **figures.step(tokens / seconds, batches[0][0])})  # fmt: skip
            self.watch.enter("checkpoint", self.step)
            if self.saver.busy and written == group.world_size:
                self.saver.finish()
            taken_away = False
            if ask:
                last_asked, leaving = now, bool(preempted and preempted())
                taken_away, self.leaving = leaving and not self.leaving, leaving  # one checkpoint for it, then as usual
                if taken_away and group.rank == 0:
                    note(self.out, "preemption", step=self.step)
            self.stopped = bool(stop) and self.step < self.total
            last = self.step == self.total or self.stopped
            evaluated = bool(config.evaluate_steps) and (self.step % (config.evaluate_steps or 1) == 0 or self.step == self.total)
            if evaluated and len(self.validation):
                self._evaluate(log)
            if self.step % config.checkpoint_steps == 0 or last or evaluated or due or taken_away:
                self._save()
                last_save = time.monotonic()
                if last or self.early or taken_away:
                    self.saver.finish()
        self.loop_seconds = time.monotonic() - began
        self.saver.finish()
        if group.rank == 0 and self.stopped:
            note(self.out, "stop", step=self.step)
        if log and book:
            log.close(self.stopped)
            book.close()

    def _batches(self, step: int) -> list[tuple[dict[str, torch.Tensor], float, list[int]]]:
        """This worker's micro-batches of a step: batch, weight (0 for one that only keeps the others company), rows."""
        self.watch.enter("data", step)
        found = []
        for number in order.micro_batches(self.micro_batches, self.group.rank, self.group.world_size):
            held = number if number is not None else 0
            indices = order.micro_batch_indices(len(self.rows), self.config.seed, step, held, self.micro_batches, self.config.batch_size)
            batch = self.objective.collate([self.rows[i] for i in indices])
            found.append((batch, 1.0 if number is not None else 0.0, indices))
        return found

    def _evaluate(self, log: _Log | None) -> None:
        # the first worker's, so that all of them decide alike
        metrics: dict[str, float] = json.loads(self.group.share(json.dumps(self._measured())))
        self.evaluations.append((self.step, metrics))
        if log:
            log.validation(self.step - 1, metrics)
        self.early = self._worse()

    def _measured(self) -> dict[str, float]:
        import torch

        self.watch.enter("evaluation", self.step)
        self.group.module.eval()
        with torch.no_grad(), self.group.autocast:
            metrics = self.objective.evaluate(self.group.module, self.validation, self.config.batch_size)
        self.group.module.train()
        return metrics

    def _score(self, metrics: dict[str, float]) -> float | None:
        """Higher is better; None where there is nothing to compare."""
        value = metrics.get(self.config.metric, math.nan)
        return better(value, self.config.metric) if math.isfinite(value) else None

    def _worse(self) -> bool:
        """Whether the last `patience` evaluations brought nothing better than what was there before."""
        patience = self.config.patience
        scores = [-math.inf if score is None else score for score in (self._score(metrics) for _, metrics in self.evaluations)]
        return patience is not None and len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience])

    def _save(self) -> None:
        here = self.evaluations[-1][1] if self.evaluations and self.evaluations[-1][0] == self.step else {}
        self.saver.begin(self.step, {"evaluations": self.evaluations}, here, self._score(here))

    def report(self, since: float) -> dict[str, Any]:
        """What the loop returns; collective."""
        from nosology.training.adapters import count

        group = self.group
        learning, parameters = count(group.bare)
        self.watch.enter("report", self.step)
        found = self._shared(self._home() if group.rank == 0 else None)
        if found is None:
            raise ModelError("training ended without a checkpoint")
        metrics = found["metrics"] or (self._measured() if len(self.validation) and not self.stopped else {})
        seconds, told = self.loop_seconds, events(self.out, since)
        hangs = {one["time"]: one for one in told if one["event"] == "hang"}
        return {
            "steps": self.total, "start_step": self.start, "stopped": self.stopped, "early": self.early, "steps_done": self.step,
            "first_loss": self.losses.get(self.start), "last_loss": self.losses.get(self.step - 1), "rows": len(self.rows),
            "validation_rows": len(self.validation),
            "tokens": int(self.tokens), "tokens_per_second": round(self.tokens / seconds, 1) if self.tokens else 0.0,
            "workers": group.world_size, "rank": group.rank, "parameters_learning": learning, "parameters": parameters,
            "checkpoint": str(self.out / "checkpoints" / found["folder"]), "checkpoint_step": found["step"],
            "metrics": metrics,
            "ledger": ledger.account(self.out / ledger.FILE, self.step, len(self.rows)),
            "restarts": max(0, sum(one["event"] == "start" for one in told) - 1), "hangs": list(hangs.values()),
        }  # fmt: skip

    def _home(self) -> checkpoint.Checkpoint | None:
        """The checkpoint to use, in the run folder, where quantization looks for it."""
        home = self.out / "checkpoints"
        if self.root != str(home):
            into = self.out / _BROUGHT / "home"
            found = checkpoint.chosen(self.root, into)
            if found:
                checkpoint.adopt(found, home)
            shutil.rmtree(into, ignore_errors=True)
        return checkpoint.chosen(home, again=False)


def better(value: float, metric: str) -> float:
    """A metric's value turned so that higher is better."""
    return -value if metric == "loss" else value


def _mixed(seed: int, step: int, number: int) -> int:
    return (seed * 1_000_003 + step * 1_009 + number) % (1 << 63)


def _num_tokens(batch: dict[str, torch.Tensor]) -> int:
    """Tokens of a batch without padding, where the batch says which those are."""
    for name in ("segment_ids", "attention_mask"):
        if name in batch:
            return int((batch[name] > 0).sum())
    return batch["input_ids"].numel()


class _Log:
    """metrics.jsonl and `train.tracking`; a line is on disk when the step is done, so that a kill loses none."""

    def __init__(self, path: Path, on_step: Report | None) -> None:
        self._path, self._on_step = str(path), on_step
        with storage.named_errors(self._path):
            self._stream = lines.append_to(path)

    def step(self, measures: dict[str, float]) -> None:
        self.line({"name": "loss", **{name: round(value, 8) for name, value in measures.items()}})
        if self._on_step:
            with storage.named_errors(self._path):
                self._on_step(measures)

    def validation(self, step: int, metrics: dict[str, float]) -> None:
        self.line({"name": "validation", "step": step, **metrics})
        if isinstance(self._on_step, Trackers):
            with storage.named_errors(self._path):
                self._on_step.validation(step, metrics)

    def line(self, fields: dict[str, Any]) -> None:
        with storage.named_errors(self._path):
            self._stream.write(json.dumps({"time": round(time.time(), 3), **fields}) + "\n")
            self._stream.flush()

    def close(self, stopped: bool) -> None:
        self._stream.close()
        if isinstance(self._on_step, Trackers):
            with storage.named_errors(self._path):
                self._on_step.close(stopped)
