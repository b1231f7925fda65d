"""Scores of notes by hand, and the files they are read from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nosology.errors import InputError
from nosology.evaluation.codes import (
    Gold,
    Predicted,
    by_note,
    compare_notes,
    read_gold,
    read_predictions,
    score_notes,
)
from nosology.records import Evidence, PredictedCode, Prediction, to_table

GOLD = {
    "a": Gold(frozenset({"I10", "E11.9"}), frozenset({"Z79.84"})),
    "b": Gold(frozenset({"J45.909"})),
    "c": Gold(frozenset({"M10.9"})),
}
FOUND = {
    "a": [Predicted("I10", 0.9, "auto"), Predicted("E11.65", 0.6), Predicted("Z79.84", 0.7), Predicted("R05", 0.1, "reject")],
    "b": [Predicted("J45.901", 0.8, "auto")],
    "x": [Predicted("I10", 0.9, "auto")],
}


def test_scores_by_hand() -> None:
    scores = score_notes(GOLD, FOUND, ancestors=lambda code: [code[:3]])
    assert (scores.num_notes, scores.num_gold, scores.num_predicted) == (3, 4, 4)
    # code: right I10 and optional Z79.84; wrong E11.65, J45.901; missed E11.9, J45.909, M10.9
    assert scores.code.precision.value == pytest.approx(2 / 4) and scores.code.recall.value == pytest.approx(1 / 4)
    assert scores.code.f1.value == pytest.approx(2 * 0.5 * 0.25 / 0.75)
    # category: right I10, E11, J45 and optional Z79; missed M10
    assert scores.category.precision.value == 1.0 and scores.category.recall.value == pytest.approx(3 / 4)
    # labels I10, Z79.84 right; E11.9, E11.65, J45.909, J45.901, M10.9 not
    assert scores.macro_f1 == pytest.approx(2 / 7)
    # with categories (I10 is its own): gold 9 nodes, predicted 7, in common I10, E11, Z79, Z79.84, J45
    assert scores.hierarchical is not None
    assert (scores.hierarchical.precision, scores.hierarchical.recall) == (5 / 7, 5 / 9)
    assert scores.auto_share == pytest.approx(2 / 5) and scores.auto_precision.value == 0.5
    assert sum(b.n for b in scores.reliability) == 4
    assert scores.calibration_error == pytest.approx((0.1 + 0.6 + 0.3 + 0.8) / 4)
    figures = scores.figures()
    assert figures["micro_f1"] == 0.3333 and figures["notes"] == 3 and figures["hierarchical_f1"] == 0.625
    assert scores.code.f1.low <= scores.code.f1.value <= scores.code.f1.high


def test_a_perfect_coder_and_an_empty_one() -> None:
    perfect = {k: [Predicted(c) for c in g.core] for k, g in GOLD.items()}
    scores = score_notes(GOLD, perfect)
    assert scores.code.f1.value == scores.category.f1.value == scores.macro_f1 == 1.0 and scores.hierarchical is None
    nothing = score_notes(GOLD, {})
    assert nothing.code.f1.value == 0.0 and nothing.num_predicted == 0 and nothing.reliability is None and nothing.auto_precision is None
    gain = compare_notes(GOLD, {}, perfect)
    assert (gain.value, gain.low, gain.high) == (1.0, 1.0, 1.0)
    assert compare_notes(GOLD, FOUND, FOUND).value == compare_notes(GOLD, FOUND, FOUND).high == 0.0


def lines(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_predictions_do_not_say_is_not_made_up() -> None:
    figures = score_notes(GOLD, {k: [Predicted(c) for c in g.core] for k, g in GOLD.items()}).figures()
    assert figures["micro_f1"] == 1.0
    assert figures["auto_share"] is figures["auto_precision"] is figures["calibration_error"] is None


def test_a_certainty_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "g.jsonl", {"id": "a", "codes": [{"code": "I10", "certainty": "sure"}]})
    with pytest.raises(InputError, match="certainty.*line 1: it is none of core, optional"):
        read_gold(path)


def test_codes_that_the_release_lacks_bring_their_category() -> None:
    from nosology.terminology.codeset import code_set

    above = code_set().ancestors
    assert above("E11.99999") == ("E11", *above("E11")) and above("ZZZ9") == () == above("250.00")


def test_gold_in_both_forms(tmp_path: Path) -> None:
    codes = [{"code": "I10", "certainty": "core"}, {"code": "Z79.84", "certainty": "optional"}, {"code": "E11.9"}, "R05"]
    got = read_gold(lines(tmp_path / "g.jsonl", {"id": 1, "codes": codes}, {"id": "b", "core": ["I10"], "optional": ["I10", "R05"]}))
    assert got == {
        "1": Gold(frozenset({"I10", "E11.9", "R05"}), frozenset({"Z79.84"})),
        "b": Gold(frozenset({"I10"}), frozenset({"R05"})),
    }


EMPTY = {"id": "a", "codes": []}


@pytest.mark.parametrize("rows", [({"id": "a"},), ([],), ({"id": "a", "codes": [3]},), (EMPTY, EMPTY)])
def test_bad_gold_is_refused_with_its_line_and_without_its_content(tmp_path: Path, rows: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=f"line {len(rows)}"):
        read_gold(lines(tmp_path / "g.jsonl", *rows))
    (tmp_path / "h.jsonl").write_text("{secret")
    with pytest.raises(InputError) as refused:
        read_gold(str(tmp_path / "h.jsonl"))
    assert "secret" not in str(refused.value)


def test_predictions_from_lines_and_from_the_table(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = lines(tmp_path / "p.jsonl", {"id": "a", "codes": [{"code": "I10", "confidence": 0.5, "route": "auto"}, "R05"]})
    assert read_predictions(path) == {"a": [Predicted("I10", 0.5, "auto"), Predicted("R05")]}
    with pytest.raises(InputError, match="line 1"):
        read_predictions(lines(tmp_path / "q.jsonl", {"id": "a", "codes": [{"confidence": 1}]}))
    evidence = (Evidence(start=0, end=1, text="x"),)
    code = PredictedCode(code="I10", title="t", confidence=0.5, route="auto", assertion="present", section="plan", evidence=evidence)
    source = {"source_digest": "d", "source_format": "text", "release": "2026-04", "route": "auto"}
    rows = [Prediction(source_row=0, document_id="a", codes=(code,), **source), Prediction(source_row=1, document_id=None, **source)]
    (tmp_path / "t").mkdir()
    pq.write_table(to_table(Prediction, rows), tmp_path / "t" / "part.parquet")
    expected = {"a": [Predicted("I10", 0.5, "auto")]}
    assert read_predictions(str(tmp_path / "t")) == expected == by_note(to_table(Prediction, rows).to_pylist())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no predictions"):
        read_predictions(str(tmp_path / "empty"))
