"""A row for each rule: what stands in the note, what was proposed, what must come of it."""

from __future__ import annotations

import pytest
from nosology.coding.candidates import Candidate
from nosology.coding.compare import check_codes, compare
from nosology.coding.decide import Proposal, apply_rules, codable, fuse
from nosology.coding.mentions import Mention
from nosology.records import Diagnosis
from nosology.terminology.codeset import code_set


def proposal(code: str, *, kind: str = "problem") -> Proposal:
    mention = Mention(0, 4, "note", kind, "assessment", "present", (0, 4), None, False)  # type: ignore[arg-type]
    return Proposal(code, 0.9, 0.2, "alias", [mention], [(0, 4)])


RULES = [
    ("hypertension and heart failure", "note", ["I10", "I50.9"], {"I11.0", "I50.9"}),
    ("hypertension and kidney disease", "note", ["I10", "N18.30"], {"I12.9", "N18.30"}),
    ("hypertension, heart and kidney", "note", ["I10", "I50.9", "N18.30"], {"I13.0", "I50.9", "N18.30"}),
    ("hypertension alone", "note", ["I10"], {"I10"}),
    ("diastolic heart failure", "chronic diastolic heart failure", ["I50.9"], {"I50.32"}),
    ("systolic dysfunction", "heart failure with systolic dysfunction", ["I50.9"], {"I50.20"}),
    ("heart failure of no type", "heart failure", ["I50.9"], {"I50.9"}),
    ("diabetes and kidney disease", "note", ["E11.9", "N18.30"], {"E11.22", "N18.30"}),
    ("diabetes and neuropathy", "note", ["E11.9", "G62.9"], {"E11.40"}),
    ("diabetes and foot ulcer", "note", ["E11.9", "L97.519"], {"E11.621", "L97.519"}),
    ("diabetes with hyperglycemia", "she has hyperglycemia", ["E11.9"], {"E11.65"}),
    ("diabetes without hyperglycemia", "no hyperglycemia", ["E11.9"], {"E11.9"}),
    ("metformin with diabetes", "takes metformin 500 mg", ["E11.9"], {"E11.9", "Z79.84"}),
    ("metformin without diabetes", "takes metformin 500 mg", ["E28.2"], {"E28.2"}),
    ("metformin refused", "allergic to metformin", ["E11.9"], {"E11.9"}),
    ("insulin that is not taken", "non-insulin dependent", ["E11.9"], {"E11.9"}),
    ("insulin resistance", "has insulin resistance", ["E11.9"], {"E11.9"}),
    ("insulin", "uses insulin glargine", ["E11.9"], {"E11.9", "Z79.4"}),
    ("anticoagulant with fibrillation", "continue warfarin", ["I48.91"], {"I48.91", "Z79.01"}),
    ("anticoagulant with nothing", "continue warfarin", ["R07.9"], {"R07.9"}),
    ("stone in the ureter", "a stone 0.5 cm in the proximal right ureter", ["N20.0"], {"N20.1"}),
    ("stone after ureteroscopy", "stone removed by ureteroscopy", ["N20.0"], {"N20.0"}),
    ("low back", "pain in the lower back", ["M54.9"], {"M54.50"}),
    ("both knees", "note", ["M17.11", "M17.12"], {"M17.11", "M17.12"}),
    ("both sides with a code for both", "note", ["H25.11", "H25.12"], {"H25.13"}),
    ("specific over unspecified", "note", ["M17.9", "M17.11"], {"M17.11"}),
    ("annual examination", "here for her annual exam", ["I10"], {"Z00.01", "I10"}),
    ("annual examination, healthy", "here for her annual exam", [], {"Z00.00"}),
]


@pytest.mark.parametrize(("name", "text", "before", "after"), RULES, ids=[row[0] for row in RULES])
def test_rules(name: str, text: str, before: list[str], after: set[str]) -> None:
    found = apply_rules({code: proposal(code) for code in before}, text, code_set())
    assert set(found) == after
    assert all(0 <= start < end <= len(text) for code in found.values() for start, end in code.evidence)
    assert all(found[code].trail for code in set(found) - set(before)), "a rule that adds a code leaves its name"


def test_a_symptom_of_running_text_goes_when_a_diagnosis_is_named() -> None:
    found = apply_rules({"J18.9": proposal("J18.9"), "R05.9": proposal("R05.9", kind="phrase")}, "note", code_set())
    assert set(found) == {"J18.9"}
    found = apply_rules({"R05.9": proposal("R05.9", kind="phrase")}, "note", code_set())
    assert set(found) == {"R05.9"}


CODABLE = [
    ("present", "assessment", "J18.9", "outpatient", True),
    ("negated", "assessment", "J18.9", "outpatient", False),
    ("family", "history", "J18.9", "inpatient", False),
    ("hypothetical", "plan", "J18.9", "inpatient", False),
    ("uncertain", "assessment", "J18.9", "outpatient", False),
    ("uncertain", "assessment", "J18.9", "inpatient", True),
    ("uncertain", "history", "J18.9", "inpatient", False),
    ("historical", "past", "J18.9", "outpatient", False),
    ("historical", "past", "Z85.3", "outpatient", True),
]


@pytest.mark.parametrize(("said", "section", "code", "setting", "expected"), CODABLE)
def test_what_may_be_coded(said: str, section: str, code: str, setting: str, expected: bool) -> None:
    mention = Mention(0, 4, "note", "phrase", section, said, (0, 4), None, True)  # type: ignore[arg-type]
    assert codable(mention, code, setting) is expected


def test_a_replacement_that_is_only_planned_is_no_status() -> None:
    mention = Mention(0, 4, "note", "phrase", "plan", "present", (0, 4), None, True, True)
    assert not codable(mention, "Z96.651", "outpatient") and codable(mention, "I10", "outpatient")


def test_fusion_weighs_search_and_engine() -> None:
    offered = [Candidate("I10", 0.8, "search"), Candidate("I15.9", 0.8, "search")]
    assert fuse(offered, None) == pytest.approx([0.5, 0.5])
    assert fuse(offered, [0.1, 0.9]) == pytest.approx([0.3, 0.7])
    assert sum(fuse([Candidate("I10", 0.9, "search"), *offered], [0.2, 0.2, 0.6])) == pytest.approx(1)


def test_comparison_with_billed_codes() -> None:
    import datetime

    day = datetime.date(2026, 5, 1)
    billed = [Diagnosis(system="ICD-10-CM", code=code, kind="other") for code in ("I10", "E119", "E11", "ZZZ", "J18.9")]
    billed.append(Diagnosis(system="SNOMED CT", code="38341003", kind="other"))
    rows = [(row.code, row.kind) for row in compare(billed, ["I10", "M17.9"], day, code_set())]
    assert rows == [
        ("E11", "not_billable"), ("ZZZ", "unknown_code"), ("38341003", "other_system"),
        ("I10", "agrees"), ("E11.9", "billed_not_supported"), ("J18.9", "billed_not_supported"), ("M17.9", "supported_not_billed"),
    ]  # fmt: skip
    assert [row.kind for row in check_codes([{"system": "ICD-10-CM", "code": "I10"}], datetime.date(2014, 1, 1), code_set())] == [
        "not_in_force"
    ]
