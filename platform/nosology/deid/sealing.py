"""The table `sealed`: what turns a clean record back, which the holder of the key alone can read.

A row holds the key of its record, pseudonyms to find it by, and a ciphertext of its own ids, of every field that was changed or dropped,
and of the values that were replaced in its text. AES-256-GCM (NIST SP 800-38D) with a key that HKDF-SHA-256 (RFC 5869) derives from the
secret, and a random nonce of 96 bits: good for 2^32 records under one secret. The key of the record, its pseudonyms and the policy are
associated data, so no ciphertext can be moved to another record.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.deid.policies import policy_of
from nosology.errors import InputError
from nosology.records import TABLES

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.offsets import Edit
    from nosology.deid.secret import Secret

NONCE_BYTES = 12
_PURPOSE = "nosology sealed records"
KEY = ("source_digest", "source_row", "source_format")
_OWN_ID = {
    "patients": "patient_id", "encounters": "encounter_id", "conditions": "condition_id", "procedures": "procedure_id",
    "documents": "document_id", "claims": "claim_id", "remittances": "claim_id",
}  # fmt: skip
# where the key lies and what is kept beside decide nothing of what is removed; by its day alone no clean record is cleaned again
_NO_POLICY = frozenset(("key_file", "reversible", "as_of"))


def policy_digest(config: DeidConfig, secret: Secret) -> str:
    """SHA-256 of what decides how a record is cleaned: every setting of the policy, and which key."""
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _NO_POLICY}
    settings["policy"] = policy_of(config).name  # None and the name of the language's own are one policy
    return hashlib.sha256(json.dumps([settings, secret.fingerprint], sort_keys=True).encode()).hexdigest()


def _associated(row: Mapping[str, Any]) -> bytes:
    return json.dumps([row[name] for name in (*KEY, "table", "record_id", "patient_id", "policy")]).encode()


def seal(
    table: str,
    row: Mapping[str, Any],
    cleaned: Mapping[str, Any],
    policy: str,
    secret: Secret,
    *,
    text: str | None = None,
    edits: Sequence[Edit] = (),
) -> dict[str, Any]:
    """The row of `sealed` for a record.

    Args:
        table: table of `records.TABLES`.
        row: the Raw row. cleaned: its Clean row.
        policy: `policy_digest`.
        text: the text before, of a document. edits: what was replaced in it.
    """
    names = [item.name for item in dataclasses.fields(TABLES[table]) if item.name not in KEY]
    content: dict[str, Any] = {
        "fields": {
            name: row[name] for name in names if name != "text" and row.get(name) not in (None, [], ()) and row[name] != cleaned.get(name)
        }
    }
    if text is not None:
        content |= {"text_sha256": _sha256(text), "replaced": [[c, d, text[a:b]] for a, b, c, d in edits]}
    sealed = {name: row[name] for name in KEY} | {
        "table": table,
        "record_id": cleaned.get(_OWN_ID[table]),
        "patient_id": cleaned.get("patient_id"),
        "policy": policy,
        "nonce": os.urandom(NONCE_BYTES),
    }
    plain = json.dumps(content, default=_day).encode(errors="surrogatepass")
    return sealed | {"content": secret.cipher(_PURPOSE).encrypt(sealed["nonce"], plain, _associated(sealed))}


def _day(value: object) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def unseal(row: Mapping[str, Any], secret: Secret, clean_text: str | None = None) -> dict[str, Any]:
    """The record of a row of `sealed`: its key, table, pseudonyms, the fields as they were, and the text as it was.

    Args:
        clean_text: text of the clean document, where the record is one.

    Raises:
        InputError: the key is not the one it was sealed with, or the row or the clean text is not what it was then.
    """
    from cryptography.exceptions import InvalidTag

    place = f"record {row['source_row']} of file {row['source_digest']}"
    try:
        content = json.loads(secret.cipher(_PURPOSE).decrypt(row["nonce"], row["content"], _associated(row)))
    except InvalidTag:
        raise InputError(f"{place} cannot be opened: another key sealed it, or it was changed", field="sealed") from None
    found = {name: row[name] for name in (*KEY, "table", "record_id", "patient_id")} | {"fields": content["fields"]}
    if "replaced" not in content:
        return found
    if clean_text is None:
        raise InputError(f"{place} has no clean text to put its values into", field="documents")
    pieces, at = [], 0
    for start, end, value in content["replaced"]:
        pieces += [clean_text[at:start], value]
        at = end
    text = "".join(pieces) + clean_text[at:]
    if _sha256(text) != content["text_sha256"]:
        raise InputError(f"{place}: its clean text is not what it was when it was sealed", field="documents")
    return {**found, "text": text}
