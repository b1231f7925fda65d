"""The 18 tables of 45 CFR 164.514(b)(2)(i), English and Spanish: what must be found, what holds nothing, near misses (see `deid_tables`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from deid_tables import ROWS, Row, marked
from nosology.config import DeidConfig
from nosology.deid import LABELS
from nosology.deid.detect import Detector
from nosology.deid.languages import LANGUAGES, language

# rows that a table of a language has at least: found, false, near misses
LEAST = {"en": {"found": 20, "false": 10, "near": 10}, "es": {"found": 8, "false": 5, "near": 5}}


@pytest.fixture(scope="session")
def detector() -> Callable[[str, str], Detector]:
    """Detectors by language and passes; each is built once, and both of a language share their scan."""
    built: dict[tuple[str, str], Detector] = {}

    def of(code: str, passes: str) -> Detector:
        if (code, passes) not in built:
            built[code, passes] = Detector(DeidConfig(language=code), rules_only=passes == "rules")
        return built[code, passes]

    return of


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(detector: Callable[[str, str], Detector], row: Row) -> None:
    """Rules find just what is marked. The tagger covers every character of it in a class of its category, and leaves the rest alone where nothing is marked."""
    spans = detector(row.code, row.passes).find([row.text])[0]
    assert bool(row.spans) == (row.kind == "found")
    if row.passes == "rules" or not row.spans:
        assert [(s.label, row.text[s.start : s.end]) for s in spans] == [(label, row.text[a:b]) for label, a, b in row.spans]
    for label, start, end in row.spans:
        covered = {i for s in spans if LABELS.get(s.label, s.label) == LABELS[label] for i in range(s.start, s.end)}
        assert {i for i in range(start, end) if row.text[i].isalnum()} <= covered, spans


# rows without an identifier in which both passes mark anything: may fall, never rise
OVER = {"en": 30, "es": 9}


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_tagger_leaves_what_holds_nothing(code: str) -> None:
    texts = [row.text for row in ROWS if row.code == code and not row.spans]
    found = Detector(DeidConfig(language=code, policy="safe_harbor")).find(texts)
    touched = [(text, [(s.label, text[s.start : s.end]) for s in spans]) for text, spans in zip(texts, found, strict=True) if spans]
    assert len(touched) <= OVER[code], touched


@pytest.mark.parametrize("code", LANGUAGES)
def test_tables_are_whole(code: str) -> None:
    """All 18 letters; enough rows of each kind in every table; every text once."""
    tables = {row.table for row in ROWS if row.code == code}
    count = Counter((row.table, row.kind) for row in ROWS if row.code == code)
    assert len({name[0] for name in tables}) == len(tables)
    assert {name[0] for name in tables} == set(LABELS.values())
    short = {(t, kind): count[t, kind] for t in tables for kind, least in LEAST[code].items() if count[t, kind] < least}
    assert not short
    texts = Counter((row.table, row.text) for row in ROWS if row.code == code)
    assert [text for text, times in texts.items() if times > 1] == []


@pytest.mark.parametrize(("code", "name"), [(code, name) for code in LANGUAGES for name in language(code).names])
def test_every_recognizer_is_in_a_table(code: str, name: str) -> None:
    """Each one finds a value of a table by itself, whole and in its class."""
    recognizer = language(code).recognizer(name)
    texts = ((row, span) for row in ROWS if row.code == code for span in recognizer.find(row.text))
    assert any((span.label, span.start, span.end) in row.spans for row, span in texts)


def test_a_mark_is_read() -> None:
    assert marked("a {b} {ZIP=02139} {x=1}", "ID") == ("a b 02139 x=1", [("ID", 2, 3), ("ZIP", 4, 9), ("ID", 10, 13)])
