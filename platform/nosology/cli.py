"""The command line: it parses, reports and sets the exit status; `verbs` does the work.

Exit status: 0 done, 2 wrong use or configuration, 3 finished with dead letters beyond the allowed share, 1 anything else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nosology.console import SIGNALS, fail, perform

if TYPE_CHECKING:
    from nosology.config import Config

app = typer.Typer(
    name="nosology",
    help="Claims and clinical notes in, audited medical codes out, on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from nosology.runs import VERSION

        print(f"nosology {VERSION}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", help="print the version and exit", is_eager=True, callback=_print_version)] = False,
) -> None:
    """What stands before the command."""


terms = typer.Typer(help="Code sets: measure their search.", no_args_is_help=True)
app.add_typer(terms, name="terms")
deadletter = typer.Typer(help="Records that a run gave up: list, show, retry, export.", no_args_is_help=True)
app.add_typer(deadletter, name="deadletter")

Files = Annotated[list[Path], typer.Option("--config", "-c", help="YAML file; may be given several times, later ones win")]
Overrides = Annotated[list[str], typer.Argument(metavar="[KEY.SUB=VALUE]...", help="values over those of the files")]
Json = Annotated[bool, typer.Option("--json", help="end with one JSON line on stdout")]
Archives = Annotated[list[str], typer.Option("--in", help="file or folder, local or s3://; may be given several times")]
Inputs = Annotated[list[str], typer.Option("--in", help="file, folder or run folder, local or s3://; may be given several times")]
Input = Annotated[str, typer.Option("--in", help="file, folder or run folder, local or s3://")]
Out = Annotated[str, typer.Option("--out", help="run folder; the same command again resumes it")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="run folder, local or s3://")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="only letters of this reason; may be given several times")]
NONE: list[Any] = []


def _load(files: list[Path], overrides: list[str]) -> Config:
    from nosology.config import load

    return load(files, overrides)


@app.command()
def ingest(
    inputs: Archives,
    out: Out,
    allow_unreadable: Annotated[bool, typer.Option("--allow-unreadable", help="go on without files that nobody can read")] = False,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Read archives (X12, FHIR, Medicare RIF, DE-SynPUF, Synthea, HL7 v2, C-CDA, RTF, HTML, Parquet, JSONL, CSV, text; zip too) into tables."""
    from nosology import verbs

    more = ["ingest.allow_unreadable=true"] if allow_unreadable else []
    perform("ingest", as_json, lambda: verbs.ingest(_load(config, [*overrides, *more]), inputs, out))


@app.command()
def deidentify(
    input: Annotated[str | None, typer.Option("--in", help="file, folder or run folder, local or s3://")] = None,
    out: Annotated[str | None, typer.Option("--out", help="run folder; the same command again resumes it")] = None,
    text_column: Annotated[str | None, typer.Option(help="column that holds the note")] = None,
    id_column: Annotated[str | None, typer.Option(help="column that identifies the row")] = None,
    spans: Annotated[str | None, typer.Option(help="write the spans found, one JSON line an input; local or s3://")] = None,
    accept_residual: Annotated[bool, typer.Option("--accept-residual", help="as deid.accept_residual=true")] = False,
    language: Annotated[str | None, typer.Option(help="language of the notes: en (default) or es")] = None,
    measure: Annotated[str | None, typer.Option(help="JSON lines of {id, text, spans} to measure detection on, and no more")] = None,
    sample: Annotated[int, typer.Option(min=0, help="draw so many cleaned notes for a person to read: a page and a form in the run")] = 0,
    proof: Annotated[
        bool, typer.Option("--proof", help="write the bundle that train asks for; without --out, of the finished run --in")
    ] = False,
    measured: Annotated[str | None, typer.Option(help="for the bundle: run folder of --measure")] = None,
    sampled: Annotated[str | None, typer.Option(help="for the bundle: the filled form of a sample")] = None,
    signer: Annotated[str | None, typer.Option(help="for the bundle: who answers for it")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Remove the 18 Safe Harbor identifiers from notes, claims and resources; measure and prove it."""
    from nosology.verbs.archive import asked

    named = {"input.text_column": text_column, "input.id_column": id_column, "deid.language": language}
    columns = [f"{name}={json.dumps(value)}" for name, value in named.items() if value]
    columns += ["deid.accept_residual=true"] if accept_residual else []
    evidence = {"proof": proof, "sample": sample, "measured": measured, "sampled": sampled, "signer": signer}
    perform("deidentify", as_json, lambda: asked(_load(config, overrides + columns), input, out, spans, measure, evidence, as_json))


@app.command()
def reidentify(
    run: Annotated[str, typer.Option("--in", help="run folder of a deidentify with deid.reversible, local or s3://")],
    ids: Annotated[list[str], typer.Option("--id", help="pseudonym of a record or a patient; may be given several times")],
    by: Annotated[str, typer.Option(help="who asks")],
    reason: Annotated[str, typer.Option(help="why")],
    to: Annotated[Path, typer.Option(help="new file for the records, one JSON line each, readable to its owner alone")],
    key_file: Annotated[Path | None, typer.Option(help="file with the key; default: where the run had it")] = None,
    as_json: Json = False,
) -> None:
    """Turn clean records back, with the key; who, when, why and which records is written down first."""
    from nosology import verbs

    perform("reidentify", as_json, lambda: verbs.reidentify(run, ids, by, reason, to, key_file))


@app.command()
def prepare(
    out: Out,
    inputs: Inputs = NONE,
    phrases: Annotated[Path | None, typer.Option(help="JSON lines of {phrase, code}; default: the code set's inclusion terms")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Make training blocks: splits without leaks, duplicates removed, templates, packing."""
    from nosology import verbs

    perform("prepare", as_json, lambda: verbs.prepare(_load(config, overrides), inputs, phrases, out))


@app.command()
def plan(
    input: Annotated[str | None, typer.Option("--in", help="prepared blocks; default: plan.blocks of them")] = None,
    out: Annotated[str | None, typer.Option("--out", help="run folder; default: runs/plan-DIGEST, one for each configuration")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Tell whether a training fits, how long it takes and what it costs; needs no GPU. Exit status 2 when it does not fit."""
    from nosology import verbs

    def work() -> dict[str, Any]:
        report = verbs.plan(_load(config, overrides), input, out)
        return report if as_json else told(report)

    from nosology.verbs.planning import told

    perform("plan", as_json, work)


@app.command()
def train(
    input: Input,
    out: Out,
    seeds: Annotated[str | None, typer.Option(help="numbers with commas between: train once with each, into seed-N of the run")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Fine-tune a model or a head on what prepare wrote (LoRA or full, DeepSpeed ZeRO 0-3); resumes from its last good checkpoint."""
    from nosology import verbs

    named = [f"train.seeds=[{seeds}]"] if seeds else []
    perform("train", as_json, lambda: verbs.train(_load(config, overrides + named), input, out))


@app.command()
def quantize(input: Input, out: Out, config: Files = NONE, overrides: Overrides = NONE, as_json: Json = False) -> None:
    """Merge a trained adapter and write one INT8 artefact for the laptop engine and vLLM."""
    from nosology import verbs

    perform("quantize", as_json, lambda: verbs.quantize(_load(config, overrides), input, out))


@app.command()
def code(
    inputs: Inputs,
    out: Out,
    jsonl: Annotated[str | None, typer.Option(help="write the codes, one JSON line a note; local or s3://")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Give ICD-10-CM codes to notes, with evidence, confidence and route; compare with what was billed."""
    from nosology import verbs

    perform("code", as_json, lambda: verbs.code(_load(config, overrides), inputs, out, jsonl))


@app.command()
def score(
    input: Input,
    gold: Annotated[Path, typer.Option(help="JSON lines of {id, codes}")],
    out: Out,
    base: Annotated[str | None, typer.Option(help="predictions of the system to compare with")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Measure predictions (run folder of `code`, or its JSON lines) against gold codes; write an HTML report."""
    from nosology import verbs

    perform("score", as_json, lambda: verbs.score(_load(config, overrides), input, gold, base, out))


@terms.command("score")
def terms_score(
    file: Annotated[Path, typer.Argument(help="JSON lines of {phrase, code}")],
    leave_out: Annotated[Path | None, typer.Option(help="JSON lines of {phrase, code} kept out of the index and of training")] = None,
    out: Annotated[str | None, typer.Option("--out", help="run folder; default: runs/terms-score-DIGEST, one for each job")] = None,
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """Rank all billable codes for each phrase."""
    from nosology import verbs

    left = [f"terminology.leave_out={json.dumps(str(leave_out))}"] if leave_out else []
    perform("terms score", as_json, lambda: verbs.terms_score(_load(config, overrides + left), file, out))


@app.command()
def serve(config: Files = NONE, overrides: Overrides = NONE, as_json: Json = False) -> None:
    """Serve POST /v1/code and /v1/chat/completions until SIGINT or SIGTERM."""
    from nosology import verbs

    perform("serve", as_json, lambda: verbs.serve(_load(config, overrides)))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    verb: Annotated[str, typer.Argument(help="verb to run on the cluster; its own options follow")],
    address: Annotated[str, typer.Option(help="address of the cluster's job server")] = "http://127.0.0.1:8265",
    as_json: Json = False,
) -> None:
    """Run a verb as a Ray job: follow its log, return its exit status."""
    from nosology import verbs

    perform("submit", as_json, lambda: verbs.submit(verb, context.args, address))


@app.command()
def status(run: RunFolder, as_json: Json = False) -> None:
    """Progress of a run, from its folder alone."""
    from nosology import verbs

    perform("status", as_json, lambda: verbs.status(run))


@app.command()
def resume(run: RunFolder, as_json: Json = False) -> None:
    """Go on with a run that was stopped or killed, with the configuration that it has."""
    from nosology import verbs

    perform("resume", as_json, lambda: verbs.resume(run))


@app.command()
def verify(
    run: RunFolder,
    inputs: Annotated[bool, typer.Option("--inputs", help="read the files of the input too and compare their digests")] = False,
    as_json: Json = False,
) -> None:
    """Prove that a run is whole: every record covered once, every checksum right."""
    from nosology import verbs

    perform("verify", as_json, lambda: verbs.verify(run, inputs))


@app.command()
def gc(
    run: RunFolder,
    grace_seconds: Annotated[float | None, typer.Option(help="leave files that are younger; default: a day")] = None,
    as_json: Json = False,
) -> None:
    """Remove what killed attempts left behind in a run folder."""
    from nosology import verbs

    perform("gc", as_json, lambda: verbs.gc(run, grace_seconds))


@app.command()
def publish(
    run: RunFolder, to: Annotated[str, typer.Option(help="delta://PATH, or a folder that gets Parquet files")], as_json: Json = False
) -> None:
    """Hand the tables of a finished run on; done again it adds nothing."""
    from nosology import verbs

    perform("publish", as_json, lambda: verbs.publish(run, to))


@deadletter.command("list")
def deadletter_list(run: RunFolder, as_json: Json = False) -> None:
    """Count the dead letters of a run by stage, reason, field and rule."""
    from nosology import verbs

    def work() -> dict[str, Any]:
        report = verbs.deadletter_list(run)
        return report if as_json else {_kind(kind): kind["count"] for kind in report["kinds"]} or {"dead": 0}

    perform("deadletter list", as_json, work)


@deadletter.command("show")
def deadletter_show(
    run: RunFolder,
    reason: Reasons = None,
    limit: Annotated[int, typer.Option(min=1, help="most letters to show")] = 20,
    as_json: Json = False,
) -> None:
    """Show where dead letters are: file, record number, reason; never a word of the record."""
    from nosology import verbs

    def work() -> dict[str, Any]:
        report = verbs.deadletter_show(run, reason, limit)
        return report if as_json else {f"{one['file']} record {one['row']}": _kind(one) for one in report["letters"]}

    perform("deadletter show", as_json, work)


@deadletter.command("retry")
def deadletter_retry(run: RunFolder, reason: Reasons = None, as_json: Json = False) -> None:
    """Try the dead letters of a finished run again."""
    from nosology import verbs

    perform("deadletter retry", as_json, lambda: verbs.deadletter_retry(run, reason))


@deadletter.command("export")
def deadletter_export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help="file for the JSON lines, local or s3://")],
    reason: Reasons = None,
    as_json: Json = False,
) -> None:
    """Write the dead letters as JSON lines."""
    from nosology import verbs

    perform("deadletter export", as_json, lambda: verbs.deadletter_export(run, reason, to))


def _kind(letter: dict[str, Any]) -> str:
    """A dead letter's kind in words."""
    return " · ".join(str(letter[name]) for name in ("stage", "reason", "field", "rule") if letter[name])


@app.command("config")
def show_config(
    config: Files = NONE,
    overrides: Overrides = NONE,
    schema: Annotated[
        str | None, typer.Option(help="write the JSON schema of the tree to this file, local or s3://; - prints it in place of the tree")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the resolved configuration."""

    def work() -> dict[str, Any]:
        from nosology import storage
        from nosology.config import Config

        tree = _load(config, overrides).model_dump(mode="json")
        if schema == "-":
            return Config.model_json_schema()
        if schema:
            storage.write_json(schema, Config.model_json_schema())
        return tree

    if as_json:
        perform("config", True, work)

    def printed() -> dict[str, Any]:
        import yaml

        tree = work()
        print(json.dumps(tree, indent=1) if schema == "-" else yaml.safe_dump(tree, sort_keys=False).rstrip())
        return {}

    perform("config", False, printed)


@app.command()
def doctor(
    out: Annotated[str, typer.Option("--out", help="folder that runs are to be written to, local or s3://")] = "runs",
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """What this machine can do, what will not work, and how to mend it."""
    from nosology import verbs

    perform("doctor", as_json, lambda: verbs.doctor(_load(config, overrides), out, as_json))


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", help="run folder")] = "runs/demo",
    config: Files = NONE,
    overrides: Overrides = NONE,
    as_json: Json = False,
) -> None:
    """The whole way on the sample archive: from files to audited codes and one HTML report."""
    from nosology import verbs

    perform("demo", as_json, lambda: verbs.demo(_load(config, overrides), out))


def main() -> None:
    """Entry point of the `nosology` command."""
    # DeepSpeed prints a warning where it has to guess
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if Path("/dev/nvidiactl").exists() else "cpu")
    warnings.simplefilter("ignore")  # libraries' notes to developers; they could quote a value, and no user can act on them
    as_json = "--json" in sys.argv
    try:
        status = app(prog_name="nosology", standalone_mode=False)
        for number in SIGNALS:  # the work is done or given up; what comes now would only take the exit status away
            signal.signal(number, signal.SIG_IGN)
        sys.exit(status)
    except typer.TyperException as error:  # wrong use
        if not str(error):  # no verb was named: what there are is printed already
            sys.exit(error.exit_code)
        from nosology.errors import ConfigError

        context = getattr(error, "ctx", None)
        command = context.command_path if context else "nosology"
        said = f"{error.format_message().rstrip('. ')} (`{command} --help` tells what there is)"
        sys.exit(fail(command.removeprefix("nosology").strip() or None, as_json, ConfigError(said)))
    except Exception as error:
        sys.exit(fail(None, as_json, error))


if __name__ == "__main__":
    main()
