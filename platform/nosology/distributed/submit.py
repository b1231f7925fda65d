"""A verb as a job of a running Ray cluster: submitted with token authentication, its log followed, its exit status returned.

Code travels as `runtime_env.yaml` says; data never does. Config files are read here and sent as `key.sub=value` overrides, and
paths are made absolute, because the job runs in another folder, perhaps on another machine.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import yaml

from nosology.config import Config, flatten, load
from nosology.distributed.session import SOURCE_ROOT, prepare_environment
from nosology.errors import ConfigError, InputError, NosologyError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SCRIPTS = {
    "ingest": "ingest_archive", "deidentify": "deidentify", "prepare": "prepare", "train": "train", "quantize": "quantize",
    "code": "code_archive", "score": "score",
}  # fmt: skip
PATH_OPTIONS = {
    "--in", "--out", "--jsonl", "--spans", "--phrases", "--gold", "--base", "--leave-out", "--measure", "--measured", "--sampled",
}  # fmt: skip
CONFIG_OPTIONS = {"--config", "-c"}
PATH_KEYS = {"model.base", "model.artefact", "model.encoder", "deid.ner", "deid.key_file", "terminology.leave_out"}


class JobError(NosologyError):
    """The job ended otherwise than well.

    Attributes:
        exit_code: the exit status of its driver; 128 + n when signal n ended it; 1 when none is known.
        report: `job`, its id, and `job_status`.
    """

    def __init__(self, message: str, exit_code: int, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.exit_code, self.report = exit_code, report


def submit(verb: str, arguments: Sequence[str], address: str, *, root: Path | None = None, log: TextIO | None = None) -> dict[str, Any]:
    """Runs a verb as a Ray job and waits for its end.

    Args:
        verb: one of `SCRIPTS`.
        arguments: the options of the verb, as they would follow it on the command line.
        address: of the cluster's job server, for instance http://127.0.0.1:8265.
        root: folder of `runtime_env.yaml` and `jobs/`; None is the repository of this package, else the working directory.
        log: where the job's output goes; None is stderr.

    Returns:
        `job` (its id) and `job_status`.

    Raises:
        ConfigError: unknown verb, a config that does not load, or no `runtime_env.yaml`.
        InputError: no job server at the address, or it refuses the token.
        JobError: the job failed or was stopped; carries its exit status.
        NosologyError: the job server takes no job.
    """
    if verb not in SCRIPTS:
        raise ConfigError(f"submit: {verb!r} cannot run as a job; these can: {', '.join(SCRIPTS)}")
    root = root or find_root()
    command = ["jobs/" + SCRIPTS[verb] + ".py", *portable(arguments)]
    client = connect(address)
    try:
        job = client.submit_job(entrypoint=_entrypoint(command), runtime_env=runtime_environment(root), metadata={"verb": verb})
    except RuntimeError:  # its text can hold the arguments
        raise NosologyError(
            "submit: the job server takes no job now. dashboard_agent.log on the head says why; often another Ray has the agent's port "
            "(ray start --dashboard-agent-listen-port)"
        ) from None
    _follow(client, job, log or sys.stderr)
    details = client.get_job_info(job)
    report = {"job": job, "job_status": str(details.status.value)}
    code = details.driver_exit_code
    if details.status.value == "SUCCEEDED":
        return report
    if code is None or code == 0:
        raise JobError(f"job {job} ended as {details.status.value}", 1, report)
    raise JobError(f"job {job} ended with exit status {code}", code if code > 0 else 128 - code, report)


def find_root() -> Path:
    """The folder that holds `runtime_env.yaml`."""
    for folder in (SOURCE_ROOT.parent, Path.cwd()):
        if (folder / "runtime_env.yaml").is_file():
            return folder
    raise ConfigError("submit: no runtime_env.yaml here; run it in the repository's folder")


def runtime_environment(root: Path) -> dict[str, Any]:
    """`runtime_env.yaml` with its working directory as an absolute path."""
    environment = yaml.safe_load((root / "runtime_env.yaml").read_text(encoding="utf-8"))
    return {**environment, "working_dir": str((root / environment["working_dir"]).resolve())}


def portable(arguments: Sequence[str]) -> list[str]:
    """The arguments as they hold anywhere: config files as overrides (in front, so that those of the user win), paths absolute."""
    files: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        option, equals, value = argument.partition("=")
        if option in CONFIG_OPTIONS:
            files.append(value if equals else _value(option, left))
        elif option in PATH_OPTIONS:
            rest += [option, _absolute(value if equals else _value(option, left))]
        elif option in PATH_KEYS and value:
            rest.append(f"{option}={_absolute(value)}")
        else:
            rest.append(argument)
    accepted = ["deid.accept_residual=true"] if "--accept-residual" in rest else []  # else a file that leaves classes out is refused here
    return [*_overrides(load(files, accepted)), *rest] if files else rest


def _value(option: str, left: Iterator[str]) -> str:
    try:
        return next(left)
    except StopIteration:
        raise ConfigError(f"submit: {option} needs a value") from None


def _overrides(config: Config) -> list[str]:
    """What differs from the defaults. `cluster.address` stays behind: the job joins the cluster that it runs on."""
    defaults = dict(flatten(Config()))
    changed = ((key, value) for key, value in flatten(config) if value != defaults[key] and key != "cluster.address")
    return [f"{key}={orjson.dumps(_absolute(value) if key in PATH_KEYS and value else value).decode()}" for key, value in changed]


def _absolute(path: str) -> str:
    if "://" in path or os.path.isabs(path):
        return path
    return str(Path(path).resolve())


def _entrypoint(command: Sequence[str]) -> str:
    """The shell line of the job: with this Python where the cluster has it, with the node's `python` elsewhere."""
    own = shlex.quote(sys.executable)
    return f"P={own}; test -x $P || P=python; exec $P {shlex.join(command)}"


def connect(address: str) -> JobSubmissionClient:
    """A client of the job server, with the token of this user.

    Raises:
        InputError: nothing answers there, or the token is refused.
    """
    prepare_environment()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address, headers={"Authorization": f"Bearer {_token()}"})
    except ConnectionError:
        raise InputError("no job server answers", field="--address", remedy="Check that the cluster runs, with its dashboard") from None
    except AuthenticationError:
        remedy = "RAY_AUTH_TOKEN_PATH must name the token file of that cluster"
        raise InputError("the job server refuses the token", field="--address", remedy=remedy) from None
    except (ValueError, RuntimeError) as error:
        remedy = "Expected http://HOST:PORT of a Ray dashboard"
        raise InputError(f"the job server cannot be used ({type(error).__name__})", field="--address", remedy=remedy) from None


def _token() -> str:
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"RAY_AUTH_TOKEN_PATH: {error.strerror}; it must name the token file of the cluster") from None


def _follow(client: JobSubmissionClient, job: str, log: TextIO) -> None:
    """Copies the job's output until it ends. A connection that breaks is taken up again where it stood."""
    written = 0

    async def copy() -> None:
        nonlocal written
        seen = 0
        async for lines in client.tail_job_logs(job):
            new = lines[max(0, written - seen) :]
            seen += len(lines)
            if new:
                log.write(new)
                log.flush()
            written = max(written, seen)

    while True:
        try:
            asyncio.run(copy())
        except (RuntimeError, OSError):
            time.sleep(1.0)
        if client.get_job_status(job).is_terminal():
            return
        time.sleep(0.2)
