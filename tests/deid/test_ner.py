"""The second pass: the shipped tagger, and any other token classifier."""

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.config import DeidConfig, home
from nosology.deid import ner
from nosology.deid.classifier import DEFAULT_THRESHOLD, safe_harbor
from nosology.deid.detect import Detector, load_tagger
from nosology.deid.languages import language
from nosology.deid.ner import _spans, _windows, load_tagging
from nosology.deid.shapes import shapes
from nosology.errors import ModelError

SHIPPED = language("en").tagger
BARE = "adaeze nwosu labs\nthe cousin of Tadeusz lives near Wągrowiec"


@pytest.fixture(scope="module")
def shipped():
    return load_tagging(SHIPPED, None)


def values(text, spans):
    return [text[s.start : s.end] for s in spans]


def test_shipped_tagger_finds_what_the_rules_cannot(shipped):
    assert not Detector(DeidConfig(), rules_only=True).find([BARE])[0]
    found = " ".join(values(BARE, shipped.find([BARE])[0]))
    assert "adaeze nwosu" in found and "Tadeusz" in found and "Wągrowiec" in found


def test_both_passes_together_keep_clinical_words():
    texts = [
        "Parkinson disease on carbidopa 25 mg, Foley catheter, strength 3/5",
        "AHA 2022 guideline heart failure",
        "E11.9, A1c 8.1 in 2019",
    ]
    assert Detector(DeidConfig()).find(texts) == [[], [], []]


def test_the_shipped_tagger_is_small_and_records_its_threshold(shipped):
    meta = json.loads((SHIPPED / "tagger.json").read_text())
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) < 12_000_000
    assert shipped.threshold == meta["threshold"] < DEFAULT_THRESHOLD
    assert load_tagging(SHIPPED, 0.7).threshold == 0.7


def test_a_class_has_its_own_threshold(shipped):
    plain, strict = shipped.find([BARE])[0], load_tagging(SHIPPED, thresholds={"NAME": 1.0}).find([BARE])[0]
    assert {s.label for s in plain} == {"NAME", "LOCATION"}
    assert "NAME" not in {s.label for s in strict} and [s for s in plain if s.label != "NAME"] == [
        s for s in strict if s.label == "LOCATION"
    ]


def test_a_class_for_the_rules_alone_is_not_asked_of_the_tagger():
    text = f"{BARE}\nDr. Okonkwo called. Adaeze is well."
    config = DeidConfig(rules_alone=("NAME",), accept_residual=True)
    found = Detector(config).find([text])[0]
    (name,) = (text[s.start : s.end] for s in found if s.label == "NAME")
    assert "Okonkwo" in name  # the rules' own; nor do the lists beside the tagger add one
    assert "Wągrowiec" in " ".join(text[s.start : s.end] for s in found)
    everything = Detector(config).sweep([text], (0.0,))[0][0]
    assert {s.label for s in everything if s.source == "tagger"} and not [
        s for s in everything if (s.label, s.source) == ("NAME", "tagger")
    ]


@pytest.mark.parametrize("kept", [{"rules_alone": ("LOCATION",)}, {"leave_out": ("LOCATION",)}, {}])
def test_a_model_knows_what_rules_do_not_find_or_somebody_accepts_it(other, kept):
    config = DeidConfig(ner=str(other), accept_residual=True, **kept)
    if kept:
        assert load_tagger(config).classes
    else:
        with pytest.raises(ModelError, match=r"is LOCATION, which rules.*rules_alone=\[LOCATION\], with --accept-residual"):
            load_tagger(config)


def test_a_sweep_finds_what_each_threshold_finds():
    texts = [BARE, "Call 415-555-0134", "", "nothing here", "in spring", "the Bexley form"]
    swept = Detector(DeidConfig()).sweep(texts, (0.05, 0.9, None))
    for threshold, found in zip((0.05, 0.9, None), swept, strict=True):
        assert found == Detector(DeidConfig(threshold=threshold)).find(texts)
    assert swept[0] != swept[1]


def test_a_class_that_is_left_out_stays_unless_another_claims_it():
    text = "Seen by Dr. Adaeze Nwosu, call 415-555-0134"
    keeps = Detector(DeidConfig(leave_out=("PHONE",), accept_residual=True)).find([text])[0]
    assert {s.label for s in keeps} == {"NAME"} and {s.label for s in Detector(DeidConfig()).find([text])[0]} == {"NAME", "PHONE"}


def test_same_answer_whatever_the_batch(shipped):
    texts = [BARE, "", "Dr. Ng", BARE * 30, " \n "]
    together = shipped.find(texts)
    for text, spans in zip(texts, together, strict=True):
        assert [(s.start, s.end) for s in shipped.find([text])[0]] == [(s.start, s.end) for s in spans]
        assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert together[1] == together[4] == []


# every label of MEDDOCAN's guideline
MEDDOCAN = {
    "NOMBRE_SUJETO_ASISTENCIA": "NAME", "NOMBRE_PERSONAL_SANITARIO": "NAME", "FAMILIARES_SUJETO_ASISTENCIA": "RELATIVE",
    "EDAD_SUJETO_ASISTENCIA": "AGE", "SEXO_SUJETO_ASISTENCIA": "SEX", "PROFESION": "PROFESSION", "FECHAS": "DATE", "CALLE": "LOCATION",
    "TERRITORIO": "LOCATION", "PAIS": "LOCATION", "HOSPITAL": "ORGANIZATION", "CENTRO_SALUD": "ORGANIZATION", "INSTITUCION": "ORGANIZATION",
    "NUMERO_TELEFONO": "PHONE", "NUMERO_FAX": "FAX", "CORREO_ELECTRONICO": "EMAIL", "URL_WEB": "URL", "DIREC_PROT_INTERNET": "IP",
    "ID_SUJETO_ASISTENCIA": "MRN", "ID_ASEGURAMIENTO": "BENEFICIARY", "NUMERO_BENEF_PLAN_SALUD": "BENEFICIARY",
    "ID_TITULACION_PERSONAL_SANITARIO": "LICENSE", "ID_CONTACTO_ASISTENCIAL": "ID", "ID_EMPLEO_PERSONAL_SANITARIO": "ID",
    "OTRO_NUMERO_IDENTIF": "ID", "OTROS_SUJETO_ASISTENCIA": "ID", "IDENTIF_VEHICULOS_NRSERIE_PLACAS": "VEHICLE",
    "IDENTIF_DISPOSITIVOS_NRSERIE": "DEVICE", "IDENTIF_BIOMETRICOS": "BIOMETRIC", "SEX": "SEX", "RELATIVE": "RELATIVE",
}  # fmt: skip


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B-PATIENT", "NAME"),
        ("L-STAFF", "NAME"),
        ("I-HOSP", "ORGANIZATION"),
        ("U-PATORG", "ORGANIZATION"),
        ("B-LOC", "LOCATION"),
        ("B-STREET", "LOCATION"),
        ("B-ZIP", "ZIP"),
        ("B-DATE", "DATE"),
        ("I-AGE", "AGE"),
        ("B-PHONE", "PHONE"),
        ("B-FAX", "FAX"),
        ("B-EMAIL", "EMAIL"),
        ("B-MEDICALRECORD", "MRN"),
        ("B-IDNUM", "ID"),
        ("B-USERNAME", "ID"),
        ("B-HEALTHPLAN", "BENEFICIARY"),
        ("B-PROFESSION", "PROFESSION"),
        *MEDDOCAN.items(),
        ("O", None),
        ("B-PER", "NAME"),
        ("S-DOCTOR", "NAME"),
        ("E-BIOID", "BIOMETRIC"),
        ("B-QUUX", "ID"),
        ("B-MISC", None),
    ],
)
def test_labels_of_other_models(label, expected):
    assert safe_harbor(label) == expected


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A random BIO classifier in the usual layout, with a tokenizer of its own."""
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    folder = tmp_path_factory.mktemp("model")
    labels = {0: "O", 1: "B-PATIENT", 2: "I-PATIENT", 3: "B-DATE"}
    config = BertConfig(
        vocab_size=30522,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    BertForTokenClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(home() / "encoder").save_pretrained(folder)
    return folder


def test_any_directory_works_with_the_default_threshold(other):
    tagging = load_tagging(str(other), None)
    assert tagging.threshold == DEFAULT_THRESHOLD == 0.85 and tagging.classes == (None, "NAME", "NAME", "DATE")
    assert not tagging.find(["Jane Doe came."])[0]  # a random model is sure of nothing
    everything = load_tagging(str(other), 0.0).find(["Jane Doe came."])[0]
    assert "".join(values("Jane Doe came.", everything)).replace(" ", "") == "JaneDoecame."


def test_directories_that_cannot_be_used(other, tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        load_tagging(str(tmp_path / "none"), None)
    with pytest.raises(ModelError, match="no token classifier"):
        load_tagging(str(home() / "encoder"), None)
    unnamed = tmp_path / "unnamed"
    shutil.copytree(other, unnamed)
    config = json.loads((unnamed / "config.json").read_text())
    config["id2label"] = {k: f"LABEL_{k}" for k in config["id2label"]}
    (unnamed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no label"):
        load_tagging(str(unnamed), None)
    broken = tmp_path / "broken"
    shutil.copytree(SHIPPED, broken)
    (broken / "model.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(ModelError):
        load_tagging(str(broken), None)


def changed(folder, file, **values):
    said = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    (folder / file).write_text(json.dumps(said | values))


def labelled(*names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}


@pytest.mark.parametrize(
    ("which", "file", "values", "why"),
    [
        ("own", "config.json", labelled("O", "NAME"), "names 2 labels, and its classifier has 7 rows.*id2label"),
        ("own", "config.json", labelled("O", *["NAME"] * 8), "names 9 labels, and its classifier has 7 rows"),
        ("other", "config.json", labelled("O", "B-PATIENT"), "names 2 labels, and its classifier has 4 rows"),
        ("other", "config.json", {"id2label": {0: "O", 2: "B-PATIENT", 3: "I-PATIENT", 4: "B-DATE"}}, "does not number its labels"),
        ("own", "config.json", {"num_attention_heads": 7}, "fails on a window.*heads.*Give the directory"),
        ("own", "config.json", {"num_attention_heads": None}, "does not describe its model"),
        ("other", "config.json", {"architectures": ["Tagger"]}, "no shapes.weight"),
        ("own", "config.json", {"hidden_act": "relu"}, "not a BERT-type model"),
        *(
            ("own", "tagger.json", values, "tagger.json is no number from 0 to 0.9")
            for values in (
                {"threshold": "high"}, {"threshold": 5}, {"threshold": -1}, {"threshold": 1.0}, {"threshold": None}, {"threshold": True},
                {"threshold": float("nan")}, {"thresholds": {"NAME": "x"}}, {"thresholds": {"NAME": 1}},
            )
        ),
        ("own", "tagger.json", {"thresholds": [1]}, "thresholds in .*tagger.json is no object of classes"),
        ("own", "tagger.json", {"thresholds": {"PERSON": 0.5}}, "thresholds in .*tagger.json is no object of classes"),
    ],
)  # fmt: skip
def test_what_a_directory_says_is_looked_at_when_it_is_opened(other, tmp_path, which, file, values, why):
    """Not at the first note, which would become a dead letter, nor never, so that nothing would be found."""
    shutil.copytree({"own": SHIPPED, "other": other}[which], tmp_path / "model")
    load_tagging(tmp_path / "model")
    changed(tmp_path / "model", file, **values)
    with pytest.raises(ModelError, match=why) as caught:
        load_tagging(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_labels_of_a_tagger_are_read_as_those_of_any_model(tmp_path, shipped):
    shutil.copytree(SHIPPED, tmp_path / "model")
    changed(tmp_path / "model", "config.json", **labelled("O", "PERSON", "GPE", "ORG", "DATE", "IDNUM", "PHONE"))
    assert load_tagging(tmp_path / "model").find([BARE]) == shipped.find([BARE])


def test_weights_that_are_not_there_or_not_finite_are_refused(other, tmp_path):
    from safetensors.numpy import load_file, save_file
    from transformers import AutoModelForTokenClassification

    for name in ("lacking", "endless", "whole"):
        shutil.copytree(other, tmp_path / name)
        changed(tmp_path / name, "config.json", hidden_act="relu")  # goes through transformers
    state = load_file(tmp_path / "lacking" / "model.safetensors")
    save_file({name: value for name, value in state.items() if "classifier" not in name}, tmp_path / "lacking" / "model.safetensors")
    assert AutoModelForTokenClassification.from_pretrained(tmp_path / "lacking") is not None, "filled by chance"
    with pytest.raises(ModelError, match="lack classifier"):
        load_tagging(tmp_path / "lacking")
    square = state["bert.encoder.layer.0.attention.self.query.weight"]
    shutil.copytree(other, tmp_path / "narrow")
    save_file({**state, "bert.encoder.layer.0.attention.self.query.weight": square[:3, :3]}, tmp_path / "narrow" / "model.safetensors")
    with pytest.raises(ModelError, match="narrow.*Give the directory"):
        load_tagging(tmp_path / "narrow")
    state["classifier.bias"][:] = float("nan")
    save_file(state, tmp_path / "endless" / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        load_tagging(tmp_path / "endless")
    assert load_tagging(tmp_path / "whole").classes == load_tagging(other).classes


@given(st.integers(0, 2000))
def test_windows_cover_every_token_and_overlap(length):
    windows = _windows(length)
    assert {i for a, b in windows for i in range(a, b)} == set(range(length))
    assert all(b - a <= 126 for a, b in windows)
    assert all(later[0] <= earlier[1] - 32 for earlier, later in zip(windows, windows[1:], strict=False))


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["Jane", "o", "mg", "-", "É9", "x1"]), max_size=8), st.data())
def test_spans_are_whole_words(words, data):
    """Whatever pieces a tokenizer makes and whichever of them are inside, whole words come out."""
    text = " ".join(words)
    offsets = [(i, i + 1) for i, c in enumerate(text) if c != " "]
    inside = data.draw(st.lists(st.sampled_from([0.0, 0.9]), min_size=len(offsets), max_size=len(offsets)))
    for span in _spans(text, offsets, inside, ["NAME"] * len(offsets), {"NAME": 0.5}):
        for edge in (span.start, span.end):
            assert not (0 < edge < len(text) and text[edge - 1].isalnum() and text[edge].isalnum())


def test_shapes_belong_to_words():
    text = "Jane DOE 42 x1 - mcDuff"
    starts = [0, 2, 5, 9, 12, 15, 17]
    assert shapes(text, [(i, i + 1) for i in starts]) == [2, 2, 3, 5, 6, 7, 4]
    assert shapes(text, [(0, 0), (17, 18)]) == [0, 4]


def test_a_long_text_is_tagged_as_if_in_one_piece(shipped, monkeypatch):
    """However small the pieces that are tokenized at once, and where they end."""
    text = "\n".join(f"{BARE} on day {n}. Dr. Ngozi Łukasz-Pérez, Wągrowiec.\t\u00a0Blood pressure fell." for n in range(30))
    whole = shipped.find([text])
    for size in (50, 333, 1000):
        monkeypatch.setattr(ner, "PIECE_CHARACTERS", size)
        assert shipped.find([text]) == whole
    assert whole[0]


@given(st.text("a \n\u00a0", max_size=60), st.integers(2, 9))
def test_pieces_are_the_text_and_cut_no_word_that_is_shorter_than_half_of_one(text, size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ner, "PIECE_CHARACTERS", size)
        pieces = list(ner._pieces(text))
    assert "".join(piece for _, piece in pieces) == text
    assert all(text[start:].startswith(piece) and len(piece) <= size for start, piece in pieces)
    for start, _ in pieces[1:]:
        assert text[start].isspace() or len(text[:start].split()[-1]) >= size // 2


class Walked(str):
    """Counts the characters that are read."""

    read = 0

    def __getitem__(self, place):
        Walked.read += 1
        return super().__getitem__(place)


def test_a_word_of_many_tokens_is_walked_through_once():
    text = Walked("a" * 3000)
    spans = _spans(text, [(n, n + 2) for n in range(0, 3000, 2)], [0.9] * 1500, ["ID"] * 1500, {"ID": 0.5})
    assert [(span.start, span.end) for span in spans] == [(0, 3000)]
    assert Walked.read < 20_000


def test_the_second_pass_needs_no_torch():
    """A worker for each core holds no second copy of it."""
    code = (
        "import sys; from nosology.config import DeidConfig; from nosology.deid.detect import Detector; "
        f"found = Detector(DeidConfig()).find([{BARE!r}]); assert found[0]; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_thresholds_of_single_classes(shipped):
    text = BARE
    names = [s for s in shipped.find([text])[0] if s.label == "NAME"]
    fewer = load_tagging(SHIPPED, None, {"NAME": 1.1}).find([text])[0]
    assert names and not [s for s in fewer if s.label == "NAME"]
