"""Rows of the Parquet tables that `prepare` writes, by index, without a copy of the table in each worker's Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.errors import InputError
from nosology.records import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Rows(Sequence[Mapping[str, Any]]):
    """Rows of an Arrow table; the table stays in Arrow's memory. Lists of numbers come as numpy arrays, all else as Python has it."""

    def __init__(self, table: pa.Table, id_column: str) -> None:
        import pyarrow.types as types

        self._table, self._id = table, id_column
        self._names = [name for name in table.column_names if name != id_column]
        self._lists = {field.name for field in table.schema if types.is_list(field.type) and types.is_integer(field.type.value_type)}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: self._value(name, index) for name in self._names}

    def _value(self, name: str, index: int) -> Any:
        value = self._table[name][index]
        return value.values.to_numpy(zero_copy_only=False) if name in self._lists else value.as_py()

    def values(self, name: str) -> Iterator[Any]:
        """A column, value by value."""
        return (value.as_py() for value in self._table[name])

    def nulls(self, name: str) -> int:
        """Rows in which a column is empty."""
        return int(self._table[name].null_count)

    def ids(self) -> list[str]:
        """The ids of all rows."""
        return [str(value) for value in self._table[self._id].to_pylist()]

    def lengths(self, name: str) -> NDArray[Any]:
        """Items of each row's list of a column."""
        import pyarrow.compute as pc

        found: NDArray[Any] = pc.fill_null(pc.list_value_length(self._table[name]), 0).to_numpy()
        return found

    def called(self, index: int) -> str:
        """The id of a row in the data that `prepare` wrote."""
        return str(self._table[self._id][index].as_py())


def read(data: str, split: str, record: type, id_column: str) -> Rows:
    """The rows of a split below a folder, in order of their id.

    Args:
        record: class whose schema the files have, for instance `PackedBlock`.

    Raises:
        InputError: no Parquet files, or columns are missing.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    files = [uri for uri in storage.list_files(data) if uri.endswith(".parquet")]
    if not files:
        raise InputError(
            f"no Parquet files of {record.__name__}", file=data, remedy="Run prepare first, and give the table that the objective reads"
        )
    dataset = ds.dataset(files, format="parquet")
    missing = [name for name in arrow_schema(record).names if name not in dataset.schema.names]
    if missing and len(missing) < len(arrow_schema(record)) / 2:
        raise InputError(
            f"columns are missing, as in a table of an older version: {', '.join(missing)}", file=data, remedy="Run prepare again"
        )
    if missing:
        raise InputError(
            f"expected the schema of {record.__name__}, columns missing: {', '.join(missing)}", file=data,
            remedy="generate reads the table blocks of prepare, prefer its preferences, embed and rerank its pairs, classify pairs or notes",
        )  # fmt: skip
    wanted = pa.schema([column for column in arrow_schema(record) if column.name != "split"])
    try:
        table = dataset.to_table(columns=wanted.names, filter=ds.field("split") == split).select(wanted.names).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError):  # its text can quote a value
        raise InputError(f"a column is not of the type that {record.__name__} has, or is empty where it must not be", file=data) from None
    return Rows(table.sort_by(id_column), id_column)


def called(rows: Sequence[Mapping[str, Any]], index: int) -> str:
    """What a row is called in a message: its id, or its number in rows from elsewhere."""
    return rows.called(index) if isinstance(rows, Rows) else str(index)
