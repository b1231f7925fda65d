"""Records as Arrow tables and as plain dicts."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    scalars = {str: pa.string(), bytes: pa.binary(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime.date: pa.date32()}
    if hint in scalars:
        return scalars[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return pa.list_(_arrow_type(args[0]))
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in args if a is not type(None))
        return _arrow_type(inner)
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(arrow_schema(typing.cast("type[Any]", hint))))
    raise TypeError(f"no Arrow type for {hint!r}")


def arrow_schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record class: one column a field, its `doc` and `phi` as metadata of the column."""
    import pyarrow as pa

    hints = typing.get_type_hints(record)
    columns = []
    for item in dataclasses.fields(record):
        hint = hints[item.name]
        nullable = type(None) in typing.get_args(hint)
        metadata = {"doc": item.metadata["doc"], **({"phi": item.metadata["phi"]} if item.metadata["phi"] else {})}
        columns.append(pa.field(item.name, _arrow_type(hint), nullable=nullable, metadata=metadata))
    return pa.schema(columns)


# What a class says of itself, kept: an archive asks for every value.


@functools.cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """Fields of a record class, in order; None for any other class."""
    return tuple(item.name for item in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def to_dict(record: Any) -> dict[str, Any]:
    """The record as nested dicts and lists, in the order of its fields."""
    kind: Any = type(record)
    return {name: _plain(getattr(record, name)) for name in _names(kind) or ()}


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if value is None or kind is str:
        return value
    if kind is tuple:
        return [_plain(v) for v in value]
    names = _names(kind)
    return value if names is None else {name: _plain(getattr(value, name)) for name in names}


def to_table(record: type[Any], rows: typing.Sequence[Any]) -> pa.Table:
    """Records of one class as an Arrow table of that class's schema."""
    import pyarrow as pa

    schema = arrow_schema(record)
    return pa.table(
        [pa.array([_plain(getattr(row, name)) for row in rows], schema.field(name).type) for name in schema.names], schema=schema
    )


_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"), bytes: ((bytes,), "bytes"), int: ((int,), "a whole number"), float: ((int, float), "a number"),
    bool: ((bool,), "true or false"), datetime.date: ((datetime.date,), "a date"),
}  # fmt: skip


def misfit(record: type[Any], row: typing.Mapping[str, Any]) -> tuple[str, str] | None:
    """The first field of a row whose value is not of its type, `lines.charge` of one in a part, and what its type is; None where all fit.
    Fields that are absent or None are passed over."""
    kind: Any = record
    return next((fault for name, hint in _hints(kind).items() if (fault := _misfit(hint, row.get(name), name))), None)


def _misfit(hint: Any, value: Any, name: str) -> tuple[str, str] | None:
    if value is None:
        return None
    if hint in _KINDS:
        types_, words = _KINDS[hint]
        fits = isinstance(value, types_) and (hint is bool or not isinstance(value, bool))
        return None if fits else (name, words)
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return name, "a list"
        return next((fault for one in value if (fault := _misfit(args[0], one, name))), None)
    if type(None) in args:
        return _misfit(next(a for a in args if a is not type(None)), value, name)
    if not isinstance(value, typing.Mapping):
        return name, "an object"
    return next((fault for part, kind in _hints(hint).items() if (fault := _misfit(kind, value.get(part), f"{name}.{part}"))), None)


def from_dict(record: type[Any], row: typing.Mapping[str, Any]) -> Any:
    """The record of a row of its table; keys that the class lacks are ignored."""
    kind: Any = record
    hints = _hints(kind)
    return record(**{k: _typed(hints[k], v) for k, v in row.items() if k in hints})


def _typed(hint: Any, value: Any) -> Any:
    if value is None:
        return value
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple(_typed(args[0], v) for v in value)
    if type(None) in args:
        return _typed(next(a for a in args if a is not type(None)), value)
    return from_dict(typing.cast("type[Any]", hint), value) if dataclasses.is_dataclass(hint) else value
