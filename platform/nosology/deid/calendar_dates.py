"""Dates as people write them: their parts, their years, and the years of days that are written without one.

A written date is read as a row of parts (a day, a month, a year, a holiday, a day of the week, a time of day) and joints between them.
A day without a year counts in the year that stands beside it, else in the one that its text tells (`Anchor`): 12/30 in a note of 3 January
is a day of the year before.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nosology.deid.calendar_words import HOURS, Calendar, OfYear, Order, fixed
from nosology.deid.languages import LANGUAGES
from nosology.deid.languages import language as spoken_language

_CLOCK = (
    rf"{HOURS}|0\d[0-5]\d(?:\s?h(?:rs?|ours?|oras)?\b\.?)?(?!\d)|(?:1\d|2[0-3])[0-5]\d\s?h(?:rs?|ours?|oras)?\b\.?"
    r"|[T@]?\s?\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[ap]\.?\s?m\b\.?|\s?h(?:rs?|oras)?\b\.?)?"
    r"|\d{1,2}\s?(?:[ap]\.?\s?m\b\.?|h(?:rs?|oras)\b\.?)|T\d{4,6}(?:\.\d+)?"
)
_ZONE = r"(?:\s?(?:Z|[+-]\d\d:?\d\d|(?:GMT|UTC)(?:[+-]\d{1,2})?|[ECMP][SD]T|CES?T|WES?T|BST)\b)?"
_YEAR = r"[12]\d{3}"
_FOUR_DIGITS = re.compile(rf"(?<!\d)(?:{_YEAR})(?!\d)|(?:1[89]|20)\d\d(?=\d{{4}}(?:\d{{4,6}})?$)")
_HOURS = re.compile(HOURS)
# days after a note's date at which a day that it names may lie; half a year to each side of another day of the text
_AHEAD_OF_NOTE, _AROUND = 60, 182
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a written date: its kind and where it stands."""

    kind: str
    match: re.Match[str]

    def get(self, name: str) -> str | None:
        """A group, None where the pattern has none of this name."""
        return self.match.groupdict().get(name)


@functools.cache
def _patterns(language: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    words = spoken_language(language).calendar
    month = rf"(?P<m>{words.month_pattern()})(?![^\W\d])(?P<dot>\.?)"
    link = r"(?:of|de|del)"
    day = rf"\d{{1,2}}(?:{words.ordinal})?"
    between = r"(?:\s*(?:-|–|&|to|through|thru|and|al?|y|e)\s*(?:the\s+)?)"
    days = rf"(?P<days>{day}(?:(?:,\s*{day}(?!\d)){{0,6}},?{between}{day})?)"
    year = rf"(?P<y>{_YEAR}|['’]\d\d)"
    forms = (
        ("clock", rf"(?:{_CLOCK}){_ZONE}"),
        ("stamp", rf"(?P<y>{_YEAR})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?P<rest>(?:\d{{4}}|\d{{6}}(?:\.\d+)?)?(?:[+-]\d{{4}})?)(?!\d)"),
        ("stamp", r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?P<y>(?:1[89]|20)\d\d)(?!\d)"),
        ("iso", r"(?P<y>\d{4})(?P<s>\s?[-/.]\s?)(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})(?!\d)"),
        ("numeric", r"(?P<a>\d{1,2})(?P<s>\s?(?P<x>[/.-])\s?)(?P<b>\d{1,2})(?P<t>\s?(?P=x)\s?)(?P<y>\d{4}|\d\d)(?!\d)"),
        ("month_days", r"(?P<a>\d{1,2})(?P<s>/)(?P<b>\d{1,2})(?P<r>\s?[-–]\s?)(?P<b2>\d{1,2})(?P<t>/)(?P<y>\d{4}|(?<=(?:1[3-9]|2\d|3[01])/)\d\d)(?![\d/])"),
        ("day_first", rf"{days}(?P<of>(?:\s+day)?(?:\s+{link})?[\s/-]*){month}(?:(?P<c>,?[\s/-]*(?:{link}\s+)?)(?P<y>{_YEAR}|['’]?\d\d)(?![\d:]))?"),
        ("month_first", rf"{month}(?P<of>[\s-]*(?:the\s+)?){days}(?![\d:])(?:(?P<c>\s*,?\s*(?:{link}\s+)?){year}(?!\d))?"),
        ("roman", rf"(?P<b>\d{{1,2}})(?P<s>\s?(?P<x>[/.-])\s?)(?P<m>{'|'.join(sorted(ROMAN, key=len, reverse=True))})(?:(?P<t>\s?(?P=x)\s?)(?P<y>\d{{4}}|\d\d))?(?!\w)"),
        ("month_year", rf"{month}(?P<c>[\s,/-]*(?:{link}\s+)?){year}(?!\d)"),
        ("month", rf"{month}"),
        ("year_month", r"(?P<y>\d{4})(?P<s>[-/])(?P<m>0[1-9]|1[0-2]|[1-9])(?!\d)"),
        ("month_of_year", r"(?P<m>\d{1,2})(?P<s>\s?[/.-]\s?)(?P<y>\d{4})(?!\d)"),
        ("month_day", r"(?P<a>\d{1,2})(?P<s>\s?[/-]\s?)(?P<b>\d{1,2})(?!\d)"),
        ("day_month", r"(?P<b>\d{1,2})(?P<s>\.)(?P<a>0?[1-9]|1[0-2])(?!\d)"),
        ("weekday", rf"(?P<w>{words.weekday_pattern()})(?!\w)"),
        *((f"holiday {number}", rf"(?P<h>{name})(?!\w)(?:(?P<c>,?\s+(?:{link}\s+)?)(?P<y>{_YEAR})(?!\d))?") for number, (name, _) in enumerate(words.holidays)),
        ("day", rf"(?:(?<=\bthe\s)|(?<=\bel\s)|(?<=\bd[ií]a\s))(?P<d>\d{{1,2}})(?P<o>{words.ordinal})?(?![\w/.-])"),
        ("years", rf"(?P<y>{_YEAR})(?P<s>[-–/])(?P<y2>\d\d)(?!\d)"),
        ("year", rf"(?P<y>{_YEAR}|['’]\d\d)(?!\d)"),
        ("joint", rf"(?:{'|'.join(sorted(words.joints, key=len, reverse=True))})(?!\w)"),
        ("joint", r"/(?=\s?[^\W\d])"),
        ("blank", r"[\s,.;:()\[\]–—-]+"),
    )  # fmt: skip
    return tuple((kind, re.compile(pattern, re.I)) for kind, pattern in forms)


def _parts(value: str, language: str) -> list[Part] | None:
    """The value as a row of parts that covers it; None when something in it is not understood."""
    found: list[Part] = []
    at = 0
    while at < len(value):
        for kind, pattern in _patterns(language):
            match = pattern.match(value, at)
            if match and match.end() > at and not (at and value[at - 1].isalnum() and value[at].isalnum() and kind != "clock"):
                found.append(Part(kind, match))
                at = match.end()
                break
        else:
            return None
    return found if any(part.kind not in ("joint", "blank", "clock") for part in found) else None


def read(value: str, language: str) -> tuple[list[Part], str] | None:
    """The parts, in the given language or, where its words do not do, in another."""
    for one in (language, *(other for other in LANGUAGES if other != language)):
        parts = _parts(value, one)
        if parts:
            return parts, one
    return None


def _whole_year(written: str, latest: int) -> int:
    """A year of two or four digits; two mean the latest such year that is not after `latest`."""
    digits = written.lstrip("'’")
    if len(digits) == 4:
        return int(digits)
    year = latest - latest % 100 + int(digits)
    return year if year <= latest else year - 100


def years_of(value: str, *, latest: int, language: str = "en") -> list[int]:
    """The years that a written date names, in order; none when it names none.

    Args:
        latest: year that one of two digits is not after.
    """
    parts = read(value, language)
    if parts:
        found = []
        for part in parts[0]:
            if year := part.get("y"):
                found.append(_whole_year(year, latest))
                if short := part.get("y2"):
                    found.append(found[-1] - found[-1] % 100 + int(short))
            elif part.kind == "month_day" and int(part.match["b"]) > 31:
                found.append(_whole_year(part.match["b"], latest))
        return found
    return [int(year) for year in _FOUR_DIGITS.findall(_HOURS.sub("", value))]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A day by which the years of days without one are told: each is in the latest year that puts it at most `ahead` days after that day."""

    day: datetime.date
    ahead: int

    def placed(self, of_year: OfYear) -> datetime.date:
        """A day that has a date in each year; 29 February only in leap years.

        Raises:
            ValueError: it has one in none.
        """
        last = self.day.toordinal() + self.ahead
        for year in range(self.day.year + 1, self.day.year - 9, -1):
            with contextlib.suppress(ValueError):
                if (found := of_year(year)).toordinal() <= last:
                    return found
        raise ValueError("no such day")

    def nearest(self, day: int) -> datetime.date:
        """A day of a month that is not told: the nearest of that number.

        Raises:
            ValueError: no month near it has one.
        """
        first = self.day.replace(day=1)
        months = (first - datetime.timedelta(days=1), first, first + datetime.timedelta(days=31))
        found = []
        for month in months:
            with contextlib.suppress(ValueError):
                found.append(month.replace(day=day))
        return min(found, key=lambda one: abs(one - self.day))


@dataclass(frozen=True, slots=True)
class Reading:
    """How numbers and words of written dates are read.

    Attributes:
        order: of numbers that can be read both ways.
        latest: year that one of two digits is not after.
    """

    words: Calendar
    order: Order
    latest: int

    def year(self, part: Part) -> int | None:
        """The year that a part names."""
        written = part.get("y")
        return _whole_year(written, self.latest) if written else None

    def short_year(self, digits: str) -> int:
        """The year that two digits mean."""
        return _whole_year(digits, self.latest)

    def month_and_day(self, part: Part) -> tuple[int, int] | None:
        """Month and day of a part, of several days the first; None of one that has not both."""
        if part.kind in ("numeric", "month_day", "month_days"):
            a, b = int(part.match["a"]), int(part.match["b"])
            return (a, b) if self.month_first(a, b) else (b, a)
        if part.kind == "day_month":
            return int(part.match["a"]), int(part.match["b"])
        if part.kind == "roman":
            return ROMAN.index(part.match["m"].lower()) + 1, int(part.match["b"])
        if part.kind in ("day_first", "month_first"):
            return self.month(part), self.days(part)[0].number
        if part.kind in ("iso", "stamp"):
            return int(part.match["m"]), int(part.match["d"])
        return None

    def month_first(self, a: int, b: int) -> bool:
        """Whether the first of two numbers is the month."""
        return a <= 12 if self.order == "mdy" else b > 12

    def month(self, part: Part) -> int:
        """The month that a part names."""
        return self.words.month_of[part.match["m"].lower()]

    def days(self, part: Part) -> list[Day]:
        """The days of a month that a part lists (`4, 5 and 6`)."""
        found, at, listed = [], 0, part.match["days"]
        for match in re.finditer(rf"(\d{{1,2}})({self.words.ordinal})?", listed, re.I):
            found.append(Day(listed[at : match.start()], match[1], match[2]))
            at = match.end()
        return found


class Day(NamedTuple):
    """A day of a month as it is written: what stands before it in its list, its digits, the letters of an ordinal."""

    before: str
    digits: str
    ordinal: str | None

    @property
    def number(self) -> int:
        return int(self.digits)


def reading(spoken: str, latest: int, language: str, order: Order | None) -> Reading:
    """The words of one language, with the order of numbers that is given, else that of the other."""
    return Reading(spoken_language(spoken).calendar, order or spoken_language(language).calendar.order, latest)


def around(day: datetime.date) -> Anchor:
    """By which other days of a text are those that are nearest to one of it."""
    return Anchor(day, _AROUND)


def anchor(
    values: Iterable[str], *, note: datetime.date | None, year: int, latest: int, language: str = "en", order: Order | None = None
) -> Anchor | None:
    """What tells the years of the days that a text writes without one: the date of the note, else the latest whole date in the text, else
    its first day, which counts in the given year. None where the text has no day.

    Args:
        values: the written dates of the text, in order.
        latest: year that one of two digits is not after.
        order: of dates in numbers that can be read both ways; None is the language's.
    """
    if note:
        return Anchor(note, _AHEAD_OF_NOTE)
    whole: list[datetime.date] = []
    first: datetime.date | None = None
    for value in values:
        found = read(value, language)
        if found is None:
            continue
        read_as = reading(found[1], latest, language, order)
        for part in found[0]:
            with contextlib.suppress(ValueError):
                if not (named := read_as.month_and_day(part)):
                    continue
                if (written := read_as.year(part)) is not None:
                    whole.append(datetime.date(written, *named))
                elif first is None:
                    first = Anchor(datetime.date(year, 12, 31), 0).placed(fixed(*named))
    day = max(whole) if whole else first
    return None if day is None else around(day)
