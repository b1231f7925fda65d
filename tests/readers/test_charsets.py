"""Encodings: what a file is found to be in, what comes out, and that nothing is taken for what it is not."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
import reader_samples as samples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nosology.config import IngestConfig
from nosology.readers.charsets import UTF8, WINDOWS, Text
from nosology.readers.source import BOM

ENGLISH = "Patient José Muñoz, seen today for follow-up. Temperature 38.5° – stable. She’s “better”. Plan: continue metformin.\n"
PLAIN = "Patient seen today for follow-up, stable. Plan: continue metformin and recheck in three months. " * 60


def decoded(data: bytes, **options: Any) -> tuple[bytes, str]:
    text = Text(io.BufferedReader(io.BytesIO(data)), **options)  # type: ignore[arg-type]
    output = io.BufferedReader(text, 1 << 16).read()
    return output.removeprefix(BOM), text.encoding


@pytest.mark.parametrize("times", [1, 5, 3000])
@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("utf-8", UTF8), ("utf-8-sig", UTF8), ("utf-16", "utf-16-le"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32-le"), ("utf-32-le", "utf-32-le"), ("utf-32-be", "utf-32-be"), ("cp1252", WINDOWS),
    ],
)  # fmt: skip
def test_what_is_found_is_read(written: str, found: str, times: int) -> None:
    assert decoded((ENGLISH * times).encode(written)) == ((ENGLISH * times).encode(), found)


@pytest.mark.parametrize("written", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("form", ["x12", "hl7v2", "jsonl", "csv", "rif", "fhir", "text"])
def test_every_format_in_wide_characters(read: Any, probe: Any, form: str, written: str) -> None:
    data = {
        "x12": samples.x12(), "hl7v2": samples.ORU, "jsonl": samples.JSONL, "csv": samples.CSV, "rif": samples.BENEFICIARY,
        "fhir": samples.lines(samples.PATIENT, samples.document()), "text": ENGLISH.encode(),
    }[form]  # fmt: skip
    plain = read(data)
    for mark in ("\ufeff", ""):
        wide = (mark + data.decode()).encode(written)
        found = read(wide)
        assert (found.format, probe(wide), found.counts) == (form, form, plain.counts)
        strip = [(type(one).__name__, getattr(one, "text", None), getattr(one, "names", None)) for one in found.items]
        assert strip == [(type(one).__name__, getattr(one, "text", None), getattr(one, "names", None)) for one in plain.items]
        assert form == "hl7v2" or found.encodings == {written: 1}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Zażółć gęślą jaźń, wieńcowa, Wałęsa. ", "cp1250"), ("Pacient Dvořák, bolest na hrudi, vysoký tlak, léčba. ", "cp1250"),
        ("Пациент жалуется на боль. ", "cp1251"), ("Ο ασθενής πονάει. ", "cp1253"), ("患者は頭痛を訴える。", "shift_jis"),
        ("頭痛 ", "gb18030"), (ENGLISH, "mac_roman"), (ENGLISH, "cp437"), ("Très élevée, à gauche. ", "cp1252"),
    ],
)  # fmt: skip
def test_what_may_be_something_else_is_left_as_it_is(read: Any, text: str, written: str) -> None:
    """French is among them: its è is Czech in Windows-1250. Such a site says `ingest.encoding`."""
    data = (text * 50).encode(written, "replace")
    assert decoded(data) == (data, UTF8)
    found = read(data, "note.txt")
    assert found.reasons == [("invalid_utf8", None)] and "offset" in found.one("DeadLetter").rule
    if written not in ("shift_jis", "gb18030"):
        assert read(data, "note.txt", encoding=written).one("RawDocument").text == data.decode(written)


def test_flipped_bits_are_not_taken_for_windows_1252() -> None:
    rng = random.Random(0)
    for _ in range(400):
        data = bytearray(PLAIN.encode())
        for _ in range(rng.choice([1, 3, 10, 20, 60])):
            data[rng.randrange(len(data))] ^= 0x80
        assert decoded(bytes(data)) == (bytes(data), UTF8)


def test_few_signs_are_not_enough() -> None:
    for text in ("José was here.", "She’s better, José too."):
        assert decoded(text.encode("cp1252"))[1] == UTF8
    assert decoded("“She’s better”, said José.".encode("cp1252"))[1] == WINDOWS
    assert decoded("José Muñoz: she’s “better” – ok.".encode("cp1252"))[1] == WINDOWS  # of which the last signs tell


def test_utf_8_stays_what_it_is_in_a_file_of_both(read: Any) -> None:
    rows = [ENGLISH.strip().encode("cp1252"), ENGLISH.strip().encode(), ENGLISH.strip().encode("cp1252")]
    data = b"id;text\n" + b"".join(b"%d;%s\n" % (n, row.replace(b";", b",")) for n, row in enumerate(rows))
    found = read(data, "rows.csv")
    assert [note.text for note in found.of("RawDocument")] == [ENGLISH.strip()] * 3
    assert found.encodings == {WINDOWS: 1}


@pytest.mark.parametrize("form", ["jsonl", "csv", "rif", "hl7v2", "text", "synpuf", "fhir", "fhir bundle", "x12"])
def test_the_offset_is_that_of_the_first_bad_byte(read: Any, form: str) -> None:
    lines = {
        "jsonl": [b'{"id": 1, "text": "a"}', b'{"id": 2, "text": "b\xff"}', b'{"id": 3, "text": "c"}'],
        "csv": [b"id,text", b'1,"a\n\nb"', b'2,"c\r\nd\xff"', b"3,e"],
        "rif": [samples.CARRIER_HEADER.encode(), *samples.carrier("-1|1|30-May-2015", "-2|1|30-May-2015").split(b"\n")[1:3]],
        "hl7v2": [*samples.ORU.strip().split(b"\r"), b"MSH|^~\\&|A|B|C|D|20240101||ORU^R01|M7|P|2.5", b"PID|1||P1", b"NTE|\xff"],
        "synpuf": [*samples.SYNPUF_DRUG.strip().split(b"\n"), b"00A1,232,20090725,\xff,30.00,30,10.00,570.00"],
        "text": [b"a", b"b\xff"],
        "fhir": [*samples.lines(samples.PATIENT, samples.ENCOUNTER).strip().split(b"\n"), b'{"resourceType": "Patient", "id": "\xff"}'],
        "fhir bundle": [b'{"resourceType": "Bundle", "type": "collection",', b'"entry": [{"resource": {"id": "\xff"}}]}'],
        "x12": [samples.x12().replace(b"QUIMBY", b"QU\xffMBY").replace(b"\n", b"")],
    }[form]
    if form == "rif":
        lines[2] = lines[2].replace(b"99213", b"9\xff213")
    for end in (b"\n", b"\r\n"):
        for mark in (b"", BOM):
            data = mark + end.join(lines) + end
            found = read(data, "rows")
            assert found.reasons[0][0] == "invalid_utf8" and found.counts.dead == 1
            assert found.one("DeadLetter").rule.endswith(f"offset {data.index(bytes([255]))}")
            assert found.counts.records == 1 or found.counts.records > found.counts.dead


def test_the_offset_is_the_file_s_where_other_bytes_were_read(read: Any) -> None:
    """In the file as it lies there, although the reader was given UTF-8, which is longer."""
    data = b'{"id": 1, "text": "' + (ENGLISH.strip() * 3).encode("cp1252") + b'"}\n{"id": 2, "text": "a' + b"\x81" + b'"}\n'
    found = read(data, encoding="cp1252")
    assert len(found.of("RawDocument")) == 1
    assert found.one("DeadLetter").rule == f"cp1252 throughout; the first byte that is not has offset {data.index(0x81)}"
    wide = b"\xff\xfe" + '{"id": 1, "text": "é'.encode("utf-16-le") + b"\x00\xd8" + '"}\n{"id": 2, "text": "é"}\n'.encode("utf-16-le")
    found = read(wide)
    assert [note.text for note in found.of("RawDocument")] == ["é"]
    assert found.one("DeadLetter").rule == f"utf-16-le throughout; the first byte that is not has offset {wide.index(bytes([0, 0xD8]))}"


@given(st.text(max_size=300), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.integers(1, 40))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_any_text_comes_back(text: str, written: str, times: int) -> None:
    text = text.replace("\ufeff", "") * times
    assume(written != "utf-16" or not text.startswith("\0"))  # with its mark, that begins as UTF-32 does
    assert decoded(text.encode(written, "replace"))[0] == text.encode("utf-8", "replace")


@given(st.binary(max_size=400), st.sampled_from(["cp1252", "mac_roman", None]), st.booleans())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_any_bytes_are_read_to_the_end(data: bytes, encoding: str | None, detect: bool) -> None:
    text = Text(io.BufferedReader(io.BytesIO(data)), encoding, detect=detect)  # type: ignore[arg-type]
    output = io.BufferedReader(text, 1 << 16).read()
    if text.encoding == UTF8 and encoding is None:
        assert output == data
    try:
        output.decode()
    except UnicodeDecodeError as error:
        assert 0 <= text.place(error.start) < len(data)


@pytest.mark.parametrize("name", ["utf-16", "shift_jis", "nonsense", "rot13", "hex", "cp037"])
def test_only_single_byte_encodings_can_be_declared(name: str) -> None:
    with pytest.raises(ValueError, match="one byte for each character"):
        IngestConfig(encoding=name)
