"""Rewriting: what stands in the place of an identifier.

tags: `[NAME]`. mask: as many `*` as characters. surrogates: an invented value of the same kind, the same for the same value of
the same patient, chosen by HMAC. In each of them a date follows the date policy, an age over 89 becomes `90+`, and a ZIP code
keeps the digits that 45 CFR 164.514(b)(2)(i)(B) allows.
"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nosology.deid import LABELS
from nosology.deid.calendar_dates import shifted, year_of
from nosology.deid.patterns import words
from nosology.deid.zips import zip3
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.secret import Secret

HERE = Path(__file__).parent / "recognizers"
GIVEN = sorted(words(HERE / "surrogate_given_names.txt"))
FAMILY = sorted(words(HERE / "surrogate_family_names.txt"))
PLACES = sorted(words(HERE / "surrogate_place_names.txt"))
TAG = re.compile(r"\[(?:" + "|".join(LABELS) + r")\]|\b90\+")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text without identifiers. `edits`: start and end in the old text, start and end in the new one, in order."""

    text: str
    edits: tuple[tuple[int, int, int, int], ...]

    def moved(self, offset: int) -> int:
        """Where a place of the old text stands in the new one; inside a replaced span, where its replacement starts."""
        at = bisect_right(self.edits, (offset, len(self.text) + offset + 1, 0, 0)) - 1
        if at < 0:
            return offset
        start, end, new_start, new_end = self.edits[at]
        return new_start if start <= offset < end else new_end + offset - end


def rewrite(
    text: str, spans: Sequence[Span], config: DeidConfig, secret: Secret, *, patient: str, reference: datetime.date | None = None
) -> Rewritten:
    """Replace disjoint, ordered spans.

    Args:
        patient: whose secret date shift and surrogates apply.
        reference: date of the note. A year 90 or more before it (or before the latest year in the text, or today) tells an age over
            89 and goes with its date.
    """
    latest = (
        reference.year
        if reference
        else max((y for s in spans if s.label == "DATE" and (y := year_of(text[s.start : s.end]))), default=datetime.date.today().year)
    )
    names: dict[str, str] = {}
    pieces: list[str] = []
    edits = []
    at = length = 0
    for span in spans:
        pieces.append(text[at : span.start])
        length += span.start - at
        new = _replacement(text[span.start : span.end], span.label, config, secret, patient, latest, names)
        pieces.append(new)
        edits.append((span.start, span.end, length, length + len(new)))
        length += len(new)
        at = span.end
    pieces.append(text[at:])
    return Rewritten("".join(pieces), tuple(edits))


def _replacement(value: str, label: str, config: DeidConfig, secret: Secret, patient: str, latest: int, names: dict[str, str]) -> str:
    blank = "*" * len(value) if config.rewrite == "mask" else f"[{label}]"
    if label == "AGE":
        return "90+"
    if label == "ZIP":
        return zip3(value) or blank
    if label == "DATE":
        year = year_of(value)
        if year is None or latest - year >= 90:
            return blank
        return str(year) if config.dates == "year" else (shifted(value, secret.shift_days(patient)) or blank)
    if config.rewrite != "surrogates":
        return blank
    return _surrogate(value, label, secret, patient, names)


def _surrogate(value: str, label: str, secret: Secret, patient: str, names: dict[str, str]) -> str:
    """An invented value in the form of the real one; never the real one."""
    domain = f"surrogate {label} {patient}"
    if label == "NAME":
        return _name(value, domain, secret, names)
    if label == "ORGANIZATION":
        return f"{_other(value, domain, secret, PLACES)} Center"
    if label == "LOCATION":
        place = _other(value, domain, secret, PLACES)
        return f"{1 + secret.number(domain + ' number', value, 999)} {place} Street" if any(c.isdigit() for c in value) else place
    if label == "EMAIL":
        return f"{secret.digest(domain, value.lower()).hex()[:10]}@example.org"
    if label == "URL":
        return f"https://example.org/{secret.digest(domain, value).hex()[:10]}"
    if label == "IP":
        return f"192.0.2.{1 + secret.number(domain, value, 254)}"  # TEST-NET-1, RFC 5737
    return _scrambled(value, domain, secret)


def _other(value: str, domain: str, secret: Secret, choices: Sequence[str]) -> str:
    start = secret.number(domain, value.lower(), len(choices))
    return next(c for c in (*choices[start:], *choices) if c.lower() not in value.lower())


def _name(value: str, domain: str, secret: Secret, names: dict[str, str]) -> str:
    """Word by word, so that `Ann Lee`, `Ann` and `Ms. Lee` stay one person within a note; initials stay initials."""
    pattern = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
    words = pattern.findall(value)

    def other(match: re.Match[str]) -> str:
        word = match[0]
        if word.lower() not in names:
            first = word == words[0] and len(words) > 1 and "," not in value
            picked = _other(word, domain, secret, GIVEN if first else FAMILY)
            names[word.lower()] = picked[0] if len(word) == 1 else picked
        pick = names[word.lower()]
        return pick.upper() if word.isupper() else pick.lower() if word.islower() else pick

    return pattern.sub(other, value)


def _scrambled(value: str, domain: str, secret: Secret) -> str:
    """Digits for digits and letters for letters, the form kept."""
    for salt in range(16):
        stream = secret.digest(f"{domain} {salt}", value) * (1 + len(value) // 32)
        new = "".join(
            str(byte % 10) if c.isdigit() else chr((65 if c.isupper() else 97) + byte % 26) if c.isalpha() else c
            for c, byte in zip(value, stream, strict=False)
        )
        if new != value:
            return new
    return f"[{domain.split()[1]}]"  # nothing in it to change
