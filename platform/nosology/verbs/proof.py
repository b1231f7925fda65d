"""Proof of de-identification: measured recall, a sample for a person to read, the bundle; and what `train` asks of its data."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import Config, ProofConfig
from nosology.errors import ConfigError, InputError
from nosology.runs import VERSION, Run, fingerprint
from nosology.verbs.lineage import joined

if TYPE_CHECKING:
    from nosology.deid.measure import Gold, Spanlike
    from nosology.distributed.coverage import Snapshot

MEASURE = "deidentify --measure"  # the verb of such a run
SAMPLE = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What `deidentify` is asked for beside its tables.

    Attributes:
        proof: write the bundle.
        sample: notes to draw for a person; 0 is none.
        measured: run folder of `deidentify --measure`. sampled: filled form of a sample. signer: who answers for the bundle. The three
            go into the bundle. Without the first two those of an earlier bundle of the same run stay; a signer stays while nothing that
            they signed changes.
    """

    proof: bool = False
    sample: int = 0
    measured: str | None = None
    sampled: str | None = None
    signer: str | None = None

    def check(self) -> None:
        """Raises ConfigError for what only a bundle takes."""
        given = [name for name in ("measured", "sampled", "signer") if getattr(self, name)]
        if given and not self.proof:
            raise ConfigError(f"--{given[0]} goes into the bundle; say --proof too")


def measure(config: Config, gold: str, out: str | None) -> dict[str, Any]:
    """What the configured detection is worth on a gold set, in this process.

    Args:
        gold: JSON lines of {"id", "text", "spans"}.
        out: run folder, which a bundle takes: report.json and a page with the curves; None writes nothing.
    """
    if out is None:
        return _measured(config, gold)
    with Run(out, MEASURE, config, gold=gold) as run:
        report = _measured(config, gold)
        run.claim(fingerprint(MEASURE, config.deid, gold=report["gold"]["digest"], detection=report["detection"]["digest"]))
        page = storage.join(out, "report.html")
        storage.write_bytes(page, _measure_page(report).encode())
        run.lineage("inputs", {gold: report["gold"]["digest"]})
        run.lineage("models", {"tagger": report["detection"]["tagger"]})
        run.lineage("outputs", {"html": storage.digest(page)})
        return run.finish({**report, "html": page})


def _measured(config: Config, file: str) -> dict[str, Any]:
    from nosology.deid import measure as room
    from nosology.deid import proof
    from nosology.deid.detect import Detector, tagger_digest
    from nosology.deid.policies import policy_of

    gold = room.read_gold(file, config.proof.gold_labels).under(policy_of(config.deid))
    figures, swept = room.curve(Detector(config.deid), gold, seed=config.run.seed)
    means = proof.detection(proof.settings_of(config.deid), tagger_digest(config.deid), proof.rules_digest())
    return {**figures, "gold": {"digest": storage.digest(file), **_gold(gold)}, "detection": means, "curve": swept}


def measured_rows(
    config: Config, texts: list[str], gold: list[list[dict[str, Any]]], found: Sequence[Sequence[Spanlike]]
) -> dict[str, Any]:
    """What was found in a user's rows against the gold in them, counted as `measure` counts; side by side. Of no rows, nothing."""
    from nosology.deid import measure as room
    from nosology.deid.policies import policy_of

    if not texts:
        return {}
    held = room.gold_of(texts, gold, config.proof.gold_labels).under(policy_of(config.deid))
    return {**room.measure(held.spans, found, held.texts, held.classes, config.run.seed), "gold": _gold(held)}


def _gold(gold: Gold) -> dict[str, Any]:
    return {"texts": len(gold.texts), "classes": gold.classes, "unmapped": gold.unmapped}


def shown(report: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement as lines for a terminal."""
    from nosology.deid.proof import beside, measured_table

    table = measured_table(report, "")
    cells = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(1, len(table.head))]
    lines = {row[0]: "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True)) for row in cells}
    intervals = report["intervals"]

    def said(name: str, scale: int = 1) -> str:
        one = intervals[name]
        return f"{scale * one['value']:.4g} ({scale * one['low']:.4g} to {scale * one['high']:.4g}; {one['n']} texts)" if one else "-"

    lines |= {"": "", "95 % intervals": "Wilson for shares of spans and texts, bootstrap over texts by character and by note"}
    lines |= {"left per 1,000 notes": said("left_per_1000_notes"), "notes wholly clean, %": said("notes_clean", 100)}
    lines |= {"texts without identifiers that are touched, %": said("negatives_touched", 100)}
    lines |= {"their characters, %": said("negatives_characters", 100)}
    lines |= {name: said.partition(": ")[2].rstrip(".") for name, said in beside(report).items()}
    if report["gold"]["unmapped"]:
        counts = ", ".join(f"{label} {n}" for label, n in report["gold"]["unmapped"].items())
        lines["labels that no rule knows"] = f"{counts} (each its own line above; proof.gold_labels={{LABEL: CLASS}} maps them)"
    return lines | ({"report": report["html"]} if "html" in report else {})


def _measure_page(report: Mapping[str, Any]) -> str:
    from nosology.deid import page
    from nosology.deid.proof import measured_table

    everything, intervals, swept = report["categories"]["all"]["recall"]["cover"], report["intervals"], report["curve"]

    def said(one: Mapping[str, Any] | None, scale: int = 1, unit: str = "") -> tuple[str, str]:
        return (
            (f"{scale * one['value']:.4g}{unit}", f"{scale * one['low']:.4g} to {scale * one['high']:.4g}, n {one['n']:,}")
            if one
            else ("-", "")
        )

    figures = {
        "recall, covered": said(everything), "identifiers left per 1,000 notes": said(intervals["left_per_1000_notes"]),
        "notes wholly clean": said(intervals["notes_clean"], 100, " %"), "identifier-free texts touched": said(intervals["negatives_touched"], 100, " %"),
    }  # fmt: skip
    unmapped = report["gold"]["unmapped"]
    return page.render(
        page.Page(
            title="De-identification against gold",
            facts={"texts": f"{report['n']:,}", "gold": report["gold"]["digest"], "detection": report["detection"]["digest"], "package": VERSION},
            headlines=[page.Headline(label=label, value=value, note=note) for label, (value, note) in figures.items()],
            warnings=[f"Labels that no rule knows, each counted as a category of its own: {', '.join(unmapped)}."] if unmapped else [],
            tables=[measured_table(report, "Value and 95 % interval: Wilson for spans, bootstrap over texts for characters.")],
            sweeps=[
                page.Sweep(title=name, thresholds=swept["thresholds"], recall=swept["recall"][name], precision=swept["character_precision"][name])
                for name in swept["recall"]
            ],
            foot="The same figures stand in report.json.",
        )
    )  # fmt: skip


def check(config: Config, run: str, asked: Evidence) -> None:
    """What `gather` would refuse of the evidence when a run of this configuration is done, before it begins.

    Raises:
        ConfigError: an option lacks another. InputError: a measurement is not there or of another detection, a form is not there, not
            filled in, or of another sheet than the one that is in the folder already.
    """
    asked.check()
    from nosology.deid import proof
    from nosology.deid.detect import tagger_digest

    settings = proof.settings_of(config.deid)
    if asked.measured:
        _measurement(asked.measured, proof.detection(settings, tagger_digest(config.deid), proof.rules_digest()))
    if asked.sampled:
        _sample_result(run, asked.sampled, settings)


def gather(config: Config, run: str, asked: Evidence) -> dict[str, Any]:
    """The sample and the bundle of a finished run of `deidentify`; what its report says of them.

    Raises:
        InputError: the folder holds no such run, or what is to go into the bundle is not of it.
    """
    from nosology.distributed.sink import snapshot

    asked.check()
    seen = snapshot(run)
    if seen.job.verb != "deidentify":
        raise InputError(
            f"a run of {seen.job.verb}, not of deidentify",
            file=run,
            remedy="Give --out to de-identify it, or the folder of a run of deidentify",
        )
    if not seen.finished:
        raise InputError("this run is not finished", file=run, remedy="Resume it first (nosology resume)")
    evidence = _evidence(run, seen, asked)  # refused before anything is written
    found: dict[str, Any] = {}
    if asked.sample:
        found["sample"] = _write_sample(config, run, seen, asked.sample)
    if asked.proof:
        found["proof"] = _write_bundle(config, run, seen, asked.signer, evidence)
    return found


def uniqueness(run: str, config: ProofConfig) -> dict[str, Any] | None:
    """k of the quasi-identifiers over the tables of a run; see `deid.uniqueness`."""
    from nosology.deid.uniqueness import COLUMNS, People
    from nosology.distributed.parts import read_part
    from nosology.distributed.sink import snapshot

    seen, people = snapshot(run), People()
    for table, columns in COLUMNS.items():
        for part in seen.table(table):
            people.add(table, read_part(part, columns))
    return people.groups(config.quasi_identifiers)


def _write_sample(config: Config, run: str, seen: Snapshot, wanted: int) -> dict[str, Any]:
    from nosology.deid import proof, residual
    from nosology.distributed.parts import read_part

    total = sum(part.rows for part in seen.table("documents"))
    if not total:
        raise InputError("no notes to draw a sample from", file=run)
    numbers = residual.drawn(total, wanted, config.run.seed)
    notes: dict[int, tuple[str, str]] = {}
    start, ordered = 0, sorted(numbers)
    for part in seen.table("documents"):
        here = [n - start for n in ordered if start <= n < start + part.rows]
        if here:
            rows = read_part(part, ["document_id", "text"]).take(here).to_pylist()
            notes |= {start + n: (row["document_id"], row["text"]) for n, row in zip(here, rows, strict=True)}
        start += part.rows
    policy = proof.policy(proof.settings_of_run(seen.job.fingerprint))
    folder = storage.join(run, SAMPLE)
    facts = {"seed": str(config.run.seed), "policy": f"{policy['name']}, {policy['digest'][:16]}", "package": VERSION}
    looked_for = residual.categories(policy["rule"])
    moved = policy["settings"]["dates"] == "shift"
    page = residual.sheet([notes[n] for n in numbers], total, facts, policy["left_out"], policy["rules_alone"], looked_for, moved).encode()
    sheet, form = storage.join(folder, residual.SHEET), storage.join(folder, residual.FORM)
    empty = residual.form_bytes(hashlib.sha256(page).hexdigest(), len(numbers), total, config.run.seed)
    held = storage.read_bytes(form) if storage.exists(form) else empty
    same = storage.exists(sheet) and storage.read_bytes(sheet) == page  # the same command again: what is filled in stays
    if not same:
        if residual.is_begun(held):
            raise InputError("a form that somebody has begun to fill in lies here, of another sample", file=form,
                             remedy="Give it to --proof --sampled, or move it away")  # fmt: skip
        storage.write_bytes(sheet, page, private=True)
        storage.write_bytes(form, empty, private=True)
    at_most = {"at_most_if_none": round(residual.bound(0, len(numbers)), 6)}
    return {"notes": len(numbers), "of": total, "sheet": sheet, "form": form, **at_most}


def _means(run: str, seen: Snapshot) -> dict[str, Any]:
    """By what a run was made (`proof.detection`); InputError where that is not what is installed."""
    from nosology.deid import proof

    marks = seen.job.fingerprint
    if marks.get("deid_rules") != proof.rules_digest():
        raise InputError("the rules of de-identification here are not those that this run was made with", file=run,
                         remedy="Make the bundle with the version of the package that made the run, or de-identify again")  # fmt: skip
    return proof.detection(proof.settings_of_run(marks), marks["deid_tagger"], marks["deid_rules"])


def _evidence(run: str, seen: Snapshot, asked: Evidence) -> dict[str, Any]:
    """What goes into a bundle from elsewhere, where it is given: measured, sample."""
    from nosology.deid import proof

    if not asked.proof:
        return {}
    means, found = _means(run, seen), dict[str, Any]()
    if asked.measured:
        found["measured"] = _measurement(asked.measured, means)
    if asked.sampled:
        found["sample"] = _sample_result(run, asked.sampled, proof.settings_of_run(seen.job.fingerprint))
    return found


def _write_bundle(config: Config, run: str, seen: Snapshot, signer: str | None, evidence: Mapping[str, Any]) -> dict[str, Any]:
    from nosology.deid import proof

    settings, means = proof.settings_of_run(seen.job.fingerprint), _means(run, seen)
    before = _before(run, seen, means)
    body = {
        "made": proof.today(), "package": VERSION, "signer": signer,
        "policy": proof.policy(settings), "accept_residual": bool(settings.get("accept_residual")),
        "detection": means, "recognizers": proof.recognizers(str(settings["language"])), "libraries": proof.libraries(),
        "run": _run_facts(run, seen),
        "measured": evidence.get("measured") or before.get("measured"), "sample": evidence.get("sample") or before.get("sample"),
        "uniqueness": uniqueness(run, config.proof),
    }  # fmt: skip
    bundle = proof.sealed(body)
    if before and signer in (None, before["signer"]) and proof.unsigned(before) == proof.unsigned(bundle):
        bundle = before  # nothing but the day has changed: it is what was signed
    lost = before.get("signer") and not bundle["signer"]
    dropped = {"signature_dropped": "the bundle is another than the one that was signed"} if lost else {}
    told = {"digest": bundle["digest"], "policy": bundle["policy"]["digest"], "signer": bundle["signer"], "lacks": bundle["lacks"]}
    return {**proof.write(bundle, proof.page(bundle), run), **told, **dropped}


def _before(run: str, seen: Snapshot, means: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle that is there, where it is of the same tables and means; else nothing."""
    from nosology.deid import proof

    try:
        held = proof.read(run)
    except InputError:
        return {}
    same = held["run"]["outputs"] == _outputs(seen) and held["detection"]["digest"] == means["digest"]
    return held if same else {}


def _outputs(seen: Snapshot) -> dict[str, str]:
    return {name: joined(part.digest for part in seen.table(name)) for name in seen.job.schemas}


def _run_facts(run: str, seen: Snapshot) -> dict[str, Any]:
    """Counts and digests of a run, without a name of a file, which may name a patient."""
    from nosology.deid import proof
    from nosology.distributed.stages import output_parts

    spans: Counter[str] = Counter()
    notes = 0
    for part in output_parts(run, "audit", ["spans"])[1]:
        notes += part.num_rows
        spans.update(span["label"] for spans_of in part["spans"].to_pylist() for span in spans_of)
    return {
        "as_of": proof.settings_of_run(seen.job.fingerprint).get("as_of"),
        "job": storage.digest(storage.join(run, "job.json")), "config": proof.digest_of(seen.job.fingerprint),
        "files": len(seen.job.files), "inputs": joined(file.digest for file in seen.job.files), "outputs": _outputs(seen),
        "records_in": seen.tally.records, "records_ok": seen.tally.ok, "records_dead": seen.tally.dead.total(),
        "notes": notes, "spans": spans.total(), "spans_by_class": dict(sorted(spans.items())),
    }  # fmt: skip


def _measurement(folder: str, means: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run of `deidentify --measure`, when it measured what the run was made with."""
    uri = storage.join(folder, "report.json")
    report = storage.read_json(uri)
    figures = ("n", "spans", "recall", "precision", "char_recall", "char_precision", "intervals", "categories", "named_by_rule", "gold")
    if not isinstance(report, dict) or report.get("verb") != MEASURE or not report.keys() >= {"detection", *figures}:
        raise InputError("not the report of a measurement", file=uri, remedy="Give the --out folder of nosology deidentify --measure GOLD")
    if report["detection"]["digest"] != means["digest"]:
        other = [name for name in ("rules", "tagger") if report["detection"][name] != means[name]]
        held, wanted = report["detection"]["settings"], means["settings"]
        other += sorted(f"deid.{name}" for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))
        raise InputError(f"this measurement is of another detection than the run's: {', '.join(other)} differ", file=uri,
                         remedy="Measure again with the configuration of the run")  # fmt: skip
    return {"report": storage.digest(uri), **{name: report[name] for name in figures}}


def _sample_result(run: str, file: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    from nosology.deid import proof, residual

    sheet = storage.join(run, SAMPLE, residual.SHEET)
    if not storage.exists(sheet):
        raise InputError("this run has no sample", file=run, remedy=f"Draw one: nosology deidentify --sample 100 --in {run}")
    return residual.read_form(file, storage.digest(sheet), residual.categories(proof.policy(settings)["rule"]))
