"""Detection: the rules, the tagger, and the resolver over both."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nosology.deid import LABELS
from nosology.deid.clock import on_its_day, told_on
from nosology.deid.languages import language
from nosology.deid.lexicon import listed
from nosology.deid.patterns import Scan
from nosology.deid.policies import WIDER, policy_of
from nosology.deid.public_codes import is_public
from nosology.deid.readings import Composed, ruled
from nosology.deid.resolve import rank, repeated, resolve, widened
from nosology.deid.rewrite import TAG
from nosology.deid.spelling import Folded
from nosology.errors import ModelError
from nosology.records import Span

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.known import Known
    from nosology.deid.ner import Tagging, Tokens

_PUT_THERE = re.compile(r"\[(?:" + "|".join((*LABELS, *sorted(WIDER))) + r")\]|\*{2,}")
NO_RULES_SUFFICE = ("NAME", "LOCATION", "DATE")  # the other classes have forms, or words before them, that rules know


class Detector:
    """Both passes, loaded once.

    Args:
        config: `deid` section.
        rules_only: leave the tagger out (to measure pass 1).
    """

    def __init__(self, config: DeidConfig, *, rules_only: bool = False) -> None:
        self._language = language(config.language)
        self._policy = policy_of(config)
        self._left_out = frozenset(config.leave_out)
        self._config = on_its_day(config)
        self.tagging: Tagging | None = None
        if not rules_only:
            self.tagging = load_tagger(config)
        self._scan = _rules(config.language)  # last: it takes seconds where it is the first, and a model can be wrong

    def find(
        self,
        texts: Sequence[str],
        known: Sequence[Sequence[Known]] | None = None,
        dates: Sequence[datetime.date | None] | None = None,
    ) -> list[list[Span]]:
        """Disjoint spans of each text, in order of their start.

        Args:
            known: of each text, what records say of its patient and itself.
            dates: of each text, its date, where it has one.
        """
        read = [Composed(text) for text in texts]
        scored = self.tagging.score([_hidden(one.text) for one in read]) if self.tagging else None
        return [
            one.given(
                self._resolved(
                    one.text,
                    ruled(self._scan, one.text),
                    self._tagged(one.text, scored[number]) if scored else [],
                    known[number] if known else (),
                    dates[number] if dates else None,
                )
            )
            for number, one in enumerate(read)
        ]

    def sweep(self, texts: Sequence[str], thresholds: Sequence[float | None]) -> list[list[list[Span]]]:
        """As `find`, at each of some thresholds of the tagger; None is what it has. Rules and model work once."""
        assert self.tagging is not None, "rules have no threshold"
        read = [Composed(text) for text in texts]
        found, scored = [ruled(self._scan, one.text) for one in read], self.tagging.score([_hidden(one.text) for one in read])
        return [
            [one.given(self._resolved(one.text, found[n], self._tagged(one.text, scored[n], threshold))) for n, one in enumerate(read)]
            for threshold in thresholds
        ]

    def _tagged(self, text: str, tokens: Tokens, threshold: float | None = None) -> list[Span]:
        assert self.tagging is not None
        found = [self._dated(text, _unlabelled(text, span, self._language.code)) for span in self.tagging.spans(text, tokens, threshold)]
        return [*found, *listed(text, tokens, self._language, self.tagging.least(threshold))]

    def _dated(self, text: str, span: Span) -> Span:
        """A month or a day of the week that the tagger took for a name, as what it is, unless its place shows a person (`told April`)."""
        if span.label != "NAME":
            return span
        word, calendar = text[span.start : span.end].lower().strip(" .,"), self._language.calendar
        if word not in calendar.weekday_of and (word not in calendar.months or word in calendar.also_words):
            return span
        return span if self._language.shows_person(text, span.start, span.end) else dataclasses.replace(span, label="DATE")

    def _resolved(
        self, text: str, ruled: Sequence[Span], tagged: Sequence[Span], known: Sequence[Known] = (), date: datetime.date | None = None
    ) -> list[Span]:
        found = [*ruled, *(span for span in tagged if not _public(text, span) and not self._language.keeps(text, span))]
        folded = Folded(text)
        placed = [span for one in known for span in one.find(folded)]
        if not found and not placed:
            return []
        on = told_on(self._config, date)
        spans = [*(span for span in found if self._policy.takes(text, span, on)), *placed]
        spans = resolve(text, self._wanted(spans) if self._left_out else spans)
        if wide := widened(text, spans, self._language):
            spans = resolve(text, [*spans, *wide])
        again = [] if "NAME" in self._left_out else repeated(folded, spans, self._language)
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


@functools.cache
def _rules(code: str) -> Scan:
    """Pass 1 of a language. Building its scan takes seconds, so a process has one."""
    spoken = language(code)
    return Scan(spoken.recognizer(name) for name in spoken.names)


def load_tagger(config: DeidConfig) -> Tagging:
    """The tagger of pass 2.

    Raises:
        ModelError: its directory cannot be used, or no label of it is a class that rules do not find without one.
    """
    from nosology.deid.ner import load_tagging

    folder = tagger_folder(config)
    tagging = load_tagging(folder, config.threshold, dict(config.thresholds.items()), config.rules_alone)
    known = {*tagging.classes, *config.rules_alone, *config.leave_out}
    if lacking := ", ".join(name for name in NO_RULES_SUFFICE if name not in known):
        raise ModelError(
            f"deid.ner: no label of {folder} is {lacking}, which rules alone do not find. Name a model that knows them, or give these classes "
            f"to the rules by name: deid.rules_alone=[{lacking}], with --accept-residual"
        )
    return tagging


def tagger_digest(config: DeidConfig) -> str:
    """SHA-256 over the tagger's directory. Raises ModelError where it holds no model."""
    from nosology.deid.classifier import digest

    return digest(tagger_folder(config))


def tagger_folder(config: DeidConfig) -> Path:
    """Where the tagger of pass 2 lies: what `deid.ner` names, else the shipped one of the language."""
    return Path(config.ner) if config.ner else language(config.language).tagger


_AROUND = " .,;:()[]=\"'/¿?¡!"  # signs that a tagger takes in


def _public(text: str, span: Span) -> bool:
    """Whether what a tagger takes for a number of a person is a code that is the same in every record."""
    if span.label not in ("DATE", "ID", "PHONE"):
        return False
    value = text[span.start : span.end]
    start = span.end - len(value.lstrip(_AROUND))
    return is_public(text, start, start + len(value.strip(_AROUND)), named=span.label != "DATE")


@functools.cache
def _label_of(code: str) -> re.Pattern[str]:
    """What a tagger takes into a code from before it, in a language."""
    return re.compile(rf"(?:{'|'.join(language(code).code_labels)})(?:[\s:#.-]{{1,3}}|(?<=/))(?=[\w@])")


def _unlabelled(text: str, span: Span, code: str) -> Span:
    """A code without the label before it, which stays."""
    label = _label_of(code).match(text, span.start, span.end) if span.label == "ID" else None
    return dataclasses.replace(span, start=label.end()) if label else span


def _hidden(text: str) -> str:
    """The text as the tagger sees it: dashes where an earlier pass put tags or masks, at which a tagger that was trained on whole text takes
    the word beside for a name. Of what can stand there, dashes cost the fewest names beside them."""
    return _PUT_THERE.sub(lambda found: "-" * len(found[0]), text)


def _outside_tags(text: str, spans: list[Span]) -> list[Span]:
    """The spans without what an earlier pass put there, so that cleaning a clean text changes nothing."""
    tags = [match.span() for match in TAG.finditer(text)] if spans else []
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
