"""Codes that name no person."""

import pytest
from nosology.deid import detect
from nosology.deid.public_codes import after_system, called_code, is_public
from nosology.records import Span


@pytest.mark.parametrize(
    "text",
    [
        "in <NCT01234567>",
        "<NCT01234567, ISRCTN12345678>",
        "<BRCA1 NM_007294.4>:c.68_69del",
        "<NM_007294.4:c.68_69del (p.Glu23fs)>",
        "TP53 <Arg248Gln>",
        "<rs80357914>",
        "<HLA-B27>",
        "<HLA-DRB1*04:01>",
        "see <4.2.1>",
        "<ISO-13485-2016>",
        "<FY2024-2025>",
        "OBX|1|NM|<718-7^HEMOGLOBIN^LN>||13.2",
        "OBX|1|NM|<718-7^>HEMOGLOBIN^LN||13.2",
        "GLU <GLU^Glucose^L>",
        "SNOMED <44054006>",
        "<SNOMED CT 44054006>",
        "CIE-<10 E11.9>",
        "<CIE-9 250.00>",
        "EudraCT <2015-001234-12>",
        "order for <CPT 70553> again",
    ],
)
def test_they_stay(text):
    start, end = text.index("<"), text.index(">") - 1
    assert is_public(text.replace("<", "").replace(">", ""), start, end)


@pytest.mark.parametrize(
    "text",
    [
        "MRN <44054006>",
        "<NCT0123>",
        "<DOE^JOHN^Q>",
        "<4.2.21>",
        "<10 E11.9>",
        "chart <ABC-1234>",
        "<code 44054006>",
        "<B204C>",
        "<600 123 456>",
        "<FY12345>",
        "SNOMED 44054006, MRN <7712345>",
        "SNOMED <44054007>",
        "DRG 871, <4412233>",
        "ICD I10, <4412233>",
        "St Jude ICD <4412233>",
        "CUI <44-12-2338>",
        "Room <c.12345>",
    ],
)
def test_numbers_of_a_person_are_none(text):
    start, end = text.index("<"), text.index(">") - 1
    assert not is_public(text.replace("<", "").replace(">", ""), start, end)


def test_a_number_that_is_called_a_code_is_taken_for_one_by_rules_alone():
    assert called_code("code 44054006", 5, 13) and not after_system("code 44054006", 5, 13) and not is_public("code 44054006", 5, 13)


@pytest.mark.parametrize("text", ["ICD <3-14-21>", "DOI <3.14.21>", "SCT <3/14/21>", "<c.415-555-2671>", "<4.12.21>"])
def test_days_and_telephones_are_none(text):
    start, end = text.index("<"), text.index(">") - 1
    plain = text.replace("<", "").replace(">", "")
    assert not is_public(plain, start, end) and not is_public(plain, start, end, named=False)


@pytest.mark.parametrize(
    ("text", "value", "label", "public"),
    [
        ("¿en NCT01234567?", "NCT01234567?", "ID", True),
        ("(SNOMED: 44054006)", ": 44054006)", "PHONE", True),
        ("see NCT01234567", "NCT01234567", "NAME", False),
        ("ICD: 10.12.19", "10.12.19", "DATE", False),
        ("on ...", "...", "ID", False),
    ],
)
def test_what_a_tagger_marks_is_one_in_every_language(text, value, label, public):
    """Signs around it count for nothing, and of a day the name of a system says nothing."""
    start = text.index(value)
    assert detect._public(text, Span(start=start, end=start + len(value), label=label, source="tagger")) is public


@pytest.mark.parametrize(
    ("code", "text", "left"),
    [
        ("en", "MBI 1EG4-TE5-MK73", "1EG4-TE5-MK73"),
        ("en", "MRN: 7712345", "7712345"),
        ("en", "w/@ada", "@ada"),
        ("en", "DNI 7712345", "DNI 7712345"),
        ("es", "DNI 12345678Z", "12345678Z"),
        ("es", "NHC: 778812-A", "778812-A"),
        ("es", "MRNX7", "MRNX7"),
    ],
)
def test_a_label_that_a_tagger_took_into_a_code_stays(code, text, left):
    found = detect._unlabelled(text, Span(start=0, end=len(text), label="ID", source="tagger"), code)
    assert text[found.start : found.end] == left
    assert detect._unlabelled(text, Span(start=0, end=len(text), label="NAME", source="tagger"), code).start == 0
