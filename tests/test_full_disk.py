"""A disk that is full, a real one of one megabyte: each writer says so in one line that names file and remedy, and exits with 1."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nosology import storage
from nosology.config import ModelConfig, QuantizeConfig, TrainConfig


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Leaves this many pages of 4096 bytes."""
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() // 4096 - leave) * 4096)


def check(caught: pytest.ExceptionInfo[storage.StorageError], disk: Path) -> None:
    error = caught.value
    assert error.exit_code == 1 and "disk is full" in str(error) and "Free space" in str(error)
    assert error.file is not None and error.file.startswith(str(disk))
    assert "\n" not in str(error) and error.__suppress_context__


def test_storage(disk: Path) -> None:
    fill(disk)
    for write in (storage.write_bytes, storage.create_if_absent):
        with pytest.raises(storage.StorageError) as caught:
            write(str(disk / "x"), bytes(8192))
        check(caught, disk)
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_writers_of_weights(disk: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(1 << 19)}
    writers: list[Any] = [
        lambda file: save_file(tensors, file),
        lambda file: torch.save(tensors, file),
        lambda file: torch.save(tensors, file, _use_new_zipfile_serialization=False),
    ]
    for number, write in enumerate(writers):
        with pytest.raises(storage.StorageError) as caught, storage.named_errors(str(disk / "weights")):
            write(str(disk / f"weights-{number}"))
        check(caught, disk)
        for path in disk.iterdir():
            path.unlink()


def test_other_errors_of_writers_of_weights_stay_what_they_are(tmp_path: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    (tmp_path / "x.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(SafetensorError), storage.named_errors("x"):
        load_file(str(tmp_path / "x.safetensors"))
    with pytest.raises(RuntimeError, match="boom"), storage.named_errors("x"):
        raise RuntimeError("boom")
    with pytest.raises(storage.StorageError, match="errno 2"), storage.named_errors("x"):
        save_file({"a": torch.zeros(1)}, str(tmp_path / "none" / "x.safetensors"))


def test_quantize(disk: Path, generator: str, tmp_path: Path) -> None:
    from nosology.quantization import quantize

    whole = quantize(QuantizeConfig(), ModelConfig(), generator, str(tmp_path / "whole"))
    weights = -(-whole["bytes"] // 4096)
    for leave in (0, weights // 2, weights, weights + 5):  # weights, then config, tokenizer, manifest
        fill(disk, leave)
        with pytest.raises(storage.StorageError) as caught:
            quantize(QuantizeConfig(), ModelConfig(), generator, str(disk / "out"))
        check(caught, disk)
        assert not (disk / "out" / "artefact").exists()


def test_generator(disk: Path, tmp_path: Path) -> None:
    from nosology.training.generator import make_generator

    make_generator(["a cough", "gout"], tmp_path / "whole", 0, width=64, layers=2)
    weights = -(-(tmp_path / "whole" / "model.safetensors").stat().st_size // 4096)
    for leave in (0, weights // 2, weights + 2):  # weights with their config, then the tokenizer
        fill(disk, leave)
        with pytest.raises(storage.StorageError) as caught:
            make_generator(["a cough", "gout"], disk / "out", 0, width=64, layers=2)
        check(caught, disk)
        shutil.rmtree(disk / "out", ignore_errors=True)


@pytest.fixture
def blocks(tmp_path: Path) -> str:
    import pyarrow.parquet as pq
    from nosology.records import PackedBlock, to_table

    tokens = tuple(range(4, 20))
    rows = [
        PackedBlock(block_id=n, split="train", input_ids=tokens, labels=tokens, position_ids=tuple(range(16)), segment_ids=(1,) * 16)
        for n in range(4)
    ]
    (tmp_path / "blocks").mkdir()
    pq.write_table(to_table(PackedBlock, rows), tmp_path / "blocks" / "blocks.parquet")
    return str(tmp_path / "blocks")


@pytest.mark.parametrize(("method", "leave"), [("lora", 0), ("lora", 20), ("full", 30)])
def test_training(disk: Path, generator: str, blocks: str, method: Any, leave: int) -> None:
    from nosology.training import objective
    from nosology.training.loop import train

    fill(disk, leave)
    config = TrainConfig(method=method, rank=4, batch_size=2, precision="fp32", max_steps=2, workers=1)
    with pytest.raises(storage.StorageError) as caught:
        train(objective("generate"), config, ModelConfig(base=generator), blocks, disk / "out")
    check(caught, disk)
    assert not list(disk.glob("out/checkpoints/step-*"))  # nothing half-written holds the space that is short


def test_parts_of_a_checkpoint(disk: Path) -> None:
    import torch
    from nosology.training import checkpoint

    root = disk / "checkpoints"
    tensors = {"a|value": torch.ones(4), "a|exp_avg": torch.ones(4), "a|exp_avg_sq": torch.ones(4)}
    snapshot = checkpoint.Snapshot(1, 0, 1, torch.nn.Linear(2, 2), {"weight": torch.ones(2, 2)}, tensors, {}, {"note": "x" * 100})
    name = checkpoint.new_folder(root, 1)
    fill(disk)
    with pytest.raises(storage.StorageError) as caught:
        checkpoint.write_part(root, name, snapshot)
    check(caught, disk)
    fill(disk, leave=40)
    name = checkpoint.new_folder(root, 1)
    checkpoint.write_part(root, name, snapshot)
    fill(disk)
    with pytest.raises(storage.StorageError) as caught:
        checkpoint.publish(root, 1, name, 1, 1)
    check(caught, disk)
    assert not list(root.iterdir())


def test_the_schema_of_the_config(disk: Path) -> None:
    fill(disk)
    done = subprocess.run(
        [sys.executable, "-m", "nosology.cli", "config", "--schema", str(disk / "schema.json"), "--json"], capture_output=True, text=True
    )
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1 == last["exit"] and "disk is full" in last["error"] and "schema.json" in last["error"]
    assert "Traceback" not in done.stdout + done.stderr and len(done.stderr.splitlines()) == 1
    assert not (disk / "schema.json").exists()


def test_a_stream_is_written_to_and_not_replaced() -> None:
    before = Path("/dev/stdout").readlink()
    done = subprocess.run(
        [sys.executable, "-m", "nosology.cli", "config", "--schema", "/dev/stdout", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0 and '"properties"' in done.stdout and Path("/dev/stdout").readlink() == before
