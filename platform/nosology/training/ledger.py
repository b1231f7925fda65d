"""Which samples a training has taken: one line a step, by places in the stream of `order`, so that it can be proved that each came once an
epoch, whatever was killed or resized.

A line: step, first (place), samples, rows (sum of the row numbers that the workers really took, over all of them), workers, attempt. A step
that was taken again after a loss has a second line; the last one is what the model has learnt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.errors import ModelError
from nosology.training import lines, order

FILE = "ledger.jsonl"


class Ledger:
    """Written by the first worker; a step in which other rows were taken than `order` says stops the run."""

    def __init__(self, path: Path, num_rows: int, seed: int, samples: int) -> None:
        self._path, self._num_rows, self._seed, self._samples = path, num_rows, seed, samples
        with storage.named_errors(str(path)):
            self._attempt = 1 + max((line["attempt"] for line in lines.read(path)), default=0)
            self._stream = lines.append_to(path)

    def step(self, step: int, rows: int, workers: int) -> None:
        """Note a step.

        Raises:
            ModelError: the rows are not those that were due.
        """
        first = step * self._samples
        if rows != sum(order.sample_indices(self._num_rows, self._seed, first, self._samples)):
            raise ModelError(f"step {step}: the workers took other samples than were due; the last good checkpoint stays")
        line = {"step": step, "first": first, "samples": self._samples, "rows": rows, "workers": workers, "attempt": self._attempt}
        with storage.named_errors(str(self._path)):
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def account(path: Path, steps: int, num_rows: int) -> dict[str, Any]:
    """What was learnt from, by the last line of every step.

    Returns:
        exact (each place of the stream from 0 on once, without a gap), samples, least and most times that a row was taken, steps
        taken again, attempts, workers (numbers of them that there were).
    """
    told = lines.read(path)
    last = {line["step"]: line for line in told if line["step"] < steps}
    due, exact = 0, set(last) == set(range(steps))
    for step in sorted(last):
        exact = exact and last[step]["first"] == due
        due = last[step]["first"] + last[step]["samples"]
    return {
        "exact": exact, "samples": due, "least": due // num_rows, "most": -(-due // num_rows), "repeated_steps": len(told) - len(last),
        "attempts": len({line["attempt"] for line in told}), "workers": sorted({line["workers"] for line in told}),
    }  # fmt: skip
