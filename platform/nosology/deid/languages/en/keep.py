"""What a tagger may mark in an English text and the rule does not name."""

from __future__ import annotations

import re

from nosology.deid.calendar_words import HOURS
from nosology.deid.languages.en.dates import ANY_WEEKDAY, HOLIDAY, MONTH, NO_DAY
from nosology.deid.languages.en.lists import COMMON, EVERYDAY, STOP, SURE_EPONYMS, is_sure_eponym
from nosology.deid.languages.en.persons import is_eponym, may_be_name, shows_person
from nosology.deid.languages.en.short_dates import is_ratio
from nosology.deid.quantities import LARGE_QUANTITY, QUANTITY
from nosology.records import Span

CAPITALISED = re.compile(r"(?<=[a-z\d,] )[A-Z][a-z]")  # within a sentence: who writes so knows capitals

BARE_YEAR = re.compile(
    r"(?:in |the |early |late |mid[- ]?|since |circa )*'?(?:1[89]|20)?\d0['’]?s"
    r"|(?:in |of |since |the year )?(?:1[89]|20)\d\d(?:\s?(?:-|–|to|/|and)\s?"
    r"(?:(?:1[89]|20)\d\d|(?!0\d|1[0-2])\d\d))?",
    re.I,
)
DATE_WORD = re.compile(
    r"\d|\b(?:jan(?:uary)?|febr?(?:uary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?"
    r"|dec(?:ember)?|(?:mon|tue(?:s|rs)?|wed(?:nes)?|thu(?:r|rs)?|fri|sat(?:ur)?|sun)(?:day)?s?|ene|abr|ago|dic)\b|christmas|thanksgiving|easter|halloween"
    rf"|new year|(?:memorial|labor|independence|veterans|valentine)|{HOLIDAY}|spring|summer|winter|autumn",
    re.I,
)
NAMED_DAY = re.compile(rf"\b(?:{MONTH}|{ANY_WEEKDAY}|{HOLIDAY})(?!\w)", re.I)
DAYS_OF_A_WEEK = re.compile(rf"{ANY_WEEKDAY}(?:(?:\s?[,/&]\s?|,?\s(?:and|&)\s){ANY_WEEKDAY}){{2,6}}", re.I)  # of a regimen
ORDINAL_OF_A_PART = re.compile(r"(?:the\s)?\d{1,2}(?:st|nd|rd|th)", re.I)
DAY_BEHIND = re.compile(NO_DAY, re.I)
DAY_AND_MONTH = re.compile(r"(\d{1,2})[/.-](\d{1,2})\.?")
DURATION = re.compile(
    r"(?:\w+[ -])?\d+(?:\s?(?:-|to)\s?\d+)?[ -]?(?:years?|yrs?|months?|mos?|weeks?"
    r"|wks?|days?|hours?|hrs?|minutes?|mins?|seconds?|y/?o|am|pm|mg|mcg|ml|kg"
    r"|lbs?|cm|mm|%)(?!\w)(?:[ -](?-i:[a-z]+)\.?){0,4}"
    r"|(?:pod|hd|dol)\s?#?\d+|\d{1,2}/\d{1,2}|\d{1,4}(?:\.\d+)?%?",
    re.I,
)
TIME = re.compile(rf"{HOURS}|\d{{1,2}}:\d\d(?::\d\d)?(?:\s?[-–]\s?\d{{1,2}}:\d\d)?(?:\s?[ap]\.?\s?m\.?)?", re.I)
MANY = re.compile(LARGE_QUANTITY)
# of Latin words in prescriptions, and i.e.
LATIN = re.compile(r"(?:e\.g|i\.e|[btq]\.i\.d|q\.(?:o\.)?d|q\.?h\.s|h\.s|p\.r\.n|p\.[oc]|a\.c|n\.p\.o|s\.[lcq]|i\.[vm]|[ap]\.m)\.?", re.I)
HANDLE = re.compile(r"[\d@]")
ROMAN = re.compile(r"[ivx]{1,4}[ab]?")
ZIP3 = re.compile(r"(?:zip(?: code)?\W{0,3})?\d{3}", re.I)  # what an earlier pass left of a ZIP code
YOUNG = re.compile(r"\D*([0-8]?\d)\b\D*")
CLINICAL_CODE = re.compile(
    r"[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|(?!(?:\D?\d){8})\d{1,3}(?:[./,]\d{1,3})*|[A-Z]{1,4}\d{0,2}"
    rf"|{QUANTITY}|[CTLS]\d{{1,2}}(?:[-/][CTLS]?\d{{1,2}})?",
    re.A,
)
# a number of five digits is a code only behind the name of a code system, or in a list behind one; else it may be a ZIP code or a chart's
FIVE_DIGITS = re.compile(r"\d{5}(?:-\d\d)?")
CODED = re.compile(
    r"\b(?:cpt|hcpcs|drg|ms-drg|icd(?:-?\w{1,3})?|codes?|coded|modifier|hcc)\W{0,3}(?:(?:is|as|for|and|or|code|codes)\W{1,2})?(?:[A-Z]?\d{4,5}[A-Z]?(?:-\d\d)?\W{1,3}(?:and |or )?){0,5}$",
    re.I,
)


def _public_code(text: str, span: Span, value: str) -> bool:
    """A code of diseases, procedures or drugs."""
    if FIVE_DIGITS.fullmatch(value):
        return bool(CODED.search(text, max(0, span.start - 60), span.start))
    return CLINICAL_CODE.fullmatch(value) is not None


def _duration(value: str) -> bool:
    """A length of time, a count or a measure, without the name of a month or a day in it."""
    return bool(DURATION.fullmatch(value)) and not NAMED_DAY.search(value)


def _plain(text: str, span: Span, value: str) -> bool:
    """Every word of it is one that clinical text writes small, and nothing in its writing says name: it is small here too, in capitals as
    an abbreviation or a heading is, or one word that opens a line or a sentence. Or an everyday word, small where others have capitals."""
    found = re.findall(r"[^\W_]+", value)
    if value.islower() and all(w.isdigit() or w in COMMON or w in EVERYDAY or w in STOP for w in found) and CAPITALISED.search(text):
        return True
    if not all(w.isdigit() or w.lower() in COMMON or w.lower() in STOP for w in found):
        return False
    if value.islower() or all(w.isupper() and len(w) <= 6 or w.isdigit() or w.islower() for w in found):
        return True
    before = text[max(0, span.start - 3) : span.start].rstrip(" ")
    return len(found) == 1 and (not before or before[-1] in ".:;\n")


def keeps(text: str, span: Span) -> bool:
    """Whether a tagger's span holds no identifier: bare years, younger ages, durations, eponyms, clinical codes."""
    value = text[span.start : span.end].strip(" .,;:()[]=\"'/")
    if not any(c.isalnum() for c in value):
        return True
    if LATIN.fullmatch(value):
        return True
    at = text.index(value, span.start)
    if span.label == "DATE":
        if value == "24/7" or DAYS_OF_A_WEEK.fullmatch(value):
            return True
        if ORDINAL_OF_A_PART.fullmatch(value) and not DAY_BEHIND.match(text, at + len(value)):
            return True
        if written := DAY_AND_MONTH.fullmatch(value):
            small, large = sorted(map(int, written.groups()))
            # a range of 12 to 31 is rarer than a day, and nothing but dates is written with a zero before it
            told = large > 5 if "/" in value else span.score >= 0.5 and (large > 12 or any(part[0] == "0" for part in written.groups()))
            return not (0 < small <= 12 and large <= 31 and told) or is_ratio(text, span.start, span.end)
        if any(each.fullmatch(value) for each in (BARE_YEAR, TIME, MANY)) or _duration(value):
            return True
    if span.label == "AGE":
        return bool(YOUNG.fullmatch(value))
    numbered = {"DATE": DATE_WORD, "ID": HANDLE, "PHONE": HANDLE}.get(span.label)
    misnamed = (
        numbered is not None and value[0].isupper() and not value.isupper() and not numbered.search(value)
    )  # a name of the wrong class
    if span.label == "NAME" or misnamed:
        parts = [word.strip(".,'’") for word in value.split()]
        cased = not value.islower() or not CAPITALISED.search(text)  # as names are in this text
        if cased and may_be_name(parts) and shows_person(text, at, at + len(value)):
            return False
        return (
            is_eponym(text, at, at + len(value))
            or _plain(text, span, value)
            or all(w.lower() in STOP or is_sure_eponym(w) or len(w) == 1 or ROMAN.fullmatch(w.lower()) for w in parts)
        )
    if span.label in ("LOCATION", "ORGANIZATION"):
        parts = value.lower().split()
        if ZIP3.fullmatch(value) or _plain(text, span, value):
            return True
        return "_".join(parts) in SURE_EPONYMS or all(w.strip(".,'’") in STOP or w in SURE_EPONYMS for w in parts)
    if span.label == "DATE":
        return not DATE_WORD.search(value)
    if span.label in ("ID", "PHONE"):
        return not HANDLE.search(value) or bool(BARE_YEAR.fullmatch(value)) or _public_code(text, span, value) or _duration(value)
    return False
