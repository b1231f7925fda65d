"""That a file of the input is what it was when the run began."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from nosology import storage
from nosology.distributed.coverage import PlannedFile
from nosology.errors import InputError
from nosology.streams import named

_CHUNK_BYTES = 1 << 20


def changed(uri: str) -> InputError:
    """What a run says of a file that is another now."""
    return InputError("the file changed during the run", file=uri, remedy="Run again into a new folder")


class Unchanged:
    """Checks the files of a plan: each by its digest once, by its version afterwards."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def check(self, file: PlannedFile) -> None:
        """Raises InputError for a file that is not the one that was planned."""
        found = storage.version(file.uri)
        if self._versions.get(file.uri) == found:
            return
        if file.uri in self._versions or storage.digest(file.uri) != file.digest:
            raise changed(file.uri)
        self._versions[file.uri] = found


@contextlib.contextmanager
def open_checked(uri: str, expected: str, moved: Callable[[], None]) -> Iterator[BinaryIO]:
    """A readable, seekable binary stream of a file whose SHA-256 is known; checked when the reader is done.

    Args:
        moved: called while bytes come.

    Raises:
        InputError: the file is not what it was when the run began.
    """
    with storage.open_input(uri) as stored:
        digesting = _Digesting(stored, moved)
        yield named(digesting, uri)
        with storage.named_errors(uri):
            found = digesting.digest()
    if found != expected:
        raise changed(uri)


class _Digesting(io.RawIOBase):
    """Reads through a stream and digests what goes by, as long as it is read in order."""

    def __init__(self, stream: BinaryIO, moved: Callable[[], None]) -> None:
        self._stream, self._moved, self._state, self._digested = stream, moved, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        place = self._stream.tell()
        data = self._stream.read(len(buffer))
        self._moved()
        buffer[: len(data)] = data
        if place <= self._digested < place + len(data):  # the part of it that is new
            self._state.update(data[self._digested - place :])
            self._digested = place + len(data)
        return len(data)

    def digest(self) -> str:
        """SHA-256 of the whole; what was not read in order is read now."""
        self._stream.seek(self._digested)
        while piece := self._stream.read(_CHUNK_BYTES):
            self._state.update(piece)
            self._digested += len(piece)
            self._moved()
        return self._state.hexdigest()
