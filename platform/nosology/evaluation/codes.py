"""Predicted codes against gold, note by note.

Definitions. A gold code is core (any competent coder reports it) or optional. Recall counts core codes; precision counts core and
optional ones as right; a code whose route is `reject` is no prediction. The same at the three-character category.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nosology import storage
from nosology.errors import InputError
from nosology.evaluation import metrics
from nosology.evaluation.metrics import Bin, Estimate

CATEGORY = 3
_WHOLE = 99
_CERTAINTIES = frozenset(("core", "optional"))  # of a gold code


@dataclass(frozen=True, slots=True)
class Gold:
    """The right codes of a note."""

    core: frozenset[str]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Predicted:
    """A predicted code, as far as its system says more than the code."""

    code: str
    confidence: float | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """Precision, recall and F1, each with its interval over notes."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class NoteScores:
    """All figures of a set of notes.

    Attributes:
        code, category: full code, and its first three characters.
        macro_f1: mean F1 over codes, optional codes left out where they were not predicted.
        hierarchical: scores over codes and their ancestors, None without a hierarchy.
        auto_share, auto_precision: of predictions that have a route; None where none has.
        reliability, calibration_error: accuracy by confidence, over all predicted codes that are not rejected; None where one has none.
    """

    num_notes: int
    num_gold: int
    num_predicted: int
    code: Level
    category: Level
    macro_f1: float
    hierarchical: metrics.Scores | None
    auto_share: float | None
    auto_precision: Estimate | None
    reliability: list[Bin] | None
    calibration_error: float | None

    def figures(self) -> dict[str, float | None]:
        """The headline figures, flat, for report.json; None is what the predictions say nothing of."""
        flat: dict[str, float | None] = {
            "notes": self.num_notes, "gold": self.num_gold, "predicted": self.num_predicted,
            "code_precision": self.code.precision.value, "code_recall": self.code.recall.value, "micro_f1": self.code.f1.value,
            "micro_f1_low": self.code.f1.low, "micro_f1_high": self.code.f1.high, "macro_f1": self.macro_f1,
            "category_precision": self.category.precision.value, "category_recall": self.category.recall.value,
            "category_f1": self.category.f1.value, "auto_share": self.auto_share, "auto_precision": self.auto_precision.value if self.auto_precision else None,
            "calibration_error": self.calibration_error,
            **({"hierarchical_f1": self.hierarchical.f1} if self.hierarchical else {}),
        }  # fmt: skip
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in flat.items()}


Ancestors = Callable[[str], Iterable[str]]


def score_notes(
    gold: Mapping[str, Gold], predicted: Mapping[str, Sequence[Predicted]], ancestors: Ancestors | None = None, seed: int = 0
) -> NoteScores:
    """Figures of all notes of `gold`; a note without predictions counts with none, predictions of other notes do not count."""
    keys = sorted(gold)
    counted = {k: [p for p in predicted.get(k, ()) if p.route != "reject"] for k in keys}
    every = [p for k in keys for p in predicted.get(k, ())]
    auto = {k: [p for p in counted[k] if p.route == "auto"] for k in keys}
    right = [(p.confidence, p.code in gold[k].core | gold[k].optional) for k in keys for p in counted[k]]
    sure = [(c, r) for c, r in right if c is not None]
    bins = metrics.reliability([c for c, _ in sure], [r for _, r in sure]) if sure and len(sure) == len(right) else None
    routed = any(p.route is not None for p in every)
    sets = [{p.code for p in counted[k]} for k in keys]
    wanted = [gold[k].core | (gold[k].optional & found) for k, found in zip(keys, sets, strict=True)]
    return NoteScores(
        num_notes=len(keys),
        num_gold=sum(len(gold[k].core) for k in keys),
        num_predicted=sum(len(found) for found in sets),
        code=_level(_counts(gold, counted, keys, _WHOLE), seed),
        category=_level(_counts(gold, counted, keys, CATEGORY), seed),
        macro_f1=metrics.macro_f1(wanted, sets),
        hierarchical=metrics.hierarchical_scores(wanted, sets, ancestors) if ancestors else None,
        auto_share=sum(p.route == "auto" for p in every) / len(every) if routed else None,
        auto_precision=metrics.bootstrap(_counts(gold, auto, keys, _WHOLE), _precision, seed) if any(auto.values()) else None,
        reliability=bins,
        calibration_error=metrics.calibration_error(bins) if bins else None,
    )


def compare_notes(
    gold: Mapping[str, Gold], base: Mapping[str, Sequence[Predicted]], tuned: Mapping[str, Sequence[Predicted]], seed: int = 0
) -> Estimate:
    """Gain of the tuned system in micro F1 over the base, same notes, with its paired interval."""
    keys = sorted(gold)
    sides = [_counts(gold, {k: [p for p in side.get(k, ()) if p.route != "reject"] for k in keys}, keys, _WHOLE) for side in (base, tuned)]
    return metrics.bootstrap(np.concatenate(sides, axis=1), lambda sums: _f1(sums[..., 4:]) - _f1(sums[..., :4]), seed)


def read_gold(uri: str) -> dict[str, Gold]:
    """Gold of a JSONL file: lines `{"id", "codes": [{"code", "certainty"}]}` (a missing certainty, or a bare code, is core),
    or `{"id", "core": […], "optional": […]}`.

    Raises:
        InputError: a line is no such object, or an id stands twice.
    """
    found: dict[str, Gold] = {}
    for number, row in _lines(uri):
        try:
            if "codes" in row:
                parts = [(c, "core") if isinstance(c, str) else (c["code"], c.get("certainty", "core")) for c in row["codes"]]
                core, optional = ({code for code, kind in parts if (kind == "core") is is_core} for is_core in (True, False))
            else:
                core, optional = set(row["core"]), set(row.get("optional", ()))
            key = str(row["id"])
            if "codes" in row and not {kind for _, kind in parts} <= _CERTAINTIES:
                raise InputError(f"line {number}: it is none of {', '.join(sorted(_CERTAINTIES))}", file=uri, field="certainty")
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"line {number} needs `id` and `codes` (objects with `code` and `certainty`)", file=uri) from None
        if key in found:
            raise InputError(f"line {number} repeats an id", file=uri, field="id", remedy="Give every note one line")
        found[key] = Gold(frozenset(core), frozenset(optional - core))
    return found


def read_predictions(uri: str) -> dict[str, list[Predicted]]:
    """Predictions by note: a JSONL file of `{"id", "codes": [{"code", "confidence", "route"}]}`, or Parquet of `Prediction`.

    Raises:
        InputError: a line is no such object, or the folder holds no such table.
    """
    if storage.is_folder(uri):
        return _read_table(uri)
    found: dict[str, list[Predicted]] = {}
    for number, row in _lines(uri):
        try:
            codes = [_predicted(c) for c in row["codes"]]
            found.setdefault(str(row["id"]), []).extend(codes)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"line {number} needs `id` and `codes` (objects with `code`)", file=uri) from None
    return found


def by_note(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Predicted]]:
    """Predictions by note from rows of the table `Prediction`; claims without a note are left out."""
    found: dict[str, list[Predicted]] = {}
    for row in rows:
        if row.get("document_id") is not None:
            found.setdefault(row["document_id"], []).extend(_predicted(c) for c in row["codes"])
    return found


def _read_table(uri: str) -> dict[str, list[Predicted]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [name for name in storage.list_files(uri) if name.endswith(".parquet")]
    rows: list[dict[str, Any]] = []
    for name in files:
        with storage.open_input(name) as stream:
            try:
                rows += pq.read_table(pa.PythonFile(stream, mode="r"), columns=["document_id", "codes"]).to_pylist()
            except (pa.ArrowInvalid, KeyError):
                raise InputError("expected the columns of Prediction", file=name, field="document_id, codes") from None
    if not files:
        raise InputError("no predictions here", file=uri, remedy="Name the folder `predictions` of a run of `code`, or its JSON lines")
    return by_note(rows)


def _predicted(row: Any) -> Predicted:
    if isinstance(row, str):
        return Predicted(row)
    confidence = row.get("confidence")
    return Predicted(row["code"], None if confidence is None else float(confidence), row.get("route"))


def _lines(uri: str) -> Iterable[tuple[int, dict[str, Any]]]:
    import orjson

    with storage.open_input(uri) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError:
                    row = None
                if not isinstance(row, dict):
                    raise InputError(f"line {number} is not a JSON object", file=uri)
                yield number, row


def _counts(gold: Mapping[str, Gold], predicted: Mapping[str, Sequence[Predicted]], keys: Sequence[str], level: int) -> metrics.Floats:
    """(N, 4): core codes found, optional codes found, wrong codes, core codes missed."""
    rows = []
    for k in keys:
        found = {p.code[:level] for p in predicted[k]}
        core, optional = {c[:level] for c in gold[k].core}, {c[:level] for c in gold[k].optional}
        rows.append((len(found & core), len(found & (optional - core)), len(found - core - optional), len(core - found)))
    return np.asarray(rows, dtype=np.float64).reshape(-1, 4)


def _level(counts_N4: metrics.Floats, seed: int) -> Level:
    return Level(*(metrics.bootstrap(counts_N4, statistic, seed) for statistic in (_precision, _recall, _f1)))


def _precision(sums: metrics.Floats) -> metrics.Floats:
    good = sums[..., 0] + sums[..., 1]
    return np.asarray(good / np.maximum(1, good + sums[..., 2]))


def _recall(sums: metrics.Floats) -> metrics.Floats:
    return np.asarray(sums[..., 0] / np.maximum(1, sums[..., 0] + sums[..., 3]))


def _f1(sums: metrics.Floats) -> metrics.Floats:
    p, r = _precision(sums), _recall(sums)
    return np.asarray(2 * p * r / np.maximum(1e-9, p + r))
