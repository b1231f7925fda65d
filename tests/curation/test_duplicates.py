"""Duplicates: what measures stays, what trains goes, and nothing else does."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.curation.duplicates import Item, find_duplicates, jaccard, normalise, shingles, signatures

LONG = (
    "the patient returns for follow up of his blood pressure which has been well controlled on lisinopril ten milligrams daily and he "
    "denies any chest pain shortness of breath headache or swelling of the legs since the last visit in the spring of this year"
)


def test_normal_form_ignores_case_marks_and_forms() -> None:
    assert normalise("Type\u00a02  Diabetes, NOS.") == normalise("type 2 diabetes nos") == "type 2 diabetes nos"


def test_shingles_and_jaccard_by_hand() -> None:
    assert shingles("A b c d") == {"a b c", "b c d"} and shingles("Asthma") == {"asthma"}
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset()) == 1.0


def test_exact_and_near_copies_leave_training_and_stay_in_the_measurement() -> None:
    near = LONG.replace("year", "month")
    assert 0.9 <= jaccard(shingles(LONG), shingles(near)) < 1
    items = [
        Item("t1", "train", "Asthma, NOS", "J45.909"),
        Item("t2", "train", near, "I10"),
        Item("t3", "train", "Gout", "M10.9"),
        Item("t4", "train", "gout", "M10.9"),
        Item("t5", "train", "gout", "M10.00"),
        Item("v1", "validation", "asthma nos", "J45.909"),
        Item("m1", "test", "asthma NOS", "J45.909"),
        Item("m2", "test", LONG, "I10"),
    ]
    assert find_duplicates(items, 0.9) == {
        "t1": "exact_across_splits",
        "v1": "exact_across_splits",
        "t2": "near_across_splits",
        "t4": "exact_duplicate",
    }
    assert "t2" not in find_duplicates(items, 0.99)


def test_short_phrases_that_share_most_words_are_not_the_same() -> None:
    items = [Item("a", "test", "Typhoid endocarditis", "A01.02"), Item("b", "train", "Typhoid myocarditis", "A01.02")]
    assert find_duplicates(items, 0.9) == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "validation", "test"]), st.sampled_from(["a b c d e", "a b c d f", "A b, c d e", "x y", "z"])),
        max_size=14,
    ),
    st.randoms(),
)
def test_order_does_not_matter_and_no_text_is_left_in_two_splits(rows: list[tuple[str, str]], shuffler: random.Random) -> None:
    items = [Item(f"{i:02d}", split, text, "A") for i, (split, text) in enumerate(rows)]
    removed = find_duplicates(items, 0.9)
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert find_duplicates(shuffled, 0.9) == removed
    left: dict[str, set[str]] = {}
    for item in items:
        if item.key not in removed:
            left.setdefault(normalise(item.text), set()).add(item.split)
    assert all(len(splits) == 1 for splits in left.values())
    assert {normalise(i.text) for i in items} == set(left), "a text must never vanish altogether"
    assert {normalise(i.text) for i in items if i.split == "test"} == {text for text, splits in left.items() if "test" in splits}


def test_signatures_made_by_workers_give_the_same_answer() -> None:
    texts = [LONG, LONG.replace("year", "month"), "Gout"]
    bare = [Item(str(i), "test" if i == 0 else "train", text, "A") for i, text in enumerate(texts)]
    signed = [Item(i.key, i.split, i.text, i.answer, s) for i, s in zip(bare, signatures(texts), strict=True)]
    assert find_duplicates(bare, 0.9) == find_duplicates(signed, 0.9) == {"1": "near_across_splits"}
