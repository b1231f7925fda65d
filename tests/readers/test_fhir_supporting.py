"""FHIR: texts that support a claim (`supportingInfo`, STU3 `information`) are notes of it; what is no text stays named on the claim."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import io
import json
from typing import Any

import pytest
import reader_samples as samples
from nosology import readers
from nosology.config import IngestConfig
from nosology.errors import InputError
from nosology.readers.document import PLAIN, RTF
from nosology.readers.write import write_file
from nosology.records import Attachment, Original, RawRecord

DAY = datetime.date


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def info(number: int | None, kind: str | None = "info", **value: Any) -> dict[str, Any]:
    category = {"category": {"coding": [{"code": kind}]}} if kind else {}
    return {**({"sequence": number} if number else {}), **category, **value}


def attached(data: bytes, kind: str = "text/plain") -> dict[str, Any]:
    return {"valueAttachment": {"contentType": kind, "data": coded(data)}}


INFOS = [
    info(1, valueString="Seen for follow up, wound clean."), info(2, "patientaccountnumber", valueString="PA1234"),
    info(3, "attachment", **attached(rb"{\rtf1\ansi Assessment:\par type\~2 diab\'e9tes}", "text/rtf"), timingDate="2024-03-05"),
    info(4, "attachment", **attached(b"%PDF-1.7", "application/pdf")), info(5, "attachment", valueAttachment={"url": "Binary/b1"}),
    info(6, timingPeriod={"start": "2024-03-06"}, **attached(b"Op note.")), info(7, "onset", timingDate="2024-01-01"), info(8, valueBoolean=True),
    info(None, None, valueString="Two words"), info(10, **attached(b" \n")),
]  # fmt: skip
FOUND = [
    ("supportingInfo-1", "info", "Seen for follow up, wound clean.", DAY(2024, 2, 29)),
    ("supportingInfo-3", "attachment", "Assessment:\ntype 2 diabétes", DAY(2024, 3, 5)),
    ("supportingInfo-6", "info", "Op note.", DAY(2024, 3, 6)),
    ("supportingInfo-9", "supportingInfo", "Two words", DAY(2024, 2, 29)),
]
ATTACHMENTS = [("attachment", 3), ("attachment", None), ("attachment", None), ("info", 6), ("info", None)]


@pytest.mark.parametrize("name", ["supportingInfo", "information"])
@pytest.mark.parametrize(
    ("resource", "claim_id", "kinds"),
    [
        (samples.FHIR_CLAIM, "k1", ["RawClaim"]),
        (samples.BENEFIT, "k1", ["RawRemittance"]),
        ({key: value for key, value in samples.BENEFIT.items() if key != "claim"}, "b1", ["RawClaim", "RawRemittance"]),
    ],
    ids=["a Claim", "a benefit of a Claim", "a benefit that stands for its claim"],
)
def test_texts_become_notes_of_the_claim(name: str, resource: dict[str, Any], claim_id: str, kinds: list[str], read: Any) -> None:
    found = read(samples.lines({**resource, name: INFOS}, samples.PATIENT))
    own = resource["id"]
    assert [type(item).__name__ for item in found.items] == [*kinds, *["RawDocument"] * 4, "RawPatient"]
    notes = found.of("RawDocument")
    assert [(note.document_id, note.kind, note.text, note.date) for note in notes] == [
        (f"{own}/{key}", kind, text, date) for key, kind, text, date in FOUND
    ]
    assert {(note.claim_id, note.patient_id, note.file) for note in notes} == {(claim_id, "p1", None)}
    assert [note.media_type for note in notes] == [PLAIN, RTF, PLAIN, PLAIN] and notes[1].origin
    assert (found.counts.records, found.counts.notes, found.counts.dead) == (2, 4, 0)
    for item in found.of("RawClaim"):
        assert item.claim_id == claim_id
        assert item.attachments == tuple(
            Attachment(kind=kind, control_number=f"{own}/supportingInfo-{number}" if number else None) for kind, number in ATTACHMENTS
        )


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (info(1, **attached(b"na\xefve")), ("invalid_utf8", "supportingInfo.valueAttachment.data")),
        (info(1, valueAttachment={"contentType": "text/plain", "data": "AAAAA"}), ("bad_base64", "supportingInfo.valueAttachment.data")),
        (info(1, valueAttachment={"contentType": "text/plain", "data": 7}), ("wrong_type", "supportingInfo.valueAttachment.data")),
        (info(1, valueAttachment="x"), ("wrong_type", "supportingInfo.valueAttachment")),
        (info(1, valueString=["a b"]), ("wrong_type", "supportingInfo.valueString")),
        ("x", ("wrong_type", "supportingInfo")),
        (info(1, valueString="a b", timingDate="2024-02-30"), ("impossible_date", "supportingInfo.timingDate")),
        (info(1, valueString="a b", timingPeriod={"start": "x"}), ("impossible_date", "supportingInfo.timingPeriod.start")),
        ({**info(1, valueString="a b"), "sequence": "x"}, ("bad_number", "supportingInfo.sequence")),
        (info(1, **attached(b"x" * 2000)), ("note_too_large", "text")),
    ],
)
def test_a_damaged_text_is_a_fault_of_its_claim(entry: Any, reason: tuple[str, str], read: Any) -> None:
    found = read(samples.lines({**samples.FHIR_CLAIM, "supportingInfo": [entry]}, samples.PATIENT), max_document_bytes=1000)
    assert found.reasons == [reason] and found.counts.records == 2 and len(found.items) == 2


# ---------------------------------------------------------------------------------------------------------- written back


def kept(data: bytes) -> tuple[list[Original], list[RawRecord]]:
    source = readers.SourceFile("/x/f", "f", hashlib.sha256(data).hexdigest(), len(data))
    items = list(readers.read_file(source, io.BytesIO(data), IngestConfig(keep_originals=True)))
    return [one for one in items if isinstance(one, Original)], [
        one for one in items if not isinstance(one, (Original, readers.DeadLetter, readers.Skipped))
    ]


@pytest.mark.parametrize("bundled", [False, True])
def test_notes_of_a_claim_are_written_where_they_stand(bundled: bool) -> None:
    resources = [
        {**samples.FHIR_CLAIM, "supportingInfo": INFOS},
        samples.PATIENT,
        {**samples.FHIR_CLAIM, "id": "k2", "supportingInfo": INFOS[:1]},
    ]
    data = json.dumps(samples.bundle(*resources)).encode() if bundled else samples.lines(*resources)
    pieces, items = kept(data)
    assert b"".join(write_file(pieces)) == b"".join(write_file(pieces, items)) == data
    claim, note, _, typed, worded, patient, _, last = items
    changes = [
        dataclasses.replace(claim, status="cancelled"), dataclasses.replace(note, text="Seen, “clean”."), dataclasses.replace(typed, text="Closed."),
        dataclasses.replace(worded, text="Three small words"), dataclasses.replace(patient, city="Shelbyville"),
        dataclasses.replace(last, text="The other one."),
    ]  # fmt: skip
    after = b"".join(write_file(pieces, changes))
    again = {item.source_row: item for item in kept(after)[1]}
    for item in items:
        wanted = next((one for one in changes if one.source_row == item.source_row), item)
        assert dataclasses.replace(again[item.source_row], source_digest="") == dataclasses.replace(wanted, source_digest="")
    assert b"wound clean" not in after and coded(b"Closed.").encode() in after
    alone = b"".join(write_file(pieces, changes[-1:]))
    assert alone.count(b"wound clean") == 1 and b"The other one." in alone


def test_a_note_that_was_rich_text_is_not_written_over() -> None:
    pieces, items = kept(samples.lines({**samples.FHIR_CLAIM, "supportingInfo": INFOS}))
    with pytest.raises(InputError, match="has a place"):
        list(write_file(pieces, [dataclasses.replace(items[2], text="Other words")]))  # type: ignore[call-arg]
