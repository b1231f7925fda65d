"""What it takes to open a job again when most of its rows are done.

    python bench/restore.py --rows 50000000 --json

A job is built through the ledger's own functions: `--rows` rows are done, a fifth more are not, and no two intervals that are done
touch, so that nothing merges. Rows and parts are simulated (a part of one row an interval); manifests, epochs and checksums are real,
only without fsync. Then fresh processes open the job and list what is pending:

  killed  the worst case: a first driver was killed, all that it did stands in manifests that no epoch names; each is read and checked
  epoch   the same job once more, whose newest epoch names all that is done

`seconds` and `peak_mb` (largest resident size of the process, interpreter and pyarrow included) are the larger of the two; imports are
not in `seconds`, they are in `process_seconds`. Exits 1 when what is pending is not exactly what was left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine

_ROWS_PER_FILE = 100_000
_EVERY = 6  # of so many intervals one is not done


def _plan(rows: int) -> tuple[list[Any], int]:
    """Files with a sixth of whose rows the sum is `rows`, and rows of a commit."""
    from nosology.distributed.coverage import PlannedFile
    from nosology.distributed.stages import batch_rows

    total = rows * _EVERY // (_EVERY - 1)
    files = []
    for number, start in enumerate(range(0, total, _ROWS_PER_FILE)):
        digest, count = hashlib.sha256(str(number).encode()).hexdigest(), min(_ROWS_PER_FILE, total - start)
        files.append(PlannedFile(digest, f"/archive/{number:06d}.parquet", digest, count, "part", "documents", "part", count * 100))
    return files, batch_rows(total)


def _schemas() -> dict[str, Any]:
    import pyarrow as pa

    return {"made": pa.schema([("n", pa.int64())])}


def build(out: str, rows: int) -> dict[str, int]:
    """A job that was killed: what it did stands in manifests alone."""
    import pyarrow as pa
    from nosology.distributed import sink
    from nosology.distributed.coverage import Tally

    os.fsync = lambda _: None  # type: ignore[assignment] # a simulation need not outlive a power cut
    files, step = _plan(rows)
    ledger = sink.open_ledger(out, "bench", {"bench": "restore"}, files, step, _schemas())
    writer, one = ledger.writer(_schemas()), pa.table({"n": [1]})
    done = manifests = left = 0
    for number, interval in enumerate(ledger.pending()):
        units = interval.stop - interval.start
        if number % _EVERY == _EVERY - 1:
            left += units
            continue
        attempt = writer.begin(interval)
        attempt.add("made", one)
        attempt.commit(Tally(records=units, ok=units))
        done, manifests = done + units, manifests + 1
    return {"rows_done": done, "rows_left": left, "manifests": manifests, "batch_rows": step}


def reopen(out: str, rows: int) -> dict[str, Any]:
    """Opens the job and lists what is pending, in this process."""
    from nosology.distributed import sink

    files, step = _plan(rows)
    started = time.perf_counter()
    ledger = sink.open_ledger(out, "bench", {"bench": "restore"}, files, step, _schemas())
    left = sum(interval.stop - interval.start for interval in ledger.pending())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return {"seconds": round(seconds, 3), "peak_mb": round(peak, 1), "rows_done": ledger.done.num_units, "rows_left": left}


def _fresh(step: str, out: Path, rows: int) -> dict[str, Any]:
    """The answer of a step in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--rows", str(rows), "--step", step, "--out", str(out)], stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(1)
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "process_seconds": round(time.perf_counter() - started, 2)}


def main() -> None:
    machine.prepare()
    arguments = machine.parser(__doc__)
    arguments.add_argument("--rows", type=int, default=50_000_000, help="rows that are done")
    arguments.add_argument("--out", help="folder of the job, which stays; by default a temporary one")
    arguments.add_argument("--step", choices=["build", "open"], help="run by this script in a process of its own")
    given = arguments.parse_args()
    if given.step:
        print(json.dumps((build if given.step == "build" else reopen)(given.out, given.rows)))
        return
    with machine.folder(given.out) as folder:
        built = _fresh("build", folder / "job", given.rows)
        machine.say(f"built {built['manifests']:,} manifests in {built['process_seconds']:.0f} s")
        killed, epoch = (_fresh("open", folder / "job", given.rows) for _ in range(2))
    result = {
        "seconds": max(killed["seconds"], epoch["seconds"]), "peak_mb": max(killed["peak_mb"], epoch["peak_mb"]),
        **{name: built[name] for name in ("rows_done", "rows_left", "manifests", "batch_rows")}, "killed": killed, "epoch": epoch,
    }  # fmt: skip
    machine.finish(result, given.json)
    if any((found["rows_done"], found["rows_left"]) != (built["rows_done"], built["rows_left"]) for found in (killed, epoch)):
        machine.say("what is pending is not what was left out")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
