"""Presidio's pattern recognizers for the United States and health care, as rules behind the gate.

Their patterns, validations and context words are Presidio's own (MIT); its engine is left out: it runs every pattern on every text,
cuts the text with spaCy, and on `spacy.blank` has no lemmas, so that context words stop working. Its URL and e-mail recognizers fetch
the public suffix list from the network; ours stand in for them. Its context words are matched as whole words, or "lic" in
"duplicate" would make a licence.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import regex

from nosology.deid.patterns import Patterns, Rule

# Presidio's entity -> Safe Harbor class
CLASSES = {
    "US_SSN": "SSN",
    "US_ITIN": "ID",
    "US_MBI": "BENEFICIARY",
    "US_NPI": "LICENSE",
    "MEDICAL_LICENSE": "LICENSE",
    "US_DRIVER_LICENSE": "LICENSE",
    "US_PASSPORT": "LICENSE",
    "US_BANK_NUMBER": "ACCOUNT",
    "ABA_ROUTING_NUMBER": "ACCOUNT",
    "US_HEALTH_INSURANCE_MEMBER_ID": "BENEFICIARY",
    "US_PRIOR_AUTHORIZATION_NUMBER": "ACCOUNT",
    "US_CLAIM_NUMBER": "ACCOUNT",
    "US_PRESCRIPTION_NUMBER": "ACCOUNT",
    "US_REFERRAL_NUMBER": "ACCOUNT",
    "US_PROVIDER_TAX_ID": "LICENSE",
    "CREDIT_CARD": "ACCOUNT",
    "CRYPTO": "ACCOUNT",
}
THRESHOLD = 0.4
# Presidio's LemmaContextAwareEnhancer: words before the match that count, what one of them adds, and the least score then
CONTEXT_WORDS, CONTEXT_CHARACTERS = 6, 120
CONTEXT_ADDS, CONTEXT_LEAST = 0.35, 0.4
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def _named_before(text: str, at: int, names: Sequence[frozenset[str]]) -> bool:
    """Whether one of the context phrases stands among the words before the place."""
    near = {w.lower() for w in _WORD.findall(text, max(0, at - CONTEXT_CHARACTERS), at)[-CONTEXT_WORDS:]}
    return any(name <= near for name in names)


def _rule(recognizer: Any, pattern: Any, label: str, validated: bool) -> Rule:
    """A pattern of one of Presidio's recognizers with its context words and its validation (`validated`: it has one)."""
    names = tuple(frozenset(_WORD.findall(phrase.lower())) for phrase in recognizer.context or ())
    score = float(pattern.score)
    boosted = max(score + CONTEXT_ADDS, CONTEXT_LEAST)

    def check(match: re.Match[str]) -> bool:
        start, end, text = match.start(), match.end(), match.string
        if (start and text[start - 1].isalnum() and text[start].isalnum()) or (
            end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
        ):
            return False
        value = match[0]
        if not any(c.isdigit() for c in value):
            return False
        valid = recognizer.validate_result(value)
        if valid is False or recognizer.invalidate_result(value):
            return False
        if valid or score >= THRESHOLD:
            return True
        return boosted >= THRESHOLD and _named_before(text, start, names)

    # with look-behinds of several lengths, which `re` refuses
    # what is too weak without a context word needs one of their first words in the text
    first = sorted({min(name) for name in names}) if score < THRESHOLD and not validated else []
    cue = re.compile(r"(?<![^\W_])(?:" + "|".join(map(re.escape, first)) + r")(?![^\W_])", re.I) if first else None
    return Rule(label, regex.compile(pattern.regex, regex.S | regex.M | regex.I), check, max(score, THRESHOLD), cue=cue)


@contextlib.contextmanager
def _absent(*modules: str) -> Iterator[None]:
    """While it lasts, modules that are not loaded yet cannot be: Presidio imports spaCy, and spaCy torch and transformers where it finds
    them, 300 MB a worker, for engines that are not used here."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class Presidio(Patterns):
    """A weak pattern counts only with its context word before it."""

    name = "presidio"

    def __init__(self) -> None:
        with _absent("torch", "transformers"):
            from presidio_analyzer import PatternRecognizer
            from presidio_analyzer import predefined_recognizers as theirs

        recognizers: tuple[Any, ...] = (
            theirs.UsSsnRecognizer(),
            theirs.UsItinRecognizer(),
            theirs.UsMbiRecognizer(),
            theirs.UsNpiRecognizer(),
            theirs.MedicalLicenseRecognizer(),
            theirs.UsLicenseRecognizer(),
            theirs.UsPassportRecognizer(),
            theirs.UsBankRecognizer(),
            theirs.AbaRoutingRecognizer(),
            theirs.UsHealthInsuranceMemberIdRecognizer(),
            theirs.UsPriorAuthorizationNumberRecognizer(),
            theirs.UsClaimNumberRecognizer(),
            theirs.UsPrescriptionNumberRecognizer(),
            theirs.UsReferralNumberRecognizer(),
            theirs.UsProviderTaxIdRecognizer(),
            theirs.CreditCardRecognizer(),
            theirs.CryptoRecognizer(),
        )
        plain = PatternRecognizer.validate_result
        self.rules = [
            _rule(one, pattern, CLASSES[one.supported_entities[0]], type(one).validate_result is not plain)
            for one in recognizers
            for pattern in one.patterns
        ]
