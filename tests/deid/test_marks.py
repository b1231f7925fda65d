"""Cleaning what is clean changes nothing, in every mode: records are known by their mark."""

import dataclasses
import datetime
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixed_key import fixed
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
from nosology.deid.stage import Deidentify
from nosology.records import CLEAN_TABLES, RawClaim, RawDocument, RawPatient, from_dict, to_dict

KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
DAY = datetime.date(2021, 6, 9)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return fixed(tmp_path_factory.mktemp("k") / "key")


def stage_of(key, **config):
    made = Deidentify(DeidConfig(key_file=key, **config))
    made._detector = Detector(made._config, rules_only=True)
    return made


def rows():
    claim = {
        **KEY, "claim_id": "c1", "patient_id": "p", "form": "professional", "service_from": DAY, "total_charge": 100,
        "lines": [{"number": 1, "system": "HCPCS", "code": "99213", "modifiers": ["25"], "quantity": 1, "service_date": DAY}],
        "diagnoses": [{"system": "ICD-10-CM", "code": "E11.9", "kind": "principal"}],
    }  # fmt: skip
    note = RawDocument(document_id="d", patient_id="p", text="Ms. Okonkwo, seen 06/09/2021, MRN: 00412345.", date=DAY, age=70, **KEY)
    patient = RawPatient(patient_id="p", names=("A B",), birth_date=DAY, postal_code="02139", **KEY)
    return [{**to_dict(r), "_table": t} for t, r in (("claims", from_dict(RawClaim, claim)), ("documents", note), ("patients", patient))]


def again(stage, out):
    """The Clean tables as the next run reads them."""
    found = []
    for name in CLEAN_TABLES.keys() & out.keys():
        data = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(out[name], schema=stage.schemas()[name]), data)
        found += [{**row, "_table": name} for row in pq.read_table(data).to_pylist()]
    return found


@pytest.mark.parametrize("mode", ["tags", "mask", "surrogates"])
@pytest.mark.parametrize("dates", ["year", "shift"])
def test_a_second_pass_changes_nothing(key, mode, dates):
    stage = stage_of(key, rewrite=mode, dates=dates, reversible=True)
    first = again(stage, stage.process(rows()))
    out = stage.process(first)
    second = again(stage, out)
    order = sorted(CLEAN_TABLES)
    assert sorted(first, key=lambda row: order.index(row["_table"])) == sorted(second, key=lambda row: order.index(row["_table"]))
    assert len(first) == 3 and out["audit"][0]["spans"] == [] and "sealed" not in out
    assert all(row["mark"] for row in first)


def test_what_is_not_this_policys_own_work_is_cleaned(key, tmp_path):
    stage = stage_of(key, rewrite="surrogates")
    first = again(stage, stage.process(rows()))
    assert stage_of(key, rewrite="surrogates", reversible=True).process(first)["documents"][0] == {
        name: value for name, value in next(row for row in first if row["_table"] == "documents").items() if name != "_table"
    }
    for other in (stage_of(key, rewrite="surrogates", dates="shift"), stage_of(fixed(tmp_path / "k", 0x6C), rewrite="surrogates")):
        for row in first:
            out = other.process([row])[row["_table"]][0]
            assert out["patient_id"] != row["patient_id"] and out["mark"] != row["mark"]


@pytest.mark.parametrize("table", ["claims", "documents", "patients"])
def test_a_changed_record_is_cleaned_again(key, table):
    stage = stage_of(key, rewrite="surrogates")
    row = next(row for row in again(stage, stage.process(rows())) if row["_table"] == table)
    names = {item.name for item in dataclasses.fields(CLEAN_TABLES[table])}
    for change in ({"patient_id": "pat-1"}, {"mark": "0" * 16}, {"source_row": 4}):
        out = stage.process([{**row, **change}])[table][0]
        assert out["patient_id"] not in (row["patient_id"], "pat-1") and out.keys() == names
    kept = stage.process([{**row, "names": ["Zebulon"], "city": "Cambridge"}])[table][0]
    assert kept == {name: row[name] for name in names}  # further columns do not pass
