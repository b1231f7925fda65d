"""What the tests of faults share: counts for the last line, the S3 server behind its proxy, the process that forks drivers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE), str(HERE / "inject"), str(HERE.parent / "distributed")) if path not in sys.path]

from drivers import Nursery  # noqa: E402
from oracle import COUNTS, Counts  # noqa: E402
from s3_server import BUCKET, ENVIRONMENT, Store  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first and by one process, which alone then makes what they are compared with; short ones fill the end."""
    items.sort(key=lambda item: item.path.name != "test_verbs.py")


@pytest.fixture(scope="session")
def counts() -> Counts:
    return COUNTS


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    held = Nursery()
    yield held
    held.close()


@pytest.fixture(scope="session")
def served_store() -> Iterator[Store]:
    from s3fs import S3FileSystem

    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": store.url}.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield store
    S3FileSystem.clear_instance_cache()
    store.close()


@pytest.fixture
def store(served_store: Store) -> Iterator[Store]:
    served_store.behave()
    yield served_store
    served_store.behave()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on each backend."""
    if request.param == "local":
        return str(tmp_path / "store")
    request.getfixturevalue("store")
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a process of pytest-xdist counted goes to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        counted = {"points": sorted(COUNTS.points), "faults": COUNTS.faults, "lost": COUNTS.lost, "duplicated": COUNTS.duplicated}
        session.config.workeroutput["counts"] = counted


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    counted = getattr(node, "workeroutput", {}).get("counts")
    if counted:
        COUNTS.points |= {(backend, stage, point) for backend, stage, point in counted["points"]}
        COUNTS.faults += counted["faults"]
        COUNTS.lost += counted["lost"]
        COUNTS.duplicated += counted["duplicated"]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and (COUNTS.points or COUNTS.faults):
        line = {"crash_points": len(COUNTS.points), "faults": COUNTS.faults, "lost": COUNTS.lost, "duplicated": COUNTS.duplicated}
        terminal.write_line(json.dumps(line))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for Ray, whose sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
