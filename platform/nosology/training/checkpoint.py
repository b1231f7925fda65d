"""Checkpoints that are either whole and verified, or not there.

    checkpoints/step-00000050.json          the marker, created only if absent: folder, step, digest of every file
    checkpoints/step-00000050-1f3a…/        adapter or model, optimizer.safetensors (or deepspeed/), state.json

A checkpoint is written into a new folder, opened again and checked, and only then published by its marker. A process that dies
before the marker leaves a folder that nobody reads; no file is ever renamed or written over.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology.errors import InputError, ModelError
from nosology.storage import StorageError, create_if_absent, digest, named_errors

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: optimizer steps done, and its folder."""

    step: int
    folder: Path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def new_folder(root: Path, step: int, nonce: str | None = None) -> Path:
    """An empty folder for a checkpoint that is not published yet."""
    folder = root / f"step-{step:08d}-{nonce or uuid.uuid4().hex[:12]}"
    with named_errors(str(folder)):
        folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def writing(file: Path, folder: Path) -> Iterator[None]:
    """Around everything that is written of a checkpoint: the one place where the disk's refusal becomes an error of this package.

    The folder is then removed, for nobody would read it, and its space may be what is short: the log and the report need some.

    Raises:
        StorageError: disk full, no permission and the like.
    """
    try:
        with named_errors(str(file)):
            yield
    except StorageError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def verify_tensors(file: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Open a safetensors file again: names and shapes as expected, no tensor empty, all finite, not all zero.

    A freshly made LoRA has lora_B at zero and so learns nothing; after a step it must not be. (ZeRO-3 elsewhere saves empty adapters.)

    Raises:
        ModelError: names the first tensor at fault.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    if not expected:
        raise ModelError(f"checkpoint {file.name}: no parameter was to be saved")
    try:
        with safe_open(str(file), framework="pt") as stream:
            names = set(stream.keys())
            missing, extra = sorted(set(expected) - names), sorted(names - set(expected))
            if missing or extra:
                first = (missing + extra)[0]
                raise ModelError(f"checkpoint {file.name}: {len(missing)} tensors missing, {len(extra)} unexpected, first {first}")
            lora_b = [name for name in names if "lora_B" in name]
            alive = False
            for name in sorted(names):
                tensor = stream.get_tensor(name)
                if tuple(tensor.shape) != tuple(expected[name]):
                    raise ModelError(f"checkpoint {file.name}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name])}")
                if tensor.numel() == 0 or not bool(torch.isfinite(tensor).all()):
                    raise ModelError(f"checkpoint {file.name}: {name} is empty or not finite")
                alive = alive or (bool(tensor.any()) and (name in lora_b or not lora_b))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"checkpoint {file.name} cannot be opened again ({type(error).__name__})") from error
    if not alive:
        kind = "lora_B" if lora_b else "tensor"
        raise ModelError(f"checkpoint {file.name}: every {kind} is zero: nothing was learnt or the save lost it")


def publish(root: Path, step: int, folder: Path, keep: int) -> Checkpoint:
    """Make a verified folder the checkpoint of its step, then remove what is older than the newest `keep`.

    When another process has published this step already, its checkpoint stands and ours is removed.
    """
    with writing(folder, folder):
        for path in _files(folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    marker = {"step": step, "folder": folder.name, "files": {str(path.relative_to(folder)): digest(str(path)) for path in _files(folder)}}
    with writing(root / f"step-{step:08d}.json", folder):
        created = create_if_absent(str(root / f"step-{step:08d}.json"), json.dumps(marker, indent=1).encode())
    if not created:
        shutil.rmtree(folder)
    prune(root, keep)
    found = newest(root)
    if found is None:
        raise ModelError(f"checkpoint of step {step} was published but does not read back")
    return found


def _markers(root: Path) -> list[Path]:
    return sorted(root.glob("step-*.json"), reverse=True) if root.is_dir() else []


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint whose files all have the digests of its marker; a damaged one is passed over for the one before."""
    for path in _markers(root):
        try:
            marker: dict[str, Any] = json.loads(path.read_bytes())
            folder = root / str(marker["folder"])
            if marker["files"] and all(digest(str(folder / name)) == held for name, held in marker["files"].items()):
                return Checkpoint(int(marker["step"]), folder)
        except (InputError, OSError, ValueError, KeyError):
            continue
    return None


def prune(root: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, marker first, and unpublished folders of earlier steps."""
    markers = _markers(root)
    if len(markers) > keep and newest(root) is None:
        return
    for path in markers[keep:]:
        path.unlink(missing_ok=True)
    held = {json.loads(path.read_bytes())["folder"] for path in markers[:keep]}
    last = markers[0].stem if markers else ""
    for folder in root.glob("step-*-*"):
        if folder.is_dir() and folder.name not in held and folder.name[: len(last)] <= last:
            shutil.rmtree(folder, ignore_errors=True)


def save_weights(module: torch.nn.Module, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write what inference loads, and check it.

    Args:
        module: a peft or transformers model (its own `save_pretrained` is used), or any module (model.safetensors).
        state: parameters by their name in `module`, gathered, on the CPU.
        folder: an existing folder.
    """
    from safetensors.torch import save_file

    if hasattr(module, "peft_config"):
        from peft import get_peft_model_state_dict

        adapter = get_peft_model_state_dict(module, state_dict=dict(state), save_embedding_layers=False)
        with writing(folder / "adapter_model.safetensors", folder):
            cast("Any", module).save_pretrained(str(folder), state_dict=dict(state), save_embedding_layers=False)
        verify_tensors(folder / "adapter_model.safetensors", {name: tuple(tensor.shape) for name, tensor in adapter.items()})
        return
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    with writing(folder / "model.safetensors", folder):
        if hasattr(module, "save_pretrained"):
            model = cast("Any", module)
            model.save_pretrained(str(folder), state_dict=tensors, max_shard_size="1TB")
        else:
            save_file(tensors, str(folder / "model.safetensors"))
    verify_tensors(folder / "model.safetensors", {name: tuple(tensor.shape) for name, tensor in tensors.items()})


def save_state(folder: Path, step: int, optimizer: Mapping[str, torch.Tensor] | None, **fields: Any) -> None:
    """Write optimizer.safetensors (names `parameter|key`) and state.json."""
    from safetensors.torch import save_file

    if optimizer is not None:
        with writing(folder / "optimizer.safetensors", folder):
            save_file({name: tensor.contiguous() for name, tensor in optimizer.items()}, str(folder / "optimizer.safetensors"))
        verify_tensors(folder / "optimizer.safetensors", {name: tuple(tensor.shape) for name, tensor in optimizer.items()})
    with writing(folder / "state.json", folder):
        (folder / "state.json").write_text(json.dumps({"step": step, **fields}, indent=1))


def load_state(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """state.json, and the tensors of optimizer.safetensors (empty when DeepSpeed keeps them)."""
    from safetensors.torch import load_file

    file = folder / "optimizer.safetensors"
    return json.loads((folder / "state.json").read_text()), (load_file(str(file)) if file.is_file() else {})
