"""manifest.json of an artefact: what it was made from, and the digest of each of its files. Read before any weight is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.errors import ModelError

NAME = "manifest.json"


def weights_digest(directory: Path) -> str:
    """One digest of all safetensors files of a directory, by name.

    Raises:
        ModelError: it holds none.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelError(f"model {directory}: no safetensors file; other formats are not read")
    return hashlib.sha256("".join(f"{path.name} {storage.digest(str(path))}\n" for path in files).encode()).hexdigest()


def artefact_digest(directory: str) -> str:
    """SHA-256 of the manifest of an artefact, which names every file's; of the weights where it is a plain model directory.

    Raises:
        ModelError: it is neither.
    """
    manifest = Path(directory) / NAME
    return storage.digest(str(manifest)) if manifest.is_file() else weights_digest(Path(directory))


def check_directory(directory: str) -> dict[str, Any] | None:
    """The manifest of an artefact after its check; None for a plain model directory.

    Raises:
        ModelError: no config.json; code of its own (`auto_map`); a file that is missing, added or changed since the manifest.
    """
    folder = Path(directory)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        raise ModelError(f"model {directory}: config.json is missing or not JSON. Give the directory of a transformers model") from None
    if "auto_map" in config:
        raise ModelError(f"model {directory}: its config.json asks to run code of its own (auto_map), which is refused")
    path = folder / NAME
    if not path.is_file():
        if "quantization_config" in config:
            raise ModelError(f"artefact {directory}: {NAME} is missing, so it is incomplete. Run quantize again")
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        files: dict[str, str] = manifest["files"]
    except (ValueError, KeyError):
        raise ModelError(f"artefact {directory}: {NAME} is damaged. Run quantize again") from None
    there = {item.name for item in folder.iterdir() if item.is_file() and item.name != NAME}
    if there != set(files):
        raise ModelError(f"artefact {directory}: {len(there ^ set(files))} files are missing or were added since quantize")
    for name, digest in files.items():
        if storage.digest(str(folder / name)) != digest:
            raise ModelError(f"artefact {directory}: {name} was changed since quantize (SHA-256 differs)")
    return manifest
