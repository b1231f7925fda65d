"""Several examples in one block: first-fit decreasing, positions that restart, segments that tell who may look at whom.

Shapes: N blocks, T tokens a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nosology.curation.templates import IGNORED

if TYPE_CHECKING:
    import pyarrow as pa


class Tokens(NamedTuple):
    """One tokenised example."""

    example_id: str
    input_ids: Sequence[int]
    num_prompt_tokens: int


class Packed(NamedTuple):
    """Blocks of one split.

    Attributes:
        blocks: table of `PackedBlock`.
        too_long: ids of examples that no block can hold; they are left out whole, never cut.
        num_tokens: tokens in the blocks without padding.
    """

    blocks: pa.Table
    too_long: list[str]
    num_tokens: int

    @property
    def fill(self) -> float:
        """Share of the blocks' places that hold a token."""
        places = sum(len(ids) for ids in self.blocks["input_ids"])
        return self.num_tokens / places if places else 1.0


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of places in `lengths`: the longest first, each into the first bin that still has room. O(n log n).

    No more than 11/9 of the fewest bins possible, plus 6/9 (Dósa 2007).

    Raises:
        ValueError: a length is above the capacity or below one.
    """
    if any(not 1 <= length <= capacity for length in lengths):
        raise ValueError(f"lengths must lie between 1 and {capacity}")
    width = 1 << max(0, len(lengths) - 1).bit_length()
    room = [capacity] * (2 * width)  # a tree of maxima: room[1] is the root, leaves are bins in order
    bins: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        node = 1
        while node < width:
            node *= 2
            if room[node] < lengths[item]:
                node += 1
        room[node] -= lengths[item]
        place = node - width
        if place == len(bins):
            bins.append([])
        bins[place].append(item)
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return bins


def pack(examples: Sequence[Tokens], split: str, context_tokens: int, pad_id: int = 0) -> Packed:
    """Blocks of `context_tokens` tokens from the examples of one split; the order of the examples does not matter.

    Labels are -100 at padding, on prompts, and on the first token of every example: the token before it is another example's.
    """
    import numpy as np
    import pyarrow as pa

    from nosology.records import PackedBlock, arrow_schema

    ordered = sorted(examples, key=lambda e: e.example_id)
    fitting = [e for e in ordered if 1 <= len(e.input_ids) <= context_tokens]
    bins = first_fit_decreasing([len(e.input_ids) for e in fitting], context_tokens)
    shape = (len(bins), context_tokens)
    ids_NT, labels_NT = np.full(shape, pad_id, np.int64), np.full(shape, IGNORED, np.int64)
    positions_NT, segments_NT = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for block, members in enumerate(bins):
        start = 0
        for segment, member in enumerate(members, start=1):
            example = fitting[member]
            end = start + len(example.input_ids)
            ids_NT[block, start:end] = example.input_ids
            answer = start + max(1, example.num_prompt_tokens)
            labels_NT[block, answer:end] = ids_NT[block, answer:end]
            positions_NT[block, start:end] = np.arange(end - start)
            segments_NT[block, start:end] = segment
            start = end
    offsets = np.arange(len(bins) + 1, dtype=np.int32) * context_tokens
    columns = [pa.ListArray.from_arrays(offsets, array.reshape(-1)) for array in (ids_NT, labels_NT, positions_NT, segments_NT)]
    table = pa.Table.from_arrays([pa.array(range(len(bins)), pa.int64()), pa.array([split] * len(bins), pa.string()), *columns],
                                 schema=arrow_schema(PackedBlock))  # fmt: skip
    return Packed(table, [e.example_id for e in ordered if not 1 <= len(e.input_ids) <= context_tokens], int((segments_NT > 0).sum()))
