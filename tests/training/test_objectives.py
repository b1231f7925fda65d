"""The objectives beside `generate`: what each learns, that its loss is what the paper says, and that a model is the same after it was saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from nosology.config import ModelConfig, TrainConfig
from nosology.errors import ConfigError, InputError, ModelError
from nosology.records import CodedText, to_table
from nosology.terminology.codeset import code_set
from nosology.training import objective
from nosology.training.backbone import directory as backbone_of
from nosology.training.classify import Classify, log_probabilities
from nosology.training.embed import Embed, ranks, summed
from nosology.training.export import export
from nosology.training.loop import train
from nosology.training.prefer import Prefer
from nosology.training.rerank import Rerank
from nosology.training.step import LocalStepper
from nosology.training.tree import Tree, lineage

HEADS = ("embed", "rerank", "classify")
WAYS = [(name, backbone, method) for name in HEADS for backbone in ("encoder", "generator") for method in ("full", "lora")]


def settings(**changes):
    toy = {
        "precision": "fp32",
        "batch_size": 4,
        "learning_rate": 3e-3,
        "epochs": 12,
        "checkpoint_steps": 100,
        "rank": 8,
        "alpha": 16,
        "workers": 1,
    }
    return TrainConfig(**{**toy, "temperature": 0.1, **changes})


@pytest.fixture
def places(encoder, generator) -> ModelConfig:
    return ModelConfig(encoder=encoder, base=generator)


@pytest.mark.parametrize(("name", "backbone", "method"), WAYS)
def test_a_head_learns_on_encoders_and_on_decoders(places, pairs, tmp_path, name, backbone, method):
    way = {"learning_rate": 3e-3} if method == "full" else {"learning_rate": 1e-2, "epochs": 40}
    if name == "rerank":  # to compare two texts is harder to learn from nothing
        way = {"learning_rate": 1e-3 if method == "full" else 5e-3, "epochs": 80 if backbone == "encoder" else 30}
    config = settings(objective=name, backbone=backbone, method=method, **way)
    report = train(objective(name), config, places, pairs, tmp_path)
    values = [line["value"] for line in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()) if line["name"] == "loss"]
    assert sum(values[-8:]) / 8 < 0.7 * sum(values[:3]) / 3, (values[:3], values[-8:])
    assert set(report["metrics"]) == set(objective(name).metrics) and report["ledger"]["exact"] and report["cut"] == 0

    # whole again, without peft, it is the same model
    task = objective(name)
    rows = task.rows(pairs, "train"), task.rows(pairs, "validation")
    task.build(config, places)
    whole = export(config, backbone_of(config, places), Path(report["checkpoint"]), tmp_path / "model")
    kind = transformers.AutoModel if name == "embed" else transformers.AutoModelForSequenceClassification
    module = kind.from_pretrained(whole).eval()
    with torch.no_grad():
        assert task.evaluate(module, rows[1], 3) == pytest.approx(report["metrics"], abs=1e-4)
    if name == "classify":
        tree = Tree.of((code for row in rows[0] for code in row["codes"]), code_set())
        assert tuple(module.config.parents) == tree.parents and tuple(module.config.id2label.values()) == tree.nodes


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_right_answer_is_preferred(base, preferences, tmp_path, method):
    config = settings(objective="prefer", method=method, epochs=6, learning_rate=1e-2 if method == "lora" else 3e-3, beta=0.5)
    report = train(Prefer(), config, ModelConfig(base=base), preferences, tmp_path)
    assert report["first_loss"] == pytest.approx(0.6931, abs=1e-3), "the model is its own reference before the first step: log 2"
    assert report["last_loss"] < 0.6 and set(report["metrics"]) == {"loss", "accuracy", "margin"}


def test_the_loss_of_preference_is_that_of_the_paper(base, preferences, tmp_path):
    """Against the formula written out, with the reference as a second model, one answer at a time."""
    from transformers import AutoModelForCausalLM

    task, config = Prefer(), settings(objective="prefer", method="lora", beta=0.3)
    rows = task.rows(preferences, "train")
    group = LocalStepper(lambda: task.build(config, ModelConfig(base=base)), config)
    task.begin(group, rows, task.rows(preferences, "validation"), config, tmp_path)
    torch.manual_seed(5)
    for name, parameter in group.bare.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    group.bare.eval()
    reference = AutoModelForCausalLM.from_pretrained(base).eval()

    def said(model, row, answer):
        ids = torch.tensor([[*row["prompt_ids"], *row[answer]]])
        chances = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        return float(chances[len(row["prompt_ids"]) - 1 :].sum())

    chosen = [rows[i] for i in range(5)]
    expected = 0.0
    with torch.no_grad():
        for row in chosen:
            gained = [said(group.bare, row, name) - said(reference, row, name) for name in ("chosen_ids", "rejected_ids")]
            expected -= float(torch.nn.functional.logsigmoid(torch.tensor(0.3 * (gained[0] - gained[1]))))
        found = float(task.loss(group.bare, task.collate(chosen)))
    assert found == pytest.approx(expected, abs=1e-4) and abs(expected - 5 * 0.6931) > 0.05


def test_a_run_that_goes_on_has_the_reference_of_the_first(base, preferences, tmp_path):
    config = settings(objective="prefer", method="full", epochs=2, checkpoint_steps=2, max_steps=6)

    class Stop(Exception):
        pass

    def stop(measures):
        if measures["step"] == 4:
            raise Stop

    whole = train(Prefer(), config, ModelConfig(base=base), preferences, tmp_path / "whole")
    with pytest.raises(Stop):
        train(Prefer(), config, ModelConfig(base=base), preferences, tmp_path / "cut", on_step=stop)

    def restarted(name, spoil=None):
        shutil.copytree(tmp_path / "cut", tmp_path / name)
        if spoil:
            spoil(tmp_path / name / "reference-train.npz")
        return train(Prefer(), config, ModelConfig(base=base), preferences, tmp_path / name)

    def of_others(path):
        with np.load(path) as held:
            np.savez(path, values=held["values"] + [[2.0, 0.0]], mark=np.array("0" * 64))

    def shifted(path):
        with np.load(path) as held:
            values, mark = held["values"], held["mark"]
        np.savez(path, values=values + [[2.0, 0.0]], mark=mark)

    again = restarted("again")
    assert again["start_step"] and again["last_loss"] == pytest.approx(whole["last_loss"], abs=1e-6)
    assert again["metrics"] == pytest.approx(whole["metrics"], abs=1e-6)
    assert abs(restarted("read", shifted)["last_loss"] - whole["last_loss"]) > 1e-2, "the file is what is read"
    cut_off = ("cut off", lambda path: path.write_bytes(path.read_bytes()[:100]))
    for name, spoil in (cut_off, ("none", Path.unlink), ("others", of_others)):
        assert restarted(name, spoil)["last_loss"] == pytest.approx(whole["last_loss"], abs=1e-6)


def test_a_title_chooses_among_those_that_are_wrong(places, pairs):
    task, config = Embed(), settings(objective="embed", method="full")
    rows = task.rows(pairs, "train")
    module = task.build(config, places).eval()
    both = [row for row in rows if row["codes"][0] in ("I10", "I11.9")]
    batch = task.collate(both)
    titles = [row["title"] for row in both] + [title for row in both for title in row["negatives"]]
    for own, line in enumerate(batch["allowed"].tolist()):
        assert line[own] and all(
            allowed == (title != titles[own]) for place, (allowed, title) in enumerate(zip(line, titles, strict=True)) if place != own
        )
    # against the formula, with the encoder's own vectors
    from nosology.engines.encoder import load_encoder

    known = load_encoder(places.encoder)
    texts, found = known.embed([row["text"] for row in both]), known.embed(titles)
    scores = torch.tensor(texts @ found.T) / config.temperature
    scores = scores.masked_fill(~batch["allowed"], float("-inf"))
    expected = -sum(float(scores[i].log_softmax(0)[i]) for i in range(len(both)))
    with torch.no_grad():
        assert float(task.loss(module, batch)) == pytest.approx(expected, abs=1e-3)
    assert task.targets(batch) == len(both)


def test_ranks_count_ties_against():
    found = ranks(torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.9, 0.2]]), torch.tensor([0, 1]))
    assert found == [2, 1] and summed(found) == {"top1": 0.5, "mrr": 0.75}


def test_a_list_that_retrieval_left_short_is_filled(places, pairs):
    task = Rerank()
    module = task.build(settings(objective="rerank", method="full", negatives=3), places).eval()
    rows = list({row["title"]: dict(row) for row in task.rows(pairs, "train")}.values())[:3]
    rows[0]["negatives"] = []
    batch = task.collate(rows)
    assert batch["real"].shape == (3, 4) and batch["real"][0].tolist() == [True] * 3 + [False]  # two other titles in the batch
    alone = {name: tensor[:3] for name, tensor in batch.items() if name != "real"} | {"real": batch["real"][:1, :3]}
    with torch.no_grad():
        first = float(torch.nn.functional.cross_entropy(task._scores(module, batch)[:1], torch.tensor([0])))
        assert float(task.loss(module, alone)) == pytest.approx(first, abs=1e-5), "the place without a title counts for nothing"


def test_a_tree_has_every_level_and_probabilities_fall_along_it():
    tree = Tree.of(["I10", "I11.9", "S52.501A", "no code"], code_set())
    assert tree.nodes == ("19", "9", "I10-I1A", "S50-S59", "I10", "I11", "S52", "I11.9", "S52.501A")
    assert [tree.nodes[p] if p >= 0 else None for p in tree.parents] == [
        None,
        None,
        "9",
        "19",
        "I10-I1A",
        "I10-I1A",
        "S50-S59",
        "I11",
        "S52",
    ]
    assert lineage("I11.9", code_set()) == ["9", "I10-I1A", "I11", "I11.9"] and lineage("no code", code_set()) == ["no code"]
    assert [tree.nodes[place] for place in tree.categories] == ["I10", "I11", "S52"]
    assert [tree.nodes[place] for place in tree.leaves] == ["I10", "I11.9", "S52.501A"]
    torch.manual_seed(0)
    logits = torch.randn(5, len(tree.nodes))
    chances = log_probabilities(logits, tree).exp()
    for place, parent in enumerate(tree.parents):
        assert parent < 0 or bool((chances[:, place] <= chances[:, parent]).all())
    steps = torch.sigmoid(logits)
    line = [tree.nodes.index(node) for node in ("19", "S50-S59", "S52", "S52.501A")]
    assert torch.allclose(chances[:, line[-1]], steps[:, line].prod(1))


def test_a_node_is_asked_only_where_its_parent_is_right(places, pairs):
    task = Classify()
    rows = task.rows(pairs, "train")
    task.build(settings(objective="classify", method="full"), places)
    tree = task._tree
    right = task.collate([{"text": "x", "context": None, "codes": ["I10"]}])["right"]
    assert {tree.nodes[place] for place in right[0].nonzero()[:, 0].tolist()} == {"9", "I10-I1A", "I10"}
    logits = torch.zeros(1, len(tree.nodes), requires_grad=True)
    task._losses(logits, right).backward()
    reached = {tree.nodes[place] for place, slope in enumerate(logits.grad[0].tolist()) if slope}
    chapters = {node for node in tree.nodes if node.isdigit()}
    assert reached == {*chapters, "I10-I1A", "I10", "I11"}, "chapters, blocks of its chapter, categories of its block, and no further"
    assert len(rows) == 16


def test_a_long_note_is_read_in_windows_and_the_surest_counts(places, tmp_path, pairs):
    task = Classify()
    task.rows(pairs, "train")
    module = task.build(settings(objective="classify", method="full"), places).eval()
    text = "high blood pressure " * 60 + "broken right wrist"
    rows = [{"text": text, "context": None, "codes": ["I10", "S52.501A"]}, {"text": "chest cold", "context": None, "codes": ["J20.9"]}]
    batch = task.collate(rows)
    windows = batch["owners"].tolist()
    assert windows.count(0) > 3 and windows[-1] == 1 and sum(batch["right"][1].tolist()) == 4
    with torch.no_grad():
        together = task._logits(module, batch)
        alone = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"]).logits
    assert torch.allclose(together[0], alone[:-1].max(0).values) and torch.allclose(together[1], alone[-1])
    held, owners = task._words.windows([text, "chest cold", text], 2, 8)
    assert owners == [0, 0, 1, 2, 2] and len(held["input_ids"]) == 5
    ids = task._words.tokenizer(text)["input_ids"]
    assert task._words.count_longer([text], len(ids)) == 0 and task._words.count_longer([text], len(ids) - 1) == 1
    most = len(windows) - 1
    assert task._words.windowed(most, 32) >= len(ids) > task._words.windowed(most - 1, 32)


def test_what_is_cut_and_what_cannot_be_known_is_counted(places, tmp_path):
    rows = [
        CodedText(text_id="a", split="train", text="high blood pressure " * 2000, codes=("I10",)),
        CodedText(text_id="b", split="train", text="chest cold", codes=("J20.9", "I10")),
        CodedText(text_id="d", split="train", text="nothing", codes=()),
        CodedText(text_id="c", split="validation", text="broken right wrist", codes=("S52.501A",)),
    ]
    pq.write_table(to_table(CodedText, rows), tmp_path / "part-0.parquet")
    report = train(Classify(), settings(objective="classify", method="full", max_steps=1), places, str(tmp_path), tmp_path / "run")
    assert (report["cut"], report["codes"], report["nodes"], report["unknown_codes"], report["without_codes"]) == (1, 2, 7, 1, 1)
    assert report["metrics"]["f1"] == 0
    with pytest.raises(InputError, match="without a title"):
        train(Embed(), settings(objective="embed"), places, str(tmp_path), tmp_path / "other")


def test_codes_that_nobody_knows_are_no_tree(places, tmp_path):
    pq.write_table(to_table(CodedText, [CodedText(text_id="a", split="train", text="x", codes=("999",))]), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match="no code of the training rows"):
        train(Classify(), settings(objective="classify"), places, str(tmp_path), tmp_path / "run")


def test_the_wrong_table_and_the_wrong_directory_are_named(places, pairs, blocks, generator, tmp_path):
    with pytest.raises(InputError, match="columns missing.*preferences"):
        train(Prefer(), settings(objective="prefer"), places, pairs, tmp_path / "a")
    with pytest.raises(ModelError, match="config.json is missing"):
        train(Embed(), settings(objective="embed"), ModelConfig(encoder=blocks), pairs, tmp_path / "b")
    with pytest.raises(ConfigError, match="model.base"):
        train(Embed(), settings(objective="embed", backbone="generator"), ModelConfig(), pairs, tmp_path / "c")


def test_an_example_longer_than_the_model_reads_is_refused(base, blocks, preferences, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(base, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 5}))
    model = ModelConfig(base=str(short))
    with pytest.raises(InputError, match=r"has \d tokens, and model.base reads 5"):
        train(objective("generate"), settings(), model, blocks, tmp_path / "a")
    with pytest.raises(InputError, match=r"has \d tokens, and model.base reads 5"):
        train(Prefer(), settings(objective="prefer"), model, preferences, tmp_path / "b")
    wide = ModelConfig(base=str(short))
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))  # blocks of 32, examples of up to 7
    assert train(objective("generate"), settings(max_steps=1), wide, blocks, tmp_path / "c")["steps_done"] == 1


def test_what_stands_above_an_unknown_code_counts(places, tmp_path):
    """I11.0 occurs in no training row; its category, block and chapter do."""
    rows = [CodedText(text_id=f"{n}", split="train", text="pressure heart", codes=("I11.9",)) for n in range(8)]
    rows += [CodedText(text_id=f"x{n}", split="train", text="chest cold", codes=("J20.9",)) for n in range(8)]
    rows += [CodedText(text_id="v", split="validation", text="pressure heart", codes=("I11.0",))]
    pq.write_table(to_table(CodedText, rows), tmp_path / "part-0.parquet")
    report = train(Classify(), settings(objective="classify", method="full", epochs=30), places, str(tmp_path), tmp_path / "run")
    found = report["metrics"]
    assert (found["f1"], found["category_f1"], found["top1"]) == (0, 1, 0) and found["hierarchical_f1"] == pytest.approx(2 * 3 / (4 + 4))
    assert report["unknown_codes"] == 1


@pytest.mark.parametrize("name", ["rerank", "classify"])
def test_layers_that_the_encoder_lacks_are_trained_and_travel(name, places, pairs, tmp_path):
    """A BERT saved as a masked language model has no pooler, on which its classification head stands."""
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    BertForMaskedLM(BertConfig.from_pretrained(places.encoder)).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(places.encoder).save_pretrained(tmp_path / "bare")
    model = ModelConfig(encoder=str(tmp_path / "bare"))
    config = settings(objective=name, method="lora", epochs=3)
    report = train(objective(name), config, model, pairs, tmp_path / "run")
    task = objective(name)
    task.rows(pairs, "train")
    task.build(config, model)
    whole = export(config, tmp_path / "bare", Path(report["checkpoint"]), tmp_path / "model")
    module = transformers.AutoModelForSequenceClassification.from_pretrained(whole).eval()
    with torch.no_grad():
        assert task.evaluate(module, task.rows(pairs, "validation"), 4) == pytest.approx(report["metrics"], abs=1e-4)
    assert not list((tmp_path / "model").glob("part-*"))
    AutoTokenizer.from_pretrained(places.encoder).save_pretrained(whole)
    # a head is a base for another one, of another width
    other = train(
        objective("rerank"), settings(objective="rerank", method="lora", max_steps=1), ModelConfig(encoder=whole), pairs, tmp_path / "next"
    )
    assert other["steps_done"] == 1


def test_rows_that_leave_nothing_to_choose_are_refused(places, tmp_path):
    title = code_set().title("I10")
    rows = [CodedText(text_id=str(n), split="train", text="high blood pressure", codes=("I10",), title=title) for n in range(4)]
    pq.write_table(to_table(CodedText, rows), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match="have one title"):
        train(Embed(), settings(objective="embed"), places, str(tmp_path), tmp_path / "a")
    with pytest.raises(InputError, match="no wrong titles"):
        train(Rerank(), settings(objective="rerank"), places, str(tmp_path), tmp_path / "b")


def test_two_texts_are_kept_apart_where_the_tokenizer_sets_nothing_between(places, encoder):
    from nosology.training.backbone import Words

    words = Words(Path(places.base))
    ids = words.batch(["heart disease"], ["Asthma"])["input_ids"][0]
    assert words.tokenizer.decode(ids) == "heart disease\nAsthma"
    assert words.count_longer(["é" * 90], 128) == int(len(words.tokenizer("é" * 90)["input_ids"]) > 128)
    assert "\n" not in Words(Path(encoder)).tokenizer.decode(Words(Path(encoder)).batch(["high"], ["low"])["input_ids"][0])


def test_a_vector_is_the_mean_over_the_tokens_that_are_there(encoder):
    """Of a batch with padding as of each text alone; written out."""
    from nosology.engines.encoder import load_encoder

    known = load_encoder(encoder)
    texts = ["high blood pressure", "chest cold", "wheeze"]
    for text, found in zip(texts, known.embed(texts), strict=True):
        with torch.no_grad():
            states = known.model(**known.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(0)
        assert found == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_a_table_that_is_not_as_prepare_writes_it_is_told(places, pairs, tmp_path):
    table = pq.read_table(Path(pairs) / "part-0.parquet")
    for name, changed, told in (
        ("old", table.drop_columns(["context"]), "of an older version: context.*Run prepare again"),
        ("types", table.set_column(table.column_names.index("codes"), "codes", table["text_id"]), "not of the type that CodedText has"),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(changed, tmp_path / name / "part-0.parquet")
        with pytest.raises(InputError, match=told) as caught:
            train(Embed(), settings(objective="embed"), places, str(tmp_path / name), tmp_path / "run")
        assert "blood" not in str(caught.value) and "0-0" not in str(caught.value)


def test_a_checkpoint_that_lacks_a_tensor_is_no_model(places, pairs, tmp_path):
    from safetensors.torch import load_file, save_file

    config = settings(objective="rerank", method="full", max_steps=1)
    folder = Path(train(Rerank(), config, places, pairs, tmp_path / "run")["checkpoint"])
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "pooler" not in name}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(ModelError, match="lacks 2 tensors"):
        export(config, backbone_of(config, places), folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()
