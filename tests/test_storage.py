"""Storage: create-if-absent under competition, whole writes, errors that name the URI and the remedy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from nosology import storage
from nosology.errors import InputError


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path / "store")
    else:
        uri = "memory://store-" + tmp_path.name
        yield uri
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(uri, recursive=True)


def test_create_if_absent_keeps_the_first(folder):
    uri = storage.join(folder, "a", "one.json")
    assert storage.create_if_absent(uri, b"first")
    assert not storage.create_if_absent(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    assert storage.list_files(folder) == [uri if storage.is_local(folder) else uri.replace("memory://", "memory:///")]


def test_one_of_many_wins(tmp_path):
    uri = str(tmp_path / "epoch-1.json")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: storage.create_if_absent(uri, b"%d" % n), range(64)))
    assert sum(won) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)
    assert os.listdir(tmp_path) == ["epoch-1.json"]  # no temporary file is left


def test_json_digest_remove(folder):
    uri = storage.join(folder, "x.json")
    assert not storage.exists(uri)
    storage.write_json(uri, {"n": 1})
    storage.write_json(uri, {"n": 2})
    assert storage.read_json(uri) == {"n": 2}
    data = storage.read_bytes(uri)
    assert storage.digest(uri) == hashlib.sha256(data).hexdigest()
    assert storage.size(uri) == len(data)
    storage.remove(uri)
    storage.remove(uri)
    assert not storage.exists(uri)


def test_what_begins_with_a_dot_is_passed_over(folder):
    """One rule for every storage: a folder with a dot never, a file with one where it is asked for; what is asked for itself always."""
    names = ["a/b.json", ".x/c.json", "a/.y/z/d.json", ".e.json", "a/.f.json", "g.h/i.json"]
    root = storage.join(folder, ".root")
    for name in names:
        storage.write_bytes(storage.join(root, *name.split("/")), b"1")
    for uri in (root, root + "/"):
        listed = [found.rpartition(".root/")[2] for found in storage.list_files(uri)]
        assert listed == ["a/b.json", "g.h/i.json"]
        listed = [found.rpartition(".root/")[2] for found in storage.list_files(uri, hidden=True)]
        assert listed == [".e.json", "a/.f.json", "a/b.json", "g.h/i.json"]


def test_probe_accepts_conditional_storage_and_leaves_nothing(folder):
    storage.probe(folder)
    assert not storage.exists(folder) or storage.list_files(folder) == []


def test_probe_refuses_storage_without_conditions(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    def overwrite(self, path, value, mode="overwrite", **options):
        self.open(path, mode="wb", data=value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", overwrite)
    with pytest.raises(InputError, match="conditional"):
        storage.probe("memory://careless")


def test_412_without_condition_counts_as_present(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    storage.create_if_absent("memory://m412/x", b"first")

    def refuse(self, path, value, mode="overwrite", **options):
        raise OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    assert not storage.create_if_absent("memory://m412/x", b"second")
    assert storage.create_if_absent("memory://m412/x", b"first")  # an answer was lost, the put was repeated: ours


def test_full_disk_names_file_and_remedy_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    uri = str(tmp_path / "part.parquet")
    with pytest.raises(storage.StorageError, match="part.parquet.*disk is full.*Free space") as caught:
        storage.create_if_absent(uri, b"x" * 100)
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), storage.StorageError)


def test_a_link_that_was_sent_again_and_found_itself_counts(tmp_path, monkeypatch):
    """NFS: the answer to the first LINK was lost."""
    link = os.link

    def twice(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "sent again")

    monkeypatch.setattr(os, "link", twice)
    uri = str(tmp_path / "a")
    assert storage.create_if_absent(uri, b"one") and storage.read_bytes(uri) == b"one"
    monkeypatch.undo()
    assert not storage.create_if_absent(uri, b"one") and not list(tmp_path.glob(".*"))


def test_file_system_without_links_is_refused(tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(InputError, match="hard links"):
        storage.create_if_absent(str(tmp_path / "x"), b"x")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: storage.read_bytes(f"{d}/none.json"), "no such file"),
        (lambda d: storage.list_files(f"{d}/none"), "no such file"),
        (lambda d: storage.read_bytes(d), "folder where a file"),
        (lambda d: storage.read_bytes("nonsense://x/y"), "no driver"),
    ],
)
def test_errors_name_the_uri(tmp_path, call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(str(tmp_path))
    assert caught.value.file is not None


def test_broken_json_is_an_error_without_its_text(tmp_path):
    (tmp_path / "x.json").write_text('{"name": "Zebulon')
    with pytest.raises(InputError) as caught:
        storage.read_json(str(tmp_path / "x.json"))
    assert "Zebulon" not in str(caught.value) and caught.value.__suppress_context__


def test_join():
    assert storage.join("/", "a", "b") == "/a/b"
    assert storage.join("s3://bucket/", "/a/", "b.json") == "s3://bucket/a/b.json"


def test_links_are_followed_and_none_leads_round(tmp_path):
    for name in ("a/b", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a/one", "a/b/two", "elsewhere/deep/three"):
        (tmp_path / name).write_text("x")
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "month").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "file").symlink_to(tmp_path / "elsewhere" / "deep" / "three")
    found = [path.removeprefix(f"{tmp_path}/a/") for path in storage.list_files(str(tmp_path / "a"))]
    assert found == ["b/two", "file", "month/deep/three", "one"]


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(storage.StorageError, match="locked: permission denied"):
        storage.list_files(str(tmp_path))


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "p.837")
    for call in (storage.open_input, storage.digest, storage.read_bytes):
        with pytest.raises(InputError, match="p.837: not a regular file"):
            call(str(tmp_path / "p.837"))


@pytest.mark.parametrize("write", [storage.write_bytes, storage.create_if_absent])
def test_a_private_file_is_its_owners_from_its_first_byte(write, tmp_path, monkeypatch):
    modes = []
    descriptors = os.fdopen
    monkeypatch.setattr(storage.os, "fdopen", lambda n, *how: modes.append(stat.S_IMODE(os.fstat(n).st_mode)) or descriptors(n, *how))
    (tmp_path / "folder").mkdir(mode=0o755)
    for name, private in (("own", True), ("open", False)):
        write(str(tmp_path / "folder" / name), b"x", private=private)
    assert modes[0] == 0o600 != modes[1]
    assert (
        stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700 and stat.S_IMODE((tmp_path / "folder" / "own").stat().st_mode) == 0o600
    )


def test_a_digest_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    first = storage.digest_once(str(file))
    read = []
    monkeypatch.setattr(storage, "digest", lambda uri: read.append(uri) or "again")
    assert storage.digest_once(str(file)) == first and not read
    file.write_bytes(b"other")
    assert storage.digest_once(str(file)) == "again" and read == [str(file)]
