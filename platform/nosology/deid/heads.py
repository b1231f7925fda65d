"""Where a match of a regular expression may begin: a Hyperscan pass for its first characters.

A search tries the pattern at every character of a text, and most of pass 1's time went there. Here it is tried where its head may stand
alone: what the pattern has to begin with, of at most `_LONGEST` characters. Every place of a match is found, and some more (tested).

Sets of characters become sets of bytes of the folded text by asking `re` itself, case and all. A pattern without a head (it may begin with
anything, or with nothing) has none, and is searched for as ever.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from nosology.deid.folding import folded

_LONGEST, _ENOUGH = 32, 8  # characters of a head: at most; with so many it needs no more
_SPREAD = 12  # between the shortest and the longest text of a head: each place between is tried
_BOUNDARY = r"\b"
_BRANCHES = 64  # heads of one pattern: with more it is compiled for longer, and the scan is no faster in English
_PIECE = 1 << 16  # characters of a text that are scanned at once
EDGE = b"\x01"  # stands before a text: a byte that may precede every match
# letters, digits, blanks and signs of every kind that the folding tells apart, and whole blocks that patterns name
_BYTES = frozenset(range(256))
_WORD = frozenset(b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SMALL = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_OTHERS = "".join(
    map(chr, [*range(0x80, 0x250), 0x37E, 0x391, 0x3B1, 0x660, 0x5D0, 0x6F22, *range(0x2000, 0x2070), 0x212A, 0x2212, 0x3000])
)

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s", op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip

Node = tuple[Any, Any]  # of a parsed pattern


class _Part(NamedTuple):
    """Some of a head in Hyperscan's writing, the least and the most characters that it takes, whether small letters all may be it, and the
    bytes that it may be where it is one character."""

    written: str
    least: int
    most: int
    open: bool
    bytes: frozenset[int] | None = None


class Head(NamedTuple):
    """What a match may begin with.

    Attributes:
        written: in Hyperscan's writing, with the byte before the match.
        least, most: characters between the place where the match begins and the end of the head.
        before, first: bytes that may stand before that place and at it; None is every one.
    """

    written: str
    least: int
    most: int
    before: frozenset[int] | None
    first: frozenset[int] | None


class _Chain(NamedTuple):
    """Parts one behind the other; `whole`: what follows in the pattern may follow."""

    parts: tuple[_Part, ...] = ()
    least: int = 0
    most: int = 0
    whole: bool = True

    def then(self, more: _Chain) -> _Chain:
        """Another behind it, as far as the head stays short."""
        parts, least, most = list(self.parts), self.least, self.most
        for part in more.parts:
            if part.written == _BOUNDARY and parts:
                continue  # Hyperscan refuses what cannot match, such as a letter behind a letter and a boundary
            if least >= _ENOUGH or most + part.most > _LONGEST or most + part.most - least - part.least > _SPREAD:
                return _Chain(tuple(parts), least, most, False)
            parts.append(part)
            least, most = least + part.least, most + part.most
        return _Chain(tuple(parts), least, most, more.whole)

    def cut(self) -> _Chain:
        """It without what may be missing at its end."""
        number = next((n for n, part in reversed(list(enumerate(self.parts, 1))) if part.least), 0)
        return _chain(*self.parts[:number])._replace(whole=False)

    @property
    def written(self) -> str:
        """In Hyperscan's writing."""
        return "".join(part.written for part in self.parts)

    @property
    def open(self) -> bool:
        """Whether small letters alone may be it."""
        return all(part.open or not part.least for part in self.parts)


def _chain(*parts: _Part) -> _Chain:
    return _Chain(parts, sum(part.least for part in parts), sum(part.most for part in parts))


def _class(node: Node, flags: int) -> str | None:
    """A node of one character as `re` writes it in brackets; None for others."""
    kind, value = node
    if kind is op.LITERAL:
        return f"[{_code(value)}]"
    if kind is op.NOT_LITERAL:
        return f"[^{_code(value)}]"
    if kind is op.ANY:
        return r"[\s\S]" if flags & re.S else r"[^\n]"
    if kind is not op.IN:
        return None
    written = ""
    for inner, each in value:
        if inner is op.NEGATE:
            written += "^"
        elif inner is op.LITERAL:
            written += _code(each)
        elif inner is op.RANGE:
            written += f"{_code(each[0])}-{_code(each[1])}"
        elif inner is op.CATEGORY and each in _CATEGORIES:
            written += _CATEGORIES[each]
        else:
            return None
    return f"[{written}]"


def _code(character: int) -> str:
    return f"\\U{character:08x}"


@functools.lru_cache(maxsize=4096)
def _taken(written: str, ignorecase: bool, named: str) -> frozenset[int]:
    """The bytes to which the characters that a set takes are folded. `named`: characters that count beside the usual ones."""
    found = re.findall(written, "".join(map(chr, range(128))) + _OTHERS + named, re.I if ignorecase else 0)
    return frozenset(folded("".join(found)))


@functools.cache
def _hyper(taken: frozenset[int]) -> str:
    """A set of bytes in Hyperscan's writing."""
    runs = [[code for _, code in run] for _, run in itertools.groupby(enumerate(sorted(taken)), lambda pair: pair[1] - pair[0])]
    return "[" + "".join(f"\\x{run[0]:02x}-\\x{run[-1]:02x}" for run in runs) + "]"


class _Reader:
    """Reads heads out of a parsed pattern. `named`: the characters beyond ASCII that it holds."""

    def __init__(self, named: str) -> None:
        self._named = named

    def chains(self, nodes: Sequence[Node], flags: int) -> list[_Chain]:
        """What the nodes begin with, one a branch."""
        found = [_Chain()]
        for node in nodes:
            if not any(one.whole for one in found):
                break
            more = self._node(node, flags)
            found = _few([long for one in found for long in ([one.then(each) for each in more] if one.whole else [one])])
        return found

    def _node(self, node: Node, flags: int) -> list[_Chain]:
        kind, value = node
        if kind in (op.ASSERT, op.ASSERT_NOT, op.AT):
            return [_chain(_Part(_BOUNDARY, 0, 0, True)) if kind is op.AT and value is op.AT_BOUNDARY else _Chain()]
        if (written := _class(node, flags)) is not None:
            taken = _taken(written, bool(flags & re.I), self._named)
            return [_chain(_Part(_hyper(taken), 1, 1, taken >= _SMALL, taken))]
        if kind is op.SUBPATTERN:
            return self.chains(value[3], (flags | value[1]) & ~value[2])
        if kind is op.BRANCH:
            return _few([chain for each in value[1] for chain in self.chains(each, flags)])
        if kind in _REPEATS:
            return _repeated(int(value[0]), int(value[1]), self.chains(value[2], flags))
        return [_Chain(whole=False)]

    def before(self, nodes: Sequence[Node], flags: int) -> frozenset[int] | None:
        """Bytes that may stand before a match, as look-behinds of one character at its beginning say; None for every one."""
        allowed: frozenset[int] | None = None
        for kind, value in nodes:
            if kind is op.SUBPATTERN and allowed is None:
                return self.before(value[3], (flags | value[1]) & ~value[2])
            if kind not in (op.ASSERT, op.ASSERT_NOT, op.AT):
                break
            refused = _class(value[1][0], flags) if kind is op.ASSERT_NOT and value[0] < 0 and len(value[1]) == 1 else None
            if refused is not None:
                others = f"[{refused[2:]}" if refused.startswith("[^") else f"[^{refused[1:]}"
                fitting = _taken(others, bool(flags & re.I), self._named)
                allowed = fitting if allowed is None else allowed & fitting
        return allowed


def _few(found: list[_Chain]) -> list[_Chain]:
    """No more than `_BRANCHES`: of more the beginnings alone."""
    length = max(len(one.parts) for one in found)
    while len(found) > _BRANCHES:
        found = list(dict.fromkeys(one if len(one.parts) <= length else _chain(*one.parts[:length])._replace(whole=False) for one in found))
        length -= 1
    return found


def _repeated(least: int, most: int, found: list[_Chain]) -> list[_Chain]:
    """What a repeat begins with: its first round as it is, the others as one part."""
    rounds = [] if least else [_Chain()]
    if most == 1 or not all(one.whole for one in found):
        return [*found, *rounds]
    low, high, small = min(one.least for one in found), max(one.most for one in found), all(one.open for one in found)
    written = "(?:" + "|".join(one.written for one in found) + ")"
    must, rest = min(max(least - 1, 0), _LONGEST), most - max(least, 1)
    more = _chain(_Part(f"{written}{{{must}}}", low * must, high * must, small)) if must else _Chain()
    if rest * high > _LONGEST:
        more = more._replace(whole=False)
    elif rest:
        more = _chain(*more.parts, _Part(f"{written}{{0,{rest}}}", 0, high * rest, small))
    return [*(one.then(more) for one in found), *rounds]


def heads(pattern: str, flags: int) -> list[Head]:
    """Heads of a pattern; empty where it has none, or one that any word may be."""
    try:
        parsed = parser.parse(pattern, flags & (re.I | re.M | re.S | re.X))
    except re.error:  # the writing of another library
        return []
    flags = parsed.state.flags
    reader = _Reader("".join(sorted({c for c in pattern if not c.isascii()})))
    found = [chain.cut() for chain in reader.chains(list(parsed), flags)]
    if any(one.open for one in found):
        return []
    allowed = reader.before(list(parsed), flags)
    if allowed is not None:
        allowed |= set(EDGE)
    before = "" if allowed is None else _hyper(allowed)
    return list(dict.fromkeys(Head(before + one.written, one.least, one.most, *_ends(one, allowed)) for one in found))


def _ends(chain: _Chain, allowed: frozenset[int] | None) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """Bytes that may stand before a match that begins so, and at its first place. `allowed`: what the pattern says of the byte before."""
    bounded = chain.parts[0].written == _BOUNDARY
    first = chain.parts[bounded].bytes
    if not bounded or first is None or not (first <= _WORD or first.isdisjoint(_WORD)):
        return allowed, first
    apart = _BYTES - _WORD if first <= _WORD else _WORD
    return apart if allowed is None else allowed & apart, first


class Places:
    """Places of a text where a match of one pattern may begin.

    Args:
        hyperscan: the module.
        found: what `heads` gives for the pattern, not empty.

    Raises:
        hyperscan.error: Hyperscan takes one of the heads not.
    """

    def __init__(self, hyperscan: Any, found: Sequence[Head]) -> None:
        self._heads = [(one.least, one.most, one.before or _BYTES, one.first or _BYTES) for one in found]
        self._longest = max(one.most for one in found)
        self._database = hyperscan.Database()
        flags = [hyperscan.HS_FLAG_DOTALL] * len(found)
        self._database.compile([one.written.encode() for one in found], list(range(len(found))), flags=flags)

    def __call__(self, edged: bytes) -> Iterable[int]:
        """In order, for a folded text with `EDGE` before it; a long one is read piece by piece."""
        return self._piece(edged, 0) if len(edged) <= _PIECE else self._pieces(edged)

    def _pieces(self, edged: bytes) -> Iterator[int]:
        for at in range(0, len(edged) - 1, _PIECE):
            part = edged[at : at + _PIECE + self._longest + 2]  # with the characters before and behind
            yield from (place for place in self._piece(part, at) if at <= place < at + _PIECE)

    def _piece(self, part: bytes, at: int) -> list[int]:
        """Places in a part of a text, of which the first byte stands before place `at`."""
        found: set[int] = set()
        heads = self._heads

        def hit(head: int, _start: int, stop: int, *_: Any) -> None:
            least, most, before, first = heads[head]
            if least == most:
                found.add(at + stop - least - 1)
            else:
                for place in range(max(0, stop - most - 1), stop - least):
                    if part[place] in before and part[place + 1] in first:
                        found.add(at + place)

        self._database.scan(part, match_event_handler=hit)
        return sorted(found)
