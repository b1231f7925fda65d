"""Texts whose letters are decomposed, and codes that an underscore ties to a word: found in the given text's own places."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
from nosology.deid.readings import Composed
from nosology.records import Span

RULES = {code: Detector(DeidConfig(language=code), rules_only=True) for code in ("en", "es")}


@pytest.mark.parametrize(
    ("code", "text", "value"),
    [
        ("es", "Ingresó el miércoles, 14 de mayo de 2019 por fiebre.", "miércoles, 14 de mayo de 2019"),
        ("es", "Remitido por: Dra. Estefanía Muñoz.", "Estefanía Muñoz"),
        ("es", "Póliza nº AB-99213 en vigor", "AB-99213"),
        ("es", "vive en Avda. de la Constitución nº 14", "Avda. de la Constitución nº 14"),
        ("en", "Dr. Žižková agrees", "Žižková"),
        ("en", "Patient: Núñez, Zoë", "Núñez, Zoë"),
    ],
)
def test_decomposed_accents_hide_nothing(code: str, text: str, value: str) -> None:
    for form in ("NFC", "NFD"):
        written, wanted = unicodedata.normalize(form, text), unicodedata.normalize(form, value)
        assert wanted in [written[s.start : s.end] for s in RULES[code].find([written])[0]], form


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("aé ñ e\u0301\u0327\u0323\u1100\u1161\u11a8\u212b\u0958o9\u200b\u2009\u2011&nbsp;"), max_size=24))
def test_every_span_goes_back_to_its_letters(text: str) -> None:
    """The composed text is NFC, its clusters stand in the order of the given one, and the last ends where that ends."""
    read = Composed(text)
    plain = text.translate(str.maketrans("\u2009\u2011", " -", "\u200b")).replace("&nbsp;", "      ")
    assert unicodedata.normalize("NFC", read.text) == unicodedata.normalize("NFC", plain)
    one = [read.given([Span(start=i, end=i + 1, label="ID", source="x")])[0] for i in range(len(read.text))]
    assert all(a.start <= b.start and a.end <= b.end and a.start < a.end for a, b in zip(one, one[1:], strict=False))
    if one:
        whole = read.given([Span(start=0, end=len(read.text), label="ID", source="x")])[0]
        assert (whole.start, whole.end) == (one[0].start, one[-1].end) and text[: whole.start].strip("\u200b") == "" == text[whole.end :]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("FILE_12_03_2024 was scanned", "12_03_2024"),
        ("note_2019-03-14_v2", "2019-03-14"),
        ("SSN_123-45-6789_old", "123-45-6789"),
        ("fax_415-555-0134_ward", "415-555-0134"),
        ("ACCT_443021", "443021"),
        ("visit_03/14/2019_am", "03/14/2019"),
    ],
)
def test_an_underscore_beside_a_number_hides_nothing(text: str, value: str) -> None:
    spans = RULES["en"].find([text])[0]
    assert any(value in text[s.start : s.end] for s in spans), spans


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SSN 219\u200909\u20099999 on file", "219\u200909\u20099999"),
        ("seen 3\u22154\u22152021", "3\u22154\u22152021"),
        ("call 415\u2011555\u20110134", "415\u2011555\u20110134"),
        ("MRN: 00\u200b382\u200b910 printed", "00\u200b382\u200b910"),
        ("Dr.&nbsp;Okafor agrees", "Okafor"),
        ("write jane\uff20example.com", "jane\uff20example.com"),
        ("Dr. Oka\u00adfor", "Oka\u00adfor"),
    ],
)
def test_signs_that_look_alike_and_what_nobody_sees_hide_nothing(text: str, value: str) -> None:
    assert value in [text[s.start : s.end] for s in RULES["en"].find([text])[0]]


def test_the_tagger_reads_both_forms_alike() -> None:
    both = Detector(DeidConfig(language="es"))
    text = "Hoy hemos hablado con María Gutiérrez sobre su cirugía; vive con Ramón en Logroño."
    named = []
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, text)
        spans = both.find([written])[0]
        named.append([(s.label, unicodedata.normalize("NFC", written[s.start : s.end])) for s in spans])
    assert named[0] == named[1] and any("María Gutiérrez" in value for _, value in named[0])
