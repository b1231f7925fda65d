"""Dates: every element but the year (45 CFR 164.514(b)(2)(i)(C)). A bare year is no identifier."""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

FULL_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
MONTH = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|r?\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?|july?|aug(?:ust|\.)?|sept?(?:ember|\.)?"
    r"|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
SPANISH_MONTH = r"(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre)"
WEEKDAY = r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
CLOCK = r"(?:[T ]\s?(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?(?:Z|[+-]\d\d:?\d\d)?)?"
YEAR = r"(?:1[89]|20)\d\d"
DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
CUE = (
    r"(?:\b(?:on|since|dated?|until|till|by|from|starting|through|thru|to|admitted"
    r"|discharged|seen|visit|dos|doa|dod|dob|last|of|as of|due|around|before"
    r"|after"
    r"|between|and|surgery|scheduled|appointment|expires?|lmp|edd)\b)"
)


def _numeric(match: re.Match[str]) -> bool:
    """Day and month in either order, and a year of two or four digits."""
    first, second, year = (int(x) for x in match.group("a", "b", "y"))
    if not (0 < first <= 31 and 0 < second <= 31 and min(first, second) <= 12):
        return False
    if len(match["y"]) == 4:
        return 1800 <= year <= 2100
    # "1.2.10" is a version or an outline, "3-4-12" a scale: two-digit years need slashes or two-digit parts
    return match["s"] == "/" or (len(match["a"]) == 2 and len(match["b"]) == 2 and match["s"] == "-")


_SCORE_AFTER = re.compile(
    r"\s*(?:strength|motor|murmur|power|pain|scale|tab|dose|mg|systolic|diastolic"
    r"|reflex|bilateral|pulse|in\b|throughout|/)",
    re.I,
)


def _no_score(match: re.Match[str]) -> bool:
    """`3/5 strength`, `2/6 murmur`, `1/2 tab` are no dates."""
    return not _SCORE_AFTER.match(match.string, match.end())


class Dates(Patterns):
    """Calendar dates in the forms that people write, times of day that follow them, holidays, weekdays that name a day."""

    name = "dates"
    rules = (
        rule("DATE", rf"(?<![\d./-]){YEAR}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01]){CLOCK}(?!\d)(?![-/.]\d)", score=1.0),
        rule(
            "DATE",
            r"(?<![\d./-])(?P<a>\d{1,2})(?P<s>[/.-])(?P<b>\d{1,2})(?P=s)(?P<y>\d{4}"
            rf"|\d\d){CLOCK}(?![\d%])(?![/.-]\d)",
            check=_numeric,
            score=1.0,
        ),
        rule("DATE", r"(?<![\d./-])(?:0?[1-9]|1[0-2])[/-](?:19|20)\d\d(?![\d/-])"),
        rule(
            "DATE",
            rf"{CUE}\s*:?\s*\(?(?P<v>(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])(?:\s?-\s?"
            r"(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01]))?)(?![\d/%])(?!\.\d)",
            check=_no_score,
            flags=re.I,
        ),
        rule("DATE", r"(?<![\d./])0[1-9]/(?:0[1-9]|[12]\d|3[01])(?![\d/%])", check=_no_score),
        rule("DATE", r"(?<![\d./])1[0-2]/0[1-9](?![\d/%])", check=_no_score),
        rule(
            "DATE",
            rf"\b{MONTH}\s*{DAY}(?!\d)(?!\s?(?:mg|mcg|ml|%|tab))(?:\s*(?:-|–|to|through"
            rf"|and)\s*(?:{MONTH}\s*)?{DAY}(?![\d/]))?(?:\s*,?\s*{YEAR}\b)?{CLOCK}",
            check=lambda m: not m[0].startswith(("may ", "march ")),
            flags=re.I,
        ),
        rule(
            "DATE",
            rf"(?<![\w.])(?:the\s+)?{DAY}(?:\s+day)?(?:\s+of)?[\s-]+{MONTH}\b(?:\s*,?[\s-]*"
            rf"(?:{YEAR}|'?\d\d)\b)?{CLOCK}",
            check=lambda m: " may" not in m[0],
            flags=re.I,
        ),
        rule("DATE", rf"\b(?:{FULL_MONTHS}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?\s*(?:of\s+|,\s*|-|/)?{YEAR}\b"),
        rule(
            "DATE",
            r"\b(?:[Ii]n|[Ss]ince|[Ll]ast|[Tt]his|[Nn]ext|[Uu]ntil|[Bb]y|[Ee]arly|[Ll]ate"
            r"|[Mm]id|[Oo]f|[Dd]uring|[Tt]hrough|[Ff]rom|[Bb]etween|[Bb]eginning|[Ee]nd of)[\s-]+"
            rf"(?P<v>(?:{FULL_MONTHS}))\b(?!\s+\d)(?!\s+[A-Z][a-z]+\b)",
        ),
        rule("DATE", rf"\b(?:on|last|this|next|by|until|since)\s+(?P<v>{WEEKDAY})\b(?!\s*[,/&]?\s*(?:and\s+)?{WEEKDAY})", flags=re.I),
        rule(
            "DATE",
            rf"\b(?P<v>{WEEKDAY})\s*,?\s*(?:the\s+)?(?=(?:{MONTH}\s*\d|\d{{1,2}}[/.-]\d"
            r"|\d{1,2}(?:st|nd|rd|th)\b))",
            flags=re.I,
        ),
        rule("DATE", rf"\bthe\s+(?P<v>{DAY}\s+of\s+(?:this|last|next)\s+month)\b", flags=re.I),
        rule(
            "DATE",
            r"\b(?:Christmas(?: Eve| Day)?|Thanksgiving(?: Day)?|New Year'?s(?: Eve| Day)"
            r"|Easter(?: Sunday)?|Halloween|Labor Day|Memorial Day|Independence Day"
            r"|(?:the )?(?:4th|Fourth) of July|Valentine'?s Day|Hanukkah|Ramadan|Yom Kippur"
            r"|Diwali|Mother'?s Day|Father'?s Day|Veterans Day|Columbus Day|MLK Day|Cinco de Mayo)\b",
        ),
        rule(
            "DATE",
            r"(?<![\w.-])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d"
            r"|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?![\w.-])",
        ),
        rule("DATE", rf"\b{DAY}\s+de\s+{SPANISH_MONTH}\b(?:\s+del?\s+{YEAR})?|\b{SPANISH_MONTH}\s+del?\s+{YEAR}\b", flags=re.I),
    )
