"""The code set: what is billable, when, and where it stands."""

from __future__ import annotations

import datetime
import os

import pytest
from nosology.terminology.aliases import aliases
from nosology.terminology.codeset import CodeSet, code_set, part_of, phrases

WITHIN, BEFORE, OLD = datetime.date(2026, 5, 1), datetime.date(2019, 5, 1), datetime.date(2014, 5, 1)


@pytest.fixture(scope="module")
def codes() -> CodeSet:
    return code_set()


def test_has_the_billable_codes_of_the_release(codes: CodeSet) -> None:
    assert (codes.release, len(codes.codes), len(set(codes.codes))) == ("2026-04", 74719, 74719)
    assert not any("-" in code for code in codes.codes), "a block heading is no code"


@pytest.mark.parametrize(
    ("code", "date", "fault"),
    [
        ("I10", WITHIN, None),
        ("i10", WITHIN, None),
        ("E119", WITHIN, None),
        ("E11.9", None, None),
        ("E11", WITHIN, "not_billable"),
        ("C00-C75", WITHIN, "unknown_code"),
        ("S52.531", WITHIN, "not_billable"),
        ("S52.531A", WITHIN, None),
        ("Z99.999", WITHIN, "unknown_code"),
        ("250.00", WITHIN, "unknown_code"),
        ("", WITHIN, "unknown_code"),
        ("E11", BEFORE, "not_in_force"),
        ("I48.1", BEFORE, "not_in_force"),
        ("E11.9", BEFORE, None),
        ("E11.9", OLD, "not_in_force"),
        ("rubbish", OLD, "unknown_code"),
    ],
)
def test_fault_of_a_billed_code(codes: CodeSet, code: str, date: datetime.date | None, fault: str | None) -> None:
    assert codes.fault(code, date) == fault
    assert codes.is_billable(code, date) == (fault is None)


@pytest.mark.parametrize(
    ("day", "in_force"),
    [("2026-03-31", False), ("2026-04-01", True), ("2026-09-30", True), ("2026-10-01", False), ("2015-09-30", False)],
)
def test_release_on_a_date(codes: CodeSet, day: str, in_force: bool) -> None:
    release = codes.release_on(datetime.date.fromisoformat(day))
    assert (release.name, release.in_force) == ("2026-04", in_force)


def test_hierarchy(codes: CodeSet) -> None:
    assert codes.ancestors("S52.531A") == ("S52.531", "S52.53", "S52.5", "S52", "S50-S59", "19")
    assert codes.ancestors("I10") == ("I10-I1A", "9")
    assert "E11.9" in codes.descendants("E11") and "E11" not in codes.descendants("E11")
    assert codes.descendants("I50.2") == ("I50.20", "I50.21", "I50.22", "I50.23")


def test_the_cached_table_says_the_same_and_a_broken_one_is_made_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path))
    code_set.cache_clear()
    first = code_set()
    (table,) = tmp_path.glob("codeset-*.json")
    code_set.cache_clear()
    assert code_set().entries == first.entries
    size = table.stat().st_size
    os.truncate(table, 100)
    code_set.cache_clear()
    assert code_set().codes == first.codes and table.stat().st_size == size
    code_set.cache_clear()


def test_phrases_of_a_category_are_in_one_part(codes: CodeSet) -> None:
    parts = {name: phrases(codes, name) for name in ("train", "validation", "test")}
    owners = {name: {phrase.code[:3] for phrase in found} for name, found in parts.items()}
    assert not owners["train"] & owners["test"] and not owners["train"] & owners["validation"] and not owners["validation"] & owners["test"]
    texts = [phrase.phrase.casefold() for found in parts.values() for phrase in found]
    assert len(texts) == len(set(texts)) and len(parts["test"]) > 400 and len(parts["train"]) > 6000
    assert all(part_of(phrase.code) == name and phrase.code in codes for name, found in parts.items() for phrase in found)


def test_every_alias_names_a_billable_code_for_each_side_it_offers(codes: CodeSet) -> None:
    assert len(aliases()) > 580
    assert [alias.phrase for alias in aliases() if alias.code not in codes] == []
    sided = [alias for alias in aliases() if "#" in alias.pattern]
    assert [
        alias.phrase for alias in sided if alias.pattern.replace("#", "1") not in codes and alias.pattern.replace("#", "2") not in codes
    ] == []
