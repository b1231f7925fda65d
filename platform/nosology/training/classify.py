"""Objective `classify`: heads for chapter, block, category and code learn which codes a text stands for (`CodedText` Parquet, the tables
`pairs` and `notes`).

Every node of the tree has one logit, the odds of the node given its parent; the probability of a code is the product along its path, so
it is never above that of its category, block or chapter. The loss respects the tree: a node is asked only where its parent is right, so
that nodes far from the text's codes, which the levels above have to tell apart, bring no gradient (conditional training as in Redmon and
Farhadi 2017, sec. 4, with sigmoids, because a note has several codes).

A text longer than the model reads is cut into windows; a node's logit is the largest of its windows'. The codes that a head can give are those of
the training rows; of another code that a text has what stands above it counts.

Shapes: B texts, S windows, T tokens, N nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.errors import InputError
from nosology.records import CodedText
from nosology.training import Objective, backbone, tables
from nosology.training.adapters import attach
from nosology.training.tree import Tree, is_category, lineage

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper

WINDOW_TOKENS, OVERLAP_TOKENS, MOST_WINDOWS = 256, 32, 32
LEAST_PROBABILITY = 0.5  # from which on an evaluation counts a node as given


def log_probabilities(logits_BN: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Logarithm of each node's probability (B, N): the sum along its path."""
    import torch

    steps_BN = torch.nn.functional.logsigmoid(logits_BN)
    parents_N = torch.tensor(tree.parents, device=logits_BN.device)
    found_BN = steps_BN.clone()
    for level in tree.levels[1:]:
        found_BN[:, level] = steps_BN[:, level] + found_BN[:, parents_N[level]]
    return found_BN


def _text(row: Mapping[str, Any]) -> str:
    return f"{row['text']}\n{row['context']}" if row["context"] else str(row["text"])


class Classify(Objective):
    """A multi-label head over the tree of the codes in the training rows."""

    name = "classify"
    metrics = ("loss", "f1", "category_f1", "hierarchical_f1", "top1")

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        """Rows of the split; those of train say which codes there are.

        Raises:
            InputError: none of their codes is of the code set.
        """
        from nosology.terminology.codeset import code_set

        rows = tables.read(data, split, CodedText, "text_id")
        if split == "train" and len(rows):
            self._codes = code_set()
            self._tree = Tree.of((code for codes in rows.values("codes") for code in codes), self._codes)
            if not self._tree.nodes:
                raise InputError("no code of the training rows is of the code set", file=data, field="codes")
        return rows

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        import torch

        folder = backbone.directory(config, model)
        self._words = backbone.Words(folder, WINDOW_TOKENS)
        nodes = dict(enumerate(self._tree.nodes))
        module, fresh = backbone.head(folder, config, self._words, num_labels=len(nodes), id2label=nodes, label2id=dict(self._tree.places))
        self._parents_N = torch.tensor(self._tree.parents)
        module.config.update({"problem_type": "multi_label_classification", "parents": list(self._tree.parents)})
        return attach(module, config, whole=fresh)

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """`nodes`, `codes`; `cut`: rows with more tokens than all windows together hold; `without_codes`: rows that have none, from which every
        chapter learns that it is absent; `unknown_codes`: codes of validation that no training row has."""
        if group.rank:
            return {}
        known = {self._tree.nodes[place] for place in self._tree.leaves}
        return {
            "nodes": len(self._tree.nodes), "codes": len(known), "cut": self._words.count_longer(map(_text, rows), self._words.windowed(MOST_WINDOWS, OVERLAP_TOKENS)),
            "without_codes": sum(not codes for codes in rows.values("codes")),
            "unknown_codes": len({code for codes in validation.values("codes") for code in codes} - known),
        }  # fmt: skip

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Windows: input_ids and attention_mask (S, T), owners (S), the text of each; right (B, N): its codes and what stands above them."""
        import torch

        batch, owners = self._words.windows(list(map(_text, rows)), MOST_WINDOWS, OVERLAP_TOKENS)
        right_BN = torch.zeros(len(rows), len(self._tree.nodes), dtype=torch.bool)
        for line, row in enumerate(rows):
            found = {self._tree.places.get(node, -1) for node in self._above(row)}
            right_BN[line, sorted(found - {-1})] = True
        return {**batch, "owners": torch.tensor(owners), "right": right_BN}

    def _above(self, row: Mapping[str, Any]) -> set[str]:
        """The codes of a text, and what stands above them."""
        return {node for code in row["codes"] for node in lineage(code, self._codes)}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return len(batch["right"])

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"text {tables.called(rows, index)}"

    def _logits(self, module: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, N): of each node the largest of the text's windows."""
        import torch

        logits_SN = module(**backbone.inputs(batch)).logits.float()
        owners_SN = batch["owners"][:, None].expand_as(logits_SN)
        empty_BN = torch.full(batch["right"].shape, float("-inf"), device=logits_SN.device)
        return empty_BN.scatter_reduce(0, owners_SN, logits_SN, "amax")

    def _losses(self, logits_BN: torch.Tensor, right_BN: torch.Tensor) -> torch.Tensor:
        """Sum of the cross-entropies of the nodes whose parent is right."""
        import torch

        parents_N = self._parents_N.to(logits_BN.device)
        asked_BN = right_BN[:, parents_N.clamp_min(0)] | (parents_N < 0)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits_BN[asked_BN], right_BN[asked_BN].float(), reduction="sum")

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._losses(self._logits(module, batch), batch["right"])

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`loss` of a text; micro F1 of codes, of categories and of all nodes (`hierarchical_f1`, Kiritchenko et al. 2006) at a probability of
        one half; `top1`: texts whose most probable code is one of theirs. What no training row has is missed."""
        device = next(module.parameters()).device
        leaves = self._tree.leaves
        groups = {"f1": leaves, "category_f1": self._tree.categories, "hierarchical_f1": list(range(len(self._tree.nodes)))}
        hits, given, gold = (dict.fromkeys(groups, 0) for _ in range(3))
        total, first = 0.0, 0
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            batch = {name: tensor.to(device) for name, tensor in self.collate(chosen).items()}
            logits_BN, right_BN = self._logits(module, batch), batch["right"]
            total += float(self._losses(logits_BN, right_BN))
            chances_BN = log_probabilities(logits_BN, self._tree).exp()
            given_BN = chances_BN >= LEAST_PROBABILITY
            for name, places in groups.items():
                hits[name] += int((given_BN & right_BN)[:, places].sum())
                given[name] += int(given_BN[:, places].sum())
                gold[name] += int(right_BN[:, places].sum())
            best_B = chances_BN[:, leaves].argmax(1).tolist()
            first += sum(self._tree.nodes[leaves[best]] in row["codes"] for best, row in zip(best_B, chosen, strict=True))
            for row in chosen:  # what no training row had is missed
                missed = {node for node in self._above(row) if node not in self._tree.places}
                gold["f1"] += len(missed & set(row["codes"]))
                gold["category_f1"] += sum(map(is_category, missed))
                gold["hierarchical_f1"] += len(missed)
        number = max(1, len(rows))
        scores = {name: 2 * hits[name] / max(1, given[name] + gold[name]) for name in groups}
        return {"loss": total / number, **scores, "top1": first / number}
