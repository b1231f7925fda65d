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
from nosology.training import Objective
from nosology.training.adapters import attach

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, TrainConfig

MAX_TOKENS = 128
LINEAR = ("query", "key", "value", "dense")  # every linear layer of a BERT block; the head is trained whole


class Tag(Objective):
    """Cross-entropy over inside-outside classes; word embeddings stay as they are."""

    name = "tag"
    metrics = ("recall", "precision", "tokens_inside")

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        """`classes`: what the head tells apart, "O" first; None is those of `deid.tagger.CLASSES`."""
        self._tokenizer: Any = None
        self._classes = tuple(classes or ())

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        """The encoder of `model.encoder` with a tagging head; a tagger's own folder (no tokenizer in it) is trained on.

        Raises:
            ModelError: the directory holds no BERT-type encoder.
        """
        from transformers import AutoTokenizer

        from nosology.deid.shapes import CLASSES
        from nosology.deid.tagger import new_tagger

        self._classes = self._classes or CLASSES
        encoder = Path(model.encoder) if model.encoder else home() / "encoder"
        module = new_tagger(encoder, self._classes)
        words = encoder if (encoder / "tokenizer_config.json").is_file() else home() / "encoder"
        self._tokenizer = AutoTokenizer.from_pretrained(words, local_files_only=True)
        if config.method != "full":
            return attach(
                module, config if config.targets else config.model_copy(update={"targets": LINEAR}), whole=("shapes", "classifier")
            )
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
                    rows.append(
                        {"text": str(row["text"]), "spans": [(int(s["start"]), int(s["end"]), str(s["label"])) for s in row["spans"]]}
                    )
                except (ValueError, KeyError, TypeError):  # its text can hold a value, and Ray logs what stands behind an error
                    raise InputError(f"line {number}: expected text and spans with start, end, label", file=file.name) from None
        return rows

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Texts packed into sequences of `MAX_TOKENS` at most, so that short ones cost no padding.

        Returns:
            input_ids, shape_ids, position_ids (they restart with each text), segment_ids (number of the text in its sequence, 0 is
            padding) and labels (-100 on special tokens and padding), all (B, T).
        """
        import torch

        from nosology.deid.shapes import shapes

        encoded = self._tokenizer([row["text"] for row in rows], truncation=True, max_length=MAX_TOKENS, return_offsets_mapping=True)
        bins: list[list[int]] = []
        for number in sorted(range(len(rows)), key=lambda i: -len(encoded["input_ids"][i])):
            size = len(encoded["input_ids"][number])
            room = next((b for b in bins if sum(len(encoded["input_ids"][i]) for i in b) + size <= MAX_TOKENS), None)
            if room is None:
                bins.append([number])
            else:
                room.append(number)
        length = max(sum(len(encoded["input_ids"][i]) for i in b) for b in bins)
        batch = {
            name: torch.zeros(len(bins), length, dtype=torch.long) for name in ("input_ids", "shape_ids", "position_ids", "segment_ids")
        }
        batch["labels"] = torch.full((len(bins), length), -100)
        for line, numbers in enumerate(bins):
            start = 0
            for segment, number in enumerate(numbers, 1):
                offsets = [(int(a), int(b)) for a, b in encoded["offset_mapping"][number]]
                end = start + len(offsets)
                batch["input_ids"][line, start:end] = torch.tensor(encoded["input_ids"][number])
                batch["shape_ids"][line, start:end] = torch.tensor(shapes(rows[number]["text"], offsets))
                batch["position_ids"][line, start:end] = torch.arange(len(offsets))
                batch["segment_ids"][line, start:end] = segment
                for place, (first, last) in enumerate(offsets, start):
                    if first < last:
                        hit = next((label for a, b, label in rows[number]["spans"] if first < b and a < last), "O")
                        batch["labels"][line, place] = self._classes.index(hit)
                start = end
        return batch

    def _logits(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, T, C); a text looks at itself only."""
        segment_BT = batch["segment_ids"]
        mask_B1TT = segment_BT[:, None, :, None] == segment_BT[:, None, None, :]
        logits_BTC: torch.Tensor = module(
            input_ids=batch["input_ids"], attention_mask=mask_B1TT, shape_ids=batch["shape_ids"], position_ids=batch["position_ids"]
        )
        return logits_BTC

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return int((batch["labels"] >= 0).sum())

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"row {index}"

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of the batch's real tokens, summed."""
        import torch

        logits_BTC = self._logits(module, batch).flatten(0, 1).float()
        return torch.nn.functional.cross_entropy(logits_BTC, batch["labels"].flatten(), ignore_index=-100, reduction="sum")

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`recall` and `precision` of tokens inside against outside, whatever their class, at the most probable class."""
        device = next(module.parameters()).device
        hit = gold = found = 0
        for start in range(0, len(rows), batch_size):
            batch = {name: tensor.to(device) for name, tensor in self.collate(rows[start : start + batch_size]).items()}
            logits_BTC = self._logits(module, batch)
            real_BT = batch["labels"] >= 0
            inside_BT, said_BT = (batch["labels"] > 0) & real_BT, (logits_BTC.argmax(-1) > 0) & real_BT
            hit += int((inside_BT & said_BT).sum())
            gold += int(inside_BT.sum())
            found += int(said_BT.sum())
        return {"recall": hit / max(1, gold), "precision": hit / max(1, found), "tokens_inside": float(gold)}
