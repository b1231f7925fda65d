"""RTF to text (Rich Text Format Specification 1.9.1), with the place of every character kept.

Why our own: striprtf and the like give text without offsets. Read here: groups, destinations, `\\u` with its fallback, `\\'hh` in the code
page of the document or of the font, one byte a character or two, paragraphs, cells, hidden and deleted text (`\\v`, `\\deleted`). Left
out: headers and footers of pages, fields' instructions, pictures, styles, comments. What is not balanced is read as far as it goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nosology.readers.prose import Pen

_TOKEN = re.compile(
    r"\\(?:([A-Za-z]{1,32})(-?[0-9]{1,10})? ?|'([0-9A-Fa-f]{2})|([^A-Za-z]))|([{}])|[\r\n\0]+|([^\\{}\r\n\0]+)|\\", re.DOTALL
)
_ENDS = {"par", "line", "sect", "page", "column", "row", "nestrow", "softline", "softpage"}
_SYMBOLS = {"emdash": "\u2014", "endash": "\u2013", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d",
            "bullet": "\u2022", "emspace": " ", "enspace": " ", "qmspace": " "}  # fmt: skip
# Destinations whose text is none of the document's body; others with `\\*` are left out too, as the specification says.
_ASIDE = {
    "fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr",
    "footerf", "fldinst", "nonshppict", "shprslt", "sp", "listtable", "listoverridetable", "revtbl", "rsidtbl", "filetbl", "tc", "xe",
    "txe", "rxe", "ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "objdata", "objclass", "annotation", "atnauthor",
    "atnid", "upr", "private1", "themedata", "colorschememapping", "datastore", "latentstyles", "xmlnstbl", "mmathPr", "datafield",
    "bkmkstart", "bkmkend", "objalias", "objname", "pgdsctbl", "userprops", "generator", "passwordhash",
}  # fmt: skip
_STARRED = {"ud", "shpinst", "shppict", "shptxt", "pntext"}  # known though written behind `\\*`
_CHARSETS = {  # `\\fcharset` to code page; 0 and 1 mean that of the document
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "cp936", 136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258",
    177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_PAGES = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
_WIDE = {"cp932", "cp936", "cp949", "cp950", "johab", "utf-8"}
_ANSI_PAGES = {65001: "utf-8", 10000: "mac_roman", 1361: "johab", 0: "cp1252", 42: "cp1252"}


def is_rtf(data: bytes) -> bool:
    """Whether the bytes begin as RTF does."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() == b"{\\rtf"


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits and its end forgets."""

    aside: bool = False  # a destination that is not read
    fonts: bool = False  # the font table
    hidden: bool = False
    deleted: bool = False
    fallback: int = 1  # characters that stand for a `\u` where Unicode is unknown
    font: int | None = None


def rtf_text(page: str) -> Pen:
    """The text of a document.

    Args:
        page: its bytes, each as the character of that number (Latin-1).
    """
    return _Reader(page).read()


class _Reader:
    def __init__(self, page: str) -> None:
        self.page, self.pen = page, Pen()
        self.state, self.groups = _State(), list[_State]()
        self.pages: dict[int, str] = {}  # code page of each font
        self.document_page = "cp1252"
        self.default_font: int | None = None
        self.defined: int | None = None  # font that the table is about
        self.skip = 0  # fallback characters still to come
        self.high: tuple[int, int] | None = None  # first half of a surrogate pair, and its place
        self.lead = b""  # first bytes of a character of several
        self.lead_start = 0

    def read(self) -> Pen:
        page = self.page
        scan = _TOKEN.scanner(page)  # type: ignore[attr-defined]
        begun = starred = False  # behind `{`, and behind `{\\*`
        while (token := scan.match()) is not None:
            word, number, code, symbol, brace, text = token.groups()
            if word is not None:
                if begun and (word in _ASIDE or (starred and word not in _STARRED)):
                    self.state = replace(self.state, aside=True, fonts=word == "fonttbl")
                elif begun and word == "ud":
                    self.state = replace(self.state, aside=False)
                if word == "bin":
                    self.flush()
                    scan = _TOKEN.scanner(page, min(token.end() + max(int(number or 0), 0), len(page)))  # type: ignore[attr-defined]
                else:
                    self.word(word, number, token.start(), token.end())
            elif text is not None:
                if not self.state.aside:
                    self.text(text, token.start())
                begun = begun and text.strip(" *") == ""  # some writers put a blank before a destination, or forget the `\\` of `\\*`
                continue
            elif brace is not None:
                self.flush()
                if brace == "{":
                    self.groups.append(self.state)
                elif self.groups:
                    self.state = self.groups.pop()
            elif code is not None:
                if not self.state.aside:
                    self.byte(int(code, 16), token.start(), token.end())
            elif symbol == "*" and begun:
                starred = True
                continue
            elif symbol is not None:
                if not self.state.aside:
                    self.symbol(symbol, token.start())
            else:
                continue  # line breaks of the file mean nothing
            begun, starred = brace == "{", False
        self.flush()
        return self.pen

    @property
    def quiet(self) -> bool:
        return self.state.aside or self.state.hidden or self.state.deleted

    def codec(self) -> str:
        font = self.state.font if self.state.font is not None else self.default_font
        return self.pages.get(font, self.document_page) if font is not None else self.document_page

    def flush(self) -> None:
        """Ends what waits for a second half, at the bounds of a group or a word."""
        self.skip = 0
        if self.high is not None:
            self.emit("\ufffd", self.high[1], 1)
            self.high = None
        if self.lead:
            self.emit("\ufffd", self.lead_start, 1)
            self.lead = b""

    def emit(self, text: str, source: int, width: int = 1) -> None:
        if not self.quiet:
            self.pen.write(text, source, width)

    def word(self, word: str, number: str | None, start: int, end: int) -> None:
        """A control word."""
        value = int(number) if number is not None else None
        if word == "u" and value is not None:
            self.unicode(value & 0xFFFF, start, end)
            return
        self.flush()
        if word in _ENDS:
            if not self.quiet:
                self.pen.line()
        elif word in ("tab", "cell", "nestcell"):
            if not self.quiet:
                self.pen.tab()
        elif word in _SYMBOLS:
            self.emit(_SYMBOLS[word], start, end - start)
        elif word == "uc":
            self.state = replace(self.state, fallback=max(value or 0, 0))
        elif word == "f" and value is not None:
            if self.state.fonts:
                self.defined = value
            else:
                self.state = replace(self.state, font=value)
        elif word in ("v", "deleted"):
            on = value != 0
            self.state = replace(self.state, hidden=on) if word == "v" else replace(self.state, deleted=on)
        elif word == "plain":
            self.state = replace(self.state, hidden=False, deleted=False, font=None)
        elif self.state.fonts and self.defined is not None and word in ("fcharset", "cpg"):
            known = _CHARSETS.get(value or 0) if word == "fcharset" else _page(value)
            if known:
                self.pages[self.defined] = known
        elif word == "ansicpg":
            self.document_page = _page(value) or self.document_page
        elif word in _PAGES:
            self.document_page = _PAGES[word]
        elif word == "deff":
            self.default_font = value

    def unicode(self, value: int, start: int, end: int) -> None:
        high, self.skip = self.high, self.state.fallback
        self.high = None
        if 0xD800 <= value < 0xDC00:
            if high is not None:
                self.emit("\ufffd", high[1], 1)
            self.high = (value, start)
        elif 0xDC00 <= value < 0xE000:
            if high is None:
                self.emit("\ufffd", start, end - start)
            else:
                character = chr(0x10000 + ((high[0] - 0xD800) << 10) + value - 0xDC00)
                self.emit(character, high[1], end - high[1])
        else:
            if high is not None:
                self.emit("\ufffd", high[1], 1)
            self.emit(chr(value) if value >= 32 else " ", start, end - start)

    def text(self, text: str, start: int) -> None:
        if self.skip:
            gone = min(self.skip, len(text))
            self.skip -= gone
            text, start = text[gone:], start + gone
            if not text:
                return
        self._end_pair()
        if text.isascii() and not self.lead:
            self.emit(text, start)
            return
        codec = self.codec()
        if codec in _WIDE:
            for at, character in enumerate(text, start):
                self.one(ord(character), at, at + 1)
        else:
            self.emit(text.encode("latin-1").decode(codec, "replace"), start)

    def byte(self, value: int, start: int, end: int) -> None:
        if self.skip:
            self.skip -= 1
            return
        self._end_pair()
        self.one(value, start, end)

    def one(self, value: int, start: int, end: int) -> None:
        """One byte in the code page; of one that needs another the first is kept."""
        codec = self.codec()
        held = self.lead + bytes([value])
        begin = self.lead_start if self.lead else start
        if codec in _WIDE and len(held) < (4 if codec == "utf-8" else 2) and (self.lead or value >= 0x80):
            try:
                character = held.decode(codec)
            except UnicodeDecodeError:
                self.lead, self.lead_start = held, begin
                return
        else:
            character = held.decode(codec, "replace")
        self.lead = b""
        if len(character) != 1:  # two bytes that make no character
            self.emit(character[:1] or "\ufffd", begin, 1)
            character, begin = character[1:2], start
        if character:
            self.emit(character if character >= " " or character == "\t" else " ", begin, end - begin)

    def symbol(self, symbol: str, start: int) -> None:
        if symbol in "\r\n":
            self.flush()
            if not self.quiet:
                self.pen.line()
        elif symbol in "\\{}" or symbol in "~_":
            if self.skip:
                self.skip -= 1
                return
            self._end_pair()
            self.emit({"~": " ", "_": "-"}.get(symbol, symbol), start, 2)
        elif symbol == "\t":
            self.pen.tab()

    def _end_pair(self) -> None:
        if self.high is not None:
            self.emit("\ufffd", self.high[1], 1)
            self.high = None


def _page(number: int | None) -> str | None:
    """Python's name of a Windows code page; None for one that is not known."""
    if number is None:
        return None
    if number in _ANSI_PAGES:
        return _ANSI_PAGES[number]
    name = f"cp{number}"
    return name if number in range(437, 1259) and _exists(name) else None


def _exists(name: str) -> bool:
    import codecs

    try:
        return codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False
