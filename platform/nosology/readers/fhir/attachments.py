"""Where the text of an attachment is: in the resource, in a Binary, in a file beside. Nothing is fetched from a server."""

from __future__ import annotations

import binascii
import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from nosology import storage
from nosology.errors import InputError, RecordError
from nosology.readers.document import CDA, PLAIN, to_text
from nosology.readers.fhir.elements import Resource, Scope, one_object, string, wrong
from nosology.readers.prose import Prose
from nosology.readers.source import DAMAGED, Expanded, open_source

_BINARY = re.compile(r"(?:^|/)Binary/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?$", re.ASCII)
_PATH = re.compile(r"[^:\\\0-\x1f\x7f?#]{1,1000}")  # no scheme, no drive, no chain of file systems (`::`), no query
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*", re.ASCII)
ELSEWHERE = (
    "text in the resource, in a Binary of the same Bundle or within twice ingest.max_document_bytes of it in the same file, or in a "
    "file at a relative URL below the folder of this one (of a zip archive: in the same archive); put it there and ingest again"
)
CUT = "a compressed file that is whole"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and, when it was not in the resource, the file that it was in, as the resource names it, and that file's SHA-256."""

    prose: Prose
    file: str | None = None
    digest: str | None = None


def note(attachments: list[Resource], scope: Scope, name: str) -> Note:
    """The text of the first attachment that has some: they are forms of one document. Plain text comes before other forms, and what lies in
    the resource before what it refers to.

    Args:
        name: of the element that holds the attachments.

    Raises:
        RecordError: of the first one, when none can be read.
    """
    if not attachments:
        raise RecordError("empty_note", name, "an attachment")
    if len(attachments) == 1:
        return _note(attachments[0], scope, name)
    fault: RecordError | None = None
    for attachment in sorted(attachments, key=_rank):
        try:
            return _note(attachment, scope, name)
        except RecordError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def _rank(attachment: Resource) -> tuple[bool, bool]:
    return "data" not in attachment, not str(attachment.get("contentType") or PLAIN).lower().startswith("text/plain")


def _note(attachment: Resource, scope: Scope, name: str) -> Note:
    kind = string(attachment.get("contentType"), f"{name}.contentType")
    if "data" in attachment:
        return Note(_inside(attachment["data"], kind, name))
    url = string(attachment.get("url"), f"{name}.url")
    if url is None:
        raise RecordError("empty_note", f"{name}.data", "data or a URL")
    found = _BINARY.search(url) or re.fullmatch(r"(?:urn:uuid:|#)([A-Za-z0-9.-]{1,64})", url)
    if found and (binary := scope.binary(found[1])) is not None:
        return Note(_of_binary(binary, kind, name))
    try:
        content, digest = scope.beside(url, f"{name}.url")
    except RecordError:
        if not found or ":" in url or url.startswith("#"):
            raise
        content, digest = scope.beside(url + ".json", f"{name}.url")
    if content.lstrip()[:1] == b"{" and b'"Binary"' in content[:4096]:
        try:
            binary = one_object(orjson.loads(content), f"{name}.url")
        except orjson.JSONDecodeError:
            raise RecordError("bad_json", f"{name}.url", "a Binary in JSON") from None
        return Note(_of_binary(binary, kind, name), url, digest)
    return Note(to_text(content, kind, field=f"{name}.contentType"), url, digest)


def _of_binary(binary: Resource, kind: str | None, name: str) -> Prose:
    """The content of a Binary: `data`, in STU3 `content`."""
    told = string(binary.get("contentType"), "Binary.contentType")
    return _inside(binary.get("data", binary.get("content")), told or kind, name)


def _inside(data: Any, kind: str | None, name: str) -> Prose:
    """`data` is Base64 by the standard; some servers put the text itself there. Characters that Base64 lacks tell it."""
    if not isinstance(data, str):
        raise wrong(f"{name}.data", "a string")
    try:
        content = binascii.a2b_base64(data.translate(_BREAKS) if "\n" in data or "\r" in data else data, strict_mode=True)
    except ValueError:
        if _BASE64.fullmatch(data) and " " not in data.strip():
            raise RecordError("bad_base64", f"{name}.data", "Base64 that is whole") from None
        if kind and kind.lower().startswith(("application/pdf", "image/")):
            raise RecordError("bad_base64", f"{name}.data", "Base64") from None
        try:
            prose = to_text(data.encode(), kind if kind and "html" in kind else CDA if data.lstrip().startswith("<?xml") else PLAIN)
        except UnicodeEncodeError:
            raise RecordError("invalid_utf8", f"{name}.data", "Unicode text") from None
        return prose
    try:
        return to_text(content, kind, field=f"{name}.contentType")
    except RecordError as error:
        if error.reason.code == "invalid_utf8":
            raise RecordError("invalid_utf8", f"{name}.data", error.reason.rule) from None
        raise


_BREAKS = {10: None, 13: None}


def _is_file(path: str) -> bool:
    """Whether a regular file is there. Raises OSError where the system does not tell, which os.path.isfile takes for no."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return False
        raise


class Folder:
    """The folder of the input file, and what lies below it; of a member of a zip archive, its folder in the archive."""

    def __init__(self, uri: str, limit: int, member: Callable[[str, int], bytes | None] | None = None) -> None:
        self._uri, self._limit, self._member = uri, limit, member

    def read(self, url: str, name: str) -> tuple[bytes, str]:
        """Content (uncompressed) and SHA-256 (as it lies there; of a member of an archive, as it was packed) of a file by relative URL.

        Raises:
            RecordError: `note_elsewhere` for a URL of a server, a path that leaves the folder, a file that is not there;
                `note_too_large`; `truncated_file` for a compressed file that breaks off.
            StorageError: the storage failed; another try may succeed.
            Expanded: an archive whose members refer to each other until they hold more than may be.
        """
        parts = [part for part in unquote(url).split("/") if part != "."]
        if not _PATH.fullmatch(url) or not _PATH.fullmatch(unquote(url)) or not parts or any(part in ("", "..") for part in parts):
            raise RecordError("note_elsewhere", name, ELSEWHERE)
        try:
            stored = self._stored(parts) if self._member is None else self._member("/".join(parts), self._limit)
        except Expanded:
            raise
        except storage.StorageError as error:  # it names what the record names: told is where the record lies
            raise storage.StorageError(error.rule, file=self._uri, field=name, remedy=error.remedy) from None
        except DAMAGED:
            raise RecordError("truncated_file", name, CUT) from None
        if stored is None:
            raise RecordError("note_elsewhere", name, ELSEWHERE)
        if len(stored) > self._limit:
            raise RecordError("note_too_large", name, "a file within twice ingest.max_document_bytes")
        return self._content(stored, name), hashlib.sha256(stored).hexdigest()

    def _stored(self, parts: list[str]) -> bytes | None:
        """What lies in the storage, as far as it may be read."""
        folder = self._uri.rpartition("/")[0]
        uri = storage.join(folder, *parts) if folder or self._uri.startswith("/") else "/".join(parts)
        try:
            with storage.named_errors(uri):
                if storage.is_local(uri):
                    path, root = os.path.realpath(storage.local_path(uri)), os.path.realpath(storage.local_path(folder or "."))
                    if os.path.commonpath((path, root)) != root or not _is_file(path):  # a link out of the folder; a device, a pipe
                        return None
                with storage.open_input(uri) as stream:
                    return stream.read(self._limit + 1)
        except storage.StorageError:
            raise
        except (InputError, ValueError):
            return None

    def _content(self, stored: bytes, name: str) -> bytes:
        held: list[bytes] = []
        size = 0
        content = open_source(io.BytesIO(stored))
        try:
            while part := content.read1(1 << 16):
                held.append(part)
                size += len(part)
                if size > self._limit:
                    raise RecordError("note_too_large", name, "a file within twice ingest.max_document_bytes")
        except DAMAGED:
            raise RecordError("truncated_file", name, CUT) from None
        return b"".join(held)
