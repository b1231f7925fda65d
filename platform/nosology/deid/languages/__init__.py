"""Languages of the notes, one folder each: recognizers, word lists, what a tagger may not take, and the tagger itself.

A third language is one folder with what `Language` lists, and its tables in `tests/data/deid/tables/`. What serves better with words of the language too,
and serves without them (addresses and titles of known values, invented names), is named in CONTRIBUTING.md. What is the same in every language (e-mail, numbers with a checksum …) lies in `nosology.deid.recognizers`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nosology.deid import Recognizer
from nosology.errors import ConfigError
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.deid.calendar_words import Calendar

LANGUAGES = tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg))
# of every language; last, because of findings that are as sure the first gives the class
SHARED: dict[str, str] = {
    "contacts": "nosology.deid.recognizers.contacts:Contacts",
    "coordinates": "nosology.deid.recognizers.coordinates:Coordinates",
    "bare_codes": "nosology.deid.recognizers.bare_codes:BareCodes",
    "phones": "nosology.deid.recognizers.phones:Phones",
    "segments": "nosology.deid.recognizers.segments:Segments",
}


@dataclass(frozen=True, slots=True)
class Language:
    """What detection needs to know of a language.

    Attributes:
        code: ISO 639-1.
        policy: the one of `nosology.deid.policies` that holds where the configuration names none.
        policies: those that its recognizers can keep; any other is refused.
        calendar: how dates and ages are written.
        recognizers: name -> "module:Class" of pass 1, beside `SHARED`.
        tagger: folder of the shipped tagger of pass 2.
        keeps: whether a span that a tagger marked holds nothing that the rule names (a bare year, an eponym, a clinical code); codes that are
            the same in every record are known beside it (`nosology.deid.public_codes`).
        is_eponym: whether text[start:end] is the eponym of a disease, sign, device or score rather than a person.
        shows_person: whether what stands around text[start:end], which can be a name, shows that a person is meant.
        ordinary: words, in small letters, that are never taken for a part of a name found elsewhere.
        kinds: words, in small letters, of which the names of kinds of documents are made.
        label_words: words, in small letters, that a short title (document type, payer) may hold and that nobody is called.
        sure_eponyms: such words and phrases (blanks written `_`) that are hardly ever a patient's name.
        borne: ordinary words and eponyms, in small letters, that are names too: one where `shows_person` says so.
        forenames: those of them that are given names, so that one with a capital before a name belongs to it.
        everyday: words, abbreviations and symbols that are names too at most, so that a name among them needs capitals and a name beside it.
        listed: class -> words, in small letters without accents, that are hardly anything else when they are capitalised; see `deid.lexicon`.
        code_labels: short forms that stand before codes of persons, which stay when a tagger takes one into the code.
        keeps_zip: whether its postal codes are ZIP codes of the United States, of which three digits may stay (`nosology.deid.zips`).
    """

    code: str
    policy: str
    policies: tuple[str, ...]
    calendar: Calendar
    recognizers: Mapping[str, str]
    tagger: Path
    keeps: Callable[[str, Span], bool]
    is_eponym: Callable[[str, int, int], bool]
    shows_person: Callable[[str, int, int], bool]
    ordinary: frozenset[str]
    kinds: frozenset[str]
    label_words: frozenset[str]
    sure_eponyms: frozenset[str]
    borne: frozenset[str]
    forenames: frozenset[str]
    everyday: frozenset[str]
    listed: Mapping[str, frozenset[str]]
    code_labels: tuple[str, ...]
    keeps_zip: bool

    def recognizer(self, name: str) -> Recognizer:
        """A new recognizer of that name."""
        module, _, attribute = {**self.recognizers, **SHARED}[name].partition(":")
        return cast("Recognizer", getattr(importlib.import_module(module), attribute)())

    @property
    def names(self) -> tuple[str, ...]:
        """Of every recognizer of pass 1, in the order in which they run."""
        return tuple({**self.recognizers, **SHARED})


@functools.cache
def language(code: str) -> Language:
    """The language of that code.

    Raises:
        ConfigError: there is no folder for it.
    """
    if code not in LANGUAGES:
        raise ConfigError(f"deid.language: no recognizers for {code[:8]!r}; there are {', '.join(LANGUAGES)}")
    return cast("Language", importlib.import_module(f"{__name__}.{code}").LANGUAGE)


def languages() -> tuple[Language, ...]:
    """All there are."""
    return tuple(map(language, LANGUAGES))
