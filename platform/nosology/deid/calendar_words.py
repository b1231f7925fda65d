"""What a language writes in dates and ages: months, days of the week, holidays, the order of numbers. Each has it in its folder (`days`)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["mdy", "dmy"]
# a span of hours (`0700-1900`), which is none of years
HOURS = r"(?!(?:1[89]|20)\d\d\s?[-–]\s?(?:1[89]|20)\d\d)(?:[01]\d|2[0-3])[0-5]\d\s?[-–]\s?(?:[01]\d|2[0-4])[0-5]\d(?!\d)"
OfYear = Callable[[int], datetime.date]


@dataclass(frozen=True)
class Calendar:
    """The words of one language, in small letters.

    Attributes:
        months: January to December.
        short_months: other spellings of a month, by its number; the first is the one that is written.
        weekdays: Monday to Sunday.
        short_weekdays: as `short_months`, by the number of the day from 0.
        order: of a date in numbers when both readings are possible.
        joints: words that stand between the parts of a date or between two dates.
        holidays: pattern of a name (small letters) and its day in a year.
        ordinal: what follows the number of a day: its pattern, and its form for a number.
        before_year: words that say of the number behind them that it is a year.
        also_words: those of the months that are ordinary words too (`may`).
        between_years: words between the two years of a span of years.
        years: pattern of the word for years of age. young: patterns of what tells an age below one, or of a child. old: of one over 89, in words.
        numbers: words for numbers; what a written number holds of them adds up to it.
    """

    months: tuple[str, ...]
    short_months: Mapping[int, tuple[str, ...]]
    weekdays: tuple[str, ...]
    short_weekdays: Mapping[int, tuple[str, ...]]
    order: Order
    joints: frozenset[str]
    holidays: tuple[tuple[str, OfYear], ...]
    ordinal: str
    ordinal_of: Callable[[int, str], str]
    before_year: tuple[str, ...]
    years: str
    young: tuple[str, ...]
    old: tuple[str, ...]
    numbers: Mapping[str, int]
    between_years: tuple[str, ...]
    also_words: frozenset[str] = frozenset()
    month_of: dict[str, int] = field(init=False, default_factory=dict)
    weekday_of: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.month_of.update({name: number for number, name in enumerate(self.months, 1)})
        self.month_of.update({name: number for number, names in self.short_months.items() for name in names})
        self.weekday_of.update({name: number for number, name in enumerate(self.weekdays)})
        self.weekday_of.update({name: number for number, names in self.short_weekdays.items() for name in names})

    def month_pattern(self) -> str:
        """An expression for any name of a month."""
        return _any(self.month_of)

    def weekday_pattern(self) -> str:
        """An expression for any name of a day of the week."""
        return _any(self.weekday_of)


def _any(names: Mapping[str, int]) -> str:
    return "(?:" + "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) + ")"


def fixed(month: int, day: int) -> OfYear:
    """The same day in every year."""
    return lambda year: datetime.date(year, month, day)


def nth(month: int, weekday: int, number: int) -> OfYear:
    """The n-th such weekday of a month; the last one for -1."""

    def day(year: int) -> datetime.date:
        if number > 0:
            first = datetime.date(year, month, 1)
            return first + datetime.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))
        last = datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)
        return last - datetime.timedelta(days=(last.weekday() - weekday) % 7)

    return day


def easter(year: int) -> datetime.date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm: Meeus, Astronomical Algorithms, 1991, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return datetime.date(year, month, day + 1)
