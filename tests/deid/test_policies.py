"""What a policy takes of what was found, and what it puts in the place of an age."""

import dataclasses
import datetime
import json
from pathlib import Path

import pytest
from nosology.config import Config, DeidConfig
from nosology.deid import proof
from nosology.deid.detect import Detector
from nosology.deid.languages import LANGUAGES, language
from nosology.deid.policies import POLICIES, policy_of, told_age
from nosology.deid.proof import policy as described
from nosology.deid.proof import settings_of
from nosology.deid.rewrite import rewrite
from nosology.deid.secret import Secret
from nosology.deid.stage import Deidentify
from nosology.deid.structured import clean
from nosology.errors import ConfigError
from nosology.records import CLEAN_TABLES, TABLES, RawClaim, RawDocument, RawPatient, Span, to_dict
from nosology.verbs.proof import measure as measured

KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
DAY = datetime.date(2021, 3, 14)
PERSON = {"sex": "female", "state": "MA", "postal_code": "28013", "birth_date": datetime.date(1967, 5, 2)}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("92", "old"), ("97 años", "old"), ("97 meses", "young"), ("110 días de vida", "young"), ("54 años", "young"), ("lactante", "young"),
        ("nonagenarian", "old"), ("ninety-two", "old"), ("92 years and 3 months", "old"), ("in her nineties", "old"), ("ninetieth", "old"), ("nineteenth", None), ("fifty-two", "young"),
        ("sixty to seventy", "young"), ("one hundred and two", "old"), ("95months", "young"), ("cincuenta y dos años", "young"),
        ("noventa y dos años", "old"), ("ciento tres años", "old"), ("veinte", "young"), ("of middle age", None), ("ninth decade", None),
    ],
)  # fmt: skip
def test_what_an_age_says(value, told):
    assert told_age(value) == told


@pytest.mark.parametrize(
    ("value", "new"),
    [("97 meses", "[AGE]"), ("54 años", "[AGE]"), ("97 años", "90+"), ("cincuenta y dos años", "[AGE]")],
)
def test_spanish_ages(value, new):
    span = Span(start=0, end=len(value), label="AGE")
    assert rewrite(value, [span], DeidConfig(language="es"), Secret(b"k" * 32), patient="p").text == new
    assert POLICIES["safe_harbor"].takes(value, span, DAY) == (new == "90+")


@pytest.mark.parametrize("policy", ["safe_harbor", "meddocan"])
def test_a_spanish_year_of_birth_goes_where_it_tells_an_age_over_89(policy):
    """One that tells none is no age, of which meddocan takes every one; as a year it is cut to itself."""
    detector = Detector(DeidConfig(language="es", policy=policy, as_of=datetime.date(2026, 1, 1)), rules_only=True)
    for text in ("nacida en {}", "FN: {}", "Fecha de nacimiento: {}", "nacido en Soria en {}"):
        found = detector.find([text.format(1936), text.format(1937)])
        values = [
            [(s.label, one[s.start : s.end]) for s in spans if s.label == "AGE"]
            for one, spans in zip((text.format(1936), text.format(1937)), found, strict=True)
        ]
        assert values == [[("AGE", "1936")], []], text


def test_each_language_has_its_policy():
    assert policy_of(DeidConfig()).name == "safe_harbor" and policy_of(DeidConfig(language="es")).name == "meddocan"
    assert policy_of(DeidConfig(language="es", policy="safe_harbor")).name == "safe_harbor"
    year, sex = Span(start=0, end=4, label="DATE"), Span(start=0, end=4, label="SEX")
    assert POLICIES["meddocan"].takes("2019", year, DAY) and not POLICIES["safe_harbor"].takes("2019", year, DAY)
    assert POLICIES["meddocan"].takes("niña", sex, DAY) and not POLICIES["safe_harbor"].takes("niña", sex, DAY)


@pytest.mark.parametrize(
    ("table", "record", "told"),
    [
        ("patients", RawPatient(patient_id="p", **PERSON, **KEY), ("sex", "state", "birth_date")),
        ("documents", RawDocument(document_id="d", text="x", date=DAY, sex="female", age=53.0, **KEY), ("sex", "age")),
        ("claims", RawClaim(claim_id="c", form="professional", service_from=DAY, **PERSON, **KEY), ("sex", "state")),
    ],
)
def test_meddocan_governs_columns_as_it_governs_notes(table, record, told):
    def cleaned(policy):
        config = DeidConfig(language="es", policy=policy)
        return clean(table, to_dict(record), config, Secret(b"k" * 32), text="x")

    kept, gone = cleaned("safe_harbor"), cleaned("meddocan")
    assert all(kept[name] is not None for name in told), "Safe Harbor keeps them, so that the test can fail"
    assert {name: gone[name] for name in told} == dict.fromkeys(told)
    assert gone.get("postal_code") is None
    same = kept.keys() - set(told)
    assert {name: gone[name] for name in same} == {name: kept[name] for name in same}


def test_a_policys_columns_are_columns_and_may_be_none():
    for policy in POLICIES.values():
        for name in policy.columns:
            held = [record for record in TABLES.values() if name in {item.name for item in dataclasses.fields(record)}]
            assert held, name
            clean_ones = [item for record in CLEAN_TABLES.values() for item in dataclasses.fields(record) if item.name == name]
            assert all(item.default is None for item in clean_ones), name


def test_a_language_refuses_a_policy_that_it_has_no_rules_for():
    with pytest.raises(ConfigError, match="meddocan.*language en.*offer it: es"):
        policy_of(DeidConfig(policy="meddocan"))
    for code in LANGUAGES:
        spoken = language(code)
        assert spoken.policy in spoken.policies and POLICIES.keys() >= set(spoken.policies)


def test_the_refusal_comes_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="deid.policy"):
        Deidentify(DeidConfig(policy="meddocan", key_file=str(tmp_path / "key")))


def test_no_digit_of_a_spanish_postal_code_stays(tmp_path):
    """Its first two are the province, and no list says how few people share three."""
    text = "Domicilio en 28013 Madrid"
    span = Span(start=13, end=18, label="ZIP")
    for policy in ("safe_harbor", "meddocan"):
        config = DeidConfig(language="es", policy=policy)
        assert rewrite(text, [span], config, Secret(b"k" * 32), patient="p").text == "Domicilio en [ZIP] Madrid"
        row = clean("patients", to_dict(RawPatient(patient_id="p", **PERSON, **KEY)), config, Secret(b"k" * 32))
        assert "280" not in json.dumps(row, default=str) and row["postal_code"] is None
    assert clean("patients", to_dict(RawPatient(patient_id="p", **PERSON, **KEY)), DeidConfig(), Secret(b"k" * 32))["postal_code"] == "280"


@pytest.mark.parametrize(("policy", "sex"), [("meddocan", "SEX"), ("safe_harbor", None)])
def test_gold_of_meddocan_is_measured_by_the_policy(policy, sex, tmp_path):
    """What Safe Harbor keeps is no miss; what MEDDOCAN removes is one."""
    gold = tmp_path / "gold.jsonl"
    labels = ("SEXO_SUJETO_ASISTENCIA", "NOMBRE_SUJETO_ASISTENCIA")
    gold.write_text(json.dumps({"id": 1, "text": "mujer", "spans": [{"start": 0, "end": 5, "label": name} for name in labels]}) + "\n")
    config = Config.model_validate({"deid": {"language": "es", "policy": policy}})
    report = measured(config, str(gold), None)
    assert report["gold"]["classes"] == {labels[0]: sex, labels[1]: "NAME"} and not report["gold"]["unmapped"]


def test_the_bundle_says_what_becomes_of_a_postal_code():
    def said(**settings):
        told = described(settings_of(DeidConfig(**settings)))["categories"]
        return next(one["treatment"] for one in told if one["class"] == "ZIP")

    assert said().startswith("first three digits") and said(language="es") == "[ZIP]"


@pytest.mark.parametrize("value", ["cincuenta y dos años", "tres años", "veinte años", "de 54 años"])
def test_safe_harbor_keeps_spanish_ages_to_89(value):
    assert not POLICIES["safe_harbor"].takes(value, Span(start=0, end=len(value), label="AGE"), DAY)
    assert POLICIES["meddocan"].takes(value, Span(start=0, end=len(value), label="AGE"), DAY)


@pytest.mark.parametrize(
    "text",
    [
        "BNP of 2012 pg/mL",
        "WBC of 2000",
        "a calcium score of 1999",
        "intake in 24 h, of 2000 cc",
        "diet of 1800 calories",
        "up from 1900",
        "dosis de 2000 UI",
    ],
)
def test_a_shift_moves_no_quantity(text):
    done = [rewrite(text, [], DeidConfig(dates="shift"), Secret(bytes([n]) * 32), patient="p").text for n in range(20)]
    assert set(done) == {text}


def test_a_shift_moves_a_year_that_a_word_marks():
    done = {rewrite("MI in 2012", [], DeidConfig(dates="shift"), Secret(bytes([n]) * 32), patient="p").text for n in range(40)}
    assert len(done) > 1


def test_the_digest_of_the_rules_covers_what_lies_beside_them():
    package = Path(proof.__file__).parents[1]
    assert all((package / name).exists() for name in proof._BESIDE)
    assert "phi" in (package / "records" / "parts.py").read_text()  # the treatments are where the digest looks for them
