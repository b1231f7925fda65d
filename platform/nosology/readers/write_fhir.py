"""FHIR written back."""

from __future__ import annotations

from collections.abc import Iterator

from nosology.readers.changes import Rows
from nosology.records import Original


def write(pieces: Iterator[Original], rows: Rows) -> Iterator[bytes]:
    for piece in pieces:
        yield piece.content + b"\n"
