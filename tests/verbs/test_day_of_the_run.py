"""One day tells who is over 89: the same for every record of a run, resumed or not, and for its rules, its rewriting and its columns."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import pytest
from nosology import verbs
from nosology.config import Config, load
from nosology.deid import clock
from nosology.deid import proof as bundles
from nosology.deid.stage import Deidentify
from nosology.distributed import sink
from nosology.distributed.stages import read_output
from nosology.errors import FingerprintError
from nosology.records import RawDocument, RawPatient, to_dict

TESTS = Path(__file__).parents[1]
sys.path[:0] = [path for path in map(str, (TESTS / "faults",)) if path not in sys.path]

from drivers import without_ray  # noqa: E402

LAST, FIRST = datetime.date(2025, 12, 31), datetime.date(2026, 1, 1)  # of two years, between which the births of 1936 become 90
KEY = {"source_digest": "d" * 64, "source_row": 3, "source_format": "test"}
BIRTHS = ["DOB 3/4/1936", "Birth date 03/04/36", "born in March of 1936", "DOB: 1936", "Mr. Doe was born in 1936", "YOB 1936"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(BIRTHS)))
    return str(file)


def tree(folder: Path, *sets: str) -> Config:
    return load([], [f"deid.key_file={folder / 'key'}", "cluster.num_cpus=1", "cluster.batch_rows=2", *sets])


def deidentified(folder: Path, source: str, *sets: str, out: str = "clean") -> list[str]:
    with without_ray():
        verbs.deidentify(tree(folder, *sets), source, str(folder / out), None)
    return [row["text"] for row in read_output(str(folder / out), "documents").to_pylist()]


def today_is(patch: pytest.MonkeyPatch, day: datetime.date) -> None:
    patch.setattr(clock, "day_of", lambda config: config.as_of or day)


def test_a_run_that_resumes_on_another_day_cleans_as_it_began(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    today_is(monkeypatch, LAST)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sink.Ledger, "accept", killed)  # its worker has committed two notes by then
        deidentified(tmp_path, source)
    today_is(monkeypatch, FIRST)
    resumed = deidentified(tmp_path, source)
    assert sink.snapshot(str(tmp_path / "clean")).placed[0][0] == 1, "the first notes are those of the first driver"
    assert all("36" in text for text in resumed), resumed
    anew = deidentified(tmp_path, source, out="anew")
    assert not any("36" in text for text in anew), anew
    assert deidentified(tmp_path, source) == resumed
    with pytest.raises(FingerprintError, match=r"deid\.as_of"):
        deidentified(tmp_path, source, "deid.as_of=2026-01-01")


def test_the_day_is_a_setting_that_every_run_may_have(tmp_path: Path, source: str) -> None:
    assert all("36" in text for text in deidentified(tmp_path, source, "deid.as_of=2025-12-31", out="early"))
    assert not any("36" in text for text in deidentified(tmp_path, source, "deid.as_of=2026-01-01", out="late"))
    with without_ray():
        report = verbs.deidentify(tree(tmp_path, "deid.as_of=2026-01-01"), source, str(tmp_path / "late"), None)
    assert report["as_of"] == "2026-01-01"


def test_the_day_is_no_part_of_the_policy(tmp_path: Path) -> None:
    """Nor of the mark of a clean record, which a run of another day leaves as it is."""
    early, late = (tree(tmp_path, f"deid.as_of={day}").deid for day in (LAST, FIRST))
    assert bundles.policy(bundles.settings_of(early))["digest"] == bundles.policy(bundles.settings_of(late))["digest"]
    means = [bundles.detection(bundles.settings_of(one), "t", "r") for one in (early, late)]
    assert means[0] == means[1]
    first, second = Deidentify(early), Deidentify(late)
    row = {**to_dict(RawPatient(patient_id="p", birth_date=datetime.date(1936, 5, 5), **KEY)), "_table": "patients"}
    (clean,) = first.process([row])["patients"]
    assert second.process([{**clean, "_table": "patients"}])["patients"] == [clean] and clean["birth_date"] == datetime.date(1936, 1, 1)
    assert second.process([row])["patients"][0]["birth_date"] is None


@pytest.mark.parametrize("day", [LAST, FIRST])
@pytest.mark.parametrize("dated", [None, datetime.date(2015, 5, 5), datetime.date(2025, 5, 5)])
def test_rules_rewriting_and_columns_have_one_day(tmp_path: Path, day: datetime.date, dated: datetime.date | None) -> None:
    stage = Deidentify(tree(tmp_path, f"deid.as_of={day}").deid)
    notes = [RawDocument(document_id=str(n), text=text, date=dated, **KEY) for n, text in enumerate(BIRTHS)]
    found = [row["text"] for row in stage.process([{**to_dict(note), "_table": "documents"} for note in notes])["documents"]]
    patient = RawPatient(patient_id="p", birth_date=datetime.date(1936, 5, 5), **KEY)
    birth = stage.process([{**to_dict(patient), "_table": "patients"}])["patients"][0]["birth_date"]
    assert [("1936" in text) for text in found] == [birth is not None] * len(found) == [day == LAST] * len(found), found


def test_a_note_from_after_the_run_tells_by_its_own_date(tmp_path: Path) -> None:
    stage = Deidentify(tree(tmp_path, f"deid.as_of={LAST}").deid)
    notes = [RawDocument(document_id=str(n), text=text, date=FIRST, **KEY) for n, text in enumerate(BIRTHS)]
    found = [row["text"] for row in stage.process([{**to_dict(note), "_table": "documents"} for note in notes])["documents"]]
    assert not any("1936" in text for text in found), found
