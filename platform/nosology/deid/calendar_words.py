"""What a language writes in dates: months, days of the week, holidays, the order of numbers. The one place that knows it.

A further language is one more entry of `CALENDARS`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["mdy", "dmy"]
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


def _fixed(month: int, day: int) -> OfYear:
    return lambda year: datetime.date(year, month, day)


def _nth(month: int, weekday: int, number: int) -> OfYear:
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


def _english_ordinal(day: int, like: str) -> str:
    ending = "th" if 11 <= day % 100 <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return ending.upper() if like.isupper() else ending


_JOINTS_EN = """the of on and or to through thru until till from between at day by since in year early late mid middle beginning end last this
    next past night morning afternoon evening"""
_JOINTS_ES = """el los de del y e o a al hasta desde entre en día dia las la año principios mediados finales inicios pasado próximo este noche
    mañana tarde"""

CALENDARS: dict[str, Calendar] = {
    "en": Calendar(
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
        joints=frozenset(_JOINTS_EN.split()),
        holidays=(
            (r"christmas eve", _fixed(12, 24)),
            (r"christmas(?: day)?", _fixed(12, 25)),
            (r"new year['’]?s eve", _fixed(12, 31)),
            (r"new year['’]?s(?: day)?", _fixed(1, 1)),
            (r"halloween", _fixed(10, 31)),
            (r"independence day|(?:the )?(?:4th|fourth) of july", _fixed(7, 4)),
            (r"veterans['’]? day", _fixed(11, 11)),
            (r"valentine['’]?s(?: day)?", _fixed(2, 14)),
            (r"cinco de mayo", _fixed(5, 5)),
            (r"st\.? patrick['’]?s day", _fixed(3, 17)),
            (r"juneteenth", _fixed(6, 19)),
            (r"thanksgiving(?: day)?", _nth(11, 3, 4)),
            (r"labor day", _nth(9, 0, 1)),
            (r"memorial day", _nth(5, 0, -1)),
            (r"(?:mlk|martin luther king(?: jr\.?)?) day", _nth(1, 0, 3)),
            (r"presidents['’]? day", _nth(2, 0, 3)),
            (r"columbus day", _nth(10, 0, 2)),
            (r"mother['’]?s day", _nth(5, 6, 2)),
            (r"father['’]?s day", _nth(6, 6, 3)),
            (r"good friday", lambda year: easter(year) - datetime.timedelta(days=2)),
            (r"easter monday", lambda year: easter(year) + datetime.timedelta(days=1)),
            (r"easter(?: sunday)?", easter),
        ),
        ordinal=r"(?:st|nd|rd|th)",
        ordinal_of=_english_ordinal,
    ),
    "es": Calendar(
        months=(
            "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
        ),
        short_months={
            1: ("ene",), 2: ("feb",), 3: ("mar",), 4: ("abr",), 5: ("may",), 6: ("jun",), 7: ("jul",), 8: ("ago",),
            9: ("sep", "sept", "set", "setiembre"), 10: ("oct",), 11: ("nov",), 12: ("dic",),
        },
        weekdays=("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
        short_weekdays={
            0: ("lun",), 1: ("mart",), 2: ("mié", "mie", "miercoles"), 3: ("jue",), 4: ("vie",), 5: ("sáb", "sab", "sabado"), 6: ("dom",),
        },
        order="dmy",
        joints=frozenset(_JOINTS_ES.split()),
        holidays=(
            (r"nochebuena", _fixed(12, 24)),
            (r"(?:el )?(?:día de )?navidad", _fixed(12, 25)),
            (r"nochevieja|fin de año", _fixed(12, 31)),
            (r"año nuevo", _fixed(1, 1)),
            (r"(?:día de )?(?:los )?reyes(?: magos)?|epifanía", _fixed(1, 6)),
            (r"(?:noche de )?san juan", _fixed(6, 24)),
            (r"(?:día de )?todos los santos", _fixed(11, 1)),
            (r"día de (?:la hispanidad|el pilar)|día del pilar|la hispanidad", _fixed(10, 12)),
            (r"día de la constitución", _fixed(12, 6)),
            (r"(?:la )?inmaculada", _fixed(12, 8)),
            (r"jueves santo", lambda year: easter(year) - datetime.timedelta(days=3)),
            (r"viernes santo", lambda year: easter(year) - datetime.timedelta(days=2)),
            (r"domingo de (?:resurrección|pascua)", easter),
        ),
        ordinal=r"(?:\.?º|\.?ª|\.?°|ro|er)",
        ordinal_of=lambda day, like: like,
    ),
}  # fmt: skip
