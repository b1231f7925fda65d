"""The beginning of a file, by which its format is told: more of it where 64 KiB do not tell, and what it seems to be where it is damaged."""

from __future__ import annotations

import io
import re
from typing import Any

import orjson

from nosology.readers.source import BOM, DAMAGED, HEAD_BYTES

OBJECT = re.compile(rb"[\[\s]*\{")
RESOURCE_TYPE = re.compile(rb'"resourceType"\s*:')


class _Again(io.RawIOBase):
    """What was taken of a stream, and the rest of it."""

    def __init__(self, taken: bytes, rest: io.BufferedReader) -> None:
        self._taken, self._rest = memoryview(taken), rest

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._taken:
            return self._rest.readinto1(target)
        size = min(len(target), len(self._taken))
        target[:size] = self._taken[:size]
        self._taken = self._taken[size:] if size < len(self._taken) else memoryview(b"")
        return size


def beginning(content: io.BufferedReader, encoding: str | None, limit: int) -> tuple[bytes, io.BufferedReader]:
    """The first bytes of a file in UTF-8, and the file at its beginning.

    They are those that lie in the buffer, or of JSON as many as it takes to see whether it is FHIR: a resource with sorted keys names
    its type behind its attachments.

    Args:
        encoding: of the file, if it is UTF-16 or UTF-32. limit: how many bytes are looked at.
    """

    def text(data: bytes) -> bytes:
        return data.decode(encoding, "ignore").encode() if encoding else data

    head = text(content.peek(HEAD_BYTES))
    taken = bytearray()
    ended = False
    while not ended and len(taken) < limit and _is_untold(head):
        wanted = min(limit, 2 * max(len(taken), HEAD_BYTES))
        try:
            while len(taken) < wanted and (piece := content.read1(HEAD_BYTES)):
                taken += piece
            ended = len(taken) < wanted
        except DAMAGED:  # which is raised again to whoever reads up to it
            ended = True
        head = text(bytes(taken))
    return head, io.BufferedReader(_Again(bytes(taken), content), HEAD_BYTES) if taken else content


def _is_untold(head: bytes) -> bool:
    """Whether this is the beginning of a JSON object of which it is not known yet whether it is FHIR: its first line is no whole one."""
    head = head.removeprefix(BOM).lstrip()
    if not OBJECT.match(head) or RESOURCE_TYPE.search(head):
        return False
    try:
        orjson.loads(head.partition(b"\n")[0])
    except orjson.JSONDecodeError:
        return True
    return False


# What stands behind a damaged beginning; strict, for a note may speak of such formats.
_SEPARATORS_OF_ISA = 12  # of 16: some may be damaged
_GROUP = re.compile(rb"[^\w \t]\s{0,4}(?:GS([^\w\s])[A-Z]{2}\1[^\r\n]{0,100}?\1X\1\d{6}|ST([^\w\s])8\d\d\2\w{4,9}(?!\w))")
_MESSAGE = re.compile(rb"\s*[^\r\n]{0,6}?([^\w\s])[^\w\s]{4,5}(?:\1[^\r\n]*)?[\r\n]+[A-Z][A-Z0-9]{2}\1[^\r\n]*\1")
_RESOURCE = re.compile(rb'"resourceType"\s*:\s*"[A-Z][A-Za-z]{1,40}"')
_KEY = re.compile(rb'[^"\r\n]{0,4}\s*"[A-Za-z_]\w{0,40}"\s*:')
_FIRST_BYTES = 512


def seems(head: bytes) -> str | None:
    """The format of records that bytes which begin as plain text seem to be of, their first ones damaged; None where they are a note."""
    head = head.removeprefix(BOM)
    group = _GROUP.search(head, 0, _FIRST_BYTES)
    if group is not None and head[: group.start()].count(group[1] or group[2]) >= _SEPARATORS_OF_ISA:
        return "X12"
    if _MESSAGE.match(head):
        return "HL7 v2"
    if (key := _KEY.match(head)) is not None and _RESOURCE.search(head):
        line, end, _ = head[key.end() :].partition(b"\n")
        if line.rstrip().endswith((b"{", b"[", b"}", b"]", b",")) or (not end and len(head) >= HEAD_BYTES // 4):
            return "FHIR"
    lines = [line for line in head.split(b"\n", 3)[:3] if line.strip()]
    below = len(lines) == 3 and all(line.startswith(b"{") and _RESOURCE.search(line) for line in lines[1:])
    return "FHIR" if below else None
