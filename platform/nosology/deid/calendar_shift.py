"""The same written date on another day, in the same form.

Shifting moves each part by the same number of days. A full date moves exactly, so intervals stay, over 29 February too; a time of day and
its zone stay as they are, for a shift is of calendar days and a clock change is none. Coarser parts move from their middle (a month from
its 15th day, a year from 2 July), so that their order stays: of two parts of one kind the later is never before the earlier afterwards,
but two months can become one, and a month or a year can by chance be what it was, which nobody can tell. What is not wholly understood is
never half shifted: it gives None, and the caller puts a tag there.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nosology.deid.calendar_dates import ROMAN, Anchor, Day, Part, Reading, around, read, reading
from nosology.deid.calendar_words import Order, fixed

_MID_YEAR = (7, 2)
_MID_MONTH = 15
_COMMON = Anchor(datetime.date(2023, 12, 31), 0)  # where nothing tells the year of a day


@dataclass(frozen=True, slots=True)
class _Shift:
    """How the parts of one value move.

    Attributes:
        anchor: tells the years of days without one.
    """

    delta: datetime.timedelta
    reading: Reading
    anchor: Anchor | None

    def written(self, part: Part, beside: int | None) -> str:
        """The part on its other day; `beside` is the year that the parts around it tell, where they tell one."""
        write = _WRITERS.get(part.kind.partition(" ")[0])
        return part.match[0] if write is None else write(self, part, beside)

    def _on(self, part: Part, beside: int | None, month: int, day: int) -> datetime.date:
        """A day that may lack its year; 29 February beside a common year counts in the leap year before."""
        year = self.reading.year(part)
        if year is None and beside is None:
            return (self.anchor or _COMMON).placed(fixed(month, day)) + self.delta
        if year is None and (month, day) == (2, 29):
            assert beside is not None
            year = next((y for y in range(beside, beside - 9, -1) if _is_leap(y)), beside)
        return self._moved(beside if year is None else year, month, day)

    def _moved(self, year: int | None, month: int, day: int) -> datetime.date:
        assert year is not None
        return datetime.date(year, month, day) + self.delta

    def _named_day(self, part: Part, beside: int | None) -> datetime.date:
        """The other day of a part that names month and day."""
        named = self.reading.month_and_day(part)
        assert named is not None
        return self._on(part, beside, *named)

    def _stamp(self, part: Part, beside: int | None) -> str:
        new, rest = self._named_day(part, beside), part.get("rest")
        return f"{new.month:02d}{new.day:02d}{new.year:04d}" if rest is None else f"{new.year:04d}{new.month:02d}{new.day:02d}{rest}"

    def _iso(self, part: Part, beside: int | None) -> str:
        m, new = part.match, self._named_day(part, beside)
        return m["s"].join((f"{new.year:04d}", *_padded((new.month, new.day), m["m"], m["d"])))

    def _numeric(self, part: Part, beside: int | None) -> str:
        m, new = part.match, self._named_day(part, beside)
        first, second = _padded(self._in_order(part, new), m["a"], m["b"])
        return f"{first}{m['s']}{second}{m['t']}{_year_like(new.year, m['y'])}"

    def _in_order(self, part: Part, new: datetime.date) -> tuple[int, int]:
        """Month and day in the order of the part's numbers."""
        month_first = self.reading.month_first(int(part.match["a"]), int(part.match["b"]))
        return (new.month, new.day) if month_first else (new.day, new.month)

    def _month_days(self, part: Part, beside: int | None) -> str:
        """`12/24-26/2020`; the second month and the first year are written where they differ."""
        m, month = part.match, int(part.match["a"])
        first, last = (self._on(part, beside, month, int(m[name])) for name in ("b", "b2"))
        begin = m["s"].join(_padded((first.month, first.day), m["a"], m["b"]))
        end = _padded((last.month, last.day), m["a"], m["b2"])
        begin += f"{m['t']}{_year_like(first.year, m['y'])}" if first.year != last.year else ""
        return f"{begin}{m['r']}{end[1] if first.month == last.month else m['s'].join(end)}{m['t']}{_year_like(last.year, m['y'])}"

    def _month_day(self, part: Part, beside: int | None) -> str:
        m = part.match
        if int(m["b"]) > 31:  # 03/85: a month and its year
            new = self._moved(self.reading.short_year(m["b"]), int(m["a"]), _MID_MONTH)
            return m["s"].join((*_padded((new.month,), m["a"]), _year_like(new.year, m["b"])))
        return m["s"].join(_padded(self._in_order(part, self._named_day(part, beside)), m["a"], m["b"]))

    def _day_month(self, part: Part, beside: int | None) -> str:
        """With a point between them the day comes first, whatever the language."""
        m, new = part.match, self._named_day(part, beside)
        return m["s"].join(_padded((new.day, new.month), m["b"], m["a"]))

    def _roman(self, part: Part, beside: int | None) -> str:
        m, new = part.match, self._named_day(part, beside)
        month = ROMAN[new.month - 1]
        text = f"{_digits(new.day, m['b'])}{m['s']}{month.upper() if m['m'].isupper() else month}"
        return text + (f"{m['t']}{_year_like(new.year, m['y'])}" if m["y"] else "")

    def _day(self, part: Part, beside: int | None) -> str:
        """A day of a month that is not told; ValueError where nothing tells it."""
        if self.anchor is None:
            raise ValueError("no month")
        new = self.anchor.nearest(int(part.match["d"])) + self.delta
        return self._numbered(new.day, Day("", part.match["d"], part.match["o"]))

    def _year_month(self, part: Part, beside: int | None) -> str:
        m = part.match
        new = self._moved(int(m["y"]), int(m["m"]), _MID_MONTH)
        return m["s"].join((f"{new.year:04d}", *_padded((new.month,), m["m"])))

    def _month_of_year(self, part: Part, beside: int | None) -> str:
        m = part.match
        new = self._moved(int(m["y"]), int(m["m"]), _MID_MONTH)
        return m["s"].join((*_padded((new.month,), m["m"]), f"{new.year:04d}"))

    def _day_first(self, part: Part, beside: int | None) -> str:
        """`3-5 March 2021`; a month is written behind the last of its days, a year behind its last month."""
        m, month, days = part.match, self.reading.month(part), self.reading.days(part)
        moved = [self._on(part, beside, month, day.number) for day in days]
        text = ""
        for number, (day, new) in enumerate(zip(days, moved, strict=True)):
            later = moved[number + 1] if number + 1 < len(moved) else None
            text += day.before + self._numbered(new.day, day)
            if later is None or later.month != new.month:
                text += f"{m['of']}{self._named(new.month, part)}"
                text += self._of_year(new, part) if later is None or later.year != new.year else ""
        return text

    def _month_first(self, part: Part, beside: int | None) -> str:
        """`March 3-5, 2021`; a month is written before the first of its days, a year behind its last one."""
        m, month, days = part.match, self.reading.month(part), self.reading.days(part)
        text, last = "", None
        for day in days:
            new = self._on(part, beside, month, day.number)
            text += self._of_year(last, part) if last and last.year != new.year else ""
            text += day.before + (f"{self._named(new.month, part)}{m['of']}" if last is None or last.month != new.month else "")
            text += self._numbered(new.day, day)
            last = new
        assert last is not None
        return text + self._of_year(last, part)

    def _of_year(self, new: datetime.date, part: Part) -> str:
        return f"{part.match['c']}{_year_like(new.year, part.match['y'])}" if part.match["y"] else ""

    def _month_year(self, part: Part, beside: int | None) -> str:
        new = self._moved(self.reading.year(part), self.reading.month(part), _MID_MONTH)
        return f"{self._named(new.month, part)}{part.match['c']}{_year_like(new.year, part.match['y'])}"

    def _month(self, part: Part, beside: int | None) -> str:
        return self._named(self._on(part, beside, self.reading.month(part), _MID_MONTH).month, part)

    def _weekday(self, part: Part, beside: int | None) -> str:
        written, words = part.match["w"], self.reading.words
        number = (words.weekday_of[written.lower()] + self.delta.days) % 7
        whole = written.lower() in words.weekdays
        return _cased(words.weekdays[number] if whole else words.short_weekdays[number][0], written)

    def _holiday(self, part: Part, beside: int | None) -> str:
        """A holiday becomes a day of the calendar, for the shifted one is none."""
        words = self.reading.words
        of_year = words.holidays[int(part.kind.partition(" ")[2])][1]
        year = self.reading.year(part) or beside
        new = (of_year(year) if year is not None else (self.anchor or _COMMON).placed(of_year)) + self.delta
        month = words.months[new.month - 1]
        if words.order == "dmy":
            return f"{new.day} de {month}" + (f" de {new.year}" if part.get("y") else "")
        return f"{month.capitalize()} {new.day}" + (f", {new.year}" if part.get("y") else "")

    def _year(self, part: Part, beside: int | None) -> str:
        return _year_like(self._moved(self.reading.year(part), *_MID_YEAR).year, part.match["y"])

    def _years(self, part: Part, beside: int | None) -> str:
        first, short = int(part.match["y"]), int(part.match["y2"])
        second = self._moved(first - first % 100 + short, *_MID_YEAR).year
        return f"{self._moved(first, *_MID_YEAR).year}{part.match['s']}{second % 100:02d}"

    def _named(self, month: int, part: Part) -> str:
        """The month in the form of the one that was written: whole or short, its case, its point."""
        written, words = part.match["m"], self.reading.words
        whole = written.lower() in words.months
        name = words.months[month - 1] if whole else words.short_months.get(month, (words.months[month - 1],))[0]
        return _cased(name, written) + part.match["dot"]

    def _numbered(self, day: int, like: Day) -> str:
        return _digits(day, like.digits) + (self.reading.words.ordinal_of(day, like.ordinal) if like.ordinal else "")


_WRITERS: dict[str, Callable[[_Shift, Part, int | None], str]] = {
    "stamp": _Shift._stamp, "iso": _Shift._iso, "numeric": _Shift._numeric, "month_days": _Shift._month_days, "month_day": _Shift._month_day,
    "day_month": _Shift._day_month, "roman": _Shift._roman, "day": _Shift._day, "year_month": _Shift._year_month,
    "month_of_year": _Shift._month_of_year, "day_first": _Shift._day_first, "month_first": _Shift._month_first,
    "month_year": _Shift._month_year, "month": _Shift._month, "weekday": _Shift._weekday, "holiday": _Shift._holiday,
    "year": _Shift._year, "years": _Shift._years,
}  # fmt: skip


def _digits(day: int, like: str) -> str:
    return f"{day:02d}" if like.startswith("0") else str(day)


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
    value: str, days: int, *, latest: int, language: str = "en", order: Order | None = None, near: Anchor | None = None
) -> str | None:
    """The written date `days` later in the same form; None for what is no date, no possible day, or names none.

    Args:
        latest: year that one of two digits is not after.
        language: whose names of months and days are read first.
        order: of a date in numbers that can be read both ways; None is the language's.
        near: tells the year of a day that is written without one; None is any common year.
    """
    found = read(value, language)
    if found is None:
        return None
    parts, spoken = found
    move = _Shift(datetime.timedelta(days=days), reading(spoken, latest, language, order), near)
    try:
        return "".join(move.written(part, year) for part, year in zip(parts, _years_beside(parts, move.reading, near), strict=True))
    except (ValueError, OverflowError):
        return None


def _years_beside(parts: Sequence[Part], reading: Reading, near: Anchor | None) -> list[int | None]:
    """Of each part the year that the parts around it tell: for one without a year that of the next part that has one, else of the one
    before. A range that begins late in a year and ends early in another names the year of its end. Where no part has a year, the first day
    tells those of the days behind it."""
    dated = [(number, year) for number, part in enumerate(parts) if (year := reading.year(part)) is not None]
    if dated:
        return [_year_beside(number, parts, dated, reading) for number in range(len(parts))]
    years: list[int | None] = [None] * len(parts)
    for number, part in enumerate(parts):
        if near and (named := reading.month_and_day(part)):
            day = near.placed(fixed(*named))
            years[number], near = day.year, around(day)
    return years


def _year_beside(number: int, parts: Sequence[Part], dated: Sequence[tuple[int, int]], reading: Reading) -> int | None:
    after = next((one for one in dated if one[0] > number), None)
    before = next((one for one in reversed(dated) if one[0] < number), None)
    own = reading.month_and_day(parts[number])
    if after is not None:
        end = reading.month_and_day(parts[after[0]])
        return after[1] - 1 if own and end and own > end else after[1]
    if before is None:
        return None
    begin = reading.month_and_day(parts[before[0]])
    return before[1] + 1 if own and begin and own < begin else before[1]
