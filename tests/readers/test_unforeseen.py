"""Faults of this package itself, which no content should bring about: a dead letter with a place in the code, and the job goes on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import reader_samples as samples
from nosology import readers
from nosology.config import IngestConfig, InputConfig
from nosology.distributed import source, work
from nosology.distributed.coverage import Interval, PlannedFile, Tally
from nosology.distributed.isolation import Guard
from nosology.errors import InputError
from nosology.readers import hl7v2, rif, synpuf, synthea, tabular, values, x12_claims, x12_remittances
from nosology.readers.fhir import stream as fhir_stream
from nosology.records import DeadLetter

SECRET = "Zyxomma Quillfeather"
THREE = b"".join(b'{"id":"%d","text":"seen","age":%d}\n' % (n, n) for n in range(3))


def second(call: Callable[..., Any], error: Exception | None = None) -> Callable[..., Any]:
    """The function, whose second call fails."""
    calls: list[None] = []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise error or KeyError(SECRET)
        return call(*args, **options)

    return counted


def read(data: bytes) -> tuple[list[Any], list[DeadLetter], readers.Reading]:
    source = readers.SourceFile("/x/file", "file", "0" * 64, len(data))
    reading = readers.read_file(source, io.BytesIO(data))
    items = list(reading)
    letters = [item for item in items if isinstance(item, DeadLetter)]
    rows = [item for item in items if not isinstance(item, (DeadLetter, readers.Skipped))]
    numbers = [item.source_row for item in rows + letters]
    assert len(set(numbers)) == len(numbers) and reading.counts.dead == len(letters)
    assert sum(reading.formats.values()) == reading.counts.records
    assert all(letter.reason == "internal_error" and (letter.rule or "").startswith("KeyError at ") for letter in letters)
    assert SECRET not in repr(letters)
    return rows, letters, reading


READERS: dict[str, tuple[Any, str, bytes]] = {
    "jsonl": (values, "number", THREE),
    "csv": (values, "number", b"id;text;age\n1;seen;1\n2;seen;2\n3;seen;3\n"),
    "x12": (x12_claims.Claims, "build", samples.x12(samples.HEAD + samples.CLAIM * 3)),
    "x12 835": (x12_remittances.Remittances, "build", samples.x12(samples.REMITTANCE * 3, kind="835")),
    "hl7v2": (hl7v2, "_patient", samples.ORU * 3),
    "rif": (rif, "_claim", samples.carrier("-1|1|30-May-2015", "-2|1|30-May-2015", "-3|1|30-May-2015")),
    "rif beneficiaries": (rif, "_patient", samples.BENEFICIARY + samples.BENEFICIARY.splitlines(keepends=True)[-1] * 2),
    "synpuf": (synpuf, "_claim", samples.synpuf(samples.SYNPUF_INPATIENT_HEADER, *[{**samples.SYNPUF_STAY, "CLM_ID": str(n)} for n in range(3)])),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_one_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, attribute, data = READERS[name]
    whole, _, before = read(data)
    monkeypatch.setattr(holder, attribute, second(getattr(holder, attribute)))
    rows, letters, reading = read(data)
    assert len(letters) == 1 and reading.counts.records == before.counts.records
    assert 0 < len(rows) < len(whole) and (rows[0], rows[-1].source_format) == (whole[0], whole[-1].source_format)
    assert "rest of the file" not in (letters[0].rule or "")


@pytest.mark.parametrize(("builds", "kind", "data"), [
    (fhir_stream._BUILD, "Patient", samples.lines(samples.PATIENT) * 3),
    (synthea._BUILD, "patients", samples.PATIENTS_CSV + samples.PATIENTS_CSV.splitlines(keepends=True)[-1] * 2),
], ids=["fhir", "synthea"])  # fmt: skip
def test_one_record_of_a_kind(builds: dict[str, Any], kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, before = read(data)
    monkeypatch.setitem(builds, kind, second(builds[kind]))
    rows, letters, reading = read(data)
    assert len(letters) == 1 and len(rows) == reading.counts.records - 1 == before.counts.records - 1


def test_a_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.Reading, "_check_note", second(lambda self, text: None))
    rows, letters, _ = read(THREE)
    assert [row.document_id for row in rows] == ["0", "2"] and [letter.source_row for letter in letters] == [1]


def test_a_reader_that_cannot_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(tabular.Lines):
        def __iter__(self) -> Iterator[bytes | None]:
            yield next(self)
            raise KeyError(SECRET)

    monkeypatch.setattr(tabular, "Lines", Broken)
    rows, letters, reading = read(THREE)
    assert [row.document_id for row in rows] == ["0"] and reading.counts.records == 2
    assert [letter.rule.endswith(": the rest of the file") for letter in letters if letter.rule] == [True]


def test_a_file_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError(SECRET)

    (tmp_path / "a.jsonl").write_bytes(THREE)
    monkeypatch.setattr(readers, "recognise", broken)
    _, letters, reading = read(THREE)
    assert len(letters) == reading.counts.records == 1
    with pytest.raises(InputError, match=r"a\.jsonl: internal error: KeyError at .*report this line") as caught:
        source.plan_archive([str(tmp_path)], IngestConfig(), InputConfig())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("error", [OSError(5, "x"), MemoryError()])
def test_what_says_nothing_of_a_record(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "number", second(values.number, error))
    with pytest.raises(type(error)):
        read(THREE)


@pytest.mark.parametrize("bad", [{1}, {0, 1, 2}, set()])
def test_a_row_that_no_table_can_hold(bad: set[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows in a table come before and after it."""

    def converted(record: Any, rows: Any) -> pa.Table:
        if any(row.source_row in bad for row in rows):
            raise pa.ArrowInvalid(SECRET)
        return real(record, rows)

    real = work.digested_table
    monkeypatch.setattr(work, "digested_table", converted)
    (path := tmp_path / "a.jsonl").write_bytes(THREE)
    digest = hashlib.sha256(THREE).hexdigest()
    units = work.IngestWork(IngestConfig(), InputConfig(), [PlannedFile(digest, str(path), digest, 1, "archive", "", "jsonl", len(THREE))])
    units.open()
    tally, dead = Tally(), list[DeadLetter]()
    found = [
        row for _, table in units.produce(Interval(0, 0, 1), tally, dead, Guard(lambda: None)) for row in table["source_row"].to_pylist()
    ]
    assert set(found) == {0, 1, 2} - bad and {letter.source_row for letter in dead} == bad
    assert tally.records == 3 and {letter.reason for letter in dead} <= {"internal_error"} and SECRET not in repr(dead)


def test_a_day_that_python_has_not() -> None:
    """Parquet counts days further than a date goes; the rows beside are read."""
    import pyarrow.parquet as pq

    days = pa.array([19_000, 2**31 - 1, 19_001], pa.int32()).cast(pa.date32())
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["0", "1", "2"], "text": ["seen"] * 3, "date_of_service": days}), sink)
    reading = readers.read_file(readers.SourceFile("/x/f", "f", "0" * 64, 1), io.BytesIO(sink.getvalue()))
    found = [getattr(item, "document_id", None) or getattr(item, "reason", None) for item in reading]
    assert found == ["0", "wrong_type", "2"]
