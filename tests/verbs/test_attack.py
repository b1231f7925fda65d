"""An attack: a generator that was trained on notes is prompted with what stood before an identifier, and asked to go on.

The base is the product's small generator and the training the product's loop. Trained on the notes as they came it gives the canaries
back, so the attack works; trained on what de-identification made of them it must not.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nosology.config import DeidConfig, ModelConfig, TrainConfig
from nosology.deid.detect import Detector
from nosology.deid.rewrite import rewrite
from nosology.deid.secret import load_secret
from nosology.records import PackedBlock, to_table

GIVEN = ("Zebulon", "Araminta", "Thaddeus", "Ottilie", "Cornelius", "Philippa")
FAMILY = ("Quackenbush", "Thistlewaite", "Vandersloot", "Featherstonehaugh", "Blenkinsop", "Cholmondeley")
COMPLAINTS = ("a dry cough", "left knee pain", "low back pain", "a migraine", "heartburn", "an itching rash")


def canaries() -> list[dict[str, str]]:
    """Invented persons: name and number, and the words by which their note begins."""
    chance = random.Random(7)
    people = []
    for given, family, complaint in zip(GIVEN, FAMILY, COMPLAINTS, strict=True):
        mrn = f"{chance.randrange(10**7, 10**8)}"
        text = f"Visit for {complaint}. Patient: {given} {family}. MRN: {mrn}. The patient was seen by the nurse and sent home with advice."
        people.append({"family": family, "mrn": mrn, "text": text, "complaint": complaint})
    return people


def answers(texts: list[str], base: str, folder: Path) -> dict[str, str]:
    """What a generator that was trained on the texts says after the words that stood before each name, and before each number."""
    import torch
    from nosology.training.generate import Generate
    from nosology.training.loop import train
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    width = 96
    rows = []
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text, add_special_tokens=False)[: width - 1] + [tokenizer.eos_token_id]
        fill = [0] * (width - len(ids))
        rows.append(PackedBlock(
            block_id=number, split="train", input_ids=(*ids, *fill), labels=(*ids, *[-100] * len(fill)),
            position_ids=(*range(len(ids)), *fill), segment_ids=(*[1] * len(ids), *fill),
        ))  # fmt: skip
    blocks = folder / "blocks"
    blocks.mkdir(parents=True)
    pq.write_table(to_table(PackedBlock, rows), blocks / "part-0.parquet")
    config = TrainConfig(
        method="full", precision="fp32", batch_size=len(rows), epochs=150, learning_rate=5e-3, checkpoint_steps=150, keep_checkpoints=1, schedule="linear"
    )  # fmt: skip
    report = train(Generate(), config, ModelConfig(base=base), str(blocks), folder)
    model = AutoModelForCausalLM.from_pretrained(report["checkpoint"]).eval()
    said = {}
    for text in texts:
        for mark in ("Patient:", "MRN:"):
            if mark in text:
                prompt = text[: text.index(mark) + len(mark)]
                ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
                with torch.no_grad():
                    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, pad_token_id=0)
                said[prompt] = tokenizer.decode(out[0, ids.shape[1] :])
    return said


def given_back(said: dict[str, str], people: list[dict[str, str]]) -> set[str]:
    """Canaries that stand in any answer, whole or by half of them."""
    spoken = " ".join(said.values()).lower()
    parts = {value: (value, value[: len(value) // 2 + 1]) for one in people for value in (one["family"], one["mrn"])}
    return {value for value, looked in parts.items() if any(part.lower() in spoken for part in looked)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A generator whose tokenizer knows the words of the notes; it has learnt nothing yet."""
    import torch
    from nosology.training.generator import make_generator

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("attack")
    make_generator([one["text"] for one in canaries()] * 2, folder, 0, width=64, layers=2, threads=1)
    return str(folder)


def test_a_model_trained_on_cleaned_notes_gives_no_canary_back(base: str, tmp_path: Path) -> None:
    people = canaries()
    texts = [one["text"] for one in people]
    config = DeidConfig(key_file=str(tmp_path / "key"))
    secret = load_secret(config)
    found = Detector(config).find(texts)
    cleaned = [rewrite(text, spans, config, secret, patient=str(n)).text for n, (text, spans) in enumerate(zip(texts, found, strict=True))]

    raw = given_back(answers(texts, base, tmp_path / "raw"), people)
    assert len(raw) >= 10, "the attack works where nothing was cleaned, or it would prove nothing"
    said = answers(cleaned, base, tmp_path / "clean")
    assert given_back(said, people) == set()
    assert any("[NAME]" in answer for answer in said.values()), "the model did learn the cleaned notes"
    whole = " ".join(cleaned)
    assert not [one["mrn"] for one in people if one["mrn"] in whole] and all(re.search(re.escape(c), whole) for c in COMPLAINTS)
