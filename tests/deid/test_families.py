"""The families of tests/data/deid are measures of recall: a span cut wrong there is a wrong figure, so the files are checked themselves."""

import collections
import json
import pathlib
import re
import unicodedata

import pytest
from nosology.deid import LABELS
from nosology.deid.checksums import luhn

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "deid"
MEDDOCAN = {"SEX", "RELATIVE", "PROFESSION"}  # classes of the Spanish guideline that Safe Harbor has not
TEXTS = {"searches": 640, "queries": 420, "queries_clean": 220, "notes18": 40, "general": 150, "spanish": 25}
WORDS = {"searches": (4, 60), "queries": (6, 60), "queries_clean": (6, 60), "notes18": (60, 400), "general": (4, 60), "spanish": (250, 600)}


def family(name):
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def marked(records, label):
    """The text of each span of a class, with the ten characters before it."""
    for record in records:
        for span in record["spans"]:
            if span["label"] == label:
                text = record["text"]
                yield text[span["start"] : span["end"]], text[max(0, span["start"] - 10) : span["start"]]


def kind(character):
    return "letter" if character.isalpha() else "digit" if character.isdigit() else character


def plain(text):
    """The words of a text without case, accents and digits, by which two texts count as one template filled twice."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[^\W\d_]+", "".join(c for c in letters if not unicodedata.combining(c))))


@pytest.mark.parametrize("name", TEXTS)
def test_spans_are_whole_words_of_known_classes(name):
    known = set(LABELS) | (MEDDOCAN if name == "spanish" else set())
    for record in family(name):
        text, last = record["text"], 0
        for span in record["spans"]:
            start, end = span["start"], span["end"]
            where = (record["id"], start)
            assert last <= start < end <= len(text), where
            assert span["label"] in known, where
            assert text[start:end] == text[start:end].strip(), where
            for border in (start, end):
                if 0 < border < len(text):
                    left, right = kind(text[border - 1]), kind(text[border])
                    assert left != right or left not in ("letter", "digit"), where
            last = end
        assert "[[" not in text and "|]" not in text and not re.search(r"\[[A-Z]\||~\w+:", text), record["id"]


@pytest.mark.parametrize("name", TEXTS)
def test_ids_splits_sizes(name):
    records = family(name)
    assert len(records) >= TEXTS[name]
    assert len({record["id"] for record in records}) == len(records)
    low, high = WORDS[name]
    for record in records:
        number = int(record["id"].rpartition("-")[2])
        assert record["split"] == ("held" if number % 2 else "dev"), record["id"]
        assert low <= len(record["text"].split()) <= high, record["id"]
        if name != "searches":  # which has both, some after the others
            assert bool(record["spans"]) == (name != "queries_clean"), record["id"]


def test_no_text_or_template_stands_twice():
    seen = {}
    for name in TEXTS:
        for record in family(name):
            text = record["text"]
            for span in reversed(record["spans"]):
                text = f"{text[: span['start']]} {text[span['end'] :]}"
            frame = plain(text)
            assert len(frame.split()) < 3 or frame not in seen, (record["id"], seen.get(frame))
            seen[frame] = record["id"]


def test_typical_searches_are_of_both_kinds_in_each_half():
    counts = collections.Counter((record["split"], bool(record["spans"])) for record in family("searches"))
    assert counts == {(half, marked): 200 if marked else 125 for half in ("dev", "held") for marked in (True, False)}


def test_the_notes_hold_each_class_twelve_times():
    counts = collections.Counter(LABELS[span["label"]] for record in family("notes18") for span in record["spans"])
    assert set(counts) == set(LABELS.values())
    assert min(counts.values()) >= 12, counts


def test_checksums_of_the_notes_are_right():
    notes = [*family("notes18"), *family("queries")]
    npis = [value for value, before in marked(notes, "LICENSE") if "NPI" in before.upper()]
    assert len(npis) >= 12 and all(len(npi) == 10 and luhn("80840" + npi) for npi in npis)

    deas = [value for value, before in marked(notes, "LICENSE") if re.search(r"dea\s*$", before, re.I)]
    assert len(deas) >= 6
    for dea in deas:
        digits = [int(c) for c in dea[2:]]
        assert (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6], dea[:2]

    values = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    vins = [value for value, _ in marked(notes, "VEHICLE") if re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", value)]
    assert len(vins) >= 4
    for vin in vins:
        total = sum(w * (int(c) if c.isdigit() else values[c]) for c, w in zip(vin, weights, strict=True))
        assert vin[8] == "0123456789X"[total % 11], vin[:3]

    letter, either = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"
    mbi = re.compile(rf"[1-9]{letter}{either}\d-?{letter}{either}\d-?{letter}{letter}\d\d")  # CMS, Understanding the MBI
    assert sum(bool(mbi.fullmatch(value)) for value, _ in marked(family("notes18"), "BENEFICIARY")) >= 6
    for value, _ in marked(notes, "BENEFICIARY"):
        assert mbi.fullmatch(value) or not re.fullmatch(r"\w{4}-\w{3}-\w{4}|\w{11}", value), value[:3]


def test_checksums_of_cards_ibans_and_spanish_ids_are_right():
    cards = ibans = dnis = 0
    for value, _ in marked([*family("general"), *family("notes18")], "ACCOUNT"):
        if re.fullmatch(r"\d{4}( \d{4}){3}", value):
            cards += 1
            assert luhn(value.replace(" ", "")), value[:4]
        elif re.fullmatch(r"[A-Z]{2}\d\d( \w{1,4})+", value):
            ibans += 1
            compact = value.replace(" ", "")
            assert int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1, value[:4]
    for value, _ in marked(family("spanish"), "ID"):
        if found := re.fullmatch(r"([XYZ]\d{7}|\d{8})([A-Z])", value):
            dnis += 1
            number = int(found[1].translate(str.maketrans("XYZ", "012")))
            assert found[2] == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23], value[:2]
    assert cards >= 4 and ibans >= 3 and dnis >= 4
