"""From tables to a model that can be served: training blocks, a checkpoint, an artefact."""

from __future__ import annotations

import functools
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.config import Config
from nosology.errors import ConfigError, InputError
from nosology.runs import Run, fingerprint
from nosology.verbs.gate import provenance
from nosology.verbs.lineage import file_digest, finish, folder_digest

TOKENIZER = "tokenizer"  # folder beside blocks: the tokenizer and the chat template that they were made with
# how a training is run and not what it learns: these may change when it goes on
_OPERATION = {
    "max_failures": 0, "stall_seconds": 0.0, "keep_checkpoints": 1, "checkpoint_steps": 1, "checkpoint_minutes": None, "least_workers": None,
    "tracking": (), "zero": 0, "offload": "none", "offload_folder": None, "gradient_checkpointing": False,
}  # fmt: skip
DEIDENTIFICATION = "deidentification.json"  # in a checkpoint: why its data could be trained on


def prepare(config: Config, inputs: Sequence[str], phrases: Path | None, out: str) -> dict[str, Any]:
    """Clean tables and phrases of the code set to training blocks.

    Args:
        inputs: run folders of `deidentify`.
        phrases: JSON lines of {phrase, code}; None takes the code set's inclusion terms.
    """
    from nosology.curation import prepare as room
    from nosology.curation.examples import linked_codes
    from nosology.curation.split import Splitter
    from nosology.distributed.sink import snapshot
    from nosology.distributed.stages import read_output, run_stage
    from nosology.engines.encoder import encoder_digest
    from nosology.tasks.coding import ChooseCode
    from nosology.terminology.codeset import code_set
    from nosology.terminology.index import leave_out

    base = _needed(config.model.base, "model.base", "prepare writes the tokens of that model")
    with Run(out, "prepare", config, inputs=inputs, phrases=phrases) as run:
        for folder in inputs:
            job = snapshot(folder).job
            for name in ("documents", "conditions", "claims"):
                if name in job.schemas:
                    room.check_clean(job.schema(name), name, folder)
        models = {"tokenizer": storage.digest(storage.join(base, "tokenizer.json")), "code_set": code_set().digest}
        tokenizer = room.load_tokenizer(base, config.prepare.template)  # refused here, before the folder holds anything
        phrase_file = str(phrases) if phrases else run.put("phrases.jsonl", code_set_phrases(config))
        linked = [[row for folder in inputs for row in read_output(folder, name).to_pylist()] for name in ("conditions", "claims")]
        held_out = frozenset(leave_out(config.terminology.leave_out).categories)
        lookup = functools.partial(room.CodeSetLookup, config.terminology, config.model)
        stage = room.Prepare(config.prepare, base, lookup, linked_codes(*linked), Splitter.of(config.prepare, config.run.seed, held_out))
        models |= {
            "encoder": encoder_digest(config.model.encoder),
            "prompt": ChooseCode().digest,
            "leave_out": file_digest(config.terminology.leave_out),
        }
        if storage.exists(template := storage.join(base, "chat_template.jinja")):
            models["chat_template"] = storage.digest(template)
        marks = fingerprint("prepare", config.prepare, config.terminology, seed=str(config.run.seed), **models)
        report = run_stage(stage, [phrase_file, *inputs], out, config.cluster, marks, tables=["documents", "conditions"])
        drafts, dropped, notes = (read_output(out, name) for name in ("drafts", "dropped", "note_drafts"))
        prepared = room.finish(drafts, dropped, config.prepare, notes=notes)
        run.lineage("models", models)
        run.lineage("outputs", room.write(prepared, out))
        for table in ("blocks", "preferences"):
            room.write_tokenizer(tokenizer, storage.join(out, table, TOKENIZER))
        return finish(run, report, prepared.report)


def code_set_phrases(config: Config) -> bytes:
    """The inclusion terms of the code set as JSON lines of {phrase, code}, without those that `terminology.leave_out` names."""
    from nosology.terminology.codeset import code_set, phrases
    from nosology.terminology.index import leave_out

    left = leave_out(config.terminology.leave_out).categories
    found = [p for part in ("train", "validation", "test") for p in phrases(code_set(), part) if p.code[:3] not in left]
    return b"".join(json.dumps({"phrase": p.phrase, "code": p.code}).encode() + b"\n" for p in found)


def train(config: Config, source: str, out: str) -> dict[str, Any]:
    """Prepared blocks to a checkpoint, on `train.workers` processes; with `train.seeds` to one for each of them.

    Raises:
        InputError: nothing proves that the text behind the blocks was de-identified, and nobody vouches; see `gate`.
    """
    return _each_seed(config, source, out) if config.train.seeds else _train(config, source, out)


def _each_seed(config: Config, source: str, out: str) -> dict[str, Any]:
    """The same training with several seeds: each metric's mean, how far the seeds are apart, and the best of them."""
    from nosology.evaluation.training_page import write_seeds
    from nosology.training import objective
    from nosology.training.loop import better

    task = objective(config.train.objective)
    known = task.metrics
    if not len(task.rows(source, "validation")):
        raise InputError("no validation rows, by which train.seeds are compared", file=source, remedy="Raise prepare.validation_share")
    if config.train.metric not in known:
        raise ConfigError(
            f"train.metric {config.train.metric}: with train.seeds it tells the best; this objective measures {', '.join(known)}"
        )
    reports: dict[int, dict[str, Any]] = {}
    with Run(out, "train", config, source=source) as run:
        run.claim(fingerprint("train", config.train.model_copy(update=_OPERATION), data=folder_digest(source)))
        for seed in config.train.seeds:
            alone = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed, "seeds": ()})})
            reports[seed] = _train(alone, source, storage.join(out, f"seed-{seed}"))
        each = {seed: report["metrics"] for seed, report in reports.items()}
        values = {name: [metrics[name] for metrics in each.values()] for name in next(iter(each.values()))}
        metric = config.train.metric
        best = max(each, key=lambda seed: better(each[seed][metric], metric))
        spread = {name: statistics.stdev(v) if len(v) > 1 else 0.0 for name, v in values.items()}
        report: dict[str, Any] = {
            "seeds": list(each), "metrics": {name: statistics.fmean(v) for name, v in values.items()}, "spread": spread, "each": each,
            "best_seed": best, "best_run": reports[best]["run"], "checkpoint": reports[best]["checkpoint"],
            **{name: reports[best][name] for name in ("model", "validation_rows", "deidentification") if name in reports[best]},
        }  # fmt: skip
        return run.finish({**report, "html": write_seeds(out, report, reports, config.train)})


def _train(config: Config, source: str, out: str) -> dict[str, Any]:
    from nosology.distributed.train import run_training
    from nosology.evaluation.training_page import write_run
    from nosology.quantization.manifest import check_directory, check_weights
    from nosology.training import objective
    from nosology.training.backbone import OF_ENCODER, directory
    from nosology.training.export import export

    with Run(out, "train", config, source=source) as run:
        base = str(directory(config.train, config.model)) if config.train.objective != "tag" else None
        if base:
            check_directory(base)
            check_weights(base)
        if not storage.list_files(source):
            raise InputError(
                "there is nothing in it to train on", file=source, remedy="Give a table that prepare wrote, for instance its blocks"
            )
        origin = provenance(config, source)
        objective(config.train.objective).rows(source, "validation")  # a wrong table is refused here, before the folder holds anything
        digests = {"data": folder_digest(source), "base": folder_digest(base) if base else "none"}
        cleaned = {"policy": origin.get("policy"), "vouched_by": origin.get("vouched_by")}
        run.claim(fingerprint("train", config.train.model_copy(update=_OPERATION), **digests, **cleaned))
        if done := _done(out):
            return done
        report = run_training(config.train, config.model, source, out, config.cluster)
        # travels with the adapter or model, wherever it is copied to: the digests of the bundles, and no folder, whose name may tell of a site
        proofs = {"proofs": sorted(origin["proofs"].values())} if "proofs" in origin else {}
        storage.write_json(storage.join(str(report["checkpoint"]), DEIDENTIFICATION), origin | proofs)
        if base:
            _accompany(config, base, source, str(report["checkpoint"]))
        if base and config.train.objective in OF_ENCODER:
            report["model"] = export(config.train, Path(base), Path(str(report["checkpoint"])), storage.local_path(out) / "model")
        report["deidentification"] = origin
        run.lineage("inputs", {source: digests["data"]})
        run.lineage("models", {"base": digests["base"]})
        said: dict[str, str] = {name: str(origin[name]) for name in ("basis", "policy", "vouched_by") if name in origin}
        run.lineage("deidentification", {**said, **origin.get("proofs", {})})
        digests["checkpoint"] = folder_digest(str(report["checkpoint"]))
        report["html"] = write_run(out, report, config.train, digests)
        whole = {"model": folder_digest(report["model"])} if "model" in report else {}
        run.lineage("outputs", {"checkpoint": digests["checkpoint"], "html": storage.digest(report["html"]), **whole})
        return run.finish(report)


def _done(out: str) -> dict[str, Any] | None:
    """The report of a training that has ended and whose checkpoint, model and page are as it left them."""
    places = [storage.join(out, name) for name in ("report.json", "lineage.json")]
    if not all(map(storage.exists, places)):
        return None
    report, lineage = (dict(storage.read_json(place)) for place in places)
    held = {name: str(report.get(name)) for name in lineage["outputs"]}
    same = all(Path(place).exists() and folder_digest(place) == lineage["outputs"][name] for name, place in held.items())
    return report if same else None


def _accompany(config: Config, base: str, source: str, checkpoint: str) -> None:
    """Give a trained model its tokenizer with the template that it was trained with, and the digests by which both are known again."""
    from nosology.curation.prepare import load_tokenizer, write_tokenizer
    from nosology.quantization.manifest import TRAINED, identity, weights_digest
    from nosology.terminology.codeset import code_set
    from nosology.training.backbone import OF_ENCODER, Words

    files = [uri for uri in storage.list_files(source) if uri.rpartition("/")[0].endswith(f"/{TOKENIZER}")]
    if config.train.objective in OF_ENCODER:
        tokenizer = Words(Path(base)).tokenizer
    elif files:
        with tempfile.TemporaryDirectory() as folder:
            for uri in files:
                storage.write_bytes(storage.join(folder, uri.rpartition("/")[2]), storage.read_bytes(uri))
            tokenizer = load_tokenizer(folder, "model")
    else:  # blocks that prepare did not make
        tokenizer = load_tokenizer(base, config.prepare.template)
    write_tokenizer(tokenizer, checkpoint)
    digest = weights_digest(Path(base)) if config.train.method != "full" else "none"
    trained = {"objective": config.train.objective, **identity(tokenizer, digest, code_set().digest)}
    storage.write_json(storage.join(checkpoint, TRAINED), trained)


def quantize(config: Config, source: str, out: str) -> dict[str, Any]:
    """A trained run (or a model directory) to one servable artefact; how far its answers agree with those before, on phrases of the
    code set (`quantize.phrases` of them).

    Args:
        source: run folder of `train`, or the directory of a model.
    """
    from nosology.quantization import quantize as convert
    from nosology.quantization import resolve

    with Run(out, "quantize", config, source=source) as run:
        base, adapter = resolve(config.model, source)
        if Path(base).resolve() == (Path(out) / "artefact").resolve():
            raise InputError("the source lies where the artefact would go", file=source, remedy="Choose another --out")
        digests = {"base": folder_digest(str(base)), "adapter": folder_digest(str(adapter)) if adapter else "none"}
        run.claim(fingerprint("quantize", config.quantize, **digests))
        report = convert(config.quantize, config.model, source, out)
        if config.quantize.phrases:
            report["agreement"] = _agreement(config, str(base), str(adapter) if adapter else None, str(report["artefact"]))
        run.lineage("models", digests)
        run.lineage("outputs", {"artefact": report["digest"]})
        return run.finish(report)


def _agreement(config: Config, base: str, adapter: str | None, artefact: str) -> dict[str, float]:
    """Answers before and after quantization, to questions as coding asks them."""
    from nosology.curation.prepare import CodeSetLookup
    from nosology.engines import open_engine
    from nosology.quantization import agreement
    from nosology.tasks.coding import ChooseCode

    lines = code_set_phrases(config).splitlines()
    chosen = random.Random(config.run.seed).sample(lines, min(len(lines), config.quantize.phrases))
    phrases = [json.loads(line)["phrase"] for line in chosen]
    found = CodeSetLookup(config.terminology, config.model).search(phrases, config.prepare.candidates)
    asked = [ChooseCode().build(phrase, None, offered) for phrase, offered in zip(phrases, found, strict=True)]
    return agreement(open_engine(base, adapter), open_engine(artefact), [m for m, _ in asked], [labels for _, labels in asked])


def _needed(value: str | None, key: str, why: str) -> str:
    if not value:
        raise ConfigError(f"{key} is not set: {why}; give it as {key}=DIRECTORY")
    return value
