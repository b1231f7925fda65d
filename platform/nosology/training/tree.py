"""The part of a code set that a head knows: codes and what stands above them, as one list of nodes.

Levels are chapter, block, three-character category and code; the subcategories between category and code are left out. A code of three
characters is its own category.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nosology.terminology.codeset import CodeSet

CATEGORY = 3  # characters


@dataclass(frozen=True)
class Tree:
    """Nodes in an order in which every parent comes before its children.

    Attributes:
        nodes: names: a chapter's number, a block's range, a category, a code.
        parents: place of each node's parent; -1 for a chapter.
    """

    nodes: tuple[str, ...]
    parents: tuple[int, ...]

    @classmethod
    def of(cls, codes: Iterable[str], known: CodeSet) -> Tree:
        """The tree over these codes; codes that have nothing above them in the code set are left out."""
        depths: dict[str, tuple[int, str | None]] = {}
        for code in set(codes):
            line = lineage(code, known)
            if len(line) > 1:
                for depth, (node, above) in enumerate(zip(line, [None, *line[:-1]], strict=True)):
                    depths[node] = (depth, above)
        nodes = sorted(depths, key=lambda node: (depths[node][0], node))
        places = {node: place for place, node in enumerate(nodes)}
        parents = [places[above] if (above := depths[node][1]) is not None else -1 for node in nodes]
        return cls(tuple(nodes), tuple(parents))

    @functools.cached_property
    def places(self) -> Mapping[str, int]:
        """Place of each node."""
        return {node: place for place, node in enumerate(self.nodes)}

    @functools.cached_property
    def levels(self) -> list[list[int]]:
        """Places of the nodes by their steps from the chapter."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return [[place for place, depth in enumerate(depths) if depth == level] for level in range(max(depths, default=-1) + 1)]

    @functools.cached_property
    def leaves(self) -> list[int]:
        """Places of the nodes that have no children: the codes."""
        inner = set(self.parents)
        return [place for place in range(len(self.nodes)) if place not in inner]

    @functools.cached_property
    def categories(self) -> list[int]:
        """Places of the three-character categories."""
        return [place for place, node in enumerate(self.nodes) if is_category(node)]


def is_category(node: str) -> bool:
    """Whether a node is a three-character category."""
    return len(node) == CATEGORY and "-" not in node and not node.isdigit()


def lineage(code: str, known: CodeSet) -> list[str]:
    """A code and what stands above it, chapter first, without subcategories."""
    above = [node for node in known.ancestors(code) if node.isdigit() or "-" in node or len(node) == CATEGORY]
    return [*above[::-1], code]
