"""Codes that a mention may stand for: the exact phrase that it is, and what the search finds for it, re-ranked by the note's details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nosology.coding.context import Context, fit, place_side, stem_of, variant
from nosology.coding.lexicon import words
from nosology.coding.mentions import Mention
from nosology.terminology.codeset import CodeSet
from nosology.terminology.index import Hit, Index

# An exact phrase inside a longer title scores by the share of the title's words that it covers, on the scale of the search.
_INSIDE_FLOOR, _INSIDE_SHARE = 0.55, 0.35
DEPTH = 40  # codes taken from the search before the note's details are weighed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A code offered for a mention. `source`: alias, exact, inside (exact phrase in a longer title) or search."""

    code: str
    score: float
    source: str


def candidates(mentions: Sequence[Mention], note: Context, codes: CodeSet, index: Index, limit: int) -> list[list[Candidate]]:
    """Up to `limit` codes for each mention, best first, one for each condition (variants of side and encounter count as one)."""
    asked = [mention.phrase for mention in mentions if _searched(mention)]
    found = iter(index.search(asked, DEPTH))
    return [_ranked(mention, next(found) if _searched(mention) else [], note, codes, limit) for mention in mentions]


def _searched(mention: Mention) -> bool:
    return mention.kind == "problem" and not mention.whole


def _ranked(mention: Mention, hits: Sequence[Hit], note: Context, codes: CodeSet, limit: int) -> list[Candidate]:
    side = note.side(mention.start, mention.end, mention.phrase)
    later = note.subsequent(mention.start, mention.end)
    offered: list[Candidate] = []
    if mention.match is not None:
        match = mention.match
        code = place_side(match.pattern, match.code, codes, side)
        if "#" not in match.pattern:
            code = variant(code, codes, side, later)
        if mention.whole:
            return [Candidate(code, 1.0 if match.source == "alias" else 0.95, match.source)]
        share = min(1.0, (match.end - match.start) / max(1, sum(end - start for _, start, end in words(mention.phrase))))
        offered.append(Candidate(code, _INSIDE_FLOOR + _INSIDE_SHARE * share, "inside"))
    for hit in hits:
        score = hit.score + fit(codes.title(hit.code), hit.code, mention.phrase, note, side, later)
        offered.append(Candidate(hit.code, score, "search"))
    offered.sort(key=lambda candidate: (-candidate.score, candidate.code))
    kept: list[Candidate] = []
    seen: set[str] = set()
    for candidate in offered:
        stem = stem_of(codes.title(candidate.code))
        if stem not in seen:
            seen.add(stem)
            kept.append(candidate)
    return kept[:limit]
