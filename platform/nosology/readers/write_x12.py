"""X12 written back: the segments of the original, changed elements in their places.

The reader's own loops say where a value was read; a transaction (ST to SE) is held at a time, for a loop is shared by its claims.
"""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from nosology.errors import Reason, RecordError
from nosology.readers import write_claims, write_remittances
from nosology.readers.changes import Rows, changed, check, was_dead
from nosology.readers.edits import Editor, Place
from nosology.readers.segments import BETWEEN, ISA_BYTES, repetition_mark, segments
from nosology.readers.source import Builder, Kept, Skipped, Unit
from nosology.readers.x12 import transaction
from nosology.readers.x12_loops import Claim, Marks, Transaction, at
from nosology.records import Original, RawClaim, RawDocument, RawRecord, RawRemittance

_ENDS = frozenset(("SE", "ISA", "GS", "ST", "GE", "IEA"))
_HELD_SEGMENTS = 1 << 12  # outside transactions nothing changes, and nothing need be held


class _Joined(io.RawIOBase):
    """The content of pieces; `starts` holds where each begins, with its first row and that of the next unit."""

    def __init__(self, pieces: Iterator[Original]) -> None:
        self._pieces, self._rest, self._size = itertools.pairwise(itertools.chain(pieces, (None,))), b"", 0
        self.starts: deque[tuple[int, Place | None]] = deque()
        self.digest = ""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._rest:
            piece, following = next(self._pieces, (None, None))
            if piece is None:
                return 0
            self.digest, self._rest = piece.source_digest, piece.content
            ends = (*piece.rows[1:2], None if following is None else following.source_row)
            self.starts.append((self._size, (piece.rows[0], ends[0]) if piece.rows else None))
            self._size += len(piece.content)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def place_at(self, offset: int) -> Place | None:
        """The first row of the piece that begins here, and that of the next unit; offsets are asked in rising order."""
        while self.starts and self.starts[0][0] < offset:
            self.starts.popleft()
        return self.starts[0][1] if self.starts and self.starts[0][0] == offset else None


_PLACES: dict[type[RawRecord], Callable[[Editor, Claim, Any, Any], None]] = {
    RawClaim: write_claims.place, RawDocument: write_claims.place_note, RawRemittance: write_remittances.place,
}  # fmt: skip


def _settle(editor: Editor, current: Transaction | None, rows: Rows, digest: str) -> Iterator[bytes]:
    """What was held, changed as the records say."""
    wanted: list[tuple[Claim, list[RawRecord], list[RawRecord]]] = []
    dirty = False
    for claim, unit, place in editor.claims:
        if isinstance(unit, Reason | Skipped | Kept) or place is None or current is None or was_dead(place[0], unit, place[1]):
            continue
        row = place[0]
        given = _records(unit, row, digest)
        asked = rows.take(row, given)
        wanted.append((claim, given, asked))
        for old, new in zip(given, asked, strict=True):
            if changed(old, new):
                _PLACES[type(old)](editor, claim, old, new)
                dirty = True
    if dirty and current is not None:  # all of them: they share loops
        for claim, given, asked in wanted:
            found = [*_built(current, claim, asked[0].source_row, digest), None, None]
            for old, new, one in zip(given, asked, found, strict=False):
                check(old, new, one)
    yield b"".join([editor.bytes_of(segment, raw) for segment, raw in editor.items])
    editor.items, editor.claims, editor.touched = [], [], set()


def _built(current: Transaction, claim: Claim, row: int, digest: str) -> list[RawRecord]:
    """What a changed claim reads as; nothing when it is broken now."""
    try:
        return _records(current.build(claim), row, digest)
    except RecordError:
        return []


def _records(unit: Any, row: int, digest: str) -> list[RawRecord]:
    return [draft(source_digest=digest, source_row=row + number, source_format="x12") for number, draft in enumerate(unit)]


def write(pieces: Iterator[Original], rows: Rows) -> Iterator[bytes]:
    """The file of these pieces, a transaction at a time; see `write.write_file`."""
    joined = _Joined(pieces)
    stream: io.BufferedReader = io.BufferedReader(joined)
    kept: list[bytes] = []
    editor, current, version = Editor(), None, ""
    starts: dict[int, Place | None] = {}  # of the claim that a segment begins
    size = 0

    def seen(claim: Claim, unit: Unit) -> None:
        editor.claims.append((claim, unit, starts.get(id(claim.head))))

    for segment in segments(stream, 1 << 62, kept):
        own = kept.pop()
        if kept:
            editor.items.append((None, b"".join(kept)))
            size += sum(map(len, kept))
            kept.clear()
        if isinstance(segment, Reason):
            if current is not None:
                list(current.blame(segment))
            editor.items.append((None, own))
            size += len(own)
            continue
        kind = segment[0]
        if current is not None and kind in _ENDS:
            list(current.end())
            yield from _settle(editor, current, rows, joined.digest)
            current, starts = None, {}
        if kind == "ISA":
            yield from _settle(editor, None, rows, joined.digest)
            editor.marks = Marks(segment[16], repetition_mark(segment))
            isa = own.lstrip(BETWEEN).decode()
            editor.element, editor.terminator = isa[3], isa[ISA_BYTES - 1]
        elif kind == "GS":
            version = at(segment, 8)
        elif kind == "ST":
            current = transaction(at(segment, 1), at(segment, 3) or version, editor.marks, Builder(), seen)
        elif current is not None and kind in current.turns:
            starts[id(segment)] = joined.place_at(size)
            list(current.turn(segment))
        elif current is not None and kind in current.wanted:
            current.append(segment)
        editor.items.append((segment, own))
        size += len(own)
        if current is None and len(editor.items) > _HELD_SEGMENTS:
            yield from _settle(editor, None, rows, joined.digest)
    if current is not None:
        list(current.end())
    yield from _settle(editor, current, rows, joined.digest)
    yield b"".join(kept)
    while rest := stream.read1(1 << 20):
        yield rest
