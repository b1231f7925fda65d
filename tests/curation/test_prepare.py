"""The stage and its end: rows in, blocks out, everything counted, PHI refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nosology.config import PrepareConfig
from nosology.curation.prepare import Prepare, check_clean, finish, write
from nosology.curation.split import Splitter
from nosology.errors import InputError, ModelError, RecordError
from nosology.records import CLEAN_TABLES, TABLES, Example, PackedBlock, arrow_schema

CONFIG = PrepareConfig(context_tokens=256, candidates=3, notes=True)


def phrase(row: int, text: str, code: str, **more: Any) -> dict[str, Any]:
    return {"_table": "phrases", "source_digest": "d", "source_row": row, "source_format": "jsonl", "phrase": text, "code": code, **more}


ROWS = [
    phrase(0, "essential hypertension", "I10", split="train"),
    phrase(1, "Essential hypertension.", "I10", split="train"),
    phrase(2, "primary hypertension", "I10", split="train"),
    phrase(3, "heart disease", "I11.9", split="test"),
    phrase(4, "Heart disease", "I11.9", split="train"),
    phrase(5, "uncomplicated asthma", "J45.909", split="train"),
    phrase(6, "no such thing", "Z99.9", split="train"),
]


@pytest.fixture
def stage(tokenizer_folder: Path, shelf: Any) -> Prepare:
    made = Prepare(CONFIG, str(tokenizer_folder), type(shelf), {"claim:c": ["I10", "B20"]}, Splitter(0.0, 0.0))
    made = pickle.loads(pickle.dumps(made))
    made.open()
    return made


def all_tables(stage: Prepare, rows: list[dict[str, Any]]) -> dict[str, pa.Table]:
    out = stage.process(rows)
    assert set(out) == set(stage.schemas())
    return {name: pa.Table.from_pylist(out[name], schema=schema) for name, schema in stage.schemas().items()}


def tables(stage: Prepare, rows: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    made = all_tables(stage, rows)
    return made["drafts"], made["dropped"]


def test_rows_become_examples_and_blocks_and_nothing_is_uncounted(stage: Prepare, tmp_path: Path) -> None:
    drafts, dropped = tables(stage, ROWS)
    assert set(drafts.schema.names) > {*arrow_schema(Example).names, "source_digest", "question", "input_ids", "signature"}
    assert drafts.schema.field("answer").equals(arrow_schema(Example).field("answer"))
    prepared = finish(drafts, dropped, CONFIG)
    assert prepared.report["dropped"] == {
        "not_retrieved": {"train": 1},
        "exact_duplicate": {"train": 1},
        "exact_across_splits": {"train": 1},
    }
    assert [prepared.report["splits"][s]["examples"] for s in ("train", "validation", "test")] == [3, 0, 1]
    lost = sum(n for by_split in prepared.report["dropped"].values() for n in by_split.values())
    assert prepared.tables["examples"].num_rows + lost == len(ROWS)
    assert prepared.tables["examples"].schema.equals(arrow_schema(Example)) and prepared.tables["blocks"].schema.equals(
        arrow_schema(PackedBlock)
    )
    write(prepared, str(tmp_path))
    assert pq.read_table(tmp_path / "blocks" / "part-0.parquet").equals(prepared.tables["blocks"])
    assert pq.read_table(tmp_path / "examples" / "part-0.parquet").equals(prepared.tables["examples"])


def test_pairs_keep_what_retrieval_missed_and_preferences_offer_the_nearest_wrong_answer(stage: Prepare, tokenizer: Any) -> None:
    drafts, dropped = tables(stage, ROWS)
    made = finish(drafts, dropped, CONFIG)
    pairs, examples = made.tables["pairs"].to_pylist(), {row["example_id"]: row for row in made.tables["examples"].to_pylist()}
    assert {row["text"]: row["codes"] for row in pairs}.items() >= {"heart disease": ["I11.9"], "uncomplicated asthma": ["J45.909"]}.items()
    assert all(row["title"] not in row["negatives"] and row["negatives"] for row in pairs)
    preferences = made.tables["preferences"].to_pylist()
    assert len(preferences) == len(examples) == 4
    for row in preferences:
        right, wrong = (tokenizer.decode(row[name]) for name in ("chosen_ids", "rejected_ids"))
        assert right == examples[row["example_id"]]["answer"] + "<|eot|>" and wrong.endswith("<|eot|>")
        assert wrong == ("B<|eot|>" if right[0] == "A" else "A<|eot|>"), "the nearest wrong one"
    assert made.report["pairs_without_title"] == {"train": 1, "validation": 0, "test": 0}
    assert made.report["pairs"] == {"train": len([r for r in pairs if r["split"] == "train"]), "validation": 0, "test": 1}


def test_a_note_stands_for_all_the_codes_of_its_claim_and_each_text_comes_once(stage: Prepare) -> None:
    source = {
        "source_digest": "d",
        "source_format": "fhir",
        "_table": "documents",
        "patient_id": "p",
        "encounter_id": None,
        "claim_id": "c",
    }
    rows = [{**source, "source_row": n, "document_id": str(n), "text": "Hypertension: stable."} for n in (1, 2)]
    rows += [{**source, "source_row": 3, "document_id": "3", "claim_id": None, "text": "Nobody coded this."}]
    made = all_tables(stage, rows)
    notes = finish(made["drafts"], made["dropped"], CONFIG, notes=made["note_drafts"])
    assert [(row["text"], row["codes"], row["title"]) for row in notes.tables["notes"].to_pylist()] == [
        ("Hypertension: stable.", ["I10", "B20"], None)
    ]
    assert notes.report["notes"] == {"train": 1, "validation": 0, "test": 0}
    stage._config = CONFIG.model_copy(update={"notes": False})
    assert stage.process(rows)["note_drafts"] == [], "on request alone"
    assert notes.report["dropped"]["note_exact_duplicate"] == {"train": 1}


def test_the_answer_is_all_that_a_block_counts(stage: Prepare, tokenizer: Any) -> None:
    drafts, dropped = tables(stage, ROWS)
    prepared = finish(drafts, dropped, CONFIG)
    block = prepared.tables["blocks"].filter(pc.equal(prepared.tables["blocks"]["split"], "test")).to_pylist()[0]
    example = prepared.tables["examples"].filter(pc.equal(prepared.tables["examples"]["split"], "test")).to_pylist()[0]
    counted = [token for token in block["labels"] if token != -100]
    assert tokenizer.decode(counted) == example["answer"] + "<|eot|>"


def test_the_same_rows_again_are_one_example_each(stage: Prepare) -> None:
    drafts, _ = tables(stage, [ROWS[0], ROWS[2]])
    twice = finish(pa.concat_tables([drafts, drafts]), None, CONFIG)
    assert twice.tables["examples"].num_rows == 2 and twice.report["dropped"] == {"exact_duplicate": {"train": 2}}
    assert twice.tables["blocks"].equals(finish(drafts, None, CONFIG).tables["blocks"])


def test_an_example_that_no_block_holds_is_counted_and_not_cut(stage: Prepare) -> None:
    drafts, _ = tables(stage, ROWS[:1])
    prepared = finish(drafts, None, CONFIG.model_copy(update={"context_tokens": 20}))
    assert prepared.report["dropped"] == {"too_long": {"train": 1}}
    assert prepared.tables["examples"].num_rows == prepared.tables["blocks"].num_rows == 0


def test_notes_and_other_tables(stage: Prepare) -> None:
    source = {"source_digest": "d", "source_row": 9, "source_format": "fhir"}
    note = {**source, "_table": "documents", "document_id": "n", "patient_id": "p", "encounter_id": None, "claim_id": "c"}
    patient = {**source, "_table": "patients", "patient_id": "p"}
    drafts, dropped = tables(stage, [{**note, "text": "Hypertension: stable."}, patient])
    assert [(d["patient_id"], d["answer"], d["split"]) for d in drafts.to_pylist()] == [("p", "A", "train")]
    assert drafts["question"].to_pylist() == ["Hypertension\nHypertension: stable."]
    assert dropped["reason"].to_pylist() == ["not_mentioned"]
    with pytest.raises(RecordError, match="raw_record"):
        stage.process([{**note, "text": "x", "authors": []}])
    with pytest.raises(RecordError, match="missing_field"):
        stage.process([phrase(0, "", "I10")])


@pytest.mark.parametrize("table", sorted(CLEAN_TABLES))
def test_tables_with_phi_are_refused_and_clean_ones_taken(table: str) -> None:
    check_clean(arrow_schema(CLEAN_TABLES[table]), table, "x.parquet")
    with pytest.raises(InputError, match="deidentify"):
        check_clean(arrow_schema(TABLES[table]), table, "x.parquet")


def test_raw_columns_are_refused_even_without_their_marks() -> None:
    bare = pa.schema([pa.field(item.name, item.type) for item in arrow_schema(TABLES["documents"])])
    with pytest.raises(InputError, match="authors"):
        check_clean(bare, "documents", "x.parquet")


def test_a_folder_without_tokenizer_is_named(tmp_path: Path, shelf: Any) -> None:
    with pytest.raises(ModelError, match=r"model\.base"):
        Prepare(CONFIG, str(tmp_path), type(shelf)).open()
