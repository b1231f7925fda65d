"""Lists by format: the fields of a source that a reader may meet, which of the 18 categories each can hold, and what becomes of it.

One CSV a format in this folder, `path, category, field, treatment, source`:

path       by the format's own names: transaction, loop, element and qualifiers of its element 01 (`837 2010BA NM103 IL`; 2310, 2330 and 2420
           stand for the loops of providers that begin so); a FHIR element,
           which stands for all below it that have no line of their own (`Patient.contact`; `*` is any element); an HL7 v2 field, or a component
           that is treated apart (`PID-5`, `PID-11.3`, `NK1-14..15`; `RXA` is all of a segment); a column, with its table for Synthea
           (`patients.csv SSN`). In columns `#` is a number and `@` a month; of a user's own rows the name is that of the configuration.
category   class of `nosology.deid.LABELS`; `any` for what people write freely, and for a composite of X12 that has such a part, or dates, beside
           its code; `none` for what holds no identifier by itself.
field      table and column of the Raw record that it becomes, several parted by `|`; or `dropped`: no record has it.
treatment  as `nosology.deid.structured` treats that column, as `coded` (`nosology.deid.codes`), or as it is (`kept`); or `dropped`.
source     where the format says what the field is.

What a file holds and its list lacks is told by name in the report of the verb that reads it (`nosology.readers.unlisted`).
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import dataclass
from importlib import resources

FORMATS = ("x12", "fhir", "hl7v2", "rif", "synpuf", "synthea", "rows")
DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Field:
    """A line of a list.

    Attributes:
        columns: table and column of the Raw records that it becomes; none where it is dropped.
    """

    path: str
    category: str
    columns: tuple[str, ...]
    treatment: str
    source: str


@functools.cache
def listed(name: str) -> tuple[Field, ...]:
    """The list of a format (one of `FORMATS`), in its order."""
    rows = csv.DictReader(resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8").splitlines())
    return tuple(
        Field(
            row["path"], row["category"], () if row["field"] == DROPPED else tuple(row["field"].split("|")), row["treatment"], row["source"]
        )
        for row in rows
    )


@functools.cache
def _forms(name: str) -> re.Pattern[str]:
    """What matches a column of the list, `#` and `@` for any number and month."""
    month = "(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEPT|OCT|NOV|DEC)"
    paths = (re.escape(field.path).replace(r"\#", r"\d{1,2}").replace("@", month) for field in listed(name))
    return re.compile("|".join(paths), re.ASCII)


def has_column(name: str, path: str) -> bool:
    """Whether the list of a table's format has a column of this name (of Synthea: `TABLE.csv COLUMN`)."""
    return _forms(name).fullmatch(path) is not None
