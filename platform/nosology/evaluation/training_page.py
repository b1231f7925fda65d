"""The page of a training: how it went, what was kept, what went wrong. Figures, names of settings and digests; no text of any record, and no
folder, whose name may tell of a site.

`read` takes what the run folder holds; the pages are pure functions of that and of the verb's report.
"""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nosology import storage
from nosology.config import TrainConfig, flatten
from nosology.errors import InputError
from nosology.evaluation import figures
from nosology.evaluation.report import Headline, Part, Table, pages
from nosology.runs import VERSION
from nosology.training import ledger, lines
from nosology.training.tracking import PLACES
from nosology.training.watch import events

_MOST_ROWS = 40  # of a table; the last ones
_COUNTS = ("validation_rows", "cut", "nodes", "codes", "unknown_codes", "without_codes")  # of the data, where the objective counts them
_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "Full fine-tuning"}
# why its data could be trained on
_BASIS = {
    "proof": "text de-identified here, with proof", "vouched": "text de-identified elsewhere, and vouched for",
    "no patients": "no text of patients", "labels only": "labels, no text",
}  # fmt: skip


class Chart(Part):
    """A measure by step; both lines are (steps done, value)."""

    title: str
    what: str
    points: list[tuple[float, float]]
    validation: list[tuple[float, float]] = []
    smooth: bool = True
    marks: list[float] = []
    note: str = ""


class Seed(Part):
    """The run of one seed: its page, relative to this one, and its figures in the order of the head."""

    seed: int
    href: str
    cells: list[str]
    best: bool = False


class TrainingPage(Part):
    """All that the page can show; every part but the title may be missing."""

    title: str
    lead: str = ""
    facts: dict[str, str] = {}
    headlines: list[Headline] = []
    seed_head: list[str] = []
    seeds: list[Seed] = []
    charts: list[Chart] = []
    checkpoints: Table | None = None
    events: Table | None = None
    configuration: Table | None = None
    lineage: Table | None = None


class History(NamedTuple):
    """What the run folder tells: measures by step (the last value of one that was taken twice), metrics of the validation rows by step, events
    in order, markers of the checkpoints that are there, and what the ledger proves."""

    steps: Mapping[int, Mapping[str, float]]
    validation: Mapping[int, Mapping[str, float]]
    events: Sequence[Mapping[str, Any]]
    markers: Sequence[Mapping[str, Any]]
    ledger: Mapping[str, Any]


def read(folder: Path, steps: int, num_rows: int) -> History:
    """The history of a run.

    Args:
        steps: optimizer steps that the model has learnt; later lines are of steps that were lost.
        num_rows: training rows.
    """
    told: dict[str, dict[int, dict[str, float]]] = {"loss": {}, "validation": {}}
    for line in lines.read(folder / "metrics.jsonl"):
        step = line.get("step")
        if line.get("name") in told and isinstance(step, int) and step < steps:
            told[line["name"]][step] = {name: value for name, value in line.items() if _is_number(value) and name not in ("time", "step")}
    markers = []
    for path in sorted((folder / "checkpoints").glob("step-*.json")):
        try:
            marker = storage.read_json(str(path))
            markers.append({"step": int(marker["step"]), "metrics": dict(marker.get("metrics") or {})})
        except (InputError, ValueError, KeyError, TypeError):  # it is passed over by the training too
            continue
    return History(told["loss"], told["validation"], events(folder), markers, ledger.account(folder / ledger.FILE, steps, num_rows))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def run_page(report: Mapping[str, Any], history: History, config: TrainConfig, digests: Mapping[str, str]) -> TrainingPage:
    """The page of one run.

    Args:
        report: of `training.loop.train`.
        digests: SHA-256 by what it is of.
    """
    done, total = int(report["steps_done"]), int(report["steps"])
    restarts = [one for one in _named(history.events, total) if one[0] == "restart"]
    learning, parameters = report["parameters_learning"], report["parameters"]
    lead = f"{_METHODS[config.method]}, objective {config.objective}: {learning:,} of {parameters:,} parameters learn, "
    lead += f"on {report['rows']:,} rows in steps of {config.batch_size * config.accumulation_steps * config.workers:,}."
    facts = {"workers": str(report["workers"]), "ZeRO": str(config.zero), "precision": config.precision, "seed": str(config.seed)}
    origin = report.get("deidentification") or {}
    facts |= {"data": _BASIS.get(str(origin["basis"]), "")} if "basis" in origin else {}
    facts |= {"policy": str(origin["policy_name"])} if "policy_name" in origin else {}
    facts |= {name.replace("_", " "): f"{report[name]:,}" for name in _COUNTS if name in report}
    return TrainingPage(
        title="Training", lead=lead, facts={**facts, "version": VERSION},
        headlines=_headlines(report, history, config, len(restarts)),
        charts=_charts(report, history, config, [one["step"] for _, one in restarts if 0 < one.get("step", 0) < done]),
        checkpoints=_checkpoints(report, history, config), events=_events(history.events, total),
        configuration=_configuration(config), lineage=_lineage(digests),
    )  # fmt: skip


def _headlines(report: Mapping[str, Any], history: History, config: TrainConfig, restarts: int) -> list[Headline]:
    steps = [history.steps[step] for step in sorted(history.steps)]
    done, total = report["steps_done"], report["steps"]
    taken = f"in {figures.clock(sum(step.get('seconds', 0.0) for step in steps))}"
    early = f"of {total:,}, {taken}: {config.patience} evaluations without a better {config.metric}"
    found = [Headline(label="steps", value=f"{done:,}", note=early if report.get("early") else f"all that were due, {taken}")]
    losses = [step["value"] for step in steps if "value" in step]
    if losses:
        first = f"{losses[0]:.3f} at the first step" if len(losses) > 1 else ""
        found.append(Headline(label="training loss", value=f"{losses[-1]:.3f}", note=first))
    metric = report["metrics"].get(config.metric)
    if metric is not None and _is_number(metric):
        note = f"of the checkpoint in use, step {report['checkpoint_step']:,}"
        found.append(Headline(label=f"{config.metric}, validation", value=f"{metric:.3f}", note=note))
    speeds = [step["tokens_per_second"] for step in steps if "tokens_per_second" in step]
    if speeds:
        found.append(Headline(label="tokens a second", value=f"{statistics.median(speeds):,.0f}", note="median of the steps, all workers"))
    shares = [step["mfu"] for step in steps if "mfu" in step]
    if shares:
        share = f"{100 * statistics.median(shares):.1f} %"
        found.append(Headline(label="MFU", value=share, note="median, of the card's dense peak in bf16"))
    held = [step["memory_gib"] for step in steps if "memory_gib" in step]
    if held:
        where = "most on the first GPU" if config.use_gpu else "most of the first worker's process"
        found.append(Headline(label="memory, GiB", value=f"{max(held):.2f}", note=where))
    book = history.ledger
    times = " or ".join(map(str, dict.fromkeys((book["least"], book["most"]))))
    note = f"each row taken {'once' if times == '1' else f'{times} times'}" if book["exact"] else "samples are missing or were taken twice"
    found.append(Headline(label="ledger", value="exact" if book["exact"] else "not exact", note=note))
    again = book["repeated_steps"]
    note = f"{again} step{'' if again == 1 else 's'} taken again" if again else "no step taken again"
    return [*found, Headline(label="restarts", value=f"{restarts}", note=note)]


def _charts(report: Mapping[str, Any], history: History, config: TrainConfig, marks: Sequence[int]) -> list[Chart]:
    """A chart of each measure that there is, by steps done, as checkpoints count them."""
    measured = {step + 1: metrics for step, metrics in history.validation.items()}
    measured = measured or {int(report["checkpoint_step"]): report["metrics"]}

    def of(name: str) -> list[tuple[float, float]]:
        return [(step + 1, history.steps[step][name]) for step in sorted(history.steps) if name in history.steps[step]]

    def validated(name: str) -> list[tuple[float, float]]:
        return [(step, measured[step][name]) for step in sorted(measured) if _is_number(measured[step].get(name))]

    charts = [Chart(title="Loss", what="loss", points=of("value"), validation=validated("loss"))]
    if config.metric != "loss":
        charts.append(Chart(title=f"Validation: {config.metric}", what=config.metric, points=[], validation=validated(config.metric)))
    needed = "Operations that the model needs, over the card's dense peak in bf16."
    memory = "Most so far, on the first GPU." if config.use_gpu else "Most so far, of the first worker's process."
    charts += [
        Chart(title="Learning rate", what="learning rate", points=of("learning_rate"), smooth=False),
        Chart(title="Gradient norm", what="norm", points=of("gradient_norm"), note=f"Before clipping at {config.gradient_clip:g}."),
        Chart(title="Tokens a second", what="tokens/s", points=of("tokens_per_second"), note="Of all workers, without padding."),
        Chart(title="Memory", what="GiB", points=of("memory_gib"), smooth=False, note=memory),
        Chart(title="MFU", what="share of the peak", points=of("mfu"), note=needed),
    ]
    return [chart.model_copy(update={"marks": list(marks)}) for chart in charts if chart.points or chart.validation]


def _checkpoints(report: Mapping[str, Any], history: History, config: TrainConfig) -> Table | None:
    """A row for each checkpoint that is there or was evaluated: with an evaluation always comes a checkpoint."""
    measured: dict[int, Mapping[str, float]] = {step + 1: metrics for step, metrics in history.validation.items()}
    there = {int(marker["step"]): marker["metrics"] for marker in history.markers}
    used = int(report["checkpoint_step"])
    measured = {**dict.fromkeys(there, {}), **measured} | {step: metrics for step, metrics in there.items() if metrics}
    if used in measured and not measured[used]:
        measured[used] = report["metrics"]
    names = list(dict.fromkeys(name for metrics in measured.values() for name in metrics))
    elsewhere = config.checkpoint_folder is not None  # only the one in use is brought home
    rows = []
    for step in sorted(measured):
        state = "in use" if step == used else "kept" if step in there else "not here" if elsewhere else "removed"
        rows.append([f"{step:,}", state, *(_number(measured[step].get(name)) for name in names)])
    note = "Beside the best of those that were evaluated the newest stay "
    note += f"(train.keep_checkpoints: {config.keep_checkpoints}); one that was removed and not evaluated has no row."
    note += " Those of train.checkpoint_folder are not looked at." if elsewhere else ""
    return _table("Checkpoints", ["step", "state", *names], rows, note)


def _named(told: Sequence[Mapping[str, Any]], total: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Events with their names: a start after the first is a restart, unless training had been asked to end, or was at its end."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    before = None
    for one in told:
        name = str(one.get("event", ""))
        if name == "start" and before is not None:
            name = "continued" if before == "stop" or one.get("step", 0) >= total else "restart"
        found.append((name, one))
        before = one.get("event")
    return found


def _events(told: Sequence[Mapping[str, Any]], total: int) -> Table | None:
    rows = []
    for name, one in _named(told, total):
        moment = datetime.datetime.fromtimestamp(one.get("time", 0), datetime.UTC)
        rows.append([f"{moment:%Y-%m-%d %H:%M:%S}", name, f"{one.get('step', 0):,}", _words(name, one)])
    return _table("Events", ["time (UTC)", "event", "step", "what"], rows, "Step: optimizer steps done.")


def _words(name: str, one: Mapping[str, Any]) -> str:
    if name == "hang":
        who = ", ".join(map(str, one.get("workers", ())))
        where = f"in {one.get('phase')}, last collective {one.get('collective')}, nothing moved for {one.get('seconds', 0):.0f} s"
        return f"worker {who} {one.get('said', '')}; {where}"
    if name in ("start", "restart", "continued"):
        workers = int(one.get("workers", 0))
        return f"{workers} worker{'' if workers == 1 else 's'}"
    return {"preemption": "a node is about to be taken away: checkpoint", "stop": "asked to end: saved"}.get(name, "")


def _configuration(config: TrainConfig) -> Table | None:
    default = dict(flatten(TrainConfig()))
    changed = [(name, value) for name, value in flatten(config) if value != default[name]]
    rows = [[f"train.{name}", "set" if name in PLACES else _value(value), _value(default[name])] for name, value in changed]
    return _table("Configuration", ["key", "value", "default"], rows, "Keys of train that are not at their default.", len(rows))


def _lineage(digests: Mapping[str, str]) -> Table | None:
    return _table("Lineage", ["what", "SHA-256"], [[name, digest] for name, digest in digests.items()])


def seeds_page(report: Mapping[str, Any], reports: Mapping[int, Mapping[str, Any]], config: TrainConfig) -> TrainingPage:
    """The page of a training with several seeds, which compares them and links theirs.

    Args:
        report: metrics (means), spread, best_seed.
        reports: of each seed.
    """
    metric, best = config.metric, report["best_seed"]
    names = list(report["metrics"])
    rows = [
        Seed(
            seed=seed, href=f"seed-{seed}/report.html", best=seed == best,
            cells=[*(_number(one["metrics"].get(name)) for name in names), _number(one.get("last_loss")), f"{one['steps_done']:,}",
                   f"{one['checkpoint_step']:,}", f"{one['restarts']:,}", "exact" if one["ledger"]["exact"] else "not exact"],
        )
        for seed, one in reports.items()
    ]  # fmt: skip
    spread = f"standard deviation {_number(report['spread'][metric])} over {len(rows)} seeds"
    return TrainingPage(
        title="Training with several seeds",
        lead=f"{_METHODS[config.method]}, objective {config.objective}: the same training {len(rows)} times, each with its own order of samples.",
        facts={"version": VERSION},
        headlines=[
            Headline(label="best seed", value=str(best), note=f"by {metric} of the validation rows"),
            Headline(label=f"{metric}, best", value=_number(report["each"][best][metric])),
            Headline(label=f"{metric}, mean", value=_number(report["metrics"][metric]), note=spread),
        ],
        seed_head=["seed", *names, "last training loss", "steps", "checkpoint in use", "restarts", "ledger"], seeds=rows,
        configuration=_configuration(config),
    )  # fmt: skip


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "", most: int = _MOST_ROWS) -> Table | None:
    """None of no rows; of many the last ones."""
    if not rows:
        return None
    if len(rows) > most:
        note = f"The last {most} of {len(rows):,}. {note}"
    return Table(title=title, head=list(head), rows=[list(row) for row in rows[-most:]], note=note)


def _number(value: Any) -> str:
    if not _is_number(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def _value(value: Any) -> str:
    """A value as a configuration has it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def render(page: TrainingPage) -> str:
    """The page as HTML; all text in it is escaped."""
    from markupsafe import Markup

    plots: list[tuple[Chart, Any]] = [
        (one, Markup(figures.curve(f"chart{n}", one.title, one.points, one.validation, what=one.what, smooth=one.smooth, marks=one.marks)))
        for n, one in enumerate(page.charts)
    ]
    return str(pages().get_template("training.html").render(page=page, plots=plots))


def write_run(out: str, report: Mapping[str, Any], config: TrainConfig, digests: Mapping[str, str]) -> str:
    """Write the page of one run into its folder.

    Returns:
        Its path.
    """
    history = read(storage.local_path(out), int(report["steps_done"]), int(report["rows"]))
    return _write(out, run_page(report, history, config, digests))


def write_seeds(out: str, report: Mapping[str, Any], reports: Mapping[int, Mapping[str, Any]], config: TrainConfig) -> str:
    """Write the page of several seeds into the folder above theirs; as `write_run`."""
    return _write(out, seeds_page(report, reports, config))


def _write(out: str, page: TrainingPage) -> str:
    path = storage.join(out, "report.html")
    storage.write_bytes(path, render(page).encode())
    return path
