"""What reading and the ledger cost: X12 against pyx12, FHIR against fhir.resources, an ingest against plain Ray Data.

    python bench/ingest.py --json

`x12_ratio`: our records a second and core, through to the records of the data model, over those of pyx12's X12ContextReader, which
gives the segments of each claim loop (2300) in its place; same bytes, same process, processor time, medians of interleaved rounds.
For information, what splitting at terminators and separators alone would do.

`fhir_ratio`: the same for Claim and ExplanationOfBenefit resources over fhir.resources' validation (R4B); for information, orjson alone.

`ledger_overhead`: wall time of `run_ingest` over that of `ray.data.read_binary_files -> map_batches -> write_parquet`, whose function
reads the same X12 files with the same reader into the same columns. Both in one cluster on the same number of cores; the median of the
ratios of pairs that follow each other. `ledger_processor_overhead` is the same of processor time, all of Ray's processes included: it
holds on a machine that others use too, where `load_average` is above the number of workers. The plain pipeline, one fused task, has no digests of its input, no fsync, no dead letters,
writes claims alone, and keeps no word of what it did.

Exits 1 when the readers disagree on how many records there are, or when the ledger's output is not every record once.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import make_archive

# pyx12 has maps of the guides' first errata, which differ in nothing that these claims hold; both readers get the renamed bytes.
_RENAMED = {b"005010X222A2": b"005010X222A1", b"005010X223A3": b"005010X223A2"}
_SETTLE_SECONDS = 2.0  # until processes that are no longer needed have ended


def _ours(files: list[bytes]) -> int:
    from nosology import readers

    count = 0
    for data in files:
        reading = readers.read_file(readers.SourceFile("bench", "bench", "0" * 64, len(data)), io.BytesIO(data))
        for _ in reading:
            pass
        count += reading.counts.records - reading.counts.dead
    return count


def _pyx12(files: list[bytes]) -> int:
    import pyx12.error_handler
    import pyx12.params
    import pyx12.x12context

    count = 0
    for data in files:
        source = pyx12.x12context.X12ContextReader(pyx12.params.params(), pyx12.error_handler.errh_null(), io.StringIO(data.decode()))
        for tree in source.iter_segments("2300"):
            # a sample orders its segments in another way than the guide; pyx12 gives that claim in two pieces
            count += tree.id == "2300" and next(tree.iterate_segments())["segment"].get_seg_id() == "CLM"
    return count


def _split(files: list[bytes]) -> int:
    count = 0
    for data in files:
        for text in data.decode().split("~"):
            count += text.lstrip().split("*")[0] == "CLM"
    return count


def _validated(files: list[bytes]) -> int:
    import orjson
    from fhir.resources.R4B.claim import Claim
    from fhir.resources.R4B.explanationofbenefit import ExplanationOfBenefit

    classes = {"Claim": Claim, "ExplanationOfBenefit": ExplanationOfBenefit}
    count = 0
    for data in files:
        for line in data.splitlines():
            resource = orjson.loads(line)
            classes[resource["resourceType"]].model_validate(resource)
            count += 1
    return count


def _orjson(files: list[bytes]) -> int:
    import orjson

    return sum(orjson.loads(line)["resourceType"] in ("Claim", "ExplanationOfBenefit") for data in files for line in data.splitlines())


def rates(files: list[bytes], readers: dict[str, Callable[[list[bytes]], int]], rounds: int, expected: int) -> dict[str, float]:
    """Records a second of processor time by reader: the median of rounds in which each reads the files once.

    Raises:
        SystemExit: a reader finds another number of records.
    """
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            started = time.process_time()
            found = read(files)
            seconds[name].append(time.process_time() - started)
            if found != expected:
                machine.say(f"{name} finds {found} records where {expected} are")
                raise SystemExit(1)
    return {name: round(expected / statistics.median(took), 1) for name, took in seconds.items()}


def x12(work: Path, claims: int, rounds: int) -> dict[str, Any]:
    make_archive.make(work, claims, 0, seed=4, formats=["x12"], records_per_file=max(1, claims // 8))
    # the guides' 4010 examples stand in 5010 interchanges, for which pyx12 has no map
    files = [path.read_bytes() for path in sorted((work / "archive" / "x12").glob("837_005010*"))]
    for old, new in _RENAMED.items():
        files = [data.replace(old, new) for data in files]
    count = sum(data.count(b"~\nCLM*") for data in files)
    found = rates(files, {"nosology": _ours, "pyx12": _pyx12, "segment_split": _split}, rounds, count)
    return {"x12_ratio": round(found["nosology"] / found["pyx12"], 1), "x12_per_second": found}


def fhir(work: Path, claims: int, rounds: int) -> dict[str, Any]:
    make_archive.make(work, claims, 0, seed=4, formats=["fhir"])
    files = [path.read_bytes() for path in sorted((work / "archive" / "fhir").iterdir())]
    found = rates(files, {"nosology": _ours, "fhir.resources": _validated, "orjson": _orjson}, rounds, 2 * claims)
    size = round(sum(map(len, files)) / (2 * claims))
    return {"fhir_ratio": round(found["nosology"] / found["fhir.resources"], 1), "fhir_per_second": found, "fhir_resource_bytes": size}


def parse(batch: dict[str, Any]) -> Any:
    """What the plain pipeline does with files: claims, in the columns that ours have."""
    from nosology import readers
    from nosology.records import RawClaim, to_table

    claims: list[Any] = []
    for path, data in zip(batch["path"], batch["bytes"], strict=True):
        source = readers.SourceFile(path, path.rsplit("/", 1)[-1], "0" * 64, len(data))
        claims += [row for row in readers.read_file(source, io.BytesIO(data)) if isinstance(row, RawClaim)]
    return to_table(RawClaim, claims)


def plain(archive: Path, out: Path, num_files: int) -> int:
    """The plain pipeline; rows it wrote."""
    import pyarrow.dataset
    import ray.data

    files = ray.data.read_binary_files(str(archive), include_paths=True, override_num_blocks=num_files)
    files.map_batches(parse, batch_size=1).write_parquet(str(out))
    return int(pyarrow.dataset.dataset(out).count_rows())


def ledger(archive: Path, out: Path, cluster: Any, workers: int) -> tuple[int, int]:
    """Our ingest; claims and dead letters."""
    from nosology.config import IngestConfig
    from nosology.distributed import stages

    report = stages.run_ingest([str(archive)], str(out), IngestConfig(), cluster, {"bench": "ingest"}, lambda _: None, workers=workers)
    return report.rows["claims"], report.dead


def overhead(work: Path, claims: int, per_file: int, workers: int, rounds: int) -> dict[str, Any]:
    from nosology.config import ClusterConfig
    from nosology.distributed.session import session

    sizes = {"first": min(claims, workers * per_file), **{f"round {number}": claims for number in range(1, rounds + 1)}}
    files: dict[int, int] = {}
    for count in set(sizes.values()):
        files[count] = make_archive.make(work / str(count), count, 0, seed=5, formats=["x12"], records_per_file=per_file)["files"]
    cluster = ClusterConfig(num_cpus=workers)
    seconds: dict[str, list[float]] = {"plain": [], "ledger": []}
    processor: dict[str, list[float]] = {"plain": [], "ledger": []}
    with session(cluster):
        for number, (title, count) in enumerate(sizes.items()):
            run, archive = Path(tempfile.mkdtemp(dir=work)), work / str(count) / "archive"
            steps = {
                "plain": partial(plain, archive, run / "plain", files[count]),
                "ledger": partial(ledger, archive, run / "ledger", cluster, workers),
            }
            for name in sorted(steps, reverse=bool(number % 2)):  # which goes first changes, for it leaves processes to the second
                started = time.perf_counter()
                with machine.Processor() as used:
                    found = steps[name]()
                took = time.perf_counter() - started
                machine.say(f"{title}, {name}: {count:,} claims in {took:.1f} s, {used.seconds:.1f} s of processor time")
                time.sleep(_SETTLE_SECONDS)
                if number:
                    seconds[name].append(took)
                    processor[name].append(used.seconds)
                if found not in (count, (count, 0)):
                    machine.say(f"{name} has {found} of {count} claims")
                    raise SystemExit(1)
    ratios, of_processor = (
        [ours / theirs for ours, theirs in zip(figures["ledger"], figures["plain"], strict=True)] for figures in (seconds, processor)
    )
    medians = {name: round(statistics.median(took), 2) for name, took in seconds.items()}
    return {
        "ledger_overhead": round(statistics.median(ratios), 3), "ledger_processor_overhead": round(statistics.median(of_processor), 3),
        "ledger_seconds": medians["ledger"], "plain_seconds": medians["plain"], "ledger_ratios": [round(ratio, 3) for ratio in ratios],
        "ledger_claims": claims, "workers": workers, "load_average": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    machine.prepare()
    machine.needs("pyx12", "fhir.resources")
    arguments = machine.parser(__doc__)
    arguments.add_argument("--claims", type=int, default=1600, help="claims of the comparison of readers")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--ledger-rounds", type=int, default=3)
    arguments.add_argument("--ledger-claims", type=int, default=300_000, help="claims of the comparison with plain Ray Data")
    arguments.add_argument("--claims-per-file", type=int, default=5000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--only", choices=["x12", "fhir", "ledger"])
    given = arguments.parse_args()
    result: dict[str, Any] = {}
    with machine.folder() as work:
        if given.only in (None, "x12"):
            result |= x12(work / "x12", given.claims, given.rounds)
        if given.only in (None, "fhir"):
            result |= fhir(work / "fhir", given.claims, given.rounds)
        if given.only in (None, "ledger"):
            result |= overhead(work / "ledger", given.ledger_claims, given.claims_per_file, given.workers, given.ledger_rounds)
    machine.finish(result, given.json)


if __name__ == "__main__":
    main()
