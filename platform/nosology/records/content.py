"""What makes two records the same: every value but the place that they were read from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nosology.records.arrow import arrow_schema, to_table
from nosology.records.parts import Sourced

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST = "record_digest"
DIGEST_BYTES = 16
_KEY = frozenset(item.name for item in dataclasses.fields(Sourced))
_DOC = "BLAKE2b-128 of all other values but the key, hexadecimal: the same for the same record in another file"


@functools.cache
def _values(record: Any) -> Callable[[Any], tuple[Any, ...]]:
    return operator.attrgetter(*(item.name for item in dataclasses.fields(record) if item.name not in _KEY))


def record_digest(row: Any) -> str:
    """Digest of a record's content, its class included."""
    import orjson

    kind: Any = type(row)
    data = orjson.dumps(_values(kind)(row))
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=kind.__name__.encode()).hexdigest()


def digested_schema(record: type[Any]) -> pa.Schema:
    """As `arrow_schema`, with the column `record_digest` at its end."""
    import pyarrow as pa

    return arrow_schema(record).append(pa.field(DIGEST, pa.string(), nullable=False, metadata={"doc": _DOC}))


def digested_table(record: type[Any], rows: Sequence[Any]) -> pa.Table:
    """As `to_table`, with the column `record_digest` at its end."""
    import pyarrow as pa

    digests = pa.array([record_digest(row) for row in rows], pa.string())
    return to_table(record, rows).append_column(digested_schema(record).field(DIGEST), digests)
