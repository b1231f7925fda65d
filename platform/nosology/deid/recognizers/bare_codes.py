"""Numbers and codes that need no words around them: by checksum, or too long to be a measurement.

45 CFR 164.514(b)(2)(i)(J), (L), (M), (Q), (R), in every language.
"""

from __future__ import annotations

import re

from nosology.deid.checksums import luhn, with_iban, with_vin
from nosology.deid.patterns import Patterns, rule
from nosology.deid.public_codes import called_code

UNNAMED = 0.3  # a bare code; whatever names its class is surer


def _card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _iban(match: re.Match[str]) -> bool:
    compact = match[0].replace(" ", "").upper()
    return compact.isascii() and with_iban(compact) == compact  # re.I takes the Turkish dotted I and the Kelvin sign too


def _vin(match: re.Match[str]) -> bool:
    code = match[0].upper()
    return not code.isdigit() and not code.isalpha() and with_vin(code) == code


def _no_code(match: re.Match[str]) -> bool:
    """A concept of a public code system names no person."""
    return not called_code(match.string, match.start(), match.end())


def _no_trial(match: re.Match[str]) -> bool:
    return not match[0].upper().startswith(("NCT", "PMID", "PMC", "ICD", "CPT", "COVID", "SARS")) and _no_code(match)


class BareCodes(Patterns):
    """Payment cards, IBAN, VIN, UDI, UUID, names of picture files, and bare codes too long to be a clinical value."""

    name = "bare_codes"
    rules = (
        rule("ACCOUNT", r"(?<![\w-])\d(?:[ -]?\d){11,18}(?![\w-])", check=_card, score=1.0),
        rule("ACCOUNT", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", check=_iban, flags=re.I, score=1.0),
        rule(
            "ACCOUNT",
            r"\b(?:card|visa|master ?card|amex|discover|debit|credit|account|acct|tarjeta|cuenta)\W{1,3}(?:(?:number|no|on file|n[úu]mero)\W{1,3})?"
            r"(?:end(?:ing|s|ed)|terminad[ao]|acabad[ao]|que (?:termina|acaba))(?:\s(?:in|with|en))?\W{1,3}(?P<v>\d{4})\b",
            flags=re.I,
        ),
        rule("VEHICLE", r"\b[A-HJ-NPR-Z0-9]{17}\b", check=_vin, score=1.0),
        rule("DEVICE", r"\(01\)\d{14}(?:\(\d{2}\)[\w/-]{1,20})*", score=1.0),
        # HIBCC's code (ANSI/HIBC 2.6, 2.1) and ICCBBA's (ISBT 128, data structure 034 and what is joined to it)
        rule("DEVICE", r"(?<![\w+])\+[A-Z][A-Z0-9]{3}[A-Z0-9]{1,18}\d[A-Z0-9]?/[A-Z0-9$+%./-]{3,80}", score=1.0),
        rule("DEVICE", r"=/[A-Z0-9]{16}(?:(?:=,|=>|=|&,1)[A-Z0-9]{6,20}){0,4}", score=1.0),
        rule(
            "PHOTO",
            r"(?<![\w./-])[\w-]*\d[\w-]*\.(?:jpe?g|png|tiff?|heic|bmp|gif|dcm|mp4|mov|avi|webp)\b",
            flags=re.I,
            score=1.0,
        ),
        rule("ID", r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", flags=re.I, score=1.0),
        rule("ID", r"(?<![\w.-])[A-Z]{1,5}-?\d{6,14}(?![\w.-]\w)(?!\w)", check=_no_trial, score=UNNAMED),
        rule(
            "ID",
            r"(?<![\w.,/-])\d{7,19}(?![\w%/-])(?![.,]\d)(?!\s?(?:mg|mcg|units?|iu|cells?"
            r"|copies|/)\b)",
            check=_no_code,
            flags=re.I,
            score=UNNAMED,
        ),
        rule(
            "ID",
            r"(?<![\w.,/+-])\d{2,6}(?:-\d{2,6}){2,4}(?![\w/-])(?!\.\d)",
            check=lambda m: sum(c.isdigit() for c in m[0]) >= 8 and _no_code(m),
            score=UNNAMED,
        ),
    )
