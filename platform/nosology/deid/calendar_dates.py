"""Dates as people write them: their year, and the same form on another day."""

from __future__ import annotations

import datetime
import re

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
_ISO = re.compile(r"(?P<y>\d{4})(?P<s>[-/.]?)(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})(?P<rest>(?:[T ].*)?|\d{4,6})", re.S)
_NUMERIC = re.compile(r"(?P<a>\d{1,2})(?P<s>[/.-])(?P<b>\d{1,2})(?P=s)(?P<y>\d{4}|\d\d)(?P<rest>(?:[T ].*)?)", re.S)
_MONTH_FIRST = re.compile(r"(?P<m>[A-Za-z]+\.?)\s*(?P<d>\d{1,2})(?:st|nd|rd|th)?(?P<c>\s*,?\s*)(?P<y>\d{4})(?P<rest>.*)", re.S)
_DAY_FIRST = re.compile(
    r"(?:the )?(?P<d>\d{1,2})(?:st|nd|rd|th)?(?P<of>(?: of)?[\s-]+)(?P<m>[A-Za-z]+\.?)"
    r"(?P<c>\s*,?[\s-]*)(?P<y>\d{4})(?P<rest>.*)",
    re.S,
)


def year_of(value: str) -> int | None:
    """The year of a written date; None when it names none. Two digits mean the latest such year that is not after this one."""
    full = re.findall(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)|(?:1[89]|20)\d\d(?=\d{4}(?:\d{4,6})?$)", value)
    if full:
        return int(full[-1])
    match = _NUMERIC.fullmatch(value)
    if match and len(match["y"]) == 2:
        this = datetime.date.today().year
        year = this - this % 100 + int(match["y"])
        return year if year <= this else year - 100
    return None


def _month(word: str) -> int | None:
    bare = word.rstrip(".").lower()
    return next((n for n, name in enumerate(MONTHS, 1) if len(bare) >= 3 and name.startswith("sep" if bare == "sept" else bare)), None)


def _named(month: int, like: str) -> str:
    """The month in the form of another: whole or three letters, its case, its point."""
    name = MONTHS[month - 1].capitalize()
    if len(like.rstrip(".")) <= 4 and like.rstrip(".").lower() not in ("june", "july"):
        name = name[:3]
    name += "." if like.endswith(".") else ""
    return name.upper() if like.isupper() else name.lower() if like.islower() else name


def shifted(value: str, days: int) -> str | None:
    """The date `days` later in the same form; None for what names no full date. Numbers are month first unless that is no date."""
    delta = datetime.timedelta(days=days)
    try:
        if match := _ISO.fullmatch(value):
            new = datetime.date(int(match["y"]), int(match["m"]), int(match["d"])) + delta
            sep = match["s"]
            return f"{new.year:04d}{sep}{_as(new.month, match['m'])}{sep}{_as(new.day, match['d'])}{match['rest']}"
        if match := _NUMERIC.fullmatch(value):
            a, b, year = int(match["a"]), int(match["b"]), year_of(value)
            month_first = a <= 12
            new = datetime.date(year or int(match["y"]), a if month_first else b, b if month_first else a) + delta
            first, second = (new.month, new.day) if month_first else (new.day, new.month)
            written = f"{new.year:04d}" if len(match["y"]) == 4 else f"{new.year % 100:02d}"
            return f"{_as(first, match['a'])}{match['s']}{_as(second, match['b'])}{match['s']}{written}{match['rest']}"
        if (match := _MONTH_FIRST.fullmatch(value)) and (month := _month(match["m"])):
            new = datetime.date(int(match["y"]), month, int(match["d"])) + delta
            return f"{_named(new.month, match['m'])} {new.day}{match['c']}{new.year}{match['rest']}"
        if (match := _DAY_FIRST.fullmatch(value)) and (month := _month(match["m"])):
            new = datetime.date(int(match["y"]), month, int(match["d"])) + delta
            return f"{new.day}{match['of']}{_named(new.month, match['m'])}{match['c']}{new.year}{match['rest']}"
    except (ValueError, OverflowError):
        return None
    return None


def _as(number: int, like: str) -> str:
    """The number with a leading zero where the other has two digits."""
    return f"{number:02d}" if len(like) == 2 else str(number)
