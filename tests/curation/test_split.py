"""Splits: disjoint, stable, of the shares asked for, and the code set's own partition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import PrepareConfig
from nosology.curation.split import Splitter
from nosology.errors import ConfigError


@given(st.permutations([f"patient-{i}" for i in range(12)]), st.integers(0, 5))
def test_a_patient_has_one_split_whatever_the_order(patients: list[str], seed: int) -> None:
    splitter = Splitter(0.3, 0.3, seed)
    notes = [(patient, n) for n in range(3) for patient in patients]
    found: dict[str, set[str]] = {}
    for patient, _ in notes:
        found.setdefault(patient, set()).add(splitter.of_patient(patient))
    assert all(len(splits) == 1 for splits in found.values())
    assert {p: splitter.of_patient(p) for p in patients} == {p: Splitter(0.3, 0.3, seed).of_patient(p) for p in sorted(patients)}


def test_shares_are_met_and_the_seed_matters() -> None:
    patients = [f"p{i}" for i in range(20_000)]
    one = [Splitter(0.05, 0.1).of_patient(p) for p in patients]
    other = [Splitter(0.05, 0.1, seed=1).of_patient(p) for p in patients]
    assert abs(one.count("test") / len(one) - 0.1) < 0.01 and abs(one.count("validation") / len(one) - 0.05) < 0.01
    assert one != other


def test_codes_go_by_category_and_held_out_categories_are_test() -> None:
    splitter = Splitter.of(PrepareConfig(), held_out=frozenset({"I10", "E11"}))
    assert splitter.of_code("E11.9") == splitter.of_code("E11.65") == splitter.of_code("I10") == "test"
    plain = Splitter.of(PrepareConfig())
    assert {plain.of_code(f"A{i:02d}") for i in range(100)} == {"train", "validation", "test"}
    assert all(plain.of_code(f"A{i:02d}.1") == plain.of_code(f"A{i:02d}.23") for i in range(100))


def test_categories_are_those_that_the_code_set_holds_out() -> None:
    terminology = pytest.importorskip("nosology.terminology.codeset")
    splitter = Splitter.of(PrepareConfig(), seed=3)
    for category in (f"{letter}{i:02d}" for letter in "ABEIJMSZ" for i in range(100)):
        assert splitter.of_code(category) == terminology.part_of(category)


def test_no_share_left_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is left"):
        Splitter(0.5, 0.5)
