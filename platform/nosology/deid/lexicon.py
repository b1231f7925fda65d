"""Dictionaries of names and places as a second witness: a listed word needs less of the tagger's certainty.

Alone a dictionary marks too much (`Miller` is a laryngoscope blade, `Jackson` a drain), and the tagger doubts lone names without a word around
that tells what they are. A capitalised word that is on a list and that the tagger gives at least `LEAST` is both, and taken.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from nosology.records import Span

if TYPE_CHECKING:
    from nosology.deid.languages import Language
    from nosology.deid.ner import Tokens

LEAST = 0.01  # on the dev halves of tests/data/deid: 10 identifiers for 3 words that are none; at .005 it is 12 for 8
SCORE = 0.4  # below what spreads a name over its text


def listed(text: str, tokens: Tokens, language: Language) -> list[Span]:
    """Words of the language's lists that the scored tagger does not rule out."""
    found: dict[int, Span] = {}
    for start, end in zip(*(bounds[tokens.inside_N >= LEAST].tolist() for bounds in (tokens.starts_N, tokens.ends_N)), strict=True):
        while start and text[start - 1].isalpha():
            start -= 1
        while end < len(text) and text[end].isalpha():
            end += 1
        word = text[start:end]
        if start not in found and word.istitle() and word.isalpha() and (label := _label(word, language)):
            found[start] = Span(start=start, end=end, label=label, score=SCORE, source="tagger")
    return list(found.values())


def _label(word: str, language: Language) -> str | None:
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c)).lower()
    return next((label for label, words in language.listed.items() if plain in words), None)
