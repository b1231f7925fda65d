"""Records that changed beside those that were read: which, where, and whether what is written gives them back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from nosology.errors import InputError
from nosology.records import RawClaim, RawDocument, RawRecord, RawRemittance

# Fields that follow from others: they may stay as they were read where those change.
_DERIVED: dict[type[RawRecord], frozenset[str]] = {
    RawClaim: frozenset(("patient_id", "service_from", "service_to")),
    RawDocument: frozenset(("document_id", "patient_id", "claim_id", "date", "sex", "age")),
    RawRemittance: frozenset(("service_from",)),
}
# Fields that tell how a text was read, not what it is.
_ABOUT = frozenset(("media_type", "file", "file_digest", "origin"))


class Rows:
    """The records of a file by row, taken in order."""

    def __init__(self, records: Iterable[RawRecord]) -> None:
        self._records = iter(records)
        self._next = next(self._records, None)

    def peek(self, row: int, end: int | None = None) -> RawRecord | None:
        """The next record, when it is of this row or of one before `end`."""
        found = self._next
        return found if found is not None and row <= found.source_row < (row + 1 if end is None else end) else None

    def take(self, row: int, given: Sequence[RawRecord]) -> list[RawRecord]:
        """What is to stand for these records, of which the first has this row: those that were handed in, else they themselves.

        Raises:
            InputError: records that are not of this file, or out of order.
        """
        found = list(given)
        while self._next is not None and self._next.source_row < row + len(given):
            place = self._next.source_row - row
            if place < 0 or type(self._next) is not type(given[place]) or self._next.source_digest != given[place].source_digest:
                raise self._stray()
            found[place] = self._next
            self._next = next(self._records, None)
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if self._next is not None:
            raise self._stray()

    def _stray(self) -> InputError:
        assert self._next is not None
        return InputError(
            f"row {self._next.source_row}: a record that was read from this file, and in the order of its rows",
            file=self._next.source_digest, remedy="Hand in the records of one file sorted by source_row",
        )  # fmt: skip


def was_dead(row: int, given: Sequence[Any], end: int | None) -> bool:
    """Whether a record that would give these was a dead letter, which took one number: the next one, at `end`, comes sooner than it could."""
    return end is not None and end - row < len(given)


def changed(old: Any, new: Any) -> list[str]:
    """Names of the fields in which two records of a class differ."""
    return [item.name for item in dataclasses.fields(old) if item.name not in _ABOUT and getattr(old, item.name) != getattr(new, item.name)]


def check(given: RawRecord, wanted: RawRecord, found: RawRecord | None) -> None:
    """That what was written reads back as what was wanted.

    Args:
        given: what was read before.

    Raises:
        InputError: it does not; names the fields, never a value.
    """
    names = changed(wanted, found) if found is not None and type(found) is type(wanted) else ["the record"]
    follow = _DERIVED.get(type(wanted), frozenset())
    names = [name for name in names if name not in follow or getattr(given, name) != getattr(wanted, name)]
    if names:
        raise InputError(
            f"row {wanted.source_row}: a change that has a place in the file, and that the records which share it agree on",
            file=wanted.source_digest, field=", ".join(names), remedy="Leave these fields as they were read, or change them in all records alike",
        )  # fmt: skip
