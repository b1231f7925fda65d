"""How good it is: codes against gold, and the search for codes against phrases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nosology import storage
from nosology.config import Config
from nosology.errors import InputError
from nosology.runs import Run, fingerprint, own_folder
from nosology.verbs.lineage import file_digest, folder_digest, joined

PREDICTIONS = "predictions"


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
        before = _predictions(base) if base else None
        digests = {"gold": storage.digest(str(gold)), "source": _digest(source), "base": _digest(base) if base else "none"}
        # only now: a file that was refused is mended and measured into the same folder
        run.claim(fingerprint("score", seed=str(config.run.seed), code_set=code_set().digest, **digests))
        scores = room.score_notes(right, predicted, code_set().ancestors, config.run.seed)
        page = storage.join(out, "report.html")
        f1 = scores.code.f1
        data = ReportData(
            title="Codes against gold",
            honesty="",
            headlines=[
                Headline(
                    label="micro F1, full code", value=f"{f1.value:.3f}", note=f"{f1.low:.3f} to {f1.high:.3f}, {scores.num_notes} notes"
                )
            ],
            tables=[note_table(scores)],
            reliability=reliability_part(scores.reliability, scores.calibration_error),
        )
        figures: dict[str, Any] = {**scores.figures()}
        if before is not None:
            old, gain = room.score_notes(right, before, seed=config.run.seed), room.compare_notes(right, before, predicted, config.run.seed)
            figures |= {"base_micro_f1": round(old.code.f1.value, 4), "gain": round(gain.value, 4)}
            figures |= {"gain_low": round(gain.low, 4), "gain_high": round(gain.high, 4)}
            described = f"Gain in micro F1 {gain.value:.3f}, 95 % interval {gain.low:.3f} to {gain.high:.3f}, on the same notes."
            bars = [bar("base", old.code.f1), bar("tuned", f1, strong=True)]
            data = data.model_copy(
                update={"comparisons": [Comparison(title="Micro F1, base against tuned", description=described, bars=bars)]}
            )
        write_report(page, data)
        run.lineage("inputs", {str(gold): digests["gold"], source: digests["source"], **({base: digests["base"]} if base else {})})
        run.lineage("models", {"code_set": code_set().digest})
        run.lineage("outputs", {"html": storage.digest(page)})
        return run.finish({**figures, "html": page})


def terms_score(config: Config, file: Path, out: str | None) -> dict[str, Any]:
    """Rank all billable codes for each phrase of a file.

    Args:
        file: JSON lines of {phrase, code}.
        out: run folder. None is `runs/terms-score-DIGEST`, a folder for each job (file, settings, encoder, code set): the same
            command finds its folder again, and one with other phrases is not refused for a folder that it did not choose.
    """
    from nosology.engines.encoder import encoder_digest, load_encoder
    from nosology.terminology.codeset import code_set
    from nosology.terminology.index import read_phrases, score_terms

    digests = {"phrases": storage.digest(str(file)), "leave_out": file_digest(config.terminology.leave_out)}
    models = {"encoder": encoder_digest(config.model.encoder), "code_set": code_set().digest}
    marks = fingerprint("terms score", config.terminology, **digests, **models)
    with Run(out or own_folder("terms score", marks), "terms score", config) as run:
        read_phrases(str(file))  # refused before the folder is this file's
        run.claim(marks)
        report = score_terms(str(file), None, config.terminology, code_set(), load_encoder(config.model.encoder))
        run.lineage("inputs", {str(file): digests["phrases"]})
        run.lineage("models", {**models, "leave_out": digests["leave_out"]})
        return run.finish(report)


def _predictions(source: str) -> dict[str, Any]:
    """Predictions by note, of a run folder, a folder of Parquet, or JSON lines."""
    from nosology.distributed.sink import is_run
    from nosology.distributed.stages import read_output
    from nosology.evaluation import codes

    return codes.by_note(read_output(source, PREDICTIONS).to_pylist()) if is_run(source) else codes.read_predictions(source)


def _digest(source: str) -> str:
    """One SHA-256 of predictions; of a run its table's alone, for the log and the report beside it change when it is resumed."""
    from nosology.distributed.sink import is_run, snapshot

    if is_run(source):
        return joined(part.digest for part in snapshot(source).table(PREDICTIONS))
    return folder_digest(source)
