"""What is removed: the 18 categories of Safe Harbor, or those and what MEDDOCAN's guideline adds."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nosology.deid import LABELS
from nosology.deid.languages import LANGUAGES, language, languages
from nosology.errors import ConfigError
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig

OLDEST = 89  # years of age that may stay (45 CFR 164.514(b)(2)(i)(C))
_BIRTH_YEAR = re.compile(r"(?:1[89]|20)\d\d")  # in the place of an age: a year alone is no identifier but by the age that it tells
# of MEDDOCAN's guideline, beside the Safe Harbor classes
WIDER = frozenset({"SEX", "RELATIVE", "PROFESSION"})


class _Written(NamedTuple):
    """How the languages that there are write a year alone, and ages."""

    year: re.Pattern[str]
    young: re.Pattern[str]
    years: re.Pattern[str]
    old: re.Pattern[str]
    numbers: dict[str, int]


def _any(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(r"(?<![^\W\d])(?:" + "|".join(words) + r")\b", re.I)  # in `95months` too


@functools.cache
def _written() -> _Written:
    calendars = [spoken.calendar for spoken in languages()]
    before = "|".join(sorted((word for one in calendars for word in one.before_year), key=len, reverse=True))
    joints = "|".join(word for one in calendars for word in one.between_years)
    return _Written(
        re.compile(
            rf"\W*(?:(?:{before})\s+)*(?:1[89]|20)\d\d(?:\s?(?:[-–/]|{joints})\s?(?:(?:1[89]|20)\d\d|(?!0\d|1[0-2])\d\d))?\W*",  # noqa: RUF001
            re.I,
        ),
        _any(word for one in calendars for word in one.young),
        _any(one.years for one in calendars),
        _any(word for one in calendars for word in one.old),
        {word: number for one in calendars for word, number in one.numbers.items()},
    )


def _in_words(value: str, numbers: Mapping[str, int]) -> int | None:
    """The largest number that a text writes in words: in each, every word counts less than the one before."""
    largest, current, last = None, 0, 0
    for word in re.findall(r"[^\W\d_]+", value.lower()):
        if word in numbers:
            current = current + numbers[word] if numbers[word] < last else numbers[word]
            last = numbers[word]
            largest = max(current, largest or 0)
    return largest


def told_age(value: str) -> str | None:
    """What a written age says: "old" (over 89 years), "young", or None where it does not tell."""
    written = _written()
    found = re.search(r"\d+", value)
    number = int(found[0]) if found else _in_words(value, written.numbers)
    if written.young.search(value) and not (number is not None and number > OLDEST and written.years.search(value)):
        return "young"
    if number is not None:
        return "old" if number > OLDEST else "young"
    return "old" if written.old.search(value) else None


def tells_over_89(year: int, on: datetime.date) -> bool:
    """Whether someone of that year of birth is 90 or older; years alone decide, so that the cut to the year cannot tell it either."""
    return on.year - year > OLDEST


def is_year(value: str) -> bool:
    """Whether a value is a year alone, or two, with the words that belong to it."""
    return _written().year.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule of what counts as an identifier.

    Attributes:
        source: where it stands.
        labels: classes that are removed.
        every_age: ages to 89 too.
        every_year: a year alone too; what stands in its place follows `deid.dates`.
        columns: fields of tables that are dropped beside those that every policy drops, because they say what it removes from notes.
    """

    name: str
    source: str
    labels: frozenset[str]
    every_age: bool = False
    every_year: bool = False
    columns: frozenset[str] = frozenset()

    def takes(self, text: str, span: Span, on: datetime.date) -> bool:
        """Whether a finding is to be removed.

        Args:
            on: day by which a year of birth tells an age (`clock.told_on`).
        """
        value = text[span.start : span.end]
        if span.label == "AGE" and _BIRTH_YEAR.fullmatch(value):
            return tells_over_89(int(value), on)
        if span.label == "AGE" and not self.every_age:
            return told_age(value) != "young"
        if span.label == "DATE" and not self.every_year:
            return not is_year(value)
        return span.label in self.labels


POLICIES: dict[str, Policy] = {
    "safe_harbor": Policy("safe_harbor", "45 CFR 164.514(b)(2)", frozenset(LABELS)),
    "meddocan": Policy(
        "meddocan",
        "MEDDOCAN annotation guideline (Plan TL, 2019), and 45 CFR 164.514(b)(2)",
        frozenset(LABELS) | WIDER,
        every_age=True,
        every_year=True,
        # SEXO, EDAD (a date of birth beside a date of service tells it) and TERRITORIO; no table has relatives or professions
        columns=frozenset({"sex", "age", "birth_date", "state", "postal_code"}),
    ),
}


def policy_of(config: DeidConfig) -> Policy:
    """The policy in force: the configuration's, else the language's.

    Raises:
        ConfigError: the language has no rules for it, so that what it promises would stay in the notes.
    """
    spoken = language(config.language)
    name = config.policy or spoken.policy
    if name not in spoken.policies:
        offered = ", ".join(code for code in LANGUAGES if name in language(code).policies)
        raise ConfigError(
            f"deid.policy: {name} has no rules for language {spoken.code}; languages that offer it: {offered}. "
            f"Set deid.policy to {' or '.join(spoken.policies)}, or deid.language to one of those"
        )
    return POLICIES[name]
