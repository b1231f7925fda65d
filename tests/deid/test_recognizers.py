"""What holds for the recognizers together, on the texts of the tables: classes, the gate, no network, hostile texts."""

import re
import socket

import pytest
from deid_tables import ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.deid import LABELS
from nosology.deid.folding import folded
from nosology.deid.languages import language
from nosology.deid.patterns import Patterns, Scan
from nosology.records import Span

ENGLISH = language("en")
PAIR = [ENGLISH.recognizer("dates"), ENGLISH.recognizer("contacts")]
SCAN = Scan(PAIR)
ACCENTS = str.maketrans("aeounc AEON", "áéöüñç\u00a0ÁÉÖÑ")
TEXTS = [row.text for row in ROWS if row.code == "en"]


@pytest.fixture(scope="module")
def recognizers():
    return {name: ENGLISH.recognizer(name) for name in ENGLISH.names}


def test_labels_are_safe_harbor(recognizers):
    spans = [s for text in TEXTS for one in recognizers.values() for s in one.find(text)]
    assert {s.label for s in spans} <= set(LABELS)
    assert set("ABCDEFGHIJKLMNOPQR") == set(LABELS.values())


def test_context_words_work_without_a_language_model(recognizers):
    """Presidio's weak patterns count only behind their word; with spacy.blank and no lemmas they never would."""
    assert [s.label for s in recognizers["presidio"].find("his bank account is 945456787654")] == ["ACCOUNT"]
    assert not list(recognizers["presidio"].find("the value is 945456787654"))


@pytest.mark.parametrize("text", ["1234567890 is no NPI", "DEA AB1234567", "duplicate 12345678", "metformin 500 mg"])
def test_presidio_refuses_a_wrong_check_digit_and_half_a_word(recognizers, text):
    assert list(recognizers["presidio"].find(text)) == []


def test_no_network(recognizers, monkeypatch):
    asked = []

    def refuse(*_, **__):
        asked.append(True)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name, one in recognizers.items():
        for text in TEXTS:
            list(one.find(text))
        assert not asked, name


def test_the_gate_loses_nothing(recognizers):
    """One scan that leaves most rules out finds what all of them find, whatever the text."""
    patterns = [(one.name, rule) for one in recognizers.values() if isinstance(one, Patterns) for rule in one.rules]
    scan = Scan(recognizers.values())
    texts = TEXTS + [text.translate(ACCENTS) for text in TEXTS] + [text.upper() for text in TEXTS] + [" ".join(TEXTS), "\n".join(TEXTS)]
    spared = 0
    for text in texts:
        named = set(scan.candidates(folded(text)))
        for number, (name, rule) in enumerate(patterns):
            if number not in named:
                assert not list(rule.spans(text, name)), (name, rule.pattern.pattern[:40])
                spared += 1
    assert spared > len(texts) * len(patterns) / 2


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_the_gate_takes_any_text(text):
    alone = [s for one in PAIR for s in one.find(text)]
    assert sorted(SCAN.find(text), key=repr) == sorted(alone, key=repr)


@pytest.mark.parametrize(
    ("text", "value", "label", "kept"),
    [
        ("billed CPT 99213, 99214 today", "99214", "ID", True),
        ("codes 99213 and 99215", "99215", "ID", True),
        ("moved to 60614 last year", "60614", "ID", False),
        ("pt 48213 is here", "48213", "ID", False),
        ("coded E11.9; chart 48213", "48213", "ID", False),
        ("his number 44712abc again", "44712abc", "ID", False),
        ("given 10000iu today", "10000iu", "ID", True),
        ("given 5000abc today", "5000abc", "ID", True),
        ("rest for 3 days with ice", "3 days with ice", "DATE", True),
        ("after 3 days, on May 4", "3 days, on May 4", "DATE", False),
        ("in 2 weeks Tuesday", "2 weeks Tuesday", "DATE", False),
        ("for 2 weeks 03/14/2019", "2 weeks 03/14/2019", "DATE", False),
        ("Sleep 3/10, mood 4/10", "/10", "DATE", True),
        ("seen 3/20 for a cough", "3/20", "DATE", False),
        ("pain 3/10 today", "3/10", "DATE", True),
        ("vaccinated 2/14 today", "2/14", "DATE", False),
        ("Nursing 0700-1900", "0700-1900", "DATE", True),
        ("asleep 1930 - 0700", "1930 - 0700", "DATE", True),
        ("asleep at 10:30 pm", "10:30 pm", "DATE", True),
        ("shift 0700-1900 03/14", "0700-1900 03/14", "DATE", False),
    ],
)
def test_what_a_tagger_marks(text, value, label, kept):
    """Five digits are a public code behind the name of one alone; a length of time has no day in it."""
    start = text.index(value)
    assert ENGLISH.keeps(text, Span(start=start, end=start + len(value), label=label, source="tagger")) == kept


@pytest.mark.parametrize(("value", "kept"), [("0700-1900", True), ("12/03", False), ("0700-1900 12 de marzo", False)])
def test_what_a_spanish_tagger_marks(value, kept):
    assert language("es").keeps(f"Turno {value}", Span(start=6, end=6 + len(value), label="DATE", source="tagger")) == kept


@pytest.mark.parametrize("text", ["GB33 B\u0130KB 2020 1555 5555 55", "gb33 bui\u212a 2020 1555 5555 55"])
def test_letters_that_only_ignoring_case_takes_for_latin_ones_do_not_stop_a_text(text):
    """The Turkish dotted I and the Kelvin sign: no base 36 has them."""
    assert ENGLISH.recognizer("bare_codes").rules[1].pattern.search(text)
    assert not [span for span in ENGLISH.recognizer("bare_codes").find(text) if span.score == 1.0]


@pytest.mark.parametrize(
    "text", ["call -212-555-0143 now", "fon:.(212) 555-0143 today", "ring 212-555-0143- or write", "id 212-555-0143_ please"]
)
def test_phones_takes_the_numbers_that_contacts_refuses(text):
    """A hyphen or a point beside it keeps the pattern of contacts away."""
    assert not [span for span in ENGLISH.recognizer("contacts").rules[7].spans(text, "contacts")]
    assert [span.label for span in ENGLISH.recognizer("phones").find(text)] == ["PHONE"]


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["+", "1", "212", "555", "0143", "310", "44", "20", "7946", "0958", "011", "-", "(", ")", ".", "/", "x", "3", "00", "＋", "٢"]
        ),
        max_size=9,
    ),
    st.sampled_from(["", " ", "-"]),
)
def test_rules_and_phones_find_whatever_libphonenumber_finds(parts, between):
    """The quick looks before it refuse nothing that is valid and that contacts leave."""
    import phonenumbers

    text = between.join(parts)
    found = [*ENGLISH.recognizer("contacts").find(text), *ENGLISH.recognizer("phones").find(text)]
    covered = {at for span in found for at in range(span.start, span.end)}
    for match in phonenumbers.PhoneNumberMatcher(text, "US", leniency=phonenumbers.Leniency.VALID):
        if re.search(r"\d{3}", match.raw_string):
            assert {at for at in range(match.start, match.end) if text[at].isalnum()} <= covered
