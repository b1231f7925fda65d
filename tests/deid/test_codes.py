"""Codes in Clean records: those of their system's form stay; what else was typed there does not."""

from __future__ import annotations

import pytest
from nosology.deid.checksums import with_sctid
from nosology.deid.codes import UNKNOWN, kept

NAME = "Quackenbush"


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("ICD-10-CM", "E11.9"), ("ICD-10-CM", "S52.521A"), ("ICD-10-CM", "I10"), ("ICD-10-CM", "U07.1"), ("ICD-10-CM", "C7A.00"),
        ("ICD-9-CM", "250.00"), ("ICD-9-CM", "V45.81"), ("ICD-9-CM", "E885.9"), ("ICD-9-CM", "00.66"), ("ICD-10-PCS", "02HV33Z"),
        ("HCPCS", "99213"), ("HCPCS", "J0897"), ("HCPCS", "0001A"), ("HCPCS", "D0120"), ("LOINC", "34117-2"), ("RxNorm", "860975"),
        ("NDC", "00093-1048-01"), ("NDC", "00093104801"), ("NDC", "0093-1048-01"), ("NDC", "50580-449-05"), ("NDC", "12345-6789-0"),
        ("REVENUE", "0450"), ("SNOMED CT", "44054006"), ("SNOMED CT", "100005"), ("SNOMED CT", "22298006"), ("SNOMED CT", "430193006"),
        ("SNOMED CT", "999000011000001104"), ("SNOMED CT", "195967001"), (None, "E11.9"), (None, "R51"), (None, "131"), (None, "A"),
        (None, "1A"), (None, "A1"), (None, "12"),
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
        # a social security number, a telephone, a record number, an NDC without its hyphens (which could be any of three, or a telephone)
        ("SNOMED CT", "219099999"), ("SNOMED CT", "219-09-9999"), ("SNOMED CT", "4155550134"), ("SNOMED CT", "00412345"), ("NDC", "4155550134"),
        ("NDC", "0093104801"), ("NDC", "415-555-0134"), ("NDC", "4155-550-134"), ("NDC", "219-09-9999"), ("NDC", "1234-567-8"),
        # a wrong check digit, two digits that changed places, a description and a relationship of SNOMED CT, a number that begins with 0
        ("SNOMED CT", "44054005"), ("SNOMED CT", "40454006"), ("SNOMED CT", "1290023401015"), ("SNOMED CT", "100022"), ("SNOMED CT", "0100005"),
        ("SNOMED CT", "1234104"), ("LOINC", "34117-3"), ("LOINC", "482913-1"), ("RxNorm", "19500314"), (None, "JS"), (None, "JSM"),
        (None, NAME), (None, "7731904"), (None, "A123456"), (f"http://{NAME}.example/codes", "7731904"), ("ICD-10-CM", "E119\n" + NAME),
    ],
)  # fmt: skip
def test_anything_else_is_a_tag(system: str | None, code: str) -> None:
    assert kept("code", {"system": system, "code": code}) == UNKNOWN


def test_numbers_of_persons_are_hardly_ever_concepts() -> None:
    """Of all numbers of nine digits a tenth of a hundredth pass: those with the partition 00 and the right check digit."""
    numbers = [f"{n:09d}" for n in range(219_000_000, 219_100_000, 7)]
    kept_ones = [one for one in numbers if kept("code", {"system": "SNOMED CT", "code": one}) == one]
    assert 0 < len(kept_ones) < len(numbers) / 500 and all(one[-3:-1] == "00" for one in kept_ones)


def test_one_digit_that_is_wrong_and_two_that_changed_places_are_found() -> None:
    """What Verhoeff's scheme is for."""
    for code in ("44054006", "195967001", "999000011000001104"):
        wrong = [code[:at] + c + code[at + 1 :] for at in range(len(code)) for c in "0123456789" if c != code[at]]
        swapped = [code[:at] + code[at + 1] + code[at] + code[at + 2 :] for at in range(len(code) - 1) if code[at] != code[at + 1]]
        assert all(with_sctid(one) != one for one in wrong + swapped) and with_sctid(code) == code


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
