"""ICD-10-CM: the tabular list that `simple-icd-10-cm` carries, its hierarchy, and what may be reported on a date.

The list holds 98,466 different names. 74,731 of them have no children; 12 of those are block headings whose name repeats a
narrower or wider block (C00-C75, M00-M25, …). The remaining 74,719 are the billable codes (guideline I.B.2: a code is valid
only with its full number of characters).

Releases: ICD-10-CM has been in force since 2015-10-01 (45 CFR 162.1002(c)), in releases of 1 October and, since 2022, 1 April.
One release is carried. It is the release in force from its own first day to the 30 September that ends its fiscal year; for any
other date it *stands in*, and `Release.in_force` is False: what it says of a code is then for a person to confirm.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.util
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nosology import config
from nosology.config import TerminologyConfig
from nosology.errors import ConfigError

FIRST_DAY = datetime.date(2015, 10, 1)
FORMAT = 2  # of the cached table
Fault = Literal["unknown_code", "not_billable", "not_in_force"]
Part = Literal["train", "validation", "test"]

_SHAPE = re.compile(r"[A-Z](?:[0-9][0-9A-Z]|[A-Z][0-9])(\.[0-9A-Z]{1,4})?")
_MONTHS = {"January": 1, "April": 4, "October": 10}


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the code set, as it applies to a date of service.

    Attributes:
        name: year and month of its first day, for instance 2026-04.
        in_force: it is the release in force on that date; False where it stands in for one that is not carried.
    """

    name: str
    in_force: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of the tabular list.

    Attributes:
        code: name with its dot; a chapter's number or a block's range for those.
        title: official title, complete.
        parent: name of the node above; None for a chapter.
        terms: inclusion terms printed below it.
    """

    code: str
    title: str
    parent: str | None
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase and the billable code that the tabular list gives it."""

    phrase: str
    code: str


@dataclass(frozen=True)
class CodeSet:
    """A release of ICD-10-CM in memory.

    Attributes:
        digest: SHA-256 over the source files.
        release: name of the carried release.
        entries: every node by its name.
        codes: the billable codes, in the order of the tabular list.
    """

    digest: str
    release: str
    entries: dict[str, Entry] = field(repr=False)
    codes: tuple[str, ...] = field(repr=False)
    position: dict[str, int] = field(repr=False)

    def __contains__(self, code: object) -> bool:
        return code in self.position

    @functools.cached_property
    def titles(self) -> tuple[str, ...]:
        """Titles of `codes`, in their order."""
        return tuple(self.entries[code].title for code in self.codes)

    @functools.cached_property
    def _children(self) -> dict[str, list[str]]:
        below: dict[str, list[str]] = {}
        for entry in self.entries.values():
            if entry.parent is not None:
                below.setdefault(entry.parent, []).append(entry.code)
        return below

    def title(self, code: str) -> str:
        """Official title of a node; KeyError when there is none of that name."""
        return self.entries[code].title

    def terms(self, code: str) -> tuple[str, ...]:
        """Inclusion terms printed below a node."""
        return self.entries[code].terms

    def ancestors(self, code: str) -> tuple[str, ...]:
        """Nodes above, nearest first, ending with the chapter. A code that the release lacks has those of its three-character category."""
        above: list[str] = []
        parent = self.entries[code].parent if code in self.entries else code[:3] if code[:3] in self.entries else None
        while parent is not None:
            above.append(parent)
            parent = self.entries[parent].parent
        return tuple(above)

    def descendants(self, code: str) -> tuple[str, ...]:
        """Billable codes at or below a node, in order."""
        return tuple(self._walk(code))

    def _walk(self, code: str) -> Iterator[str]:
        if code in self.position:
            yield code
        for child in self._children.get(code, ()):
            yield from self._walk(child)

    def dotted(self, code: str) -> str:
        """The code as the tabular list writes it: upper case, dot after the third character, no blanks."""
        plain = re.sub(r"[\s.]", "", code).upper()
        return plain if len(plain) <= 3 else f"{plain[:3]}.{plain[3:]}"

    def release_on(self, date: datetime.date | None) -> Release:
        """The release that is applied on a date of service; None is a date within the carried release."""
        return Release(self.release, date is None or self._first <= date <= self._last)

    @functools.cached_property
    def _first(self) -> datetime.date:
        year, month = (int(part) for part in self.release.split("-"))
        return datetime.date(year, month, 1)

    @functools.cached_property
    def _last(self) -> datetime.date:
        return datetime.date(self._first.year + (self._first.month >= 10), 9, 30)

    def is_billable(self, code: str, date: datetime.date | None = None) -> bool:
        """Whether a code may be reported for a date of service, as far as the carried release tells."""
        return self.fault(code, date) is None

    def fault(self, code: str, date: datetime.date | None = None) -> Fault | None:
        """What is wrong with a code that was reported for a date of service; None if nothing.

        Rule: before 2015-10-01 every well-formed code is `not_in_force`. A code that the carried release does not have, or has as a
        heading, is `unknown_code` or `not_billable` where that release is in force; on other dates it is `not_in_force`
        (it may have been valid in a release that is not carried). A string that cannot be a code is `unknown_code` always.
        """
        name = self.dotted(code)
        if not _SHAPE.fullmatch(name):
            return "unknown_code"
        if date is not None and date < FIRST_DAY:
            return "not_in_force"
        if name in self.position:
            return None
        if not self.release_on(date).in_force:
            return "not_in_force"
        return "not_billable" if name in self.entries else "unknown_code"


@functools.cache
def code_set(options: TerminologyConfig | None = None) -> CodeSet:
    """The code set of a configuration. Parsed once (3 s), then read from a table under `config.home()` (0.3 s)."""
    source = _source()
    digest = hashlib.sha256()
    for path in source:
        digest.update(path.read_bytes())
    key = digest.hexdigest()
    cached = config.home() / f"codeset-{FORMAT}-{key[:16]}.json"
    rows = _read(cached)
    if rows is None:
        rows = _parse()
        _write(cached, rows)
    entries = {row[0]: Entry(row[0], row[1], row[3], tuple(row[4])) for row in rows}
    codes = tuple(row[0] for row in rows if row[2])
    return CodeSet(key, _release(source[0].name), entries, codes, {code: i for i, code in enumerate(codes)})


def phrases(codes: CodeSet, part: Part) -> list[Phrase]:
    """Inclusion terms of billable codes, for training or measuring the search; a category belongs to one part only.

    The part is a hash of the three-character category: 10 % of categories are test, 5 % validation. A phrase that stands below
    codes of several categories, or that repeats its code's title, is in no part.
    """
    found: dict[str, set[str]] = {}
    original: dict[str, str] = {}
    for code in codes.codes:
        for term in codes.terms(code):
            key = term.casefold()
            found.setdefault(key, set()).add(code)
            original.setdefault(key, term)
    chosen = []
    for key, owners in found.items():
        code = min(owners)
        if len(owners) == 1 and key != codes.title(code).casefold() and part_of(code) == part:
            chosen.append(Phrase(original[key], code))
    return chosen


def part_of(code: str) -> Part:
    """The part of the data that the category of a code belongs to; see `phrases`."""
    bucket = int.from_bytes(hashlib.sha256(code[:3].encode()).digest()[:4], "big") % 100
    return "test" if bucket < 10 else "validation" if bucket < 15 else "train"


def _source() -> tuple[Path, Path]:
    """Tabular list (XML) and list of names that the package carries; the package itself is not imported (3 s)."""
    spec = importlib.util.find_spec("simple_icd_10_cm")
    if spec is None or spec.origin is None:
        raise ConfigError("the package simple-icd-10-cm is not installed. Run `make`.")
    folder = Path(spec.origin).parent / "data"
    tables, names = sorted(folder.glob("icd10c-tabular-*.xml")), sorted(folder.glob("code-list-*.txt"))
    if len(tables) != 1 or len(names) != 1:
        raise ConfigError("the package simple-icd-10-cm does not carry exactly one release. Install the pinned version with `make`.")
    return tables[0], names[0]


def _release(file_name: str) -> str:
    match = re.fullmatch(r"icd10c-tabular-(\w+)-\d+-(\d{4})\.xml", file_name)
    if match is None or match[1] not in _MONTHS:
        raise ConfigError("simple-icd-10-cm: the release cannot be told from the name of its file. Install the pinned version with `make`.")
    return f"{match[2]}-{_MONTHS[match[1]]:02d}"


def _parse() -> list[list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import simple_icd_10_cm as tabular
    rows: list[list[Any]] = []
    for name in dict.fromkeys(tabular.get_all_codes(True)):  # the list repeats names
        billable = tabular.is_category_or_subcategory(name) and tabular.is_leaf(name)  # a category without children is a code
        parent = tabular.get_parent(name) or None
        if parent == name:  # a block of one category has the category's name
            parent = tabular.get_parent(name, prioritize_blocks=True) or None
        rows.append([name, tabular.get_description(name), billable, parent, tabular.get_inclusion_term(name)])
    return rows


def _read(path: Path) -> list[list[Any]] | None:
    import orjson

    try:
        table = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return list(table["rows"]) if table.get("format") == FORMAT else None


def _write(path: Path, rows: list[list[Any]]) -> None:
    """Leaves the table for the next process; an installation that cannot be written to only stays slower."""
    import orjson

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(orjson.dumps({"format": FORMAT, "rows": rows}))
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError:
        return
