"""What the records of a run's input say of its patients, gathered before its notes are searched for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.deid.dossier import PATIENTS, Gathering, events_of, is_complete, opened, owner_of
from nosology.deid.known import Value, worth
from nosology.distributed import sink, source
from nosology.distributed.coverage import Interval, Part, PlannedFile
from nosology.distributed.parts import read_part
from nosology.records import TABLES

if TYPE_CHECKING:
    from nosology.deid.secret import Secret

_TREATMENTS = frozenset({"name", "contact", "geography", "id"})
_NAMING = frozenset({"name", "contact", "geography"})  # a table that has none of these tells ids alone, which its neighbours have too
_IDS = ("patient_id", "claim_id", "encounter_id")
_FIELDS = {  # what the treatment alone does not say
    "facility": "organization", "provider_name": "organization", "address": "street", "city": "city", "phones": "phone", "emails": "email",
    "medical_record_number": "mrn", "subscriber_id": "beneficiary",
}  # fmt: skip
_KINDS = {"name": "name", "id": "id", "contact": "phone", "geography": "city"}
_ROWS = 1000  # of a user's file, read at once


def _columns(table: str) -> dict[str, str]:
    """Columns of a table that tell of its patient, by the kind of value (`known.KINDS`)."""
    treated = {item.name: item.metadata["phi"] for item in dataclasses.fields(TABLES[table]) if item.metadata["phi"] in _TREATMENTS}
    return {name: _FIELDS.get(name, _KINDS[phi]) for name, phi in treated.items()} if _NAMING & set(treated.values()) else {}


# notes are read with each note, and name no patient but in their text
SOURCES: Mapping[str, dict[str, str]] = {table: found for table in TABLES if table != "documents" and (found := _columns(table))}


def tells(files: Sequence[PlannedFile]) -> bool:
    """Whether an input has tables that tell of patients."""
    return any(file.table in SOURCES for file in files)


def gather(files: Sequence[PlannedFile], folder: str, secret: Secret, names: str | None = None) -> None:
    """Makes the folder that `deid.dossier.Dossier` reads, unless it is there.

    Args:
        files: the plan of the run.
        folder: where.
        secret: of de-identification.
        names: folder of the job that found names in the notes (`deid.consistency`), where there was one.

    Raises:
        InputError: a part of the input is missing or changed; the storage fails.
    """
    if is_complete(folder):
        return
    rows = {table: sum(file.num_units for file in files if file.table == table) for table in SOURCES}
    gathering = Gathering(folder, secret, rows["patients"] or max(rows.values()) or sum(file.num_units for file in files))
    for number, file in enumerate(files):
        if file.table in SOURCES:
            for row in _rows(files, number):
                _take(file.table, row, gathering, secret)
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
        wanted = [name for name in TABLES[file.table].__dataclass_fields__ if name in SOURCES[file.table] or name in _IDS]
        for batch in read_part(part, wanted).to_batches(max_chunksize=_ROWS):
            yield from batch.to_pylist()
        return
    reader = source.Rows(files)
    for start in range(0, file.num_units, _ROWS):
        for row in reader.read(Interval(number, start, min(start + _ROWS, file.num_units))):
            if isinstance(row, dict):  # one that cannot be read becomes a dead letter of the run
                yield row


def _take(table: str, row: Mapping[str, Any], gathering: Gathering, secret: Secret) -> None:
    owner = owner_of(row, secret)
    if owner is None:
        return
    values = []
    for name, kind in SOURCES[table].items():
        held = row.get(name)
        texts = (str(one).strip() for one in (held if isinstance(held, list | tuple) else (held,)) if one is not None)
        values += [Value(kind, text) for text in texts if worth(kind, text)]
    gathering.add(owner, values)
    for event in events_of(row, secret):
        if owner[0] == PATIENTS or event != owner:
            gathering.add(event, (), of=owner)
