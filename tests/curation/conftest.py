"""A small tokenizer and a made-up terminology."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '<|end|>' + message['content'] + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>' }}{% endif %}"
)
TITLES = {
    "I10": "Essential (primary) hypertension",
    "I11.9": "Hypertensive heart disease without heart failure",
    "E11.9": "Type 2 diabetes mellitus without complications",
    "J45.909": "Unspecified asthma, uncomplicated",
    "B20": "Human immunodeficiency virus [HIV] disease",
}


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|start|>", "<|end|>", "<|eot|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([*TITLES.values(), "Diagnosis: Context: Choose the code title that fits"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|begin|>", eos_token="<|eot|>")
    fast.chat_template = LLAMA
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


class Shelf:
    """A lookup that ranks by words in common, in the order of the table; `searches` counts calls."""

    searches = 0

    def search(self, phrases: Sequence[str], k: int) -> list[list[tuple[str, str]]]:
        self.searches += 1
        words = [set(p.lower().split()) for p in phrases]
        return [sorted(TITLES.items(), key=lambda item: -len(w & set(item[1].lower().split())))[:k] for w in words]

    def terms(self, code: str) -> tuple[str, ...]:
        extra = {"I10": ("high blood pressure", "hypertension"), "J45.909": ("asthma",)}
        return (TITLES[code], *extra.get(code, ())) if code in TITLES else ()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()
