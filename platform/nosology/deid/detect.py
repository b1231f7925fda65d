"""Detection: the rules, the tagger, and the resolver over both."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nosology.deid.languages import language
from nosology.deid.patterns import Scan
from nosology.deid.resolve import known, repeated, resolve
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
        self._language = language(config.language)
        self._scan = Scan(self._language.recognizer(name) for name in self._language.names)
        self._tagging: Tagging | None = None
        if not rules_only:
            from nosology.deid.ner import load_tagging

            self._tagging = load_tagging(config.ner or self._language.tagger, config.threshold)

    def find(self, texts: Sequence[str], known_names: Sequence[Iterable[str]] | None = None) -> list[list[Span]]:
        """Disjoint spans of each text, in order of their start. `known_names`: names that the record's own fields hold."""
        tagged = self._tagging.find(texts) if self._tagging else [[] for _ in texts]
        found = []
        for number, text in enumerate(texts):
            spans = self._scan.find(text)
            spans += [span for span in tagged[number] if not self._language.keeps(text, span)]
            if known_names:
                spans += known(text, known_names[number], self._language)
            spans = resolve(text, spans)
            again = repeated(text, spans, self._language)
            spans = resolve(text, spans + again) if again else spans
            found.append(_outside_tags(text, spans))
        return found


def _outside_tags(text: str, spans: list[Span]) -> list[Span]:
    """The spans without what an earlier pass put there, so that cleaning a clean text changes nothing."""
    tags = [match.span() for match in TAG.finditer(text)]
    if not tags:
        return spans
    kept_parts = []
    ends = [end for _, end in tags]
    for span in spans:
        at = span.start
        for start, end in tags[bisect_right(ends, span.start) :]:
            if start >= span.end:
                break
            if at < start:
                kept_parts.append(dataclasses.replace(span, start=at, end=start))
            at = max(at, end)
        if at < span.end:
            kept_parts.append(dataclasses.replace(span, start=at))
    return [part for part in resolve(text, kept_parts) if any(c.isalnum() for c in text[part.start : part.end])]
