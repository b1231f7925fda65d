"""Dictionaries of names and places as a second witness: a listed word needs less of the tagger's certainty.

Alone a dictionary marks too much (`Miller` is a laryngoscope blade, `Jackson` a drain), and the tagger doubts lone names without a word around
that tells what they are. So a list multiplies the odds that the tagger gives a capitalised word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nosology.deid.spelling import fold
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.deid.languages import Language
    from nosology.deid.ner import Tokens

# What a list adds to the odds that the tagger gives. On the dev halves of tests/data/deid, at the threshold of .2, it brings 10 identifiers and
# 3 words that are none; twice as much brings 12 and 8.
RATIO = 25
LONGEST = 40  # characters of a word that a list may hold
SCORE = 0.4  # below what spreads a name over its text


def listed(text: str, tokens: Tokens, language: Language, thresholds: Mapping[str, float]) -> list[Span]:
    """Words of the language's lists that the scored tagger does not rule out.

    Args:
        thresholds: of the classes; the least probability after a list has raised the odds.
    """
    least = {label: thresholds[label] / (RATIO - (RATIO - 1) * thresholds[label]) for label in language.listed if label in thresholds}
    found: dict[int, Span] = {}
    chosen = np.flatnonzero(tokens.inside_N >= min(least.values(), default=2.0))
    walked = (0, 0)  # the word before, so that one of many tokens is walked through once
    for start, end, inside in zip(*(each[chosen].tolist() for each in (tokens.starts_N, tokens.ends_N, tokens.inside_N)), strict=True):
        if walked[0] <= start and end <= walked[1]:
            start, end = walked
        while start and text[start - 1].isalpha():
            start -= 1
        while end < len(text) and text[end].isalpha():
            end += 1
        walked = (start, end)
        if end - start > LONGEST:
            continue
        word = text[start:end]
        if (
            start not in found
            and word.istitle()
            and word.isalpha()
            and (label := _label(word, language))
            and inside >= least.get(label, 2.0)
        ):
            found[start] = Span(start=start, end=end, label=label, score=SCORE, source="tagger")
    return list(found.values())


def _label(word: str, language: Language) -> str | None:
    plain = fold(word)
    return next((label for label, words in language.listed.items() if plain in words), None)
