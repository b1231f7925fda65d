"""One HTML file that a person reads: what was done, how well, with what doubt. Works from a disk, without a network.

Every part of `ReportData` may be missing; a part that is missing has no section. All that is interpolated is escaped. The notes in
`examples` must be public: the report is passed around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nosology import storage
from nosology.evaluation import figures

if TYPE_CHECKING:
    from nosology.evaluation.codes import NoteScores
    from nosology.evaluation.metrics import Bin, Estimate

SMALL_MODELS = (
    "The models behind these figures are small. The encoder has 22 million parameters; the generator was made from scratch on this "
    "machine and proves the path: the same training, quantization and serving code takes a Llama of 8 or 70 billion parameters. "
    "Its figures say nothing about what such a model reaches, and none of this is fit for billing or care without validation at your site."
)


class Part(BaseModel):
    """A piece of the report; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Headline(Part):
    """A figure at the top: the value as it is shown, and what it means in a few words."""

    label: str
    value: str
    note: str = ""


class Bar(Part):
    """A share from 0 to 1, with its interval where one is known; `strong` marks the one that the reader looks for."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    strong: bool = False

    @field_validator("value", "low", "high")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


class Comparison(Part):
    """Bars on the same questions, for instance lexical, base and tuned top-1."""

    title: str
    description: str = ""
    bars: list[Bar]


class Table(Part):
    """A plain table; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


class Reliability(Part):
    """Points (mean confidence, accuracy, answers) and the expected calibration error."""

    points: list[tuple[float, float, int]]
    calibration_error: float


class Training(Part):
    """Loss by step, and what was trained."""

    loss: list[tuple[float, float]]
    validation: list[tuple[float, float]] = []
    facts: dict[str, str] = {}


class Deid(Part):
    """What de-identification removed, by class, and what it was measured to miss."""

    notes: int
    spans: int
    by_label: dict[str, int] = {}
    recall: Bar | None = None
    precision: Bar | None = None
    facts: dict[str, str] = {}


class Quantization(Part):
    """Share of answers that stay the same after quantization."""

    agreement: float
    n: int
    facts: dict[str, str] = {}


class Format(Part):
    """What one input format brought."""

    name: str
    files: int
    records: int
    notes: int
    dead: int


class Records(Part):
    """In = ok + dead."""

    records_in: int
    records_ok: int
    records_dead: int


class DeadReason(Part):
    """Dead letters of one kind."""

    stage: str
    reason: str
    count: int


class ExampleCode(Part):
    """A code given to an example note; spans are (start, end) in characters of its text."""

    code: str
    title: str
    confidence: float
    route: Literal["auto", "review", "reject"]
    evidence: list[tuple[int, int]] = []
    trail: list[str] = []


class Billed(Part):
    """A line of the comparison with the billed codes; `kind` as in records.Discrepancy."""

    code: str
    kind: str


class ExampleNote(Part):
    """A public sample note with its codes."""

    title: str
    source: str
    text: str
    codes: list[ExampleCode]
    billed: list[Billed] = []
    route: str = ""


class ReportData(Part):
    """All that the report can show; every part may be missing."""

    title: str
    lead: str = ""
    facts: dict[str, str] = Field({}, description="fingerprint, versions, machine, date: shown small below the title")
    honesty: str = SMALL_MODELS
    headlines: list[Headline] = []
    records: Records | None = None
    comparisons: list[Comparison] = []
    tables: list[Table] = []
    reliability: Reliability | None = None
    routes: dict[str, int] = {}
    examples: list[ExampleNote] = []
    formats: list[Format] = []
    dead: list[DeadReason] = []
    deid: Deid | None = None
    training: Training | None = None
    quantization: Quantization | None = None
    seconds: dict[str, float] = {}
    limits: list[str] = []


class Piece(NamedTuple):
    """A run of text under the same codes; no codes is plain text."""

    text: str
    codes: tuple[str, ...]


BILLED_WORDS = {
    "agrees": "billed and supported",
    "billed_not_supported": "billed, not supported by the note",
    "supported_not_billed": "supported by the note, not billed",
    "unknown_code": "billed code does not exist",
    "not_billable": "billed code is a heading, not billable",
    "not_in_force": "billed code was not in force on that date",
    "other_system": "billed in another code system",
}


def write_report(path: str, data: ReportData) -> None:
    """Writes the report as one HTML file at a path or URI; the same data give the same bytes."""
    storage.write_bytes(path, render(data).encode())


def pages(*packages: str) -> Any:
    """The environment of every page: templates of these packages, then those that all pages share; all text is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, ".") for package in (*packages, "nosology.evaluation")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(data: ReportData) -> str:
    """The report as HTML."""
    environment = pages()
    environment.filters["share"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["clock"] = figures.clock
    environment.filters["billed"] = lambda kind: BILLED_WORDS.get(kind, kind)
    text: str = environment.get_template("report.html").render(
        page=data, data=data, plots=_plots(data), pieces=pieces, total=sum(data.seconds.values())
    )
    return text


def pieces(note: ExampleNote) -> list[Piece]:
    """The note cut at every border of an evidence span, each piece with the codes that stand on it.

    Spans outside the text are cut to it; empty ones mark nothing.
    """
    length = len(note.text)
    spans = [(max(0, s), min(length, e), code.code) for code in note.codes for s, e in code.evidence if max(0, s) < min(length, e)]
    borders = sorted({0, length, *(s for s, _, _ in spans), *(e for _, e, _ in spans)})
    return [
        Piece(note.text[start:end], tuple(dict.fromkeys(code for s, e, code in spans if s <= start and end <= e)))
        for start, end in zip(borders, borders[1:], strict=False)
    ]


def bar(label: str, estimate: Estimate, strong: bool = False) -> Bar:
    """A bar of an estimate."""
    return Bar(label=label, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n, strong=strong)


def reliability_part(bins: Sequence[Bin] | None, calibration_error: float | None) -> Reliability | None:
    """The reliability section of bins; None where no confidence was given."""
    if bins is None or calibration_error is None:
        return None
    return Reliability(points=[(b.confidence, b.accuracy, b.n) for b in bins], calibration_error=calibration_error)


def note_table(scores: NoteScores, title: str = "Codes of whole notes") -> Table:
    """Precision, recall and F1 of notes at both levels, with their intervals."""

    def cell(estimate: Estimate) -> str:
        return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"

    rows = [
        [name, cell(level.precision), cell(level.recall), cell(level.f1)]
        for name, level in (("full code", scores.code), ("three-character category", scores.category))
    ]
    if (above := scores.hierarchical) is not None:
        rows.append(["with ancestors (hierarchical)", *(f"{value:.3f}" for value in (above.precision, above.recall, above.f1))])
    note = f"{scores.num_notes} notes, {scores.num_gold} core codes. Macro F1 over codes {scores.macro_f1:.3f}."
    return Table(title=title, head=["level", "precision", "recall", "F1"], rows=rows, note=note)


def _plots(data: ReportData) -> dict[str, Any]:
    """Inline SVG by place in the report, safe to insert: all text in it is escaped by the SVG writer."""
    from markupsafe import Markup

    made: dict[str, Any] = {
        "comparisons": [
            Markup(figures.bars(f"bars{i}", c.title, [(b.label, b.value, b.low, b.high, b.strong) for b in c.bars])) if c.bars else ""
            for i, c in enumerate(data.comparisons)
        ]
    }
    if data.reliability and data.reliability.points:
        made["reliability"] = Markup(figures.reliability("reliability", "Accuracy by confidence", data.reliability.points))
    if data.training and (data.training.loss or data.training.validation):
        made["loss"] = Markup(figures.curve("loss", "Loss by step", data.training.loss, data.training.validation))
    if data.seconds:
        made["seconds"] = Markup(figures.times("seconds", "Time by stage", list(data.seconds.items())))
    return made
