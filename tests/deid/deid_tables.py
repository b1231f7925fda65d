"""Reads the tables of `tests/data/deid/tables/LANGUAGE/`, a file a category of 45 CFR 164.514(b)(2)(i), whose letter begins its name.

A `[[form]]` names its `source` and the class of what it marks in braces; `{OTHER=value}` marks a value of another class. `found` holds values,
`false` ordinary sentences without any, `near` what looks like one and is kept. `pass = "both"` asks the tagger too.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from nosology.deid import LABELS

TABLES = Path(__file__).parents[1] / "data" / "deid" / "tables"
MARK = re.compile(r"\{(?:(?P<label>[A-Z]+)=(?=[^{}]*\}))?(?P<value>[^{}]*)\}")


class Row(NamedTuple):
    """A text of a table and the values in it, by class, start and end."""

    code: str
    table: str
    kind: str
    passes: str
    text: str
    spans: list[tuple[str, int, int]]

    def __str__(self) -> str:
        return f"{self.code}-{self.table[0]}-{self.kind}-{self.text[:40]}"


def marked(text: str, label: str) -> tuple[str, list[tuple[str, int, int]]]:
    """A text without its marks, and what they stood around."""
    plain, spans, at = "", [], 0
    for mark in MARK.finditer(text):
        plain += text[at : mark.start()]
        named, value = (mark["label"], mark["value"]) if mark["label"] in LABELS else (label, mark[0][1:-1])
        spans.append((named, len(plain), len(plain) + len(value)))
        plain, at = plain + value, mark.end()
    return plain + text[at:], spans


def rows() -> list[Row]:
    """Every row of every table."""
    found = []
    for file in sorted(TABLES.glob("*/*.toml")):
        for form in tomllib.loads(file.read_text(encoding="utf-8"))["form"]:
            assert form["source"], f"{file.name}: a form without its source"
            for kind in ("found", "false", "near"):
                for text in form.get(kind, ()):
                    plain, spans = marked(text, form["label"])
                    found.append(Row(file.parent.name, file.stem, kind, form.get("pass", "rules"), plain, spans))
    return found


ROWS = rows()
