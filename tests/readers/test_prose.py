"""HTML, XHTML, RTF and C-CDA to text: what is shown, and that every character stands in the original where the map says."""

from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import reader_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.errors import RecordError
from nosology.readers.document import CDA, HTML, PLAIN, RTF, kind_of, to_text
from nosology.readers.prose import Prose, locate

QUIET = settings(deadline=None, max_examples=150, derandomize=True)
WORD = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp", "Cn"]), min_size=1, max_size=6
)
WORDS = st.lists(WORD, min_size=1, max_size=5)


def check_origin(prose: Prose, data: bytes, read: Any) -> None:
    """Every character that is no white space stands in the original: `read` turns the bytes of one, or of several of one width, to text."""
    covered = [False] * len(prose.text)
    before = 0
    for run in prose.origin:
        assert run.text_start >= before and run.length > 0 and run.width > 0
        before = run.text_start + run.length
        text = prose.text[run.text_start : before]
        for at, character in enumerate(text):
            start = run.source_start + at * run.width
            source = read(data[start : start + run.width])
            assert character in source or (character in " -" and source.isspace()) or (character == " " and not source), (character, source)
            assert locate(prose.origin, run.text_start + at, run.text_start + at + 1) == (start, start + run.width)
        covered[run.text_start : before] = [True] * run.length
    assert all(done or character in "\n\t" for done, character in zip(covered, prose.text, strict=True))


# ------------------------------------------------------------------------------------------------------------ HTML

PAGES = [
    ("<h1>A</h1><style>x</style><p>B &amp; C</p>", "A\n\nB & C"),
    ("<html><head><title>Note</title><script>if (a<b) x()</script></head><body>Seen  today\n for\tcough</body></html>", "Note\n\nSeen today for cough"),
    ("one<br>two<br/><br />four", "one\ntwo\n\nfour"),
    ("<ul><li>a<li>b</ul>c", "a\nb\n\nc"),
    ("<table><tr><th>Drug</th><th>Dose</th></tr><tr><td><p>Metformin</p></td><td></td><td><p>x</p><p>y</p></td><td>500&nbsp;mg</td></tr></table>", "Drug\tDose\nMetformin\t\tx\n\ny\t500 mg"),
    ("<pre>  BP  120/80\n\n HR 70</pre>", "  BP  120/80\n\n HR 70"),
    ("5 &lt; 6 & 7 &unknown; AT&T &#233; &#xe9; &eacute;", "5 < 6 & 7 &unknown; AT&T é é é"),
    ("a <!-- no > -- no --> b <![CDATA[c < d]]> e", "a b c < d e"),
    ("age <5 or >6", "age <5 or >6"),
    ("<p title='a > b' class=x>text</p>", "text"),
    ("cut off <p class=", "cut off"),
    ("cut off <!-- here", "cut off"),
    ("cut off <!-- <b>here</b>", "cut off"),
    ("in<b>side</b> a word", "inside a word"),
    ("<div>no</div><template>hidden</template><DIV>case</DIV>", "no\ncase"),
    ("<xhtml:p>name</xhtml:p><xhtml:p>space</xhtml:p>", "name\n\nspace"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("page", "text"), PAGES)
def test_what_a_page_shows(page: str, text: str) -> None:
    prose = to_text(page.encode(), "text/html")
    assert (prose.text, prose.media_type) == (text, HTML)
    check_origin(prose, page.encode(), lambda source: html.unescape(source.decode()).replace("\xa0", " "))


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16-le", "cp1252", "cp932", "gb18030", "utf-8-sig"])
def test_places_are_bytes_in_any_charset(charset: str) -> None:
    said = "利 dose of insulin" if charset in ("cp932", "gb18030") else "naïve – “dose” of insulin"
    data = f"<html><body><p>x &amp; y</p>{said}</body></html>".encode(charset)
    prose = to_text(data, f"text/html; charset={charset}")
    assert prose.text == f"x & y\n\n{said}"
    start = prose.text.index(said)
    place = locate(prose.origin, start, start + len(said))
    assert place is not None and data[place[0] : place[1]].decode(charset.replace("utf-16", "utf-16-le").replace("-le-le", "-le")) == said
    assert locate(prose.origin, 3, 3) is None and locate(prose.origin, 5, 7) is None  # nothing, and a break that the page does not hold


def test_a_page_says_its_charset() -> None:
    for head in ('<meta charset="windows-1252">', '<meta http-equiv=Content-Type content="text/html; charset=windows-1252">'):
        assert to_text(f"<html>{head}na\xefve".encode("cp1252"), "text/html").text == "naïve"
    assert to_text('<?xml version="1.0" encoding="ISO-8859-1"?><html>na\xefve \x93x\x94</html>'.encode("latin-1"), None).text == "naïve “x”"


@given(st.lists(st.tuples(st.sampled_from(["p", "div", "td", "b", "li"]), WORDS, st.booleans()), max_size=8))
@QUIET
def test_pages_against_the_parser_of_the_standard_library(parts: list[tuple[str, list[str], bool]]) -> None:
    class Oracle(HTMLParser):
        said = ""

        def handle_data(self, data: str) -> None:
            self.said += data

    page = "".join(f"<{tag} a='>'>" + " \n ".join(html.escape(word, quote) for word in words) + f"</{tag}>" for tag, words, quote in parts)
    oracle = Oracle()
    oracle.feed(page)
    oracle.close()
    prose = to_text(page.encode(), "text/html")
    assert "".join(prose.text.split()) == "".join(oracle.said.split())
    if all(tag != "b" for tag, _, _ in parts):
        assert prose.text.split() == [word for _, words, _ in parts for word in words]
    check_origin(prose, page.encode(), lambda source: html.unescape(source.decode()).replace("\xa0", " "))


# A reader whose time grows with the square of the page would not end within the hour.
HOSTILE = [
    "<!",
    "<a",
    "<a '",
    '<a ="',
    "<!--",
    "<![CDATA[",
    "&",
    "&#",
    "<",
    "</",
    "<?",
    "<p>",
    "</p>",
    '<a b="',
    "<script>",
    "<a b='\"",
    "<pre>\r",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("kind", ["text/html", "text/xml"])
def test_hostile_pages_take_no_longer(piece: str, kind: str) -> None:
    data = ("<ClinicalDocument><section><text>" * (kind == "text/xml") + piece * 100_000).encode()
    assert len(to_text(data, kind).text) <= len(data)


@given(st.binary(max_size=200), st.sampled_from([None, "text/html", "application/rtf", "text/xml", "text/plain; charset=utf-16", "application/pdf"]),
       st.sampled_from([b"", b"<html>", b"{\\rtf1 ", b"<ClinicalDocument><section><text>"]))  # fmt: skip
@QUIET
def test_any_bytes_are_text_or_a_reason(data: bytes, kind: str | None, head: bytes) -> None:
    try:
        prose = to_text(head + data, kind)
    except RecordError as error:
        assert error.reason.code in ("unsupported_content", "invalid_utf8", "bad_base64", "note_elsewhere")
    else:
        prose.text.encode()  # no half of a surrogate pair
        check_places(prose, len(head + data))


def check_places(prose: Prose, size: int) -> None:
    assert all(0 <= run.source_start <= run.source_start + run.length * run.width <= size for run in prose.origin)


# ------------------------------------------------------------------------------------------------------------- RTF

RTFS = [
    (rb"{\rtf1\ansi Hello {\b bold} world.\par Next\line line\tab tab}", "Hello bold world.\nNext\nline\ttab"),
    (rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}{\colortbl;\red0;}{\stylesheet{\s0 Normal;}}{\info{\title T}}A\f1\'cc\f0\'cc}", "AМÌ"),
    (rb"{\rtf1\ansi\uc1 \u8211?x \u-10179?\u-8704? {\uc2\u233 ab}\u233?c}", "–x \U0001f600 ééc"),
    (rb"{\rtf1\ansi\uc0 \u233 x\uc1\u233\'e9y}", "éxéy"),
    (rb"{\rtf1\ansi a\~b\_c\-d \{e\} \\ \ldblquote f\rdblquote  \emdash}", "a b-cd {e} \\ “f” —"),
    (rb"{\rtf1{\header Page 1}{\footer x}body{\footnote note}{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}{\*\unknown gone}}", "bodynotelink"),
    (rb"{\rtf1{\pict\pngblip 89504e47 0d0a}{\*\shppict{\pict 00}}{\object{\*\objdata 0102}{\result shown}}}", "shown"),
    (rb"{\rtf1 see \v hidden\v0  this {\deleted gone}\plain now}", "see  this now"),
    (rb"{\rtf1\trowd a\cell b\cell\row\trowd c\cell\cell\row d}", "a\tb\nc\nd"),
    (rb"{\rtf1{\upr{old}{\*\ud{new \u8211-}}}}", "new –"),
    (rb"{\rtf1\ansi\ansicpg932 \'88\'c0 \'88a}", "安 \ufffda"),
    (b"{\\rtf1\\bin6 hiddenafter}", "after"),
    (rb"{\rtf1 unbalanced {\b text", "unbalanced text"),
    (rb"{\rtf1 too many}} braces}", "too many braces"),
    (rb"{\rtf1 \u55357?x \'zz \u57000? end\'", "\ufffdx zz \ufffd end"),
    (b"{\\rtf1 line one\r\n goes on\\\nbroken}", "line one goes on\nbroken"),
    (rb"{\rtf1{ \fonttbl{\f0 Times;}}{\*\generator x;}text\par\par}", "text"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "text"), RTFS)
def test_what_rtf_shows(data: bytes, text: str) -> None:
    for kind in ("application/rtf", "text/plain"):  # told by content
        prose = to_text(data, kind)
        assert (prose.text.strip(), prose.media_type) == (text, RTF)
    check_places(prose, len(data))


def test_places_in_rtf() -> None:
    data = rb"{\rtf1\ansi\b Assessment:\b0 \par patient\'92s type\~2 {\i diab\u233?tes}.}"
    prose = to_text(data, None)
    assert prose.text == "Assessment:\npatient’s type 2 diabétes."
    start = prose.text.index("patient")
    assert data[slice(*locate(prose.origin, start, start + 9) or ())] == rb"patient\'92s"
    start = prose.text.index("diab")
    assert data[slice(*locate(prose.origin, start, start + 8) or ())] == rb"diab\u233?tes"


PIECE = st.tuples(st.sampled_from(["plain", "hex", "unicode", "group", "skip", "par"]), WORD)


@given(st.lists(PIECE, max_size=12), st.sampled_from(["cp1252", "cp1251", "cp1250", "cp932"]))
@QUIET
def test_rtf_that_was_written_comes_back(pieces: list[tuple[str, str]], codec: str) -> None:
    """A writer of our own, which writes each character raw, in hexadecimal or as Unicode."""
    said, data = "", b"{\\rtf1\\ansi\\ansicpg" + codec[2:].encode() + b" "
    for how, word in pieces:
        if how == "skip":
            data += b"{\\*\\secret " + word.encode("ascii", "ignore").translate(None, b"\\{}") + b"}"
            continue
        if how == "par":
            data += b"\\par "
            continue
        data += b"{\\i " if how == "group" else b""
        for character in word:
            said += character
            try:
                native = character.encode(codec)
            except UnicodeEncodeError:
                native = b""
            if how in ("plain", "group") and character.isascii():
                data += b"\\" * (character in "\\{}") + native
            elif how == "hex" and native and native.decode(codec) == character:
                data += b"".join(b"\\'%02x" % byte for byte in native)
            else:
                number = ord(character)
                data += b"\\u%d?" % (number - 0x10000 if number > 0x7FFF else number)
        data += b"}" if how == "group" else b""
    prose = to_text(data + b"}", "text/rtf")
    assert "".join(prose.text.split("\n")) == said
    for run in prose.origin:
        for at, character in enumerate(prose.text[run.text_start : run.text_start + run.length]):
            start = run.source_start + at * run.width
            source = data[start : start + run.width]
            assert (source.decode("latin-1").lstrip("\\") or "\\") == character or source[:2] in (b"\\'", b"\\u")


def test_a_deep_document() -> None:
    assert to_text(b"{\\rtf1 " + b"{" * 200_000 + b"deep", None).text == "deep"


# ----------------------------------------------------------------------------------------------------------- C-CDA


def test_a_clinical_document() -> None:
    data = samples.CDA_DOCUMENT.encode()
    prose = to_text(data, "application/xml")
    assert prose.media_type == CDA
    assert prose.text == (
        "Discharge Summary\n\nHospital course\n\nSeen for cough & fever.\n\nBetter after\ntwo days – naïve.\n\nMedications\n\n"
        "Drug\tDose\nMetformin\t500 mg\n\nInner\n\none\ntwo"
    )
    check_origin(prose, data, lambda source: html.unescape(source.decode()))
    assert "E11.9" not in prose.text and "Quimby" not in prose.text  # entries and header are no narrative


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY e SYSTEM "file:///etc/passwd">]>
<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody><component><section><text>x &b; &e; y</text></section></component>
</structuredBody></component></ClinicalDocument>"""


@pytest.mark.parametrize("kind", ["text/xml", "text/html", "text/plain"])
def test_entities_are_neither_expanded_nor_fetched(kind: str, read: Any) -> None:
    try:
        text = to_text(BOMB.encode(), kind).text
    except RecordError as error:
        assert error.reason.code == "unsupported_content"
    else:
        assert "aaaaaaaaaaaa" not in text and "root:" not in text
    assert read(BOMB.encode(), "x.xml").reasons == [("unreadable_file", None)]


def wrapped(media_type: str, content: bytes) -> bytes:
    inner = f'<nonXMLBody><text mediaType="{media_type}" representation="B64">\n{base64.encodebytes(content).decode()}</text></nonXMLBody>'
    return f"<ClinicalDocument><title>Scan</title><component>{inner}</component></ClinicalDocument>".encode()


def test_a_document_within_a_clinical_document() -> None:
    prose = to_text(wrapped("text/rtf", rb"{\rtf1 Seen.\par Well.}"), None)
    assert (prose.text, prose.origin) == ("Scan\n\nSeen.\nWell.", ())
    for data, code in (
        (wrapped("application/pdf", b"%PDF"), "unsupported_content"),
        (wrapped("text/xml", b"<ClinicalDocument/>"), "unsupported_content"),
        (wrapped("text/plain", b"").replace(b"\n</text>", b"\n=x</text>").replace(b"\n\n", b"\nQ=Q"), "bad_base64"),
        (b'<ClinicalDocument><nonXMLBody><text><reference value="x.pdf"/></text></nonXMLBody></ClinicalDocument>', "note_elsewhere"),
    ):
        with pytest.raises(RecordError) as caught:
            to_text(data, None)
        assert caught.value.reason.code == code


# ---------------------------------------------------------------------------------------------------- kinds and files

KINDS = [
    (b"{\\rtf1 x}", "text/plain", RTF), (b"\xef\xbb\xbf{\\rtf1 x}", None, RTF), (b"plain", "text/rtf", PLAIN), (b"a <b> c", "text/plain", PLAIN),
    (b"<!DOCTYPE html><p>x", "text/plain", HTML), (b"<?xml version='1.0'?>\n<!-- x --><html/>", None, HTML), (b"just text", "text/html", HTML),
    (b"<div xmlns='http://www.w3.org/1999/xhtml'>x</div>", "text/xml", HTML), (b"<n1:ClinicalDocument xmlns:n1='urn:hl7-org:v3'>", None, CDA),
    (b"\xff\xfe" + "<html>".encode("utf-16-le"), None, HTML), (b"x", None, PLAIN), (b"x\0", None, None), (b"%PDF-1", "application/pdf", None),
    (b"<Patient xmlns='http://hl7.org/fhir'/>", "application/fhir+xml", None), (b"x", "text/x-anything", PLAIN),
]  # fmt: skip


@pytest.mark.parametrize(("data", "said", "kind"), KINDS)
def test_kinds(data: bytes, said: str | None, kind: str | None) -> None:
    assert kind_of(data, said) == kind


@pytest.mark.parametrize("charset", ["klingon", "zip", "idna", "hex", "../x", "unicode_escape"])
def test_charsets_that_are_none(charset: str) -> None:
    with pytest.raises(RecordError) as caught:
        to_text(b"abc", f"text/plain; charset={charset}")
    assert caught.value.reason.code == "unsupported_content"


def test_the_first_bad_byte_is_named() -> None:
    with pytest.raises(RecordError) as caught:
        to_text(b"<html>abc\xff", None)
    assert caught.value.reason.code == "invalid_utf8" and re.search(r"\bbyte 9\b", str(caught.value.reason.rule))


def test_files_of_documents(read: Any) -> None:
    note = read(samples.CDA_DOCUMENT.encode(), "x.xml").one("RawDocument")
    assert (note.document_id, note.patient_id, note.encounter_id, note.kind) == ("D-1", "P-1", "V-1", "18842-5")
    assert (note.sex, note.age, str(note.date), note.authors, note.media_type) == ("female", 44.0, "2024-02-29", ("Dr. Ann Who",), CDA)
    note = read(rb"{\rtf1 Seen.}", "letter.rtf").one("RawDocument")
    assert (note.document_id, note.text, note.media_type, note.origin[0].source_start) == ("letter", "Seen.", RTF, 7)
    assert read(b"<html><p>Seen.</p></html>", "note.txt").one("RawDocument").text == "Seen."
    assert read(b"<html><p> </p></html>", "note.html").reasons == [("empty_note", "text")]
    assert read(b"<html><p>" + b"x" * 2001, "note.html", max_document_bytes=2000).reasons == [("note_too_large", "text")]
    assert read(b"<html>\xff", "note.html").reasons == [("invalid_utf8", "file")]


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("application^rtf", rb"{\rtf1 diab\'e9tes\par well}", "diabétes\nwell"),
        ("TEXT^HTML", b"<p>Seen &amp; well.</p>", "Seen & well."),
        ("text^plain", rb"{\rtf1 told by content}", "told by content"),
        ("application^x-hl7-cda-level-one", b"<ClinicalDocument><title>Note</title></ClinicalDocument>", "Note"),
        ("image^jpeg", b"\xff\xd8", None),
        ("application^pdf", b"%PDF", None),
        ("text^xml", b"<?xml version='1.0'?><Patient/>", None),
    ],
)
def test_documents_in_messages(kind: str, data: bytes, text: str | None, read: Any) -> None:
    message = samples.ORU.split(b"OBX|")[0] + b"OBX|1|ED|1^R||^" + kind.encode() + b"^Base64^" + base64.b64encode(data) + b"\r"
    notes = read(message).of("RawDocument")
    assert [note.text for note in notes] == ([] if text is None else [text])
