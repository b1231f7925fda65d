import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.deid.languages import language
from nosology.deid.resolve import repeated, resolve, trimmed, widened
from nosology.deid.spelling import Folded, ends_sentence
from nosology.records import Span

TEXTS = st.text(alphabet="ab Z9.,\n-é漢", max_size=60)

ENGLISH = language("en")


@st.composite
def findings(draw):
    text = draw(TEXTS)
    places = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(places, places, st.sampled_from(["NAME", "DATE", "ID"]), st.floats(0, 1)), max_size=12))
    return text, [Span(start=min(a, b), end=max(a, b), label=label, score=score) for a, b, label, score in spans]


@given(findings())
def test_resolved_spans_are_disjoint_ordered_and_lose_no_letter(case):
    text, spans = case
    found = resolve(text, spans)
    assert all(0 <= s.start < s.end <= len(text) for s in found)
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    covered = {i for s in found for i in range(s.start, s.end)}
    given_chars = {i for s in spans for i in range(s.start, s.end) if text[i].isalnum()}
    assert given_chars <= covered
    allowed = {i for s in spans for i in range(s.start, s.end)}
    # nothing but a blank or a full stop between two of one class is added
    assert all(text[i] in " ." for i in covered - allowed)


@given(findings())
def test_resolve_is_idempotent(case):
    text, spans = case
    once = resolve(text, spans)
    assert resolve(text, once) == once


def test_overlap_takes_the_surest_class():
    spans = [Span(start=0, end=8, label="ID", score=0.6), Span(start=0, end=11, label="SSN", score=1.0)]
    assert [(s.start, s.end, s.label) for s in resolve("123-45-6789", spans)] == [(0, 11, "SSN")]


def test_trimmed_keeps_an_initial_but_no_full_stop():
    assert trimmed("Jane Q. ", Span(start=0, end=8, label="NAME")).end == 7
    assert trimmed("in May.", Span(start=3, end=7, label="DATE")).end == 6
    assert trimmed(" , ", Span(start=0, end=3, label="NAME")) is None


def test_a_name_found_once_is_found_everywhere():
    text = "Dr. Okonkwo came. Later Okonkwo left. Parkinson disease."
    again = repeated(
        Folded(text), [Span(start=4, end=11, label="NAME", score=1.0), Span(start=38, end=47, label="NAME", score=1.0)], ENGLISH
    )
    assert [text[s.start : s.end] for s in again] == ["Okonkwo"]


def test_what_a_tagger_marks_and_the_rule_does_not_name():
    for text, label in [
        ("1977", "DATE"),
        ("the 1990s", "DATE"),
        ("2016-2018", "DATE"),
        ("3 weeks", "DATE"),
        ("45", "AGE"),
        ("E11.65", "ID"),
        ("120/80", "ID"),
        ("he", "NAME"),
    ]:
        assert ENGLISH.keeps(text, Span(start=0, end=len(text), label=label)), text
    for text, label in [("March 3", "DATE"), ("92", "AGE"), ("A-99213", "ID"), ("Okonkwo", "NAME")]:
        assert not ENGLISH.keeps(text, Span(start=0, end=len(text), label=label)), text
    text = "Parkinson disease and Wilson disease, not Mr. Wilson"
    wilson = [m.span() for m in re.finditer("Wilson", text)]
    assert ENGLISH.keeps(text, Span(start=0, end=9, label="NAME"))
    assert ENGLISH.keeps(text, Span(start=wilson[0][0], end=wilson[0][1], label="NAME"))
    assert not ENGLISH.keeps(text, Span(start=wilson[1][0], end=wilson[1][1], label="NAME"))


@pytest.mark.parametrize(
    ("text", "name", "wider"),
    [
        ("Will Nguyen came", "Nguyen", ["Will Nguyen"]),
        ("then May Smith came", "Smith", ["May Smith"]),
        ("in may Smith came", "Smith", []),
        ("WILL Smith come", "Smith", []),
        ("Then Smith came", "Smith", []),  # no given name
        ("Bjørn Åström was here", "Bjørn", ["Bjørn Åström"]),
        ("Svetlana Fever since Monday", "Svetlana", []),
        ("Svetlana Monday", "Svetlana", []),
        ("Svetlana Lipitor", "Svetlana", []),
        ("Rose Bengal positive", "Rose", []),  # no lone given name: an ordinary word
        ("Svetlana Ambulatedly The Hall", "Svetlana", []),  # all words have capitals
        ("Svetlana Q. came", "Svetlana", []),
        ("Unlistedname Åström", "Unlistedname", []),
    ],
)
def test_a_name_takes_the_given_name_before_it_and_the_unknown_word_behind(text, name, wider):
    start = text.index(name)
    found = widened(text, [Span(start=start, end=start + len(name), label="NAME", score=0.4)], ENGLISH)
    assert [text[s.start : s.end] for s in found] == wider
    assert not widened(text, [Span(start=start, end=start + len(name), label="LOCATION")], ENGLISH)


WORDS = ["Okonkwo", "okonkwo", "Abara", "O'Dea", "Müller", "O.", "A", "came,"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.booleans()), max_size=6))
def test_names_that_stand_once_have_no_other_place(words):
    """The short way out of `repeated` finds what the search finds; some words were found."""
    text, named = "", []
    for word, is_found in words:
        if is_found and word[0].isalpha():
            named.append(Span(start=len(text), end=len(text) + len(word), label="NAME", score=0.9))
        text += f"{word} "
    named = resolve(text, named)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_once", "_apart"):
            patch.setattr(f"nosology.deid.resolve.{name}", lambda *_: False)
        searched = repeated(Folded(text), named, ENGLISH)
    assert repeated(Folded(text), named, ENGLISH) == searched


@pytest.mark.parametrize(
    ("text", "ends"),
    [("Ofori. Adams", True), ("Tran. Meds:", True), ("f/u. Adams", True), ("St. Mary", False), ("J. Smith", False), ("Wu, Li", False)],
)
def test_a_point_ends_a_sentence_or_a_short_form(text, ends):
    at = min(n for n, c in enumerate(text) if c in ".,")
    assert ends_sentence(text, at, at + 2) == ends
