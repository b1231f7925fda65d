from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from nosology.config import ModelConfig, TrainConfig
from nosology.errors import ConfigError, InputError, ModelError
from nosology.records import PackedBlock, to_table
from nosology.storage import StorageError
from nosology.training import OBJECTIVES, checkpoint, objective, order
from nosology.training.generate import Generate
from nosology.training.loop import train


def settings(**changes):
    toy = {
        "precision": "fp32",
        "batch_size": 4,
        "learning_rate": 1e-2,
        "epochs": 2,
        "checkpoint_steps": 5,
        "rank": 8,
        "alpha": 16,
        "workers": 1,
    }
    return TrainConfig(**{**toy, **changes})


def curve(out: Path) -> dict[int, float]:
    """Loss by step; a step that was taken twice keeps its last value."""
    return {line["step"]: line["value"] for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1000])
def test_the_order_of_an_epoch_is_a_permutation(length):
    first = order.sample_indices(length, seed=3, start=0, count=length)
    second = order.sample_indices(length, seed=3, start=length, count=length)
    assert sorted(first) == sorted(second) == list(range(length))
    if length >= 64:
        assert first != second and first != order.sample_indices(length, seed=4, start=0, count=length) and first != list(range(length))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_sample_comes_once_an_epoch_on_any_number_of_workers(workers):
    steps = order.num_steps(24, epochs=2, samples_per_step=4 * workers)
    seen = [i for step in range(steps) for number in range(workers) for i in order.micro_batch_indices(24, 0, step, number, workers, 4)]
    assert all(seen[:48].count(i) == 2 for i in range(24)) and sorted(seen[:24]) == list(range(24))


@pytest.mark.parametrize("total", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_each_micro_batch_of_a_step_is_one_workers_and_all_do_as_many_rounds(total, workers):
    shares = [order.micro_batches(total, rank, workers) for rank in range(workers)]
    assert sorted(number for share in shares for number in share if number is not None) == list(range(total))
    assert len({len(share) for share in shares}) == 1 and len(shares[0]) == -(-total // workers)


def test_learning_rate_warms_up_and_decays_to_zero():
    for schedule in ("linear", "cosine"):
        rates = [order.learning_rate(step, 100, 1.0, 0.1, schedule) for step in range(101)]
        assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0 and rates[100] == pytest.approx(0)
        assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_loss_falls_and_the_checkpoint_holds_what_inference_loads(base, blocks, tmp_path, method):
    config = settings(method=method, epochs=10 if method == "lora" else 6)
    report = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path)
    assert report["last_loss"] < report["first_loss"] * 0.92
    assert report["steps"] == len(curve(tmp_path)) == 24 * config.epochs // 4
    assert set(report["metrics"]) == {"loss", "accuracy", "answer_tokens"} and report["tokens"] > 0
    file = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (Path(report["checkpoint"]) / file).is_file()

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if method == "lora":
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), report["checkpoint"])
    else:
        loaded = AutoModelForCausalLM.from_pretrained(report["checkpoint"])
    task = Generate()
    with torch.no_grad():
        again = task.evaluate(loaded.eval(), task.rows(blocks, "validation"), 4)
    assert again["loss"] == pytest.approx(report["metrics"]["loss"], abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_that_stops_continues_as_if_it_had_not(base, blocks, tmp_path, method):
    config = settings(method=method, dropout=0.1 if method == "lora" else 0.0, accumulation_steps=2, max_steps=6, checkpoint_steps=2)

    class Stop(Exception):
        pass

    def stop_after_three(measures):
        time.sleep(0.4 if measures["step"] == 2 else 0)  # the checkpoint of step 2 is written meanwhile
        if measures["step"] == 4:
            raise Stop

    whole = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "whole")
    with pytest.raises(Stop):
        train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "cut", on_step=stop_after_three)
    resumed = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "cut")
    assert resumed["start_step"] in (2, 4) and whole["start_step"] == 0
    assert resumed["ledger"] == {
        **whole["ledger"], "exact": True, "attempts": 2, "repeated_steps": 5 - resumed["start_step"],
    } and whole["ledger"]["repeated_steps"] == 0 and resumed["restarts"] == 1  # fmt: skip
    left, right = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    assert left.keys() == right.keys() and all(left[s] == pytest.approx(right[s], abs=1e-6) for s in left)
    assert train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "cut")["start_step"] == 6


def test_packed_loss_is_the_loss_of_the_examples_alone(base, blocks):
    import torch

    task = Generate()
    module = task.build(settings(method="full"), ModelConfig(base=base)).eval()
    packed = task.rows(blocks, "train")[0]
    with torch.no_grad():
        together = task.loss(module, task.collate([packed]))
        alone = []
        for segment in range(1, int(packed["segment_ids"].max()) + 1):
            inside = packed["segment_ids"] == segment
            alone.append(float(task.loss(module, task.collate([{name: values[inside] for name, values in packed.items()}]))))
    assert len(alone) > 2 and float(together) == pytest.approx(sum(alone), abs=1e-4)
    assert task.targets(task.collate([packed])) == len(alone)


def test_a_step_is_the_mean_over_all_its_answer_tokens(base, blocks, tmp_path):
    """However unequal its forward passes are: by one row each, by four, and of blocks with one answer beside blocks with all of them."""
    import pyarrow.parquet as pq

    table = pq.read_table(Path(blocks) / "blocks.parquet").to_pylist()
    for row in table[::2]:
        seen = [place for place, label in enumerate(row["labels"]) if label != -100]
        row["labels"] = [label if place == seen[0] else -100 for place, label in enumerate(row["labels"])]
    (tmp_path / "data").mkdir()
    pq.write_table(to_table(PackedBlock, [PackedBlock(**row) for row in table]), tmp_path / "data" / "blocks.parquet")
    ways = [{"batch_size": 4}, {"batch_size": 1, "accumulation_steps": 4}, {"batch_size": 2, "accumulation_steps": 2}]
    for number, way in enumerate(ways):
        train(Generate(), settings(max_steps=4, **way), ModelConfig(base=base), str(tmp_path / "data"), tmp_path / str(number))
    curves = [curve(tmp_path / str(number)) for number in range(len(ways))]
    assert all(curves[0][step] == pytest.approx(other[step], abs=1e-5) for other in curves[1:] for step in curves[0])


def test_only_labels_enter_the_loss(base, blocks):
    import torch

    task = Generate()
    module = task.build(settings(method="full"), ModelConfig(base=base)).eval()
    row = dict(task.rows(blocks, "train")[0])
    with torch.no_grad():
        before = task.evaluate(module, [row], 1)
        assert before["answer_tokens"] == int((row["labels"] != -100).sum()) > 0
        row["labels"] = row["labels"] * 0 - 100
        assert float(task.loss(module, task.collate([row]))) == 0.0


def test_a_damaged_checkpoint_is_passed_over(base, blocks, tmp_path):
    train(Generate(), settings(max_steps=4, checkpoint_steps=2), ModelConfig(base=base), blocks, tmp_path)
    root = tmp_path / "checkpoints"
    last = checkpoint.newest(root)
    assert last and last.step == 4
    file = last.folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert checkpoint.newest(root).step == 2


def test_a_damaged_step_is_made_again_and_costs_no_good_checkpoint(base, blocks, tmp_path):
    root = tmp_path / "checkpoints"
    config = settings(max_steps=6, epochs=9, checkpoint_steps=2, keep_checkpoints=2)
    first = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path)
    for file in checkpoint.newest(root).folder.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    again = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path)
    assert again["start_step"] == 4 and again["checkpoint_step"] == 6 and again["last_loss"] == pytest.approx(first["last_loss"], abs=1e-6)
    for file in checkpoint.newest(root).folder.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    checkpoint._verified.clear()
    longer = config.model_copy(update={"keep_checkpoints": 1, "max_steps": 7, "checkpoint_steps": 1})
    assert train(Generate(), longer, ModelConfig(base=base), blocks, tmp_path)["checkpoint_step"] == 7
    assert checkpoint.newest(root).step == 7
    for file in checkpoint.newest(root).folder.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="all 1 checkpoints are damaged"):
        train(Generate(), longer, ModelConfig(base=base), blocks, tmp_path)


def test_storage_that_does_not_answer_is_no_damaged_checkpoint(base, blocks, tmp_path, monkeypatch):
    train(Generate(), settings(max_steps=2, checkpoint_steps=1), ModelConfig(base=base), blocks, tmp_path)

    def refuse(uri):
        raise StorageError("no connection", file=uri)

    monkeypatch.setattr(checkpoint, "digest", refuse)
    with pytest.raises(StorageError, match="no connection"):
        checkpoint.newest(tmp_path / "checkpoints")


def test_a_metric_that_is_not_finite_is_never_the_best(base, blocks, tmp_path):
    class Sometimes(Generate):
        def evaluate(self, module, rows, batch_size):
            asked.append(1)
            return {"loss": [0.5, float("nan"), 0.4, float("nan"), 0.9, 0.8][len(asked) - 1]}

    asked: list[int] = []
    config = settings(max_steps=6, epochs=9, evaluate_steps=1, checkpoint_steps=1, keep_checkpoints=1)
    report = train(Sometimes(), config, ModelConfig(base=base), blocks, tmp_path)
    assert report["checkpoint_step"] == 3 and report["metrics"] == {"loss": 0.4}


def test_a_perfect_evaluation_is_the_one_to_beat(base, blocks, tmp_path):
    class Perfect(Generate):
        def evaluate(self, module, rows, batch_size):
            asked.append(1)
            return {"loss": float(len(asked) > 1)}

    asked: list[int] = []
    config = settings(max_steps=6, epochs=9, evaluate_steps=1, patience=2)
    report = train(Perfect(), config, ModelConfig(base=base), blocks, tmp_path)
    assert report["early"] and report["steps_done"] == 3 and report["checkpoint_step"] == 1


def test_a_metric_that_is_not_measured_is_refused_before_the_model_is_built(blocks, tmp_path):
    with pytest.raises(ConfigError, match="train.metric recall: the objective generate measures loss"):
        train(Generate(), settings(metric="recall", evaluate_steps=2), ModelConfig(), blocks, tmp_path)


def test_lines_that_a_kill_cut_off_cost_nothing_else(base, blocks, tmp_path):
    config = settings(max_steps=4, epochs=9, checkpoint_steps=2)
    train(Generate(), config, ModelConfig(base=base), blocks, tmp_path)
    for name in ("metrics.jsonl", "ledger.jsonl", "events.jsonl"):
        with (tmp_path / name).open("a") as stream:
            stream.write('{"step": 4, "na')
    report = train(Generate(), config.model_copy(update={"max_steps": 6}), ModelConfig(base=base), blocks, tmp_path)
    assert report["ledger"]["exact"] and report["steps_done"] == 6 and report["restarts"] == 1
    from nosology.verbs import status

    assert status(str(tmp_path))["steps"] == 6


def test_an_unpublished_folder_is_never_read_and_old_ones_go(base, blocks, tmp_path):
    root = tmp_path / "checkpoints"
    half = root / checkpoint.new_folder(root, 9)
    (half / "state.json").write_text("{}")
    report = train(Generate(), settings(max_steps=6, checkpoint_steps=1, keep_checkpoints=2), ModelConfig(base=base), blocks, tmp_path)
    assert report["start_step"] == 0
    assert sorted(path.name[:13] for path in root.glob("*.json")) == ["step-00000005", "step-00000006"]
    assert {path.name[:13] for path in root.iterdir() if path.is_dir()} == {"step-00000005", "step-00000006", "step-00000009"}


def test_an_adapter_that_learnt_nothing_is_refused_and_the_older_checkpoint_stays(base, blocks, tmp_path):
    train(Generate(), settings(max_steps=2, checkpoint_steps=2), ModelConfig(base=base), blocks, tmp_path)

    from nosology.training import step

    class Empty(step.LocalStepper):
        """Saves what ZeRO-3 elsewhere saves: an adapter of zeros."""

        def snapshot(self, number, fields):
            import torch

            with torch.no_grad():
                for parameter in self.bare.parameters():
                    parameter.zero_() if parameter.requires_grad else None
            return super().snapshot(number, fields)

    with pytest.raises(ModelError, match="zero"):
        train(Generate(), settings(max_steps=4, checkpoint_steps=2), ModelConfig(base=base), blocks, tmp_path, stepper=Empty)
    assert checkpoint.newest(tmp_path / "checkpoints").step == 2


@pytest.mark.parametrize(("change", "fault"), [
    (lambda t: t.pop("b"), "missing"), (lambda t: t.update(c=t["b"].clone()), "unexpected"),
    (lambda t: t.update(b=t["b"][:1]), "shape"), (lambda t: t["b"].fill_(float("nan")), "finite"),
    (lambda t: t.update(b=t["b"][:0]), "shape"), (lambda t: [x.zero_() for x in t.values()], "zero"),
])  # fmt: skip
def test_a_reopened_file_is_checked(tmp_path, change, fault):
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.ones(2), "b": torch.ones(3)}
    expected = {name: tuple(t.shape) for name, t in tensors.items()}
    save_file(tensors, tmp_path / "x.safetensors")
    checkpoint.verify_tensors(tmp_path / "x.safetensors", expected)
    change(tensors)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=fault):
        checkpoint.verify_tensors(tmp_path / "x.safetensors", expected)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_rows(base, blocks, tmp_path):
    class Broken(Generate):
        def loss(self, module, batch):
            return super().loss(module, batch) * (float("nan") if len(calls) == 7 else 1.0)

        def collate(self, rows):
            calls.append(rows)
            return super().collate(rows)

    calls: list[object] = []
    with pytest.raises(ModelError, match=r"loss of step 6 is not finite \(block \d+, block \d+, block \d+, block \d+\)"):
        train(Broken(), settings(checkpoint_steps=2), ModelConfig(base=base), blocks, tmp_path)
    assert checkpoint.newest(tmp_path / "checkpoints").step >= 4


def test_a_step_without_anything_to_learn_is_refused(base, blocks, tmp_path):
    class Masked(Generate):
        def targets(self, batch):
            return 0

    with pytest.raises(ModelError, match="all labels are masked"):
        train(Masked(), settings(), ModelConfig(base=base), blocks, tmp_path)


def test_the_best_checkpoint_is_kept_and_used_and_training_ends_early(base, blocks, tmp_path):
    class Worse(Generate):
        """Grows worse from the third evaluation on."""

        def evaluate(self, module, rows, batch_size):
            asked.append(1)
            return {"loss": 1.0 / len(asked) if len(asked) <= 2 else float(len(asked))}

    asked: list[int] = []
    config = settings(max_steps=20, epochs=9, evaluate_steps=2, checkpoint_steps=3, patience=3, keep_checkpoints=1)
    report = train(Worse(), config, ModelConfig(base=base), blocks, tmp_path)
    assert report["early"] and report["steps_done"] == 10 and report["checkpoint_step"] == 4 and report["metrics"] == {"loss": 0.5}
    assert {int(path.name[5:13]) for path in (tmp_path / "checkpoints").glob("*.json")} == {4, 10}
    again = train(Worse(), config, ModelConfig(base=base), blocks, tmp_path)
    assert again["early"] and again["steps_done"] == 10 and again["start_step"] == 10


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(base, blocks, tmp_path):
    from nosology.training.loop import STOP

    def stop(measures):
        if measures["step"] == 2:
            (tmp_path / STOP).touch()

    config = settings(max_steps=8, epochs=9, checkpoint_steps=100)
    report = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path, on_step=stop)
    assert report["stopped"] and report["steps_done"] in (3, 4) and report["checkpoint_step"] == report["steps_done"]
    (tmp_path / STOP).unlink()
    done = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path)
    assert done["start_step"] == report["steps_done"] and done["steps_done"] == 8 and done["ledger"]["exact"]
    assert done["ledger"]["repeated_steps"] == 0


def test_a_checkpoint_is_made_when_time_has_passed_and_before_a_node_goes(base, blocks, tmp_path, monkeypatch):
    from nosology.training import loop

    config = settings(max_steps=4, epochs=9, checkpoint_steps=100, checkpoint_minutes=1e-9, keep_checkpoints=9)
    train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "time")
    assert [int(path.name[5:13]) for path in sorted((tmp_path / "time" / "checkpoints").glob("*.json"))] == [1, 2, 3, 4]
    monkeypatch.setattr(loop, "_ASK_SECONDS", -1.0)
    answers = iter([False, True, False, False])
    config = settings(max_steps=4, epochs=9, checkpoint_steps=100)
    report = train(Generate(), config, ModelConfig(base=base), blocks, tmp_path / "away", preempted=lambda: next(answers))
    assert [int(path.name[5:13]) for path in sorted((tmp_path / "away" / "checkpoints").glob("*.json"))] == [2, 4]
    assert report["steps_done"] == 4


def test_bad_inputs_are_named(base, blocks, tmp_path):
    task = Generate()
    with pytest.raises(ConfigError, match="model.base"):
        task.build(settings(), ModelConfig())
    with pytest.raises(ConfigError, match="targets"):
        task.build(settings(targets=("nowhere",)), ModelConfig(base=base))
    with pytest.raises(InputError):
        task.rows(str(tmp_path / "absent"), "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="Parquet"):
        task.rows(str(tmp_path / "empty"), "train")
    with pytest.raises(ConfigError, match="retrieve"):
        objective("retrieve")
    assert objective("generate").name == "generate" and "tag" in OBJECTIVES
