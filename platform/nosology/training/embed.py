"""Objective `embed`: a bi-encoder learns to place a phrase beside the title of its code (`CodedText` Parquet, the table `pairs`).

Each phrase is to choose its title among the titles of its forward pass (in-batch negatives) and those that retrieval found for it and that
are wrong (mined negatives): cross-entropy over cosines by a temperature (van den Oord et al. 2018, InfoNCE; Karpukhin et al. 2020). What
stands as a title for another phrase of the same code is no negative. A forward pass is the unit, so that a step is the same on any number
of workers; a larger batch_size has more negatives.

Shapes: B phrases, D titles of a batch, S = B + D sequences, T tokens, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.errors import InputError
from nosology.records import CodedText
from nosology.training import Objective, backbone, tables
from nosology.training.adapters import attach

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper

MOST_TOKENS = 128  # a phrase, its sentence and a title are shorter; what is not is cut and counted


def titled(data: str, split: str) -> tables.Rows:
    """The rows of a split of `pairs`.

    Raises:
        InputError: rows of notes, which have no title.
    """
    rows = tables.read(data, split, CodedText, "text_id")
    if len(rows) and rows[0]["title"] is None:
        raise InputError("rows without a title: these are notes", file=data, remedy="Give the table pairs of prepare")
    return rows


def ranked(scores: Sequence[Sequence[float]], right: Sequence[int]) -> dict[str, float]:
    """`top1`, and `mrr`, the mean of 1/rank, of lists in which one place is right; a tie counts against it."""
    ranks = [sum(score >= line[place] for score in line) for line, place in zip(scores, right, strict=True)]
    number = max(1, len(ranks))
    return {"top1": sum(rank == 1 for rank in ranks) / number, "mrr": sum(1 / rank for rank in ranks) / number}


class Embed(Objective):
    """In-batch and mined negatives; mean of the last layer, as `engines.encoder` embeds."""

    name = "embed"
    metrics = ("loss", "top1", "mrr")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        folder = backbone.directory(config, model)
        self._words = backbone.Words(folder, MOST_TOKENS)
        self._negatives, self._temperature = config.negatives, config.temperature
        module = backbone.pretrained("AutoModel", folder, config)
        return attach(module, config, task="FEATURE_EXTRACTION", apart=("pooler.dense",))  # nothing reads what the pooler makes

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        return titled(data, split)

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """`cut`: rows whose text is longer than `MOST_TOKENS`."""
        if group.rank:
            return {}
        return {"cut": self._words.count_longer([row["text"] for row in rows], self._words.most_tokens)}

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
        """Unit vectors (S, W): the mean over a sequence's tokens."""
        import torch

        states_STW = module(**backbone.inputs(batch)).last_hidden_state.float()
        weights_ST1 = batch["attention_mask"].unsqueeze(-1).float()
        return torch.nn.functional.normalize((states_STW * weights_ST1).sum(1) / weights_ST1.sum(1), dim=-1)

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
        titles = list(dict.fromkeys(title for row in held for title in (row["title"], *row["negatives"][: self._negatives])))
        right = [titles.index(row["title"]) for row in held]
        scores = vectors([row["text"] for row in held]) @ vectors(titles).T
        loss = torch.nn.functional.cross_entropy(scores / self._temperature, torch.tensor(right, device=device))
        return {"loss": float(loss), **ranked(scores.tolist(), right)}
