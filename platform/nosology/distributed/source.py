"""The input of a job: which files, how many units each, and the rows of an interval.

An input is a file, a folder of files, or the folder of an earlier run, whose newest snapshot is read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nosology import storage
from nosology.config import IngestConfig, InputConfig
from nosology.distributed.coverage import Interval, PlannedFile
from nosology.distributed.unchanged import Unchanged, changed
from nosology.errors import InputError, Reason, printable

_DIGEST, _DECIMAL = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9]{1,19}")


def plan(inputs: Sequence[str], needed: Sequence[str] = (), tables: Sequence[str] | None = None) -> list[PlannedFile]:
    """What a stage has to do: the rows of each file.

    Args:
        inputs: files, folders, folders of earlier runs.
        needed: columns that a user's own table must have.
        tables: tables of an earlier run that the stage reads; None is all.

    Raises:
        InputError: an input is missing, unfinished or empty, or files cannot be read; all of those are named at once.
    """
    planned: list[PlannedFile] = []
    faults: list[InputError] = []
    seen: set[str] = set()
    for uri in map(storage.absolute, inputs):  # workers of a cluster have folders of their own
        if _is_run(uri):
            planned += _parts(uri, tables)
            continue
        for file in _files(uri, seen):
            try:
                planned.append(_rows_file(file, needed))
            except InputError as error:
                faults.append(error)
    return _checked(planned, faults, inputs)


@dataclass(frozen=True, slots=True)
class Archive:
    """What an ingest has to do.

    Attributes:
        files: to be read, each one unit.
        unreadable: files, and members of archives, that nobody can read (with `ingest.allow_unreadable`).
        duplicates: files with the content of an earlier one. left_out: of these, how many are not read (`ingest.duplicates: first`).
    """

    files: list[PlannedFile]
    unreadable: tuple[str, ...] = ()
    duplicates: int = 0
    left_out: int = 0


def plan_archive(inputs: Sequence[str], ingest: IngestConfig, columns: InputConfig) -> Archive:
    """What an ingest has to do: each file is one unit.

    Raises:
        InputError: an input is missing or empty, or files cannot be read (unless `ingest.allow_unreadable`), or there are copies where
            `ingest.duplicates` refuses them; all of those are named at once.
    """
    planned: list[PlannedFile] = []
    faults: list[InputError] = []
    unread: list[InputError] = []
    seen: set[str] = set()
    for uri in map(storage.absolute, inputs):
        for file in _files(uri, seen):
            try:
                found, unreadable = _probed(file, ingest, columns)
            except InputError as error:  # of the storage: never a reason to go on without the file
                faults.append(error)
                continue
            unread += unreadable
            planned += found
    if ingest.allow_unreadable:
        return _without_copies(_checked(planned, faults, inputs), ingest, tuple(fault.file or "" for fault in unread))
    if len(unread) == 1 and planned and not faults:
        (fault,) = unread
        remedy = f"{fault.remedy or 'Take it out'}; `nosology ingest --allow-unreadable` goes on without it"
        raise InputError(fault.rule, file=fault.file, field=fault.field, remedy=remedy)
    way_on = " (`nosology ingest --allow-unreadable` goes on without those that nobody can read)" if unread else ""
    return _without_copies(_checked(planned, faults + unread, inputs, way_on), ingest, ())


def _probed(file: str, ingest: IngestConfig, columns: InputConfig) -> tuple[list[PlannedFile], list[InputError]]:
    """A file of an archive, where a reader takes it, and what of it nobody can read."""
    from nosology import readers

    if not storage.is_regular(file):
        return [], [InputError("not a regular file", file=file, remedy="Copy what it gives into a file, or take it out")]
    source = readers.SourceFile(file, readers.name_of(file), storage.digest(file), storage.size(file))
    with storage.open_input(file) as stream:
        name, faults = readers.probe(source, stream, ingest, columns)
    unread = [
        InputError(fault.rule, field=fault.field, remedy=fault.remedy,
                   file=file + (fault.file or "").removeprefix(source.name))  # a member's behind its archive's
        for fault in faults
    ]  # fmt: skip
    planned = [PlannedFile(source.digest, file, source.digest, 1, "archive", "", name, source.size_bytes)] if name is not None else []
    return planned, unread


def _without_copies(files: list[PlannedFile], ingest: IngestConfig, unreadable: tuple[str, ...]) -> Archive:
    copies = [file for file in files if file.key != file.digest]
    if copies and ingest.duplicates == "refuse":
        first = {file.digest: file.uri for file in files if file.key == file.digest}
        raise InputError(f"{len(copies)} files have the content of another:\n  " + "\n  ".join(printable(f"{c.uri} is {first[c.digest]}") for c in copies),
                         remedy="\nNothing was done. Take them out, or set ingest.duplicates to first or keep")  # fmt: skip
    if ingest.duplicates == "first":
        return Archive([file for file in files if file.key == file.digest], unreadable, len(copies), len(copies))
    return Archive(files, unreadable, len(copies))


def _is_run(uri: str) -> bool:
    from nosology.distributed import sink

    return storage.is_folder(uri) and sink.is_run(uri)


def _files(uri: str, seen: set[str]) -> Iterator[str]:
    """The files of an input; one that an earlier input had, by whatever path, is passed over. Links within one input are files too.

    Raises:
        InputError: the folder of a run would be read as files of an archive.
    """
    own: set[str] = set()
    for file in storage.list_files(uri) if storage.is_folder(uri) else [uri]:
        if file.endswith("/job.json") and storage.exists(file.removesuffix("job.json") + "epoch-1.json"):
            raise InputError("files of an archive, not the folder of a run", file=file.removesuffix("/job.json"),
                             remedy="deidentify, prepare and code take a run folder, one --in for each; else take it out of the input")  # fmt: skip
        names = {file, storage.resolved(file)}
        if seen.isdisjoint(names):
            own |= names
            yield file
    seen |= own


def check_apart(inputs: Sequence[str], out: str) -> None:
    """Raises InputError where a run would read what it writes."""
    out = storage.absolute(out)
    for uri in map(storage.absolute, inputs):
        if (out == uri or out.startswith(uri.rstrip("/") + "/")) and not _is_run(uri):
            raise InputError("the output lies in the input", file=out, remedy="Choose a folder of its own")


def _parts(uri: str, tables: Sequence[str] | None) -> list[PlannedFile]:
    """Parts of an earlier run, in the order of its input."""
    from nosology.distributed import sink

    seen = sink.snapshot(uri)
    if not seen.finished:
        raise InputError("this run is not finished", file=uri, remedy=f"Run its `{seen.job.verb}` again; it resumes")
    return [
        PlannedFile(part.digest, part.uri, part.digest, part.rows, "part", part.table, "part", part.size_bytes)
        for part in seen.parts
        if part.table != sink.DEAD and (tables is None or part.table in tables)
    ]


def _rows_file(uri: str, needed: Sequence[str]) -> PlannedFile:
    from nosology.readers import tabular

    digest, size = storage.digest(uri), storage.size(uri)
    name, table = tabular.describe(uri, needed)
    return PlannedFile(digest, uri, digest, tabular.count_rows(uri), "rows", table or "rows", name, size)


def _checked(planned: list[PlannedFile], faults: list[InputError], inputs: Sequence[str], way_on: str = "") -> list[PlannedFile]:
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise InputError(f"{len(faults)} files cannot be read:\n  " + "\n  ".join(str(fault) for fault in faults),
                         remedy=f"\nNothing was done. Mend these files or take them out of the input, then run again{way_on}")  # fmt: skip
    planned = [file for file in planned if file.num_units]
    if not planned:
        raise InputError("nothing to read here", file=", ".join(inputs), remedy="Check the path")
    copies: Counter[str] = Counter()
    keyed = []
    for file in planned:
        copy = copies[file.digest]
        copies[file.digest] += 1
        keyed.append(PlannedFile(f"{file.digest}.{copy}" if copy else file.digest, file.uri, file.digest, file.num_units,
                                 file.kind, file.table, file.format, file.size_bytes))  # fmt: skip
    return keyed


class Rows:
    """Reads the rows of intervals, in a worker. Keeps its place in the file it reads, for intervals come in order."""

    def __init__(self, files: Sequence[PlannedFile]) -> None:
        self._files = files
        self._part: tuple[int, Any] = (-1, None)
        self._unchanged = Unchanged()
        self._place: tuple[int, int, Iterator[tuple[int, dict[str, Any] | Reason]]] = (-1, 0, iter(()))

    def __reduce__(self) -> tuple[object, ...]:
        return Rows, (self._files,)  # a place in a file does not travel

    def read(self, interval: Interval) -> Iterable[dict[str, Any] | tuple[int, Reason]]:
        """Rows of an interval with their keys and `_table`; (row number, reason) for one that cannot be decoded.

        Raises:
            InputError: the file is not what it was when the run began.
        """
        file = self._files[interval.file]
        return self._part_rows(file, interval) if file.kind == "part" else self._user_rows(file, interval)

    def _part_rows(self, file: PlannedFile, interval: Interval) -> Iterator[dict[str, Any]]:
        from nosology.distributed.coverage import Part
        from nosology.distributed.parts import read_part

        number, table = self._part
        if number != interval.file:
            table = read_part(Part(file.table, file.uri, file.digest, file.num_units, file.size_bytes, interval))
            self._part = (interval.file, table)
        for number, row in enumerate(table.slice(interval.start, interval.stop - interval.start).to_pylist(), interval.start):
            yield {**_key(file, number), **row, "_table": file.table}

    def _user_rows(self, file: PlannedFile, interval: Interval) -> Iterator[dict[str, Any] | tuple[int, Reason]]:
        from nosology.readers import tabular

        number, place, rows = self._place
        self._unchanged.check(file)
        if number != interval.file or place > interval.start:
            place, rows = interval.start, tabular.read_rows(file.uri, interval.start, file.num_units)
        taken = list(itertools.islice(rows, interval.start - place, interval.stop - place))
        self._place = (interval.file, interval.stop, rows)
        if len(taken) != interval.stop - interval.start:
            self._place = (-1, 0, iter(()))
            raise changed(file.uri)
        for row, value in taken:
            yield (row, value) if isinstance(value, Reason) else keyed(value, file, row)


def keyed(values: Mapping[str, Any], file: PlannedFile, row: int) -> dict[str, Any] | tuple[int, Reason]:
    """A row of a user's file with its key; a file in the schema of one of our tables keeps the keys it has.

    A key of its own ends up in manifests and dead letters, so what is none makes the row a dead letter (number of the row, reason).
    """
    if file.table == "rows" or values.get("source_digest") in (None, "") or values.get("source_row") in (None, ""):
        return {**values, **_key(file, row), "_table": file.table}
    from nosology.readers import READERS

    number = values["source_row"]
    if file.format == "csv" and _DECIMAL.fullmatch(number):  # whose cells are strings
        number = int(number)
    if not (isinstance(values["source_digest"], str) and _DIGEST.fullmatch(values["source_digest"])):
        return row, Reason("wrong_type", "source_digest", "a SHA-256 in 64 hexadecimal digits, or no value")
    if type(number) is not int or not 0 <= number < 1 << 63:
        return row, Reason("wrong_type", "source_row", "a number from 0, or no value")
    if not (isinstance(values.get("source_format"), str) and values["source_format"] in READERS):
        return row, Reason("wrong_type", "source_format", "the name of a reader")
    return {**values, "source_row": number, "_table": file.table}


def _key(file: PlannedFile, row: int) -> dict[str, Any]:
    return {"source_digest": file.digest, "source_row": row, "source_format": file.format}
