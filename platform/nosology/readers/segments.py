"""X12 interchanges as segments: separators from each ISA, line breaks or none, damage told segment by segment."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from nosology.errors import Reason
from nosology.readers.source import BOM, INVALID_UTF8

ISA_BYTES = 106
_ISA_LENGTHS = (3, 2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)
_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{1,2}", re.ASCII)
_CHUNK_BYTES = 1 << 16

BROKEN_ENVELOPE = Reason("broken_envelope", "ISA", "an ISA segment of 106 bytes, its elements and separators at their fixed places")
BROKEN_SEGMENT = Reason("broken_segment", None, "a segment that begins with an id of two or three characters")
UNENDED = Reason("truncated_record", None, "a last segment that ends with the terminator")
TOO_LONG = Reason("record_too_long", "segment", "a segment within eight times ingest.max_document_bytes")

LAST = (BROKEN_ENVELOPE, UNENDED, TOO_LONG)  # behind these nothing comes

Segment = list[str]


def _envelope(isa: bytes) -> tuple[bytes, bytes] | None:
    """Element separator and segment terminator of an ISA (bytes 4 and 106; byte 105 separates components), or None."""
    element, component, terminator = isa[3:4], isa[104:105], isa[105:106]
    distinct = len({element, component, terminator}) == 3 and not any(mark.isalnum() for mark in (element, component, terminator))
    if len(isa) < ISA_BYTES or not isa.isascii() or not distinct:
        return None
    fixed = tuple(len(part) for part in isa[:105].split(element)) == _ISA_LENGTHS
    return (element, terminator) if fixed and isa.startswith(b"ISA") else None


def segments(stream: io.BufferedReader, limit: int = 16 << 20) -> Iterator[Segment | Reason]:
    """The segments of all interchanges, each as its elements, [0] the id. Element 16 of an ISA is the component separator.

    A segment that is not UTF-8, or has no id, is a `Reason` in its place. A `Reason` for a broken envelope, an unended or an
    endless segment (above `limit` bytes) is the last item: what follows cannot be told apart.
    """
    buffer = stream.read1(_CHUNK_BYTES).removeprefix(BOM)
    element = terminator = b""
    while True:
        if not terminator:
            buffer = buffer.lstrip()
            while len(buffer) < ISA_BYTES and (more := stream.read1(_CHUNK_BYTES)):
                buffer = (buffer + more).lstrip()
            if not buffer:
                return
            separators = _envelope(buffer[:ISA_BYTES])
            if separators is None:
                yield BROKEN_ENVELOPE
                return
            element, terminator = separators
            yield buffer[: ISA_BYTES - 1].decode("ascii").split(element.decode("ascii"))
            buffer = buffer[ISA_BYTES:]
        pieces = buffer.split(terminator)
        mark = element.decode("ascii")
        for at, piece in enumerate(pieces):
            piece = piece.lstrip()
            if piece.startswith(b"ISA"):  # the next interchange brings its own separators
                buffer, terminator = terminator.join([piece, *pieces[at + 1 :]]), b""
                break
            if not piece or at == len(pieces) - 1:  # the last piece has no terminator yet
                continue
            try:
                found = piece.decode().split(mark)
            except UnicodeDecodeError:
                yield INVALID_UTF8
                continue
            yield found if _SEGMENT_ID.fullmatch(found[0]) else BROKEN_SEGMENT
        else:
            buffer = pieces[-1]
            if len(buffer) > limit:
                yield TOO_LONG
                return
            more = stream.read1(_CHUNK_BYTES)
            if not more:
                if buffer.strip():
                    yield UNENDED
                return
            buffer += more
