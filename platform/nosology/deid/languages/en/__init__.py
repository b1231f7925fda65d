"""English, as written in the United States."""

from __future__ import annotations

from pathlib import Path

from nosology.deid.languages import Language
from nosology.deid.languages.en.days import CALENDAR
from nosology.deid.languages.en.keep import keeps
from nosology.deid.languages.en.lists import BORNE, COMMON, EVERYDAY, FORENAMES, NAMES_AS_WORDS, STOP, SURE_EPONYMS
from nosology.deid.languages.en.persons import is_eponym, shows_person
from nosology.deid.patterns import words

HERE = Path(__file__).parent

KINDS = """note notes report summary letter form record plan discharge admission progress consult consultation history and physical of
    operative procedure radiology pathology laboratory imaging nursing emergency department office visit encounter transfer referral
    triage discharge telephone telehealth evaluation assessment follow up followup surgical anesthesia clinical care medical inpatient
    outpatient ambulatory hospital document documentation text nte adt mdm oru dft ccd cda ecg ekg mri ct xray ultrasound
    claim attachment echocardiogram dental psychiatry psychology social work therapy therapist physician nurse"""

LANGUAGE = Language(
    code="en",
    policy="safe_harbor",
    policies=("safe_harbor",),
    calendar=CALENDAR,
    recognizers={
        "dates": "nosology.deid.languages.en.dates:Dates",
        "short_dates": "nosology.deid.languages.en.short_dates:ShortDates",
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
    shows_person=shows_person,
    ordinary=STOP | COMMON,
    kinds=frozenset(KINDS.split()),
    label_words=STOP | COMMON,
    sure_eponyms=SURE_EPONYMS,
    borne=BORNE,
    forenames=FORENAMES,
    everyday=EVERYDAY | NAMES_AS_WORDS,
    listed={"NAME": words(HERE / "given_names.txt"), "LOCATION": words(HERE / "cities.txt")},
    code_labels=("MBI", "VIN", "MRN", "NPI", "DEA", "SSN", "HICN", "IMEI", "UDI", "ID", "w/", "W/"),
    keeps_zip=True,
)
