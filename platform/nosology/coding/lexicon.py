"""Exact phrases: aliases, titles and inclusion terms by their normalised words, longest match first.

Words are lower case, without a plural ending and without what a title says only to be complete ("unspecified", "NOS", brackets).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nosology.terminology.aliases import aliases
from nosology.terminology.codeset import CodeSet

Source = Literal["alias", "exact"]
_WORD = re.compile(r"[A-Za-z0-9]+(?:'[a-z]+)?")
_FILLER = frozenset({"the", "a", "an", "of", "in", "his", "her", "their", "and"})
_COMPLETION = re.compile(r"\([^)]*\)|\[[^]]*\]|\b(unspecified|nos|nec|not otherwise specified|not elsewhere classified)\b", re.IGNORECASE)
_SIDES = frozenset({"right", "left", "bilateral", "bilaterally", "both"})
# Words that are titles or terms of some code and far too common in notes to stand for it.
_COMMON = frozenset({
    "other", "injury", "fall", "history", "examination", "pregnancy", "stress", "tear", "burn", "mass", "lesion", "growth", "exposure",
    "infection",
    "sprain", "strain", "fracture", "dislocation", "wound", "cyst", "ulcer", "tumor", "abnormal", "clinical", "alcohol", "tobacco",
    "caffeine", "aspirin",
    "insulin", "exercise", "walking", "running", "single", "multiple", "married", "male", "female", "child", "adult", "pain", "swelling",
    "redness",
    "deformity", "contracture", "stiffness", "instability", "effusion", "inflammation", "screening", "surgery", "bleeding", "hemorrhage",
    "spasm",
    "crying", "worry", "worries", "nervousness", "cold", "shock", "divorce", "separation", "weight", "fluid", "iron", "calcium", "zinc",
    "home", "dead",
    "discharge", "consultation", "counseling", "observation", "isolation", "retirement", "hunger", "thirst", "suspension", "rest", "work",
})  # fmt: skip
LONGEST = 9


@dataclass(frozen=True, slots=True)
class Match:
    """An exact phrase in a text: characters [start, end), its code with `#` for an open side, and the code when no side is known."""

    start: int
    end: int
    pattern: str
    code: str
    source: Source


def words(text: str) -> list[tuple[str, int, int]]:
    """Normalised words with their offsets, fillers left out."""
    return [(_norm(m[0]), m.start(), m.end()) for m in _WORD.finditer(text) if m[0].lower() not in _FILLER]


def _norm(word: str) -> str:
    word = word.lower().removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class Lexicon:
    """All exact phrases of a code set."""

    def __init__(self, codes: CodeSet) -> None:
        self._phrases: dict[str, tuple[str, str, Source]] = {}
        self._heads: set[str] = set()
        rank: dict[str, tuple[int, int, str]] = {}
        for code, title in zip(codes.codes, codes.titles, strict=True):
            for level, text in ((0, title), *((1, term) for term in codes.terms(code))):
                key = _key(text)
                # Injury, perinatal, obstetric and external-cause codes give way to others of the same words, then the shorter title wins.
                order = (level + 2 * (code[0] in "OPSTVWXY"), len(title), code)
                if key and key not in _COMMON and key.count(" ") < LONGEST and (key not in rank or order < rank[key]):
                    rank[key] = order
                    self._phrases[key] = (code, code, "exact")
        for alias in aliases():
            if alias.code in codes:
                self._phrases[_key(alias.phrase)] = (alias.pattern, alias.code, "alias")
        self._heads = {key.split(" ", 1)[0] for key in self._phrases}

    def lookup(self, text: str) -> Match | None:
        """The phrase that a text is, as a whole."""
        key = _key(text)
        bare = " ".join(word for word in key.split(" ") if word not in _SIDES)  # the side is read from the note
        found = self._phrases.get(key) or self._phrases.get(bare)
        return Match(0, len(text), *found) if found else None

    def matches(self, text: str, offset: int = 0) -> list[Match]:
        """Phrases inside a text, longest first from the left, none overlapping; `offset` is added to their places."""
        tokens = words(text)
        found, i = [], 0
        while i < len(tokens):
            step = 1
            if tokens[i][0] in self._heads:
                for size in range(min(LONGEST, len(tokens) - i), 0, -1):
                    hit = self._phrases.get(" ".join(token[0] for token in tokens[i : i + size]))
                    if hit and not re.search(r"[.;\n]", text[tokens[i][2] : tokens[i + size - 1][1]]):
                        found.append(Match(offset + tokens[i][1], offset + tokens[i + size - 1][2], *hit))
                        step = size
                        break
            i += step
        return found


def lexicon_of(codes: CodeSet) -> Lexicon:
    """The lexicon of a code set, made once in a process (2 s)."""
    if codes.digest not in _MADE:
        _MADE[codes.digest] = Lexicon(codes)
    return _MADE[codes.digest]


_MADE: dict[str, Lexicon] = {}


def _key(text: str) -> str:
    return " ".join(token[0] for token in words(_COMPLETION.sub(" ", text)))
