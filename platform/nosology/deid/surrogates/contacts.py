"""Invented ways to reach somebody, from ranges that nobody is ever given where there are such.

Telephones of the North American plan: 555-0100 to 555-0199 of any area (ATIS-0300115); mobile numbers of the United Kingdom: 07700 900000 to
900999 (Ofcom, telephone numbers for use in TV and radio drama). E-mail and URL: example.org, .com, .net (RFC 2606). Addresses: 192.0.2.0/24,
198.51.100.0/24, 203.0.113.0/24 (RFC 5737), 2001:db8::/32 (RFC 3849), MAC 00-00-5E-00-53-00 to FF (RFC 7042).
"""

from __future__ import annotations

import ipaddress
import re

from nosology.deid.surrogates.draw import Stream, fold
from nosology.deid.surrogates.names import Names

_EXTENSION = re.compile(r"\s*(?:x|ext\.?|extension|#)\s*\d{1,6}$", re.I)
_TOLL_FREE = ("800", "833", "844", "855", "866", "877", "888")  # of the North American plan
_NETS = ("192.0.2", "198.51.100", "203.0.113")
# of ITU-T E.164: country codes of one and two digits; all others have three
_COUNTRIES = """1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94
    95 98"""
_CODES = frozenset(_COUNTRIES.split())
_RESERVED = re.compile(r"\.(com|net|org)(?=$|[:/?#])", re.I)
MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}", re.I)


def into(form: str, characters: str) -> str:
    """The characters in the places of the letters and digits of a form, in its case; what is over is dropped."""
    left = iter(characters)
    return "".join(
        (new.lower() if c.islower() else new) if c.isalnum() and (new := next(left, "")) else "" if c.isalnum() else c for c in form
    )


def phone(value: str, stream: Stream) -> str:
    """A number of the same form."""
    extension = _EXTENSION.search(value)
    main = value[: extension.start()] if extension else value
    digits = "".join(c for c in main if c.isdigit())
    letters = any(c.isalpha() for c in main)
    new = _spelled("".join(c for c in main if c.isalnum()), stream) if letters else _digits(digits, main, stream)
    tail = "".join(stream.one("0123456789") if c.isdigit() else c for c in extension[0]) if extension else ""
    return into(main, new) + tail


def _spelled(characters: str, stream: Stream) -> str:
    """A number of the North American plan with letters in it, for which no range is kept free: the area code stays one, free of charge
    where it was."""
    lead = "1" if characters.startswith("1") and len(characters) > 10 else ""
    area = characters[len(lead) : len(lead) + 3]
    new = lead
    if len(characters) - len(lead) >= 10 and area.isdecimal():
        new += _TOLL_FREE[stream.below(len(_TOLL_FREE))] if area in _TOLL_FREE else _area(stream)
    left = characters[len(new) :]
    return new + "".join(stream.one("23456789") if c.isdigit() else stream.one("ABCDEFGHJKLMNPQRSTUVWXYZ") for c in left)


def _area(stream: Stream) -> str:
    return stream.one("23456789") + stream.one("02345678") + stream.one("023456789")


def _digits(digits: str, main: str, stream: Stream) -> str:
    national = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    plus = main.lstrip().startswith("+")
    if len(national) == 10 and national[0] in "23456789" and (not plus or digits[0] == "1"):
        return digits[: len(digits) - 10] + _area(stream) + "55501" + stream.one("0123456789") + stream.one("0123456789")
    if len(digits) == 7 and not plus:
        return "55501" + stream.one("0123456789") + stream.one("0123456789")
    kept = 1
    if plus or digits.startswith("00"):
        lead = 0 if plus else 2
        length = next((n for n in (1, 2) if digits[lead : lead + n] in _CODES), 3)
        code = digits[lead : lead + length]
        if code == "44" and len(digits) - lead == 12:
            return digits[: lead + 2] + "7700900" + "".join(stream.one("0123456789") for _ in range(3))
        kept = lead + length + 1
    return digits[:kept] + "".join(stream.one("0123456789") for _ in digits[kept:])


def email(value: str, stream: Stream, names: Names, known_names: frozenset[str]) -> str:
    """An address at example.org, .com or .net; names of the text in it become the names that stand for them."""
    local = value.rpartition("@")[0]

    def other(match: re.Match[str]) -> str:
        run = fold(match[0])
        name = next((run[start:] for start in range(min(3, len(run))) if run[start:] in known_names), None)  # up to two initials before it
        if name and (new := names.word(name)):
            return "".join(map(names.initial, run[: len(run) - len(name)])).lower() + fold(new).replace(" ", "")
        return "".join(stream.one("abcdefghijklmnopqrstuvwxyz") for _ in match[0])

    made = re.sub(r"\d", lambda _: stream.one("0123456789"), re.sub(r"[^\W\d_]+", other, local))
    return f"{made}@{_host(value)}"


def _host(value: str) -> str:
    found = _RESERVED.search(value)
    return f"example.{found[1].lower() if found else 'org'}"


def url(value: str, stream: Stream) -> str:
    """An address of the same scheme; a path becomes one that says nothing."""
    match = re.match(r"(?P<scheme>[a-z][a-z0-9+.-]*://)?(?P<www>www\.)?[^/?#]*(?P<path>[/?#].+)?", value, re.I | re.S)
    assert match is not None  # every part of it may be empty
    path = "/" + "".join(stream.one("0123456789abcdef") for _ in range(10)) if match["path"] else ""
    host = _host(value.split("://")[-1].split("/")[0])
    # without a path there is nothing but the host to differ in
    own = "" if path else "".join(stream.one("abcdefghijklmnopqrstuvwxyz") for _ in range(6)) + "."
    return f"{match['scheme'] or ''}{match['www'] or ''}{own}{host}{path}"


def address(value: str, stream: Stream) -> str | None:
    """An IP address of a range for documentation; None for what is none."""
    try:
        version = ipaddress.ip_address(value).version
    except ValueError:
        return None
    if version == 4:
        return f"{_NETS[stream.below(3)]}.{1 + stream.below(254)}"
    return "2001:db8:" + ":".join(f"{0x1000 + stream.below(0xEFFF):x}" for _ in range(6))


def mac(value: str, stream: Stream) -> str:
    """A MAC address for documentation, with the separators of the real one."""
    made = into(value.upper(), f"00005E0053{stream.below(256):02X}")
    return made.lower() if value.islower() else made
