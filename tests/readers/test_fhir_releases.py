"""FHIR STU3, R4 and R5: what each release names otherwise; Bundles, arrays; resources in error; samples against fhir.resources."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
import test_fhir_notes as notes
from nosology.records import Adjustment, Coding, Diagnosis

DAY = datetime.date
SHARED = Path(__file__).parents[3] / "shared" / "data" / "claims" / "fhir"
SUBJECT = {"reference": "Patient/p1"}
ICD10 = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E1165"}]}
CPT = {"coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "99213"}]}

STU3: dict[str, dict[str, Any]] = {
    "Encounter": {
        "resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "IMP"}, "subject": SUBJECT, "reason": [ICD10],
        "period": {"start": "2016-02-29", "end": "2016-03-01"}, "participant": [{"individual": {"display": "Dr. Who"}}],
    },
    "Condition": {
        "resourceType": "Condition", "id": "c1", "clinicalStatus": "active", "verificationStatus": "confirmed", "code": ICD10,
        "subject": SUBJECT, "context": {"reference": "Encounter/e1"}, "onsetDateTime": "2016-01-02",
    },
    "Procedure": {
        "resourceType": "Procedure", "id": "x1", "status": "completed", "code": CPT, "subject": SUBJECT, "reasonCode": [ICD10],
        "context": {"reference": "Encounter/e1"}, "performedDateTime": "2016-02-29T08:00:00Z", "performer": [{"actor": {"display": "Dr. Who"}}],
    },
    "DocumentReference": {
        "resourceType": "DocumentReference", "id": "d1", "status": "current", "type": {"text": "Progress note"}, "subject": SUBJECT,
        "indexed": "2016-03-02T00:00:00Z", "author": [{"display": "Dr. Who"}], "content": [{"attachment": {"data": "U2Vlbi4="}}],
        "context": {"encounter": {"reference": "Encounter/e1"}, "related": [{"ref": {"reference": "Claim/k1"}}]},
    },
    "DiagnosticReport": {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"text": "CT"}, "subject": SUBJECT,
        "context": {"reference": "Encounter/e1"}, "performer": [{"actor": {"display": "Dr. Who"}}], "conclusion": "No mass.",
        "issued": "2016-03-02T00:00:00Z",
    },
    "Composition": {
        "resourceType": "Composition", "id": "k9", "status": "final", "type": {"text": "Summary"}, "subject": SUBJECT, "title": "Summary",
        "encounter": {"reference": "Encounter/e1"}, "date": "2016-03-01", "author": [{"display": "Dr. Who"}],
        "section": [{"title": "Plan", "text": notes.div("Rest.")}],
    },
    "Claim": {
        "resourceType": "Claim", "id": "k1", "status": "active", "use": "complete", "type": {"coding": [{"code": "professional"}]},
        "patient": SUBJECT, "billablePeriod": {"start": "2016-02-29", "end": "2016-02-29"}, "total": {"value": 150.5},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "ACME HEALTH"}, "preAuthRef": ["PA-1"]}],
        "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": ICD10}],
        "item": [{"sequence": 1, "careTeamLinkId": [1], "diagnosisLinkId": [1], "service": CPT, "servicedDate": "2016-02-29",
                  "encounter": [{"reference": "Encounter/e1"}], "net": {"value": 150.5}}],
    },
    "ExplanationOfBenefit": {
        "resourceType": "ExplanationOfBenefit", "id": "b1", "status": "active", "type": {"coding": [{"code": "CARRIER"}]}, "patient": SUBJECT,
        "billablePeriod": {"start": "2016-02-29", "end": "2016-03-01"}, "insurance": {"coverage": {"reference": "Coverage/1"}},
        "outcome": {"coding": [{"code": "complete"}]}, "totalCost": {"value": 245.04}, "totalBenefit": {"value": 100},
        "information": [{"sequence": 1, "category": {"text": "x"}}],
        "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "H5555"}]}}],
        "item": [{"sequence": 6, "careTeamLinkId": [2], "diagnosisLinkId": [1], "quantity": {"value": 1},
                  "service": {"coding": [{"system": "https://bluebutton.cms.gov/resources/codesystem/hcpcs", "code": "92999"}]},
                  "modifier": [{"coding": [{"code": "LT"}]}], "servicedPeriod": {"start": "2016-02-29"},
                  "adjudication": [
                      {"category": {"coding": [{"code": "https://bluebutton.cms.gov/resources/variables/line_sbmtd_chrg_amt"}]},
                       "amount": {"value": 75.0}},
                      {"category": {"coding": [{"code": "https://bluebutton.cms.gov/resources/variables/line_nch_pmt_amt"}]},
                       "amount": {"value": 37.5}}]}],
    },
}  # fmt: skip


def stu3(read: Any, kind: str) -> Any:
    found = read(samples.lines(STU3[kind]))
    assert found.counts.dead == 0
    return found


def test_encounter_condition_procedure_of_stu3(read: Any) -> None:
    code = Coding(system="ICD-10-CM", code="E11.65")
    visit = stu3(read, "Encounter").one("RawEncounter")
    assert (visit.setting, visit.reasons, visit.providers, visit.end_date) == ("IMP", (code,), ("Dr. Who",), DAY(2016, 3, 1))
    found = stu3(read, "Condition").one("RawCondition")
    assert (found.encounter_id, found.status, found.codings, found.onset_date) == ("e1", "active", (code,), DAY(2016, 1, 2))
    done = stu3(read, "Procedure").one("RawProcedure")
    assert (done.procedure_id, done.patient_id, done.encounter_id, done.status) == ("x1", "p1", "e1", "completed")
    assert (done.codings, done.reasons, done.performers) == ((Coding(system="HCPCS", code="99213"),), (code,), ("Dr. Who",))
    assert (done.start_date, done.end_date) == (DAY(2016, 2, 29), None)
    episode = {**STU3["Condition"], "context": {"reference": "EpisodeOfCare/e1"}}
    assert read(samples.lines(episode)).one("RawCondition").encounter_id is None
    assert read(samples.lines({**STU3["Procedure"], "notDone": True})).one("RawProcedure").status == "not-done"


@pytest.mark.parametrize("kind", ["DocumentReference", "DiagnosticReport", "Composition"])
def test_notes_of_stu3(kind: str, read: Any) -> None:
    note = stu3(read, kind).one("RawDocument")
    assert (note.patient_id, note.encounter_id, note.authors) == ("p1", "e1", ("Dr. Who",))
    assert note.claim_id == ("k1" if kind == "DocumentReference" else None)
    assert note.date == (DAY(2016, 3, 1) if kind == "Composition" else DAY(2016, 3, 2))
    assert note.text == {"DocumentReference": "Seen.", "DiagnosticReport": "No mass.", "Composition": "Summary\n\nPlan\nRest."}[kind]


def test_claim_and_benefit_of_stu3(read: Any) -> None:
    claim = stu3(read, "Claim").one("RawClaim")
    assert (claim.encounter_id, claim.total_charge, claim.payer, claim.authorizations) == ("e1", 150.5, "ACME HEALTH", ("PA-1",))
    assert (claim.lines[0].code, claim.lines[0].diagnosis_pointers, claim.lines[0].charge) == ("99213", (1,), 150.5)
    found = stu3(read, "ExplanationOfBenefit")
    claim, answer = found.one("RawClaim"), found.one("RawRemittance")
    assert claim.diagnoses == (Diagnosis(system="ICD-10-CM", code="H55.55", kind="other"),)
    assert (claim.form, claim.total_charge, claim.lines[0].system, claim.lines[0].charge) == ("professional", 245.04, "HCPCS", 75.0)
    assert (answer.charge, answer.paid, answer.status) == (245.04, 100.0, "complete")
    line = answer.lines[0]
    assert (line.code, line.modifiers, line.charge, line.paid, line.service_date) == ("92999", ("LT",), 75.0, 37.5, DAY(2016, 2, 29))


def test_adjudication_of_r4(read: Any) -> None:
    def part(code: str, amount: float, **more: Any) -> dict[str, Any]:
        return {
            "category": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/adjudication", "code": code}]},
            "amount": {"value": amount},
            **more,
        }

    reason = {"coding": [{"system": "https://x12.org/codes/claim-adjustment-reason-codes", "code": "45"}]}
    parts = [part("submitted", 150.5), part("eligible", 120), part("benefit", 119.5), part("discount", 30.5, reason=reason)]
    item = {**samples.BENEFIT["item"][0], "adjudication": parts}
    line = read(samples.lines({**samples.BENEFIT, "item": [item]})).one("RawRemittance").lines[0]
    assert (line.charge, line.allowed, line.paid) == (150.5, 120.0, 119.5)
    assert line.adjustments == (Adjustment(group="unknown", reason="45", amount=30.5),)


def test_what_r5_names_otherwise(read: Any) -> None:
    concept = {"concept": ICD10}
    visit = {"resourceType": "Encounter", "id": "e1", "class": [{"coding": [{"code": "AMB"}]}], "actualPeriod": {"start": "2024-02-29"},
             "reason": [{"value": [concept]}], "participant": [{"actor": {"display": "Dr. Who"}}]}  # fmt: skip
    done = {"resourceType": "Procedure", "id": "x1", "occurrencePeriod": {"start": "2024-02-28", "end": "2024-02-29"}, "reason": [concept]}
    note = {**samples.document(), "context": [{"reference": "Encounter/e9"}], "period": {"start": "2024-02-27"}}
    found = read(samples.lines(visit, done, note))
    code = Coding(system="ICD-10-CM", code="E11.65")
    assert (found.one("RawEncounter").setting, found.one("RawEncounter").start_date) == ("AMB", DAY(2024, 2, 29))
    assert found.one("RawEncounter").reasons == found.one("RawProcedure").reasons == (code,)
    assert (found.one("RawProcedure").start_date, found.one("RawProcedure").end_date) == (DAY(2024, 2, 28), DAY(2024, 2, 29))
    assert (found.one("RawDocument").encounter_id, found.one("RawDocument").date) == ("e9", DAY(2024, 2, 27))


ERRORS: list[dict[str, Any]] = [
    {**one, "status": "entered-in-error"} for one in (*STU3.values(), samples.document(), samples.FHIR_CLAIM, samples.BENEFIT)
    if one["resourceType"] != "Condition"
] + [
    {**STU3["Condition"], "verificationStatus": "entered-in-error"},
    {**samples.CONDITION, "verificationStatus": {"coding": [{"code": "entered-in-error"}]}},
]  # fmt: skip


@pytest.mark.parametrize("resource", ERRORS, ids=lambda one: one["resourceType"])
def test_what_was_entered_in_error_is_skipped(resource: dict[str, Any], read: Any) -> None:
    found = read(samples.lines(resource))
    assert (found.counts.skipped, found.counts.records) == (1, 0)


@pytest.mark.parametrize("use", ["preauthorization", "predetermination", "proposed", "exploratory"])
def test_requests_are_no_claims(use: str, read: Any) -> None:
    found = read(samples.lines({**samples.FHIR_CLAIM, "use": use}, {**samples.BENEFIT, "use": use}, {**samples.FHIR_CLAIM, "use": "claim"}))
    assert (found.counts.skipped, found.counts.records) == (2, 1)


def test_a_refuted_condition_says_so(read: Any) -> None:
    assert read(samples.lines({**STU3["Condition"], "verificationStatus": "refuted"})).one("RawCondition").status == "refuted"


def test_null_in_an_array_is_nothing(read: Any) -> None:
    assert read(samples.lines({**samples.PATIENT, "name": [None, *samples.PATIENT["name"]]})).one("RawPatient").names == ("Ada B Quimby",)


def test_a_note_is_linked_to_the_claim_among_what_it_relates_to(read: Any) -> None:
    context = {
        "related": [{"reference": "Encounter/e7"}, {"reference": "Claim/k7"}],
        "encounter": [{"display": "x"}, {"reference": "Encounter/e8"}],
    }
    note = read(samples.lines(samples.document(context=context))).one("RawDocument")
    assert (note.claim_id, note.encounter_id) == ("k7", "e8")


# ------------------------------------------------------------------------------------------------- Bundles and arrays

RESOURCES = [samples.PATIENT, samples.CONDITION, samples.FHIR_CLAIM, samples.document()]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_an_array_is_its_members(indent: int | None, lead: bytes, read: Any, probe: Any) -> None:
    data = lead + json.dumps(RESOURCES, indent=indent).encode()
    found = read(data)
    assert probe(data) == found.format == "fhir"
    assert (found.counts.records, found.counts.notes, found.counts.dead) == (4, 1, 0)
    assert [one.code for one in found.one("RawClaim").diagnoses] == ["I10", "E11.65"]  # by reference to the Condition
    joined = b"[" + b",\n".join(json.dumps(one).encode() for one in RESOURCES) + b"]"
    assert read(joined).items[0].patient_id == "p1" and read(joined).counts.records == 4


def test_full_urls_lead_to_ids(read: Any) -> None:
    """In a transaction resources have no id, or another one than their fullUrl."""
    patient = {key: value for key, value in samples.PATIENT.items() if key != "id"}
    visit = {**samples.ENCOUNTER, "id": "real", "subject": {"reference": "urn:uuid:aaaa"}}
    condition = {**samples.CONDITION, "encounter": {"reference": "urn:uuid:bbbb"}}
    note = notes.referring("urn:uuid:cccc")
    data = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:aaaa", "resource": patient}, {"fullUrl": "urn:uuid:bbbb", "resource": visit},
        {"fullUrl": "urn:uuid:dddd", "resource": condition}, {"fullUrl": "urn:uuid:cccc", "resource": notes.binary("x", b"Seen.")},
        {"fullUrl": "urn:uuid:eeee", "resource": note}, {"request": {"method": "DELETE", "url": "Patient/1"}},
    ]}  # fmt: skip
    found = read(json.dumps(data).encode())
    assert found.one("RawPatient").patient_id == found.one("RawEncounter").patient_id == "aaaa"
    assert found.one("RawCondition").encounter_id == found.one("RawEncounter").encounter_id == "real"
    assert found.one("RawDocument").text == "Seen." and found.counts.dead == 0


@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("data", [
    samples.lines(*RESOURCES).replace(b"\n", b"\r\n\r\n"), json.dumps(samples.bundle(*RESOURCES), indent=1).encode(),
    json.dumps(RESOURCES).encode(), samples.lines(*RESOURCES).rstrip() + b"\n{oops\n\n",
])  # fmt: skip
def test_originals_are_the_file(lead: bytes, data: bytes) -> None:
    import io

    from nosology import readers
    from nosology.config import IngestConfig

    data = lead + data
    reading = readers.read_file(readers.SourceFile("/x/x", "x", "d", len(data)), io.BytesIO(data), IngestConfig(keep_originals=True))
    items = list(reading)
    pieces = [item for item in items if type(item).__name__ == "Original"]
    assert b"".join(piece.content for piece in pieces) == data
    keys = [item.source_row for item in items if type(item).__name__.startswith(("Raw", "Dead"))]
    assert sorted(row for piece in pieces for row in piece.rows) == keys


# ------------------------------------------------------------------------- against fhir.resources, and plain json


@pytest.mark.parametrize("resource", STU3.values(), ids=list(STU3))
def test_samples_of_stu3_are_stu3(resource: dict[str, Any]) -> None:
    from fhir.resources.STU3 import get_fhir_model_class

    get_fhir_model_class(resource["resourceType"]).model_validate_json(json.dumps(resource))


def test_shared_samples_are_r4_and_every_field_arrives(read: Any) -> None:
    """fhir.resources reads the same resources; what it finds is in the rows."""
    from fhir.resources.R4B import get_fhir_model_class

    folder = SHARED / "synthea_bulk_10"
    if not folder.exists():
        pytest.skip("no shared samples here")
    for kind, table in (
        ("Procedure", "RawProcedure"),
        ("Condition", "RawCondition"),
        ("Encounter", "RawEncounter"),
        ("DocumentReference", "RawDocument"),
    ):
        model = get_fhir_model_class(kind)
        data = (folder / f"{kind}.000.ndjson").read_bytes()
        rows = read(data).of(table)
        lines = data.splitlines()
        assert len(rows) == len(lines)
        for line, row in list(zip(lines, rows, strict=True))[::17]:
            held = model.model_validate_json(line)
            assert row.patient_id == held.subject.reference.rsplit("/", 1)[1]
            if kind == "DocumentReference":
                assert row.text == held.content[0].attachment.data.decode() and row.document_id == held.id
                assert row.encounter_id == held.context.encounter[0].reference.rsplit("/", 1)[1]
                continue
            if kind != "Encounter":
                assert [code.code for code in row.codings] == [one.code for one in held.code.coding]
                assert row.encounter_id == held.encounter.reference.rsplit("/", 1)[1]
            else:
                assert (row.setting, row.start_date) == (held.class_fhir.code, held.period.start.date())
            if kind == "Procedure":
                start = held.performedPeriod.start if held.performedPeriod else held.performedDateTime
                assert (row.procedure_id, row.status, row.start_date) == (held.id, held.status, start.date())
