"""Duplicates across splits: exact by digest of the normalised text, near by MinHash with the real Jaccard index as the judge.

Broder, "On the resemblance and containment of documents" (1997). LSH only proposes; every proposal is checked on the shingles,
so a signature that is too short can cost recall but never an example.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datasketch import MinHash

NUM_PERMUTATIONS: Final = 64
SHINGLE_WORDS: Final = 3
_SEED: Final = 1
_RANK: Final[Mapping[str, int]] = {"test": 0, "validation": 1, "train": 2}
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Item:
    """What is compared: `text` (the question without its candidates), and `answer`, which tells two questions of one split apart."""

    key: str
    split: str
    text: str
    answer: str
    signature: Sequence[int] | None = None


def normalise(text: str) -> str:
    """Words of the text, compatibility forms folded, lower case, without punctuation."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))


def shingles(text: str) -> frozenset[str]:
    """Runs of three words of the normalised text; a shorter text is one shingle."""
    words = normalise(text).split()
    if len(words) <= SHINGLE_WORDS:
        return frozenset({" ".join(words)})
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared part of two sets; 1 for two empty ones."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def signatures(texts: Sequence[str]) -> list[list[int]]:
    """MinHash values of each text, `NUM_PERMUTATIONS` of them."""
    from datasketch import MinHash

    encoded = [[shingle.encode() for shingle in sorted(shingles(text))] for text in texts]
    made = MinHash.bulk(encoded, num_perm=NUM_PERMUTATIONS, seed=_SEED)
    return [[int(value) for value in one.hashvalues] for one in made]


def find_duplicates(items: Sequence[Item], similarity: float) -> dict[str, str]:
    """Which examples to remove, and why.

    The set that measures keeps its copy: test before validation before train; within a split the smaller key stays.

    Args:
        items: examples in any order; the answer does not depend on it.
        similarity: Jaccard index of word shingles from which two examples of different splits count as the same.

    Returns:
        key -> `exact_duplicate` (same question and answer in the same split), `exact_across_splits` or `near_across_splits`.
    """
    removed: dict[str, str] = {}
    split_of_text: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    kept: list[Item] = []
    for item in sorted(items, key=lambda i: (_RANK[i.split], i.key)):
        digest = hashlib.blake2b(normalise(item.text).encode(), digest_size=16).hexdigest()
        if split_of_text.setdefault(digest, item.split) != item.split:
            removed[item.key] = "exact_across_splits"
        elif (digest, item.answer) in seen:
            removed[item.key] = "exact_duplicate"
        else:
            seen.add((digest, item.answer))
            kept.append(item)
    for key in _near(kept, similarity):
        removed[key] = "near_across_splits"
    return removed


def _near(items: Sequence[Item], similarity: float) -> list[str]:
    """Keys of items that are near one of a split that measures more strictly."""
    from datasketch import MinHashLSH

    measured = [item for item in items if item.split != "train"]
    if not measured:
        return []
    # false positives are checked below, so false negatives carry nearly all the weight
    lsh = MinHashLSH(threshold=similarity, num_perm=NUM_PERMUTATIONS, weights=(0.05, 0.95))
    sketches = _sketches(items)
    by_key = {item.key: item for item in measured}
    for item in measured:
        lsh.insert(item.key, sketches[item.key])
    found = []
    for item in items:
        if item.split == "test":
            continue
        own = shingles(item.text)
        for key in lsh.query(sketches[item.key]):
            other = by_key[key]
            if _RANK[other.split] < _RANK[item.split] and jaccard(own, shingles(other.text)) >= similarity:
                found.append(item.key)
                break
    return found


def _sketches(items: Sequence[Item]) -> dict[str, MinHash]:
    import numpy as np
    from datasketch import MinHash

    bare = [item for item in items if item.signature is None]
    values: dict[str, Any] = dict(zip((i.key for i in bare), signatures([i.text for i in bare]), strict=True)) if bare else {}
    values |= {item.key: item.signature for item in items if item.signature is not None}
    blank = MinHash(num_perm=NUM_PERMUTATIONS, seed=_SEED)
    dtype = blank.hashvalues.dtype
    made = {}
    for key, value in values.items():
        sketch = blank.copy()
        sketch.hashvalues = np.asarray(value, dtype=dtype)
        made[key] = sketch
    return made
