"""FHIR written back: the text of each resource, changed values cut in where they stand; all other bytes stay (so does 1.50).

A note whose text lies elsewhere (in a Binary, in a file beside) keeps it there: it is not in this file.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import orjson

from nosology.errors import Reason
from nosology.readers.changes import Rows, changed, check, was_dead
from nosology.readers.fhir.elements import Scope
from nosology.readers.fhir.stream import MOST_NESTED, units
from nosology.readers.source import BOM, Kept, Skipped, Unit
from nosology.readers.write_resources import Path, places
from nosology.records import Original, RawDocument, RawRecord

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def write(pieces: Iterator[Original], rows: Rows) -> Iterator[bytes]:
    """The file of these pieces, one at a time; see `write.write_file`."""
    for piece, following in itertools.pairwise(itertools.chain(pieces, (None,))):
        assert piece is not None
        end = sys.maxsize if following is None else following.source_row
        yield piece.content if rows.peek(piece.source_row, end) is None else _changed(piece, rows, None if following is None else end)


def _changed(piece: Original, rows: Rows, end: int | None) -> bytes:
    """A piece with the values of its records; `end` is the row behind its last one."""
    bom = BOM if piece.content.startswith(BOM) else b""
    try:
        text = piece.content[len(bom) :].decode()
        value = orjson.loads(text)
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        return piece.content
    leaves = list(_leaves(value, (), 0))
    if len(leaves) != len(piece.rows):  # a Bundle that cannot be read: one dead letter
        return piece.content
    asked: dict[int, tuple[list[RawRecord], list[RawRecord]]] = {}
    edits: dict[Path, Any] = {}
    upcoming = (rows.peek(row) for row in piece.rows)  # asked for one by one, each before its resource is read
    for number, unit in enumerate(_units(value, upcoming)):
        given = _records(unit, piece, number)
        if was_dead(piece.rows[number], given, (*piece.rows[number + 1 : number + 2], end)[0]):
            given = []
        wanted = rows.take(piece.rows[number], given)
        asked[number] = given, wanted
        resource = _at(value, leaves[number])
        for old, new in zip(given, wanted, strict=True):
            for path, to in places(resource, old, new) if changed(old, new) else ():
                edits[*leaves[number], *path] = to
    if all(not changed(old, new) for given, wanted in asked.values() for old, new in zip(given, wanted, strict=True)):
        return piece.content
    text = _spliced(text, edits)
    after = iter([wanted[0] if wanted else None for _, wanted in asked.values()])
    for number, unit in enumerate(_units(orjson.loads(text), after)):
        given, wanted = asked[number]
        found = _records(unit, piece, number)[: len(given)]
        for old, new, one in itertools.zip_longest(given, wanted, found):
            check(old, new, one)
    return bom + text.encode()


def _units(value: Any, records: Iterator[RawRecord | None]) -> Iterator[Unit]:
    """What each resource is read as. A text that lies elsewhere is taken to be the one that its record has."""
    elsewhere: dict[str, str] = {}
    scope = Scope(lambda key: elsewhere, lambda url, name: (orjson.dumps(elsewhere), ""))
    found = units(value, scope)
    for record in records:
        text = record.text if isinstance(record, RawDocument) else "-"
        elsewhere |= {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
        unit = next(found, None)
        if unit is None:
            return
        yield unit


def _records(unit: Unit, piece: Original, number: int) -> list[RawRecord]:
    """The rows of a resource, as they were numbered; none of one that is dead or skipped."""
    if isinstance(unit, Reason | Skipped | Kept):
        return []
    row = piece.rows[number]
    return [draft(source_digest=piece.source_digest, source_row=row + more, source_format="fhir") for more, draft in enumerate(unit)]


def _leaves(value: Any, path: Path, depth: int) -> Iterator[Path]:
    """Where the resources of a value are, in the order in which they are read."""
    if isinstance(value, list) and value and depth == 0:
        for at, one in enumerate(value):
            yield from _leaves(one, (*path, at), depth + 1)
    elif isinstance(value, dict) and value.get("resourceType") == "Bundle" and depth < MOST_NESTED:
        entries = value.get("entry")
        for at, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and entry.get("resource") is not None:
                yield from _leaves(entry["resource"], (*path, "entry", at, "resource"), depth + 1)
    else:
        yield path


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


# -------------------------------------------------------------------------------------------------------- places in JSON


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _span(text: str, at: int, path: Path) -> tuple[int, int] | None:
    """First character of the value at a path and one past its last; None where there is none. `text[at:]` begins with a JSON value."""
    at = _skip(text, at)
    if not path:
        return at, _DECODER.raw_decode(text, at)[1]
    found: int | None = None
    if isinstance(path[0], str) and text[at] == "{":
        for key, start in _members(text, at):
            found = start if key == path[0] else found  # of keys that are repeated the last counts
    elif isinstance(path[0], int) and text[at] == "[":
        found = next((start for number, start in enumerate(_items(text, at)) if number == path[0]), None)
    return None if found is None else _span(text, found, path[1:])


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Keys of an object, and where their values begin."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        yield key, at
        at = _skip(text, _DECODER.raw_decode(text, at)[1])
        at = _skip(text, at + 1) if text[at] == "," else at


def _items(text: str, at: int) -> Iterator[int]:
    """Where the values of an array begin."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        yield at
        at = _skip(text, _DECODER.raw_decode(text, at)[1])
        at = _skip(text, at + 1) if text[at] == "," else at


def _spliced(text: str, edits: dict[Path, Any]) -> str:
    """The text with other values; one that has no place is left out, and found by the check."""
    spans = sorted(((span, value) for path, value in edits.items() if (span := _span(text, 0, path)) is not None), key=lambda pair: pair[0])
    for (start, end), value in reversed(spans):
        text = text[:start] + json.dumps(value, ensure_ascii=False) + text[end:]
    return text
