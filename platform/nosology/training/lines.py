"""Files of JSON lines that a kill may cut off in the middle of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO


def append_to(path: Path) -> TextIO:
    """The file, to add lines to; a last line that was cut off is ended, so that the next one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a")
    if path.stat().st_size:
        with path.open("rb") as held:
            held.seek(-1, 2)
            whole = held.read() == b"\n"
        if not whole:
            stream.write("\n")
    return stream


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are whole; none where there is no file."""
    return whole(path.read_bytes()) if path.is_file() else []


def whole(data: bytes) -> list[dict[str, Any]]:
    """The lines that are whole."""
    found = []
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
