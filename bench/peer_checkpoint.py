"""Rows lost and doubled when a driver is killed: Ray Data's own checkpoints, and this package's ledger.

    python bench/peer_checkpoint.py --json

The same job for each: `--rows` rows with an id, in files of 50, each row a short sleep. The driver is killed with SIGKILL when a third of
the rows was worked on, run again, killed again when another third was, and run until it ends; the moments are told by a file to which
every row adds a byte, so they are the same for all. Then the ids in the output are counted against those of the input.

Ray Data reads the same ids in tasks of 50 (`ray.data.range`) and runs with `CheckpointConfig(id_column="id")` and its Parquet, Delta and
Iceberg sinks, Iceberg with a catalog in SQLite; each driver starts a Ray of its own, which the kernel ends with it. `again` counts rows that were worked on more than once, `exit` is the
status of the last run, `says` the first line of an error or of Ray Data's warning. Exits 1 when a row of ours is lost or doubled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import pyarrow as pa
import pyarrow.parquet as pq

_PER_FILE = 50
_CPUS = 4  # of a job that sleeps
_WORKERS = 2
_SCHEMA = pa.schema([("id", pa.int64()), ("twice", pa.int64())])
SINKS = ("ours", "parquet", "delta", "iceberg")


def _worked(marks: str, ids: Sequence[int], seconds: float) -> list[int]:
    """The work itself: a sleep and a mark for each row."""
    made = []
    for number in ids:
        time.sleep(seconds)
        with open(marks, "ab", buffering=0) as file:
            file.write(b".")
        made.append(2 * int(number))
    return made


class Sleep:
    """The job as a stage of this package."""

    verb = "sleep"

    def __init__(self, marks: str, seconds: float) -> None:
        self._marks, self._seconds = marks, seconds

    def schemas(self) -> dict[str, pa.Schema]:
        return {"rows": _SCHEMA}

    def open(self) -> None:
        pass

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        ids = [row["id"] for row in rows]
        return {"rows": [{"id": i, "twice": t} for i, t in zip(ids, _worked(self._marks, ids, self._seconds), strict=True)]}


def _catalog(work: Path) -> dict[str, str]:
    return {"name": "bench", "type": "sql", "uri": f"sqlite:///{work}/catalog.db", "warehouse": f"file://{work}/warehouse"}


def _run_ours(work: Path, seconds: float) -> None:
    from nosology.config import ClusterConfig
    from nosology.distributed import stages

    cluster = ClusterConfig(num_cpus=_CPUS, batch_rows=_PER_FILE)
    stages.run_stage(
        Sleep(str(work / "marks"), seconds), [str(work / "input")], str(work / "out"), cluster, {"bench": "peer"}, lambda _: None,
        workers=_WORKERS,
    )  # fmt: skip


def _run_peer(sink: str, work: Path, seconds: float) -> None:
    import ray
    import ray.data
    from ray.data.checkpoint import CheckpointConfig

    marks = str(work / "marks")

    def sleep(batch: Any) -> Any:
        return {"id": batch["id"], "twice": _worked(marks, batch["id"], seconds)}

    ray.init(num_cpus=_CPUS, include_dashboard=False, log_to_driver=False, logging_level="error", object_store_memory=200 << 20,
             _temp_dir=tempfile.mkdtemp(prefix="p-", dir=os.environ["RAY_TMPDIR"]))  # fmt: skip
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig("id", str(work / "checkpoint"))
    count = sum(pq.read_metadata(path).num_rows for path in (work / "input").iterdir())
    numbers = ray.data.range(count, override_num_blocks=-(-count // _PER_FILE))  # read_parquet would make one task of small files
    rows = numbers.map_batches(sleep, batch_size=None, concurrency=_WORKERS)
    if sink == "parquet":
        rows.write_parquet(str(work / "out"))
    elif sink == "delta":
        rows.write_delta(str(work / "out"))
    else:
        rows.write_iceberg("bench.rows", catalog_kwargs=_catalog(work))


def _prepare(sink: str, work: Path, rows: int) -> None:
    (work / "input").mkdir(parents=True)
    for start in range(0, rows, _PER_FILE):
        pq.write_table(pa.table({"id": range(start, min(start + _PER_FILE, rows))}), work / "input" / f"{start:08d}.parquet")
    (work / "marks").touch()
    if sink == "iceberg":
        from pyiceberg.catalog import load_catalog

        (work / "warehouse").mkdir()
        catalog = load_catalog(**_catalog(work))
        catalog.create_namespace("bench")
        catalog.create_table("bench.rows", _SCHEMA)


def _ids(sink: str, work: Path) -> list[int]:
    """Ids in the output, as its own readers find them."""
    if sink == "ours":
        from nosology.distributed import stages

        return [number for part in stages.output_parts(str(work / "out"), "rows", ["id"])[1] for number in part.column("id").to_pylist()]
    if sink == "parquet":
        return [number for path in (work / "out").rglob("*.parquet") for number in pq.read_table(path).column("id").to_pylist()]
    if sink == "delta":
        from deltalake import DeltaTable

        found = DeltaTable(str(work / "out")).to_pyarrow_table() if (work / "out" / "_delta_log").exists() else _SCHEMA.empty_table()
    else:
        from pyiceberg.catalog import load_catalog

        found = load_catalog(**_catalog(work)).load_table("bench.rows").scan().to_arrow()
    return list(found.column("id").to_pylist())


def _sentence(line: str) -> str:
    """A warning or an error without the place it came from."""
    found = line.split("Warning: ", 1)[-1].strip()
    return found if len(found) <= 200 else found[:200] + " …"


def _drive(sink: str, work: Path, seconds: float, kill_at: int | None) -> tuple[int | None, str]:
    """Runs the driver until it ends, or until so many rows more were worked on; its status (None: killed) and what it said."""
    import psutil

    marks = work / "marks"
    begun = marks.stat().st_size
    with open(work / "stderr", "wb") as errors:
        command = [sys.executable, __file__, "--step", sink, str(work), "--seconds", str(seconds)]
        driver = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        while driver.poll() is None:
            if kill_at is not None and marks.stat().st_size - begun >= kill_at:
                cluster = driver.children(recursive=True)
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                _, alive = psutil.wait_procs(
                    cluster, timeout=5
                )  # the kernel ends them with their driver; Ray's agents stay, and do nothing
                for process in alive:
                    process.kill()
                return None, ""
            time.sleep(0.01)
    lines = (work / "stderr").read_text(errors="replace").splitlines()
    told = [line for line in lines if "non-file datasink" in line or "Error" in line or "support checkpointing" in line]
    return driver.returncode, _sentence(told[-1 if driver.returncode else 0]) if told else ""


def compare(sink: str, work: Path, rows: int, seconds: float) -> dict[str, Any]:
    """A job that is killed twice."""
    _prepare(sink, work, rows)
    status, said, kills = None, "", 0
    for kill_at in (rows // 3, rows // 3, None, None):
        status, said = _drive(sink, work, seconds, kill_at)
        kills += status is None
        if status == 0:
            break
    due = Counter(range(rows))
    try:
        found = Counter(_ids(sink, work))
    except Exception as error:  # a table that cannot be read is what this bench is to tell
        found, said = Counter(), f"the output cannot be read: {type(error).__name__}"
    again = (work / "marks").stat().st_size - rows
    return {"rows": rows, "kills": kills, "lost": (due - found).total(), "doubled": (found - due).total(), "again": max(again, 0),
            "exit": status, "says": said}  # fmt: skip


def main() -> None:
    machine.prepare()
    arguments = machine.parser(__doc__)
    arguments.add_argument("--rows", type=int, default=3000)
    arguments.add_argument("--seconds", type=float, default=0.004, help="sleep of a row")
    arguments.add_argument("--sinks", default=",".join(SINKS))
    arguments.add_argument("--step", nargs=2, metavar=("SINK", "FOLDER"), help="the driver, run by this script")
    given = arguments.parse_args()
    if given.step:
        warnings.simplefilter("default")
        sink, work = given.step[0], Path(given.step[1])
        _run_ours(work, given.seconds) if sink == "ours" else _run_peer(sink, work, given.seconds)
        return
    machine.needs(*(name for sink, name in (("delta", "deltalake"), ("iceberg", "pyiceberg")) if sink in given.sinks))
    result: dict[str, Any] = {}
    with machine.folder() as folder:
        for sink in given.sinks.split(","):
            result[sink] = compare(sink, folder / sink, given.rows, given.seconds)
            machine.say(f"{sink}: {result[sink]}")
    machine.finish(result, given.json)
    ours = result.get("ours", {"lost": 0, "doubled": 0, "exit": 0})
    if ours["lost"] or ours["doubled"] or ours["exit"] != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
