"""How an invented value is chosen: by HMAC of the patient and the value, with nothing to remember between two texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from nosology.deid.secret import Secret

TRIES = 64


@lru_cache(maxsize=1 << 14)
def fold(word: str) -> str:
    """A word without case and accents: what two spellings of a name have in common."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", plain)  # Hangul, which NFKD takes apart


def compact(value: str) -> str:
    """Letters and digits of a code, in capitals: what two ways to write it have in common."""
    return "".join(c for c in value if c.isalnum()).upper()


class Stream:
    """Numbers that only the key reproduces: HMAC in counter mode.

    Args:
        domain: what they are for.
        key: value that they belong to.
    """

    __slots__ = ("_secret", "_domain", "_key", "_blocks", "_bytes")

    def __init__(self, secret: Secret, domain: str, key: str) -> None:
        self._secret, self._domain, self._key = secret, domain, key
        self._blocks, self._bytes = 0, b""

    def below(self, limit: int) -> int:
        """The next number in range(limit)."""
        if len(self._bytes) < 4:
            self._bytes = self._secret.digest(self._domain, f"{self._key}\x1f{self._blocks}")
            self._blocks += 1
        number, self._bytes = int.from_bytes(self._bytes[:4], "big"), self._bytes[4:]
        return number % limit

    def one(self, choices: str) -> str:
        """One of some characters."""
        return choices[self.below(len(choices))]


@dataclass(frozen=True, slots=True)
class Draw:
    """Choices for one patient in one text.

    Attributes:
        words: folded words of names and places in the text: no invented one may equal any of them.
        values: identifiers of the text as `compact` writes them: no invented one may equal any of them.
        language: of the text, for what its values do not show.
    """

    secret: Secret
    patient: str
    words: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    language: str = "en"

    def stream(self, domain: str, key: str, attempt: int = 0) -> Stream:
        """Numbers for a value of the patient."""
        return Stream(self.secret, f"surrogate {domain} {self.patient} {attempt}", key)

    def candidates(self, domain: str, key: str, make: Callable[[Stream], str]) -> Iterator[str]:
        """Invented values in the order that the key gives; those that are in the text already are left out."""
        for attempt in range(TRIES):
            made = make(self.stream(domain, key, attempt))
            if compact(made) not in self.values and not self.words.intersection(map(fold, made.split())):
                yield made

    def first(self, domain: str, key: str, make: Callable[[Stream], str]) -> str | None:
        """The first of `candidates`."""
        return next(self.candidates(domain, key, make), None)
