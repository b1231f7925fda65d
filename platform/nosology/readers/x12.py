"""X12 interchanges: 837 claims (`x12_claims`) and 835 remittances (`x12_remittances`), versions 5010 and 4010.

Loops are told by the segments that open them (HL, CLM, LX, a SBR inside a claim; CLP, SVC), as in the implementation guides
005010X222, X223, X224 and X221 and their 4010 forms. A claim whose loops are broken is one dead letter; its neighbours stand.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

from nosology.errors import Reason
from nosology.readers.segments import LAST, Segment, repetition_mark, segments
from nosology.readers.source import BOM, Builder, Job, Kept, Skipped, Unit, record_bytes
from nosology.readers.unlisted import ANYTHING, Limits, Unlisted, meet_segment, segment_limits
from nosology.readers.x12_claims import Claims
from nosology.readers.x12_loops import Claim, Marks, Transaction, at
from nosology.readers.x12_remittances import Remittances

_ENVELOPE = frozenset(("ISA", "GS", "ST", "SE", "GE", "IEA"))
_OPENS = ("CLM", "CLP")
_PIECE_BYTES, _PIECE_SEGMENTS = 1 << 20, 1 << 14  # of what lies between claims, when originals are kept

NO_TRANSACTION = Reason("broken_loop", "ST", "claims inside a transaction, from ST to SE")
NO_END = Reason("truncated_record", "SE", "a transaction that ends with SE")
NO_INTERCHANGE_END = Reason("truncated_record", "IEA", "an interchange that ends with IEA")

Seen = Callable[[Claim, Unit], None]


def transaction(number: str, version: str, marks: Marks, builder: Builder, seen: Seen | None = None) -> Transaction | None:
    """What reads a transaction of this number (ST01) and version (ST03, GS08); None when it is of another kind."""
    if number == "837":
        return Claims(marks, version, builder, seen)
    return Remittances(marks, builder, seen) if number == "835" else None


class _Pieces:
    """Cuts what is kept of a file into a piece for each claim and for what lies between two."""

    def __init__(self, kept: list[bytes] | None) -> None:
        self._kept = [] if kept is None else kept

    def cut(self, current: Transaction | None, opening: bool = False) -> Iterator[Kept]:
        """The claim that is open ends, or one begins (`opening`), before the last segment that was kept."""
        if (opening or (current is not None and current.claim is not None)) and len(self._kept) > 1:
            yield Kept(b"".join(self._kept[:-1]))
            del self._kept[:-1]

    def relieve(self, current: Transaction | None) -> Iterator[Kept]:
        """A long stretch without claims is cut anywhere."""
        if len(self._kept) > _PIECE_SEGMENTS:
            yield from self.cut(current, opening=current is None or current.claim is None)


class X12:
    """Reader of X12 interchanges; transactions other than 837 and 835 are skipped, one each."""

    name = "x12"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip()
        return head.startswith(b"ISA") and not head[3:4].isalnum() and not head[3:4].isspace()

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        kept: list[bytes] | None = [] if job.ingest.keep_originals else None
        yield from self._read(stream, record_bytes(job.ingest), kept, job.builder, job.unlisted)
        if kept is not None:
            yield Kept(b"".join(kept))
            while rest := stream.read1(_PIECE_BYTES):  # behind damage that ends the reading
                yield Kept(rest)

    def _read(
        self, stream: io.BufferedReader, limit: int, kept: list[bytes] | None, builder: Builder, unlisted: Unlisted
    ) -> Iterator[Unit]:
        marks, group, stray = Marks(), "", False
        inside = False  # an interchange
        skipping = False  # a transaction of another kind
        current: Transaction | None = None
        wanted: frozenset[str] = frozenset()
        turns: frozenset[str] = frozenset()
        append: Callable[[Segment], None] = list[Segment]().append
        pieces = _Pieces(kept)
        number, (parts, qualified) = "", ANYTHING  # of the transaction that is open
        for segment in segments(stream, limit, kept):
            if isinstance(segment, Reason):
                if kept is not None and segment in LAST:
                    yield from pieces.cut(current)
                if current is not None and segment in LAST:
                    yield from self._cut(current, segment)
                    current, inside = None, False
                elif current is not None:
                    yield from current.blame(segment)
                elif not skipping:
                    inside = False  # what follows a lost envelope is not asked for its end
                    yield segment
                continue
            kind = segment[0]
            if parts.get(kind, 0) < len(segment) and (
                kind not in qualified or qualified[kind].get(segment[len(segment) > 1], 0) < len(segment)
            ):
                meet_segment(segment, number, Limits(parts, qualified), unlisted)
            if kind in wanted:
                append(segment)
                continue
            if kind in turns and current is not None:
                if kept is not None:
                    yield from pieces.cut(current, opening=kind in _OPENS)
                yield from current.turn(segment)
                append = current.append
                continue
            if kind not in _ENVELOPE:
                if kept is not None:
                    yield from pieces.relieve(current)
                if current is None and not skipping and kind in ("HL", "CLM", "CLP") and not stray:
                    stray = True
                    yield NO_TRANSACTION
                continue
            if kept is not None:
                yield from pieces.cut(current)
            if current is not None:
                yield from current.end() if kind == "SE" else self._cut(current, NO_END)
            current, wanted, turns, (parts, qualified) = None, frozenset(), frozenset(), ANYTHING
            if kind == "ISA":
                if inside:
                    yield NO_INTERCHANGE_END
                marks, inside, skipping = Marks(segment[16], repetition_mark(segment)), True, False
            elif kind == "GS":
                group = at(segment, 8)
            elif kind == "ST":
                number, stray = at(segment, 1), False
                current = transaction(number, at(segment, 3) or group, marks, builder)
                skipping = current is None
                if current is not None:
                    wanted, turns, append = current.wanted, current.turns, current.append
                    parts, qualified = segment_limits(number)
                else:
                    yield Skipped(number if re.fullmatch(r"\d{3}", number, re.ASCII) else "unknown")
            elif kind == "SE":
                skipping = False
            elif kind == "IEA":
                inside = False
        if kept is not None:
            yield from pieces.cut(current)
        if current is not None:
            yield from self._cut(current, NO_END)
        elif inside:
            yield NO_INTERCHANGE_END

    @staticmethod
    def _cut(current: Transaction, why: Reason) -> Iterator[Unit]:
        """The end of a transaction that has no SE: what was open is a dead letter; where nothing was, the loss itself is one."""
        claim = current.claim
        if claim is not None:
            claim.fault = claim.fault or why
        units = list(current.end())
        yield from units or [why]
