"""The encoder: refuses another model, and embeds the same text the same way wherever it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from nosology import config
from nosology.engines.encoder import Encoder, encoder_directory, load_encoder
from nosology.errors import ModelError


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(None)


def test_vectors_are_unit_length_in_order_and_close_in_meaning(encoder: Encoder) -> None:
    texts = ["a much longer phrase about a fracture of the shaft of the left femur", "high blood pressure", "hypertension"]
    vectors = encoder.embed(texts)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], encoder.embed([texts[1]])[0], atol=1e-5)
    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2] + 0.2
    assert encoder.embed([]).shape == (0, 384)


def test_progress_counts_every_text(encoder: Encoder) -> None:
    done: list[int] = []
    encoder.embed(["one", "two", "three"], batch_size=2, progress=done.append)
    assert sum(done) == 3


def test_a_missing_model_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="make models"):
        load_encoder(None)


def test_another_model_in_the_default_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = config.home()
    (tmp_path / "encoder").mkdir()
    for path in (home / "encoder").iterdir():
        (tmp_path / "encoder" / path.name).symlink_to(path)
    weights = tmp_path / "encoder" / "model.safetensors"
    weights.unlink()
    shutil.copy(home / "encoder" / "model.safetensors", weights)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="SHA-256"):
        encoder_directory(None)
    assert encoder_directory(tmp_path / "encoder") == tmp_path / "encoder", "a directory that the user names is taken as it is"


def test_a_truncated_model_is_an_error_of_ours(tmp_path: Path) -> None:
    for path in (config.home() / "encoder").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ModelError):
        load_encoder(tmp_path)
