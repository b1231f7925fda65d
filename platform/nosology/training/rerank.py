"""Objective `rerank`: a cross-encoder learns to score a phrase together with a title (`CodedText` Parquet, the table `pairs`).

Each phrase has a list: its title and the titles that retrieval found for it and that are wrong; the loss is the cross-entropy of the right
one over the list (Cao et al. 2007, ListNet's top one). Where retrieval found fewer than `train.negatives`, titles of other rows of the
forward pass fill the list.

Shapes: B phrases, L titles in a list, S = B x L sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.errors import InputError
from nosology.training import Objective, backbone, tables
from nosology.training.adapters import attach
from nosology.training.embed import ranks, summed, titled

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper


MOST_TOKENS = 128  # of a phrase and a title together


class Rerank(Objective):
    """One score for a pair of texts, learnt over lists."""

    name = "rerank"
    metrics = ("loss", "top1", "mrr")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        folder = backbone.directory(config, model)
        self._words, self._negatives = backbone.Words(folder, MOST_TOKENS), config.negatives
        module, fresh = backbone.head(folder, config, self._words, num_labels=1)
        return attach(module, config, whole=fresh)

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        rows = titled(data, split)
        if len(rows) and not any(rows.values("negatives")):
            raise InputError(f"the rows of {split} have no wrong titles, so there is nothing to tell apart", file=data, field="negatives")
        return rows

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """`cut`: rows whose phrase and right title are longer than `MOST_TOKENS`."""
        if group.rank:
            return {}
        both = (f"{text} {title}" for text, title in zip(rows.values("text"), rows.values("title"), strict=True))
        return {"cut": self._words.count_longer(both, self._words.most_tokens)}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Phrase and title of each list, the right one first: input_ids and attention_mask (S, T); real (B, L): False is no title at all."""
        lists = []
        for row in rows:
            found = list(row["negatives"][: self._negatives])
            spare = (other["title"] for other in rows if other["title"] not in (row["title"], *found))
            lists.append([row["title"], *found, *list(dict.fromkeys(spare))[: self._negatives - len(found)]])
        return self._batch([row["text"] for row in rows], lists)

    def _batch(self, texts: Sequence[str], lists: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        import torch

        longest = max(map(len, lists))
        filled = [[*titles, *[titles[0]] * (longest - len(titles))] for titles in lists]
        batch = self._words.batch([text for text in texts for _ in range(longest)], [title for titles in filled for title in titles])
        return {**batch, "real": torch.tensor([[place < len(titles) for place in range(longest)] for titles in lists])}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return len(batch["real"])

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"pair {tables.called(rows, index)}"

    def _scores(self, module: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores (B, L); minus infinity where there is no title."""
        scores_BL: torch.Tensor = module(**backbone.inputs(batch)).logits.float().view(batch["real"].shape)
        return scores_BL.masked_fill(~batch["real"], float("-inf"))

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of the right title of each list, summed over lists."""
        import torch

        scores_BL = self._scores(module, batch)
        return torch.nn.functional.cross_entropy(
            scores_BL, torch.zeros(len(scores_BL), dtype=torch.long, device=scores_BL.device), reduction="sum"
        )

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """Each phrase's title among those that retrieval found for it: `loss`, `top1`, `mrr`. A phrase for which it found none does not count."""
        import torch

        device = next(module.parameters()).device
        held = [row for row in rows if row["negatives"]]
        total, found = 0.0, list[int]()
        for start in range(0, len(held), batch_size):
            chosen = held[start : start + batch_size]
            made = self._batch([row["text"] for row in chosen], [[row["title"], *row["negatives"][: self._negatives]] for row in chosen])
            batch = {name: tensor.to(device) for name, tensor in made.items()}
            scores_BL = self._scores(module, batch)
            first_B = torch.zeros(len(scores_BL), dtype=torch.long, device=device)
            total += float(torch.nn.functional.cross_entropy(scores_BL, first_B, reduction="sum"))
            found += ranks(scores_BL, first_B)
        return {"loss": total / max(1, len(held)), **summed(found)}
