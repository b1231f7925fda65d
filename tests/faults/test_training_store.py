"""Checkpoints of a training on a local disk and on a real S3 server: cut off, gone on with, damaged, pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from nosology import storage
from nosology.config import ModelConfig, TrainConfig
from nosology.records import PackedBlock, to_table
from nosology.training import checkpoint
from nosology.training.generate import Generate
from nosology.training.loop import train


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("blocks")
    chance = np.random.default_rng(0)
    rows = []
    for number in range(12):
        tokens = tuple(int(x) for x in chance.integers(10, 60, size=24))
        rows.append(PackedBlock(block_id=number, split="train", input_ids=tokens, labels=tokens, position_ids=tuple(range(24)), segment_ids=(1,) * 24))  # fmt: skip
    pq.write_table(to_table(PackedBlock, rows), folder / "blocks.parquet")
    return str(folder)


class Cut(Exception):
    pass


def settings(place: str, **changes: Any) -> TrainConfig:
    toy = {
        "precision": "fp32",
        "batch_size": 2,
        "workers": 1,
        "rank": 4,
        "learning_rate": 1e-2,
        "max_steps": 6,
        "epochs": 2,
        "checkpoint_steps": 1,
    }
    return TrainConfig(**{**toy, "checkpoint_folder": place, **changes})


def own(place: str) -> str:
    """The folder that the one run has below a place."""
    (name,) = {uri[len(place) + 1 :].partition("/")[0] for uri in storage.list_files(place)}
    return storage.join(place, name)


def markers(place: str) -> list[str]:
    names = (uri.rpartition("/")[2] for uri in storage.list_files(place) if uri.rpartition("/")[0] == place)
    return sorted(name for name in names if name.endswith(".json"))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_goes_on_from_a_store(place: str, generator: str, blocks: str, tmp_path: Path, method: Any) -> None:
    def cut(measures: dict[str, float]) -> None:
        if measures["step"] == 4:
            raise Cut

    config, model = settings(place, method=method), ModelConfig(base=generator)
    whole = train(Generate(), settings(place + "-whole", method=method), model, blocks, tmp_path / "whole")
    with pytest.raises(Cut):
        train(Generate(), config, model, blocks, tmp_path / "cut", on_step=cut)
    report = train(Generate(), config, model, blocks, tmp_path / "cut")
    assert report["start_step"] >= 2 and report["last_loss"] == pytest.approx(whole["last_loss"], abs=1e-6) and report["ledger"]["exact"]
    place = own(place)
    assert markers(place) == ["step-00000005.json", "step-00000006.json"]
    folders = {uri[len(place) + 1 :].partition("/")[0] for uri in storage.list_files(place)} - set(markers(place))
    assert {folder[:13] for folder in folders} >= {"step-00000005", "step-00000006"}
    found = Path(report["checkpoint"])
    weights = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (found / weights).is_file() and found.is_relative_to(tmp_path / "cut" / "checkpoints")


def test_a_flipped_byte_is_passed_over(place: str, generator: str, blocks: str, tmp_path: Path) -> None:
    train(Generate(), settings(place), ModelConfig(base=generator), blocks, tmp_path / "run")
    newest = next(uri for uri in storage.list_files(place) if "step-00000006-" in uri and uri.endswith("optimizer.safetensors"))
    data = bytearray(storage.read_bytes(newest))
    data[len(data) // 2] ^= 1
    storage.write_bytes(newest, bytes(data))
    found = checkpoint.newest(own(place), tmp_path / "brought")
    assert found is not None and found.step == 5


def test_two_runs_may_share_a_place_and_a_damaged_last_step_is_made_again(place: str, generator: str, blocks: str, tmp_path: Path) -> None:
    config, model = settings(place, keep_checkpoints=1), ModelConfig(base=generator)
    first = train(Generate(), config, model, blocks, tmp_path / "one")
    other = train(Generate(), config.model_copy(update={"seed": 5}), model, blocks, tmp_path / "two")
    assert other["start_step"] == 0 and other["last_loss"] != first["last_loss"]
    home = Path(first["checkpoint"])
    (home / "adapter_model.safetensors").write_bytes(b"damaged")
    again = train(Generate(), config, model, blocks, tmp_path / "one")
    assert again["start_step"] == 6 and checkpoint.chosen(tmp_path / "one" / "checkpoints")
    assert not list((tmp_path / "one").glob("brought/*"))
