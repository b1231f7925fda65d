"""X12: what a claim becomes, separators, broken loops."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import reader_samples as samples
from nosology.records import Adjustment, ClaimLine, Coding, Diagnosis, RemittanceLine

DAY = datetime.date


def test_professional_claim(read: Any) -> None:
    claim = read(samples.x12()).one("RawClaim")
    assert (claim.claim_id, claim.patient_id, claim.subscriber_id, claim.form, claim.status) == (
        "C-1",
        "W0001",
        "W0001",
        "professional",
        "1",
    )
    assert (claim.service_from, claim.service_to) == (DAY(2024, 2, 29), DAY(2024, 3, 2))
    assert claim.diagnoses == (
        Diagnosis(system="ICD-10-CM", code="E11.65", kind="principal"),
        Diagnosis(system="ICD-10-CM", code="I10", kind="other"),
    )
    first, second = claim.lines
    assert first == ClaimLine(
        number=1, system="HCPCS", code="99213", modifiers=("25",), quantity=1.0, charge=100.5, service_date=DAY(2024, 2, 29),
        diagnosis_pointers=(1, 2),
    )  # fmt: skip
    assert (second.code, second.quantity, second.diagnosis_pointers, second.service_date) == ("36415", 2.0, (1,), DAY(2024, 3, 1))
    assert (claim.total_charge, claim.payer, claim.provider_npi, claim.provider_name) == (150.5, "ACME HEALTH", "1234567893", "CLINIC ONE")
    assert (claim.patient_names, claim.birth_date, claim.sex) == (("ADA B QUIMBY",), DAY(1980, 2, 29), "female")
    assert (claim.address, claim.city, claim.state, claim.postal_code) == ("1 ELM ST", "SPRINGFIELD", "MA", "01101")


def test_note_is_linked_to_its_claim(read: Any) -> None:
    note = read(samples.x12()).one("RawDocument")
    assert (note.claim_id, note.patient_id, note.text, note.kind) == ("C-1", "W0001", "SEEN FOR FOLLOW UP", "NTE")
    assert (note.date, note.age, note.sex) == (DAY(2024, 2, 29), 44.0, "female")


def test_institutional_claim(read: Any) -> None:
    claim = read(samples.x12(samples.HEAD + samples.INSTITUTIONAL, "005010X223A2")).one("RawClaim")
    assert (claim.form, claim.service_from, claim.service_to) == ("institutional", DAY(2015, 9, 29), DAY(2015, 10, 3))
    assert [(d.code, d.kind, d.present_on_admission) for d in claim.diagnoses] == [
        ("S72.001A", "principal", "Y"), ("R52", "admitting", None), ("R10.9", "reason", None), ("W19.XXXA", "external_cause", None),
    ]  # fmt: skip
    assert claim.procedures == (Coding(system="ICD-10-PCS", code="0SRD0J9"),)
    assert claim.lines[0].revenue_code == "0360" and claim.lines[0].code == "27447"


def test_dependent_is_the_patient(read: Any) -> None:
    body = (
        "HL*1**20*1~NM1*85*2*CLINIC*****XX*1~HL*2*1*22*1~NM1*IL*1*QUIMBY*ADA****MI*W0001~DMG*D8*19800101*F~HL*3*2*23*0~NM1*QC*1*QUIMBY*BO~"
        "DMG*D8*20150105*M~CLM*C-2*10~HI*BK:3669*BF:E8881~LX*1~SV1*HC:99213*10*UN*1***1~DTP*472*D8*20150901~"
    )
    claim = read(samples.x12(body, "004010X098A1")).one("RawClaim")
    assert (claim.patient_id, claim.subscriber_id, claim.sex) == ("W0001:BO:20150105", "W0001", "male")
    assert claim.patient_names == ("BO QUIMBY", "ADA QUIMBY")
    assert [(d.system, d.code) for d in claim.diagnoses] == [("ICD-9-CM", "366.9"), ("ICD-9-CM", "E888.1")]


def test_other_subscriber_inside_the_claim_is_not_the_patient(read: Any) -> None:
    other = samples.CLAIM.replace(
        "LX*1~", "SBR*S*18~NM1*IL*1*OTHER*MAN****MI*X9~N4*NOWHERE*TX*70000~NM1*PR*2*OTHER PAYER*****PI*1~LX*1~", 1
    )
    claim = read(samples.x12(samples.HEAD + other)).one("RawClaim")
    assert (claim.patient_names, claim.subscriber_id, claim.city, claim.payer) == (("ADA B QUIMBY",), "W0001", "SPRINGFIELD", "ACME HEALTH")


def test_remittance(read: Any) -> None:
    answer = read(samples.x12(samples.REMITTANCE, "005010X221A1", kind="835")).one("RawRemittance")
    assert (answer.claim_id, answer.payer_claim_id, answer.status) == ("C-1", "P77", "1")
    assert (answer.charge, answer.paid, answer.patient_responsibility) == (150.5, 100.0, 20.25)
    assert answer.adjustments == (
        Adjustment(group="CO", reason="45", amount=30.25), Adjustment(group="CO", reason="253", amount=1.0)
    )  # fmt: skip
    assert answer.lines == (
        RemittanceLine(
            system="HCPCS", code="99213", charge=100.5, paid=80.0, service_date=DAY(2024, 3, 1),
            adjustments=(Adjustment(group="PR", reason="1", amount=20.0),),
        ),
    )  # fmt: skip
    assert (answer.service_from, answer.patient_names, answer.subscriber_id) == (DAY(2024, 2, 29), ("ADA QUIMBY",), "W0001")


@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
@pytest.mark.parametrize(("element", "component", "terminator"), [("*", ":", "~"), ("|", ">", "\n"), ("+", "^", "'"), ("*", "\\", "\x1c")])
def test_separators_come_from_the_envelope(read: Any, element: str, component: str, terminator: str, newline: str) -> None:
    text = samples.x12().decode().replace("\n", "")
    text = text[106:].replace("*", element).replace(":", component).replace("~", terminator + newline)
    first, second = (samples.isa(element, component, terminator) + newline, samples.isa())
    found = read((first + text + second).encode() + samples.x12()[106:])
    assert [(claim.claim_id, [d.code for d in claim.diagnoses], len(claim.lines)) for claim in found.of("RawClaim")] == [
        ("C-1", ["E11.65", "I10"], 2), ("C-1", ["E11.65", "I10"], 2)
    ]  # fmt: skip
    assert found.counts.dead == 0


def test_composites_with_another_separator_than_the_envelope_says(read: Any) -> None:
    claim = read(
        samples.x12(samples.HEAD + samples.CLAIM.replace("ABK:", "ABK>").replace("ABF:", "ABF>").replace("HC:36415", "HC>36415"))
    ).one("RawClaim")
    assert [d.code for d in claim.diagnoses] == ["E11.65", "I10"] and claim.lines[1].code == "36415"


TWO = samples.CLAIM + samples.CLAIM.split("~", 5)[5].replace("C-1", "C-2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("D8*20240229", "D8*20230229"), ("impossible_date", "DTP472")),
        (("20240301-20240302", "20240302-20240301"), ("impossible_date", "DTP472")),
        (("DTP*472*D8*20240229", "DTP*QUIMBY*D8*20230229"), ("impossible_date", "DTP03")),  # what stands in DTP01 may be a value
        (("CLM*C-1*150.5", "CLM**150.5"), ("missing_field", "CLM01")),
        (("CLM*C-1*150.5", "CLM*C-1*abc"), ("bad_number", "CLM02")),
        (("LX*1~", ""), ("broken_loop", "LX")),
        (("SV1*HC:99213:25*100.5*UN*1***1:2~", ""), ("broken_loop", "LX")),
        (("HI*ABK:E1165", "HI*ABK"), ("missing_field", "HI ABK")),
        (("NTE*ADD*SEEN", "NTE*ADD*\udcffSEEN"), ("invalid_utf8", None)),
        (("HI*ABK", "?*ABK"), ("broken_segment", None)),
    ],
)
def test_a_broken_claim_is_a_dead_letter_and_its_neighbour_stands(
    read: Any, change: tuple[str, str], reason: tuple[str, str | None]
) -> None:
    body = TWO.replace(*change, 1)
    assert body != TWO
    found = read(samples.x12(samples.HEAD + "@@").replace(b"@@", body.encode("utf-8", "surrogateescape")))
    assert found.reasons == [reason]
    assert [claim.claim_id for claim in found.of("RawClaim")] == ["C-2"]
    assert found.counts.records == 2


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ("HL*1**20*1~" + samples.CLAIM, [("broken_loop", "CLM")]),
        (samples.CLAIM, [("broken_loop", "CLM")]),
        ("HL*2*9*22*0~" + samples.CLAIM, [("broken_loop", "HL")]),
        ("HL*1**20*1~HL*2*7*22*0~", [("broken_loop", "HL")]),
        (samples.HEAD + samples.CLAIM.replace("DMG*D8*19800229", "DMG*D8*19800230"), [("impossible_date", "DMG02")]),
        (samples.HEAD + samples.CLAIM.replace("DMG*D8*19800229", "DMG*D8*20300101"), [("impossible_date", "birth_date")]),
        (samples.HEAD + samples.CLAIM.replace("N3*1 ELM", "N3+*1 ELM"), [("broken_segment", None)]),
    ],
)
def test_broken_loops(read: Any, body: str, reasons: list[tuple[str, str]]) -> None:
    found = read(samples.x12(body))
    assert (found.reasons, found.of("RawClaim")) == (reasons, [])


@pytest.mark.parametrize(
    ("data", "claims", "reasons"),
    [
        (samples.x12(end=""), 0, [("truncated_record", "SE")]),
        (samples.x12(samples.HEAD + TWO, end="")[:-33], 1, [("truncated_record", None)]),
        (samples.x12(end="SE*9*0001~"), 1, [("truncated_record", "IEA")]),
        (samples.x12(end="") + samples.x12(), 1, [("truncated_record", "SE"), ("truncated_record", "IEA")]),
        (samples.x12(samples.REMITTANCE, kind="835")[:320], 0, [("truncated_record", None)]),
        (samples.x12()[:160], 0, [("truncated_record", None)]),
        (samples.x12()[:60], 0, [("broken_envelope", "ISA")]),
        (samples.x12()[:50] + samples.x12()[51:], 0, [("broken_envelope", "ISA")]),
        ((samples.isa() + "CLM*C-1*5~LX*1~").encode(), 0, [("broken_loop", "ST"), ("truncated_record", "IEA")]),
    ],
)
def test_cut_files(read: Any, data: bytes, claims: int, reasons: list[tuple[str, str]]) -> None:
    found = read(data)
    assert (len(found.of("RawClaim")), found.reasons) == (claims, reasons)
