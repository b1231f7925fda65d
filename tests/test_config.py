"""Configuration: precedence, refusals with the nearest name, the cluster file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import Config, flatten, load
from nosology.errors import ConfigError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_files_then_overrides(tmp_path: Path) -> None:
    first = write(tmp_path, "a.yaml", "train: {rank: 4, zero: 3}\n")
    second = write(tmp_path, "b.yaml", "train: {rank: 8}\n")
    tree = load([first, second], ["train.zero=1", "train.use_gpu=true"])
    assert (tree.train.rank, tree.train.zero, tree.train.use_gpu) == (8, 1, True)


def test_cluster_may_be_a_file_beside_the_config(tmp_path: Path) -> None:
    write(tmp_path, "onprem.yaml", "address: ray://head:10001\n")
    assert load([write(tmp_path, "a.yaml", "cluster: onprem.yaml\n")]).cluster.address == "ray://head:10001"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deid: {treshold: 0.5}", ("treshold", "deid.threshold")),
        ("trian: {rank: 3}", ("trian", "train")),
        ("rank: 3", ("rank", "train.rank")),
        ("zzz: 3", ("zzz", "known here")),
        ("train: {rank: 0}", ("train.rank", "greater than or equal to 1")),
        ("train: {rank: many}", ("train.rank", "integer")),
        ("train: [1]", ("train",)),
        ("- 1", ("mapping", "list")),
        ("train: {", ("not YAML", "line")),
    ],
)
def test_refusals_name_the_key_and_the_remedy(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        load([write(tmp_path, "bad.yaml", text)])
    assert all(part in str(caught.value) for part in expected), str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing.yaml"):
        load([tmp_path / "nothing.yaml"])


@given(st.text(max_size=40))
def test_no_override_crashes(text: str) -> None:
    try:
        load([], [text])
    except ConfigError as error:
        assert str(error)


def test_every_key_has_one_default_and_the_tree_round_trips() -> None:
    assert Config.model_validate(Config().model_dump()) == Config()
    assert len({key for key, _ in flatten(Config())}) == len(list(flatten(Config())))


def test_the_engine_is_a_choice_of_three() -> None:
    assert load([], []).serve.engine == "auto" and load([], ["serve.engine=vllm"]).serve.engine == "vllm"
    with pytest.raises(ConfigError, match="serve.engine.*'auto', 'laptop' or 'vllm'"):
        load([], ["serve.engine=cloud"])


def test_categories_are_those_of_de_identification() -> None:
    from nosology.config import Category
    from nosology.deid import LABELS

    assert set(get_args(Category)) == set(LABELS)


def test_a_category_is_left_out_only_by_who_says_so() -> None:
    with pytest.raises(ConfigError, match="DEVICE.*--accept-residual"):
        load([], ["deid.leave_out=[DEVICE]"])
    assert load([], ["deid.leave_out=[DEVICE]", "deid.accept_residual=true"]).deid.leave_out == ("DEVICE",)
    with pytest.raises(ConfigError, match="leave_out"):
        load([], ["deid.leave_out=[DEVISE]", "deid.accept_residual=true"])


def test_the_tagger_is_switched_off_for_a_class_only_by_who_says_so() -> None:
    for wrong in (
        "threshold=1.0",
        "threshold=0.91",
        "threshold=-0.1",
        "threshold=.nan",
        "thresholds={NAME: 1.0}",
        "thresholds={NAME: 0.95}",
    ):
        for accepted in ("false", "true"):
            with pytest.raises(ConfigError, match=r"deid\.threshold.*rules_alone"):
                load([], [f"deid.{wrong}", f"deid.accept_residual={accepted}"])
    assert load([], ["deid.threshold=0.9", "deid.thresholds={NAME: 0.85}"]).deid.thresholds == {"NAME": 0.85}
    with pytest.raises(ConfigError, match="NAME without the tagger.*--accept-residual"):
        load([], ["deid.rules_alone=[NAME]"])
    assert load([], ["deid.rules_alone=[NAME]", "deid.accept_residual=true"]).deid.rules_alone == ("NAME",)
    with pytest.raises(ConfigError, match="NAME in leave_out and in rules_alone"):
        load([], ["deid.rules_alone=[NAME]", "deid.leave_out=[NAME]", "deid.accept_residual=true"])


def test_who_vouches_has_a_name_an_organisation_and_a_date() -> None:
    assert load([], ["proof.vouched_by=Ada Byron, Example Hospital, 2026-05-04"]).proof.vouched_by
    for wrong in ("yes", "Ada Byron, 2026-05-04", "Ada, Example, May", ", Example, 2026-05-04"):
        with pytest.raises(ConfigError, match="proof.vouched_by"):
            load([], [f'proof.vouched_by="{wrong}"'])
