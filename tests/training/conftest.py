"""A toy Llama and toy packed blocks: a letter is to be repeated."""

from __future__ import annotations

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
