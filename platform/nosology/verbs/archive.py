"""An archive to tables, and tables without identifiers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import Config
from nosology.errors import ConfigError, InputError
from nosology.records import TABLES
from nosology.runs import Run, fingerprint, is_claimed
from nosology.verbs import proof
from nosology.verbs.lineage import Repeats, finish, input_columns

if TYPE_CHECKING:
    from nosology.distributed.coverage import PlannedFile
    from nosology.distributed.stages import StageReport

KNOWN = ".known"  # folder of a run, until its end: encrypted values of its patients; no listing of the run shows it


_KEY = frozenset({"source_digest", "source_row", "source_format", "_table"})  # which every row gets
# of a user's rows, beside text and id: what `deid.stage.Deidentify` takes into the document, and gold
_ROW_COLUMNS = _KEY | {"patient_id", "encounter_id", "claim_id", "sex", "age", "date_of_service", "spans"}


def ingest(config: Config, inputs: Sequence[str], out: str) -> dict[str, Any]:
    """Archive files to the tables of `records.TABLES`. The report counts files by encoding, and files with the content of another; with
    `ingest.allow_unreadable` it names the files, and members of archives, that were left out because nobody can read them.
    `unknown_fields` are those that no list of `nosology.deid.fields` has, by format and name, with how often they came: they are dropped."""
    from nosology.distributed.stages import run_ingest

    with Run(out, "ingest", config, inputs=inputs) as run:
        marks = fingerprint("ingest", config.ingest, config.input)
        report = run_ingest(inputs, out, config.ingest, config.cluster, marks, columns=config.input)
        counts = {"files": report.files, "records": report.records_in, "notes": report.rows["documents"], "skipped": report.skipped}
        kinds = {"by_format": report.by_format, "by_encoding": report.by_encoding}
        copies = {"duplicates": {"files": report.duplicates, "files_left_out": report.left_out, "records": report.duplicate_records}}
        unreadable = {"unreadable": {"count": len(report.unreadable), "files": list(report.unreadable)}}
        unknown = {"unknown_fields": report.unknown_fields}
        return finish(run, report, {**counts, "dead": report.dead, **kinds, **copies, **unreadable, **unknown})


def asked(
    config: Config, source: str | None, out: str | None, spans: str | None, gold: str | None, evidence: Mapping[str, Any], as_json: bool
) -> dict[str, Any]:
    """What the command `deidentify` is asked for: a measurement on `gold`, a run, or the sample and the bundle of a finished run.

    Raises:
        ConfigError: the options do not say which.
    """
    evidence = {name: storage.absolute(value) if name in ("measured", "sampled") else value for name, value in evidence.items() if value}
    if gold:
        if source or spans or evidence:
            raise ConfigError("--measure stands alone: with --out and the configuration")
        report = proof.measure(config, gold, out)
        return report if as_json else proof.shown(report)
    if not source:
        raise ConfigError("--in is missing: what is to be de-identified, or with --proof or --sample a finished run")
    if out:
        return deidentify(config, source, out, spans, evidence)
    if not evidence.keys() & {"proof", "sample"}:
        raise ConfigError("--out is missing: a folder for the run")
    return {"run": source, **proof.gather(config, source, proof.Evidence(**evidence))}


def deidentify(config: Config, source: str, out: str, spans: str | None, evidence: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Tables of an ingest, or a user's own table, to Clean tables and an audit.

    Args:
        source: run folder of an ingest, or a table with a text column.
        spans: for a user's table: file, local or `s3://`, that gets one JSON line an input; recall and precision follow where the
            input has gold `spans`.
        evidence: fields of `proof.Evidence`: the sample and the bundle that are to be made of the run.
    """
    import pyarrow.compute as pc

    from nosology.deid.dossier import remove
    from nosology.deid.policies import policy_of
    from nosology.deid.secret import load_secret
    from nosology.deid.stage import Deidentify, policy_name
    from nosology.distributed import dossiers
    from nosology.distributed.source import check_apart, plan
    from nosology.distributed.stages import output_parts, run_stage

    wanted = proof.Evidence(**evidence or {})
    proof.check(config, out, wanted)
    _check_places(config, source, out, spans)
    with Run(out, "deidentify", config, source=source, spans=spans, **({"evidence": evidence} if evidence else {})) as run:
        config = _on_its_day(config, out)
        check_apart([source], out)  # before the plan, which would find what this run has written there
        files = plan([source], input_columns(config.input), list(TABLES))  # never the originals
        if spans and not any(file.table == "rows" for file in files):
            raise InputError("--spans is for a table with a text column; this input has tables of records", file=source)
        folder = storage.join(storage.absolute(out), KNOWN)
        told = dossiers.needed(files, config.deid)
        stage = Deidentify(config.deid, config.input, config.ingest.max_document_bytes, storage.join(folder, "values") if told else None)
        marks = stage.fingerprint()
        fields = fingerprint("deidentify", config.deid, config.input, **marks) | {"deid.policy": json.dumps(policy_of(config.deid).name)}

        def before() -> None:
            names = _names(config, source, files, folder, fields) if config.deid.consistency == "patient" else None
            dossiers.gather(files, storage.join(folder, "values"), load_secret(config.deid), config.deid, names)

        report = run_stage(stage, [source], out, config.cluster, fields, planned=files, before=before if told else None)
        remove(folder)
        extra: dict[str, Any] = {"notes_deidentified": report.rows["audit"], "phi_spans": 0}
        ids = Repeats()  # of pseudonyms, which are the same where the ids were
        for audit in output_parts(out, "audit", ["document_id", "spans"])[1]:
            extra["phi_spans"] += pc.sum(pc.list_value_length(audit["spans"])).as_py() or 0
            for pseudonym in audit["document_id"].to_pylist():
                ids.add(pseudonym)
        extra["duplicate_ids"] = ids.count()
        if any(file.table == "rows" for file in files):
            extra |= _spans(config, out, report, spans)
        run.lineage("models", {"tagger": marks["deid_tagger"]})
        extra |= {
            "policy": policy_name(config.deid),
            "as_of": str(config.deid.as_of),
            "left_out": list(config.deid.leave_out),
            "rules_alone": list(config.deid.rules_alone),
            "uniqueness": proof.uniqueness(out, config.proof),
        }
        extra |= proof.gather(config, out, wanted)
        return finish(run, report, extra)


def _on_its_day(config: Config, out: str) -> Config:
    """The configuration with the day of the run: its own, else that on which the run in this folder began, else today."""
    from nosology.deid.clock import on_its_day
    from nosology.distributed.sink import is_run, read_job

    held = json.loads(read_job(out).fingerprint.get("deid.as_of", "null")) if is_run(out) else None
    return config.model_copy(update={"deid": on_its_day(config.deid, held)})


def _check_places(config: Config, source: str, out: str, spans: str | None) -> None:
    """Refuses what would be written over, or would hand the key on with the output.

    Raises:
        ConfigError: the key lies in the run folder. InputError: the file for spans is there already, lies in a run, or has no folder.
    """
    key = Path(config.deid.key_file).resolve() if config.deid.key_file else None
    if key and storage.is_local(out) and key.is_relative_to(storage.local_path(out).resolve()):
        raise ConfigError(f"deid.key_file: {key} lies in the run folder, which may be handed on. Name a place outside of it")
    if not spans or not storage.is_local(spans):
        return
    file = storage.local_path(spans).resolve()
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise InputError("--spans: this file cannot be made there", file=str(file), remedy="Name a file in a folder that you can write to")
    own = storage.local_path(out).resolve() if storage.is_local(out) else None
    if inside := [folder for folder in file.parents if folder != own and is_claimed(str(folder))]:
        raise InputError("--spans: a file inside the folder of a run", file=str(file), remedy=f"Name a place outside of {inside[0]}")
    again = own is not None and is_claimed(str(own))  # the same command once more
    if file.exists() and file.stat().st_size and (not again or storage.is_local(source) and file == storage.local_path(source).resolve()):
        raise InputError("--spans: this file is here already; nothing is written over", file=str(file), remedy="Name a new file")


def _names(config: Config, source: str, files: Sequence[PlannedFile], folder: str, fields: Mapping[str, str]) -> str | None:
    """Finds the names in the notes, a job of its own; its folder, or None where there are no notes."""
    from nosology.deid.consistency import FindNames
    from nosology.deid.stage import NOTES, Deidentify
    from nosology.distributed.stages import run_stage

    notes = [file for file in files if file.table in NOTES]
    if not notes:
        return None
    stage = FindNames(Deidentify(config.deid, config.input, config.ingest.max_document_bytes), config.deid)
    names = storage.join(folder, "names")
    run_stage(stage, [source], names, config.cluster, fields, planned=notes)
    return names


def _spans(config: Config, out: str, report: StageReport, file: str | None) -> dict[str, Any]:
    """Write the spans in the order of the input, one line each, dead letters with their reason; measure where a row has gold `spans`.
    `dropped_columns` are those of the rows that are neither text nor id nor known to the stage, with the number of rows that have them."""
    from nosology.deid.measure import checked
    from nosology.deid.stage import span_line
    from nosology.distributed.stages import answers
    from nosology.readers.unlisted import Unlisted

    golds, founds, texts = [], [], []
    dropped, taken = Unlisted(), _ROW_COLUMNS | {config.input.text_column, config.input.id_column}
    with storage.open_output(file) if file else contextlib.nullcontext() as lines:
        for answer in answers(out, "spans", report.inputs):
            by_key = {(row["source_digest"], row["source_row"]): row["spans"] for row in answer.output}
            for row in answer.rows:
                if not taken.issuperset(row):
                    dropped.keys((name for name in row if name not in _KEY), taken)
                key, identity = (row["source_digest"], row["source_row"]), row.get(config.input.id_column)
                spans = by_key.get(key)
                if lines:
                    line = (
                        span_line(identity, spans)
                        if spans is not None
                        else json.dumps({"id": identity, "spans": [], "dead": answer.dead.get(key)})
                    )
                    lines.write(line.encode() + b"\n")
                if row.get("spans") is not None and spans is not None:
                    text = row[config.input.text_column]
                    golds.append(checked(row["spans"], text, f"record {key[1]} of file {key[0]}"))
                    founds.append(spans)
                    texts.append(text)
    return {"dropped_columns": dict(dropped.counts.most_common()), **proof.measured_rows(config, texts, golds, founds)}
