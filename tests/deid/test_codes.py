"""Codes in Clean records: those of their system's form stay; what else was typed there does not."""

from __future__ import annotations

import pytest
from nosology.deid.codes import UNKNOWN, kept

NAME = "Quackenbush"


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("ICD-10-CM", "E11.9"), ("ICD-10-CM", "S52.521A"), ("ICD-10-CM", "I10"), ("ICD-10-CM", "U07.1"), ("ICD-10-CM", "C7A.00"),
        ("ICD-9-CM", "250.00"), ("ICD-9-CM", "V45.81"), ("ICD-9-CM", "E885.9"), ("ICD-9-CM", "00.66"), ("ICD-10-PCS", "02HV33Z"),
        ("HCPCS", "99213"), ("HCPCS", "J0897"), ("HCPCS", "0001A"), ("HCPCS", "D0120"), ("LOINC", "34117-2"), ("RxNorm", "860975"),
        ("NDC", "00093-1048-01"), ("NDC", "00093104801"), ("REVENUE", "0450"), ("SNOMED CT", "44054006"), (None, "E11.9"), (None, "R51"),
    ],
)  # fmt: skip
def test_a_code_of_its_system_stays(system: str | None, code: str) -> None:
    assert kept("code", {"system": system, "code": code}) == code
    assert kept("system", {"system": system, "code": code}) == system


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("ICD-10-CM", NAME), ("ICD-10-CM", "diabetes of Mr. Q."), ("ICD-10-CM", "7731904"), ("ICD-10-CM", "E11.9 " + NAME),
        ("HCPCS", "908-66-1234"), ("LOINC", NAME), ("NDC", "908-66-1234"), ("SNOMED CT", "44054006 " + NAME), ("REVENUE", "MRN"),
        (None, NAME), (None, "7731904"), (None, "A123456"), (f"http://{NAME}.example/codes", "7731904"), ("ICD-10-CM", "E119\n" + NAME),
    ],
)  # fmt: skip
def test_anything_else_is_a_tag(system: str | None, code: str) -> None:
    assert kept("code", {"system": system, "code": code}) == UNKNOWN


def test_a_system_that_is_not_known_has_no_name() -> None:
    assert kept("system", {"system": f"urn:{NAME}", "code": "1"}) is None
    assert kept("system", {"system": None, "code": "1"}) is None


def test_lists_keep_their_places() -> None:
    assert kept("modifiers", {"modifiers": ["25", NAME, "LT"]}) == ["25", UNKNOWN, "LT"]


def test_short_fields() -> None:
    assert kept("revenue_code", {"revenue_code": "0450"}) == "0450" and kept("revenue_code", {"revenue_code": NAME}) is None
    assert kept("present_on_admission", {"present_on_admission": "Y"}) == "Y"
    assert kept("present_on_admission", {"present_on_admission": NAME}) is None
    assert kept("kind", {"kind": "admitting"}) == "admitting" and kept("kind", {"kind": NAME.lower()}) == "other"
