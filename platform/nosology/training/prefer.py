"""Objective `prefer`: a causal language model learns to prefer right answers to near wrong ones (`Preference` Parquet), by direct preference
optimization (Rafailov et al. 2023, eq. 7).

The log-probabilities of the reference, the model before it has learnt anything, are computed once, before the first step, shared out over
the workers, and kept in the run folder: no second model is in memory, none is asked in a step, and a run that goes on has the same ones.

Shapes: P pairs, B = 2P sequences (right answers, then wrong ones), T tokens.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.records import Preference
from nosology.training import generate, order, tables

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.step import Stepper

_NAMES = ("prompt_ids", "chosen_ids", "rejected_ids")


class Compared(Sequence[Mapping[str, Any]]):
    """Rows with what the reference says of each, once that is known: log-probabilities of the right and of the wrong answer."""

    def __init__(self, rows: tables.Rows) -> None:
        self.rows, self.reference_R2 = rows, None

    reference_R2: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        said = self.reference_R2[index] if self.reference_R2 is not None else (0.0, 0.0)
        return {**self.rows[index], "reference": said}


def _held(path: Path, mark: str) -> list[list[float]]:
    """What a file has of these rows; nothing where it is of others, damaged or not there."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            found: list[list[float]] = held["values"].tolist() if str(held["mark"]) == mark else []
            return found
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return []


class Prefer(generate.Generate):
    """A sigmoid loss on how much more than the reference the model prefers the right answer."""

    name = "prefer"
    metrics = ("loss", "accuracy", "margin")

    def build(self, config: TrainConfig, model: ModelConfig) -> torch.nn.Module:
        self._beta = config.beta
        return super().build(config, model)

    def rows(self, data: str, split: str) -> Sequence[Mapping[str, Any]]:
        return Compared(tables.read(data, split, Preference, "example_id"))

    def begin(self, group: Stepper, rows: Any, validation: Any, config: TrainConfig, out: Path) -> dict[str, Any]:
        """The reference's log-probabilities, computed or read; raises InputError where a row is longer than the model reads."""
        import numpy as np

        for held in (rows, validation):
            prompts, chosen, rejected = (held.rows.lengths(name) for name in _NAMES)
            generate.check_length(group.bare, int((prompts + np.maximum(chosen, rejected)).max(initial=0)))
        for split, held in (("train", rows), ("validation", validation)):
            held.reference_R2 = self._reference(group, held, out / f"reference-{split}.npz", config.batch_size)
        return {}

    def _reference(self, group: Stepper, rows: Compared, path: Path, batch_size: int) -> NDArray[Any]:
        """Log-probabilities (R, 2) of all rows; collective."""
        import numpy as np
        import torch

        mark = hashlib.sha256("\n".join([str(getattr(group.bare, "name_or_path", "")), *rows.rows.ids()]).encode()).hexdigest()
        # the first worker reads it, because a shared disk may show another state to the others
        known = json.loads(group.share(json.dumps(_held(path, mark) if group.rank == 0 else [])))
        if len(known) == len(rows):
            return np.array(known, np.float64).reshape(-1, 2)
        # dealt like the micro-batches of a step: all workers do as many forward passes, as collectives need it
        starts = range(0, len(rows), batch_size)
        found: dict[int, list[float]] = {}
        group.module.eval()
        with torch.no_grad(), group.autocast:
            for number in order.micro_batches(len(starts), group.rank, group.world_size):
                chosen = range(starts[number or 0], min(starts[number or 0] + batch_size, len(rows)))
                batch = {name: tensor.to(group.device) for name, tensor in self.collate([rows[i] for i in chosen]).items()}
                said_2P = self._log_probabilities(group.module, batch).view(2, -1)
                if number is not None:
                    found |= dict(zip(chosen, said_2P.T.tolist(), strict=True))
        group.module.train()
        gathered = {int(row): said for text in group.gather(json.dumps(found)) for row, said in json.loads(text).items()}
        reference_R2 = np.array([gathered[row] for row in range(len(rows))], np.float64).reshape(-1, 2)
        if group.rank == 0:
            buffer = io.BytesIO()
            np.savez(buffer, values=reference_R2, mark=np.array(mark))
            storage.write_bytes(str(path), buffer.getvalue())
        return reference_R2

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Questions with the right answers, then the same with the wrong ones, as blocks of one example each; reference (2, P)."""
        import numpy as np
        import torch

        lines = [(row["prompt_ids"], row[answer]) for answer in _NAMES[1:] for row in rows]
        shape = (len(lines), max(len(prompt) + len(answer) for prompt, answer in lines))
        made = {name: np.zeros(shape, np.int64) for name in generate.COLUMNS}
        made["labels"][:] = -100
        for line, (prompt, answer) in enumerate(lines):
            start, end = len(prompt), len(prompt) + len(answer)
            made["input_ids"][line, :start], made["input_ids"][line, start:end] = prompt, answer
            made["labels"][line, start:end] = answer
            made["position_ids"][line, :end] = np.arange(end)
            made["segment_ids"][line, :end] = 1
        reference_2P = torch.tensor(np.array([row["reference"] for row in rows]).T, dtype=torch.float32)
        return {**{name: torch.from_numpy(array) for name, array in made.items()}, "reference": reference_2P}

    def targets(self, batch: dict[str, torch.Tensor]) -> int:
        return batch["reference"].shape[1]

    def key(self, rows: Sequence[Mapping[str, Any]], index: int) -> str:
        return f"example {tables.called(rows.rows if isinstance(rows, Compared) else rows, index)}"

    def _log_probabilities(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Log-probability of each sequence's answer (B)."""
        import torch

        logits, targets, lines = generate.answers(module, batch)
        each = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return each.new_zeros(len(batch["input_ids"])).index_add(0, lines, each)

    def _margins(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """How much more than the reference the model prefers each right answer (P), times beta."""
        gained_2P = self._log_probabilities(module, batch).view(2, -1) - batch["reference"]
        return self._beta * (gained_2P[0] - gained_2P[1])

    def loss(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        return -torch.nn.functional.logsigmoid(self._margins(module, batch)).sum()

    def evaluate(self, module: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, float]:
        """`loss`; `accuracy`: pairs in which the model prefers the right answer more than the reference does; `margin`, their mean."""
        import torch

        device = next(module.parameters()).device
        margins = []
        for start in range(0, len(rows), batch_size):
            batch = {name: tensor.to(device) for name, tensor in self.collate(rows[start : start + batch_size]).items()}
            margins.append(self._margins(module, batch))
        margins_R = torch.cat(margins) if margins else torch.zeros(0)
        number = max(1, len(margins_R))
        return {
            "loss": float(-torch.nn.functional.logsigmoid(margins_R).sum()) / number, "accuracy": int((margins_R > 0).sum()) / number,
            "margin": float(margins_R.sum()) / number,
        }  # fmt: skip
