"""English, as written in the United States."""

from __future__ import annotations

from pathlib import Path

from nosology.deid.languages import Language
from nosology.deid.languages.en.keep import COMMON, EVERYDAY, keeps
from nosology.deid.languages.en.names import STOP, SURE_EPONYMS, is_eponym
from nosology.deid.patterns import words

HERE = Path(__file__).parent

LANGUAGE = Language(
    code="en",
    policy="safe_harbor",
    policies=("safe_harbor",),
    recognizers={
        "dates": "nosology.deid.languages.en.dates:Dates",
        "ages": "nosology.deid.languages.en.ages:Ages",
        "identifiers": "nosology.deid.languages.en.identifiers:Identifiers",
        "references": "nosology.deid.languages.en.references:References",
        "places": "nosology.deid.languages.en.places:Places",
        "names": "nosology.deid.languages.en.names:Names",
        "presidio": "nosology.deid.languages.en.presidio:Presidio",
    },
    tagger=HERE / "tagger",
    keeps=keeps,
    is_eponym=is_eponym,
    ordinary=STOP | COMMON,
    label_words=STOP | COMMON,
    sure_eponyms=SURE_EPONYMS,
    everyday=EVERYDAY | words(HERE / "names_as_words.txt"),
    listed={"NAME": words(HERE / "given_names.txt"), "LOCATION": words(HERE / "cities.txt")},
    keeps_zip=True,
)
