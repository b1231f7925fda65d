"""What a reader is given and what it gives back; compressed streams and their limits; lines of bounded length.

A reader yields one `Unit` for each source record: its rows (`Draft`s, which lack only the key), a `Reason` when it is a dead
letter, or `Skipped` when it is of a kind that no table holds. `nosology.readers.read_file` numbers and counts them.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeVar, runtime_checkable

import zstandard

from nosology.config import IngestConfig, InputConfig
from nosology.errors import NosologyError, Reason, RecordError
from nosology.readers.unlisted import Unlisted
from nosology.records import RawRecord
from nosology.runs import describe

HEAD_BYTES = 1 << 16  # enough for every header seen: the longest, a RIF beneficiary file's, has 5 KB
GZIP, ZSTD, BZIP2, ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
BOM = b"\xef\xbb\xbf"


class Expanded(Exception):
    """A compressed stream that grows beyond what the configuration allows; it is given up there."""


class BrokenBlock(Exception):
    """A bzip2 block that is none; bz2 itself raises OSError, which is kept for faults of the storage."""


# What a damaged compressed stream raises; an OSError of the storage itself is not among them, and is for the caller to retry.
DAMAGED: tuple[type[Exception], ...] = (
    EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError, zipfile.BadZipFile, BrokenBlock, Expanded,
)  # fmt: skip

# What says nothing of a record: another try may succeed, and a job that went on would lose what it could have read.
_NO_RECORDS: tuple[type[Exception], ...] = (NosologyError, OSError, MemoryError, *DAMAGED)


def fault_of(error: Exception) -> Reason:
    """Why a record is dead: of an exception that no reader foresaw its class and place in the code, never its text.

    Raises:
        The error itself, where it is one of the storage, of the system or of a damaged stream.
    """
    if isinstance(error, RecordError):
        return error.reason
    if isinstance(error, _NO_RECORDS):
        raise error
    return Reason("internal_error", None, describe(error))


Made = TypeVar("Made")


class Builder:
    """Makes the units of a file, one at a time, in an order that depends on its bytes alone.

    Args:
        deadly: those that end the process that makes them, by number from 1, and why: they are dead letters, unmade.
        told: given the number of a unit before it is made, and 0 after.
    """

    def __init__(self, deadly: Mapping[int, Reason] | None = None, told: Callable[[int], None] = lambda _: None) -> None:
        self._deadly, self._told, self._number = deadly or {}, told, 0

    def make(self, build: Callable[..., Made], *parts: Any) -> Made | Reason:
        """What `build` makes of the parts of a record, or why it cannot.

        Raises:
            What says nothing of the record (`fault_of`).
        """
        self._number += 1
        if self._number in self._deadly:
            return self._deadly[self._number]
        self._told(self._number)
        try:
            return build(*parts)
        except Exception as error:
            return fault_of(error)
        finally:
            self._told(0)


_COMPRESSED_BYTES = 1 << 12  # taken at once: bounds what a hostile file can expand to
_RATIO_FROM_BYTES = 64 << 20  # below it no ratio is absurd: a note of one letter packs a thousandfold

Draft = Callable[..., RawRecord]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An input file.

    Attributes:
        uri: where it lies.
        name: its name, without folders.
        digest: SHA-256 of its bytes as they lie there (compressed or not), hexadecimal.
        size_bytes: its size as it lies there.
    """

    uri: str
    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A source record of a kind that no table holds; `kind` is a resource type, table or transaction number, never a value."""

    kind: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of the file as they lie there: those of the units that follow, up to the next `Kept`. All of them in order are the file.
    A reader gives them before the units, where `ingest.keep_originals` asks for it."""

    content: bytes


Unit = Sequence[Draft] | Reason | Skipped | Kept


@dataclass(frozen=True, slots=True)
class Job:
    """What a reader may know beside the bytes."""

    source: SourceFile
    ingest: IngestConfig
    columns: InputConfig
    encodings: set[str] = field(default_factory=set)  # a reader that decodes by itself tells here what it met
    builder: Builder = field(default_factory=Builder)
    unlisted: Unlisted = field(default_factory=Unlisted)  # a reader tells here which fields it met that no list has
    beside: Callable[[str, int], bytes | None] | None = None  # of a member of an archive: see `members.Member`


class Reader(Protocol):
    """One format. Stateless: one instance reads many files, from several processes."""

    name: str

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with these (uncompressed) bytes is of this format."""
        ...

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        """The file's source records in order. Content never raises, save what the (damaged) stream itself raises."""
        ...


@runtime_checkable
class Table(Protocol):
    """A reader whose files have columns, which tell before any work whether they can be read."""

    def check(self, stream: io.BufferedReader, job: Job) -> None:
        """Raises `InputError` for columns that are missing or stand twice."""
        ...


class Budget:
    """What a compressed file may grow to: its members together."""

    def __init__(self, config: IngestConfig) -> None:
        self._bytes, self._ratio = config.max_expanded_bytes, config.max_expansion
        self._taken = self._given = 0

    def spend(self, taken: int, given: int) -> None:
        """Counts bytes: `taken` as they lie there, `given` uncompressed. Raises `Expanded` above the limits."""
        self._taken += taken
        self._given += given
        if self._given > self._bytes or (self._given > _RATIO_FROM_BYTES and self._given > self._ratio * self._taken):
            raise Expanded


class _Bzip2:
    """bz2's decompressor with an error of its own; gives little at a time, for a hundred bytes can hold a hundred megabytes."""

    def __init__(self) -> None:
        self._decompressor = bz2.BZ2Decompressor()

    eof = property(lambda self: self._decompressor.eof)
    unused_data = property(lambda self: self._decompressor.unused_data)
    needs_input = property(lambda self: self._decompressor.needs_input)

    def decompress(self, data: bytes) -> bytes:
        try:
            return self._decompressor.decompress(data, HEAD_BYTES)
        except OSError:
            raise BrokenBlock from None


class _Content(io.RawIOBase):
    """The uncompressed content of a stream. Fills what it is given to fill; damage is raised only after all that came before it."""

    def __init__(self, stream: BinaryIO, begin: Callable[[], Any] | None, budget: Budget | None = None, padding: bytes = b"") -> None:
        self._stream, self._begin, self._budget, self._padding = stream, begin, budget, padding
        self._frame: Any = None  # decompressor of the member or frame that is open
        self._rest = b""  # compressed bytes not yet taken
        self._output = memoryview(b"")
        self._damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._begin is None and self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence) if self.seekable() else super().seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell() if self.seekable() else super().tell()

    def readinto(self, target: Any) -> int:
        filled = 0
        while filled < len(target) and self._damage is None:
            if not self._output:
                try:
                    self._output = memoryview(self._more(len(target) - filled))
                except DAMAGED as damage:
                    self._damage = damage
                    break
                if not self._output:
                    break
            size = min(len(target) - filled, len(self._output))
            target[filled : filled + size] = self._output[:size]
            self._output = self._output[size:]
            filled += size
        if self._damage is not None and not filled:
            raise self._damage
        return filled

    def _more(self, wanted: int) -> bytes:
        """Some uncompressed bytes; none at the end."""
        if self._begin is None:
            return self._stream.read(wanted)
        while True:
            full = self._frame is not None and not getattr(self._frame, "needs_input", True)  # it has more to give as it is
            data = self._rest or (b"" if full else self._stream.read(_COMPRESSED_BYTES))
            self._rest = b""
            if self._frame is None:
                if not data:
                    return b""
                data = data.lstrip(self._padding) if self._padding else data
                if not data:
                    continue
                self._frame = self._begin()
            elif not data and not full:
                raise EOFError("truncated")
            output: bytes = self._frame.decompress(data)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
            if self._budget is not None:
                self._budget.spend(len(data) - len(self._rest), len(output))
            if output:
                return output


def open_source(stream: BinaryIO, budget: Budget | None = None) -> io.BufferedReader:
    """The uncompressed content of a file; gzip, zstd and bzip2 are recognised by their first bytes.

    Read it with `readline` or `read1`: on damage these lose nothing that came before, where `read(n)` would.
    """
    magic = stream.read(4)
    stream.seek(0)
    if magic.startswith(GZIP):
        return io.BufferedReader(_Content(stream, lambda: zlib.decompressobj(wbits=31), budget, padding=b"\0"), HEAD_BYTES)
    if magic == ZSTD:
        return io.BufferedReader(_Content(stream, lambda: zstandard.ZstdDecompressor().decompressobj(), budget), HEAD_BYTES)
    if magic.startswith(BZIP2) and magic[3:].isdigit():
        return io.BufferedReader(_Content(stream, _Bzip2, budget), HEAD_BYTES)
    return io.BufferedReader(_Content(stream, None), HEAD_BYTES)


def name_of(uri: str) -> str:
    """The name of a file, for records: bytes of it that are no UTF-8 as Python writes them (`\\udcff`)."""
    return uri.rsplit("/", 1)[-1].encode("utf-8", "backslashreplace").decode()


def record_bytes(config: IngestConfig) -> int:
    """Longest line or segment that is read: room for a note of the largest size in base64, or with JSON escapes here and there."""
    return max(16 << 20, 2 * config.max_document_bytes)


def pieces_of_lines(stream: io.BufferedReader, limit: int) -> Iterator[bytes]:
    """Lines with their ends: CR, LF, or both, of which LF may come as a line of its own.

    One above `limit` bytes comes in pieces, of which the last alone has an end; damage is raised behind the last line that is whole.
    """
    held: list[bytes] = []  # of a line whose end did not come yet
    size = 0
    while piece := stream.read1(HEAD_BYTES):
        lines = piece.splitlines(keepends=True)
        rest = b"" if piece.endswith((b"\r", b"\n")) else lines.pop()
        if held and lines:
            lines[0] = b"".join((*held, lines[0]))
            held, size = [], 0
        yield from lines
        if rest:
            held.append(rest)
            size += len(rest)
            if size > limit:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


class Lines:
    """Lines without their ends, blank ones and a byte order mark left out; None for one above `limit` bytes.

    `start` is the offset of the line that came last: its first byte's place in the content. `ended` is whether it had an end.
    """

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self.start = 0
        self.ended = False
        self._lines = self._read(stream, limit)

    def __iter__(self) -> Iterator[bytes | None]:
        return self._lines

    def __next__(self) -> bytes | None:
        return next(self._lines)

    def _read(self, stream: io.BufferedReader, limit: int) -> Iterator[bytes | None]:
        place = 0
        while line := stream.readline(limit):
            self.start, place = place, place + len(line)
            if not self.start and line.startswith(BOM):
                self.start, line = len(BOM), line[len(BOM) :]
            if len(line) >= limit and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = stream.readline(limit)
                    place += len(line)
                yield None
            else:
                self.ended = line.endswith(b"\n")
                if (line := line.strip(b"\r\n")) and not line.isspace():
                    yield line


CUT_HEADER = Reason("truncated_record", "header", "a header that ends, or rows below it")
TOO_LONG = Reason("record_too_long", "line", "a record within twice ingest.max_document_bytes")


@dataclass(frozen=True, slots=True)
class InvalidBytes(Reason):
    """Bytes that are none in the encoding of the file; `nosology.readers` puts the place into the rule.

    Attributes:
        offset: of the first such byte in the content that the reader was given; None when it cannot be told.
    """

    offset: int | None = None


INVALID_UTF8 = InvalidBytes("invalid_utf8", None, "UTF-8 throughout")


def invalid_bytes(data: bytes, start: int, element: str | None = None) -> InvalidBytes:
    """The reason for bytes that are not UTF-8.

    Args:
        data: a part of the content. start: its offset. element: column or segment, where one is known.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return InvalidBytes("invalid_utf8", element, INVALID_UTF8.rule, start + error.start)
    return InvalidBytes("invalid_utf8", element, INVALID_UTF8.rule)
