"""Delimited text: header, delimiter, rows; one bad row never costs another."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator

from nosology.errors import InputError, Reason, RecordError
from nosology.readers.source import BOM, CUT_HEADER, TOO_LONG, invalid_bytes, pieces_of_lines

DELIMITERS = ",\t;|"
_STRICT_NAME = re.compile(r"[A-Za-z_][\w.]{0,63}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][\w.()/#%-]*( [\w.()/#%-]+){0,3}", re.ASCII)
BAD_QUOTES = Reason("broken_row", None, "quotation marks that close within twice ingest.max_document_bytes")


def header(head: bytes, repeats: bool = False) -> tuple[list[str], str] | None:
    """Column names and delimiter of a table with a header, or None when the head does not look like one.

    Two columns at least; their names are names, and differ (save with `repeats`); a row below has as many cells (three plain names need
    none).
    """
    text = head.removeprefix(BOM).decode("utf-8", "replace")
    first = text.splitlines()[0] if text else ""
    mark = max(DELIMITERS, key=first.count)
    if mark not in first:
        return None
    try:
        found = []
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark):
            found.append(row)
            if len(found) == 20:
                break
    except csv.Error:
        return None
    names = [name.strip() for name in found[0]]
    if (len(set(names)) != len(names) and not repeats) or not all(_NAME.fullmatch(name) and len(name) <= 64 for name in names):
        return None
    strict = all(_STRICT_NAME.fullmatch(name) for name in names)
    below = [row for row in found[1:] if row]
    agreed = any(len(row) == len(names) for row in below)
    return (names, mark) if agreed or (strict and (len(names) > 2 or not below)) else None


def stand_once(names: list[str], read: Collection[str], file: str) -> None:
    """Raises `InputError` where a column that is read stands in the header twice."""
    if twice := [name for name in dict.fromkeys(names) if name in read and names.count(name) > 1]:
        raise InputError("the column stands twice in the header: rename or drop one", file=file, field=", ".join(twice))


class _TooLong(Exception):
    """A line above the limit; `is_row`: it is a row, and the next line begins another."""

    def __init__(self, is_row: bool) -> None:
        super().__init__()
        self.is_row = is_row


class _Rows:
    """Lines for the csv module, which takes as many as a row has; the bytes of those that it took since `begin`."""

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self._lines, self._limit = pieces_of_lines(stream, limit), limit
        self._place = self.start = 0
        self.taken: list[bytes] = []
        self.ended = False

    def begin(self) -> None:
        self.start, self.taken = self._place, []

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        piece = next(self._lines, b"")
        if not piece:
            self.ended = True
            raise StopIteration
        if len(piece) > self._limit:
            raise _TooLong(self._closes(piece))
        self._place += len(piece)
        if self._place == len(piece) and piece.startswith(BOM):
            self.start, piece = len(BOM), piece[len(BOM) :]
        self.taken.append(piece)
        return piece.decode("utf-8", "surrogateescape")

    def _closes(self, piece: bytes) -> bool:
        """Whether a line closes the quotation marks that it opens; passes over the rest of it."""
        marks = piece.count(b'"')
        self._place += len(piece)
        while not piece.endswith((b"\r", b"\n")) and (piece := next(self._lines, b"")):
            marks += piece.count(b'"')
            self._place += len(piece)
        return marks % 2 == 0 and not self.taken


def rows(stream: io.BufferedReader, delimiter: str, limit: int) -> Iterator[list[str] | Reason]:
    """Rows of cells, the header first; blank lines are left out. A row that is not UTF-8 is a `Reason` in its place."""
    csv.field_size_limit(max(limit, csv.field_size_limit()))
    source = _Rows(stream, limit)
    reader = csv.reader(source, delimiter=delimiter)
    first = whole = True  # whether nothing came yet; whether the last line had an end
    while True:
        source.begin()
        try:
            row = next(reader)
        except StopIteration:
            if not whole:
                yield CUT_HEADER
            return
        except csv.Error:
            yield BAD_QUOTES
            return
        except _TooLong as fault:
            if not fault.is_row:
                yield BAD_QUOTES
                return
            first, whole = False, True
            yield TOO_LONG
            continue
        if source.ended:  # a row asks for more than the file has only inside quotation marks: the rest of the file was taken for its cell
            yield BAD_QUOTES
            return
        if not row:
            continue
        first, whole = False, not first or source.taken[-1].endswith((b"\n", b"\r"))
        joined = "".join(row)
        if not joined.isascii():
            try:
                joined.encode()
            except UnicodeEncodeError:  # bytes that are no UTF-8 were let through as surrogates
                yield invalid_bytes(b"".join(source.taken), source.start)
                continue
        yield row


def mapping(names: list[str], row: list[str]) -> dict[str, str]:
    """The row by column name.

    Raises:
        RecordError: `column_count`.
    """
    if len(row) != len(names):
        raise RecordError("column_count", None, f"{len(names)} columns, as in the header")
    return dict(zip(names, row, strict=True))
