"""Regular expressions as recognizers, and the gate before them: a scan that tells which of them can match a text at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nosology.deid import Recognizer
from nosology.deid.folding import folded
from nosology.deid.heads import EDGE, Places, heads
from nosology.records import Span

Check = Callable[[re.Match[str]], bool]
Relabel = Callable[[re.Match[str]], str | None]


def words(file: Path) -> frozenset[str]:
    """The words of a list; lines that start with # are comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and the class of what it finds.

    Attributes:
        label: Safe Harbor class.
        pattern: the identifier is its group `v` where it has one, else the whole match.
        check: False refuses a match (checksum, impossible date, near miss).
        score: 1.0 where a checksum or an unmistakable form stands behind it.
        cue: what the text must hold somewhere for the rule to match at all; it narrows the gate where that cannot see it in the pattern
            (the gate drops look-arounds).
        relabel: another class for a match whose surroundings tell it (a phone number that is a fax); None keeps `label`.
        each: of a list, what in it is an identifier; each of them becomes a span of its own.
    """

    label: str
    pattern: re.Pattern[str]
    check: Check | None = None
    score: float = 0.9
    relabel: Relabel | None = None
    cue: re.Pattern[str] | None = None
    each: re.Pattern[str] | None = None
    grouped: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grouped", "v" in self.pattern.groupindex)

    def spans(self, text: str, source: str, places: Iterable[int] | None = None) -> Iterator[Span]:
        """Every match that the check lets pass. `places`: in order, some that hold each where one begins."""
        for match in self.pattern.finditer(text) if places is None else _matches(self.pattern, text, places):
            if self.check is None or self.check(match):
                start, end = match.span("v") if self.grouped else match.span()
                label = (self.relabel(match) if self.relabel else None) or self.label
                found = [(start, end)] if self.each is None else [one.span() for one in self.each.finditer(text, start, end)]
                for begin, stop in found:
                    if begin < stop:
                        yield Span(start=begin, end=stop, label=label, score=self.score, source=source)


def _matches(pattern: re.Pattern[str], text: str, places: Iterable[int]) -> Iterator[re.Match[str]]:
    """What `pattern.finditer(text)` gives, for a pattern that never matches nothing."""
    end = 0
    for place in places:
        if place >= end and (match := pattern.match(text, place)):
            end = match.end()
            yield match


def rule(
    label: str,
    pattern: str,
    *,
    check: Check | None = None,
    score: float = 0.9,
    flags: int = 0,
    relabel: Relabel | None = None,
    cue: str | None = None,
    each: str | None = None,
) -> Rule:
    """A rule from the texts of its pattern, its cue and the parts of its list, which share the flags."""
    own, cued, parts = (None if one is None else re.compile(one, flags) for one in (pattern, cue, each))
    assert own is not None
    return Rule(label, own, check, score, relabel, cued, parts)


class Patterns:
    """A recognizer made of rules."""

    name = "patterns"
    rules: Sequence[Rule] = ()

    def find(self, text: str) -> Iterator[Span]:
        """Every match of every rule that its check lets pass."""
        for one in self.rules:
            yield from one.spans(text, self.name)


_SHORT = 128  # characters; in a text that has no more, a rule is quicker than the search for the places where it may match
_GROUP = 150  # patterns of a database: more compile longer, fewer are scanned slower


class Gate:
    """Says which of many patterns may match a text, in Hyperscan passes over it.

    Each pattern is compiled in Hyperscan's prefilter mode, which drops what it cannot express (look-around, back references) and so
    matches wherever the pattern does, and at times where it does not: running the patterns it names finds what running all of them
    finds (tested). Text and patterns are folded to ASCII first: with Unicode classes the compilation takes minutes. A pattern that
    Hyperscan refuses always runs, and so does every one where Hyperscan has no wheel for the machine.

    Reference: Wang et al., "Hyperscan: A Fast Multi-pattern Regex Matcher for Modern CPUs", NSDI 2019; its developer reference,
    "Prefilter mode".
    """

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._always = list(range(len(patterns)))
        self._databases: list[Any] = []
        try:
            import hyperscan
        except ImportError:
            return
        self._always = []
        for start in range(0, len(patterns), _GROUP):
            group = dict(enumerate(patterns[start : start + _GROUP], start))
            try:
                database = self._compiled(hyperscan, group)
            except hyperscan.error:  # it does not take all of them
                self._always += [number for number, pattern in group.items() if not self._takes(hyperscan, pattern)]
                database = self._compiled(hyperscan, {number: group[number] for number in group.keys() - set(self._always)})
            self._databases.append(database)

    def _takes(self, hyperscan: Any, pattern: re.Pattern[str]) -> bool:
        try:
            self._compiled(hyperscan, {0: pattern})
        except hyperscan.error:
            return False
        return True

    def _compiled(self, hyperscan: Any, group: Mapping[int, re.Pattern[str]]) -> Any:
        """A database of some patterns."""
        flags = []
        for pattern in group.values():
            own = hyperscan.HS_FLAG_PREFILTER | hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_ALLOWEMPTY
            own |= hyperscan.HS_FLAG_CASELESS if pattern.flags & re.I else 0
            own |= hyperscan.HS_FLAG_MULTILINE if pattern.flags & re.M else 0
            own |= hyperscan.HS_FLAG_DOTALL if pattern.flags & re.S else 0
            flags.append(own)
        database = hyperscan.Database()
        database.compile(expressions=[folded(pattern.pattern) for pattern in group.values()], ids=list(group), flags=flags)
        return database

    def candidates(self, plain: bytes) -> list[int]:
        """Numbers of the patterns that may match a folded text, in order."""
        found = list(self._always)
        for database in self._databases:
            database.scan(plain, match_event_handler=lambda number, *_: found.append(number))
        return sorted(found)


class Scan:
    """Many recognizers as one: the rules of those that are `Patterns` run behind the gate, the others always."""

    def __init__(self, recognizers: Iterable[Recognizer]) -> None:
        self._rules: list[tuple[str, Rule]] = []
        self._others: list[Recognizer] = []
        for one in recognizers:
            if isinstance(one, Patterns):
                self._rules += [(one.name, each) for each in one.rules]
            else:
                self._others.append(one)
        # a rule's cue stands behind all the patterns; rules with the same one share it
        cues = {each.cue: None for _, each in self._rules if each.cue}
        place = {cue: len(self._rules) + number for number, cue in enumerate(cues)}
        self._cue = [place[each.cue] if each.cue else None for _, each in self._rules]
        self._gate = Gate([*(each.pattern for _, each in self._rules), *place])
        self._places = [_places(each.pattern) for _, each in self._rules]

    def candidates(self, plain: bytes) -> list[int]:
        """Numbers of the rules that may match a folded text."""
        fired = self._gate.candidates(plain)
        open_cues = {number for number in fired if number >= len(self._rules)}
        return [n for n in fired if n < len(self._rules) and (self._cue[n] is None or self._cue[n] in open_cues)]

    def find(self, text: str) -> list[Span]:
        """What each of them finds."""
        plain = folded(text)
        edged = EDGE + plain
        short = len(text) <= _SHORT
        found: list[Span] = []
        for number in self.candidates(plain):
            source, one = self._rules[number]
            places = None if short else self._places[number]
            found += one.spans(text, source, places(edged) if places else None)
        for other in self._others:
            found += other.find(text)
        return found


def _places(pattern: re.Pattern[str]) -> Places | None:
    """Where a pattern may match; None where it has no head or Hyperscan no wheel."""
    found = heads(pattern.pattern, pattern.flags)
    try:
        import hyperscan

        return Places(hyperscan, found) if found else None
    except ImportError:
        return None
    except hyperscan.error:
        return None
