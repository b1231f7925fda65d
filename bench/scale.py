"""Whether memory and speed of an ingest stay what they are while the archive grows.

    python bench/scale.py --json                     # 10 thousand, 100 thousand and 1 million claims
    python bench/scale.py --sizes 10000,100000

Each size: an archive of X12, FHIR and Parquet with a note to every fifth claim (`bench/make_archive.py`), ingested by a driver in a
process of its own that starts its own Ray on this machine. Memory is what a process has for itself (resident less shared), sampled five
times a second: of the driver, and of the largest worker. Every record's id is then looked for in the output.

`memory_growth`: peak of the largest size over that of the one before, of driver or worker, whichever grew more; `rate_ratio`: records a
second likewise, the start of Ray included in both. Exits 1 when a record is lost, doubled or dead.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import machine
import make_archive

_IDS = {"claims": ("claim", "claim_id"), "remittances": ("remittance", "payer_claim_id"), "documents": ("note", "document_id")}


def drive(archive: str, out: str, workers: int) -> dict[str, Any]:
    """The ingest, in this process."""
    from nosology.config import ClusterConfig, IngestConfig
    from nosology.distributed import stages

    started = time.perf_counter()
    cluster = ClusterConfig(num_cpus=workers)
    report = stages.run_ingest([archive], out, IngestConfig(), cluster, {"bench": "scale"}, lambda _: None, workers=workers)
    return {"records": report.records_in, "dead": report.dead, "files": report.files, "seconds": round(time.perf_counter() - started, 2)}


def differences(truth: Path, out: Path) -> dict[str, int]:
    """How many records of the truth the output lacks, and how many it has more than once or without need."""
    import pyarrow.parquet as pq
    from nosology.distributed import stages

    due = Counter(zip(*(pq.read_table(truth, columns=["kind", "id"]).column(name).to_pylist() for name in ("kind", "id")), strict=True))
    for table, (kind, column) in _IDS.items():
        for part in stages.output_parts(str(out), table, [column])[1]:
            # a note of a X12 claim is a document beside the claim, not a record of its own
            due.subtract((kind, name) for name in part.column(column).to_pylist() if not name.endswith("/NTE"))
    return {"lost": sum(count for count in due.values() if count > 0), "doubled": -sum(count for count in due.values() if count < 0)}


def measure(work: Path, claims: int, notes_per_claim: float, per_file: int, workers: int) -> dict[str, Any]:
    """Figures of one size; leaves nothing behind."""
    made = make_archive.make(work, claims, notes_per_claim, seed=6, records_per_file=per_file)
    free = shutil.disk_usage(work).free
    machine.say(
        f"{claims:,} claims: {made['bytes'] / 2**20:,.0f} MiB in {made['files']} files, {made['seconds']} s; {free / 2**30:.0f} GiB free"
    )
    command = [sys.executable, __file__, "--step", str(work / "archive"), str(work / "out"), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with machine.Memory(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(1)
    ran = json.loads(output)
    peaks = memory.peak_mb
    found = {
        "claims": claims, **ran, "records_per_second": round(ran["records"] / ran["seconds"], 1), "driver_mb": peaks["driver"],
        "worker_mb": peaks["worker"], "ray_mb": peaks["ray"], "archive_mb": round(made["bytes"] / 2**20, 1),
        **differences(work / "truth.parquet", work / "out"),
    }  # fmt: skip
    if ran["records"] != made["records"]:
        machine.say(f"{ran['records']:,} records were read where {made['records']:,} are")
        raise SystemExit(1)
    shutil.rmtree(work)
    return found


def main() -> None:
    machine.prepare()
    arguments = machine.parser(__doc__)
    arguments.add_argument("--sizes", default="10000,100000,1000000", help="claims, smallest first")
    arguments.add_argument("--notes-per-claim", type=float, default=0.2)
    arguments.add_argument("--records-per-file", type=int, default=5000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--step", nargs=2, metavar=("ARCHIVE", "OUT"), help="run by this script in a process of its own")
    given = arguments.parse_args()
    if given.step:
        print(json.dumps(drive(*given.step, given.workers)))
        return
    sizes: list[dict[str, Any]] = []
    with machine.folder() as folder:
        for claims in map(int, given.sizes.split(",")):
            sizes.append(measure(folder / str(claims), claims, given.notes_per_claim, given.records_per_file, given.workers))
            machine.say(json.dumps(sizes[-1]))
    result: dict[str, Any] = {}
    if len(sizes) > 1:
        before, last = sizes[-2:]
        growth = {role: round(last[f"{role}_mb"] / before[f"{role}_mb"], 3) for role in ("driver", "worker")}
        result = {"memory_growth": max(growth.values()), "rate_ratio": round(last["records_per_second"] / before["records_per_second"], 3),
                  "growth": growth}  # fmt: skip
    machine.finish({**result, "sizes": sizes, "workers": given.workers}, given.json)
    if any(size["lost"] or size["doubled"] or size["dead"] for size in sizes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
