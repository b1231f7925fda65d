"""Text taken out of a document, and where each character of it stands in there.

A `Pen` writes the text; a `Prose` is what it wrote. Characters of the text come from the document alone, in its order; what a reader
puts in between (line breaks, tabs) is white space. `Prose.origin` is a run-length map: evidence in the text can be shown in the original.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from nosology.errors import RecordError
from nosology.records import Origin

_PHRASE = re.compile(r"[^ \t\n\r\f]+(?: [^ \t\n\r\f]+)*")
_LINES = re.compile(r"[^\r\n]+|\r\n?|\n")
_ONE_WIDTH = re.compile("[\0-\x7f]+|[\x80-\u07ff]+|[\u0800-\uffff]+|[\U00010000-\U0010ffff]+")  # as UTF-8 and UTF-16 write them
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(r"[A-Za-z0-9][\w.:-]{0,39}", re.ASCII)
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"}  # codecs that are no way to store text


@dataclass(frozen=True, slots=True)
class Prose:
    """The text of a document.

    Attributes:
        text: what a reader of the document sees.
        media_type: what the document is, from the closed set of `nosology.readers.document`.
        origin: where the text stands in the document's bytes; empty for plain text, which stands for itself, and where it is not known.
    """

    text: str
    media_type: str
    origin: tuple[Origin, ...] = ()


def locate(origin: Sequence[Origin], start: int, stop: int) -> tuple[int, int] | None:
    """Bytes of the original that hold text[start:stop], end exclusive; None where no character of it stands there.

    Args:
        origin: of a `Prose` or a `RawDocument`, ordered by `text_start`.
    """
    at = max(bisect_right(origin, start, key=lambda run: run.text_start) - 1, 0)
    found: list[tuple[int, int]] = []
    for run in origin[at:]:
        if run.text_start >= stop:
            break
        first, last = max(start, run.text_start), min(stop, run.text_start + run.length)
        if first < last:
            begin = run.source_start + (first - run.text_start) * run.width
            found.append((begin, run.source_start + (last - run.text_start) * run.width))
    return (found[0][0], found[-1][1]) if found else None


class Pen:
    """Writes text and remembers where it came from. White space that is due is written before the next character, so that a text
    neither begins nor ends with it."""

    __slots__ = ("_breaks", "_length", "_parts", "_runs", "_space", "_tabs")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._runs: list[list[int]] = []  # text start, source start, length, width
        self._length = self._breaks = self._tabs = 0
        self._space: int | None = None  # place of white space that separates words

    def write(self, text: str, source: int, width: int = 1) -> None:
        """Characters as they are, each `width` wide in the source."""
        if not text:
            return
        if self._length:
            if self._breaks or self._tabs:
                self._insert("\n" * self._breaks + "\t" * self._tabs)
            elif self._space is not None:
                self._put(" ", self._space, 1)
        self._breaks = self._tabs = 0
        self._space = None
        self._put(text.replace("\xa0", " "), source, width)

    def flow(self, text: str, source: int) -> None:
        """Words, with one space where the source has white space."""
        at = 0
        for match in _PHRASE.finditer(text):
            start = match.start()
            if start > at:
                self._space = source + start - 1
            self.write(match[0], source + start)
            at = match.end()
        if at < len(text):
            self._space = source + len(text) - 1

    def keep(self, text: str, source: int) -> None:
        """Words, spaces and lines as they stand there."""
        for match in _LINES.finditer(text):
            if match[0][0] in "\r\n":
                self.line()
            else:
                self.write(match[0], source + match.start())

    def space(self, source: int) -> None:
        """White space between words."""
        self._space = source

    def line(self) -> None:
        """The end of a line."""
        self._breaks, self._tabs = self._breaks + 1, 0

    def block(self, breaks: int) -> None:
        """At least that many line breaks, at most two."""
        self._breaks, self._tabs = max(self._breaks, breaks), 0

    def newline(self) -> None:
        """A line break that adds to one before, up to a blank line."""
        self._breaks, self._tabs = min(self._breaks + 1, max(self._breaks, 2)), 0

    def tab(self) -> None:
        """A tab."""
        self._tabs += 1

    def cell(self) -> None:
        """The next cell of a row, whatever blocks the one before ended with."""
        self._breaks, self._tabs = 0, self._tabs + 1

    def _insert(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def _put(self, text: str, source: int, width: int) -> None:
        last = self._runs[-1] if self._runs else None
        if last and last[3] == width and last[0] + last[2] == self._length and last[1] + last[2] * width == source:
            last[2] += len(text)
        else:
            self._runs.append([self._length, source, len(text), width])
        self._insert(text)

    @property
    def length(self) -> int:
        """Characters written."""
        return self._length

    @property
    def text(self) -> str:
        """What was written."""
        return "".join(self._parts)

    def prose(self, media_type: str, page: str, data: bytes, charset: str) -> Prose:
        """What was written, its places counted in bytes.

        Args:
            page: the document as text, in which places were counted until now.
            data: the document itself.
            charset: how `page` was decoded from it, a byte order mark aside.
        """
        return Prose(self.text, media_type, tuple(Origin(text_start=a, source_start=b, length=c, width=d)
                                                             for a, b, c, d in _in_bytes(self._runs, page, data, charset)))  # fmt: skip


def _in_bytes(runs: list[list[int]], page: str, data: bytes, charset: str) -> list[list[int]]:
    """Runs by byte; none where the encoding is not one in which a character always has the same bytes."""
    mark = mark_bytes(data)
    if len(page) == len(data) - mark:  # a byte a character
        return [[a, b + mark, c, d] for a, b, c, d in runs] if mark else runs
    try:
        if page.encode(charset) != data[mark:]:
            return []
    except UnicodeEncodeError:
        return []
    found: list[list[int]] = []
    place, byte = 0, mark
    for text_start, source, length, width in runs:
        byte += len(page[place:source].encode(charset))
        place = source
        if width > 1:  # written as several characters, all of one width
            size = len(page[source : source + width].encode(charset))
            found.append([text_start, byte, length, size])
            continue
        for match in _ONE_WIDTH.finditer(page, source, source + length):
            size = len(match[0].encode(charset))
            each = size // len(match[0])
            if each * len(match[0]) != size:  # a charset with widths of its own
                each = 0
            pieces = [match[0]] if each else list(match[0])
            for piece in pieces:
                wide = len(piece.encode(charset))
                found.append([text_start + place - source, byte, len(piece), wide // len(piece)])
                byte, place = byte + wide, place + len(piece)
    return found


def mark_bytes(data: bytes) -> int:
    """Length of the byte order mark at the beginning."""
    return next((len(mark) for mark, _ in _MARKS if data.startswith(mark)), 0)


def decoded(data: bytes, charset: str | None, field: str) -> tuple[str, str]:
    """The text of bytes, and the charset that it is in: that of a byte order mark, else the one named, else UTF-8.

    Raises:
        RecordError: `unsupported_content` for a charset that is not known; `invalid_utf8`, with the place of the first bad byte.
    """
    mark = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)
    name = mark[1] if mark else _known(charset, field)
    body = data[len(mark[0]) :] if mark else data
    if name == "iso8859-1":  # what is called Latin-1 is Windows-1252 nearly always (WHATWG Encoding, 4.2)
        try:
            return body.decode("cp1252"), "cp1252"
        except UnicodeDecodeError:
            pass
    try:
        return body.decode(name), name
    except UnicodeDecodeError as error:
        rule = f"text in UTF-8, or in the charset that is named; byte {error.start + len(data) - len(body)} is not"
        raise RecordError("invalid_utf8", field, rule) from None


@lru_cache(maxsize=64)
def _known(charset: str | None, field: str) -> str:
    if not charset:
        return "utf-8"
    try:
        if not _CHARSET.fullmatch(charset):
            raise LookupError
        found = codecs.lookup(charset)
        if found.name.replace("-", "_") in _NO_CHARSETS or not found._is_text_encoding:
            raise LookupError
    except LookupError:
        raise RecordError("unsupported_content", field, "a known charset") from None
    return "utf-8" if found.name in ("utf-8-sig", "ascii") else found.name
