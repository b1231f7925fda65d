"""What is counted, and the oracle: the multiset of keys."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from nosology import storage
from nosology.distributed import sink

WHOLE = os.environ.get("NOSOLOGY_FAULTS") == "all"


def unaccepted(out: str) -> list[str]:
    """What lies in the folder of a run beside what it consists of: parts and manifests that nothing accepted, temporary files."""
    seen = sink.snapshot(out)
    accepted = {part.uri for part in seen.parts}
    accepted |= {sink.manifest_uri(out, epoch, seen.job.files[one.file].key, one) for epoch, one in seen.placed}
    accepted |= {storage.join(out, table, "empty.parquet") for table in [*seen.job.schemas, sink.DEAD]}
    made = []
    for uri in storage.list_files(out, hidden=True):
        name = uri.rsplit("/", 1)[-1]
        if sink.PART.fullmatch(name) or "/manifests/" in uri or name.startswith("."):  # what `prepare` makes of its parts is none
            made.append(uri)
    return sorted(set(made) - accepted)


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
