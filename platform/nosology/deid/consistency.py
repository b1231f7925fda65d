"""Names that a note shows, for the other notes of its patient: the stage that runs before `stage.Deidentify` where `deid.consistency` is `patient`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.config import DeidConfig
from nosology.deid.dossier import closed, owner_of
from nosology.deid.resolve import SURE
from nosology.deid.secret import load_secret
from nosology.deid.stage import NOTES, Deidentify

if TYPE_CHECKING:
    import pyarrow as pa


class FindNames:
    """A `Stage`. Its table `names` has a row for each note with names: whose it is, by HMAC, and the names, encrypted as a dossier is.

    Args:
        stage: what will clean the notes.
        config: `deid` section of both.
    """

    verb = "deidentify"

    def __init__(self, stage: Deidentify, config: DeidConfig) -> None:
        self._stage, self._secret = stage, load_secret(config)

    def schemas(self) -> dict[str, pa.Schema]:
        import pyarrow as pa

        return {"names": pa.schema([("kind", pa.string()), ("owner", pa.binary()), ("content", pa.binary())])}

    def open(self) -> None:
        self._stage.open()

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Names in notes of patients.

        Raises:
            RecordError: as `Deidentify.process`, which will name the row again.
        """
        notes = [self._stage.document_of(row) for row in rows if row["_table"] in NOTES and self._stage.done(row) is None]
        owners = [owner_of(note, self._secret) for note in notes]
        notes = [note for note, owner in zip(notes, owners, strict=True) if owner]
        found: dict[tuple[str, bytes], dict[str, None]] = {}
        for owner, note, spans in zip(filter(None, owners), notes, self._stage.spans_of(notes), strict=True):
            names = [note["text"][s.start : s.end] for s in spans if s.label == "NAME" and s.score >= SURE]
            if names:
                found[owner] = found.get(owner, {}) | dict.fromkeys(names)
        return {
            "names": [
                {"kind": kind, "owner": name, "content": closed(self._secret, name, list(values))} for (kind, name), values in found.items()
            ]
        }
