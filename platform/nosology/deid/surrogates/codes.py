"""Invented numbers and codes: the form of the real one, digits for digits and letters for letters, and a right checksum where it has one.

The name of a picture keeps its suffix, and before it what a camera or a program calls every picture; dates of a UDI stay dates (GS1 General
Specifications, 3.4), all moved by the same days.

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
_DATED = frozenset(f"({number})" for number in range(11, 18))  # of these, those that say a day: YYMMDD, with the day 00 for a whole month
_PREFIX = re.compile(r"(?:MRN|ACCT)(?=[-#:\s\d])")
_CAMERA = re.compile(  # what stands before the number: JEITA CP-3461 (DCF), and makers' and programs' own
    r"(?:IMGP?|DSC[NF]?|P(?=\d{4})|PICT|CIMG|SAM|MVI|MOV|VID|PXL|GOPR|SCREENSHOT|IMAGE|PHOTO|PICTURE|PIC|SCAN|CLIP|VIDEO)(?=[-_]?\d)", re.I
)
_SUFFIX = re.compile(r"\.[A-Za-z]{2,4}\d?$")


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
    prefix = (_CAMERA if label == "PHOTO" else _PREFIX).match(value)
    suffix = _SUFFIX.search(value) if label == "PHOTO" else None
    head, tail = prefix[0] if prefix else "", suffix[0] if suffix else ""
    body = value[len(head) : len(value) - len(tail)]
    plain = compact(body)
    if not plain:
        return None
    made = draw.candidates("code", plain, lambda stream: head + _made(body, plain, label, stream) + tail)
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
        parts, months = _APPLICATION.split(value), 1 + stream.below(30)
        return "".join(
            part if _APPLICATION.fullmatch(part) else (_later(part, months) if before in _DATED else None) or _part(part, stream)
            for before, part in zip(["", *parts], parts, strict=False)
        )
    for form, stay, letters, mend in _CHECKED:
        if form.fullmatch(plain) and mend(plain) == plain:
            return into(value, mend(_drawn(plain, stay, letters, stream)))
    hexadecimal = len(plain) >= 16 and re.fullmatch(r"[0-9A-F]+", plain) and not plain.isdigit()
    return into(value, _drawn(plain, 0, "ABCDEF" if hexadecimal else _LETTERS, stream))


def _later(part: str, months: int) -> str | None:
    """A date of a UDI so many months later; None for what is none."""
    if not re.fullmatch(r"\d\d(?:0[1-9]|1[0-2])(?:[012]\d|3[01])", part, re.A):
        return None
    year, month = divmod(int(part[:2]) * 12 + int(part[2:4]) - 1 + months, 12)
    return f"{year % 100:02d}{month + 1:02d}{min(int(part[4:]), 28):02d}"


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
