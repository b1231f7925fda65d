"""Sections, sentences, assertions and exact phrases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.coding.assertion import assertion
from nosology.coding.context import Context, place_side, variant
from nosology.coding.lexicon import Lexicon, lexicon_of
from nosology.coding.mentions import mentions
from nosology.coding.sections import sections, sentences
from nosology.terminology.codeset import CodeSet, code_set


@pytest.fixture(scope="module")
def codes() -> CodeSet:
    return code_set()


@pytest.fixture(scope="module")
def lexicon(codes: CodeSet) -> Lexicon:
    return lexicon_of(codes)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CHIEF COMPLAINT\n\nCough.\n\nASSESSMENT AND PLAN\n\nBronchitis.", ["complaint", "assessment"]),
        ("HPI: She coughs.\nPMH: Asthma.\nA/P: Bronchitis.", ["history", "past", "assessment"]),
        ("S: no heading known\nA: Bronchitis.\nPlan:\nRest.", ["body", "assessment", "plan"]),
        ("# Chief Complaint\nCough\n\n# Assessment and Plan\nRest", ["complaint", "assessment"]),
        ("Family History\nMother had asthma.", ["family"]),
        ("The patient has asthma.\nPlan to rest is agreed.", ["body"]),
        ("Physical Examination:\nNormal.\nCurrent Medications:\nNone.", ["exam", "medications"]),
        ("", []),
    ],
)
def test_sections(text: str, names: list[str]) -> None:
    assert [section.name for section in sections(text)] == names


@given(
    st.lists(
        st.sampled_from(["ASSESSMENT", "PLAN:", "HPI: cough.", "1. Asthma; stable. Rest.", "• No fever.", "", "  ", "Dr. Lee said so."]),
        max_size=8,
    )
)
@settings(deadline=None)
def test_sections_and_sentences_never_overlap_and_stay_inside(lines: list[str]) -> None:
    text = "\n".join(lines)
    place = 0
    for section in sections(text):
        assert place <= section.start < section.end <= len(text)
        place = section.start
        for sentence in sentences(text, section):
            assert place <= sentence.start < sentence.end <= section.end
            assert text[sentence.start : sentence.end] == text[sentence.start : sentence.end].strip() != ""
            place = sentence.end


ASSERTIONS = [
    ("She has [pneumonia].", "present"),
    ("No evidence of [pneumonia] on the film.", "negated"),
    ("Cough, [no pneumonia].", "negated"),
    ("[Possible pneumonia].", "uncertain"),
    ("Denies [chest pain], nausea or vomiting.", "negated"),
    ("Denies fever, nausea or [vomiting].", "negated"),
    ("No fever, but she has a [cough].", "present"),
    ("[Pneumonia] was ruled out.", "negated"),
    ("[Fracture] is unlikely.", "negated"),
    ("Right knee pain, possible [ligament strain].", "uncertain"),
    ("Findings are consistent with [pneumonia].", "uncertain"),
    ("I am concerned about [pneumonia].", "uncertain"),
    ("[Pneumonia] versus bronchitis.", "uncertain"),
    ("Return if you develop [fever].", "hypothetical"),
    ("The risks include [infection] and bleeding.", "hypothetical"),
    ("He was vaccinated for [COVID-19].", "hypothetical"),
    ("Her mother had [breast cancer].", "family"),
    ("There is a family history of [melanoma].", "family"),
    ("He has a history of [pneumonia].", "historical"),
    ("She had [pneumonia] 3 years ago.", "historical"),
    ("The patient has a history of [hypertension].", "present"),
    ("A 58-year-old male with [pneumonia].", "present"),
    ("Tobacco Use: Non-[smoker].", "negated"),
]


@pytest.mark.parametrize(("marked", "expected"), ASSERTIONS)
def test_assertions(marked: str, expected: str) -> None:
    start, end = marked.index("["), marked.index("]") - 1
    assert assertion(marked.replace("[", "").replace("]", ""), start, end) == expected


def test_the_section_gives_the_assertion() -> None:
    assert assertion("Asthma.", 0, 6, "family") == "family"
    assert assertion("Cholecystectomy.", 0, 15, "surgical") == "historical"


@pytest.mark.parametrize(
    ("phrase", "code"),
    [
        ("hypertension", "I10"),
        ("Type 2 diabetes mellitus without complications", "E11.9"),
        ("knee osteoarthritis", "M17.9"),
        ("left carpal tunnel syndrome", "G56.00"),
    ],
)
def test_exact_phrases(lexicon: Lexicon, phrase: str, code: str) -> None:
    match = lexicon.lookup(phrase)
    assert match is not None and match.code == code


def test_the_longest_phrase_wins_and_has_its_place(lexicon: Lexicon) -> None:
    text = "Long-standing iron deficiency anemia, treated."
    (match,) = lexicon.matches(text, 100)
    assert (match.code, text[match.start - 100 : match.end - 100]) == ("D50.9", "iron deficiency anemia")


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("ASSESSMENT AND PLAN\n\n1. Hypertension, uncontrolled.\n- Continue lisinopril.", ["Hypertension"]),
        ("ASSESSMENT\n\nRight knee pain, possible medial collateral ligament strain.", ["Right knee pain"]),
        ("ASSESSMENT\n\nChest pain and hypertension.", ["Chest pain", "hypertension"]),
        ("PLAN\n\nWe will continue lisinopril for her hypertension.", []),
        ("HPI:\nHypertension.", []),
    ],
)
def test_problem_titles(lexicon: Lexicon, text: str, phrases: list[str]) -> None:
    assert [mention.phrase for mention in mentions(text, lexicon) if mention.kind == "problem"] == phrases


def test_side_comes_from_the_phrase_then_the_sentence_then_the_note() -> None:
    note = Context.of(
        "Pain in the left knee for a week.\nASSESSMENT\nKnee sprain.\nRight hip pain. Hip bursitis of both hips.", "female", 50
    )
    place = note.text.index("Knee sprain")
    assert note.side(place, place + 11, "Knee sprain") == "left"
    assert note.side(place, place + 11, "right knee sprain") == "right"
    assert Context.of("Rash.", None, None).side(0, 4, "Rash") is None


def test_variants_and_sided_aliases(codes: CodeSet) -> None:
    assert variant("S83.90XA", codes, "right", False) == "S83.91XA"
    assert variant("S83.91XA", codes, "left", True) == "S83.92XD"
    assert variant("I10", codes, "left", False) == "I10"
    assert place_side("M17.1#", "M17.10", codes, "left") == "M17.12"
    assert place_side("M17.1#", "M17.10", codes, None) == "M17.10"
    assert place_side("M17.1#", "M17.10", codes, "bilateral") == "M17.11", "no bilateral code: the right one, and its other side beside it"
