"""Files written back from their originals: the input again, with the values of records that changed in their places.

    with open(target, "wb") as out:
        out.writelines(write_file(originals, records))    # rows of the tables `originals`, `claims`, `patients` … of one file

Without changed records the bytes of an X12 file come back as they were (uncompressed), of FHIR each resource, one a line. A changed
value takes the place of the one that was read there; everything else stays, also what no table models (so what is written is as full
of PHI as the original, whatever the records say). What is written reads back as the records that were given; a change that has no
place in the file, or that two records disagree on because they share it (the subscriber of two claims), is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nosology.errors import InputError
from nosology.readers import write_fhir, write_x12
from nosology.readers.changes import Rows
from nosology.records import Original, RawRecord

_WRITERS = {"x12": write_x12.write, "fhir": write_fhir.write}


def write_file(originals: Iterable[Original], records: Iterable[RawRecord] = ()) -> Iterator[bytes]:
    """The content of one file, a part at a time.

    Args:
        originals: its pieces, in order, all of them.
        records: its records in the order of `source_row`, changed or not; those that are missing are as they were.

    Raises:
        InputError: pieces are missing, records are not of this file, or a change has no place in it.
    """
    pieces = _in_order(originals)
    first = next(pieces, None)
    if first is None:
        return
    rows = Rows(records)
    yield from _WRITERS[first.source_format](_again(first, pieces), rows)
    rows.end()


def _again(first: Original, rest: Iterator[Original]) -> Iterator[Original]:
    yield first
    yield from rest


def _in_order(originals: Iterable[Original]) -> Iterator[Original]:
    file: tuple[str, int | None] | None = None
    for number, piece in enumerate(originals):
        file = file or (piece.source_digest, piece.member)
        if piece.piece != number or file != (piece.source_digest, piece.member) or piece.source_format not in _WRITERS:
            raise InputError("all pieces of one X12 or FHIR file, in order", file=file[0], remedy="Sort them by `piece`; leave none out")
        yield piece
