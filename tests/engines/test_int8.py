"""The int8 graph against transformers in fp32, for the architectures that it speaks."""

import json

import numpy as np
import pytest
import torch
from nosology.engines.int8 import Int8Classifier, Shape, quantized, quantized_state, tensors
from nosology.errors import ModelError
from transformers import BertConfig, BertForTokenClassification, DistilBertConfig, RobertaConfig, RobertaForTokenClassification

SIZES = {
    "vocab_size": 500,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 80,
    "num_labels": 5,
}


@pytest.fixture(scope="module", params=["bert", "roberta"])
def saved(request, tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "bert":
        model = BertForTokenClassification(BertConfig(**SIZES))
    else:
        model = RobertaForTokenClassification(RobertaConfig(**SIZES, pad_token_id=1))
    for weight in model.parameters():  # larger than at birth, so that an error shows
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.1)
    model.eval().save_pretrained(folder)
    return request.param, model, folder


def built(kind, folder):
    state = {name.removeprefix(f"{kind}."): value for name, value in tensors(folder / "model.safetensors").items()}
    shape = Shape.of(json.loads((folder / "config.json").read_text()))
    return Int8Classifier(quantized_state(state), shape)


def test_says_what_the_model_says(saved):
    kind, model, folder = saved
    ours = built(kind, folder)
    generator = np.random.default_rng(1)
    for length in (2, 7, 60):
        ids = generator.integers(5, 500, length).tolist()
        with torch.inference_mode():
            theirs = model(input_ids=torch.tensor([ids])).logits[0].numpy()
        logits = ours.logits(ids)
        assert logits.shape == theirs.shape
        assert np.abs(logits - theirs).max() < 0.06 * np.abs(theirs).max()


def test_positions_count(saved):
    kind, _, folder = saved
    ours = built(kind, folder)
    assert np.abs(ours.logits([7, 8, 9])[0] - ours.logits([9, 8, 7])[2]).max() > 1e-3
    assert ours.max_tokens == (80 if kind == "bert" else 78)


def test_quantized_rows_are_within_half_a_step():
    weight = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    weight[2] = 0
    rounded, scale = quantized(weight)
    assert rounded.dtype == np.int8 and np.abs(rounded * scale[:, None] - weight).max() <= scale.max() / 2 + 1e-7


def test_architectures_that_it_does_not_speak():
    assert Shape.of(DistilBertConfig().to_dict()) is None
    assert Shape.of(BertConfig(hidden_act="relu").to_dict()) is None
    assert Shape.of({}) is None


def test_files_that_are_no_weights(tmp_path):
    for content in (b"", b"x" * 64, b"\x08\0\0\0\0\0\0\0{}      ", b"\x02\0\0\0\0\0\0\0[]"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError):
            Int8Classifier(tensors(tmp_path / "model.safetensors"), Shape(2, 1e-12))


def test_bfloat16_is_read_as_it_is(tmp_path):
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.25], [0.0, 1e-3]])
    save_file({"a": values.bfloat16(), "b": values.half(), "c": values}, tmp_path / "x.safetensors")
    found = tensors(tmp_path / "x.safetensors")
    assert np.array_equal(found["a"], values.bfloat16().float().numpy()) and np.array_equal(found["c"], values.numpy())
    assert np.allclose(found["b"], values.numpy(), atol=1e-3)
