"""Tables of a user's own: JSONL, CSV, Parquet. Every row is one unit.

`count_rows` and `read_rows` serve the batch, which works on intervals of rows; the readers below serve ingest, where a row becomes a
document (columns of `InputConfig`), or the row of the table of `records.TABLES` whose columns it has.

Rows are numbered from 0 as they lie in the file, a CSV header and blank lines not counted. A row that cannot be decoded is a `Reason`
at its number; so is the rest of a damaged compressed file, as one last row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import io
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from nosology import storage
from nosology.config import IngestConfig, InputConfig
from nosology.deid.fields import listed
from nosology.errors import InputError, Reason, RecordError
from nosology.readers import parquet, synthea, values
from nosology.readers.charsets import Text
from nosology.readers.delimited import header, mapping, rows, stand_once
from nosology.readers.source import (
    BOM,
    DAMAGED,
    HEAD_BYTES,
    TOO_LONG,
    ZIP,
    Job,
    Lines,
    Unit,
    invalid_bytes,
    open_source,
    record_bytes,
)
from nosology.records import TABLES, RawDocument, Sourced

BAD_JSON = Reason("bad_json", "line", "a JSON object")
TRUNCATED = Reason("truncated_file", None, "a compressed file that is whole")
_FIRST_ROWS = 100  # of JSONL, in which a column that is needed must be
_LIMIT_BYTES = record_bytes(IngestConfig.model_validate({}))
Row = dict[str, Any]


def _json_rows(stream: io.BufferedReader, limit: int) -> Iterator[Row | Reason]:
    source = Lines(stream, limit)
    for line in source:
        yield _json_row(line, source.start)


def _json_row(line: bytes | None, start: int) -> Row | Reason:
    if line is None:
        return TOO_LONG
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        invalid = invalid_bytes(line, start, "line")
        return BAD_JSON if invalid.offset is None else invalid
    return found if isinstance(found, dict) else Reason("wrong_type", "line", "a JSON object")


def _csv_rows(stream: io.BufferedReader, limit: int, file: str) -> tuple[list[str], Iterator[list[str] | Reason]]:
    """Column names, and the rows below the header."""
    try:
        found = header(stream.peek(HEAD_BYTES)[:HEAD_BYTES], repeats=True)
        source = rows(stream, found[1] if found else ",", limit)
        first = next(source, None)
    except DAMAGED:
        raise InputError("a compressed file whose header is whole", file=file, remedy="Copy or export it again") from None
    if first is None or isinstance(first, Reason):
        raise InputError("JSON lines, or CSV with a header in UTF-8; the file is empty or neither of them", file=file, field="header",
                         remedy="Export it again, or name another file")  # fmt: skip
    return [name.strip() for name in first], source


def _kind(head: bytes) -> str:
    """jsonl, csv or parquet."""
    if head.startswith(parquet.MAGIC):
        return "parquet"
    return "jsonl" if head.removeprefix(BOM).lstrip().startswith(b"{") else "csv"


def _until_damage(items: Iterator[Any]) -> Iterator[Any]:
    """The items, and a `Reason` for what a damaged compressed file still held."""
    try:
        yield from items
    except DAMAGED:
        yield TRUNCATED


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[tuple[io.BufferedReader, str]]:
    """The uncompressed content and its kind."""
    with storage.open_input(uri) as stored:
        stream = open_source(stored)
        try:
            head = stream.peek(HEAD_BYTES)
            if head.startswith(ZIP):
                raise InputError("a table; `nosology ingest` reads zip archives", file=uri, remedy="Unpack it, or ingest it first")
            if not head.startswith(parquet.MAGIC):  # no encoding is concluded here: what is not UTF-8 is a dead letter
                stream = io.BufferedReader(Text(stream, detect=False), HEAD_BYTES)
                head = stream.peek(HEAD_BYTES)
        except DAMAGED:
            raise InputError("expected a compressed file that can be opened", file=uri, remedy="Copy or export it again") from None
        yield stream, _kind(head)


def header_of(stream: io.BufferedReader, file: str) -> list[str]:
    """Column names of a delimited table."""
    return _csv_rows(stream, _LIMIT_BYTES, file)[0]


def describe(uri: str, needed: typing.Collection[str] = ()) -> tuple[str, str | None]:
    """What a file is: jsonl, csv or parquet, and the name of the table of `records.TABLES` whose columns it has.

    Args:
        needed: columns that the file must have when it is none of those tables; of JSONL, some of its first rows.

    Raises:
        InputError: the file cannot be read, is of no such format, lacks a column, or has one that is needed twice.
    """
    with _opened(uri) as (stream, kind):
        if kind == "jsonl":
            first = [row for row in itertools.islice(_until_damage(_json_rows(stream, _LIMIT_BYTES)), _FIRST_ROWS) if isinstance(row, dict)]
            names = list(first[0]) if first else []
            absent = [name for name in needed if first and not any(name in row for row in first)]
        else:
            names = parquet.names(stream, uri) if kind == "parquet" else _csv_rows(stream, _LIMIT_BYTES, uri)[0]
            absent = [name for name in needed if name not in names]
            stand_once(names, _columns_read(names, needed), uri)
    record = table_of(names)
    if record is None and absent:
        # the names it has are not shown: in a file without a header they are a record
        raise InputError(
            f"the table lacks a column that is needed, among its {len(names)}",
            file=uri,
            field=", ".join(absent),
            remedy="Name yours with --text-column and --id-column (input.text_column, input.id_column); claims, FHIR and HL7 go through ingest first",
        )
    return kind, next((name for name, known in TABLES.items() if known is record), None)


def count_rows(uri: str) -> int:
    """Rows of a file, those that cannot be decoded included.

    Raises:
        InputError: the file cannot be read, or is of no such format.
    """
    with _opened(uri) as (stream, kind):
        if kind == "parquet":
            return parquet.count(stream, uri)
        source: Iterator[Any] = Lines(stream, _LIMIT_BYTES) if kind == "jsonl" else _csv_rows(stream, _LIMIT_BYTES, uri)[1]
        return sum(1 for _ in _until_damage(source))


def read_rows(uri: str, start: int, stop: int) -> Iterator[tuple[int, Row | Reason]]:
    """Rows start to stop (exclusive) with their numbers; cells of a CSV are strings.

    Raises:
        InputError: the file cannot be read, or is of no such format.
    """
    with _opened(uri) as (stream, kind):
        if kind == "parquet":
            yield from parquet.read(stream, uri, start, stop)
            return
        if kind == "jsonl":
            lines = Lines(stream, _LIMIT_BYTES)
            for number, line in itertools.islice(enumerate(_until_damage(iter(lines))), start, stop):
                yield number, line if isinstance(line, Reason) else _json_row(line, lines.start)
            return
        names, source = _csv_rows(stream, _LIMIT_BYTES, uri)
        for number, row in itertools.islice(enumerate(_until_damage(source)), start, stop):
            yield number, row if isinstance(row, Reason) else _csv_row(names, row)


def _csv_row(names: list[str], row: list[str]) -> Row | Reason:
    try:
        return dict(mapping(names, row))
    except RecordError as error:
        return error.reason


# ------------------------------------------------------------------------------------------------------------- ingest


@functools.cache
def _fields(record: Any) -> dict[str, tuple[Any, bool]]:
    """Type and whether it is required, of each field that is not the key."""
    key = {item.name for item in dataclasses.fields(Sourced)}
    hints = typing.get_type_hints(record)
    return {
        item.name: (hints[item.name], item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING)
        for item in dataclasses.fields(record)
        if item.name not in key or not issubclass(record, Sourced)
    }


def table_of(names: typing.Iterable[str]) -> Any:
    """The class of `records.TABLES` all of whose columns (the key aside) are among these."""
    held = set(names)
    tables: list[Any] = list(TABLES.values())
    return next((record for record in tables if _fields(record).keys() <= held), None)


def _columns_read(names: list[str], of_a_note: typing.Collection[str]) -> typing.Collection[str]:
    """Columns of which a table with these names may have one alone: all of a record's with its key, else those of a note."""
    record = table_of(names)
    return of_a_note if record is None else {*_fields(record), *(item.name for item in dataclasses.fields(Sourced))}


def check_repeats(names: list[str], job: Job, file: str) -> None:
    """Raises `InputError` where a column that an ingest reads stands in the header twice."""
    of_a_note = [getattr(job.columns, name) for name in InputConfig.model_fields if name.endswith("_column")]
    stand_once(names, _columns_read(names, [*of_a_note, "date"]), file)


def is_of_notes(names: list[str], columns: InputConfig) -> bool:
    """Whether a header has the columns of a table of notes, whatever else it has."""
    return columns.text_column in names and columns.id_column in names


def check_header(names: list[str], job: Job, file: str) -> None:
    """`check_repeats` of a delimited table; and `InputError` for one without a note that looks like one of Synthea's."""
    check_repeats(names, job, file)
    if not is_of_notes(names, job.columns) and table_of(names) is None:
        synthea.refuse_partial(names, file)


def _typed(hint: Any, value: Any, field: str) -> Any:
    """The value as the field's type.

    Raises:
        RecordError: `missing_field`, `wrong_type`, `bad_number` or `impossible_date`.
    """
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return None if value is None or value == "" else _typed(next(a for a in args if a is not type(None)), value, field)
    if value is None:
        raise RecordError("missing_field", field, "a value")
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_typed(args[0], one, field) for one in value)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return typing.cast("Any", hint)(**_arguments(typing.cast("Any", hint), value))
    if hint is datetime.date:
        return values.day(value.isoformat() if isinstance(value, datetime.date) else str(value), field)
    if hint is float:
        return values.number(value, field)
    if hint is int:
        return values.count(value, field)
    if hint is str and isinstance(value, str):
        return value
    raise RecordError("wrong_type", field, "the type that the table's schema names")


def _arguments(record: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    fields = _fields(record)
    return {name: _typed(fields[name][0], row[name], name) for name in fields if name in row and (row[name] is not None or fields[name][1])}


def _scalar(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value.strip() or None if value else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise RecordError("wrong_type", name, "a string or a number")


def _date(row: Mapping[str, Any], name: str) -> datetime.date | None:
    value = row.get(name)
    return values.day(value.isoformat() if isinstance(value, datetime.date) else _scalar(row, name), name)


def unit(row: Row | Reason, job: Job) -> Unit:
    """What a row becomes.

    Raises:
        RecordError: it is no record.
    """
    if isinstance(row, Reason):
        return row
    if record := table_of(row):
        return [partial(record, **_arguments(record, row))]
    columns = job.columns
    text_column, id_column = columns.text_column, columns.id_column
    if text_column not in row:
        return Reason("missing_field", text_column, "the column of the note (input.text_column)")
    text = row[text_column]
    if text is not None and not isinstance(text, str):
        return Reason("wrong_type", text_column, "a string")
    return [
        partial(
            RawDocument, document_id=values.required(_scalar(row, id_column), id_column), text=text or "",
            patient_id=_scalar(row, columns.patient_id_column), encounter_id=_scalar(row, columns.encounter_id_column),
            claim_id=_scalar(row, columns.claim_id_column), kind=_scalar(row, columns.kind_column),
            date=_date(row, columns.date_column) or _date(row, "date"), sex=values.sex(_scalar(row, columns.sex_column)),
            age=values.number(_scalar(row, columns.age_column), columns.age_column),
        )
    ]  # fmt: skip


@functools.cache
def known_columns(columns: InputConfig) -> frozenset[str]:
    """Columns of a table of notes that an ingest reads."""
    return frozenset(getattr(columns, field.path.removeprefix("input."), field.path) for field in listed("rows"))


def _listed(names: typing.Iterable[str], job: Job) -> frozenset[str]:
    """Columns that are read of a table, or a row, with these."""
    record = table_of(names)
    if record is None:
        return known_columns(job.columns)
    return frozenset(_fields(record)) | frozenset(item.name for item in dataclasses.fields(Sourced))


def check_columns(names: list[str], job: Job, file: str) -> None:
    """Raises `InputError` when a table has neither the columns of one of ours nor those of a note."""
    # what the configuration names anew must be there; what has its default name may be absent, but for text and id. A run's own
    # config.yaml names all of them, so the names decide and not who wrote them down.
    fields = type(job.columns).model_fields
    chosen = [value for name, value in job.columns if name.endswith("_column") and value != fields[name].default]
    absent = [name for name in dict.fromkeys([job.columns.text_column, job.columns.id_column, *sorted(chosen)]) if name not in names]
    if absent and table_of(names) is None:
        remedy = "Name the columns with input.text_column, input.id_column and so on, or take the file out"
        raise InputError("it lacks a column that a table of notes has", file=file, field=", ".join(absent), remedy=remedy)


class Jsonl:
    """Reader of JSON lines that are no FHIR resources."""

    name = "jsonl"

    def sniff(self, head: bytes) -> bool:
        return head.removeprefix(BOM).lstrip().startswith(b"{")

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        source = Lines(stream, record_bytes(job.ingest))
        for line in source:
            yield job.builder.make(lambda line: self._unit(_json_row(line, source.start), job), line)

    @staticmethod
    def _unit(row: Row | Reason, job: Job) -> Unit:
        known = known_columns(job.columns)
        if not isinstance(row, Reason) and not known.issuperset(row):
            job.unlisted.keys(row, _listed(row, job))
        return unit(row, job)


class Csv:
    """Reader of delimited tables with a header."""

    name = "csv"

    def sniff(self, head: bytes) -> bool:
        return header(head) is not None

    def check(self, stream: io.BufferedReader, job: Job) -> None:
        names = header_of(stream, job.source.name)
        check_header(names, job, job.source.name)
        check_columns(names, job, job.source.name)

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        names, source = _csv_rows(stream, record_bytes(job.ingest), job.source.name)
        check_header(names, job, job.source.name)
        job.unlisted.header(names, self.name, known=_listed(names, job))
        for row in source:
            yield row if isinstance(row, Reason) else job.builder.make(lambda row: unit(_csv_row(names, row), job), row)


class Parquet:
    """Reader of Parquet."""

    name = "parquet"

    def sniff(self, head: bytes) -> bool:
        return head.startswith(parquet.MAGIC)

    def check(self, stream: io.BufferedReader, job: Job) -> None:
        names = parquet.names(stream, job.source.name)
        check_repeats(names, job, job.source.name)
        check_columns(names, job, job.source.name)

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        for _, row in parquet.read(stream, job.source.name, 0, None, lambda names: self._begin(names, job)):
            yield job.builder.make(unit, row, job)

    @staticmethod
    def _begin(names: list[str], job: Job) -> None:
        check_repeats(names, job, job.source.name)
        job.unlisted.header(names, "rows", known=_listed(names, job))
