"""Metrics against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.evaluation import metrics
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.preprocessing import MultiLabelBinarizer

LABELS = ["I10", "I11.9", "E11.9", "J45.909"]
SETS = st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(SETS)
def test_micro_and_macro_are_those_of_scikit_learn(pairs: list[tuple[set[str], set[str]]]) -> None:
    gold, predicted = [g for g, _ in pairs], [p for _, p in pairs]
    present = sorted(set().union(*gold, *predicted))
    scores = metrics.set_scores(gold, predicted)
    if not present:
        assert scores.f1 == metrics.macro_f1(gold, predicted) == 0.0
        return
    binarizer = MultiLabelBinarizer(classes=[*present, "nowhere"]).fit([present])  # one column alone would be read as binary
    truth, found = binarizer.transform(gold), binarizer.transform(predicted)
    columns = list(range(len(present)))
    assert scores.precision == pytest.approx(precision_score(truth, found, average="micro", zero_division=0))
    assert scores.recall == pytest.approx(recall_score(truth, found, average="micro", zero_division=0))
    assert scores.f1 == pytest.approx(f1_score(truth, found, average="micro", zero_division=0))
    assert metrics.macro_f1(gold, predicted) == pytest.approx(f1_score(truth, found, labels=columns, average="macro"))


def test_hierarchical_by_hand() -> None:
    above = {"I11.9": ["I11", "I10-I16", "9"], "I11.0": ["I11", "I10-I16", "9"], "J45.909": ["J45.90", "J45", "10"]}
    near = metrics.hierarchical_scores([{"I11.9"}], [{"I11.0"}], above.__getitem__)
    assert near == metrics.Scores(0.75, 0.75, 0.75)
    far = metrics.hierarchical_scores([{"I11.9"}], [{"J45.909"}], above.__getitem__)
    assert far.f1 == 0.0


def test_top_k_by_hand() -> None:
    ranked = [["a", "b", "c"], ["b", "a"], []]
    assert metrics.top_k(ranked, ["a", "a", "a"], (1, 2)) == {1: 1 / 3, 2: 2 / 3}


def test_bootstrap_interval_is_that_of_the_normal_law_for_a_share() -> None:
    right = [True] * 700 + [False] * 300
    estimate = metrics.share(right)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert estimate.value == 0.7 and estimate.n == 1000
    assert estimate.low == pytest.approx(0.7 - half, abs=0.004) and estimate.high == pytest.approx(0.7 + half, abs=0.004)
    assert metrics.share(right) == estimate, "the seed decides"
    assert metrics.share(right, seed=1) != estimate


def test_bootstrap_of_nothing_and_of_one() -> None:
    assert metrics.share([]) == metrics.Estimate(0.0, 0.0, 0.0, 0)
    assert metrics.share([True]) == metrics.Estimate(1.0, 1.0, 1.0, 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=80))
def test_reliability_is_that_of_scikit_learn(answers: list[tuple[int, bool]]) -> None:
    confidence = [c / 1000 * 0.998 + 0.0009 for c, _ in answers]  # never on the border of a bin, where conventions differ
    right = [r for _, r in answers]
    bins = metrics.reliability(confidence, right)
    assert sum(b.n for b in bins) == len(answers)
    accuracy, mean = calibration_curve([*right, True, False], [*confidence, 0.0, 1.0], n_bins=10)
    with_ends = metrics.reliability([*confidence, 0.0, 1.0], [*right, True, False])
    assert [b.accuracy for b in with_ends] == pytest.approx(list(accuracy))
    assert [b.confidence for b in with_ends] == pytest.approx(list(mean))


def test_calibration_error_by_hand() -> None:
    bins = metrics.reliability([0.95, 0.95, 0.25, 0.25], [True, False, False, False])
    assert [(round(b.confidence, 3), b.accuracy, b.n) for b in bins] == [(0.25, 0.0, 2), (0.95, 0.5, 2)]
    assert metrics.calibration_error(bins) == pytest.approx((0.25 * 2 + 0.45 * 2) / 4)
    assert metrics.calibration_error([]) == 0.0 and metrics.reliability([1.0], [True])[0].n == 1


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (7, 9), (50, 50), (812, 819)])
def test_wilson_solves_its_own_equation(hits: int, n: int) -> None:
    """The ends are the shares p at which the distance to the observed share is z standard errors of p."""
    found = metrics.wilson(hits, n)
    assert found.value == hits / n and found.n == n and 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            assert abs(found.value - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, rel=1e-5)
    assert metrics.wilson(0, 0) == metrics.Estimate(0.0, 0.0, 1.0, 0)


def test_ratios_are_bootstrapped_as_one_by_one() -> None:
    parts, wholes = np.array([[1, 0], [2, 0], [0, 0], [4, 0]]), np.array([[2, 0], [3, 0], [1, 0], [4, 0]])
    first, none = metrics.bootstrap_ratios(parts, wholes, seed=3)
    alone = metrics.bootstrap(np.stack([parts[:, 0], wholes[:, 0]], 1), lambda sums: sums[..., 0] / sums[..., 1], seed=3)
    assert first == alone and 0 < first.low < first.value < first.high < 1
    assert none == metrics.Estimate(0.0, 0.0, 0.0, 0)
