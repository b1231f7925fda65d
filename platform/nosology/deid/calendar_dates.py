"""Dates as people write them: their years, and the same form on another day.

A written date is read as a row of parts (a day, a month, a year, a holiday, a day of the week, a time of day) and joints between them.
What is not wholly understood is never half shifted: it gives None, and the caller puts a tag there.

Shifting moves each part by the same number of days. A full date moves exactly, so intervals stay, over 29 February too; a time of day and
its zone stay as they are, for a shift is of calendar days and a clock change is none. Coarser parts move from their middle (a month from
its 15th day, a year from 2 July), so that their order stays: of two parts of one kind the later is never before the earlier afterwards,
but two months can become one, and a month or a year can by chance be what it was, which nobody can tell. A day without a year counts in the year that stands beside it, else in that of the note.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nosology.deid.calendar_words import Calendar, Order
from nosology.deid.languages import LANGUAGES
from nosology.deid.languages import language as spoken_language

_CLOCK = (
    r"[T@]?\s?\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[ap]\.?\s?m\b\.?|\s?h(?:rs?|oras)?\b\.?)?"
    r"|\d{1,2}\s?(?:[ap]\.?\s?m\b\.?|h(?:rs?|oras)\b\.?)|T\d{4,6}(?:\.\d+)?"
)
_ZONE = r"(?:\s?(?:Z|[+-]\d\d:?\d\d|(?:GMT|UTC)(?:[+-]\d{1,2})?|[ECMP][SD]T|CES?T|WES?T|BST)\b)?"
_YEAR = r"[12]\d{3}"
_FOUR_DIGITS = re.compile(rf"(?<!\d)(?:{_YEAR})(?!\d)|(?:1[89]|20)\d\d(?=\d{{4}}(?:\d{{4,6}})?$)")
_MID_YEAR = (7, 2)
_MID_MONTH = 15
_COMMON_YEAR = 2023  # where nothing tells the year of a day


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a written date: its kind and where it stands."""

    kind: str
    match: re.Match[str]

    def get(self, name: str) -> str | None:
        """A group, None where the pattern has none of this name."""
        return self.match.groupdict().get(name)


@functools.cache
def _patterns(language: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    words = spoken_language(language).calendar
    month = rf"(?P<m>{words.month_pattern()})(?!\w)(?P<dot>\.?)"
    link = r"(?:of|de|del)"
    day = rf"(?P<d>\d{{1,2}})(?P<o>{words.ordinal})?"
    until = rf"(?:(?P<r>\s*(?:-|–|to|through|thru|and|al?|y)\s*(?:the\s+)?)(?P<d2>\d{{1,2}})(?P<o2>{words.ordinal})?)?"
    year = rf"(?P<y>{_YEAR}|['’]\d\d)"
    forms = (
        ("clock", rf"(?:{_CLOCK}){_ZONE}"),
        ("stamp", rf"(?P<y>{_YEAR})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?P<rest>(?:\d{{4}}|\d{{6}}(?:\.\d+)?)?(?:[+-]\d{{4}})?)(?!\d)"),
        ("stamp", r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?P<y>(?:1[89]|20)\d\d)(?!\d)"),
        ("iso", r"(?P<y>\d{4})(?P<s>\s?[-/.]\s?)(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})(?!\d)"),
        ("numeric", r"(?P<a>\d{1,2})(?P<s>\s?(?P<x>[/.-])\s?)(?P<b>\d{1,2})(?P<t>\s?(?P=x)\s?)(?P<y>\d{4}|\d\d)(?!\d)"),
        ("day_first", rf"{day}{until}(?P<of>(?:\s+day)?(?:\s+{link})?[\s-]*){month}(?:(?P<c>,?[\s-]*(?:{link}\s+)?)(?P<y>{_YEAR}|['’]?\d\d)(?![\d:]))?"),
        ("month_first", rf"{month}(?P<of>[\s-]*(?:the\s+)?){day}(?!\d){until}(?![\d:])(?:(?P<c>\s*,?\s*(?:{link}\s+)?){year}(?!\d))?"),
        ("month_year", rf"{month}(?P<c>[\s,/-]*(?:{link}\s+)?){year}(?!\d)"),
        ("month", rf"{month}"),
        ("year_month", r"(?P<y>\d{4})(?P<s>[-/])(?P<m>0[1-9]|1[0-2]|[1-9])(?!\d)"),
        ("month_of_year", r"(?P<m>\d{1,2})(?P<s>\s?[/.-]\s?)(?P<y>\d{4})(?!\d)"),
        ("month_day", r"(?P<a>\d{1,2})(?P<s>\s?[/-]\s?)(?P<b>\d{1,2})(?!\d)"),
        ("day_month", r"(?P<b>\d{1,2})(?P<s>\.)(?P<a>0?[1-9]|1[0-2])(?!\d)"),
        ("weekday", rf"(?P<w>{words.weekday_pattern()})(?!\w)"),
        *((f"holiday {number}", rf"(?P<h>{name})(?!\w)(?:(?P<c>,?\s+(?:{link}\s+)?)(?P<y>{_YEAR})(?!\d))?") for number, (name, _) in enumerate(words.holidays)),
        ("years", rf"(?P<y>{_YEAR})(?P<s>[-–/])(?P<y2>\d\d)(?!\d)"),
        ("year", rf"(?P<y>{_YEAR}|['’]\d\d)(?!\d)"),
        ("joint", rf"(?:{'|'.join(sorted(words.joints, key=len, reverse=True))})(?!\w)"),
        ("joint", r"/(?=\s?[^\W\d])"),
        ("blank", r"[\s,.;:()\[\]–—-]+"),
    )  # fmt: skip
    return tuple((kind, re.compile(pattern, re.I)) for kind, pattern in forms)


def _parts(value: str, language: str) -> list[_Part] | None:
    """The value as a row of parts that covers it; None when something in it is not understood."""
    found: list[_Part] = []
    at = 0
    while at < len(value):
        for kind, pattern in _patterns(language):
            match = pattern.match(value, at)
            if match and match.end() > at and not (at and value[at - 1].isalnum() and value[at].isalnum() and kind != "clock"):
                found.append(_Part(kind, match))
                at = match.end()
                break
        else:
            return None
    return found if any(part.kind not in ("joint", "blank", "clock") for part in found) else None


def _read(value: str, language: str) -> tuple[list[_Part], str] | None:
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


def years_of(value: str, *, language: str = "en", latest: int | None = None) -> list[int]:
    """The years that a written date names, in order; none when it names none.

    Args:
        latest: year that one of two digits is not after; None is this year.
    """
    until = datetime.date.today().year if latest is None else latest
    read = _read(value, language)
    if read:
        found = []
        for part in read[0]:
            if year := part.get("y"):
                found.append(_whole_year(year, until))
                if short := part.get("y2"):
                    found.append(found[-1] - found[-1] % 100 + int(short))
            elif part.kind == "month_day" and int(part.match["b"]) > 31:
                found.append(_whole_year(part.match["b"], until))
        if found:
            return found
    return [int(year) for year in _FOUR_DIGITS.findall(value)]


@dataclass(frozen=True, slots=True)
class _Shift:
    """How the parts of one value move.

    Attributes:
        order: of numbers that can be read both ways.
        latest: year that one of two digits is not after.
    """

    delta: datetime.timedelta
    words: Calendar
    order: Order
    latest: int

    def written(self, part: _Part, near: int) -> str:
        """The part on its other day; `near` is the year of a part that names none."""
        write = _WRITERS.get(part.kind.partition(" ")[0])
        return part.match[0] if write is None else write(self, part, near)

    def month_and_day(self, part: _Part) -> tuple[int, int] | None:
        """Month and day of a part; None of one that has not both."""
        if part.kind in ("numeric", "month_day"):
            a, b = int(part.match["a"]), int(part.match["b"])
            return (a, b) if self._month_first(a, b) else (b, a)
        if part.kind == "day_month":
            return int(part.match["a"]), int(part.match["b"])
        if part.kind in ("day_first", "month_first"):
            return self._month_of(part), int(part.match["d"])
        if part.kind in ("iso", "stamp"):
            return int(part.match["m"]), int(part.match["d"])
        return None

    def _year_of(self, part: _Part, near: int) -> int:
        year = part.get("y")
        return _whole_year(year, self.latest) if year else near

    def _moved(self, year: int, month: int, day: int) -> datetime.date:
        return datetime.date(year, month, day) + self.delta

    def _day_near(self, part: _Part, near: int, month: int, day: int) -> datetime.date:
        """A day that may lack its year; 29 February then counts in the leap year before."""
        year = self._year_of(part, near)
        if not part.get("y") and (month, day) == (2, 29):
            year = next((y for y in range(year, year - 9, -1) if _is_leap(y)), year)
        return self._moved(year, month, day)

    def _stamp(self, part: _Part, near: int) -> str:
        new = self._moved(self._year_of(part, near), int(part.match["m"]), int(part.match["d"]))
        rest = part.get("rest")
        return f"{new.month:02d}{new.day:02d}{new.year:04d}" if rest is None else f"{new.year:04d}{new.month:02d}{new.day:02d}{rest}"

    def _iso(self, part: _Part, near: int) -> str:
        m = part.match
        new = self._moved(int(m["y"]), int(m["m"]), int(m["d"]))
        return m["s"].join((f"{new.year:04d}", *_padded((new.month, new.day), m["m"], m["d"])))

    def _numeric(self, part: _Part, near: int) -> str:
        m = part.match
        month_first = self._month_first(int(m["a"]), int(m["b"]))
        month, day = (int(m["a"]), int(m["b"])) if month_first else (int(m["b"]), int(m["a"]))
        new = self._moved(self._year_of(part, near), month, day)
        pair = (new.month, new.day) if month_first else (new.day, new.month)
        first, second = _padded(pair, m["a"], m["b"])
        return f"{first}{m['s']}{second}{m['t']}{_year_like(new.year, m['y'])}"

    def _month_day(self, part: _Part, near: int) -> str:
        m = part.match
        a, b = int(m["a"]), int(m["b"])
        if b > 31:  # 03/85: a month and its year
            new = self._moved(_whole_year(m["b"], self.latest), a, _MID_MONTH)
            return m["s"].join((*_padded((new.month,), m["a"]), _year_like(new.year, m["b"])))
        month_first = self._month_first(a, b)
        new = self._day_near(part, near, *((a, b) if month_first else (b, a)))
        return m["s"].join(_padded((new.month, new.day) if month_first else (new.day, new.month), m["a"], m["b"]))

    def _day_month(self, part: _Part, near: int) -> str:
        """With a point between them the day comes first, whatever the language."""
        m = part.match
        new = self._day_near(part, near, int(m["a"]), int(m["b"]))
        return m["s"].join(_padded((new.day, new.month), m["b"], m["a"]))

    def _month_first(self, a: int, b: int) -> bool:
        return a <= 12 if self.order == "mdy" else b > 12

    def _year_month(self, part: _Part, near: int) -> str:
        m = part.match
        new = self._moved(int(m["y"]), int(m["m"]), _MID_MONTH)
        return m["s"].join((f"{new.year:04d}", *_padded((new.month,), m["m"])))

    def _month_of_year(self, part: _Part, near: int) -> str:
        m = part.match
        new = self._moved(int(m["y"]), int(m["m"]), _MID_MONTH)
        return m["s"].join((*_padded((new.month,), m["m"]), f"{new.year:04d}"))

    def _day_first(self, part: _Part, near: int) -> str:
        m, month = part.match, self._month_of(part)
        last = self._day_near(part, near, month, int(m["d2"] or m["d"]))
        end = f"{m['of']}{self._named(last.month, part)}" + (f"{m['c']}{_year_like(last.year, m['y'])}" if m["y"] else "")
        if m["d2"] is None:
            return self._day(last.day, m["d"], m["o"]) + end
        first = self._day_near(part, near, month, int(m["d"]))
        middle = "" if first.month == last.month else f"{m['of']}{self._named(first.month, part)}"
        if m["y"] and first.year != last.year:
            middle += f"{m['c']}{_year_like(first.year, m['y'])}"
        return self._day(first.day, m["d"], m["o"]) + middle + m["r"] + self._day(last.day, m["d2"], m["o2"]) + end

    def _month_first_part(self, part: _Part, near: int) -> str:
        m, month = part.match, self._month_of(part)
        first = self._day_near(part, near, month, int(m["d"]))
        last = self._day_near(part, near, month, int(m["d2"])) if m["d2"] else first
        text = f"{self._named(first.month, part)}{m['of']}{self._day(first.day, m['d'], m['o'])}"
        if m["d2"]:
            if m["y"] and first.year != last.year:
                text += f"{m['c']}{_year_like(first.year, m['y'])}"
            text += m["r"] + ("" if first.month == last.month else f"{self._named(last.month, part)}{m['of']}")
            text += self._day(last.day, m["d2"], m["o2"])
        return text + (f"{m['c']}{_year_like(last.year, m['y'])}" if m["y"] else "")

    def _month_year(self, part: _Part, near: int) -> str:
        new = self._moved(self._year_of(part, near), self._month_of(part), _MID_MONTH)
        return f"{self._named(new.month, part)}{part.match['c']}{_year_like(new.year, part.match['y'])}"

    def _month(self, part: _Part, near: int) -> str:
        return self._named(self._moved(near, self._month_of(part), _MID_MONTH).month, part)

    def _weekday(self, part: _Part, near: int) -> str:
        written = part.match["w"]
        number = (self.words.weekday_of[written.lower()] + self.delta.days) % 7
        whole = written.lower() in self.words.weekdays
        return _cased(self.words.weekdays[number] if whole else self.words.short_weekdays[number][0], written)

    def _holiday(self, part: _Part, near: int) -> str:
        """A holiday becomes a day of the calendar, for the shifted one is none."""
        of_year = self.words.holidays[int(part.kind.partition(" ")[2])][1]
        new = of_year(self._year_of(part, near)) + self.delta
        month = self.words.months[new.month - 1]
        if self.words.order == "dmy":
            return f"{new.day} de {month}" + (f" de {new.year}" if part.get("y") else "")
        return f"{month.capitalize()} {new.day}" + (f", {new.year}" if part.get("y") else "")

    def _year(self, part: _Part, near: int) -> str:
        return _year_like(self._moved(self._year_of(part, near), *_MID_YEAR).year, part.match["y"])

    def _years(self, part: _Part, near: int) -> str:
        first, short = int(part.match["y"]), int(part.match["y2"])
        second = self._moved(first - first % 100 + short, *_MID_YEAR).year
        return f"{self._moved(first, *_MID_YEAR).year}{part.match['s']}{second % 100:02d}"

    def _month_of(self, part: _Part) -> int:
        return self.words.month_of[part.match["m"].lower()]

    def _named(self, month: int, part: _Part) -> str:
        """The month in the form of the one that was written: whole or short, its case, its point."""
        written = part.match["m"]
        whole = written.lower() in self.words.months
        name = self.words.months[month - 1] if whole else self.words.short_months.get(month, (self.words.months[month - 1],))[0]
        return _cased(name, written) + part.match["dot"]

    def _day(self, day: int, like: str, ordinal: str | None) -> str:
        return (f"{day:02d}" if like.startswith("0") else str(day)) + (self.words.ordinal_of(day, ordinal) if ordinal else "")


_WRITERS: dict[str, Callable[[_Shift, _Part, int], str]] = {
    "stamp": _Shift._stamp, "iso": _Shift._iso, "numeric": _Shift._numeric, "month_day": _Shift._month_day, "day_month": _Shift._day_month,
    "year_month": _Shift._year_month, "month_of_year": _Shift._month_of_year, "day_first": _Shift._day_first,
    "month_first": _Shift._month_first_part, "month_year": _Shift._month_year, "month": _Shift._month, "weekday": _Shift._weekday,
    "holiday": _Shift._holiday, "year": _Shift._year, "years": _Shift._years,
}  # fmt: skip


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _padded(numbers: Sequence[int], *like: str) -> list[str]:
    """The numbers, with a leading zero unless one of those that were written is a single digit."""
    width = 1 if any(len(one) == 1 for one in like) else 2
    return [f"{number:0{width}d}" for number in numbers]


def _year_like(year: int, written: str) -> str:
    if len(written) == 4:
        return f"{year:04d}"
    return f"{written[: len(written) - 2]}{year % 100:02d}"


def _cased(name: str, like: str) -> str:
    if like.isupper():
        return name.upper()
    return name.capitalize() if like[:1].isupper() else name


def shifted(
    value: str, days: int, *, language: str = "en", order: Order | None = None, near: int | None = None, latest: int | None = None
) -> str | None:
    """The written date `days` later in the same form; None for what is no date, no possible day, or names none.

    Args:
        language: whose names of months and days are read first.
        order: of a date in numbers that can be read both ways; None is the language's.
        near: year of a day that is written without one; None is any common year.
        latest: year that one of two digits is not after; None is this year.
    """
    read = _read(value, language)
    if read is None:
        return None
    parts, spoken = read
    until = datetime.date.today().year if latest is None else latest
    move = _Shift(datetime.timedelta(days=days), spoken_language(spoken).calendar, order or spoken_language(language).calendar.order, until)
    near = _COMMON_YEAR if near is None else near
    dated = [(number, _whole_year(year, until)) for number, part in enumerate(parts) if (year := part.get("y"))]
    try:
        return "".join(move.written(part, _year_beside(number, parts, dated, near, move)) for number, part in enumerate(parts))
    except (ValueError, OverflowError):
        return None


def _year_beside(number: int, parts: Sequence[_Part], dated: Sequence[tuple[int, int]], near: int, move: _Shift) -> int:
    """The year of a part without one: that of the next part of the value that has one, else of the one before, else `near`. A range that
    begins late in a year and ends early in another names the year of its end."""
    after = next((one for one in dated if one[0] > number), None)
    before = next((one for one in reversed(dated) if one[0] < number), None)
    if after is None and before is None:
        return near
    own = move.month_and_day(parts[number])
    if after is not None:
        end = move.month_and_day(parts[after[0]])
        return after[1] - 1 if own and end and own > end else after[1]
    assert before is not None
    begin = move.month_and_day(parts[before[0]])
    return before[1] + 1 if own and begin and own < begin else before[1]
