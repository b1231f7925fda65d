"""The page of a training: of a real run, of a long one, of hardly any data, and against hostile text."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nosology.config import ModelConfig, TrainConfig
from nosology.evaluation import figures
from nosology.evaluation.report import Headline, Table
from nosology.evaluation.training_page import Chart, History, Seed, TrainingPage, read, render, run_page, seeds_page, write_run, write_seeds


def beside(name: str, path: Path) -> ModuleType:
    """Another file of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


TESTS = Path(__file__).parents[1]
reports = beside("evaluation_test_report", TESTS / "evaluation" / "test_report.py")
toy = beside("training_conftest", TESTS / "training" / "conftest.py")
HOSTILE, Page = reports.HOSTILE, reports.Page
DIGESTS = {"data": "a" * 64, "base": "b" * 64, "checkpoint": "c" * 64}


def settings(**changes: Any) -> TrainConfig:
    given = {"precision": "fp32", "batch_size": 4, "learning_rate": 1e-2, "epochs": 9, "workers": 1, "rank": 8, "tracking": ()}
    return TrainConfig(**{**given, **changes})


def history(**changes: Any) -> History:
    given: dict[str, Any] = {
        "steps": {}, "validation": {}, "events": [], "markers": [],
        "ledger": {"exact": True, "samples": 4, "least": 1, "most": 1, "repeated_steps": 0, "attempts": 1, "workers": [1]},
    }  # fmt: skip
    return History(**{**given, **changes})


def report(**changes: Any) -> dict[str, Any]:
    given = {
        "steps": 4, "steps_done": 4, "early": False, "rows": 24, "workers": 2, "parameters_learning": 8192, "parameters": 28832,
        "checkpoint_step": 4, "metrics": {}, "restarts": 0, "last_loss": 2.0, "ledger": {"exact": True},
    }  # fmt: skip
    return {**given, **changes}


def words(page: TrainingPage | str) -> str:
    """Text of a page, cells apart from each other."""
    html = page if isinstance(page, str) else render(page)
    return " ".join(Page(html.replace("<", " <")).text.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], TrainConfig]:
    """A run that died, began again, was asked to stop, and ended."""
    from nosology.training.generate import Generate
    from nosology.training.loop import STOP, train

    root = tmp_path_factory.mktemp("trained")
    base, blocks, out = toy.make_base(root / "base"), toy.make_blocks(root / "blocks"), root / "out"
    config = settings(max_steps=12, evaluate_steps=3, checkpoint_steps=3)

    def die(measures: dict[str, float]) -> None:
        if measures["step"] == 7:
            raise RuntimeError("died")

    def stop(measures: dict[str, float]) -> None:
        if measures["step"] == 8:
            (out / STOP).touch()

    with pytest.raises(RuntimeError, match="died"):
        train(Generate(), config, ModelConfig(base=base), blocks, out, on_step=die)
    train(Generate(), config, ModelConfig(base=base), blocks, out, on_step=stop)
    (out / STOP).unlink()
    return out, train(Generate(), config, ModelConfig(base=base), blocks, out), config


def test_the_page_of_a_real_run_holds_its_figures(trained: tuple[Path, dict[str, Any], TrainConfig]) -> None:
    out, told, config = trained
    path = write_run(str(out), {**told, "deidentification": {"basis": "vouched", "vouched_by": "Ada Byron"}}, config, DIGESTS)
    assert path == str(out / "report.html")
    html = Path(path).read_text()
    page = Page(html)
    text = words(html)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["value"] for line in lines if line["name"] == "loss"}
    assert f"{losses[11]:.3f}" in text and f"{losses[0]:.3f} at the first step" in text and "12 all that were due" in text
    assert f"loss, validation {told['metrics']['loss']:.3f}" in text and "ledger exact each row taken 2 times" in text
    restarts = sum(line["event"] == "start" for line in map(json.loads, (out / "events.jsonl").read_text().splitlines())) - 2
    assert restarts == 1 and "restarts 1" in text and f"{told['ledger']['repeated_steps']} steps taken again" in text
    for title in ("Loss", "Learning rate", "Gradient norm", "Tokens a second", "Memory"):
        assert [a for a in page.of("svg") if (a["aria-labelledby"] or "").startswith("chart")] and f"<h3>{title}</h3>" in html
    assert "<h3>MFU</h3>" not in html and len(page.of("svg")) == 5
    assert "train.learning_rate 0.01 0.0002" in text and "train.tracking none tensorboard" in text and "train.alpha" not in text
    assert all(digest in text for digest in DIGESTS.values())
    assert "elsewhere, and vouched for" in text and "Ada" not in html, "who vouches is a name"
    assert str(out) not in html and out.parent.name not in html, "no folder, whose name may tell of a site"
    assert "continued" in text and "asked to end: saved" in text


def test_checkpoints_are_told_as_they_are_on_disk(trained: tuple[Path, dict[str, Any], TrainConfig]) -> None:
    out, told, config = trained
    page = run_page(told, read(out, 12, 24), config, DIGESTS)
    assert page.checkpoints and page.checkpoints.head == ["step", "state", "loss", "accuracy", "answer_tokens"]
    there = {int(path.name[5:13]) for path in (out / "checkpoints").glob("step-*.json")}
    states = {int(row[0]): row[1] for row in page.checkpoints.rows}
    assert set(states) >= {3, 6, 9, 12} and {step for step, state in states.items() if state != "removed"} == there
    assert states[told["checkpoint_step"]] == "in use" and list(states.values()).count("in use") == 1
    values = {int(row[0]): row[2] for row in page.checkpoints.rows}
    assert values[told["checkpoint_step"]] == f"{told['metrics']['loss']:.4f}"


def test_nothing_is_loaded_and_everything_has_a_name(trained: tuple[Path, dict[str, Any], TrainConfig]) -> None:
    out, told, config = trained
    html = render(run_page(told, read(out, 12, 24), config, DIGESTS))
    page = Page(html)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] or "" for a in page.of("a")}
    assert all(link.startswith("#") and link[1:] in ids for link in links) and len(links) == 6
    assert not page.of("script", "link", "img", "iframe") and "@import" not in html
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    assert html == render(run_page(told, read(out, 12, 24), config, DIGESTS)), "the same data give the same bytes"


def test_a_single_step_without_validation_is_a_whole_page() -> None:
    step = {"value": 4.1, "learning_rate": 0.01, "gradient_norm": 0.7, "tokens": 96.0, "tokens_per_second": 900.0, "seconds": 0.1}
    page = run_page(report(steps=1, steps_done=1, checkpoint_step=1), history(steps={0: step}, markers=[{"step": 1, "metrics": {}}],
                    events=[{"time": 1.8e9, "event": "start", "step": 0, "workers": 1}]), settings(max_steps=1), DIGESTS)  # fmt: skip
    text = words(page)
    assert "training loss 4.100" in text and "at the first step" not in text and "each row taken once" in text
    assert page.checkpoints and page.checkpoints.rows == [["1", "in use"]]
    assert page.events and page.events.rows == [["2027-01-15 08:00:00", "start", "0", "1 worker"]]
    assert [chart.title for chart in page.charts] == ["Loss", "Learning rate", "Gradient norm", "Tokens a second"]


def test_no_history_at_all_is_still_a_page(tmp_path: Path) -> None:
    """Of a folder that was copied without its measures."""
    empty = read(tmp_path, 4, 24)
    assert not empty.steps and not empty.ledger["exact"]
    page = run_page(report(), empty, settings(), {})
    text = words(page)
    assert "not exact" in text and not page.charts and page.checkpoints is None and page.events is None and page.lineage is None
    assert "Step by step" not in text and "None" not in text


def test_cut_and_strange_lines_are_passed_over(tmp_path: Path) -> None:
    lines = [
        {"time": 1, "name": "loss", "step": 0, "value": 9.0, "workers": 1}, {"time": 2, "name": "loss", "step": 0, "value": 3.0, "workers": 1},
        {"time": 3, "name": "loss", "step": 1, "value": float("nan"), "mfu": 0.4}, {"time": 4, "name": "loss", "step": 7, "value": 1.0},
        {"time": 5, "name": "first_loss", "value": 9.0}, {"time": 6, "name": "loss", "value": 1.0},
        {"time": 7, "name": "validation", "step": 1, "loss": 2.5, "accuracy": float("inf")},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"name": "loss", "st')
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000002.json").write_text('{"step": 2, "metrics": {"loss": 2.5}}')
    (tmp_path / "checkpoints" / "step-00000003.json").write_text("{")
    seen = read(tmp_path, 2, 24)
    assert seen.steps == {0: {"value": 3.0, "workers": 1}, 1: {"mfu": 0.4}} and seen.validation == {1: {"loss": 2.5}}
    assert seen.markers == [{"step": 2, "metrics": {"loss": 2.5}}]
    page = run_page(report(steps=2, steps_done=2, checkpoint_step=2, metrics={"loss": 2.5}), seen, settings(), DIGESTS)
    assert [chart.title for chart in page.charts] == ["Loss", "MFU"] and page.charts[0].validation == [(2, 2.5)]
    assert "40.0 %" in words(page)


def test_events_are_named_by_what_they_were() -> None:
    events = [
        {"time": 1.0, "event": "start", "step": 0, "workers": 2},
        {"time": 2.0, "event": "hang", "workers": [1], "told_by": 0, "seconds": 612.3, "said": "is behind the others", "step": 3,
         "phase": "forward", "collective": "figures of step 2"},
        {"time": 3.0, "event": "start", "step": 2, "workers": 2}, {"time": 4.0, "event": "preemption", "step": 3},
        {"time": 5.0, "event": "stop", "step": 3}, {"time": 6.0, "event": "start", "step": 3, "workers": 1},
        {"time": 7.0, "event": "start", "step": 4, "workers": 1},
    ]  # fmt: skip
    page = run_page(report(), history(events=events), settings(), DIGESTS)
    assert page.events is not None
    assert [row[1] for row in page.events.rows] == ["start", "hang", "restart", "preemption", "stop", "continued", "continued"]
    assert page.events.rows[1][3] == "worker 1 is behind the others; in forward, last collective figures of step 2, nothing moved for 612 s"
    assert {one.label: one.value for one in page.headlines}["restarts"] == "1"
    steps = {n: {"value": 1.0} for n in range(4)}
    assert run_page(report(), history(events=events, steps=steps), settings(), DIGESTS).charts[0].marks == [2]


def test_another_metric_has_a_curve_of_its_own_and_ends_early() -> None:
    config = settings(objective="tag", metric="recall", evaluate_steps=2, patience=2)
    seen = history(steps={n: {"value": 1.0} for n in range(4)}, validation={1: {"recall": 0.5}, 3: {"recall": 0.4}})
    page = run_page(report(steps=90, early=True, checkpoint_step=2, metrics={"recall": 0.5}), seen, config, DIGESTS)
    chart = next(chart for chart in page.charts if chart.title == "Validation: recall")
    assert chart.validation == [(2, 0.5), (4, 0.4)]
    text = words(page)
    assert "of 90" in text and "2 evaluations without a better recall" in text and "recall, validation 0.500" in text


def test_a_long_run_stays_small_and_its_spikes_stay() -> None:
    steps = {n: {"value": 2.0, "gradient_norm": 50.0 if n == 31_337 else 1.0} for n in range(100_000)}
    seen = history(steps=steps, validation={n: {"loss": 2.0} for n in range(0, 100_000, 500)})
    page = run_page(report(steps=100_000, steps_done=100_000, checkpoint_step=100_000), seen, settings(), DIGESTS)
    html = render(page)
    assert len(html) < 300_000 and page.checkpoints and len(page.checkpoints.rows) == 40 and "The last 40 of 200" in words(page)
    assert (31_338, 50.0) in figures._thinned(page.charts[1].points)


def test_checkpoints_that_lie_elsewhere_are_not_called_removed() -> None:
    markers = [{"step": 4, "metrics": {"loss": 0.9}}]
    seen = history(steps={0: {"value": 1.0}}, validation={1: {"loss": 1.0}, 3: {"loss": 0.9}}, markers=markers)
    page = run_page(report(metrics={"loss": 0.9}), seen, settings(checkpoint_folder="s3://hospital/checkpoints"), DIGESTS)
    assert page.checkpoints and [row[1] for row in page.checkpoints.rows] == ["not here", "in use"]
    assert "hospital" not in render(page) and "train.checkpoint_folder set none" in words(page)


def test_a_hostile_word_stays_a_word_everywhere() -> None:
    table = Table(title=HOSTILE, head=[HOSTILE, HOSTILE], rows=[[HOSTILE, HOSTILE]], note=HOSTILE)
    chart = Chart(title=HOSTILE, what=HOSTILE, points=[(1, 1.0), (2, 2.0)], validation=[(2, 1.0)], marks=[1], note=HOSTILE)
    page = TrainingPage(
        title=HOSTILE, lead=HOSTILE, facts={HOSTILE: HOSTILE}, headlines=[Headline(label=HOSTILE, value=HOSTILE, note=HOSTILE)],
        charts=[chart], checkpoints=table, events=table, configuration=table, lineage=table,
        seed_head=[HOSTILE], seeds=[Seed(seed=1, href="seed-1/report.html", cells=[HOSTILE], best=True)],
    )  # fmt: skip
    parsed = Page(render(page))
    assert not parsed.of("script", "img", "b", "iframe") and not [a for _, attrs in parsed.tags for a in attrs if a.startswith("on")]
    assert parsed.text.count("<script>alert(1)</script>") > 20 and "49" not in parsed.text


def test_seeds_are_compared_and_linked(tmp_path: Path) -> None:
    each = {3: {"loss": 2.5, "accuracy": 0.5}, 4: {"loss": 2.25, "accuracy": 1.0}}
    told = {"metrics": {"loss": 2.375, "accuracy": 0.75}, "spread": {"loss": 0.1768, "accuracy": 0.3536}, "each": each, "best_seed": 4}
    runs = {seed: report(metrics=metrics) for seed, metrics in each.items()}
    config = settings(seeds=(3, 4))
    path = write_seeds(str(tmp_path), told, runs, config)
    page = Page(Path(path).read_text())
    assert [a["href"] for a in page.of("a") if not (a["href"] or "").startswith("#")] == ["seed-3/report.html", "seed-4/report.html"]
    text = words(seeds_page(told, runs, config))
    assert "best seed 4" in text and "4 (best) 2.2500 1.0000 2 4 4 0 exact" in text and "standard deviation 0.1768 over 2 seeds" in text
    assert "train.seeds 3, 4 none" in text


def test_the_verb_writes_a_page_for_each_seed_and_one_above_them(generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology import storage, verbs
    from nosology.config import Config, ProofConfig
    from nosology.distributed import train as distributed
    from nosology.training.generate import Generate
    from nosology.training.loop import train

    def alone(config: TrainConfig, model: ModelConfig, data: str, out: str, cluster: Any) -> dict[str, Any]:
        return train(Generate(), config, model, data, Path(out))

    monkeypatch.setattr(distributed, "run_training", alone)
    out = tmp_path / "tuned"
    config = Config(
        model=ModelConfig(base=generator),
        train=settings(max_steps=2, seeds=(3, 4)),
        proof=ProofConfig(vouched_by="Ada Byron, Hospital, 2026-05-04"),
    )
    report = verbs.train(config, toy.make_blocks(tmp_path / "blocks"), str(out))
    assert report["html"] == str(out / "report.html") and "best seed" in Path(report["html"]).read_text()
    for seed in (3, 4):
        folder = out / f"seed-{seed}"
        told, lineage = (json.loads((folder / name).read_text()) for name in ("report.json", "lineage.json"))
        html = Path(told["html"]).read_text()
        assert told["html"] == str(folder / "report.html") and lineage["outputs"]["html"] == storage.digest(told["html"])
        assert lineage["outputs"]["checkpoint"] in html and lineage["models"]["base"] in html and "Ada" not in html
