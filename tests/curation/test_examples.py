"""Pairs from phrases, conditions and notes; examples with the right code at the rank it was found."""

from __future__ import annotations

from typing import Any

import pytest
from nosology.curation.examples import (
    MAX_CONTEXT_CHARACTERS,
    Drop,
    Pair,
    build_examples,
    condition_pairs,
    document_pairs,
    linked_codes,
    phrase_pair,
)
from nosology.curation.split import Splitter
from nosology.errors import RecordError

SOURCE = {"source_digest": "d", "source_row": 4, "source_format": "fhir"}
NOTE = "Seen today. He has high\nblood pressure for years. Hypertension is stable.\nNo Asthmatic signs."


def splitter(**shares: Any) -> Splitter:
    return Splitter(**{"validation_share": 0.0, "test_share": 0.0, **shares})


def test_phrase_rows() -> None:
    assert phrase_pair({"phrase": "HBP", "code": "i10", "split": "test"}) == Pair("HBP", "I10", split="test")
    good = {"phrase": "x", "code": "I10"}
    for row in ({"code": "I10"}, {**good, "phrase": " "}, {**good, "code": None}, {**good, "split": "dev"}):
        with pytest.raises(RecordError):
            phrase_pair(row)


def test_conditions_with_one_icd_code_give_their_displays() -> None:
    icd = {"system": "ICD-10-CM", "code": "I10", "display": "Essential hypertension"}
    snomed = {"system": "SNOMED CT", "code": "38341003", "display": "Hypertensive disorder"}
    row = {**SOURCE, "patient_id": "p", "encounter_id": "e", "codings": [icd, snomed]}
    assert [(p.phrase, p.code, p.owner) for p in condition_pairs(row)] == [
        ("Essential hypertension", "I10", "p"),
        ("Hypertensive disorder", "I10", "p"),
    ]
    assert condition_pairs({**row, "codings": [snomed]}) == []
    assert condition_pairs({**row, "codings": [icd, {**icd, "code": "I11.9"}]}) == []
    assert condition_pairs({**SOURCE, "codings": [icd]})[0].owner == "d:4"


def test_codes_reach_a_note_by_its_claim_and_its_encounter(shelf: Any) -> None:
    icd = "ICD-10-CM"
    conditions = [{"encounter_id": "e", "codings": [{"system": icd, "code": "J45.909"}, {"system": "SNOMED CT", "code": "1"}]}]
    diagnoses = [{"system": icd, "code": "I10"}, {"system": "ICD-9-CM", "code": "401.9"}]
    claims = [{"claim_id": "c", "encounter_id": None, "diagnoses": diagnoses}]
    links = linked_codes(conditions, claims)
    assert links == {"encounter:e": ["J45.909"], "claim:c": ["I10"]}
    row = {**SOURCE, "document_id": "n", "patient_id": None, "encounter_id": "e", "claim_id": "c", "text": NOTE}
    pairs, absent = document_pairs(row, links, shelf)
    assert absent == ["J45.909"], "Asthmatic is another word"
    assert pairs == [Pair("high\nblood pressure", "I10", "He has high\nblood pressure for years.", "e", None)]


def test_context_is_a_sentence_of_bounded_length_around_the_mention(shelf: Any) -> None:
    text = "First one. " + "word " * 200 + "hypertension " + "more " * 200 + "end. Last one."
    row = {**SOURCE, "document_id": "n", "patient_id": "p", "encounter_id": None, "claim_id": "c", "text": text}
    pairs, _ = document_pairs(row, {"claim:c": ["I10"]}, shelf)
    context = pairs[0].context or ""
    assert "hypertension" in context and len(context) <= MAX_CONTEXT_CHARACTERS
    assert set(context.split()) == {"word", "hypertension", "more"}, "only whole words"


def test_answer_is_the_letter_of_the_rank_at_which_the_code_was_found(shelf: Any) -> None:
    pairs = [Pair("heart disease", "I11.9"), Pair("essential hypertension", "I11.9"), Pair("something", "Z99.9")]
    made, dropped = build_examples(pairs, shelf, splitter(), 3)
    assert [one.example.answer for one in made] == ["A", "B", ""], "the last is kept for retrieval to learn"
    assert dropped == [Drop("train", "not_retrieved")]
    assert made[0].example.prompt.startswith("Diagnosis: heart disease\nA. Hypertensive heart disease")
    assert shelf.searches == 1, "one search for all pairs"
    assert build_examples(pairs, shelf, splitter(), 3)[0] == made, "ids are stable"
    assert len({one.example.example_id for one in made}) == 3


def test_a_measured_category_never_reaches_training_through_a_patient(shelf: Any) -> None:
    measured = splitter(held_out=frozenset({"I10"}))
    pairs = [Pair("essential hypertension", "I10", owner="p", patient_id="p"), Pair("essential hypertension", "I10")]
    made, dropped = build_examples(pairs, shelf, measured, 3)
    assert [one.example.split for one in made] == ["test"] and made[0].example.patient_id is None
    assert dropped == [Drop("train", "held_out_category")]


def test_question_leaves_candidates_out(shelf: Any) -> None:
    made, _ = build_examples([Pair("essential hypertension", "I10", "Has essential hypertension.", "p")], shelf, splitter(), 2)
    assert made[0].question == "essential hypertension\nHas essential hypertension."
