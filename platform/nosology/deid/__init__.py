"""De-identification: detect (rules, then a tagger) -> resolve -> rewrite. Pure Python; `stage.Deidentify` is what the batch runs.

A new recognizer is one module with a class of the `Recognizer` protocol in a folder of `languages/` (or in `recognizers/`, when it is
for every language), one line in that folder's `Language`, and rows in the tables of `tests/data/deid/tables/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

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
