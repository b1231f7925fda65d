"""Readers: archive files in, records out. One file per format; formats are told by content, never by name.

    from nosology import readers
    readers.probe(source, stream)                     # -> name of the format; InputError when the file cannot be read at all
    reading = readers.read_file(source, stream, config.ingest, config.input)
    for item in reading: ...                          # RawRecord | DeadLetter | Skipped
    reading.counts                                    # Counts of this file, complete when the loop has ended
    readers.summarise([(reading.format, reading.counts), …])   # {"files", "records", "notes", "dead", "skipped", "by_format"}

`stream` is the binary stream of the file as it lies in storage (`storage.open_input(uri)`); gzip and zstd are undone here. A unit
of work is a file: `read_file` streams, holds no more than one record, and its order and numbering depend on the bytes alone.

## What is counted
A **source record** is what one of these holds; it becomes rows of the tables, or one dead letter, or is skipped — never two of these:

| format   | one source record is                                               | rows it becomes                                            |
|----------|--------------------------------------------------------------------|------------------------------------------------------------|
| x12      | a claim: CLM loop of an 837, CLP loop of an 835                    | claim, and its NTE segments joined as one document; remittance |
|          | a transaction of another kind (skipped)                            |                                                            |
| fhir     | a resource: a line, or an entry of a Bundle                        | the row of its type; others are skipped; an ExplanationOfBenefit without a Claim is claim and remittance |
| rif      | a claim: rows that follow each other with one CLM_ID; a PDE row; a beneficiary row | claim; patient                                 |
| synthea  | a row of patients, encounters, conditions, claims                  | its row; rows of the other tables are skipped              |
| hl7v2    | a message                                                          | patients (PID), encounters (PV1), conditions (DG1), OBX text joined as one document |
| jsonl, csv, parquet | a row                                                   | document, or the row of the table whose columns it has     |
| text     | the file                                                           | document                                                   |

`records` = source records that became rows + `dead`; `skipped` ones are counted apart; `notes` = documents; so a sum over the raw
files, by plain counting, is `records + skipped`. What cannot be told apart any more (a truncated gzip, an X12 file that loses its
envelope) is one dead letter for the rest of the file; what was read before it stands.

`source_row` numbers what comes out of a file (rows, dead letters, skipped records) from 0: unique in the file.

Reasons of dead letters (`REASONS`): a slug; `field` and `rule` name the format's own element and what was expected, never a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from nosology.config import IngestConfig, InputConfig
from nosology.errors import InputError, Reason, RecordError
from nosology.readers.source import DAMAGED, HEAD_BYTES, Job, Reader, Skipped, SourceFile, Unit, open_source
from nosology.records import DeadLetter, RawDocument, RawRecord

__all__ = ["READERS", "REASONS", "Counts", "Reader", "Reading", "Skipped", "SourceFile", "probe", "read_file", "recognise", "summarise"]
