"""What is counted, and the oracle: the multiset of keys."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

WHOLE = os.environ.get("NOSOLOGY_FAULTS") == "all"


@dataclass
class Counts:
    """What the last line says.

    Attributes:
        points: (backend, stage, crash point) at which a process was killed. faults: others that were injected.
        lost, duplicated: keys that an output had too few or too many of.
    """

    points: set[tuple[str, str, str]] = field(default_factory=set)
    faults: int = 0
    lost: int = 0
    duplicated: int = 0

    def compare(self, wanted: Counter[tuple[object, ...]], found: Counter[tuple[object, ...]]) -> None:
        """The oracle: the multiset of keys."""
        lost, more = wanted - found, found - wanted
        self.lost += lost.total()
        self.duplicated += more.total()
        assert not lost, f"{lost.total()} keys are lost, the first {next(iter(lost))}"
        assert not more, f"{more.total()} keys are too many, the first {next(iter(more))}"


COUNTS = Counts()
