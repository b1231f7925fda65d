"""What is no stage: progress, the machine, jobs on a cluster, the service, the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nosology import storage
from nosology.config import Config
from nosology.errors import ConfigError, InputError, printable
from nosology.runs import last_error


def status(run: str) -> dict[str, Any]:
    """Progress of a run, from its folder alone; of one whose last driver gave up, also what it said (`ended_with`).

    Raises:
        InputError: the folder holds no run.
    """
    from nosology.distributed.sink import is_run
    from nosology.distributed.stages import job_status
    from nosology.training import lines

    if is_run(run):
        found = job_status(run)
        told = None if found["finished"] else last_error(run)
        return {**found, "ended_with": told} if told else found
    finished = storage.exists(storage.join(run, "report.json"))
    metrics = storage.join(run, "metrics.jsonl")
    if storage.exists(metrics):  # a training: its steps are its progress
        losses = [line for line in lines.whole(storage.read_bytes(metrics)) if line.get("name") == "loss"]
        if losses:
            return {"verb": "train", "steps": losses[-1]["step"] + 1, "loss": losses[-1]["value"], "finished": finished}
    if storage.exists(storage.join(run, "generator")):
        done = sorted(uri.split("/")[-2] for uri in storage.list_files(run) if uri.endswith("/step.json"))
        return {"verb": "demo", "steps": done, "finished": finished}
    if finished:
        return {**storage.read_json(storage.join(run, "report.json")), "finished": True}
    if storage.exists(storage.join(run, "config.yaml")):  # it loads its models, or it ended before it could begin: log.jsonl tells
        return {"done": 0, "finished": False}
    raise InputError("no run is here", file=run, remedy="Name the folder that was given as --out")


def doctor(config: Config, out: str, as_json: bool) -> dict[str, Any]:
    """What this machine can do; for a person, one line a check.

    Args:
        out: folder that runs are to be written to, local or `s3://`.
    """
    from nosology.doctor import examine, summary

    findings = examine(config, out)
    if not as_json:
        signs = {"good": "ok  ", "limited": "!   ", "bad": "FAIL"}
        for finding in findings:
            print(printable(f"{signs[finding.state]}  {finding.check.ljust(18)} {finding.found}"))
            if finding.means:
                print(printable(f"      {finding.means}; mend: {finding.remedy}"))
    report = summary(findings)
    if report["bad"]:
        raise DoctorError(report)
    return report if as_json else {}


class DoctorError(ConfigError):
    """Something that is needed does not work here."""

    exit_code = 1

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        super().__init__("; ".join(f["check"] for f in report["findings"] if f["state"] == "bad") + " will not work here")


def submit(verb: str, arguments: Sequence[str], address: str) -> dict[str, Any]:
    """Run a verb as a Ray job on a cluster."""
    from nosology.distributed.submit import submit as send

    return send(verb, arguments, address)


def serve(config: Config) -> dict[str, Any]:
    """Serve until a signal."""
    from nosology.distributed.serving import run
    from nosology.quantization.manifest import check_code_set
    from nosology.terminology.codeset import code_set

    if config.model.artefact:
        check_code_set(config.model.artefact, code_set().digest)
    return run(config)


def demo(config: Config, out: str) -> dict[str, Any]:
    """The whole way on the sample archive."""
    from nosology.demo import run_demo

    return run_demo(config, out)
