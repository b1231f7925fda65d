"""Properties: segments and tables come back as they were written; no bytes whatever raise anything but what is announced."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from nosology.errors import InputError, Reason
from nosology.readers import tabular
from nosology.readers.segments import segments

QUIET = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
MARKS = "*|+^:>~'!;\x1c\x1d\x1e\n\r"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEGMENT_ID = st.from_regex(r"[A-Z][A-Z0-9]{1,2}", fullmatch=True).filter(lambda name: name != "ISA")


def opened(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]


@given(
    st.permutations(MARKS),
    st.lists(st.tuples(SEGMENT_ID, st.lists(TEXT, max_size=5)), max_size=8),
    st.sampled_from(["", "\n", "\r\n", " \n"]),
)
@QUIET
def test_segments_round_trip(marks: list[str], body: list[tuple[str, list[str]]], newline: str) -> None:
    element, component, terminator = marks[:3]
    assume("^" not in (element, terminator))  # which the sample's header has for its repetition separator
    clean = str.maketrans("", "", element + terminator)
    written = [[name, *(part.translate(clean) for part in parts)] for name, parts in body]
    head = samples.isa(element, component, terminator)
    newline = "" if element in newline or terminator in newline else newline
    text = head + newline + "".join(element.join(parts) + terminator + newline for parts in written)
    first, *found = segments(opened(text.encode()))
    assert not isinstance(first, Reason) and first[16] == component
    assert found == written


@given(st.binary(max_size=300))
@QUIET
def test_segments_of_any_bytes(data: bytes) -> None:
    for start in (b"", samples.isa().encode()):
        found = list(segments(opened(start + data)))
        assert all(isinstance(one, Reason) or all(isinstance(part, str) for part in one) for one in found)


SAMPLES = {
    "x12": samples.x12(), "remittance": samples.x12(samples.REMITTANCE, kind="835"), "hl7v2": samples.ORU,
    "fhir": samples.lines(samples.PATIENT, samples.ENCOUNTER, samples.CONDITION, samples.document(), samples.FHIR_CLAIM, samples.BENEFIT),
    "bundle": json.dumps(samples.bundle(samples.PATIENT, samples.document()), indent=1).encode(),
    "rif": samples.carrier("-1|1|30-May-2015"),
    "beneficiary": samples.BENEFICIARY, "pde": samples.PDE, "synthea": samples.PATIENTS_CSV, "jsonl": samples.JSONL, "csv": samples.CSV,
    "parquet": samples.parquet([{"id": "1", "text": "x"}]), "nothing": b"", "gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
@QUIET
def test_any_damage_is_dead_letters(name: str, data: st.DataObject, read: Any) -> None:
    """Bytes cut out, put in or changed anywhere; `read` checks keys, counts and reasons."""
    held = SAMPLES[name]
    at = data.draw(st.integers(0, len(held)))
    gone = data.draw(st.integers(0, 40))
    found = read(held[:at] + data.draw(st.binary(max_size=40)) + held[at + gone :])
    kept = [item for item in found.items if type(item).__name__.startswith("Raw")]
    assert found.counts.records - found.counts.dead <= len(kept) and len(kept) + found.counts.dead + found.counts.skipped == len(
        found.items
    )


CELL = st.one_of(TEXT, st.integers(-(2**53), 2**53), st.none())


@given(rows=st.lists(st.dictionaries(st.sampled_from(["id", "text", "n"]), CELL, min_size=1), min_size=1, max_size=20), data=st.data())
@QUIET
def test_jsonl_round_trip(rows: list[dict[str, Any]], data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=data.draw(st.booleans())).encode() + b"\n" for row in rows))
    check(path, rows, data)


@given(rows=st.lists(st.fixed_dictionaries({"id": TEXT, "text": TEXT, "n": TEXT}), min_size=1, max_size=20), data=st.data())
@QUIET
def test_csv_round_trip(rows: list[dict[str, str]], data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text", "n"], delimiter=data.draw(st.sampled_from(",;\t|")))
        writer.writeheader()
        writer.writerows(rows)
    check(path, rows, data)


@given(rows=st.lists(st.fixed_dictionaries({"id": TEXT, "n": st.integers(-(2**60), 2**60)}), min_size=1, max_size=20), data=st.data())
@QUIET
def test_parquet_round_trip(rows: list[dict[str, Any]], data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(samples.parquet(rows, row_group_size=data.draw(st.integers(1, 7))))
    check(path, rows, data)


def check(path: Path, rows: list[dict[str, Any]], data: st.DataObject) -> None:
    assert tabular.count_rows(str(path)) == len(rows)
    start, stop = sorted((data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, len(rows)))))
    assert list(tabular.read_rows(str(path), start, stop)) == list(enumerate(rows))[start:stop]


@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"id,text\n", b'{"id": 1}\n', b"PAR1", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"]),
)
@QUIET
def test_table_of_any_bytes(content: bytes, head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(head + content)
    try:
        found = list(tabular.read_rows(str(path), 0, 1000))
        assert [number for number, _ in found] == list(range(tabular.count_rows(str(path))))
    except InputError:
        with pytest.raises(InputError):
            tabular.count_rows(str(path))
