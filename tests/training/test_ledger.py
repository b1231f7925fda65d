"""The ledger of samples: what it refuses, and what it proves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.errors import ModelError
from nosology.training import ledger, order


def rows(step: int, num_rows: int = 10, seed: int = 3, samples: int = 4) -> int:
    return sum(order.sample_indices(num_rows, seed, step * samples, samples))


def test_other_rows_than_were_due_stop_the_run(tmp_path: Path) -> None:
    book = ledger.Ledger(tmp_path / ledger.FILE, 10, 3, 4)
    book.step(0, rows(0), 2)
    with pytest.raises(ModelError, match="step 1: the workers took other samples"):
        book.step(1, rows(1) + 1, 2)
    book.close()
    assert ledger.account(tmp_path / ledger.FILE, 1, 10)["exact"]


def test_a_step_that_is_missing_is_no_exact_account(tmp_path: Path) -> None:
    book = ledger.Ledger(tmp_path / ledger.FILE, 10, 3, 4)
    for step in (0, 2):
        book.step(step, rows(step), 1)
    book.close()
    assert not ledger.account(tmp_path / ledger.FILE, 3, 10)["exact"]


def test_steps_of_another_size_are_no_exact_account(tmp_path: Path) -> None:
    for first, samples in ((0, 4), (1, 6)):
        book = ledger.Ledger(tmp_path / ledger.FILE, 10, 3, samples)
        book.step(first, rows(first, samples=samples), 1)
        book.close()
    assert not ledger.account(tmp_path / ledger.FILE, 2, 10)["exact"]


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 30), st.integers(1, 5))
def test_whatever_is_lost_each_place_is_learnt_once(
    tmp_path_factory: pytest.TempPathFactory, losses: list[int], num_rows: int, samples: int
) -> None:
    """A run of ten steps, cut off again and again some steps after where its last checkpoint was."""
    file = tmp_path_factory.mktemp("ledger") / ledger.FILE
    done, steps, taken = 0, 10, 0
    for lost in [*losses, None]:
        book = ledger.Ledger(file, num_rows, 3, samples)
        end = steps if lost is None else min(steps, done + lost)
        for step in range(done, end):
            book.step(step, rows(step, num_rows, 3, samples), 1 + step % 2)
        taken += end - done
        book.close()
        done = max(done, end - 2) if lost is not None else end
    found = ledger.account(file, steps, num_rows)
    assert found["exact"] and found["samples"] == steps * samples and found["repeated_steps"] == taken - steps
    assert found["least"] == steps * samples // num_rows and found["most"] - found["least"] <= 1
