"""Where the places of a text stand after it was rewritten, and back."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from nosology.records import Removal, Span, to_dict

Edit = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text without identifiers, and how its offsets map. Offsets count Unicode characters, ends are exclusive.

    Outside of what was replaced, a place and its image have the same character. Inside, a place maps to the begin of what stands
    there in the other text, so each way is monotone; a range maps to the smallest that holds all of the pieces it touches.

    Attributes:
        edits: start and end in the old text, start and end in the new one, in order, disjoint.
        spans: what was replaced, one an edit.
    """

    text: str
    edits: tuple[Edit, ...]
    spans: tuple[Span, ...] = ()

    def removals(self) -> list[Removal]:
        """What was replaced, with both places."""
        return [
            Removal(**to_dict(span), new_start=start, new_end=end) for span, (_, _, start, end) in zip(self.spans, self.edits, strict=True)
        ]

    def moved(self, offset: int) -> int:
        """Where a place of the old text stands in the new one."""
        return _mapped(offset, self.edits, 0, 2)

    def back(self, offset: int) -> int:
        """Where a place of the new text stands in the old one."""
        return _mapped(offset, self.edits, 2, 0)

    def moved_range(self, start: int, end: int) -> tuple[int, int]:
        """Where a range of the old text stands in the new one."""
        return self.moved(start), _mapped_end(end, self.edits, 0, 2)

    def back_range(self, start: int, end: int) -> tuple[int, int]:
        """Where a range of the new text stands in the old one."""
        return self.back(start), _mapped_end(end, self.edits, 2, 0)


def _at(offset: int, edits: tuple[Edit, ...], side: int) -> Edit | None:
    """The last edit that begins at or before a place of one side."""
    found = bisect_right(edits, offset, key=lambda edit: edit[side]) - 1
    return edits[found] if found >= 0 else None


def _mapped(offset: int, edits: tuple[Edit, ...], side: int, other: int) -> int:
    edit = _at(offset, edits, side)
    if edit is None:
        return offset
    return edit[other] if offset < edit[side + 1] else edit[other + 1] + offset - edit[side + 1]


def _mapped_end(offset: int, edits: tuple[Edit, ...], side: int, other: int) -> int:
    """As `_mapped`, for an end: inside of a piece its end, before a piece the place before it."""
    edit = _at(offset - 1, edits, side)
    if edit is None:
        return offset
    return edit[other + 1] if offset <= edit[side + 1] else edit[other + 1] + offset - edit[side + 1]
