"""docs/bad_input.md: a case for each row of its table, and the table says what happens."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
import zstandard
from nosology import readers
from nosology.errors import InputError
from test_charsets import ENGLISH
from test_members import BOMB, RANDOM, flagged, zipped

ROOT = Path(__file__).parents[2]
GOOD = {"id": "good", "text": "Seen today."}


@dataclass
class Case:
    """A faulty file and what stays readable in it.

    Attributes:
        kept: rows that are read all the same, or whether their number is right.
    """

    data: bytes
    name: str = "file"
    kept: int | Callable[[int], bool] = 0
    options: dict[str, Any] = field(default_factory=dict)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :]


def extension() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Odd(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.string(), "odd.type")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    plain = pa.array(["a"])
    out = io.BytesIO()
    pq.write_table(pa.table({"id": plain, "text": plain, "more": pa.ExtensionArray.from_storage(Odd(), plain)}), out)
    return out.getvalue()


def broken_group() -> bytes:
    import pyarrow.parquet as pq

    data = bytearray(samples.parquet([{"id": str(n), "text": f"note {n}"} for n in range(6)], row_group_size=2))
    column = pq.read_metadata(io.BytesIO(bytes(data))).row_group(1).column(1)
    begin = min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset)
    data[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    return bytes(data)


def not_text() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    bad = pa.array([b"a", b"\xff"])
    pq.write_table(pa.table({"id": pa.array(["1", "2"]), "text": pa.Array.from_buffers(pa.string(), 2, bad.buffers())}), out)
    return out.getvalue()


def attachment(kind: str, **content: Any) -> bytes:
    document = samples.document(content=[{"attachment": {"contentType": kind, **content}}])
    return samples.lines(document, samples.PATIENT)


def jsonl(**row: Any) -> Case:
    return Case(samples.lines({**GOOD, **row}, GOOD), kept=1)


def x12(old: bytes, new: bytes) -> Case:
    """Two claims, the first of them faulty."""
    data = samples.x12(samples.HEAD + samples.CLAIM + samples.CLAIM.replace("C-1", "C-2"))
    assert old in data
    return Case(data.replace(old, new, 1), kept=lambda n: n >= 2)


WHOLE = samples.x12(samples.HEAD + samples.CLAIM + samples.CLAIM.replace("C-1", "C-2"))
FHIR = samples.lines(samples.PATIENT, samples.ENCOUNTER, samples.document())
BATCH = b"BHS|^~\\&|A\r" + samples.ORU + samples.ORU + b"BTS|2\r"
ROWS = b"id,text\n" + b"".join(b"%d,Seen today again\n" % n for n in range(20))
PACKED = gzip.compress(RANDOM)
LATIN = "Très élevée, à gauche. "
PARQUET = samples.parquet([GOOD])

CASES: dict[str, Case] = {
    "Empty file": Case(b""),
    "File of an unknown binary format": Case(bytes(range(256)) * 4, "scan.tif"),
    "PDF, PostScript": Case(b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n", "letter.txt"),
    "Office document": Case(zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "letter.docx"),
    "XML that is no C-CDA and no XHTML": Case(b'<?xml version="1.0"?>\n<Patient xmlns="http://hl7.org/fhir"><id value="1"/></Patient>'),
    "X12, HL7 v2 or FHIR whose first bytes are damaged": Case(flipped(WHOLE, 1), "claims.txt"),
    "File with a wrong extension": Case(samples.x12(), "claims.parquet", 2),
    "Gzip, zstd or bzip2 with a damaged header": Case(b"\x1f\x8b\x07 and more", "rows.jsonl.gz"),
    "Gzip cut in half": Case(PACKED[: len(PACKED) // 2], kept=lambda n: 30 < n < 300),
    "Gzip with a flipped byte": Case(flipped(PACKED, len(PACKED) // 2), kept=lambda n: 30 < n <= 300),
    "Gzip with a wrong checksum": Case(flipped(PACKED, len(PACKED) - 6), kept=lambda n: 200 < n <= 300),
    "Gzip that is made to fill a disk": Case(
        PACKED, kept=lambda n: 30 < n < 300, options={"max_expanded_bytes": 20_000}
    ),
    "Zip that is made to fill a disk": Case(zipped({"a.txt": BOMB})),
    "Zip cut in half": Case(zipped({"a.txt": b"Seen.", "b.txt": b"Again."})[:90], "a.zip"),
    "Zip member with a password": Case(flagged(zipped({"a.txt": b"Seen."}), 1), "a.zip"),
    "Zip inside a zip": Case(zipped({"inner.zip": zipped({"a.txt": b"Seen."})}), "a.zip"),
    "Zip member of an unknown format": Case(zipped({"a.txt": b"Seen.", "b.tif": bytes(range(256)) * 4, "c.txt": b"Again."}), "a.zip", 2),
    "Zip member with a flipped byte": Case(
        (lambda data: flipped(data, len(data) // 2))(zipped({"a.jsonl": RANDOM, "b.txt": b"Again."})), "a.zip", lambda n: 20 < n <= 301
    ),
    "X12 file cut in half": Case(WHOLE[: WHOLE.index(b"C-2") + 60], kept=lambda n: n == 2),
    "X12 with a damaged envelope": Case(WHOLE.replace(b"ISA*00*", b"ISA*0*", 1)),
    "X12 with a flipped byte in a segment's name": x12(b"HI*ABK", b"H!*ABK"),
    "X12 segments outside the loop they belong to": x12(b"LX*1~", b""),
    "FHIR lines cut in half": Case(FHIR[: len(FHIR) - 200], kept=2),
    "FHIR Bundle cut in half": Case(str(samples.bundle(samples.PATIENT, samples.ENCOUNTER)).replace("'", '"').encode()[:300]),
    "FHIR resource of a type that FHIR does not have": Case(samples.lines({"resourceType": "Pateint", "id": "1"}) + FHIR, kept=3),
    "HL7 v2 batch cut in half": Case(BATCH[: -len(b"BTS|2\r")], kept=10),
    "HL7 v2 message cut in half, without a batch around it": Case(samples.ORU[: samples.ORU.index(b"OBX|3")], kept=5),
    "HL7 v2 message with a damaged header": Case(samples.ORU.replace(b"MSH|^~\\&|", b"MSH|^~|") + samples.ORU, kept=5),
    "HL7 v2 message of a patient without a PID": Case(samples.ORU.replace(b"PID|", b"PKD|") + samples.ORU, kept=5),
    "Table cut in its header": Case(samples.BENEFICIARY[:60]),
    "CSV cut in half": Case(ROWS[: ROWS.index(b"9,") + 1], kept=9),
    "CSV row with a cell too many": Case(b"id,text\n1,a,b\n2,Seen.\n", kept=1),
    "CSV quotation mark that never closes": Case(b'id,text\n1,Seen.\n2,"Seen\n3,Seen.\n4,Seen.\n', kept=1),
    "JSON line that is no JSON": Case(b'{"id": 1, "text": \n' + samples.lines(GOOD), kept=1),
    "JSON line that is no object": Case(samples.lines(GOOD) + b"[1]\n", kept=1),
    "Plain text cut in half": Case(b"Seen today, and sent ho", "note.txt", 1),
    "Parquet cut in half": Case(PARQUET[: len(PARQUET) // 2], "rows.parquet"),
    "Parquet of another schema": Case(samples.parquet([{"key": "1", "body": "x"}]), "rows.parquet"),
    "Parquet with an extension type": Case(extension(), "rows.parquet"),
    "Parquet with a damaged row group": Case(broken_group(), kept=4),
    "CSV without the column of the note": Case(b"id,body\n1,x\n"),
    "CSV or Parquet with a column that is read twice": Case(b"id,text,text\n1,x,y\n", "rows.csv"),
    "Synthea table that lacks a column": Case(b"START,STOP,PATIENT,ENCOUNTER,DESCRIPTION\n2024-02-29,,p1,e1,x\n", "conditions.csv"),
    "JSON line without the column of the note": Case(samples.lines({"id": 1}, GOOD), kept=1),
    "Note of 20 MB": jsonl(text="x" * 20_000_000),
    "Line that does not end": Case(samples.lines(GOOD) + b'{"id": 1, "text": "' + b"x" * (33 << 20), kept=1),
    "Empty note": jsonl(text=" \n"),
    "Bytes that are not UTF-8": Case(samples.lines(GOOD) + b'{"id": 1, "text": "caf\xe9"}\n', kept=1),
    "Bytes that are not UTF-8 in a Parquet string": Case(not_text(), kept=1),
    "UTF-16, with a byte order mark or without": Case(samples.lines(GOOD).decode().encode("utf-16-le"), kept=1),
    "Windows-1252 beyond doubt": Case(ENGLISH.encode("cp1252"), kept=1),
    "Windows-1252 that may be something else": Case(LATIN.encode("cp1252")),
    "Bytes that the declared encoding lacks": Case(b"Seen\x81.", options={"encoding": "cp1252"}),
    "Impossible date": x12(b"D8*20240229", b"D8*20240230"),
    "End before its beginning": Case(samples.lines({**samples.ENCOUNTER, "period": {"start": "2024-02-29", "end": "2024-02-28"}}, samples.PATIENT), kept=1),
    "Service before birth": Case(samples.x12().replace(b"DMG*D8*19800229", b"DMG*D8*20400229")),
    "Number that is none": jsonl(age="old"),
    "Value of another type": jsonl(text=7),
    "Required value that is absent": Case(samples.lines({"text": "Seen."}, GOOD), kept=1),
    "Rows of one claim with other claims between": Case(samples.carrier("-1|1|30-May-2015", "-2|1|30-May-2015", "-1|2|30-May-2015"), kept=2),
    "Attachment whose Base64 is none": Case(attachment("text/plain", data="AAAAA"), kept=1),
    "Attachment that is a picture": Case(attachment("image/png", data=base64.b64encode(b"\x89PNG").decode()), kept=1),
    "Note that lies on a server": Case(attachment("text/plain", url="https://example.org/Binary/1"), kept=1),
    "Two files with the same content": Case(samples.lines(GOOD), kept=1),
    "The same record in several files": Case(samples.lines(GOOD), kept=1),
}  # fmt: skip


def table() -> dict[str, tuple[str, str]]:
    """What is seen, and the record, by fault."""
    lines = (ROOT / "docs" / "bad_input.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert all(len(row) == 3 for row in cells) and len({row[0] for row in cells}) == len(cells)
    return {fault: (seen, record) for fault, seen, record in cells}


def test_each_row_has_a_case_and_each_case_a_row() -> None:
    assert table().keys() == CASES.keys()


def test_each_reason_has_a_row() -> None:
    told = {word for _, record in table().values() for word in re.findall(r"`([a-z0-9_]+)`", record)}
    assert readers.REASONS.keys() <= told
    assert {seen for seen, _ in table().values()} == {"stops", "goes on", "told nowhere"}


@pytest.mark.parametrize("fault", CASES)
def test_it_is_as_the_table_says(fault: str, read: Any, probe: Any) -> None:
    case, (seen, record) = CASES[fault], table()[fault]
    if seen == "stops":
        with pytest.raises(InputError) as caught:
            probe(case.data, case.name, **case.options)
        assert case.name in str(caught.value), "the file is named"
    else:
        probe(case.data, case.name, **case.options)
    found = read(case.data, case.name, **case.options)
    told = {word for word in re.findall(r"`([a-z0-9_]+)`", record) if word in readers.REASONS}
    assert {reason for reason, _ in found.reasons} == told
    rows = [item for item in found.items if type(item).__name__ != "DeadLetter"]
    assert case.kept(len(rows)) if callable(case.kept) else len(rows) == case.kept, len(rows)
    if "offset" in record:
        assert re.search(r"has offset \d+$", found.one("DeadLetter").rule)
    if "by_encoding" in record:
        (name,) = found.encodings
        assert name != "utf-8" and (f"`{name}`" in record or name == "utf-16-le")


def test_what_the_table_says_beside_its_rows(read: Any, probe: Any) -> None:
    for pack in (zstandard.compress, bz2.compress):
        with pytest.raises(InputError):
            probe(pack(b"x")[:4] + b"\xff and more", "rows")
    assert read(LATIN.encode("cp1252"), encoding="cp1252").one("RawDocument").text == LATIN
    for written in ("utf-16", "utf-16-be", "utf-32"):
        assert read(samples.lines(GOOD).decode().encode(written)).counts.notes == 1
    assert zipfile.is_zipfile(io.BytesIO(CASES["Office document"].data))
