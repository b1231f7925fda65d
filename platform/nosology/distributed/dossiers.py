"""What the records of a run's input say of its patients, gathered before its notes are searched for it; and whose its encounters and claims
are, where dates are moved or values are invented."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.deid.dossier import Gathering, draws, is_complete, opened
from nosology.deid.known import Value, worth
from nosology.distributed import sink, source
from nosology.distributed.coverage import Interval, Part, PlannedFile
from nosology.distributed.parts import read_part
from nosology.records import TABLES

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.secret import Secret

_TREATMENTS = frozenset({"name", "contact", "geography", "id"})
_NAMING = frozenset({"name", "contact", "geography"})  # a table that has none of these tells ids alone, which its neighbours have too
_IDS = ("patient_id", "claim_id", "encounter_id")
_FIELDS = {  # what the treatment alone does not say
    "facility": "organization", "provider_name": "organization", "address": "street", "city": "city", "phones": "phone", "emails": "email",
    "medical_record_number": "mrn", "subscriber_id": "beneficiary",
}  # fmt: skip
_KINDS = {"name": "name", "id": "id", "contact": "phone", "geography": "city"}
_ROWS = 100  # of a user's file, read at once; notes may be long


def _columns(table: str) -> dict[str, str]:
    """Columns of a table that tell of its patient, by the kind of value (`known.KINDS`)."""
    treated = {item.name: item.metadata["phi"] for item in dataclasses.fields(TABLES[table]) if item.metadata["phi"] in _TREATMENTS}
    return {name: _FIELDS.get(name, _KINDS[phi]) for name, phi in treated.items()} if _NAMING & set(treated.values()) else {}


# notes are read with each note, and name no patient but in their text
SOURCES: Mapping[str, dict[str, str]] = {table: found for table in TABLES if table != "documents" and (found := _columns(table))}
# tables whose rows may name two of patient, claim and encounter, and so join them
JOINING = frozenset({"rows", *(table for table, record in TABLES.items() if sum(name in record.__dataclass_fields__ for name in _IDS) > 1)})


def needed(files: Sequence[PlannedFile], config: DeidConfig) -> bool:
    """Whether an input has tables that tell of patients, or of whose encounters and claims are where that matters."""
    tables = {file.table for file in files}
    return not tables.isdisjoint(SOURCES) or config.consistency == "patient" or (draws(config) and not tables.isdisjoint(JOINING))


def gather(files: Sequence[PlannedFile], folder: str, secret: Secret, config: DeidConfig, names: str | None = None) -> None:
    """Makes the folder that `deid.dossier.Dossier` reads, unless it is there.

    Args:
        files: the plan of the run.
        folder: where.
        secret: of de-identification.
        config: section `deid`.
        names: folder of the job that found names in the notes (`deid.consistency`), where there was one.

    Raises:
        InputError: a part of the input is missing or changed; the storage fails.
    """
    if is_complete(folder):
        return
    rows = {table: sum(file.num_units for file in files if file.table == table) for table in SOURCES}
    gathering = Gathering(folder, secret, rows["patients"] or max(rows.values()) or sum(file.num_units for file in files))
    read = SOURCES.keys() | (JOINING if draws(config) else set())
    for number, file in enumerate(files):
        if file.table in read:
            for row in _rows(files, number):
                gathering.take(row, _values(file.table, row))
    if names is not None:
        for part in sink.snapshot(names).table("names"):
            for row in read_part(part, ["kind", "owner", "content"]).to_pylist():
                found = opened(secret, row["owner"], row["content"], part.uri)
                gathering.add((row["kind"], row["owner"]), [Value("found", name) for name in found])
    gathering.finish()


def _rows(files: Sequence[PlannedFile], number: int) -> Iterator[Mapping[str, Any]]:
    """Rows of a file: of a part only the columns that are wanted."""
    file = files[number]
    if file.kind == "part":
        part = Part(file.table, file.uri, file.digest, file.num_units, file.size_bytes, Interval(number, 0, file.num_units))
        wanted = [name for name in TABLES[file.table].__dataclass_fields__ if name in SOURCES.get(file.table, ()) or name in _IDS]
        for batch in read_part(part, wanted).to_batches(max_chunksize=_ROWS):
            yield from batch.to_pylist()
        return
    reader = source.Rows(files)
    for start in range(0, file.num_units, _ROWS):
        for row in reader.read(Interval(number, start, min(start + _ROWS, file.num_units))):
            if isinstance(row, dict):  # one that cannot be read becomes a dead letter of the run
                yield row


def _values(table: str, row: Mapping[str, Any]) -> list[Value]:
    values = []
    for name, kind in SOURCES.get(table, {}).items():
        held = row.get(name)
        texts = (str(one).strip() for one in (held if isinstance(held, list | tuple) else (held,)) if one is not None)
        values += [Value(kind, text) for text in texts if worth(kind, text)]
    return values
