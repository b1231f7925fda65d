"""Codes that a mention may stand for: the exact phrase that it is, and what the search finds for it, re-ranked by the note's details."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nosology.coding.context import Context, fit, place_side, sided, stem_of, variant
from nosology.coding.lexicon import words
from nosology.coding.mentions import Mention
from nosology.terminology.codeset import CodeSet
from nosology.terminology.index import Hit, Index

# An exact phrase inside a longer title scores by the share of the title's words that it covers, on the scale of the search.
_INSIDE_FLOOR, _INSIDE_SHARE = 0.55, 0.35
# A disease of the past by the code of its history (chapter 21; I25.2 by I.C.9.e.4): first characters -> code.
PAST = {
    "I21": "I25.2", "I63": "Z86.73", "N20": "Z87.442", "C50": "Z85.3", "C43": "Z85.820", "C44": "Z85.828", "C61": "Z85.46",
    "C18": "Z85.038",
    "C34": "Z85.118", "D05": "Z86.000", "I82": "Z86.718", "I26": "Z86.711", "I71": "Z86.79", "K63.5": "Z86.0100",
}  # fmt: skip
DEPTH = 40  # codes taken from the search before the note's details are weighed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A code offered for a mention.

    Attributes:
        code: billable.
        score: about 0 to 1; 1 is an alias.
        source: alias, exact, inside (exact phrase in a longer title) or search.
        other_side: the code of the left side, for a condition of both sides that has no bilateral code.
    """

    code: str
    score: float
    source: str
    other_side: str | None = None


def candidates(mentions: Sequence[Mention], note: Context, codes: CodeSet, index: Index, limit: int) -> list[list[Candidate]]:
    """Up to `limit` codes for each mention, best first, one for each condition (variants of side and encounter count as one)."""
    asked = [_query(mention) for mention in mentions if _searched(mention)]
    found = iter(index.search(asked, DEPTH))
    return [_ranked(mention, next(found) if _searched(mention) else [], note, codes, limit) for mention in mentions]


def _query(mention: Mention) -> str:
    if mention.assertion != "historical":
        return mention.phrase
    return "personal history of " + re.sub(r"(?i)^.*?\b(?:status[ -]post|s/p|history of|h/o)\s+", "", mention.phrase)


def _searched(mention: Mention) -> bool:
    return mention.kind == "problem" and not mention.whole


def _ranked(mention: Mention, hits: Sequence[Hit], note: Context, codes: CodeSet, limit: int) -> list[Candidate]:
    side = note.side(mention.start, mention.end, mention.phrase)
    later = note.subsequent(mention.start, mention.end)
    offered: list[Candidate] = []

    def offer(code: str, score: float, source: str) -> None:
        for prefix, past in PAST.items():
            if mention.assertion == "historical" and code.startswith(prefix):
                code = past
        code = variant(code, codes, side, later)
        left = variant(code, codes, "left", later) if side == "bilateral" and sided(codes.title(code)) == "right" else None
        offered.append(Candidate(code, score, source, left if left != code else None))

    if mention.match is not None:
        match = mention.match
        code = place_side(match.pattern, match.code, codes, side)
        if mention.whole:
            offer(code, 1.0 if match.source == "alias" else 0.95, match.source)
            return offered
        share = min(1.0, (match.end - match.start) / max(1, sum(end - start for _, start, end in words(mention.phrase))))
        offer(code, _INSIDE_FLOOR + _INSIDE_SHARE * share, "inside")
    for hit in hits:
        offer(hit.code, hit.score + fit(codes.title(hit.code), hit.code, mention.phrase, note, side, later), "search")
    offered.sort(key=lambda candidate: (-candidate.score, candidate.code))
    kept: list[Candidate] = []
    seen: set[str] = set()
    for candidate in offered:
        stem = stem_of(codes.title(candidate.code))
        if stem not in seen:
            seen.add(stem)
            kept.append(candidate)
    return kept[:limit]
