"""Fits the confidence of the coder on notes with codes and writes platform/nosology/coding/confidence.json.

    python examples/fit_confidence.py NOTES_DIR LABELS.jsonl [--out FILE]

NOTES_DIR holds ACI-Bench's train.csv and train_metadata.csv; LABELS.jsonl has {"id", "split", "codes": [{"code", ...}]} (see
aci_icd10_silver). Only notes of the `train` split are read. A proposed code counts as right when the annotator wrote it, core or optional.
The precision curve is out of fold (8 folds by note), so that thresholds do not come from notes that the model was fitted on.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from nosology.coding.coder import Coder
from nosology.coding.confidence import features
from nosology.config import CodingConfig, TerminologyConfig

FOLDS, STRENGTH = 8, 0.3


def notes(folder: Path, labels: Path, split: str) -> list[tuple[dict[str, Any], set[str]]]:
    """Notes of a split with the codes that count as right."""
    csv.field_size_limit(1 << 30)
    texts, people = {}, {}
    with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        texts = {row["encounter_id"]: row["note"] for row in csv.DictReader(file)}
    with (folder / f"{split}_metadata.csv").open(encoding="utf-8", newline="") as file:
        people = {row["encounter_id"]: row for row in csv.DictReader(file)}
    found = []
    for line in labels.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] == split:
            person = people.get(row["id"], {})
            note = {"id": row["id"], "text": texts[row["id"]], "sex": person.get("patient_gender"), "age": person.get("patient_age")}
            found.append((note, {code["code"] for code in row["codes"]}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notes", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, default=Path("platform/nosology/coding/confidence.json"))
    options = parser.parse_args()
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    coder = Coder(CodingConfig(), TerminologyConfig(), None)
    rows: list[dict[str, float]] = []
    right: list[bool] = []
    group: list[int] = []
    data = notes(options.notes, options.labels, "train")
    for number, (note, codes) in enumerate(data):
        found = coder.proposals(note)
        for code, proposal in found.items():
            rows.append(features(proposal, found, note["text"], coder.codes))
            right.append(code in codes)
            group.append(number)
    vectorizer = DictVectorizer(sparse=False)
    x, y = vectorizer.fit_transform(rows), np.array(right)
    out_of_fold = np.zeros(len(y))
    for train, test in GroupKFold(FOLDS).split(x, y, group):
        out_of_fold[test] = LogisticRegression(C=STRENGTH, max_iter=2000).fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    model = LogisticRegression(C=STRENGTH, max_iter=2000).fit(x, y)
    order = np.argsort(-out_of_fold, kind="stable")
    share = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
    # Fewer than 20 codes say nothing about a precision of 0.9.
    curve = [[round(float(out_of_fold[i]), 4), round(float(share[k]), 4)] for k, i in enumerate(order) if k >= 19]
    weights = {name: round(float(w), 5) for name, w in zip(vectorizer.get_feature_names_out(), model.coef_[0], strict=True)}
    table = {
        "source": "aci_icd10_silver, train split (labels CC0)", "num_notes": len(data), "num_codes": len(y), "num_right": int(y.sum()),
        "brier_out_of_fold": round(float(np.mean((out_of_fold - y) ** 2)), 4), "intercept": round(float(model.intercept_[0]), 5),
        "weights": weights, "curve": curve,
    }  # fmt: skip
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in table.items() if name not in ("weights", "curve")}))


if __name__ == "__main__":
    main()
