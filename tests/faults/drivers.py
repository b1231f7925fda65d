"""Drivers that can be killed: the ledger's own code with everything in one process, where Ray's workers are not the point.

`python drivers.py` forks a process for each line of JSON on its standard input and answers with its exit status, so that a kill costs
no import. The modules are loaded once, before the first fork.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE / "inject"), str(HERE.parent / "distributed")) if path not in sys.path]

import crash_points  # noqa: E402
from nosology import storage  # noqa: E402
from nosology.config import ClusterConfig, Config  # noqa: E402
from nosology.distributed import sink, stages, upkeep, work  # noqa: E402
from nosology.distributed.stages import StageReport  # noqa: E402
from nosology.runs import Run  # noqa: E402
from toy import Toy  # noqa: E402

STEPS = ("run", "reopen", "resume", "publish", "gc")


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """Within, a driver is its own worker. The first interval is worked on twice, as Ray Data does when it has lost sight of a worker."""

    def commits(ledger: Any, units: Any, writer: Any, workers: Any, num_cpus: float, stall_seconds: float) -> Iterator[Any]:
        worker = stages._Worker(units, writer, stages._Foreman(), stall_seconds)
        for number, interval in enumerate(list(ledger.pending())):
            row = {"file": [interval.file], "start": [interval.start], "stop": [interval.stop]}
            result = pickle.loads(worker(row)["result"][0])
            if isinstance(result, Exception):
                raise result
            if result is None:
                raise sink.taken_over(ledger.out)
            yield result
            if number == 0:
                try:
                    yield work.run(units, writer, interval, worker._watch)
                finally:
                    worker._watch.rest()

    held = stages._commits, stages.session
    stages._commits, stages.session = commits, lambda _: contextlib.nullcontext()  # type: ignore[assignment]
    try:
        yield
    finally:
        stages._commits, stages.session = held  # type: ignore[assignment]


def write_rows(folder: str, rows: int) -> None:
    """The toy's input: two files."""
    for number in range(2):
        lines = (json.dumps({"n": n, "text": f"row {n}"}) for n in range(number * rows // 2, (number + 1) * rows // 2))
        storage.write_bytes(storage.join(folder, f"{number}.jsonl"), "".join(f"{line}\n" for line in lines).encode())


def toy(source: str, out: str, to: str, steps: tuple[str, ...] = STEPS) -> StageReport:
    """The life of a run: done, its dead letters tried again, published, tidied."""
    with without_ray():
        report = run_toy(source, out)
        if "reopen" in steps:
            sink.reopen(out, {"toy_refused"})
        if "resume" in steps:
            report = run_toy(source, out)
    if "publish" in steps:
        upkeep.publish(out, to)
    if "gc" in steps:
        upkeep.collect_garbage(out, 0.0)
    return report


def run_toy(source: str, out: str) -> StageReport:
    with Run(out, "toy", Config(), source=source):
        return stages.run_stage(Toy(), [source], out, ClusterConfig(batch_rows=4), {"toy": "1", "package": "test"}, lambda _: None)


def verb(name: str, config: dict[str, Any], **arguments: Any) -> None:
    """A verb of the product, without Ray: for crash points that a driver reaches by itself."""
    from nosology import verbs
    from nosology.distributed import serving, session

    serving.served = session.session = lambda _: contextlib.nullcontext()  # type: ignore[assignment]
    if "phrases" in arguments:
        arguments["phrases"] = Path(arguments["phrases"])
    tree = {} if name in ("deadletter_retry", "publish") else {"config": Config.model_validate(config)}
    with without_ray():
        getattr(verbs, name)(**tree, **arguments)


class Nursery:
    """The process that forks drivers."""

    def __init__(self) -> None:
        package = Path(storage.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, call: str, environment: dict[str, str], **arguments: Any) -> int:
        """Calls a function of this module in a process of its own; its exit status, negative for a signal."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"call": call, "environment": environment, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if os.environ.get("NOSOLOGY_FAULTS") == "all":  # what the verbs load, before the first fork
        for name in ("nosology.verbs", "nosology.distributed.serving", "presidio_analyzer", "s3fs", "transformers"):
            importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            status = 1
            try:
                os.environ.update(order["environment"])
                crash_points.install(storage)
                {"toy": toy, "verb": verb, "publish": upkeep.publish}[order["call"]](**order["arguments"])
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    main()
