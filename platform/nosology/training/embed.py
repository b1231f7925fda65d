"""Objective `embed`: a bi-encoder learns to place a phrase beside the title of its code (`CodedText` Parquet, the table `pairs`).

Each phrase is to choose its title among the titles of its forward pass (in-batch negatives) and those that retrieval found for it and that
are wrong (mined negatives): cross-entropy over cosines by a temperature (van den Oord et al. 2018, InfoNCE; Karpukhin et al. 2020). What
stands as a title for another phrase of the same code is no negative. A forward pass is the unit, so that a step is the same on any number
of workers; a larger batch_size has more negatives.

Shapes: B phrases, D titles of a batch, S = B + D sequences, T tokens, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.engines.encoder import MOST_TOKENS, pooled
from nosology.errors import InputError
from nosology.records import CodedText
from nosology.training import Objective, backbone, tables
from nosology.training.adapters import attach

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper


def titled(data: str, split: str) -> tables.Rows:
    """The rows of a split of `pairs`.

    Raises:
        InputError: rows of notes, which have no title.
    """
    rows = tables.read(data, split, CodedText, "text_id")
    if rows.nulls("title"):
        raise InputError("rows without a title, as those of notes are", file=data, remedy="Give the table pairs of prepare")
    return rows


def ranks(scores_BD: torch.Tensor, right_B: torch.Tensor) -> list[int]:
    """Rank of the right place of each line, from 1; a tie counts against it."""
    found: list[int] = (scores_BD >= scores_BD.gather(1, right_B[:, None])).sum(1).tolist()
    return found


def summed(found: Sequence[int]) -> dict[str, float]:
    """`top1`, and `mrr`, the mean of 1/rank."""
    number = max(1, len(found))
    return {"top1": sum(rank == 1 for rank in found) / number, "mrr": sum(1 / rank for rank in found) / number}


class Embed(Objective):
    """In-batch and mined negatives; mean of the last layer, as `engines.encoder` embeds."""

    name = "embed"
    metrics = ("loss", "top1", "mrr")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        folder = backbone.directory(config, model)
        self._words = backbone.Words(folder, MOST_TOKENS)
        self._negatives, self._temperature = config.negatives, config.temperature
        module, _ = backbone.pretrained("AutoModel", folder, config)
        return attach(module, config, task="FEATURE_EXTRACTION", apart=("pooler.dense",))  # nothing reads what the pooler makes

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        rows = titled(data, split)
        first = rows[0]["title"] if len(rows) else None
        titles = itertools.chain(rows.values("title"), itertools.chain.from_iterable(rows.values("negatives")))
        if len(rows) and all(title == first for title in titles):
            raise InputError(f"the rows of {split} have one title, so there is nothing to choose among", file=data)
        return rows

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """`cut`: rows whose phrase is longer than `MOST_TOKENS`."""
        if group.rank:
            return {}
        return {"cut": self._words.count_longer(rows.values("text"), self._words.most_tokens)}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Phrases, then titles: input_ids and attention_mask (S, T); allowed (B, D): the titles among which a phrase chooses, its own first."""
        import torch

        titles = [row["title"] for row in rows]
        titles += [title for row in rows for title in row["negatives"][: self._negatives]]
        batch = self._words.batch([row["text"] for row in rows] + titles)
        allowed = [[place == own or title != titles[own] for place, title in enumerate(titles)] for own in range(len(rows))]
        return {**batch, "allowed": torch.tensor(allowed)}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return len(batch["allowed"])

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"pair {tables.called(rows, index)}"

    def _vectors(self, module: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Unit vectors (S, W)."""
        return pooled(module(**backbone.inputs(batch)).last_hidden_state.float(), batch["attention_mask"])

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of each phrase's own title, summed over phrases."""
        import torch

        allowed_BD = batch["allowed"]
        number = len(allowed_BD)
        vectors_SW = self._vectors(module, batch)
        scores_BD = vectors_SW[:number] @ vectors_SW[number:].T / self._temperature
        own_B = torch.arange(number, device=scores_BD.device)
        return torch.nn.functional.cross_entropy(scores_BD.masked_fill(~allowed_BD, float("-inf")), own_B, reduction="sum")

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """Each phrase among all titles of these rows, right and wrong: `loss`, `top1`, `mrr`."""
        import torch

        device = next(module.parameters()).device

        def vectors(texts: Sequence[str]) -> torch.Tensor:
            parts = [self._words.batch(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)]
            return torch.cat([self._vectors(module, {k: v.to(device) for k, v in part.items()}) for part in parts])

        held = [dict(row) for row in rows]
        places: dict[str, int] = {}
        for row in held:
            for title in (row["title"], *row["negatives"][: self._negatives]):
                places.setdefault(title, len(places))
        titles_DW = vectors(list(places))
        total, found = 0.0, list[int]()
        for start in range(0, len(held), batch_size):
            chosen = held[start : start + batch_size]
            scores_BD = vectors([row["text"] for row in chosen]) @ titles_DW.T
            right_B = torch.tensor([places[row["title"]] for row in chosen], device=device)
            total += float(torch.nn.functional.cross_entropy(scores_BD / self._temperature, right_B, reduction="sum"))
            found += ranks(scores_BD, right_B)
        return {"loss": total / max(1, len(held)), **summed(found)}
