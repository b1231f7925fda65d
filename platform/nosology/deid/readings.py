"""How detection reads a text: letters composed with their accents (NFC), and codes apart from the underscores that tie them to a word.

Rules and word lists are written in composed letters, and `MRN_123456` or `12_03_2024` is one word to a pattern. The spans are those of
the text that was given.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable

from nosology.deid.patterns import Scan
from nosology.records import Span

_JOINT = re.compile(r"(?<=\d)_(?=\d)")
_EDGE = re.compile(r"(?<=\d)_|_(?=\d)")


class Composed:
    """A text in Unicode's normalisation form C, and the way back (Unicode Standard Annex 15)."""

    def __init__(self, given: str) -> None:
        self.text = given
        self._start: list[int] | None = None  # of each character of `text`, and the end behind it, in the given text
        self._end: list[int] = []
        if unicodedata.is_normalized("NFC", given):
            return
        parts, self._start = [], []
        at = 0
        while at < len(given):
            end = at + 1
            while end < len(given) and _joins(given[end]):
                end += 1
            part = unicodedata.normalize("NFC", given[at:end])
            parts.append(part)
            self._start += [at] * len(part)
            self._end += [end] * len(part)
            at = end
        self.text = "".join(parts)

    def given(self, spans: Iterable[Span]) -> list[Span]:
        """Spans of the composed text as spans of the given one, with every mark of their letters."""
        if self._start is None:
            return list(spans)
        return [dataclasses.replace(one, start=self._start[one.start], end=self._end[one.end - 1]) for one in spans]


def _joins(letter: str) -> bool:
    """Whether it may become one with what stands before it: a mark, or a vowel or last consonant of a Hangul syllable."""
    return unicodedata.combining(letter) > 0 or "\u1160" <= letter <= "\u11ff"


def ruled(scan: Scan, text: str) -> list[Span]:
    """What pass 1 finds in a text as it stands, and with a blank or a dash for each underscore beside a digit."""
    found = scan.find(text)
    if _EDGE.search(text):
        found += scan.find(_EDGE.sub(" ", _JOINT.sub("-", text)))
    return found
