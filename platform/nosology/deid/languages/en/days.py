"""English dates and ages: months, days of the week, feasts of the United States, and the words around them."""

from __future__ import annotations

import datetime

from nosology.deid.calendar_words import Calendar, easter, fixed, nth

_JOINTS = """the of on and or to through thru until till from between at day by since in year early late mid middle beginning end last this
    next past week weekend night morning afternoon evening"""


def _english_ordinal(day: int, like: str) -> str:
    ending = "th" if 11 <= day % 100 <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return ending.upper() if like.isupper() else ending


_UNITS = (
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {
    **{word: number for number, word in enumerate(_UNITS.split())}, **{word: 10 * number for number, word in enumerate(_TENS.split(), 2)},
    "hundred": 100,
}  # fmt: skip


CALENDAR = Calendar(
    months=("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"),
    short_months={
        1: ("jan",), 2: ("feb", "febr"), 3: ("mar",), 4: ("apr",), 6: ("jun",), 7: ("jul",), 8: ("aug",), 9: ("sep", "sept"),
        10: ("oct",), 11: ("nov",), 12: ("dec",),
    },
    weekdays=("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    short_weekdays={
        0: ("mon",), 1: ("tue", "tues"), 2: ("wed",), 3: ("thu", "thur", "thurs"), 4: ("fri",), 5: ("sat",), 6: ("sun",),
    },
    order="mdy",
    joints=frozenset(_JOINTS.split()),
    holidays=(
        (r"christmas eve", fixed(12, 24)),
        (r"christmas(?: day)?", fixed(12, 25)),
        (r"new year['’]?s eve", fixed(12, 31)),
        (r"new year['’]?s(?: day)?", fixed(1, 1)),
        (r"halloween", fixed(10, 31)),
        (r"independence day|(?:the )?(?:4th|fourth) of july", fixed(7, 4)),
        (r"veterans['’]? day", fixed(11, 11)),
        (r"valentine['’]?s(?: day)?", fixed(2, 14)),
        (r"cinco de mayo", fixed(5, 5)),
        (r"st\.? patrick['’]?s day", fixed(3, 17)),
        (r"juneteenth", fixed(6, 19)),
        (r"thanksgiving(?: day)?", nth(11, 3, 4)),
        (r"labor day", nth(9, 0, 1)),
        (r"memorial day", nth(5, 0, -1)),
        (r"(?:mlk|martin luther king(?: jr\.?)?) day", nth(1, 0, 3)),
        (r"presidents['’]? day", nth(2, 0, 3)),
        (r"columbus day", nth(10, 0, 2)),
        (r"mother['’]?s day", nth(5, 6, 2)),
        (r"father['’]?s day", nth(6, 6, 3)),
        (r"good friday", lambda year: easter(year) - datetime.timedelta(days=2)),
        (r"easter monday", lambda year: easter(year) + datetime.timedelta(days=1)),
        (r"easter(?: sunday)?", easter),
    ),
    ordinal=r"(?:st|nd|rd|th)",
    ordinal_of=_english_ordinal,
    before_year=("in", "since", "of", "from", "until", "till", "by", "before", "after", "year", "the", "during", "circa", "early", "late", "mid"),
    between_years=("to", "and", "or", "through", "&"),
    also_words=frozenset(["may", "march"]),
    years=r"years?",
    old=(r"(?:tenth|eleventh|10th|11th) decade", r"ninet(?:y|ie)\w*", r"(?:super)?centenarian", r"nonagenarian", r"centur\w+", r"hundred\w*"),
    numbers=_NUMBERS,
    young=(r"months?", r"weeks?", r"days?", r"hours?", r"infant\w*", r"newborn\w*"),
)  # fmt: skip
