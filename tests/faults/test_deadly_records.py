"""A record that ends or hangs the process that makes it costs an ingest that record and no other, whatever its format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import drivers
import pytest
from nosology import storage
from nosology.config import IngestConfig, InputConfig
from nosology.distributed import sink, source, stages, upkeep
from nosology.distributed.coverage import Interval
from nosology.distributed.isolation import Child
from nosology.distributed.stages import read_output
from nosology.distributed.work import IngestWork, run_carefully
from nosology.errors import NosologyError
from nosology.records import ingest_schemas
from oracle import Counts
from ray import cloudpickle

STALL_SECONDS = 4.0
SCHEMAS = ingest_schemas(False, False)
WORDS = ["one", "KILLS", "three", "HANGS", "KILLS", "six"]


def jsonl(words: list[str]) -> str:
    return "".join(json.dumps({"id": f"n{at}", "text": f"a note: {word}"}) + "\n" for at, word in enumerate(words))


def csv(words: list[str]) -> str:
    return "id,text\n" + "".join(f"n{at},a note: {word}\n" for at, word in enumerate(words))


def fhir(words: list[str]) -> str:
    return "".join(
        json.dumps({"resourceType": "Patient", "id": f"p{at}", "name": [{"family": word}]}) + "\n" for at, word in enumerate(words)
    )


def bundle(words: list[str]) -> str:
    entries = [{"resource": {"resourceType": "Patient", "id": f"p{at}", "name": [{"family": word}]}} for at, word in enumerate(words)]
    return json.dumps({"resourceType": "Bundle", "entry": entries}, indent=1)


def hl7(words: list[str]) -> str:
    return "".join(
        f"MSH|^~\\&|A|B|C|D|20240301||ADT^A01|{at}|P|2.5\rPID|1||{at}||{word}^Ada||19800229|F\r" for at, word in enumerate(words)
    )


def x12(words: list[str]) -> str:
    claims = "".join(
        f"CLM*{at}-{word}*100***11:B:1*Y*A*Y*Y~HI*ABK:I10~LX*1~SV1*HC:99213*100*UN*1***1~DTP*472*D8*20240301~"
        for at, word in enumerate(words)
    )
    return (
        "ISA*00*          *00*          *ZZ*A              *ZZ*B              *240301*1200*^*00501*000000001*0*P*:~"
        "GS*HC*A*B*20240301*1200*1*X*005010X222A1~ST*837*0001*005010X222A1~BHT*0019*00*1*20240301*1200*CH~HL*1**20*1~NM1*85*2*C*****XX*1~"
        f"HL*2*1*22*0~SBR*P*18*******CI~NM1*IL*1*D*E****MI*1~{claims}SE*9*0001~GE*1*1~IEA*1*000000001~"
    )


def synpuf(words: list[str]) -> str:
    return "DESYNPUF_ID,CLM_ID,CLM_FROM_DT,CLM_THRU_DT,ICD9_DGNS_CD_1\n" + "".join(
        f"{word},{at},20090101,20090102,4019\n" for at, word in enumerate(words)
    )


FORMS = {"a.jsonl": jsonl, "b.csv": csv, "c.ndjson": fhir, "d.json": bundle, "e.hl7": hl7, "f.x12": x12, "g.csv": synpuf}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = Path(storage.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{drivers.HERE / 'inject'}:{package}")
    monkeypatch.setenv("NOSOLOGY_DEADLY", str(tmp_path))
    (tmp_path / "in").mkdir()
    return tmp_path


def opened(folder: Path) -> tuple[sink.Ledger, IngestWork]:
    files = source.plan_archive([str(folder / "in")], IngestConfig(), InputConfig()).files
    ledger = sink.open_ledger(str(folder / "out"), "ingest", {}, files, 1, SCHEMAS)
    return ledger, IngestWork(IngestConfig(), InputConfig(), ledger.job.files)


def ingest(folder: Path, stall_seconds: float = STALL_SECONDS) -> sink.Snapshot:
    """What a worker does with files in which another was lost, in this process; the children are real."""
    ledger, units = opened(folder)
    with Child(cloudpickle.dumps(units), stall_seconds) as child:
        for interval in ledger.pending():
            commit = run_carefully(units, child, ledger.writer(SCHEMAS), interval)
            assert commit is not None and ledger.accept(commit)
    ledger.finish()
    assert upkeep.verify(ledger.out).faults == []
    return sink.snapshot(ledger.out)


def rows(out: str) -> Iterator[tuple[int, str]]:
    """Number of each record, with the reason where it is dead."""
    for table in sink.snapshot(out).job.schemas:
        yield from ((number, "") for number in read_output(out, table)["source_row"].to_pylist())
    dead = read_output(out, sink.DEAD)
    yield from zip(dead["source_row"].to_pylist(), dead["reason"].to_pylist(), strict=True)


@pytest.mark.parametrize("name", FORMS)
def test_no_other_record_is_lost(name: str, folder: Path, counts: Counts) -> None:
    (folder / "in" / name).write_text(FORMS[name](WORDS))
    seen = ingest(folder)
    reasons = {1: "process_lost", 3: "timed_out", 4: "process_lost"}
    assert sorted(rows(str(folder / "out"))) == [(number, reasons.get(number, "")) for number in range(len(WORDS))]
    assert (seen.tally.records, seen.tally.ok) == (6, 3)
    counts.faults += 3


def test_in_members_of_an_archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "in" / "all.zip", "w") as archive:
        archive.writestr("a.jsonl", jsonl(["one", "KILLS"]))
        archive.writestr("b.x12", x12(["one", "two", "KILLS"]))
    assert ingest(folder).tally.dead == {"process_lost": 2}
    assert sorted(rows(str(folder / "out"))) == [(0, ""), (1, "process_lost"), (2, ""), (3, ""), (4, "process_lost")]


def test_what_killed_it_once_kills_no_record(folder: Path) -> None:
    (folder / "in" / "a.jsonl").write_text(jsonl(["one", "KILLS-ONCE", "three"]))
    assert ingest(folder).tally.dead == {}


def test_a_file_that_is_deadly_throughout_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nosology.distributed.isolation._MOST_DEADLY", 2)
    (folder / "in" / "a.jsonl").write_text(jsonl(["one", "KILLS", "KILLS", "KILLS", "five"]))
    (folder / "in" / "b.jsonl").write_text(jsonl(["one", "two"]))
    seen = ingest(folder)
    assert (seen.tally.records, seen.tally.ok, dict(seen.tally.dead)) == (3, 2, {"process_lost": 1})


def test_over_ray(folder: Path, short: Path) -> None:
    (folder / "in" / "a.jsonl").write_text(jsonl(["one", "KILLS", "three"]))
    (folder / "in" / "b.jsonl").write_text(jsonl(["five"]))
    command = [sys.executable, "-m", "nosology.cli", "ingest", "--in", str(folder / "in"), "--out", str(folder / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAY_TMPDIR": str(short)}, timeout=240)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, report["records_in"], report["rows"]["documents"], report["dead_by_reason"]) == (
        0,
        4,
        3,
        {"process_lost": 1},
    ), done.stderr[-2000:]
    assert stages.job_status(str(folder / "out"))["finished"]


def test_a_child_that_cannot_begin_blames_no_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "in" / "a.jsonl").write_text(jsonl(["one", "two"]))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NosologyError, match="could not begin.*resumes"):
        ingest(folder)
    assert stages.job_status(str(folder / "out"))["done"] == 0


def test_a_child_that_something_killed_between_two_files(folder: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (folder / "in" / name).write_text(jsonl(["one", name]))
    ledger, units = opened(folder)
    with Child(cloudpickle.dumps(units), STALL_SECONDS) as child:
        for interval in ledger.pending():
            commit = run_carefully(units, child, ledger.writer(SCHEMAS), interval)
            assert commit is not None and commit.tally.ok == 2 and child._process is not None
            child._process.kill()
            child._process.wait()


def test_a_child_that_waits_for_its_parent_does_not_hang(folder: Path) -> None:
    """The storage can take long to take a part."""
    (folder / "in" / "a.jsonl").write_text(jsonl(["x" * 500] * 2000))
    files = source.plan_archive([str(folder / "in")], IngestConfig(), InputConfig()).files
    units = IngestWork(IngestConfig(), InputConfig(), files)
    with Child(cloudpickle.dumps(units), STALL_SECONDS) as child:
        sizes = []
        for first, second in child.produce(Interval(0, 0, 1), {}):
            time.sleep(0.0 if sizes else STALL_SECONDS + 1)
            sizes.append(second.num_rows if isinstance(first, str) else 0)
    assert sizes == [500, 500, 500, 500, 0]
