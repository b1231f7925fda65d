"""Rewriting: what stands in the place of an identifier.

tags: `[NAME]`. mask: as many `*` as characters. surrogates: an invented value of the same kind (see `surrogates`). In each of them a date
follows the date policy, an age over 89 becomes `90+`, and a ZIP code keeps the digits that 45 CFR 164.514(b)(2)(i)(B) allows.

Dates under `year` keep their year, or years. Under `shift` every date of a patient moves by the same secret number of days (see
`calendar_shift`), and so does a year that a word such as `in` or `since` marks, with the rest of its list or span; no recognizer calls it an
identifier, and it moves so that it stays on its side of the dates around it. A date that tells an age over 89 by its year, by the later of the
run's day and the note's (see `clock`), and one that cannot be moved, becomes the tag or mask.

Cleaning a clean text of tags or masks changes nothing by rules. The tagger, which is not shown them, sees words without what stood
beside them and now and then takes one more: in fewer than 1 % of the English texts of the tests' tables and 3.5 % of the Spanish ones, of
a few words each. A shifted date or a surrogate looks like a real one, and would be replaced once more: by their mark the stage knows
records that it has cleaned (see `marks`), and leaves them as they are, whatever stands there.
"""

from __future__ import annotations

import datetime
import functools
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nosology.deid import LABELS
from nosology.deid.calendar_dates import anchor, years_of
from nosology.deid.calendar_shift import shifted
from nosology.deid.clock import day_of, told_on
from nosology.deid.languages import languages
from nosology.deid.offsets import Edit, Rewritten
from nosology.deid.policies import WIDER, is_year, tells_over_89, told_age
from nosology.deid.surrogates import Surrogates
from nosology.deid.zips import postal_code
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.calendar_dates import Anchor
    from nosology.deid.calendar_words import Order
    from nosology.deid.secret import Secret

TAG = re.compile(r"\[(?:" + "|".join((*LABELS, *sorted(WIDER))) + r")\]|\b90\+")


def rewrite(
    text: str,
    spans: Sequence[Span],
    config: DeidConfig,
    secret: Secret,
    *,
    patient: str,
    reference: datetime.date | None = None,
    order: Order | None = None,
) -> Rewritten:
    """Replace disjoint, ordered spans. Names of months, the order of numbers in dates and the culture of what is invented are those of
    `config.language`.

    Args:
        patient: whose secret date shift and surrogates apply.
        reference: date of the note. It tells the years of days without one, and the century of a year of two digits.
        order: of dates in numbers that can be read both ways; None is the language's.
    """
    until = (reference or day_of(config)).year
    replaced = [*spans, *(_marked_years(text, spans, until) if config.dates == "shift" else [])]
    years = {
        span: years_of(text[span.start : span.end], language=config.language, latest=until) for span in replaced if span.label == "DATE"
    }
    work = _Work(config, secret, patient, order, until, told_on(config, reference))
    if config.dates == "shift":
        year = max((year for found in years.values() for year in found), default=until)
        written = (text[span.start : span.end] for span in spans if span.label == "DATE")
        work.near = anchor(written, note=reference, year=year, latest=until, language=config.language, order=order)
    if config.rewrite == "surrogates":
        work.invent((text[span.start : span.end], span.label) for span in spans)
    replaced.sort(key=lambda one: one.start)
    pieces: list[str] = []
    edits: list[Edit] = []
    at = length = 0
    for span in replaced:
        pieces.append(text[at : span.start])
        length += span.start - at
        new = work.replacement(text[span.start : span.end], span.label, years.get(span, []))
        pieces.append(new)
        edits.append((span.start, span.end, length, length + len(new)))
        length += len(new)
        at = span.end
    pieces.append(text[at:])
    return Rewritten("".join(pieces), tuple(edits), tuple(replaced))


_NO_MARK = frozenset(("the", "el", "of", "from", "by", "de", "del"))  # what stands before any number: `BNP of 2012`
_YEAR = r"(?:1[89]|20)\d\d"
_HOUR = re.compile(r"^\W{0,3}(?:0\d|1[0-7]|2[1-3])[0-5]\d\s?[:–-]\s", re.M)  # `0630: …`; in such a list 2016 is an hour too
_YEARS = re.compile(rf"{_YEAR}(?:[-–]\d\d(?!\d))?")
_CHANGED = re.compile(
    r"(?:increas|decreas|improv|ris|rose|fell|drop|trend|titrat|advanc|went|up|down|aument|disminu|sub|baj|pas)\w*\s$", re.I
)


@functools.cache
def _marked() -> re.Pattern[str]:
    """Years that a word of any language, or their place at a line's start, marks as such: one, or a list or span of them."""
    calendars = [spoken.calendar for spoken in languages()]
    before = "|".join(word for one in calendars for word in one.before_year if word not in _NO_MARK)
    joints = "|".join(word for one in calendars for word in one.between_years)
    units = r"(?:[munpµkd]?[glm]|mcg|cc|units?|iu|cells|k?cal\w*|steps?|copies|patients|cases|[\w%µ]+/\w)"
    year = rf"{_YEAR}(?:[-–]\d\d(?!\d))?(?![\w/%]|[-–.,:]\d|\s?{units}\b)"
    between = rf"(?:,\s?(?:(?:{joints})\s)?|\s(?:{joints})\s(?:el\s)?|\s?[-–/]\s?)"
    listed = rf"{_YEAR}(?:{between}{year}){{1,8}}"
    return re.compile(
        rf"\b(?:{before})[\s-]+(?P<y>{listed}|{year})|\b(?:from|between|de|desde|entre|del)\s(?P<z>{_YEAR}\s(?:{joints})\s{year})"
        rf"|^[^\w\n]{{0,4}}(?P<l>{_YEAR}(?:{between}{_YEAR})?)(?=\s?[:–-]\s)",
        re.I | re.M,
    )


def _marked_years(text: str, spans: Sequence[Span], until: int) -> list[Span]:
    """Years alone that are marked as such, outside of the disjoint, ordered spans. `until`: the last that may open a line."""
    starts = [span.start for span in spans]
    found = []
    hours = _HOUR.search(text) is not None
    for match in _marked().finditer(text):
        if match["l"] and (hours or not 1950 <= int(match["l"][:4]) <= until):
            continue  # `1930: asleep`
        if match["z"] and (match["z"][:4] > match["z"][-4:] or _CHANGED.search(text, max(0, match.start() - 16), match.start())):
            continue  # `BNP rose from 1900 to 2050`
        for one in _YEARS.finditer(text, *match.span(match.lastgroup or 0)):
            start, end = one.span()
            before = bisect_left(starts, end)  # so many spans begin before the year's end; the last of them reaches farthest
            if not before or spans[before - 1].end <= start:
                found.append(Span(start=start, end=end, label="DATE", source="year"))
    return found


class _Work:
    """Replacements in one text.

    Args:
        until: year that one of two digits is not after.
        on: day by which a year tells an age over 89.
    """

    near: Anchor | None = None  # tells the years of days without one

    def __init__(self, config: DeidConfig, secret: Secret, patient: str, order: Order | None, until: int, on: datetime.date) -> None:
        self._config, self._secret, self._patient, self._order = config, secret, patient, order
        self._until, self._on = until, on
        self._surrogates: Surrogates | None = None

    def invent(self, identifiers: Iterable[tuple[str, str]]) -> None:
        """Make surrogates, for a text with these values and classes."""
        self._surrogates = Surrogates(
            self._secret, self._patient, identifiers, lambda value: postal_code(value, self._config) or "000", self._config.language
        )

    def replacement(self, value: str, label: str, years: list[int]) -> str:
        """What stands in the place of a value."""
        blank = "*" * len(value) if self._config.rewrite == "mask" else f"[{label}]"
        if label == "AGE":
            return "90+" if told_age(value) == "old" else blank
        if label in WIDER:
            return blank
        if label == "ZIP":
            return postal_code(value, self._config) or blank
        if label == "DATE":
            return self._date(value, years) or blank
        return (self._surrogates.of(value, label) if self._surrogates else None) or blank

    def _date(self, value: str, years: list[int]) -> str | None:
        if years and tells_over_89(min(years), self._on):
            return None
        if self._config.dates == "year":
            if is_year(value):
                return value
            return "-".join(map(str, dict.fromkeys((min(years), max(years))))) if years else None
        return shifted(
            value,
            self._secret.shift_days(self._patient),
            latest=self._until,
            language=self._config.language,
            order=self._order,
            near=self.near,
        )
