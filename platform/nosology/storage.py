"""Files by URI: local paths and whatever fsspec opens (`s3://…`). The one place that creates a file only if it is absent.

Errors name the URI and the remedy, never a content. A full disk, a refused permission, a lost connection is a `StorageError`
(exit 1: the same command, once the cause is mended, resumes); a URI that cannot be right is an `InputError` (exit 2).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from nosology.errors import InputError
from nosology.retries import patiently
from nosology.storage_errors import UNWRITABLE as UNWRITABLE
from nosology.storage_errors import StorageError as StorageError
from nosology.storage_errors import named_errors as named_errors
from nosology.streams import block, named

_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_T = TypeVar("_T")
_client_config: ContextVar[dict[str, Any] | None] = ContextVar("_client_config", default=None)  # of botocore


def _patiently(call: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
    return patiently(1 if _client_config.get() else _ATTEMPTS, call, *arguments, **options)


@contextlib.contextmanager
def impatient(seconds: float) -> Iterator[None]:
    """Within, a remote storage that does not answer is given up after about this long, without further attempts: for probes."""
    config = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"max_attempts": 0}}
    token = _client_config.set(config)
    try:
        yield
    finally:
        _client_config.reset(token)


def is_local(uri: str) -> bool:
    """Whether the URI is a path of this machine's file system."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of a local URI."""
    if not is_local(uri):
        raise InputError("a local path is needed here", file=uri)
    return Path(uri.removeprefix("file://"))


def _remote(uri: str) -> tuple[Any, str]:
    """fsspec's file system and path of a URI that is not local.

    Raises:
        InputError: no such kind of storage is known, or its driver is not installed.
    """
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    config = _client_config.get()
    if config and uri.split("://")[0] in ("s3", "s3a"):
        options["config_kwargs"] = config
    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(uri, **options))
    except (ValueError, ImportError):
        raise InputError("no driver for this kind of storage", file=uri, remedy="Use a local path or s3://bucket/path") from None


def join(uri: str, *parts: str) -> str:
    """The URI of something below a folder."""
    return "/".join([uri.rstrip("/") if uri != "/" else "", *(part.strip("/") for part in parts)])


def absolute(uri: str) -> str:
    """The URI as it holds in any working directory."""
    return str(local_path(uri).absolute()) if is_local(uri) else uri


def resolved(uri: str) -> str:
    """One spelling for all of a place: of a local path, without links and `..`; elsewhere as a listing gives it."""
    if is_local(uri):
        return os.path.realpath(local_path(uri))
    filesystem, path = _remote(uri)
    return str(filesystem.unstrip_protocol(path))


def is_regular(uri: str) -> bool:
    """Whether what a listing names can be a file: no pipe, socket or device. A link to nothing can, of a disk that is not mounted."""
    with named_errors(uri):
        return not is_local(uri) or (place := local_path(uri)).is_file() or not place.exists()


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    with named_errors(uri):
        if is_local(uri):
            return local_path(uri).exists()
        filesystem, path = _remote(uri)
        return bool(_patiently(filesystem.exists, path))


def is_folder(uri: str) -> bool:
    """Whether a folder is there (on S3: whether anything lies below)."""
    with named_errors(uri):
        if is_local(uri):
            return local_path(uri).is_dir()
        filesystem, path = _remote(uri)
        return bool(_patiently(filesystem.isdir, path))


def make_folder(uri: str) -> None:
    """Makes a folder and those above it; nothing to do on object stores."""
    if is_local(uri):
        with named_errors(uri):
            local_path(uri).mkdir(parents=True, exist_ok=True)


def size(uri: str) -> int:
    """Bytes of a file."""
    with named_errors(uri):
        if is_local(uri):
            return local_path(uri).stat().st_size
        filesystem, path = _remote(uri)
        return int(_patiently(filesystem.size, path))


def list_files(uri: str, *, hidden: bool = False) -> list[str]:
    """URIs of all files below a folder, at any depth, sorted; none in a folder whose name begins with a dot, on any storage. Links are
    followed, one that leads back to a folder above it is not.

    Args:
        hidden: those whose own name begins with a dot too.

    Raises:
        InputError: there is no such folder.
        StorageError: a folder below it may not be read.
    """
    with named_errors(uri):
        if is_local(uri):
            root = local_path(uri)
            if not root.is_dir():
                raise FileNotFoundError(uri)
            return sorted(_walk(root, hidden, frozenset()))
        filesystem, path = _remote(uri)
        paths = (found for found in _patiently(filesystem.find, path) if _is_listed(found.removeprefix(path).strip("/"), hidden))
        return sorted(str(filesystem.unstrip_protocol(found)) for found in paths)


def _walk(folder: Path, hidden: bool, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    with named_errors(str(folder)):
        held = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    within = above | {(held.st_dev, held.st_ino)}
    for entry in entries:
        if entry.is_dir():
            if not entry.name.startswith("."):
                linked = entry.stat()
                if (linked.st_dev, linked.st_ino) not in within:
                    yield from _walk(Path(entry.path), hidden, within)
        elif hidden or not entry.name.startswith("."):
            yield entry.path


def _is_listed(below: str, hidden: bool) -> bool:
    """Whether a file is among those of a folder, by its path below it."""
    *folders, name = below.split("/")
    return (hidden or not name.startswith(".")) and not any(folder.startswith(".") for folder in folders)


def open_input(uri: str) -> BinaryIO:
    """A readable, seekable binary stream, which raises `StorageError` too; the caller closes it.

    Raises:
        InputError: there is none, or it is a pipe, a socket or a device, which cannot be read twice.
    """
    with named_errors(uri):
        if is_local(uri):
            place = local_path(uri)
            if place.exists() and not place.is_file() and not place.is_dir():
                raise InputError("not a regular file", file=uri, remedy="Copy what it gives into a file, or take it out")
            return named(open(place, "rb", buffering=0), uri)
        filesystem, path = _remote(uri)
        stream = _patiently(filesystem.open, path, "rb")
        if cache := getattr(stream, "cache", None):  # what it reads comes through this, a block at a time
            cache.fetcher = functools.partial(_patiently, block, cache.fetcher, stream.size)
        return named(stream, uri)


def read_bytes(uri: str) -> bytes:
    """The content of a file."""
    if not is_local(uri):
        return read_many([uri])[0]
    with open_input(uri) as stream, named_errors(uri):
        return stream.read()


def read_many(uris: Sequence[str]) -> list[bytes]:
    """The contents of some files, in their order; from an object store at the same time.

    Raises:
        InputError: one is missing.
    """
    if not uris or is_local(uris[0]):
        return [read_bytes(uri) for uri in uris]
    with named_errors(uris[0]):
        filesystem, _ = _remote(uris[0])
        paths = [_remote(uri)[1] for uri in uris]
        found = filesystem.cat(paths, on_error="return", max_concurrency=1)  # one answer, one checksum for an object
    contents: list[bytes] = []
    for uri, path in zip(uris, paths, strict=True):
        held = found.get(path) if isinstance(found, dict) else found
        with named_errors(uri):
            contents.append(held if isinstance(held, bytes) else _patiently(filesystem.cat_file, path, max_concurrency=1))
    return contents


def read_json(uri: str) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    return parse_json(read_bytes(uri), uri)


def parse_json(data: bytes, uri: str) -> Any:
    """The value of a JSON file's content.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(data)
    except ValueError:
        raise InputError("not valid JSON", file=uri, remedy="The file is damaged or was not written by this program") from None


def write_bytes(uri: str, data: bytes, *, private: bool = False) -> None:
    """Writes a file whole: a reader sees the old content or the new, never a part.

    Args:
        private: its owner alone can read it (0600), in a folder of mode 0700; of an object store the bucket's rules hold.
    """
    with named_errors(uri):
        if is_local(uri):
            path = local_path(uri)
            if _is_stream(path):
                path.write_bytes(data)
                return
            _make_parent(path, private)
            with _temporary(path, data, private) as temporary:
                os.replace(temporary, path)
            _sync_folder(path.parent)
            return
        filesystem, path_in_store = _remote(uri)
        try:
            _patiently(filesystem.pipe_file, path_in_store, data)
        except FileNotFoundError:
            raise _no_bucket(uri) from None


@contextlib.contextmanager
def open_output(uri: str) -> Iterator[BinaryIO]:
    """A binary stream whose file appears, whole, when the block ends without an exception."""
    with named_errors(uri):
        if not is_local(uri):
            filesystem, path_in_store = _remote(uri)
            with filesystem.transaction, filesystem.open(path_in_store, "wb") as stream:
                yield stream
            return
        path = local_path(uri)
        if _is_stream(path):
            with open(path, "wb") as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path, b"") as temporary:
            with open(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        _sync_folder(path.parent)


def write_json(uri: str, value: Any) -> None:
    """Writes a JSON file whole (see `write_bytes`)."""
    write_bytes(uri, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def create_if_absent(uri: str, data: bytes, *, private: bool = False) -> bool:
    """Creates a file with this content unless it is there already; whole or not at all, and on disk when it returns.

    Local: a temporary file in the same folder, fsync, link, fsync of the folder. Elsewhere: a conditional put (S3:
    `If-None-Match: *`). A put whose answer was lost is tried again by the client and then finds its own object, so there a
    file that holds exactly `data` counts as created: put a nonce into `data` where it matters who won. `private` as in `write_bytes`.

    Returns:
        False if the file was there already (with other content, where the backend is remote).

    Raises:
        InputError: the file system cannot create a file only if it is absent.
        StorageError: the disk is full, permission is denied and the like.
    """
    with named_errors(uri):
        if is_local(uri):
            path = local_path(uri)
            _make_parent(path, private)
            try:
                with _temporary(path, data, private) as temporary:
                    try:
                        os.link(temporary, path)
                    except FileExistsError:
                        if not os.path.samefile(temporary, path):  # NFS sends a LINK whose answer was lost again, and finds its own
                            return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK):
                    raise
                raise InputError(
                    "this file system has no hard links, so two runs could write over each other", file=uri,
                    remedy="Put the output on a local disk, NFS or S3") from None  # fmt: skip
            _sync_folder(path.parent)
            return True
        filesystem, path_in_store = _remote(uri)
        try:
            _patiently(filesystem.pipe_file, path_in_store, data, mode="create")
        except FileNotFoundError:
            raise _no_bucket(uri) from None
        except OSError as error:
            # EINVAL is how s3fs words a 412 from servers that leave out which condition failed
            if not isinstance(error, FileExistsError) and error.errno != errno.EINVAL:
                raise
            return read_bytes(uri) == data
        return True


def probe(folder: str) -> None:
    """Proves that the storage creates a file only if it is absent, by doing so twice.

    Raises:
        InputError: the second file replaced the first.
    """
    if is_local(folder):  # create_if_absent itself refuses a file system without links
        make_folder(folder)
        return
    uri = join(folder, f"probe-{uuid.uuid4().hex}")
    try:
        first, second = create_if_absent(uri, b"first"), create_if_absent(uri, b"second")
        held = read_bytes(uri)
    finally:
        remove(uri)
    if not first or second or held != b"first":
        raise InputError(
            "this storage does not honour conditional writes (If-None-Match), so two runs could write over each other", file=folder,
            remedy="Use a local disk, AWS S3, or an S3 server with conditional puts")  # fmt: skip


def remove(uri: str) -> None:
    """Removes a file; one that is not there is no error."""
    with named_errors(uri), contextlib.suppress(FileNotFoundError):
        if is_local(uri):
            local_path(uri).unlink(missing_ok=True)
        else:
            filesystem, path = _remote(uri)
            _patiently(filesystem.rm_file, path)


def digest(uri: str) -> str:
    """SHA-256 of a file's bytes as they lie there, hexadecimal; read in pieces."""
    with open_input(uri) as stream, named_errors(uri):
        state = hashlib.sha256()
        while piece := stream.read(_CHUNK_BYTES):
            state.update(piece)
        return state.hexdigest()


def digest_once(uri: str) -> str:
    """`digest`, remembered in this process as long as `version` stays: for weights of a base, which several steps of a verb name."""
    return _digest_of(uri, version(uri))


@functools.lru_cache(maxsize=4096)
def _digest_of(uri: str, version: str) -> str:
    return digest(uri)


def version(uri: str) -> str:
    """What changes when a file is written anew: size and time of change, on an object store its ETag."""
    with named_errors(uri):
        if is_local(uri):
            found = local_path(uri).stat()
            return f"{found.st_size} {found.st_mtime_ns}"
        filesystem, path = _remote(uri)
        about = _patiently(filesystem.info, path)
        return f"{about.get('size')} {about.get('ETag') or about.get('etag') or about.get('mtime')}"


def modified(uri: str) -> float:
    """When a file was written, in seconds since 1970."""
    with named_errors(uri):
        if is_local(uri):
            return local_path(uri).stat().st_mtime
        filesystem, path = _remote(uri)
        return float(_patiently(filesystem.modified, path).timestamp())


def _no_bucket(uri: str) -> InputError:
    """An object store makes what lies above a file, except the bucket."""
    return InputError("there is no such bucket", file=uri, remedy="Make the bucket first, or check its name")


def _is_stream(path: Path) -> bool:
    """Whether a local path is a pipe, a terminal or the like (`/dev/stdout`), which must be written to and not replaced."""
    if path.is_symlink() and os.readlink(path).startswith("/proc/"):
        return True
    return path.exists() and not path.is_file()


def _make_parent(path: Path, private: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if private:
        path.parent.chmod(0o700)


@contextlib.contextmanager
def _temporary(path: Path, data: bytes, private: bool = False) -> Iterator[Path]:
    """A hidden file beside `path` with this content, on disk; gone afterwards."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
