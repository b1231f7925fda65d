"""De-identification: detect (rules, then a tagger) -> resolve -> rewrite. Pure Python; `stage.Deidentify` is what the batch runs.

A new recognizer is one module of `recognizers/` with a class of the `Recognizer` protocol, one line in `RECOGNIZERS`, and one
table in `tests/deid/test_recognizers.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Protocol, cast

from nosology.records import Span

# Classes of 45 CFR 164.514(b)(2)(i), by its letters. ORGANIZATION is the employer or place of care, which (B) and the
# "relatives, employers, or household members" of the rule's first sentence cover.
LABELS: dict[str, str] = {
    "NAME": "A",
    "LOCATION": "B",
    "ZIP": "B",
    "ORGANIZATION": "B",
    "DATE": "C",
    "AGE": "C",
    "PHONE": "D",
    "FAX": "E",
    "EMAIL": "F",
    "SSN": "G",
    "MRN": "H",
    "BENEFICIARY": "I",
    "ACCOUNT": "J",
    "LICENSE": "K",
    "VEHICLE": "L",
    "DEVICE": "M",
    "URL": "N",
    "IP": "O",
    "BIOMETRIC": "P",
    "PHOTO": "Q",
    "ID": "R",
}


class Recognizer(Protocol):
    """Finds identifiers of some classes in a text. One instance serves many texts."""

    def find(self, text: str) -> Iterable[Span]:
        """Spans in any order; they may overlap."""
        ...


RECOGNIZERS: dict[str, str] = {
    "dates": "nosology.deid.recognizers.dates:Dates",
    "ages": "nosology.deid.recognizers.ages:Ages",
    "contacts": "nosology.deid.recognizers.contacts:Contacts",
    "identifiers": "nosology.deid.recognizers.identifiers:Identifiers",
    "places": "nosology.deid.recognizers.places:Places",
    "names": "nosology.deid.recognizers.names:Names",
    "presidio": "nosology.deid.recognizers.presidio:Presidio",
}


def recognizer(name: str) -> Recognizer:
    """A new recognizer of that name."""
    module, _, attribute = RECOGNIZERS[name].partition(":")
    return cast("Recognizer", getattr(importlib.import_module(module), attribute)())
