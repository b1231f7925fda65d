"""Make the Spanish de-identification tagger: MEDDOCAN with other people in it, templates, training by the project's own loop.

    pip install --target /tmp/faker-es Faker        (MIT; needed by this script only, not by the product)
    PYTHONPATH=/tmp/faker-es:platform .venv/bin/python examples/train_deid_tagger_es.py --data ../shared/data --work /tmp/es --out /tmp/es/model

Rows are windows, cut as inference cuts them, of the 500 training documents of MEDDOCAN (CC BY 4.0, synthetic patients): once as they
stand, and several times with every name, place, hospital, number and date replaced, header fields renamed, dropped and in another
order, and with sentences of `deid/es` put in. The development part is measured on and never trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import time
import unicodedata
from pathlib import Path
from typing import Any

from faker import Faker
from train_deid_tagger import export, write

HERE = Path(__file__).parent
CLASSES = ("O", "NAME", "LOCATION", "ORGANIZATION", "DATE", "ID", "PHONE", "AGE", "SEX", "RELATIVE", "PROFESSION")
# a class, MEDDOCAN's labels, slots of the templates; the guideline's "other" is too mixed to learn
KINDS = """
NAME | NOMBRE_SUJETO_ASISTENCIA NOMBRE_PERSONAL_SANITARIO | name last_first first last
LOCATION | TERRITORIO PAIS CALLE | street city region country zip pueblo
ORGANIZATION | HOSPITAL INSTITUCION CENTRO_SALUD | hospital org
DATE | FECHAS | date day daymonth month year season
PHONE | NUMERO_TELEFONO NUMERO_FAX | phone ext
AGE | EDAD_SUJETO_ASISTENCIA | age months
SEX | SEXO_SUJETO_ASISTENCIA | sex Sex sexadj
RELATIVE | FAMILIARES_SUJETO_ASISTENCIA | rel
PROFESSION | PROFESION | job
ID | CORREO_ELECTRONICO ID_SUJETO_ASISTENCIA ID_TITULACION_PERSONAL_SANITARIO ID_ASEGURAMIENTO ID_CONTACTO_ASISTENCIAL ID_EMPLEO_PERSONAL_SANITARIO | email id url
"""
GOLD = {label: line.split(" | ")[0] for line in KINDS.split("\n") if line for label in line.split(" | ")[1].split()}
SLOT = {slot: line.split(" | ")[0] for line in KINDS.split("\n") if line for slot in line.split(" | ")[2].split()}
TEMPLATES = [
    line for name in ("templates", "second") for line in (HERE / "deid" / "es" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
]


def _lists(mark: str) -> dict[str, list[str]]:
    """Lists whose lines begin with a mark; one that comes twice adds to itself."""
    found: dict[str, list[str]] = {}
    for line in TEMPLATES:
        if line.startswith(f"{mark} "):
            name, *words = line[2:].split(" | ")
            found.setdefault(name, []).extend(words)
    return found


LISTS, FIELDS = _lists("="), _lists("+")  # values, and other names of a header's fields
MONTHS, DAYS, SEX = LISTS["month"], LISTS["day"], LISTS["sex"]
PARTICLES = frozenset(["de", "del", "la", "las", "los", "el", "y", "i", "e", "da", "do", "dos", "van", "von", "san", "santa"])
Piece = tuple[str, str | None]  # text, class


class Source:
    """Invented values, every call another one."""

    def __init__(self, seed: int, rows: list[dict[str, Any]]) -> None:
        self.random = random.Random(seed)
        Faker.seed(seed)
        self.fakers = {name: Faker(name) for name in LISTS["locale"]}
        self.places = sorted({v for r in rows for v in values(r, "TERRITORIO") if not v.isdigit() and len(v) > 3})
        self.hospitals = sorted({v for r in rows for v in values(r, "HOSPITAL", "INSTITUCION", "CENTRO_SALUD")})
        self.templates = [line.replace("\\n", "\n") for line in TEMPLATES if line and line[0] not in "#=+"]

    def fill(self, slot: str) -> str:
        r = self.random
        fake: Any = self.fakers[r.choice(LISTS["locale"])]
        if slot == "first":
            first = fake.first_name()
            return first if r.random() < 0.85 else f"{first} {fake.first_name()}"
        if slot == "last":
            last = fake.last_name()
            dice = r.random()
            return (
                f"{r.choice(['de', 'del', 'de la', 'De la', 'De'])} {last}"
                if dice < 0.05
                else f"{last}-{fake.last_name()}"
                if dice < 0.09
                else last
            )
        if slot == "name":
            dice = r.random()
            first, last, second = self.fill("first"), self.fill("last"), self.fill("last")
            if dice < 0.06:
                return f"{first[0]}. {last} {second}"
            if dice < 0.1:
                return f"{first} {last[0]}. {second}"
            return f"{first} {last} {second}" if dice < 0.75 else f"{first} {last}"
        if slot == "last_first":
            name = f"{self.fill('last')} {self.fill('last')}, {self.fill('first')}"
            return name.upper() if r.random() < 0.5 else name
        if slot == "city":
            return r.choice(self.places) if r.random() < 0.4 else fake.city() if r.random() < 0.7 else fake.administrative_unit()
        if slot == "region":
            return fake.administrative_unit()
        if slot == "country":
            return fake.country() if r.random() < 0.6 else r.choice(LISTS["country"])
        if slot == "street":
            return self.street(fake)
        if slot == "zip":
            return f"{r.randint(1, 52):02d}{r.randint(0, 999):03d}" if r.random() < 0.75 else fake.postcode()
        if slot in ("hospital", "org"):
            if r.random() < 0.25:
                return r.choice(self.hospitals)
            x = self.fill(r.choice(["last", "name", "city", "last"]))
            form = r.choice(LISTS[slot])
            return form.format(x=x, city=self.fill("city"), last=fake.last_name(), first=fake.first_name(), name=self.fill("name"),
                               region=fake.administrative_unit(), num=r.randint(1, 90))  # fmt: skip
        if slot in ("date", "day", "daymonth", "month", "year"):
            return self.date(slot)
        if slot == "phone":
            digits = r.choice("6789") + "".join(r.choice("0123456789") for _ in range(8))
            forms = [digits, f"{digits[:3]} {digits[3:6]} {digits[6:]}", f"{digits[:3]} {digits[3:5]} {digits[5:7]} {digits[7:]}",
                     f"{digits[:2]} {digits[2:5]} {digits[5:7]} {digits[7:]}", f"{digits[:3]}-{digits[3:]}", f"+34 {digits}", fake.phone_number(),
                     fake.phone_number(), f"{digits[:3]} {digits[3:]}", f"{digits[:3]}.{digits[3:6]}.{digits[6:]}"]  # fmt: skip
            return r.choice(forms)
        if slot == "ext":
            return str(r.randint(1000, 99999))
        if slot == "email":
            return fake.ascii_email()
        if slot == "url":
            return fake.url()
        if slot == "id":
            return self.identifier(fake)
        if slot == "age":
            n = r.randint(1, 97)
            return r.choice(
                [
                    f"{n} años",
                    f"{n} años",
                    f"{n} años",
                    f"{n} años de edad",
                    f"{n} a.",
                    f"{n}a",
                    str(n),
                    "cuarenta y dos años",
                    "sesenta años",
                ]
            )
        if slot == "months":
            return r.choice([f"{r.randint(2, 23)} meses", f"{r.randint(2, 29)} días", f"{r.randint(2, 9)} semanas"])
        if slot == "num":
            return str(r.randint(2, 40))
        if slot in ("sex", "Sex"):
            value = r.choice(SEX)
            return value.capitalize() if slot == "Sex" else value
        if slot == "job" and r.random() < 0.25:
            return str(fake.job()).lower()
        return r.choice(LISTS[slot])

    def street(self, fake: Any) -> str:
        r = self.random
        if r.random() < 0.2:
            return re.sub(r"\s+", " ", fake.street_address()).strip()
        name = r.choice(
            [
                self.fill("last"),
                self.fill("name"),
                self.fill("city"),
                f"{fake.first_name()} {fake.last_name()}",
                r.choice(MONTHS).capitalize(),
            ]
        )
        kind = (
            "" if r.random() < 0.1 else r.choice(LISTS["street_kind"]) + r.choice([" ", " ", " de ", " del Dr. ", " San ", " Virgen de "])
        )
        number = r.choice(
            [
                f", {r.randint(1, 300)}",
                f" {r.randint(1, 300)}",
                ", s/n",
                f" nº {r.randint(1, 99)}",
                f", nº{r.randint(1, 99)}",
                f" km. {r.randint(1, 99)},{r.randint(0, 9)}00",
            ]
        )
        floor = r.choice(["", "", "", f", {r.randint(1, 9)}{r.choice('ABCDEF')}", f", {r.randint(1, 9)}º {r.choice(['A', 'B', 'dcha', 'izda', 'D', '2ª'])}",
                          f" - {r.randint(1, 9)}º {r.randint(1, 4)}ª", f", piso {r.randint(1, 12)}", f", esc. {r.randint(1, 4)}, {r.randint(1, 9)}ºB", f", Depto. {r.randint(1, 99)}"])  # fmt: skip
        return kind + name + number + floor

    def date(self, slot: str) -> str:
        r = self.random
        day, month, year = r.randint(1, 28), r.randint(1, 12), r.randint(1935, 2025)
        name = MONTHS[month - 1]
        if slot == "year":
            return str(year)
        if slot == "month":
            forms = [name, f"{name} de {year}", f"{name} del {year}", f"{name} {year}", f"{month:02d}/{year}"]
            return r.choice([*forms, f"{name[:3]}-{year % 100:02d}", f"mes de {name}"])
        if slot == "daymonth":
            return r.choice(
                [f"{day} de {name}", f"{day}/{month}", f"{day:02d}/{month:02d}", f"{day} {name}", f"día {day} de {name}", f"{day}-{month}"]
            )
        if slot == "day":
            weekday = r.choice(DAYS)
            forms = [weekday, f"{weekday} {day}", f"{weekday} {day} de {name}", f"pasado {weekday}", f"día {day}"]
            return r.choice([*forms, f"{weekday}, {day} de {name} de {year}"])
        return r.choice([
            f"{day:02d}/{month:02d}/{year}", f"{day:02d}/{month:02d}/{year}", f"{day}/{month}/{year}", f"{day:02d}-{month:02d}-{year}", f"{day:02d}.{month:02d}.{year}",
            f"{day:02d}/{month:02d}/{year % 100:02d}", f"{day:02d}-{month:02d}-{year % 100:02d}", f"{day} de {name} de {year}", f"{day} de {name} del {year}", f"{year}-{month:02d}-{day:02d}",
            f"{day}-{name[:3]}-{year}", f"{day} {name[:3]} {year}", f"{day} {name} {year}", f"{name} de {year}", f"{name[:3].upper()} {day}, {year}", f"{day:02d}/{month:02d}/{year} {r.randint(0, 23):02d}:{r.randint(0, 59):02d}",
        ])  # fmt: skip

    def identifier(self, fake: Any) -> str:
        r = self.random
        number = "".join(r.choice("0123456789") for _ in range(14))
        letter = r.choice("TRWAGMYFPDXBNJZSQVHLCKE")
        return r.choice([
            number[: r.randint(4, 10)], number[: r.randint(5, 9)], number[:8] + letter, f"{number[:8]}-{letter}", f"{number[:2]}.{number[2:5]}.{number[5:8]}-{letter}",
            f"{r.choice('XYZ')}{number[:7]}{letter}", f"{number[:2]} {number[2:10]} {number[10:12]}", f"{number[:2]}/{number[2:10]}/{number[10:12]}", f"{number[:2]}-{number[2:10]}-{number[10:12]}",
            f"{number[:2]} {number[2:4]} {number[4:9]}", f"{number[:2]}/{number[2:9]}", "".join(r.choice("BCDFGHJKLMNP") for _ in range(4)) + number[:12], self.fakers["es_MX"].curp(), self.fakers["es_MX"].rfc(),
            self.fakers["es_CL"].person_rut(), f"{number[:2]}-{number[2:10]}-{number[10]}", f"{number[:1]}.{number[1:4]}.{number[4:7]}", f"{number[:2]}.{number[2:5]}.{number[5:8]}",
            f"{r.choice(['NHC', 'HC', 'EP', 'ES', 'H', 'P', 'CM', 'SN', 'MED'])}{r.choice(['', '-', ' ', '/'])}{number[:r.randint(4, 8)]}", self.fakers["es_ES"].license_plate(), f"{number[:3]}/{number[3:9]}/{number[9]}",
            fake.bothify("??-####-##").upper(), fake.bothify("??######").upper(), f"AN{number[:10]}", f"{2000 + int(number[:2]) % 25}/{number[2:7]}",
        ])  # fmt: skip

    def sentence(self) -> list[Piece]:
        """A filled template."""
        return [
            (self.fill(part[1:-1]), SLOT.get(part[1:-1])) if part.startswith("{") else (part, None)
            for part in re.split(r"(\{\w+\})", self.random.choice(self.templates))
            if part
        ]

    def other(self, text: str, label: str, known: dict[str, str]) -> str:
        """Another value of the same kind in the place of a span of MEDDOCAN; `label` is MEDDOCAN's."""
        r = self.random
        kind = GOLD.get(label)
        if kind == "NAME":
            words = re.split(r"([ \t.,-]+)", text)
            for at, word in enumerate(words):
                if word[:1].isalpha() and word.lower() not in PARTICLES:
                    if word not in known:
                        fake: Any = self.fakers[r.choice(LISTS["locale"])]
                        first = len(words) == 1 or (at == 0 and label == "NOMBRE_PERSONAL_SANITARIO")
                        new = (fake.first_name() if first or r.random() < 0.15 else fake.last_name()).split()[0]
                        new = new[0] if len(word) == 1 else new
                        known[word] = new.upper() if word.isupper() else new.lower() if word.islower() else new
                    words[at] = known[word]
            return "".join(words)
        if kind in ("AGE", "RELATIVE"):
            if kind == "RELATIVE" and text.lower() in LISTS["rel"] and r.random() < 0.5:
                return self.cased(self.fill("rel"), text)
            return re.sub(r"\d+", lambda m: str(r.randint(1, 95)), text)
        if kind == "SEX":
            if r.random() < 0.4:
                return text
            alike = [s for s in SEX if len(s) == 1] if len(text) == 1 else [s.lower() for s in SEX if len(s) > 1]
            return self.cased(r.choice(alike), text)
        if label == "TERRITORIO":
            return self.fill("zip") if text.isdigit() else self.cased(self.fill("city"), text)
        if label == "PAIS":
            return text if r.random() < 0.5 else self.fill("country")
        if kind == "DATE":
            if re.fullmatch(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}", text):
                return (
                    self.fill("date")
                    if r.random() < 0.5
                    else re.sub(r"\d+", lambda m: str(r.randint(1935, 2025)) if len(m[0]) == 4 else f"{r.randint(1, 28):02d}", text)
                )
            text = re.sub(r"\d+", lambda m: str(r.randint(1970, 2025)) if len(m[0]) == 4 else str(r.randint(1, 28)), text)
            return re.sub("|".join(MONTHS), lambda m: r.choice(MONTHS), text)
        if label == "CALLE":
            return self.fill("street")
        if kind == "ORGANIZATION":
            return self.fill("org" if label == "INSTITUCION" else "hospital") if r.random() < 0.7 else text
        if kind == "PROFESSION":
            return self.cased(self.fill("job"), text)
        if label == "CORREO_ELECTRONICO":
            return self.fill("email")
        if kind == "PHONE":
            return self.fill("phone")
        if kind == "ID" and any(c.isdigit() for c in text):
            return self.fill("id") if r.random() < 0.3 else re.sub(r"\d", lambda m: r.choice("0123456789"), text)
        return text

    def cased(self, new: str, old: str) -> str:
        return new.upper() if old.isupper() and len(old) > 1 else new[:1].upper() + new[1:] if old[:1].isupper() else new


def values(row: dict[str, Any], *labels: str) -> list[str]:
    return [row["text"][s["start"] : s["end"]] for s in row["spans"] if s["label"] in labels]


def pieces(row: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The text cut at the spans' ends, each piece with MEDDOCAN's label."""
    found: list[tuple[str, str | None]] = []
    at = 0
    for span in sorted(row["spans"], key=lambda s: (s["start"], -s["end"])):
        if span["start"] < at:
            continue
        found += [(row["text"][at : span["start"]], None), (row["text"][span["start"] : span["end"]], span["label"])]
        at = span["end"]
    return [p for p in [*found, (row["text"][at:], None)] if p[0]]


def lines(parts: list[Piece]) -> list[list[Piece]]:
    found: list[list[Piece]] = [[]]
    for text, label in parts:
        for number, line in enumerate(text.split("\n")):
            if number:
                found.append([])
            if line:
                found[-1].append((line, label))
    return found


def varied(row: dict[str, Any], source: Source) -> list[Piece]:
    """The document with other values, another header and sentences of the templates between its lines."""
    r = source.random
    known: dict[str, str] = {}
    parts = [(source.other(text, label, known) if label else text, GOLD.get(label or "")) for text, label in pieces(row)]
    rows = lines(parts)
    head = next((n for n, line in enumerate(rows) if sum(len(t) for t, _ in line) > 150), len(rows))
    header, body = [line for line in rows[:head] if line], [line for line in rows[head:] if line]
    rename = r.random() < 0.6
    for line in (*header, *body[-2:]):
        for at, (text, label) in enumerate(line):
            if label:
                continue
            if rename:
                for field, names in FIELDS.items():
                    if field in text and r.random() < 0.5:
                        text = re.sub(rf"{re.escape(field)}(?=\s*:)", r.choice(names), text)
            line[at] = (text, None)
    if r.random() < 0.5:
        header = [line for line in header if r.random() > 0.15]
    if r.random() < 0.4:
        r.shuffle(header)
    dice = r.random()
    if dice < 0.12:  # values without their fields
        header = [[p for p in line if p[1] or not re.search(r":\s*$", p[0])] or line for line in header]
    if r.random() < 0.3:  # no full stops at line ends
        header = [[*line[:-1], (re.sub(r"\s*\.\s*$", "", line[-1][0]), None)] if line and not line[-1][1] else line for line in header]
    if r.random() < 0.3:  # no colons, or another separator
        mark = r.choice([" ", " - ", "\t", " = ", "  "])
        header = [[(t if k else re.sub(r"\s*:\s*$", mark, t), k) for t, k in line] for line in header]
    glue = r.choice(["\n"] * 6 + [" ", ", ", " | ", "\n\n", "; ", "   "])
    made: list[Piece] = []
    for line in header:
        made += [*line, (glue, None)]
    made.append(("\n", None))
    share = r.choice([0.0, 0.1, 0.3])
    for line in body:
        made += [*line, ("\n", None)]
        while r.random() < share:
            made += [*source.sentence(), (r.choice(["\n", " ", "\n"]), None)]
    return made


def text_of(parts: list[Piece], source: Source, noise: bool) -> dict[str, Any]:
    """Pieces put together; with noise, at times in one case or without accents."""
    text, spans = "", []
    dice = source.random.random() if noise else 1.0
    for piece, label in parts:
        if dice < 0.07 and len(piece.lower()) == len(piece):
            piece = piece.lower()
        elif dice < 0.12 and len(piece.upper()) == len(piece):
            piece = piece.upper()
        elif dice < 0.2:
            piece = "".join(unicodedata.normalize("NFD", c)[0] for c in piece)
        elif dice < 0.26 and label in ("NAME", "LOCATION", "ORGANIZATION"):
            piece = piece.upper()
        if label:
            spans.append({"start": len(text), "end": len(text) + len(piece), "label": label})
        text += piece
    return {"text": text, "spans": spans}


def windows(row: dict[str, Any], tokenizer: Any, source: Source, empty_share: float) -> list[dict[str, Any]]:
    """Rows of at most 126 tokens from a random first cut on; of those without an identifier a share."""
    offsets = tokenizer(row["text"], add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    found = []
    at = -source.random.randrange(126) if len(offsets) > 126 else 0
    while at < len(offsets):
        part = offsets[max(0, at) : at + 126]
        at += 126
        if not part or len(part) < 8:
            continue
        start, end = part[0][0], part[-1][1]
        spans = [
            {"start": max(s["start"], start) - start, "end": min(s["end"], end) - start, "label": s["label"]}
            for s in row["spans"]
            if s["start"] < end and start < s["end"]
        ]
        if spans or source.random.random() < empty_share:
            found.append({"text": row["text"][start:end], "spans": spans})
    return found


def make(data: Path, out: Path, encoder: Path, seed: int, variants: int, share: float) -> None:
    """Write train.jsonl and validation.jsonl (a sample of the development part's windows). `share`: notes of templates alone, to a window of
    MEDDOCAN."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    train, dev = ([json.loads(line) for line in (data / f"deid/meddocan/meddocan_{p}.jsonl").open()] for p in ("train", "dev"))
    source = Source(seed, train)
    rows = []
    for row in train:
        plain = [(text, GOLD.get(label or "")) for text, label in pieces(row)]
        rows += windows(text_of(plain, source, False), tokenizer, source, 0.5)
        for _ in range(variants):
            rows += windows(text_of(varied(row, source), source, True), tokenizer, source, 0.3)
    for _ in range(round(len(rows) * share)):  # notes that are made of templates alone
        parts: list[Piece] = []
        for _ in range(source.random.randint(1, 5)):
            parts += [*source.sentence(), (source.random.choice(["\n", " "]), None)]
        rows += windows(text_of(parts, source, True), tokenizer, source, 1.0)
    source.random.shuffle(rows)
    held = []
    for row in dev[::10]:
        held += windows(text_of([(t, GOLD.get(k or "")) for t, k in pieces(row)], source, False), tokenizer, source, 1.0)
    for name, part in (("train", rows), ("validation", held)):
        write(out / f"{name}.jsonl", part)
    print(f"{len(rows)} training rows, {sum(bool(r['spans']) for r in rows)} with identifiers")


def begin(tagger: Path, encoder: Path, folder: Path) -> Path:
    """A copy of a tagger with the encoder's tokenizer, without a head of other classes."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    state = load_file(tagger / "model.safetensors")
    head = len(state["classifier.bias"]) == len(CLASSES)
    kept = {name: value for name, value in state.items() if head or not name.startswith("classifier.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    shutil.copy(tagger / "config.json", folder / "config.json")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(encoder / name, folder / name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder with deid/meddocan")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for rows and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder that the tagger is written to")
    parser.add_argument(
        "--start", type=Path, help="a whole tagger to begin with: of this script, or the English one, whose head is left out"
    )
    parser.add_argument("--variants", type=int, default=4, help="how often each document comes with other values")
    parser.add_argument("--notes", type=float, default=0.4, help="notes of templates alone, to a window of MEDDOCAN")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    from nosology.config import ModelConfig, TrainConfig, home
    from nosology.training.loop import train
    from nosology.training.tag import Tag

    started = time.monotonic()
    encoder = home() / "encoder"
    make(options.data, options.work / "rows", encoder, options.seed, options.variants, options.notes)
    start = begin(options.start, encoder, options.work / "start") if options.start else encoder
    config = TrainConfig(
        objective="tag", method="full", batch_size=32, learning_rate=options.learning_rate, schedule="linear", precision="bf16", epochs=1,
        max_steps=options.max_steps, checkpoint_steps=200, workers=1, seed=options.seed,
    )  # fmt: skip
    report = train(
        Tag(CLASSES),
        config,
        ModelConfig(encoder=str(start)),
        str(options.work / "rows"),
        options.work / "run",
        on_step=lambda m: (
            print(f"step {int(m['step'])} loss {m['value']:.4f} {m['tokens_per_second']:.0f} tokens/s", flush=True)
            if m["step"] % 25 == 0
            else None
        ),
    )
    print(json.dumps(report))
    facts = {
        "threshold": options.threshold,
        "thresholds": {"PROFESSION": 0.7},  # no identifier of Safe Harbor: precision counts as much
        "made_by": "examples/train_deid_tagger_es.py",
        "rows": report["rows"],
        "steps": report["steps"],
        "seconds": round(time.monotonic() - started),
        "seed": options.seed,
        "validation": report["metrics"],
    }
    export(Path(report["checkpoint"]), options.out, facts)


if __name__ == "__main__":
    main()
