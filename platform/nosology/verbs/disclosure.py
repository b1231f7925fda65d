"""Clean records back to what they were, for the holder of the key, with an entry in the register first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.config import parse
from nosology.deid import disclosures
from nosology.deid.sealing import KEY, unseal
from nosology.deid.secret import Secret, load_secret
from nosology.errors import ConfigError, InputError
from nosology.runs import is_claimed

SEALED = "sealed"


def reidentify(run: str, ids: Sequence[str], by: str, reason: str, to: Path, key_file: Path | None = None) -> dict[str, Any]:
    """Turn records of a run of `deidentify` back, into a new file that its owner alone can read: one JSON line a record.

    Args:
        run: folder of the run; it was made with `deid.reversible`.
        ids: pseudonyms of records or patients, as the clean tables have them.
        by: who asks, as they say. reason: why. Both go into the register, with the account of this process.
        to: the file; it must not be there yet, and lie in no folder of a run.
        key_file: where the key is now; None is where the run had it.

    Raises:
        ConfigError: an empty argument, or a key that cannot be read or is not the run's.
        InputError: no such run or record, `to` is there already or inside a run, the register was changed, or a record cannot be opened.
        StorageError: the register or the file cannot be written; without an entry nothing is turned back.
    """
    from nosology.distributed.sink import snapshot

    for name, value in (("--by", by), ("--reason", reason)):
        if not value.strip():
            raise ConfigError(f"{name}: who asks, and why, must be said")
    if not ids:
        raise ConfigError("--id: at least one pseudonym of a record or a patient")
    if to.exists() or to.is_symlink():
        raise InputError("this file is here already; nothing is written over", file=str(to), remedy="Name a new file")
    if not to.parent.is_dir():
        raise InputError("there is no such folder", file=str(to.parent), remedy="Make it, for its owner alone")
    if inside := [folder for folder in to.resolve().parents if is_claimed(str(folder))]:
        raise InputError("a file of identified records inside the folder of a run", file=str(to),
                         remedy=f"Name a place outside of {inside[0]}, which may be handed on")  # fmt: skip
    job = snapshot(run).job
    if job.verb != "deidentify" or SEALED not in job.schemas:
        raise InputError("this run cannot be turned back", file=run, remedy="Only one of `deidentify` with deid.reversible=true can")
    secret = _secret(run, key_file)
    rows = _found(run, SEALED, ids)
    if lacking := [number for number, one in enumerate(ids, 1) if not any(one in (row["record_id"], row["patient_id"]) for row in rows)]:
        raise InputError(f"no record or patient of this run has the pseudonym of --id number {lacking[0]}", file=run)
    entry = disclosures.enter(run, secret, by=by, reason=reason, ids=ids, rows=rows)
    texts = {_place(row, row["document_id"]): row["text"] for row in _found(run, "documents", ids)}
    mark = {"entry": entry.number, "entry_sha256": entry.digest}
    lines = [json.dumps({**unseal(row, secret, texts.get(_place(row, row["record_id"]))), **mark}) for row in rows]
    _write(to, lines)
    return {"run": run, "records": len(rows), "to": str(to), "entry": entry.number, "entry_sha256": entry.digest, "register": entry.uri}


def run_secret(run: str) -> Secret | None:
    """The key of a run, from where the run had it; None where it is not there, or this account cannot read it."""
    try:
        return _secret(run, None)
    except ConfigError:
        return None


def _secret(run: str, key_file: Path | None) -> Secret:
    """The key that a run was made with; ConfigError where it is another or cannot be read."""
    from nosology.distributed.sink import read_job

    config = parse(storage.read_bytes(storage.join(run, "config.yaml")), storage.join(run, "config.yaml")).deid
    secret = load_secret(config.model_copy(update={"key_file": str(key_file)}) if key_file else config, make=False)
    if read_job(run).fingerprint.get("deid_key") != secret.fingerprint:
        raise ConfigError("the key is not the one that this run was made with; name the right one with --key-file")
    return secret


def _found(run: str, table: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a table whose own or whose patient's pseudonym is one of those."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from nosology.distributed.stages import output_parts

    wanted = pa.array(list(ids), pa.string())
    own = "record_id" if table == SEALED else "document_id"
    found: list[dict[str, Any]] = []
    for part in output_parts(run, table)[1]:
        found += part.filter(pc.or_(pc.is_in(part[own], wanted), pc.is_in(part["patient_id"], wanted))).to_pylist()
    return found


def _place(row: Mapping[str, Any], pseudonym: str) -> tuple[Any, ...]:
    """A record by its key; several notes of one source record differ in their pseudonyms."""
    return (*(row[name] for name in KEY), pseudonym)


def _write(to: Path, lines: Sequence[str]) -> None:
    """A new file of mode 0600, whole or not there."""
    with storage.named_errors(str(to)):
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.writelines(line + "\n" for line in lines)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            to.unlink()
            raise
