"""What a file begins with: FHIR whose type is told late, machine formats whose first bytes are damaged, notes that only speak of them."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import reader_samples as samples
from nosology.errors import InputError
from test_members import zipped

LONG = base64.b64encode(b"a note " + b"word " * 14_000).decode()  # more than the 64 KiB by which formats are told


def note(number: int, data: str = LONG) -> dict[str, Any]:
    return samples.document(id=f"d{number}", content=[{"attachment": {"contentType": "text/plain", "data": data}}])


def sorted_lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value, sort_keys=True).encode() + b"\n" for value in values)


def sorted_bundle(indent: int | None = None) -> bytes:
    return json.dumps(samples.bundle(note(1), note(2)), sort_keys=True, indent=indent).encode()


# ----------------------------------------------------------------------------------------------------- FHIR, told late

LATE: dict[str, bytes] = {
    "lines": sorted_lines(note(1), note(2)),
    "one line without an end": sorted_lines(note(1), note(2)).rstrip(),
    "lines with a byte order mark": b"\xef\xbb\xbf" + sorted_lines(note(1), note(2)),
    "lines in UTF-16": sorted_lines(note(1), note(2)).decode().encode("utf-16"),
    "Bundle in a line": sorted_bundle(),
    "Bundle over many lines": sorted_bundle(1),
    "array": json.dumps([note(1), note(2)], sort_keys=True).encode(),
    "array over many lines": json.dumps([note(1), note(2)], sort_keys=True, indent=1).encode(),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"])
@pytest.mark.parametrize("case", LATE)
def test_a_resource_whose_type_stands_behind_a_long_attachment(case: str, pack: Callable[[bytes], bytes], read: Any, probe: Any) -> None:
    data = pack(LATE[case])
    found = read(data, "a.json")
    assert found.format == probe(data, "a.json") == "fhir" and found.reasons == []
    assert [one.document_id for one in found.of("RawDocument")] == ["d1", "d2"]
    assert all(one.text == base64.b64decode(LONG).decode() for one in found.of("RawDocument"))


def test_such_a_member_of_an_archive(read: Any) -> None:
    found = read(zipped({"a.ndjson": LATE["lines"], "b.txt": b"Seen."}))
    assert (found.counts.notes, found.counts.dead) == (3, 0)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_such_a_file_that_breaks_off(share: float, read: Any) -> None:
    import random

    letters = random.Random(0).randbytes(150_000)
    lines = sorted_lines(*[note(number, base64.b64encode(letters.hex().encode()).decode()) for number in range(4)])
    packed = gzip.compress(lines)
    found = read(packed[: int(len(packed) * share)], "a.ndjson")
    assert found.format == ("fhir" if share > 0.25 else "jsonl") and found.reasons[-1] == ("truncated_file", None)
    assert found.counts.notes == int(share * 4)


def test_offsets_are_those_of_the_file(read: Any) -> None:
    data = LATE["lines"] + b'{"id": "caf\xe9", "resourceType": "Patient"}\n'
    assert read(data).one("DeadLetter").rule.endswith(f"has offset {data.index(0xE9)}")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "text": LONG},
        {"id": "1", "more": LONG, "text": 'the "resourceType": "Patient" of it'},
        {"id": "1", "more": {"a": LONG}, "text": "Seen."},
    ],
)
def test_long_lines_of_a_table_are_still_rows(row: dict[str, Any], read: Any, probe: Any) -> None:
    data = samples.lines(row, {"id": "2", "text": "Seen."})
    assert probe(data) == read(data).format == "jsonl" and read(data).counts.notes == 2


def test_a_first_line_that_does_not_end_is_looked_at_up_to_the_limit_of_a_record(read: Any) -> None:
    data = b'{"id": "' + b"x" * (33 << 20) + b'", "resourceType": "Patient"}\n' + samples.JSONL
    assert read(data).format == "jsonl" and read(data).reasons == [("record_too_long", "line")]


# ------------------------------------------------------------------------------------------------- damaged first bytes

MESSAGE = samples.ORU
DAMAGED_ONES: dict[str, tuple[bytes, int]] = {
    "X12": (samples.x12(), 3),
    "X12 of one line": (samples.x12().replace(b"\n", b""), 3),
    "X12 with other separators": (samples.x12().replace(b"*", b"|").replace(b"~", b"'"), 3),
    "X12 with segments in lines": (samples.x12().replace(b"\n", b"").replace(b"~", b"\n"), 3),
    "X12 of a remittance": (samples.x12(samples.REMITTANCE, kind="835"), 3),
    "HL7 v2": (MESSAGE, 3),
    "HL7 v2 with LF": (MESSAGE.replace(b"\r", b"\n"), 3),
    "HL7 v2 with other separators": (MESSAGE.replace(b"|", b"#"), 3),
    "HL7 v2 of a batch": (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + MESSAGE, 3),
    "FHIR": (samples.lines(samples.PATIENT, samples.ENCOUNTER), 1),
    "FHIR of one line": (samples.lines(samples.PATIENT), 1),
    "FHIR Bundle": (json.dumps(samples.bundle(samples.PATIENT)).encode(), 1),
    "FHIR Bundle in a long line": (json.dumps(samples.bundle(samples.PATIENT, note(1))).encode(), 1),
    "FHIR Bundle over many lines": (json.dumps(samples.bundle(samples.PATIENT), indent=2).encode(), 1),
}


@pytest.mark.parametrize("case", DAMAGED_ONES)
def test_a_flipped_bit_makes_no_note_of_a_file_of_records(case: str, read: Any, probe: Any) -> None:
    data, size = DAMAGED_ONES[case]
    name = case.partition(" ")[0]
    for at in range(size):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            if damaged.startswith(b"BHS"):  # a header too
                continue
            for file in ("a", "a.txt", "a.csv"):
                with pytest.raises(InputError) as caught:
                    probe(bytes(damaged), file)
                found = read(bytes(damaged), file)
                assert found.reasons == [("unreadable_file", None)] and found.counts.records == 1
                told = str(caught.value)
                assert name in told or "expected one of the formats" in told, told  # a control byte: of no format
                assert "QUIMBY" not in told and "Quimby" not in told


@pytest.mark.parametrize("case", DAMAGED_ONES)
def test_nor_do_bytes_that_are_lost_or_put_in_before(case: str, read: Any) -> None:
    data = DAMAGED_ONES[case][0]
    for damaged in (data[1:], b"x" + data, b"\xef\xbb\xbf?" + data):
        found = read(damaged, "a.txt")
        assert found.counts.notes == 0 or found.format != "text"


def test_a_line_of_something_else_before_lines_of_fhir(read: Any) -> None:
    assert read(b"exported today\n" + samples.lines(samples.PATIENT, samples.ENCOUNTER)).reasons == [("unreadable_file", None)]


NOTES = [
    "Patient seen. Billing asks why ST*837*0001~ was rejected ~GS*HC*SENDER*RECEIVER*20240301*1200*1*X*005010X222A1~ by the payer.",
    "The interchange had ISA*00* and *ZZ*, then GS and ST.\nGS*HC was missing.\nST*837*0001 too.",
    "* low salt * no smoking * walks daily * sleeps well * eats * drinks * reads * rests * works * sings * plays * cooks * gardens\nGS* good",
    "PID|1 is how the message named her.\nPID|1||5||\nPID noted.",
    "Pain | 3 | of | 10\nPID | none\nPID|none|of|it",
    "Message MSH|^~\\&| arrived late.\rPID was empty.",
    "Pelvic inflammatory disease\nPID|chronic|mild\n",
    'She wrote "resourceType": "Patient" on the form.\nNothing else.',
    '"resourceType": "Patient" is what the portal shows her, she says.\nReassured.',
    'The portal shows\n{"resourceType": "Patient"}\nto her. She is upset.',
    'The portal shows {"resourceType": "Patient"}.',
    "Labs:\n{a} 1\n{b} 2\n",
]


@pytest.mark.parametrize("text", NOTES)
def test_a_note_that_speaks_of_such_a_format_is_a_note(text: str, read: Any, probe: Any) -> None:
    assert probe(text.encode(), "note.txt") == "text"
    assert read(text.encode(), "note.txt").one("RawDocument").text == text
