"""What detection is worth against gold spans.

recall: share of gold spans of which every letter and digit is covered. precision: share of found spans that touch a gold span.
char_*: the same by character. All as `score_deid.py` of the acceptance checks counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nosology.records import Span

Spanlike = Span | Mapping[str, Any]


def _bounds(span: Spanlike) -> tuple[int, int, str]:
    return (span.start, span.end, span.label) if isinstance(span, Span) else (int(span["start"]), int(span["end"]), str(span["label"]))


def measure(gold: Sequence[Sequence[Spanlike]], found: Sequence[Sequence[Spanlike]], texts: Sequence[str]) -> dict[str, Any]:
    """Recall and precision of `found` against `gold`, per text in the same order.

    Returns:
        n, spans, recall, precision, char_recall, char_precision, notes_clean (share of texts with identifiers of which none is left),
        left_per_1000_notes, negatives, negatives_touched, and by_label {label: [covered, all]}.
    """
    covered_all = spans_all = touching = found_all = 0
    gold_chars = found_chars = common_chars = clean = with_gold = negatives = touched = 0
    by_label: dict[str, list[int]] = {}
    for gold_spans, found_spans, text in zip(gold, found, texts, strict=True):
        gold_mask, found_mask = bytearray(len(text)), bytearray(len(text))
        for mask, spans in ((gold_mask, gold_spans), (found_mask, found_spans)):
            for start, end, _ in map(_bounds, spans):
                mask[start:end] = b"\1" * (min(end, len(text)) - start)
        missed = 0
        for start, end, label in map(_bounds, gold_spans):
            hit = all(found_mask[i] for i in range(start, end) if text[i].isalnum())
            count = by_label.setdefault(label, [0, 0])
            count[0] += hit
            count[1] += 1
            missed += not hit
        spans_all += len(gold_spans)
        covered_all += len(gold_spans) - missed
        with_gold += bool(gold_spans)
        clean += bool(gold_spans) and not missed
        negatives += not gold_spans
        touched += not gold_spans and bool(found_spans)
        found_all += len(found_spans)
        touching += sum(any(gold_mask[start:end]) for start, end, _ in map(_bounds, found_spans))
        gold_chars += sum(gold_mask)
        found_chars += sum(found_mask)
        common_chars += sum(g & f for g, f in zip(gold_mask, found_mask, strict=True))

    def share(part: int, whole: int) -> float:
        return round(part / whole, 4) if whole else 1.0

    return {
        "n": len(texts),
        "spans": spans_all,
        "recall": share(covered_all, spans_all),
        "precision": share(touching, found_all),
        "char_recall": share(common_chars, gold_chars),
        "char_precision": share(common_chars, found_chars),
        "notes_clean": share(clean, with_gold),
        "left_per_1000_notes": round(1000 * (spans_all - covered_all) / len(texts), 1) if texts else 0.0,
        "negatives": negatives,
        "negatives_touched": share(touched, negatives) if negatives else 0.0,
        "by_label": dict(sorted(by_label.items())),
    }
