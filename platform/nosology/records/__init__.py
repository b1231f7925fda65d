"""The data model: frozen dataclasses, one table each, and their Arrow schemas.

`Raw*` records hold PHI; `Clean*` records do not. Every field says what it is (`doc`) and how de-identification treats it
(`phi`): `name`, `date`, `birth_date`, `id` (a code unique to a person or event), `postal_code`, `geography`, `contact`,
`text` (free text: searched), `label` (a short title or name of an organisation: kept when it is a known one, else searched),
`code` (kept when it is a code or a word of the field's vocabulary, else dropped), or None (kept as it is). A Raw field that its
Clean record lacks is dropped.

The key of a record is (`source_digest`, `source_row`): SHA-256 of the input file and the number of the record in it.
"""

from __future__ import annotations

from typing import Any

from nosology.records.arrow import arrow_schema, from_dict, to_dict, to_table
from nosology.records.clean import CleanClaim, CleanCondition, CleanDocument, CleanEncounter, CleanPatient, CleanProcedure, CleanRemittance
from nosology.records.made import DeidAudit, Discrepancy, Evidence, Example, PackedBlock, PredictedCode, Prediction, Span
from nosology.records.parts import Adjustment, Attachment, ClaimLine, Coding, Diagnosis, Origin, Phi, RemittanceLine, Sourced, column
from nosology.records.raw import (
    DeadLetter,
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
    "DeadLetter",
    "DeidAudit",
    "Diagnosis",
    "Discrepancy",
    "Evidence",
    "Example",
    "ORIGINALS",
    "Origin",
    "Original",
    "PackedBlock",
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
    "Sourced",
    "Span",
    "TABLES",
    "arrow_schema",
    "column",
    "from_dict",
    "ingest_tables",
    "to_dict",
    "to_table",
]

TABLES: dict[str, type[Any]] = {
    "patients": RawPatient, "encounters": RawEncounter, "conditions": RawCondition, "procedures": RawProcedure,
    "documents": RawDocument, "claims": RawClaim, "remittances": RawRemittance,
}  # fmt: skip
ORIGINALS = "originals"  # table of `Original`
CLEAN_TABLES: dict[str, type[Any]] = {
    "patients": CleanPatient, "encounters": CleanEncounter, "conditions": CleanCondition, "procedures": CleanProcedure,
    "documents": CleanDocument, "claims": CleanClaim, "remittances": CleanRemittance,
}  # fmt: skip


def ingest_tables(keep_originals: bool) -> dict[str, type[Any]]:
    """The tables that an ingest writes; originals only where its configuration asks for them, and never a Clean form of them."""
    return {**TABLES, ORIGINALS: Original} if keep_originals else TABLES
