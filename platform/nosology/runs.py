"""The run folder: resolved config, lineage by digest, metrics, PHI-safe log, report.

config.yaml    the resolved tree of the run
command.json   the verb and its places, for `nosology resume`
lineage.json   which output came from which inputs, config and models, by SHA-256
metrics.jsonl  one measurement a line: {"time", "name", "value", ...}
log.jsonl      one event a line; exceptions as class and code positions, never their text
report.json    what the verb printed under --json
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from nosology import storage
from nosology.config import Config, Section, flatten
from nosology.errors import FingerprintError, NosologyError

VERSION = importlib.metadata.version("nosology")


def fingerprint(verb: str, *sections: Section, **parts: str | None) -> dict[str, str]:
    """What makes two runs the same job, by named field: the verb, the package version, every value of the given config
    sections (`deid.threshold`), and digests of models, prompts and code sets."""
    fields = {"verb": verb, "package": VERSION}
    for section in sections:
        fields |= {f"{type(section).__name__.removesuffix('Config').lower()}.{key}": json.dumps(value) for key, value in flatten(section)}
    return fields | {name: value or "none" for name, value in parts.items()}


def claim(uri: str, marks: Mapping[str, str]) -> None:
    """Give a folder to one job, or check that it is that job's: for verbs without a ledger, whose `job.json` does the same.

    Raises:
        FingerprintError: the folder is another job's; names the fields that differ.
    """
    record = storage.join(uri, "fingerprint.json")
    if storage.create_if_absent(record, json.dumps(dict(marks), indent=1).encode()):
        return
    held = storage.read_json(record)
    changed = sorted(key for key in held.keys() | marks.keys() if held.get(key) != marks.get(key))
    if changed:
        raise FingerprintError(f"{uri} belongs to another job; different: {', '.join(changed)}. Choose another folder, or remove this one")


def describe(error: BaseException) -> str:
    """An exception without its text, which could hold a value of a record: class and innermost position in this package.

    Errors of this package keep their text: they are written so as to hold no value.
    """
    if isinstance(error, NosologyError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "nosology" in frame.filename] or frames
    place = f" at {'/'.join(own[-1].filename.split('/')[-2:])}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{place}"


def _absolute(place: Any) -> Any:
    """Places as they hold in any working directory."""
    if isinstance(place, (list, tuple)):
        return [_absolute(one) for one in place]
    return storage.absolute(str(place)) if isinstance(place, (str, Path)) else place


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1]:
            event["error"] = describe(record.exc_info[1])
        return json.dumps(event)


class _Memory(logging.Handler):
    """Keeps formatted lines; the run writes them at its end, which works on every storage."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.setFormatter(_JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Run:
    """A run of one verb into one folder, as a context manager.

    Args:
        uri: folder of the run, local or `s3://`; made if absent.
        verb: the command.
        config: the resolved tree.
        arguments: what else the verb was called with (places, by parameter), for `nosology resume`.
    """

    def __init__(self, uri: str, verb: str, config: Config, **arguments: Any) -> None:
        self.uri, self.verb, self.config, self._arguments = uri, verb, config, arguments
        self.started = time.time()
        self._metrics: list[str] = []
        self._lineage: dict[str, Any] = {"inputs": {}, "models": {}, "outputs": {}}
        self._log = _Memory()

    def __enter__(self) -> Self:
        logger = logging.getLogger("nosology")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self._log)
        # only if absent: a run that is then refused must not change what the folder says of the run before
        storage.create_if_absent(storage.join(self.uri, "config.yaml"), self._tree())
        command = {"verb": self.verb, "arguments": {name: _absolute(value) for name, value in self._arguments.items()}}
        storage.create_if_absent(storage.join(self.uri, "command.json"), json.dumps(command, indent=1).encode())
        logger.info("run of %s begins, version %s", self.verb, VERSION)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        logger = logging.getLogger("nosology")
        if error:
            logger.error("run of %s failed", self.verb, exc_info=error)
        else:
            logger.info("run of %s ends", self.verb)
        logger.removeHandler(self._log)
        self._write("log.jsonl", self._log.lines)
        self._write("metrics.jsonl", self._metrics)

    def metric(self, name: str, value: float, **tags: str | int) -> None:
        """Record one measurement; tags name stages and tables, never values of records."""
        self._metrics.append(json.dumps({"time": round(time.time(), 3), "name": name, "value": value, **tags}))

    def lineage(self, role: str, digests: Mapping[str, str]) -> None:
        """Add digests under `inputs` (file → SHA-256), `models` (role → SHA-256) or `outputs` (table → SHA-256)."""
        self._lineage[role] |= digests

    def finish(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Write lineage.json and report.json; return the report with `verb`, `run`, `version` and `seconds`."""
        config = json.dumps(self.config.model_dump(mode="json"), sort_keys=True).encode()
        whole = {"verb": self.verb, **report, "run": self.uri, "version": VERSION, "seconds": round(time.time() - self.started, 2)}
        storage.write_bytes(storage.join(self.uri, "config.yaml"), self._tree())
        lineage = {**self._lineage, "config": hashlib.sha256(config).hexdigest(), "package": VERSION, "finished": round(time.time(), 3)}
        storage.write_bytes(storage.join(self.uri, "lineage.json"), json.dumps(lineage, indent=1).encode())
        storage.write_bytes(storage.join(self.uri, "report.json"), json.dumps(whole, indent=1).encode())
        for name, value in whole.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.metric(name, value)
        return whole

    def _tree(self) -> bytes:
        return bytes(yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False), "utf-8")

    def _write(self, name: str, lines: list[str]) -> None:
        uri = storage.join(self.uri, name)
        before = storage.read_bytes(uri) if storage.exists(uri) else b""
        storage.write_bytes(uri, before + "".join(line + "\n" for line in lines).encode())
