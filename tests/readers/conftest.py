"""Reading from bytes, and the places of the samples."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from nosology import readers
from nosology.config import IngestConfig, InputConfig

ROOT = Path(__file__).parents[2]
sys.path.append(str(Path(__file__).parent))  # for reader_samples


FUZZED = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def fuzzed(pytestconfig: pytest.Config) -> Counter[str]:
    """Damaged inputs that were read, by reader: their number is the last line of the run."""
    return pytestconfig.stash.setdefault(FUZZED, Counter())


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and (counts := config.stash.get(FUZZED, None)):
        terminal.write_line(json.dumps({"fuzz_inputs": counts.total(), "readers": len(counts)}))


@dataclass
class Read:
    """What came out of one file."""

    format: str
    counts: readers.Counts
    items: list[Any]
    encodings: dict[str, int]

    def of(self, name: str) -> list[Any]:
        return [item for item in self.items if type(item).__name__ == name]

    def one(self, name: str) -> Any:
        (found,) = self.of(name)
        return found

    @property
    def reasons(self) -> list[tuple[str, str | None]]:
        return [(item.reason, item.field) for item in self.of("DeadLetter")]


def _split(options: dict[str, Any]) -> tuple[IngestConfig, InputConfig]:
    """Options of either section."""
    ingest = {name: value for name, value in options.items() if name in IngestConfig.model_fields}
    return IngestConfig(**ingest), InputConfig(**{name: value for name, value in options.items() if name not in ingest})


def _read(data: bytes, name: str = "file", **options: Any) -> Read:
    source = readers.SourceFile(f"/x/{name}", name, hashlib.sha256(data).hexdigest(), len(data))
    config, mapped = _split(options)
    reading = readers.read_file(source, io.BytesIO(data), config, mapped)
    items = list(reading)
    numbers = [item.source_row for item in items if not isinstance(item, readers.Skipped)]
    assert numbers == sorted(set(numbers)), "the key is unique and in order"
    assert reading.counts.dead == sum(type(item).__name__ == "DeadLetter" for item in items)
    assert {item.reason for item in items if type(item).__name__ == "DeadLetter"} <= readers.REASONS.keys()
    assert sum(reading.formats.values()) == reading.counts.records
    return Read(reading.format, reading.counts, items, dict(reading.encodings))


@pytest.fixture(scope="session")
def read() -> Callable[..., Read]:
    return _read


@pytest.fixture(scope="session")
def probe() -> Callable[..., str]:
    def one(data: bytes, name: str = "file", **options: Any) -> str:
        source = readers.SourceFile(f"/x/{name}", name, hashlib.sha256(data).hexdigest(), len(data))
        found, faults = readers.probe(source, io.BytesIO(data), *_split(options))
        if faults:
            raise faults[0]
        assert found is not None
        return found

    return one


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip of two members, padded": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]) + b"\0" * 512,
    "bzip2": bz2.compress,
    "bzip2 of two streams": lambda data: bz2.compress(data[:50]) + bz2.compress(data[50:]),
    "zstd": zstandard.compress,
    "zstd of two frames": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
}


@pytest.fixture(params=COMPRESSIONS)
def compress(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return COMPRESSIONS[request.param]


@pytest.fixture(scope="session")
def archive() -> Path:
    return ROOT / "examples" / "archive"


@pytest.fixture(scope="session")
def excerpts() -> Path:
    return ROOT / "tests" / "data"
