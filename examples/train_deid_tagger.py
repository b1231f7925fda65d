"""Make the shipped de-identification tagger: data from templates, training by the project's own loop, adapter in fp16.

    pip install --target /tmp/faker Faker        (MIT; needed by this script only, not by the product)
    PYTHONPATH=/tmp/faker .venv/bin/python examples/train_deid_tagger.py --data ../shared/data --work /tmp/deid_tagger [--install]

Positives: templates of this project (`deid_templates.txt`) and those of presidio-research (MIT) whose `template_id` is not a multiple
of 4 (the held-out quarter), all refilled with invented names, places and numbers from Faker; sentences of ACI-bench and MTS-Dialog
(CC BY 4.0) with such values put in. Negatives: sentences of the same notes, of BC5CDR, NCBI-disease (CC BY 4.0) and of trial criteria
(Apache-2.0) without names, and code titles. No real person's data is used.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import time
import unicodedata
from pathlib import Path

from faker import Faker

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "platform" / "nosology" / "deid" / "adapter"
LISTS = {
    line.split(" | ")[0][2:]: line.split(" | ")[1:]
    for line in (HERE / "deid_templates.txt").read_text().splitlines()
    if line.startswith("= ")
}
LABEL = {
    "name": "NAME",
    "last": "NAME",
    "first": "NAME",
    "city": "LOCATION",
    "country": "LOCATION",
    "street": "LOCATION",
    "zip": "LOCATION",
    "org": "ORGANIZATION",
    "hospital": "ORGANIZATION",
    "date": "DATE",
    "phone": "PHONE",
    "email": "ID",
    "id": "ID",
    "url": "ID",
}
# slots of presidio-research by its labels; ages, titles, nationalities and bare years are no identifiers under Safe Harbor
PRESIDIO = {
    "PERSON": "name",
    "STREET_ADDRESS": "street",
    "GPE": "city",
    "ORGANIZATION": "org",
    "CREDIT_CARD": "id",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
    "ZIP_CODE": "zip",
    "DOMAIN_NAME": "url",
    "IBAN_CODE": "id",
    "US_SSN": "id",
    "IP_ADDRESS": "id",
    "US_DRIVER_LICENSE": "id",
    "DATE_TIME": "date",
    "AGE": "age",
    "NRP": "nrp",
    "TITLE": "job",
}


class Locale:
    """A Faker of one locale; what the locale lacks comes from en_US."""

    def __init__(self, name: str) -> None:
        self._own, self._american = Faker(name), Faker("en_US")

    def __getattr__(self, method: str):  # noqa: ANN204
        return getattr(self._own, method, None) or getattr(self._american, method)


class Source:
    """Invented values, every call another one."""

    def __init__(self, seed: int, aliases: list[str], titles: list[str]) -> None:
        self.random = random.Random(seed)
        Faker.seed(seed)
        self.fakers = {locale: Locale(locale) for locale in sorted(set(LISTS["locale"]))}
        self.conditions = aliases + titles

    def fill(self, slot: str) -> str:
        r = self.random
        fake = self.fakers[r.choice(LISTS["locale"])]
        if slot in ("first", "last"):
            return fake.first_name() if slot == "first" else fake.last_name()
        if slot == "name":
            first, last = fake.first_name(), fake.last_name()
            form = r.random()
            if form < 0.55:
                return f"{first} {last}"
            if form < 0.7:
                return f"{first} {r.choice('ABCDEFGHJKLMNPRSTVWZ')}{r.choice(['.', ''])} {last}"
            if form < 0.8:
                return r.choice([first, last])
            if form < 0.86:
                return f"{last}, {first}"
            if form < 0.9:
                return f"{first} {last}-{fake.last_name()}"
            if form < 0.93:
                return f"{first} {last} {fake.last_name()}"
            if form < 0.96:
                return f"{r.choice(first)}. {last}"
            if form < 0.98:
                return f"{first}{r.randint(1, 999)} {last}{r.randint(1, 999)}"
            return f"{first} {r.choice(['de', 'van', 'von', 'al', 'bin', 'de la', 'O', 'Mc'])} {last}"
        if slot == "city":
            if r.random() < 0.12:
                return (
                    f"{fake.city()} ({fake.city()})"
                    if r.random() < 0.1
                    else r.choice(["West ", "Old ", "Lower ", "Fort ", "Saint ", "Port ", "Upper "]) + fake.city()
                )
            return fake.city() if r.random() < 0.85 else fake.country()
        if slot == "country":
            return self.fakers["en_US"].country() if r.random() < 0.8 else fake.country()
        if slot == "street":
            street = fake.street_address() if r.random() < 0.6 else f"{fake.street_name()} {r.randint(1, 999)}"
            if r.random() < 0.15:
                street = r.choice(
                    [
                        str(r.randint(1, 99999)),
                        f"Apt. {r.randint(1, 999)}",
                        f"Suite {r.randint(1, 999)}",
                        fake.street_name(),
                        f"Unit {r.randint(1, 9999)} Box {r.randint(1, 9999)}",
                    ]
                )
            elif r.random() < 0.2:
                street = (
                    f"{street}{r.choice([' ', ', ', chr(10)])}{fake.city()}{r.choice([' ', ', ', chr(10)])}"
                    f"{r.choice([fake.postcode(), fake.country(), fake.city() + ' ' + fake.postcode()])}"
                )
            return street
        if slot == "zip":
            return fake.postcode()
        if slot in ("org", "hospital"):
            if slot == "org" and r.random() < 0.35:
                return fake.company()
            words = [fake.word() for _ in range(2)] if r.random() < 0.5 else [self.fakers["en_US"].word() for _ in range(2)]
            return r.choice(LISTS[slot]).format(
                last=fake.last_name(),
                last2=fake.last_name(),
                last3=fake.last_name(),
                first=fake.first_name(),
                city=fake.city(),
                word=words[0].capitalize(),
                Word=words[0].capitalize(),
                word2=words[1],
                Word2=words[1].capitalize(),
                initials="".join(r.choice("ABCDGHIMNPRSTUVW") for _ in range(r.choice([2, 3]))),
            )
        if slot == "date":
            day = fake.date_object() if r.random() < 0.5 else self.fakers["en_US"].date_between("-5y")
            return day.strftime(r.choice(LISTS["date"]))
        if slot == "phone":
            return r.choice(
                [
                    fake.phone_number(),
                    self.fakers["en_US"].phone_number(),
                    f"x{r.randint(1000, 99999)}",
                    f"{r.randint(200, 999)}-{r.randint(1000, 9999)}",
                ]
            )
        if slot == "email":
            return fake.ascii_email()
        if slot == "url":
            return self.fakers["en_US"].url()
        if slot == "id":
            made = [str(r.randint(10**5, 10 ** r.randint(6, 16))), fake.iban(), fake.credit_card_number(), fake.ipv4()]
            return r.choice(made + [fake.bothify(form).upper() for form in LISTS["id"]])
        if slot == "age":
            return str(r.randint(1, 89))
        if slot == "year":
            return str(r.randint(1960, 2026))
        if slot == "num":
            return r.choice([str(r.randint(1, 500)), f"{r.uniform(0.1, 20):.1f}"])
        if slot == "vital":
            return f"{r.randint(90, 200)}/{r.randint(40, 110)}"
        if slot == "nrp":
            return r.choice(LISTS["nrp"])
        if slot == "job":
            return fake.job() if r.random() < 0.3 else self.fakers["en_US"].job()
        return r.choice(self.conditions if slot == "cond" else LISTS[slot])

    def sentence(self, template: str) -> dict:
        """A template with its slots filled and the identifiers marked."""
        text, spans = "", []
        for piece in re.split(r"(\{\w+\})", template):
            if re.fullmatch(r"\{\w+\}", piece):
                slot = piece[1:-1]
                value = self.fill(slot)
                if slot in LABEL:
                    spans.append({"start": len(text), "end": len(text) + len(value), "label": LABEL[slot]})
                text += value
            else:
                text += piece
        return {"text": text, "spans": spans}

    def noisy(self, row: dict) -> dict:
        """The row in lower or upper case or with a typing error that keeps its length; 30 % of rows."""
        dice, text = self.random.random(), row["text"]
        if dice < 0.17 and len(text.lower()) == len(text):
            text = text.lower()
        elif dice < 0.23 and len(text.upper()) == len(text):
            text = text.upper()
        elif dice < 0.27:
            text = "".join(c if len(n := unicodedata.normalize("NFD", c)[0]) != len(c) else n for c in text)
        elif dice < 0.3 and len(text) > 8:
            at = self.random.randrange(1, len(text) - 1)
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :] if text[at : at + 2].isalpha() else text
        return {"text": text, "spans": row["spans"]}


def note_sentences(data: Path) -> list[str]:
    """Sentences of ACI-bench (train part) and MTS-Dialog notes that hold no name."""
    texts = [r["note"] for r in csv.DictReader((data / "coding/aci_bench/train.csv").open(newline=""))]
    names = {
        n
        for r in csv.DictReader((data / "coding/aci_bench/train_metadata.csv").open(newline=""))
        for n in (r["patient_firstname"], r["patient_familyname"])
        if n
    }
    texts += [r["section_text"] for r in csv.DictReader((data / "coding/mts_dialog/MTS-Dialog-TrainingSet.csv").open(newline=""))]
    sentences = [s.strip() for t in texts for s in re.split(r"(?<=[.!?])\s+|\n+", t)]
    common = {w for s in sentences for w in re.findall(r"\b[a-z]{2,}\b", s)}
    known = (
        common | {d.lower() for d in LISTS["drug"]} | set(Path(data / "coding/outpatient_aliases/aliases.tsv").read_text().lower().split())
    )
    kept = []
    for s in sentences:
        words = re.findall(r"[A-Za-z][\w'-]*", s)[1:]
        strange = [w for w in words if w[0].isupper() and w.lower().rstrip("'s") not in known and not w.isupper()]
        if (
            12 < len(s) < 400
            and not strange
            and not names & set(re.findall(r"\w+", s))
            and not re.search(
                r"\b(?:Dr|Mrs?|Ms|Miss)\b|\d{1,2}/\d{1,2}/|XX|_|\b(?:in|on|since) (?:Jan"
                r"|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
                s,
            )
        ):
            kept.append(s)
    return kept


def iob_sentences(path: Path) -> list[str]:
    """Sentences of a token-per-line file, words put together again."""
    found, words = [], []
    for line in path.read_text().splitlines():
        if line.strip():
            words.append(line.split("\t")[0])
        elif words:
            found.append(re.sub(r" ([.,;:)%\]])", r"\1", " ".join(words)).replace("( ", "(").replace(" - ", "-"))
            words = []
    return [s for s in found if 30 < len(s) < 350]


def presidio_templates(rows: list[dict]) -> list[str]:
    """The sentences with their values cut out; bare years become the unmarked slot."""
    templates = set()
    for row in rows:
        text, at = "", 0
        for span in sorted(row["spans"], key=lambda s: s["start"]):
            value = row["text"][span["start"] : span["end"]]
            slot = "year" if span["label"] == "DATE_TIME" and re.fullmatch(r"\d{4}", value) else PRESIDIO[span["label"]]
            if slot == "name" and " " not in value:
                slot = "first" if hash_of(value) % 2 else "last"
            text += row["text"][at : span["start"]].replace("{", "(").replace("}", ")") + "{" + slot + "}"
            at = span["end"]
        templates.add(text + row["text"][at:].replace("{", "(").replace("}", ")"))
    return sorted(templates)


def hash_of(value: str) -> int:
    return sum(map(ord, value))


def make(data: Path, out: Path, seed: int, positives: int, negatives: int) -> None:
    """Write train.jsonl and validation.jsonl (presidio-research's held-out quarter as it stands, safe-harbour classes only)."""
    aliases = [line.split("\t")[0] for line in (data / "coding/outpatient_aliases/aliases.tsv").read_text().splitlines()[1:] if line]
    import simple_icd_10_cm as icd

    titles = [icd.get_description(c) for c in sorted(set(icd.get_all_codes()))[::40]]
    source = Source(seed, aliases, titles)
    r = source.random
    own = [line.replace("\\n", "\n") for line in (HERE / "deid_templates.txt").read_text().splitlines() if line and line[0] not in "#="]
    gold = [json.loads(line) for line in (data / "deid/presidio-research/synth_dataset_v2.jsonl").open()]
    theirs = presidio_templates([g for g in gold if g["template_id"] % 4])
    clinical = note_sentences(data)
    literature = [s for p in sorted((data / "coding/ner").glob("*-IOB/*")) if p.is_file() and "train" in p.name for s in iob_sentences(p)]
    trials = [
        s.strip()
        for row in csv.DictReader((data / "coding/trial_parser/clinical_trials.csv").open(newline=""))
        for s in re.split(r"\n+", row.get("eligibility_criteria") or row.get("criteria") or "")
        if 20 < len(s) < 300
    ]
    rows = []
    with_slots = [t for t in own if any("{" + slot + "}" in t for slot in LABEL)]
    for _ in range(positives):
        dice = r.random()
        if dice < 0.5:
            row = source.sentence(r.choice(with_slots))
        elif dice < 0.76:
            row = source.sentence(r.choice(theirs))
        else:  # a sentence of a real note as carrier
            carrier = re.sub(r"[{}]", "", r.choice(clinical))
            subject = r.choice(["{name}", "Mr. {last}", "Mrs. {last}", "Ms. {last}", "{first}", "Dr. {last}", "{last}"])
            changed = re.sub(r"^(?:The patient|She|He|Patient)\b", subject, carrier)
            if changed == carrier or r.random() < 0.4:
                extra = r.choice([t for t in with_slots if len(t) > 25])
                changed = r.choice([f"{extra} {carrier}", f"{carrier} {extra}", f"{carrier}\n{extra}"])
            row = source.sentence(changed)
        rows.append(source.noisy(row))
    without = [t for t in own if t not in with_slots]
    pools = [clinical, literature, trials or clinical, titles + aliases]
    for _ in range(negatives):
        dice = r.random()
        if dice < 0.3:
            row = source.sentence(r.choice(without))
        else:
            text = r.choice(pools[0] if dice < 0.6 else pools[1] if dice < 0.75 else pools[2] if dice < 0.88 else pools[3])
            if r.random() < 0.2:
                text += r.choice([" ", "\n"]) + r.choice(clinical)
            row = {"text": text, "spans": []}
        rows.append(source.noisy(row))
    r.shuffle(rows)
    held = [
        {
            "text": g["text"],
            "spans": [
                {**s, "label": LABEL[PRESIDIO[s["label"]]]}
                for s in g["spans"]
                if PRESIDIO[s["label"]] in LABEL and not re.fullmatch(r"\d{4}", g["text"][s["start"] : s["end"]])
            ],
        }
        for g in gold
        if g["template_id"] % 4 == 0
    ]
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", rows), ("validation", held)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")
    print(
        f"{len(rows)} training rows, {len(theirs)} templates of presidio-research, {len(clinical)} note sentences, {len(literature)} +"
        f" {len(trials)} literature and trial sentences"
    )


def install(folder: Path, report: dict, threshold: float) -> None:
    """The adapter in half precision, with the labels and the threshold that inference reads."""
    from nosology.engines.encoder import DIGESTS
    from safetensors.torch import load_file, save_file

    PACKAGE.mkdir(exist_ok=True)
    save_file(
        {name: tensor.half() for name, tensor in load_file(folder / "adapter_model.safetensors").items()},
        PACKAGE / "adapter_model.safetensors",
    )
    adapter = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "all-MiniLM-L6-v2"}
    (PACKAGE / "adapter_config.json").write_text(json.dumps(adapter, indent=1, sort_keys=True) + "\n")
    (PACKAGE / "tagger.json").write_text(
        json.dumps(
            {"threshold": threshold, "encoder_sha256": DIGESTS["model.safetensors"], "made_by": "examples/train_deid_tagger.py", **report},
            indent=1,
        )
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder with deid/ and coding/")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for rows and checkpoints")
    parser.add_argument("--positives", type=int, default=10000)
    parser.add_argument("--negatives", type=int, default=7000)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threshold", type=float, default=0.2, help="recommended threshold that is written beside the adapter")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--install", action="store_true", help="replace the adapter of the package")
    options = parser.parse_args()
    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.loop import train
    from nosology.training.tag import Tag

    make(options.data, options.work / "rows", options.seed, options.positives, options.negatives)
    config = TrainConfig(
        objective="tag",
        method="lora",
        rank=16,
        alpha=32,
        batch_size=32,
        learning_rate=options.learning_rate,
        schedule="linear",
        precision="fp32",
        epochs=1,
        max_steps=options.max_steps,
        checkpoint_steps=100,
        workers=1,
        seed=options.seed,
    )
    started = time.monotonic()
    report = train(
        Tag(),
        config,
        ModelConfig(),
        str(options.work / "rows"),
        options.work / "run",
        on_step=lambda m: (
            print(f"step {int(m['step'])} loss {m['value']:.4f} {m['tokens_per_second']:.0f} tokens/s", flush=True)
            if m["step"] % 25 == 0
            else None
        ),
    )
    print(json.dumps(report))
    if options.install:
        install(
            Path(report["checkpoint"]),
            {
                "rows": report["rows"],
                "steps": report["steps"],
                "seconds": round(time.monotonic() - started),
                "seed": options.seed,
                "validation": report["metrics"],
            },
            options.threshold,
        )


if __name__ == "__main__":
    main()
