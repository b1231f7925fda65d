"""Billed diagnoses in a file: what was put in comes out, in order, and the file names no patient."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.coding.billed import written

CLAIMS = [("claim p1 c1", [{"code": "I10"}]), ("claim p2 c1", [{"code": "E11.9"}]), ("claim p1 c1", [{"code": "Z00.00"}, {"code": "I10"}])]


def test_claims_of_one_key_come_together(tmp_path: Path) -> None:
    with written(str(tmp_path), CLAIMS) as made:
        billed = pickle.loads(pickle.dumps(made))
        assert [one["code"] for one in billed["claim p1 c1"]] == ["I10", "Z00.00", "I10"]
        assert billed.get("claim p2 c1") == [{"code": "E11.9"}] and billed.get("claim p3 c1") is None and len(billed) == 2
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"E11.9" in content and b"claim p1" not in content and b"p2" not in content
    assert list(tmp_path.iterdir()) == []


def test_on_an_object_store(tmp_path: Path) -> None:
    uri = f"memory://billed-{tmp_path.name}"
    with written(uri, CLAIMS) as made:
        billed = pickle.loads(pickle.dumps(made))
        assert billed["claim p2 c1"] == [{"code": "E11.9"}]
    with pytest.raises(Exception, match="no such file"):
        _ = pickle.loads(pickle.dumps(made))["claim p2 c1"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.lists(st.dictionaries(st.just("code"), st.text()), max_size=3)), max_size=20))
def test_as_a_dictionary_would(tmp_path_factory: pytest.TempPathFactory, claims: list[tuple[str, list[dict[str, str]]]]) -> None:
    expected: dict[str, list[dict[str, str]]] = {}
    for key, found in claims:
        expected.setdefault(key, []).extend(found)
    with written(str(tmp_path_factory.mktemp("billed")), claims) as billed:
        assert {key: billed[key] for key in expected} == expected
