"""Records that stand in more than one file of an archive: found when all files are read, in memory that does not grow with the archive.

Every row of an ingest carries a digest of its content. Digests are dealt by their value into files on the local disk, each small enough
to be sorted in memory; equal ones are neighbours then. (Only with `ingest.duplicates: first` what was found is held: 33 bytes a row, in each process.)
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from nosology import storage
from nosology.distributed import sink
from nosology.distributed.coverage import Part, PlannedFile, Tally
from nosology.distributed.isolation import KILLED, STALLED
from nosology.distributed.parts import read_part
from nosology.errors import InputError, printable
from nosology.records import DIGEST, DUPLICATES, TABLES

_BUCKET_ROWS, _MOST_BUCKETS = 1 << 15, 512
_PLACE = [("file", "u4"), ("row", "i8"), ("table", "u1")]
_ENTRY = np.dtype([("high", "u8"), ("low", "u8"), *_PLACE])
FOUND = np.dtype([("high", "u8"), ("low", "u8"), ("file", "u4"), ("table", "u1"), ("first_file", "u4"), ("first_row", "i8")])
NAMES = list(TABLES)  # of the numbers in `table`
_MOST_NAMED = 10
# A message or a document is one record: what it says of patient, encounter and findings the next one may say again.
_MESSAGES, _OF_MESSAGES = ["hl7v2", "ccda"], ("documents", "claims")

_LOST = {KILLED.code, STALLED.code}

Found = np.ndarray[Any, np.dtype[np.void]]


def find(ledger: sink.Ledger) -> Iterator[Found]:
    """Rows of which an earlier file holds the same, whatever its format; the same row twice in one file is left to its file.

    Yields:
        arrays of `FOUND`: digest, file and table of such a row, and the place of the first one; files by their number in the plan.
    """
    num_rows = sum(ledger.tally.rows[name] for name in NAMES)
    num_buckets = min(num_rows // _BUCKET_ROWS + 1, _MOST_BUCKETS)
    with contextlib.ExitStack() as held:
        buckets = [held.enter_context(tempfile.TemporaryFile()) for _ in range(num_buckets)]
        for part in ledger.parts():
            if part.table in TABLES:
                entries = _entries(part)
                number = entries["low"] % num_buckets
                order = np.argsort(number, kind="stable")
                starts = np.searchsorted(number[order], range(num_buckets + 1))
                with storage.named_errors(tempfile.gettempdir()):
                    for bucket, start, stop in zip(buckets, starts[:-1], starts[1:], strict=True):
                        bucket.write(entries[order[start:stop]].tobytes())
        for bucket in buckets:
            with storage.named_errors(tempfile.gettempdir()):
                bucket.seek(0)  # what is buffered is written
            yield _repeated(np.frombuffer(bucket.read(), _ENTRY))


def _entries(part: Part) -> Found:
    import pyarrow as pa

    rows = read_part(part, ["source_row", "source_format", DIGEST])
    rows = rows.filter(pa.array([is_compared(part.table, name) for name in rows["source_format"].to_pylist()], pa.bool_()))
    digests = np.frombuffer(bytes.fromhex("".join(rows[DIGEST].to_pylist())), ">u8").reshape(-1, 2)
    made = np.empty(rows.num_rows, _ENTRY)
    made["high"], made["low"] = digests[:, 0], digests[:, 1]
    made["file"], made["row"], made["table"] = part.interval.file, rows["source_row"].to_numpy(), NAMES.index(part.table)
    return made


def is_compared(table: str, name: str) -> bool:
    """Whether rows of a table that come from a format are looked for in other files."""
    return table in _OF_MESSAGES or name not in _MESSAGES


def _repeated(entries: Found) -> Found:
    entries = entries[np.lexsort((entries["row"], entries["file"], entries["low"], entries["high"]))]
    begins = np.ones(len(entries), bool)
    begins[1:] = (entries["high"][1:] != entries["high"][:-1]) | (entries["low"][1:] != entries["low"][:-1])
    first = entries[np.maximum.accumulate(np.where(begins, np.arange(len(entries)), 0))]
    again = entries["file"] != first["file"]
    made = np.empty(int(again.sum()), FOUND)
    for name in ("high", "low", "file", "table"):
        made[name] = entries[name][again]
    made["first_file"], made["first_row"] = first["file"][again], first["row"][again]
    return made


def by_table(found: Iterable[Found]) -> Counter[str]:
    """How many rows of each table."""
    total: Counter[str] = Counter()
    for rows in found:
        total += Counter({NAMES[number]: int(count) for number, count in zip(*np.unique(rows["table"], return_counts=True), strict=True)})
    return total


def by_file(found: Iterable[Found]) -> dict[int, Found]:
    """The rows of each file that has any."""
    rows = np.concatenate([np.empty(0, FOUND), *found])
    rows = rows[np.argsort(rows["file"], kind="stable")]
    numbers, starts = np.unique(rows["file"], return_index=True)
    return {int(number): piece for number, piece in zip(numbers, np.split(rows, starts[1:]), strict=True)} if len(rows) else {}


def firsts(found: Found) -> dict[str, tuple[int, int]]:
    """File and row of the first one, by digest."""
    columns = (found[name].tolist() for name in ("high", "low", "first_file", "first_row"))
    return {f"{high:016x}{low:016x}": (file, row) for high, low, file, row in zip(*columns, strict=True)}


def files_without(ledger: sink.Ledger) -> set[int]:
    """Files that are done without some of their rows, for earlier files hold those."""
    return {part.interval.file for part in ledger.parts() if part.table == DUPLICATES}


def orphaned(ledger: sink.Ledger) -> set[int]:
    """Files of which rows were left out for a row that is no longer there: its own file ended the process when it was read once more."""
    lost = {ledger.job.files[commit.interval.file].digest for commit in ledger.commits() if _is_file_letter(commit.tally)}
    found = set()
    for part in ledger.parts() if lost else ():
        if part.table == DUPLICATES and not lost.isdisjoint(read_part(part, ["first_digest"])["first_digest"].to_pylist()):
            found.add(part.interval.file)
    return found


def _is_file_letter(tally: Tally) -> bool:
    """Whether a file of an ingest was given up as a whole. (A single record that was lost has never been the first of others, unless it
    ends a process only now and then.)"""
    return tally.records == 1 and bool(_LOST & tally.dead.keys())


def refuse(found: Iterable[Found], files: Sequence[PlannedFile]) -> None:
    """Raises InputError with the files that hold the same records, when there are any."""
    pairs: Counter[tuple[int, int]] = Counter()
    for rows in found:
        for file, first in zip(rows["file"].tolist(), rows["first_file"].tolist(), strict=True):
            pairs[file, first] += 1
    if pairs:
        lines = [
            printable(f"{files[file].uri} has {count} of {files[first].uri}") for (file, first), count in pairs.most_common(_MOST_NAMED)
        ]
        more = [f"and {len(pairs) - _MOST_NAMED} more pairs of files"] if len(pairs) > _MOST_NAMED else []
        raise InputError(f"{pairs.total()} records stand in another file already:\n  " + "\n  ".join([*lines, *more]),
                         remedy="\nThe output is not to be used. Take those files out, or set ingest.duplicates to first or keep, and choose"
                         " another output folder")  # fmt: skip


def left_out(out: str) -> Counter[str]:
    """How many rows of each table a finished run left out."""
    total: Counter[str] = Counter()
    for part in sink.snapshot(out).table(DUPLICATES):
        total.update(read_part(part, ["table"])["table"].to_pylist())
    return total
