"""A fine-tuning as configured, and what else there is to choose from: whether it fits, how long it takes, what it costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nosology.config import ModelConfig, PlanConfig, TrainConfig
from nosology.errors import ConfigError
from nosology.training import zero
from nosology.training.planning import throughput
from nosology.training.planning.architecture import Architecture, of_model
from nosology.training.planning.hardware import CARDS, Card
from nosology.training.planning.memory import Memory, memory, parameters

GPUS = (1, 2, 4, 8, 16, 32, 64)
MICRO_BATCHES = (1, 2, 4, 8, 16, 32)
ROOM = 0.95  # of a card's memory that a plan may fill: what the formulas leave out needs some
CHECKED = ("method", "zero", "offload", "gradient_checkpointing", "batch_size", "accumulation_steps", "workers")


@dataclass(frozen=True, slots=True)
class Run:
    """One way to run it, worked out. Times are of all epochs, without the start and the saves of checkpoints."""

    train: TrainConfig
    tokens: int  # of a block
    memory: Memory
    step: throughput.Step
    steps: int
    lacks: tuple[str, ...]  # why it does not fit

    @property
    def fits(self) -> bool:
        return not self.lacks

    @property
    def hours(self) -> float:
        return self.steps * self.step.seconds / 3600


@dataclass(frozen=True, slots=True)
class Site:
    """What is given: the model, its data, the cards."""

    architecture: Architecture
    plan: PlanConfig
    blocks: int
    data_gib: float
    answers: int | None

    def hardware(self, train: TrainConfig) -> str:
        return self.plan.hardware or ("h100" if train.use_gpu else "cpu")

    def card(self, train: TrainConfig) -> Card:
        return CARDS[self.hardware(train)]

    def run(self, train: TrainConfig, tokens: int, blocks: int | None = None) -> Run:
        """Work out one way to run it, on blocks of `tokens` tokens."""
        card = self.card(train)
        held = memory(self.architecture, train, tokens, card, self.plan.gpus_per_node, self.data_gib, self.answers)
        learning, _ = parameters(self.architecture, train)
        layout = throughput.Layout(
            gpus=train.workers, micro_batch=train.batch_size, accumulation=train.accumulation_steps, sequence=tokens, method=train.method,
            sharded=train.zero == 3, recompute=1.0 if train.gradient_checkpointing else 0.0, rank=train.rank, targets=train.targets,
            gpus_per_node=self.plan.gpus_per_node, host_bytes=_host_bytes(self.architecture, train, learning),
            host_parameters=learning / math.ceil(train.workers / self.plan.gpus_per_node) if train.offload != "none" else 0.0,
        )  # fmt: skip
        steps = math.ceil((blocks or self.blocks) * train.epochs / (train.batch_size * train.accumulation_steps * train.workers))
        if train.max_steps:
            steps = min(steps, train.max_steps)
        room = card.memory_gib * ROOM
        lacks = [f"{held.gpu_peak:.1f} GiB on each card, {room:.1f} there"] if held.gpu_peak > room else []
        if held.host_peak > self.plan.host_memory_gib:
            lacks.append(f"{held.host_peak:.0f} GiB on a host, {self.plan.host_memory_gib:.0f} there")
        if sum(held.disk.values()) > self.plan.disk_gib:
            lacks.append(f"{sum(held.disk.values()):.0f} GiB on disk, {self.plan.disk_gib:.0f} there")
        return Run(train, tokens, held, throughput.step(self.architecture, layout, card), steps, tuple(lacks))

    def price(self, run: Run) -> float | None:
        """USD of the cards' hours."""
        rate = self.plan.usd_per_gpu_hour
        rate = self.card(run.train).usd_per_hour if rate is None else rate
        return None if rate is None else run.hours * run.train.workers * rate

    def energy(self, run: Run) -> float:
        """kWh at the nameplate power of the nodes' share: an upper bound."""
        return run.hours * run.train.workers * self.card(run.train).watts / 1000


def _host_bytes(architecture: Architecture, train: TrainConfig, learning: int) -> float:
    """Bytes that a card exchanges with its host in a step because of offload."""
    if train.offload == "none":
        return 0.0
    moved = 8.0 * learning / train.workers  # gradients out in fp32, weights back
    if train.offload == "all":
        moved += 3 * 2.0 * architecture.num_parameters / train.workers * train.accumulation_steps
    return moved


def _ways(train: TrainConfig, method: str, gpus: tuple[int, ...]) -> Iterator[TrainConfig]:
    """Every combination that can run, with the samples of a step as they are (or the nearest above)."""
    per_step = train.batch_size * train.accumulation_steps * train.workers
    offloads = ("none", "optimizer", "all") if train.use_gpu else ("none",)
    for stage, offload, again, micro, number in itertools.product(range(4), offloads, (False, True), MICRO_BATCHES, gpus):
        if micro * number > per_step or (number == 1 and stage > 1 and offload == "none"):
            continue
        changes = {
            "method": method, "zero": stage, "offload": offload, "gradient_checkpointing": again, "batch_size": micro, "workers": number,
            "accumulation_steps": math.ceil(per_step / (micro * number)),
        }  # fmt: skip
        way = train.model_copy(update=changes)
        try:
            zero.check(way)
        except ConfigError:
            continue
        yield way


def _cost(run: Run) -> tuple[Any, ...]:
    """Order of what fits: fewest GPU-hours, then the plainest (no offload, lower stage, nothing computed twice), then least memory."""
    seconds = round(math.log(run.hours * run.train.workers) / math.log(1.02))  # within 2 % counts as the same
    return seconds, run.train.offload != "none", run.train.zero, run.train.gradient_checkpointing, run.memory.gpu_peak


def _row(site: Site, run: Run) -> dict[str, Any]:
    price = site.price(run)
    return {
        **{name: getattr(run.train, name) for name in CHECKED}, "context_tokens": run.tokens, "fits": run.fits,
        "gpu_peak_gib": round(run.memory.gpu_peak, 1), "host_peak_gib": round(run.memory.host_peak, 1),
        "tokens_per_second": round(run.step.tokens_per_second), "hours": round(run.hours, 2), "usd": None if price is None else round(price, 2),
    }  # fmt: skip


def plan(model: ModelConfig, train: TrainConfig, context_tokens: int, config: PlanConfig, *, blocks: int | None = None,
         data_gib: float | None = None, answers: int | None = None) -> dict[str, Any]:  # fmt: skip
    """Whether a run fits, how long it takes, what it costs, and which of the other ways is best.

    Args:
        model: the base, by directory (or the name of one that is not here yet).
        train: the run as configured.
        context_tokens: tokens of a training block.
        config: cards, host, disk, price.
        blocks: number of training blocks; None is `plan.blocks`.
        data_gib: size of the prepared data; None is what so many blocks take.
        answers: most tokens of a block on which the loss counts; None is all of them.

    Returns:
        fits, lacks, gpu_peak_gib, host_peak_gib, disk_gib, memory (GiB by item), tokens_per_second, mfu, steps, hours, kwh, usd, model,
        parameters, hardware; `choices`, the best way for each method and number of cards; `pick`, the best of this method on these cards
        with `why`, and `pick_train`, the keys of `train` that make it.

    Raises:
        ConfigError: a base that is not known, an objective that is not planned, a combination that cannot run.
    """
    zero.check(train)
    if train.objective != "generate":
        raise ConfigError(f"train.objective {train.objective}: plan knows the objective generate alone")
    if train.offload == "nvme":
        raise ConfigError(
            "train.offload: nvme is not planned: its speed is that of the disks. Plan offload: optimizer, which needs more host memory"
        )
    if train.precision == "fp32" and train.use_gpu:
        raise ConfigError("train.precision fp32: on GPUs the planner knows bf16 alone")
    if not model.base:
        raise ConfigError("model.base is not set: a plan is of that model; give it as model.base=DIRECTORY")
    architecture, known_by = of_model(model.base)
    number = blocks or config.blocks
    site = Site(architecture, config, number, number * context_tokens * 14 / (1 << 30) if data_gib is None else data_gib, answers)
    run = site.run(train, context_tokens)
    methods = ("lora", "qlora", "full") if train.use_gpu else ("lora", "full")
    gpus = tuple(sorted({*GPUS, train.workers})) if train.use_gpu else (train.workers,)
    choices: list[dict[str, Any]] = []
    own: list[Run] = []
    for method in methods:
        try:
            ways = [site.run(way, context_tokens) for way in _ways(train, method, gpus)]
        except ConfigError:  # its targets are no layers of this model
            ways = []
        for count in gpus:
            fitting = [way for way in ways if way.train.workers == count and way.fits]
            if fitting:
                choices.append(_row(site, min(fitting, key=_cost)))
            if method == train.method and count == train.workers:
                own = fitting
    report: dict[str, Any] = {
        **{name: value for name, value in _row(site, run).items() if name not in CHECKED},
        "lacks": list(run.lacks), "disk_gib": round(sum(run.memory.disk.values()), 1), "mfu": round(run.step.model_flops_share, 3),
        "step_seconds": round(run.step.seconds, 3), "communication_share": round(run.step.communication_seconds / run.step.seconds, 3),
        "steps": run.steps, "blocks": number, "kwh": round(site.energy(run), 1), "hardware": site.hardware(train),
        "gpus": train.workers, "model": known_by, "parameters": architecture.num_parameters,
        "parameters_learning": parameters(architecture, train)[0],
        "memory": {
            "gpu": _rounded(run.memory.gpu), "gpu_load": round(run.memory.gpu_load, 2), "gpu_step": round(run.memory.gpu_step, 2),
            "gpu_save": round(run.memory.gpu_save, 2), "host": _rounded(run.memory.host), "disk": _rounded(run.memory.disk),
        },
        "longest_tokens": _longest(site, train), "choices": choices,
    }  # fmt: skip
    best = min(own, key=_cost) if own else None
    report["pick"] = _row(site, best) if best else None
    report["pick_train"] = {name: getattr(best.train, name) for name in CHECKED} if best else None
    report["why"] = _why(site, run, best, choices)
    return report


def _rounded(items: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in items.items()}


def _longest(site: Site, train: TrainConfig) -> int | None:
    """The longest block, in steps of 256 tokens, that fits in the layout as configured; None where not even the shortest does."""
    fits = [tokens for tokens in range(256, 131_073, 256) if site.run(train, tokens, 1).fits]
    return max(fits) if fits else None


def _why(site: Site, run: Run, best: Run | None, choices: list[dict[str, Any]]) -> str:
    if best is None:
        others = [f"{row['method']} on {row['workers']}" for row in choices]
        found = f"; what fits on this hardware: {', '.join(others)}" if others else "; nothing does on this hardware"
        return f"{run.train.method} fits on {run.train.workers} cards in no way{found}"
    said = [f"ZeRO {best.train.zero}", "activations computed again" if best.train.gradient_checkpointing else "no recomputation",
            "no offload" if best.train.offload == "none" else f"offload of {best.train.offload}", f"{best.train.batch_size} blocks a card"]  # fmt: skip
    gain = best.step.tokens_per_second / run.step.tokens_per_second
    against = f"{gain:.2f} times the speed of the configuration" if run.fits else "the configuration does not fit"
    return (f"of what fits it needs the fewest GPU-hours ({', '.join(said)}); {against}, "
            f"{best.memory.gpu_peak:.0f} of {site.card(best.train).memory_gib:.0f} GiB at the peak")  # fmt: skip
