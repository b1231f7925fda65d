"""Parquet without surprises. Extension types are found in the raw footer and refused before Arrow parses the schema:
some register Python classes that run code when a schema is parsed (Ray's did)."""

from __future__ import annotations

import base64
import binascii
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from nosology import storage
from nosology.errors import InputError, Reason
from nosology.readers.source import DAMAGED
from nosology.streams import named

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
_FOOTER_LIMIT_BYTES = 256 << 20
_MOST_ROWS_A_BYTE = 10_000  # ten times what run lengths make of a constant column; a footer that counts more is damaged
_EXTENSION, _SCHEMA_KEY = b"ARROW:extension:name", b"ARROW:schema"
UNREADABLE = Reason("unreadable_rows", None, "a row group that Arrow can read")
OUT_OF_RANGE = Reason("wrong_type", None, "values that a reader can hold: days and times of the years 1 to 9999")
INVALID_UTF8 = Reason("invalid_utf8", None, "UTF-8 in every string column")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A Thrift compact-protocol length and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
        if shift > 35:
            raise IndexError


def _holds_extension(footer: bytes) -> bool:
    """Whether the footer names an extension type: plainly, or in the Arrow schema that it carries in Base64."""
    if _EXTENSION in footer:
        return True
    at = footer.find(_SCHEMA_KEY)
    while at >= 0:
        at += len(_SCHEMA_KEY)
        size, begin = _varint(footer, at + 1)  # behind the key: one byte of field header, then the value's length
        if footer[at] & 0x0F != 8 or begin + size > len(footer):
            raise IndexError
        schema = base64.b64decode(footer[begin : begin + size], validate=True)
        if _EXTENSION in schema:
            return True
        at = footer.find(_SCHEMA_KEY, begin + size)
    return False


def open_file(stream: BinaryIO, file: str) -> pq.ParquetFile:
    """The file, after the check of its footer.

    Raises:
        InputError: truncated, not Parquet, or with an extension type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    damaged = InputError("a whole Parquet file", file=file, remedy="Copy or export it again")
    if not stream.seekable():  # inside a gzip or zstd file
        folder = tempfile.gettempdir()  # its disk can be full too
        try:
            with storage.named_errors(folder):
                held = tempfile.TemporaryFile()  # noqa: SIM115 - it goes when the table does
                shutil.copyfileobj(stream, held)
                held.seek(0)
        except DAMAGED:
            raise damaged from None
        stream = named(held, folder)
    length = stream.seek(0, io.SEEK_END)
    if length < 12:
        raise damaged
    stream.seek(length - 8)
    tail = stream.read(8)
    size = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or size > min(length - 12, _FOOTER_LIMIT_BYTES):
        raise damaged
    stream.seek(length - 8 - size)
    try:
        extended = _holds_extension(stream.read(size))
    except (IndexError, binascii.Error, ValueError):
        raise damaged from None
    refused = InputError("columns of plain types", file=file, remedy="Arrow extension types are refused: cast them to their storage type")
    if extended:
        raise refused
    stream.seek(0)
    try:
        table = pq.ParquetFile(stream)
        plain = not any(isinstance(kind, pa.BaseExtensionType) for kind in _types(table.schema_arrow))
    except (pa.ArrowException, OSError, ValueError):
        raise damaged from None
    if not plain:
        raise refused
    if not 0 <= table.metadata.num_rows <= _MOST_ROWS_A_BYTE * length:
        raise damaged
    return table


def _types(holder: Any) -> Iterator[Any]:
    """The types of a schema, nested ones too."""
    fields = list(holder) if hasattr(holder, "names") else [holder.field(at) for at in range(holder.num_fields)]
    for field in fields:
        yield field.type
        yield from _types(field.type)


def names(stream: BinaryIO, file: str) -> list[str]:
    """Column names."""
    return list(open_file(stream, file).schema_arrow.names)


def count(stream: BinaryIO, file: str) -> int:
    """Number of rows."""
    return int(open_file(stream, file).metadata.num_rows)


def read(
    stream: BinaryIO, file: str, start: int, stop: int | None, check: Callable[[list[str]], None] = lambda _: None
) -> Iterator[tuple[int, dict[str, Any] | Reason]]:
    """Rows start to stop (exclusive; None: to the end) with their numbers; row groups outside are not read. `check` sees the columns."""
    import pyarrow as pa

    table = open_file(stream, file)
    check(list(table.schema_arrow.names))
    first = 0
    for group in range(table.num_row_groups):
        size = table.metadata.row_group(group).num_rows
        low, high = max(start, first), first + size if stop is None else min(stop, first + size)
        at = first
        first += size
        if low >= high:
            continue
        done = low  # rows before are given out
        try:
            for batch in table.iter_batches(batch_size=256, row_groups=[group]):
                begin, end = max(low - at, 0), min(high - at, batch.num_rows)
                if begin < end:
                    for row in _dicts(batch.slice(begin, end - begin)):
                        yield done, row
                        done += 1
                at += batch.num_rows
        except (pa.ArrowException, OSError):  # Arrow's own, which are damage: what the storage raises is a StorageError
            pass
        # what Arrow could not read, or did not have although the footer counts it
        yield from ((number, UNREADABLE) for number in range(done, high))


def _dicts(batch: Any) -> list[dict[str, Any] | Reason]:
    try:
        return list(batch.to_pylist())
    except (ValueError, ArithmeticError) as error:  # the second of days and times that Python has not
        if batch.num_rows == 1:
            return [INVALID_UTF8 if isinstance(error, UnicodeDecodeError) else OUT_OF_RANGE]
        half = batch.num_rows // 2
        return _dicts(batch.slice(0, half)) + _dicts(batch.slice(half))
