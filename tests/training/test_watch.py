"""The hang watch: who is named, and what is no hang."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from nosology.training.watch import STALLED, Watch, events


class Left:
    """What a worker that gives up calls in place of the end of its process."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.told = threading.Event()

    def __call__(self, status: int) -> None:
        self.status = status
        self.told.set()


def test_a_worker_that_is_behind_is_named_with_its_place(tmp_path: Path) -> None:
    left = Left()
    with Watch(tmp_path, 0, 2, 0.8, left) as ahead, Watch(tmp_path, 1, 2, 60.0, Left()) as behind:
        for watch in (ahead, behind):
            watch.enter("forward", 7)
        ahead.enter("backward and update", 7)
        ahead.collective("all_reduce of DeepSpeed")
        behind._write()  # its own thread writes every five seconds
        assert left.told.wait(10) and left.status == STALLED
    (hang,) = events(tmp_path)
    assert hang["event"] == "hang" and hang["workers"] == [1] and hang["said"] == "is behind the others" and hang["told_by"] == 0
    assert (hang["step"], hang["phase"], hang["collective"]) == (7, "forward", "none")


def test_a_worker_before_the_collective_in_which_the_other_waits_is_behind(tmp_path: Path) -> None:
    left = Left()
    with Watch(tmp_path, 0, 2, 0.8, left) as ahead, Watch(tmp_path, 1, 2, 60.0, Left()) as behind:
        for watch in (ahead, behind):
            watch.enter("backward and update", 3)
        ahead.collective("reduce of DeepSpeed")
        behind._write()
        assert left.told.wait(10)
    assert events(tmp_path)[0]["workers"] == [1]


def test_one_that_does_not_write_is_silent_and_the_others_tell_where_they_wait(tmp_path: Path) -> None:
    left = Left()
    with Watch(tmp_path, 0, 2, 0.8, left) as watch:
        watch.enter("figures", 9)
        watch.collective("figures of step 9")
        assert left.told.wait(10)
    (hang,) = events(tmp_path)
    assert hang["workers"] == [1] and hang["said"].startswith("does not answer")
    assert (hang["step"], hang["phase"], hang["collective"]) == (9, "figures", "figures of step 9")


def test_when_all_wait_in_the_same_place_it_is_the_network(tmp_path: Path) -> None:
    left = Left()
    with Watch(tmp_path, 0, 2, 0.8, left) as one, Watch(tmp_path, 1, 2, 60.0, Left()) as other:
        for watch in (one, other):
            watch.enter("figures", 4)
            watch.collective("figures of step 4")
        other._write()
        assert left.told.wait(10)
    assert "the network between them" in events(tmp_path)[0]["said"]


@pytest.mark.parametrize("sign", ["alive", "collective", "load", "begin"])
def test_what_moves_or_may_last_is_no_hang(tmp_path: Path, sign: str) -> None:
    left = Left()
    with Watch(tmp_path, 0, 1, 0.6, left) as watch:
        watch.enter(sign if sign in ("load", "begin") else "evaluation", 1)
        for _ in range(15):
            time.sleep(0.1)
            if sign == "alive":
                watch.alive()
            elif sign == "collective":
                watch.collective("all_reduce of DeepSpeed")
    assert left.status is None and not events(tmp_path)


def test_a_base_whose_loading_hangs_is_named(tmp_path: Path) -> None:
    left = Left()
    with Watch(tmp_path, 0, 1, 0.1, left):
        for _ in range(60):
            time.sleep(0.1)
            if left.status is not None:
                break
    (hang,) = events(tmp_path)
    assert left.status == STALLED and hang["phase"] == "build" and hang["seconds"] >= 2, "twenty times as long as a step may last"


def test_the_watch_begins_before_the_base_is_loaded(tmp_path: Path, base: str, blocks: str) -> None:
    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.generate import Generate
    from nosology.training.loop import train

    class Slow(Generate):
        def build(self, config, model):
            beat = json.loads((tmp_path / "beats" / "rank-0.json").read_text())
            assert beat["phase"] == "build"
            return super().build(config, model)

    assert train(Slow(), TrainConfig(precision="fp32", max_steps=1, workers=1), ModelConfig(base=base), blocks, tmp_path)["steps_done"] == 1
