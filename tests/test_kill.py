"""`code` killed with SIGKILL at three random moments: the same command ends with the output of an unkilled run, row by row."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nosology.distributed.stages import read_output

NOTES = Path(__file__).parents[1] / "examples" / "archive" / "aci_bench" / "notes.jsonl"
NUM_NOTES = 24
LONGEST_SECONDS = 300  # a hang is a failure, not a wait


def command(out: Path, notes: Path, *more: str) -> list[str]:
    run = [sys.executable, "-m", "nosology.cli", "code", "--in", str(notes), "--out", str(out / "run"), "--json"]
    return [*run, "--jsonl", str(out / "codes.jsonl"), "cluster.batch_rows=2", *more]


def commits(out: Path) -> int:
    return sum(1 for _ in (out / "run" / "manifests").rglob("*.json")) if (out / "run" / "manifests").is_dir() else 0


def rows(out: Path) -> list[dict[str, object]]:
    return read_output(str(out / "run"), "predictions").to_pylist()


def test_killed_three_times_the_output_is_that_of_an_unkilled_run(tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text("".join(NOTES.read_text().splitlines(keepends=True)[:NUM_NOTES]))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, notes), check=True, capture_output=True, timeout=LONGEST_SECONDS)

    seed = random.randrange(1 << 30)
    moments = sorted(random.Random(seed).sample(range(NUM_NOTES // 2 - 1), 3))
    for moment in moments:
        process = subprocess.Popen(command(killed, notes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        limit = time.monotonic() + LONGEST_SECONDS
        while commits(killed) < moment and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        still_running = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert still_running, f"seed {seed}: the run ended before {moment} commits were seen"
    done = subprocess.run(command(killed, notes), capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-500:]}"

    assert rows(killed) == rows(whole), f"seed {seed}"
    assert (killed / "codes.jsonl").read_text() == (whole / "codes.jsonl").read_text()
    lines = [json.loads(line) for line in (killed / "codes.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [json.loads(line)["id"] for line in notes.read_text().splitlines()]
    assert json.loads(done.stdout.splitlines()[-1])["records_ok"] == NUM_NOTES
    part_rows = sum(pq_rows(part) for part in (killed / "run" / "predictions").glob("*.parquet"))
    assert part_rows == NUM_NOTES, "parts of killed runs are gone, so that any Parquet reader sees each row once"

    other = subprocess.run(command(killed, notes, "coding.candidates=5"), capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert other.returncode == 2 and "coding.candidates" in other.stderr


def pq_rows(part: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(part).num_rows)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
