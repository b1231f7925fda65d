"""The register of re-identifications: below the folder of a run, an entry for each, written before anything is turned back.

An entry says who, when, why and which records; never a value. Who is told twice: `claimed_by` is what was said (--by), `account` and `uid`
are the account of the process, which no environment variable changes. An entry is created only if absent, for its owner alone, and holds a
nonce, the SHA-256 of the run's `job.json`, that of the entry before it and a code that only the key makes. So an entry that was changed, or
is missing before another, is found, and none can be forged without the key. That the last ones were removed shows in the files that were
turned back: each line of such a file names its entry and the entry's SHA-256. No entry is older than the one before it.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import os
import pwd
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nosology import storage
from nosology.deid.sealing import KEY
from nosology.deid.secret import Secret
from nosology.errors import InputError

FOLDER = "reidentifications"
_NONE = "0" * 64  # before the first
_DOMAIN = "register of re-identifications"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was written: its number from 1, its place, the SHA-256 of its file, and what it says."""

    number: int
    uri: str
    digest: str
    body: Mapping[str, Any]


def entries(run: str, secret: Secret | None) -> list[Entry]:
    """All entries of a run, in order.

    Args:
        secret: None, for whoever has not the key, checks the chain alone: that each entry follows the one before it.

    Raises:
        InputError: one was changed, is missing, is older than the one before it, or was not made with this key.
    """
    folder = storage.join(run, FOLDER)
    job, found = _job(run), list[Entry]()
    for uri in storage.list_files(folder) if storage.is_folder(folder) else []:
        number, before = len(found) + 1, found[-1].digest if found else _NONE
        data = storage.read_bytes(uri)
        try:
            body = json.loads(data)
            code = body.pop("code")
            right = uri == _uri(run, number) and body["number"] == number and body["before"] == before and body["job"] == job
            right = right and _time(body) >= (_time(found[-1].body) if found else _time(body))
            right = right and (secret is None or hmac.compare_digest(code, _code(body, secret)))
        except (ValueError, KeyError, TypeError, AttributeError):
            right = False
        if not right:
            rule = f"entry {number} of the register of re-identifications is missing, or it or the one before it was changed"
            raise InputError(rule, file=uri, remedy="Nothing is turned back until the register is as it was; ask who has changed it")
        found.append(Entry(number, uri, hashlib.sha256(data).hexdigest(), body))
    return found


def enter(run: str, secret: Secret, *, by: str, reason: str, ids: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Entry:
    """Write down that records will be turned back.

    Args:
        by: who asks, as they say. reason: why.
        ids: pseudonyms that were asked for. rows: the rows of `sealed` that they found.

    Raises:
        InputError: as `entries`, or the clock is behind the last entry. StorageError: the entry cannot be written.
    """
    while True:
        before = entries(run, secret)
        number, now = len(before) + 1, datetime.datetime.now(datetime.UTC)
        if before and now < _time(before[-1].body):
            raise InputError("the clock of this machine is behind the last entry of the register of re-identifications",
                             file=before[-1].uri, remedy="Set the clock")  # fmt: skip
        body = {
            "job": _job(run),
            "number": number,
            "before": before[-1].digest if before else _NONE,
            "nonce": secrets.token_hex(16),  # of two that ask for the same at once, each knows which entry is its own
            "time": now.isoformat(timespec="microseconds"),
            "claimed_by": by,
            "account": _account(),
            "uid": os.geteuid(),
            "reason": reason,
            "ids": list(ids),
            "count": len(rows),
            "records": [{name: row[name] for name in (*KEY, "table")} for row in rows],
        }
        data = json.dumps({**body, "code": _code(body, secret)}, indent=1).encode()
        if storage.create_if_absent(_uri(run, number), data, private=True):
            return Entry(number, _uri(run, number), hashlib.sha256(data).hexdigest(), body)


def _uri(run: str, number: int) -> str:
    return storage.join(run, FOLDER, f"{number:06d}.json")


def _job(run: str) -> str:
    return storage.digest(storage.join(run, "job.json"))


def _code(body: Mapping[str, Any], secret: Secret) -> str:
    return secret.digest(_DOMAIN, json.dumps(body, sort_keys=True)).hex()


def _time(body: Mapping[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(body["time"])


def _account() -> str:
    """The name of the account under which this process runs; not that of LOGNAME, which anybody sets."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # an account that this machine has no name for
        return f"uid {os.geteuid()}"
