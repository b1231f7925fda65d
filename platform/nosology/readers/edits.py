"""Changes in the segments of an X12 transaction."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from nosology.errors import InputError
from nosology.readers.segments import BLANK, Segment
from nosology.readers.source import Unit
from nosology.readers.x12_loops import Claim, Marks, Party, at, mark_of

Place = tuple[int, int | None]  # the row of a unit, and that of the next one, where one is known


@dataclass(slots=True)
class Editor:
    """The segments of a transaction as they will be written.

    Attributes:
        marks: separators inside elements. element, terminator: the others.
        items: each segment (None: bytes that are none) with the bytes that it was.
    """

    marks: Marks = field(default_factory=Marks)
    element: str = "*"
    terminator: str = "~"
    items: list[tuple[Segment | None, bytes]] = field(default_factory=list)
    claims: list[tuple[Claim, Unit, Place | None]] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)

    def put(self, segment: Segment, place: int, value: str | None) -> None:
        """Sets an element. Of a segment that is not there, nothing is set; the check afterwards tells."""
        if not segment:
            return
        text = value or ""
        if self.element in text or self.terminator in text:
            raise InputError("a value without the separators of the file", field=f"{segment[0]}{place:02d}")
        segment.extend([""] * (place + 1 - len(segment)))
        segment[place] = text
        self.touched.add(id(segment))

    def put_part(self, segment: Segment, place: int, part: int, value: str | None, repeat: int = 0) -> None:
        """Sets a component (from 0) of an element."""
        if not segment:
            return
        text = value or ""
        repeats = self.marks.repeats(segment[place] if place < len(segment) else "")
        mark = mark_of(repeats[repeat], self.marks.component)
        if mark in text or (self.marks.repetition is not None and self.marks.repetition in text):
            raise InputError("a value without the separators of the file", field=f"{segment[0]}{place:02d}")
        parts = repeats[repeat].split(mark)
        parts.extend([""] * (part + 1 - len(parts)))
        parts[part] = text
        repeats[repeat] = mark.join(parts)
        self.put(segment, place, (self.marks.repetition or "").join(repeats))

    def put_name(self, party: Party, name: str | None) -> None:
        """Given, middle and family name and suffix from one text; of an organisation the whole is its name."""
        words, named = (name or "").split(), party.named
        places = (4, 5, 3, 7)  # in the order in which they are read
        lengths = [len(at(named, place).split()) for place in places]
        if at(named, 2) == "2" or not any(lengths[:2]) or len(words) < 2:
            lengths = [0, 0, len(words), 0]
        elif sum(lengths) != len(words):
            lengths = [1, len(words) - 2, 1, 0]
        for place, length in zip(places, lengths, strict=True):
            if length or at(named, place):
                self.put(named, place, " ".join(words[:length]))
            words = words[length:]

    def insert(self, claim: Claim, segment: Segment, after: Segment) -> None:
        """Adds a segment to a claim behind one of its own."""
        where = next(place for place, (held, _) in enumerate(self.items) if held is after)
        raw = self.items[where][1]
        self.items.insert(where + 1, (segment, raw[: len(raw) - len(raw.lstrip(BLANK.encode()))]))
        own = next((place for place, held in enumerate(claim.segments) if held is after), -1)
        claim.segments.insert(own + 1, segment)
        self.touched.add(id(segment))

    def remove(self, claim: Claim, segment: Segment) -> None:
        """Takes a segment out of a claim."""
        self.items = [item for item in self.items if item[0] is not segment]
        claim.segments = [held for held in claim.segments if held is not segment]

    def bytes_of(self, segment: Segment | None, raw: bytes) -> bytes:
        if segment is None or id(segment) not in self.touched:
            return raw
        return raw[: len(raw) - len(raw.lstrip(BLANK.encode()))] + (self.element.join(segment) + self.terminator).encode()


def number_text(value: float | None) -> str | None:
    """A number as X12 writes it: no exponent, no needless zeros."""
    if value is None:
        return None
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text if text not in ("", "-0") else "0"


def day_text(value: datetime.date | None) -> str | None:
    return value.strftime("%Y%m%d") if value else None


def put_day(editor: Editor, segment: Segment, old: datetime.date | None, new: datetime.date | None) -> None:
    """The first day of a DTP; the last one of a period moves along, a time of day stays."""
    if old is None or new is None:
        return
    form, text = at(segment, 2), at(segment, 3)
    if form == "RD8":
        first, dash, last = text.partition("-")
        end = datetime.datetime.strptime(last[:8], "%Y%m%d").date() + (new - old) if dash else None
        editor.put(segment, 3, f"{day_text(new)}{dash}{day_text(end) or ''}")
    else:
        editor.put(segment, 3, f"{day_text(new)}{text[8:]}")
