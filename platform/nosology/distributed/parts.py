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
    # not pq.read_table, which starts Arrow's threads whatever it is told: a process that ends meanwhile is aborted
    with pq.ParquetFile(pa.BufferReader(part_bytes(part)), page_checksum_verification=True, pre_buffer=False) as file:
        return file.read(columns=None if columns is None else list(columns), use_threads=False)


def part_bytes(part: Part) -> bytes:
    """The file of a part, after its digest was checked."""
    data = storage.read_bytes(part.uri)
    if len(data) != part.size_bytes or hashlib.sha256(data).hexdigest() != part.digest:
        raise InputError("the part is not what its manifest says (truncated or changed)", file=part.uri,
                         remedy="Restore it from a copy, or run again into a new folder")  # fmt: skip
    return data
