"""Values that are told apart wherever they stand: what a reader takes, and what is left of it in a Clean row."""

from __future__ import annotations

import datetime
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nosology import readers
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
from nosology.deid.fields import Field, listed
from nosology.deid.stage import Deidentify
from nosology.records import TABLES, to_dict

BEGUN, BORN = 2019, 1951
# columns whose value the reader works out: the canary itself does not stand there
MADE = re.compile(
    r".*\.(system|kind|sex|form|age|diagnosis_pointers|present_on_admission|media_type|file|number|line|group)|claims\.provider_npi"
)


@dataclass
class Canaries:
    """Values, each of its own, and the field that each was put into."""

    put: dict[str, str] = field(default_factory=dict)

    def _new(self, value: str, path: str) -> str:
        assert value not in self.put
        self.put[value] = path
        return value

    def word(self, path: str) -> str:
        return self._new(f"Q{len(self.put):04d}X", path)

    def day(self, path: str) -> datetime.date:
        first = BORN if re.search(r"birth_date|DMG02", path) else BEGUN
        year, day = divmod(len(self.put), 300)  # never 1 January, to which dates are cut
        found = datetime.date(first + year, 2, 1) + datetime.timedelta(days=day)
        self._new(found.isoformat(), path)
        return found

    def amount(self, path: str) -> str:
        return self._new(f"{1000 + len(self.put)}.25", path)

    def number(self, path: str) -> str:
        """A record number that rules find in a text."""
        return self._new(f"48{len(self.put):06d}", path)

    def within(self, text: str) -> set[str]:
        """Fields whose canary stands in a text."""
        bare = text.replace(".", "").replace("-", "")  # codes get their dot, dates are written in two forms
        return {path for value, path in self.put.items() if value in text or value.replace("-", "") in bare}


def places(value: object, at: str) -> Iterator[tuple[str, str]]:
    """Each value of a record with its table and column."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from places(one, f"{at}.{name}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from places(one, at)
    elif value is not None:
        yield at, value.isoformat() if isinstance(value, datetime.date) else str(value)


NAMES = {record: name for name, record in TABLES.items()}


def read(data: bytes, name: str = "file") -> tuple[list[tuple[str, dict[str, object]]], readers.Reading]:
    source = readers.SourceFile(f"/x/{name}", name, "d" * 64, len(data))
    reading = readers.read_file(source, io.BytesIO(data))
    found = list(reading)
    dead = [(one.reason, one.field, one.rule) for one in found if type(one).__name__ == "DeadLetter"]
    assert not dead, dead
    return [(NAMES[type(one)], to_dict(one)) for one in found if type(one) in NAMES], reading


def cleaner(folder: Path) -> Deidentify:
    """The stage with the rules alone."""
    made = Deidentify(DeidConfig(key_file=str(folder / "key")))
    made._detector = Detector(made._config, rules_only=True)
    return made


def landed(rows, canaries: Canaries) -> dict[str, set[str]]:
    """Table and column in which the canaries of a field stand, by field."""
    found = defaultdict(set)
    for table, row in rows:
        for at, text in places(row, table):
            for path in canaries.within(text):
                found[path].add(at)
    return found


def check_clean(rows, canaries: Canaries, fields: dict[str, Field], stage) -> None:
    """No canary of a field that is treated stands in a Clean row; what is kept as it is does."""
    for table, row in rows:
        made = stage.process([{**row, "_table": table}])[table]
        left = {
            path for one in made for at, text in places(one, table) if at.rpartition(".")[2] != "mark" for path in canaries.within(text)
        }
        treated = {path for path in left if not {"kept", "coded"} & set(fields[path].treatment.split("|"))}
        assert not treated, f"{table}: {sorted(treated)}"
        kept = {path for path in landed([(table, row)], canaries) if fields[path].treatment == "kept"}
        assert left >= {path for path in kept if any(not MADE.fullmatch(column) for column in fields[path].columns)}


def check(
    name: str, files: list[tuple[list[tuple[str, dict[str, object]]], Canaries]], stage, only: str = "", apart: tuple[str, ...] = ()
) -> None:
    """The list of a format against files: together they must bring every column that it names, and none that it does not.

    Args:
        only: beginning of the paths that the files hold. apart: those whose value the reader looks up.
    """
    fields = {one.path: one for one in listed(name)}
    total = defaultdict(set)
    for rows, canaries in files:
        for path, found in landed(rows, canaries).items():
            assert found <= set(fields[path].columns), f"{path} is listed as {fields[path].columns}, and stands in {sorted(found)}"
            total[path] |= found
        check_clean(rows, canaries, fields, stage)
    for one in fields.values():
        if one.path.startswith(only) and one.path not in apart:
            wanted = {column for column in one.columns if not MADE.fullmatch(column)}
            assert total[one.path] >= wanted, f"{one.path}: no file brings it to {sorted(wanted - total[one.path])}"


NUMBERS = re.compile(r"(total_charge|charge|quantity|paid|allowed)$")


def cell(one: Field, canaries: Canaries, fixed: dict[str, str]) -> str:
    """A value for a column."""
    column = one.path.split()[-1]
    if column in fixed:
        return fixed[column]
    if one.category == "DATE":
        return canaries.day(one.path).isoformat()
    if any(NUMBERS.search(name) for name in one.columns):
        return canaries.amount(one.path)
    return canaries.word(one.path)
