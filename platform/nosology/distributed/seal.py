"""JSON files of the ledger that carry the SHA-256 of their own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nosology import storage
from nosology.errors import InputError


def sealed(value: Mapping[str, Any]) -> bytes:
    """JSON with the SHA-256 of its own canonical form in the field `sha256`."""
    plain = json.loads(json.dumps(value))
    return json.dumps({**plain, "sha256": _seal(plain)}, indent=1).encode() + b"\n"


def _seal(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sum_of(data: bytes) -> int:
    """The SHA-256 of a sealed file as a number."""
    return int(json.loads(data)["sha256"], 16)


def unsealed(uri: str) -> dict[str, Any]:
    """The value of a sealed file.

    Raises:
        InputError: it is missing or damaged.
    """
    return unseal(storage.read_json(uri), uri)


def unseal(value: Any, uri: str) -> dict[str, Any]:
    """A sealed value, after its checksum was compared; as `unsealed`."""
    body = {name: item for name, item in value.items() if name != "sha256"} if isinstance(value, dict) else {}
    if not body or value.get("sha256") != _seal(body):
        remedy = "The file was changed or truncated after it was written; restore it, or run again into a new folder"
        raise InputError("damaged: its checksum does not match its content", file=uri, remedy=remedy)
    return dict(value)
