"""Characters a second and core of de-identification, against Presidio in the same run.

    python bench/deid_speed.py --json

pass1_ratio  pass 1 (patterns, checksums, context) against a stock AnalyzerEngine with the recognizers that it loads by itself, asked for
             the same kinds of entities. Its language model is a blank spaCy pipeline, which costs it less than the one it comes with.
both_ratio   both passes against Presidio's transformers engine (fp32, torch) with the same weights, and its recognizers as above
scaling      records a second of `nosology deidentify` through Ray with two workers against twice those of one, while all of them work; in
             commits of 128 rows, those of a job of 524,288

Texts: the families in tests/data/deid. Each pair runs in turns, every time in a process of its own with one thread; the figures are
medians of processor time, loading left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine

FAMILIES = ("queries", "queries_clean", "notes18", "general")
# what stock Presidio calls the kinds that pass 1 finds in English
ENTITIES = [
    "US_SSN",
    "US_ITIN",
    "US_MBI",
    "US_NPI",
    "MEDICAL_LICENSE",
    "US_DRIVER_LICENSE",
    "US_PASSPORT",
    "US_BANK_NUMBER",
    "ABA_ROUTING_NUMBER",
    "CREDIT_CARD",
    "CRYPTO",
    "PHONE_NUMBER",
    "EMAIL_ADDRESS",
    "URL",
    "IP_ADDRESS",
    "IBAN_CODE",
    "DATE_TIME",
    "MAC_ADDRESS",
    "US_HEALTH_INSURANCE_MEMBER_ID",
    "US_PRIOR_AUTHORIZATION_NUMBER",
    "US_CLAIM_NUMBER",
    "US_PRESCRIPTION_NUMBER",
    "US_REFERRAL_NUMBER",
    "US_PROVIDER_TAX_ID",
    "UUID",
]
MODEL_ENTITIES = ["PERSON", "LOCATION", "ORGANIZATION", "DATE_TIME", "ID", "PHONE_NUMBER"]


def texts(repeat: int) -> list[str]:
    """Every text of the families, `repeat` times."""
    folder = machine.ROOT / "tests" / "data" / "deid"
    lines = [line for name in FAMILIES for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines] * repeat


def whole_model(folder: Path) -> None:
    """The shipped tagger as a directory that transformers opens: fp32, word vectors inside, without the shapes of words."""
    import numpy as np
    import torch
    from nosology.deid.classifier import _state
    from nosology.deid.languages import language
    from nosology.engines.encoder import encoder_directory
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, BertConfig

    shipped = language("en").tagger
    said, kept = json.loads((shipped / "tagger.json").read_text()), json.loads((shipped / "config.json").read_text())
    state: dict[str, Any] = {}
    for name, value in (packed := dict(_state(shipped, said))).items():
        scale = packed.get(f"{name.removesuffix('weight')}scale") if name.endswith("weight") else None
        fp32 = np.asarray(value, np.float32) if scale is None else np.asarray(value, np.float32) * np.asarray(scale)[:, None]
        if not name.endswith(".scale") and not name.startswith("shapes"):
            state[name if name.startswith("classifier") else f"bert.{name}"] = torch.from_numpy(np.array(fp32))
    base = json.loads((encoder_directory(None) / "config.json").read_text())
    entity = {"NAME": "PERSON", "DATE": "DATE_TIME", "PHONE": "PHONE_NUMBER"}
    labels = {int(number): entity.get(label, label) for number, label in kept["id2label"].items()}
    config = BertConfig(**base | {"id2label": labels, "label2id": {v: k for k, v in labels.items()}})
    config.architectures = ["BertForTokenClassification"]
    config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    AutoTokenizer.from_pretrained(encoder_directory(None)).save_pretrained(folder)


def _presidio(model: str | None) -> Any:
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine, TransformersNlpEngine

    class Offline(TransformersNlpEngine):
        """Its own, with a blank pipeline from disk where it would download one."""

        def _download_spacy_model_if_needed(self, model_name: str) -> None: ...

    class Blank(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

    if model:
        pipeline = Path(model).parent / "blank"
        spacy.blank("en").to_disk(pipeline)
        names = NerModelConfiguration(
            model_to_presidio_entity_mapping={name: name for name in MODEL_ENTITIES}, aggregation_strategy="simple"
        )
        engine: Any = Offline([{"lang_code": "en", "model_name": {"spacy": str(pipeline), "transformers": model}}], names)
    else:
        engine = Blank()
    engine.load()
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    return AnalyzerEngine(registry=registry, nlp_engine=engine)


def one(kind: str, model: str, repeat: int) -> dict[str, Any]:
    """Seconds of processor time of one side, and what it found."""
    import torch

    torch.set_num_threads(1)
    corpus = texts(repeat)
    if kind.startswith("ours"):
        from nosology.config import DeidConfig
        from nosology.deid.detect import Detector

        detector = Detector(DeidConfig(), rules_only=kind == "ours1")

        def find(part: list[str]) -> int:
            return sum(map(len, detector.find(part)))
    else:
        import logging

        logging.disable(logging.CRITICAL)
        engine = _presidio(model if kind == "presidio2" else None)
        known = set(engine.get_supported_entities("en"))
        wanted = [name for name in [*ENTITIES, *(MODEL_ENTITIES if kind == "presidio2" else [])] if name in known]

        def find(part: list[str]) -> int:
            return sum(len(engine.analyze(text=text, language="en", entities=wanted)) for text in part)

    find(corpus[:20])  # what is loaded at the first call
    started, found = time.process_time(), 0
    for at in range(0, len(corpus), 64):
        found += find(corpus[at : at + 64])
    return {"characters": sum(map(len, corpus)), "seconds": time.process_time() - started, "found": found}


def scaling(folder: Path, rows: int, rounds: int) -> tuple[float, dict[str, float]]:
    """Rows a second of the stage through Ray with one and with two workers, and what two make of one: medians of the rounds."""
    corpus = texts(1)
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps({"id": n, "text": corpus[n % len(corpus)]}) + "\n" for n in range(rows)), encoding="utf-8")
    rates: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(rounds):
        for workers, found in rates.items():
            command = [sys.executable, __file__, "--stage", str(source), str(folder / f"out{number}-{workers}"), workers]
            found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
            machine.say(f"{workers} workers {found[-1]:>8,.1f} rows a second")
    shares = [two / (2 * one) for one, two in zip(rates["1"], rates["2"], strict=True)]
    return statistics.median(shares), {workers: statistics.median(found) for workers, found in rates.items()}


def stage(source: str, out: str, workers: int) -> float:
    """Rows a second from the first fifth of the rows to the ninth tenth: before it workers still load, behind it some have no more work.

    Raises:
        SystemExit: too few rows for that.
    """
    from nosology.config import ClusterConfig, DeidConfig, InputConfig
    from nosology.deid.stage import Deidentify
    from nosology.distributed import stages

    seen: list[tuple[float, int]] = []

    def note(event: Any) -> None:
        seen.append((time.perf_counter(), int(event.done)))

    cluster = ClusterConfig(num_cpus=workers, batch_rows=128)
    stages.run_stage(Deidentify(DeidConfig(), InputConfig()), [source], out, cluster, {"bench": "deid"}, on_progress=note, workers=workers)
    rows = seen[-1][1]
    middle = [(at, done) for at, done in seen if rows / 5 <= done <= 0.9 * rows]
    if len(middle) < 20:
        raise SystemExit("--rows: too few for a rate; 3,000 are enough")
    return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])


def main() -> None:
    machine.prepare()
    arguments = machine.parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rows", type=int, default=8000, help="of the measure of scaling")
    arguments.add_argument("--one", nargs=3, metavar=("KIND", "MODEL", "REPEAT"), help="run by this script in a process of its own")
    arguments.add_argument("--stage", nargs=3, metavar=("SOURCE", "OUT", "WORKERS"), help="likewise")
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], given.one[1], int(given.one[2]))))
        return
    if given.stage:
        print(stage(given.stage[0], given.stage[1], int(given.stage[2])))
        return
    with machine.folder() as folder:
        model = folder / "model"
        whole_model(model)
        speeds: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            for kind, repeat in (("ours1", 10), ("presidio1", 1), ("ours2", 2), ("presidio2", 1)):
                command = [sys.executable, __file__, "--one", kind, str(model), str(repeat)]
                ran = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                speeds.setdefault(kind, []).append(ran["characters"] / ran["seconds"])
                machine.say(f"{kind:>10} {speeds[kind][-1]:>12,.0f} characters a second, {ran['found']:,} found")
        share, rates = scaling(folder, given.rows, given.rounds)
    median = {kind: statistics.median(found) for kind, found in speeds.items()}
    result = {
        "pass1_ratio": round(median["ours1"] / median["presidio1"], 2),
        "both_ratio": round(median["ours2"] / median["presidio2"], 2),
        "scaling": round(share, 3),
        "characters_per_second": {kind: round(found) for kind, found in median.items()},
        "rows_per_second": {workers: round(rate, 1) for workers, rate in rates.items()},
    }
    machine.finish(result, given.json)


if __name__ == "__main__":
    main()
