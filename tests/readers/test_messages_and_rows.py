"""HL7 v2, Medicare RIF and Synthea: what a message or row becomes, and the bad ones."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology.records import ClaimLine, Coding, Diagnosis

DAY = datetime.date


# --------------------------------------------------------------------------------------------------------------- HL7 v2


def test_message(read: Any) -> None:
    found = read(samples.ORU)
    person, visit, note = found.one("RawPatient"), found.one("RawEncounter"), found.one("RawDocument")
    assert (person.patient_id, person.names, person.birth_date, person.sex) == ("MRN-7", ("Ada B Quimby",), DAY(1980, 2, 29), "female")
    assert (person.address, person.postal_code, person.phones, person.identifiers) == (
        "1 Elm St",
        "01101",
        ("555-0100",),
        ("MRN-7", "SSN-1"),
    )
    assert (visit.encounter_id, visit.patient_id, visit.setting, visit.providers) == ("V-1", "MRN-7", "O", ("Doctor Who",))
    assert (visit.start_date, visit.end_date, visit.facility) == (DAY(2024, 2, 29), DAY(2024, 3, 1), "CLINIC ONE")
    first, second = found.of("RawCondition")
    assert first.codings == (Coding(system="ICD-10-CM", code="E11.65", display="Diabetes"),)
    assert (first.encounter_id, first.onset_date, second.codings[0].system) == ("V-1", DAY(2024, 2, 29), "SNOMED CT")
    assert note.text == "First line & more\nA\nB | C\nD"
    assert (note.encounter_id, note.patient_id, note.document_id, note.kind) == ("V-1", "MRN-7", "F1", "11502-2")
    assert (note.date, note.age, note.sex) == (DAY(2024, 2, 29), 44.0, "female")


def test_document_message_of_the_sample(read: Any, excerpts: Path) -> None:
    path = excerpts / "hl7v2" / "MDM-T02-02.hl7"
    note = read(path.read_bytes()).one("RawDocument")
    lines = [line.split("|")[5] for line in path.read_text().splitlines() if line.startswith("OBX")]
    assert note.text == "\n".join(lines) and note.encounter_id == "10000001"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_several_messages_in_a_file(read: Any, end: bytes) -> None:
    batch = (
        b"FHS|^~\\&|A\rBHS|^~\\&|A\r"
        + samples.ORU
        + b"MSH|^~\\&|A|B|C|D|20240101||ACK|9|P|2.5\rMSA|AA|9\r"
        + samples.ORU
        + b"BTS|2\rFTS|1\r"
    )
    found = read(batch.replace(b"\r", end))
    assert (found.counts.records, found.counts.notes, found.counts.skipped, found.counts.dead) == (2, 2, 1, 0)
    cut = read(batch.removesuffix(b"BTS|2\rFTS|1\r").replace(b"\r", end))
    assert (cut.counts.notes, cut.reasons) == (2, [("truncated_record", "BTS")])


def test_base64_text_and_other_charset(read: Any) -> None:
    message = samples.ORU.replace(b"OBX|2|TX|11502-2^Report^LN||First line \\T\\ more", b"OBX|2|ED|1^R||^TEXT^^Base64^SGVsbG8=")
    assert read(message).one("RawDocument").text.startswith("Hello\n")
    latin = samples.ORU.replace(b"2.5\r", b"2.5||||||8859/1\r").replace(b"First", b"Na\xefve")
    assert read(latin).one("RawDocument").text.startswith("Naïve line")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"19800229", b"19800230"), ("impossible_date", "PID-7")),
        ((b"|20240229|20240301\r", b"|20240301|20240229\r"), ("impossible_date", "PV1-45")),
        ((b"MRN-7^^^H~SSN-1^^^S", b""), ("missing_field", "PID-3")),
        ((b"First line", b"First \xff line"), ("invalid_utf8", None)),
        ((b"DG1|2|", b"D G|2|"), ("broken_segment", None)),
        ((b"MSH|^~\\&|", b"MSH|^~|"), ("broken_envelope", "MSH")),
        ((b"OBX|2|TX|11502-2^Report^LN||First line \\T\\ more", b"OBX|2|ED|1^R||^TEXT^^Base64^?"), ("bad_base64", "OBX-5")),
        ((b"First line", b"x" * 3000), ("note_too_large", "text")),
    ],
)
def test_a_bad_message_is_a_dead_letter_and_its_neighbour_stands(read: Any, change: tuple[bytes, bytes], reason: tuple[str, str]) -> None:
    found = read(samples.ORU.replace(*change, 1) + samples.ORU, max_document_bytes=3000)
    assert (found.reasons, found.counts.records, len(found.of("RawPatient"))) == ([reason], 2, 1)


def test_an_mdm_message_without_its_note(read: Any) -> None:
    message = b"MSH|^~\\&|A|B|C|D|20240101||MDM^T02|9|P|2.5\rPID|1||M1\rTXA|1|DS\rOBX|1|TX|1|||\r"
    assert read(message).reasons == [("empty_note", "OBX-5")]
    assert read(message.replace(b"MDM^T02", b"ADT^A01")).reasons == []


# ------------------------------------------------------------------------------------------------------------------ RIF


def test_lines_of_a_claim_become_one_claim(read: Any) -> None:
    first, second = read(samples.carrier("-1|1|30-May-2015", "-1|2|30-May-2015", "-2|1|29-May-2015")).of("RawClaim")
    assert (first.claim_id, first.patient_id, first.form, first.payer) == ("-1", "-9", "professional", "Medicare")
    assert (first.service_from, first.service_to, first.total_charge) == (DAY(2015, 5, 30), DAY(2015, 5, 30), 204.2)
    assert first.diagnoses == (  # version 0 is ICD-10, 9 is ICD-9; where it is empty the date decides
        Diagnosis(system="ICD-10-CM", code="O03.9", kind="principal"),
        Diagnosis(system="ICD-9-CM", code="E812.0", kind="other"),
        Diagnosis(system="ICD-9-CM", code="250.00", kind="other"),
    )
    assert first.lines == tuple(
        ClaimLine(
            number=n, system="HCPCS", code="99213", modifiers=("25",), quantity=9.0, charge=102.1, service_date=DAY(2015, 5, 30),
            diagnosis_pointers=(1,),
        )
        for n in (1, 2)
    )  # fmt: skip
    assert (second.claim_id, len(second.lines)) == ("-2", 1)


def test_beneficiary_and_drug_event(read: Any) -> None:
    person = read(samples.BENEFICIARY).one("RawPatient")
    assert (person.patient_id, person.names, person.birth_date, person.sex) == ("-9", ("Ada Quimby",), DAY(1942, 1, 17), "female")
    assert (person.state, person.postal_code, person.identifiers) == ("MA", "01730", ("1S00E00AA00",))
    claim = read(samples.PDE).one("RawClaim")
    assert (claim.form, claim.claim_id, claim.lines[0].system, claim.lines[0].code) == ("pharmacy", "-8", "NDC", "50090443201")


@pytest.mark.parametrize(
    ("rows", "reasons", "kept"),
    [
        (("-1|1|31-Feb-2015", "-2|1|30-May-2015"), [("impossible_date", "CLM_FROM_DT")], ["-2"]),
        (("-1|1|31-May-2015", "-2|1|30-May-2015"), [("impossible_date", "CLM_THRU_DT")], ["-2"]),
        (("-1|1|30-May-2015", "INSERT|-9|-1|F|x", "-2|1|30-May-2015"), [("column_count", None)], ["-2"]),
        (("-1|x|30-May-2015", "-2|1|30-May-2015"), [("bad_number", "CLM_LINE_NUM")], ["-2"]),
        (("-1|1|30-May-2015", "-2|1|30-May-2015", "-1|2|30-May-2015"), [("scattered_claim", "CLM_ID")], ["-1", "-2"]),
        (("INSERT|-9", "-2|1|30-May-2015"), [("missing_field", "CLM_ID")], ["-2"]),
    ],
)
def test_bad_rows(read: Any, rows: tuple[str, ...], reasons: list[tuple[str, str | None]], kept: list[str]) -> None:
    found = read(samples.carrier(*rows))
    assert (found.reasons, [claim.claim_id for claim in found.of("RawClaim")]) == (reasons, kept)


def test_a_row_that_is_no_utf8_costs_its_claim(read: Any) -> None:
    data = samples.carrier("-1|1|30-May-2015", "-1|2|30-May-2015", "-2|1|30-May-2015").replace(b"|2|99213", b"|2|\xff", 1)
    found = read(data)
    assert (found.reasons, [claim.claim_id for claim in found.of("RawClaim")]) == ([("invalid_utf8", None)], ["-2"])


# -------------------------------------------------------------------------------------------------------------- Synthea


def test_synthea_tables(read: Any, excerpts: Path) -> None:
    rows = {
        name: read((excerpts / "synthea" / f"{name}.csv").read_bytes())
        for name in ("patients", "encounters", "conditions", "claims", "payers")
    }
    person = rows["patients"].of("RawPatient")[0]
    assert (person.names, person.birth_date, person.sex, person.postal_code) == (
        ("Maynard46 Mosciski958",),
        DAY(2014, 10, 6),
        "male",
        "02155",
    )
    visit, claim = rows["encounters"].of("RawEncounter")[0], rows["claims"].of("RawClaim")[0]
    assert claim.encounter_id == visit.encounter_id and visit.setting == "ambulatory"
    assert visit.reasons == (Coding(system="SNOMED CT", code="195662009", display="Acute viral pharyngitis (disorder)"),)
    assert [(d.code, d.kind) for d in claim.diagnoses] == [("195662009", "principal"), ("195662009", "other")]
    assert (claim.form, claim.service_from, rows["conditions"].of("RawCondition")[0].onset_date) == (
        "institutional",
        DAY(2023, 1, 27),
        DAY(2023, 1, 27),
    )
    assert (rows["payers"].counts.skipped, {item.kind for item in rows["payers"].items}) == (10, {"payers"})


def test_bad_synthea_rows(read: Any) -> None:
    good = b"p1,1980-02-29,,999,,,Mrs.,Ada,Quimby,F,1 Elm St,Springfield,MA,01101\n"
    assert good in samples.PATIENTS_CSV
    bad = [good.replace(b"02-29", b"02-31"), b"p2,1980\n", good.replace(b"Ada", b"\xff"), good.replace(b"p1", b"")]
    found = read(samples.PATIENTS_CSV + b"".join(bad) + good)
    assert [reason for reason, _ in found.reasons] == ["impossible_date", "column_count", "invalid_utf8", "missing_field"]
    assert len(found.of("RawPatient")) == 2
