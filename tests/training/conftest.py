"""A toy Llama and toy packed blocks: a letter is to be repeated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


def make_base(folder: Path) -> str:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def make_blocks(folder: Path, num_blocks: int = 24, tokens: int = 32, seed: int = 0, validation: int = 4) -> str:
    """Blocks of examples `1 a b c 3 a`: the answer after 3 is the first letter."""
    import numpy as np
    import pyarrow.parquet as pq
    from nosology.records import PackedBlock, to_table

    random = np.random.default_rng(seed)
    rows = []
    for number in range(num_blocks + validation):
        ids, labels, positions, segments = [], [], [], []
        segment = 0
        while len(ids) + 8 <= tokens:
            segment += 1
            letters = [int(x) for x in random.integers(4, 12, size=random.integers(2, 5))]
            example = [1, *letters, 3, letters[0]]
            ids += example
            labels += [-100] * (len(example) - 1) + [letters[0]]
            positions += range(len(example))
            segments += [segment] * len(example)
        fill = tokens - len(ids)
        rows.append(PackedBlock(
            block_id=number, split="train" if number < num_blocks else "validation",
            input_ids=(*ids, *[0] * fill), labels=(*labels, *[-100] * fill),
            position_ids=(*positions, *[0] * fill), segment_ids=(*segments, *[0] * fill),
        ))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(PackedBlock, rows), folder / "blocks.parquet")
    return str(folder)


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def blocks(tmp_path_factory) -> str:
    return make_blocks(tmp_path_factory.mktemp("blocks"))


@pytest.fixture(scope="session")
def blocks_of():
    return make_blocks


PHRASES = {
    "I10": ("high blood pressure", "raised pressure of the blood"), "I11.9": ("heart disease by pressure", "pressure heart"),
    "E11.9": ("sugar disease", "sweet blood"), "E11.65": ("sugar too high", "sweet blood out of hand"),
    "J45.909": ("wheeze disease", "tight chest wheeze"), "J20.9": ("short cough of the chest", "chest cold"),
    "C50.911": ("growth of the right breast", "right breast lump bad"), "C50.912": ("growth of the left breast", "left breast lump bad"),
    "S52.501A": ("broken right wrist", "right radius crack"), "S52.502A": ("broken left wrist", "left radius crack"),
}  # fmt: skip


def make_encoder(folder: Path) -> str:
    """A random BERT of two layers that knows the words of the toy phrases."""
    import torch
    from nosology.terminology.codeset import code_set
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    texts = [*(text for texts in PHRASES.values() for text in texts), *map(code_set().title, PHRASES)]
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(texts).lower())))]
    words = BertWordPieceTokenizer(vocab={word: place for place, word in enumerate(known)}, lowercase=True)
    BertTokenizerFast(tokenizer_object=words._tokenizer, model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=words.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)


def make_pairs(folder: Path) -> str:
    """The table `pairs` of the toy phrases: each with two wrong titles; the second phrases of four codes are the validation."""
    import pyarrow.parquet as pq
    from nosology.records import CodedText, to_table
    from nosology.terminology.codeset import code_set

    titles, rows = {code: code_set().title(code) for code in PHRASES}, []
    codes = list(PHRASES)
    for number, (code, texts) in enumerate(PHRASES.items()):
        wrong = (titles[codes[number ^ 1]], titles[codes[(number + 3) % len(codes)]])
        rows += [
            CodedText(
                text_id=f"{number}-{place}", split="validation" if place and number % 3 == 0 else "train", text=text, codes=(code,),
                title=titles[code], negatives=wrong,
            )
            for place, text in enumerate(texts)
        ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(CodedText, rows), folder / "part-0.parquet")
    return str(folder)


def make_preferences(folder: Path, pairs: int = 24) -> str:
    """Questions `1 a b c 3`; the first letter is right, the second wrong."""
    import numpy as np
    import pyarrow.parquet as pq
    from nosology.records import Preference, to_table

    random, rows = np.random.default_rng(1), []
    for number in range(pairs + 4):
        letters = [int(x) for x in random.choice(np.arange(4, 12), size=random.integers(2, 5), replace=False)]
        rows.append(Preference(
            example_id=f"e{number:02}", split="train" if number < pairs else "validation", prompt_ids=(1, *letters, 3),
            chosen_ids=(letters[0], 2), rejected_ids=(letters[1], 2),
        ))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(Preference, rows), folder / "part-0.parquet")
    return str(folder)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> str:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> str:
    return make_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def preferences(tmp_path_factory) -> str:
    return make_preferences(tmp_path_factory.mktemp("preferences"))
