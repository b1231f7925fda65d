"""Figures of merit and their uncertainty. Plain arrays in, plain numbers out.

Shapes: N units (notes or phrases), R bootstrap resamples, K counts of a unit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval (bootstrap by percentiles, where nothing else is said); `n` units stand behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability curve: `n` answers of mean `confidence`, of which the share `accuracy` was right."""

    confidence: float
    accuracy: float
    n: int


def harmonic(precision: float, recall: float) -> float:
    """F1 of precision and recall; 0 when both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def set_scores(gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]) -> Scores:
    """Micro-averaged scores of sets of labels: every label of every unit counts once."""
    hits = sum(len(set(g) & set(p)) for g, p in zip(gold, predicted, strict=True))
    num_predicted, num_gold = sum(len(set(p)) for p in predicted), sum(len(set(g)) for g in gold)
    precision, recall = hits / num_predicted if num_predicted else 0.0, hits / num_gold if num_gold else 0.0
    return Scores(precision, recall, harmonic(precision, recall))


def macro_f1(gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]) -> float:
    """Mean F1 over the labels that occur in gold or prediction: a rare label weighs as much as a frequent one."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()  # 2 TP + FP + FN of each label
    for g, p in zip(gold, predicted, strict=True):
        right.update(set(g) & set(p))
        total.update(set(g))
        total.update(set(p))
    return sum(2 * right[label] / total[label] for label in total) / len(total) if total else 0.0


def hierarchical_scores(
    gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]], ancestors: Callable[[str], Iterable[str]]
) -> Scores:
    """Scores after every label has brought its ancestors along, so that a near miss counts in part.

    Kiritchenko, Matwin, Famili, "Functional annotation of genes using hierarchical text categorization" (2005).
    """
    return set_scores([with_ancestors(g, ancestors) for g in gold], [with_ancestors(p, ancestors) for p in predicted])


def with_ancestors(labels: Iterable[str], ancestors: Callable[[str], Iterable[str]]) -> set[str]:
    """The labels and all nodes above them."""
    return {node for label in labels for node in (label, *ancestors(label))}


def top_k(ranked: Sequence[Sequence[str]], right: Sequence[str], ks: Sequence[int] = (1, 5, 50)) -> dict[int, float]:
    """Share of questions whose right answer is among the first k."""
    n = max(1, len(right))
    return {k: sum(r in row[:k] for row, r in zip(ranked, right, strict=True)) / n for k in ks}


def bootstrap(counts_NK: ArrayLike, statistic: Callable[[Floats], Floats], seed: int = 0) -> Estimate:
    """Interval of a statistic of sums over units (a mean, a ratio, an F1), units drawn with replacement.

    Args:
        counts_NK: one row a unit.
        statistic: takes sums (…, K) and gives values (…); ratios of sums must take 0/0 themselves.
    """
    counts = np.asarray(counts_NK, dtype=np.float64)
    n = len(counts)
    if n == 0:
        return Estimate(0.0, 0.0, 0.0, 0)
    counts = counts.reshape(n, -1)
    generator = np.random.default_rng(seed)
    values_R = np.concatenate(  # in pieces: an N x R matrix of weights is large for long lists
        [statistic(generator.multinomial(n, np.full(n, 1 / n), size=50).astype(np.float64) @ counts) for _ in range(RESAMPLES // 50)]
    )
    low, high = np.quantile(values_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(statistic(counts.sum(0))), float(low), float(high), n)


def bootstrap_ratios(parts_NK: ArrayLike, wholes_NK: ArrayLike, seed: int = 0) -> list[Estimate]:
    """Ratio of the sums of each of K pairs of counts with its interval, units drawn with replacement, the same draws for every pair.

    Args:
        parts_NK: one row a unit. wholes_NK: likewise; `n` of an estimate are the units where it is not 0.
    """
    parts, wholes = np.asarray(parts_NK, dtype=np.float64), np.asarray(wholes_NK, dtype=np.float64)
    n, num_pairs = parts.shape
    if n == 0:
        return [Estimate(0.0, 0.0, 0.0, 0)] * num_pairs

    def ratio(part: Floats, whole: Floats) -> Floats:
        return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)

    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES // 50):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=50).astype(np.float64)
        drawn.append(ratio(weights @ parts, weights @ wholes))
    values_RK = np.concatenate(drawn)
    made = []
    for k, value in enumerate(ratio(parts.sum(0), wholes.sum(0))):
        held = values_RK[:, k][~np.isnan(values_RK[:, k])]
        if np.isnan(value) or not len(held):
            made.append(Estimate(0.0, 0.0, 0.0, 0))
            continue
        low, high = np.quantile(held, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        made.append(Estimate(float(value), float(low), float(high), int((wholes[:, k] > 0).sum())))
    return made


def wilson(hits: int, n: int) -> Estimate:
    """A share with its 95 % score interval, which holds near 0 and 1 too (Wilson, "Probable inference, the law of succession, and
    statistical inference", Journal of the American Statistical Association 22, 1927). Of nothing, anything from 0 to 1."""
    if not n:
        return Estimate(0.0, 0.0, 1.0, 0)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = hits / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    return Estimate(share, max(0.0, low) if hits else 0.0, min(1.0, high) if hits < n else 1.0, n)


def share(right: Sequence[bool], seed: int = 0) -> Estimate:
    """Share of right answers with its interval."""
    n = max(1, len(right))
    return bootstrap(np.asarray(right, dtype=np.float64), lambda sums: sums[..., 0] / n, seed)


def reliability(confidence: Sequence[float], right: Sequence[bool], num_bins: int = 10) -> list[Bin]:
    """Bins of equal width over 0 to 1 that hold an answer. A calibrated system has `accuracy` = `confidence` in each."""
    scores, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if scores.shape != hits.shape:
        raise ValueError(f"{len(scores)} confidences for {len(hits)} answers")
    place = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    chosen = ((place == b, b) for b in range(num_bins))
    return [Bin(float(scores[m].mean()), float(hits[m].mean()), int(m.sum())) for m, _ in chosen if m.any()]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by their answers."""
    n = sum(b.n for b in bins)
    return sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / n if n else 0.0
