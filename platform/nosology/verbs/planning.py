"""What a training needs, before there is a GPU."""

from __future__ import annotations

import json
from typing import Any

from nosology import storage
from nosology.config import Config
from nosology.errors import InputError, PlanError
from nosology.runs import Run, fingerprint, own_folder


def plan(config: Config, source: str | None, out: str | None) -> dict[str, Any]:
    """Whether a training fits, how long it takes and what it costs, before there is a GPU.

    Args:
        source: prepared blocks, of which number, length and answers are counted; None takes `plan.blocks` and counts every token as answer.
        out: run folder; None is `runs/plan-DIGEST`, one for each configuration.

    Raises:
        PlanError: it does not fit; its report says what does.
    """
    from nosology.training.planning.plan import plan as worked_out

    counted = _blocks(source) if source else {}
    marks = fingerprint("plan", config.model, config.train, config.prepare, config.plan, **{k: str(v) for k, v in counted.items()})
    tokens = counted.pop("tokens", config.prepare.context_tokens)
    report = worked_out(config.model, config.train, tokens, config.plan, **counted)
    with Run(out or own_folder("plan", marks), "plan", config, source=source) as run:
        run.claim(marks)
        report = run.finish(report)
    if not report["fits"]:
        raise PlanError(f"this does not fit: {'; '.join(report['lacks'])}. {report['why']}", report)
    return report


def _blocks(source: str) -> dict[str, Any]:
    """Number of training blocks, their size, and the most answer tokens in one."""
    from nosology.training.generate import Generate

    rows = Generate().rows(source, "train")
    if not len(rows):
        raise InputError("no training blocks", file=source, remedy="Give the folder blocks of a run of prepare")
    most = max(int((row["labels"] != -100).sum()) for row in rows)
    size = sum(storage.size(uri) for uri in storage.list_files(source) if uri.endswith(".parquet"))
    return {"tokens": len(rows[0]["input_ids"]), "blocks": len(rows), "data_gib": size / (1 << 30), "answers": most}


def told(report: dict[str, Any]) -> dict[str, Any]:
    """The plan as lines for a person: memory by item, the other ways one a line, and the pick as configuration."""
    lines = {name: value for name, value in report.items() if name not in ("memory", "choices", "pick", "pick_train", "lacks")}
    lines |= {f"{where} GiB": items for where, items in report["memory"].items()}
    for row in report["choices"]:
        way = f"ZeRO {row['zero']}, {row['batch_size']} blocks a card"
        way += "" if row["offload"] == "none" else f", offload of {row['offload']}"
        way += ", recomputation" if row["gradient_checkpointing"] else ""
        price = "" if row["usd"] is None else f", {row['usd']:,.2f} USD"
        lines[f"{row['method']} on {row['workers']}"] = (
            f"{row['tokens_per_second']:,} tokens/s, {row['hours']:,.2f} h{price}, {row['gpu_peak_gib']} GiB a card ({way})"
        )
    if report["pick_train"]:
        lines["pick"] = " ".join(f"train.{name}={json.dumps(value).strip(chr(34))}" for name, value in report["pick_train"].items())
    return lines
