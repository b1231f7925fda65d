"""Fields that no list has are told by name, never by value; a name that is none, by its place."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import reader_samples as samples
from nosology import readers
from nosology.distributed.coverage import Commit, Group, Interval, Tally
from nosology.readers.unlisted import MOST_NAMES, OTHERS, Unlisted, name

VALUE = "Zebulon Quackenbush"


def unknown(data: bytes, file: str = "file") -> dict[str, int]:
    reading = readers.read_file(readers.SourceFile(f"/x/{file}", file, "0" * 64, len(data)), io.BytesIO(data))
    for _ in reading:
        pass
    assert VALUE not in json.dumps(reading.unknown) and "Quackenbush" not in json.dumps(reading.unknown)
    return dict(reading.unknown)


SAMPLES = {
    "x12": samples.x12(), "institutional": samples.x12(samples.HEAD + samples.INSTITUTIONAL, "005010X223A3"),
    "remittance": samples.x12(samples.REMITTANCE, kind="835").replace(b"BHT*0019*00*1*20240101*1200*CH~", b""), "hl7v2": samples.ORU,
    "fhir": samples.lines(samples.PATIENT, samples.ENCOUNTER, samples.CONDITION, samples.document(), samples.FHIR_CLAIM, samples.BENEFIT),
    "bundle": json.dumps(samples.bundle(samples.PATIENT, samples.document()), indent=1).encode(), "rif": samples.carrier("-1|1|30-May-2015"),
    "beneficiary": samples.BENEFICIARY, "pde": samples.PDE, "synthea": samples.PATIENTS_CSV, "csv": samples.CSV,
}  # fmt: skip


@pytest.mark.parametrize("form", SAMPLES)
def test_what_is_listed_is_not_told(form: str) -> None:
    assert unknown(SAMPLES[form]) == {}


CLAIM = samples.CLAIM


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (CLAIM + f"HCR*{VALUE}~", {"x12 837 HCR": 1}),
        (CLAIM + f"QQ*{VALUE}~", {"x12 837 segment that X12 lacks": 1}),  # two letters that may be a part of a value
        (CLAIM + f"REF*ZZ*{VALUE}~REF*{VALUE}*1~", {"x12 837 REF01 with a qualifier that the list lacks": 2}),
        (CLAIM.replace("N3*1 ELM ST", f"N3*1 ELM ST**{VALUE}"), {"x12 837 N303": 1}),
        (CLAIM.replace("***MI*W0001", f"***MI*W0001****{VALUE}"), {"x12 837 NM113 IL": 1}),
        (CLAIM.replace("***MI*W0001", "***MI*W0001*****"), {}),  # elements that are empty
        (CLAIM + "REF~", {"x12 837 REF01 with a qualifier that the list lacks": 1}),
    ],
)
def test_x12(body: str, told: dict[str, int]) -> None:
    assert unknown(samples.x12(samples.HEAD + body)) == told


def test_a_transaction_that_is_skipped_is_not_looked_at() -> None:
    assert unknown(samples.x12(f"QQ*{VALUE}~", kind="270")) == {}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (f"ZPI|1|{VALUE}\r", {"hl7v2 ZPI": 1}),
        (f"JON|{VALUE}\r", {"hl7v2 segment that HL7 lacks": 1}),
        ("EVN|A01" + "|" * 12 + VALUE + "\r", {"hl7v2 EVN-13": 1}),
        (f"RXA|{VALUE}" + "|x" * 90 + "\r", {}),  # listed as a whole
    ],
)
def test_hl7v2(more: str, told: dict[str, int]) -> None:
    assert unknown(samples.ORU + more.encode()) == told


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        ({**samples.PATIENT, "nickname": VALUE}, {"fhir Patient.nickname": 1}),
        ({**samples.PATIENT, VALUE: 1, "x" * 65: 2, "mrn_12345678": 3}, {f"fhir Patient.field {n}": 1 for n in (11, 12, 13)}),
        ({**samples.PATIENT, "name": [{"family": "Q", "alias": VALUE}] * 2}, {"fhir Patient.name.alias": 1}),
        ({**samples.PATIENT, "_birthDate": {"extension": []}, "extension": [{"url": "x", "valueString": VALUE}]}, {}),
        ({**samples.PATIENT, "photo": [{"anything": VALUE}]}, {}),  # dropped with all that it holds
        ({"resourceType": "Observation", "id": "o", "anything": VALUE}, {}),  # skipped, and counted as that
    ],
)
def test_fhir(resource: dict[str, Any], told: dict[str, int]) -> None:
    assert unknown(samples.lines(resource)) == told
    assert unknown(json.dumps(samples.bundle(resource), indent=1).encode()) == told


def test_fhir_names_of_the_resource_itself_are_met_in_each() -> None:
    """Those below are looked at in the first ones and now and then."""
    many = [{**samples.PATIENT, "id": f"p{n}", "nickname": VALUE, "name": [{"alias": VALUE}]} for n in range(400)]
    found = unknown(samples.lines(*many))
    assert found["fhir Patient.nickname"] == 400 and 0 < found["fhir Patient.name.alias"] < 400


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (samples.BENEFICIARY.replace(b"DEATH_DT\n", b"DEATH_DT|NICK_NAME\n").replace(b"1S00E00AA00|\n", f"1S00E00AA00||{VALUE}\n".encode()),
         {"rif NICK_NAME": 1}),
        (samples.PATIENTS_CSV.replace(b"ZIP\n", b"ZIP,NICKNAME\n").replace(b"01101\n", f"01101,{VALUE}\n".encode()),
         {"synthea patients.csv NICKNAME": 1}),
        (samples.SYNPUF_DRUG.replace(b"TOT_RX_CST_AMT\n", b"TOT_RX_CST_AMT,NICK\n").replace(b"570.00\n", f"570.00,{VALUE}\n".encode()),
         {"synpuf NICK": 1}),
        (samples.lines({"id": 1, "text": "x", "ward": VALUE}, {"id": 2, "text": "y", VALUE.upper() + "!": 1}),
         {"jsonl ward": 1, "jsonl field 3": 1}),
        (samples.parquet([{"id": "1", "text": "x", "ward": VALUE}, {"id": "2", "text": "y", "ward": None}]), {"parquet ward": 2}),
    ],
)  # fmt: skip
def test_tables(data: bytes, told: dict[str, int]) -> None:
    assert unknown(data) == told


def test_names() -> None:
    assert name("PATIENT_ID", 3) == "PATIENT_ID" and name("year.2020", 3) == "year.2020"
    for odd in ("", "x" * 65, "Muñoz", "a\nb", "12", "MRN00412345", "Jane Doe", "a, b", "a@b.org"):
        assert name(odd, 3) == "field 3", odd


def test_names_are_bounded() -> None:
    unlisted = Unlisted()
    for number in range(3 * MOST_NAMES):
        unlisted.add(f"f{number}")
    counts = unlisted.close(0)
    assert len(counts) == MOST_NAMES + 1 and counts[OTHERS] == 2 * MOST_NAMES
    assert not unlisted.close(1)


def test_the_ledger_carries_them_and_takes_them_back() -> None:
    commits = [Commit(Interval(0, n, n + 1), n, Tally(records=1, ok=1)) for n in range(3)]
    for commit, told in zip(commits, ({"fhir Patient.a": 2}, {"fhir Patient.a": 1, "rif B": 3}, {}), strict=True):
        commit.tally.unknown.update(told)
    group = Group()
    for commit in commits:
        group.add(commit)
    again = Group.of(json.loads(json.dumps(group.to_json())))
    assert again.tally.unknown == {"fhir Patient.a": 3, "rif B": 3}
    again.take(commits[1])
    assert again.tally.unknown == {"fhir Patient.a": 2}
    older = group.tally.to_json()
    del older["unknown"]  # a manifest of an earlier version
    assert not Tally.of(older).unknown


def test_the_ledger_does_not_grow_with_the_names() -> None:
    whole = Tally()
    for part in range(40):
        whole.add(Tally(unknown=Tally().unknown.__class__({f"jsonl k{part}_{n}": 1 for n in range(MOST_NAMES)})))
    assert len(whole.unknown) <= 1001 and whole.unknown.total() == 40 * MOST_NAMES
