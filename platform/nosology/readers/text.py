"""Plain text: a file is a note, its name (without the extension) the note's id."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

from nosology.errors import Reason
from nosology.readers.source import BOM, Job, Unit, invalid_bytes
from nosology.records import RawDocument

TOO_LARGE = Reason("note_too_large", "text", "a note within ingest.max_document_bytes")
_ENDINGS = (".gz", ".zst", ".bz2", ".txt", ".text", ".md", ".rtf", ".html", ".htm", ".xhtml", ".xml")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b"))


class Text:
    """Reader of plain text files."""

    name = "text"

    def sniff(self, head: bytes) -> bool:
        """Whether it may be text: no control bytes. Bytes that are no UTF-8 are the record's fault, not another format."""
        return not head.translate(None, delete=bytes(set(range(256)) - set(_CONTROL)))

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        parts: list[bytes] = []
        size = 0
        while part := stream.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > job.ingest.max_document_bytes + len(BOM):
                yield TOO_LARGE
                return
        data = b"".join(parts)
        try:
            text = data.removeprefix(BOM).decode()
        except UnicodeDecodeError:
            yield invalid_bytes(data, 0)
            return
        yield [partial(RawDocument, document_id=note_id(job.source.name), text=text)]


def note_id(file_name: str) -> str:
    """The id of a note that is a file: its name without the ending."""
    stem = file_name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return stem or file_name
