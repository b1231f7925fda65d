import json
import subprocess
import sys
from pathlib import Path

import pytest
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
from nosology.deid.measure import ALL, checked, curve, measure, read_gold
from nosology.errors import InputError
from nosology.evaluation.metrics import wilson
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


def test_four_ways_by_category():
    """Jane Doe is covered by two spans but is none of them; the MRN is found with its word before it; the date is missed."""
    got = measure(GOLD, FOUND, TEXTS)["categories"]
    values = {name: {way: one["value"] for way, one in part["recall"].items() if one} for name, part in got.items() if part["spans"]}
    assert values["NAME"] == {"cover": 1.0, "overlap": 1.0, "exact": 0.0, "character": 0.875}
    assert values["DATE"] == {"cover": 0.0, "overlap": 0.0, "exact": 0.0, "character": 0.0}
    assert values["MRN"] == {"cover": 1.0, "overlap": 1.0, "exact": 0.0, "character": 1.0}
    assert got["MRN"]["precision"]["character"]["value"] == 0.3333 and got["NAME"]["same_class"]["value"] == 1.0
    assert got["ID"]["spans"] == 0 and got["ID"]["precision"]["overlap"]["value"] == 0.0
    low, high = (getattr(wilson(2, 3), side) for side in ("low", "high"))
    assert got[ALL]["recall"]["cover"] == {"value": 0.6667, "low": round(low, 4), "high": round(high, 4), "n": 3}
    exact = measure([[{"start": 0, "end": 4, "label": "X"}]], [[Span(start=0, end=4, label="Y")]], ["Jane"])["categories"]
    assert exact[ALL]["recall"]["exact"]["value"] == 1.0 and exact["X"]["same_class"]["value"] == 0.0


def test_half_a_name_is_touched_and_not_covered():
    got = measure([[{"start": 0, "end": 8, "label": "NAME"}]], [[Span(start=0, end=4, label="ID")]], ["Jane Doe"])["categories"]
    assert {way: one["value"] for way, one in got["NAME"]["recall"].items()} == {"cover": 0, "overlap": 1, "exact": 0, "character": 0.5}
    assert got["NAME"]["same_class"] is None and got["ID"]["precision"]["overlap"]["value"] == 1.0


def test_intervals_stand_where_nothing_was_missed():
    texts = ["Jane"] * 40
    spans = [[{"start": 0, "end": 4, "label": "NAME"}]] * 40
    got = measure(spans, spans, texts)
    left = got["intervals"]["left_per_1000_notes"]
    assert (left["value"], left["low"], left["high"]) == (0.0, 0.0, round(1000 * 3.68888 / 40, 4))
    assert got["categories"][ALL]["recall"]["character"]["low"] == round(wilson(40, 40).low, 4) < 1
    assert measure(spans, [[]] * 20 + spans[20:], texts)["intervals"]["left_per_1000_notes"]["low"] > 300


def test_what_the_rule_keeps_is_counted_aside():
    text = "aged 45, aged 93, in 2019, on 3 May 2019"
    gold = [[{"start": text.index(v), "end": text.index(v) + len(v), "label": label} for v, label in
             (("45", "AGE"), ("93", "AGE"), ("2019", "DATE"), ("3 May 2019", "DATE"))]]  # fmt: skip
    got = measure(gold, [[Span(start=14, end=16, label="AGE")]], [text], {"AGE": "AGE", "DATE": "DATE"})
    assert got["recall"] == 0.25 and got["named_by_rule"]["aside"] == {"AGE": 1, "DATE": 1}
    assert got["named_by_rule"]["recall"]["value"] == 0.5


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_labels_of_gold_are_mapped_and_what_no_rule_knows_is_said(tmp_path):
    spans = [{"start": 0, "end": 2, "label": label} for label in ("B-PATIENT", "FECHAS", "QUUX", "TITLE")]
    file = lines(tmp_path / "gold.jsonl", {"id": 1, "text": "Jo", "spans": spans})
    gold = read_gold(file, {"FECHAS": "DATE"})
    assert gold.classes == {"B-PATIENT": "NAME", "FECHAS": "DATE", "QUUX": "QUUX", "TITLE": None}
    assert gold.unmapped == {"QUUX": 1}
    got = measure(gold.spans, [[]], gold.texts, gold.classes)
    assert got["spans"] == 3 and set(got["categories"]) == {ALL, "NAME", "DATE", "QUUX"}


@pytest.mark.parametrize(("row", "field"), [
    ("{", None), ([], "text"), ({"id": 1}, "text"), ({"text": "Jo"}, "spans"), ({"text": "Jo", "spans": [{"start": 0}]}, "spans"),
    ({"text": "Jo", "spans": [{"start": 0, "end": 3, "label": "X"}]}, "spans"), ({"text": "Jo", "spans": [{"start": 1, "end": 1, "label": "X"}]}, "spans"),
    ({"text": "Jo", "spans": [{"start": 0, "end": 1, "label": 4}]}, "label"), ({"text": "Jo", "spans": [{"start": True, "end": 1, "label": "X"}]}, "spans"),
])  # fmt: skip
def test_a_gold_file_that_is_none_is_refused_by_its_line(row, field, tmp_path):
    file = lines(tmp_path / "gold.jsonl", {"text": "fine", "spans": []}, row)
    if row == "{":
        (tmp_path / "gold.jsonl").write_text('{"text": "fine", "spans": []}\n{')
    with pytest.raises(InputError, match="line 2") as caught:
        read_gold(file, {})
    assert caught.value.field == field and "Jo" not in str(caught.value).replace("JSON", "")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no texts"):
        read_gold(str(tmp_path / "empty.jsonl"), {})


def test_a_span_that_gold_has_twice_counts_once():
    span = {"start": 0, "end": 3, "label": "NAME"}
    assert checked([span, dict(span), {**span, "label": "ID"}], "Doe", "") == [span, {**span, "label": "ID"}]


def test_the_curve_falls_with_the_threshold(tmp_path):
    texts = ["seen by adaeze nwosu today", "the cousin of Tadeusz lives near Wągrowiec", "a cough"]
    marked = [[("adaeze nwosu", "NAME")], [("Tadeusz", "NAME"), ("Wągrowiec", "CITY")], []]
    rows = [
        {"id": n, "text": text, "spans": [{"start": text.index(v), "end": text.index(v) + len(v), "label": label} for v, label in of]}
        for n, (text, of) in enumerate(zip(texts, marked, strict=True))
    ]
    gold = read_gold(lines(tmp_path / "gold.jsonl", *rows), {})
    detector = Detector(DeidConfig())
    own, swept = curve(detector, gold, (0.01, 0.5, 1.0))
    assert own == measure(gold.spans, detector.find(gold.texts), gold.texts, gold.classes)
    assert set(swept["recall"]) == {ALL, "NAME", "LOCATION"} == set(swept["character_precision"])
    falling = swept["recall"][ALL]
    assert falling == sorted(falling, reverse=True) and falling[0] == own["recall"] == 1.0 and falling[-1] < 1
