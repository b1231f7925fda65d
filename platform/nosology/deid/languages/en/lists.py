"""The word lists of this folder that several modules ask."""

from __future__ import annotations

from pathlib import Path

from nosology.deid.patterns import words

_HERE = Path(__file__).parent

STOP = words(_HERE / "ordinary_words.txt")
COMMON = words(_HERE / "common_words.txt")
EVERYDAY = words(_HERE / "everyday_words.txt")
NAMES_AS_WORDS = words(_HERE / "names_as_words.txt")
_EPONYMS = words(_HERE / "eponyms.txt")
# Other eponyms count as such only before a clinical noun (`names.EPONYM_NOUN`).
SURE_EPONYMS = frozenset(map(str.lower, _EPONYMS))
_ABBREVIATIONS = frozenset(entry.lower() for entry in _EPONYMS if entry.isupper())
# Ordinary words and eponyms that are names too, so that where a person is shown they are one.
BORNE = NAMES_AS_WORDS | words(_HERE / "names_as_eponyms.txt")
# Of these, the given ones that are so common that a verb of a person behind them shows one.
FORENAMES = frozenset(
    ["ada", "addison", "allegra", "april", "august", "braxton", "gilbert", "gina", "june", "leopold", "may", "quinton", "tanner", "will"]
)  # fmt: skip
# words that nobody is called, and those of them that clinical text writes small
NAMELESS = (STOP | SURE_EPONYMS | COMMON) - BORNE
PLAIN = STOP | COMMON | EVERYDAY
# eponyms and given names of which a rule says by itself where they are a person
TOLD = BORNE & SURE_EPONYMS | FORENAMES


def is_sure_eponym(written: str) -> bool:
    """Whether a word is one of the list of eponyms as it is written: ADA is, Ada is a given name."""
    return written.lower() in SURE_EPONYMS and not (written.istitle() and written.lower() in _ABBREVIATIONS)
