"""How a verb is performed on the command line: heeding signals, telling failures, printing the report, setting the exit status."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def perform(verb: str, as_json: bool, work: Callable[[], dict[str, Any]]) -> None:
    """Run a verb's work; print its report; leave with its exit status."""
    with _heeding(verb, as_json):
        try:
            report = work()
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # Ray ends a process that gets SIGTERM with SystemExit
            raise typer.Exit(fail(verb, as_json, error)) from None
    if as_json:
        _print_line(verb, report)
    else:
        show(report)
    raise typer.Exit(0)


@contextlib.contextmanager
def _heeding(verb: str, as_json: bool) -> Iterator[None]:
    """Within, Ctrl-C and the SIGTERM that schedulers send interrupt the work; a second one, while it is leaving, ends the process at once."""
    seen = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal seen
        if seen:
            os._exit(fail(verb, as_json, KeyboardInterrupt()))
        seen = True
        raise KeyboardInterrupt

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, interrupt) for number in heeded]
    try:
        yield
    finally:
        for number, handler in zip(heeded, before, strict=True):
            signal.signal(number, handler)


def fail(verb: str | None, as_json: bool, error: BaseException) -> int:
    """Tell a failure, for a person and under `--json` as the last line too; return the exit status. The text of an unforeseen exception
    is never shown, for it could hold a value of a record."""
    from nosology.errors import NosologyError, printable

    report: dict[str, Any] = {}
    if isinstance(error, NosologyError):
        said, status, report = str(error), error.exit_code, getattr(error, "report", None) or {}
    elif isinstance(error, Exception):
        from nosology.runs import describe

        said, status = f"internal error: {describe(error)}; please report this line", 1
    else:
        said, status = "interrupted; the same command resumes", 1
    lines = [printable(line) for line in f"{f'nosology {verb}' if verb else 'nosology'}: {said}".split("\n")]
    print("\n".join(lines), file=sys.stderr)
    if as_json:
        _print_line(verb, {**report, "error": said, "exit": status})
    return status


def _print_line(verb: str | None, report: dict[str, Any]) -> None:
    """The line that ends every command under `--json`. `verb` is the command's own; what a run that it looked at or went on with was
    made by is `run_verb`."""
    made_by = report.get("verb", verb)
    named = {"verb": verb} if made_by == verb else {"verb": verb, "run_verb": made_by}
    print(json.dumps(named | {name: value for name, value in report.items() if name != "verb"}), flush=True)


def show(report: dict[str, Any]) -> None:
    """The report as aligned lines for a person."""
    from nosology.errors import printable

    shown = {printable(name): ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
             for name, value in report.items()}  # fmt: skip
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {printable(str(value))}")
