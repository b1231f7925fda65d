"""Figures of each step beside its loss: memory, and the share of the card's peak that the model's own operations make (MFU)."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nosology.errors import ConfigError
from nosology.training.planning.hardware import CARDS, GIB, Card

if TYPE_CHECKING:
    import torch

    from nosology.config import TrainConfig
    from nosology.training.planning.architecture import Architecture
    from nosology.training.step import Stepper

# what the driver calls the cards whose peak is known: those of a node of eight, and not their smaller sisters for a PCIe slot
_NAMES = (
    (r"\bA100\b.*\b80GB", "a100-80"), (r"\bA100\b", "a100-40"), (r"\bH100\b(?!.*(PCIe|NVL))", "h100"), (r"\bH200\b(?!.*NVL)", "h200"),
    (r"\bB200\b", "b200"),
)  # fmt: skip


def card_of(name: str) -> Card | None:
    """The card that a driver calls by this name; None of one that the planner does not know, and of a part of a card (MIG)."""
    if re.search(r"\bMIG\b", name):
        return None
    return next((CARDS[card] for pattern, card in _NAMES if re.search(pattern, name)), None)


class Figures:
    """One worker's figures beside the loss."""

    def __init__(self, group: Stepper, config: TrainConfig, objective: str) -> None:
        self._device, self._config, self._world_size = group.device, config, group.world_size
        self._card: Card | None = None
        self._architecture: Architecture | None = None
        if self._device.type == "cuda" and objective == "generate":  # other objectives do other work for a token
            import torch

            from nosology.training.planning.architecture import of_config

            self._card = card_of(torch.cuda.get_device_name(self._device))
            try:
                self._architecture = of_config(_described(group.bare), "the model")
            except ConfigError:  # shapes that the planner does not know
                return

    def step(self, tokens_per_second: float, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """`memory_gib`: most that this worker has used so far, of the GPU's memory or else of the host's (resident set). `mfu`: where card
        and model are known, the operations that the model needs over the dense peak of all cards in bf16.

        Args:
            tokens_per_second: of all workers, without padding.
            batch: one of the step; its width is the sequence's.
        """
        found = {"memory_gib": memory_gib(self._device)}
        if self._card and self._architecture:
            sequence = batch["input_ids"].shape[-1]
            found["mfu"] = mfu(self._architecture, self._card, self._config, sequence, tokens_per_second / self._world_size)
        return found


def mfu(architecture: Architecture, card: Card, config: TrainConfig, sequence: int, tokens_per_second: float) -> float:
    """Share of a card's peak, by the planner's count of operations: 6 N a token of a full fine-tuning, 4 N of LoRA, and attention.

    Args:
        sequence: tokens of a block.
        tokens_per_second: of one card.
    """
    from nosology.training.planning.throughput import Layout, step

    planned = step(architecture, Layout(1, 1, 1, sequence, method=config.method, rank=config.rank, targets=config.targets), card)
    return planned.model_flops_share * tokens_per_second / planned.tokens_per_second  # the plan's own time cancels out


def memory_gib(device: torch.device) -> float:
    """Most memory that this process has had so far, GiB: allocated by torch on its GPU, or else resident on the host."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / GIB
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / GIB if sys.platform == "darwin" else most * 1024 / GIB  # KiB, but of macOS bytes


def _described(module: torch.nn.Module) -> dict[str, Any]:
    """config.json of a model of transformers, with an adapter or without; empty of another module."""
    config: Any = getattr(module, "config", None)
    return dict(config.to_dict()) if hasattr(config, "to_dict") else {}
