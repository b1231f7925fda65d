"""Notes and claims to codes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import Config
from nosology.errors import InputError
from nosology.runs import Run, fingerprint
from nosology.verbs.lineage import Repeats, file_digest, finish, input_columns

if TYPE_CHECKING:
    from nosology.distributed.coverage import PlannedFile
    from nosology.distributed.stages import StageReport


def code(config: Config, inputs: Sequence[str], out: str, jsonl: str | None) -> dict[str, Any]:
    """Notes and claims to predictions. The models run in Ray Serve; the batch calls their handle.

    Args:
        inputs: run folders of `deidentify` (or of `ingest`, when `coding.input` is raw), or tables with a text column.
        jsonl: file, local or `s3://`, that gets one JSON line a note, in the order of the input.
    """
    from nosology.coding.billed import written
    from nosology.coding.stage import Code
    from nosology.distributed.serving import CoderClient, served
    from nosology.distributed.session import session
    from nosology.distributed.sink import is_run
    from nosology.distributed.source import check_apart, plan
    from nosology.distributed.stages import job_status, run_stage
    from nosology.engines import engine_of
    from nosology.engines.encoder import encoder_digest
    from nosology.quantization.manifest import artefact_digest, check_code_set
    from nosology.tasks.coding import ChooseCode
    from nosology.terminology.codeset import code_set

    with Run(out, "code", config, inputs=inputs, jsonl=jsonl) as run:
        check_apart(inputs, out)  # before the plan, which would find what this run has written there
        files = plan(inputs, input_columns(config.input), ["documents", "claims"])  # before models are loaded: it may be refused
        _check_trust_zone(config, inputs, files)
        artefact = config.model.artefact
        if artefact:
            check_code_set(artefact, code_set().digest)
        models = {
            "encoder": encoder_digest(config.model.encoder),
            "artefact": artefact_digest(artefact) if artefact else "none",
            "code_set": code_set().digest,
            "prompt": ChooseCode().digest,
            "leave_out": file_digest(config.terminology.leave_out),
        }
        engine = engine_of(config.serve.engine, artefact) if artefact else None  # two compute in other precision, so answers differ
        marks = fingerprint("code", config.coding, config.terminology, config.input, engine=engine, **models)
        with written(out, _billed(inputs)) as billed:
            stage = Code(
                CoderClient(timeout_seconds=2 * config.cluster.stall_seconds),
                billed=billed,
                max_document_bytes=config.ingest.max_document_bytes,
                input_text=config.input.text_column,
                input_id=config.input.id_column,
            )
            with contextlib.ExitStack() as stack:
                if not (is_run(out) and job_status(out)["finished"]):  # of a finished one the ledger still checks the fingerprint
                    stack.enter_context(session(config.cluster))
                    stack.enter_context(served(config))
                report = run_stage(stage, inputs, out, config.cluster, marks, planned=files)
        if jsonl:
            _write_codes(config, out, report, jsonl)
        run.lineage("models", models)
        return finish(run, report, _summarise(out))


def _summarise(out: str) -> dict[str, Any]:
    """Figures of a run's predictions. Every code is looked up again in the code set: `invalid_codes` has to be 0.
    `duplicate_ids` are notes whose id an earlier one has: each was coded, and nothing but its place tells them apart."""
    from nosology.distributed.stages import output_parts
    from nosology.terminology.codeset import code_set

    codes = code_set()
    figures = dict.fromkeys(("notes_coded", "codes_assigned", "invalid_codes", "claims_checked", "claims_compared"), 0)
    routes: dict[str, int] = {"auto": 0, "review": 0, "reject": 0}
    discrepancies: dict[str, int] = {}
    ids = Repeats()
    _, parts = output_parts(out, "predictions", ["document_id", "codes", "discrepancies", "route"])
    for row in (row for part in parts for row in part.to_pylist()):
        noted = row["document_id"] is not None
        figures["notes_coded" if noted else "claims_checked"] += 1
        figures["claims_compared"] += noted and bool(row["discrepancies"])
        figures["codes_assigned"] += len(row["codes"])
        figures["invalid_codes"] += sum(not codes.is_billable(code["code"]) for code in row["codes"])
        routes[row["route"]] += noted
        if noted:
            ids.add(row["document_id"])
        for found in row["discrepancies"]:
            discrepancies[found["kind"]] = discrepancies.get(found["kind"], 0) + 1
    return {**figures, "duplicate_ids": ids.count(), "routes": routes, "discrepancies": discrepancies}


def _billed(inputs: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Billed diagnoses of the claims of earlier runs, by patient and claim, and by patient and encounter
    (`coding.stage.links`): a claim number alone is not unique across submitters."""
    from nosology.coding.stage import links
    from nosology.distributed.sink import is_run, read_job
    from nosology.distributed.stages import output_parts

    for folder in inputs:
        if is_run(folder) and {"documents", "claims"} <= read_job(folder).schemas.keys():
            _, parts = output_parts(folder, "claims", ["patient_id", "claim_id", "encounter_id", "diagnoses"])
            for row in (row for part in parts for row in part.to_pylist()):
                yield from ((key, row["diagnoses"]) for key in links(row))


def _check_trust_zone(config: Config, inputs: Sequence[str], files: Sequence[PlannedFile]) -> None:
    """Tables that hold PHI are read only when the run says so by name."""
    from nosology.distributed.sink import is_run, read_job

    if config.coding.input == "raw":
        return
    remedy = "Run deidentify first, or name it: coding.input=raw"
    for file in files:
        if file.kind == "rows" and file.table != "rows":
            raise InputError("it has the columns of a table that holds PHI", file=file.uri, remedy=remedy)
    for job, folder in ((read_job(folder), folder) for folder in inputs if is_run(folder)):
        if any(field.metadata and b"phi" in field.metadata for name in job.schemas for field in job.schema(name)):
            raise InputError("its tables hold PHI", file=folder, remedy=remedy)


def _write_codes(config: Config, out: str, report: StageReport, file: str) -> None:
    """One line a note, in the order of the input, under the id that the input gave it; a dead letter with its reason."""
    from nosology.distributed.stages import answers

    with storage.open_output(file) as lines:
        for answer in answers(out, "predictions", report.inputs):
            found: dict[tuple[str, int], dict[str, Any]] = {}
            for row in answer.output:
                if row["document_id"] is not None:
                    kept = [
                        {name: one[name] for name in ("code", "title", "confidence", "route", "trail", "evidence")} for one in row["codes"]
                    ]
                    found[row["source_digest"], row["source_row"]] = {"id": row["document_id"], "route": row["route"], "codes": kept}
            for row in answer.rows:
                key, identity = (row["source_digest"], row["source_row"]), row.get(config.input.id_column)
                line = found.pop(key, None) or {"codes": [], "dead": answer.dead.get(key)}
                lines.write(json.dumps({**line, "id": identity}, ensure_ascii=False).encode() + b"\n")
            for line in found.values():  # notes of run folders, under their ids there
                lines.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
