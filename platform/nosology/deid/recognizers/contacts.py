"""Telephone, fax, e-mail, URL and network addresses (45 CFR 164.514(b)(2)(i)(D), (E), (F), (N), (O))."""

from __future__ import annotations

import ipaddress
import re

from nosology.deid.patterns import Patterns, rule

CALL = (
    r"\b(?:phone|ph|tel|telephone|cell|cellphone|mobile|fax|facsimile|pager|beeper"
    r"|pgr|contact|call(?:ed|ing)?|reach(?:ed|able)?|text(?:ed)?|ring|dial|number"
    r"|office|home|work|desk|voicemail|hotline|answering)(?:[\s_]*(?:number|no\.?|#))?"
)
FAX_BEFORE = re.compile(r"(?:\bfax(?:e[ds]|ing)?|facsimile)(?:[\s_]*(?:number|no\.?|#))?(?:\s(?:us |it )?(?:to|at|is|on))?\W{0,6}$", re.I)
FAX_AFTER = re.compile(r"\s{0,2}[-(]?\s?fax\b", re.I)
TLD = r"(?:com|org|net|edu|gov|mil|info|biz|health|care|clinic|hospital|io|dev|app|co\.uk|nhs\.uk|test|example|invalid)"


def _address(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return True


def _network(match: re.Match[str]) -> bool:
    """An IPv6 address; `12::30` may be a time or a ratio."""
    return _address(match) and sum(c.isalnum() for c in match[0]) >= 6


def is_fax(text: str, start: int, end: int) -> bool:
    """Whether the words around a number call it a fax."""
    return bool(FAX_BEFORE.search(text, max(0, start - 24), start) or FAX_AFTER.match(text, end))


def _fax(match: re.Match[str]) -> str | None:
    return "FAX" if is_fax(match.string, *match.span("v" if "v" in match.re.groupindex else 0)) else None


def _digits(match: re.Match[str]) -> bool:
    """A number that context calls a phone: 7 to 15 digits (ITU-T E.164)."""
    return 7 <= sum(c.isdigit() for c in str(match["v"])) <= 15


FOREIGN = r"(?<![\w.])\+\d{1,3}[\s.-]?(?:\(?\d{1,5}\)?[\s./-]?){2,6}\d{2,}(?:x\d+)?(?!\d)"  # a number with the code of a country


def is_foreign(match: re.Match[str]) -> bool:
    """Whether a match of `FOREIGN` has the digits of a number and an extension."""
    return 8 <= sum(c.isdigit() for c in match[0]) <= 17


class Contacts(Patterns):
    """Ways to reach a person. E-mail and URL are our own: Presidio's ask the network for the list of public suffixes."""

    name = "contacts"
    rules = (
        rule("EMAIL", r"(?<![\w.+%'-])[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+", score=1.0),
        rule("URL", r"\b(?:https?|ftp|sftp)://[^\s<>\"')\]};,]+[^\s<>\"')\]};,.:!?]", flags=re.I, score=1.0),
        rule("URL", r"(?<![\w])(?:file|sftp|smb|s3|ftps)://[^\s<>\"')\]};,]+[^\s<>\"')\]};,.:!?]", flags=re.I, score=1.0),
        rule("URL", r"\bwww\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>\"')\];,]*[^\s<>\"')\];,.:!?])?", flags=re.I, score=1.0),
        rule(
            "URL",
            rf"(?<![@\w.-])(?:[a-z0-9][a-z0-9-]{{1,62}}\.)+{TLD}\b(?![\w@-])(?!\.\w)(?:/[^\s<>\"')\];,]*[^\s<>\"')\];,.:!?])?",
            flags=re.I,
        ),
        rule("IP", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d)", check=_address, score=1.0),
        rule(
            "IP",
            r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])",
            check=_network,
            flags=re.I,
        ),
        rule("DEVICE", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", flags=re.I, score=1.0),
        rule(
            "PHONE",
            r"(?<![\w.+-])(?:\+?1[-. ]?)?(?:\([2-9]\d\d\)\s?|[2-9]\d\d[-. ])\d{3}[-. ]\d{4}"
            r"(?:\s*(?:x|ext\.?|extension)\s*\d{1,6})?(?![\w-])",
            flags=re.I,
            score=1.0,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            FOREIGN,
            check=is_foreign,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            rf"{CALL}s?(?![A-Za-z])\s?(?:\w{{1,4}}\s)?[\s:#=\-–(]{{0,5}}(?P<v>\(?\+?\d[\d\s().-]{{5,18}}\d"
            r"(?:\s*(?:x|ext\.?)\s*\d{1,6})?)(?![\d/])",
            check=_digits,
            flags=re.I,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            r"(?<![\w.])(?P<v>\(?\+?\d[\d\s().-]{5,18}\d)(?=\s{0,2}[-(]?\s?(?:fax|office"
            r"|mobile|cell|home|work)\b)",
            cue=r"\d[\s(-]{0,4}(?:fax|office|mobile|cell|home|work)",
            check=_digits,
            flags=re.I,
            relabel=_fax,
        ),
        rule("PHONE", r"\b(?:ext|extension|pager|beeper|pgr)\.?\s*[:#]?\s*(?P<v>\d{4,6})\b", flags=re.I, relabel=_fax),
        rule("PHONE", r"(?<![\w.+-])\(\d{2,4}\)\s?\d{3,4}[\s-]\d{3,4}(?![\w-])", relabel=_fax),
    )
