"""What claims and remittances hold in parts of parts: each under the treatment that records gives it; originals under none."""

from __future__ import annotations

import json

import pytest
from nosology.config import DeidConfig
from nosology.deid.stage import Deidentify
from nosology.errors import RecordError
from nosology.records import (
    CLEAN_TABLES,
    TABLES,
    Adjustment,
    Attachment,
    ClaimLine,
    Original,
    RawClaim,
    RawDocument,
    RawRemittance,
    RemittanceLine,
    ingest_schemas,
    to_dict,
)

KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "x12"}
CANARY = "Zebulon Quackenbush"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Deidentify(DeidConfig(key_file=str(tmp_path_factory.mktemp("k") / "key")))
    made.open()
    return made


def one(stage, table, record):
    return stage.process([{**to_dict(record), "_table": table}])[table][0]


def test_numbers_of_a_claim_become_pseudonyms_or_vanish(stage):
    claim = RawClaim(
        claim_id="c1", form="professional", patient_id="p", original_payer_claim_id="PAYER-9", authorizations=("AUTH-1",), group_number="GROUP-4",
        medical_record_number="MRN-7", file_information=(f"K3 OF {CANARY}",), payer_type="MB",
        attachments=(Attachment(kind="OZ", transmission="BM", control_number="CTRL-1", line=2),),
        lines=(ClaimLine(number=1, control_number="LINE-1", system="HCPCS", code="99213"),), **KEY,
    )  # fmt: skip
    cleaned = one(stage, "claims", claim)
    secret = stage._secret.pseudonym
    assert cleaned["original_payer_claim_id"] == secret("PAYER-9") and cleaned["medical_record_number"] == secret("MRN-7")
    assert cleaned["attachments"] == [{"kind": "OZ", "transmission": "BM", "control_number": secret("CTRL-1"), "line": 2}]
    assert cleaned["lines"][0]["control_number"] == secret("LINE-1") and cleaned["payer_type"] == "MB"
    shown = json.dumps(cleaned, default=str)
    assert not any(word in shown for word in ("PAYER-9", "AUTH-1", "GROUP-4", "MRN-7", CANARY, "CTRL-1", "LINE-1"))


def test_what_links_records_links_their_pseudonyms(stage):
    note = one(stage, "documents", RawDocument(document_id="CTRL-1", text="fine", **KEY))
    claim = RawClaim(claim_id="c1", form="dental", original_payer_claim_id="PAYER-9", lines=(ClaimLine(number=1, control_number="L", system=None, code=None),),
                     attachments=(Attachment(kind="OZ", control_number="CTRL-1"),), **KEY)  # fmt: skip
    billed = one(stage, "claims", claim)
    paid = one(
        stage, "remittances", RawRemittance(claim_id="c0", payer_claim_id="PAYER-9", lines=(RemittanceLine(control_number="L"),), **KEY)
    )
    assert billed["attachments"][0]["control_number"] == note["document_id"]
    assert billed["original_payer_claim_id"] == paid["payer_claim_id"]
    assert billed["lines"][0]["control_number"] == paid["lines"][0]["control_number"] != "L"


def test_adjustments_keep_codes_and_lose_whatever_else_was_typed(stage):
    good = (Adjustment(group="CO", reason="45", amount=5.0), Adjustment(group="PR", reason="B7"), Adjustment(group="OA", reason="P12"))
    bad = (Adjustment(group=CANARY, reason="paid to Jane Doe", amount=1.0),)
    answer = RawRemittance(
        claim_id="c1", adjustments=good + bad, lines=(RemittanceLine(code="99213", adjustments=bad, remarks=("N130", "MA01", CANARY)),), **KEY,
    )  # fmt: skip
    cleaned = one(stage, "remittances", answer)
    assert [(one["group"], one["reason"]) for one in cleaned["adjustments"]] == [
        ("CO", "45"), ("PR", "B7"), ("OA", "P12"), ("unknown", "unknown")
    ]  # fmt: skip
    line = cleaned["lines"][0]
    assert (line["adjustments"], line["remarks"]) == (
        [{"group": "unknown", "reason": "unknown", "amount": 1.0, "quantity": None}], ["N130", "MA01"]
    )  # fmt: skip
    attachment = Attachment(kind=CANARY, transmission="by Jane Doe")
    cleaned = one(stage, "claims", RawClaim(claim_id="c", form="dental", attachments=(attachment,), payer_type=CANARY, **KEY))
    assert cleaned["attachments"][0]["kind"] is cleaned["attachments"][0]["transmission"] is cleaned["payer_type"] is None


def test_originals_are_refused(stage):
    original = Original(piece=0, rows=(3,), content=b"ISA*", **KEY)
    with pytest.raises(RecordError, match="unknown_table"):
        stage.process([{**to_dict(original), "_table": "originals"}])
    assert "originals" not in stage.schemas() and "originals" not in CLEAN_TABLES and "originals" not in TABLES
    assert set(ingest_schemas(True, False)) - set(ingest_schemas(False, False)) == {"originals"}
