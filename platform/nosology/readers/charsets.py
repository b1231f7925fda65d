"""Encodings of text: what a file is in, and a stream of it in UTF-8, which is all that the readers read.

In this order: a byte order mark; UTF-16 or UTF-32 without one (a quarter of the bytes is zero, and read so most characters are printable
ASCII; charset-normalizer, asked instead, took HL7 messages for no text at all); else UTF-8. A byte that is not UTF-8 is read in the
encoding of `ingest.encoding` where that is set; else as Windows-1252 (Latin-1 is a part of it) where the first 64 KiB that hold such
bytes leave no doubt; else it stays as it is, and its record becomes a dead letter that names its offset. What is UTF-8 is always read as
UTF-8, so a file of both encodings is read right.

**No doubt** is: every such byte is a character that Windows-1250, -1252 and -1254 share, in a place where it can be (a letter with a
mark inside a word, an apostrophe behind a letter, a degree sign behind a number), and there are enough of them. A letter counts 1, a
character that no flipped bit makes of printable ASCII (quotation marks, dashes) counts 3, and 9 are needed. What follows the first
64 KiB is judged byte by byte.
"""

from __future__ import annotations

import codecs
import io
import re
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

from nosology.readers.source import BOM, DAMAGED, HEAD_BYTES

UTF8, WINDOWS = "utf-8", "cp1252 (detected)"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_SAMPLE_BYTES = 4096
_ENOUGH = 9
_HELD_BYTES = 8  # kept back at the end of a piece, so that a character and its neighbours are seen together
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as `surrogateescape` shows them
_LONE = re.compile("[\ud800-\udfff]")
_MOST_PLACES = 1 << 16  # offsets that are remembered: more than a reader's buffer holds

Fits = Callable[[str, str], bool]


def _in_word(letter: str) -> Fits:
    upper = letter.isupper()

    def fits(before: str, after: str) -> bool:
        lone = (before.isascii() or not before.isalpha()) and (after.isascii() or not after.isalpha())
        beside = (before.isascii() and before.isalpha()) or (after.isascii() and after.isalpha())
        return lone and beside and not (upper and before.islower())

    return fits


def _is_space(text: str) -> bool:
    return not text or text.isspace()


_PLACES: dict[int, tuple[str, int, Fits]] = {
    0x85: ("\u2026", 3, lambda before, after: before.isalnum() or _is_space(before)),
    0x91: ("\u2018", 3, lambda before, after: not before.isalnum() and after.isalnum()),
    0x92: ("\u2019", 3, lambda before, after: before.isalnum()),
    0x93: ("\u201c", 3, lambda before, after: not before.isalnum() and after.isalnum()),
    0x94: ("\u201d", 3, lambda before, after: not _is_space(before) and not after.isalnum()),
    0x95: ("\u2022", 3, lambda before, after: not before.isalnum()),
    0x96: ("\u2013", 3, lambda before, after: before.isalnum() == after.isalnum() or (_is_space(before) and _is_space(after))),
    0x97: ("\u2014", 3, lambda before, after: before.isalnum() == after.isalnum() or (_is_space(before) and _is_space(after))),
    0xB0: ("\u00b0", 1, lambda before, after: before.isdigit() or (before == " " and after in ("C", "F"))),
    0xB1: ("\u00b1", 1, lambda before, after: after.isdigit() or (before == " " and after == " ")),
    0xB5: ("\u00b5", 1, lambda before, after: after in tuple("gmlLMI") and not before.isalpha()),
    # n with a tilde in Spanish stands before a vowel; n with an acute in Polish, the same byte in Windows-1250, never does
    0xD1: ("\u00d1", 1, lambda before, after: after in tuple("AEIOUaeiou") and not before.islower()),
    0xF1: ("\u00f1", 1, lambda before, after: after in tuple("aeiou")),
    **{byte: (letter, 1, _in_word(letter))
       for byte in range(0xC0, 0x100)
       if (letter := bytes([byte]).decode("cp1252")).isalpha()
       and all(bytes([byte]).decode(other, "replace") == letter for other in ("cp1250", "cp1254", "latin-1"))},
}  # fmt: skip


def marked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by a byte order mark."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 of a file that begins so, by its byte order mark or without one; None for every other."""
    if name := marked(head):
        return name
    sample = head[: min(_SAMPLE_BYTES, len(head) // 4 * 4)]
    if sample.count(0) * 4 < len(sample) or not sample:
        return None
    for _, name in _MARKS:
        text = sample.decode(name, "replace")
        plain = sum(letter.isprintable() or letter in "\t\r\n\f\v" for letter in text if letter.isascii())
        if "\0" not in text and "\ufffd" not in text[:-1] and plain * 2 > len(text):
            return name
    return None


class Text(io.RawIOBase):
    """The content of a file in UTF-8. Fills what it is given to fill; damage is raised after all that came before it.

    `encoding` is what was found, complete at the end: UTF8, a name of `_MARKS`, WINDOWS, or what the configuration names.
    """

    def __init__(self, content: io.BufferedReader, encoding: str | None = None, *, detect: bool = True) -> None:
        """
        Args:
            content: the file, uncompressed, at its beginning.
            encoding: a single-byte encoding for what is not UTF-8 (`ingest.encoding`). detect: whether Windows-1252 may be concluded.
        """
        head = content.peek(HEAD_BYTES)
        self.encoding = wide(head) or UTF8
        self._content, self._declared, self._detect = content, encoding, detect
        self._table: dict[int, tuple[str, int, Fits]] | None = None
        self._output = memoryview(b"")
        self._held, self._before = b"", ""
        self._read = self._written = 0  # bytes of the content taken in, bytes given out
        self._places: deque[tuple[int, int]] = deque(maxlen=_MOST_PLACES)
        self._damage: Exception | None = None
        self._ended = False
        if self.encoding != UTF8:
            mark = next((len(mark) for mark, _ in _MARKS if head.startswith(mark)), 0)
            self._read = len(content.read(mark))
            self._give(BOM)  # tells a reader that what the file says of its encoding does not hold for these bytes
        elif encoding is not None:
            known = bytes(range(128, 256)).decode(encoding, "replace")
            self._table = {128 + at: (letter, 0, lambda *_: True) for at, letter in enumerate(known) if letter != "\ufffd"}

    def readable(self) -> bool:
        return True

    def place(self, offset: int) -> int:
        """Where in the content the bad byte lies that the reader found at this offset; to be asked in order."""
        while self._places and self._places[0][0] < offset:
            self._places.popleft()
        return self._places[0][1] if self._places and self._places[0][0] == offset else offset

    def readinto(self, target: Any) -> int:
        filled = 0
        while filled < len(target):
            if not self._output and not self._more():
                break
            size = min(len(target) - filled, len(self._output))
            target[filled : filled + size] = self._output[:size]
            self._output = self._output[size:]
            filled += size
        if not filled and self._damage is not None:
            raise self._damage
        return filled

    def _give(self, output: bytes) -> None:
        self._output = memoryview(output)
        self._written += len(output)

    def _more(self) -> bool:
        """The next piece; False at the end."""
        while not self._output and not self._ended:
            try:
                piece = self._content.read1(HEAD_BYTES)
            except DAMAGED as damage:
                piece, self._damage = b"", damage
            self._ended = not piece
            data, self._held = self._held + piece, b""
            if data:
                self._give(self._utf8(data) if self.encoding in (UTF8, WINDOWS, self._declared) else self._wide(data))
                self._read += len(data) - len(self._held)
        return bool(self._output)

    def _utf8(self, data: bytes) -> bytes:
        if data.isascii():
            self._before = chr(data[-1])
            return data
        try:
            text, used = codecs.utf_8_decode(data, "strict", self._ended)
        except UnicodeDecodeError:
            return self._mended(data)
        self._held = data[used:]
        self._before = text[-1:] or self._before
        return data[:used]

    def _mended(self, data: bytes) -> bytes:
        """UTF-8 of bytes that are not, or not wholly; what cannot be read stays as it is."""
        if not self._ended:
            if self._table is None and len(data) < HEAD_BYTES:  # a small file is judged as a whole
                self._held = data
                return b""
            cut = max(len(data) - _HELD_BYTES, 0)
            while cut < len(data) and data[cut] >= 0x80:  # between two characters
                cut += 1
            if cut < len(data):
                self._held, data = data[cut:], data[:cut]
        text = data.decode("utf-8", "surrogateescape")
        following = (self._held[:1] or b" ").decode("ascii", "replace")
        if self._table is None:
            self._table = self._judged(text, following)
        output: list[bytes] = []
        at = size_in = size_out = 0
        for match in _ESCAPED.finditer(text):
            between = text[at : match.start()].encode()
            at = match.end()
            byte = ord(match[0]) - 0xDC00
            letter = self._letter(byte, *_beside(text, match.start(), self._before, following))
            size_in, size_out = size_in + len(between), size_out + len(between)
            if letter is None and self._read + size_in != self._written + size_out:
                self._places.append((self._written + size_out, self._read + size_in))
            one = bytes([byte]) if letter is None else letter.encode()
            output += (between, one)
            size_in, size_out = size_in + 1, size_out + len(one)
        self._before = text[-1:] or self._before
        return b"".join([*output, text[at:].encode()])

    def _letter(self, byte: int, before: str, after: str) -> str | None:
        letter, _, fits = (self._table or {}).get(byte, (None, 0, None))
        if letter is None or fits is None or not fits(before, after):
            return None
        self.encoding = self._declared or WINDOWS
        return letter

    def _judged(self, text: str, following: str) -> dict[int, tuple[str, int, Fits]]:
        """`_PLACES` when this piece leaves no doubt, else nothing."""
        points = 0
        for match in _ESCAPED.finditer(text) if self._detect else ():
            found = _PLACES.get(ord(match[0]) - 0xDC00)
            if found is None or not found[2](*_beside(text, match.start(), self._before, following)):
                return {}
            points += found[1]
        return _PLACES if points >= _ENOUGH else {}

    def _wide(self, data: bytes) -> bytes:
        unit = 2 if self.encoding.startswith("utf-16") else 4
        used = len(data) // unit * unit
        little = self.encoding.endswith("le")
        if unit == 2 and used and not self._ended and 0xD8 <= data[used - 1 if little else used - 2] <= 0xDB:
            used -= 2  # the first half of a pair
        self._held, data = data[used:], data[:used]
        text = data.decode(self.encoding, "surrogatepass") if unit == 2 else _utf32(data, little)
        if self._ended and self._held:
            text, self._held = text + "\udcff", b""
        output: list[bytes] = []
        at = size_in = size_out = 0
        for match in _LONE.finditer(text):
            between = text[at : match.start()]
            at = match.end()
            output += (between.encode(), b"\xff")  # never UTF-8
            size_in += len(between.encode(self.encoding))
            size_out += len(output[-2])
            self._places.append((self._written + size_out, self._read + size_in))
            size_in, size_out = size_in + unit, size_out + 1
        return b"".join([*output, text[at:].encode()])


def _beside(text: str, at: int, before: str, after: str) -> tuple[str, str]:
    """The characters around a place; `before` and `after` stand around the text."""
    return text[at - 1] if at else before, text[at + 1] if at + 1 < len(text) else after


def _utf32(data: bytes, little: bool) -> str:
    """UTF-32 with what is no character as a lone surrogate."""
    import sys

    numbers = array("I", data)
    if little != (sys.byteorder == "little"):
        numbers.byteswap()
    return "".join(chr(number) if number < 0x110000 else "\udcff" for number in numbers)
