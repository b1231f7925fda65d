"""The report: whole, in parts, and against hostile text. It is parsed as a browser would, not searched as a string."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from nosology.evaluation import figures
from nosology.evaluation.codes import Gold, Predicted, score_notes
from nosology.evaluation.metrics import Bin, Estimate
from nosology.evaluation.report import (
    Bar,
    Billed,
    Comparison,
    DeadReason,
    Deid,
    ExampleCode,
    ExampleNote,
    Format,
    Headline,
    Quantization,
    Records,
    Reliability,
    ReportData,
    Table,
    Training,
    bar,
    note_table,
    pieces,
    reliability_part,
    render,
    write_report,
)
from pydantic import ValidationError

HOSTILE = """<script>alert(1)</script>"'></td><img src=x onerror=alert(1)>&{{ 7*7 }}$\\frac{1}$--><b>"""
VOID = {"meta", "br", "img", "link", "use", "path", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, balanced; text of the page outside style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]


def parts(word: str) -> dict[str, Any]:
    """Every part of a report, `word` wherever a text may stand."""
    code = ExampleCode(code=word, title=word, confidence=0.5, route="review", evidence=[(0, 3)], trail=[word, "b"])
    return {
        "lead": word,
        "facts": {word: word},
        "headlines": [Headline(label=word, value=word, note=word)],
        "records": Records(records_in=5, records_ok=4, records_dead=1),
        "comparisons": [Comparison(title=word, description=word, bars=[Bar(label=word, value=0.4, low=0.3, high=0.5, strong=True)])],
        "tables": [Table(title=word, head=[word, word], rows=[[word, word]], note=word)],
        "reliability": Reliability(points=[(0.2, 0.1, 4), (0.9, 0.8, 20)], calibration_error=0.1),
        "routes": {"auto": 3, "review": 1, word: 1},
        "examples": [ExampleNote(title=word, source=word, text=word, codes=[code], billed=[Billed(code=word, kind=word)], route=word)],
        "formats": [Format(name=word, files=1, records=2, notes=3, dead=4)],
        "dead": [DeadReason(stage=word, reason=word, count=1)],
        "deid": Deid(notes=1, spans=2, by_label={word: 2}, recall=Bar(label="r", value=0.9), facts={word: word}),
        "training": Training(loss=[(1, 3.0), (2, 2.0)], validation=[(2, 2.5)], facts={word: word}),
        "quantization": Quantization(agreement=0.99, n=100, facts={word: word}),
        "seconds": {word: 3.0, "b": 70.0},
        "limits": [word],
    }


def test_a_hostile_word_stays_a_word_everywhere() -> None:
    html = render(ReportData(title=HOSTILE, honesty=HOSTILE, **parts(HOSTILE)))
    page = Page(html)
    assert not page.of("script", "img", "iframe", "object", "link", "b")
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    harmless = Page(render(ReportData(title="w", honesty="w", **parts("w"))))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in harmless.tags}
    assert page.text.count("<script>alert(1)</script>") > 25
    assert "49" not in page.text, "a template in the data must not be run"


def test_nothing_is_loaded_and_everything_has_a_name() -> None:
    html = render(ReportData(title="Title", **parts("word")))
    page = Page(html)
    for attrs in page.of("a", "use", "image", "link", "script", "img"):
        for name in ("href", "xlink:href", "src"):
            assert (attrs.get(name) or "#").startswith("#")
    assert "@import" not in html and "@font-face" not in html and not re.search(r"url\((?!#)", html)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {(a["href"] or "")[1:] for a in page.of("a")} | {(a["xlink:href"] or "")[1:] for a in page.of("use")}
    named = set(itertools.chain.from_iterable((a.get("aria-labelledby") or "").split() for _, a in page.tags))
    assert links | named <= set(ids)
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for a in page.of("svg")) and len(page.of("svg")) == 4
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert page.of("html")[0]["lang"] == "en"


@pytest.mark.parametrize("missing", sorted(parts("w")))
def test_any_part_may_be_missing(missing: str) -> None:
    page = Page(render(ReportData(title="T", **{k: v for k, v in parts("w").items() if k != missing})))
    assert page.of("main")


@pytest.mark.parametrize("only", sorted(parts("w")))
def test_any_part_may_stand_alone(only: str) -> None:
    page = Page(render(ReportData(title="T", **{only: parts("w")[only]})))
    targets = {(a["href"] or "")[1:] for a in page.of("a")}
    assert targets <= {a["id"] for _, a in page.tags if "id" in a}


def test_empty_lists_and_zeroes() -> None:
    data = ReportData(
        title="T",
        comparisons=[Comparison(title="none", bars=[])],
        reliability=Reliability(points=[], calibration_error=0.0),
        routes={"auto": 0},
        training=Training(loss=[]),
        seconds={"a": 0.0},
        examples=[ExampleNote(title="e", source="s", text="", codes=[])],
    )
    assert "No code." in Page(render(data)).text


def test_figures_are_those_given_and_the_bytes_repeat(tmp_path: Path) -> None:
    data = ReportData(title="T", **parts("w"))
    write_report(str(tmp_path / "r.html"), data)
    html = (tmp_path / "r.html").read_text()
    assert html == render(data)
    text = " ".join(Page(html).text.split())
    assert "5 records in: 4 processed, 1 set aside" in text and "Every one is accounted for" in text
    assert "1 min 13 s in all" in text and "99.0 % of 100 answers" in text
    assert "90.0 % of identifiers" in text and "0.400" in text
    broken = ReportData(title="T", records=Records(records_in=5, records_ok=3, records_dead=1))
    assert "The sum does not match" in Page(render(broken)).text


def test_colours_follow_the_page() -> None:
    svg = figures.times("t", "Time", [("a", 1.0)])
    assert "var(--accent)" in svg and "#0102" not in svg


def test_a_sweep_says_its_numbers_and_leaves_gaps() -> None:
    svg = figures.sweep("s", "NAME", "threshold", (0.1, 0.5), {"recall": [0.99, 0.9], "precision": [0.8, None]})
    assert "recall: 0.990, 0.900; precision: 0.800, none" in svg and "var(--warm)" in svg


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: int) -> None:
    html = render(ReportData(title="T"))
    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", html, re.DOTALL)]
    colours = blocks[0] | (blocks[1] if theme else {})
    pairs = [("ink", "paper"), ("ink", "card"), ("muted", "paper"), ("muted", "card"), ("accent", "paper"), ("mark-ink", "mark")]
    pairs += [(route, "card") for route in ("auto", "review", "reject")]
    for one, other in pairs:
        high, low = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)


def test_pieces_cut_the_note_without_losing_a_letter() -> None:
    def code(name: str, *spans: tuple[int, int]) -> ExampleCode:
        return ExampleCode(code=name, title="t", confidence=1, route="auto", evidence=list(spans))

    note = ExampleNote(title="n", source="s", text="abcdefghij", codes=[code("X", (2, 5), (7, 99)), code("Y", (4, 6), (3, 3), (-5, -1))])
    assert pieces(note) == [("ab", ()), ("cd", ("X",)), ("e", ("X", "Y")), ("f", ("Y",)), ("g", ()), ("hij", ("X",))]
    assert pieces(note.model_copy(update={"text": ""})) == []


CLOCK = [(0, "0.0 s"), (59.99, "1 min 00 s"), (65, "1 min 05 s"), (7800, "2 h 10 min"), (3599.9, "1 h 00 min")]


@pytest.mark.parametrize(("seconds", "words"), CLOCK)
def test_clock(seconds: float, words: str) -> None:
    assert figures.clock(seconds) == words


def test_parts_made_from_figures() -> None:
    assert bar("x", Estimate(0.5, 0.4, 0.6, 9), strong=True) == Bar(label="x", value=0.5, low=0.4, high=0.6, n=9, strong=True)
    assert reliability_part([Bin(0.9, 0.8, 5)], 0.1).points == [(0.9, 0.8, 5)]
    table = note_table(score_notes({"a": Gold(frozenset({"I10"}))}, {"a": [Predicted("I10")]}, ancestors=lambda c: [c[0]]))
    assert [row[0] for row in table.rows] == ["full code", "three-character category", "with ancestors (hierarchical)"]
    assert table.rows[0][3] == "1.000 (1.000 to 1.000)" and all(len(row) == len(table.head) for row in table.rows)
    with pytest.raises(ValidationError):
        Bar(label="x", value=float("nan"))
    with pytest.raises(ValidationError):
        ReportData(title="T", colour="red")  # type: ignore[call-arg]


def test_pages_and_reports_have_one_layout():
    from nosology.deid import page

    said = {"title": "T <b>", "lead": "L", "facts": {"a": "<1>"}, "headlines": [Headline(label="k", value="3", note="n")]}
    said["tables"] = [Table(title="t", head=["a", "b"], rows=[["x", "<y>"]], note="n")]
    one, other = render(ReportData(honesty="", **said)), page.render(page.Page(**said))
    for start, end in (("<body>", "</header>"), ('<h2 class="skip">', "</dl>"), ('<div class="scroll"', '<p class="foot">n</p>')):
        pieces = [text[text.index(start) : text.index(end)] for text in (one, other)]
        assert pieces[0] == pieces[1] and "<b>" not in pieces[0] and "<y>" not in pieces[0]
