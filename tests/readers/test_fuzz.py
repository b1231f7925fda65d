"""Damaged files for every reader: real samples and made ones with bits flipped, parts cut out, doubled, exchanged and put in.

No exception but the package's own and at most one for a file; every record counted once; no value of a record in a message or in what is
printed; an end after a bounded number of reads and rows. `NOSOLOGY_FUZZ=N` gives each reader N inputs (120 without). The last line
that pytest prints is JSON with the number of inputs (conftest.py).
"""

from __future__ import annotations

import ast
import bz2
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nosology import readers
from nosology.config import IngestConfig, InputConfig
from nosology.errors import InputError
from nosology.readers import synthea, tabular
from nosology.readers.x12_claims import AMOUNTS, DIAGNOSES, PROCEDURES
from nosology.readers.x12_loops import DATES
from nosology.records import TABLES, digested_table, parts
from test_charsets import ENGLISH
from test_members import zipped

ROOT = Path(__file__).parents[2]
REAL = (ROOT.parent / "shared" / "data" / "claims", ROOT / "tests" / "data", ROOT / "examples" / "archive")
INPUTS = int(os.environ.get("NOSOLOGY_FUZZ", "120"))
CONFIG, COLUMNS = IngestConfig(max_document_bytes=1 << 20), InputConfig()
MOST_BYTES = 24_000
RTF = rb"{\rtf1\ansi\ansicpg1252 Ada Quimby \b seen\b0\par 50 \'25 better {\*\generator x}}"
HTML = (
    b"<!doctype html><html><head><meta charset=utf-8></head><body><p>Ada Quimby &amp; 50 % better</p><table><tr><td>x</table></body></html>"
)
CDA = (
    b'<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>Visit</title><component><structuredBody><component>'
    b"<section><title>Plan</title><text><paragraph>Ada Quimby</paragraph></text></section></component></structuredBody></component></ClinicalDocument>"
)
SUPPORT = [
    {"sequence": 1, "valueString": "Ada Quimby seen", "timingDate": "2024-02-29"},
    {"sequence": 2, "category": {"coding": [{"code": "info"}]}, "valueAttachment": {"contentType": "text/plain", "data": "QWRhIFF1aW1ieQ=="}},
]  # fmt: skip
MADE: dict[str, list[bytes]] = {
    "x12": [samples.x12(), samples.x12(samples.REMITTANCE, kind="835"), samples.x12(samples.HEAD + samples.INSTITUTIONAL)],
    "fhir": [
        samples.lines(samples.PATIENT, samples.ENCOUNTER, samples.CONDITION, samples.document(), samples.FHIR_CLAIM, samples.BENEFIT),
        json.dumps(samples.bundle(samples.PATIENT, samples.document()), indent=1).encode(),
        samples.lines({**samples.FHIR_CLAIM, "supportingInfo": SUPPORT}, {**samples.BENEFIT, "information": SUPPORT}),
    ],
    "rif": [samples.carrier("-1|1|30-May-2015", "-1|2|30-May-2015", "-2|1|30-May-2015"), samples.BENEFICIARY, samples.PDE],
    "synpuf": [
        samples.synpuf(samples.SYNPUF_INPATIENT_HEADER, samples.SYNPUF_STAY, {**samples.SYNPUF_STAY, "SEGMENT": "2"}),
        samples.SYNPUF_BENEFICIARY, samples.SYNPUF_DRUG,
    ],
    "synthea": [samples.PATIENTS_CSV], "hl7v2": [samples.ORU], "jsonl": [samples.JSONL * 3], "csv": [samples.CSV], "rtf": [RTF],
    "html": [HTML], "ccda": [CDA], "parquet": [samples.parquet([{"id": str(n), "text": "Ada Quimby"} for n in range(40)], row_group_size=16)],
    "text": [ENGLISH.encode() * 3, ENGLISH.encode("cp1252") * 3, ENGLISH.encode("utf-16")],
    "packed": [
        pack(samples.JSONL * 40) for pack in (gzip.compress, bz2.compress, zstandard.compress)
    ] + [zipped({"a.837": samples.x12(), "b.hl7": samples.ORU, "c.jsonl.gz": gzip.compress(samples.JSONL)}),
         zipped({"d.ndjson": samples.lines(samples.document(content=[{"attachment": {"url": "n/e.txt"}}])), "n/e.txt": b"Ada Quimby seen."})],
}  # fmt: skip
# What a message may be made of: the words of the package itself, the name of the file, and numbers where it names a place.
VOCABULARY = {word.lower() for path in (ROOT / "platform/nosology").rglob("*.py") if path.parent.name in ("readers", "fhir", "nosology")
              for word in re.findall(r"[A-Za-z]+|\d+", path.read_text())}  # fmt: skip
PLACES = re.compile(
    r"\b[A-Z][A-Z0-9]{1,2}\d{2,3}\b|has offset \d+|\(member \d+ of the archive\)|\d+ columns|byte \d+|among its \d+|/\S*/rows|file/\S*"
)


def fields() -> set[str | None]:
    """All that a dead letter may call a field: words of the readers' own code, and what is put together from closed sets of them."""
    found: set[Any] = {
        None,
        *COLUMNS.model_dump().values(),
        *(item.name for record in TABLES.values() for item in dataclasses.fields(record)),
    }
    found |= {item.name for part in (parts.Diagnosis, parts.Coding, parts.ClaimLine, parts.RemittanceLine, parts.Adjustment, parts.Attachment,
                                     parts.Origin) for item in dataclasses.fields(part)}  # fmt: skip
    for path in (ROOT / "platform/nosology/readers").rglob("*.py"):
        found |= {
            node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    found |= {column for _, columns in synthea._SIGNATURES for column in columns}  # which stand in the code as lists of words
    notes = ("content.attachment", "presentedForm", "supportingInfo.valueAttachment")
    found |= {name + element for name in notes for element in (".data", ".url", ".contentType")}
    found |= {name + element for name in ("period", "billablePeriod", "onsetPeriod", "effectivePeriod", "performedPeriod", "context.period",
              "item.servicedPeriod", "supportingInfo.timingPeriod") for element in (".start", ".end")}  # fmt: skip
    found |= (
        {"DTP03", "DTM02"}
        | {tag + qualifier for tag in ("DTP", "DTM") for qualifier in DATES}
        | {f"CAS{place:02d}" for place in range(2, 100)}
    )
    found |= {f"{tag}{place:02d}" for tag, places in AMOUNTS.items() for place in places} | {
        f"HI {kind}" for kind in DIAGNOSES | PROCEDURES
    }
    return found | {f"{name}.text" for name in ("type", "code")}


FIELDS = fields()


def real(name: str) -> list[bytes]:
    """The smallest real files of a format, and the beginnings of larger ones."""
    found: list[bytes] = []
    for folder in REAL:
        for path in sorted((one for one in folder.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)[:400]:
            data = path.read_bytes()[:MOST_BYTES]
            with contextlib.suppress(InputError):
                if readers.recognise(data[:8192], path.name).name == name:
                    found.append(data)
    return found[:4] + found[-3:]


CORPUS = {name: made + real(name) for name, made in MADE.items()}
WORDS = [b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"|", b"~", b"*", b"^", b"\\", b'"', b"\n", b"\r\n", b"{", b"}", b"[", b"]", b"ISA", b"ST*837", b"CLM*",
         b"MSH|^~\\&|", b"PID|", b"OBX|1|TX|", b"<", b"</", b"<!--", b"&#x110000;", b"\\u", b"\\'", b"\\bin9999 ", b"9" * 400, b"-1", b"NaN", b"1e999",
         b'{"resourceType":', b'"entry":', b"PK\x03\x04", b"PAR1", b"\x1f\x8b\x08", b"BZh9", b"\x28\xb5\x2f\xfd", b"0000-99-99", b"\xd8\x00"]  # fmt: skip


PARTS = [one for group in CORPUS.values() for one in group]


def damaged(name: str, rng: random.Random) -> bytes:
    """A sample with some changes."""
    data = bytearray(rng.choice(CORPUS[name]))
    for _ in range(rng.choice([0, 1, 1, 2, 3, 6])):
        kind = rng.choice(["flip", "cut", "end", "double", "insert", "splice", "exchange", "zeros", "value"])
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 4, 30, 300])
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[at : at + size]
        elif kind == "end":
            del data[at:]
        elif kind == "double":
            data[at:at] = data[at : at + size] * rng.randint(1, 5)
        elif kind == "insert":
            data[at:at] = rng.choice([rng.choice(WORDS), rng.randbytes(rng.randrange(20))])
        elif kind == "splice":  # a part of a file of any format
            other = rng.choice(PARTS)
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.randrange(300)] = other[start : start + size]
        elif kind == "exchange":
            data[at : at + size] = data[at : at + size][::-1]
        elif kind == "zeros":
            data[at : at + size] = bytes(size)
        elif kind == "value" and (found := list(re.finditer(rb"[A-Za-z0-9.-]+", data))):  # a word becomes another, of another kind
            match = rng.choice(found)
            data[match.start() : match.end()] = rng.choice(
                [b"Xyzzy", b"990173", b"-1.5", b"[990173]", b'{"q": 990173}', b"true", b"", b"20240231"]
            )
    return bytes(data)


class Counted(io.BytesIO):
    """A stream that says when it was asked absurdly often."""

    steps = 0

    def _step(self) -> None:
        self.steps += 1
        assert self.steps < 200_000, "the reader does not end"

    def read(self, size: int | None = -1) -> bytes:
        self._step()
        return super().read(size)

    def readinto(self, target: Any) -> int:
        self._step()
        return super().readinto(target)


def told(text: str, name: str) -> None:
    """What is told holds no value of a record."""
    words = re.findall(r"[A-Za-z]+|\d+", PLACES.sub(" ", text))
    strange = [word for word in words if word.lower() not in VOCABULARY]
    assert not strange, f"the reader of {name} tells {len(strange)} words that are not its own"


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """What is printed meanwhile must hold no value."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield
    told(out.getvalue(), name)


READABLE: Counter[str] = Counter()


@pytest.mark.parametrize("name", CORPUS)
def test_damage_of_every_kind(name: str, tmp_path: Path, fuzzed: Counter[str]) -> None:
    path = tmp_path / "rows"

    @given(st.integers(0, 2**64), st.sampled_from([None, "cp1252"]), st.booleans())
    @settings(
        deadline=None, max_examples=INPUTS, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    def one(seed: int, encoding: str | None, keep: bool) -> None:
        data = damaged(name, random.Random(seed))
        config = CONFIG.model_copy(update={"encoding": encoding, "keep_originals": keep})
        source = readers.SourceFile("/x/file", "file", hashlib.sha256(data).hexdigest(), len(data))
        fuzzed[name] += 1
        with quiet(name):
            found, faults = readers.probe(source, Counted(data), config, COLUMNS)
            assert found is not None or faults
            told(" ".join(map(str, faults)), name)
            reading = readers.read_file(source, Counted(data), config, COLUMNS)
            items: list[Any] = []
            for item in reading:
                items.append(item)
                assert len(items) <= 4 * len(data) + 10, "more rows than bytes"
        letters = [item for item in items if type(item).__name__ == "DeadLetter"]
        told(repr([(letter.reason, letter.field, letter.rule) for letter in letters]), name)
        assert {field for letter in letters for field in (letter.field.split(", ") if letter.field else [None])} <= FIELDS
        assert {letter.reason for letter in letters} <= readers.REASONS.keys() and len(letters) == reading.counts.dead
        assert reading.counts.records == sum(reading.formats.values()) >= len(letters)
        for record in TABLES.values():  # every row is one that a table can hold
            if rows_of := [item for item in items if type(item) is record]:
                assert digested_table(record, rows_of).num_rows == len(rows_of)
        rows = [item.source_row for item in items if type(item).__name__ not in ("Skipped", "Original")]
        assert len(set(rows)) == len(rows)
        if found is not None and not faults:
            READABLE[name] += 1
        if name in ("jsonl", "csv", "parquet", "packed"):  # the same file as a table of a stage
            path.write_bytes(data)
            try:
                with quiet(name):
                    tabular.describe(str(path))
                    numbers = [number for number, _ in tabular.read_rows(str(path), 0, 1 << 30)]
                    assert numbers == list(range(tabular.count_rows(str(path))))
            except InputError as error:
                told(str(error), name)

    one()
    # counted here: the formats may be tested in processes of their own
    assert fuzzed[name] >= min(INPUTS, 50) and READABLE[name]
