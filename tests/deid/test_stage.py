"""The stage: documents, users' rows, structured tables; nothing of a record in an error."""

import datetime
import json
import pickle

import pyarrow as pa
import pytest
from fixed_key import fixed
from nosology.config import Config, DeidConfig
from nosology.deid.stage import Deidentify, span_line
from nosology.deid.structured import clean
from nosology.errors import RecordError
from nosology.records import CLEAN_TABLES, TABLES, RawClaim, RawDocument, RawEncounter, RawPatient, arrow_schema, from_dict, to_dict

KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
DAY = datetime.date(2021, 6, 9)
CANARY = "Zebulon Quackenbush"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Deidentify(DeidConfig(key_file=fixed(tmp_path_factory.mktemp("k") / "key")))
    made.open()
    return made


def rows_of(table, record):
    return [{**to_dict(record), "_table": table}]


def note(text, **fields):
    return RawDocument(text=text, date=DAY, **{"document_id": "doc-1", "patient_id": "pat-1", **KEY, **fields})


def test_document_is_cleaned_with_an_audit_without_text(stage):
    text = "Patient: Doe, Jane\nDOB: 03/14/1950\nMs. Doe takes metformin 500 mg for E11.9, strength 3/5. Call 415-555-0134."
    out = stage.process(rows_of("documents", note(text)))
    (document,), (audit,) = out["documents"], out["audit"]
    assert (
        "Doe" not in document["text"] and "1950" in document["text"] and "03/14" not in document["text"] and "0134" not in document["text"]
    )
    assert "metformin 500 mg for E11.9, strength 3/5" in document["text"]
    assert document["document_id"] not in ("doc-1",) and document["date"] == datetime.date(2021, 1, 1)
    assert {s["label"] for s in audit["spans"]} >= {"NAME", "DATE", "PHONE"} and audit["num_characters"] == len(text)
    assert "Doe" not in json.dumps(audit)
    for name, schema in stage.schemas().items():
        pa.Table.from_pylist(out.get(name, []), schema=schema)


@pytest.mark.parametrize("settings", [{}, {"rewrite": "surrogates", "dates": "shift"}])
def test_the_audit_maps_places_of_the_note_to_the_clean_one(settings):
    text = "Ms. Maribel Quackenbush, 94 F, seen 03/14/2021, well since 2019. Call 415-555-0134 or Ms. Quackenbush's son."
    stage = Deidentify(DeidConfig(**settings))
    out = stage.process(rows_of("documents", note(text)))
    clean, removals = out["documents"][0]["text"], out["audit"][0]["spans"]
    assert len(removals) >= 5 and all(
        clean[r["new_start"] : r["new_end"]] != text[r["start"] : r["end"]] or r["source"] == "year" for r in removals
    )
    at = new = 0
    for removal in [*removals, {"start": len(text), "new_start": len(clean), "end": 0, "new_end": 0}]:
        assert text[at : removal["start"]] == clean[new : removal["new_start"]]
        at, new = removal["end"], removal["new_end"]


def test_authors_of_the_record_are_found_in_its_note(stage):
    out = stage.process(rows_of("documents", note("plan per quackenbush and others", authors=(CANARY,))))
    assert "quackenbush" not in out["documents"][0]["text"]


def test_links_between_tables_survive(stage):
    patient = RawPatient(
        patient_id="pat-1",
        names=(CANARY,),
        birth_date=datetime.date(1980, 5, 5),
        postal_code="02139",
        state="MA",
        city="Cambridge",
        identifiers=("1",),
        **KEY,
    )
    encounter = RawEncounter(encounter_id="e1", patient_id="pat-1", start_date=DAY, providers=(CANARY,), facility="St X", **KEY)
    claim = from_dict(
        RawClaim,
        {
            **KEY,
            "claim_id": "c1",
            "patient_id": "pat-1",
            "encounter_id": "e1",
            "form": "professional",
            "service_from": DAY,
            "patient_names": [CANARY],
            "lines": [
                {"number": 1, "system": "HCPCS", "code": "99213", "modifiers": ["25"], "service_date": DAY, "diagnosis_pointers": [1]}
            ],
            "diagnoses": [{"system": "ICD-10-CM", "code": "E11.9", "kind": "principal"}],
            "birth_date": datetime.date(1980, 5, 5),
            "postal_code": "036019999",
        },
    )
    out = stage.process(
        rows_of("patients", patient) + rows_of("encounters", encounter) + rows_of("claims", claim) + rows_of("documents", note("x"))
    )
    ids = {out[name][0]["patient_id"] for name in ("patients", "encounters", "claims", "documents")}
    assert len(ids) == 1 and ids != {"pat-1"}
    assert out["claims"][0]["encounter_id"] == out["encounters"][0]["encounter_id"] != "e1"
    assert (
        out["patients"][0]["birth_date"] == datetime.date(1980, 1, 1)
        and out["patients"][0]["postal_code"] == "021"
        and out["patients"][0]["state"] == "MA"
    )
    cleaned = out["claims"][0]
    assert (
        cleaned["lines"][0]["service_date"] == datetime.date(2021, 1, 1)
        and cleaned["lines"][0]["code"] == "99213"
        and cleaned["lines"][0]["modifiers"] == ["25"]
    )
    assert cleaned["diagnoses"][0]["code"] == "E11.9" and cleaned["postal_code"] == "000"
    dumped = json.dumps(out, default=str)
    assert not any(value in dumped for value in (CANARY, "pat-1", "Cambridge", "St X", "2021-06-09"))
    for name in ("patients", "encounters", "claims"):
        pa.Table.from_pylist(out[name], schema=arrow_schema(CLEAN_TABLES[name]))
        from_dict(CLEAN_TABLES[name], out[name][0])


def test_ages_over_89_and_births_that_tell_them(stage, tmp_path):
    config, secret = stage._config, stage._secret
    old = RawPatient(patient_id="p", birth_date=datetime.date(1930, 5, 5), death_date=datetime.date(2020, 2, 2), **KEY)
    assert clean("patients", to_dict(old), config, secret)["birth_date"] is None
    assert stage.process(rows_of("documents", note("x", age=92.0)))["documents"][0]["age"] is None
    assert stage.process(rows_of("documents", note("x", age=89.0)))["documents"][0]["age"] == 89.0


def test_shift_moves_all_dates_of_a_patient_alike(stage):
    config = DeidConfig(dates="shift")
    first = clean(
        "encounters",
        to_dict(RawEncounter(encounter_id="e", patient_id="p", start_date=DAY, end_date=DAY + datetime.timedelta(3), **KEY)),
        config,
        stage._secret,
    )
    second = clean("documents", to_dict(note("x", patient_id="p")), config, stage._secret, text="x")
    assert first["end_date"] - first["start_date"] == datetime.timedelta(3)
    assert second["date"] == first["start_date"] != DAY


def test_every_table_has_a_clean_form(stage):
    assert set(TABLES) == set(CLEAN_TABLES) <= set(stage.schemas())


def test_users_rows_get_one_row_of_spans_each_without_their_ids(stage):
    rows = [
        {**KEY, "source_row": n, "_table": "rows", "id": i, "text": t}
        for n, (i, t) in enumerate([(7, "Dr. Okonkwo called"), ("a", ""), (None, "fine"), (2.5, "ok")])
    ]
    out = stage.process(rows)
    assert [r["source_row"] for r in out["spans"]] == [0, 1, 2, 3] and all("id" not in r for r in out["spans"])
    assert [len(r["spans"]) for r in out["spans"]] == [1, 0, 0, 0]
    assert json.loads(span_line(7, out["spans"][0]["spans"])) == {"id": 7, "spans": [{"start": 4, "end": 11, "label": "NAME"}]}
    pa.Table.from_pylist(out["spans"], schema=stage.schemas()["spans"])
    pa.Table.from_pylist(out["documents"], schema=stage.schemas()["documents"])


def test_rows_without_an_id_are_told_apart(stage):
    rows = [{**KEY, "source_row": n, "_table": "rows", "id": i, "text": "fine"} for n, i in enumerate([None, None, "None"])]
    assert len({row["document_id"] for row in stage.process(rows)["documents"]}) == 3


@pytest.mark.parametrize("identity", [{"x": 1}, [1]])
def test_an_id_is_one_value(stage, identity):
    with pytest.raises(RecordError, match="wrong_type"):
        stage.process([{**KEY, "_table": "rows", "id": identity, "text": "fine"}])


def test_columns_by_configuration(tmp_path):
    columns = Config.model_validate({"input": {"text_column": "body", "id_column": "key"}}).input
    made = Deidentify(DeidConfig(key_file=str(tmp_path / "k")), columns)
    out = made.process(
        [{**KEY, "_table": "rows", "key": "r1", "body": "Dr. Okonkwo", "sex": "F", "age": "93", "date_of_service": "2021-06-09"}]
    )
    assert (
        out["documents"][0]["text"] == "Dr. [NAME]"
        and out["documents"][0]["age"] is None
        and out["documents"][0]["date"] == datetime.date(2021, 1, 1)
    )


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"id": CANARY}, "missing_field"),
        ({"text": CANARY}, "missing_field"),
        ({"id": "1", "text": [CANARY]}, "wrong_type"),
        ({"id": "1", "text": CANARY * 1_200_000}, "too_long"),
        ({"_table": "claims", "claim_id": CANARY, "form": "x", "service_from": CANARY}, "wrong_type"),
        ({"_table": "claims", "form": CANARY}, "missing_field"),
        ({"_table": CANARY}, "unknown_table"),
    ],
)
def test_a_bad_row_is_named_without_its_text(stage, row, code):
    with pytest.raises(RecordError) as caught:
        stage.process([{**KEY, "_table": "rows", **row}])
    assert caught.value.reason.code == code
    assert "Zebulon" not in str(caught.value) and "Zebulon" not in repr(caught.value.reason)


def test_stage_travels_to_workers_with_its_key_and_without_its_model(stage):
    sent = pickle.loads(pickle.dumps(stage))
    assert sent._detector is None and sent._secret == stage._secret
    assert sent.fingerprint() == stage.fingerprint() and stage._secret.key.hex() not in json.dumps(stage.fingerprint())


def test_a_long_note_is_whole(stage):
    """A name in the last line of a note of 300,000 characters; windows do not lose it and offsets stay exact."""
    filler = "The patient denies chest pain and takes metformin 500 mg.\n" * 5000
    text = filler + "Signed by Dr. Okonkwo"
    out = stage.process([{**KEY, "_table": "rows", "id": 1, "text": text}])
    spans = out["spans"][0]["spans"]
    assert [text[s["start"] : s["end"]] for s in spans][-1] == "Okonkwo"
    assert sum(s["end"] - s["start"] for s in spans) < 100


def test_cleaning_clean_text_changes_nothing(stage):
    text = "Patient: Doe, Jane, 92-year-old, DOB 03/14/1926, seen 06/09/2021 by Dr. Okonkwo, MRN: 00482913, ZIP 02139, lives in Kenosha."
    once = stage.process(rows_of("documents", note(text)))["documents"][0]["text"]
    assert stage.process(rows_of("documents", note(once)))["documents"][0]["text"] == once
