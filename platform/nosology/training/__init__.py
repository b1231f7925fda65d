"""Fine-tuning: what is learnt (objectives) apart from how it is trained (loop, step, checkpoint).

A new objective is one file with a class of the `Objective` protocol and one line in `OBJECTIVES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from nosology.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper


class Objective(Protocol):
    """What is trained, and on what. One instance lives in each worker."""

    name: str
    metrics: tuple[str, ...]  # that `evaluate` gives

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        """The module, adapters attached; parameters that do not learn have `requires_grad` off. Called after `rows` of train.

        The module's `save_pretrained(directory, state_dict=…)`, where it has one, writes what inference loads.
        """
        ...

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        """Rows of a split below `data` (a directory or file), addressable by index and in the same order on every worker."""
        ...

    def begin(
        self, group: Stepper, rows: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]], config: TrainConfig, out: Path
    ) -> dict[str, Any]:  # fmt: skip
        """What has to be known of the rows, or of the module before it has learnt anything; called once, before a checkpoint is loaded, by
        all workers at the same time.

        Returns:
            What the report is to have of it, from worker 0.
        """
        return {}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """One batch. `input_ids` (B, T) is counted as the batch's tokens; `labels` are -100 where the loss does not count."""
        ...

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        """Places of a batch on which the loss counts."""
        ...

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the losses of the batch's `targets`, a scalar that has a graph even where there are none. The loop divides by the
        targets of the whole step, so that a step's gradient is the mean over all of them, however they are spread over workers.
        `module` may be DeepSpeed's wrapper: call it, do not reach inside."""
        ...

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        """What a row is called in a message: a number of it, never a text."""
        ...

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """Named metrics of rows that were not trained on. Called under `no_grad` with the module in eval mode, alike on every worker."""
        ...


OBJECTIVES: dict[str, str] = {
    "generate": "nosology.training.generate:Generate",
    "prefer": "nosology.training.prefer:Prefer",
    "embed": "nosology.training.embed:Embed",
    "rerank": "nosology.training.rerank:Rerank",
    "classify": "nosology.training.classify:Classify",
    "tag": "nosology.training.tag:Tag",
}


def objective(name: str) -> Objective:
    """The objective of that name; ConfigError when there is none."""
    if name not in OBJECTIVES:
        raise ConfigError(f"train.objective {name}: this version trains {', '.join(OBJECTIVES)}")
    module, _, attribute = OBJECTIVES[name].partition(":")
    return cast("Objective", getattr(importlib.import_module(module), attribute)())
