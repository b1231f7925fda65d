from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nosology.engines import ENGINES, engine_of, open_engine
from nosology.errors import ConfigError, InputError, ModelError
from nosology.tasks.coding import ChooseCode


@pytest.fixture(scope="module")
def engine(generator):
    return open_engine(generator)


def question(phrase: str, n: int = 4):
    return ChooseCode().build(phrase, None, [(f"A0{i}", f"title number {i} of {phrase}") for i in range(n)])


def reference(engine, messages, choices):
    """Probabilities by the definition: one forward pass over prompt and whole choice, each alone, nothing cached or padded."""
    import torch

    tokenizer, model = engine._tokenizer, engine._model
    prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True, return_dict=False)
    scores = []
    for choice in choices:
        ids = [*tokenizer.encode(choice, add_special_tokens=False), tokenizer.eos_token_id]
        with torch.no_grad():
            logs = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        scores.append(sum(float(logs[len(prompt) + i - 1, token]) for i, token in enumerate(ids)))
    return torch.tensor(scores).softmax(-1).tolist()


def test_letters_are_one_token_and_their_probabilities_do_not_depend_on_the_batch(engine):
    tokenizer = engine._tokenizer
    assert all(len(tokenizer.encode(letter, add_special_tokens=False)) == 1 for letter in "ABCDEFGHIJ")
    asked = [question("pain"), question("a much longer phrase about the left knee and the right hip", 6), question("asthma", 2)]
    together = engine.choose([messages for messages, _ in asked], [labels for _, labels in asked])
    assert [len(p) for p in together] == [4, 6, 2]
    for (messages, labels), row in zip(asked, together, strict=True):
        alone = engine.choose([messages], [labels])[0]
        assert row == pytest.approx(alone, abs=1e-5) and sum(row) == pytest.approx(1)
        import torch

        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        with torch.no_grad():
            logits = engine._model(input_ids=torch.tensor([ids])).logits[0, -1]
        expected = logits[[tokenizer.encode(label, add_special_tokens=False)[0] for label in labels]].softmax(-1).tolist()
        assert row == pytest.approx(expected, abs=1e-5)


def test_long_choices_are_scored_to_their_end(engine):
    messages, _ = question("pain")
    choices = ["Asthma", "Asthma, unspecified", "Acute pain in the left knee"]
    found = engine.choose([messages], [choices])[0]
    assert found == pytest.approx(reference(engine, messages, choices), rel=1e-3) and sum(found) == pytest.approx(1)


def test_labels_and_long_choices_may_stand_in_one_call(engine):
    messages, labels = question("pain")
    mixed = engine.choose([messages, messages], [["Asthma", "Essential (primary) hypertension"], labels])
    assert mixed[1] == pytest.approx(engine.choose([messages], [labels])[0], abs=1e-5) and len(mixed[0]) == 2


def test_chat_stops_and_a_choice_comes_word_for_word(engine):
    messages, labels = question("pain")
    answer = engine.chat(messages, 5, 0.0)
    assert answer.completion_tokens <= 5 and answer.finish_reason in ("stop", "length") and answer.prompt_tokens > 20
    assert answer == engine.chat(messages, 5, 0.0)
    best = engine.choose([messages], [labels])[0]
    assert engine.chat(messages, 5, 0.0, labels).text == labels[best.index(max(best))]
    assert {engine.chat(messages, 5, 5.0, labels).text for _ in range(30)} <= set(labels)


def test_a_prompt_beyond_the_context_and_missing_choices_are_refused(engine):
    long = [{"role": "user", "content": "knee " * 2000}]
    with pytest.raises(InputError, match="context"):
        engine.choose([long], [["A", "B"]])
    with pytest.raises(InputError, match="context"):
        engine.chat(long, 5, 0.0)
    with pytest.raises(InputError, match="choices"):
        engine.choose([question("pain")[0]], [[]])


def test_an_adapter_changes_the_answers(generator, tmp_path):
    import torch
    from nosology.config import TrainConfig
    from nosology.training.adapters import attach
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    adapted = attach(AutoModelForCausalLM.from_pretrained(generator), TrainConfig(rank=4), task="CAUSAL_LM")
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    adapted.save_pretrained(tmp_path)
    messages, labels = question("pain")
    plain = open_engine(generator).choose([messages], [labels])[0]
    assert open_engine(generator, str(tmp_path)).choose([messages], [labels])[0] != pytest.approx(plain, abs=1e-4)


def test_directories_that_cannot_be_trusted_are_refused(generator, tmp_path):
    with pytest.raises(ModelError, match="config.json"):
        open_engine(str(tmp_path))
    own_code = tmp_path / "own"
    shutil.copytree(generator, own_code)
    config = json.loads((own_code / "config.json").read_text())
    (own_code / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    with pytest.raises(ModelError, match="auto_map"):
        open_engine(str(own_code))
    (own_code / "config.json").write_text(json.dumps(config))
    (own_code / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load"):
        open_engine(str(own_code))
    mute = tmp_path / "mute"
    shutil.copytree(generator, mute)
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="template"):
        open_engine(str(mute))


def test_engines_are_named(generator, monkeypatch):
    assert set(ENGINES) == {"laptop", "vllm"}
    with pytest.raises(ConfigError, match="laptop"):
        open_engine(generator, kind="cloud")
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="extra `gpu`"):
            open_engine(generator, kind="vllm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="merged"):
        open_engine(generator, str(Path(generator)), kind="vllm")


def test_the_choice_of_an_engine(generator, monkeypatch):
    """auto: vLLM where it is installed and a GPU holds the weights, and no adapter is to be merged; a name is taken at its word."""
    import torch

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert engine_of("auto", generator) == engine_of("laptop", generator) == "laptop"
    with pytest.raises(ConfigError, match="serve.engine vllm.*not installed.*extra `gpu`.*laptop"):
        engine_of("vllm", generator)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (engine_of("auto", generator), engine_of("vllm", generator)) == ("laptop", "vllm")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    size = sum(path.stat().st_size for path in Path(generator).glob("*.safetensors"))
    for memory, expected in ((2 * size, "vllm"), (size, "laptop")):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, held=memory: SimpleNamespace(total_memory=held))
        assert engine_of("auto", generator) == expected
        assert engine_of("auto", generator, "adapter") == engine_of("laptop", generator) == "laptop"


def test_vllm_gets_the_directory_and_its_failure_is_ours(generator, monkeypatch):
    asked = {}

    class Fake:
        def __init__(self, **arguments):
            asked.update(arguments)

        def get_tokenizer(self):
            return None

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=Fake))
    assert type(open_engine(generator, kind="vllm")).__name__ == "Vllm"
    assert asked["model"] == generator and asked["trust_remote_code"] is False

    def fail(**_):
        raise RuntimeError("no CUDA device is available")

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=fail))
    with pytest.raises(ModelError, match="serve.engine=laptop"):
        open_engine(generator, kind="vllm")
