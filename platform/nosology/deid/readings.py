"""How detection reads a text: letters composed with their accents (NFC), blanks, dashes and slashes of every kind as the plain ones, without
characters that nobody sees, and codes apart from the underscores that tie them to a word.

Rules and word lists are written in composed letters, word processors write `555\u20110134` and `219\u200999\u20091234`, and `MRN_123456` or `12_03_2024` is one
word to a pattern. The spans are those of the text that was given.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable

from nosology.deid.patterns import Scan
from nosology.records import Span

# one character each: blanks (Zs but the plain one), hyphens and signs that look like a hyphen, slashes, a fullwidth @
_PLAIN = {
    **dict.fromkeys(map(chr, [0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000]), " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2044\u2215\uff0f", "/"),
    "\uff20": "@",
}
_PLAINLY = str.maketrans(_PLAIN)
_UNSEEN = re.compile(
    r"[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)  # soft hyphens, joiners, marks of direction
_ENTITY = re.compile(r"&(?:nbsp|#160|#xa0);", re.I)
_JOINT = re.compile(r"(?<=\d)_(?=\d)")
_EDGE = re.compile(r"(?<=\d)_|_(?=\d)")


class Composed:
    """A text as it is read (Unicode Standard Annex 15, normalisation form C, and what stands above), and the way back."""

    def __init__(self, given: str) -> None:
        self.text = given
        self._start: list[int] | None = None  # of each character of `text`, and the end behind it, in the given text
        self._end: list[int] = []
        if "&" in given:
            self.text = _ENTITY.sub(lambda match: " " * len(match[0]), given)
        if given.isascii():
            return
        self.text = self.text.translate(_PLAINLY)
        if unicodedata.is_normalized("NFC", self.text) and not _UNSEEN.search(self.text):
            return
        text, parts, self._start = self.text, [], []
        at = 0
        while at < len(text):
            end = at + 1
            while end < len(text) and _joins(text[end]):
                end += 1
            part = unicodedata.normalize("NFC", _UNSEEN.sub("", text[at:end]))
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
    """Whether it may become one with what stands before it: a mark, or a vowel or last consonant of a Hangul syllable; or is not seen."""
    return unicodedata.combining(letter) > 0 or "\u1160" <= letter <= "\u11ff" or _UNSEEN.match(letter) is not None


def ruled(scan: Scan, text: str) -> list[Span]:
    """What pass 1 finds in a text as it stands, and with a blank or a dash for each underscore beside a digit."""
    found = scan.find(text)
    if _EDGE.search(text):
        found += scan.find(_EDGE.sub(" ", _JOINT.sub("-", text)))
    return found
