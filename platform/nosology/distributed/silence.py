"""What a process does not print or leave: anything while rows are in hand, and Ray's hints to its own developers."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discards what is printed or logged, by Python or by native code, while rows are in hand: a warning that quotes a row must
    not reach the log of a worker. (A Rust panic, for instance, quotes the string that it could not cut.)"""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    level = logging.root.manager.disable
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as text, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            yield
    finally:
        logging.disable(level)
        for target, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, target)
            os.close(copy)


def without_core() -> None:
    """No image of this process's memory on disk when native code ends it: it would hold rows."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


@contextlib.contextmanager
def native_muted() -> Iterator[None]:
    """Keeps what Ray's native code writes to this process's stderr (hints to Ray's own developers) off the terminal; what Python
    writes to `sys.stderr` is seen. Ray's log files have it all."""
    sys.stderr.flush()
    before, kept = sys.stderr, os.dup(2)
    with open(os.devnull, "wb") as nowhere, os.fdopen(os.dup(2), "w", buffering=1) as shown:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = shown
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
            os.close(kept)
