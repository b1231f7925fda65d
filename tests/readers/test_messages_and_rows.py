"""HL7 v2, Medicare RIF and Synthea: what a message or row becomes, and the bad ones."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology.errors import InputError
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


HEAD = b"MSH|^~\\&|A|B|C|D|20240101||%s|M7|P|2.5%s\rPID|1||P1\r"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"a \T\ b \F\ c \S\ d \R\ e \E\ f", "a & b | c ^ d ~ e \\ f"),
        (rb"one\.br\two\.sp2\three\.sk3\four", "one\ntwo\n\nthree   four"),
        (rb"\H\bold\N\ plain\.in+4\\.ti-2\!", "bold plain!"),
        (rb"caf\XC3A9\ and \X0d0A\end", "caf\u00e9 and \r\nend"),
        (rb"\XFF\ is no text", "\\XFF\\ is no text"),  # nothing is lost in silence
        (rb"C:\notes\today\ and 5\6 of 7\8", "C:\\notes\\today\\ and 5\\6 of 7\\8"),
        (rb"\C2842\\M2442\local \Zx1\!", "local !"),
    ],
)
def test_escapes(read: Any, written: bytes, meant: str) -> None:
    message = HEAD % (b"ORU^R01", b"") + b"OBX|1|TX|1||" + written + b"|\r"
    assert read(message).one("RawDocument").text == meant


def test_another_escape_character(read: Any) -> None:
    message = (HEAD % (b"ORU^R01", b"")).replace(b"^~\\&", b"^~!&") + b"OBX|1|TX|1||a !T! b \\T\\|\r"
    assert read(message).one("RawDocument").text == "a & b \\T\\"


def test_observations_are_joined_and_told_apart(read: Any) -> None:
    message = HEAD % (b"ORU^R01", b"") + (
        b"OBR|1||F1|71020^Chest^C4\rOBX|1|TX|71020^Findings|1|Heart normal.||||||F\rOBX|2|TX|71020^Findings|2|Lungs clear.~No effusion.||||||F\r"
        b"OBX|3|NM|1^Rate||72\rOBX|4|TX|71020&IMP^Impression|1|No active\rADD| disease.||||||F\r"
        b"OBR|2||F2|88305^Pathology^C4\rOBX|1|TX|22634-0^Path||Benign.\r"
    )
    first, second = read(message).of("RawDocument")
    assert (first.document_id, first.kind) == ("F1", "71020")
    assert first.text == "Heart normal.\nLungs clear.\nNo effusion.\n\nNo active disease."
    assert (second.document_id, second.kind, second.text) == ("F2", "22634-0", "Benign.")


def test_next_of_kin_are_told_apart_from_the_patient(read: Any) -> None:
    """NK1: name, telephone, business telephone; name and telephone of its contact person (HL7 v2.8.2, chapter 3)."""
    kin = (
        b"NK1|1|Thornapple^Odile~Thorn^O|MTH||555-0177~^PRN^PH^^^^^^^^^555-0178|555-0179"
        + b"|" * 24
        + b"Neville^Kit|555-0180\rNK1|2|Hall^Ida\r"
    )
    message = HEAD % (b"ADT^A01", b"") + kin + b"PID|2||P2\r"
    first, second = read(message).of("RawPatient")
    assert first.contacts == ("Odile Thornapple", "O Thorn", "Kit Neville", "Ida Hall") and first.names == ()
    assert first.contact_phones == ("555-0177", "555-0178", "555-0179", "555-0180") and first.phones == ()
    assert (second.contacts, second.contact_phones) == ((), ())


def test_patients_of_one_message_are_kept_apart(read: Any) -> None:
    message = HEAD % (b"ORU^R01", b"") + (
        b"PV1|1|O|||||||||||||||||V1\rDG1|1||I10^^I10C\rOBX|1|TX|1||Of the first.\rPID|2||P2\rDG1|1||E119^^I10C\rOBX|1|TX|1||Of the second.\r"
    )
    found = read(message)
    assert [(note.patient_id, note.encounter_id, note.text) for note in found.of("RawDocument")] == [
        ("P1", "V1", "Of the first."), ("P2", None, "Of the second."),
    ]  # fmt: skip
    assert [(one.condition_id, one.patient_id) for one in found.of("RawCondition")] == [("M7/DG1-1", "P1"), ("M7/PID-2/DG1-1", "P2")]
    assert found.counts.records == 1 and len({note.document_id for note in found.of("RawDocument")}) == 2


CHARGES = (
    b"PV1|1|O|||||||||||||||||V1\rDG1|1||I10^Hypertension^I10C|||A\rDG1|2||E11.9^Diabetes^I10C|||F\r"
    b"IN1|1|HMO|X|||||G7" + b"|" * 28 + b"POL9\r"
    b"FT1|1|||20240229|20240301|CG|71045^X-ray^C4|||2|100&USD|50&USD|||||||E119^Diabetes^I10C~R05^Cough^I10C||||||71046^X-ray^C4|26~TC\r"
    b"FT1|2|||20240302|20240302|CG|99213^Visit^C4|||1|70.5&USD\r"
    b"PR1|1||71046^X-ray^C4||20240229|||9^Sleep^Ann|||8^Knife^Bob\r"
)


def test_charges_are_a_claim_and_procedures_are_rows(read: Any) -> None:
    found = read(HEAD % (b"DFT^P03", b"") + CHARGES)
    claim, done = found.one("RawClaim"), found.one("RawProcedure")
    assert (claim.claim_id, claim.encounter_id, claim.patient_id, claim.form) == ("M7", "V1", "P1", "unknown")
    assert (claim.service_from, claim.service_to, claim.total_charge) == (DAY(2024, 2, 29), DAY(2024, 3, 2), 170.5)
    assert (claim.group_number, claim.subscriber_id) == ("G7", "POL9")
    assert [(one.code, one.kind) for one in claim.diagnoses] == [("I10", "admitting"), ("E11.9", "principal"), ("R05", "other")]
    assert claim.lines == (
        ClaimLine(number=1, system="HCPCS", code="71046", modifiers=("26", "TC"), quantity=2.0, charge=100.0,
                  service_date=DAY(2024, 2, 29), diagnosis_pointers=(2, 3)),
        ClaimLine(number=2, system="HCPCS", code="99213", quantity=1.0, charge=70.5, service_date=DAY(2024, 3, 2)),
    )  # fmt: skip
    assert (done.procedure_id, done.encounter_id, done.start_date, done.performers) == (
        "M7/PR1-1",
        "V1",
        DAY(2024, 2, 29),
        ("Ann Sleep", "Bob Knife"),
    )
    assert done.codings == (Coding(system="HCPCS", code="71046", display="X-ray"),)


@pytest.mark.parametrize("kind", [b"CD", b"PY", b"AJ"])
def test_credits_and_payments_are_no_claim(read: Any, kind: bytes) -> None:
    found = read(HEAD % (b"DFT^P03", b"") + CHARGES.replace(b"|CG|99213", b"|" + kind + b"|99213"))
    assert found.of("RawClaim") == [] and found.counts.dead == 0 and len(found.of("RawCondition")) == 2


@pytest.mark.parametrize(
    ("named", "written"),
    [
        (b"8859/1", "cp1252"),
        (b"8859/2", "iso8859-2"),
        (b"UNICODE UTF-8", "utf-8"),
        (b"windows-1252", "cp1252"),
        (b"GB 18030-2000", "gb18030"),
    ],
)
def test_declared_encodings(read: Any, named: bytes, written: str) -> None:
    word = "\u0141\u00f3d\u017a" if written == "iso8859-2" else "na\u00efve"
    message = HEAD % (b"ORU^R01", b"||||||" + named) + b"OBX|1|TX|1||" + word.encode(written) + b"\r"
    found = read(message)
    assert (found.one("RawDocument").text, found.encodings) == (word, {written: 1})


def test_a_byte_order_mark_is_believed_before_msh_18(read: Any) -> None:
    message = b"\xef\xbb\xbf" + HEAD % (b"ORU^R01", b"||||||8859/1") + "OBX|1|TX|1||na\u00efve\r".encode()
    assert read(message).one("RawDocument").text == "na\u00efve"
    wide = (HEAD % (b"ORU^R01", b"||||||UNICODE UTF-16") + "OBX|1|TX|1||na\u00efve\r".encode()).decode().encode("utf-16")
    assert read(wide).one("RawDocument").text == "na\u00efve"


def test_bad_bytes_of_a_message_are_named_by_offset(read: Any) -> None:
    start = samples.ORU + b"\r\n\x0b" + HEAD % (b"ORU^R01", b"")
    found = read(start + b"OBX|1|TX|1||caf\xe9\r" + samples.ORU)
    assert found.reasons == [("invalid_utf8", None)] and len(found.of("RawDocument")) == 2
    assert found.one("DeadLetter").rule.endswith(f"offset {len(start) + 15}")
    assert read(start + b"OBX|1|TX|1||caf\xe9\r", encoding="cp1252").of("RawDocument")[1].text == "caf\u00e9"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"19800229", b"19800230"), ("impossible_date", "PID-7")),
        ((b"|20240229|20240301\r", b"|20240301|20240229\r"), ("impossible_date", "PV1-45")),
        ((b"MRN-7^^^H~SSN-1^^^S", b""), ("missing_field", "PID-3")),
        ((b"First line", b"First \xff line"), ("invalid_utf8", None)),
        ((b"DG1|2|", b"D G|2|"), ("broken_segment", None)),
        ((b"PID|", b"PKD|"), ("missing_field", "PID")),
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


PROCEDURES = b"START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION,BASE_COST,REASONCODE,REASONDESCRIPTION\n"
PROCEDURES += b"2024-02-29T23:30:00Z,2024-03-01T00:10:00Z,p1,e1,http://snomed.info/sct,430193006,Reconciliation,5.5,44054006,Diabetes\n"
OLD_PROCEDURES = b"DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,%s,REASONCODE,REASONDESCRIPTION\n"
OLD_PROCEDURES += b"2024-02-29,p1,e1,430193006,Reconciliation,5.5,44054006,Diabetes\n"


@pytest.mark.parametrize(
    ("data", "end"),
    [(PROCEDURES, DAY(2024, 3, 1)), (OLD_PROCEDURES % b"BASE_COST", None), (OLD_PROCEDURES % b"COST", None), (OLD_PROCEDURES % b"X", None)],
)
def test_synthea_procedures(data: bytes, end: datetime.date | None, read: Any) -> None:
    done = read(data).one("RawProcedure")
    assert (done.patient_id, done.encounter_id, done.start_date, done.end_date) == ("p1", "e1", DAY(2024, 2, 29), end)
    assert done.codings == (Coding(system="SNOMED CT", code="430193006", display="Reconciliation"),)
    assert done.reasons == (Coding(system="SNOMED CT", code="44054006", display="Diabetes"),)
    again = read(data + data.splitlines(keepends=True)[1].replace(b"430193006", b"868187001")).of("RawProcedure")
    assert again[0].procedure_id == done.procedure_id != again[1].procedure_id, "told apart, and the same wherever the row stands"


def test_bad_synthea_procedures(read: Any) -> None:
    good = PROCEDURES.splitlines(keepends=True)[1]
    bad = [
        good.replace(b"02-29", b"02-30"),
        good.replace(b"430193006", b""),
        good.replace(b"03-01", b"02-01"),
        good.replace(b",e1,", b",,"),
    ]
    found = read(PROCEDURES + b"".join(bad))
    assert found.reasons == [("impossible_date", "START"), ("missing_field", "CODE"), ("impossible_date", "STOP")]
    assert [one.encounter_id for one in found.of("RawProcedure")] == ["e1", None]


SYNTHEA = {
    "patients": samples.PATIENTS_CSV.split(b"\n")[0].decode(),
    "conditions": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION",
    "procedures": PROCEDURES.split(b"\n")[0].decode(),
    "medications": "START,STOP,PATIENT,PAYER,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,PAYER_COVERAGE,DISPENSES,TOTALCOST,REASONCODE,REASONDESCRIPTION",
    "careplans": "Id,START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,REASONCODE,REASONDESCRIPTION",
    "devices": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,UDI",
}


def without(header: str, *columns: str) -> bytes:
    names = [name for name in header.split(",") if name not in columns]
    return (",".join(names) + "\n" + ",".join("x" for _ in names) + "\n").encode()


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("patients", "GENDER"), ("conditions", "CODE"), ("conditions", "PATIENT"), ("procedures", "CODE"), ("procedures", "START"),
        ("procedures", "REASONCODE"), ("medications", "DISPENSES"), ("careplans", "Id"), ("devices", "ENCOUNTER"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["table.csv", "table", "*.csv"])
def test_a_synthea_table_that_lacks_a_column_is_named(kind: str, column: str, name: str, read: Any, probe: Any) -> None:
    """Also where the columns that are left are all those of a smaller table: procedures hold those of conditions."""
    name = name.replace("*", kind)
    data = without(SYNTHEA[kind], column)
    with pytest.raises(InputError, match=f"file {name}, field {column}: it looks like Synthea {kind}; it lacks column {column}"):
        probe(data, name)
    assert read(data, name).reasons == [("unreadable_file", column)]


@pytest.mark.parametrize(
    ("kind", "columns"), [("procedures", "BASE_COST REASONCODE"), ("careplans", "Id REASONCODE REASONDESCRIPTION"), ("devices", "UDI")]
)
def test_the_name_tells_a_table_that_lacks_all_that_sets_it_apart(kind: str, columns: str, read: Any, probe: Any) -> None:
    data = without(SYNTHEA[kind], *columns.split())
    if kind == "careplans":  # three are too many
        assert probe(data, f"{kind}.csv") == "synthea"
        return
    with pytest.raises(InputError, match=f"it looks like Synthea {kind}; it lacks column"):
        probe(data, f"{kind}.csv")
    assert probe(data, "conditions.csv") == "synthea"


def test_a_table_that_is_whole_under_its_name_may_have_more(probe: Any) -> None:
    more = without(SYNTHEA["conditions"] + ",REASONCODE")
    assert probe(more, "2024_conditions.csv") == "synthea"
    with pytest.raises(InputError, match="it looks like Synthea procedures; it lacks column BASE_COST"):
        probe(more, "table.csv")


@pytest.mark.parametrize("kind", [*SYNTHEA, "immunizations"])
def test_a_table_of_notes_may_have_all_columns_of_synthea(kind: str, read: Any, probe: Any) -> None:
    header = SYNTHEA.get(kind, "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,COST")
    notes = without(f"id,text,{header}")
    assert probe(notes) == "csv" and read(notes).one("RawDocument").text == "x"
    assert probe(without(f"id,text,{header}", header.split(",")[0])) == "csv"
    chosen = {"text_column": header.split(",")[-1], "id_column": header.split(",")[0]}
    assert probe(without(header), **chosen) == "csv" and read(without(header), **chosen).one("RawDocument").document_id == "x"


@pytest.mark.parametrize(("kind", "column"), [("procedures", "BASE_COST"), ("careplans", "Id"), ("encounters", "ENCOUNTERCLASS")])
def test_the_name_decides_between_two_that_lack_as_many(kind: str, column: str, probe: Any) -> None:
    header = SYNTHEA.get(kind, "Id,START,STOP,PATIENT,ORGANIZATION,ENCOUNTERCLASS,CODE,DESCRIPTION,REASONCODE,REASONDESCRIPTION")
    with pytest.raises(InputError, match=f"it looks like Synthea {kind}; it lacks column {column}"):
        probe(without(header, column), f"{kind}.csv")


def test_synthea_tables_of_other_releases(probe: Any, read: Any) -> None:
    for header, kind in {
        "Id,ORGANIZATION,NAME,GENDER,SPECIALITY,ADDRESS,CITY,STATE,ZIP,LAT,LON,ENCOUNTERS,PROCEDURES": "providers",
        "PATIENT,MEMBERID,START_DATE,END_DATE,PAYER,SECONDARY_PAYER,PLAN_OWNERSHIP,OWNER_NAME": "payer_transitions",
        "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,COST,DISPENSES,TOTALCOST,REASONCODE,REASONDESCRIPTION": "medications",
        "START,STOP,PATIENT,PAYER,ENCOUNTER,CODE,DESCRIPTION,DISPENSES": "medications",
        "ID,START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,REASONCODE,REASONDESCRIPTION": "careplans",
        "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,COST": "immunizations",
        "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,VALUE,UNITS,TYPE": "observations",
    }.items():
        data = without(header)
        assert probe(data) == "synthea" and [item.kind for item in read(data).items] == [kind]


def test_what_looks_like_synthea_by_chance_is_read(read: Any, probe: Any) -> None:
    assert probe(without(SYNTHEA["devices"], "UDI")) == "synthea", "the header of conditions"
    notes = without(SYNTHEA["conditions"], "CODE")
    assert probe(notes, text_column="DESCRIPTION", id_column="ENCOUNTER") == "csv"
    assert read(notes, text_column="DESCRIPTION", id_column="ENCOUNTER").one("RawDocument").text == "x"
    for header in (b"key,body\n1,x\n", b"PATIENT,START,STOP\n1,2,3\n", b"START,PATIENT,DESCRIPTION\n1,2,3\n"):
        with pytest.raises(InputError, match="table of notes"):
            probe(header)


def test_a_synthea_column_that_stands_twice(read: Any, probe: Any) -> None:
    twice = b"START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,CODE\n2024-02-29,,p1,e1,1,x,2\n"
    for name in ("conditions.csv", "conditions"):
        with pytest.raises(InputError, match="field CODE: the column stands twice in the header: rename or drop one"):
            probe(twice, name)
        assert read(twice, name).reasons == [("unreadable_file", "CODE")]
    unread = b"START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,X,X\n2024-02-29,,p1,e1,1,x,2,3\n"
    assert probe(unread) == "synthea" and read(unread).one("RawCondition").codings[0].code == "1"


@pytest.mark.parametrize("data", [samples.BENEFICIARY, samples.PDE, samples.carrier("-1|1|30-May-2015")])
def test_a_header_that_is_not_utf8_drops_no_column_in_silence(data: bytes, read: Any) -> None:
    for place in range(data.index(b"|"), data.index(b"\n")):
        changed = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
        found = read(changed)
        if found.format == "rif":
            assert found.reasons == [("invalid_utf8", "header")] and found.of("DeadLetter")[0].rule.endswith(f"has offset {place}")
