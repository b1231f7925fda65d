"""The run folder: resolved config, lineage by digest, metrics, PHI-safe log, report.

config.yaml    the resolved tree of the run
command.json   the verb and its places, for `nosology resume`
commands/ID/   config.yaml and command.json of a driver that found those of another one, which may be at work still
lineage.json   which output came from which inputs, config and models, by SHA-256
metrics.jsonl  one measurement a line: {"time", "name", "value", ...}
log.jsonl      one event a line; exceptions as class and code positions, never their text
report.json    what the verb printed under --json
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from nosology import storage
from nosology.config import Config, Section, flatten
from nosology.errors import FingerprintError, InputError, NosologyError

VERSION = importlib.metadata.version("nosology")
_CLAIM = "fingerprint.json"  # of verbs without a ledger, whose `job.json` does the same
COMMANDS = "commands"


def fingerprint(verb: str, *sections: Section, **parts: str | None) -> dict[str, str]:
    """What makes two runs the same job, by named field: the verb, the package version, every value of the given config
    sections (`deid.threshold`), and digests of models, prompts and code sets."""
    fields = {"verb": verb, "package": VERSION}
    for section in sections:
        fields |= {f"{type(section).__name__.removesuffix('Config').lower()}.{key}": json.dumps(value) for key, value in flatten(section)}
    return fields | {name: value or "none" for name, value in parts.items()}


def claim(uri: str, marks: Mapping[str, str]) -> bool:
    """Give a folder to one job of a verb without a ledger, or check that it is that job's; whether it is so only now.

    Raises:
        FingerprintError: the folder is another job's, with a ledger or without; names the fields that differ.
    """
    _check_verb(uri, marks["verb"])
    record = storage.join(uri, _CLAIM)
    if storage.create_if_absent(record, json.dumps(dict(marks), indent=1).encode()):
        return True
    held = storage.read_json(record)
    changed = sorted(key for key in held.keys() | marks.keys() if held.get(key) != marks.get(key))
    if changed:
        raise FingerprintError(f"{uri} belongs to another job; different: {', '.join(changed)}. Choose another folder, or remove this one")
    return False


def _check_verb(uri: str, verb: str) -> bool:
    """Whether a folder belongs to a job already; FingerprintError where that is one of another verb."""
    for record in (storage.join(uri, name) for name in ("job.json", _CLAIM)):
        if storage.exists(record):
            held = storage.read_json(record)
            if isinstance(held, dict) and held.get("verb", verb) != verb:  # of a damaged one its reader tells
                raise FingerprintError(f"{uri} belongs to a run of {held['verb']}. Choose another folder")
            return True
    return False


def is_claimed(uri: str) -> bool:
    """Whether a folder belongs to a job, with a ledger or without."""
    return any(storage.exists(storage.join(uri, name)) for name in ("job.json", _CLAIM))


def commands(uri: str) -> Iterator[str]:
    """Folders that hold a command for this run, with its configuration: the run's own, then those of drivers that came when another's
    was there. Each driver removes only its own, so the command of the one that the ledger took is among them."""
    if _is_command(uri):
        yield uri
    if storage.exists(below := storage.join(uri, COMMANDS)):
        places = (file.rsplit("/", 1)[0] for file in storage.list_files(below) if file.endswith("/command.json"))
        yield from (place for place in places if _is_command(place))


def command_of(place: str) -> tuple[dict[str, Any], bytes]:
    """Verb and arguments of a command, and its configuration."""
    command = storage.read_json(storage.join(place, "command.json"))
    return {"verb": command["verb"], "arguments": command["arguments"]}, storage.read_bytes(storage.join(place, "config.yaml"))


def needed_commands(uri: str) -> set[str]:
    """Names of the folders below `commands` that `nosology resume` may need: none once the run has ended and so has its own command, until
    then the first of each kind."""
    if _is_command(uri) and storage.exists(storage.join(uri, "report.json")):
        return set()
    kinds: dict[str, str] = {}
    for place in commands(uri):
        command, tree = command_of(place)
        kinds.setdefault(json.dumps([command, tree.decode()], sort_keys=True), place)
    return {place.rsplit("/", 1)[-1] for place in kinds.values() if place != uri}


def _is_command(uri: str) -> bool:
    return all(storage.exists(storage.join(uri, name)) for name in ("command.json", "config.yaml"))


def _newest_epoch(uri: str) -> int:
    return next(n for n in itertools.count() if not storage.exists(storage.join(uri, f"epoch-{n + 1}.json")))


def last_error(uri: str) -> str | None:
    """What the driver of the newest epoch of a run gave up with, on one line; None where it works still, was killed, or ended well: its log is not
    older than the epoch that it opened."""
    log, epoch = storage.join(uri, "log.jsonl"), _newest_epoch(uri)
    if not epoch or not storage.exists(log) or storage.modified(log) < storage.modified(storage.join(uri, f"epoch-{epoch}.json")):
        return None
    try:
        event = json.loads(storage.read_bytes(log).splitlines()[-1])
    except (IndexError, ValueError):  # another's, or cut
        return None
    return " ".join(line.strip() for line in event["error"].split("\n")) if "error" in event else None


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


def own_folder(verb: str, marks: Mapping[str, str]) -> str:
    """Run folder of a verb that was given none: `runs/VERB-DIGEST`, one for each job, so that the same command finds it again."""
    return f"runs/{verb.replace(' ', '-')}-{hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:12]}"


def _absent(uri: str) -> list[Path]:
    """A local folder that is not there, and those above it that are not, the lowest first."""
    if not storage.is_local(uri):
        return []
    path = storage.local_path(uri).absolute()
    return list(itertools.takewhile(lambda folder: not folder.exists(), (path, *path.parents)))


def _run_within(uri: str) -> str | None:
    """Name of a folder directly below a local one that is a run's."""
    path = storage.local_path(uri) if storage.is_local(uri) else None
    if path is None or not path.is_dir():
        return None
    below = (folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith("."))
    return next((folder.name for folder in below if is_claimed(str(folder))), None)


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
    """A run of one verb into one folder, as a context manager. One that is refused (exit status 2) before it did anything leaves the
    folder as it was.

    Args:
        uri: folder of the run, local or `s3://`; made if absent.
        verb: the command.
        config: the resolved tree.
        arguments: what else the verb was called with (places, by parameter), for `nosology resume`.
    """

    def __init__(self, uri: str, verb: str, config: Config, **arguments: Any) -> None:
        self.uri, self.verb, self.config = uri, verb, config
        self.started = time.time()
        self._metrics: list[str] = []
        self._lineage: dict[str, Any] = {"inputs": {}, "models": {}, "outputs": {}}
        self._log = _Memory()
        self._claimed, self._made = False, list[str]()
        self._command = {"verb": verb, "arguments": {name: _absolute(value) for name, value in arguments.items()}}
        self._beside: str | None = None  # folder for what other drivers have under the names of the run

    def __enter__(self) -> Self:
        self._held = _check_verb(self.uri, self.verb)
        if not self._held and (other := _run_within(self.uri)):
            raise InputError("this folder holds a run itself", file=self.uri, remedy=f"Name a new folder, beside {other} for instance")
        self._epoch = _newest_epoch(self.uri)
        self._folders = _absent(self.uri)
        try:
            self._record()
        except InputError as error:
            self._leave_nothing()
            if isinstance(error.__context__, OSError) and error.__context__.errno in storage.UNWRITABLE:  # a wrong --out, not a fault
                raise InputError(error.rule, file=self.uri, remedy=error.remedy) from None
            raise
        logger = logging.getLogger("nosology")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self._log)
        logger.info("run of %s begins, version %s", self.verb, VERSION)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        logger = logging.getLogger("nosology")
        if error:
            logger.error("run of %s failed", self.verb, exc_info=error)
        else:
            logger.info("run of %s ends", self.verb)
        logger.removeHandler(self._log)
        if isinstance(error, NosologyError) and error.exit_code == 2 and not self._has_begun(error):
            self._leave_nothing()
            return
        self._write("log.jsonl", self._log.lines)
        self._write("metrics.jsonl", self._metrics)

    def claim(self, marks: Mapping[str, str]) -> None:
        """As `claim`, for the folder of this run."""
        if claim(self.uri, marks):
            self._made.append(_CLAIM)
        self._claimed = True

    def _record(self) -> None:
        """Writes down what `resume` will run. Another driver's command stays, dead or alive: nothing tells until the ledger takes one."""
        if self._held and any(commands(self.uri)):
            return
        command = json.dumps({**self._command, "nonce": uuid.uuid4().hex}, indent=1).encode()
        if self._create("command.json", command):
            self.put("config.yaml", self._tree())
        else:
            self._beside = storage.join(COMMANDS, uuid.uuid4().hex)
            self._create(storage.join(self._beside, "command.json"), command)
            self._create(storage.join(self._beside, "config.yaml"), self._tree())

    def put(self, name: str, data: bytes) -> str:
        """A file with which the run begins; that of another driver stays, for this run may yet be refused. Returns its URI.

        Raises:
            InputError: the folder is no run's and holds another file of this name.
        """
        uri = storage.join(self.uri, name)
        if self._beside is None:
            if self._create(name, data) or storage.read_bytes(uri) == data:
                return uri
            if not self._held:
                raise InputError("a file of this name is here that no run wrote", file=uri, remedy="Choose another folder")
            self._beside = storage.join(COMMANDS, uuid.uuid4().hex)
        self._create(storage.join(self._beside, name), data)
        return storage.join(self.uri, self._beside, name)

    def _create(self, name: str, data: bytes) -> bool:
        made = storage.create_if_absent(storage.join(self.uri, name), data)
        if made:
            self._made.append(name)
        return made

    def _has_begun(self, error: NosologyError) -> bool:
        """Whether the folder holds work of this run: the ledger's driver opened an epoch, or something came of the claim."""
        if isinstance(error, FingerprintError):  # then the epoch is another driver's
            return False
        if _CLAIM in self._made:
            records = (_CLAIM, "command.json", "config.yaml")  # those of other drivers too
            return any(uri.rsplit("/", 1)[-1] not in records for uri in storage.list_files(self.uri))
        return self._claimed or _newest_epoch(self.uri) != self._epoch

    def _leave_nothing(self) -> None:
        """Takes back what this run wrote; from a folder that is another's by now only what lies apart, for the rest can be that one's."""
        for name in reversed(self._made):
            if "/" in name or name == _CLAIM or not is_claimed(self.uri):
                storage.remove(storage.join(self.uri, name))
        beside = storage.local_path(storage.join(self.uri, self._beside)) if self._beside and storage.is_local(self.uri) else None
        for folder in (*([beside, beside.parent] if beside else []), *self._folders):
            with contextlib.suppress(OSError):  # one that holds more stays
                folder.rmdir()

    def metric(self, name: str, value: float, **tags: str | int) -> None:
        """Record one measurement; tags name stages and tables, never values of records."""
        self._metrics.append(json.dumps({"time": round(time.time(), 3), "name": name, "value": value, **tags}))

    def lineage(self, role: str, digests: Mapping[str, str]) -> None:
        """Add digests under `inputs` (file → SHA-256), `models` (role → SHA-256), `outputs` (table → SHA-256) or `deidentification` (of training
        data: run → digest of its proof, or who vouches)."""
        self._lineage.setdefault(role, {}).update(digests)

    def finish(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Write lineage.json and report.json; return the report with `verb`, `run`, `version` and `seconds`."""
        config = json.dumps(self.config.model_dump(mode="json"), sort_keys=True).encode()
        whole = {"verb": self.verb, **report, "run": self.uri, "version": VERSION, "seconds": round(time.time() - self.started, 2)}
        self._name()
        lineage = {**self._lineage, "config": hashlib.sha256(config).hexdigest(), "package": VERSION, "finished": round(time.time(), 3)}
        storage.write_bytes(storage.join(self.uri, "lineage.json"), json.dumps(lineage, indent=1).encode())
        storage.write_bytes(storage.join(self.uri, "report.json"), json.dumps(whole, indent=1).encode())
        for name, value in whole.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.metric(name, value)
        return whole

    def _name(self) -> None:
        """The run's command is that of the driver that did it, whichever was here first. Its own record beside stays: another driver
        can have looked whether the folder is a run's before it was one, and remove the file that had its own name."""
        uri = storage.join(self.uri, "command.json")
        held = storage.read_json(uri) if storage.exists(uri) else {}
        if {name: held.get(name) for name in self._command} != self._command:
            storage.write_bytes(uri, json.dumps(self._command, indent=1).encode())
        storage.write_bytes(storage.join(self.uri, "config.yaml"), self._tree())

    def _tree(self) -> bytes:
        return bytes(yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False), "utf-8")

    def _write(self, name: str, lines: list[str]) -> None:
        uri = storage.join(self.uri, name)
        before = storage.read_bytes(uri) if storage.exists(uri) else b""
        storage.write_bytes(uri, before + "".join(line + "\n" for line in lines).encode())
