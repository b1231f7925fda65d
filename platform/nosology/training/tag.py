"""Objective `tag`: a token classifier learns spans of text, for the second pass of de-identification.

Rows are JSON lines {"text", "spans": [{"start", "end", "label"}]}; `train.jsonl` and `validation.jsonl` of a directory are the splits.
Shapes: B texts, T tokens, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology.config import home
from nosology.errors import InputError
from nosology.training.adapters import attach

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, TrainConfig

MAX_TOKENS = 128
LINEAR = ("query", "key", "value", "dense")  # every linear layer of a BERT block; the head is trained whole


class Tag:
    """Cross-entropy over inside-outside classes; word embeddings stay as they are."""

    name = "tag"

    def __init__(self) -> None:
        self._tokenizer: Any = None

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        """The encoder of `model.encoder` with a tagging head.

        Raises:
            ModelError: the directory holds no BERT-type encoder.
        """
        from transformers import AutoTokenizer

        from nosology.deid.tagger import new_tagger

        encoder = Path(model.encoder) if model.encoder else home() / "encoder"
        module = new_tagger(encoder)
        self._tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
        if config.method == "lora":
            return attach(module, config if config.targets else config.model_copy(update={"targets": LINEAR}), whole=("shapes", "classifier"))
        adapted = attach(module, config)
        module.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        return adapted

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        """Rows of `data`/`split`.jsonl; none when there is no such file.

        Raises:
            InputError: a line is no row of text and spans (its number is named, its text is not).
        """
        file = Path(data) / f"{split}.jsonl"
        if not file.is_file():
            return []
        rows = []
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                try:
                    row = json.loads(line)
                    rows.append({"text": str(row["text"]), "spans": [(int(s["start"]), int(s["end"]), str(s["label"])) for s in row["spans"]]})
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(f"line {number}: expected text and spans with start, end, label", file=file.name) from error
        return rows

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Token ids, mask, shapes and labels (B, T); -100 on special tokens and padding."""
        import torch

        from nosology.deid.tagger import CLASSES, shapes

        encoded = self._tokenizer(
            [row["text"] for row in rows], truncation=True, max_length=MAX_TOKENS, padding=True, return_offsets_mapping=True, return_tensors="pt"
        )
        labels_BT = torch.full(encoded["input_ids"].shape, -100)
        shape_BT = torch.zeros_like(encoded["input_ids"])
        for number, row in enumerate(rows):
            offsets = [(int(a), int(b)) for a, b in encoded["offset_mapping"][number].tolist()]
            shape_BT[number] = torch.tensor(shapes(row["text"], offsets))
            for place, (start, end) in enumerate(offsets):
                if start < end:
                    hit = next((label for first, last, label in row["spans"] if start < last and first < end), "O")
                    labels_BT[number, place] = CLASSES.index(hit)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "shape_ids": shape_BT, "labels": labels_BT}

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy of the batch's real tokens."""
        import torch

        logits_BTC = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], shape_ids=batch["shape_ids"])
        return torch.nn.functional.cross_entropy(logits_BTC.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=-100)

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`recall` and `precision` of tokens inside against outside, whatever their class, at the most probable class."""
        device = next(module.parameters()).device
        hit = gold = found = 0
        for start in range(0, len(rows), batch_size):
            batch = {name: tensor.to(device) for name, tensor in self.collate(rows[start : start + batch_size]).items()}
            logits_BTC = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], shape_ids=batch["shape_ids"])
            real_BT = batch["labels"] >= 0
            inside_BT, said_BT = (batch["labels"] > 0) & real_BT, (logits_BTC.argmax(-1) > 0) & real_BT
            hit += int((inside_BT & said_BT).sum())
            gold += int(inside_BT.sum())
            found += int(said_BT.sum())
        return {"recall": hit / max(1, gold), "precision": hit / max(1, found), "tokens_inside": float(gold)}
