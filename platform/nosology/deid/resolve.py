"""From the findings of many recognizers to spans that do not overlap."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence

from nosology.deid.languages import Language
from nosology.deid.persons import MOST_BETWEEN, Names
from nosology.deid.spelling import Folded, ends_sentence, fold
from nosology.records import Span

# spans of these classes that touch, or that only blanks part, are one identifier
JOINED = frozenset({"NAME", "LOCATION", "ORGANIZATION", "DATE"})

SURE = 0.5  # least score of a name whose words are looked for elsewhere


def trimmed(text: str, span: Span) -> Span | None:
    """The span without blanks and punctuation at its ends; None when nothing is left."""
    start, end = max(0, span.start), min(len(text), span.end)
    while start < end and (text[start].isspace() or text[start] in ",;:.!?\"'’“”`*|>=_-"):
        start += 1
    while end > start and (
        text[end - 1].isspace()
        or text[end - 1] in ',;:!?"“”`*|<=_-.'
        and not (text[end - 1] == "." and text[end - 2].isupper() and (end - 3 < start or not text[end - 3].isalnum()))
    ):
        end -= 1
    if start == span.start and end == span.end:
        return span if start < end else None
    return None if start == end else Span(start=start, end=end, label=span.label, score=span.score, source=span.source)


def rank(span: Span) -> tuple[bool, float, int]:
    """By what spans that overlap are compared: a rule before the tagger, then the surest, then the longest."""
    return span.source != "tagger", span.score, span.end - span.start


def resolve(text: str, spans: Iterable[Span]) -> list[Span]:
    """Disjoint spans in order that cover every given character.

    Of spans that overlap, the union takes the class of a rule before the tagger's, then of the surest one, then of the longest.
    Neighbours of one class with nothing but a blank between them become one span.
    """
    ordered = [part for span in spans if (part := trimmed(text, span))]
    if len(ordered) < 2:
        return ordered
    ordered.sort(key=lambda s: (s.start, -s.end))
    merged: list[Span] = []
    ranks: list[tuple[bool, float, int]] = []  # of the span that gave the union its class
    for span in ordered:
        own = rank(span)
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            best = (
                span
                if own > ranks[-1] and not (last.start <= span.start and span.end <= last.end and 2 * own[2] < last.end - last.start)
                else last
            )
            if best is span or span.end > last.end or span.score > last.score:
                merged[-1] = Span(
                    start=last.start, end=max(last.end, span.end), label=best.label, score=max(last.score, span.score), source=best.source
                )
            ranks[-1] = max(own, ranks[-1]) if best is span else ranks[-1]
        else:
            merged.append(span)
            ranks.append(own)
    joined: list[Span] = []
    for span in merged:
        last_span = joined[-1] if joined else None
        if (
            last_span
            and last_span.label == span.label
            and span.label in JOINED
            and text[last_span.end : span.start] in ("", " ", ". ")
            and not ends_sentence(text, last_span.end, span.start)
        ):
            joined[-1] = Span(
                start=last_span.start, end=span.end, label=span.label, score=max(last_span.score, span.score), source=last_span.source
            )
        else:
            joined.append(span)
    if len(joined) == len(ordered):
        return joined
    # a point that ends a lone initial ends no longer word that it became part of
    return [part for span in joined if (part := trimmed(text, span))]


_WORD_BEFORE = re.compile(r"(?<![\w'’-])([^\W\d_]{2,40}) \Z")
_WORD_BEHIND = re.compile(r" ([^\W\d_][^\W\d_'’-]{1,40})(?![\w'’-])(?! [A-ZÀ-Þ][a-zà-ÿ])")  # and no further capital, as in a title


def widened(text: str, spans: Iterable[Span], language: Language) -> list[Span]:
    """Names with the word beside them that the tagger doubts: a given name that is an ordinary word before a name (Will Nguyen), and behind a lone
    given name of the list a word with a capital that is no other (Bjørn Åström)."""
    found = []
    for span in spans:
        if span.label != "NAME":
            continue
        before = _WORD_BEFORE.search(text, max(0, span.start - 42), span.start)
        if before and before[1].istitle() and before[1].lower() in language.forenames and text[span.start].isupper():
            found.append(dataclasses.replace(span, start=before.start(1)))
        given, behind = fold(text[span.start : span.end]), _WORD_BEHIND.match(text, span.end)
        if given not in language.listed.get("NAME", ()) or given in language.everyday or not text[span.start].isupper():
            continue
        if behind and behind[1].istitle():
            plain = any(behind[1].lower() in words for words in (language.ordinary, language.everyday, language.sure_eponyms))
            if not plain and not any(language.is_eponym(text, start, behind.end(1)) for start in (span.start, behind.start(1))):
                found.append(dataclasses.replace(span, end=behind.end(1)))
    return found


def repeated(folded: Folded, spans: Iterable[Span], language: Language) -> list[Span]:
    """Other places of the text where a word of a name that was found stands."""
    named = [span for span in spans if span.label == "NAME"]
    sure = [span for span in named if span.score >= SURE]
    values = dict.fromkeys(folded.text[span.start : span.end] for span in sure)
    if not values or _once(folded, values) and _apart(folded.text, named):
        return []
    names = Names(values, language, found=True)
    again = names.find(folded) if names else []
    return [
        dataclasses.replace(span, score=SURE, source="repeated")
        for span in again
        if not any(one.start <= span.start and span.end <= one.end for one in named)
    ]


_LONE, _PARTS = re.compile(r"(?<!\w)[A-Z](?!\w)"), re.compile(r"[^\W\d_]{2,}")


def _once(folded: Folded, values: Iterable[str]) -> bool:
    """Whether each word of the names stands in the text but once, in whatever form."""
    return folded.text.isascii() and not any(
        "'" in value or any(folded.plain.count(word) > 1 for word in _PARTS.findall(value.lower())) for value in values
    )


def _apart(text: str, named: Sequence[Span]) -> bool:
    """Whether no initial and no other name stands where it may belong to one of the names."""
    return not _LONE.search(text) and all(other.start - one.end > MOST_BETWEEN for one, other in itertools.pairwise(named))
