"""Zip archives: members are files of their own, keys stay unique, what cannot be read costs no other; limits of what may expand."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import random
import tracemalloc
import zipfile
from typing import Any

import pytest
import reader_samples as samples
from nosology import readers
from nosology.errors import InputError

MEMBERS = {
    "claims/a.837": samples.x12(), "fhir.ndjson": samples.lines(samples.PATIENT, samples.document()), "messages/b.hl7": samples.ORU,
    "packed.jsonl.gz": gzip.compress(samples.JSONL), "rows.parquet": samples.parquet([{"id": "7", "text": "a note"}]),
    "note one.txt": b"Seen today.",
}  # fmt: skip


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


RANDOM = samples.lines(*({"id": n, "text": random.Random(n).randbytes(40).hex()} for n in range(300)))


def flagged(data: bytes, bit: int) -> bytes:
    """The archive with a bit set in the flags of each local header and each entry of its directory."""
    changed = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            changed[at + place] |= bit
            at = data.find(mark, at + 1)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_as_files(read: Any, probe: Any, method: int) -> None:
    data = zipped({"folder/": b"", **MEMBERS, "__MACOSX/._a.837": b"\x00\x05\x16\x07"}, method)
    found = read(data, "archive.zip")
    alone = {name: read(content, name) for name, content in MEMBERS.items()}
    assert (found.format, probe(data, "archive.zip")) == ("zip", "zip")
    assert [type(item) for item in found.items] == [type(item) for one in alone.values() for item in one.items]
    assert [getattr(item, "text", None) for item in found.items] == [
        getattr(item, "text", None) for one in alone.values() for item in one.items
    ]
    for name in ("records", "notes", "dead", "skipped"):
        assert getattr(found.counts, name) == sum(getattr(one.counts, name) for one in alone.values())
    assert {item.source_digest for item in found.items} == {found.items[0].source_digest}
    assert {item.source_format for item in found.items} == {"x12", "fhir", "hl7v2", "jsonl", "parquet", "text"}
    assert found.encodings == {"utf-8": 5}


def test_a_note_has_its_member_s_name(read: Any) -> None:
    found = read(zipped({"a/note one.txt": b"Seen.", "b.txt": b"Again."}), "archive.zip")
    assert [note.document_id for note in found.of("RawDocument")] == ["archive.zip/a/note one", "archive.zip/b"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("inner.zip", zipped({"a.txt": b"x"}), "nested_archive"),
        ("scan.tif", bytes(range(256)) * 4, "unreadable_file"),
        ("cut.jsonl.gz", gzip.compress(RANDOM)[:-9], "truncated_file"),
        ("notes.csv", b"id,body\n1,x\n", "missing_field"),
        ("empty.txt", b"", "empty_file"),
    ],
)
def test_a_bad_member_costs_no_other(read: Any, name: str, data: bytes, reason: str) -> None:
    found = read(zipped({"a.txt": b"Seen.", name: data, "z.jsonl": samples.JSONL}), "archive.zip")
    letter = found.one("DeadLetter")
    more = 300 if name == "cut.jsonl.gz" else 0
    assert (letter.reason, letter.source_row, len(found.of("RawDocument"))) == (reason, 1 + more, 2 + more)
    assert letter.rule.endswith("(member 2 of the archive)") and name not in letter.rule


def test_damage_in_a_member_is_told_and_the_next_is_read(read: Any) -> None:
    data = bytearray(zipped({"a.jsonl": RANDOM, "z.jsonl": samples.JSONL}))
    data[len(data) // 2] ^= 0xFF
    found = read(bytes(data), "archive.zip")
    assert ("truncated_file", None) in found.reasons and len(found.of("RawDocument")) > 20
    assert found.of("RawDocument")[-1].document_id == "7"


@pytest.mark.parametrize(("bit", "reason"), [(1, "encrypted_file")])
def test_encrypted_members_are_refused(read: Any, probe: Any, bit: int, reason: str) -> None:
    data = flagged(zipped({"a.txt": b"Seen.", "b.txt": b"Again."}), bit)
    assert read(data, "archive.zip").reasons == [(reason, None)] * 2
    with pytest.raises(InputError, match=r"archive.zip/a.txt: a file without a password"):
        probe(data, "archive.zip")


def test_what_cannot_be_read_is_told_of_each_member() -> None:
    data = zipped({"a.txt": b"Seen.", "inner.zip": zipped({}), "scan.tif": bytes(range(256)) * 4, "notes.csv": b"id,body\n1,x\n"})
    source = readers.SourceFile("/x/archive.zip", "archive.zip", "0" * 64, len(data))
    found, faults = readers.probe(source, io.BytesIO(data))
    assert (found, [fault.file for fault in faults]) == (
        "zip", ["archive.zip/inner.zip", "archive.zip/scan.tif", "archive.zip/notes.csv"],
    )  # fmt: skip
    only = zipped({"scan.tif": bytes(range(256)) * 4})
    assert readers.probe(source, io.BytesIO(only))[0] is None


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (zipped(MEMBERS)[:-30], "a whole zip archive"),
        (b"PK\x03\x04 and nothing", "a whole zip archive"),
        (zipped({}), "an archive with files in it"),
        (zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "office document"),
    ],
)
def test_an_archive_that_is_none(read: Any, probe: Any, data: bytes, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        probe(data, "archive.zip")
    assert [reason for reason, _ in read(data, "archive.zip").reasons] == (
        ["unreadable_file"] if rule != "an archive with files in it" else []
    )


BOMB = b"0" * (66 << 20)
PACKS = {"gzip": gzip.compress, "bzip2": bz2.compress, "zip": lambda data: zipped({"a.txt": data})}


@pytest.mark.parametrize("pack", PACKS)
def test_what_grows_too_far_is_given_up(read: Any, pack: str) -> None:
    found = read(PACKS[pack](BOMB), "file", max_document_bytes=80 << 20)
    assert found.reasons == [("expands_too_far", None)]
    assert read(PACKS[pack](b"0" * 2_000_000), "file").counts.notes == 1, "a small one may be of one letter"
    assert read(PACKS[pack](BOMB), "file", max_document_bytes=80 << 20, max_expansion=10_000_000).counts.notes == 1
    assert read(PACKS[pack](b"0" * 2_000_000), "file", max_expanded_bytes=1_000_000).reasons == [("expands_too_far", None)]


def test_other_ways_of_packing_are_refused(read: Any) -> None:
    """zipfile would unpack a hundred megabytes from a hundred bytes at once."""
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert read(zipped({"a.txt": b"Seen."}, method), "archive.zip").reasons == [("unreadable_file", None)]


def test_a_small_bomb_is_never_held(read: Any) -> None:
    data = bz2.compress(b"0" * (200 << 20))
    tracemalloc.start()
    found = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.counts.dead == 1 and peak < 32 << 20


def test_rows_before_the_limit_stand(read: Any) -> None:
    rows = samples.lines(*({"id": n, "text": "y" * 500} for n in range(2000)))
    found = read(gzip.compress(rows), "rows.jsonl.gz", max_expanded_bytes=500_000)
    assert found.reasons == [("expands_too_far", None)] and 700 < len(found.of("RawDocument")) < 1000


def test_members_are_streamed(read: Any) -> None:
    row = samples.lines({"id": 1, "text": "z" * 900})
    data = zipped({"a.jsonl": row * 60_000})  # 55 MB
    source = readers.SourceFile("/x/archive.zip", "archive.zip", "0" * 64, len(data))
    tracemalloc.start()
    assert sum(1 for _ in readers.read_file(source, io.BytesIO(data))) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


def referring(*urls: str) -> bytes:
    """Notes that lie in files beside."""
    return samples.lines(*(samples.document(id=str(n), content=[{"attachment": {"url": url}}]) for n, url in enumerate(urls)))


def test_a_member_may_refer_to_another(read: Any) -> None:
    held = json.dumps({"resourceType": "Binary", "id": "b2", "contentType": "text/html", "data": "PHA+SW4gSlNPTjwvcD4="}).encode()
    urls = ["notes/a%20b.txt", "./notes/c.txt.gz", "Binary/b2", ".attachments/d.txt", "notes/a b.txt"]
    files = {
        "notes/a b.txt": b"Seen today.",
        "notes/c.txt.gz": gzip.compress(b"Packed."),
        "Binary/b2.json": held,
        ".attachments/d.txt": b"Hidden.",
    }
    for folder in ("", "export/2024/"):
        for last in (False, True):  # before what it refers to, or behind
            members = {folder + name: data for name, data in files.items()}
            own = {f"{folder}notes.ndjson": referring(*urls)}
            found = read(zipped({**members, **own} if last else {**own, **members}), "archive.zip")
            notes = [note for note in found.of("RawDocument") if note.file]
            assert [note.text for note in notes] == ["Seen today.", "Packed.", "In JSON", "Hidden.", "Seen today."] and not found.reasons
            assert [note.file for note in notes] == urls
            assert notes[1].file_digest == hashlib.sha256(files["notes/c.txt.gz"]).hexdigest()
            others = [note.text for note in found.of("RawDocument") if not note.file]
            assert others == ["Seen today.", "Packed."], "files of the archive are records of their own; hidden ones are none"


def test_a_member_reads_nothing_but_its_archive(tmp_path: Any) -> None:
    (tmp_path / "secret.txt").write_text("XYZZY")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "secret.txt").write_text("XYZZY")
    urls = [
        "secret.txt",
        "../secret.txt",
        "export/secret.txt",
        "/secret.txt",
        "export",
        "notes/",
        "locked.txt",
        "strange.txt",
        "%2e%2e/up.txt",
    ]
    for name in ("notes.ndjson", "export/notes.ndjson", "../notes.ndjson", "../../../../../../notes.ndjson"):
        data = zipped({name: referring(*urls), "up.txt": b"XYZZY", "notes/x.txt": b"Seen."})
        source = readers.SourceFile(str(tmp_path / "archive.zip"), "archive.zip", "0" * 64, len(data))
        letters = [item for item in readers.read_file(source, io.BytesIO(data)) if isinstance(item, readers.DeadLetter)]
        assert [(letter.reason, letter.field) for letter in letters] == [("note_elsewhere", "content.attachment.url")] * len(urls)
        assert "XYZZY" not in repr(letters) and "secret" not in repr(letters)


def test_faults_of_a_member_that_another_refers_to(read: Any) -> None:
    files = {
        "big.txt": b"x" * (17 << 20),
        "bomb.gz": gzip.compress(b"x" * (17 << 20)),
        "cut.gz": gzip.compress(RANDOM)[:900],
        "bad.txt": b"Seen again.",
    }
    data = zipped({"notes.ndjson": referring(*files, "whole.txt"), **files, "whole.txt": b"Whole."}, zipfile.ZIP_STORED)
    data = data.replace(b"Seen again.", b"Seen agaim.", 1)
    found = read(data, "archive.zip", max_document_bytes=1000)
    letters = [letter for letter in found.of("DeadLetter") if letter.field == "content.attachment.url"]
    assert [letter.reason for letter in letters] == ["note_too_large", "note_too_large", "truncated_file", "truncated_file"]
    assert found.of("RawDocument")[0].text == "Whole." and all("(member 1 of the archive)" in letter.rule for letter in letters)
    locked = flagged(zipped({"notes.ndjson": referring("a.txt"), "a.txt": b"Seen."}), 1)
    places = [at for at in range(len(locked)) if locked.startswith((b"PK\x03\x04", b"PK\x01\x02"), at)]
    for at in (places[0] + 6, places[2] + 8):  # only the second member wants a password
        locked = locked[:at] + bytes([locked[at] & ~1]) + locked[at + 1 :]
    assert read(locked, "archive.zip").reasons == [("note_elsewhere", "content.attachment.url"), ("encrypted_file", None)]


def test_a_member_that_many_refer_to_is_no_bomb(read: Any) -> None:
    members = {"notes.ndjson": referring(*["a.txt"] * 300), "a.txt": b"x" * 100_000, "b.txt": b"Again."}
    found = read(zipped(members), "archive.zip", max_expanded_bytes=3_000_000)
    assert found.reasons == [("expands_too_far", None)] and found.of("RawDocument")[-1].text == "Again."
    assert 20 < sum(note.file is not None for note in found.of("RawDocument")) < 31
    assert read(zipped(members), "archive.zip").counts.notes == 302


def test_hidden_members_are_no_input(read: Any, probe: Any) -> None:
    """As on a disk; a Mac's `.DS_Store`, which nobody can read, else stopped the archive."""
    hidden = {name: bytes(range(256)) * 4 for name in (".DS_Store", "claims/.DS_Store", ".git/index", "a/.b/c")}
    data = zipped({**hidden, "./x.txt": b"One.", "../y.txt": b"Two.", "a.b/.../z.txt": b"Three.", "claims/a.txt": b"Four."})
    assert probe(data, "archive.zip") == "zip"
    found = read(data, "archive.zip")
    assert [note.text for note in found.of("RawDocument")] == ["One.", "Two.", "Four."] and not found.reasons
    with pytest.raises(InputError, match="an archive with files in it"):
        probe(zipped(hidden), "archive.zip")


def test_a_zip_is_no_table_for_a_stage(tmp_path: Any) -> None:
    from nosology.readers import tabular

    path = tmp_path / "rows.zip"
    path.write_bytes(zipped({"rows.jsonl": samples.JSONL}))
    with pytest.raises(InputError, match="nosology ingest"):
        tabular.describe(str(path))
