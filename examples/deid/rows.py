"""Rows for the tagger: templates expanded by their grammar, filled with values, made noisy. Used by examples/train_deid_tagger.py alone."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path
from typing import Any

from people import plain
from values import LABEL, Values

HERE = Path(__file__).parent
UNMARKED = {"age", "num", "n", "vital", "cond", "job", "code", "year"}
# slots of presidio-research by its labels; ages and nationalities are no identifiers under Safe Harbor
PRESIDIO = {
    "PERSON": "name", "STREET_ADDRESS": "street", "GPE": "city", "ORGANIZATION": "org", "CREDIT_CARD": "card", "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email", "ZIP_CODE": "zip", "DOMAIN_NAME": "url", "IBAN_CODE": "id", "US_SSN": "ssn", "IP_ADDRESS": "ip",
    "US_DRIVER_LICENSE": "id", "DATE_TIME": "date", "AGE": "age", "NRP": "nrp",
}  # fmt: skip
TYPE_CLOSE = {"a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk", "k": "jl", "l": "k",
              "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
              "y": "tu", "z": "x"}  # fmt: skip
LOOKS_LIKE = {"0": "O", "O": "0", "1": "l", "l": "1", "5": "S", "S": "5", "8": "B", "I": "l", "m": "rn"}

Piece = tuple[str, str | None]  # text, label


def read(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Templates (each as often as its weight says) and rules of a file."""
    templates: list[str] = []
    rules: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if file.name == "lists.txt" or line.startswith("= "):
            key, *choices = [part.strip() for part in re.split(r" \|(?=\s|$)", line.removeprefix("= "))]
            rules.setdefault(key, []).extend(choices)
        else:
            weight, found, text = line.partition("@ ")
            templates += [text.strip()] * int(weight) if found and weight.isdigit() else [line]
    return [t.replace("\\n", "\n") for t in templates], {k: [c.replace("\\n", "\n") for c in v] for k, v in rules.items()}


def note_sentences(data: Path, known: set[str]) -> list[str]:
    """Sentences of ACI-bench (train part) and MTS-Dialog notes that hold no name, date or place."""
    texts = [r["note"] for r in csv.DictReader((data / "coding/aci_bench/train.csv").open(newline=""))]
    people = {
        n
        for r in csv.DictReader((data / "coding/aci_bench/train_metadata.csv").open(newline=""))
        for n in (r["patient_firstname"], r["patient_familyname"])
        if n
    }
    texts += [r["section_text"] for r in csv.DictReader((data / "coding/mts_dialog/MTS-Dialog-TrainingSet.csv").open(newline=""))]
    sentences = [s.strip() for t in texts for s in re.split(r"(?<=[.!?])\s+|\n+", t)]
    known = known | {w for s in sentences for w in re.findall(r"\b[a-z]{2,}\b", s)}
    dated = re.compile(
        r"\b(?:Dr|Mrs?|Ms|Miss)\b|\d{1,2}/\d{1,2}/|\b\d{1,2}/(?:\d{4}|[089]\d)\b|XX|_|\b(?:in|on|since|of) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Christ|Thanks)",
        re.I,
    )
    days = re.compile(
        r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b|\b(?:January|February|March|April|June|July|August|September|October|November|December)\b"
    )
    kept = []
    for s in sentences:
        strange = [
            w for w in re.findall(r"[A-Za-z][\w'-]*", s) if w[0].isupper() and w.lower().rstrip("'s") not in known and not w.isupper()
        ]
        if 12 < len(s) < 400 and not strange and not people & set(re.findall(r"\w+", s)) and not dated.search(s) and not days.search(s):
            kept.append(re.sub(r"[{}\[\]|]", "", s))
    return sorted(set(kept))


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


def iob_terms(path: Path) -> dict[str, list[str]]:
    """The terms that such a file marks, by kind, each once."""
    found: dict[str, set[str]] = {}
    words, kind = [], ""
    for line in [*path.read_text().splitlines(), ""]:
        word, _, tag = line.partition("\t")
        if not tag.startswith("I-"):
            if words and 3 < len(" ".join(words)) < 40:
                found.setdefault(kind, set()).add(re.sub(r" ([-/,)])", r"\1", " ".join(words)).replace("- ", "-").replace("( ", "("))
            words, kind = [], tag[2:]
        if tag[:2] in ("B-", "I-"):
            words.append(word)
    return {kind: sorted(terms) for kind, terms in found.items()}


def presidio_templates(rows: list[dict[str, Any]]) -> list[str]:
    """The sentences with their values cut out; bare years become the unmarked slot, titles stay."""
    templates = set()
    for row in rows:
        text, at = "", 0
        for span in sorted(row["spans"], key=lambda s: s["start"]):
            value = row["text"][span["start"] : span["end"]]
            slot = "year" if span["label"] == "DATE_TIME" and re.fullmatch(r"\d{4}", value) else PRESIDIO.get(span["label"])
            if slot == "name" and " " not in value:
                slot = "first" if sum(map(ord, value)) % 2 else "last"
            if slot == "city":
                slot = ("city", "town", "town", "country")[sum(map(ord, value)) % 4]
            text += re.sub(r"[{}\[\]|]", "", row["text"][at : span["start"]]) + ("{" + slot + "}" if slot else value)
            at = span["end"]
        templates.add(text + re.sub(r"[{}\[\]|]", "", row["text"][at:]))
    return sorted(templates)


class Rows:
    """Draws rows {"text", "spans"}.

    Args:
        data: folder with deid/ and coding/.
        seed: of every draw.
        second: with the templates and lists of `second/` and `third/` too.
    """

    def __init__(self, data: Path, seed: int, *, second: bool = False) -> None:
        import simple_icd_10_cm as icd

        self.random = random.Random(seed + 1)
        self.templates: dict[str, list[str]] = {}
        self.rules: dict[str, list[str]] = {}
        for family in ("lists", "queries", "notes", "general", "clean"):
            self.templates[family] = []
            for folder in (HERE, HERE / "second", HERE / "third") if second else (HERE,):
                templates, rules = read(folder / f"{family}.txt")
                self.templates[family] += templates
                for key, choices in rules.items():
                    self.rules.setdefault(key, []).extend(choices)
        aliases = [line.split("\t")[0] for line in (data / "coding/outpatient_aliases/aliases.tsv").read_text().splitlines()[1:] if line]
        if second:
            for terms in (iob_terms(data / "coding/ner/BC5CDR-IOB/train.tsv"), iob_terms(data / "coding/ner/NCBI-disease-IOB/train.tsv")):
                for kind, names in terms.items():
                    self.rules.setdefault(kind.lower(), []).extend(re.sub(r"[{}\[\]|~]", "", name) for name in names)
        titles = [icd.get_description(c) for c in sorted(set(icd.get_all_codes()))[::40]]
        short = [t for t in titles if len(t) < 50 and "[" not in t]
        self.values = Values(seed, self.rules, aliases * 3 + short)
        gold = [json.loads(line) for line in (data / "deid/presidio-research/synth_dataset_v2.jsonl").open()]
        self.templates["presidio"] = presidio_templates([g for g in gold if g["template_id"] % 4])
        self.held = [g for g in gold if g["template_id"] % 4 == 0]
        words = {
            w
            for key in ("drug", "lab", "eponym", "organism", "scale", "sign", "device")
            for v in self.rules[key]
            for w in re.findall(r"\w+", v.lower())
        }
        self.notes = note_sentences(data, words | set(" ".join(aliases).lower().split()))
        self.literature = [s for p in sorted((data / "coding/ner").glob("*-IOB/*")) if "train" in p.name for s in iob_sentences(p)]
        self.trials = [
            s.strip(" -\t")
            for row in csv.DictReader((data / "coding/trial_parser/clinical_trials.csv").open(newline=""))
            for s in re.split(r"\n+", row.get("eligibility_criteria") or row.get("criteria") or "")
            if 20 < len(s) < 300
        ]
        self.titles = titles + aliases
        self.second = second
        if second:
            supplies = csv.reader((data / "coding/hcpcs_level2/opps_addendum_b_2026-04_level2.csv").open(newline="", encoding="utf-8"))
            self.titles += [row[1] for row in supplies if len(row) > 1 and row[1]][1::4]
        # a country in a sentence of the literature is no identifier there, but would teach the tagger to pass over countries
        countries = re.compile("|".join(rf"\b{re.escape(c)}\b" for c in self.values.countries))
        self.literature = [s for s in self.literature if not countries.search(s)]
        self.trials = [s for s in self.trials if not countries.search(s)]

    # -- templates to pieces -----------------------------------------------------------------------------------------------------------

    def expand(self, template: str) -> str:
        """The template with its choices made and its rules replaced, until value slots alone are left."""
        while True:
            if found := re.search(r"\[([^\[\]]*)\]", template):
                made = self.random.choice(found.group(1).split("|"))
            else:
                found = next(
                    (m for m in re.finditer(r"\{(\w+)\}", template) if m.group(1) not in LABEL and m.group(1) not in UNMARKED), None
                )
                if found is None:
                    return template.replace("~", " ")
                made = self.random.choice(self.notes) if found.group(1) == "carrier" else self.random.choice(self.rules[found.group(1)])
            template = template[: found.start()] + made + template[found.end() :]

    def pieces(self, template: str) -> list[Piece]:
        """A template filled."""
        found: list[Piece] = []
        for part in re.split(r"(\{\w+\})", self.expand(template)):
            slot = part[1:-1] if re.fullmatch(r"\{\w+\}", part) else None
            if slot:
                found.append((" ".join(getattr(self.values, slot)().split(" ")).strip(), LABEL.get(slot)))
            elif part:
                found.append((part, None))
        return found

    # -- noise -------------------------------------------------------------------------------------------------------------------------

    def _typo(self, text: str) -> str:
        at = self.random.randrange(len(text)) if text else 0
        if not text or not text[at].isalpha():
            return text
        dice, close = self.random.random(), TYPE_CLOSE.get(text[at].lower(), "")
        if dice < 0.3 and at + 1 < len(text) and text[at + 1].isalpha():
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        if dice < 0.55 and len(text) > 3:
            return text[:at] + text[at + 1 :]
        if dice < 0.75:
            return text[:at] + text[at] + text[at:]
        return text[:at] + self.random.choice(close) + text[at + 1 :] if close else text

    def noisy(self, pieces: list[Piece], *, query: bool) -> list[Piece]:
        """The pieces in another case, without accents or punctuation, with typing and scanning errors; about half of the rows stay as they are."""
        r = self.random
        dice = r.random()
        lower = 0.32 if query else 0.12
        if dice < lower:
            pieces = [(t.lower(), k) for t, k in pieces]
        elif dice < lower + 0.05:
            pieces = [(t.upper(), k) for t, k in pieces]
        elif dice < lower + 0.08:
            pieces = [(t.title(), k) for t, k in pieces]
        elif dice < lower + 0.12:
            pieces = [(t.lower() if k else t, k) for t, k in pieces]
        elif dice < lower + 0.14:
            pieces = [(t.upper() if k else t, k) for t, k in pieces]
        if r.random() < 0.06:
            pieces = [(plain(t), k) for t, k in pieces]
        if r.random() < (0.12 if query else 0.04):
            pieces = [(t if k else re.sub(r"[.,:;?()#]+(?=\s|$)", "", t), k) for t, k in pieces]
        if r.random() < 0.07:
            for _ in range(r.randint(1, 3)):
                at = r.randrange(len(pieces))
                pieces[at] = (self._typo(pieces[at][0]), pieces[at][1])
        if r.random() < 0.025:
            pieces = [("".join(LOOKS_LIKE.get(c, c) if r.random() < 0.06 else c for c in t), k) for t, k in pieces]
        if r.random() < 0.02:
            pieces = [(re.sub(r" ", lambda m: "  " if r.random() < 0.2 else " ", t), k) for t, k in pieces]
        if r.random() < 0.03:
            pieces = [(t.replace("\n", " "), k) for t, k in pieces]
        return pieces

    def row(self, pieces: list[Piece]) -> dict[str, Any]:
        """The text of some pieces and where their labels stand."""
        text, spans = "", []
        for part, label in pieces:
            if label and part.strip():
                spans.append({"start": len(text), "end": len(text) + len(part.rstrip()), "label": label})
            text += part
        return {"text": text, "spans": spans}

    # -- rows --------------------------------------------------------------------------------------------------------------------------

    def positive(self) -> dict[str, Any]:
        """A row that most often holds identifiers."""
        r = self.random
        dice = r.random()
        if dice < 0.42:
            pieces, query = self.pieces(r.choice(self.templates["queries"])), True
            if r.random() < 0.04:
                pieces += [(r.choice([" ", "\n", ". "]), None), *self.pieces(r.choice(self.templates["clean"]))]
        elif dice < 0.64:
            pieces, query = self.pieces(r.choice(self.templates["notes"])), False
        elif dice < 0.83:
            pieces, query = self.pieces(r.choice(self.templates["general"])), False
            if r.random() < 0.12:
                pieces += [(r.choice([" ", "\n"]), None), *self.pieces(r.choice(self.templates["general"]))]
        elif dice < 0.93:
            pieces, query = self.pieces(r.choice(self.templates["presidio"])), False
        else:  # a sentence of a real note whose subject becomes a person
            carrier = r.choice(self.notes)
            subject = r.choice(["{name}", "Mr. {last}", "Mrs. {last}", "Ms. {last}", "{first}", "Dr. {last}", "{last}"])
            changed = re.sub(r"^(?:The patient|She|He|Patient)\b", subject, carrier)
            parts = [changed, *(r.choice(self.notes) for _ in range(r.randint(0, 2)))]
            if changed == carrier or r.random() < 0.3:
                parts.append(r.choice(self.rules["body_s"] + self.rules["plan_s"] + self.rules["social_s"]))
                r.shuffle(parts)
            pieces, query = self.pieces(" ".join(parts)), False
        return self.row(self.noisy(pieces, query=query))

    def negative(self) -> dict[str, Any]:
        """A row without identifiers."""
        r = self.random
        dice = r.random()
        grammar = 0.72 if self.second else 0.55
        if dice < grammar:
            pieces = self.pieces(r.choice(self.templates["clean"]))
        else:
            dice = 0.55 + (dice - grammar) / (1 - grammar) * 0.45
            pool = self.notes if dice < 0.73 else self.literature if dice < 0.83 else self.trials if dice < 0.92 else self.titles
            text = r.choice(pool)
            while r.random() < 0.25:
                text += r.choice([" ", "\n"]) + r.choice(pool)
            pieces = [(text, None)]
        return self.row(self.noisy(pieces, query=dice < grammar))

    def validation(self) -> list[dict[str, Any]]:
        """The held-out quarter of presidio-research as it stands, Safe Harbor classes only."""
        return [
            {
                "text": g["text"],
                "spans": [
                    {**s, "label": LABEL[PRESIDIO[s["label"]]]}
                    for s in g["spans"]
                    if PRESIDIO.get(s["label"]) in LABEL and not re.fullmatch(r"\d{4}", g["text"][s["start"] : s["end"]])
                ],
            }
            for g in self.held
        ]
