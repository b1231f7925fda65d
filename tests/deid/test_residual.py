"""The sample that a person reads: what it proves, and the form that comes back."""

import json
import re

import pytest
from nosology.deid import LABELS, residual
from nosology.deid.policies import WIDER
from nosology.errors import InputError

FULL = {"read": 40, "notes_with_identifier": 0, "categories": {}, "reader": "Ada Byron, Example Hospital", "date": "2026-05-04"}


@pytest.mark.parametrize(("found", "read"), [(0, 1), (0, 50), (0, 300), (1, 50), (3, 200)])
def test_the_bound_is_where_so_few_are_found_in_one_case_of_twenty(found, read):
    from scipy.stats import binom

    limit = residual.bound(found, read)
    assert binom.cdf(found, read, limit) == pytest.approx(0.05)
    if not found and read > 20:
        assert limit == pytest.approx(3 / read, rel=0.08), "the rule of three"


def test_the_bound_of_nothing_is_everything():
    assert residual.bound(0, 0) == residual.bound(4, 4) == 1.0
    with pytest.raises(ValueError):
        residual.bound(5, 4)


def test_notes_are_drawn_by_the_seed():
    assert residual.drawn(1000, 50, 1) == residual.drawn(1000, 50, 1) != residual.drawn(1000, 50, 2)
    assert residual.drawn(1000, 50, 1) != sorted(residual.drawn(1000, 50, 1)), "whoever stops early has read a sample"
    assert len(set(residual.drawn(1000, 50, 1))) == 50 and sorted(residual.drawn(3, 50, 1)) == [0, 1, 2]


def test_categories_are_the_18():
    assert set(residual.CATEGORIES) == set(LABELS.values()) and len(residual.CATEGORIES) == 18
    assert residual.categories("safe_harbor") == residual.CATEGORIES


def test_under_meddocan_the_reader_looks_for_what_it_adds(tmp_path):
    looked_for = residual.categories("meddocan")
    assert looked_for.keys() - residual.CATEGORIES.keys() == WIDER
    page = residual.sheet([("p-1", "a cough")], 10, {}, [], [], looked_for)
    assert all(f"{name} {name.lower()}" in page for name in WIDER)
    given = {"notes_with_identifier": 1, "categories": {"SEX": 1, "RELATIVE": 2, "PROFESSION": 1}}
    assert filled(tmp_path, looked_for=looked_for, **given)["categories"] == given["categories"]
    with pytest.raises(InputError, match="A, B.*R\\)"):
        filled(tmp_path, **given)


def test_the_sheet_shows_the_notes_and_what_they_prove():
    page = residual.sheet(
        [("p-1", "[NAME] has <b>asthma</b>"), ("p-2", "a cough")], 1000, {"seed": "0"}, ["DEVICE"], ["NAME"], residual.CATEGORIES
    )
    assert (
        "[NAME] has &lt;b&gt;asthma&lt;/b&gt;" in page
        and "<b>asthma" not in page
        and "keeps DEVICE" in page
        and "No tagger looked for NAME" in page
    )
    assert "dates were moved" not in page and "dates were moved" in residual.sheet(
        [("p", "")], 9, {}, [], [], residual.CATEGORIES, moved=True
    )
    assert page.count("Identifier left?") == 2 and "&lt; 77.64 %" in page and "signature" in page
    assert not re.search(r"<script|https?://|src=", page), "nothing is loaded and nothing runs"


def filled(tmp_path, digest="d" * 64, looked_for=residual.CATEGORIES, **changes):
    path = tmp_path / "form.json"
    path.write_text(json.dumps({**json.loads(residual.form_bytes("d" * 64, 40, 1000, 7)), **FULL, **changes}))
    return residual.read_form(str(path), digest, looked_for)


def test_a_filled_form_is_read(tmp_path):
    got = filled(tmp_path)
    assert got["at_most"] == pytest.approx(residual.bound(0, 40), abs=1e-6) and got["reader"] == FULL["reader"] and got["seed"] == 7
    worse = filled(tmp_path, notes_with_identifier=2, categories={"A": 2, "C": 1})
    assert worse["at_most"] > got["at_most"] and worse["categories"] == {"A": 2, "C": 1}


@pytest.mark.parametrize(("changes", "field"), [
    ({"read": None}, "read"), ({"read": 41}, "read"), ({"read": 0}, "read"), ({"read": True}, "read"),
    ({"notes_with_identifier": None}, "notes_with_identifier"), ({"notes_with_identifier": 41}, "notes_with_identifier"),
    ({"categories": {"A": 1}}, "categories"), ({"notes_with_identifier": 1}, "categories"), ({"categories": {"Z": 1}, "notes_with_identifier": 1}, "categories"),
    ({"notes_with_identifier": 3, "categories": {"A": 2}}, "categories"),
    ({"reader": " "}, "reader"), ({"date": "May"}, "date"), ({"sheet": "e" * 64}, "sheet"),
])  # fmt: skip
def test_a_form_that_says_too_little_is_refused(changes, field, tmp_path):
    with pytest.raises(InputError) as caught:
        filled(tmp_path, **changes)
    assert caught.value.field == field


def test_the_form_as_it_is_handed_out_is_no_result(tmp_path):
    (tmp_path / "form.json").write_bytes(residual.form_bytes("d" * 64, 40, 1000, 7))
    with pytest.raises(InputError, match="read"):
        residual.read_form(str(tmp_path / "form.json"), "d" * 64, residual.CATEGORIES)
