"""The verb `code` as a stage of the batch: notes and claims in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.coding.coder import check_claim, service_date
from nosology.config import IngestConfig
from nosology.errors import RecordError
from nosology.records import Prediction, arrow_schema, to_dict
from nosology.terminology.codeset import CodeSet, code_set

if TYPE_CHECKING:
    import pyarrow as pa

Client = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class Code:
    """Codes rows of notes through a client, and checks rows of `claims` by the code set alone.

    Args:
        client: takes notes as dicts (see `Coder.code`) and gives one prediction row each, in order; it must be picklable. Its
            `open()` is called, where it has one, before the first batch.
        billed: billed diagnoses by `links`; a note without its own `billed` is compared with those it is linked to.
        max_document_bytes: a longer note (UTF-8) is dead-lettered.
        input_text: column of the note in a user's table.
        input_id: column of its id.
    """

    verb = "code"
    isolable = False  # the models are replicas of the cluster; the client finds the row that ends one

    def __init__(
        self,
        client: Client,
        *,
        billed: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        max_document_bytes: int = IngestConfig().max_document_bytes,
        input_text: str = "text",
        input_id: str = "id",
    ) -> None:
        self.max_document_bytes = max_document_bytes
        self.billed = {} if billed is None else billed
        self.client, self.input_text, self.input_id = client, input_text, input_id
        self._codes: CodeSet | None = None

    def schemas(self) -> dict[str, pa.Schema]:
        """Output tables: `predictions`."""
        return {"predictions": arrow_schema(Prediction)}

    def open(self) -> None:
        """Loads the code set; the models belong to the client."""
        self._codes = code_set()
        opener = getattr(self.client, "open", None)
        if opener is not None:
            opener()

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Predictions of rows of one table.

        Raises:
            RecordError: a row has no note, an empty one, or an impossible date; the machine finds out which row it is.
        """
        if self._codes is None:
            self.open()
            assert self._codes is not None
        claims = [row for row in rows if row.get("_table") == "claims"]
        notes = [self._note(row) for row in rows if row.get("_table") != "claims"]
        found = [to_dict(check_claim(claim, self._codes)) for claim in claims]
        if notes:
            predictions = self.client(notes)
            if len(predictions) != len(notes):
                raise RecordError("coder_answer", None, "one prediction a note")
            found += predictions
        return {"predictions": found}

    def _note(self, row: Mapping[str, Any]) -> dict[str, Any]:
        note = {name: row[name] for name in _COLUMNS if row.get(name) is not None}
        note["text"] = row.get("text") if row.get("_table") == "documents" else row.get(self.input_text)
        if not isinstance(note["text"], str):
            raise RecordError("missing_field", self.input_text, "the note as text")
        if not note["text"].strip():
            raise RecordError("empty_note", self.input_text, "a note with at least one visible character")
        if len(note["text"].encode(errors="replace")) > self.max_document_bytes:
            raise RecordError("too_long", self.input_text, f"at most {self.max_document_bytes} bytes")
        if row.get("_table") != "documents":
            if row.get(self.input_id) is None:
                raise RecordError("missing_field", self.input_id, "an id")
            note["id"] = row[self.input_id]
        linked = next((found for key in links(row) if (found := self.billed.get(key))), None)
        if linked and "billed" not in note:
            note["billed"] = linked
        service_date(note)
        return note


def links(row: Mapping[str, Any]) -> list[str]:
    """What a note and a claim are joined by, best first: patient and claim, patient and encounter."""
    patient = row.get("patient_id")
    return [f"{kind} {patient} {row[f'{kind}_id']}" for kind in ("claim", "encounter") if row.get(f"{kind}_id") is not None]


_COLUMNS = (
    "document_id", "id", "claim_id", "encounter_id", "sex", "age", "date_of_service", "date", "billed", "source_digest", "source_row",
    "source_format",
)  # fmt: skip
