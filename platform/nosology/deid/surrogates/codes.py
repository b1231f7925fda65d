"""Invented numbers and codes: the form of the real one, digits for digits and letters for letters, and a right checksum where it has one.

Checksums: `nosology.deid.checksums`. The Medicare Beneficiary Identifier keeps its form (CMS). A social security number gets an area of 900 or
more and a group below 50, which neither it nor a taxpayer number (ITIN) ever has.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from nosology.deid.checksums import (
    VIN_LETTERS,
    with_dea,
    with_dni,
    with_gtin,
    with_iban,
    with_luhn,
    with_npi,
    with_nuss,
    with_vin,
)
from nosology.deid.surrogates.contacts import MAC, into, mac
from nosology.deid.surrogates.draw import Draw, Stream, compact

_DIGITS = "0123456789"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MBI_LETTERS = "ACDEFGHJKMNPQRTUVWXY"
_MBI = re.compile(rf"[1-9][{_MBI_LETTERS}][0-9{_MBI_LETTERS}]\d[{_MBI_LETTERS}][0-9{_MBI_LETTERS}]\d[{_MBI_LETTERS}]{{2}}\d\d")
_APPLICATION = re.compile(r"(\(\d{2,4}\))")  # GS1's own numbers in a UDI, which say what follows
_PREFIX = re.compile(r"(?:MRN|ACCT)(?=[-#:\s\d])")


# form of the compact value, places that stay, letters that may stand in it, and what makes its checksum right
_CHECKED: tuple[tuple[re.Pattern[str], int, str, Callable[[str], str]], ...] = (
    (re.compile(r"[12]\d{9}"), 1, _LETTERS, with_npi),
    (re.compile(r"[A-Z]{2}\d{7}"), 0, _LETTERS, with_dea),
    (re.compile(r"\d{8}[A-Z]"), 0, _LETTERS, with_dni),
    (re.compile(r"[XYZ]\d{7}[A-Z]"), 1, _LETTERS, with_dni),
    (re.compile(r"(?=.*\d)(?=.*[A-Z])[A-HJ-NPR-Z0-9]{17}"), 0, VIN_LETTERS, with_vin),
    (re.compile(r"[A-Z]{2}\d\d[A-Z0-9]{11,30}"), 2, _LETTERS, with_iban),
    (re.compile(r"\d{12}"), 2, _LETTERS, with_nuss),
    (re.compile(r"\d{12,19}"), 1, _LETTERS, with_luhn),
)  # fmt: skip


def code(value: str, label: str, draw: Draw) -> str | None:
    """Another code of the same form; None when there is nothing in it to change."""
    prefix = _PREFIX.match(value)
    head, body = (prefix[0], value[prefix.end() :]) if prefix else ("", value)
    plain = compact(body)
    if not plain:
        return None
    made = draw.candidates("code", plain, lambda stream: head + _made(body, plain, label, stream))
    return next((one for one in made if one != value), None)


def _made(value: str, plain: str, label: str, stream: Stream) -> str:
    if MAC.fullmatch(value):
        return mac(value, stream)
    if not plain.isascii() or not plain.isalnum():
        return "".join(map(lambda c: _beside(c, stream), value))
    if re.fullmatch(r"\d{9}", plain) and (label == "SSN" or re.fullmatch(r"\d{3}([- ])\d{2}\1\d{4}", value)):
        return into(value, f"9{stream.below(100):02d}{1 + stream.below(49):02d}{1 + stream.below(9999):04d}")
    if _MBI.fullmatch(plain):
        return into(
            value, stream.one("123456789") + "".join(stream.one(_MBI_LETTERS) if c.isalpha() else stream.one(_DIGITS) for c in plain[1:])
        )
    if value.startswith("(01)"):
        return "".join(part if _APPLICATION.fullmatch(part) else _part(part, stream) for part in _APPLICATION.split(value))
    for form, stay, letters, mend in _CHECKED:
        if form.fullmatch(plain) and mend(plain) == plain:
            return into(value, mend(_drawn(plain, stay, letters, stream)))
    hexadecimal = len(plain) >= 16 and re.fullmatch(r"[0-9A-F]+", plain) and not plain.isdigit()
    return into(value, _drawn(plain, 0, "ABCDEF" if hexadecimal else _LETTERS, stream))


def _part(part: str, stream: Stream) -> str:
    """A field of a UDI; one of 14 digits is a GTIN."""
    plain = compact(part)
    made = _drawn(plain, 0, _LETTERS, stream)
    return into(part, with_gtin(made) if re.fullmatch(r"\d{14}", plain) and with_gtin(plain) == plain else made)


def _drawn(plain: str, stay: int, letters: str, stream: Stream) -> str:
    """As many digits and letters in the same places; a number does not begin with 0 unless it did."""
    made = plain[:stay]
    for place, c in enumerate(plain[stay:], stay):
        if c.isdigit():
            made += stream.one("123456789") if place == 0 and c != "0" else stream.one(_DIGITS)
        else:
            made += stream.one(letters)
    return made


def _beside(c: str, stream: Stream) -> str:
    """For what is not plain ASCII: a digit or a letter of it in each place."""
    if not c.isalnum():
        return c
    return stream.one(_DIGITS) if c.isdigit() else stream.one(_LETTERS) if c.isupper() else stream.one(_LETTERS).lower()
