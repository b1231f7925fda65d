"""FHIR: where a note's text is. In the resource, in a Binary, in a file beside; and what is never read."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology import readers, storage
from nosology.config import IngestConfig
from nosology.readers.document import CDA, HTML, PLAIN, RTF
from nosology.readers.prose import locate

RTF_NOTE = rb"{\rtf1\ansi Assessment:\par type\~2 diab\'e9tes}"


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def referring(url: str, kind: str | None = None, key: str = "d1") -> dict[str, Any]:
    return samples.document(id=key, content=[{"attachment": {"url": url, **({"contentType": kind} if kind else {})}}])


def binary(key: str, data: bytes, kind: str = "text/plain", name: str = "data") -> dict[str, Any]:
    return {"resourceType": "Binary", "id": key, "contentType": kind, name: coded(data)}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Any]:
    """Reads resources as a file of a folder, in which other files may lie."""

    def read(*resources: Any, max_document_bytes: int = 4 << 20) -> list[Any]:
        data = samples.lines(*resources)
        (tmp_path / "notes.ndjson").write_bytes(data)
        source = readers.SourceFile(str(tmp_path / "notes.ndjson"), "notes.ndjson", hashlib.sha256(data).hexdigest(), len(data))
        return list(readers.read_file(source, io.BytesIO(data), IngestConfig(max_document_bytes=max_document_bytes)))

    return read


@pytest.mark.parametrize(
    ("kind", "data", "text", "media_type"),
    [
        ("text/rtf", RTF_NOTE, "Assessment:\ntype 2 diabétes", RTF),
        ("text/plain", RTF_NOTE, "Assessment:\ntype 2 diabétes", RTF),
        ("text/html; charset=cp1252", "<p>na\xefve</p><p>x</p>".encode("cp1252"), "naïve\n\nx", HTML),
        ("application/xhtml+xml", b"<div><p>a</p></div>", "a", HTML),
        ("application/hl7-cda+xml", samples.CDA_DOCUMENT.encode(), "Discharge Summary\n\nHospital course", CDA),
        ("text/markdown", b"# A\n", "# A\n", PLAIN),
        (None, b"x y", "x y", PLAIN),
    ],
)
def test_every_kind_of_attachment(kind: str | None, data: bytes, text: str, media_type: str, read: Any) -> None:
    note = read(samples.lines(samples.document(content=[{"attachment": {"contentType": kind, "data": coded(data)}}]))).one("RawDocument")
    assert note.text.startswith(text) and note.media_type == media_type and (note.file, note.file_digest) == (None, None)
    assert bool(note.origin) == (media_type != PLAIN)
    if note.origin:
        word = text.split()[-1]
        start = note.text.index(word)
        place = locate(note.origin, start, start + len(word))
        assert place is not None and (data[place[0] : place[1]] in (word.encode(), rb"diab\'e9tes"))


def test_a_binary_of_the_same_bundle(read: Any) -> None:
    note = referring("urn:uuid:b7", "text/html")
    for entries in ([binary("b7", RTF_NOTE, "application/rtf"), note], [note, binary("b7", RTF_NOTE, "application/rtf", "content")]):
        found = read(json.dumps(samples.bundle(*entries)).encode())
        assert found.one("RawDocument").text == "Assessment:\ntype 2 diabétes"
        assert (found.counts.records, found.counts.skipped, found.counts.dead) == (1, 1, 0)


@pytest.mark.parametrize("url", ["Binary/b7", "https://server.example/fhir/Binary/b7", "Binary/b7/_history/2"])
@pytest.mark.parametrize("behind", [True, False])
def test_a_binary_near_in_the_same_file(url: str, behind: bool, read: Any) -> None:
    """And every record stays, once, in the order of the file."""
    others = [samples.PATIENT, samples.ENCOUNTER, samples.CONDITION]
    note, held = referring(url), binary("b7", b"Seen today.")
    found = read(samples.lines(*([note, *others, held] if behind else [held, *others, note])))
    assert found.one("RawDocument").text == "Seen today."
    kinds = [type(item).__name__ for item in found.items]
    assert kinds == (["RawDocument", "RawPatient", "RawEncounter", "RawCondition", "Skipped"] if behind
                     else ["Skipped", "RawPatient", "RawEncounter", "RawCondition", "RawDocument"])  # fmt: skip


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("held_at", range(5))
@pytest.mark.parametrize("blank", [b"", b"\n\n"])
def test_a_binary_on_any_line(at: int, held_at: int, blank: bytes, read: Any) -> None:
    """The first lines too, which are held while the file is told from one value over many lines."""
    rows = [samples.PATIENT, samples.ENCOUNTER, samples.CONDITION]
    note, held = referring("Binary/b7"), binary("b7", b"Seen today.")
    for place, one in sorted([(at, note), (held_at, held)], key=lambda pair: pair[0]):
        rows.insert(place, one)
    found = read(blank.join(samples.lines(one) for one in rows))
    assert (found.one("RawDocument").text, found.counts.records, found.counts.skipped) == ("Seen today.", 4, 1)


@pytest.mark.parametrize("behind", [True, False])
def test_a_binary_of_a_file_whose_second_line_is_damaged(behind: bool, read: Any) -> None:
    """Such a file is first taken for one value over many lines."""
    pair = [samples.lines(referring("Binary/b7")), samples.lines(binary("b7", b"Seen today."))]
    found = read((pair[0] if behind else pair[1]) + b"garbage\n" + samples.lines(samples.PATIENT) + (pair[1] if behind else pair[0]))
    assert found.one("RawDocument").text == "Seen today." and found.reasons == [("bad_json", None)] and found.counts.records == 3


def test_a_binary_far_away_is_told_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    from nosology.readers.fhir import stream

    monkeypatch.setattr(stream, "record_bytes", lambda config: 4000)
    filler = [binary(f"x{n}", b"z" * 100) for n in range(60)]
    notes = [referring("Binary/b7", key=f"d{n}") for n in range(3)]
    found = read(samples.lines(notes[0], *filler, binary("b7", b"Seen."), notes[1], *filler, notes[2]))
    assert [item.document_id for item in found.of("RawDocument")] == ["d1"]
    assert found.reasons == [("note_elsewhere", "content.attachment.url")] * 2
    lines = stream._Lines(io.BufferedReader(io.BytesIO(samples.lines(*filler, *filler))), 4000)  # type: ignore[arg-type]
    assert lines.binary("none") is None and lines._ahead_bytes < 4400
    for one in filler:
        lines.remember(one, 200)
    assert lines._passed_bytes <= 4000 and len(lines._passed) <= 20


def test_a_contained_binary_of_a_bundle_within(read: Any) -> None:
    inner = samples.bundle(referring("Binary/b7"))
    found = read(json.dumps(samples.bundle(binary("b7", b"Seen."), {**inner, "id": "inner"})).encode())
    assert found.one("RawDocument").text == "Seen."


def test_files_beside(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "Binary").mkdir()
    (tmp_path / "notes" / "a b.rtf").write_bytes(RTF_NOTE)
    (tmp_path / "notes" / "c.txt.gz").write_bytes(gzip.compress(b"Packed."))
    (tmp_path / "Binary" / "b1").write_bytes(b"Bare.")
    (tmp_path / "Binary" / "b2.json").write_bytes(json.dumps(binary("b2", b"<p>In JSON</p>", "text/html"), indent=1).encode())
    urls = ["notes/a%20b.rtf", "./notes/c.txt.gz", "Binary/b1", "Binary/b2"]
    found = folder(*[referring(url, key=str(n)) for n, url in enumerate(urls)])
    assert [(note.text, note.media_type) for note in found] == [
        ("Assessment:\ntype 2 diabétes", RTF), ("Packed.", PLAIN), ("Bare.", PLAIN), ("In JSON", HTML),
    ]  # fmt: skip
    assert [note.file for note in found] == urls
    assert found[0].file_digest == storage.digest(str(tmp_path / "notes" / "a b.rtf"))
    assert found[1].file_digest == storage.digest(str(tmp_path / "notes" / "c.txt.gz"))


def test_a_file_that_is_input_too_is_a_record_of_its_own(folder: Any, tmp_path: Path) -> None:
    """The documented rule: nothing that lies in the input is left out; the digest tells that both are one document."""
    (tmp_path / "a.txt").write_bytes(b"Seen today, and again.")
    (tmp_path / ".attachments").mkdir()
    (tmp_path / ".attachments" / "b.txt").write_bytes(b"Seen once.")
    linked, hidden = folder(referring("a.txt"), referring(".attachments/b.txt", key="d2"))
    planned = {uri.rsplit("/", 1)[1]: storage.digest(uri) for uri in storage.list_files(str(tmp_path))}
    assert planned.keys() == {"notes.ndjson", "a.txt"}
    assert linked.file_digest == planned["a.txt"] and hidden.text == "Seen once." and hidden.file_digest not in planned.values()


OUTSIDE = [
    "../secret.txt", "notes/../../secret.txt", "%2e%2e/secret.txt", "notes/..%2f../secret.txt", "/etc/passwd", "//server/secret.txt",
    "file:///etc/passwd", "http://127.0.0.1:1/x", "s3://bucket/x", "C:\\secret.txt", "notes\\secret.txt", "link.txt", "linked/secret.txt",
    "x::file:///etc/passwd", "secret.txt?x", "notes", "pipe", "missing.txt", "a\0b", "notes//x", "%00", "", " ", "#b7", "urn:uuid:b7", "~/x",
    "x" * 3000, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("url", OUTSIDE)
def test_nothing_outside_the_folder_is_read(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("XYZZY")
    inside = tmp_path / "in"
    (inside / "notes").mkdir(parents=True)
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "linked").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe")  # would be waited for, for ever
    data = json.dumps(referring(url)).encode() + b"\n"
    source = readers.SourceFile(str(inside / "notes.ndjson"), "notes.ndjson", "d", len(data))
    (letter,) = readers.read_file(source, io.BytesIO(data))
    assert isinstance(letter, readers.DeadLetter)
    assert letter.reason in ("note_elsewhere", "empty_note", "bad_json") and "XYZZY" not in repr(letter) and "secret" not in repr(letter)


def test_no_way_up_even_if_it_comes_back(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "a.txt").write_text("Seen.")
    (letter,) = folder(referring("notes/../a.txt"))
    assert letter.reason == "note_elsewhere"


@pytest.mark.parametrize(
    "url", [url for url in OUTSIDE if url not in ("link.txt", "linked/secret.txt", "notes", "pipe", "missing.txt", "~/x")]
)
def test_an_object_store_is_not_even_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`::`, for instance, would chain another file system."""
    asked: list[str] = []
    monkeypatch.setattr(storage, "open_input", asked.append)
    data = json.dumps(referring(url)).encode() + b"\n"
    (letter,) = readers.read_file(readers.SourceFile("memory://bucket/in/notes.ndjson", "notes.ndjson", "d", len(data)), io.BytesIO(data))
    assert isinstance(letter, readers.DeadLetter) and asked == []


def test_a_link_within_the_folder_is_followed(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Seen.")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert folder(referring("b.txt"))[0].text == "Seen."


def test_faults_of_a_file_beside(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"x" * (17 << 20))
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(b"x" * (17 << 20)))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(os.urandom(5000))[:3000])
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "bad.txt").write_bytes(b"na\xefve")
    (tmp_path / "b3").write_bytes(b'{"resourceType": "Binary", oops')
    (tmp_path / "random.gz").write_bytes(gzip.compress(os.urandom(17 << 20), 1))
    names = ["big.txt", "bomb.txt.gz", "random.gz", "cut.txt.gz", "scan.pdf", "bad.txt", "b3"]
    found = folder(*[referring(name, "application/pdf" if name == "scan.pdf" else None) for name in names], max_document_bytes=1000)
    place = "content.attachment."
    assert [(letter.reason, letter.field) for letter in found] == [
        *[("note_too_large", place + "url")] * 3, ("truncated_file", place + "url"), ("unsupported_content", place + "contentType"),
        ("invalid_utf8", place + "contentType"), ("bad_json", place + "url"),
    ]  # fmt: skip


def test_a_fault_of_the_storage_is_no_dead_letter(folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is told by the name of the file that the record lies in: a URL is a value of the record, and may be anything on an object store."""

    def broken(uri: str) -> Any:
        raise storage.StorageError("the device reports an input/output error", file=uri, remedy="Check the disk")

    (tmp_path / "quimby.txt").write_text("Seen.")
    monkeypatch.setattr(storage, "open_input", broken)
    with pytest.raises(storage.StorageError) as caught:
        folder(referring("quimby.txt"))
    told = f"file {tmp_path}/notes.ndjson, field content.attachment.url: the device reports an input/output error. Check the disk"
    assert str(caught.value) == told and caught.value.__suppress_context__


def test_files_beside_on_an_object_store() -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/in/notes/a.txt", b"Seen.")
    store.pipe_file("/bucket/secret.txt", b"XYZZY")
    data = samples.lines(referring("notes/a.txt"), referring("../secret.txt"), referring("missing.txt"))
    source = readers.SourceFile("memory://bucket/in/notes.ndjson", "notes.ndjson", "d", len(data))
    note, *letters = readers.read_file(source, io.BytesIO(data))
    assert isinstance(note, readers.RawDocument) and note.text == "Seen."
    assert [getattr(letter, "reason", None) for letter in letters] == ["note_elsewhere", "note_elsewhere"]


def test_the_best_of_several_forms(read: Any) -> None:
    forms = [
        {"attachment": {"contentType": "application/pdf", "data": "JVBERg=="}}, {"attachment": {"contentType": "text/plain", "url": "gone.txt"}},
        {"attachment": {"contentType": "text/plain", "data": "/w=="}}, {"attachment": {"contentType": "text/rtf", "data": coded(RTF_NOTE)}},
    ]  # fmt: skip
    assert read(samples.lines(samples.document(content=forms))).one("RawDocument").media_type == RTF
    assert read(samples.lines(samples.document(content=forms[:3]))).reasons == [("invalid_utf8", "content.attachment.data")]
    assert read(samples.lines(samples.document(content=[{"attachment": {"title": "x"}}]))).reasons == [
        ("empty_note", "content.attachment.data")
    ]


@pytest.mark.parametrize("data", ["UGxhaW4", "UGxh aW4=\t=", "A", "UGxhaW4=x"])
def test_base64_that_is_cut(data: str, read: Any) -> None:
    found = read(samples.lines(samples.document(content=[{"attachment": {"contentType": "text/plain", "data": data}}])))
    if " " in data:
        assert found.one("RawDocument").text == data  # what has blanks is text
    else:
        assert found.reasons == [("bad_base64", "content.attachment.data")]


# ------------------------------------------------------------------------------------- DiagnosticReport and Composition


def report(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2"}]}, "encounter": {"reference": "Encounter/e1"},
        "effectiveDateTime": "2024-02-29T10:00:00Z", "performer": [{"display": "Dr. Who"}], **changes,
    }  # fmt: skip


def test_reports(read: Any) -> None:
    form = [{"contentType": "text/rtf", "data": coded(RTF_NOTE)}]
    note = read(samples.lines(report(presentedForm=form, conclusion="No mass."))).one("RawDocument")
    assert note.text == "Assessment:\ntype 2 diabétes\n\nConclusion\nNo mass." and note.origin and note.media_type == RTF
    assert (note.document_id, note.patient_id, note.encounter_id, note.kind, str(note.date), note.authors) == (
        "r1", "p1", "e1", "24627-2", "2024-02-29", ("Dr. Who",),
    )  # fmt: skip
    assert (
        read(samples.lines(report(presentedForm=form, conclusion="type 2  diabétes"))).one("RawDocument").text.endswith("type 2 diabétes")
    )
    assert read(samples.lines(report(conclusion="No mass."))).one("RawDocument").text == "No mass."
    pdf = [{"contentType": "application/pdf", "data": "JVBERg=="}]
    assert read(samples.lines(report(presentedForm=pdf, conclusion="No mass."))).one("RawDocument").text == "No mass."
    assert read(samples.lines(report(presentedForm=pdf))).reasons == [("unsupported_content", "presentedForm.contentType")]
    found = read(samples.lines(report(result=[{"reference": "Observation/1"}])))
    assert (found.counts.skipped, found.counts.records) == (1, 0)


def div(text: str) -> dict[str, Any]:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'}


COMPOSITION: dict[str, Any] = {
    "resourceType": "Composition", "id": "k9", "status": "final", "title": "Discharge summary", "date": "2024-03-01T00:00:00Z",
    "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]}, "subject": {"reference": "Patient/p1"},
    "encounter": {"reference": "Encounter/e1"}, "author": [{"display": "Dr. Who"}],
    "section": [
        {"title": "Assessment", "text": div("<p>Type 2 diabetes &amp; cough</p>")},
        {"title": "Plan", "section": [{"title": "Drugs", "text": div("<ul><li>metformin</li></ul>")}, {"title": "Empty"}]},
        {"text": div("No heading.")},
    ],
}  # fmt: skip


def test_a_composition_is_one_document_with_headings(read: Any) -> None:
    note = read(samples.lines(COMPOSITION)).one("RawDocument")
    assert note.text == "Discharge summary\n\nAssessment\nType 2 diabetes & cough\n\nPlan\n\nDrugs\nmetformin\n\nNo heading."
    assert (note.document_id, note.patient_id, note.encounter_id, note.kind, str(note.date)) == ("k9", "p1", "e1", "18842-5", "2024-03-01")
    r5 = {**COMPOSITION, "subject": [{"reference": "Patient/p1"}], "section": [], "text": div("All of it.")}
    note = read(samples.lines(r5)).one("RawDocument")
    assert (note.patient_id, note.text) == ("p1", "Discharge summary\n\nAll of it.")
    assert read(samples.lines({**COMPOSITION, "section": [{"title": "x"}]})).reasons == [("empty_note", "section.text")]
    deep: dict[str, Any] = {"text": div("zz")}
    for _ in range(400):
        deep = {"section": [deep], "text": div("zz")}
    assert read(samples.lines({**COMPOSITION, "section": [deep]})).one("RawDocument").text.count("zz") == 401
