"""What a reader is given and what it gives back; compressed streams; lines of bounded length.

A reader yields one `Unit` for each source record: its rows (`Draft`s, which lack only the key), a `Reason` when it is a dead
letter, or `Skipped` when it is of a kind that no table holds. `nosology.readers.read_file` numbers and counts them.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

import zstandard

from nosology.config import IngestConfig, InputConfig
from nosology.errors import Reason
from nosology.records import RawRecord

HEAD_BYTES = 1 << 16  # enough for every header seen: the longest, a RIF beneficiary file's, has 5 KB
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BOM = b"\xef\xbb\xbf"
# What a damaged compressed stream raises; an OSError of the storage itself is not among them, and is for the caller to retry.
DAMAGED: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)

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


Unit = Sequence[Draft] | Reason | Skipped


@dataclass(frozen=True, slots=True)
class Job:
    """What a reader may know beside the bytes."""

    source: SourceFile
    ingest: IngestConfig
    columns: InputConfig


class Reader(Protocol):
    """One format. Stateless: one instance reads many files, from several processes."""

    name: str

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with these (uncompressed) bytes is of this format."""
        ...

    def read(self, stream: BinaryIO, job: Job) -> Iterator[Unit]:
        """The file's source records in order. Content never raises, save what the (damaged) stream itself raises."""
        ...


class _Zstd(io.RawIOBase):
    """A zstd file as a stream; unlike the library's own reader it does not take a truncated frame for the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._output:
            data = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._begun = zstandard.ZstdDecompressor().decompressobj(), False
            data = data or self._stream.read(1 << 16)
            if not data:
                if self._begun:
                    raise EOFError("truncated zstd frame")
                return 0
            self._begun = True
            self._output = memoryview(self._frame.decompress(data))
        size = min(len(target), len(self._output))
        target[:size] = self._output[:size]
        self._output = self._output[size:]
        return size


def open_source(stream: BinaryIO) -> io.BufferedReader:
    """The uncompressed content of a file, gzip and zstd recognised by their first bytes.

    Read it with `readline`, `read1` or `peek`: on damage these lose nothing that came before, where `read(n)` would.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream), HEAD_BYTES)
    magic = buffered.peek(4)[:4]
    if magic.startswith(GZIP):
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=buffered, mode="rb")), HEAD_BYTES)
    if magic == ZSTD:
        return io.BufferedReader(_Zstd(cast("BinaryIO", buffered)), HEAD_BYTES)
    if buffered is stream and len(buffered.peek(HEAD_BYTES)) < HEAD_BYTES:  # opened by another hand with a smaller buffer
        return io.BufferedReader(cast("io.RawIOBase", buffered), HEAD_BYTES)
    return buffered


def record_bytes(config: IngestConfig) -> int:
    """Longest line or segment that is read: room for a note of the largest size in its most wasteful encoding."""
    return max(16 << 20, 8 * config.max_document_bytes)


def lines(stream: BinaryIO, limit: int) -> Iterator[bytes | None]:
    """Lines without their ends, blank ones and a byte order mark left out; None for one above `limit` bytes."""
    first = True
    while line := stream.readline(limit):
        if first:
            line, first = line.removeprefix(BOM), False
        if len(line) >= limit and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(limit)
            yield None
        elif line := line.strip(b"\r\n"):
            if not line.isspace():
                yield line


TOO_LONG = Reason("record_too_long", "line", "a record within eight times ingest.max_document_bytes")
INVALID_UTF8 = Reason("invalid_utf8", None, "UTF-8 throughout")
