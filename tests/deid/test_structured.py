"""Short fields of structured tables: what is a code or a known label stays, whatever else was typed into them does not."""

from __future__ import annotations

import datetime
import json
import pickle

import pytest
from nosology.config import DeidConfig
from nosology.deid.rewrite import TAG
from nosology.deid.secret import Secret
from nosology.deid.stage import Deidentify
from nosology.deid.structured import MAX_LABEL_CHARACTERS, clean, coded, listed, to_search
from nosology.errors import RecordError
from nosology.records import (
    CLEAN_TABLES,
    TABLES,
    Coding,
    RawClaim,
    RawCondition,
    RawDocument,
    RawEncounter,
    RawPatient,
    RawProcedure,
    to_dict,
)

KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
CANARY = "Zebulon Quackenbush"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Deidentify(DeidConfig(key_file=str(tmp_path_factory.mktemp("k") / "key")))
    made.open()
    return made


@pytest.fixture(scope="module")
def spanish(tmp_path_factory):
    made = Deidentify(DeidConfig(language="es", key_file=str(tmp_path_factory.mktemp("k") / "key")))
    made.open()
    return made


def one(stage, table, record):
    return stage.process([{**to_dict(record), "_table": table}])[table][0]


def claim(**fields):
    return RawClaim(claim_id="c1", **{"form": "professional", **KEY, **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setting", "AMB"), ("setting", "IMP"), ("setting", "ambulatory"), ("setting", "urgentcare"), ("setting", "I"), ("setting", "11"),
        ("setting", "0131"), ("setting", "131"), ("setting", "Short stay"), ("status", "entered-in-error"), ("status", "BILLED"),
        ("status", "22"), ("status", "F"), ("form", "institutional"), ("sex", "female"), ("sex", "M"), ("state", "MA"),
        ("state", "West Virginia"), ("state", "massachusetts"), ("state", "US-MA"), ("state", "ON"), ("state", "CA-QC"), ("state", "25"),
        ("state", "PR"), ("sex", "unknown"), ("sex", "U"), ("payer_type", "MB"), ("payer_type", "16"), ("kind", "OZ"), ("kind", "03"),
        ("transmission", "EL"), ("group", "CO"), ("setting", "E"), ("setting", "1A"), ("status", "A"), ("status", "19"), ("reason", "45"),
    ],
)  # fmt: skip
def test_codes_are_kept(field, value):
    assert coded(field, value) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setting", CANARY), ("setting", "SMITH"), ("setting", "Doe"), ("setting", "seen by Dr. Okonkwo"), ("setting", "00482913"),
        ("setting", "2021"), ("setting", "ambulatory Smith"), ("setting", "jd"), ("status", "active per Jane"), ("status", "1234"),
        ("sex", "female Jane"), ("state", "Virginia Washington"), ("state", "Cambridge"), ("state", "02139"), ("setting", ""),
        ("setting", "IMP\nSMITH"), ("setting", "１２３"), ("sex", "JS"), ("sex", "J"), ("sex", "11"), ("sex", "female male"), ("state", "JS"),
        ("state", "123"), ("state", "US-JS"), ("state", "M"), ("setting", "JS"), ("status", "JS"), ("payer_type", "JS"), ("payer_type", "123"),
        ("kind", "JS"), ("transmission", "JS"), ("remarks", "JS"), ("transmission", "EL JS"),
    ],
)  # fmt: skip
def test_near_misses_of_codes_are_dropped(field, value):
    assert coded(field, value) is None


def test_a_form_that_is_none_is_unknown():
    assert coded("form", CANARY) == coded("form", "JS") == "unknown" and coded("setting", None) is None
    assert coded("group", "JS") == coded("reason", "JS") == "unknown"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "34133-9"), ("kind", "11506-3"), ("kind", "18842-5"), ("kind", "NTE"), ("kind", "Progress note"), ("kind", "DS"),
        ("kind", "HISTORY_AND_PHYSICAL"), ("payer", "Medicare"), ("payer", "NO_INSURANCE"), ("payer", "Blue Cross Blue Shield"),
        ("payer", "BCBS of Texas"), ("payer", "Aetna"), ("payer", "UnitedHealthcare"), ("payer", "Kaiser Permanente"),
        ("payer", "Medicare Part B"), ("payer", "Self-pay"), ("payer", "Humana Health Plan, Inc."),
    ],
)  # fmt: skip
def test_known_labels_need_no_search(field, value):
    assert listed(field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "34133-8"), ("kind", "482913-1"), ("kind", "0048291"), ("kind", "Progress note Jane"), ("payer", "Kaiser"),
        ("payer", "Medicare Virginia Dakota"), ("payer", "Blue"), ("payer", "Jane Doe"), ("payer", "Aetna Jane Doe"), ("payer", "Life Care"),
        ("payer", "Progress note"), ("kind", "Medicare"), ("kind", "JS"), ("payer", "JS"), ("kind", "Ds"),
    ],
)  # fmt: skip
def test_near_misses_of_labels_are_searched(field, value):
    assert not listed(field, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Progress note for Jane Doe", "[NAME]"),
        ("DOE, JANE", "[NAME]"),
        ("Dr. Okonkwo visit", "[NAME]"),
        ("MRN: 00482913", "[MRN]"),
        ("call 415-555-0134", "[PHONE]"),
        ("Consult of 03/14/2021", "Consult of 2021"),
        ("34133-9", "34133-9"),
        ("Radiology report", "Radiology report"),
        ("Wellness screening", "Wellness screening"),
        ("[NAME]", "[NAME]"),
    ],
)
def test_document_kinds(stage, value, expected):
    note = RawDocument(document_id="d", text="fine", kind=value, **KEY)
    assert one(stage, "documents", note)["kind"] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Informe de alta", "Informe de alta"),
        ("Nota quirúrgica por la mañana", "Nota quirúrgica por la mañana"),
        ("Resumen de historia clínica", "Resumen de historia clínica"),
        ("Informe de Dolores", None),  # a word of the language and a person's name
        ("Informe de alta de María Pilar Cortés", None),
    ],
)
def test_spanish_document_kinds(spanish, value, expected):
    note = RawDocument(document_id="d", text="Sin alergias.", kind=value, **KEY)
    kind = one(spanish, "documents", note)["kind"]
    assert kind == expected if expected else TAG.fullmatch(kind)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Aetna", "Aetna"),
        ("Medicare", "Medicare"),
        (CANARY, "[NAME]"),
        ("Estate of Mrs. Jane Doe", "[NAME]"),
        ("self pay John Smith", "[NAME]"),
        ("SSN 123-45-6789", "[SSN]"),
        ("Employer Group Johnson & Johnson", "[ORGANIZATION]"),
    ],
)
def test_payers(stage, value, expected):
    assert one(stage, "claims", claim(payer=value))["payer"] == expected


def test_a_name_of_the_record_itself_is_found_where_the_detector_is_blind(stage):
    odd = "quxworth zzyzx plan"
    assert one(stage, "claims", claim(payer=odd, patient_names=("Zzyzx Quxworth",)))["payer"] == "[NAME]"
    assert one(stage, "documents", RawDocument(document_id="d", text="x", kind="zzyzxian text", authors=("Zzyzxian",), **KEY))["kind"] == (
        "[NAME]"
    )


def test_no_table_lets_a_name_through_a_short_field(stage):
    rows = {
        "patients": RawPatient(patient_id="p", sex=CANARY, state=CANARY, **KEY),
        "encounters": RawEncounter(encounter_id="e", setting=CANARY, **KEY),
        "conditions": RawCondition(status=CANARY, **KEY),
        "documents": RawDocument(document_id="d", text="fine", kind=CANARY, sex=CANARY, **KEY),
        "claims": claim(form=CANARY, status=CANARY, payer=CANARY, sex=CANARY, state=CANARY),
    }
    for table, record in rows.items():
        assert "Zebulon" not in json.dumps(one(stage, table, record), default=str), table


def test_every_plain_text_of_a_clean_table_has_a_treatment():
    """A new short text must say how it is treated; only keys, codes of parts and what our records make themselves have none."""
    import dataclasses
    import typing

    plain = {"source_digest", "source_format", "mark"}
    for table, record in CLEAN_TABLES.items():
        hints = typing.get_type_hints(record)
        treatment = {item.name: item.metadata["phi"] for item in dataclasses.fields(TABLES[table])}
        for name, hint in hints.items():
            if str in (hint, *typing.get_args(hint)) and name not in plain | {"adjustments"}:
                assert treatment[name], (table, name)


def test_too_long_and_wrong_types(stage):
    assert one(stage, "claims", claim(payer="Medicare " * MAX_LABEL_CHARACTERS))["payer"] is None
    for field in ("payer", "status"):
        with pytest.raises(RecordError) as caught:
            stage.process([{**to_dict(claim()), field: [CANARY], "_table": "claims"}])
        assert caught.value.reason.code == "wrong_type" and caught.value.reason.field == field and "Zebulon" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "field", "value", "told"),
    [
        ("remittances", "charge", "John Smith", "charge"), ("remittances", "paid", ["John"], "paid"), ("remittances", "charge", True, "charge"),
        ("claims", "total_charge", {"John": 1}, "total_charge"), ("remittances", "lines", "John Smith", "lines"),
        ("remittances", "lines", ["John"], "lines"), ("remittances", "lines", [{"charge": "John"}], "lines.charge"),
        ("remittances", "lines", [{"adjustments": [{"group": "CO", "reason": "45", "amount": "John"}]}], "lines.adjustments.amount"),
        ("claims", "lines", [{"number": 1.5, "system": None, "code": None}], "lines.number"),
        ("claims", "lines", [{"number": 1, "diagnosis_pointers": ["John"]}], "lines.diagnosis_pointers"),
        ("claims", "attachments", [{"line": "John"}], "attachments.line"), ("claims", "patient_id", ["John"], "patient_id"),
        ("claims", "source_row", "John", "source_row"), ("claims", "service_from", "John", "service_from"),
    ],
)  # fmt: skip
def test_a_plain_value_is_of_its_columns_type(table, field, value, told):
    """Here, and not at the conversion to Arrow: whoever calls `clean` gets no text where a number was."""
    row = {"claim_id": "c1", "form": "professional", **KEY, field: value}
    with pytest.raises(RecordError) as caught:
        clean(table, row, DeidConfig(), Secret(b"0" * 32))
    assert caught.value.reason.code == "wrong_type" and caught.value.reason.field == told and "John" not in str(caught.value)


def test_numbers_of_either_kind_are_amounts():
    row = {"claim_id": "c1", **KEY, "charge": 5, "paid": 4.5, "lines": [{"charge": 1, "adjustments": []}], "adjustments": None}
    cleaned = clean("remittances", row, DeidConfig(), Secret(b"0" * 32))
    assert (cleaned["charge"], cleaned["paid"], cleaned["lines"][0]["charge"]) == (5, 4.5, 1)


def test_without_a_search_a_label_is_not_kept():
    row = to_dict(claim(payer=CANARY))
    assert clean("claims", row, DeidConfig(), Secret(b"0" * 32))["payer"] is None
    assert to_search("claims", row) == {"payer": CANARY} and to_search("claims", to_dict(claim(payer="Medicare"))) == {}


def test_each_label_is_searched_once_and_does_not_travel(stage, monkeypatch):
    asked: list[str] = []
    find = stage._detector.find
    monkeypatch.setattr(stage._detector, "find", lambda texts, *rest: asked.extend(texts) or find(texts, *rest))
    rows = [{**to_dict(claim(payer="Cornhusker Mutual Assurance", source_row=n)), "_table": "claims"} for n in range(5)]
    out = stage.process(rows)["claims"] + stage.process(rows)["claims"]
    assert asked == ["Cornhusker Mutual Assurance"] and len({row["payer"] for row in out}) == 1
    assert b"Cornhusker" not in pickle.dumps(stage)


@pytest.mark.parametrize("mode", ["mask", "surrogates"])
def test_labels_follow_the_mode_of_rewriting(stage, mode):
    from nosology.deid.structured import relabelled
    from nosology.records import Span

    config, row = DeidConfig(rewrite=mode), to_dict(claim(payer="Doe, Jane", service_from=datetime.date(2021, 6, 9)))
    new = relabelled("Doe, Jane", [Span(start=5, end=9, label="NAME")], row, config, stage._secret, "p")
    assert "Jane" not in new and "Doe" not in new and (mode != "mask" or new == "*" * 9)


def test_a_procedure_goes_the_way_of_an_encounter(stage):
    code = Coding(system="HCPCS", code="99213", display=CANARY)
    done = RawProcedure(
        procedure_id="MRN-1", patient_id="pat-1", encounter_id="e1", codings=(code,), reasons=(code,), status="not-done",
        start_date=datetime.date(2021, 6, 9), performers=(CANARY,), **KEY,
    )  # fmt: skip
    found = one(stage, "procedures", done)
    visit = one(stage, "encounters", RawEncounter(encounter_id="e1", patient_id="pat-1", **KEY))
    assert (found["patient_id"], found["encounter_id"]) == (visit["patient_id"], visit["encounter_id"]) != ("pat-1", "e1")
    assert (found["start_date"], found["status"], found["codings"][0]["code"]) == (datetime.date(2021, 1, 1), "not-done", "99213")
    assert not any(value in str(found) for value in ("MRN-1", "pat-1", "2021, 6", CANARY))
    assert one(stage, "procedures", RawProcedure(procedure_id="x", status=CANARY, **KEY))["status"] is None


def test_where_a_note_lay_is_told_of_no_clean_document(stage):
    note = RawDocument(document_id="d", text="Seen.", file=f"{CANARY}.rtf", file_digest="f" * 64, media_type="text/rtf", **KEY)
    assert not {"file", "file_digest", "media_type", "origin"} & one(stage, "documents", note).keys()
