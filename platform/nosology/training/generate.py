"""Objective `generate`: a causal language model learns the answers in packed blocks (`PackedBlock` Parquet).

Shapes: B blocks, T tokens a block.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from nosology.errors import ConfigError, InputError
from nosology.records import PackedBlock
from nosology.training import Objective, tables
from nosology.training.adapters import attach
from nosology.training.backbone import directory, pretrained

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper

COLUMNS = ("input_ids", "labels", "position_ids", "segment_ids")


def _counted(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Places (B, T-1) whose next token the loss asks for; never the first token of an example, which has none before it."""
    return (batch["labels"][:, 1:] != -100) & (batch["segment_ids"][:, 1:] == batch["segment_ids"][:, :-1])


def _four_bits(config: TrainConfig) -> dict[str, Any]:
    """How transformers loads the base of a QLoRA run: nf4 with double quantization (Dettmers et al. 2023)."""
    if config.method != "qlora":
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("train.method: qlora needs the package bitsandbytes, which is not installed: pip install bitsandbytes")
    import torch
    from transformers import BitsAndBytesConfig

    quantized = cast("Any", BitsAndBytesConfig)(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )
    return {"quantization_config": quantized, "device_map": {"": torch.cuda.current_device()}}


def answers(module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (N, V), target tokens (N) and lines (N) of the N places where the loss counts; the head is computed for their columns only."""
    targets_BT, counts_BT = batch["labels"][:, 1:], _counted(batch)
    columns = counts_BT.any(0).nonzero()[:, 0]
    if not len(columns):
        columns = columns.new_zeros(1)
    # without a mask of ours the model makes its own: where positions begin again an example begins, and no other sees anything of it. A mask
    # that is handed in would stand for every layer, windows or not, and be right for one kernel alone (the eager one adds it to the scores)
    output = module(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=None, logits_to_keep=columns, use_cache=False
    )
    picked = counts_BT[:, columns]
    return output.logits[picked].float(), targets_BT[:, columns][picked], picked.nonzero()[:, 0]


def positions(module: torch.nn.Module) -> int:
    """Tokens that a model reads."""
    return int(getattr(cast("Any", module).config, "max_position_embeddings", 1 << 62))


def check_length(module: torch.nn.Module, tokens: int) -> None:
    """Raises InputError where an example has more tokens than the model reads."""
    if tokens > positions(module):
        raise InputError(
            f"an example has {tokens} tokens, and model.base reads {positions(module)}",
            remedy="Lower prepare.context_tokens and run prepare again: it leaves out and counts what is longer",
        )


class Generate(Objective):
    """Causal language modelling on packed blocks, loss where `labels` says."""

    name = "generate"
    metrics = ("loss", "accuracy", "answer_tokens")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        base, _ = pretrained("AutoModelForCausalLM", directory(config, model), config, **_four_bits(config))
        return attach(base, config, task="CAUSAL_LM")

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        return tables.read(data, split, PackedBlock, "block_id")

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """Raises InputError where a block is longer than the model reads."""
        for held in (rows, validation):
            # positions restart with each example; a block as wide as the model reads holds no longer one
            width = held[0]["position_ids"].size if len(held) else 0
            if width > positions(group.bare):
                check_length(group.bare, max(int(row["position_ids"].max()) + 1 for row in held))
        return {}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        import numpy as np
        import torch

        # tail padding that all blocks share is cut off
        length = max(1, *(int((row["segment_ids"] > 0).sum()) for row in rows))
        return {name: torch.from_numpy(np.stack([row[name] for row in rows])[:, :length].astype(np.int64)) for name in COLUMNS}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return int(_counted(batch).sum())

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"block {tables.called(rows, index)}"

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        logits, targets, _ = answers(module, batch)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")  # over no target it is 0 and keeps the graph

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`loss` per answer token, `accuracy` of the answer tokens, `answer_tokens`."""
        import torch

        device = next(module.parameters()).device
        total, right, number = 0.0, 0, 0
        for start in range(0, len(rows), batch_size):
            batch = {name: tensor.to(device) for name, tensor in self.collate(rows[start : start + batch_size]).items()}
            logits, targets, _ = answers(module, batch)
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(-1) == targets).sum())
            number += int(targets.numel())
        return {"loss": total / max(1, number), "accuracy": right / max(1, number), "answer_tokens": float(number)}
