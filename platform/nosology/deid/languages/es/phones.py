"""Telephones of Spain and Latin America (ITU-T E.164; Spanish numbering plan: nine digits, the first 6 to 9)."""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

CALL = (
    r"\b(?:tel[ée]fonos?|tel[ée]f|tels?|tf(?:no|n|o)?s?|tlf(?:no|n)?s?|tfno|m[óo]vil(?:es)?|celular|cel|whatsapp|busca|centralita"
    r"|contacto|llamar al|llamando al|ext(?:ensi[óo]n)?)"
)
FAX = r"\bfax(?:es)?(?:\s?(?:n[º°o]\.?|n[úu]m(?:ero)?\.?|al|a|en el|es)(?![a-z]))?"
NUMBER = r"(?P<v>\(?\+?\d[\d \t().\-/]{5,20}\d)(?!\d)"


def _digits(match: re.Match[str]) -> bool:
    """A number that its label calls a phone: 7 to 15 digits."""
    return 7 <= sum(c.isdigit() for c in str(match["v"])) <= 15


def _nine(match: re.Match[str]) -> bool:
    return sum(c.isdigit() for c in match[0]) in (9, 11, 13)


class Phones(Patterns):
    """Numbers behind a label, numbers with a country code, and nine digits in the groups that Spain writes."""

    name = "phones_es"
    rules = (
        rule("FAX", rf"{FAX}[^\w+(]{{0,6}}{NUMBER}", check=_digits, flags=re.I, score=1.0),
        rule("PHONE", rf"{CALL}(?:\s*(?:de contacto|m[óo]vil|fijo|n[ºo°]\.?|n[úu]mero|/\s?fax|y fax))?\W{{0,6}}{NUMBER}", check=_digits, flags=re.I, score=1.0),
        rule("PHONE", r"\b(?:busca|ext(?:ensi[óo]n)?\.?|centralita)\s*(?:n[ºo°]\.?\s*)?:?\s*(?P<v>\d{3,6})\b", flags=re.I),
        rule("PHONE", r"(?<![\w.,/+-])(?:(?:\+|00)34[ -]?)?[6-9]\d\d([ .-])\d{3}\1\d{3}(?![\d/-]|[.,]\d)", check=_nine, score=1.0),
        rule("PHONE", r"(?<![\w.,/+-])(?:(?:\+|00)34[ -]?)?[6-9]\d\d([ .-])\d\d\1\d\d\1\d\d(?![\d/-]|[.,]\d)", check=_nine, score=1.0),
        rule("PHONE", r"(?<![\w.,/+-])(?:(?:\+|00)34[ -]?)?[89]\d([ .-])\d{3}\1\d\d\1\d\d(?![\d/-]|[.,]\d)", check=_nine, score=1.0),
        rule("PHONE", r"(?<![\w.,/+-])[6-9]\d\d[ .-]\d{6}(?![\d/-]|[.,]\d)", score=0.8),
        rule("PHONE", r"(?<![\w.,/+-])[67]\d{8}(?![\w/-]|[.,]\d)", score=0.6),
        rule("PHONE", r"(?<![\w.])\+\d{1,3}[ .-]?(?:\(?\d{1,5}\)?[ ./-]?){2,6}\d{2,}(?!\d)", score=1.0),
        rule("PHONE", r"(?<![\w.+-])\(\d{2,4}\)[ ]?\d{3,4}[ -]\d{3,4}(?![\w-])"),
        rule("PHONE", r"(?<![\w.,/+-])0[24]\d\d[-. ]\d{3}[-. ]?\d\d[-. ]?\d\d(?![\w/-]|[.,]\d)", score=0.9),  # Venezuela
        rule("PHONE", r"(?<=[/,y] )(?P<v>[6-9]\d\d ?\d{3} ?\d{3})(?=[ .;,\n)]|$)", score=0.7),
    )  # fmt: skip
