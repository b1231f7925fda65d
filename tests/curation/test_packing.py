"""Packing: every token once, whole examples, no loss across a border."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.curation.packing import Tokens, first_fit_decreasing, pack
from nosology.curation.templates import IGNORED
from nosology.records import PackedBlock, arrow_schema

CONTEXT = 16
EXAMPLES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=25).map(
    lambda shapes: [Tokens(f"e{i:02d}", [1000 * (i + 1) + t for t in range(n)], min(p, n)) for i, (n, p) in enumerate(shapes)]
)


@settings(deadline=None)
@given(EXAMPLES, st.randoms())
def test_every_token_once_in_whole_examples(examples: list[Tokens], shuffler: object) -> None:
    packed = pack(examples, "train", CONTEXT, pad_id=7)
    fitting = {e.example_id: e for e in examples if 1 <= len(e.input_ids) <= CONTEXT}
    assert sorted(packed.too_long) == sorted(e.example_id for e in examples if e.example_id not in fitting)
    assert packed.num_tokens == sum(len(e.input_ids) for e in fitting.values())
    seen = []
    for number, block in enumerate(packed.blocks.to_pylist()):
        assert block["block_id"] == number and block["split"] == "train"
        columns = [block[name] for name in ("input_ids", "labels", "position_ids", "segment_ids")]
        assert {len(column) for column in columns} == {CONTEXT}
        rows = list(zip(*columns, strict=True))
        padding = [row for row in rows if row[3] == 0]
        assert rows[len(rows) - len(padding) :] == padding and set(padding) <= {(7, IGNORED, 0, 0)}
        for segment in range(1, max(row[3] for row in rows) + 1):
            tokens = [row for row in rows if row[3] == segment]
            example = fitting[f"e{tokens[0][0] // 1000 - 1:02d}"]
            assert [t[0] for t in tokens] == list(example.input_ids)
            assert [t[2] for t in tokens] == list(range(len(tokens)))
            start = max(1, example.num_prompt_tokens)
            assert [t[1] for t in tokens] == [IGNORED] * min(start, len(tokens)) + list(example.input_ids[start:])
            seen.append(example.example_id)
    assert sorted(seen) == sorted(fitting)


@settings(deadline=None)
@given(EXAMPLES, st.randoms())
def test_the_order_of_examples_does_not_matter(examples: list[Tokens], shuffler: object) -> None:
    mixed = list(examples)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    assert pack(mixed, "test", CONTEXT).blocks == pack(examples, "test", CONTEXT).blocks


def test_first_fit_decreasing_by_hand_and_against_the_plain_rule() -> None:
    assert first_fit_decreasing([4, 8, 1, 4, 2, 1], 10) == [[1, 4], [0, 3, 2, 5]]
    assert first_fit_decreasing([], 10) == []
    for length in (0, 11):
        with pytest.raises(ValueError):
            first_fit_decreasing([length], 10)


@given(st.lists(st.integers(1, 30), max_size=60))
def test_first_fit_decreasing_is_that_of_the_book(lengths: list[int]) -> None:
    bins: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for members in bins:
            if sum(lengths[m] for m in members) + lengths[item] <= 30:
                members.append(item)
                break
        else:
            bins.append([item])
    assert first_fit_decreasing(lengths, 30) == bins


def test_blocks_have_the_schema_of_the_data_model() -> None:
    table = pack([Tokens("a", [1, 2, 3], 2)], "train", 4).blocks
    assert table.schema.equals(arrow_schema(PackedBlock), check_metadata=True)
    assert pack([], "train", 4).blocks.num_rows == 0
