"""Rewriting: what stands in the place of an identifier.

tags: `[NAME]`. mask: as many `*` as characters. surrogates: an invented value of the same kind (see `surrogates`). In each of them a date
follows the date policy, an age over 89 becomes `90+`, and a ZIP code keeps the digits that 45 CFR 164.514(b)(2)(i)(B) allows.

Dates under `year` keep their year, or years. Under `shift` every date of a patient moves by the same secret number of days (see
`calendar_dates`), and so does a year that a word such as `in` or `since` marks, which no recognizer calls an identifier, so that it stays
on its side of the dates around it. A date that tells an age over 89 by its year, and one that cannot be moved, becomes the tag or mask.

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
from nosology.deid.calendar_dates import shifted, years_of
from nosology.deid.languages import languages
from nosology.deid.offsets import Edit, Rewritten
from nosology.deid.policies import OLDEST, WIDER, is_year, told_age
from nosology.deid.surrogates import Surrogates
from nosology.deid.zips import postal_code
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig
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
        reference: date of the note. A year 90 or more before it (or before the latest year in the text, or today) tells an age over
            89 and goes with its date; a day without a year counts in its year.
        order: of dates in numbers that can be read both ways; None is the language's.
    """
    years = {
        span: years_of(text[span.start : span.end], language=config.language, latest=_until(reference))
        for span in spans
        if span.label == "DATE"
    }
    latest = reference.year if reference else max((year for found in years.values() for year in found), default=datetime.date.today().year)
    work = _Work(config, secret, patient, config.language, order, latest, reference)
    if config.rewrite == "surrogates":
        work.invent((text[span.start : span.end], span.label) for span in spans)
    marked = _marked_years(text, spans) if config.dates == "shift" else []
    pieces: list[str] = []
    edits: list[Edit] = []
    replaced = sorted([*spans, *marked], key=lambda one: one.start)
    at = length = 0
    for span in replaced:
        pieces.append(text[at : span.start])
        length += span.start - at
        new = work.replacement(text[span.start : span.end], span.label, years.get(span))
        pieces.append(new)
        edits.append((span.start, span.end, length, length + len(new)))
        length += len(new)
        at = span.end
    pieces.append(text[at:])
    return Rewritten("".join(pieces), tuple(edits), tuple(replaced))


def _until(reference: datetime.date | None) -> int:
    return reference.year if reference else datetime.date.today().year


_NO_MARK = frozenset(("the", "el", "of", "from", "by", "de", "del"))  # what stands before any number: `BNP of 2012`


@functools.cache
def _marked() -> re.Pattern[str]:
    """A year behind a word of any language that says that it is one."""
    before = "|".join(word for spoken in languages() for word in spoken.calendar.before_year if word not in _NO_MARK)
    units = r"(?:[munpµkd]?[glm]|mcg|cc|units?|iu|cells|k?cal\w*|steps?|copies|[\w%µ]+/\w)"
    return re.compile(rf"\b(?:{before})[\s-]+(?P<y>(?:1[89]|20)\d\d)(?![\w/%-]|[.,:]\d|\s?{units})", re.I)


def _marked_years(text: str, spans: Sequence[Span]) -> list[Span]:
    """Years alone that a word marks as such, outside of the disjoint, ordered spans."""
    starts = [span.start for span in spans]
    found = []
    for match in _marked().finditer(text):
        start, end = match.span("y")
        before = bisect_left(starts, end)  # so many spans begin before the year's end; the last of them reaches farthest
        if not before or spans[before - 1].end <= start:
            found.append(Span(start=start, end=end, label="DATE", source="year"))
    return found


class _Work:
    """Replacements in one text."""

    def __init__(
        self,
        config: DeidConfig,
        secret: Secret,
        patient: str,
        language: str,
        order: Order | None,
        latest: int,
        reference: datetime.date | None,
    ) -> None:
        self._config, self._language, self._order = config, language, order
        self._latest, self._until = latest, _until(reference)
        self._secret, self._patient = secret, patient
        self._surrogates: Surrogates | None = None

    def invent(self, identifiers: Iterable[tuple[str, str]]) -> None:
        """Make surrogates, for a text with these values and classes."""
        self._surrogates = Surrogates(
            self._secret, self._patient, identifiers, lambda value: postal_code(value, self._config) or "000", self._language
        )

    def replacement(self, value: str, label: str, years: list[int] | None) -> str:
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

    def _date(self, value: str, years: list[int] | None) -> str | None:
        if years is None:
            years = [int(value)]  # a marked year
        if years and self._latest - min(years) > OLDEST:
            return None
        if self._config.dates == "year":
            if is_year(value):
                return value
            return "-".join(map(str, dict.fromkeys((min(years), max(years))))) if years else None
        return shifted(
            value, self._secret.shift_days(self._patient), language=self._language, order=self._order, near=self._latest, latest=self._until
        )
