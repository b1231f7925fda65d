"""Objective `generate`: a causal language model learns the answers in packed blocks (`PackedBlock` Parquet).

Shapes: B blocks, T tokens a block.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from nosology import storage
from nosology.errors import ConfigError, InputError
from nosology.training.adapters import attach

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from nosology.config import ModelConfig, TrainConfig

COLUMNS = ("input_ids", "labels", "position_ids", "segment_ids")


class Blocks(Sequence[Mapping[str, Any]]):
    """Rows of an Arrow table by index; the table stays in Arrow's memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: self._table[name][index].values.to_numpy(zero_copy_only=False) for name in COLUMNS}

    def block_id(self, index: int) -> int:
        """Number of a row in the data that `prepare` wrote."""
        return int(self._table["block_id"][index].as_py())


def attention_mask(segment_ids_BT: torch.Tensor) -> torch.Tensor:
    """Who may look at whom: True (B, 1, T, T) for the same segment at the same place or before.

    Block-diagonal, so that the loss of packed examples is that of the examples alone. Padding looks at padding, which
    keeps its softmax finite.
    """
    import torch

    length = segment_ids_BT.shape[1]
    same = segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_ids_BT.device).tril()
    return (same & causal)[:, None]


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


class Generate:
    """Causal language modelling on packed blocks, loss where `labels` says."""

    name = "generate"
    metrics = ("loss", "accuracy", "answer_tokens")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.utils import logging

        if not model.base:
            raise ConfigError("model.base: training needs the directory of a generator")
        cast("Any", logging).disable_progress_bar()
        # sdpa takes our mask; kernels that cannot mask a block-diagonal (flash without varlen) are not offered. Gemma 2 caps its
        # scores, which transformers has in the eager kernel alone
        kernel = "eager" if AutoConfig.from_pretrained(model.base, local_files_only=True).model_type == "gemma2" else "sdpa"
        dtype = torch.bfloat16 if config.precision == "bf16" and config.use_gpu else torch.float32
        base = AutoModelForCausalLM.from_pretrained(
            model.base, dtype=dtype, attn_implementation=kernel, local_files_only=True, **_four_bits(config)
        )
        base.config.use_cache = False
        if config.gradient_checkpointing:
            # ZeRO 3 takes a layer's weights away after its forward pass; only the reentrant form asks for them again
            cast("Any", base).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": config.zero == 3})
            cast("Any", base).enable_input_require_grads()
        return attach(base, config, task="CAUSAL_LM")

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        import pyarrow.dataset as ds

        files = [uri for uri in storage.list_files(data) if uri.endswith(".parquet")]
        if not files:
            raise InputError("no Parquet files of packed blocks", file=data, remedy="Run prepare first")
        dataset = ds.dataset(files, format="parquet")
        missing = [name for name in (*COLUMNS, "split", "block_id") if name not in dataset.schema.names]
        if missing:
            raise InputError(f"expected the schema of PackedBlock, columns missing: {', '.join(missing)}", file=data)
        table = dataset.to_table(columns=[*COLUMNS, "block_id"], filter=ds.field("split") == split)
        return Blocks(table.sort_by("block_id"))

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        import numpy as np
        import torch

        # tail padding that all blocks share is cut off
        length = max(1, *(int((row["segment_ids"] > 0).sum()) for row in rows))
        return {name: torch.from_numpy(np.stack([row[name] for row in rows])[:, :length].astype(np.int64)) for name in COLUMNS}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return int(_counted(batch).sum())

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"block {rows.block_id(index) if isinstance(rows, Blocks) else index}"

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        logits, targets = self._answers(module, batch)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")  # over no target it is 0 and keeps the graph

    def _answers(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, V) and target tokens (N) of the N places where the loss counts; the head is computed for their columns only."""
        targets_BT, counts_BT = batch["labels"][:, 1:], _counted(batch)
        columns = counts_BT.any(0).nonzero()[:, 0]
        if not len(columns):
            columns = columns.new_zeros(1)
        output = module(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=attention_mask(batch["segment_ids"]),
            logits_to_keep=columns, use_cache=False,
        )  # fmt: skip
        picked = counts_BT[:, columns]
        return output.logits[picked].float(), targets_BT[:, columns][picked]

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`loss` per answer token, `accuracy` of the answer tokens, `answer_tokens`."""
        import torch

        device = next(module.parameters()).device
        total, right, number = 0.0, 0, 0
        for start in range(0, len(rows), batch_size):
            batch = {name: tensor.to(device) for name, tensor in self.collate(rows[start : start + batch_size]).items()}
            logits, targets = self._answers(module, batch)
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(-1) == targets).sum())
            number += int(targets.numel())
        return {"loss": total / max(1, number), "accuracy": right / max(1, number), "answer_tokens": float(number)}
