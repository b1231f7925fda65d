from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from nosology.config import ModelConfig, QuantizeConfig, TrainConfig
from nosology.engines import open_engine
from nosology.errors import InputError, ModelError
from nosology.quantization import agreement, quantize, round_to_int8
from nosology.quantization.manifest import check_directory
from nosology.tasks.coding import ChooseCode


@pytest.fixture(scope="module")
def adapter(generator, tmp_path_factory) -> str:
    import torch
    from nosology.training.adapters import attach
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    adapted = attach(AutoModelForCausalLM.from_pretrained(generator), TrainConfig(rank=4), task="CAUSAL_LM")
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(generator, adapter, tmp_path_factory) -> dict:
    return quantize(QuantizeConfig(), ModelConfig(base=generator), adapter, str(tmp_path_factory.mktemp("quantized")))


def questions(n: int = 24):
    words = ["knee pain", "asthma", "diabetes", "high blood pressure", "left hip", "acute cough"]
    task = ChooseCode()
    return [task.build(f"{words[i % 6]} {i}", None, [(f"A0{j}", f"{words[(i + j) % 6]} title {j}") for j in range(5)]) for i in range(n)]


def test_rounding_is_within_half_a_step():
    import torch

    torch.manual_seed(0)
    weight = torch.randn(16, 40) * torch.rand(16, 1)
    weight[3] = 0
    values, scales = round_to_int8(weight)
    assert values.dtype == torch.int8 and scales.shape == (16, 1) and not values[3].any()
    assert bool(((values * scales - weight).abs() <= scales / 2 + 1e-7).all()) and int(values.abs().max()) == 127


def test_the_artefact_is_int8_and_answers_like_the_model_before(made, generator, adapter):
    import torch
    from safetensors.torch import load_file

    tensors = load_file(str(Path(made["artefact"]) / "model.safetensors"))
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    assert made["layers"] == 14 and sum(kind == torch.int8 for kind in kinds.values()) == 14
    assert kinds["model.layers.0.self_attn.q_proj.weight_scale"] == torch.float32
    assert kinds["model.embed_tokens.weight"] == torch.float32 and "lm_head.weight" not in kinds
    asked = questions()
    prompts, labels = [m for m, _ in asked], [c for _, c in asked]
    tuned, artefact = open_engine(generator, adapter), open_engine(made["artefact"])
    figures = agreement(tuned, artefact, prompts, labels)
    assert figures["n"] == 24 and figures["agreement"] >= 0.75 and figures["mean_shift"] < 0.03
    assert agreement(tuned, open_engine(generator), prompts, labels)["mean_shift"] > 2 * figures["mean_shift"], "the adapter is not in it"
    assert agreement(tuned, tuned, prompts, labels) == {"n": 24.0, "agreement": 1.0, "mean_shift": 0.0}
    with pytest.raises(InputError):
        agreement(tuned, tuned, [], [])


def test_activations_are_rounded_when_it_runs(made):
    """W8A8, not W8A16: a layer's output is that of int8 activations with one scale per token."""
    import torch

    layer = open_engine(made["artefact"])._model.model.layers[0].mlp.up_proj
    x = torch.randn(1, 5, layer.in_features)
    scale = x.abs().amax(-1, keepdim=True) / 127.5
    with torch.no_grad():
        plain = torch.nn.functional.linear(x, layer.weight)
        got = layer(x)
        expected = torch.nn.functional.linear((x / scale).round().clamp(-128, 127) * scale, layer.weight)
    assert not torch.allclose(got, plain, atol=1e-6)
    assert (got - expected).abs().max() < 0.2 * (got - plain).abs().max()


def test_the_manifest_names_what_it_was_made_from(made, generator, adapter):
    from nosology import storage
    from nosology.quantization.manifest import weights_digest
    from nosology.terminology.codeset import code_set

    manifest = check_directory(made["artefact"])
    assert manifest is not None and check_directory(generator) is None
    assert manifest["base"] == weights_digest(Path(generator)) and manifest["code_set"] == code_set().digest
    assert manifest["adapter"] == storage.digest(f"{adapter}/adapter_model.safetensors") and manifest["scheme"] == "w8a8"
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= set(manifest["files"])


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_changed_file_is_refused(made, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(made["artefact"], copy)
    data = bytearray((copy / name).read_bytes())
    data[-2] = (data[-2] + 1) % 128
    (copy / name).write_bytes(data)
    with pytest.raises(ModelError):
        open_engine(str(copy))


def test_missing_and_added_files_are_refused(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made["artefact"], copy)
    (copy / "extra.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="added"):
        open_engine(str(copy))
    (copy / "extra.safetensors").unlink()
    (copy / "manifest.json").unlink()
    with pytest.raises(ModelError, match="manifest.json is missing"):
        open_engine(str(copy))
    (copy / "manifest.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        open_engine(str(copy))


def test_sources_are_found_or_refused(generator, tmp_path):
    whole = quantize(QuantizeConfig(), ModelConfig(), generator, str(tmp_path / "whole"))
    assert whole["adapter"] is None and whole["bytes"] < whole["bytes_before"]
    with pytest.raises(InputError, match="checkpoint"):
        quantize(QuantizeConfig(), ModelConfig(), str(tmp_path), str(tmp_path / "out"))
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/nowhere"}))
    with pytest.raises(ModelError, match="model.base"):
        quantize(QuantizeConfig(), ModelConfig(), str(lonely), str(tmp_path / "out"))
