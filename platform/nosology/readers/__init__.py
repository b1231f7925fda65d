"""Readers: archive files in, records out. One file per format; formats are told by content, never by name.

    readers.probe(source, stream, config.ingest, config.input)   # -> name of the format; InputError when the file cannot be read at all
    reading = readers.read_file(source, stream, config.ingest, config.input)
    for item in reading: ...                          # RawRecord | DeadLetter | Skipped, and Original where those are kept
    reading.counts                                    # Counts of this file, complete when the loop has ended

`stream` is the binary stream of the file as it lies in storage (`storage.open_input(uri)`); gzip and zstd are undone here. A unit
of work is a file: `read_file` streams (it holds one record; of RIF also the claim ids seen, of a pretty-printed Bundle the file), and
order and numbering depend on the bytes alone.

## What is counted
A **source record** is what one of these holds; it becomes rows of the tables, or one dead letter, or is skipped — never two of these:

| format  | one source record is                                           | rows it becomes                                     |
|---------|----------------------------------------------------------------|-----------------------------------------------------|
| x12     | a claim: CLM loop of an 837, CLP loop of an 835                | claim, its NTE joined as one document; remittance   |
|         | a transaction of another kind                                  | skipped                                             |
| fhir    | a resource: a line, or an entry of a Bundle                    | the row of its type; other types are skipped        |
| rif     | a claim (rows that follow each other with one CLM_ID), PDE row | claim                                               |
|         | a beneficiary row                                              | patient                                             |
| synthea | a row of patients, encounters, conditions, claims              | its row; rows of other tables are skipped           |
| hl7v2   | a message                                                      | patients, encounters, conditions, text as a document|
| jsonl, csv, parquet | a row                                              | document, or row of the table whose columns it has  |
| text    | the file                                                       | document                                            |

An ExplanationOfBenefit becomes a remittance; one that names no Claim stands for it too and becomes a claim beside.

`records` = source records that became rows + `dead`; `skipped` ones are counted apart; `notes` = documents; so a sum over the raw
files, by plain counting, is `records + skipped`. What cannot be told apart any more (a truncated gzip, an X12 file that loses its
envelope) is one dead letter for the rest of the file; what was read before it stands.

`source_row` numbers what comes out of a file (rows, dead letters, skipped records) from 0: unique in the file.

Reasons of dead letters (`REASONS`): a slug; `field` and `rule` name the format's own element and what was expected, never a value.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from nosology.config import IngestConfig, InputConfig
from nosology.errors import InputError, Reason, RecordError
from nosology.readers import parquet, tabular, values
from nosology.readers.fhir import Fhir
from nosology.readers.hl7v2 import Hl7v2
from nosology.readers.rif import Rif
from nosology.readers.source import DAMAGED, HEAD_BYTES, Draft, Job, Kept, Reader, Skipped, SourceFile, Unit, open_source
from nosology.readers.synthea import Synthea
from nosology.readers.text import TOO_LARGE, Text
from nosology.readers.x12 import X12
from nosology.records import DeadLetter, Original, RawClaim, RawDocument, RawRecord

__all__ = ["READERS", "REASONS", "Counts", "Reader", "Reading", "Skipped", "SourceFile", "probe", "read_file", "recognise"]

# In the order in which they are asked: the strictest first. A new format is one file and one line here.
READERS: dict[str, Reader] = {
    reader.name: reader for reader in (tabular.Parquet(), X12(), Hl7v2(), Fhir(), tabular.Jsonl(), Rif(), Synthea(), tabular.Csv(), Text())
}
REASONS = {
    "bad_base64": "Base64 that is none",
    "bad_json": "a line or file that is no JSON object",
    "bad_number": "a number that is none",
    "broken_envelope": "an X12 or HL7 header whose separators cannot be read",
    "broken_loop": "segments outside the loop they belong to",
    "broken_row": "a delimited row whose quotation marks do not close",
    "broken_segment": "a segment without an id",
    "column_count": "a row with more or fewer columns than the header",
    "empty_file": "a file of no bytes",
    "empty_note": "a note without text",
    "impossible_date": "a day that does not exist, an end before its beginning, a service before birth",
    "invalid_utf8": "bytes that are no UTF-8",
    "missing_field": "a required value that is absent",
    "note_elsewhere": "a note that is only referred to",
    "note_too_large": "a note above ingest.max_document_bytes",
    "record_too_long": "a line, segment or message of absurd length",
    "scattered_claim": "rows of one claim with other claims between",
    "truncated_file": "a compressed file that breaks off: the rest of it",
    "truncated_record": "a transaction, or an interchange, without its end",
    "unreadable_file": "a file that no reader can open",
    "unreadable_rows": "a damaged part of a Parquet file",
    "unsupported_content": "an attachment that is no text",
    "wrong_type": "a value of another type than its field has",
}
Row = RawRecord | DeadLetter | Skipped | Original
_TEXT_NAMES, _TABLE_NAMES = (".txt", ".text", ".md"), (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was read of one or more files; `records` includes `dead`, not `skipped`."""

    records: int = 0
    notes: int = 0
    dead: int = 0
    skipped: int = 0


def recognise(head: bytes, file_name: str) -> Reader:
    """The reader of a file that begins with these uncompressed bytes. The name's ending decides only between table and plain text.

    Raises:
        InputError: the content is of no known format.
    """
    name = file_name.lower().removesuffix(".gz").removesuffix(".zst")
    found = next((reader for reader in READERS.values() if reader.sniff(head)), None)
    if found is None or head.lstrip().startswith(b"[{"):
        known = ", ".join(READERS)
        remedy = "Write a JSON array as one object a line" if found else "Convert it, or take it out"
        raise InputError(f"one of the formats {known}", file=file_name, remedy=remedy)
    if found.name == "csv" and name.endswith(_TEXT_NAMES):
        return READERS["text"]
    if found.name == "text" and name.endswith(_TABLE_NAMES) and b"\n" in head:
        return READERS["csv"]
    return found


def _job(source: SourceFile, config: IngestConfig | None, columns: InputConfig | None) -> Job:
    return Job(source, config or IngestConfig.model_validate({}), columns or InputConfig.model_validate({}))


def probe(source: SourceFile, stream: BinaryIO, config: IngestConfig | None = None, columns: InputConfig | None = None) -> str:
    """Name of the file's format, from its beginning (of Parquet: its footer), before any work is done. Moves the stream.

    Raises:
        InputError: the file cannot be read: a damaged gzip or zstd header, an unknown binary format, Parquet that is truncated or has
            extension types, a table without the columns of a note.
    """
    job = _job(source, config, columns)
    content = open_source(stream)
    try:
        head = content.peek(HEAD_BYTES)
    except DAMAGED:
        raise InputError("a compressed file that can be opened", file=source.name, remedy="Copy or export it again") from None
    reader = recognise(head, source.name)
    if reader.name == "parquet":
        tabular.check_columns(parquet.names(content, source.name), job, source.name)
    elif reader.name == "csv":
        tabular.check_columns(tabular.header_of(content), job, source.name)
    return reader.name


class Reading(Iterator[Row]):
    """The records of one file, in order; `counts` grows with them. `format` is known from the start."""

    def __init__(self, source: SourceFile, stream: BinaryIO, job: Job) -> None:
        self.source, self._job = source, job
        self._next_row = self._records = self._notes = self._num_dead = self._skipped = 0
        self._piece: Kept | None = None  # whose units come now
        self._piece_rows: list[int] = []
        self._next_piece = 0
        self._fault: Reason | None = None
        self._content = open_source(stream)
        self.format = "text"
        try:
            head = self._content.peek(HEAD_BYTES)
            self._empty = not head
            self._reader = recognise(head, source.name)
            self.format = self._reader.name
        except DAMAGED:
            self._fault = Reason("unreadable_file", None, "a compressed file that can be opened")
        except InputError as error:
            self._fault = Reason("unreadable_file", None, error.rule)
        self._items = self._run()

    def __iter__(self) -> Iterator[Row]:
        return self._items

    def __next__(self) -> Row:
        return next(self._items)

    @property
    def counts(self) -> Counts:
        """What was read up to now."""
        return Counts(self._records, self._notes, self._num_dead, self._skipped)

    def _run(self) -> Iterator[Row]:
        if self._fault is not None or self._empty:
            yield self._dead(self._fault or Reason("empty_file", None, "a file with content"))
            return
        try:
            for unit in self._reader.read(self._content, self._job):
                if isinstance(unit, Kept):
                    yield from self._original()
                    self._piece = unit
                    continue
                if self._piece is not None:
                    self._piece_rows.append(self._next_row)
                yield from self._stamp(unit)
            yield from self._original()
        except DAMAGED:
            yield self._dead(Reason("truncated_file", None, "a compressed file that is whole"))
        except InputError as error:
            yield self._dead(Reason("unreadable_file", error.field, error.rule))

    def _stamp(self, unit: Unit) -> Sequence[Row]:
        if isinstance(unit, Skipped):
            self._next_row += 1
            self._skipped += 1
            return (unit,)
        if isinstance(unit, Reason):
            return (self._dead(unit),)
        assert not isinstance(unit, Kept)
        begun = self._next_row
        try:
            rows = [self._row(draft) for draft in unit]
        except RecordError as error:
            self._next_row = begun
            return (self._dead(error.reason),)
        self._records += 1
        self._notes += sum(isinstance(row, RawDocument) for row in rows)
        return rows

    def _original(self) -> Iterator[Original]:
        """The piece whose units have come, where originals are kept."""
        piece, rows = self._piece, tuple(self._piece_rows)
        self._piece, self._piece_rows = None, []
        if piece is None or not piece.content:
            return
        number, self._next_piece = self._next_piece, self._next_piece + 1
        yield Original(
            source_digest=self.source.digest, source_row=rows[0] if rows else self._next_row, source_format=self.format, piece=number,
            rows=rows, content=piece.content,
        )  # fmt: skip

    def _row(self, draft: Draft) -> RawRecord:
        row = draft(source_digest=self.source.digest, source_row=self._next_row, source_format=self.format)
        if isinstance(row, RawDocument):
            self._check_note(row.text)
        elif isinstance(row, RawClaim):
            _check_dates(row)
        self._next_row += 1
        return row

    def _check_note(self, text: str) -> None:
        if not text or text.isspace():
            raise RecordError("empty_note", "text", "a note with text")
        limit = self._job.ingest.max_document_bytes
        if len(text) > limit or (4 * len(text) > limit and len(text.encode()) > limit):
            raise RecordError(TOO_LARGE.code, TOO_LARGE.field, TOO_LARGE.rule)

    def _dead(self, reason: Reason) -> DeadLetter:
        row, self._next_row = self._next_row, self._next_row + 1
        self._records += 1
        self._num_dead += 1
        return DeadLetter(
            source_digest=self.source.digest, source_row=row, source_format=self.format, stage="ingest", reason=reason.code,
            field=reason.field, rule=reason.rule,
        )  # fmt: skip


def _check_dates(claim: RawClaim) -> None:
    """Raises `impossible_date` for a claim that ends before it begins, or serves someone not yet born."""
    values.in_order(claim.service_from, claim.service_to, "service_to")
    days: list[datetime.date] = [day for day in (claim.service_to, claim.service_from, *(line.service_date for line in claim.lines)) if day]
    if claim.birth_date is not None and days and max(days) < claim.birth_date:
        raise RecordError("impossible_date", "birth_date", "a birth not after the service")


def read_file(source: SourceFile, stream: BinaryIO, config: IngestConfig | None = None, columns: InputConfig | None = None) -> Reading:
    """The records of a file.

    Args:
        source: whose digest becomes part of every key.
        stream: the file as it lies in storage, seekable, at its beginning; the caller closes it.
        config: limits.
        columns: names of the columns of a user's own table.

    Content never raises: what cannot be read is a `DeadLetter`. An error of the storage itself passes through.
    """
    return Reading(source, stream, _job(source, config, columns))
