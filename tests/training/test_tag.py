"""The tagging objective: labels on the right tokens, texts that do not see each other, word embeddings that stay, and training that goes on."""

import json

import pytest
import torch
from nosology.config import ModelConfig, TrainConfig
from nosology.deid.tagger import CLASSES, Tagger
from nosology.errors import InputError
from nosology.training.loop import train
from nosology.training.tag import MAX_TOKENS, Tag

CONFIG = TrainConfig(objective="tag", method="full", precision="fp32", batch_size=2, learning_rate=1e-2, schedule="linear", workers=1)
ROWS = [
    {"text": "labs for adaeze nwosu", "spans": [(9, 21, "NAME")]},
    {"text": "Seen on 3/4/2021 in Wągrowiec", "spans": [(8, 16, "DATE"), (20, 29, "LOCATION")]},
    {"text": "Parkinson disease on metoprolol 25 mg", "spans": []},
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random encoder of one layer in a folder without a tokenizer; the local encoder's words are taken."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(3)
    config = BertConfig(vocab_size=30522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tag(encoder):
    objective = Tag()
    return objective, objective.build(CONFIG, ModelConfig(encoder=encoder)).eval()


def test_labels_stand_on_the_tokens_of_their_span(tag):
    objective, _ = tag
    batch = objective.collate(ROWS)
    words = objective._tokenizer.convert_ids_to_tokens
    found = {}
    for line in range(batch["labels"].shape[0]):
        for token, label, segment in zip(
            words(batch["input_ids"][line].tolist()), batch["labels"][line].tolist(), batch["segment_ids"][line].tolist(), strict=True
        ):
            assert (label == -100) == (token in ("[CLS]", "[SEP]") or segment == 0)
            if label > 0:
                found.setdefault(CLASSES[label], []).append(token.removeprefix("##"))
    assert {label: "".join(tokens) for label, tokens in found.items()} == {
        "NAME": "adaezenwosu",
        "DATE": "3/4/2021",
        "LOCATION": "wagrowiec",
    }


def test_a_packed_text_sees_itself_alone(tag):
    objective, module = tag
    packed = objective.collate(ROWS)
    assert packed["input_ids"].shape[0] == 1 and packed["segment_ids"].max() == len(ROWS)
    together = objective._logits(module, packed)[0]
    for row in ROWS:
        alone = objective.collate([row])
        length = int((alone["segment_ids"] > 0).sum())
        expected = objective._logits(module, alone)[0, :length]
        starts = [
            s
            for s in range(together.shape[0] - length + 1)
            if torch.equal(packed["input_ids"][0, s : s + length], alone["input_ids"][0, :length])
        ]
        assert len(starts) == 1 and torch.allclose(together[starts[0] : starts[0] + length], expected, atol=1e-5)


def test_a_long_text_is_cut_to_one_sequence(tag):
    objective, _ = tag
    assert objective.collate([{"text": "word " * 1000, "spans": []}])["input_ids"].shape == (1, MAX_TOKENS)


def test_training_learns_and_goes_on_from_its_own_folder(encoder, tmp_path):
    data = tmp_path / "rows"
    data.mkdir()
    lines = [json.dumps({"text": r["text"], "spans": [{"start": a, "end": b, "label": k} for a, b, k in r["spans"]]}) for r in ROWS]
    (data / "train.jsonl").write_text("\n".join(lines * 20))
    before = Tagger.from_pretrained(encoder).bert.embeddings.word_embeddings.weight.detach().clone()
    report = train(Tag(), CONFIG, ModelConfig(encoder=encoder), str(data), tmp_path / "run")
    assert report["last_loss"] < 0.5 * report["first_loss"]
    assert torch.equal(Tagger.from_pretrained(report["checkpoint"]).bert.embeddings.word_embeddings.weight, before)
    again = train(Tag(), CONFIG, ModelConfig(encoder=report["checkpoint"]), str(data), tmp_path / "second")
    assert again["first_loss"] < 0.5 * report["first_loss"]


def test_a_row_that_is_none_is_refused_without_its_text(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "Jane Doe"}\n')
    with pytest.raises(InputError) as raised:
        Tag().rows(str(tmp_path), "train")
    assert "line 0" in str(raised.value) and "Jane" not in str(raised.value)
