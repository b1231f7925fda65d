"""FHIR: what a resource becomes, notes and their links, Bundles, bad resources."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology.records import Coding, Diagnosis

DAY = datetime.date


def test_patient(read: Any) -> None:
    person = read(samples.lines(samples.PATIENT)).one("RawPatient")
    assert (person.patient_id, person.names, person.sex) == ("p1", ("Ada B Quimby",), "female")
    assert (person.birth_date, person.death_date) == (DAY(1980, 2, 29), DAY(2024, 5, 1))
    assert (person.address, person.city, person.state, person.postal_code) == ("1 Elm St", "Springfield", "MA", "01101")
    assert (person.phones, person.emails, person.identifiers) == (("555-0100",), ("a@example.org",), ("MRN-7",))
    assert (person.contacts, person.contact_phones) == (("Ida Hall",), ("555-0101",))


def test_encounter_keeps_the_days_as_written_there(read: Any) -> None:
    visit = read(samples.lines(samples.ENCOUNTER)).one("RawEncounter")
    assert (visit.encounter_id, visit.patient_id, visit.setting) == ("e1", "p1", "AMB")
    assert (visit.start_date, visit.end_date) == (DAY(2024, 2, 29), DAY(2024, 3, 1))
    assert (visit.reasons, visit.providers, visit.facility) == ((Coding(system="SNOMED CT", code="44054006"),), ("Dr. Who",), "CLINIC ONE")


def test_condition_with_a_month_for_onset(read: Any) -> None:
    found = read(samples.lines(samples.CONDITION)).one("RawCondition")
    assert (found.condition_id, found.patient_id, found.encounter_id, found.onset_date, found.status) == ("c1", "p1", "e1", None, "active")
    assert found.codings == (Coding(system="ICD-10-CM", code="E11.65", display="x"),)


def test_note_is_linked_to_encounter_and_claim(read: Any) -> None:
    note = read(samples.lines(samples.document())).one("RawDocument")
    assert (note.document_id, note.patient_id, note.encounter_id, note.claim_id) == ("d1", "p1", "e1", "k1")
    assert (note.text, note.kind, note.date, note.authors) == (samples.NOTE_TEXT, "34117-2", DAY(2024, 2, 29), ("Dr. Who",))


def attachment(**parts: Any) -> dict[str, Any]:
    return samples.document(content=[{"attachment": parts}])


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        (attachment(contentType="text/plain", data="Plain text, 5 words here."), "Plain text, 5 words here."),
        (attachment(data="UGxhaW4="), "Plain"),
        (attachment(contentType="text/plain", data="UGxh\naW4="), "Plain"),
        (attachment(contentType="text/plain; charset=ISO-8859-1", data="bmHvdmU="), "naïve"),
        (attachment(contentType="text/html", data="PGgxPkE8L2gxPjxzdHlsZT54PC9zdHlsZT48cD5CICZhbXA7IEM8L3A+"), "A\n\nB & C"),
        (
            samples.document(content=[{"attachment": {"contentType": "application/pdf", "data": "JVBERg=="}},
                                      {"attachment": {"contentType": "text/plain", "data": "UGxhaW4="}}]),
            "Plain",
        ),
    ],
)  # fmt: skip
def test_text_of_a_note(read: Any, resource: dict[str, Any], text: str) -> None:
    assert read(samples.lines(resource)).one("RawDocument").text == text


def test_claim_and_answer(read: Any) -> None:
    found = read(samples.lines(samples.FHIR_CLAIM, samples.BENEFIT))
    claim, answer = found.one("RawClaim"), found.one("RawRemittance")
    assert (claim.claim_id, claim.patient_id, claim.encounter_id, claim.form) == ("k1", "p1", "e1", "professional")
    assert claim.diagnoses == (Diagnosis(system="ICD-10-CM", code="I10", kind="principal"),)  # the other lies in no Bundle with it
    assert (claim.lines[0].code, claim.lines[0].system, claim.lines[0].diagnosis_pointers) == ("99213", "HCPCS", (1, 2))
    assert (claim.total_charge, claim.payer, claim.provider_npi) == (150.5, "ACME HEALTH", "1234567893")
    assert (answer.claim_id, answer.payer_claim_id, answer.charge, answer.paid) == ("k1", "b1", 150.5, 119.5)


def test_an_answer_that_names_no_claim_stands_for_it(read: Any) -> None:
    found = read(samples.lines({key: value for key, value in samples.BENEFIT.items() if key != "claim"}))
    assert found.one("RawClaim").claim_id == found.one("RawRemittance").claim_id == "b1"
    assert found.counts.records == 1


@pytest.mark.parametrize("indent", [None, 1, "\t"])
def test_bundle_is_split_and_its_references_resolved(read: Any, indent: Any) -> None:
    whole = samples.bundle(
        samples.PATIENT, samples.CONDITION, samples.FHIR_CLAIM, {"resourceType": "Device", "id": "x"}, samples.document()
    )
    found = read(json.dumps(whole, indent=indent).encode())
    assert (found.counts.records, found.counts.notes, found.counts.skipped, found.counts.dead) == (4, 1, 1, 0)
    assert [d.code for d in found.one("RawClaim").diagnoses] == ["I10", "E11.65"]


BAD: list[tuple[Any, tuple[str, str | None]]] = [
    ({**samples.PATIENT, "birthDate": "1980-02-30"}, ("impossible_date", "birthDate")),
    ({**samples.ENCOUNTER, "period": {"start": "2024-03-01", "end": "2024-02-01"}}, ("impossible_date", "period")),
    ({**samples.FHIR_CLAIM, "billablePeriod": {"start": "2024-13-01"}}, ("impossible_date", "billablePeriod.start")),
    ({**samples.FHIR_CLAIM, "diagnosis": "E11"}, ("wrong_type", "diagnosis")),
    ({key: value for key, value in samples.PATIENT.items() if key != "id"}, ("missing_field", "id")),
    ({"id": "1", "note": "resourceType"}, ("missing_field", "resourceType")),
    ({**samples.PATIENT, "resourceType": "Pateint"}, ("wrong_type", "resourceType")),
    ({**samples.PATIENT, "resourceType": "patient"}, ("wrong_type", "resourceType")),
    ({**samples.PATIENT, "resourceType": "Patient "}, ("wrong_type", "resourceType")),
    ({**samples.PATIENT, "name": {"family": "Q"}}, ("wrong_type", "name")),
    (samples.document(""), ("empty_note", "text")),
    (samples.document(" \n"), ("empty_note", "text")),
    (samples.document(content=[]), ("empty_note", "content")),
    (attachment(contentType="text/plain", url="Binary/1"), ("note_elsewhere", "content.attachment.url")),
    (attachment(contentType="application/pdf", data="JVBERg=="), ("unsupported_content", "content.attachment.contentType")),
    (attachment(contentType="text/plain", data="/w=="), ("invalid_utf8", "content.attachment.data")),
    (attachment(contentType="text/plain; charset=klingon", data="QQ=="), ("unsupported_content", "content.attachment.contentType")),
    (attachment(contentType="text/plain", data=5), ("wrong_type", "content.attachment.data")),
    (samples.document("x" * 2001), ("note_too_large", "text")),
    (samples.document("ï" * 1001), ("note_too_large", "text")),
    ([1], ("bad_json", None)),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "reason"), BAD, ids=[str(at) for at in range(len(BAD))])
def test_a_bad_resource_is_a_dead_letter_and_the_others_stand(read: Any, resource: Any, reason: tuple[str, str | None]) -> None:
    data = samples.lines(samples.PATIENT, resource, samples.document("x" * 2000))
    found = read(data, max_document_bytes=2000)
    assert found.reasons == [reason]
    assert (len(found.of("RawPatient")), len(found.of("RawDocument"))) == (1, 1)
    assert (found.counts.records, found.counts.notes, found.counts.dead) == (3, 1, 1)


def test_a_type_that_is_none_is_told_without_its_name(read: Any) -> None:
    """In lines and in a Bundle; a type that FHIR has, in any release, is skipped."""
    odd, order = {"resourceType": "Quackenbush", "id": "1"}, {"resourceType": "MedicationOrder", "id": "2"}
    for data in (samples.lines(odd, order, samples.PATIENT), json.dumps(samples.bundle(odd, order, samples.PATIENT)).encode()):
        found = read(data)
        assert (found.counts.records, found.counts.skipped, found.counts.dead) == (2, 1, 1)
        letter = found.one("DeadLetter")
        assert (letter.reason, letter.field, letter.rule) == ("wrong_type", "resourceType", "the name of a FHIR resource")
        assert "Quackenbush" not in repr(letter)


@pytest.mark.parametrize("release", ["", "/R4B", "/STU3"])
def test_the_names_hold_those_of_the_releases(release: str) -> None:
    import fhir.resources
    from nosology.readers.fhir.resources import RESOURCES

    folder = Path(f"{fhir.resources.__path__[0]}{release}")
    parent = r"^class (\w+)\((?:domainresource\.DomainResource|resource\.Resource)\)"
    names = {name for file in folder.glob("*.py") for name in re.findall(parent, file.read_text(), re.MULTILINE)}
    assert len(names) > 100 and not names - RESOURCES - {"DomainResource", "CanonicalResource", "MetadataResource"}


@pytest.mark.parametrize(
    ("line", "reason"), [(b'{"resourceType": "Pat', "bad_json"), (b'{"resourceType": "\xff"}', "invalid_utf8"), (b"oops", "bad_json")]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_line(read: Any, line: bytes, reason: str, first: bool) -> None:
    good = samples.lines(samples.PATIENT, samples.ENCOUNTER)
    data = line + b"\n" + good if first and line.startswith(b"{") else good.replace(b"}\n{", b"}\n" + line + b"\n{", 1)
    found = read(data)
    assert (found.format, found.reasons, found.counts.records) == ("fhir", [(reason, None)], 3)


def test_a_damaged_pretty_printed_file_is_one_dead_letter(read: Any) -> None:
    found = read(json.dumps(samples.bundle(samples.PATIENT), indent=2).encode()[:-5])
    assert (found.reasons, len(found.items)) == ([("bad_json", None)], 1)
