"""Records that end or hang the process that makes them: those that hold one of the words `KILLS`, `HANGS` or `KILLS-ONCE`, in a process
with `NOSOLOGY_DEADLY` set (a folder, in which is marked what was killed once)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from crash_points import Finder


def watch() -> None:
    """Wraps the readers as soon as something imports them."""
    if os.environ.get("NOSOLOGY_DEADLY"):
        sys.meta_path.insert(0, Finder("nosology.readers.source", install))


def install(source: ModuleType) -> None:
    make = source.Builder.make

    def deadly(self: Any, build: Callable[..., Any], *parts: Any) -> Any:
        def built(*parts: Any) -> Any:
            _meet(repr(parts))
            return build(*parts)

        return make(self, built, *parts)

    source.Builder.make = deadly


def _meet(text: str) -> None:
    if "HANGS" in text:
        time.sleep(600)
    if "KILLS-ONCE" in text:
        try:
            Path(os.environ["NOSOLOGY_DEADLY"], "killed").touch(exist_ok=False)
        except FileExistsError:
            return
    if "KILLS" in text:
        os.kill(os.getpid(), signal.SIGKILL)
