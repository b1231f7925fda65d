"""The sealed table: with the key a record is what it was, without it nothing can be read."""

import datetime
import json

import pyarrow as pa
import pytest
from fixed_key import fixed
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
from nosology.deid.sealing import policy_digest, seal, unseal
from nosology.deid.secret import Secret
from nosology.deid.stage import Deidentify
from nosology.errors import InputError
from nosology.records import RawClaim, RawDocument, RawPatient, from_dict, to_dict

SECRET = Secret(b"k" * 32)
KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
TEXT = "Dr. Quackenbush saw Zebulon Quackenbush, DOB 03/14/1950, on 2021-06-09. Zürich \U0001f600 MRN: 00412345."
VALUES = ("Quackenbush", "Zebulon", "03/14", "00412345", "pat-1", "Cambridge")


@pytest.fixture(scope="module", params=["tags", "surrogates"])
def stage(request, tmp_path_factory):
    file = fixed(tmp_path_factory.mktemp("k") / "key", SECRET.key[0])
    made = Deidentify(DeidConfig(key_file=file, reversible=True, rewrite=request.param, dates="shift"))
    made._detector = Detector(made._config, rules_only=True)
    return made


def rows():
    patient = RawPatient(
        patient_id="pat-1", names=("Zebulon Quackenbush",), birth_date=datetime.date(1980, 5, 5), postal_code="02139", state="MA",
        city="Cambridge", identifiers=("1",), **KEY,
    )  # fmt: skip
    claim = {
        **KEY, "claim_id": "c1", "patient_id": "pat-1", "form": "professional", "service_from": datetime.date(2021, 6, 9),
        "lines": [{"number": 1, "system": "HCPCS", "code": "99213", "modifiers": [], "service_date": datetime.date(2021, 6, 9)}],
    }  # fmt: skip
    note = RawDocument(document_id="doc-1", patient_id="pat-1", text=TEXT, date=datetime.date(2021, 6, 9), **KEY)
    found = [("patients", patient), ("claims", from_dict(RawClaim, claim)), ("documents", note)]
    return [{**to_dict(record), "_table": table} for table, record in found]


def test_a_record_is_what_it_was(stage):
    out = stage.process(rows())
    clean_text = out["documents"][0]["text"]
    opened = {row["table"]: unseal(row, SECRET, clean_text) for row in out["sealed"]}
    assert opened["documents"]["text"] == TEXT != clean_text
    assert opened["documents"]["fields"]["document_id"] == "doc-1" and opened["documents"]["fields"]["date"] == "2021-06-09"
    patient = opened["patients"]["fields"]
    assert patient["names"] == ["Zebulon Quackenbush"] and patient["birth_date"] == "1980-05-05" and patient["city"] == "Cambridge"
    assert patient["patient_id"] == "pat-1" and patient["postal_code"] == "02139" and "state" not in patient
    assert opened["claims"]["fields"]["lines"][0]["service_date"] == "2021-06-09"
    assert {row["patient_id"] for row in opened.values()} == {out["patients"][0]["patient_id"]} != {"pat-1"}
    assert opened["claims"]["record_id"] == out["claims"][0]["claim_id"]


def test_no_value_can_be_read_in_the_row(stage):
    sealed = stage.process(rows())["sealed"]
    table = pa.Table.from_pylist(sealed, schema=stage.schemas()["sealed"])
    raw = (
        b"".join(chunk for row in sealed for chunk in (row["nonce"], row["content"]))
        + json.dumps(table.drop(["nonce", "content"]).to_pylist()).encode()
    )
    for value in VALUES:
        assert value.encode() not in raw
    assert len({row["nonce"] for row in sealed}) == len(sealed) and {len(row["nonce"]) for row in sealed} == {12}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source_row", 4),
        ("source_digest", "e" * 64),
        ("table", "claims"),
        ("record_id", "x"),
        ("patient_id", None),
        ("policy", "0" * 64),
        ("nonce", b"0" * 12),
    ],
)
def test_what_was_changed_is_not_opened(stage, field, value):
    out = stage.process(rows())
    row = {**out["sealed"][-1], field: value}
    with pytest.raises(InputError, match="another key sealed it, or it was changed") as caught:
        unseal(row, SECRET, out["documents"][0]["text"])
    assert not any(one in str(caught.value) for one in VALUES)


def test_another_key_opens_nothing(stage):
    out = stage.process(rows())
    with pytest.raises(InputError):
        unseal(out["sealed"][0], Secret(b"l" * 32))
    content = bytearray(out["sealed"][0]["content"])
    content[5] ^= 1
    with pytest.raises(InputError):
        unseal({**out["sealed"][0], "content": bytes(content)}, SECRET)


def test_a_changed_clean_text_is_refused(stage):
    out = stage.process(rows())
    with pytest.raises(InputError, match="clean text is not what it was"):
        unseal(out["sealed"][-1], SECRET, out["documents"][0]["text"] + " ")
    with pytest.raises(InputError, match="no clean text"):
        unseal(out["sealed"][-1], SECRET)


def test_only_a_reversible_policy_seals(tmp_path):
    made = Deidentify(DeidConfig(key_file=str(tmp_path / "k")))
    assert "sealed" not in made.schemas() and DeidConfig().reversible is False
    made._detector = Detector(made._config, rules_only=True)
    assert "sealed" not in made.process(rows())


def test_the_policy_is_what_decides_what_is_removed():
    first = policy_digest(DeidConfig(), SECRET)
    assert first == policy_digest(DeidConfig(reversible=True, key_file="elsewhere"), SECRET)
    assert first == policy_digest(DeidConfig(policy="safe_harbor"), SECRET)
    spanish = [policy_digest(DeidConfig(language="es", policy=name), SECRET) for name in ("safe_harbor", "meddocan")]
    assert len({first, *spanish}) == 3
    others = [
        policy_digest(DeidConfig(**one), SECRET)
        for one in ({"dates": "shift"}, {"rewrite": "mask"}, {"zip_list": 2000}, {"threshold": 0.5})
    ]
    assert len({first, *others, policy_digest(DeidConfig(), Secret(b"l" * 32))}) == 6


def test_a_text_with_odd_characters_comes_back():
    text = "a \ud800 b \x00 name"
    note = {**KEY, "document_id": "d", "text": text}
    cleaned = {"document_id": "x", "patient_id": None}
    row = seal("documents", note, cleaned, "p", SECRET, text=text, edits=[(8, 12, 8, 10)])
    assert unseal(row, SECRET, text[:8] + "**")["text"] == text
