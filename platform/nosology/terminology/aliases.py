"""Everyday phrases of outpatient notes, from `aliases.tsv`: phrase, code with `#` for the side, default code, its title.

A default for a phrase that leaves something open stays a default: side, 7th character, type and cause come from the note.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Alias:
    """A phrase as it is said, in lower case, and its code.

    Attributes:
        phrase: lower case.
        pattern: code whose `#` is to be replaced by 1 (right), 2 (left) or 3 (bilateral); equal to `code` where there is no side.
        code: billable code when the note gives no side.
    """

    phrase: str
    pattern: str
    code: str


@functools.cache
def aliases() -> tuple[Alias, ...]:
    """All aliases, in the order of the file."""
    text = resources.files(__package__).joinpath("aliases.tsv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Alias(row["phrase"].lower(), row["code"], row["default"]) for row in csv.DictReader(lines, delimiter="\t"))
