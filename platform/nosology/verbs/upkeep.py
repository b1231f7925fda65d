"""What is done with a run afterwards: resume it, look at its dead letters, prove it, tidy it, hand it on."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.config import Config, parse
from nosology.errors import ConfigError, DeadLettersError, InputError, NosologyError, printable
from nosology.runs import command_of, commands, is_claimed, last_error

# Reasons of dead letters beside those that `readers.REASONS` explains.
STAGE_REASONS = {
    "bad_value", "coder_answer", "generator_failed", "internal_error", "process_lost", "raw_record", "timed_out", "too_long",
    "unknown_table", "unusable_input",
}  # fmt: skip


class ProofError(NosologyError):
    """A run is not what its ledger says; `report` has every fault."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        faults = report["faults"]
        super().__init__("\n  ".join([f"{report['run']}: {len(faults)} faults", *map(printable, faults)]))


def resume(run: str) -> dict[str, Any]:
    """Run the command of a folder again, with the configuration and the places that it had; it goes on where it was.

    Where several drivers gave the folder a command, and none of them ended, the one that the ledger does not refuse is the run's.

    Raises:
        InputError: the folder holds no run that was begun by a verb.
    """
    given: dict[str, tuple[dict[str, Any], bytes]] = {}
    for place in commands(run):
        held, tree = command_of(place)
        given.setdefault(json.dumps([held, tree.decode()], sort_keys=True), (held, tree))
    if not given:
        remedy = "Give the run's own command again, with this --out" if is_claimed(run) else "Name the folder that was given as --out"
        raise InputError("no run is here that could be resumed", file=run, remedy=remedy)
    if len(given) > 1 and not is_claimed(run):
        raise InputError("several commands were given for this folder, and none has begun", file=run, remedy="Give the right one again")
    refusals: list[NosologyError] = []
    for command, tree in sorted(given.values(), key=lambda one: len(given) > 1 and not _fits(run, one[0]["arguments"])):
        try:
            return _again(run, command, parse(tree, storage.join(run, "config.yaml")))
        except NosologyError as error:
            if error.exit_code != 2:
                raise
            refusals.append(error)
    raise refusals[0]


def _again(run: str, command: Mapping[str, Any], config: Config) -> dict[str, Any]:
    from nosology import verbs

    arguments = {name: Path(value) if name == "phrases" and value else value for name, value in command["arguments"].items()}
    work = {name: getattr(verbs, name) for name in ("ingest", "deidentify", "prepare", "train", "quantize", "code")}
    if command["verb"] not in work:
        raise ConfigError(f"resume: {command['verb']} is run again by its own command")
    report: dict[str, Any] = work[command["verb"]](config=config, out=run, **arguments)
    return report


def _fits(run: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the files of a run's plan lie in the places of a command: tells most others without reading a whole archive."""
    from nosology.distributed.sink import is_run, read_job

    places = [
        place.rstrip("/")
        for value in arguments.values()
        for place in (value if isinstance(value, list) else [value])
        if place and isinstance(place, str)
    ]
    places.append(storage.absolute(run))
    files = read_job(run).files if is_run(run) else ()
    return all(any(file.uri == place or file.uri.startswith(f"{place}/") for place in places) for file in files)


def deadletter_list(run: str) -> dict[str, Any]:
    """How many dead letters a run has, by stage, reason, field and rule."""
    counts: Counter[tuple[str, str, str | None, str | None]] = Counter()
    for row in _letters(run, None):
        counts[row["stage"], row["reason"], row["field"], row["rule"]] += 1
    kinds = [
        {"stage": stage, "reason": reason, "field": field, "rule": rule, "count": count}
        for (stage, reason, field, rule), count in counts.most_common()
    ]
    return {"run": run, "dead": counts.total(), "kinds": kinds}


def deadletter_show(run: str, reasons: Collection[str] | None, limit: int) -> dict[str, Any]:
    """Where dead letters are: the file of the archive and the number of the record in it; never a word of the record.

    Raises:
        ConfigError: no dead letter can have such a reason.
    """
    _check_reasons(run, reasons)
    places = _Places(run)
    found: list[dict[str, Any]] = []
    for row in _letters(run, reasons):
        if len(found) == limit:
            break
        found.append({"file": places(row) or row["source_digest"], "row": row["source_row"],
                      **{name: row[name] for name in ("source_format", "stage", "reason", "field", "rule")}})  # fmt: skip
    return {"run": run, "letters": found}


def deadletter_export(run: str, reasons: Collection[str] | None, to: str) -> dict[str, Any]:
    """The dead letters as JSON lines, local or on `s3://`, with the file that each record lies in.

    Raises:
        ConfigError: no dead letter can have such a reason.
    """
    _check_reasons(run, reasons)
    places = _Places(run)
    count = 0
    with storage.open_output(to) as lines:
        for row in _letters(run, reasons):
            lines.write(json.dumps({**row, "file": places(row)}).encode() + b"\n")
            count += 1
    return {"run": run, "exported": count, "to": to}


def deadletter_retry(run: str, reasons: Collection[str] | None) -> dict[str, Any]:
    """Try dead letters again, of some reasons or all, with the configuration of the run: their intervals are done anew. Where a retry was
    killed, that one is gone on with, whatever its reasons were (`continued`); `retried` are then the letters that it still had to try.

    Raises:
        ConfigError: no dead letter can have such a reason.
        NosologyError: the run cannot be done again as it was (its input is gone or another, or the configuration, a model, this package
            is); it stays finished.
    """
    from nosology.distributed import sink

    _check_reasons(run, reasons)
    _, _, tally, finished, _ = sink.status(run)
    told = storage.join(run, "report.json")
    if not finished and storage.exists(told):  # it had ended once
        left = max(0, storage.read_json(told)["records_dead"] - tally.dead.total())
        return {**resume(run), "retried": left, "continued": True}
    if finished and any(reasons is None or reason in reasons for reason in tally.dead):
        with contextlib.suppress(DeadLettersError):  # the run's own; it is to be mended
            resume(run)  # of a finished run it does nothing, once it has found all as it was
    again = sink.reopen(run, reasons)
    if not again:
        return {"run": run, "retried": 0}
    report = resume(run)
    return {**report, "retried": again}


def verify(run: str, inputs: bool) -> dict[str, Any]:
    """Prove that a run is whole: coverage by arithmetic, every manifest and every part by its checksums; and that its register of
    re-identifications is, where it has one: by the codes of its entries where this account has the key (`register.by` is then `key`), else
    by its chain.

    Args:
        inputs: read the files of the input too, and compare their digests.

    Raises:
        ProofError: something is wrong; every fault is named.
    """
    from nosology.deid import disclosures
    from nosology.distributed.sink import status
    from nosology.distributed.upkeep import verify as prove
    from nosology.verbs.disclosure import run_secret

    proof = prove(run, inputs=inputs)
    report = {"run": run, **asdict(proof)}
    if not proof.finished and not proof.faults:
        told = last_error(run)
        why = f"; its last driver gave up: {told}" if told else "; nosology resume goes on"
        proof.faults.append(f"the run is not finished: {status(run)[1].num_units} of its {proof.units} units are done{why}")
    if storage.exists(storage.join(run, disclosures.FOLDER)):
        secret = run_secret(run)
        try:
            report["register"] = {"entries": len(disclosures.entries(run, secret)), "by": "key" if secret else "chain"}
        except NosologyError as error:
            proof.faults.append(str(error))
    if proof.faults:
        raise ProofError({**report, "faults": proof.faults})
    return report


def gc(run: str, grace_seconds: float | None) -> dict[str, Any]:
    """Remove what killed attempts left behind, once it is older than the grace.

    Raises:
        ConfigError: the grace is no length of time.
    """
    from nosology.distributed.upkeep import GRACE_SECONDS, collect_garbage

    grace = GRACE_SECONDS if grace_seconds is None else grace_seconds
    if not grace >= 0:  # nan too
        raise ConfigError("--grace-seconds: 0 or more; every younger file stays")
    return {"run": run, **collect_garbage(run, grace)}


def publish(run: str, to: str) -> dict[str, Any]:
    """Hand the tables of a finished run on to Delta Lake (`delta://PATH`) or a folder of Parquet; done again it adds nothing."""
    from nosology.distributed.upkeep import publish as send

    return {"run": run, **send(run, to)}


def _check_reasons(run: str, reasons: Collection[str] | None) -> None:
    """Raises ConfigError, with the nearest name, for a reason that is neither one of the package's nor one of the run's."""
    from nosology.distributed.sink import status
    from nosology.readers import REASONS

    if not reasons:
        return
    own = status(run)[2].dead
    known = {*REASONS, *STAGE_REASONS, *own}
    for reason in reasons:
        if reason not in known:
            near = difflib.get_close_matches(reason, known, n=1)
            hint = f"the nearest is {near[0]}" if near else f"this run has {', '.join(sorted(own)) or 'no dead letters'}"
            raise ConfigError(f"--reason {reason}: no dead letter has such a reason; {hint}")


def _letters(run: str, reasons: Collection[str] | None) -> Iterator[dict[str, Any]]:
    from nosology.distributed.sink import DEAD
    from nosology.distributed.stages import output_parts

    _, parts = output_parts(run, DEAD)
    return (row for part in parts for row in part.to_pylist() if reasons is None or row["reason"] in reasons)


class _Places:
    """Files of the archive, through the runs that a run was made from. Of files with one content, which have letters alike, each letter
    gets another."""

    def __init__(self, run: str) -> None:
        from nosology.distributed.sink import is_run, read_job

        self._files: dict[str, list[str]] = {}
        self._given: Counter[tuple[Any, ...]] = Counter()
        waiting, seen = [run], set[str]()
        while waiting:
            folder = waiting.pop()
            if folder in seen or not is_run(folder):
                continue
            seen.add(folder)
            for file in read_job(folder).files:
                if file.kind == "part":  # RUN/TABLE/PART
                    waiting.append(file.uri.rsplit("/", 2)[0])
                else:
                    self._files.setdefault(file.digest, []).append(file.uri)

    def __call__(self, letter: Mapping[str, Any]) -> str | None:
        """The file of a dead letter; None where it is not known."""
        files = self._files.get(letter["source_digest"])
        if files is None or len(files) == 1:
            return files[0] if files else None
        like = tuple(letter[name] for name in ("source_digest", "source_row", "stage"))
        self._given[like] += 1
        return files[(self._given[like] - 1) % len(files)]
