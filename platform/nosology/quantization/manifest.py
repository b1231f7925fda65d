"""manifest.json of an artefact: what it was made from, and the digest of each of its files. Read before any weight is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nosology import storage
from nosology.errors import ModelError

NAME = "manifest.json"
TRAINED = "training.json"  # in an adapter or a model that `train` made: what it was trained with, by digest
_REMEDIES = {
    "base": "set model.base to the model that it was trained on",
    "tokenizer": "take the tokenizer that lies beside the adapter",
    "template": "take the chat template that lies beside the adapter",
    "code_set": "use the release of the code set that it was trained with, or train again",
}


def weights_digest(directory: Path) -> str:
    """One digest of all safetensors files of a directory, by name.

    Raises:
        ModelError: it holds none.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelError(f"model {directory}: no safetensors file; other formats are not read")
    return hashlib.sha256("".join(f"{path.name} {storage.digest_once(str(path))}\n" for path in files).encode()).hexdigest()


def check_weights(directory: str) -> None:
    """Whether every tensor that the index of a model's weights names is in the file that it names; reads the files' heads alone.

    Raises:
        ModelError: a file is missing or cut off, lacks a tensor, or there are no safetensors files.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(directory)
    index = folder / "model.safetensors.index.json"
    try:
        named: dict[str, str] = json.loads(index.read_bytes())["weight_map"] if index.is_file() else {}
    except (OSError, ValueError, KeyError):
        raise ModelError(f"model {directory}: {index.name} is damaged") from None
    files = sorted(set(named.values())) or sorted(path.name for path in folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"model {directory}: no safetensors file; other formats are not read")
    for file in files:
        if not (folder / file).is_file():
            raise ModelError(f"model {directory}: {file} is missing, which {index.name} names. Copy the model again")
        try:
            with safe_open(str(folder / file), framework="np") as stream:
                held = set(stream.keys())
        except (OSError, SafetensorError) as error:
            raise ModelError(f"model {directory}: {file} cannot be opened ({type(error).__name__}). Copy the model again") from None
        missing = sum(1 for name, where in named.items() if where == file and name not in held)
        if missing:
            raise ModelError(f"model {directory}: {file} lacks {missing} tensors that {index.name} names. Copy the model again")


def identity(tokenizer: Any, base: str, code_set: str) -> dict[str, str]:
    """What a model must be used with to be what was trained: digests of the base's weights, the tokenizer, its chat template, the code set."""
    return {
        "base": base, "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "template": hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest(), "code_set": code_set,
    }  # fmt: skip


def _trained(folder: Path) -> dict[str, str]:
    """What `train` wrote of a model; nothing of one from elsewhere."""
    path = folder / TRAINED
    try:
        held: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError):
        raise ModelError(f"model {folder}: {TRAINED} is damaged. Run train again") from None
    return held


def check_trained(folder: Path, found: dict[str, str]) -> None:
    """Whether an adapter or a model that `train` made is used with what it was trained with; one from elsewhere says nothing.

    Raises:
        ModelError: names what differs.
    """
    held = _trained(folder)
    for name, digest in found.items():
        if name in held and held[name] != digest:
            raise ModelError(f"model {folder}: it was trained with another {name.replace('_', ' ')} than this one: {_REMEDIES[name]}")


def check_generator(folder: Path) -> None:
    """Raises ModelError where what `train` made in a folder is a head or an encoder, which does not generate."""
    objective = _trained(folder).get("objective")
    if objective not in (None, "generate", "prefer"):
        raise ModelError(f"model {folder}: it was trained with the objective {objective}, and only generators are quantized. Its whole "
                         "model is in the folder `model` of its run")  # fmt: skip


def check_code_set(directory: str, digest: str) -> None:
    """Whether an artefact was made with this release of the code set.

    Raises:
        ModelError: it was not.
    """
    path = Path(directory) / NAME
    try:
        held = json.loads(path.read_bytes()).get("code_set") if path.is_file() else None
    except (OSError, ValueError, AttributeError):
        raise ModelError(f"artefact {directory}: {NAME} is damaged. Run quantize again") from None
    if held is not None and held != digest:
        raise ModelError(f"artefact {directory}: it was made with another release of the code set: {_REMEDIES['code_set']}")


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
