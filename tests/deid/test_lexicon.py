"""A listed word needs less of the tagger's certainty; ordinary words in small letters need more than it has."""

from __future__ import annotations

import numpy as np
import pytest
from nosology.deid.languages import language
from nosology.deid.lexicon import RATIO, listed
from nosology.deid.ner import Tokens
from nosology.records import Span

EN = language("en")


def scored(text, **inside):
    """Tokens of the words of a text, each with what the tagger gives it."""
    starts, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        starts.append(at)
        at += len(word)
    ends = [start + len(word) for start, word in zip(starts, text.split(), strict=True)]
    probabilities = [inside.get(word, 0.0) for word in text.split()]
    return Tokens(
        np.zeros(len(starts), np.int32), np.array(starts), np.array(ends), np.zeros(len(starts), np.int8),
        np.array(probabilities, np.float32), np.zeros(len(starts), np.int16),
    )  # fmt: skip


def found(text, thresholds=None, **inside):
    spans = listed(text, scored(text, **inside), EN, thresholds or {"NAME": 0.2, "LOCATION": 0.2})
    return [(text[s.start : s.end], s.label) for s in spans]


@pytest.mark.parametrize(
    ("text", "word", "label"),
    [("limp since Monday Svetlana fever", "Svetlana", "NAME"), ("rash on return Ouagadougou", "Ouagadougou", "LOCATION"),
     ("seen with Zoë today", "Zoë", "NAME")],
)  # fmt: skip
def test_a_listed_word_needs_less(text, word, label):
    assert found(text, **{word: 0.02}) == [(word, label)]
    assert found(text, **{word: 0.005}) == []
    assert found(text.replace(word, word.lower()), **{word.lower(): 0.02}) == []
    assert found(text.replace(word, word.upper()), **{word.upper(): 0.02}) == []


def test_the_odds_are_multiplied_and_a_threshold_of_one_finds_nothing():
    least = 0.2 / (RATIO - (RATIO - 1) * 0.2)
    assert found("Svetlana fever", Svetlana=least * 1.01) and not found("Svetlana fever", Svetlana=least * 0.99)
    assert not found("Svetlana fever", {"NAME": 1.0}, Svetlana=0.99)
    assert not found("Svetlana fever", {"LOCATION": 0.2}, Svetlana=0.99)


@pytest.mark.parametrize("word", ["Willebrand", "Sapien", "Humira", "Fever", "Aspirin", "Unlistedname"])
def test_what_is_on_no_list_of_names_is_left_to_the_tagger(word):
    assert found(f"about {word} today", **{word: 0.1}) == []


def test_a_long_word_is_walked_through_once():
    """Unbroken text in a script without blanks is one word of thousands of tokens."""
    looked = 0

    class Counted(str):
        def __getitem__(self, at):
            nonlocal looked
            looked += 1
            return super().__getitem__(at)

    text = Counted("中" * 5_000)
    number = len(text)
    tokens = Tokens(
        np.zeros(number, np.int32), np.arange(number), np.arange(1, number + 1), np.zeros(number, np.int8),
        np.full(number, 0.5, np.float32), np.zeros(number, np.int16),
    )  # fmt: skip
    assert listed(text, tokens, EN, {"NAME": 0.2, "LOCATION": 0.2}) == []
    assert looked < 4 * number


@pytest.mark.parametrize(
    ("text", "value", "label", "kept"),
    [
        ("Call Svetlana about the lighthouse, says Igor", "lighthouse", "NAME", True),
        ("call svetlana about the lighthouse", "lighthouse", "NAME", False),  # a text without capitals says nothing by a small letter
        ("Call her about nkechi, says Igor", "nkechi", "NAME", False),
        ("seen Igor on 7-27 at home", "7-27", "DATE", False),
        ("give Igor 7-10 days", "7-10", "DATE", True),
        ("signs as Svetlana Petrova there", "Svetlana Petrova", "DATE", False),  # a name of the wrong class
        ("signs as Marfan there", "Marfan", "DATE", True),
        ("login is tam.h@board there", "tam.h@board", "ID", False),
        ("by NICE and von Willebrand type 2B", "von Willebrand", "NAME", True),
        ("speaks Turkish at home", "Turkish", "LOCATION", True),
        # an eponym or an ordinary word is a person where something shows one
        ("Spoke with Ada.", "Ada", "NAME", False),
        ("Ada tolerated it", "Ada", "NAME", False),
        ("follow ADA targets", "ADA", "NAME", True),
        ("Attending: Parkinson", "Parkinson", "NAME", False),
        ("Lewy agrees with the plan", "Lewy", "NAME", False),
        ("Foley came out", "Foley", "NAME", True),
        ("Interpreter: Spanish", "Spanish", "NAME", True),
        ("father Parkinson, mother Hodgkin", "Hodgkin", "NAME", True),
        ("Signed: Parkinson, MD", "Parkinson", "NAME", False),
        ("April is doing well", "April", "NAME", False),
        ("In April was better", "April", "NAME", True),
        ("seen by Dr. May today", "May", "NAME", False),
        ("called Dr. May need CT", "May", "NAME", True),
        ("seen by the Dr. He is fine", "He", "NAME", True),
        ("Still reports pain", "Still", "NAME", True),
        ("Patient X was seen", "X", "NAME", True),
        ("If Igor in cards agrees", "cards", "NAME", True),
    ],
)
def test_what_the_tagger_may_not_take(text, value, label, kept):
    at = text.index(value)
    assert EN.keeps(text, Span(start=at, end=at + len(value), label=label, score=0.9, source="tagger")) is kept
