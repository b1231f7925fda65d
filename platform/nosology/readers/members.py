"""What a file holds: itself, or the members of a zip archive, each read as a file of its own name (`archive.zip/member.837`).

Members come in the order of the archive's directory, and are unpacked as they are read: none is held or written out. Folders, files
whose name or folder begins with a dot (as on a disk), and the `__MACOSX` copies that a Mac adds are passed over. A member that cannot be
read is a fault of its own and costs no other.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, cast

from nosology.config import IngestConfig
from nosology.errors import InputError, Reason
from nosology.readers.source import DAMAGED, ZIP, Budget, SourceFile, open_source

_OFFICE = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")  # first members of .docx and .xlsx, of .odt and .epub, of .jar
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others zipfile unpacks without a bound whatever a few bytes hold
_PIECE_BYTES = 1 << 12  # what comes before damage is lost by a piece at most
_HIDDEN = re.compile(r"(?:^|/)\.(?!\.?(?:/|$))")  # a name that begins with a dot, and is neither `.` nor `..`
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
        beside: of a member of an archive, what another holds: its first bytes, one more than a limit at most, by its path below the folder
            of this one; None where there is none that can be opened. Raises one of `DAMAGED`.
    """

    source: SourceFile
    number: int | None = None
    content: io.BufferedReader | None = None
    fault: Reason | None = None
    beside: Callable[[str, int], bytes | None] | None = None


class _Others:
    """The members of an archive, for one that refers to another; whoever reads one again and again pays for it."""

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._archive, self._budget = archive, budget
        self._taken: set[str] = set()  # the first time is in the budget since the archive was opened

    def read(self, folder: str, path: str, limit: int) -> bytes | None:
        name = f"{folder}/{path}" if folder else path
        info = self._archive.NameToInfo.get(name)
        if info is None or info.is_dir() or _fault(info) is not None:
            return None
        if name in self._taken:
            self._budget.spend(0, min(info.file_size, limit + 1))
        self._taken.add(name)
        try:
            with self._archive.open(info) as stream:
                return stream.read(limit + 1)
        except DAMAGED:
            raise
        except _UNOPENED:
            return None


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
    others = _Others(archive, budget)
    for number, info in enumerate(listed, start=1):
        if info.is_dir() or info.filename.startswith("__MACOSX/") or _HIDDEN.search(info.filename):
            continue
        name = f"{source.name}/{info.filename}"
        own = replace(source, uri=f"{source.uri}/{info.filename}", name=name, size_bytes=info.file_size)
        fault = _fault(info)
        content: io.BufferedReader | None = None
        if fault is None:
            try:
                unpacked = cast("BinaryIO", _Unpacked(cast("zipfile.ZipExtFile", archive.open(info))))
                fault = NESTED if is_archive(unpacked) else None
                content = open_source(unpacked, budget) if fault is None else None
            except _UNOPENED:
                fault = UNOPENED
        yield Member(own, number, content, fault, partial(others.read, info.filename.rpartition("/")[0]))


def _fault(info: zipfile.ZipInfo) -> Reason | None:
    """What the directory says against a member."""
    if info.flag_bits & _ENCRYPTED:
        return ENCRYPTED
    if info.compress_type not in _METHODS:
        return PACKED_STRANGELY
    return UNOPENED if info.header_offset < 0 else None  # where a file cannot be read is for its system to say, in words of its own


def _opened(source: SourceFile, stream: BinaryIO) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(stream)
        names = archive.namelist()
    except _UNOPENED:
        raise InputError("a whole zip archive", file=source.name, remedy="Copy or export it again") from None
    if names and names[0] in _OFFICE:
        raise InputError("a file of records; this is an office document", file=source.name, remedy="Export it as CSV, or take it out")
    return archive
