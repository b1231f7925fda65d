"""Offsets map from the old text to the new one and back."""

from hypothesis import given
from hypothesis import strategies as st
from nosology.deid.offsets import Rewritten

PIECES = st.lists(st.tuples(st.text("ab", max_size=4), st.text("xy", min_size=1, max_size=4), st.text("*#", max_size=6)), max_size=6)


def made(pieces, tail="end"):
    """An old text, and the new one with its edits."""
    old, new, edits = "", "", []
    for kept, value, replacement in pieces:
        old, new = old + kept, new + kept
        edits.append((len(old), len(old) + len(value), len(new), len(new) + len(replacement)))
        old, new = old + value, new + replacement
    return old + tail, Rewritten(new + tail, tuple(edits))


@given(PIECES)
def test_outside_of_edits_both_ways_are_exact(pieces):
    old, new = made(pieces)
    inside = {i for a, b, _, _ in new.edits for i in range(a, b)}
    for place in set(range(len(old) + 1)) - inside:
        assert place == len(old) or new.text[new.moved(place)] == old[place] or any(c == d for _, _, c, d in new.edits)
        if not any(a == place or b == place for a, b, _, _ in new.edits):
            assert new.back(new.moved(place)) == place
    new_inside = {i for _, _, c, d in new.edits for i in range(c, d)}
    for place in set(range(len(new.text))) - new_inside:
        assert old[new.back(place)] == new.text[place]
        assert new.moved(new.back(place)) == place
    assert new.moved(len(old)) == len(new.text) and new.back(len(new.text)) == len(old)


@given(PIECES)
def test_inside_of_an_edit_a_place_maps_to_its_begin(pieces):
    _, new = made(pieces)
    for a, b, c, d in new.edits:
        assert all(new.moved(place) == c for place in range(a, b)) and all(new.back(place) == a for place in range(c, d))


@given(PIECES)
def test_both_ways_are_monotone(pieces):
    old, new = made(pieces)
    there, back = [new.moved(i) for i in range(len(old) + 1)], [new.back(i) for i in range(len(new.text) + 1)]
    assert there == sorted(there) and back == sorted(back)


@given(PIECES, st.data())
def test_ranges_hold_what_they_touch(pieces, data):
    old, new = made(pieces)
    start = data.draw(st.integers(0, len(old)))
    end = data.draw(st.integers(start, len(old)))
    low, high = new.moved_range(start, end)
    assert 0 <= low <= high <= len(new.text) or start == end
    for a, b, c, d in new.edits:
        if a < end and start < b:
            assert low <= c and d <= high
    for a, b, c, d in new.edits:  # the whole piece and back is the piece
        assert new.moved_range(a, b) == (c, d)
        if c < d:
            assert new.back_range(c, d) == (a, b)


@given(PIECES, st.lists(st.integers(0, 40), max_size=6))
def test_two_rewritings_compose(pieces, cuts):
    old, first = made(pieces)
    places = sorted({min(cut, len(first.text)) for cut in cuts})
    second, length, at = [], 0, 0
    text = ""
    for a, b in zip(places[::2], places[1::2], strict=False):
        text += first.text[at:a]
        second.append((a, b, len(text), len(text) + 2))
        text, at = text + "--", b
    again = Rewritten(text + first.text[at:], tuple(second))
    through = [again.moved(first.moved(i)) for i in range(len(old) + 1)]
    assert through == sorted(through) and through[-1] == len(again.text) and length == 0
    for i, place in enumerate(through[:-1]):
        kept = not any(a <= i < b for a, b, _, _ in first.edits) and not any(a <= first.moved(i) < b for a, b, _, _ in second)
        assert not kept or any(c == d == first.moved(i) for _, _, c, d in first.edits) or again.text[place] == old[i]
