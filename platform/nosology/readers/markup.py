"""HTML, XHTML and C-CDA to text, by one scanner that knows where it is.

Why no library: html.parser is quadratic on hostile pages (CVE-2025-6069), lxml and selectolax are fast and keep no offsets. The scanner
is one regular expression without backtracking across a `<`, so its time is linear in the page. No entity but those of HTML and numbers
is ever expanded and nothing is fetched: declarations of entities are passed over.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from nosology.readers.prose import Pen

_PROLOG = re.compile(r"\s*(?:<\?[^>]*>\s*|<!--.*?-->\s*)*+(?:<!DOCTYPE[^\[<>]*+\[.*?\]\s*>)?", re.DOTALL | re.IGNORECASE)
_TOKEN = re.compile(
    r"""
    (?P<text>[^<&]++)
    |(?P<reference>&(?:\#[0-9]{1,8}|\#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{0,31});?)
    |<!--(?:.*?--!?>|.*\Z)
    |<!\[CDATA\[(?P<cdata>(?:.*?(?=\]\]>)|.*\Z))(?:\]\]>)?
    |<(?P<end>/?)(?P<name>[A-Za-z][\w.:-]{0,63})(?P<attributes>(?:(?:[^<>"']++|"[^"<]*"|'[^'<]*')*+|[^<>]*+))(?P<close>>|\Z)
    |<[!?/][^>]*+(?:>|\Z)
    |(?P<lone>[<&])
    """,
    re.DOTALL | re.VERBOSE | re.ASCII,
)
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w.:-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.ASCII)

_BLOCKS = {
    **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote", "pre", "hr", "fieldset", "section",
                     "article", "title", "paragraph", "list"), 2),
    **dict.fromkeys(("div", "li", "dt", "dd", "caption", "address", "center", "main", "header", "footer", "nav", "aside", "form",
                     "option", "body", "thead", "tbody", "tfoot", "item", "figcaption", "legend"), 1),
}  # fmt: skip
_HIDDEN = ("script", "style", "template", "svg")


class _Flow:
    """Lays tokens out as lines, as a browser would."""

    def __init__(self) -> None:
        self.pen = Pen()
        self._kept = 0  # depth of `pre`
        self._first = True  # no cell of this row yet
        self._cell = -1  # length of the text where a cell began

    def text(self, text: str, source: int) -> None:
        (self.pen.keep if self._kept else self.pen.flow)(text, source)

    def reference(self, written: str, source: int) -> None:
        """A character reference; one that HTML does not know stands for itself."""
        found = html.unescape(written)
        if found == written:
            self.pen.write(written, source)
            return
        for character in found:
            if character in " \t\n\r\f":
                self.pen.space(source)
            else:
                self.pen.write(character, source, len(written))

    def tag(self, name: str, end: bool) -> None:
        if name == "br":
            self.pen.newline()
        elif name in ("td", "th"):
            if not end:
                if not self._first:
                    self.pen.cell()
                self._first, self._cell = False, self.pen.length
        elif name == "tr":
            self.pen.block(1)
            self._first, self._cell = True, -1
        elif name in _BLOCKS:
            if self.pen.length != self._cell:  # a paragraph that begins a cell begins no line
                self.pen.block(_BLOCKS[name])
            if name == "pre":
                self._kept = max(self._kept + (-1 if end else 1), 0)


def _tokens(page: str) -> Iterator[re.Match[str]]:
    start = _PROLOG.match(page)
    return _TOKEN.finditer(page, start.end() if start else 0)


def html_text(page: str) -> Pen:
    """What a browser shows of a page or a part of one (HTML or XHTML), and its title."""
    flow = _Flow()
    hidden = ""
    for token in _tokens(page):
        kind = token.lastgroup
        if kind == "close":
            name, end = token["name"].lower().rpartition(":")[2], bool(token["end"])
            if hidden:
                hidden = "" if end and name == hidden else hidden
            elif name in _HIDDEN and not end and not token["attributes"].endswith("/"):
                hidden = name
            else:
                flow.tag(name, end)
        elif hidden:
            continue
        elif kind == "text":
            flow.text(token[0], token.start())
        elif kind == "reference":
            flow.reference(token[0], token.start())
        elif kind == "cdata":
            flow.text(token["cdata"], token.start("cdata"))
        elif kind == "lone":
            flow.pen.write(token[0], token.start())
    return flow.pen


@dataclass(slots=True)
class ClinicalHeader:
    """What the header of a C-CDA document says; each None where it says nothing."""

    document_id: str | None = None
    patient_id: str | None = None
    encounter_id: str | None = None
    kind: str | None = None
    written: str | None = None
    served: str | None = None
    sex: str | None = None
    birth: str | None = None
    authors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ClinicalDocument:
    """A C-CDA document: its narrative, or the document that it wraps.

    Attributes:
        pen: title and sections with their titles, in order.
        header: what it says of patient, encounter and author.
        wrapped: content of `nonXMLBody/text`, with `wrapped_type` and whether it is Base64.
        elsewhere: whether the wrapped document is only referred to.
    """

    pen: Pen
    header: ClinicalHeader = field(default_factory=ClinicalHeader)
    wrapped: str = ""
    wrapped_type: str | None = None
    wrapped_base64: bool = False
    elsewhere: bool = False


_IDS = {("clinicaldocument", "id"): "document_id", ("patientrole", "id"): "patient_id", ("encompassingencounter", "id"): "encounter_id"}
_VALUES = {
    ("clinicaldocument", "code", "code"): "kind",
    ("clinicaldocument", "effectivetime", "value"): "written",
    ("patient", "administrativegendercode", "code"): "sex",
    ("patient", "birthtime", "value"): "birth",
}


def cda_text(page: str) -> ClinicalDocument:
    """The narrative of a C-CDA document: what section titles and section texts say, which is what its author attests
    (CDA R2, 4.3.5: Section.text); coded entries are left out.
    """
    flow = _Flow()
    found = ClinicalDocument(flow.pen)
    header = found.header
    path: list[str] = []
    opened: Counter[str] = Counter()
    shown = 0  # depth from which text is shown
    wrapped: list[str] = []
    name_parts: list[str] = []
    for token in _tokens(page):
        kind = token.lastgroup
        if kind == "close":
            name = token["name"].lower().rpartition(":")[2]
            parent = path[-1] if path else ""
            attributes = token["attributes"]
            if not token["end"]:
                _note(header, found, path, parent, name, attributes)
                if shown:
                    flow.tag(name, False)
                elif (name == "title" and parent in ("section", "clinicaldocument")) or (name == "text" and parent == "section"):
                    shown = len(path) + 1
                    flow.pen.block(2)
                if not attributes.endswith("/"):
                    path.append(name)
                    opened[name] += 1
                elif shown > len(path):
                    shown = 0
                continue
            while opened[name]:
                gone = path.pop()
                opened[gone] -= 1
                if shown:
                    flow.tag(gone, True)
                if len(path) < shown:
                    shown = 0
                    flow.pen.block(2)
                if gone == "name" and path[-1:] == ["assignedperson"] and "author" in path[1:2]:
                    header.authors.append(" ".join(name_parts))
                    name_parts.clear()
                if gone == name:
                    break
        elif shown:
            if kind == "text":
                flow.text(token[0], token.start())
            elif kind == "reference":
                flow.reference(token[0], token.start())
            elif kind == "cdata":
                flow.text(token["cdata"], token.start("cdata"))
            elif kind == "lone":
                flow.pen.write(token[0], token.start())
        elif kind in ("text", "cdata", "reference") and path:
            if path[-1] == "text" and path[-2:-1] == ["nonxmlbody"]:
                wrapped.append(html.unescape(token[0]) if kind == "reference" else token[kind])
            elif "author" in path[1:2] and "assignedperson" in path[-3:] and "name" in path[-2:]:
                name_parts += html.unescape(token[kind]).split()
    found.wrapped = "".join(wrapped)
    return found


def _note(header: ClinicalHeader, found: ClinicalDocument, path: list[str], parent: str, name: str, written: str) -> None:
    """Takes what a start tag says of the header."""
    if name not in ("id", "code", "effectivetime", "administrativegendercode", "birthtime", "text", "reference", "low"):
        return
    target = _IDS.get((parent, name))
    served = name in ("effectivetime", "low") and "encompassingencounter" in path[-2:]
    wrapped = "nonxmlbody" in path[-2:]
    if target is None and not served and not wrapped and not any(key[:2] == (parent, name) for key in _VALUES):
        return
    attributes = {match[1]: html.unescape(match[2] if match[2] is not None else match[3]) for match in _ATTRIBUTE.finditer(written)}
    if target is not None:
        if getattr(header, target) is None:
            setattr(header, target, attributes.get("extension") or attributes.get("root"))
    elif served:
        header.served = header.served or attributes.get("value")
    elif wrapped:
        if name == "text":
            found.wrapped_type = attributes.get("mediaType")
            found.wrapped_base64 = attributes.get("representation", "").upper() == "B64"
        found.elsewhere = found.elsewhere or name == "reference"
    for (above, element, attribute), slot in _VALUES.items():
        if (above, element) == (parent, name) and getattr(header, slot) is None:
            setattr(header, slot, attributes.get(attribute))
