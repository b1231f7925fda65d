"""What detection is worth against gold spans, with its doubt.

What is removed is removed whatever class it was given, so recall asks for the text alone, in four ways:
cover      every letter and digit of the gold span is covered (as `score_deid.py` of the acceptance checks counts)
overlap    some character of it is
exact      a span with the same start and end was found
character  share of the gold characters that are covered
Precision asks whether a found span touches gold (overlap), is one (exact), and which share of its characters is gold. By category,
recall goes by the class of the gold span, precision by the class of the found one; `same_class` is the share of the covered gold
spans whose class was found too.

Shares of spans, notes and texts have Wilson's interval. It takes each for itself, so where a note's misses come together it is
somewhat narrow. Figures by character and by note are bootstrapped over notes. Shapes: N texts, K categories, F counts.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nosology import storage
from nosology.deid.classifier import safe_harbor
from nosology.deid.policies import WIDER, Policy
from nosology.errors import InputError
from nosology.evaluation.metrics import Estimate, bootstrap_ratios, wilson
from nosology.records import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nosology.deid.detect import Detector

    Counts = NDArray[np.int64]
    Mask = NDArray[np.bool_]

Spanlike = Span | Mapping[str, Any]
ALL = "all"
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 0.95)
AT_ONCE = 256  # texts that detection takes together
# columns of the counts
SPANS, COVER, OVERLAP, EXACT, SAME, FOUND, TOUCHING, FOUND_EXACT, CHARS, CHARS_HIT, FOUND_CHARS, FOUND_CHARS_HIT = range(12)


@dataclass(frozen=True, slots=True)
class Gold:
    """Texts with the spans that people marked.

    Attributes:
        texts, spans: side by side.
        classes: Safe Harbor class of each label; None for what is no identifier. A label that no rule knows is a class of its own.
        unmapped: labels of the last kind, with their number of spans.
    """

    texts: list[str]
    spans: list[list[dict[str, Any]]]
    classes: dict[str, str | None]
    unmapped: dict[str, int]

    def under(self, policy: Policy) -> Gold:
        """The same for a policy: a sex, a relative or a profession that it keeps is no identifier, and no miss."""
        kept = WIDER - policy.labels
        return replace(self, classes={label: None if name in kept else name for label, name in self.classes.items()})


def read_gold(file: str, given: Mapping[str, str | None]) -> Gold:
    """JSON lines of {"id", "text", "spans": [{"start", "end", "label"}]}.

    Args:
        file: local or `s3://`.
        given: classes of labels, over the rules of `classifier.safe_harbor`.

    Raises:
        InputError: a line is not of this form; names the line and the field.
    """
    texts: list[str] = []
    spans: list[list[dict[str, Any]]] = []
    for number, line in enumerate(storage.read_bytes(file).splitlines(), 1):
        if line.strip():
            text, marked = _gold_line(line, file, number)
            texts.append(text)
            spans.append(marked)
    if not texts:
        raise InputError("no texts", file=file, remedy='Give JSON lines of {"id", "text", "spans": [{"start", "end", "label"}]}')
    return gold_of(texts, spans, given)


def gold_of(texts: list[str], spans: list[list[dict[str, Any]]], given: Mapping[str, str | None]) -> Gold:
    """Gold of texts and their spans, side by side; `given` as in `read_gold`."""
    labels = Counter(span["label"] for marked in spans for span in marked)
    classes = {label: given[label] if label in given else safe_harbor(label, label) for label in labels}
    unmapped = {label: n for label, n in sorted(labels.items()) if label not in given and safe_harbor(label, "") == ""}
    return Gold(texts, spans, classes, unmapped)


def _gold_line(line: bytes, file: str, number: int) -> tuple[str, list[dict[str, Any]]]:
    place = f"{file}, line {number}"
    try:
        row = json.loads(line)
    except ValueError:
        raise InputError("not JSON", file=place) from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError("expected an object with a text", file=place, field="text")
    return row["text"], checked(row.get("spans"), row["text"], place)


def checked(marked: Any, text: str, place: str) -> list[dict[str, Any]]:
    """The gold spans of a text, each once.

    Args:
        marked: as they were given. place: file and line, for the error.

    Raises:
        InputError: they are no spans of the text; names the place and the field.
    """
    if not isinstance(marked, list):
        raise InputError("expected a list of spans; an empty one for a text without identifiers", file=place, field="spans")
    for span in marked:
        if not isinstance(span, dict) or not all(type(span.get(name)) is int for name in ("start", "end")):
            raise InputError("expected whole numbers `start` and `end` in each span", file=place, field="spans")
        if not 0 <= span["start"] < span["end"] <= len(text):
            raise InputError("a span lies outside of its text, or is empty", file=place, field="spans",
                             remedy="Offsets count Unicode characters, end exclusive")  # fmt: skip
        if not isinstance(span.get("label"), str):
            raise InputError("expected a label in each span", file=place, field="label")
    return list({(span["start"], span["end"], span["label"]): span for span in marked}.values())


def measure(
    gold: Sequence[Sequence[Spanlike]],
    found: Sequence[Sequence[Spanlike]],
    texts: Sequence[str],
    classes: Mapping[str, str | None] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Recall and precision of `found` against `gold`, per text in the same order.

    Args:
        classes: category of each gold label; None for one that does not count for recall (what is found there is no fault either).
            Without it each label is a category.
        seed: of the bootstrap.

    Returns:
        n, spans, recall (cover), precision (overlap), char_recall, char_precision, notes_clean (share of texts with identifiers of which
        none is left), left_per_1000_notes, negatives (texts without any gold), negatives_touched, by_label {label: [covered, all]};
        intervals {notes_clean, left_per_1000_notes, negatives_touched, negatives_characters}, and categories {category or `all`: {spans,
        recall: {cover, overlap, exact, character}, precision: {overlap, exact, character}, same_class}}, named_by_rule {recall, aside:
        {category: spans}}: recall (cover) without the ages to 89 and the years alone, which Safe Harbor keeps though a gold set marks
        them. Each figure of the last three is {value, low, high, n}, or None of nothing.
    """
    names, counts_NKF = _count(gold, found, texts, classes)
    sums_KF = counts_NKF.sum(0)
    total_NF, total_F = counts_NKF[:, 0], sums_KF[0]
    missed_N = total_NF[:, SPANS] - total_NF[:, COVER]
    with_gold = total_NF[:, SPANS] > 0
    negative = np.array([not spans for spans in gold], dtype=bool)
    touched_chars_N = total_NF[:, FOUND_CHARS] * negative
    lengths_N = np.array([len(text) for text in texts], dtype=np.int64) * negative
    ones_N = np.ones(len(texts), dtype=np.int64)
    columns = [(CHARS_HIT, CHARS), (FOUND_CHARS_HIT, FOUND_CHARS)]
    parts = [*(counts_NKF[:, k, part] for k in range(len(names)) for part, _ in columns), missed_N, touched_chars_N]
    wholes = [*(counts_NKF[:, k, whole] for k in range(len(names)) for _, whole in columns), ones_N, lengths_N]
    drawn = bootstrap_ratios(np.stack(parts, 1), np.stack(wholes, 1), seed)
    left, over = drawn[-2:]
    if texts and not missed_N.any():  # nothing to draw from: the bound of no event in n trials (Poisson, 97.5 %)
        left = Estimate(0.0, 0.0, -math.log(0.025) / len(texts), len(texts))
    clean = wilson(int((with_gold & (missed_N == 0)).sum()), int(with_gold.sum()))
    touched = wilson(int((total_NF[negative, FOUND] > 0).sum()), int(negative.sum()))
    categories = {
        name: _category(sums_KF[k], _firm(drawn[2 * k]), _firm(drawn[2 * k + 1]))
        for k, name in enumerate(names)
        if name == ALL or sums_KF[k].any()
    }
    by_label: dict[str, list[int]] = {}
    for marked, here, text in zip(gold, found, texts, strict=True):
        mask = _mask(here, len(text))
        for start, end, label in map(_bounds, marked):
            count = by_label.setdefault(label, [0, 0])
            count[0] += _covered(text, mask, start, end)
            count[1] += 1
    named, aside = _named_by_rule(gold, found, texts, classes or {})
    return {
        "n": len(texts),
        "spans": int(total_F[SPANS]),
        "recall": _share(total_F[COVER], total_F[SPANS]),
        "precision": _share(total_F[TOUCHING], total_F[FOUND]),
        "char_recall": _share(total_F[CHARS_HIT], total_F[CHARS]),
        "char_precision": _share(total_F[FOUND_CHARS_HIT], total_F[FOUND_CHARS]),
        "notes_clean": round(clean.value, 4) if clean.n else 1.0,
        "left_per_1000_notes": round(1000 * left.value, 1),
        "negatives": int(negative.sum()),
        "negatives_touched": round(touched.value, 4),
        "by_label": dict(sorted(by_label.items())),
        "intervals": {
            "notes_clean": _plain(clean),
            "left_per_1000_notes": _plain(Estimate(1000 * left.value, 1000 * left.low, 1000 * left.high, left.n)),
            "negatives_touched": _plain(touched),
            "negatives_characters": _plain(_firm(over)),
        },
        "categories": categories,
        "named_by_rule": {"recall": named, "aside": aside},
    }


def curve(detector: Detector, gold: Gold, thresholds: Sequence[float] = THRESHOLDS, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the configured detection is worth, and what it would be at other thresholds of the tagger.

    A class's threshold decides over its own words, so the line of a class at some threshold is (but for words at the border of two
    classes) what `deid.thresholds` would make of that class.

    Returns:
        As `measure`; and {thresholds, recall: {category: [...]}, character_precision: {category: [...]}}, of full cover and by character.
    """
    settings: list[float | None] = [None, *thresholds]
    found: list[list[list[Span]]] = [[] for _ in settings]
    for start in range(0, len(gold.texts), AT_ONCE):
        for place, spans in enumerate(detector.sweep(gold.texts[start : start + AT_ONCE], settings)):
            found[place] += spans
    own = measure(gold.spans, found[0], gold.texts, gold.classes, seed)
    shown = [name for name, figures in own["categories"].items() if figures["spans"]]
    lines: dict[str, dict[str, list[float | None]]] = {"recall": {n: [] for n in shown}, "character_precision": {n: [] for n in shown}}
    for spans in found[1:]:
        names, counts_NKF = _count(gold.spans, spans, gold.texts, gold.classes)
        for name in shown:
            sums_F = counts_NKF[:, names.index(name)].sum(0)
            lines["recall"][name].append(_ratio(sums_F[COVER], sums_F[SPANS]))
            lines["character_precision"][name].append(_ratio(sums_F[FOUND_CHARS_HIT], sums_F[FOUND_CHARS]))
    return own, {"thresholds": list(thresholds), **lines}


def _count(
    gold: Sequence[Sequence[Spanlike]], found: Sequence[Sequence[Spanlike]], texts: Sequence[str], classes: Mapping[str, str | None] | None
) -> tuple[list[str], Counts]:
    """Categories, `all` first, and the counts (N, K, F)."""
    known = {label for spans in (*gold, *found) for _, _, label in map(_bounds, spans)}
    category = {label: label for label in known} if classes is None else dict(classes)
    gold_labels = {label for spans in gold for _, _, label in map(_bounds, spans)}
    found_labels = {label for spans in found for _, _, label in map(_bounds, spans)}
    names = [ALL, *sorted({c for label in gold_labels if (c := category.get(label)) is not None} | found_labels)]
    place = {name: k for k, name in enumerate(names)}
    counts_NKF = np.zeros((len(texts), len(names), 12), dtype=np.int64)
    for n, (marked, here, text) in enumerate(zip(gold, found, texts, strict=True)):
        counted = [(start, end, c) for start, end, label in map(_bounds, marked) if (c := category.get(label)) is not None]
        wanted, any_gold = _mask([s for s in marked if category.get(_bounds(s)[2]) is not None], len(text)), _mask(marked, len(text))
        removed = _mask(here, len(text))
        spans = [_bounds(span) for span in here]
        borders, gold_borders = {(start, end) for start, end, _ in spans}, {_bounds(span)[:2] for span in marked}
        for start, end, name in counted:
            covered = _covered(text, removed, start, end)
            same = covered and any(label == name and a < end and start < b for a, b, label in spans)
            for k in (0, place[name]):
                counts_NKF[n, k, SPANS : SAME + 1] += [
                    int(one) for one in (True, covered, removed[start:end].any(), (start, end) in borders, same)
                ]
        for start, end, label in spans:
            for k in (0, place[label]):
                counts_NKF[n, k, FOUND : FOUND_EXACT + 1] += [
                    int(one) for one in (True, any_gold[start:end].any(), (start, end) in gold_borders)
                ]
        counts_NKF[n, 0, CHARS:] = wanted.sum(), (wanted & removed).sum(), removed.sum(), (removed & any_gold).sum()
        for name in {c for _, _, c in counted} | {label for _, _, label in spans}:
            own = _mask([s for s in marked if category.get(_bounds(s)[2]) == name], len(text))
            mine = _mask([s for s in here if _bounds(s)[2] == name], len(text))
            counts_NKF[n, place[name], CHARS:] = own.sum(), (own & removed).sum(), mine.sum(), (mine & any_gold).sum()
    return names, counts_NKF


def _named_by_rule(
    gold: Sequence[Sequence[Spanlike]], found: Sequence[Sequence[Spanlike]], texts: Sequence[str], classes: Mapping[str, str | None]
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """Recall (cover) of what 45 CFR 164.514(b)(2)(i) names, and what is left aside: years alone (C), ages to 89 (C)."""
    hits = named = 0
    aside: Counter[str] = Counter()
    for marked, here, text in zip(gold, found, texts, strict=True):
        removed = _mask(here, len(text))
        for start, end, label in map(_bounds, marked):
            name = classes.get(label)
            value = text[start:end].strip()
            young = name == "AGE" and (ages := re.findall(r"\d+", value)) and all(int(age) < 90 for age in ages)
            if young or name == "DATE" and re.fullmatch(r"(?:1[89]|20)\d\d", value):
                aside[str(name)] += 1
            elif name is not None:
                named += 1
                hits += _covered(text, removed, start, end)
    return _plain(wilson(hits, named)), dict(sorted(aside.items()))


def _bounds(span: Spanlike) -> tuple[int, int, str]:
    return (span.start, span.end, span.label) if isinstance(span, Span) else (int(span["start"]), int(span["end"]), str(span["label"]))


def _mask(spans: Iterable[Spanlike], length: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    for start, end, _ in map(_bounds, spans):
        mask[start:end] = True
    return mask


def _covered(text: str, removed: Mask, start: int, end: int) -> bool:
    return all(removed[i] for i in range(start, end) if text[i].isalnum())


def _category(sums_F: Counts, char_recall: Estimate, char_precision: Estimate) -> dict[str, Any]:
    n, found = int(sums_F[SPANS]), int(sums_F[FOUND])
    recall = {"cover": wilson(int(sums_F[COVER]), n), "overlap": wilson(int(sums_F[OVERLAP]), n), "exact": wilson(int(sums_F[EXACT]), n)}
    precision = {"overlap": wilson(int(sums_F[TOUCHING]), found), "exact": wilson(int(sums_F[FOUND_EXACT]), found)}
    return {
        "spans": n,
        "recall": {**{name: _plain(one) for name, one in recall.items()}, "character": _plain(char_recall)},
        "precision": {**{name: _plain(one) for name, one in precision.items()}, "character": _plain(char_precision)},
        "same_class": _plain(wilson(int(sums_F[SAME]), int(sums_F[COVER]))),
    }


def _firm(estimate: Estimate) -> Estimate:
    """An estimate whose draws were all alike, where the bootstrap sees no doubt, has that of so many notes without a fault."""
    if estimate.n and estimate.low == estimate.high and estimate.value in (0.0, 1.0):
        doubt = wilson(int(estimate.value) * estimate.n, estimate.n)
        return Estimate(estimate.value, doubt.low, doubt.high, estimate.n)
    return estimate


def _plain(estimate: Estimate) -> dict[str, Any] | None:
    return {name: round(value, 4) for name, value in asdict(estimate).items()} if estimate.n else None


def _ratio(part: Any, whole: Any) -> float | None:
    return round(float(part / whole), 4) if whole else None


def _share(part: Any, whole: Any) -> float:
    return round(float(part / whole), 4) if whole else 1.0
