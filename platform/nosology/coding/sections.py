"""Sections and sentences of a note, with offsets. Offsets count Unicode characters, end exclusive.

A heading is a line of its own ("ASSESSMENT AND PLAN", "# Plan", "Current Medications:") or starts one ("HPI: The patient …").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

HEADINGS: dict[str, str] = {
    "chief complaint": "complaint", "cc": "complaint", "reason for visit": "complaint", "presenting complaint": "complaint",
    "history of present illness": "history", "hpi": "history", "history": "history", "subjective": "history", "interval history": "history",
    "hospital course": "history", "brief hospital course": "history",
    "medical history": "past", "past medical history": "past", "pmh": "past", "past history": "past", "problem list": "past",
    "past surgical history": "surgical", "surgical history": "surgical", "psh": "surgical", "birth history": "past",
    "family history": "family", "fh": "family", "family medical history": "family",
    "social history": "social", "sh": "social",
    "medications": "medications", "current medications": "medications", "home medications": "medications",
    "discharge medications": "medications",
    "allergies": "allergies", "review of systems": "systems", "ros": "systems",
    "physical exam": "exam", "physical examination": "exam", "exam": "exam", "pe": "exam", "objective": "exam", "vitals": "exam",
    "vital signs": "exam", "vitals reviewed": "exam", "msk": "exam",
    "results": "results", "labs": "results", "laboratory data": "results", "imaging": "results", "data": "results",
    "pertinent results": "results",
    "procedure": "procedure", "procedures": "procedure",
    "assessment": "assessment", "impression": "assessment", "diagnosis": "assessment", "diagnoses": "assessment", "a": "assessment",
    "discharge diagnosis": "assessment", "discharge diagnoses": "assessment", "final diagnosis": "assessment", "a/p": "assessment",
    "assessment and plan": "assessment", "assessment & plan": "assessment", "assessment/plan": "assessment", "ap": "assessment",
    "impression and plan": "assessment", "plan": "plan", "plan of care": "plan", "recommendations": "plan",
    "instructions": "instructions", "discharge instructions": "instructions", "follow up": "instructions", "follow-up": "instructions",
}  # fmt: skip

_LINE = re.compile(r"[^\n]*\n?")
_HEADING = re.compile(r"\s*(?:#+\s*)?(?P<name>[A-Za-z][A-Za-z&/ -]{0,40}?)\s*(?P<mark>:|$)\s*(?P<rest>.*)", re.DOTALL)
_BULLET = re.compile(r"\s*(?:[•*\-–]|\(?\d{1,2}[.)](?!\d)|[a-z][.)]\s)\s*")
_STOP = re.compile(r"(?<=[.!?;])(?<!\b[A-Z]\.)(?<!Dr\.)(?<!Mr\.)(?<!Mrs\.)(?<!Ms\.)(?<!vs\.)\s+")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a note. `name` is one of the values of `HEADINGS`, or `body` for text below no known heading."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence or line. `listed`: it stands in a bulleted or numbered line; `first`: it opens its line."""

    start: int
    end: int
    section: str
    listed: bool
    first: bool


def sections(text: str) -> list[Section]:
    """The sections in order; they cover every character below their headings, and none overlaps another."""
    found: list[Section] = []
    name, start = "body", 0
    for match in _LINE.finditer(text):
        line = match[0]
        heading = _HEADING.fullmatch(line.rstrip("\n"))
        if heading is None:
            continue
        key = re.sub(r"\s+", " ", heading["name"].strip().lower())
        # Without a colon a heading stands alone on its line; one letter ("A:", "P:") needs its colon.
        if key not in HEADINGS or (not heading["mark"] and heading["rest"].strip()) or (len(key) < 2 and heading["mark"] != ":"):
            continue
        if match.start() > start:
            found.append(Section(name, start, match.start()))
        name, start = HEADINGS[key], match.start() + heading.start("rest")
    found.append(Section(name, start, len(text)))
    return [part for part in found if text[part.start : part.end].strip()]


def sentences(text: str, section: Section) -> Iterator[Sentence]:
    """The sentences of a section: lines, cut at the end of a sentence or a semicolon, without bullets and outer blanks."""
    for line in _LINE.finditer(text, section.start, section.end):
        bullet = _BULLET.match(line[0])
        listed = bullet is not None and bullet.end() > 0 and bool(bullet[0].strip())
        begin = line.start() + (bullet.end() if bullet and listed else 0)
        numbered = bool(bullet and re.search(r"\d", bullet[0]))
        first = True
        while begin < line.end():
            stop = _STOP.search(text, begin, line.end())
            end = stop.start() if stop else line.end()
            left = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
            right = left + len(text[left:end].rstrip())
            if right > left:
                yield Sentence(left, right, section.name, listed and not numbered, first)
                first = False
            begin = stop.end() if stop else line.end()
