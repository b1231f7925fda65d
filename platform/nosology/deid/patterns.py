"""Regular expressions as recognizers: what is common to those of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nosology.records import Span

Check = Callable[[re.Match[str]], bool]


def words(file: str) -> frozenset[str]:
    """The words of a list in `recognizers/`; lines that start with # are comments."""
    lines = (Path(__file__).parent / "recognizers" / file).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and the class of what it finds.

    Attributes:
        label: Safe Harbor class.
        pattern: the identifier is its group `v` where it has one, else the whole match.
        check: False refuses a match (checksum, impossible date, near miss).
        score: 1.0 where a checksum or an unmistakable form stands behind it.
    """

    label: str
    pattern: re.Pattern[str]
    check: Check | None = None
    score: float = 0.9
    grouped: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grouped", "v" in self.pattern.groupindex)


def rule(label: str, pattern: str, *, check: Check | None = None, score: float = 0.9, flags: int = 0) -> Rule:
    """A rule from the text of its pattern."""
    return Rule(label, re.compile(pattern, flags), check, score)


class Patterns:
    """A recognizer made of rules."""

    name = "patterns"
    rules: tuple[Rule, ...] = ()

    def find(self, text: str) -> Iterator[Span]:
        """Every match of every rule that its check lets pass."""
        for one in self.rules:
            for match in one.pattern.finditer(text):
                if one.check is None or one.check(match):
                    start, end = match.span("v") if one.grouped else match.span()
                    if start < end:
                        yield Span(start=start, end=end, label=one.label, score=one.score, source=self.name)
