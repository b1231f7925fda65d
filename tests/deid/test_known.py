"""Known values in a text: found as people write them, and not where the words mean something else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.deid.known import KINDS, Known, Value, worth
from nosology.deid.languages import language
from nosology.deid.persons import Names, is_ordinary
from nosology.deid.resolve import repeated, resolve
from nosology.deid.spelling import Folded, fold
from nosology.records import Span

ENGLISH, SPANISH = language("en"), language("es")
RECORD = [
    Value("name", "Ms. Jane Q O'Brien-Thibodeaux"), Value("name", "Wei Ng"), Value("name", "May Grant"), Value("name", "José Müller"),
    Value("name", "Marisol de la Vega Quintanilla"), Value("name", "LI NA"), Value("street", "123 N Larkmeadow St Apt 4"), Value("city", "Kenosha"),
    Value("city", "Reading"), Value("city", "Salt Lake City"), Value("phone", "(415) 555-0134"), Value("email", "j.obrien@example.com"),
    Value("mrn", "00482-913"), Value("id", "urn:mrn:A12345"), Value("id", "123-45-6789"), Value("beneficiary", "8f2b-77aa01"),
    Value("organization", "Acme Health Partners"), Value("id", "77123"), Value("organization", "Zyqo"),
]  # fmt: skip
KNOWN = Known(RECORD, ENGLISH)


def found(text, known=KNOWN):
    return [text[s.start : s.end] for s in resolve(text, known.find(Folded(text)))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # names in any case, possessive, halves, order, accents both ways and in parts, initials, particles
        ("seen with o'brien and OBRIEN’s aunt", ["o'brien", "OBRIEN"]),  # noqa: RUF001
        ("thibodeaux, jane Q. rang", ["thibodeaux, jane Q."]),
        ("J. Thibodeaux and Thibodeaux J.", ["J. Thibodeaux", "Thibodeaux J."]),
        ("Jane R. Thibodeaux", ["Jane R. Thibodeaux"]),
        ("jose muller, JOSE\u0301 MU\u0308LLER; Mueller", ["jose muller", "JOSE\u0301 MU\u0308LLER", "Mueller"]),
        ("marisol de la vega", ["marisol de la vega"]),
        ("Quintanilla's file", ["Quintanilla"]),
        ("thibo\u00addeaux", ["thibo\u00addeaux"]),
        # short names as a name is written, or beside another word of the name
        ("Ng felt fine. NG tube. 3 ng/ml", ["Ng"]),
        ("NG, WEI and wei ng", ["NG, WEI", "wei ng"]),
        ("Li 0.8 mmol/l, Na 140", []),
        ("LI NA came", ["LI NA"]),
        # ordinary words
        ("you may grant access, in May too. May repeat. Grant her access.", []),
        ("May came; seen with Grant today. In May was worse", ["May", "Grant"]),
        ("Wei Li: Li says that Li 0.8 is low; serum Na", ["Wei Li", "Li"]),
        ("May Grant left with Ms. Grant", ["May Grant", "Grant"]),
        # whole words only
        ("Ngo, Janesville, Kenoshan", []),
        # places
        ("at 123 North Larkmeadow Street, Apt. 4b now", ["123 North Larkmeadow Street, Apt. 4b"]),
        ("on Larkmeadow St near 123 Larkmeadow", ["Larkmeadow St", "123 Larkmeadow"]),
        ("kenosha; salt lake\ncity", ["kenosha", "salt lake\ncity"]),
        ("reading glasses. Reading is hard. Moved to Reading; Reading, PA", ["Reading", "Reading"]),
        # numbers, whatever stands between the digits
        ("415.555.0134, 14155550134, +1 (415) 555 0134, 555-0134", ["415.555.0134", "14155550134", "+1 (415) 555 0134", "555-0134"]),
        ("4155550134", ["4155550134"]),
        ("9415.555.01349", []),
        ("mail J.OBrien@Example.com", ["J.OBrien@Example.com"]),
        ("mrn 00482913 or 00482-913 or 0048 2913", ["00482913", "00482-913", "0048 2913"]),
        ("A12345 a-12345 XA12345", ["A12345", "a-12345"]),
        ("123 45 6789 and 123456789", ["123 45 6789", "123456789"]),
        ("8F2B77AA01", ["8F2B77AA01"]),
        ("acct 77123 but not acct 7 7 1 2 3, nor heparin 77123 units", ["77123"]),
        ("bill of ACME health partners, ZYQO too", ["ACME health partners", "ZYQO"]),
    ],
)
def test_found_as_people_write_them(text, expected):
    assert found(text) == expected


def test_classes_are_those_of_the_rules():
    text = "Quintanilla, Kenosha, 415 555 0134, j.obrien@example.com, 00482913, A12345, 123-45-6789, 8f2b77aa01, Acme Health Partners"
    spans = resolve(text, KNOWN.find(Folded(text)))
    assert [s.label for s in spans] == ["NAME", "LOCATION", "PHONE", "EMAIL", "MRN", "ID", "SSN", "BENEFICIARY", "ORGANIZATION"]
    assert {s.source for s in spans} == {"known"} and {s.label for s in spans} == set(KINDS.values())


def test_an_eponym_is_none_until_a_name_stands_beside_it():
    known = Known([Value("name", "Ada Parkinson"), Value("name", "Larkspire")], ENGLISH)
    assert found("larkspire test, Larkspire line", known) == ["larkspire", "Larkspire"]  # no eponym of the list
    assert found("Parkinson disease since 2010", known) == []
    assert found("with Graves' disease, seen by Graves", Known([Value("name", "Graves")], ENGLISH)) == ["Graves"]
    assert found("Ms. Parkinson came with Ada Parkinson", known) == ["Parkinson", "Ada Parkinson"]


def test_an_ordinary_name_within_a_sentence_is_told_by_its_capital_and_what_stands_around():
    known = Known(
        [Value("name", "Small"), Value("name", "White"), Value("name", "Gene"), Value("name", "Still"), Value("name", "Foley")], ENGLISH
    )
    text = "small cyst, a White male, gene panel. Spoke with White and Small again; Gene called. He was Still weak. Still has pain, with Foley draining"
    assert found(text, known) == ["White", "Small", "Gene"]
    assert found("Mr. Still and Dr. Foley; Patient: Still weak", known) == ["Still", "Foley"]


def test_an_ordinary_word_beside_a_name_in_another_case_is_that_word():
    known = Known([Value("name", "Will Larkspire"), Value("name", "Mueller")], ENGLISH)
    assert found("Larkspire will come; will larkspire; Larkspire Will", known) == ["Larkspire", "will larkspire", "Larkspire Will"]
    assert found("Müller and muller", known) == ["Müller"]  # Muller is another name, unless its letters show what it stands for


def test_spanish():
    known = Known(
        [Value("name", "Dolores Cruz Zabaleta"), Value("street", "Calle Mayor 5, 2º B"), Value("phone", "+34 612 345 678")], SPANISH
    )
    assert found("dolores en la cruz; zabaleta refiere; Dolores Cruz", known) == ["zabaleta", "Dolores Cruz"]
    assert found("vive en c/ Mayor 5 y llama al 612345678", known) == ["c/ Mayor 5", "612345678"]


def test_what_is_too_short_or_no_number_is_not_looked_for():
    assert not worth("id", "1234") and not worth("id", "ABCDEF") and worth("id", "12345") and not worth("name", " -")
    assert (
        Known([Value("id", "99"), Value("phone", "911"), Value("name", "-"), Value("street", "7"), Value("city", "")], ENGLISH).find(
            Folded("99 911 7")
        )
        == []
    )


NAME = st.text("abcdefghijklmnopqrstuvwxyzéüñø", min_size=4, max_size=9).filter(lambda w: not is_ordinary(fold(w), ENGLISH))


@given(
    st.lists(NAME, min_size=1, max_size=3), st.sampled_from([str.lower, str.upper, str.title]), st.sampled_from(["NFC", "NFD"]), st.data()
)
def test_a_name_is_found_in_every_case_and_form(words, case, form, data):
    known = Known([Value("name", " ".join(words))], ENGLISH)
    word = unicodedata.normalize(form, case(data.draw(st.sampled_from(words))))
    text = f"{data.draw(st.sampled_from(['pt ', '(', 'é ']))}{word}{data.draw(st.sampled_from([' came', ')', ', ok', chr(8217) + 's']))}"
    at = text.index(word)
    covered = {n for s in known.find(Folded(text)) for n in range(s.start, s.end)}
    assert set(range(at, at + len(word))) <= covered


@given(st.text(max_size=40))
def test_folded_places_lead_back(text):
    folded = Folded(text)
    for at in range(len(folded.plain)):
        start, end = folded.span(at, at + 1)
        assert 0 <= start < end <= len(text) and folded.plain[at] in fold(text[start])
    assert "".join(c for c in folded.plain if c.isalnum()) == folded.condensed


@given(st.text("Jane ng zyqo MAY grant,.'-\n é415 5501234", max_size=60))
def test_spans_lie_in_the_text(text):
    assert all(0 <= s.start < s.end <= len(text) and text[s.start : s.end].strip() for s in KNOWN.find(Folded(text)))


def test_names_that_a_note_showed_are_removed_in_its_other_places():
    def again(text, *spans):
        made = [Span(start=text.index(v), end=text.index(v) + len(v), label="NAME", score=0.9) for v in spans]
        return [text[s.start : s.end] for s in repeated(Folded(text), made, ENGLISH)]

    assert again("Dr. Okonkwo. OKONKWO's plan; okonkwo", "Okonkwo") == ["OKONKWO", "okonkwo"]
    assert again("Ann Smith-Okafor; ms okafor", "Ann Smith-Okafor") == ["okafor"]
    assert again("Wei Ng. Ng left. NG tube", "Wei Ng") == ["Ng"]
    assert again("Ng left, Ng came", "Ng") == []  # one word of two letters alone says too little
    assert again("Mr. Grant; they grant; Grant again", "Grant") == ["Grant"]
    assert again("Patient name: Ada Foley. Ada Foley; Foley in place. Ms. Foley on an ADA diet", "Ada Foley") == ["Ada Foley", "Foley"]
    assert again("Dr. May called. May repeat in May; May says no. Ms. He, He came", "May", "He") == ["May"]
    assert again("John Parkinson has Parkinson disease", "John Parkinson") == []


@given(st.text("Jane ng zyqo MAY grant,.'-\n é415 5501234", max_size=60))
def test_many_values_find_what_few_do(text):
    many = Known([*RECORD, *(Value("id", f"zq-{n:05}") for n in range(64))], ENGLISH)
    assert many.find(Folded(text)) == KNOWN.find(Folded(text))


@pytest.mark.parametrize(
    ("kind", "value", "text", "expected"),
    [
        ("mrn", "MRN-00382910", "00382910, MRN 382910; chart 0382910", ["00382910", "382910", "0382910"]),
        ("mrn", "MRN-00382910", "382910 platelets, 1382910 x", []),  # six digits alone are nobody's number
        ("mrn", "4482910", "mrn 0004482910, 10004482910", ["0004482910"]),
        ("id", "acct 0-77-12003", "no. 77-12003, 7712003", ["77-12003", "7712003"]),
        ("id", "A-12345", "id A-12345, id 12345, 12345 units", ["A-12345", "12345"]),
        ("id", "S23-11892", "no. 11892", []),  # digits before the dash are a part of the number
        ("organization", "Cargill Inc", "works at Cargill, cargill inc.", ["Cargill", "cargill inc"]),
        ("organization", "Zyqo Heating, Co., Inc.", "zyqo heating", ["zyqo heating"]),
        ("organization", "General Health LLC", "General Health; in general health", ["General Health"]),
        ("organization", "Target Corp", "on target, Target Corp", ["Target Corp"]),
        ("organization", "Inc", "Inc", []),
    ],
)
def test_numbers_and_organizations_without_what_stands_around_them(kind, value, text, expected):
    assert found(text, Known([Value(kind, value)], ENGLISH)) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Minh Van Do", "Minh Do came; MINH DO", ["Minh Do", "MINH DO"]),
        ("NGUYEN VAN DO", "Nguyen Do", ["Nguyen Do"]),
        ("Do, Minh MD", "Do, Minh MD", ["Do, Minh"]),
        ("Hoa Le", "Hoa Le and Mrs. Le", ["Hoa Le", "Le"]),
        ("Le, Hoa", "Ms. Le", ["Le"]),
        ("Don Larkspire", "Don Larkspire; don't. Don't", ["Don Larkspire"]),
        ("Lord, Jane", "Ms. Lord", ["Lord"]),
        ("Jane Larkspire M.D.", "Larkspire MD", ["Larkspire"]),
        ("jane larkspire phd", "PhD", []),
        ("Señora Ana Larkspire", "la señora", []),
        ("Ludwig van Larkspire", "in a van", []),
        ("LARKSPIRE*JANE", "jane", ["jane"]),
    ],
)
def test_titles_degrees_and_particles_of_a_record_are_told_from_names(name, text, expected):
    assert found(text, Known([Value("name", name)], ENGLISH)) == expected


def test_don_is_a_title_in_spanish_alone():
    assert found("Don Larkspire; don", Known([Value("name", "Don Anselmo Larkspire")], SPANISH)) == ["Larkspire"]


def test_names_know_when_they_are_empty():
    assert not Names(["", "-", "Q"], ENGLISH) and Names(["Okonkwo"], ENGLISH)


def test_a_value_written_without_accents_is_not_lost_beside_one_that_may_be_respelled():
    for names in (["Mueller", "Muller"], ["Muller", "Mueller"]):
        known = Known([Value("name", name) for name in names], language("en"))
        assert len(known.find(Folded("Muller, MULLER and Mueller"))) == 3, names


@pytest.mark.parametrize("text", ["(415) 555-0134 x22", "415-555-0134 ext. 22", "4155550134 #22", "415.555.0134 extension 9"])
def test_an_extension_is_no_part_of_a_telephone_number(text):
    known = Known([Value("phone", text)], language("en"))
    text = "4155550134, 555-0134 and 415.555.0134 x22"
    assert {text[span.start : span.end] for span in known.find(Folded(text))} >= {"4155550134", "555-0134", "415.555.0134"}
