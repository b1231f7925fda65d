"""The data model: frozen dataclasses, one table each, and their Arrow schemas.

`Raw*` records hold PHI; `Clean*` records do not. Every field says what it is (`doc`) and how de-identification treats it
(`phi`): `name`, `date`, `birth_date`, `id` (a code unique to a person or event), `postal_code`, `geography`, `contact`,
`text` (free text: searched), `label` (a short title or name of an organisation: kept when it is a known one, else searched),
`code` (kept when it is a code or a word of the field's vocabulary, else dropped), or None (kept as it is). A Raw field that its
Clean record lacks is dropped.

The key of a record is (`source_digest`, `source_row`): SHA-256 of the input file and the number of the record in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nosology.records.arrow import arrow_schema, from_dict, misfit, to_dict, to_table
from nosology.records.clean import CleanClaim, CleanCondition, CleanDocument, CleanEncounter, CleanPatient, CleanProcedure, CleanRemittance
from nosology.records.content import DIGEST, digested_schema, digested_table
from nosology.records.made import (
    CodedText,
    DeidAudit,
    Discrepancy,
    Evidence,
    Example,
    PackedBlock,
    PredictedCode,
    Prediction,
    Preference,
    Removal,
    Sealed,
    Span,
)  # fmt: skip
from nosology.records.parts import Adjustment, Attachment, ClaimLine, Coding, Diagnosis, Origin, Phi, RemittanceLine, Sourced, column
from nosology.records.raw import (
    DeadLetter,
    Duplicate,
    Original,
    RawClaim,
    RawCondition,
    RawDocument,
    RawEncounter,
    RawPatient,
    RawProcedure,
    RawRecord,
    RawRemittance,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Adjustment",
    "Attachment",
    "CLEAN_TABLES",
    "ClaimLine",
    "CleanClaim",
    "CleanCondition",
    "CleanDocument",
    "CleanEncounter",
    "CleanPatient",
    "CleanProcedure",
    "CleanRemittance",
    "Coding",
    "DIGEST",
    "DUPLICATES",
    "DeadLetter",
    "DeidAudit",
    "Diagnosis",
    "Discrepancy",
    "Duplicate",
    "Evidence",
    "Example",
    "ORIGINALS",
    "Origin",
    "Original",
    "CodedText",
    "PackedBlock",
    "Preference",
    "Phi",
    "PredictedCode",
    "Prediction",
    "RawClaim",
    "RawCondition",
    "RawDocument",
    "RawEncounter",
    "RawPatient",
    "RawProcedure",
    "RawRecord",
    "RawRemittance",
    "RemittanceLine",
    "Removal",
    "Sealed",
    "Sourced",
    "Span",
    "TABLES",
    "arrow_schema",
    "column",
    "digested_table",
    "from_dict",
    "ingest_schemas",
    "misfit",
    "to_dict",
    "to_table",
]

TABLES: dict[str, type[Any]] = {
    "patients": RawPatient, "encounters": RawEncounter, "conditions": RawCondition, "procedures": RawProcedure,
    "documents": RawDocument, "claims": RawClaim, "remittances": RawRemittance,
}  # fmt: skip
ORIGINALS = "originals"  # table of `Original`
DUPLICATES = "duplicates"  # table of `Duplicate`
CLEAN_TABLES: dict[str, type[Any]] = {
    "patients": CleanPatient, "encounters": CleanEncounter, "conditions": CleanCondition, "procedures": CleanProcedure,
    "documents": CleanDocument, "claims": CleanClaim, "remittances": CleanRemittance,
}  # fmt: skip


def ingest_schemas(originals: bool, duplicates: bool) -> dict[str, pa.Schema]:
    """Schemas of the tables that an ingest writes. Those of records have the column `record_digest`; `originals` and `duplicates` are
    there where the configuration asks for them, and have no Clean form."""
    found = {name: digested_schema(record) for name, record in TABLES.items()}
    extra: dict[str, type[Any]] = {**({ORIGINALS: Original} if originals else {}), **({DUPLICATES: Duplicate} if duplicates else {})}
    return found | {name: arrow_schema(record) for name, record in extra.items()}
