"""What is done with a run afterwards: prove it, tidy it, hand it on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.distributed import sink
from nosology.distributed.coverage import Coverage, Part, Snapshot
from nosology.distributed.parts import parquet_bytes, part_bytes, read_part
from nosology.errors import ConfigError, InputError
from nosology.records import DeadLetter, arrow_schema
from nosology.runs import COMMANDS, needed_commands

if TYPE_CHECKING:
    import pyarrow as pa

GRACE_SECONDS = 24 * 3600.0  # longer than any worker holds a part before its manifest
_COMMIT_ATTEMPTS = 8  # of a publication to a table that others publish to


@dataclass
class Proof:
    """What `verify` found.

    Attributes:
        finished: whether the job says that it is done.
        units: units of the plan. covered: those that accepted manifests cover.
        manifests, parts, rows, bytes: what was read and checked.
        faults: what is wrong, each with its file; none is the proof.
    """

    finished: bool = False
    units: int = 0
    covered: int = 0
    manifests: int = 0
    parts: int = 0
    rows: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


def verify(out: str, *, inputs: bool = False) -> Proof:
    """Proves a run from its folder: manifests are those that were accepted, intervals cover the plan once, every part has the digest, the
    page checksums, the rows and the columns that its manifest names, and the counts are those of the parts.

    Args:
        inputs: also that the files of the input have the digests they had.

    Raises:
        InputError: the folder holds no job. Whatever else is wrong is a fault of the proof.
    """
    job = sink.read_job(out)
    proof = Proof(units=job.num_units)
    try:
        seen = sink.snapshot(out)
    except InputError as error:
        proof.faults.append(str(error))
        return proof
    proof.finished = seen.finished
    proof.faults += _coverage_faults(seen, proof)
    proof.faults += _part_faults(seen, proof)
    for file in job.files if inputs else ():
        try:
            if storage.digest(file.uri) != file.digest:
                proof.faults.append(f"file {file.uri}: it is not what it was when the run began")
        except InputError as error:
            proof.faults.append(str(error))
    return proof


def _coverage_faults(seen: Snapshot, proof: Proof) -> Iterator[str]:
    done = Coverage()
    for _, interval in seen.placed:
        proof.manifests += 1
        try:
            done.add(interval.file, interval.start, interval.stop)
        except ValueError:
            yield f"file {seen.job.files[interval.file].uri}: units {interval.start} to {interval.stop} are covered twice"
    proof.covered = done.num_units
    for number, file in enumerate(seen.job.files):
        missing = sum(stop - start for start, stop in done.missing(number, file.num_units))
        if missing and seen.finished:
            yield f"file {file.uri}: {missing} of its {file.num_units} units are not covered"
        if any(stop > file.num_units for _, stop in done.ranges.get(number, [])):
            yield f"file {file.uri}: units beyond its {file.num_units} are covered"


def _part_faults(seen: Snapshot, proof: Proof) -> Iterator[str]:
    unread = 0
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for part in seen.parts:
        schema = arrow_schema(DeadLetter) if part.table == sink.DEAD else seen.job.schema(part.table)
        try:
            found = read_part(part)
        except InputError as error:
            unread += 1
            yield str(error)
            continue
        except Exception as error:  # of Arrow: a page whose checksum fails, a footer that is none
            unread += 1
            yield f"file {part.uri}: it cannot be read ({type(error).__name__})"
            continue
        proof.parts += 1
        proof.rows += found.num_rows
        proof.bytes += part.size_bytes
        rows[part.table] += found.num_rows
        if part.table == sink.DEAD:
            reasons.update(found["reason"].to_pylist())
        if found.num_rows != part.rows:
            yield f"file {part.uri}: {found.num_rows} rows where its manifest says {part.rows}"
        if not found.schema.equals(schema):
            yield f"file {part.uri}: its columns are not those of table {part.table}"
    tally = seen.tally
    if unread:
        return
    if rows != tally.rows:
        yield "the rows of the parts are not those that the manifests count"
    if reasons != tally.dead:
        yield "the dead letters are not those that the manifests count"
    if tally.records != tally.ok + tally.dead.total():
        yield "records are not the sum of those that are well and those that are dead"


def collect_garbage(out: str, grace_seconds: float = GRACE_SECONDS) -> dict[str, int]:
    """Removes what killed and repeated attempts left and no accepted manifest names: parts, manifests of zombies, temporary files, and
    commands of drivers that were killed before the run was theirs.

    What the newest epoch wrote stays: its manifests count as soon as the next epoch begins, however old they are by then.

    Args:
        grace_seconds: a younger file stays, for a worker may be about to commit it.

    Returns:
        Files and bytes removed, and files left for their age.
    """
    seen = sink.snapshot(out)
    kept = {(part.table, part.uri.rsplit("/", 1)[-1]) for part in seen.parts}
    accepted = {"/".join(sink.manifest_uri(out, epoch, seen.job.files[i.file].key, i).split("/")[-2:]) for epoch, i in seen.placed}
    needed = needed_commands(out).union(*(file.uri.split("/")[-2:-1] for file in seen.job.files))  # which a driver's own file can be
    counts = {"removed": 0, "bytes": 0, "too_young": 0}
    now = time.time()
    for uri in storage.list_files(out, hidden=True):
        *above, folder, name = uri.split("/")
        part, manifest, epoch = sink.PART.fullmatch(name), sink.MANIFEST.fullmatch(name), _EPOCH.fullmatch(folder)
        if part and folder in (*seen.job.schemas, sink.DEAD):
            orphan = int(part["epoch"]) < seen.epoch and (folder, name) not in kept
        elif manifest and epoch:
            orphan = int(epoch[1]) < seen.epoch and f"{folder}/{name}" not in accepted
        elif above[-1:] == [COMMANDS] and _DRIVER.fullmatch(folder):
            orphan = folder not in needed
        else:
            orphan = _TEMPORARY.fullmatch(name) is not None
        if not orphan:
            continue
        if now - storage.modified(uri) < grace_seconds:
            counts["too_young"] += 1
            continue
        counts["bytes"] += storage.size(uri)
        counts["removed"] += 1
        storage.remove(uri)
        if above[-1:] == [COMMANDS] and storage.is_local(uri):
            with contextlib.suppress(OSError):  # one that holds more stays
                storage.local_path(uri).parent.rmdir()
    return counts


_NO_DELTA = "delta:// needs the package deltalake: pip install 'nosology[delta]'"
_STATISTICS = "delta.dataSkippingNumIndexedCols"  # columns whose least and greatest values the log holds, in clear; 0 is none
_EPOCH = re.compile(r"epoch-(\d+)")
_DRIVER = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")


# tables of a verb that tell of the text as it was before, and stay in the folder of the run
_KEPT_HOME: dict[str, dict[str, str]] = {
    "deidentify": {
        "sealed": "what turns records back, for the holder of the key",
        "audit": "where identifiers stood in the text before",
        "spans": "where identifiers stood in the text before",
    }
}


def publish(out: str, to: str) -> dict[str, Any]:
    """Hands the tables of a finished run on, each to a table of its own: one transaction a table; done again it adds nothing. Of a run of
    `deidentify` the tables `sealed`, `audit` and `spans` are not handed on.

    Args:
        to: `delta://PATH` (a Delta Lake table is made at PATH/<table>), or a folder, local or `s3://`, that gets Parquet files.

    Returns:
        to, tables {table: {rows, added}}, added (rows), and not_handed_on {table: why}, where the run has such tables.

    Raises:
        InputError: the run is not finished, or damaged.
        ConfigError: Delta Lake is asked for and `deltalake` is not installed.
    """
    seen = sink.snapshot(out)
    if not seen.finished:
        raise InputError("this run is not finished", file=out, remedy="Resume it first (nosology resume)")
    if faults := verify(out).faults:  # before anything is handed on
        raise InputError(
            f"this run is damaged: {faults[0]}",
            file=out,
            remedy=f"`nosology verify` names {'it' if len(faults) == 1 else f'all {len(faults)} faults'}",
        )
    # of the job and not of its newest epoch: after a retry of dead letters it is the same rows that would go there again
    identity = hashlib.sha256(storage.read_bytes(storage.join(out, "job.json"))).hexdigest()[:32]
    send = _to_delta if to.startswith("delta://") else _to_folder
    kept = {name: why for name, why in _KEPT_HOME.get(seen.job.verb, {}).items() if name in seen.job.schemas}
    tables = [name for name in (*seen.job.schemas, sink.DEAD) if name not in kept]
    _check_target(seen, to, tables)
    report: dict[str, Any] = {"to": to, "tables": {}, "added": 0, **({"not_handed_on": kept} if kept else {})}
    for table in tables:
        added = send(seen, table, storage.join(to.removeprefix("delta://"), table), identity)
        report["tables"][table] = {"rows": sum(part.rows for part in seen.table(table)), "added": added}
        report["added"] += added
    return report


def _check_target(seen: Snapshot, to: str, tables: Sequence[str]) -> None:
    """Raises InputError before anything is written: no address, a run's own folder, tables of Delta Lake with other columns."""
    place = to.removeprefix("delta://")
    if re.match(r"[\w+.-]+:(?!//)", place):
        raise InputError("neither a path nor an address", file=to, remedy="Write delta:///path, s3://bucket/path or a path")
    if sink.is_run(place):
        raise InputError("this is the folder of a run", file=place, remedy="Publish into a folder of its own")
    inputs = {file.uri.rpartition("/")[0] for file in seen.job.files}
    for below in (place, *(storage.join(place, table) for table in tables)):
        if storage.absolute(below).rstrip("/") in inputs:
            raise InputError("the input of this run lies here", file=below, remedy="Publish into a folder of its own")
    if to.startswith("delta://"):
        for table in tables:
            _check_columns(storage.join(place, table), _schema(seen, table))


def _schema(seen: Snapshot, table: str) -> pa.Schema:
    return arrow_schema(DeadLetter) if table == sink.DEAD else seen.job.schema(table)


def _rows(seen: Snapshot, table: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    schema = _schema(seen, table)
    return schema, (batch for part in seen.table(table) for batch in read_part(part).cast(schema).to_batches())


def _to_delta(seen: Snapshot, table: str, place: str, identity: str) -> int:
    """Appends in one transaction, which carries the run's identity; a table that has it gets nothing."""
    try:
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError
    except ImportError:
        raise ConfigError(_NO_DELTA) from None
    import pyarrow as pa

    properties = CommitProperties(app_transactions=[Transaction(identity, seen.epoch)])
    for _ in range(_COMMIT_ATTEMPTS):
        schema, batches = _rows(seen, table)
        lake = _delta_table(place, schema)
        held = lake.transaction_version(identity)
        if held is not None:
            _same(held, seen, place)
            return 0
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        try:  # on the version that was looked at: given a path it would take the newest, and see no conflict with what came between
            write_deltalake(lake, reader, mode="append", commit_properties=properties)
        except CommitFailedError:  # another publisher was first; of this run, or one that changed the table
            continue
        return sum(part.rows for part in seen.table(table))
    raise InputError(
        "others write to this table all the time", file=place, remedy="Publish again when they are done; it adds what is missing"
    )


def _check_columns(place: str, schema: pa.Schema) -> None:
    """Raises InputError where a table of Delta Lake is there that cannot take the rows."""
    try:
        from deltalake import DeltaTable
    except ImportError:
        raise ConfigError(_NO_DELTA) from None
    options = _object_store_options(place)
    if not DeltaTable.is_deltatable(place, options):
        return
    held = DeltaTable(place, storage_options=options)
    if [field.name for field in held.schema().fields] != schema.names:
        raise InputError(
            "the table there has other columns", file=place, remedy="Raw and de-identified runs each need a place of their own"
        )
    if any(b"phi" in (field.metadata or {}) for field in schema) and held.metadata().configuration.get(_STATISTICS) != "0":
        raise InputError(f"the table there would write values of records into its log: {_STATISTICS} is not 0", file=place,
                         remedy="Set that property of the table, or publish to another place")  # fmt: skip


def _delta_table(place: str, schema: pa.Schema) -> Any:
    """The table as it is now; one that is not there is made, empty: of two that make it with their rows, both would be kept."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    options = _object_store_options(place)
    if not DeltaTable.is_deltatable(place, options):
        try:
            DeltaTable.create(place, schema, mode="error", configuration={_STATISTICS: "0"}, storage_options=options)
        except DeltaError:
            if not DeltaTable.is_deltatable(place, options):  # it was not made meanwhile
                raise
    return DeltaTable(place, storage_options=options)


def _object_store_options(uri: str) -> dict[str, str] | None:
    """What a client that does not go through fsspec needs to reach the same storage: endpoint and credentials as s3fs takes them from
    its configuration and the environment; None for a local path."""
    if storage.is_local(uri):
        return None
    import os

    import fsspec.config

    held = dict(fsspec.config.conf.get("s3", {}))
    client = held.get("client_kwargs", {})
    named = {
        "AWS_ENDPOINT_URL": held.get("endpoint_url") or client.get("endpoint_url"),
        "AWS_ACCESS_KEY_ID": held.get("key"),
        "AWS_SECRET_ACCESS_KEY": held.get("secret"),
        "AWS_SESSION_TOKEN": held.get("token"),
        "AWS_REGION": client.get("region_name"),
    }
    found = {name: value or os.environ.get(name) for name, value in named.items()}
    options = {name: value for name, value in found.items() if value}
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def _to_folder(seen: Snapshot, table: str, place: str, identity: str) -> int:
    """Copies parts under names that the run decides; then a list of them, created only if absent, makes them count. What an attempt
    left that was killed before a retry of dead letters goes."""
    listing = storage.join(place, f"_{identity}.json")  # readers of Parquet folders pass over what begins so
    if storage.exists(listing):
        _same(storage.read_json(listing)["epoch"], seen, place)
        return 0
    names = [_copy(part, place, f"{identity}-{seen.epoch}", number) for number, part in enumerate(_or_empty(seen, table))]
    body = {"files": names, "run": identity, "epoch": seen.epoch}
    if not storage.create_if_absent(listing, json.dumps(body, indent=1).encode()):
        _same(storage.read_json(listing)["epoch"], seen, place)
    for uri in storage.list_files(place):
        name = uri.rsplit("/", 1)[-1]
        if name.startswith(f"{identity}-") and name not in names:
            storage.remove(uri)
    return sum(part.rows for part in seen.table(table))


def _same(epoch: int, seen: Snapshot, place: str) -> None:
    """Raises InputError where a place holds the run as it was before its dead letters were tried again."""
    if epoch != seen.epoch:
        raise InputError("it holds this run as it was before its dead letters were tried again", file=place,
                         remedy="Publish to another place; this one would get its rows twice")  # fmt: skip


def _copy(part: Part | pa.Schema, place: str, stem: str, number: int) -> str:
    name = f"{stem}-{number:06d}.parquet"
    data = part_bytes(part) if isinstance(part, Part) else parquet_bytes(part.empty_table())
    storage.create_if_absent(storage.join(place, name), data)
    return name


def _or_empty(seen: Snapshot, table: str) -> Sequence[Part | pa.Schema]:
    """The parts of a table, or its schema where it has none: its columns are worth handing on."""
    return seen.table(table) or [arrow_schema(DeadLetter) if table == sink.DEAD else seen.job.schema(table)]
