"""Checkpoints that are either whole and verified, or not there. One form for LoRA and full fine-tuning, at every ZeRO stage.

    checkpoints/step-00000050.json          the marker, created only if absent: step, folder, digest of every file, metrics
    checkpoints/step-00000050-1f3a…/        state.json, and for each of N workers its part:
        adapter_model.safetensors, adapter_config.json          LoRA: what inference loads, from the first worker
        model-00001-of-0000N.safetensors, …index.json           full: what inference loads
        optimizer-00001-of-0000N.safetensors                    `parameter|value`, `|exp_avg`, `|exp_avg_sq` in fp32, each gathered
        part-00001.json                                         files of the part with their digests

No tensor is sharded, so that any number of workers and any stage can go on from it, without a conversion. A part is written into a new
folder, opened again and checked; when all parts are there the marker publishes them. A worker that dies before that leaves a folder
that nobody reads; no file is ever renamed or written over. The folder may be `s3://`: parts are then written to a temporary folder
first, and read back from the store for their digests.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology import storage
from nosology.errors import InputError, ModelError
from nosology.storage import StorageError, create_if_absent, digest, named_errors

if TYPE_CHECKING:
    import torch

WEIGHTS_INDEX = "model.safetensors.index.json"
# what the first worker writes beside its tensors, as far as the model has it
_FIRST = ("state.json", "adapter_model.safetensors", "adapter_config.json", "config.json", "generation_config.json", WEIGHTS_INDEX)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: optimizer steps done, its folder on this machine, and what was measured at it."""

    step: int
    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None  # higher is better


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One worker's part of a training's state, on the CPU: nothing in it changes when training goes on."""

    step: int
    part: int  # from 0
    parts: int
    module: torch.nn.Module  # for the names of an adapter; no weight of it is read
    weights: Mapping[str, torch.Tensor]  # by name in `module`
    optimizer: Mapping[str, torch.Tensor]
    owners: Mapping[str, int]  # part of every weight, of all workers; empty where the first has all
    fields: Mapping[str, Any]  # of state.json
    texts: Mapping[str, str] = field(default_factory=dict)  # files beside the weights of a whole model


def new_folder(root: str | Path, step: int) -> str:
    """Name of a new folder for a checkpoint that is not published yet; made, where the root is local."""
    name = f"step-{step:08d}-{uuid.uuid4().hex[:12]}"
    if storage.is_local(str(root)):
        with named_errors(storage.join(str(root), name)):
            storage.local_path(storage.join(str(root), name)).mkdir(parents=True)
    return name


def _marker(root: str, step: int) -> str:
    return storage.join(root, f"step-{step:08d}.json")


@contextlib.contextmanager
def _guarded(root: str, name: str) -> Iterator[None]:
    """Around everything that is written of a checkpoint: when the disk or the store refuses, its folder is removed, for nobody would read it,
    and its space may be what is short: the log and the report need some.

    Raises:
        StorageError: disk full, no permission and the like.
    """
    try:
        with named_errors(storage.join(root, name)):
            yield
    except StorageError:
        _remove_folder(root, name)
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


@contextlib.contextmanager
def _work(root: str, name: str) -> Iterator[Path]:
    """Local folder in which a part is written: the checkpoint's own, or a temporary one where that is remote."""
    if storage.is_local(root):
        yield storage.local_path(storage.join(root, name))
        return
    with named_errors(tempfile.gettempdir()):
        made = Path(tempfile.mkdtemp(prefix="nosology-checkpoint-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _numbered(stem: str, part: int, parts: int) -> str:
    return f"{stem}.safetensors" if parts == 1 else f"{stem}-{part + 1:05d}-of-{parts:05d}.safetensors"


def write_part(root: str | Path, name: str, snapshot: Snapshot) -> None:
    """Write one worker's part, check it, and say that it is there.

    Raises:
        ModelError: what was written is not what was to be written: a tensor is missing, empty, not finite; or nothing was learnt.
        StorageError: the disk is full or refuses.
    """
    root = str(root)
    with _guarded(root, name), _work(root, name) as folder:
        files = [*_write_weights(snapshot, folder)]
        if snapshot.optimizer:
            files.append(_write_tensors(_numbered("optimizer", snapshot.part, snapshot.parts), snapshot.optimizer, folder))
        if snapshot.part == 0:
            (folder / "state.json").write_text(json.dumps({"step": snapshot.step, "parts": snapshot.parts, **snapshot.fields}, indent=1))
            # others write into the same folder
            files += [name for name in _FIRST if (folder / name).is_file()]
        held = {file: _deliver(folder / file, storage.join(root, name, file)) for file in files}
        part = f"part-{snapshot.part + 1:05d}.json"
        create_if_absent(storage.join(root, name, part), json.dumps({"files": held}, indent=1).encode())


def _deliver(path: Path, uri: str) -> str:
    """On disk, or in the store and read back from there; the digest of the file.

    Raises:
        ModelError: the store gives back something else.
    """
    own = digest(str(path))
    if storage.is_local(uri):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return own
    with storage.open_output(uri) as target, path.open("rb") as source:
        shutil.copyfileobj(source, target, 8 << 20)
    if digest(uri) != own:
        raise ModelError(f"checkpoint {path.name}: the storage gives back other bytes than it was given")
    return own


def _write_tensors(file: str, tensors: Mapping[str, torch.Tensor], folder: Path) -> str:
    from safetensors.torch import save_file

    with named_errors(str(folder / file)):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(folder / file), metadata={"format": "pt"})
    verify_tensors(folder / file, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return file


def _write_weights(snapshot: Snapshot, folder: Path) -> Iterator[str]:
    """What inference loads: an adapter with peft's own names, or the weights of the whole model in parts."""
    module = cast("Any", snapshot.module)
    for name, text in snapshot.texts.items():
        (folder / name).write_text(text)
    if hasattr(module, "peft_config"):
        if snapshot.part == 0:
            from peft import get_peft_model_state_dict

            adapter = get_peft_model_state_dict(module, state_dict=dict(snapshot.weights), save_embedding_layers=False)
            with named_errors(str(folder / "adapter_model.safetensors")):
                module.save_pretrained(str(folder), state_dict=dict(snapshot.weights), save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # peft's template of a model card, with nothing in it
            verify_tensors(folder / "adapter_model.safetensors", {name: tuple(tensor.shape) for name, tensor in adapter.items()})
        return
    if snapshot.weights:
        yield _write_tensors(_numbered("model", snapshot.part, snapshot.parts), snapshot.weights, folder)
    if snapshot.part == 0 and snapshot.parts > 1:
        names = {name: _numbered("model", owner, snapshot.parts) for name, owner in snapshot.owners.items()}
        (folder / WEIGHTS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}, indent=1))


def publish(root: str | Path, step: int, name: str, parts: int, keep: int, *, metrics: Mapping[str, float] | None = None,
            score: float | None = None) -> None:  # fmt: skip
    """Make a folder whose parts are all there the checkpoint of its step; then remove what is neither of the newest `keep` nor the best.

    When another group has published this step already, its checkpoint stands and ours is removed.

    Raises:
        ModelError: a part is missing.
    """
    root = str(root)
    files: dict[str, str] = {}
    for part in range(parts):
        uri = storage.join(root, name, f"part-{part + 1:05d}.json")
        try:
            files |= storage.read_json(uri)["files"]
        except StorageError:
            raise
        except InputError:
            raise ModelError(f"checkpoint of step {step}: part {part + 1} of {parts} is missing") from None
    _mark(root, step, name, files, keep, dict(metrics or {}), score)


def _mark(root: str, step: int, name: str, files: Mapping[str, str], keep: int, metrics: Mapping[str, float], score: float | None) -> None:
    marker: dict[str, Any] = {"step": step, "folder": name, "files": dict(files), "metrics": dict(metrics)}
    if score is not None:
        marker["score"] = score
    text = json.dumps(marker, indent=1).encode()
    with _guarded(root, name):
        if create_if_absent(_marker(root, step), text):
            _verified.add((root, name))
        else:
            held = next((one for uri, one in _markers(root) if one["step"] == step), None)
            if held is not None and _is_good(root, held):
                _remove_folder(root, name)
            else:  # what was published of this step is damaged
                storage.remove(_marker(root, step))
                if held is not None:
                    _remove_folder(root, held["folder"])
                create_if_absent(_marker(root, step), text)
                _verified.add((root, name))
    try:
        prune(root, keep)
    except StorageError as error:  # the checkpoint is good; that an older one stays is no reason to end
        logging.getLogger("nosology").warning("older checkpoints could not be removed: %s", error.rule)


def _remove_folder(root: str, name: str) -> None:
    if storage.is_local(root):
        shutil.rmtree(storage.local_path(storage.join(root, name)), ignore_errors=True)
        return
    for uri in storage.list_files(storage.join(root, name)):
        storage.remove(uri)


def _markers(root: str) -> list[tuple[str, dict[str, Any]]]:
    """Markers that can be read, the newest first."""
    if not storage.is_folder(root):
        return []
    found = []
    if storage.is_local(root):
        uris = [str(path) for path in storage.local_path(root).glob("step-*.json")]
    else:
        uris = [uri for uri in storage.list_files(root) if _below(root, uri).startswith("step-") and "/" not in _below(root, uri)]
    for uri in sorted(uris, reverse=True):
        try:
            marker = storage.read_json(uri)
            found.append((uri, {**marker, "step": int(marker["step"]), "folder": str(marker["folder"]), "files": dict(marker["files"])}))
        except StorageError:  # that the storage does not answer is no damage
            raise
        except (InputError, ValueError, KeyError, TypeError):
            continue
    return found


def _below(root: str, uri: str) -> str:
    """A file's place below a root, whatever the store calls itself (s3, s3a)."""
    return uri.partition("://")[2].removeprefix(root.partition("://")[2].rstrip("/") + "/")


_verified: set[tuple[str, str]] = set()  # checkpoints that this process has written and read again, or has compared with their digests


def _is_good(root: str, marker: Mapping[str, Any], *, again: bool = True) -> bool:
    """Whether all files of a checkpoint have the digests of its marker; unless `again`, what this process has seen before is believed."""
    key = (root, marker["folder"])
    if again or key not in _verified:
        try:
            if not marker["files"] or any(
                digest(storage.join(root, marker["folder"], name)) != held for name, held in marker["files"].items()
            ):
                return False
        except StorageError:
            raise
        except InputError:
            return False
        _verified.add(key)
    return True


def newest(root: str | Path, into: Path | None = None) -> Checkpoint | None:
    """The newest checkpoint whose files all have the digests of its marker; a damaged one is passed over for the one before.

    Args:
        root: local folder or `s3://`.
        into: local folder that a remote one is copied into.

    Raises:
        ModelError: there are checkpoints, and all of them are damaged.
        StorageError: the storage does not answer.
    """
    return _first(str(root), _markers(str(root)), into)


def chosen(root: str | Path, into: Path | None = None, *, again: bool = True) -> Checkpoint | None:
    """The checkpoint to use: of those that were evaluated the best, else the newest. Arguments and errors as of `newest`; unless `again`,
    one that this process has written and read again is believed."""
    markers = _markers(str(root))
    scored = sorted((m for m in markers if m[1].get("score") is not None), key=lambda m: -m[1]["score"])
    return _first(str(root), [*scored, *(m for m in markers if m not in scored)], into, again)


def opened(root: str | Path, name: str, into: Path | None = None) -> Path:
    """Local folder of a checkpoint that another worker has found good."""
    root = str(root)
    if storage.is_local(root):
        return storage.local_path(storage.join(root, name))
    marker = next((one for _, one in _markers(root) if one["folder"] == name), None)
    folder = _bring(root, marker, into) if marker else None
    if folder is None:
        raise ModelError(f"checkpoint {name}: this worker does not see it, or sees another one")
    return folder


def adopt(found: Checkpoint, home: str | Path) -> None:
    """Make a copy of a checkpoint the one of another root, on a local disk."""
    name = new_folder(home, found.step)
    target = storage.local_path(storage.join(str(home), name))
    files = {}
    with _guarded(str(home), name):
        for file in sorted(found.folder.iterdir()):
            if not file.name.startswith("part-"):
                shutil.copy(file, target / file.name)
                files[file.name] = _deliver(target / file.name, str(target / file.name))
    _mark(str(home), found.step, name, files, 1, found.metrics, found.score)


def _first(root: str, markers: Sequence[tuple[str, dict[str, Any]]], into: Path | None, again: bool = True) -> Checkpoint | None:
    for _, marker in markers:
        if storage.is_local(root):
            folder = storage.local_path(storage.join(root, marker["folder"])) if _is_good(root, marker, again=again) else None
        else:
            folder = _bring(root, marker, into)
        if folder:
            return Checkpoint(marker["step"], folder, marker.get("metrics") or {}, marker.get("score"))
    if markers:
        raise ModelError(f"all {len(markers)} checkpoints are damaged (files are missing or have other digests than their markers say). "
                         "Bring them back from a backup, or take another run folder")  # fmt: skip
    return None


def _bring(root: str, marker: Mapping[str, Any], into: Path | None) -> Path | None:
    """Copy a remote checkpoint to this machine; None where it is not what its marker says."""
    assert into is not None
    folder = into / str(marker["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    for file, held in marker["files"].items():
        try:
            with named_errors(str(folder / file)), storage.open_input(storage.join(root, marker["folder"], file)) as source:
                (folder / file).unlink(missing_ok=True)
                with (folder / file).open("wb") as target:
                    shutil.copyfileobj(source, target, 8 << 20)
        except StorageError:
            raise
        except InputError:  # it is not there
            return None
        if digest(str(folder / file)) != held:
            return None
    return folder if marker["files"] else None


def prune(root: str | Path, keep: int) -> None:
    """Remove all but the newest `keep` good checkpoints and the best, marker first; and unpublished folders of earlier steps. While none
    is good, nothing goes."""
    root = str(root)
    markers = _markers(root)
    good = (
        [marker for _, marker in markers if _is_good(root, marker, again=False)]
        if len(markers) > keep
        else [marker for _, marker in markers]
    )
    if not good:
        return
    best = max((marker for marker in good if marker.get("score") is not None), key=lambda marker: marker["score"], default=None)
    held = {marker["folder"] for marker in good[:keep]} | ({best["folder"]} if best else set())
    for uri, marker in markers:
        if marker["folder"] not in held:
            storage.remove(uri)
            _remove_folder(root, marker["folder"])
    last = f"step-{good[0]['step']:08d}"
    if storage.is_local(root):
        names = {folder.name for folder in storage.local_path(root).glob("step-*-*") if folder.is_dir()}
    else:
        names = {_below(root, uri).partition("/")[0] for uri in storage.list_files(root)}
    for name in names:
        if name not in held and name.startswith("step-") and not name.endswith(".json") and name[: len(last)] <= last:
            _remove_folder(root, name)


class Tensors(Mapping[str, "torch.Tensor"]):
    """Tensors of all parts of a checkpoint by name, each read when it is asked for."""

    def __init__(self, folder: Path, stem: str) -> None:
        from safetensors import safe_open

        files = sorted([*folder.glob(f"{stem}.safetensors"), *folder.glob(f"{stem}-*-of-*.safetensors")])
        self._opened: list[Any] = [safe_open(str(file), framework="pt") for file in files]
        self._where = {name: stream for stream in self._opened for name in stream.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._where[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def load_state(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """state.json, and the tensors of the optimizer.

    Raises:
        ModelError: state.json does not read.
    """
    try:
        return json.loads((folder / "state.json").read_text()), Tensors(folder, "optimizer")
    except (OSError, ValueError) as error:
        raise ModelError(f"checkpoint {folder.name}: state.json cannot be read ({type(error).__name__})") from None
