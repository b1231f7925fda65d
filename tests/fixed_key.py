"""A key of `deid.key_file` that is the same in every run of the tests: days and surrogates are drawn from the key, so with a new one
two patients are moved by the same of 624 days now and then, and a test that says they are not fails by chance."""

from __future__ import annotations

from pathlib import Path


def fixed(file: Path, byte: int = 0x6B) -> str:
    """The path of `file`, which holds the key."""
    if not file.exists():
        file.touch(0o600)
        file.write_text(f"{byte:02x}" * 32 + "\n")
    return str(file)
