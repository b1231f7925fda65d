"""Invented values in the place of identifiers: of the same class and form, the same for the same value of the same patient.

`Surrogates` serves one text. Nothing is remembered between two: a value's surrogate comes from HMAC of the patient and the value without
case, accents and punctuation, so all notes of a patient agree, on any worker. No surrogate equals an identifier of its text, nor a word of
a name or place in it of two letters or more (titles, particles and words of kind such as `Street` apart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nosology.deid.secret import Secret
from nosology.deid.surrogates import places
from nosology.deid.surrogates.codes import code
from nosology.deid.surrogates.contacts import address, email, phone, url
from nosology.deid.surrogates.draw import Draw, compact
from nosology.deid.surrogates.names import Names, words_of

__all__ = ["Surrogates"]


class Surrogates:
    """Surrogates of one text.

    Args:
        identifiers: value and class of every identifier of the text.
        zip_code: what stays of a ZIP code.
        language: of the text.
    """

    def __init__(
        self, secret: Secret, patient: str, identifiers: Iterable[tuple[str, str]], zip_code: Callable[[str], str], language: str = "en"
    ) -> None:
        self._zip_code = zip_code
        found = list(identifiers)
        names = {word for value, label in found if label == "NAME" for word in words_of(value, language)}
        towns = {word for value, label in found if label in ("LOCATION", "ORGANIZATION") for word in places.words_of(value, label)}
        values = frozenset(compact(value) for value, _ in found)
        self._draw = Draw(secret, patient, frozenset(names | towns), values, language)
        self._known = frozenset(names)
        self._names = Names(self._draw)
        self._names.prepare(names)

    def of(self, value: str, label: str) -> str | None:
        """An invented value; None where none can be given."""
        if label == "NAME":
            return self._names.of(value)
        if label in ("LOCATION", "ORGANIZATION"):
            return places.place(value, label, self._draw, self._zip_code)
        key = compact(value)
        if label in ("PHONE", "FAX"):
            return self._draw.first("phone", key, lambda stream: phone(value, stream))
        if label == "EMAIL":
            return self._draw.first("email", key, lambda stream: email(value, stream, self._names, self._known))
        if label == "URL":
            return self._draw.first("url", key, lambda stream: url(value, stream))
        if label == "IP" and address(value, self._draw.stream("ip", key)) is not None:
            return self._draw.first("ip", key, lambda stream: str(address(value, stream)))
        return code(value, label, self._draw)
