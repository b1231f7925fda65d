"""The part of a code set that a head knows: codes and what stands above them, as one list of nodes.

Levels are chapter, block, three-character category and code; the subcategories between category and code are left out. A code of three
characters is its own category.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nosology.terminology.codeset import CodeSet

CATEGORY = 3  # characters


@dataclass(frozen=True, slots=True)
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
            line = [*path(code, known), code]
            if len(line) > 1:
                for depth, (node, above) in enumerate(zip(line, [None, *line[:-1]], strict=True)):
                    depths[node] = (depth, above)
        nodes = sorted(depths, key=lambda node: (depths[node][0], node))
        places = {node: place for place, node in enumerate(nodes)}
        parents = [places[above] if (above := depths[node][1]) is not None else -1 for node in nodes]
        return cls(tuple(nodes), tuple(parents))

    def marked(self, codes: Iterable[str]) -> list[bool]:
        """Whether each node is one of these codes or stands above one."""
        places = {node: place for place, node in enumerate(self.nodes)}
        found = [False] * len(self.nodes)
        for code in codes:
            place = places.get(code, -1)
            while place >= 0 and not found[place]:
                found[place] = True
                place = self.parents[place]
        return found

    def depths(self) -> list[int]:
        """Steps from the chapter, for each node."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return depths

    def leaves(self) -> list[int]:
        """Places of the nodes that have no children: the codes."""
        inner = set(self.parents)
        return [place for place in range(len(self.nodes)) if place not in inner]


def path(code: str, known: CodeSet) -> Sequence[str]:
    """What stands above a code, chapter first, without subcategories."""
    above = [node for node in known.ancestors(code) if node.isdigit() or "-" in node or len(node) == CATEGORY]
    return above[::-1]
