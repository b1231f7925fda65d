"""Input streams whose failures are `StorageError`s, however late they come: a reader tells them so from damage of the content."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar, cast

from nosology.errors import InputError
from nosology.retries import ShortRead
from nosology.storage_errors import StorageError, named_errors

_BUFFER_BYTES = 1 << 17
_T = TypeVar("_T")


def named(stream: Any, uri: str) -> BinaryIO:
    """The stream, buffered; what the storage raises while it is read names the URI and the remedy.

    A `StorageError` is no OSError: neither a reader nor Arrow, whose own OSErrors are damage, takes one for the other.
    """
    return cast("BinaryIO", io.BufferedReader(_Named(stream, uri), _BUFFER_BYTES))


def block(fetch: Callable[[int, int], bytes], size_bytes: int, start: int, stop: int) -> bytes:
    """A part of an object, all of it."""
    data = fetch(start, stop)
    if len(data) < min(stop, size_bytes) - start:
        raise ShortRead
    return data


class _Named(io.RawIOBase):
    def __init__(self, stream: io.BufferedIOBase, uri: str) -> None:
        self._stream, self._uri = stream, uri

    def _call(self, call: Callable[..., _T], *arguments: Any) -> _T:
        try:
            with named_errors(self._uri):
                return call(*arguments)
        except StorageError:
            raise
        except InputError as error:  # it was there when it was opened: no reason to go on without it
            raise StorageError(
                f"{error.rule} any more, while it was read",
                file=self._uri,
                remedy="Put it back, then run the same command again; it resumes",
            ) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._call(self._stream.seek, offset, whence)

    def tell(self) -> int:
        return self._call(self._stream.tell)

    def readinto(self, target: Any) -> int:
        return self._call(self._stream.readinto, target)

    def readall(self) -> bytes:  # else it reads in small pieces
        return self._call(self._stream.read)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
