"""What each verb does: config and places in, report out. The command line, the job scripts and the demo call these."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import Config
from nosology.errors import ConfigError, DeadLettersError, InputError
from nosology.runs import Run, claim, fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from nosology.distributed.stages import StageReport


def ingest(config: Config, inputs: Sequence[str], out: str) -> dict[str, Any]:
    """Archive files to the tables of `records.TABLES`."""
    from nosology.distributed.stages import run_ingest

    with Run(out, "ingest", config) as run:
        marks = fingerprint("ingest", config.ingest, config.input)
        report = run_ingest(inputs, out, config.ingest, config.cluster, marks, columns=config.input)
        counts = {"files": report.files, "records": report.records_in, "notes": report.rows["documents"], "skipped": report.skipped}
        return _finish(run, report, {**counts, "dead": report.dead, "by_format": report.by_format})


def deidentify(config: Config, source: str, out: str, spans: Path | None) -> dict[str, Any]:
    """Tables of an ingest, or a user's own table, to Clean tables and an audit.

    Args:
        source: run folder of an ingest, or a table with a text column.
        spans: for a user's table: file that gets one JSON line an input; recall and precision follow where the input has gold `spans`.
    """
    import pyarrow.compute as pc

    from nosology.deid.stage import Deidentify
    from nosology.distributed.stages import read_output, run_stage

    with Run(out, "deidentify", config) as run:
        stage = Deidentify(config.deid, config.input, config.ingest.max_document_bytes)
        marks = stage.fingerprint()
        report = run_stage(
            stage, [source], out, config.cluster, fingerprint("deidentify", config.deid, config.input, **marks), needed=_columns(config)
        )
        found = read_output(out, "audit")["spans"]
        extra: dict[str, Any] = {"notes_deidentified": len(found), "phi_spans": pc.sum(pc.list_value_length(found)).as_py() or 0}
        if report.rows["spans"]:
            extra |= _spans(config, source, read_output(out, "spans"), _dead(out), spans)
        elif spans:
            raise InputError("--spans is for a table with a text column; this input has tables of records", file=source)
        run.lineage("models", {"tagger": marks["deid_tagger"]})
        return _finish(run, report, extra)


def _spans(config: Config, source: str, table: pa.Table, dead: Mapping[tuple[str, int], str], file: Path | None) -> dict[str, Any]:
    """Write the spans in the order of the input, one line each, dead letters with their reason; measure where a row has gold `spans`."""
    from nosology.deid.measure import measure
    from nosology.deid.stage import span_line

    by_key = {(row["source_digest"], row["source_row"]): row["spans"] for row in table.to_pylist()}
    golds, founds, texts, lines = [], [], [], []
    for key, row in _user_rows(config, [source]):
        identity = row.get(config.input.id_column)
        lines.append(
            span_line(identity, by_key[key]) if key in by_key else json.dumps({"id": identity, "spans": [], "dead": dead.get(key)})
        )
        if row.get("spans") is not None and key in by_key:
            golds.append(row["spans"])
            founds.append(by_key[key])
            texts.append(row[config.input.text_column])
    if file:
        storage.write_bytes(str(file), "".join(line + "\n" for line in lines).encode())
    return measure(golds, founds, texts) if golds else {}


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
    with Run(out, "prepare", config) as run:
        for folder in inputs:
            job = snapshot(folder).job
            for name in ("documents", "conditions", "claims"):
                if name in job.schemas:
                    room.check_clean(job.schema(name), name, folder)
        phrase_file = str(phrases) if phrases else storage.join(out, "phrases.jsonl")
        if not phrases:
            storage.write_bytes(phrase_file, code_set_phrases(config))
        linked = [[row for folder in inputs for row in read_output(folder, name).to_pylist()] for name in ("conditions", "claims")]
        held_out = frozenset(leave_out(config.terminology.leave_out).categories)
        lookup = functools.partial(room.CodeSetLookup, config.terminology, config.model)
        stage = room.Prepare(config.prepare, base, lookup, linked_codes(*linked), Splitter.of(config.prepare, config.run.seed, held_out))
        models = {"tokenizer": storage.digest(storage.join(base, "tokenizer.json")), "code_set": code_set().digest}
        models |= {
            "encoder": encoder_digest(config.model.encoder),
            "prompt": ChooseCode().digest,
            "leave_out": _file_digest(config.terminology.leave_out),
        }
        if storage.exists(template := storage.join(base, "chat_template.jinja")):
            models["chat_template"] = storage.digest(template)
        marks = fingerprint("prepare", config.prepare, config.terminology, seed=str(config.run.seed), **models)
        report = run_stage(stage, [phrase_file, *inputs], out, config.cluster, marks, tables=["documents", "conditions"])
        prepared = room.finish(read_output(out, "drafts"), read_output(out, "dropped"), config.prepare)
        run.lineage("models", models)
        run.lineage("outputs", room.write(prepared, out))
        return _finish(run, report, prepared.report)


def code_set_phrases(config: Config) -> bytes:
    """The inclusion terms of the code set as JSON lines of {phrase, code}, without those that `terminology.leave_out` names."""
    from nosology.terminology.codeset import code_set, phrases
    from nosology.terminology.index import leave_out

    left = leave_out(config.terminology.leave_out).categories
    found = [p for part in ("train", "validation", "test") for p in phrases(code_set(), part) if p.code[:3] not in left]
    return b"".join(json.dumps({"phrase": p.phrase, "code": p.code}).encode() + b"\n" for p in found)


def train(config: Config, source: str, out: str) -> dict[str, Any]:
    """Prepared blocks to a checkpoint, on `train.workers` processes."""
    from nosology.distributed.train import run_training

    with Run(out, "train", config) as run:
        base = config.model.base
        if config.train.objective == "generate":
            base = _needed(base, "model.base", "training starts from that model")
        digests = {"data": folder_digest(source), "base": folder_digest(base) if base else "none"}
        claim(out, fingerprint("train", config.train, **digests))
        report = run_training(config.train, config.model, source, out, config.cluster)
        run.lineage("inputs", {source: digests["data"]})
        run.lineage("models", {"base": digests["base"]})
        run.lineage("outputs", {"checkpoint": folder_digest(str(report["checkpoint"]))})
        return run.finish(report)


def quantize(config: Config, source: str, out: str) -> dict[str, Any]:
    """A trained run (or a model directory) to one servable artefact; how far its answers agree with those before, on phrases of the
    code set (`quantize.phrases` of them).

    Args:
        source: run folder of `train`, or the directory of a model.
    """
    from nosology.quantization import quantize as convert
    from nosology.quantization import resolve

    with Run(out, "quantize", config) as run:
        base, adapter = resolve(config.model, source)
        if Path(base).resolve() == (Path(out) / "artefact").resolve():
            raise InputError("the source lies where the artefact would go", file=source, remedy="Choose another --out")
        digests = {"base": folder_digest(str(base)), "adapter": folder_digest(str(adapter)) if adapter else "none"}
        claim(out, fingerprint("quantize", config.quantize, **digests))
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


def code(config: Config, inputs: Sequence[str], out: str, jsonl: Path | None) -> dict[str, Any]:
    """Notes and claims to predictions. The models run in Ray Serve; the batch calls their handle.

    Args:
        inputs: run folders of `deidentify` (or of `ingest`, when `coding.input` is raw), or tables with a text column.
        jsonl: file that gets one JSON line a note, in the order of the input.
    """
    from nosology.coding.stage import Code
    from nosology.distributed.serving import CoderClient, served
    from nosology.distributed.session import session
    from nosology.distributed.sink import is_run
    from nosology.distributed.stages import job_status, read_output, run_stage
    from nosology.engines.encoder import encoder_digest
    from nosology.tasks.coding import ChooseCode
    from nosology.terminology.codeset import code_set

    with Run(out, "code", config) as run:
        _check_trust_zone(config, inputs)
        artefact = config.model.artefact
        models = {
            "encoder": encoder_digest(config.model.encoder),
            "artefact": storage.digest(storage.join(artefact, "manifest.json")) if artefact else "none",
            "code_set": code_set().digest,
            "prompt": ChooseCode().digest,
            "leave_out": _file_digest(config.terminology.leave_out),
        }
        marks = fingerprint("code", config.coding, config.terminology, config.input, **models)
        stage = Code(
            CoderClient(),
            billed=billed_codes(inputs),
            max_document_bytes=config.ingest.max_document_bytes,
            input_text=config.input.text_column,
            input_id=config.input.id_column,
        )
        arguments: dict[str, Any] = {"needed": _columns(config), "tables": ["documents", "claims"]}
        if is_run(out) and job_status(out)["finished"]:  # the ledger still refuses another fingerprint
            report = run_stage(stage, inputs, out, config.cluster, marks, **arguments)
        else:
            with session(config.cluster), served(config):
                report = run_stage(stage, inputs, out, config.cluster, marks, **arguments)
        predictions = read_output(out, "predictions")
        if jsonl:
            _write_codes(config, inputs, predictions, _dead(out), jsonl)
        run.lineage("models", models)
        return _finish(run, report, summarise(predictions))


def summarise(predictions: pa.Table) -> dict[str, Any]:
    """Figures of a table of `Prediction`. Every code is looked up again in the code set: `invalid_codes` has to be 0."""
    from nosology.terminology.codeset import code_set

    codes = code_set()
    figures = dict.fromkeys(("notes_coded", "codes_assigned", "invalid_codes", "claims_checked", "claims_compared"), 0)
    routes: dict[str, int] = {"auto": 0, "review": 0, "reject": 0}
    discrepancies: dict[str, int] = {}
    for row in predictions.select(["document_id", "codes", "discrepancies", "route"]).to_pylist():
        noted = row["document_id"] is not None
        figures["notes_coded" if noted else "claims_checked"] += 1
        figures["claims_compared"] += noted and bool(row["discrepancies"])
        figures["codes_assigned"] += len(row["codes"])
        figures["invalid_codes"] += sum(not codes.is_billable(code["code"]) for code in row["codes"])
        routes[row["route"]] += noted
        for found in row["discrepancies"]:
            discrepancies[found["kind"]] = discrepancies.get(found["kind"], 0) + 1
    return {**figures, "routes": routes, "discrepancies": discrepancies}


def billed_codes(inputs: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Billed diagnoses of the claims that a document names, by patient and claim, and by patient and encounter
    (`coding.stage.link`): a claim number alone is not unique across submitters."""
    from nosology.coding.stage import links
    from nosology.distributed.sink import is_run, snapshot
    from nosology.distributed.stages import read_output

    found: dict[str, list[dict[str, Any]]] = {}
    for folder in inputs:
        if not is_run(folder) or not {"documents", "claims"} <= snapshot(folder).job.schemas.keys():
            continue
        names = ["patient_id", "claim_id", "encounter_id"]
        named = {key for row in read_output(folder, "documents").select(names).to_pylist() for key in links(row)}
        for row in read_output(folder, "claims").select([*names, "diagnoses"]).to_pylist():
            for key in links(row):
                if key in named:
                    found.setdefault(key, []).extend(row["diagnoses"])
    return found


def _check_trust_zone(config: Config, inputs: Sequence[str]) -> None:
    """Tables that hold PHI are read only when the run says so by name."""
    from nosology.distributed.sink import is_run, snapshot
    from nosology.distributed.source import plan

    for folder in inputs:
        if config.coding.input == "raw":
            return
        if not is_run(folder):
            if any(file.table != "rows" for file in plan([folder])):
                raise InputError(
                    "it has the columns of a table that holds PHI", file=folder, remedy="Run deidentify first, or name it: coding.input=raw"
                )
            continue
        job = snapshot(folder).job
        if any(field.metadata and b"phi" in field.metadata for name in job.schemas for field in job.schema(name)):
            raise InputError("its tables hold PHI", file=folder, remedy="Run deidentify first, or name it: coding.input=raw")


def _write_codes(config: Config, inputs: Sequence[str], predictions: pa.Table, dead: Mapping[tuple[str, int], str], file: Path) -> None:
    """One line a note, in the order of the input, under the id that the input gave it; a dead letter with its reason."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in predictions.to_pylist():
        if row["document_id"] is not None:
            kept = [{name: one[name] for name in ("code", "title", "confidence", "route", "trail", "evidence")} for one in row["codes"]]
            found[row["source_digest"], row["source_row"]] = {"id": row["document_id"], "route": row["route"], "codes": kept}
    lines = []
    for key, row in _user_rows(config, inputs):
        identity = row.get(config.input.id_column)
        answer = found.pop(key, None) or {"id": identity, "codes": [], "dead": dead.get(key)}
        lines.append({**answer, "id": identity})
    lines += found.values()  # notes of run folders, under their ids there
    storage.write_bytes(str(file), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())


def _dead(out: str) -> dict[tuple[str, int], str]:
    """Reason of each dead letter of a run, by key."""
    from nosology.distributed.sink import DEAD
    from nosology.distributed.stages import read_output

    return {(row["source_digest"], row["source_row"]): row["reason"] for row in read_output(out, DEAD).to_pylist()}


def _user_rows(config: Config, inputs: Sequence[str]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """(key, row) of users' own tables; rows that cannot be decoded are left out."""
    from nosology.distributed.coverage import Interval
    from nosology.distributed.sink import is_run
    from nosology.distributed.source import Rows, plan

    own = [folder for folder in inputs if not is_run(folder)]
    files = plan(own) if own else []
    reader = Rows(files)
    for number, planned in enumerate(files):
        for row in reader.read(Interval(number, 0, planned.num_units)):
            if not isinstance(row, tuple):
                yield (row["source_digest"], row["source_row"]), row


def score(config: Config, source: str, gold: Path, base: str | None, out: str) -> dict[str, Any]:
    """Predictions against gold codes; figures, and an HTML report.

    Args:
        source: run folder of `code`, its `predictions` folder, or JSON lines of {id, codes}.
        gold: JSON lines of {id, codes}.
        base: predictions of the system to compare with, in the same forms.
    """
    from nosology.evaluation import codes as room
    from nosology.evaluation.report import Comparison, Headline, ReportData, bar, note_table, reliability_part, write_report
    from nosology.terminology.codeset import code_set

    with Run(out, "score", config) as run:
        predicted = _predictions(source)
        right = room.read_gold(str(gold))
        if not right.keys() & predicted.keys():
            raise InputError(
                "no note of the gold file has a prediction", file=str(gold), field="id", remedy="Check that the ids are the same"
            )
        scores = room.score_notes(right, predicted, code_set().ancestors, config.run.seed)
        page = storage.join(out, "report.html")
        f1 = scores.code.f1
        data = ReportData(
            title="Codes against gold",
            headlines=[
                Headline(
                    label="micro F1, full code", value=f"{f1.value:.3f}", note=f"{f1.low:.3f} to {f1.high:.3f}, {scores.num_notes} notes"
                )
            ],
            tables=[note_table(scores)],
            reliability=reliability_part(scores.reliability, scores.calibration_error),
        )
        figures: dict[str, Any] = scores.figures()
        if base:
            before = _predictions(base)
            old, gain = room.score_notes(right, before, seed=config.run.seed), room.compare_notes(right, before, predicted, config.run.seed)
            figures |= {"base_micro_f1": round(old.code.f1.value, 4), "gain": round(gain.value, 4)}
            figures |= {"gain_low": round(gain.low, 4), "gain_high": round(gain.high, 4)}
            described = f"Gain in micro F1 {gain.value:.3f}, 95 % interval {gain.low:.3f} to {gain.high:.3f}, on the same notes."
            bars = [bar("base", old.code.f1), bar("tuned", f1, strong=True)]
            data = data.model_copy(
                update={"comparisons": [Comparison(title="Micro F1, base against tuned", description=described, bars=bars)]}
            )
        write_report(page, data)
        run.lineage("inputs", {str(gold): storage.digest(str(gold)), source: folder_digest(source)})
        run.lineage("outputs", {"html": storage.digest(page)})
        return run.finish({**figures, "html": page})


def status(run: str) -> dict[str, Any]:
    """Progress of a run, from its folder alone.

    Raises:
        InputError: the folder holds no run.
    """
    from nosology.distributed.sink import is_run
    from nosology.distributed.stages import job_status

    if is_run(run):
        return job_status(run)
    finished = storage.exists(storage.join(run, "report.json"))
    metrics = storage.join(run, "metrics.jsonl")
    if storage.exists(metrics):  # a training: its steps are its progress
        losses = [m for m in map(json.loads, storage.read_bytes(metrics).splitlines()) if m["name"] == "loss"]
        if losses:
            return {"verb": "train", "steps": losses[-1]["step"] + 1, "loss": losses[-1]["value"], "finished": finished}
    if storage.exists(storage.join(run, "generator")):
        done = sorted(uri.split("/")[-2] for uri in storage.list_files(run) if uri.endswith("/step.json"))
        return {"verb": "demo", "steps": done, "finished": finished}
    if finished:
        return {**storage.read_json(storage.join(run, "report.json")), "finished": True}
    raise InputError("no run is here", file=run, remedy="Name the folder that was given as --out")


def doctor(config: Config, as_json: bool) -> dict[str, Any]:
    """What this machine can do; for a person, one line a check."""
    from nosology.doctor import examine, summary

    findings = examine(config, ".")
    if not as_json:
        signs = {"good": "ok  ", "limited": "!   ", "bad": "FAIL"}
        for finding in findings:
            print(f"{signs[finding.state]}  {finding.check.ljust(18)} {finding.found}")
            if finding.means:
                print(f"      {finding.means}; mend: {finding.remedy}")
    report = summary(findings)
    if report["bad"]:
        raise DoctorError(report)
    return report if as_json else {}


class DoctorError(ConfigError):
    """Something that is needed does not work here."""

    exit_code = 1

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        super().__init__("; ".join(f["check"] for f in report["findings"] if f["state"] == "bad") + " will not work here")


def submit(verb: str, arguments: Sequence[str], address: str) -> dict[str, Any]:
    """Run a verb as a Ray job on a cluster."""
    from nosology.distributed.submit import submit as send

    return send(verb, arguments, address)


def serve(config: Config) -> dict[str, Any]:
    """Serve until a signal."""
    from nosology.distributed.serving import run

    return run(config)


def terms_score(config: Config, file: Path, out: str) -> dict[str, Any]:
    """Rank all billable codes for each phrase of a file."""
    from nosology.engines.encoder import load_encoder
    from nosology.terminology.codeset import code_set
    from nosology.terminology.index import score_terms

    with Run(out, "terms score", config) as run:
        encoder = load_encoder(config.model.encoder)
        report = score_terms(str(file), None, config.terminology, code_set(), encoder)
        run.lineage("inputs", {str(file): storage.digest(str(file))})
        run.lineage("models", {"encoder": encoder.digest, "code_set": code_set().digest})
        return run.finish(report)


def _columns(config: Config) -> list[str]:
    """Columns that a user's own table of notes must have."""
    return [config.input.text_column, config.input.id_column]


def _predictions(source: str) -> dict[str, Any]:
    """Predictions by note, of a run folder, a folder of Parquet, or JSON lines."""
    from nosology.distributed.sink import is_run
    from nosology.distributed.stages import read_output
    from nosology.evaluation import codes

    return codes.by_note(read_output(source, "predictions").to_pylist()) if is_run(source) else codes.read_predictions(source)


def _needed(value: str | None, key: str, why: str) -> str:
    if not value:
        raise ConfigError(f"{key} is not set: {why}; give it as {key}=DIRECTORY")
    return value


def _finish(run: Run, report: StageReport, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Lineage and report of a stage; DeadLettersError when too many records were given up."""
    from nosology.distributed.sink import DEAD, snapshot

    seen = snapshot(run.uri)
    run.lineage("inputs", {file.uri: file.digest for file in seen.job.files})
    run.lineage("outputs", {name: _joined(part.digest for part in seen.table(name)) for name in [*seen.job.schemas, DEAD]})
    counts = {
        "records_in": report.records_in, "records_ok": report.ok, "records_dead": report.dead, "dead_by_reason": report.dead_by_reason,
        "rows": report.rows, "resumed_share": report.resumed_share,
    }  # fmt: skip
    whole = run.finish({**counts, **extra})
    allowed = run.config.run.allowed_dead_share
    if report.dead > allowed * report.records_in:
        raise DeadLettersError(f"{report.dead} of {report.records_in} records are dead letters; run.allowed_dead_share is {allowed}", whole)
    return whole


def _file_digest(path: str | None) -> str:
    return storage.digest(path) if path else "none"


def _joined(digests: Iterator[str]) -> str:
    """One SHA-256 for a set of parts, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def folder_digest(uri: str) -> str:
    """One SHA-256 for all files below a folder; of a file, its own."""
    if not storage.is_folder(uri):
        return storage.digest(uri)
    return _joined(iter([storage.digest(file) for file in storage.list_files(uri)]))


def demo(config: Config, out: str) -> dict[str, Any]:
    """The whole way on the sample archive."""
    from nosology.demo import run_demo

    return run_demo(config, out)
