"""Readers: archive files in, records out. One file per format; formats are told by content, never by name.

    readers.probe(source, stream, config.ingest, config.input)   # -> name of the format, and what of it cannot be read at all
    reading = readers.read_file(source, stream, config.ingest, config.input)
    for item in reading: ...                          # RawRecord | DeadLetter | Skipped, and Original where those are kept
    reading.counts                                    # Counts of this file, complete when the loop has ended

`stream` is the binary stream of the file as it lies in storage (`storage.open_input(uri)`); gzip, zstd, bzip2 and zip are undone here
(`members`), text comes to the readers in UTF-8 (`charsets`). A unit of work is a file, an archive too: `read_file` streams (it holds one record; of RIF also the claim ids seen, of a pretty-printed Bundle the file), and
order and numbering depend on the bytes alone.

## What is counted
A **source record** is what one of these holds; it becomes rows of the tables, or one dead letter, or is skipped — never two of these:

| format  | one source record is                                           | rows it becomes                                     |
|---------|----------------------------------------------------------------|-----------------------------------------------------|
| x12     | a claim: CLM loop of an 837, CLP loop of an 835                | claim, its NTE joined as one document; remittance   |
|         | a transaction of another kind                                  | skipped                                             |
| fhir    | a resource: a line, or an entry of a Bundle                    | the row of its type; others of FHIR's are skipped    |
| rif     | a claim (rows that follow each other with one CLM_ID), PDE row | claim                                               |
|         | a beneficiary row                                              | patient                                             |
| synpuf  | a claim (a row, or two by SEGMENT), a drug event; a beneficiary | claim; patient                                      |
| synthea | a row of patients, encounters, conditions, procedures, claims  | its row; rows of other tables are skipped           |
| hl7v2   | a message                                                      | patients, encounters, conditions, text as a document|
| rtf, html, ccda | the file                                         | document                                            |
| jsonl, csv, parquet | a row                                              | document, or row of the table whose columns it has  |
| text    | the file                                                       | document                                            |

An ExplanationOfBenefit becomes a remittance; one that names no Claim stands for it too and becomes a claim beside. Texts in the
`supportingInfo` of either are documents of the claim.

`records` = source records that became rows + `dead`; `skipped` ones are counted apart; `notes` = documents; so a sum over the raw
files, by plain counting, is `records + skipped`. What cannot be told apart any more (a truncated gzip, an X12 file that loses its
envelope) is one dead letter for the rest of the file; what was read before it stands. A member of a zip archive that cannot be read is one
dead letter; the members after it are read, and rows are numbered on.

With `ingest.keep_originals` X12 and FHIR files also give `Original`s, which take no number: the pieces of the file, from which
`readers.write` makes the file again, with records that changed in their places.

`source_row` numbers what comes out of a file (rows, dead letters, skipped records) from 0: unique in the file.

Reasons of dead letters (`REASONS`): a slug; `field` and `rule` name the format's own element and what was expected, never a value.
A fault of this package, which no content should bring about, is an `internal_error` for the record, or for the rest of the file.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from nosology.config import IngestConfig, InputConfig
from nosology.errors import InputError, Reason, RecordError
from nosology.readers import charsets, tabular, values
from nosology.readers.beginnings import beginning, seems
from nosology.readers.delimited import header
from nosology.readers.document import CDA, HTML, RTF, Document, is_other_xml
from nosology.readers.fhir import Fhir
from nosology.readers.hl7v2 import Hl7v2
from nosology.readers.members import EXPANDED, Member, is_archive, members
from nosology.readers.rif import Rif
from nosology.readers.source import (
    DAMAGED,
    HEAD_BYTES,
    Builder,
    Draft,
    Expanded,
    InvalidBytes,
    Job,
    Kept,
    Reader,
    Skipped,
    SourceFile,
    Table,
    Unit,
    fault_of,
    name_of,
    record_bytes,
)
from nosology.readers.synpuf import Synpuf
from nosology.readers.synthea import Synthea
from nosology.readers.text import TOO_LARGE, Text
from nosology.readers.unlisted import Unlisted
from nosology.readers.x12 import X12
from nosology.records import DeadLetter, Original, RawClaim, RawDocument, RawRecord
from nosology.storage import StorageError

__all__ = [
    "READERS",
    "REASONS",
    "Builder",
    "Counts",
    "Reader",
    "Reading",
    "Skipped",
    "SourceFile",
    "name_of",
    "probe",
    "read_file",
    "recognise",
]

# In the order in which they are asked: the strictest first. A new format is one file and one line here.
READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        tabular.Parquet(),
        X12(),
        Hl7v2(),
        Document("rtf", RTF),
        Document("ccda", CDA),
        Document("html", HTML),
        Fhir(),
        tabular.Jsonl(),
        Rif(),
        Synpuf(),
        Synthea(),
        tabular.Csv(),
        Text(),
    )
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
    "encrypted_file": "a member of a zip archive that wants a password",
    "expands_too_far": "a compressed file above ingest.max_expanded_bytes or ingest.max_expansion: the rest of it",
    "invalid_utf8": "bytes that are none in the encoding of the text; the rule names the offset of the first",
    "missing_field": "a required value that is absent",
    "nested_archive": "a zip archive inside a zip archive",
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
_DECODES = ("hl7v2", "rtf", "ccda", "html")  # formats that name their encoding themselves
_COLUMNS = InputConfig.model_validate({})
_TEXT_NAMES, _TABLE_NAMES = (".txt", ".text", ".md"), (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was read of one or more files; `records` includes `dead`, not `skipped`."""

    records: int = 0
    notes: int = 0
    dead: int = 0
    skipped: int = 0


_PRINTED = (b"%PDF-", b"%!PS")  # without pictures all of it may be ASCII


def recognise(head: bytes, file_name: str, columns: InputConfig | None = None) -> Reader:
    """The reader of a file that begins with these uncompressed bytes. The name's ending decides only between table and plain text.

    Args:
        columns: names of the columns of a user's own table, which may have some of Synthea's beside.

    Raises:
        InputError: the content is of no known format.
    """
    name = file_name.lower().removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    found = next((reader for reader in READERS.values() if reader.sniff(head)), None)
    an_array = found is not None and found.name != "fhir" and head.lstrip().startswith(b"[{")
    printed = head.startswith(_PRINTED)
    if found is None or an_array or printed or is_other_xml(head):
        known = ", ".join(READERS)
        remedy = "Write a JSON array as one object a line" if an_array else "Convert it, or take it out"
        if is_other_xml(head):
            remedy = "Of XML only C-CDA and XHTML are read: export FHIR as JSON, or take it out"
        if printed:
            remedy = "PDF and PostScript are not read: extract the text, or take it out"
        raise InputError(f"expected one of the formats {known}", file=file_name, remedy=remedy)
    if found.name == "text" and (damaged := seems(head)):  # all its records would be one note that nobody wrote
        remedy = "Copy or export it again, or take it out"
        raise InputError(
            f"a beginning of {damaged}, which what follows seems to be: its first bytes are damaged", file=file_name, remedy=remedy
        )
    if found.name == "synthea" and (told := header(head, repeats=True)) and tabular.is_of_notes(told[0], columns or _COLUMNS):
        return READERS["csv"]
    if found.name == "csv" and name.endswith(_TEXT_NAMES):
        return READERS["text"]
    if found.name == "text" and name.endswith(_TABLE_NAMES) and b"\n" in head:
        return READERS["csv"]
    return found


def _job(source: SourceFile, config: IngestConfig | None, columns: InputConfig | None, builder: Builder | None = None) -> Job:
    limits, names = config or IngestConfig.model_validate({}), columns or _COLUMNS
    return Job(source, limits, names, builder=builder or Builder())


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that a reader is found for."""

    reader: Reader
    stream: io.BufferedReader
    text: charsets.Text | None  # None where the reader decodes by itself, or there is nothing to decode


def _open(member: Member, job: Job) -> _Opened | None:
    """The reader and the content that it gets; None of a file without content.

    Raises:
        InputError: no reader is found. One of `DAMAGED`: it cannot be unpacked.
    """
    assert member.content is not None
    head = member.content.peek(HEAD_BYTES)
    if not head:
        return None
    encoding = charsets.wide(head)
    told, content = beginning(member.content, encoding, record_bytes(job.ingest))
    reader = recognise(told, member.source.name, job.columns)
    marked = encoding is not None and encoding.startswith("utf-16") and encoding == charsets.marked(head)
    if reader.name == "parquet" or (reader.name in _DECODES and (encoding is None or (marked and reader.name != "hl7v2"))):
        return _Opened(reader, content, None)
    text = charsets.Text(content, job.ingest.encoding)
    return _Opened(reader, io.BufferedReader(text, HEAD_BYTES), text)


def probe(
    source: SourceFile, stream: BinaryIO, config: IngestConfig | None = None, columns: InputConfig | None = None
) -> tuple[str | None, list[InputError]]:
    """Name of the file's format, from its beginning (of Parquet: its footer), before any work is done; None when nothing of it can be read.
    And why it, or members of it, cannot be read: a damaged header, a format that is not known, Parquet that is truncated or has extension
    types, a table without the columns of a note, a member that is encrypted or an archive. Moves the stream.
    """
    job = _job(source, config, columns)
    formats: list[str] = []
    faults: list[InputError] = []
    archived = is_archive(stream)
    try:
        for member in members(source, stream, job.ingest):
            name = member.source.name
            try:
                if member.fault is not None:
                    raise InputError(member.fault.rule or member.fault.code, file=name)
                formats.append(_probe(member, job))
            except Expanded:
                faults.append(InputError(EXPANDED.rule or "", file=name))
            except DAMAGED:
                faults.append(InputError("expected a compressed file that can be opened", file=name, remedy="Copy or export it again"))
            except StorageError:
                raise
            except InputError as error:
                faults.append(error)
            except Exception as error:
                faults.append(InputError(f"internal error: {fault_of(error).rule}", file=name, remedy="Please report this line"))
    except StorageError:
        raise
    except Expanded:
        faults.append(InputError(EXPANDED.rule or "", file=source.name, remedy="Raise the limit if the file is to be trusted"))
    except InputError as error:
        faults.append(error)
    if not formats and not faults:
        faults.append(InputError("an archive with files in it", file=source.name))
    return (None if not formats else "zip" if archived else formats[0]), faults


def _probe(member: Member, job: Job) -> str:
    opened = _open(member, job)
    if opened is None:
        return "text"
    if isinstance(opened.reader, Table):
        opened.reader.check(opened.stream, replace(job, source=member.source))
    return opened.reader.name


class Reading(Iterator[Row]):
    """The records of one file, in order; `counts` grows with them. `format` is known from the start: `zip` of an archive.

    When the loop has ended, `formats` are its records by format, `encodings` its members (itself, where it is no archive) by encoding, and
    `unknown` the fields that no list has, by format and name parted by a blank (`unlisted`).
    """

    def __init__(self, source: SourceFile, stream: BinaryIO, job: Job) -> None:
        self.source, self._job = source, job
        self.formats, self.encodings, self.unknown = Counter[str](), Counter[str](), Counter[str]()
        self._next_row = self._records = self._notes = self._num_dead = self._skipped = 0
        self._piece: Kept | None = None  # whose units come now
        self._piece_rows: list[int] = []
        self._next_piece = 0
        self._number: int | None = None  # of the member that is read
        self._text: charsets.Text | None = None
        self._members = members(source, stream, job.ingest)
        self._first: _Opened | Reason | None = None
        self.format = "zip"
        if not is_archive(stream):
            self.format = "text"
            self._first = self._opened(next(self._members))
            if isinstance(self._first, _Opened):
                self.format = self._first.reader.name
        self._format = self.format
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
        if self.format != "zip":
            yield from self._file(self._first)
            return
        fault: Reason | None = None
        try:
            for member in self._members:
                self._number = member.number
                yield from self._file(self._opened(member))
        except Expanded:
            fault = EXPANDED
        except StorageError:
            raise
        except InputError as error:
            fault = Reason("unreadable_file", error.field, error.rule)
        except Exception as error:
            fault = fault_of(error)
        if fault is not None:
            yield from self._file(fault)

    def _opened(self, member: Member) -> _Opened | Reason | None:
        """The member with its reader; why it has none; None of a file without content."""
        if member.fault is not None:
            return member.fault
        try:
            opened = _open(member, self._job)
        except Expanded:
            return EXPANDED
        except DAMAGED:
            return Reason("unreadable_file", None, "a compressed file that can be opened")
        except StorageError:
            raise
        except InputError as error:
            return Reason("unreadable_file", None, error.rule)
        except Exception as error:
            return fault_of(error)
        self._job = replace(self._job, source=member.source, encodings=set(), unlisted=Unlisted(), beside=member.beside)
        return opened

    def _file(self, opened: _Opened | Reason | None) -> Iterator[Row]:
        """The records of a file, or of a member of one."""
        before, before_skipped = self._records, self._skipped
        if isinstance(opened, _Opened):
            self._format, self._text = opened.reader.name, opened.text
            yield from self._units(opened)
            if opened.reader.name != "parquet":
                own = {self._text.encoding} if self._text else self._job.encodings or {"named inside"}
                self.encodings.update(own)
            found = self._job.unlisted.close(self._records - before + self._skipped - before_skipped)
            self.unknown.update({f"{self._format} {path}": count for path, count in found.items()})
        else:
            self._format = self.format
            yield self._dead(opened or Reason("empty_file", None, "a file with content"))
        self.formats[self._format] += self._records - before

    def _units(self, opened: _Opened) -> Iterator[Row]:
        try:
            self._next_piece = 0
            for unit in opened.reader.read(opened.stream, self._job):
                if isinstance(unit, Kept):
                    yield from self._original()
                    self._piece = unit
                    continue
                if self._piece is not None:
                    self._piece_rows.append(self._next_row)
                yield from self._stamp(unit)
            yield from self._original()
        except Expanded:
            yield self._dead(EXPANDED)
        except DAMAGED:
            yield self._dead(Reason("truncated_file", None, "a compressed file that is whole"))
        except StorageError:
            raise
        except InputError as error:
            yield self._dead(Reason("unreadable_file", error.field, error.rule))
        except Exception as error:  # which no reader goes on behind
            reason = fault_of(error)
            yield self._dead(replace(reason, rule=f"{reason.rule}: the rest of the file"))

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
        except Exception as error:
            self._next_row = begun
            return (self._dead(fault_of(error)),)
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
            source_digest=self.source.digest, source_row=rows[0] if rows else self._next_row, source_format=self._format,
            member=self._number, piece=number, rows=rows, content=piece.content,
        )  # fmt: skip

    def _row(self, draft: Draft) -> RawRecord:
        row = draft(source_digest=self.source.digest, source_row=self._next_row, source_format=self._format)
        if isinstance(row, RawDocument):
            self._check_note(row.text)
        elif isinstance(row, RawClaim):
            values.check_days(row)
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
        rule = reason.rule
        if isinstance(reason, InvalidBytes):
            rule = self._encoded(reason)
        if self._number is not None:
            rule = f"{rule or ''} (member {self._number} of the archive)".strip()
        return DeadLetter(
            source_digest=self.source.digest, source_row=row, source_format=self._format, stage="ingest", reason=reason.code,
            field=reason.field, rule=rule,
        )  # fmt: skip

    def _encoded(self, reason: InvalidBytes) -> str | None:
        """The rule with the encoding and the place of the first byte that is not in it."""
        rule, place = reason.rule, reason.offset
        if self._text is not None and place is not None:
            place = self._text.place(place)
            if self._text.encoding != charsets.UTF8:
                rule = f"{self._text.encoding} throughout"
        return rule if place is None else f"{rule}; the first byte that is not has offset {place}"


def read_file(
    source: SourceFile,
    stream: BinaryIO,
    config: IngestConfig | None = None,
    columns: InputConfig | None = None,
    builder: Builder | None = None,
) -> Reading:
    """The records of a file.

    Args:
        source: whose digest becomes part of every key.
        stream: the file as it lies in storage, seekable, at its beginning; the caller closes it.
        config: limits.
        columns: names of the columns of a user's own table.
        builder: makes the records; one that tells where it is, or leaves some unmade.

    Content never raises: what cannot be read is a `DeadLetter`. An error of the storage itself passes through.
    """
    return Reading(source, stream, _job(source, config, columns, builder))
