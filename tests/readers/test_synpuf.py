"""DE-SynPUF: the ICD-9 era. Codes are told as ICD-9-CM and never coded or checked as ICD-10-CM."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import reader_samples as samples
from nosology.records import ClaimLine, Coding, Diagnosis, to_dict

DAY = datetime.date
STAY, VISIT = samples.SYNPUF_STAY, samples.SYNPUF_VISIT


def inpatient(*rows: dict[str, str]) -> bytes:
    return samples.synpuf(samples.SYNPUF_INPATIENT_HEADER, *rows)


def test_a_stay(read: Any) -> None:
    claim = read(inpatient(STAY)).one("RawClaim")
    assert (claim.claim_id, claim.patient_id, claim.form, claim.payer) == ("542", "00A1", "institutional", "Medicare")
    assert (claim.service_from, claim.service_to, claim.total_charge) == (DAY(2008, 9, 11), DAY(2008, 9, 13), None)
    assert claim.diagnoses == (
        Diagnosis(system="ICD-9-CM", code="250.00", kind="principal"),
        Diagnosis(system="ICD-9-CM", code="V58.66", kind="other"),
        Diagnosis(system="ICD-9-CM", code="E812.0", kind="other"),
        Diagnosis(system="ICD-9-CM", code="458.0", kind="admitting"),
    )
    assert claim.procedures == (Coding(system="ICD-9-CM", code="7769"),)
    assert claim.lines == (ClaimLine(number=1, system="HCPCS", code="99221"),)


def test_a_visit_points_from_its_line_to_its_diagnosis(read: Any) -> None:
    claim = read(samples.synpuf(samples.SYNPUF_CARRIER_HEADER, VISIT)).one("RawClaim")
    assert (claim.form, claim.lines) == (
        "professional", (ClaimLine(number=1, system="HCPCS", code="99213", diagnosis_pointers=(2,)),),
    )  # fmt: skip


def test_beneficiary_and_drug_event(read: Any) -> None:
    person = read(samples.SYNPUF_BENEFICIARY).one("RawPatient")
    assert (person.patient_id, person.birth_date, person.sex, person.state) == ("00A1", DAY(1923, 5, 1), "male", "MO")
    claim = read(samples.SYNPUF_DRUG).one("RawClaim")
    assert (claim.form, claim.claim_id, claim.lines[0].code, claim.total_charge) == ("pharmacy", "231", "00247181304", 570.0)


def test_segments_of_a_claim_are_one_claim(read: Any) -> None:
    more = {**STAY, "SEGMENT": "2", "HCPCS_CD_1": "99222"}
    found = read(inpatient(STAY, more, {**STAY, "CLM_ID": "543"}, {**more, "CLM_ID": "543"}, {**STAY, "CLM_ID": "544"}))
    assert [(claim.claim_id, [line.code for line in claim.lines]) for claim in found.of("RawClaim")] == [
        ("542", ["99221", "99222"]), ("543", ["99221", "99222"]), ("544", ["99221"]),
    ]  # fmt: skip
    assert (found.counts.records, found.counts.dead) == (3, 0)


@pytest.mark.parametrize(
    ("rows", "reasons", "kept"),
    [
        (({**STAY, "SEGMENT": "2"}, {**STAY, "CLM_ID": "543"}), [("scattered_claim", "SEGMENT")], ["543"]),
        (({**STAY, "CLM_FROM_DT": "20080231"}, {**STAY, "CLM_ID": "543"}), [("impossible_date", "CLM_FROM_DT")], ["543"]),
        (({**STAY, "CLM_THRU_DT": "20080101"}, {**STAY, "CLM_ID": "543"}), [("impossible_date", "CLM_THRU_DT")], ["543"]),
        (({**STAY, "CLM_ID": ""}, STAY), [("missing_field", "CLM_ID")], ["542"]),
    ],
)
def test_bad_rows(read: Any, rows: tuple[dict[str, str], ...], reasons: list[tuple[str, str]], kept: list[str]) -> None:
    found = read(inpatient(*rows))
    assert (found.reasons, [claim.claim_id for claim in found.of("RawClaim")]) == (reasons, kept)


def test_a_damaged_second_segment_costs_its_claim(read: Any) -> None:
    data = inpatient(STAY, {**STAY, "SEGMENT": "2"}, {**STAY, "CLM_ID": "543"}).split(b"\n")
    data[2] = b",".join(data[2].split(b",")[:9])
    found = read(b"\n".join(data))
    assert (found.reasons, [claim.claim_id for claim in found.of("RawClaim")]) == ([("column_count", None)], ["543"])


def test_its_codes_are_never_taken_for_icd_10(read: Any) -> None:
    """V58.66 and E81.20 could be read as codes of ICD-10-CM; the check of billed codes names another system instead."""
    from nosology.coding.coder import check_claim
    from nosology.coding.compare import compare
    from nosology.terminology.codeset import code_set

    claim = read(inpatient(STAY)).one("RawClaim")
    codes = code_set()
    prediction = check_claim(to_dict(claim), codes)
    assert [(one.code, one.kind) for one in prediction.discrepancies] == [(one.code, "other_system") for one in claim.diagnoses]
    assert prediction.codes == ()
    assert {one.kind for one in compare(claim.diagnoses, [], claim.service_from, codes)} == {"other_system"}


def test_a_row_that_cannot_be_read_stands_alone(read: Any) -> None:
    data = inpatient(STAY, {**STAY, "CLM_ID": "543"}, {**STAY, "CLM_ID": "544"}).split(b"\n")
    data[2] = data[2].replace(b"543", b"\xff")
    found = read(b"\n".join(data))
    assert (found.reasons, [claim.claim_id for claim in found.of("RawClaim")]) == ([("invalid_utf8", None)], ["542", "544"])
