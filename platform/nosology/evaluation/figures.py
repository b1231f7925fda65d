"""Plots of the report as inline SVG: text stays text, colours are CSS variables, so they follow the light or dark page and print well."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, Final

# matplotlib wants real colours; each stands for a variable of the page's style sheet
_VARIABLES: Final = {
    "#010203": "--ink",
    "#010204": "--muted",
    "#010205": "--accent",
    "#010206": "--bar",
    "#010207": "--rule",
    "#010208": "--warm",
}
INK, MUTED, ACCENT, BAR, RULE, WARM = _VARIABLES
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH: Final = 4.5  # inches; read at this size on a phone and on half a laptop


@contextmanager
def _figure(height: float, name: str, title: str, description: str, out: list[str]) -> Iterator[Any]:
    """Axes to draw on; the finished SVG is appended to `out`."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        yield axes
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    out.append(_inline(buffer.getvalue(), name, title, description))


def _inline(svg: str, name: str, title: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    size = re.search(r'viewBox="([^"]*)"', svg)
    assert size is not None, "matplotlib writes a view box"
    head = f'<svg viewBox="{size[1]}" role="img" aria-labelledby="{name}-title {name}-text" xmlns:xlink="http://www.w3.org/1999/xlink">'
    head += f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>'
    svg = head + svg[svg.index(">") + 1 :]
    # ids are unique in a document, and matplotlib numbers them anew in each figure
    svg = re.sub(rf'\bid="(?!{re.escape(name)}-)([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font: \1px var(--sans)", svg)


def bars(name: str, title: str, rows: Sequence[tuple[str, float, float | None, float | None, bool]]) -> str:
    """Horizontal bars from 0 to 1: (label, value, low, high, whether to stress it)."""
    out: list[str] = []
    description = "; ".join(
        f"{label} {value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")
        for label, value, low, high, _ in rows
    )
    with _figure(0.45 + 0.62 * len(rows), name, title, description, out) as axes:
        for place, (label, value, low, high, strong) in enumerate(rows):
            y = -place
            axes.barh(y, value, height=0.34, color=ACCENT if strong else BAR, linewidth=0)
            end = value
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=INK, linewidth=1.4, solid_capstyle="butt")
                axes.plot([low, high], [y, y], linestyle="none", marker="|", markersize=7, color=INK)
                end = max(value, high)
            axes.text(0, y + 0.25, _short(label, 48), va="bottom", ha="left", fontweight="bold" if strong else "normal")
            axes.text(end + 0.015, y, f"{value:.3f}", va="center", ha="left", color=INK, fontweight="bold" if strong else "normal")
        axes.set_xlim(0, 1.08)
        axes.set_ylim(-len(rows) + 0.6, 0.75)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_yticks([])
        axes.spines["left"].set_color(RULE)
        axes.tick_params(length=3)
    return out[0]


def reliability(name: str, title: str, points: Sequence[tuple[float, float, int]]) -> str:
    """Accuracy by confidence: (mean confidence, accuracy, answers); the size of a point is its number of answers."""
    out: list[str] = []
    description = "; ".join(f"confidence {c:.2f}: {a:.2f} right of {n}" for c, a, n in points)
    most = max((n for _, _, n in points), default=1)
    with _figure(3.5, name, title, description, out) as axes:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        axes.plot([c for c, _, _ in points], [a for _, a, _ in points], color=ACCENT, linewidth=1.8)
        area = [22 + 120 * n / most for _, _, n in points]
        axes.scatter([c for c, _, _ in points], [a for _, a, _ in points], s=area, color=ACCENT, zorder=3)
        axes.annotate("confidence holds", (0.3, 0.3), (0.03, 0.56), color=MUTED, arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.8})
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="confidence given", ylabel="share that was right")
        axes.grid(color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
    return out[0]


def curve(
    name: str, title: str, train: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]] = (), *,
    what: str = "loss", smooth: bool = True, marks: Sequence[float] = (),
) -> str:  # fmt: skip
    """A measure by step: (step, value) of training and validation, of which one may be empty.

    Args:
        what: name of the measure, at its axis.
        smooth: draw a running mean too, where there are enough steps.
        marks: steps at which training began anew, as dotted lines.
    """
    out: list[str] = []
    last = train[-1] if train else validation[-1]
    first = train[0] if train else validation[0]
    description = f"{what} {_told(first[1])} at step {first[0]:.0f}, {_told(last[1])} at step {last[0]:.0f}"
    description += f"; started again at step {', '.join(f'{mark:.0f}' for mark in marks)}" if marks else ""
    with _figure(3.0, name, title, description, out) as axes:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        window = max(1, len(train) // 20) if smooth else 1
        if train:
            colour, width = (ACCENT, 1.6) if window == 1 else (BAR, 1.1)
            dot = "o" if len(train) == 1 else None  # of a single step no line can be drawn
            label = "training" if validation else "each step"
            axes.plot(*_xy(_thinned(train)), color=colour, linewidth=width, marker=dot, label=label)
            if window > 1:
                sums = list(itertools.accumulate((v for _, v in train), initial=0.0))
                means = [(train[end - 1][0], (sums[end] - sums[end - window]) / window) for end in range(window, len(sums))]
                axes.plot(*_xy(_thinned(means)), color=ACCENT, linewidth=2, label=f"mean of {window:,}")
        if validation:
            axes.plot(*_xy(validation), color=WARM, linewidth=1.8, marker="o", markersize=4, label="validation")
        for mark in marks:
            axes.axvline(mark, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set(xlabel="step", ylabel=what)
        axes.set_ylim(bottom=min(0.0, min(value for _, value in (*train, *validation))))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: _told(value)))
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        if window > 1 or validation:  # above, where it hides nothing
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}
            axes.legend(frameon=False, labelcolor=INK, fontsize=9.5, handlelength=1.3, columnspacing=1.2, **above)
    return out[0]


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _thinned(points: Sequence[tuple[float, float]], stretches: int = 400) -> list[tuple[float, float]]:
    """No more points than can be seen: of each stretch the lowest and the highest, in their order."""
    size = -(-len(points) // stretches)
    if size <= 2:
        return list(points)
    found: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return found


def sweep(name: str, title: str, xlabel: str, ticks: Sequence[float], lines: Mapping[str, Sequence[float | None]]) -> str:
    """Shares against a setting that takes the values of `ticks`, at equal distances: one line a name, at most three; None leaves a gap."""
    out: list[str] = []
    described = (f"{label}: " + ", ".join("none" if v is None else f"{v:.3f}" for v in values) for label, values in lines.items())
    description = f"{xlabel} {', '.join(f'{tick:g}' for tick in ticks)}; " + "; ".join(described)
    least = min((v for values in lines.values() for v in values if v is not None), default=0.0)
    styles = ((ACCENT, "o", "-"), (WARM, "s", (0, (5, 2))), (INK, "^", (0, (1, 1))))
    with _figure(2.7, name, title, description, out) as axes:
        for (label, values), (colour, marker, line) in zip(lines.items(), styles, strict=False):
            heights = [float("nan") if v is None else v for v in values]
            axes.plot(range(len(ticks)), heights, color=colour, marker=marker, markersize=4.5, linewidth=1.8, linestyle=line, label=label)
        axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
        axes.set(xlabel=xlabel, ylim=(max(0.0, least - 0.1 * (1.02 - least)), 1.02))
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.legend(frameon=False, labelcolor=INK, fontsize=10)
    return out[0]


def times(name: str, title: str, seconds: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars of seconds by stage."""
    out: list[str] = []
    description = "; ".join(f"{stage} {value:.1f} s" for stage, value in seconds)
    longest = max((value for _, value in seconds), default=1.0) or 1.0
    with _figure(0.4 + 0.36 * len(seconds), name, title, description, out) as axes:
        for place, (_, value) in enumerate(seconds):
            axes.barh(-place, value, height=0.55, color=ACCENT, linewidth=0)
            axes.text(value + longest * 0.015, -place, clock(value), va="center", ha="left", color=INK)
        axes.set_yticks([-i for i in range(len(seconds))], [_short(stage, 22) for stage, _ in seconds])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, longest * 1.2)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    return out[0]


def _told(value: float) -> str:
    """A number as an axis shows it: 12,000, 3.45, 0.00005."""
    if 1e-6 <= abs(value) < 1e-3:
        return f"{value:.8f}".rstrip("0")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _short(label: str, length: int) -> str:
    """A label that leaves room for the plot; the description of the figure holds it in full."""
    return label if len(label) <= length else label[: length - 1] + "…"


def clock(seconds: float) -> str:
    """Seconds as a person says them: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
