"""What `deidentify` is refused before it begins: places that would lose data or hand the key on, and models that are no taggers."""

from __future__ import annotations

import json

import pytest
from nosology.config import Config
from nosology.errors import ConfigError, InputError, ModelError
from nosology.verbs.archive import deidentify


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "notes.jsonl"
    file.write_text(json.dumps({"id": "1", "text": "Seen today."}) + "\n")
    return file


def config(tmp_path, **deid):
    return Config.model_validate({"deid": {"key_file": str(tmp_path / "key"), **deid}})


@pytest.mark.parametrize("place", ["notes.jsonl", "other.jsonl", "run/job.json", "nowhere/spans.jsonl"])
def test_spans_write_over_nothing(tmp_path, source, place):
    (tmp_path / "other.jsonl").write_text("mine\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "job.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="--spans"):
        deidentify(config(tmp_path), str(source), str(tmp_path / "out"), str(tmp_path / place))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_key_does_not_lie_in_the_output(tmp_path, source):
    with pytest.raises(ConfigError, match="key_file"):
        deidentify(config(tmp_path, key_file=str(tmp_path / "out" / "key")), str(source), str(tmp_path / "out"), None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "said", [{"architectures": ["LlamaForCausalLM"]}, {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O"}}, {}]
)
def test_a_model_that_is_no_tagger_leaves_no_folder(tmp_path, source, said):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="deid.ner"):
        deidentify(config(tmp_path, ner=str(tmp_path / "model")), str(source), str(tmp_path / "out"), None)
    assert not (tmp_path / "out" / "job.json").exists()
