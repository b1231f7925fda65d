"""Trying a pattern where its head may stand finds what searching for it finds."""

import random
import re
from dataclasses import replace
from re import _constants as op
from re import _parser as parser

import hyperscan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.deid import heads as module
from nosology.deid.folding import folded
from nosology.deid.heads import EDGE, Places, heads
from nosology.deid.languages import language
from nosology.deid.patterns import Gate, Scan

SCANS = {code: Scan(language(code).recognizer(name) for name in language(code).names) for code in ("en", "es")}
HEADED = {
    code: [(rule, places) for (_, rule), places in zip(scan._rules, scan._places, strict=True) if places] for code, scan in SCANS.items()
}
ONES = {code: [language(code).recognizer(name) for name in language(code).names] for code in SCANS}
TEXTS = {
    "en": [
        "Pt. John O'Neill Smith, MD (MRN: 00-123-45, DOB 03/14/1931) seen Thurs Jan 9, 2025 at 12 Oak St Apt 4, Boston, MA 02115; tel (212) 555-0100 x12",
        "Dr. García-López, R.N.\nname: DOE, JANE A.\nSSN 123-45-6789, acct #A12-9981\tserial no. XK-4471/B, http://a.example/x, a.b@c.example.org",
        "ninety-three year old, b. 1929; 94, who lives in Elk Grove, flew to Paris; group GX 44 118; photo IMG_2231.jpg; the 3rd of MAY 2020, 10.12.19",
    ],
    "es": [
        "Paciente: María de la O López Núñez, NHC 778812-A, DNI 12345678Z, nacida el 3 de marzo de 1931, C/ Mayor nº 4, 2º B, 28013 Madrid, tlf. 612 345 678",
        "Dr. J. Pérez García (col. nº 28 28 12345)\nEdad: 78 años, varón; Hospital Clínico San Carlos; NASS 28/12345678/40; email: x.y@hosp.example",
    ],
}  # fmt: skip
TEXTS = {code: [*texts, *map(str.upper, texts), *map(str.lower, texts), " ".join(texts)] for code, texts in TEXTS.items()}


def begins(pattern, text):
    return {match.start() for match in pattern.finditer(text)}


@pytest.mark.parametrize("code", SCANS)
def test_a_head_stands_wherever_its_rule_matches(code, monkeypatch):
    """Also where a text is read in pieces."""
    found = 0
    for rule, places in HEADED[code]:
        for text in TEXTS[code]:
            begun, edged = begins(rule.pattern, text), EDGE + folded(text)
            assert begun <= set(places(edged)), rule.pattern.pattern[:60]
            with monkeypatch.context() as patched:
                patched.setattr(module, "_PIECE", 7)
                assert begun <= set(places(edged)) <= set(range(len(text))), rule.pattern.pattern[:60]
            found += len(begun)
    assert found > 100
    assert len(HEADED[code]) > 0.9 * len(SCANS[code]._rules)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?<![\w.])\d{2,4}(?=-)", "12-3 .45- a67- 890-"),
        (r"\b(?:dr|mrs?)\.?\s*(?P<v>[A-Z]\w+)", "dr.Who Mrs  Hall MR X"),
        (r"(?i:name|nom)[:=]\s{0,3}x", "NAME=x Nom:  x nameſ:x"),
        (r"(?:the )?(?:day|night) of", "the day of night of"),
        (r"(?<!a)(?<![bc])x+y", "axy bxy xxy cxxy"),
        (r"[^\W\d_]{3}\d", "éÉß1 漢字か2 abc٣"),
        (r"(a|b)\1c", "aac abc bbc"),
        (r"(?s:.)z|\Aq", "\nz q az"),
        (r"[İK]b", "İb Kb Kb ib"),
        (r"ſ\d|k\d", "s1 S1 ſ1 K2 k2"),
        (r"(?:x{40}){2}y", "x" * 80 + "y"),
    ],
)
@pytest.mark.parametrize("flags", [0, re.I])
def test_forms_of_patterns(pattern, text, flags):
    compiled = re.compile(pattern, flags)
    written = heads(pattern, compiled.flags)
    assert written
    assert begins(compiled, text) <= set(Places(hyperscan, written)(EDGE + folded(text)))


@pytest.mark.parametrize("pattern", [r"\d*", r"(?:a|)", r"\w+@", r"(?=x)\s*", r"[\w.]{3}"])
def test_what_any_word_or_nothing_may_begin_has_no_head(pattern):
    assert heads(pattern, 0) == []


@pytest.mark.parametrize("code", SCANS)
def test_every_rule_stands_behind_the_gate(code):
    """One that Hyperscan refuses is tried on every text."""
    assert SCANS[code]._gate._always == []


def test_a_rule_that_the_gate_refuses_runs_and_leaves_the_others_behind_it():
    gate = Gate([re.compile(r"abc"), re.compile(r"(?:x{1,900}){900}"), re.compile(r"\d{4}")])
    assert gate._always == [1] and len(gate._databases) == 1
    assert (gate.candidates(b"2024"), gate.candidates(b"abc"), gate.candidates(b"-")) == ([1, 2], [0, 1], [1])


def searched(code, text):
    """What the recognizers find by themselves."""
    return sorted((span for one in ONES[code] for span in one.find(text)), key=repr)


def classes(nodes, flags):
    """Sets of characters of a parsed pattern, look-arounds left out, each with whether case counts."""
    for node in nodes:
        kind, value = node
        if written := module._class(node, flags):
            yield written, flags & re.I
        elif kind is op.SUBPATTERN:
            yield from classes(value[3], (flags | value[1]) & ~value[2])
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from classes(branch, flags)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            yield from classes(value[2], flags)


def test_what_a_set_of_a_rule_takes_its_folded_set_takes():
    """Else the gate, which sees both folded, would hold the rule back."""
    parsed = [parser.parse(rule.pattern.pattern, rule.pattern.flags & ~re.U) for scan in SCANS.values() for _, rule in scan._rules]
    every = "".join(map(chr, [*range(1, 0x3100), 0x6F22, 0x1F600]))
    plain = bytes(range(1, 128)).translate(None, b"\x1c\x1d\x1e\x1f")
    sets = {one for pattern in parsed for one in classes(list(pattern), pattern.state.flags)}
    for written, case in sets:
        narrow = re.sub(r"\\U([0-9a-f]{8})", lambda found: f"\\x{folded(chr(int(found[1], 16)))[0]:02x}", written)
        taken = folded("".join(re.findall(written, every, case)))
        assert set(taken) <= {byte[0] for byte in re.findall(narrow.encode(), plain, case)}, (
            f"{ascii(written)}: signs beyond ASCII that a set shuts out belong into a look-ahead before it"
        )
    assert len(sets) > 400


@pytest.mark.parametrize("code", SCANS)
def test_letters_that_case_folding_makes_ascii_ones(code):
    """`re` takes them for `i`, `s` and `k`, case apart, and so must the scans."""
    for letters in (("i", "İ"), ("i", "ı"), ("s", "ſ"), ("k", "\N{KELVIN SIGN}")):
        for text in ["1-I", "Seen on 3-VII-2021", *TEXTS[code]]:
            odd = text.replace(letters[0], letters[1]).replace(letters[0].upper(), letters[1])
            assert sorted(SCANS[code].find(odd), key=repr) == searched(code, odd), letters
    assert SCANS["en"].find("1-İ")


@pytest.mark.parametrize("code", SCANS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_scan_finds_what_searching_for_every_rule_finds(code, data):
    """In texts put together of pieces with identifiers, of any characters and of those that case and folding treat apart."""
    pieces = [piece for text in TEXTS[code] for piece in re.findall(r"\S+\s?\S*", text)]
    odd = st.sampled_from(
        ["ſ", "K", "İ", "ı", "ß", "٣", "漢", "\u00a0", "–", "\x01", "\x7f", "\n", " ", "  ", "-", ",", "_", "90+", "[NAME]"]
    )
    text = "".join(data.draw(st.lists(st.one_of(st.sampled_from(pieces), odd, st.text(max_size=3)), max_size=12)))
    assert sorted(SCANS[code].find(text), key=repr) == searched(code, text)


@pytest.mark.parametrize("code", SCANS)
def test_a_long_note_has_the_spans_of_its_parts(code):
    """Away from the ends of a part; also where the note is read piece by piece. 10 MB by hand: docs/deidentification.md."""
    chance = random.Random(4)
    text = ""
    while len(text) < 1.2 * module._PIECE:
        text += chance.choice(TEXTS[code]) + chance.choice(["\n", ". ", "\n\n", " - ", " \u00e9 "]) + str(chance.randrange(10**6)) + "\n"
    whole = SCANS[code].find(text)
    for middle in [module._PIECE, *(chance.randrange(6000, len(text) - 6000) for _ in range(5))]:
        first, start, end = middle - 5000, middle - 2000, middle + 2000
        part = [replace(span, start=span.start + first, end=span.end + first) for span in SCANS[code].find(text[first : middle + 5000])]
        inside = [sorted((span for span in spans if start <= span.start < end), key=repr) for spans in (whole, part)]
        assert inside[0] == inside[1] != []
