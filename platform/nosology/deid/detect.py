"""Detection: the rules, the tagger, and the resolver over both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nosology.deid import RECOGNIZERS, recognizer
from nosology.deid.resolve import kept, known, rank, repeated, resolve
from nosology.deid.rewrite import TAG
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.ner import Tagging


class Detector:
    """Both passes, loaded once.

    Args:
        config: `deid` section.
        rules_only: leave the tagger out (to measure pass 1).
    """

    def __init__(self, config: DeidConfig, *, rules_only: bool = False) -> None:
        self._recognizers = [recognizer(name) for name in RECOGNIZERS]
        self._left_out = frozenset(config.leave_out)
        self.tagging: Tagging | None = None
        if not rules_only:
            from nosology.deid.ner import load_tagging

            self.tagging = replace(load_tagging(config.ner, config.threshold), thresholds=dict(config.thresholds.items()))

    def find(self, texts: Sequence[str], known_names: Sequence[Iterable[str]] | None = None) -> list[list[Span]]:
        """Disjoint spans of each text, in order of their start. `known_names`: names that the record's own fields hold."""
        tagged = self.tagging.find(texts) if self.tagging else [[] for _ in texts]
        return [
            self._resolved(text, self._ruled(text), tagged[number], known_names[number] if known_names else ())
            for number, text in enumerate(texts)
        ]

    def sweep(self, texts: Sequence[str], thresholds: Sequence[float | None]) -> list[list[list[Span]]]:
        """As `find`, at each of some thresholds of the tagger; None is what it has. Rules and model work once."""
        assert self.tagging is not None, "rules have no threshold"
        ruled, scored = [self._ruled(text) for text in texts], self.tagging.score(texts)
        swept = []
        for threshold in thresholds:
            tagging = self.tagging if threshold is None else replace(self.tagging, threshold=threshold, thresholds={})
            swept.append([self._resolved(text, ruled[n], tagging.spans(text, scored[n]), ()) for n, text in enumerate(texts)])
        return swept

    def _ruled(self, text: str) -> list[Span]:
        return [span for one in self._recognizers for span in one.find(text)]

    def _resolved(self, text: str, ruled: Sequence[Span], tagged: Sequence[Span], names: Iterable[str]) -> list[Span]:
        spans = [*ruled, *(span for span in tagged if not kept(text, span)), *known(text, names)]
        spans = resolve(text, self._wanted(spans) if self._left_out else spans)
        again = [] if "NAME" in self._left_out else repeated(text, spans)
        return _outside_tags(text, resolve(text, spans + again) if again else spans)

    def _wanted(self, spans: Sequence[Span]) -> list[Span]:
        """The spans without classes that are left out. What another class claims too is removed all the same, unless it lies within a
        surer span of a class that is left out: there `resolve` would take that class."""
        left = [span for span in spans if span.label in self._left_out]
        return [
            span
            for span in spans
            if span.label not in self._left_out
            and not any(out.start <= span.start and span.end <= out.end and rank(out) > rank(span) for out in left)
        ]


def _outside_tags(text: str, spans: list[Span]) -> list[Span]:
    """The spans without what an earlier pass put there, so that cleaning a clean text changes nothing."""
    tags = [match.span() for match in TAG.finditer(text)]
    if not tags:
        return spans
    kept_parts = []
    for span in spans:
        at = span.start
        for start, end in [*((a, b) for a, b in tags if span.start < b and a < span.end), (span.end, span.end)]:
            if at < start:
                kept_parts.append(Span(start=at, end=min(start, span.end), label=span.label, score=span.score, source=span.source))
            at = max(at, end)
    return [part for part in resolve(text, kept_parts) if any(c.isalnum() for c in text[part.start : part.end])]
