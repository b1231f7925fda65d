"""The mark of a clean record: by it a second pass with the same policy and key knows its own work and leaves it as it is.

Tags and masks show by themselves; a surrogate, a shifted date and a pseudonym look like real ones, and would be replaced once more. The mark is
a code over the policy and every value of the record, that only the key makes: a record that was changed afterwards, or joined to real
values again, has none that fits and is cleaned like any other.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nosology.records import CLEAN_TABLES

if TYPE_CHECKING:
    from nosology.deid.secret import Secret

FIELD = "mark"
_BYTES = 8


def marked(table: str, cleaned: Mapping[str, Any], policy: str, secret: Secret) -> dict[str, Any]:
    """A Clean row with its mark.

    Args:
        policy: `sealing.policy_digest`.
    """
    return {**cleaned, FIELD: _mark(table, cleaned, policy, secret)}


def recognised(table: str, row: Mapping[str, Any], policy: str, secret: Secret) -> dict[str, Any] | None:
    """The Clean row, where a row is one that this policy and key made; None where it is not."""
    if table not in CLEAN_TABLES or not row.get(FIELD):
        return None
    names = [item.name for item in dataclasses.fields(CLEAN_TABLES[table])]
    if not set(names) <= row.keys() or row[FIELD] != _mark(table, row, policy, secret):
        return None
    return {name: row[name] for name in names}


def _mark(table: str, row: Mapping[str, Any], policy: str, secret: Secret) -> str:
    names = [item.name for item in dataclasses.fields(CLEAN_TABLES[table]) if item.name != FIELD]
    values = json.dumps([table, policy, *(_plain(row[name]) for name in names)])
    return secret.digest("clean record", values)[:_BYTES].hex()


def _plain(value: Any) -> Any:
    """A value as it is before and after it was a column: numbers are floats, parts have no empty fields."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in sorted(value.items()) if one is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
