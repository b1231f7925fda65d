"""Files by URI: local paths and whatever fsspec opens (`s3://…`). The one place that creates a file only if it is absent.

Errors name the URI and the remedy, never a content. A full disk, a refused permission, a lost connection is a `StorageError`
(exit 1: the same command, once the cause is mended, resumes); a URI that cannot be right is an `InputError` (exit 2).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from nosology.errors import InputError

_CHUNK_BYTES = 1 << 20


class StorageError(InputError):
    """The storage refused or failed: disk full, no permission, no connection. Nothing that was committed is lost."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.rule, self.file, self.field, self.remedy)


def _rebuild(rule: str, file: str | None, field: str | None, remedy: str | None) -> StorageError:
    return StorageError(rule, file=file, field=field, remedy=remedy)


_REMEDIES = {
    errno.ENOSPC: ("the disk is full", "Free space or choose another folder, then run the same command again; it resumes"),
    errno.EDQUOT: ("the disk quota is used up", "Free space or choose another folder, then run the same command again; it resumes"),
    errno.EACCES: ("permission denied", "Give this user access, or choose another folder"),
    errno.EPERM: ("operation not permitted", "Give this user access, or choose another folder"),
    errno.EROFS: ("the file system is read-only", "Choose a folder that can be written"),
    errno.EMFILE: ("too many open files", "Raise the limit (ulimit -n)"),
    errno.EIO: ("the device reports an input/output error", "Check the disk"),
}


@contextlib.contextmanager
def _errors(uri: str) -> Iterator[None]:
    """Turns an operating system's or a client's error into one that names the URI and the remedy."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("no such file or folder", file=uri, remedy="Check the path") from None
    except IsADirectoryError:
        raise InputError("a folder where a file was expected", file=uri) from None
    except NotADirectoryError:
        raise InputError("a file where a folder was expected", file=uri) from None
    except OSError as error:
        rule, remedy = _REMEDIES.get(error.errno or 0, (f"storage failed ({type(error).__name__}, errno {error.errno})", None))
        raise StorageError(rule, file=uri, remedy=remedy) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec"):
            raise
        remedy = "Check the address, the credentials and the connection, then run the same command again; it resumes"
        raise StorageError(f"storage failed ({type(error).__name__})", file=uri, remedy=remedy) from None


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

    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(uri, use_listings_cache=False))
    except (ValueError, ImportError):
        raise InputError("no driver for this kind of storage", file=uri, remedy="Use a local path or s3://bucket/path") from None


def join(uri: str, *parts: str) -> str:
    """The URI of something below a folder."""
    return "/".join([uri.rstrip("/") if uri != "/" else "", *(part.strip("/") for part in parts)])


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    with _errors(uri):
        if is_local(uri):
            return local_path(uri).exists()
        filesystem, path = _remote(uri)
        return bool(filesystem.exists(path))


def is_folder(uri: str) -> bool:
    """Whether a folder is there (on S3: whether anything lies below)."""
    with _errors(uri):
        if is_local(uri):
            return local_path(uri).is_dir()
        filesystem, path = _remote(uri)
        return bool(filesystem.isdir(path))


def make_folder(uri: str) -> None:
    """Makes a folder and those above it; nothing to do on object stores."""
    if is_local(uri):
        with _errors(uri):
            local_path(uri).mkdir(parents=True, exist_ok=True)


def size(uri: str) -> int:
    """Bytes of a file."""
    with _errors(uri):
        if is_local(uri):
            return local_path(uri).stat().st_size
        filesystem, path = _remote(uri)
        return int(filesystem.size(path))


def list_files(uri: str, *, hidden: bool = False) -> list[str]:
    """URIs of all files below a folder, at any depth, sorted.

    Args:
        hidden: those whose name begins with a dot too.

    Raises:
        InputError: there is no such folder.
    """
    with _errors(uri):
        if is_local(uri):
            root = local_path(uri)
            if not root.is_dir():
                raise FileNotFoundError(uri)
            found = []
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if not name.startswith(".")]
                found += [os.path.join(folder, name) for name in names if hidden or not name.startswith(".")]
            return sorted(found)
        filesystem, path = _remote(uri)
        paths = (found for found in filesystem.find(path) if hidden or not os.path.basename(found).startswith("."))
        return sorted(str(filesystem.unstrip_protocol(found)) for found in paths)


def open_input(uri: str) -> BinaryIO:
    """A readable, seekable binary stream; the caller closes it."""
    with _errors(uri):
        if is_local(uri):
            return open(local_path(uri), "rb")  # noqa: SIM115 - the caller closes it
        filesystem, path = _remote(uri)
        return cast("BinaryIO", filesystem.open(path, "rb"))


def read_bytes(uri: str) -> bytes:
    """The content of a file."""
    with open_input(uri) as stream, _errors(uri):
        return stream.read()


def read_many(uris: Sequence[str]) -> list[bytes]:
    """The contents of some files, in their order; from an object store at the same time.

    Raises:
        InputError: one is missing.
    """
    if not uris or is_local(uris[0]):
        return [read_bytes(uri) for uri in uris]
    with _errors(uris[0]):
        filesystem, _ = _remote(uris[0])
        paths = [_remote(uri)[1] for uri in uris]
        found = filesystem.cat(paths, on_error="return")
    contents = []
    for uri, path in zip(uris, paths, strict=True):
        with _errors(uri):
            held = found[path] if isinstance(found, dict) else found
            if isinstance(held, Exception):
                raise held
            contents.append(held)
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


def write_bytes(uri: str, data: bytes) -> None:
    """Writes a file whole: a reader sees the old content or the new, never a part."""
    with _errors(uri):
        if is_local(uri):
            path = local_path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(path, data) as temporary:
                os.replace(temporary, path)
            _sync_folder(path.parent)
            return
        filesystem, path_in_store = _remote(uri)
        filesystem.pipe_file(path_in_store, data)


def write_json(uri: str, value: Any) -> None:
    """Writes a JSON file whole (see `write_bytes`)."""
    write_bytes(uri, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def create_if_absent(uri: str, data: bytes) -> bool:
    """Creates a file with this content unless it is there already; whole or not at all, and on disk when it returns.

    Local: a temporary file in the same folder, fsync, link, fsync of the folder. Elsewhere: a conditional put (S3:
    `If-None-Match: *`). A put whose answer was lost is tried again by the client and then finds its own object, so there a
    file that holds exactly `data` counts as created: put a nonce into `data` where it matters who won.

    Returns:
        False if the file was there already (with other content, where the backend is remote).

    Raises:
        InputError: the file system cannot create a file only if it is absent.
        StorageError: the disk is full, permission is denied and the like.
    """
    with _errors(uri):
        if is_local(uri):
            path = local_path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with _temporary(path, data) as temporary:
                    os.link(temporary, path)
            except FileExistsError:
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
            filesystem.pipe_file(path_in_store, data, mode="create")
        except OSError as error:
            # EINVAL is how s3fs words a 412 from servers that leave out which condition failed
            if not isinstance(error, FileExistsError) and error.errno != errno.EINVAL:
                raise
            return bool(filesystem.cat_file(path_in_store) == data)
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
    with _errors(uri), contextlib.suppress(FileNotFoundError):
        if is_local(uri):
            local_path(uri).unlink(missing_ok=True)
        else:
            filesystem, path = _remote(uri)
            filesystem.rm_file(path)


def remove_folder(uri: str) -> None:
    """Removes a folder and all below it; one that is not there is no error."""
    with _errors(uri), contextlib.suppress(FileNotFoundError):
        if is_local(uri):
            shutil.rmtree(local_path(uri))
        else:
            filesystem, path = _remote(uri)
            filesystem.rm(path, recursive=True)


def digest(uri: str) -> str:
    """SHA-256 of a file's bytes as they lie there, hexadecimal; read in pieces."""
    with open_input(uri) as stream, _errors(uri):
        state = hashlib.sha256()
        while piece := stream.read(_CHUNK_BYTES):
            state.update(piece)
        return state.hexdigest()


class _Digesting(io.RawIOBase):
    """Reads through a stream and digests what goes by, as long as it is read in order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._state, self._digested = stream, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        place = self._stream.tell()
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        if place <= self._digested < place + len(data):  # the part of it that is new
            self._state.update(data[self._digested - place :])
            self._digested = place + len(data)
        return len(data)

    def digest(self) -> str:
        """SHA-256 of the whole; what was not read in order is read now."""
        self._stream.seek(self._digested)
        while piece := self._stream.read(_CHUNK_BYTES):
            self._state.update(piece)
            self._digested += len(piece)
        return self._state.hexdigest()


@contextlib.contextmanager
def open_checked(uri: str, expected: str) -> Iterator[BinaryIO]:
    """A readable, seekable binary stream of a file whose SHA-256 is known; checked when the reader is done.

    Raises:
        InputError: the file is not what it was when the run began.
    """
    with open_input(uri) as stored:
        digesting = _Digesting(stored)
        yield cast("BinaryIO", io.BufferedReader(digesting, _CHUNK_BYTES))
        with _errors(uri):
            found = digesting.digest()
    if found != expected:
        raise InputError("the file changed during the run", file=uri, remedy="Run again into a new folder")


def object_store_options(uri: str) -> dict[str, str] | None:
    """What a client that does not go through fsspec needs to reach the same storage: endpoint and credentials as s3fs takes them from
    its configuration and the environment; None for a local path."""
    if is_local(uri):
        return None
    import fsspec.config

    held = dict(fsspec.config.conf.get("s3", {}))
    client = held.get("client_kwargs", {})
    named = {
        "AWS_ENDPOINT_URL": held.get("endpoint_url") or client.get("endpoint_url"),
        "AWS_ACCESS_KEY_ID": held.get("key"),
        "AWS_SECRET_ACCESS_KEY": held.get("secret"),
        "AWS_SESSION_TOKEN": held.get("token"),
        "AWS_REGION": client.get("region_name"),
    }
    found = {name: value or os.environ.get(name) for name, value in named.items()}
    options = {name: value for name, value in found.items() if value}
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def version(uri: str) -> str:
    """What changes when a file is written anew: size and time of change, on an object store its ETag."""
    with _errors(uri):
        if is_local(uri):
            found = local_path(uri).stat()
            return f"{found.st_size} {found.st_mtime_ns}"
        filesystem, path = _remote(uri)
        about = filesystem.info(path)
        return f"{about.get('size')} {about.get('ETag') or about.get('etag') or about.get('mtime')}"


def modified(uri: str) -> float:
    """When a file was written, in seconds since 1970."""
    with _errors(uri):
        if is_local(uri):
            return local_path(uri).stat().st_mtime
        filesystem, path = _remote(uri)
        return float(filesystem.modified(path).timestamp())


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A hidden file beside `path` with this content, on disk; gone afterwards."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
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
