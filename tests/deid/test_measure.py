import json
import subprocess
import sys
from pathlib import Path

import pytest
from nosology.deid.measure import measure
from nosology.records import Span

SCORER = Path(__file__).parents[3] / "shared" / "acceptance" / "score_deid.py"
TEXTS = ["Jane Doe, 3/14", "nothing here", "MRN 12 x", ""]
GOLD = [
    [{"start": 0, "end": 8, "label": "NAME"}, {"start": 10, "end": 14, "label": "DATE"}],
    [],
    [{"start": 4, "end": 6, "label": "MRN"}],
    [],
]
FOUND = [
    [Span(start=0, end=4, label="NAME"), Span(start=5, end=8, label="NAME")],
    [Span(start=0, end=7, label="ID")],
    [Span(start=0, end=6, label="MRN")],
    [],
]


def test_counts():
    got = measure(GOLD, FOUND, TEXTS)
    assert (got["spans"], got["recall"], got["precision"]) == (3, 0.6667, 0.75)
    assert got["by_label"] == {"DATE": [0, 1], "MRN": [1, 1], "NAME": [1, 1]}
    assert got["left_per_1000_notes"] == 250.0 and got["notes_clean"] == 0.5
    assert (got["negatives"], got["negatives_touched"]) == (2, 0.5)
    assert got["char_precision"] == round(9 / 20, 4) and got["char_recall"] == round(9 / 14, 4)


def test_nothing_to_find():
    assert measure([[]], [[]], ["x"])["recall"] == 1.0


@pytest.mark.skipif(not SCORER.is_file(), reason="the acceptance scorer is not beside this checkout")
def test_agrees_with_the_acceptance_scorer(tmp_path):
    gold, pred = tmp_path / "gold.jsonl", tmp_path / "pred.jsonl"
    gold.write_text("".join(json.dumps({"id": n, "text": t, "spans": s}) + "\n" for n, (t, s) in enumerate(zip(TEXTS, GOLD, strict=True))))
    pred.write_text(
        "".join(
            json.dumps({"id": n, "spans": [{"start": s.start, "end": s.end, "label": s.label} for s in ss]}) + "\n"
            for n, ss in enumerate(FOUND)
        )
    )
    theirs = json.loads(
        subprocess.run([sys.executable, str(SCORER), str(gold), str(pred)], capture_output=True, text=True, check=True).stdout
    )
    ours = measure(GOLD, FOUND, TEXTS)
    assert (ours["recall"], ours["precision"], ours["char_recall"], ours["char_precision"]) == (
        theirs["recall_full_cover"],
        theirs["precision_spans"],
        theirs["char_recall"],
        theirs["char_precision"],
    )
    assert (
        ours["by_label"] == theirs["by_label"]
        and ours["notes_clean"] == theirs["docs_clean"]
        and ours["negatives_touched"] == theirs["negatives_touched"]
    )
