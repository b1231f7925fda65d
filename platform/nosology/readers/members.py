"""What a file holds: itself, or the members of a zip archive, each read as a file of its own name (`archive.zip/member.837`).

Members come in the order of the archive's directory, and are unpacked as they are read: none is held or written out. Folders and the
`__MACOSX` copies that a Mac adds are passed over. A member that cannot be read is a fault of its own and costs no other.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from nosology.config import IngestConfig
from nosology.errors import InputError, Reason
from nosology.readers.source import DAMAGED, ZIP, Budget, SourceFile, open_source

_OFFICE = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")  # first members of .docx and .xlsx, of .odt and .epub, of .jar
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others zipfile unpacks without a bound whatever a few bytes hold
_PIECE_BYTES = 1 << 12  # what comes before damage is lost by a piece at most
_ENCRYPTED = 0x1  # bit of the general purpose flags, PKWARE APPNOTE 4.4.4

# what zipfile raises for a directory or a member that is not as it should be
_UNOPENED: tuple[type[Exception], ...] = (*DAMAGED, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error)

NESTED = Reason("nested_archive", None, "an archive of files, not of archives: unpack the inner one")
ENCRYPTED = Reason("encrypted_file", None, "a file without a password: decrypt it")
PACKED_STRANGELY = Reason("unreadable_file", None, "a zip member that is stored or deflated: pack it anew")
UNOPENED = Reason("unreadable_file", None, "a zip member that can be opened")
EXPANDED = Reason("expands_too_far", None, "content within ingest.max_expanded_bytes and ingest.max_expansion times its packed size")


@dataclass(frozen=True, slots=True)
class Member:
    """A file to read.

    Attributes:
        source: where it lies; of a member of an archive its own name, and the archive's digest.
        number: of the member in its archive, from 1; None for a file that is none.
        content: uncompressed; None where there is a fault. fault: why it cannot be read.
    """

    source: SourceFile
    number: int | None = None
    content: io.BufferedReader | None = None
    fault: Reason | None = None


class _Unpacked(io.RawIOBase):
    """A member as it is unpacked, in order: what wants to jump about (Parquet) copies it first."""

    def __init__(self, stream: zipfile.ZipExtFile) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, target: Any) -> int:
        data = self._stream.read1(min(len(target), _PIECE_BYTES))
        target[: len(data)] = data
        return len(data)


def is_archive(stream: BinaryIO) -> bool:
    """Whether a file is a zip archive, by its first bytes. Leaves the stream at its beginning."""
    magic = stream.read(4)
    stream.seek(0)
    return magic in ZIP


def members(source: SourceFile, stream: BinaryIO, config: IngestConfig) -> Iterator[Member]:
    """The files in a file, one after the other; each is to be read before the next is asked for.

    Raises:
        InputError: an archive whose directory cannot be read, or an office document, which is a zip archive too.
        Expanded: an archive whose directory names more bytes than may be; zipfile gives no more than it names.
    """
    budget = Budget(config)
    if not is_archive(stream):
        yield Member(source, content=open_source(stream, budget))
        return
    archive = _opened(source, stream)
    listed = archive.infolist()
    budget.spend(sum(info.compress_size for info in listed), sum(info.file_size for info in listed))
    for number, info in enumerate(listed, start=1):
        if info.is_dir() or info.filename.startswith("__MACOSX/"):
            continue
        name = f"{source.name}/{info.filename}"
        own = replace(source, uri=f"{source.uri}/{info.filename}", name=name, size_bytes=info.file_size)
        fault: Reason | None = None
        content: io.BufferedReader | None = None
        if info.flag_bits & _ENCRYPTED:
            fault = ENCRYPTED
        elif info.compress_type not in _METHODS:
            fault = PACKED_STRANGELY
        elif info.header_offset < 0:  # where a file cannot be read is for its system to say, in words of its own
            fault = UNOPENED
        else:
            try:
                unpacked = cast("BinaryIO", _Unpacked(cast("zipfile.ZipExtFile", archive.open(info))))
                fault = NESTED if is_archive(unpacked) else None
                content = open_source(unpacked, budget) if fault is None else None
            except _UNOPENED:
                fault = UNOPENED
        yield Member(own, number, content, fault)


def _opened(source: SourceFile, stream: BinaryIO) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(stream)
        names = archive.namelist()
    except _UNOPENED:
        raise InputError("a whole zip archive", file=source.name, remedy="Copy or export it again") from None
    if names and names[0] in _OFFICE:
        raise InputError("a file of records; this is an office document", file=source.name, remedy="Export it as CSV, or take it out")
    return archive
