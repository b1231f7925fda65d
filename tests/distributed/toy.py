"""A stage for tests, and a driver that can be killed: `python toy.py IN OUT [key=value …]`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
from nosology.errors import RecordError

SECRET = "Zyxomma Quillfeather 555-0199"


class Toy:
    """Doubles a number; every 7th row is refused, every 11th raises an exception that quotes the row."""

    verb = "toy"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def schemas(self) -> dict[str, pa.Schema]:
        key = [("source_digest", pa.string()), ("source_row", pa.int64())]
        return {"doubles": pa.schema([*key, ("n", pa.int64())]), "odds": pa.schema([*key, ("text", pa.string())])}

    def open(self) -> None:
        self.opened = True

    def process(self, rows):
        assert self.opened
        output = {"doubles": [], "odds": []}
        for row in rows:
            time.sleep(self.seconds)
            n = row["n"]
            key = {"source_digest": row["source_digest"], "source_row": row["source_row"]}
            if n % 11 == 0:
                print(f"stdout {row['text']}")
                print(f"stderr {row['text']}", file=sys.stderr)
                raise ValueError(f"cannot digest {row['text']}")
            if n % 7 == 0:
                raise RecordError("toy_refused", "n", "a number that 7 does not divide")
            output["doubles"].append({**key, "n": 2 * n})
            if n % 2:
                output["odds"].append({**key, "text": f"{n} is odd"})
        return output


class Poison:
    """Doubles a number; some rows end their process with SIGKILL, some hang while they hold the interpreter's lock."""

    verb = "poison"

    def __init__(self, options) -> None:
        self.kill, self.hang, self.once = (set(options.get(name, ())) for name in ("kill", "hang", "once"))
        self.marks, self.opening_seconds = options.get("marks"), options.get("opening_seconds", 0)

    def schemas(self) -> dict[str, pa.Schema]:
        return {"doubles": pa.schema([("source_digest", pa.string()), ("source_row", pa.int64()), ("n", pa.int64())])}

    def open(self) -> None:
        time.sleep(self.opening_seconds)

    def process(self, rows):
        for row in rows:
            n = row["n"]
            if n in self.kill or (n in self.once and self.first(n)):
                os.kill(os.getpid(), signal.SIGKILL)
            if n in self.hang:
                re.match(r"(a+)+b", "a" * 64)  # some years
        return {"doubles": [{"source_digest": r["source_digest"], "source_row": r["source_row"], "n": 2 * r["n"]} for r in rows]}

    def first(self, n: int) -> bool:
        try:
            (Path(self.marks) / f"killed-{n}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def main() -> None:
    from nosology.config import ClusterConfig
    from nosology.distributed import stages
    from nosology.errors import NosologyError

    source, out, *rest = sys.argv[1:]
    options = dict(item.split("=") for item in rest)
    cluster = ClusterConfig(num_cpus=2, batch_rows=int(options.get("batch_rows", 8)))
    fingerprint = {"toy": options.get("toy", "1"), "package": "test"}

    def show(progress):
        print(json.dumps({"done": progress.done}), flush=True)

    try:
        report = stages.run_stage(Toy(float(options.get("seconds", 0))), [source], out, cluster, fingerprint, show)
    except NosologyError as error:
        print(json.dumps({"error": str(error), "class": type(error).__name__}), flush=True)
        sys.exit(error.exit_code)
    print(json.dumps({name: getattr(report, name) for name in ("records_in", "ok", "dead", "dead_by_reason", "rows", "resumed_share")}))


if __name__ == "__main__":
    main()
