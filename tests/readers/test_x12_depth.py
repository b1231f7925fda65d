"""What else an 837 and an 835 say: references, attachments, fixed-form information, other payers, line numbers, adjudication of lines."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
import reader_samples as samples
from nosology.records import Adjustment, Attachment, RemittanceLine

DAY = datetime.date


def with_segments(before: str, extra: str) -> bytes:
    """The sample claim with segments put in before the first place of another."""
    assert before in samples.CLAIM
    return samples.x12(samples.HEAD + samples.CLAIM.replace(before, extra + before, 1))


def test_references_of_the_claim(read: Any) -> None:
    extra = "REF*G1*AUTH-1~REF*9F*REFER-2~REF*G1*AUTH-3~REF*G1*AUTH-1~REF*F8*PAYER-9~REF*EA*MRN-7~REF*D9*CH-1~"
    claim = read(with_segments("HI*", extra)).one("RawClaim")
    assert claim.authorizations == ("AUTH-1", "AUTH-3", "REFER-2")
    assert (claim.original_payer_claim_id, claim.medical_record_number) == ("PAYER-9", "MRN-7")


def test_references_of_another_payer_are_not_the_claims(read: Any) -> None:
    extra = (
        "SBR*S*18*G-2******MB~NM1*IL*1*OTHER*MAN****MI*X9~NM1*PR*2*OTHER PAYER*****PI*1~REF*F8*THEIRS~REF*G1*THEIRS~DTP*573*D8*20240401~"
    )
    claim = read(with_segments("LX*1~", extra)).one("RawClaim")
    assert (claim.original_payer_claim_id, claim.authorizations, claim.payer, claim.payer_type) == (None, (), "ACME HEALTH", "CI")
    claim = read(with_segments("LX*1~", extra).replace(b"LX*2~", b"LX*2~REF*G1*OURS~")).one("RawClaim")
    assert claim.authorizations == ("OURS",)


def test_the_subscribers_plan(read: Any) -> None:
    claim = read(samples.x12().replace(b"SBR*P*18*******CI", b"SBR*P*18*GROUP-4******MB")).one("RawClaim")
    assert (claim.payer_type, claim.group_number) == ("MB", "GROUP-4")


def test_attachments_of_claim_and_line(read: Any) -> None:
    data = with_segments("HI*", "PWK*OZ*BM***AC*CTRL-1~PWK*B4*AA~").replace(b"LX*2~", b"LX*2~PWK*CT*AB***AC*CTRL-2~")
    assert read(data).one("RawClaim").attachments == (
        Attachment(kind="OZ", transmission="BM", control_number="CTRL-1"), Attachment(kind="B4", transmission="AA"),
        Attachment(kind="CT", transmission="AB", control_number="CTRL-2", line=2),
    )  # fmt: skip


def test_file_information_and_line_control_numbers(read: Any) -> None:
    data = with_segments("HI*", "K3*STATE DATA REQUIREMENT~").replace(b"LX*2~", b"REF*6R*L-1~K3*MORE~LX*2~")
    claim = read(data).one("RawClaim")
    assert claim.file_information == ("STATE DATA REQUIREMENT", "MORE")
    assert [line.control_number for line in claim.lines] == ["L-1", None]


def test_notes_of_claim_and_lines_are_one_document(read: Any) -> None:
    data = with_segments("LX*1~", "NTE*DGN*SECOND~").replace(b"LX*2~", b"NTE*TPO*OF THE LINE~LX*2~")
    assert read(data).one("RawDocument").text == "SEEN FOR FOLLOW UP\nSECOND\nOF THE LINE"


def test_repeated_elements_of_5010(read: Any) -> None:
    data = samples.x12().replace(b"ABF:I10", b"ABF:I10^ABF:J45909")
    assert [diagnosis.code for diagnosis in read(data).one("RawClaim").diagnoses] == ["E11.65", "I10", "J45.909"]


def test_a_4010_file_repeats_nothing(read: Any) -> None:
    data = samples.x12(version="004010X098A1").replace(b"*^*00501", b"*^*00401").replace(b"QUIMBY*ADA", b"QUIM^BY*ADA")
    claim = read(data).one("RawClaim")
    assert claim.patient_names == ("ADA B QUIM^BY",) and claim.form == "professional"


def test_dental_claim(read: Any) -> None:
    body = samples.HEAD + samples.CLAIM.replace("SV1*HC:99213:25*100.5*UN*1***1:2", "SV3*AD:D2391*100.5****1").replace(
        "SV1*HC:36415*50*UN*2***1", "TOO*JP*14~SV3*AD:D0120*50****2"
    )
    claim = read(samples.x12(body, "005010X224A2")).one("RawClaim")
    assert claim.form == "dental"
    assert [(line.system, line.code, line.quantity, line.charge) for line in claim.lines] == [
        ("CDT", "D2391", 1.0, 100.5),
        ("CDT", "D0120", 2.0, 50.0),
    ]


@pytest.mark.parametrize(
    "moved",
    [
        ("DMG*D8*19800229*F~", "CLM*"),  # behind the payer's name
        ("HI*ABK:E1165*ABF:I10~", "LX*2~"),  # among the lines
        ("NTE*ADD*SEEN FOR FOLLOW UP~", "SV1*HC:36415"),
        ("N3*1 ELM ST~", "DMG*"),
    ],
)
def test_segments_out_of_order_say_the_same(read: Any, moved: tuple[str, str]) -> None:
    segment, before = moved
    body = samples.CLAIM.replace(segment, "", 1)
    body = body.replace(before, segment + before, 1)
    assert body != samples.CLAIM
    found, plain = read(samples.x12(samples.HEAD + body)), read(samples.x12())
    assert [dataclasses.replace(row, source_digest="") for row in found.items] == [
        dataclasses.replace(row, source_digest="") for row in plain.items
    ]


@pytest.mark.parametrize(
    "twice",
    ["HI*ABK:E1165*ABF:I10~", "DTP*472*D8*20240229~", "DMG*D8*19800229*F~", "N4*SPRINGFIELD*MA*01101~", "NM1*PR*2*ACME HEALTH*****PI*99~"],
)
def test_segments_that_are_repeated_lose_no_claim(read: Any, twice: str) -> None:
    found = read(samples.x12(samples.HEAD + samples.CLAIM.replace(twice, twice + twice, 1)))
    assert found.counts.dead == 0 and found.one("RawClaim").claim_id == "C-1"


def test_several_envelopes_with_marks_and_separators_of_their_own(read: Any) -> None:
    old = (samples.isa("|", ">", "\n", "00401") + "GS|HC|A|B|1|2|1|X|004010X098A1\nST|837|1\n").encode()
    body = (samples.HEAD + samples.CLAIM).replace("\n", "").replace("~", "\n").replace("*", "|").replace(":", ">").replace("C-1", "C-2")
    end = "SE|9|1\nGE|1|1\nGS|HP|A|B|1|2|1|X|005010X221A1\nST|835|1\n"
    paid = samples.REMITTANCE.replace("\n", "").replace("~", "\n").replace("*", "|").replace(":", ">")
    data = (
        b"\xef\xbb\xbf"
        + samples.x12()
        + b"\x1a\r\n\xef\xbb\xbf"
        + old
        + (body + end + paid + "SE|1|1\nGE|1|1\nIEA|2|1\n").encode()
        + b"\x1a\0\0"
    )
    found = read(data)
    assert [claim.claim_id for claim in found.of("RawClaim")] == ["C-1", "C-2"] and found.counts.dead == 0
    assert [claim.diagnoses for claim in found.of("RawClaim")][0] == found.of("RawClaim")[1].diagnoses
    assert found.one("RawRemittance").lines[0].code == "99213"


def test_adjudication_of_lines(read: Any) -> None:
    body = (
        "LX*1~CLP*C-1*1*150.5*100*20.25*12*P77~CAS*CO*45*5~NM1*QC*1*QUIMBY*ADA****MI*W0001~DTM*232*20240229~"
        "SVC*HC:99213:25:59*100.5*80*0510*1~DTM*472*20240301~CAS*PR*1*20.5**2*4*1~CAS*CO*45*-1~REF*6R*L-1~AMT*B6*90~LQ*HE*N130~LQ*HE*MA01~"
        "SVC*NU:0300*50*20**2~DTM*150*20240302~DTM*151*20240304~REF*LU*X~PLB*1*20241231*CV:CP*-1.27~"
    )
    answer = read(samples.x12(body, "005010X221A1", kind="835")).one("RawRemittance")
    assert answer.adjustments == (Adjustment(group="CO", reason="45", amount=5.0),)
    assert answer.lines == (
        RemittanceLine(
            control_number="L-1", system="HCPCS", code="99213", modifiers=("25", "59"), revenue_code="0510", charge=100.5, paid=80.0,
            allowed=90.0, quantity=1.0, service_date=DAY(2024, 3, 1), remarks=("N130", "MA01"),
            adjustments=(
                Adjustment(group="PR", reason="1", amount=20.5), Adjustment(group="PR", reason="2", amount=4.0, quantity=1.0),
                Adjustment(group="CO", reason="45", amount=-1.0),
            ),
        ),
        RemittanceLine(system="REVENUE", code="0300", charge=50.0, paid=20.0, quantity=2.0, service_date=DAY(2024, 3, 2)),
    )  # fmt: skip
    assert (answer.service_from, answer.payer_claim_id) == (DAY(2024, 2, 29), "P77")


def test_a_line_of_the_answer_finds_its_line_of_the_claim(read: Any) -> None:
    claim = read(samples.x12().replace(b"LX*2~", b"REF*6R*L-1~LX*2~")).one("RawClaim")
    paid = samples.REMITTANCE.replace("SVC*HC:99213*100.5*80~", "SVC*HC:99213*100.5*80~REF*6R*L-1~")
    answer = read(samples.x12(paid, kind="835")).one("RawRemittance")
    assert answer.claim_id == claim.claim_id
    assert answer.lines[0].control_number == claim.lines[0].control_number == "L-1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("*30.25**253", "*abc**253"), ("bad_number", "CAS03")),
        (("SVC*HC:99213*100.5*80", "SVC*HC:99213*x*80"), ("bad_number", "SVC02")),
        (("DTM*472*20240301", "DTM*472*20240231"), ("impossible_date", "DTM472")),
        (("DTM*472*20240301", "DTM*1502*20240231"), ("impossible_date", "DTM02")),
    ],
)
def test_a_broken_payment_is_a_dead_letter(read: Any, change: tuple[str, str], reason: tuple[str, str]) -> None:
    body = samples.REMITTANCE.replace(*change)
    assert body != samples.REMITTANCE
    found = read(samples.x12(body + samples.REMITTANCE.replace("C-1", "C-2"), kind="835"))
    assert found.reasons == [reason] and [answer.claim_id for answer in found.of("RawRemittance")] == ["C-2"]


def test_payments_outside_a_claim_are_dead_letters(read: Any) -> None:
    found = read(samples.x12("CAS*CO*45*1~SVC*HC:1*1*1~" + samples.REMITTANCE, kind="835"))
    assert found.reasons == [("broken_loop", "CLP")] * 2 and len(found.of("RawRemittance")) == 1
