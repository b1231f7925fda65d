"""English, as written in the United States."""

from __future__ import annotations

from pathlib import Path

from nosology.deid.languages import Language
from nosology.deid.languages.en.keep import COMMON, keeps
from nosology.deid.languages.en.names import STOP, SURE_EPONYMS, is_eponym
from nosology.deid.patterns import words

LANGUAGE = Language(
    code="en",
    policy="safe_harbor",
    recognizers={
        "dates": "nosology.deid.languages.en.dates:Dates",
        "ages": "nosology.deid.languages.en.ages:Ages",
        "identifiers": "nosology.deid.languages.en.identifiers:Identifiers",
        "references": "nosology.deid.languages.en.references:References",
        "places": "nosology.deid.languages.en.places:Places",
        "names": "nosology.deid.languages.en.names:Names",
        "presidio": "nosology.deid.languages.en.presidio:Presidio",
    },
    tagger=Path(__file__).parent / "tagger",
    keeps=keeps,
    is_eponym=is_eponym,
    ordinary=STOP | COMMON,
    sure_eponyms=SURE_EPONYMS,
    names_as_words=words(Path(__file__).parent / "names_as_words.txt"),
)
