"""Who is in train, validation or test: a pure function of a key and the seed, the same on every worker and in every run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nosology.config import PrepareConfig
from nosology.errors import ConfigError

SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Splitter:
    """Assigns splits by keyed hash.

    Attributes:
        validation_share: share of patients, and of categories, in validation.
        test_share: share in test.
        seed: another seed is another partition of the patients.
        held_out: three-character categories that are test whatever their hash says (phrases that somebody measures with).

    Raises:
        ConfigError: the shares leave nothing to train on.
    """

    validation_share: float
    test_share: float
    seed: int = 0
    held_out: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.validation_share + self.test_share >= 1:
            raise ConfigError("prepare.validation_share + prepare.test_share: must be below 1, or nothing is left to train on")

    @classmethod
    def of(cls, config: PrepareConfig, seed: int = 0, held_out: frozenset[str] = frozenset()) -> Splitter:
        """The splitter of a configuration."""
        return cls(config.validation_share, config.test_share, seed, held_out)

    def of_patient(self, patient: str) -> str:
        """The split of everything that belongs to a patient (or, where none is known, to that encounter or document)."""
        digest = hashlib.blake2b(patient.encode(), key=f"nosology-split-{self.seed}".encode(), digest_size=8).digest()
        return self._place(int.from_bytes(digest, "big") / 2**64)

    def of_code(self, code: str) -> str:
        """The split of the code's three-character category.

        The hash is that of `terminology.part_of` and takes no seed: every model that learns from the code set, the retriever
        included, must hold out the same categories.
        """
        category = code[:3].upper()
        if category in self.held_out:
            return "test"
        return self._place(int.from_bytes(hashlib.sha256(category.encode()).digest()[:4], "big") % 100 / 100)

    def _place(self, share: float) -> str:
        if share < self.test_share:
            return "test"
        return "validation" if round(share - self.test_share, 9) < self.validation_share else "train"
