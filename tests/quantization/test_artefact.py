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


@pytest.mark.parametrize("name", ["base", "tokenizer", "template", "code_set"])
def test_what_a_model_was_trained_with_is_asked_for_again(generator, adapter, tmp_path, name):
    from nosology.quantization.manifest import TRAINED, identity, weights_digest
    from nosology.terminology.codeset import code_set
    from transformers import AutoTokenizer

    copy = tmp_path / "adapter"
    shutil.copytree(adapter, copy)
    trained = identity(AutoTokenizer.from_pretrained(generator), weights_digest(Path(generator)), code_set().digest)
    (copy / TRAINED).write_text(json.dumps(trained))
    quantize(QuantizeConfig(), ModelConfig(base=generator), str(copy), str(tmp_path / "same"))
    (copy / TRAINED).write_text(json.dumps({**trained, name: "0" * 64}))
    with pytest.raises(ModelError, match=f"trained with another {name.replace('_', ' ')}"):
        quantize(QuantizeConfig(), ModelConfig(base=generator), str(copy), str(tmp_path / "other"))


def test_an_artefact_of_another_release_of_the_code_set_is_refused(made):
    from nosology.quantization.manifest import check_code_set
    from nosology.terminology.codeset import code_set

    check_code_set(made["artefact"], code_set().digest)
    with pytest.raises(ModelError, match="another release of the code set"):
        check_code_set(made["artefact"], "0" * 64)


def test_a_base_with_a_missing_or_damaged_shard_is_refused_before_it_is_loaded(generator, tmp_path):
    from nosology.quantization.manifest import check_weights
    from safetensors.torch import load_file, save_file

    check_weights(generator)
    tensors = load_file(str(Path(generator) / "model.safetensors"))
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[: len(names) // 2], "model-00002-of-00002.safetensors": names[len(names) // 2 :]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, str(tmp_path / file))
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    check_weights(str(tmp_path))
    second = tmp_path / "model-00002-of-00002.safetensors"
    whole = second.read_bytes()
    save_file({name: tensors[name] for name in parts[second.name][1:]}, str(second))
    with pytest.raises(ModelError, match="lacks 1 tensors"):
        check_weights(str(tmp_path))
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be opened"):
        check_weights(str(tmp_path))
    second.unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002.safetensors is missing"):
        check_weights(str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="no safetensors file"):
        check_weights(str(tmp_path / "bin"))
