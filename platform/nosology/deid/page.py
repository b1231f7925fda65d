"""Pages about de-identification that a person reads and signs: HTML of one file, without scripts, in the layout of the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nosology.evaluation.report import Headline, Part, Table, pages

__all__ = ["Headline", "Note", "Page", "Sweep", "Table", "render"]


class Note(Part):
    """A cleaned note to be read."""

    pseudonym: str
    text: str


class Sweep(Part):
    """Recall and precision of a category at each threshold; None where nothing was found."""

    title: str
    thresholds: list[float]
    recall: list[float | None]
    precision: list[float | None]


class Page(Part):
    """What a page shows; every part but the title may be missing. `categories` by letter stand under each note; `signed` says what the
    signature means, and asks for one; `warnings` say what the page does not prove."""

    title: str
    lead: str = ""
    facts: Mapping[str, str] = {}
    headlines: Sequence[Headline] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    sweeps: Sequence[Sweep] = ()
    notes: Sequence[Note] = ()
    categories: Mapping[str, str] = {}
    signed: str = ""
    foot: str = ""


def render(page: Page) -> str:
    """The page as HTML; all text in it is escaped."""
    from markupsafe import Markup

    from nosology.evaluation import figures

    plots: list[tuple[str, Any]] = [
        (one.title, Markup(figures.sweep(f"sweep{n}", one.title, "threshold", one.thresholds, {"recall": one.recall, "precision": one.precision})))
        for n, one in enumerate(page.sweeps)
    ]  # fmt: skip
    return str(pages("nosology.deid").get_template("page.html").render(page=page, plots=plots))
