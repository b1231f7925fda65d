"""Which sample is due when: a pure function of (seed, epoch, step), with no state to save and O(1) memory.

The epochs' permutations follow each other in one endless stream. Step `s` of a job whose step takes `n` samples over all workers
reads places `s*n … s*n+n-1` of it, in micro-batches of their own, so that each sample comes once per epoch whatever the number of workers
was, and a step is the same step on any number of them.
"""

from __future__ import annotations

import hashlib
import math

_ROUNDS = 4


def permuted(index: int, length: int, seed: int, epoch: int) -> int:
    """Place of `index` in a pseudo-random permutation of range(length): a Feistel network, walked until it falls in range."""
    if not 0 <= index < length:
        raise ValueError(f"index {index} outside range({length})")
    half = max(1, (max(length - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    value = index
    while True:
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            digest = hashlib.blake2b(f"{seed},{epoch},{number},{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        value = (left << half) | right
        if value < length:
            return value


def sample_indices(num_rows: int, seed: int, start: int, count: int) -> list[int]:
    """Rows at places start … start+count-1 of the stream."""
    return [permuted(place % num_rows, num_rows, seed, place // num_rows) for place in range(start, start + count)]


def rounds(total: int, world_size: int) -> int:
    """Forward passes of each worker in a step of `total` micro-batches."""
    return math.ceil(total / world_size)


def micro_batches(total: int, rank: int, world_size: int) -> list[int | None]:
    """Which of a step's `total` micro-batches worker `rank` of `world_size` does, one a round.

    All workers do the same number of rounds, as collectives need it; None is a round without a micro-batch of its own, where the
    number of workers does not divide `total`. What a step consists of does not depend on the number of workers.
    """
    return [number if (number := turn * world_size + rank) < total else None for turn in range(rounds(total, world_size))]


def micro_batch_indices(num_rows: int, seed: int, step: int, number: int, total: int, batch_size: int) -> list[int]:
    """Rows of micro-batch `number` of the `total` of a step."""
    return sample_indices(num_rows, seed, (step * total + number) * batch_size, batch_size)


def num_steps(num_rows: int, epochs: int, samples_per_step: int, max_steps: int | None = None) -> int:
    """Steps that cover every sample `epochs` times; the last step is filled from the next epoch's permutation."""
    steps = math.ceil(num_rows * epochs / samples_per_step)
    return min(steps, max_steps) if max_steps else steps


def learning_rate(step: int, total_steps: int, peak: float, warmup_share: float, schedule: str) -> float:
    """Learning rate of `step` (from 0): a linear warm-up, then linear or cosine decay that reaches zero after the last step."""
    warmup = round(total_steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, total_steps - warmup)
    return peak * (0.5 * (1 + math.cos(math.pi * share)) if schedule == "cosine" else 1 - share)
