"""Parts of a run: Parquet files that are written once, with a checksum on every page, and read after their digest was checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from nosology import storage
from nosology.distributed.coverage import Part
from nosology.errors import InputError


def parquet_bytes(rows: pa.Table) -> bytes:
    """A Parquet file with a checksum on every page."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def read_part(part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part, after its digest was checked.

    Args:
        columns: those wanted; None is all.

    Raises:
        InputError: the part is missing, truncated or changed.
    """
    # without Arrow's threads: a part is small, and a process that ends while one of them starts is aborted
    names = None if columns is None else list(columns)
    return pq.read_table(
        pa.BufferReader(part_bytes(part)), columns=names, page_checksum_verification=True, use_threads=False, pre_buffer=False
    )


def part_bytes(part: Part) -> bytes:
    """The file of a part, after its digest was checked."""
    data = storage.read_bytes(part.uri)
    if len(data) != part.size_bytes or hashlib.sha256(data).hexdigest() != part.digest:
        raise InputError("the part is not what its manifest says (truncated or changed)", file=part.uri,
                         remedy="Restore it from a copy, or run again into a new folder")  # fmt: skip
    return data
