"""Every architecture that `model.base` may name, small and random: packed blocks, training, checkpoint, merge, INT8 artefact, answers.

The chat templates are short ones in the manner of each family, with what is particular to it: today's date, a system turn that is refused or
dropped, a space before the answer, thinking, an end of turn that is not the end of sequence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from nosology.config import Config, ModelConfig, QuantizeConfig, TrainConfig
from nosology.curation.packing import Tokens, pack
from nosology.curation.prepare import load_tokenizer, write_tokenizer
from nosology.curation.templates import encode, prompt_ids, use_template
from nosology.engines import open_engine
from nosology.quantization import quantize
from nosology.tasks.coding import ChooseCode
from nosology.training.generate import Generate
from nosology.training.loop import train
from nosology.training.step import LocalStepper

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
WINDOW = 60  # shorter than an example; two layers of it reach back into the one before
TITLES = (
    "Type 2 diabetes mellitus without complications", "Essential (primary) hypertension", "Acute pain in the left knee",
    "Unspecified asthma, uncomplicated", "Low back pain",
)  # fmt: skip
PHRASES = ("diabetes", "high blood pressure", "left knee pain", "asthma", "lumbago", "T2DM", "hypertension", "sore knee")
_ROLES = "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
_ASK = "{% if add_generation_prompt %}"
TEMPLATES = {
    "llama": (
        "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
        "{% if message['role'] == 'system' %}{{ 'Today Date: ' + date_string + '\n\n' }}{% endif %}"
        "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        + _ASK + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    # Mistral 7B Instruct v0.3: the system text stands in the last turn, and is lost when an answer follows
    "mistral": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
        "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for message in rest %}" + _ROLES
        + "{% if message['role'] == 'user' %}{{ '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}"
        "{{ message['content'] + '[/INST]' }}{% else %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}{% endfor %}"
    ),
    # Mistral 7B Instruct v0.1 and v0.2, BioMistral: no system turn
    "biomistral": (
        "{{ bos_token }}{% for message in messages %}" + _ROLES + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
    ),
    "qwen2": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
        + _ASK + "{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "qwen3": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
        "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}" + _ASK + "{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
    ),
    "gemma2": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}" + _ROLES + "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        + _ASK + "{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
}  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["[INST]", "[/INST]"]},
    "biomistral": {"bos_token": "<s>", "eos_token": "</s>"},
    # as in the directories that are no instruct models: the end of sequence is another token than the end of a turn
    "qwen2": {"eos_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    "qwen3": {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]},
    "gemma2": {"bos_token": "<bos>", "eos_token": "<eos>", "additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]},
}
PROMPTS = {
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nRule.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] Rule.\n\nQ[/INST]",
    "biomistral": "<s>[INST] Rule.\n\nQ [/INST]",
    "qwen2": "<|im_start|>system\nRule.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
    "qwen3": "<|im_start|>system\nRule.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "gemma2": "<bos><start_of_turn>user\nRule.\n\nQ<end_of_turn>\n<start_of_turn>model\n",
}
ENDS = {"llama": "<|eot_id|>", "mistral": "</s>", "biomistral": "</s>", "qwen2": "<|im_end|>", "qwen3": "<|im_end|>",
        "gemma2": "<end_of_turn>"}  # fmt: skip


class Family(NamedTuple):
    """An architecture as its directories have it, but for the sizes."""

    name: str  # of the classes in transformers
    settings: dict[str, Any]  # of its config.json beside the sizes
    vectors: int = 2  # norms and biases a layer


FAMILIES = {
    "llama": Family("Llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    "mistral": Family("Mistral", {"sliding_window": WINDOW, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}),
    "qwen2": Family("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}}, vectors=5),
    "qwen3": Family("Qwen3", {"head_dim": 20, "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}}, vectors=4),
    "gemma2": Family("Gemma2", {
        "head_dim": 16, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 5.0, "final_logit_softcapping": 20.0, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}, vectors=4),
}  # fmt: skip


def tokenizer_of(family: str) -> Any:
    from nosology.training.generator import make_tokenizer

    task = ChooseCode()
    tokenizer = make_tokenizer([*TITLES, *PHRASES, task.instruction, "Diagnosis: "] * 3)
    tokenizer.add_special_tokens(SPECIAL[family])
    tokenizer.chat_template = TEMPLATES[family]
    return tokenizer


def questions(shift: int = 0) -> list[tuple[list[Any], list[str], str]]:
    """Messages, labels and the right label; with a shift ones that were not trained on. The order of the titles tells it, too."""
    found = []
    for number, phrase in enumerate(PHRASES):
        turned = [(number * 2 + shift + place) % len(TITLES) for place in range(len(TITLES))]
        messages, labels = ChooseCode().build(phrase, None, [(f"A0{place}", TITLES[place]) for place in turned])
        found.append((messages, labels, labels[turned.index(number % len(TITLES))]))
    return found


def settings(method: str) -> TrainConfig:
    return TrainConfig(
        method=method, precision="fp32", batch_size=2, learning_rate=1e-2 if method == "lora" else 5e-3, epochs=100, max_steps=60,
        checkpoint_steps=100, rank=8, alpha=16, workers=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a family: base, blocks; made when first asked for."""
    import pyarrow.parquet as pq
    import torch
    import transformers

    made: dict[str, tuple[str, str]] = {}

    def of(name: str) -> tuple[str, str]:
        if name in made:
            return made[name]
        family, folder = FAMILIES[name], tmp_path_factory.mktemp(name)
        tokenizer = tokenizer_of(name)
        torch.manual_seed(0)
        config = getattr(transformers, f"{family.name}Config")(**{
            "vocab_size": len(tokenizer), "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.15, "tie_word_embeddings": False,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
            **family.settings,
        })  # fmt: skip
        model = getattr(transformers, f"{family.name}ForCausalLM")(config)
        vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
        assert len(vectors) == 2 * family.vectors + 1
        with torch.no_grad():
            for parameter in vectors:  # fresh ones are zeros or ones, which say nothing
                parameter.add_(torch.randn_like(parameter) * 0.2)
            model.model.norm.weight.add_(2.0)  # else a frozen head of random vectors could not be sure of a token
        model.save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
        tokenizer = load_tokenizer(str(folder / "base"), "model")
        encoded = [encode(tokenizer, messages, right) for messages, _, right in questions()]
        tokens = [Tokens(str(i), one.input_ids, one.num_prompt_tokens) for i, one in enumerate(encoded)]
        longest = max(len(one.input_ids) for one in encoded)
        assert min(len(one.input_ids) for one in encoded) > WINDOW and longest < 2 * WINDOW - 2
        blocks = folder / "blocks"
        blocks.mkdir()
        pq.write_table(pack(tokens, "train", 2 * longest + 20, tokenizer.pad_token_id).blocks, blocks / "part-0.parquet")
        write_tokenizer(tokenizer, str(blocks / "tokenizer"))
        made[name] = str(folder / "base"), str(blocks)
        return made[name]

    return of


@pytest.fixture(scope="module", params=[*((name, "lora") for name in FAMILIES), ("qwen2", "full"), ("gemma2", "full")],
                ids="-".join)  # fmt: skip
def run(request: pytest.FixtureRequest, directories: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A training of a family: name, method, base, folder, checkpoint, report, module (as the last step left it)."""
    from nosology.verbs.models import _accompany

    name, method = request.param
    (base, blocks), out, kept = directories(name), tmp_path_factory.mktemp("run"), []

    def stepper(build: Any, config: TrainConfig) -> LocalStepper:
        kept.append(LocalStepper(build, config))
        return kept[-1]

    config = Config(model=ModelConfig(base=base), train=settings(method))
    report = train(Generate(), config.train, config.model, blocks, out, stepper=stepper)
    _accompany(config, base, blocks, report["checkpoint"])
    yield SimpleNamespace(
        name=name, method=method, base=base, folder=out, checkpoint=report["checkpoint"], report=report, module=kept[0].bare.eval()
    )


def logits_of(module: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        return module(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_answer_stands_where_serving_reads_it_and_the_instruction_is_kept(name: str) -> None:
    tokenizer = use_template(tokenizer_of(name), "model")
    messages: list[Any] = [{"role": "system", "content": "Rule."}, {"role": "user", "content": "Q"}]
    assert tokenizer.decode(prompt_ids(tokenizer, messages)) == PROMPTS[name]
    template = tokenizer.chat_template
    assert use_template(tokenizer, "model").chat_template == template, "a template that is set twice would count as another one"
    encoded = encode(tokenizer, messages, "B")
    answer = encoded.input_ids[encoded.num_prompt_tokens :]
    assert answer == [*tokenizer.encode("B", add_special_tokens=False), tokenizer.convert_tokens_to_ids(ENDS[name])]
    assert encoded.input_ids[: encoded.num_prompt_tokens] == prompt_ids(tokenizer, messages)
    alone = tokenizer.decode(prompt_ids(tokenizer, messages[1:]))
    assert "Q" in alone and "Rule." not in alone, "a question without a system turn stays one"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_of_a_block_is_that_of_the_model_on_each_example(name: str, directories: Any) -> None:
    """What the model itself computes without a mask of ours: its windows, its caps, nothing of what comes later or of another example."""
    import torch

    base, blocks = directories(name)
    task = Generate()
    module: Any = task.build(settings("full"), ModelConfig(base=base)).eval()
    rows = task.rows(blocks, "train")
    assert len(rows) >= 2
    with torch.no_grad():
        packed = float(task.loss(module, task.collate(rows)))
    alone, ours = 0.0, 0.0
    for row in rows:
        for segment in range(1, int(row["segment_ids"].max()) + 1):
            inside = {column: values[row["segment_ids"] == segment] for column, values in row.items()}
            labels = torch.tensor(inside["labels"])[1:]
            scores = logits_of(module, inside["input_ids"].tolist())[:-1]
            alone += float(torch.nn.functional.cross_entropy(scores, labels, ignore_index=-100, reduction="sum"))
            with torch.no_grad():
                ours += float(task.loss(module, task.collate([inside])))
    assert packed == pytest.approx(alone, abs=1e-4) and packed == pytest.approx(ours, abs=1e-4)
    if "sliding_window" in FAMILIES[name].settings:
        module.config.sliding_window = 1000
        with torch.no_grad():
            assert float(task.loss(module, task.collate(rows))) != pytest.approx(alone, abs=1e-2), "the window is not in it"


def test_it_learns_and_its_checkpoint_is_what_was_trained(run: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert run.report["last_loss"] < 0.2 * run.report["first_loss"]
    plain: Any = AutoModelForCausalLM.from_pretrained(run.base if run.method == "lora" else run.checkpoint)
    layers = plain.config.num_hidden_layers
    ids = prompt_ids(load_tokenizer(run.base, "model"), questions()[0][0])
    trained = logits_of(run.module, ids)
    if run.method == "full":
        assert run.report["parameters_learning"] == run.report["parameters"] == sum(p.numel() for p in plain.parameters())
        assert torch.allclose(logits_of(plain, ids), trained, atol=1e-4, rtol=1e-4)
        return
    untrained = logits_of(plain, ids)
    found = {path.rpartition(".")[2] for path, layer in run.module.named_modules() if hasattr(layer, "lora_A")}
    assert found == LINEAR
    assert sum(hasattr(layer, "lora_A") for layer in run.module.modules()) == layers * len(LINEAR)
    loaded: Any = PeftModel.from_pretrained(plain, run.checkpoint).eval()
    assert torch.allclose(logits_of(loaded, ids), trained, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(untrained, trained, atol=0.1)
    assert torch.allclose(logits_of(loaded.merge_and_unload(), ids), trained, atol=1e-4, rtol=1e-4)


def test_the_artefact_answers_like_the_trained_model(run: Any, tmp_path: Path) -> None:
    import torch

    made = quantize(QuantizeConfig(), ModelConfig(base=run.base), str(run.folder), str(tmp_path))
    artefact = Path(made["artefact"])
    assert made["layers"] == 2 * len(LINEAR) and made["largest_error"] <= 0.5 / 127 + 1e-4
    told, held = (json.loads((Path(folder) / "config.json").read_text()) for folder in (run.base, artefact))
    family = FAMILIES[run.name]
    assert {key: held[key] for key in family.settings} == {key: told[key] for key in family.settings} == family.settings
    assert held["architectures"] == told["architectures"] == [f"{family.name}ForCausalLM"]

    before: Any = open_engine(run.base, run.checkpoint) if run.method == "lora" else open_engine(run.checkpoint)
    after: Any = open_engine(str(artefact))
    asked, others = questions(), questions(shift=1)
    prompts, labels = [messages for messages, _, _ in asked + others], [offered for _, offered, _ in asked + others]
    left, right = before.choose(prompts, labels), after.choose(prompts, labels)
    apart = [sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2 for p, q in zip(left, right, strict=True)]
    assert max(apart) < 0.3 and sum(apart) / len(apart) < 0.05
    exact, rounded = (logits_of(module, prompt_ids(after._tokenizer, prompts[0])) for module in (run.module, after._model))
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.1
    assert all(p[offered.index(best)] > 0.8 for (_, offered, best), p in zip(asked, left, strict=False))
    for messages, offered, p in zip(prompts, labels, left, strict=True):
        ids = prompt_ids(after._tokenizer, messages)
        letters = [after._tokenizer.encode(label, add_special_tokens=False)[0] for label in offered]
        assert p == pytest.approx(logits_of(run.module, ids)[-1, letters].softmax(-1).tolist(), abs=1e-4)
    assert open_engine(run.base).choose(prompts, labels)[0] != pytest.approx(left[0], abs=0.05), "what was learnt is not in it"

    messages, _, best = asked[1]
    answer = before.chat(messages, 8, 0.0)
    assert (answer.text, answer.finish_reason, answer.completion_tokens) == (best, "stop", 2)
    end = after._tokenizer.convert_tokens_to_ids(ENDS[run.name])
    stops = json.loads((artefact / "generation_config.json").read_text())["eos_token_id"]
    assert end in (stops if isinstance(stops, list) else [stops]), "vLLM would not stop at the end of a turn"
    # choices of several tokens, by the definition: nothing cached, windows and all
    ids, scores = prompt_ids(before._tokenizer, messages), []
    for title in TITLES[:3]:
        tail = [*before._tokenizer.encode(title, add_special_tokens=False), end]
        logs = logits_of(run.module, [*ids, *tail])[len(ids) - 1 : -1].log_softmax(-1)
        scores.append(float(logs[torch.arange(len(tail)), tail].sum()))
    assert before.choose([messages], [TITLES[:3]])[0] == pytest.approx(torch.tensor(scores).softmax(-1).tolist(), abs=1e-3)


def test_an_adapter_is_asked_with_the_template_that_lies_beside_it(directories: Any, tmp_path: Path) -> None:
    """As it was trained: `prepare.template: chatml` on a base that has another template, or none."""
    import torch
    from nosology.training.adapters import attach
    from transformers import AutoModelForCausalLM

    base, _ = directories("llama")
    adapted: Any = attach(AutoModelForCausalLM.from_pretrained(base), settings("lora"), task="CAUSAL_LM")
    adapted.save_pretrained(tmp_path)
    chatml = load_tokenizer(base, "chatml")
    write_tokenizer(chatml, str(tmp_path))
    messages, labels, _ = questions()[0]
    letters = [chatml.encode(label, add_special_tokens=False)[0] for label in labels]
    expected = logits_of(adapted.eval(), prompt_ids(chatml, messages))[-1, letters].softmax(-1)
    assert torch.allclose(torch.tensor(open_engine(base, str(tmp_path)).choose([messages], [labels])[0]), expected, atol=1e-5)
