"""What an ingest finds out before it works: files that nobody can read, copies, formats; and what the report says of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest
import reader_samples as samples
from nosology import storage
from nosology.config import IngestConfig, InputConfig
from nosology.distributed.source import Archive, check_apart, plan_archive
from nosology.errors import InputError
from nosology.readers import SourceFile, name_of, read_file
from nosology.records import RawDocument
from nosology.records.content import record_digest

GOOD = {"a.837": samples.x12(), "b.jsonl.gz": gzip.compress(samples.JSONL), "c.txt": b"Seen today."}
BAD = {"scan.tif": bytes(range(256)) * 4, "cut.gz": b"\x1f\x8b\x08", "x.csv": b"id,body\n1,x\n", "y.parquet": b"PAR1"}


def folder(path: Path, files: dict[str, bytes]) -> str:
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return str(path)


def plan(uri: str, **options: object) -> Archive:
    return plan_archive([uri], IngestConfig(**options), InputConfig())


def names(archive: Archive) -> list[str]:
    return [file.uri.rsplit("/", 1)[1] for file in archive.files]


def test_all_that_cannot_be_read_is_named_before_work(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(folder(tmp_path, GOOD | BAD))
    message = str(caught.value)
    assert "4 files cannot be read" in message and "--allow-unreadable" in message and "Nothing was done" in message
    assert all(name in message for name in BAD) and not any(name in message for name in GOOD)


def test_it_goes_on_without_them_when_told_to(tmp_path: Path) -> None:
    found = plan(folder(tmp_path, GOOD | BAD), allow_unreadable=True)
    assert names(found) == sorted(GOOD)
    assert found.unreadable == tuple(sorted(f"{tmp_path}/{name}" for name in BAD))


def test_members_that_cannot_be_read_are_named_and_the_archive_is_kept(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (GOOD | BAD).items():
            archive.writestr(f"2019/{name}", data)
    uri = folder(tmp_path, {"all.zip": out.getvalue()})
    with pytest.raises(InputError, match=r"all.zip/2019/scan.tif"):
        plan(uri)
    found = plan(uri, allow_unreadable=True)
    assert ([file.format for file in found.files], names(found)) == (["zip"], ["all.zip"])
    assert sorted(found.unreadable) == sorted(f"{tmp_path}/all.zip/2019/{name}" for name in BAD)


def test_one_that_cannot_be_read_is_named_with_the_way_on(tmp_path: Path) -> None:
    name = next(iter(BAD))
    with pytest.raises(InputError, match=f"{name}: .*--allow-unreadable"):
        plan(folder(tmp_path, {**GOOD, name: BAD[name]}))


def test_a_link_to_nothing_stops_whatever_is_allowed(tmp_path: Path) -> None:
    root = folder(tmp_path, GOOD)
    (Path(root) / "gone.837").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="gone.837: no such file") as caught:
        plan(root, allow_unreadable=True)
    assert "--allow-unreadable" not in str(caught.value)

    (Path(root) / "other.837").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="2 files cannot be read") as caught:
        plan(root, allow_unreadable=True)
    assert "--allow-unreadable" not in str(caught.value)


def test_a_pipe_in_a_folder_is_what_nobody_can_read(tmp_path: Path) -> None:
    root = folder(tmp_path, GOOD)
    os.mkfifo(Path(root) / "pipe")
    with pytest.raises(InputError, match=r"pipe: not a regular file.*--allow-unreadable"):
        plan(root)
    found = plan(root, allow_unreadable=True)
    assert (names(found), found.unreadable) == (sorted(GOOD), (f"{root}/pipe",))


def test_a_name_that_is_no_utf8_names_its_note(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff.txt")).write_text("Seen.")
    (file,) = plan(str(tmp_path)).files
    with open(file.uri, "rb") as stream:
        (note,) = read_file(SourceFile(file.uri, name_of(file.uri), file.digest, file.size_bytes), stream)
    assert isinstance(note, RawDocument) and note.document_id == r"bad\udcff" and record_digest(note)


def test_a_file_that_two_inputs_name_is_read_once(tmp_path: Path) -> None:
    root = folder(tmp_path, GOOD)
    (tmp_path.parent / f"{tmp_path.name}-link").symlink_to(root)
    aside = f"{tmp_path.parent}/{tmp_path.name}-link"
    found = plan_archive([f"{root}/{next(iter(GOOD))}", root, f"{root}/../{tmp_path.name}", aside], IngestConfig(), InputConfig())
    assert sorted(names(found)) == sorted(GOOD) and found.duplicates == 0


def test_links_are_files_of_their_own_within_one_input_only(tmp_path: Path) -> None:
    other = folder(tmp_path / "other", {"x.txt": b"Seen."})
    root = folder(tmp_path / "in", {"y.txt": b"Seen too."})
    (tmp_path / "in" / "link.txt").symlink_to(f"{other}/x.txt")
    (tmp_path / "in" / "sub").symlink_to(other)
    alone = plan_archive([root], IngestConfig(), InputConfig())
    assert [Path(file.uri).relative_to(root).as_posix() for file in alone.files] == ["link.txt", "sub/x.txt", "y.txt"]
    for first in (f"{root}/link.txt", f"{root}/sub", f"{root}/sub/x.txt", other):
        found = plan_archive([first, root], IngestConfig(), InputConfig())
        assert (len(found.files), found.duplicates) == (2, 0), first
        assert len(plan_archive([root, first], IngestConfig(), InputConfig()).files) == 3, first


def test_what_may_not_be_looked_at_is_a_fault_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(storage.StorageError, match=r"a.837: permission denied"):
        storage.is_regular(f"{tmp_path}/a.837")


def test_the_output_is_no_input(tmp_path: Path) -> None:
    root = folder(tmp_path, GOOD)
    for out in (root, f"{root}/out"):
        with pytest.raises(InputError, match="the output lies in the input"):
            check_apart([root], out)
    check_apart([root], f"{root}-out")


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to read"):
        plan(folder(tmp_path, BAD), allow_unreadable=True)


def test_a_fault_of_the_storage_is_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uri: str) -> str:
        if uri.endswith("c.txt"):
            raise storage.StorageError("permission denied", file=uri)
        return hashlib.sha256(Path(uri).read_bytes()).hexdigest()

    monkeypatch.setattr(storage, "digest", refuse)
    with pytest.raises(storage.StorageError, match=r"c.txt: permission denied"):
        plan(folder(tmp_path, GOOD), allow_unreadable=True)


COPIES = {**GOOD, "copy of a.837": GOOD["a.837"], "z.837": GOOD["a.837"]}


def test_copies_are_kept_counted_and_keyed_apart(tmp_path: Path) -> None:
    found = plan(folder(tmp_path, COPIES))
    assert (names(found), found.duplicates, found.left_out) == (sorted(COPIES), 2, 0)
    assert len({file.key for file in found.files}) == len(COPIES)


def test_the_first_of_copies_alone(tmp_path: Path) -> None:
    found = plan(folder(tmp_path, COPIES), duplicates="first")
    assert (names(found), found.duplicates, found.left_out) == (sorted(GOOD), 2, 2)


def test_copies_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(folder(tmp_path, COPIES), duplicates="refuse")
    assert caught.value.exit_code == 2
    assert "2 files have the content of another" in str(caught.value)
    assert f"{tmp_path}/copy of a.837 is {tmp_path}/a.837" in str(caught.value) and "z.837" in str(caught.value)
    assert plan(folder(tmp_path / "none", GOOD), duplicates="refuse").duplicates == 0


def test_columns_that_the_configuration_names_must_be_there(tmp_path: Path) -> None:
    uri = folder(tmp_path, {"n.csv": b"NOTE_ID,body,MRN\n1,Seen.,p1\n"})
    columns = {"text_column": "body", "id_column": "NOTE_ID"}
    assert plan_archive([uri], IngestConfig(), InputConfig(**columns, patient_id_column="MRN")).files
    with pytest.raises(InputError, match="field ENC"):
        plan_archive([uri], IngestConfig(), InputConfig(**columns, encounter_id_column="ENC"))
