"""Documents of every kind to text: plain text, RTF, HTML and XHTML, C-CDA; where they come in by themselves, and as attachments.

    prose = to_text(data, "text/rtf")              # Prose(text, media_type, origin)
    prose.locate(10, 18)                           # bytes of `data` that text[10:18] was taken from

The kind is told by content first, as with files: what is called text/plain and begins as RTF does is RTF.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from functools import partial

from nosology.errors import RecordError
from nosology.readers import values
from nosology.readers.markup import ClinicalHeader, cda_text, html_text
from nosology.readers.prose import Prose, decoded, mark_bytes
from nosology.readers.rtf import is_rtf, rtf_text
from nosology.readers.source import Job, Unit, record_bytes
from nosology.readers.text import TOO_LARGE, note_id
from nosology.records import RawDocument

PLAIN, RTF, HTML, CDA = "text/plain", "text/rtf", "text/html", "application/cda+xml"
KINDS = "text/plain or another text type, RTF, HTML, XHTML or C-CDA"

_HEAD_BYTES = 1 << 14
_PROLOG = r"\s*(?:<\?[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE(?!\s+html)[^>]*>\s*)*+"
_CDA = re.compile(_PROLOG + r"<(?:[\w.-]{1,40}:)?ClinicalDocument[\s>/]", re.DOTALL | re.IGNORECASE)
_PAGE = re.compile(
    _PROLOG + r"<(?:!DOCTYPE\s+html|(?:xhtml:)?(?:html|head|body|div|p|table|h[1-6]|pre|ul|ol|meta|span)\b[^<]*>)",
    re.DOTALL | re.IGNORECASE,
)
_XML = re.compile(r"\s*<\?xml\s", re.IGNORECASE)
_XML_CHARSET = re.compile(rb"""\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]{1,40})["']""", re.ASCII)
_PAGE_CHARSET = re.compile(rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.ASCII | re.IGNORECASE)
_NAMED_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s\";]{1,40})", re.IGNORECASE)
_RTF_TYPES = ("text/rtf", "application/rtf", "text/richtext", "application/x-rtf")
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_FIRST = (b"{", b"<", b"\xff", b"\xfe", b"")  # of RTF, of markup, of markup in UTF-16; nothing but white space yet
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b"))


def kind_of(data: bytes, media_type: str | None) -> str | None:
    """PLAIN, RTF, HTML or CDA; None for what no reader can make text of.

    Args:
        data: the document, or its beginning.
        media_type: what it is said to be; None when nothing is said.
    """
    said = (media_type or "").split(";")[0].strip().lower()
    found = _by_content(data)
    if found:
        return found
    if said in _PAGE_TYPES:
        return HTML
    if said.startswith("text/") and said != "text/xml" or said in _RTF_TYPES:
        return PLAIN
    if said in ("", "application/octet-stream") and not _is_xml(data):
        return None if mark_bytes(data) == 0 and data[:_HEAD_BYTES].translate(None, _CONTROL) != data[:_HEAD_BYTES] else PLAIN
    return None


def _by_content(data: bytes) -> str | None:
    first = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first not in _FIRST:  # nearly every note
        return None
    if is_rtf(data[:64]):
        return RTF
    head = _opening(data)
    return CDA if _CDA.match(head) else HTML if _PAGE.match(head) else None


def _opening(data: bytes) -> str:
    """The beginning of a document, whatever it is, for a look at its first tags."""
    mark = mark_bytes(data)
    charset = {0: "latin-1", 2: "utf-16"}.get(mark, "utf-8-sig")
    return data[:_HEAD_BYTES].decode(charset, "replace")


def _is_xml(data: bytes) -> bool:
    return _XML.match(_opening(data)) is not None


def is_other_xml(head: bytes) -> bool:
    """Whether a file is XML of a kind that is not read (FHIR as XML, for instance): its tags are no note."""
    return _is_xml(head) and _by_content(head) is None


def to_text(data: bytes, media_type: str | None, charset: str | None = None, field: str = "data") -> Prose:
    """The text of a document.

    Args:
        data: the document.
        media_type: what it is said to be, parameters allowed (`text/html; charset=utf-8`); None when nothing is said.
        charset: how it is encoded, where the media type does not tell.
        field: what a dead letter names.

    Raises:
        RecordError: `unsupported_content`, `invalid_utf8`, `note_elsewhere`, `bad_base64`. Markup that is broken is read as far as it goes.
    """
    return _read(data, media_type, charset, field)[0]


def _read(data: bytes, media_type: str | None, charset: str | None, field: str, wrapped: bool = False) -> tuple[Prose, ClinicalHeader]:
    kind = kind_of(data, media_type)
    nothing = ClinicalHeader()
    if charset is None and media_type and (named := _NAMED_CHARSET.search(media_type)):
        charset = named[1]
    if kind is None or (wrapped and kind == CDA):
        raise RecordError("unsupported_content", field, KINDS)
    if kind == RTF:
        page = data[mark_bytes(data) :].decode("latin-1")
        return rtf_text(page).prose(RTF, page, data, "latin-1"), nothing
    if kind == PLAIN:
        return Prose(decoded(data, charset, field)[0], PLAIN), nothing
    if charset is None:
        head = data[:_HEAD_BYTES]
        named_inside = _XML_CHARSET.match(head) or (_PAGE_CHARSET.search(head) if kind == HTML else None)
        charset = named_inside[1].decode("ascii") if named_inside else None
    page, charset = decoded(data, charset, field)
    if kind == HTML:
        return html_text(page).prose(HTML, page, data, charset), nothing
    clinical = cda_text(page)
    prose = clinical.pen.prose(CDA, page, data, charset)
    if clinical.wrapped.strip():
        inner = _read(_unwrapped(clinical.wrapped, clinical.wrapped_base64, field), clinical.wrapped_type, None, field, wrapped=True)[0]
        prose = Prose("\n\n".join(part for part in (prose.text, inner.text) if part), CDA)  # of two documents: no one origin
    elif clinical.elsewhere:
        raise RecordError("note_elsewhere", field, "a C-CDA document that holds its text; put the document that it refers to in its place")
    return prose, clinical.header


def _unwrapped(content: str, is_base64: bool, field: str) -> bytes:
    if not is_base64:
        return content.encode()
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RecordError("bad_base64", field, "Base64 in nonXMLBody/text") from None


class Document:
    """Reader of files that are one document each; the name of the file, without its ending, is the note's id. Of C-CDA the header
    gives patient, encounter, date and author."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self._kind = name, kind

    def sniff(self, head: bytes) -> bool:
        return _by_content(head) == self._kind

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        parts: list[bytes] = []
        size = 0
        while part := stream.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > record_bytes(job.ingest):
                yield TOO_LARGE
                return
        yield job.builder.make(self._document, b"".join(parts), job)

    def _document(self, data: bytes, job: Job) -> Unit:
        prose, header = _read(data, self._kind, None, "file")
        served = values.day(header.served, "encompassingEncounter.effectiveTime")
        date = served or values.day(header.written, "ClinicalDocument.effectiveTime")
        birth = values.day(header.birth, "birthTime")
        return [
            partial(
                RawDocument, document_id=header.document_id or note_id(job.source.name), patient_id=header.patient_id,
                encounter_id=header.encounter_id, kind=header.kind, text=prose.text, date=date, sex=values.sex(header.sex),
                age=values.age(birth, date), authors=tuple(dict.fromkeys(name for name in header.authors if name)),
                media_type=prose.media_type, origin=prose.origin,
            )
        ]  # fmt: skip
