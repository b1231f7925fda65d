"""Tables of a user's own: rows by interval, tables of ours, bad rows."""

from __future__ import annotations

import datetime
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from nosology import records
from nosology.errors import InputError, Reason
from nosology.readers import tabular

ROWS = [{"id": str(n), "text": f"note, {n}\n“é”"} for n in range(25)]


def files(folder: Path) -> dict[str, Path]:
    import csv

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "text"])
    writer.writeheader()
    writer.writerows(ROWS)
    contents = {
        "rows.jsonl": samples.lines(*ROWS),
        "rows.jsonl.gz": gzip.compress(samples.lines(*ROWS)),
        "rows.csv": text.getvalue().encode(),
        "rows.csv.gz": gzip.compress(text.getvalue().encode()),
        "rows.parquet": samples.parquet(ROWS, row_group_size=10),
        "rows.parquet.gz": gzip.compress(samples.parquet(ROWS, row_group_size=10)),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize(("start", "stop"), [(0, 25), (0, 0), (3, 12), (9, 11), (24, 99), (25, 30)])
def test_rows_by_interval(tmp_path: Path, start: int, stop: int) -> None:
    for name, path in files(tmp_path).items():
        assert tabular.count_rows(str(path)) == 25, name
        assert list(tabular.read_rows(str(path), start, stop)) == list(enumerate(ROWS))[start:stop], name


def test_bad_lines_keep_their_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n\n{"id": \n[1]\n{"id": "\xff"}\n{"id": "\\ud800"}\n{"id": 2}\n')
    found = [(number, row.code if isinstance(row, Reason) else row) for number, row in tabular.read_rows(str(path), 0, 99)]
    expected = [{"id": 1}, "bad_json", "wrong_type", "invalid_utf8", "bad_json", {"id": 2}]
    assert found == list(enumerate(expected)) and tabular.count_rows(str(path)) == 6
    assert list(tabular.read_rows(str(path), 5, 6)) == [(5, {"id": 2})]


def test_bad_csv_rows_keep_their_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"id,text\n1,a\n2\n3,\xff\n\n4,b\n")
    found = [(number, row.code if isinstance(row, Reason) else row["id"]) for number, row in tabular.read_rows(str(path), 0, 99)]
    assert found == [(0, "1"), (1, "column_count"), (2, "invalid_utf8"), (3, "4")] and tabular.count_rows(str(path)) == 4


def test_the_rest_of_a_cut_file_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    packed = gzip.compress(samples.lines(*ROWS))
    path.write_bytes(packed[:-9])
    found = list(tabular.read_rows(str(path), 0, 99))
    assert len(found) == tabular.count_rows(str(path)) and found[-1][1] == Reason("truncated_file", None, "a compressed file that is whole")
    assert [row for _, row in found[:-1]] == ROWS[: len(found) - 1]


def test_parquet_with_a_string_that_is_no_utf8(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    binary = pa.array([b"a", b"\xff", b"c"])
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, binary.buffers())}), path)
    found = [row if isinstance(row, dict) else row.code for _, row in tabular.read_rows(str(path), 0, 3)]
    assert found == [{"text": "a"}, "invalid_utf8", {"text": "c"}]


def test_damaged_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = files(tmp_path)["rows.parquet"]
    import pyarrow.parquet as pq

    group = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    begin = min(offset for offset in (group.dictionary_page_offset, group.data_page_offset) if offset)
    data[begin : begin + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    path.write_bytes(bytes(data))
    found = [row if isinstance(row, dict) else row.code for _, row in tabular.read_rows(str(path), 0, 25)]
    assert found == [*ROWS[:10], *["unreadable_rows"] * 10, *ROWS[20:]]


def test_rows_that_only_the_footer_counts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged page can end early without an error; then Arrow gives fewer rows than the footer counts."""
    import pyarrow.parquet as pq

    path = files(tmp_path)["rows.parquet"]
    whole = pq.ParquetFile.iter_batches

    def fewer(self: Any, *args: Any, row_groups: list[int], **options: Any) -> Any:
        for batch in whole(self, *args, row_groups=row_groups, **options):
            yield batch.slice(0, 4) if row_groups == [1] else batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fewer)
    found = [row if isinstance(row, dict) else row.code for _, row in tabular.read_rows(str(path), 0, 25)]
    assert found == [*ROWS[:14], *["unreadable_rows"] * 6, *ROWS[20:]]


@pytest.mark.parametrize("data", [b"\x1f\x8bxx", b"PAR1xxxxxxxxxxxxPAR1"])
def test_unreadable(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(InputError):
        tabular.count_rows(str(path))
    with pytest.raises(InputError):
        list(tabular.read_rows(str(path), 0, 1))


# --------------------------------------------------------------------------------------------------------------- ingest


def test_row_as_document(read: Any) -> None:
    note = read(samples.JSONL).one("RawDocument")
    assert (note.document_id, note.text, note.sex, note.age, note.date) == (
        "7",
        samples.NOTE_TEXT,
        "female",
        44.0,
        datetime.date(2024, 2, 29),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": 1}, ("missing_field", "text")),
        ({"text": "x"}, ("missing_field", "id")),
        ({"id": 1, "text": None}, ("empty_note", "text")),
        ({"id": 1, "text": 5}, ("wrong_type", "text")),
        ({"id": [1], "text": "x"}, ("wrong_type", "id")),
        ({"id": 1, "text": "x", "age": "old"}, ("bad_number", "age")),
        ({"id": 1, "text": "x", "date_of_service": "2024-02-30"}, ("impossible_date", "date_of_service")),
    ],
)
def test_bad_rows(read: Any, row: dict[str, Any], reason: tuple[str, str]) -> None:
    found = read(samples.lines(row, {"id": 2, "text": "y"}))
    assert (found.reasons, found.one("RawDocument").document_id) == ([reason], "2")


def stored(row: Any) -> dict[str, Any]:
    return {key: value for key, value in records.to_dict(row).items() if not key.startswith("source_")}


@pytest.mark.parametrize("name", ["RawClaim", "RawDocument", "RawPatient", "RawEncounter", "RawCondition", "RawRemittance"])
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_our_own_tables_come_back_as_they_were(read: Any, name: str, form: str) -> None:
    made = [
        *read(samples.x12()).items, *read(samples.ORU).items, *read(samples.lines(samples.ENCOUNTER, samples.BENEFIT)).items,
    ]  # fmt: skip
    rows = [row for row in made if type(row).__name__ == name]
    assert rows
    if form == "parquet":
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(records.to_table(type(rows[0]), rows), out)
        data = out.getvalue()
    else:
        data = "".join(json.dumps(records.to_dict(row), default=str) + "\n" for row in rows).encode()
    found = read(data)
    assert found.format == form and found.counts.dead == 0
    assert [stored(row) for row in found.items] == [stored(row) for row in rows]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("claim_id", 7), ("claim_id", ["k1"]), ("claim_id", {"id": "k1"}), ("payer", 7), ("payer", True), ("form", 1.5), ("authorizations", "A1"),
        ("authorizations", {"a": 1}), ("authorizations", [1]), ("lines", "x"), ("lines", ["x"]), ("lines", [[]]), ("diagnoses", [7]),
    ],
)  # fmt: skip
def test_a_value_of_another_type_in_a_table_of_ours(read: Any, field: str, value: Any) -> None:
    """It costs its row, and is told by the field's name; it is never turned into a value that the source does not have."""
    rows = [json.loads(json.dumps(records.to_dict(row), default=str)) for row in read(samples.x12()).of("RawClaim")]
    assert field in rows[0]
    found = read(samples.lines({**rows[0], field: value}, rows[0]))
    assert [(letter.reason, letter.field, letter.rule) for letter in found.of("DeadLetter")] == [
        ("wrong_type", field, "the type that the table's schema names")
    ]
    assert found.counts.records == 2 and len(found.of("RawClaim")) == 1


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_columns_by_configuration(read: Any, form: str) -> None:
    row = {
        "NOTE_ID": "n1", "note_body": "Seen.", "MRN": "p1", "CSN": "e1", "CLM": "c1", "TYPE": "Progress", "SEEN": "2024-02-29", "GENDER": "F",
        "YEARS": "44",
    }  # fmt: skip
    columns = {
        "id_column": "NOTE_ID", "text_column": "note_body", "patient_id_column": "MRN", "encounter_id_column": "CSN", "claim_id_column": "CLM",
        "kind_column": "TYPE", "date_column": "SEEN", "sex_column": "GENDER", "age_column": "YEARS",
    }  # fmt: skip
    data = {
        "parquet": samples.parquet([row]), "jsonl": samples.lines(row),
        "csv": (",".join(row) + "\n" + ",".join(row.values()) + "\n").encode(),
    }[form]  # fmt: skip
    note = read(data, **columns).one("RawDocument")
    assert (note.document_id, note.text, note.patient_id, note.encounter_id, note.claim_id, note.kind) == (
        "n1",
        "Seen.",
        "p1",
        "e1",
        "c1",
        "Progress",
    )
    assert (note.date, note.sex, note.age) == (datetime.date(2024, 2, 29), "female", 44.0)
    bad = read(samples.lines({**row, "YEARS": "old"}), **columns)
    assert bad.reasons == [("bad_number", "YEARS")]


def test_jsonl_whose_first_rows_all_lack_a_column_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "note": "x"}\n' * 3)
    with pytest.raises(InputError, match="field text: .*lacks a column.*--text-column.*go through ingest first"):
        tabular.describe(str(file), ["text", "id"])
    file.write_text('{"id": "a"}\n{"id": "b", "text": "x"}\n')  # one row that lacks it is that row's fault
    assert tabular.describe(str(file), ["text", "id"])[0] == "jsonl"


def repeated(form: str, *names: str) -> bytes:
    """A table of one row whose columns have these names."""
    if form == "csv":
        return (",".join(names) + "\n" + ",".join(str(n) for n in range(len(names))) + "\n").encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([str(n)]) for n in range(len(names))], names=list(names)), out)
    return out.getvalue()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_that_is_read_stands_once(form: str, read: Any, probe: Any, tmp_path: Path) -> None:
    said = "field text: the column stands twice in the header: rename or drop one"
    data = repeated(form, "id", "text", "text")
    with pytest.raises(InputError, match=said):
        probe(data, f"rows.{form}")
    found = read(data, f"rows.{form}")
    assert (found.reasons, len(found.items)) == ([("unreadable_file", "text")], 1)
    path = tmp_path / f"rows.{form}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        tabular.describe(str(path), ["text", "id"])
    by_name = {"text_column": "body", "kind_column": "class"}
    with pytest.raises(InputError, match="field class: .*twice"):
        probe(repeated(form, "id", "body", "class", "class"), f"rows.{form}", **by_name)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_that_is_not_read_may_stand_twice(form: str, read: Any, probe: Any, tmp_path: Path) -> None:
    data = repeated(form, "id", "text", "more", "more")
    assert probe(data, f"rows.{form}") == form and read(data, f"rows.{form}").one("RawDocument").text == "1"
    path = tmp_path / f"rows.{form}"
    path.write_bytes(data)
    assert tabular.describe(str(path), ["text", "id"]) == (form, None)


def test_a_column_of_our_own_tables_stands_once(read: Any, probe: Any) -> None:
    row = records.to_dict(read(samples.ORU).of("RawCondition")[0])
    with pytest.raises(InputError, match="field onset_date: .*twice"):
        probe(repeated("csv", *row, "onset_date"), "conditions.csv")


def test_the_delimiter_is_told_although_a_name_repeats(read: Any, probe: Any) -> None:
    with pytest.raises(InputError, match="field text: .*twice"):
        probe(b"id;text;text\n1;a;b\n", "rows.csv")
