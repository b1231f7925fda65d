"""A text as it is compared: small letters, no diacritics, no characters that only shape it. Offsets lead back to the text as it is."""

from __future__ import annotations

import functools
import re
import unicodedata
from array import array
from collections.abc import Sequence

_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n"}
_MARKS = {"’": "'", "‘": "'", "ʼ": "'", "´": "'", "‐": "-", "‑": "-", "–": "-", "—": "-", "\u00a0": " "}  # noqa: RUF001
_APART = {code: None for code in range(128) if not chr(code).isalnum()}
START = 5
_MOST_STARTS = 1 << 17


class _Folding(dict[int, str]):
    """What stands for each character, by its code point."""

    def __missing__(self, code: int) -> str:
        self[code] = found = self._of(chr(code))
        return found

    @staticmethod
    def _of(character: str) -> str:
        if character in _MARKS:
            return _MARKS[character]
        kind = unicodedata.category(character)
        if kind in ("Mn", "Cf"):  # an accent of its own, a soft hyphen, a joiner
            return ""
        if kind[0] == "L":
            plain = "".join(_LETTERS.get(c, c) for c in unicodedata.normalize("NFKD", character.casefold()))
            kept = "".join(c for c in plain if not unicodedata.combining(c))
            return unicodedata.normalize("NFC", kept) or character  # Hangul, which NFKD takes apart
        if kind == "Nd":
            return str(unicodedata.digit(character))
        return character


_FOLDED = _Folding()


def fold(value: str) -> str:
    """The folded form of a value."""
    return value.lower() if value.isascii() else value.translate(_FOLDED)


class Folded:
    """A text, folded when it is first asked for.

    Args:
        text: the text.

    Attributes:
        text: as it came. plain: folded. condensed: the letters and digits of `plain` alone.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @functools.cached_property
    def plain(self) -> str:
        return self.text.lower() if self.text.isascii() else self.text.translate(_FOLDED)

    @functools.cached_property
    def condensed(self) -> str:
        return self.plain.translate(_APART) if self.plain.isascii() else "".join(c for c in self.plain if c.isalnum())

    @functools.cached_property
    def _places(self) -> array[int] | None:
        """Places in the text of the characters of `plain` and of its end; None where they are the same."""
        if self.text.isascii() or all(len(_FOLDED[ord(c)]) == 1 for c in set(self.text)):
            return None
        places = array("I", (at for at, c in enumerate(self.text) for _ in _FOLDED[ord(c)]))
        places.append(len(self.text))
        return places

    @functools.cached_property
    def _kept(self) -> array[int]:
        """Places in `plain` of the characters of `condensed`."""
        return array("I", (at for at, c in enumerate(self.plain) if c.isalnum()))

    @functools.cached_property
    def starts(self) -> set[str] | None:
        """Every `START` characters that follow one another in `condensed`; None of a text for which these would be too many to hold."""
        if len(self.condensed) > _MOST_STARTS:
            return None
        return {self.condensed[at : at + START] for at in range(len(self.condensed))}

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `plain[start:end]` stands in the text, with the accents behind it."""
        if self._places is None:
            return start, end
        first = self._places[start]
        last = self._places[end - 1]
        return first, next((place for place in self._places[end : end + 1] if place > last), last + 1)

    def within(self, start: int, end: int) -> Sequence[int]:
        """Places in `plain` of the characters of `condensed[start:end]`."""
        return self._kept[start:end]

    def whole(self, start: int, end: int) -> bool:
        """Whether no letter or digit touches `plain[start:end]` on either side."""
        return not (start and self.plain[start - 1].isalnum()) and not (end < len(self.plain) and self.plain[end].isalnum())


_ABBREVIATED = 4  # letters at most of a word whose point ends no sentence: J. Smith, St. Mary, Prof. Wu, Sept. 5
_HEADING = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)?:")


def ends_sentence(text: str, at: int, next_at: int) -> bool:
    """Whether the point and the blank between two spans end a sentence: the word before is longer than an abbreviation, or small, or a
    heading follows."""
    if text[at:next_at] == " " and text[at - 1 : at] == ".":
        at -= 1
    if text[at:next_at] != ". ":
        return False
    start = at
    while start and text[start - 1].isalpha():
        start -= 1
    return at - start > _ABBREVIATED or text[start:at].islower() or _HEADING.match(text, next_at) is not None
