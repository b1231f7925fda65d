"""Files written back from their originals: unchanged ones are the input, changed ones differ in the changed elements alone."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nosology import readers
from nosology.config import IngestConfig
from nosology.errors import InputError, Reason
from nosology.readers.source import open_source
from nosology.readers.write import write_file
from nosology.records import (
    Adjustment,
    Diagnosis,
    Original,
    RawClaim,
    RawDocument,
    RawPatient,
    RawRemittance,
    arrow_schema,
    from_dict,
    to_table,
)

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data/claims"
FOLDERS = [SHARED / "x12/linuxforhealth", SHARED / "fhir/synthea_bulk_10", ROOT / "examples/archive/x12", ROOT / "examples/archive/fhir"]
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*") if path.is_file())
QUIET = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


def kept(data: bytes, name: str = "file", keep: bool = True) -> tuple[list[Original], list[Any]]:
    """The pieces of a file, and everything else that was read of it."""
    source = readers.SourceFile(f"/x/{name}", name, hashlib.sha256(data).hexdigest(), len(data))
    items = list(readers.read_file(source, io.BytesIO(data), IngestConfig(keep_originals=keep)))
    return [item for item in items if isinstance(item, Original)], [item for item in items if not isinstance(item, Original)]


def rows(items: list[Any]) -> list[Any]:
    return [item for item in items if type(item).__name__.startswith("Raw")]


def written(data: bytes, *records: Any) -> bytes:
    return b"".join(write_file(kept(data)[0], records))


def changes(before: bytes, after: bytes, terminator: str = "~") -> list[tuple[str, str]]:
    """Segments that differ."""
    one, two = (text.decode().split(terminator) for text in (before, after))
    assert len(one) == len(two)
    return [(old.strip(), new.strip()) for old, new in zip(one, two, strict=True) if old != new]


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.name}" for path in FILES])
def test_every_sample_comes_back(path: Path) -> None:
    data = path.read_bytes()
    with open(path, "rb") as stream:
        content = open_source(stream).read().removeprefix(b"\xef\xbb\xbf")
    pieces, items = kept(data, path.name)
    assert items == kept(data, path.name, keep=False)[1]
    assert b"".join(write_file(pieces)).removeprefix(b"\xef\xbb\xbf") == content
    assert b"".join(write_file(pieces, rows(items))).removeprefix(b"\xef\xbb\xbf") == content
    covered = [row for piece in pieces for row in piece.rows]
    firsts = [item.source_row for item in rows(items)]
    assert covered == sorted(set(covered)) and set(covered) <= set(range(len(items)))
    assert not firsts or min(firsts) in covered


def test_there_are_samples() -> None:
    if not SHARED.exists():
        pytest.skip("no shared samples here; those of the repository are written back")
    assert sum(path.is_relative_to(SHARED) for path in FILES) >= 44


@pytest.mark.parametrize("path", [path for path in FILES if "835" not in path.name and "fhir" not in str(path)], ids=lambda path: path.name)
def test_a_diagnosis_and_a_name_change_exactly_their_elements(path: Path) -> None:
    pieces, items = kept(path.read_bytes(), path.name)
    before = b"".join(piece.content for piece in pieces)
    (claim,) = [item for item in rows(items) if isinstance(item, RawClaim)][:1]
    code = dataclasses.replace(claim.diagnoses[0], code="Z99.89")
    new = dataclasses.replace(claim, patient_names=("ZOE QUUX", *claim.patient_names[1:]), diagnoses=(code, *claim.diagnoses[1:]))
    after = b"".join(write_file(pieces, [new]))
    (name, new_name), (codes, new_codes) = changes(before, after)
    assert name.split("*")[:2] == new_name.split("*")[:2] and name.split("*")[8:] == new_name.split("*")[8:]
    assert new_name.split("*")[3:5] == ["QUUX", "ZOE"]
    one, two = codes.split("*"), new_codes.split("*")
    assert one[0] == two[0] == "HI" and one[2:] == two[2:] and two[1][3:].replace(".", "") == "Z9989"
    again = [item for item in rows(kept(after)[1]) if isinstance(item, RawClaim)][0]
    assert (again.patient_names, again.diagnoses) == (new.patient_names, new.diagnoses)


def test_separators_breaks_and_marks_stay() -> None:
    text = samples.x12().decode().replace("\n", "")[106:]
    for element, component, terminator, newline in (("|", ">", "\n", ""), ("+", "^", "'", "\r\n"), ("*", ":", "\x1c", "\n \n")):
        body = text.replace("*", element).replace(":", component).replace("~", terminator + newline)
        data = b"\xef\xbb\xbf" + (samples.isa(element, component, terminator) + newline + body).encode()
        pieces, items = kept(data)
        assert b"".join(write_file(pieces)) == data
        claim = next(item for item in items if isinstance(item, RawClaim))
        after = b"".join(write_file(pieces, [dataclasses.replace(claim, total_charge=99.0)]))
        ((_, new),) = changes(data, after, terminator)
        assert new.startswith(f"CLM{element}C-1{element}99{element}")


@given(st.data())
@QUIET
def test_damaged_files_come_back_as_they_are(data: st.DataObject) -> None:
    held = samples.x12(samples.HEAD + samples.CLAIM + samples.CLAIM.split("~", 5)[5]) + samples.x12(samples.REMITTANCE, kind="835")
    at = data.draw(st.integers(4, len(held)))
    damaged = held[:at] + data.draw(st.binary(max_size=30)) + held[at + data.draw(st.integers(0, 40)) :]
    pieces, items = kept(damaged)
    if pieces and all(piece.source_format == "x12" for piece in pieces):
        assert b"".join(write_file(pieces)) == b"".join(write_file(pieces, rows(items))) == b"".join(piece.content for piece in pieces)
    assert items == kept(damaged, keep=False)[1]


def test_a_skipped_transaction_and_what_follows_damage_are_kept() -> None:
    data = samples.x12("AK1*HC*1~", kind="999") + samples.x12() + b"ISA broken here, and nobody knows what follows~CLM*C-9~"
    assert written(data) == data


def test_codes_are_added_and_taken_away() -> None:
    data = samples.x12()
    claim = rows(kept(data)[1])[0]
    more = Diagnosis(system="ICD-10-CM", code="J45.909", kind="other")
    added = dataclasses.replace(claim, diagnoses=(*claim.diagnoses, more))
    assert changes(data, written(data, added)) == [("HI*ABK:E1165*ABF:I10", "HI*ABK:E1165*ABF:I10*ABF:J45909")]
    fewer = dataclasses.replace(claim, diagnoses=claim.diagnoses[:1])
    assert changes(data, written(data, fewer)) == [("HI*ABK:E1165*ABF:I10", "HI*ABK:E1165")]
    institutional = samples.x12(samples.HEAD + samples.INSTITUTIONAL, "005010X223A2")
    claim = rows(kept(institutional)[1])[0]
    added = dataclasses.replace(claim, diagnoses=(*claim.diagnoses, more))
    after = written(institutional, added)
    assert rows(kept(after)[1])[0].diagnoses == added.diagnoses and after.replace(b"HI*ABF:J45909~", b"") == institutional
    thirteen = dataclasses.replace(claim, diagnoses=(*claim.diagnoses, *[more] * 13))
    assert max(part.count(b"*") for part in written(institutional, thirteen).split(b"~") if part.strip().startswith(b"HI")) == 12


def test_a_corrected_claim_names_the_one_that_it_replaces() -> None:
    data = samples.x12()
    claim = rows(kept(data)[1])[0]
    after = written(data, dataclasses.replace(claim, status="7", original_payer_claim_id="PAYER-9", authorizations=("AUTH-1",)))
    again = rows(kept(after)[1])[0]
    assert (again.status, again.original_payer_claim_id, again.authorizations) == ("7", "PAYER-9", ("AUTH-1",))
    one, two = ([part.strip() for part in text.decode().split("~")] for text in (data, after))
    assert [part for part in two if part not in ("REF*F8*PAYER-9", "REF*G1*AUTH-1")] == [part.replace("11:B:1", "11:B:7") for part in one]
    assert sorted(set(two) - set(one)) == ["CLM*C-1*150.5***11:B:7*Y*A*Y*Y", "REF*F8*PAYER-9", "REF*G1*AUTH-1"]


def test_two_claims_of_one_subscriber_must_agree() -> None:
    second = samples.CLAIM.split("~", 5)[5].replace("C-1", "C-2")
    data = samples.x12(samples.HEAD + samples.CLAIM + second)
    claims = [item for item in rows(kept(data)[1]) if isinstance(item, RawClaim)]
    renamed = [dataclasses.replace(claim, patient_names=("ZOE QUUX",)) for claim in claims]
    assert changes(data, written(data, *renamed)) == [("NM1*IL*1*QUIMBY*ADA*B***MI*W0001", "NM1*IL*1*QUUX*ZOE****MI*W0001")]
    for records in (renamed[:1], [renamed[0], dataclasses.replace(claims[1], patient_names=("AMY POND",))]):
        with pytest.raises(InputError, match="patient_names") as caught:
            written(data, *records)
        assert not any(word in str(caught.value) for word in ("ZOE", "QUIMBY", "POND"))


def test_what_has_no_place_is_refused() -> None:
    data = samples.x12()
    claim, note = rows(kept(data)[1])
    for new in (
        dataclasses.replace(claim, form="dental"),
        dataclasses.replace(claim, encounter_id="E-1"),
        dataclasses.replace(claim, lines=claim.lines[:1]),
        dataclasses.replace(claim, birth_date=None, sex="unknown", address="9~ELM"),
        dataclasses.replace(claim, payer="A*B"),
        dataclasses.replace(note, text="ONE LINE\nAND ANOTHER"),
        dataclasses.replace(claim, birth_date=datetime.date(1700, 1, 1)),
    ):
        with pytest.raises(InputError) as caught:
            written(data, new)
        assert "ELM" not in str(caught.value) and "A*B" not in str(caught.value)
    stranger = dataclasses.replace(claim, source_row=7)
    for records in ((stranger,), (dataclasses.replace(note, source_row=0),), (dataclasses.replace(claim, source_digest="x"),)):
        with pytest.raises(InputError, match="read from this file"):
            written(data, *records)
    pieces = kept(data)[0]
    for wrong in (pieces[1:], pieces[::-1], [*pieces, *pieces]):
        with pytest.raises(InputError, match="all pieces"):
            b"".join(write_file(wrong))


def others(value: Any) -> Iterator[Any]:
    """Other values of the type of a field."""
    if isinstance(value, str):
        yield "QX7"
    elif isinstance(value, float):
        yield value + 1.25
    elif isinstance(value, datetime.date):
        yield value + datetime.timedelta(days=40)
    elif isinstance(value, tuple) and value:
        for number, one in enumerate(value):
            for new in others(one):
                yield (*value[:number], new, *value[number + 1 :])
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            for new in others(getattr(value, item.name)):
                yield dataclasses.replace(value, **{item.name: new})  # type: ignore[type-var]


RICH = samples.x12(
    samples.HEAD.replace("SBR*P*18*", "SBR*P*18*GROUP-4")
    + samples.CLAIM.replace("HI*", "PWK*OZ*BM***AC*CTRL-1~REF*G1*A-1~REF*F8*P-9~REF*EA*M-7~K3*DATA~HI*", 1).replace(
        "LX*2~", "REF*6R*L-1~LX*2~"
    )
)
PAID = samples.x12(
    samples.REMITTANCE.replace("CAS*PR*1*20~", "CAS*PR*1*20**2*4*1~REF*6R*L-1~AMT*B6*90~LQ*HE*N130~"), "005010X221A1", kind="835"
)
# Fields that have no element of their own, or one that does not take any value.
NO_PLACE = {"form", "encounter_id", "status", "document_id", "claim_id", "patient_id", "date", "age", "kind", "service_from", "service_to"}
PARTLY = {"diagnoses", "lines", "sex", "adjustments"}  # a group is shared by the adjustments of a CAS


@pytest.mark.parametrize("data", [RICH, PAID], ids=["837", "835"])
def test_every_modelled_field_that_changes_reads_back(data: bytes) -> None:
    found = rows(kept(data)[1])
    done: set[str] = set()
    for record in found:
        for item in dataclasses.fields(record):
            if item.name.startswith("source_"):
                continue
            for value in others(getattr(record, item.name)):
                new = dataclasses.replace(record, **{item.name: value})
                try:
                    after = written(data, new)
                except InputError as error:
                    assert item.name in NO_PLACE | PARTLY, (item.name, str(error))
                    continue
                again = rows(kept(after)[1])[new.source_row]
                assert getattr(again, item.name) == value, item.name
                assert len(changes(data, after)) <= 2
                done.add(item.name)
    if data is RICH:
        assert done >= {
            "claim_id", "diagnoses", "lines", "total_charge", "payer", "payer_type", "group_number", "provider_npi", "provider_name",
            "subscriber_id", "patient_names", "birth_date", "address", "city", "state", "postal_code", "original_payer_claim_id",
            "authorizations", "attachments", "file_information", "medical_record_number", "text",
        }  # fmt: skip
    else:
        assert done >= {"claim_id", "payer_claim_id", "status", "charge", "paid", "patient_responsibility", "adjustments", "lines",
                        "patient_names", "subscriber_id"}  # fmt: skip


def test_dates_shift_together() -> None:
    data = samples.x12()
    claim = rows(kept(data)[1])[0]
    days = datetime.timedelta(days=-100)
    lines = tuple(dataclasses.replace(line, service_date=line.service_date + days) for line in claim.lines)
    shifted = dataclasses.replace(claim, lines=lines, service_from=claim.service_from + days, service_to=claim.service_to + days)
    assert changes(data, written(data, shifted)) == [
        ("DTP*472*D8*20240229", "DTP*472*D8*20231121"), ("DTP*472*RD8*20240301-20240302", "DTP*472*RD8*20231122-20231123")
    ]  # fmt: skip


def test_a_remittance_changes_in_its_elements() -> None:
    data = samples.x12(samples.REMITTANCE, "005010X221A1", kind="835")
    (answer,) = rows(kept(data)[1])
    line = dataclasses.replace(answer.lines[0], paid=79.5, adjustments=(Adjustment(group="PR", reason="2", amount=20.5),))
    new = dataclasses.replace(answer, patient_names=("AMY POND",), paid=99.5, lines=(line,))
    assert isinstance(new, RawRemittance)
    assert changes(data, written(data, new)) == [
        ("CLP*C-1*1*150.5*100*20.25*12*P77", "CLP*C-1*1*150.5*99.5*20.25*12*P77"),
        ("NM1*QC*1*QUIMBY*ADA****MI*W0001", "NM1*QC*1*POND*AMY****MI*W0001"),
        ("SVC*HC:99213*100.5*80", "SVC*HC:99213*100.5*79.5"), ("CAS*PR*1*20", "CAS*PR*2*20.5"),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------ FHIR


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(one, f"{path}/{key}")
    if not isinstance(value, dict | list):
        yield path, value


def json_changes(before: bytes, after: bytes) -> list[tuple[str, Any]]:
    """Leaves that differ, each with its new value."""
    one, two = (dict(leaves([json.loads(line) for line in text.splitlines()])) for text in (before, after))
    assert one.keys() == two.keys()
    return [(path, two[path]) for path in one if one[path] != two[path]]


NDJSON = samples.lines(
    samples.PATIENT, samples.ENCOUNTER, samples.CONDITION, samples.document(), samples.FHIR_CLAIM, {"resourceType": "Device"}
)


def test_a_patient_a_code_and_a_note_change_exactly_their_elements() -> None:
    patient, _, condition, note, claim = rows(kept(NDJSON)[1])
    assert isinstance(patient, RawPatient) and isinstance(note, RawDocument)
    new = [
        dataclasses.replace(patient, names=("Zoe X Quux",), birth_date=datetime.date(1981, 1, 2)),
        dataclasses.replace(condition, codings=(dataclasses.replace(condition.codings[0], code="I10"),)),
        dataclasses.replace(note, text="Another – note."),
        dataclasses.replace(claim, diagnoses=(dataclasses.replace(claim.diagnoses[0], code="J45.909"), *claim.diagnoses[1:])),
    ]
    after = written(NDJSON, *new)
    assert json_changes(NDJSON, after) == [
        ("/0/birthDate", "1981-01-02"), ("/0/name/0/family", "Quux"), ("/0/name/0/given/0", "Zoe"), ("/0/name/0/given/1", "X"),
        ("/2/code/coding/0/code", "I10"), ("/3/content/0/attachment/data", "QW5vdGhlciDigJMgbm90ZS4="),
        ("/4/diagnosis/1/diagnosisCodeableConcept/coding/0/code", "J45.909"),
    ]  # fmt: skip
    again = {item.source_row: item for item in rows(kept(after)[1])}
    assert [dataclasses.replace(again[one.source_row], source_digest="") for one in new] == [
        dataclasses.replace(one, source_digest="") for one in new
    ]


def test_every_byte_beside_a_change_stays() -> None:
    line = b'{ "resourceType":"Claim", "id":"k1","total" : {"value": 1.50, "currency":"USD"},\t"x":[1e2, "\\u00e9"],"patient":{"reference":"Patient/p1"} }\r\n'
    (claim,) = rows(kept(line)[1])
    assert written(line, claim) == line
    assert written(line, dataclasses.replace(claim, patient_id="p2")) == line.replace(b"Patient/p1", b"Patient/p2")


@pytest.mark.parametrize("indent", [None, 1])
def test_resources_of_a_bundle_change_where_they_stand(indent: int | None) -> None:
    inner = samples.bundle(samples.CONDITION)
    whole = samples.bundle(samples.PATIENT, samples.FHIR_CLAIM)
    whole["entry"] += [{"response": {"status": "204"}}, {"resource": inner}]
    data = json.dumps(whole, indent=indent).encode() + b"\n"
    patient, claim, condition = rows(kept(data)[1])
    assert written(data, patient, claim, condition) == data
    after = written(data, dataclasses.replace(patient, city="Shelbyville"), dataclasses.replace(condition, status="resolved"))
    at = data.index(b"c1", data.index(b"204"))  # the Condition's own status, not that of the Claim
    assert after == (data[:at].replace(b"Springfield", b"Shelbyville") + data[at:].replace(b'"active"', b'"resolved"', 1))
    again = rows(kept(after)[1])
    assert (again[0].city, again[2].status, again[1].diagnoses) == ("Shelbyville", "resolved", claim.diagnoses)


def test_a_note_that_lies_elsewhere_stays_there() -> None:
    note = samples.document()
    note["content"] = [{"attachment": {"contentType": "text/plain", "url": "Binary/b1"}}]
    binary = {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": "SGVsbG8="}
    data = samples.lines(samples.PATIENT, samples.CONDITION, note, binary)
    *_, found = rows(kept(data)[1])
    assert found.text == "Hello" and written(data, found) == data
    after = written(data, dataclasses.replace(found, document_id="d2"))
    assert json_changes(data, after) == [("/2/id", "d2")]


def test_fhir_changes_without_a_place_are_refused() -> None:
    patient, *_ = rows(kept(NDJSON)[1])
    for new in (dataclasses.replace(patient, names=("A", "B")), dataclasses.replace(patient, phones=("1", "2"))):
        with pytest.raises(InputError, match="has a place"):
            written(NDJSON, new)


@pytest.mark.parametrize("path", [path for path in FILES if "Patient" in path.name], ids=lambda path: path.name)
def test_all_patients_of_a_bulk_export_are_renamed(path: Path) -> None:
    pieces, items = kept(path.read_bytes(), path.name)
    new = [dataclasses.replace(one, names=("Mx. Zoe Quux",) * len(one.names)) if len(one.names) == 1 else one for one in rows(items)]
    after = kept(b"".join(write_file(pieces, new)))[1]
    assert [one.names for one in rows(after)] == [one.names for one in new] and any(one.names == ("Mx. Zoe Quux",) for one in new)
    assert [one.birth_date for one in rows(after)] == [one.birth_date for one in new]


# --------------------------------------------------------------------------------------------------------------- the table


def test_members_of_an_archive_are_files_of_their_own() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.x12", samples.x12())
        archive.writestr("b.ndjson", NDJSON)
    pieces, _ = kept(out.getvalue(), "both.zip")
    members = sorted({piece.member for piece in pieces if piece.member is not None})
    assert len(members) == 2
    contents = [b"".join(write_file([piece for piece in pieces if piece.member == member])) for member in members]
    assert contents == [samples.x12(), NDJSON]


def test_the_table_holds_them_and_every_column_of_content_is_marked() -> None:
    pieces, _ = kept(samples.x12())
    table = to_table(Original, pieces)
    assert [from_dict(Original, row) for row in table.to_pylist()] == pieces
    assert arrow_schema(Original).field("content").metadata[b"phi"] == b"text"


SUBSCRIBERS = "HL*1**20*1~NM1*85*2*C*****XX*1~" + "".join(
    f"HL*{number + 2}*1*22*0~SBR*P*18*******CI~NM1*IL*1*D*E****MI*{number}~DMG*D8*{born}*F~CLM*{number}*100***11:B:1*Y*A*Y*Y~"
    f"NTE*ADD*note {number}~HI*ABK:I10~LX*1~SV1*HC:99213*100*UN*1***1~DTP*472*D8*20240301~"
    for number, born in enumerate(["19800101", "20300101", "19800101"])
)
EOBS = [
    {"resourceType": "ExplanationOfBenefit", "id": f"e{number}", "status": "active", "patient": {"reference": "Patient/1"},
     "billablePeriod": {"start": "2024-01-01", "end": "2024-01-02"},
     "item": [{"sequence": 1, "productOrService": {"coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "99213"}]}}],
     **({"claim": {"reference": "Claim/1"}} if number == 2 else {})}
    for number in range(3)
]  # fmt: skip
DEAD_ONES: dict[str, tuple[bytes, dict[int, Reason]]] = {
    "X12, impossible date": (samples.x12(SUBSCRIBERS), {}),
    "X12, of two transactions": (samples.x12(SUBSCRIBERS).replace(b"HL*3*1", b"SE*1*1~ST*837*2*005010X222A1~HL*1**20*1~HL*3*1")
                                 .replace(b"HL*4*1", b"SE*1*1~ST*837*3*005010X222A1~HL*1**20*1~HL*4*1"), {}),
    "X12, lost with its process": (samples.x12(SUBSCRIBERS.replace("20300101", "19800101")), {2: Reason("process_lost")}),
    "X12, the last one": (samples.x12(SUBSCRIBERS.replace("20300101", "19800101")), {3: Reason("process_lost")}),
    "Bundle itself": (json.dumps(samples.bundle(*EOBS)).encode(), {1: Reason("process_lost")}),
    "Bundle, the first one": (json.dumps(samples.bundle(*EOBS)).encode(), {2: Reason("process_lost")}),
    "Bundle, the second, before a remittance alone": (json.dumps(samples.bundle(*EOBS)).encode(), {3: Reason("process_lost")}),
    "Bundle, the last one": (json.dumps(samples.bundle(*EOBS[:2])).encode(), {3: Reason("process_lost")}),
    "lines": (samples.lines(*EOBS), {3: Reason("process_lost")}),
}  # fmt: skip


@pytest.mark.parametrize("case", DEAD_ONES)
def test_a_dead_record_that_would_give_two_rows_keeps_its_place(case: str) -> None:
    data, deadly = DEAD_ONES[case]
    source = readers.SourceFile("/x/file", "file", hashlib.sha256(data).hexdigest(), len(data))
    items = list(readers.read_file(source, io.BytesIO(data), IngestConfig(keep_originals=True), builder=readers.Builder(deadly)))
    pieces = [item for item in items if isinstance(item, Original)]
    (dead,) = [item for item in items if type(item).__name__ == "DeadLetter"]
    assert b"".join(write_file(pieces, rows(items))) == data
    for record in rows(items):
        if isinstance(record, RawClaim):
            new = (
                dataclasses.replace(record, total_charge=77.0) if data.startswith(b"ISA") else dataclasses.replace(record, patient_id="p9")
            )
            asked = [new if item is record else item for item in rows(items)]
            after = b"".join(write_file(pieces, asked))
            assert after != data and len(after) - len(data) in (-1, 0, 1), dead.source_row


def test_off_by_default() -> None:
    assert IngestConfig().keep_originals is False
    assert kept(samples.x12(), keep=False)[0] == kept(NDJSON, keep=False)[0] == []
