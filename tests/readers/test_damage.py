"""Files that break off or cannot be read: what was read stays, the rest is one dead letter; what can be known is known before."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
import zstandard
from nosology import readers
from nosology.errors import InputError

RANDOM = random.Random(0)
NOTES = [{"id": n, "text": f"note {n} " + RANDOM.randbytes(600).hex()} for n in range(800)]
LINES = samples.lines(*NOTES)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_nothing_before_the_damage_is_lost(read: Any, pack: Any, share: float) -> None:
    packed = pack(LINES)
    found = read(packed[: int(len(packed) * share)], "notes.jsonl.x")
    assert found.reasons == [("truncated_file", None)]
    texts = [note.text for note in found.of("RawDocument")]
    assert texts == [note["text"] for note in NOTES[: len(texts)]]
    assert len(texts) > 800 * share - 130  # a zstd block of 128 KiB, about 107 lines, comes whole or not at all


def test_every_complete_line_before_the_cut_is_read(read: Any) -> None:
    """Against zlib itself: the lines that can be had from the bytes that are left."""
    import zlib

    packed = gzip.compress(LINES)[:40_000]
    whole = zlib.decompressobj(wbits=31).decompress(packed).count(b"\n")
    assert len(read(packed).of("RawDocument")) == whole > 0


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_resource_before_a_cut_in_the_second_or_third_is_read(read: Any, share: float) -> None:
    """The second line tells whether the file is one value; the first is not lost while it is looked for."""
    lines = samples.lines(*({"resourceType": "Patient", "id": str(n), "text": {"div": RANDOM.randbytes(9000).hex()}} for n in range(3)))
    packed = gzip.compress(lines)
    found = read(packed[: int(len(packed) * share)], "a.ndjson.gz")
    assert (
        found.reasons == [("truncated_file", None)] and [row.patient_id for row in found.of("RawPatient")] == ["0", "1"][: round(share * 2)]
    )


def test_a_wrong_checksum_is_told(read: Any) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-5] ^= 1
    found = read(bytes(packed))
    assert found.reasons == [("truncated_file", None)] and len(found.of("RawDocument")) > 790


@pytest.mark.parametrize(
    "data", [samples.x12(), samples.carrier("-1|1|30-May-2015", "-1|2|30-May-2015"), b"A note of one line. " * 900, samples.CSV]
)
def test_no_record_is_made_of_a_part(read: Any, data: bytes) -> None:
    packed = gzip.compress(data)
    found = read(packed[: len(packed) * 2 // 3])
    assert found.of("RawClaim") == found.of("RawDocument") == []
    assert found.counts.dead >= 1


def test_trailing_garbage_behind_gzip(read: Any) -> None:
    found = read(gzip.compress(samples.JSONL) + b"garbage")
    assert (len(found.of("RawDocument")), found.reasons) == (1, [("truncated_file", None)])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x1f\x8b\x07garbage that is no gzip", "notes.jsonl.gz"),
        (b"\x1f\x8b", "notes.jsonl.gz"),
        (b"\x28\xb5\x2f\xfdgarbage", "notes.jsonl.zst"),
        (bytes(range(256)) * 4, "scan.tif"),
        (b'[{"id": 1, "text": "x"}]', "notes.json"),
        (samples.parquet([{"id": "1", "text": "x"}])[:-20], "notes.parquet"),
        (gzip.compress(samples.parquet([{"id": "1", "text": "x"}])[:-20]), "notes.parquet.gz"),
        (b"PAR1", "notes.parquet"),
        (samples.parquet([{"id": "1", "body": "x"}]), "notes.parquet"),
        (b"id,body\n1,x\n", "notes.csv"),
    ],
)
def test_unreadable_files_are_known_before_work(probe: Any, read: Any, data: bytes, name: str) -> None:
    with pytest.raises(InputError) as caught:
        probe(data, name)
    assert name in str(caught.value) and "garbage" not in str(caught.value)
    found = read(data, name)  # and when nobody asked: dead letters, never an exception
    assert found.counts.dead == found.counts.records >= 1


def test_columns_by_configuration(probe: Any, read: Any) -> None:
    assert probe(b"key,body\n1,x\n", text_column="body", id_column="key") == "csv"
    note = read(b"key,body\n1,x\n", text_column="body", id_column="key").one("RawDocument")
    assert (note.document_id, note.text) == ("1", "x")


def test_an_extension_type_is_refused_before_arrow_parses_it(tmp_path: Path, probe: Any, read: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parsed: list[bytes] = []

    class Evil(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.string(), "evil.type")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"payload"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Evil:
            parsed.append(serialized)
            return cls()

    plain = pa.array(["a"])
    for column in (
        pa.ExtensionArray.from_storage(Evil(), plain),
        pa.StructArray.from_arrays([pa.ExtensionArray.from_storage(Evil(), plain)], ["x"]),
    ):
        out = io.BytesIO()
        pq.write_table(pa.table({"id": plain, "text": plain, "extra": column}), out)
        pa.register_extension_type(Evil())
        try:
            parsed.clear()
            with pytest.raises(InputError, match="plain types"):
                probe(out.getvalue())
            assert parsed == []
            assert read(out.getvalue()).reasons == [("unreadable_file", None)]
            assert parsed == []
            pq.read_schema(io.BytesIO(out.getvalue()))
            assert parsed, "Arrow itself would have run it"
        finally:
            pa.unregister_extension_type("evil.type")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b" \n", "empty_note"),
        (b"Na\xefve note.\n", "invalid_utf8"),
        (b"x" * 1001, "note_too_large"),
    ],
)
def test_bad_text_files(read: Any, data: bytes, reason: str) -> None:
    found = read(data, "note.txt", max_document_bytes=1000)
    assert [slug for slug, _ in found.reasons] == [reason] and found.counts.records == 1


def test_a_note_of_twenty_megabytes(read: Any) -> None:
    found = read(samples.lines({"id": 1, "text": "x" * 20_000_000}, {"id": 2, "text": "y"}))
    assert (found.reasons, [note.text for note in found.of("RawDocument")]) == ([("note_too_large", "text")], ["y"])


def test_a_line_without_end_is_not_held(read: Any) -> None:
    limit = 16 << 20
    data = b'{"id": 1, "text": "' + b"x" * (limit + 10) + b'"}\n' + samples.JSONL
    found = read(data, max_document_bytes=1000)
    assert (found.reasons, found.counts.notes) == ([("record_too_long", "line")], 1)


def test_dead_letters_hold_no_text(read: Any) -> None:
    marked = [
        samples.x12().replace(b"QUIMBY", b"XYZZY").replace(b"20240229", b"20240231"),
        samples.lines({**samples.PATIENT, "birthDate": "XYZZY"}, samples.document("XYZZY" * 300)),
        samples.carrier("-1|XYZZY|30-May-2015"),
        samples.ORU.replace(b"19800229", b"XYZZY"),
        samples.lines({"id": 1, "text": "a", "age": "XYZZY"}, {"id": "XYZZY", "text": None}),
        b"id,text\nXYZZY\n1,a\n",
    ]
    for data in marked:
        found = read(data, max_document_bytes=1000)
        assert found.counts.dead == len(found.of("DeadLetter")) > 0
        assert "XYZZY" not in repr(found.of("DeadLetter"))


def test_numbering_and_digest_depend_on_the_bytes_alone(read: Any) -> None:
    data = samples.lines(samples.PATIENT, {"resourceType": "Device"}, {"resourceType": "Patient"}, samples.ENCOUNTER)
    first, second = read(data, "a.json"), read(data, "b.ndjson")
    assert first.items == second.items
    assert [item.source_row for item in first.items if not isinstance(item, readers.Skipped)] == [0, 2, 3]
    assert first.counts == readers.Counts(records=3, notes=0, dead=1, skipped=1)
