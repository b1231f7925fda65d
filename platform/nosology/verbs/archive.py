"""An archive to tables, and tables without identifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import Config
from nosology.errors import InputError
from nosology.runs import Run, fingerprint
from nosology.verbs.lineage import dead_reasons, finish, input_columns, user_rows

if TYPE_CHECKING:
    import pyarrow as pa


def ingest(config: Config, inputs: Sequence[str], out: str) -> dict[str, Any]:
    """Archive files to the tables of `records.TABLES`."""
    from nosology.distributed.stages import run_ingest

    with Run(out, "ingest", config) as run:
        marks = fingerprint("ingest", config.ingest, config.input)
        report = run_ingest(inputs, out, config.ingest, config.cluster, marks, columns=config.input)
        counts = {"files": report.files, "records": report.records_in, "notes": report.rows["documents"], "skipped": report.skipped}
        return finish(run, report, {**counts, "dead": report.dead, "by_format": report.by_format})


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
            stage,
            [source],
            out,
            config.cluster,
            fingerprint("deidentify", config.deid, config.input, **marks),
            needed=input_columns(config.input),
        )
        found = read_output(out, "audit")["spans"]
        extra: dict[str, Any] = {"notes_deidentified": len(found), "phi_spans": pc.sum(pc.list_value_length(found)).as_py() or 0}
        if report.rows["spans"]:
            extra |= _spans(config, source, read_output(out, "spans"), dead_reasons(out), spans)
        elif spans:
            raise InputError("--spans is for a table with a text column; this input has tables of records", file=source)
        run.lineage("models", {"tagger": marks["deid_tagger"]})
        return finish(run, report, extra)


def _spans(config: Config, source: str, table: pa.Table, dead: Mapping[tuple[str, int], str], file: Path | None) -> dict[str, Any]:
    """Write the spans in the order of the input, one line each, dead letters with their reason; measure where a row has gold `spans`."""
    from nosology.deid.measure import measure
    from nosology.deid.stage import span_line

    by_key = {(row["source_digest"], row["source_row"]): row["spans"] for row in table.to_pylist()}
    golds, founds, texts, lines = [], [], [], []
    for key, row in user_rows([source]):
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
