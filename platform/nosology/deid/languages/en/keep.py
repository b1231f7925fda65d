"""What a tagger may mark in an English text and the rule does not name."""

from __future__ import annotations

import re

from nosology.deid.languages.en.names import STOP, SURE_EPONYMS, is_eponym
from nosology.records import Span

BARE_YEAR = re.compile(
    r"(?:in |the |early |late |mid[- ]?|since |circa )*'?(?:1[89]|20)?\d0['’]?s"
    r"|(?:in |of |since |the year )?(?:1[89]|20)\d\d(?:\s?(?:-|–|to|/|and)\s?"
    r"(?:(?:1[89]|20)\d\d|\d\d))?",
    re.I,
)
DATE_WORD = re.compile(
    r"\d|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tues?|wed|thu"
    r"|fri|sat|sun|ene|abr|ago|dic)|christmas|thanksgiving|easter|halloween"
    r"|new year|(?:memorial|labor|independence|veterans|valentine)",
    re.I,
)
DURATION = re.compile(
    r"(?:\w+[ -])?\d+(?:\s?(?:-|to)\s?\d+)?[ -]?(?:years?|yrs?|months?|mos?|weeks?"
    r"|wks?|days?|hours?|hrs?|minutes?|mins?|seconds?|y/?o|am|pm|mg|mcg|ml|kg"
    r"|lbs?|cm|mm|%)\b.*"
    r"|(?:pod|hd|dol)\s?#?\d+|\d{1,2}|\d{1,2}/\d{1,2}|\d+(?:\.\d+)?%?",
    re.I,
)
ZIP3 = re.compile(r"(?:zip(?: code)?\W{0,3})?\d{3}", re.I)  # what an earlier pass left of a ZIP code
YOUNG = re.compile(r"\D*([0-8]?\d)\b\D*")
CLINICAL_CODE = re.compile(
    r"[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|\d{5}|\d{1,3}(?:[./,]\d{1,3})*|[A-Z]{1,4}\d{0,2}"
    r"|\d+\s?[a-zµ%]+|[CTLS]\d{1,2}(?:[-/][CTLS]?\d{1,2})?",
    re.A,
)


def keeps(text: str, span: Span) -> bool:
    """Whether a tagger's span holds no identifier: bare years, younger ages, durations, eponyms, clinical codes."""
    value = text[span.start : span.end].strip(" .,;:()[]=\"'")
    if not any(c.isalnum() for c in value):
        return True
    if span.label == "DATE":
        return bool(BARE_YEAR.fullmatch(value) or DURATION.fullmatch(value)) or not DATE_WORD.search(value)
    if span.label == "AGE":
        return bool(YOUNG.fullmatch(value))
    if span.label == "NAME":
        words = value.lower().split()
        return is_eponym(text, span.start, span.end) or all(w.strip(".,'’") in STOP or len(w.strip(".,")) == 1 for w in words)
    if span.label in ("LOCATION", "ORGANIZATION"):
        words = value.lower().split()
        if ZIP3.fullmatch(value):
            return True
        return "_".join(words) in SURE_EPONYMS or all(w.strip(".,'’") in STOP or w in SURE_EPONYMS for w in words)
    if span.label in ("ID", "PHONE"):
        return not any(c.isdigit() for c in value) or bool(
            CLINICAL_CODE.fullmatch(value) or BARE_YEAR.fullmatch(value) or DURATION.fullmatch(value)
        )
    return False
