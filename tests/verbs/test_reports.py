"""What the reports of verbs say beside the ledger's counts, and what makes two coding runs the same job."""

from __future__ import annotations

import contextlib
import errno
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nosology import engines, verbs
from nosology.config import load
from nosology.errors import ConfigError
from nosology.storage import StorageError
from nosology.verbs import coding, lineage
from nosology.verbs.lineage import Repeats


def test_texts_that_were_there_before_are_counted() -> None:
    ids = Repeats()
    for number in range(300_000):  # more than a share keeps in memory
        ids.add(f"note-{number % 200_000}")
    ids.add("lone surrogate \ud800")
    assert ids.count() == 100_000
    assert Repeats().count() == 0


class Late(io.BytesIO):
    """A file whose buffer meets the full disk when it is looked at."""

    def seek(self, *_: int) -> int:
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("file", [lambda **_: open("/dev/full", "w+b", buffering=0), lambda **_: Late()], ids=["at once", "late"])  # noqa: SIM115
def test_texts_are_counted_where_the_local_disk_is_full(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage.tempfile, "SpooledTemporaryFile", file)
    ids = Repeats()
    with pytest.raises(StorageError, match="disk is full"):
        ids.add("a")
        ids.count()


def test_deidentify_counts_notes_that_share_their_id(tmp_path: Path) -> None:
    notes = [{"id": id, "text": f"A cough, seen {n} times.", "ward": "Jane Doe", "sex": "F"} for n, id in enumerate(("a", "b", "a", "a"))]
    notes[3]["Jane Doe"] = 1
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    config = load([], [f"deid.key_file={tmp_path / 'key'}", "cluster.num_cpus=1"])
    report = verbs.deidentify(config, str(tmp_path / "in.jsonl"), str(tmp_path / "out"), str(tmp_path / "spans.jsonl"))
    assert (report["notes_deidentified"], report["duplicate_ids"]) == (4, 2)
    assert report["dropped_columns"] == {"ward": 4, "field 5": 1}  # a name that is none is told by its place
    assert [json.loads(line)["id"] for line in (tmp_path / "spans.jsonl").read_text().splitlines()] == ["a", "b", "a", "a"]


def test_ingest_tells_the_fields_that_no_list_has(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = [{"id": n, "text": "A cough.", "ward": "Jane Doe"} for n in range(3)]
    (tmp_path / "in" / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    patient = {"resourceType": "Patient", "id": "p", "nickname": "Jane Doe"}
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.ndjson").write_text(json.dumps({**patient, "id": name}) + "\n")
    report = verbs.ingest(load([], ["cluster.num_cpus=1"]), [str(tmp_path / "in")], str(tmp_path / "out"))
    assert report["unknown_fields"] == {"jsonl": {"ward": 3}, "fhir": {"Patient.nickname": 2}}
    again = verbs.ingest(load([], ["cluster.num_cpus=1"]), [str(tmp_path / "in")], str(tmp_path / "out"))  # from the ledger alone
    assert again["unknown_fields"] == report["unknown_fields"] and again["resumed_share"] == 1


def test_code_counts_notes_that_share_their_id(monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology.distributed import stages

    rows = [{"document_id": id, "codes": [], "discrepancies": [], "route": "review"} for id in ("a", "b", "a", None, None)]
    monkeypatch.setattr(stages, "output_parts", lambda *_: (None, iter([pa.Table.from_pylist(rows)])))
    found = coding._summarise("out")
    assert (found["notes_coded"], found["claims_checked"], found["duplicate_ids"]) == (3, 2, 1)


def test_a_coding_run_has_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology.distributed import serving, session, stages

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "a cough"}\n')
    marks: list[dict[str, str]] = []

    def run_stage(stage: Any, inputs: Any, out: str, cluster: Any, fields: dict[str, str], **_: Any) -> None:
        marks.append(fields)
        raise ConfigError("far enough")

    monkeypatch.setattr(stages, "run_stage", run_stage)
    for module, name in ((serving, "served"), (session, "session")):
        monkeypatch.setattr(module, name, lambda _: contextlib.nullcontext())
    artefact = f"model.artefact={tmp_path / 'model'}"
    for there, sets in ((False, []), (False, [artefact]), (False, [artefact, "serve.engine=laptop"]), (True, [artefact])):
        monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _, there=there: object() if there else None)
        monkeypatch.setattr(engines, "_fits_gpu", lambda _: True)
        with pytest.raises(ConfigError, match="far enough"):
            verbs.code(load([], sets), [str(tmp_path / "in.jsonl")], str(tmp_path / "out"), None)
    assert [found["engine"] for found in marks] == ["none", "laptop", "laptop", "vllm"]
    differing = {name for name in marks[2] if marks[2][name] != marks[3][name]}
    assert differing == {"engine"}
