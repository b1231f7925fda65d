"""A user's table in the schema of one of ours keeps its keys where they are some; a value of a record never becomes one."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nosology.distributed import source, work
from nosology.distributed.coverage import Interval, Tally
from nosology.distributed.isolation import Guard
from nosology.errors import RecordError
from nosology.records import DeadLetter, RawDocument, arrow_schema

DIGEST = "ab" * 32
GOOD = {"source_digest": DIGEST, "source_row": 7, "source_format": "fhir"}
NAME = "Quillfeather, Zyxomma"


class Refuses:
    verb = "toy"

    def schemas(self) -> dict[str, pa.Schema]:
        return {"keys": pa.schema([("source_digest", pa.string()), ("source_row", pa.int64()), ("source_format", pa.string())])}

    def open(self) -> None:
        pass

    def process(self, rows: Any) -> Any:
        if any(row["text"] == "bad" for row in rows):
            raise RecordError("toy_refused")
        return {"keys": [{name: row[name] for name in self.schemas()["keys"].names} for row in rows]}


def run(path: Path, *keys: dict[str, Any], text: str = "well") -> tuple[str, list[dict[str, Any]], list[DeadLetter], Tally]:
    """Rows with these keys through a stage: digest of the file, keys that came out, dead letters, the tally."""
    columns = {item.name: None for item in dataclasses.fields(RawDocument) if not item.name.startswith("source_")}
    rows = [{**columns, "document_id": "d", "text": text, **key} for key in keys]
    if path.suffix == ".csv":
        with path.open("w", newline="") as lines:
            table = csv.DictWriter(lines, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = source.plan([str(path)])
    assert files[0].table == "documents"
    stage = Refuses()
    units = work.StageWork(stage, stage.schemas(), files)
    units.open()
    tally, dead = Tally(), list[DeadLetter]()
    found = [row for _, table in units.produce(Interval(0, 0, len(rows)), tally, dead, Guard(lambda: None)) for row in table.to_pylist()]
    table = pa.Table.from_pylist([dataclasses.asdict(letter) for letter in dead], schema=arrow_schema(DeadLetter))
    assert tally.records == len(rows) == len(found) + table.num_rows and sum(tally.formats.values()) == tally.records
    assert NAME not in repr((dead, tally))
    return files[0].digest, found, dead, tally


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_keys_of_the_table_itself(tmp_path: Path, ending: str) -> None:
    digest, found, dead, tally = run(
        tmp_path / f"t.{ending}", GOOD, {**GOOD, "source_row": None}, {**GOOD, "source_digest": None}, {**GOOD, "source_row": 0}
    )
    own = {"source_digest": digest, "source_format": ending}
    assert found == [GOOD, {**own, "source_row": 1}, {**own, "source_row": 2}, {**GOOD, "source_row": 0}]
    assert not dead and tally.formats == {"fhir": 2, ending: 2}


WRONG = [
    ("source_format", {key: value for key, value in GOOD.items() if key != "source_format"}),
    ("source_format", {**GOOD, "source_format": NAME}),
    ("source_format", {**GOOD, "source_format": None}),
    ("source_format", {**GOOD, "source_format": ["fhir"]}),
    ("source_row", {**GOOD, "source_row": "7"}),
    ("source_row", {**GOOD, "source_row": NAME}),
    ("source_row", {**GOOD, "source_row": -1}),
    ("source_row", {**GOOD, "source_row": 1 << 63}),
    ("source_row", {**GOOD, "source_row": 1.5}),
    ("source_row", {**GOOD, "source_row": True}),
    ("source_digest", {**GOOD, "source_digest": NAME}),
    ("source_digest", {**GOOD, "source_digest": DIGEST + "a"}),
    ("source_digest", {**GOOD, "source_digest": [DIGEST]}),
]


@pytest.mark.parametrize("text", ["well", "bad"])
@pytest.mark.parametrize(("field", "key"), WRONG)
def test_what_is_no_key(tmp_path: Path, field: str, key: dict[str, Any], text: str) -> None:
    digest, found, dead, tally = run(tmp_path / "t.jsonl", key, GOOD, text=text)
    wrong = next(letter for letter in dead if letter.reason == "wrong_type")
    assert (wrong.field, wrong.source_digest, wrong.source_row, wrong.source_format) == (field, digest, 0, "jsonl")
    assert tally.formats == {"jsonl": 1, "fhir": 1} and len(found) == (text == "well")


def test_words_for_a_row_in_a_csv(tmp_path: Path) -> None:
    _, found, dead, _ = run(tmp_path / "t.csv", {**GOOD, "source_row": NAME}, {**GOOD, "source_row": "9" * 19}, {**GOOD, "source_row": "٣"})
    assert not found and [letter.field for letter in dead] == ["source_row"] * 3
