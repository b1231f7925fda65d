"""X12 interchanges as segments: separators from each ISA, line breaks or none, damage told segment by segment."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from nosology.errors import Reason
from nosology.readers.source import InvalidBytes, invalid_bytes

ISA_BYTES = 106
_ISA_LENGTHS = (3, 2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)
_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{1,2}", re.ASCII)
_CHUNK_BYTES = 1 << 16
# What may stand between two segments: line breaks and blanks; between interchanges also byte order marks of files that were joined,
# and the end-of-file mark and zeros that old systems fill a block with.
BLANK = " \t\n\r\v\f\x1a\0"
BETWEEN = BLANK.encode() + b"\xef\xbb\xbf"

BROKEN_ENVELOPE = Reason("broken_envelope", "ISA", "an ISA segment of 106 bytes, its elements and separators at their fixed places")
BROKEN_SEGMENT = Reason("broken_segment", None, "a segment that begins with an id of two or three characters")
UNENDED = Reason("truncated_record", None, "a last segment that ends with the terminator")
TOO_LONG = Reason("record_too_long", "segment", "a segment within twice ingest.max_document_bytes")

LAST = (BROKEN_ENVELOPE, UNENDED, TOO_LONG)  # behind these nothing comes

Segment = list[str]


def _envelope(isa: bytes) -> tuple[str, str] | None:
    """Element separator and segment terminator of an ISA (bytes 4 and 106; byte 105 separates components), or None."""
    element, component, terminator = isa[3:4], isa[104:105], isa[105:106]
    distinct = len({element, component, terminator}) == 3 and not any(mark.isalnum() for mark in (element, component, terminator))
    if len(isa) < ISA_BYTES or not isa.isascii() or not distinct:
        return None
    fixed = tuple(len(part) for part in isa[:105].split(element)) == _ISA_LENGTHS
    return (element.decode("ascii"), terminator.decode("ascii")) if fixed and isa.startswith(b"ISA") else None


def repetition_mark(isa: Segment) -> str | None:
    """The repetition separator: ISA11 from version 00402 on; before, that element held the letter of a standards body."""
    mark = isa[11]
    return None if isa[12] < "00402" or mark.isalnum() or mark.isspace() or mark == isa[16] else mark


def _texts(front: bytes, terminator: str, start: int) -> list[str | InvalidBytes]:
    """What lies between terminators; of a part that is not UTF-8, the reason."""
    try:
        return [*front.decode().split(terminator)]
    except UnicodeDecodeError:
        texts: list[str | InvalidBytes] = []
        for piece in front.split(terminator.encode()):
            try:
                texts.append(piece.decode())
            except UnicodeDecodeError:
                texts.append(invalid_bytes(piece, start))
            start += len(piece) + 1
        return texts


def _next_isa(buffer: bytes, mark: bytes, blank: bytes) -> int | None:
    """Where the next interchange begins: an ISA behind a terminator, or at the beginning, with nothing but blanks between."""
    at = buffer.find(b"ISA")
    while at >= 0:
        before = at
        while before and buffer[before - 1] in blank:
            before -= 1
        if not before or buffer[before - 1 : before] == mark:
            return at
        at = buffer.find(b"ISA", at + 3)
    return None


def segments(stream: io.BufferedReader, limit: int = 16 << 20, kept: list[bytes] | None = None) -> Iterator[Segment | Reason]:
    """The segments of all interchanges, each as its elements, [0] the id. Element 16 of an ISA is the component separator.

    A segment that is not UTF-8, or has no id, is a `Reason` in its place. A `Reason` for a broken envelope, an unended or an
    endless segment (above `limit` bytes) is the last item: what follows cannot be told apart.

    Args:
        kept: gets the bytes behind each item before it is yielded, and those behind the last; joined they are the stream, up to
            where a last `Reason` left it. The caller empties it. None keeps nothing.
    """
    buffer = stream.read1(_CHUNK_BYTES)
    place = 0  # of the buffer in the content
    known: set[str] = set()  # ids seen: asking a set is faster than matching
    while True:
        begin = buffer.lstrip(BETWEEN)
        while len(begin) < ISA_BYTES and (more := stream.read1(_CHUNK_BYTES)):
            if kept is None:
                place += len(buffer) - len(begin)
                buffer = begin
            buffer += more
            begin = buffer.lstrip(BETWEEN)
        separators = _envelope(begin[:ISA_BYTES])
        if separators is None:
            if kept is not None:
                kept.append(buffer)
            if begin:
                yield BROKEN_ENVELOPE
            return
        element, terminator = separators
        cut = len(buffer) - len(begin) + ISA_BYTES
        place += cut
        if kept is not None:
            kept.append(buffer[:cut])
        yield begin[: ISA_BYTES - 1].decode("ascii").split(element)
        mark = terminator.encode()
        blank = BETWEEN.replace(mark, b"")
        buffer = begin[ISA_BYTES:]
        while True:
            following = _next_isa(buffer, mark, blank)  # it brings its own separators
            cut = buffer.rfind(mark) + 1 if following is None else following
            front, buffer = buffer[:cut], buffer[cut:]
            raw = front.split(mark) if kept is not None else None
            texts = _texts(front, terminator, place)
            place += cut
            texts.pop()  # nothing, or the blanks before an ISA
            for at, text in enumerate(texts):
                if raw is not None and kept is not None:
                    kept.append(raw[at] + mark)
                if isinstance(text, InvalidBytes):
                    yield text
                elif text := text.lstrip(BLANK):
                    found = text.split(element)
                    if found[0] in known:
                        yield found
                    elif _SEGMENT_ID.fullmatch(found[0]):
                        known.add(found[0])
                        yield found
                    else:
                        yield BROKEN_SEGMENT
            if following is not None:
                if raw is not None and kept is not None:
                    kept.append(raw[-1])
                break
            if len(buffer) > limit:
                reason: Reason | None = TOO_LONG
            elif more := stream.read1(_CHUNK_BYTES):
                buffer += more
                continue
            else:
                reason = UNENDED if buffer.strip(BETWEEN) else None
            if kept is not None:
                kept.append(buffer)
            if reason is not None:
                yield reason
            return
