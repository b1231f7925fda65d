"""The whole way on the sample archive: ingest, de-identify, prepare, train, quantize, code, measure, report.

Each step is the verb that a user would call, in a folder of its own below the run folder; a step that is done is not done again.
"""

from __future__ import annotations

import json
import platform as machine
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nosology import storage, verbs
from nosology.config import Config
from nosology.errors import InputError
from nosology.runs import VERSION, claim, fingerprint
from nosology.verbs.lineage import folder_digest
from nosology.verbs.models import code_set_phrases

EXAMPLES = Path(__file__).parents[2] / "examples"
# Phrases of the code set: how many train the generator, validate it and measure it. More would not end in time on two cores.
NUM_PHRASES = {"train": 6000, "validation": 200, "test": 500}
SHOWN_NOTES = 3

# What the laptop's small generator is trained with; a user's config sets the same keys for a Llama.
SETTINGS = (
    "train.method=lora", "train.zero=2", "train.precision=fp32", "train.batch_size=8",
    "train.learning_rate=0.002", "train.checkpoint_steps=25", "prepare.context_tokens=512",
)  # fmt: skip


class Steps:
    """Runs steps once each; remembers their reports in their folders."""

    def __init__(self, out: str, total: int) -> None:
        self._out, self._total, self._number = out, total, 0
        self.seconds: dict[str, float] = {}

    def do(self, name: str, work: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """The report of a step: kept from an earlier run, or made now. `work` takes the step's folder."""
        self._number += 1
        folder = storage.join(self._out, name)
        record = storage.join(folder, "step.json")
        if storage.exists(record):
            stored: dict[str, Any] = storage.read_json(record)
            self.seconds[name] = stored["seconds"]
            self._say(f"{name}: done before, in {stored['seconds']:.0f} s")
            return dict(stored["report"])
        self._say(f"{name} …")
        started = time.monotonic()
        report = work(folder)
        self.seconds[name] = round(time.monotonic() - started, 2)
        storage.write_json(record, {"seconds": self.seconds[name], "report": report})
        self._say(f"{name}: {self.seconds[name]:.0f} s")
        return report

    def _say(self, text: str) -> None:
        print(f"[{self._number}/{self._total}] {text}", file=sys.stderr, flush=True)


def run_demo(config: Config, out: str) -> dict[str, Any]:
    """Run, or go on with, the demo.

    Args:
        config: the user's tree; the demo sets what the small models need.
        out: run folder, on a local disk.

    Raises:
        InputError: the sample archive is not there (the package was installed without the repository).
        FingerprintError: the folder holds a demo of another version or configuration.
    """
    from nosology.distributed.session import session

    if not (EXAMPLES / "archive").is_dir():
        raise InputError("the sample archive is not there", file=str(EXAMPLES), remedy="Run the demo in a checkout of the repository")
    config = with_overrides(config, *SETTINGS, f"model.base={out}/generator/model")
    _claim(config, out)
    report_uri = storage.join(out, "report.json")
    if storage.exists(report_uri):
        report: dict[str, Any] = storage.read_json(report_uri)
        print(f"This demo is done; its report: {_page(out)}", file=sys.stderr)
        return report
    with session(config.cluster):
        report = _walk(config, out)
    print(f"Open the report in a browser: {_page(out)}", file=sys.stderr)
    return report


def with_overrides(config: Config, *overrides: str) -> Config:
    """The tree with some values set, where the user has not set them already."""
    from nosology.config import flatten, load

    own = [f"{key}={json.dumps(value)}" for key, value in flatten(config) if _was_set(config, key)]
    return load([], [*overrides, *own])


def _was_set(config: Config, key: str) -> bool:
    """Whether a file or an override named the key, even with the default's value."""
    section, _, name = key.partition(".")
    return section in config.model_fields_set and name in getattr(config, section).model_fields_set


def _page(out: str) -> Path:
    return storage.local_path(out).absolute() / "report.html"


def _claim(config: Config, out: str) -> None:
    """The folder belongs to one configuration: mixing two would make a report of neither."""
    claim(out, fingerprint("demo", config, archive=folder_digest(str(EXAMPLES))))


def _walk(config: Config, out: str) -> dict[str, Any]:
    steps = Steps(out, 9)
    at = {name: storage.join(out, name) for name in ("ingest", "deidentify", "generator", "prepare", "train", "quantize", "code")}
    bulk = with_overrides(config, "cluster.batch_rows=512")  # phrases are short: searched in large batches
    ingested = steps.do("ingest", lambda to: verbs.ingest(config, [str(EXAMPLES / "archive")], to))
    cleaned = steps.do("deidentify", lambda to: verbs.deidentify(config, at["ingest"], to, None, {"proof": True}))
    steps.do("index", lambda _: _build_index(config))
    made = steps.do("generator", lambda to: _make_generator(config, at["deidentify"], to))
    prepared = steps.do("prepare", lambda to: verbs.prepare(bulk, [at["deidentify"]], _phrases(config, to), to))
    trained = steps.do("train", lambda to: verbs.train(config, storage.join(at["prepare"], "blocks"), to))
    quantized = steps.do("quantize", lambda to: verbs.quantize(config, at["train"], to))
    # Claims are coded from what was written, on the day it was written: raw, inside the same trust zone, and said by name.
    served = with_overrides(config, f"model.artefact={quantized['artefact']}", "coding.input=raw")
    coded = steps.do("code", lambda to: verbs.code(served, [at["ingest"]], to, None))
    scored = steps.do("score", lambda to: _measure(served, out, str(made["path"]), str(trained["checkpoint"])))

    counts = ("records_in", "records_ok", "records_dead")
    stages = {"ingest": ingested, "deidentify": cleaned, "prepare": prepared, "code": coded}
    report = {
        "verb": "demo", "run": out, "version": VERSION, **{name: ingested[name] for name in counts},
        "stages": {name: {count: report[count] for count in counts} for name, report in stages.items()},
        "notes_deidentified": cleaned["notes_deidentified"], "phi_spans": cleaned["phi_spans"],
        **{name: coded[name] for name in ("notes_coded", "codes_assigned", "invalid_codes", "claims_checked", "claims_compared", "routes")},
        "coding": scored["coding"], "quantization": scored["quantization"],
        "training": {name: trained[name] for name in ("steps", "first_loss", "last_loss", "tokens_per_second")},
        "seconds": steps.seconds, "html": str(_page(out)),
    }  # fmt: skip
    _write_page(out, report, {**stages, "train": trained, "quantize": quantized, "score": scored})
    storage.write_json(storage.join(out, "report.json"), report)
    return report


def _build_index(config: Config) -> dict[str, Any]:
    from nosology.engines.encoder import load_encoder
    from nosology.terminology.codeset import code_set
    from nosology.terminology.index import open_index

    codes = code_set()
    open_index(codes, load_encoder(config.model.encoder), config.terminology)
    return {"codes": len(codes.codes), "release": codes.release}


def _make_generator(config: Config, cleaned: str, out: str) -> dict[str, Any]:
    """The base model of the demo, from code titles and the de-identified sample notes."""
    from nosology.distributed.stages import read_output
    from nosology.terminology.codeset import code_set
    from nosology.training.generator import make_generator

    texts = [*code_set().titles, *read_output(cleaned, "documents")["text"].to_pylist()]
    return make_generator(texts, storage.join(out, "model"), config.run.seed)


def _phrases(config: Config, folder: str) -> Path:
    """A sample of the code set's inclusion terms, as the split of `prepare` will have them."""
    from nosology.curation.split import Splitter

    splitter = Splitter.of(config.prepare, config.run.seed)
    by_split: dict[str, list[str]] = {name: [] for name in NUM_PHRASES}
    for line in code_set_phrases(config).decode().splitlines():
        by_split[splitter.of_code(json.loads(line)["code"])].append(line)
    chance = random.Random(config.run.seed)
    chosen = [line for name, lines in by_split.items() for line in chance.sample(lines, min(len(lines), NUM_PHRASES[name]))]
    uri = storage.join(folder, "phrases.jsonl")
    storage.write_bytes(uri, "".join(line + "\n" for line in chosen).encode())
    return storage.local_path(uri)


def _measure(config: Config, out: str, base: str, checkpoint: str) -> dict[str, Any]:
    """Base against tuned on phrases kept out of training by category; notes against their silver codes; before and after INT8.

    A phrase whose code was not retrieved counts as wrong for every generator.
    """
    from nosology.curation.split import Splitter
    from nosology.distributed.stages import read_output
    from nosology.engines import open_engine
    from nosology.engines.encoder import load_encoder
    from nosology.evaluation import codes as room
    from nosology.evaluation import metrics
    from nosology.quantization import agreement
    from nosology.tasks.coding import ChooseCode
    from nosology.terminology.codeset import code_set
    from nosology.terminology.index import open_index

    codes, encoder = code_set(), load_encoder(config.model.encoder)
    splitter = Splitter.of(config.prepare, config.run.seed)
    rows = [json.loads(line) for line in storage.read_bytes(storage.join(out, "prepare", "phrases.jsonl")).splitlines()]
    rows = [row for row in rows if splitter.of_code(row["code"]) == "test"]
    phrases, right = [row["phrase"] for row in rows], [row["code"] for row in rows]
    titles_only = config.terminology.model_copy(update={"inclusion_terms": False})
    lexical = open_index(codes, encoder, titles_only.model_copy(update={"dense_weight": 0.0}))
    index = open_index(codes, encoder, titles_only)
    first = [hits[0].code for hits in lexical.search(phrases, 1)]
    ranked = [[hit.code for hit in hits] for hits in index.search(phrases, 50)]
    found = [row[: config.prepare.candidates] for row in ranked]
    asked = [
        ChooseCode().build(phrase, None, [(c, codes.title(c)) for c in offered]) for phrase, offered in zip(phrases, found, strict=True)
    ]
    prompts, choices = [messages for messages, _ in asked], [labels for _, labels in asked]

    adapter = checkpoint if (Path(checkpoint) / "adapter_config.json").is_file() else None
    engines = {
        "base": open_engine(base),
        "unquantized": open_engine(base, adapter) if adapter else open_engine(checkpoint),
        "tuned": open_engine(str(config.model.artefact)),
    }
    picked = {
        name: [offered[p.index(max(p))] for offered, p in zip(found, engine.choose(prompts, choices), strict=True)]
        for name, engine in engines.items()
    }
    picked |= {"lexical": first, "retrieved": [offered[0] for offered in found]}
    shares = {name: metrics.share([a == b for a, b in zip(answer, right, strict=True)]) for name, answer in picked.items()}
    takes_first = sum(offered[0] == code for offered, code in zip(found, picked["tuned"], strict=True)) / len(rows)
    same = agreement(engines["unquantized"], engines["tuned"], prompts, choices)

    gold, predicted = _notes(), room.by_note(read_output(storage.join(out, "code"), "predictions").to_pylist())
    held_out = room.score_notes(gold["valid"], predicted, codes.ancestors)
    return {
        "coding": {
            "n": len(rows), **{f"{name}_top1": round(shares[name].value, 4) for name in shares},
            "tuned_takes_first": round(takes_first, 4),
            **{f"retrieved_top{k}": round(share, 4) for k, share in metrics.top_k(ranked, right, (5, config.prepare.candidates, 50)).items()},
            "micro_f1_notes": round(held_out.code.f1.value, 4), "macro_f1_notes": round(held_out.macro_f1, 4),
            "category_f1_notes": round(held_out.category.f1.value, 4), "notes": held_out.num_notes,
        },
        "quantization": {"n": int(same["n"]), "agreement": round(same["agreement"], 4), "mean_shift": round(same["mean_shift"], 4)},
        "bars": {name: [shares[name].value, shares[name].low, shares[name].high] for name in shares},
    }  # fmt: skip


def _notes() -> dict[str, dict[str, Any]]:
    """Gold codes of the sample notes by split."""
    from nosology.evaluation.codes import read_gold

    labels = EXAMPLES / "labels" / "aci_icd10_silver.jsonl"
    split = {row["id"]: row["split"] for row in map(json.loads, labels.read_text().splitlines())}
    found: dict[str, dict[str, Any]] = {"train": {}, "valid": {}}
    for key, gold in read_gold(str(labels)).items():
        found[split[key]][key] = gold
    return found


def _write_page(out: str, report: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> None:
    """The HTML report of the demo."""
    from nosology.distributed.stages import read_output
    from nosology.evaluation import codes as room
    from nosology.evaluation import report as page
    from nosology.terminology.codeset import code_set

    score, coding = steps["score"], report["coding"]
    names = {
        "lexical": "search by letters (TF-IDF)", "retrieved": "search by letters and meaning", "base": "generator before training",
        "unquantized": "generator after training", "tuned": "the same in INT8, as served",
    }  # fmt: skip
    bars = [
        page.Bar(
            label=label,
            value=score["bars"][name][0],
            low=score["bars"][name][1],
            high=score["bars"][name][2],
            n=coding["n"],
            strong=name == "tuned",
        )
        for name, label in names.items()
    ]
    predictions = read_output(storage.join(out, "code"), "predictions").to_pylist()
    predicted = room.by_note(predictions)
    scores = room.score_notes(_notes()["valid"], predicted, code_set().ancestors)
    ingest = storage.join(out, "ingest")
    f1, seconds = scores.code.f1, report["seconds"]
    data = page.ReportData(
        title="Demo: from a sample archive to audited codes",
        lead="Sample claims and notes were read, de-identified, used to train a small model, and coded with that model. All patients are synthetic.",
        facts={
            "version": VERSION,
            "machine": f"{machine.machine()}, {machine.system()}, Python {machine.python_version()}",
            "code set": f"ICD-10-CM {code_set().release}",
            "date": time.strftime("%Y-%m-%d"),
        },
        headlines=[
            page.Headline(
                label="records in the archive",
                value=f"{report['records_in']:,}",
                note=f"{sum(s['records_dead'] for s in report['stages'].values())} dead letters in all steps",
            ),
            page.Headline(
                label="identifiers removed", value=f"{report['phi_spans']:,}", note=f"from {report['notes_deidentified']:,} notes"
            ),
            page.Headline(
                label="codes assigned", value=f"{report['codes_assigned']:,}", note=f"{report['invalid_codes']} that do not exist"
            ),
            page.Headline(
                label="micro F1 on notes", value=f"{f1.value:.2f}", note=f"{f1.low:.2f} to {f1.high:.2f}, {scores.num_notes} notes held out"
            ),
            page.Headline(
                label="right code first, phrases",
                value=f"{coding['tuned_top1']:.2f}",
                note=f"{coding['base_top1']:.2f} before training, {coding['n']} phrases",
            ),
        ],
        records=page.Records(**{name: report[name] for name in ("records_in", "records_ok", "records_dead")}),
        comparisons=[
            page.Comparison(
                title="The right code first, on phrases whose categories were kept out of training",
                description="The generator chooses among the codes that the search offers; a code that was not offered counts as wrong. Intervals are 95 % by bootstrap.",
                bars=bars,
            )
        ],
        tables=[page.note_table(scores, "Codes of whole notes, against silver labels")],
        reliability=page.reliability_part(scores.reliability, scores.calibration_error),
        routes={name: n for name, n in report["routes"].items() if n},
        examples=_examples(out, predictions),
        formats=_formats(ingest),
        dead=[
            page.DeadReason(stage=name, reason=reason, count=count)
            for name in report["stages"]
            for reason, count in steps[name]["dead_by_reason"].items()
        ],
        deid=page.Deid(
            notes=report["notes_deidentified"],
            spans=report["phi_spans"],
            by_label=_labels(out),
            facts={
                "proof bundle": steps["deidentify"]["proof"]["digest"][:16],
                "it lacks": ", ".join(steps["deidentify"]["proof"]["lacks"]) or "nothing",
            },
        ),
        training=page.Training(
            loss=[(m["step"], m["value"]) for m in _lines(storage.join(out, "train", "metrics.jsonl")) if m["name"] == "loss"],
            facts={name: f"{value:,.4g}" if isinstance(value, float) else str(value) for name, value in report["training"].items()},
        ),
        quantization=page.Quantization(
            agreement=report["quantization"]["agreement"],
            n=report["quantization"]["n"],
            facts={
                "bytes": f"{steps['quantize']['bytes_before']:,} to {steps['quantize']['bytes']:,}",
                "mean shift of probability": f"{report['quantization']['mean_shift']:.4f}",
            },
        ),
        seconds=seconds,
        limits=[
            f"On {coding['tuned_takes_first']:.0%} of the phrases the trained generator takes the search's first code: at this size it learns "
            "the order of the search and little of the words. A larger model takes the same path.",
            "The note labels are silver: written by a language model, not by clinical coders; confidence was fitted on their other notes.",
            "The sample claims carry few notes, so the comparison of billed with supported codes is small here.",
            "The coder read the notes as they came (coding.input: raw); training saw de-identified ones only.",
            "One code-set release is installed; for a date outside it that release stands in, and nothing goes to auto.",
        ],
    )
    page.write_report(storage.join(out, "report.html"), data)


def _examples(out: str, predictions: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The first coded sample notes of ACI-Bench, with their evidence: public text, as it came."""
    from nosology.distributed.stages import read_output
    from nosology.evaluation.report import Billed, ExampleCode, ExampleNote

    texts = {
        row["document_id"]: row["text"]
        for row in read_output(storage.join(out, "ingest"), "documents").to_pylist()
        if row["source_format"] == "jsonl"
    }
    chosen = [row for row in predictions if row["document_id"] in texts and row["codes"]][:SHOWN_NOTES]
    return [
        ExampleNote(
            title=f"Visit note {number}",
            source="ACI-Bench (CC BY 4.0)",
            text=texts[row["document_id"]],
            codes=[
                ExampleCode(
                    code=c["code"], title=c["title"], confidence=c["confidence"], route=c["route"], trail=c["trail"],
                    evidence=[(e["start"], e["end"]) for e in c["evidence"]],
                )
                for c in row["codes"]
            ],
            billed=[Billed(code=d["code"], kind=d["kind"]) for d in row["discrepancies"]],
            route=row["route"],
        )
        for number, row in enumerate(chosen, 1)
    ]  # fmt: skip


def _formats(ingest: str) -> list[Any]:
    """What each format brought, counted from the ledger and the tables of the ingest."""
    from collections import Counter

    from nosology.distributed.sink import DEAD, snapshot
    from nosology.distributed.stages import read_output
    from nosology.evaluation.report import Format

    files = Counter(file.format for file in snapshot(ingest).job.files)
    report = storage.read_json(storage.join(ingest, "report.json"))
    notes = Counter(read_output(ingest, "documents")["source_format"].to_pylist())
    dead = Counter(read_output(ingest, DEAD)["source_format"].to_pylist())
    return [
        Format(name=name, files=files[name], records=records, notes=notes[name], dead=dead[name])
        for name, records in sorted(report["by_format"].items())
    ]


def _labels(out: str) -> dict[str, int]:
    """Identifiers removed, by class."""
    import pyarrow.compute as pc

    from nosology.distributed.stages import read_output

    spans = pc.list_flatten(read_output(storage.join(out, "deidentify"), "audit")["spans"])
    counts = pc.value_counts(pc.struct_field(spans, "label")).to_pylist()
    return {c["values"]: c["counts"] for c in sorted(counts, key=lambda c: -c["counts"])}


def _lines(uri: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in storage.read_bytes(uri).splitlines()]
