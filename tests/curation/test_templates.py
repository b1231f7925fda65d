"""Templates: the loss falls on the answer only, and the prompt's tokens are exactly what serving sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nosology.curation.templates import IGNORED, Encoded, encode, prompt_ids, use_template
from nosology.errors import ConfigError
from nosology.tasks import Message

NAMES = ("alpaca", "chatml", "model")


def question(text: str) -> list[Message]:
    return [{"role": "system", "content": "Choose."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40), answer=st.sampled_from(["A", "J", "I11.9 Hypertensive heart disease"]))
def test_prompt_is_a_prefix_and_the_loss_counts_the_answer_with_its_end(tokenizer: Any, name: Any, text: str, answer: str) -> None:
    use_template(tokenizer, name)
    encoded = encode(tokenizer, question(text), answer)
    served = prompt_ids(tokenizer, question(text))
    assert encoded.input_ids[: encoded.num_prompt_tokens] == served
    assert len(encoded.labels) == len(encoded.input_ids)
    assert set(encoded.labels[: len(served)]) == {IGNORED}
    counted = encoded.labels[len(served) :]
    assert counted == encoded.input_ids[len(served) :] and counted[-1] == tokenizer.eos_token_id
    end = "<|im_end|>" if name == "chatml" else ""
    assert tokenizer.decode(counted) == answer + end + "<|eot|>"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model", "<|begin|><|start|>system<|end|>Choose.<|eot|><|start|>user<|end|>Q<|eot|><|start|>assistant<|end|>"),
        ("chatml", "<|im_start|>system\nChoose.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"),
        (
            "alpaca",
            "<|begin|>Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
            "that appropriately completes the request.\n\n### Instruction:\nChoose.\n\n### Input:\nQ\n\n### Response:\n",
        ),
    ],
)
def test_the_prompt_of_each_template(tokenizer: Any, name: Any, text: str) -> None:
    use_template(tokenizer, name)
    assert tokenizer.decode(prompt_ids(tokenizer, question("Q"))) == text


def test_chatml_end_of_turn_is_enough_where_the_model_knows_it(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    encoded = encode(use_template(tokenizer, "chatml"), question("Q"), "A")
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids[encoded.num_prompt_tokens :]) == ["A", "<|im_end|>"]


def test_todays_date_is_pinned(tokenizer: Any) -> None:
    dated = "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}Today: {{ date_string }}"
    tokenizer.chat_template = dated + tokenizer.chat_template
    use_template(use_template(tokenizer, "model"), "model")
    assert tokenizer.decode(prompt_ids(tokenizer, question("Q"))).startswith("Today: 26 Jul 2024")
    assert tokenizer.chat_template.count("26 Jul 2024") == 1


def test_what_cannot_be_served_as_trained_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% if add_generation_prompt %}ASK{% else %}TELL{% endif %}"
    with pytest.raises(ConfigError, match="right behind the prompt"):
        encode(tokenizer, question("Q"), "A")
    tokenizer.chat_template = "{{ raise_exception('secret Q') }}"
    with pytest.raises(ConfigError) as refused:
        encode(tokenizer, question("Q"), "A")
    assert "secret" not in str(refused.value)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        use_template(tokenizer, "model")
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="end-of-sequence"):
        use_template(tokenizer, "alpaca")


def test_labels_by_hand() -> None:
    assert Encoded([5, 6, 7, 8], 3).labels == [IGNORED, IGNORED, IGNORED, 8]
