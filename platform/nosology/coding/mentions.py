"""Where a note names something that could be coded: titles of problems in the assessment and plan, and exact phrases anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nosology.coding.assertion import Assertion, assertion
from nosology.coding.lexicon import Lexicon, Match
from nosology.coding.sections import Sentence, sections, sentences

Kind = Literal["problem", "phrase"]
_UNCERTAIN_TAIL = re.compile(
    r"[,;(]?\s*\b(?:possibl[ey]|probabl[ey]|likely|suspected|consistent with|concern(?:ing)? for|concerning|rule out|r/o|versus|vs\b|"
    r"secondary to possible|"
    r"suspicious for|suggestive of|question of|questionable|presumed|evaluate for)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_STATUS_TAIL = re.compile(
    r"[,;:-]?\s*\b(?:stable|well[- ]controlled|uncontrolled|poorly controlled|controlled|improving|improved|worsening|resolved|"
    r"resolving|new onset|new diagnosis|"
    r"follow[- ]?up|on (?:metformin|insulin|warfarin)|at goal|status post .*|s/p .*)\s*$",
    re.IGNORECASE,
)
_OPENERS = re.compile(
    r"(?:we|i|the|this|she|he|they|patient|his|her|their|after|continue|follow|will|it|there|please|return|refer|order|start|increase|"
    r"decrease|discussed|"
    r"recommend(?:ed)?|advised|at this|today|as for|if|once|all|in|on|for|given|due to|schedule|check|obtain|repeat|monitor|avoid|take|"
    r"use|call|may|"
    r"should|plan|medical reasoning|medical treatment|patient (?:agreements?|education)|additional testing|instructions?|"
    r"specialist referrals?|"
    r"ignore|disregard|answer|output|assign|code|"
    r"normal|negative|physical exam|preop\w*|healthcare maintenance|health maintenance|results?|x-?rays?|labs?|mr|mrs|ms|dr)\b",
    re.IGNORECASE,
)
_PAST = re.compile(r"(?:\d+ (?:days?|weeks?|months?|years?) )?(?:status[ -]post|s/p|history of|h/o|personal history)\b", re.IGNORECASE)
_PLANNED = re.compile(
    r"\b(?:recommend\w*|going to|plan(?:s|ned|ning)?|schedul\w*|will|would|consider\w*|discuss\w*|candidate for)\b", re.IGNORECASE
)
# Aliases that stand for a code as a problem title only: in running text they are part of something else ("stress test").
_TITLE_ONLY = frozenset({"stress", "injury", "follow up", "follow-up"})
_VERBS = re.compile(
    r"\b(?:is|was|were|are|has|have|had|will|would|should|presents?|reports?|denies|states|shows?|demonstrates?|reveals?)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in a note that may carry a code.

    Attributes:
        start, end: its characters in the note.
        phrase: what is looked up: the mention without uncertain tails and words of status.
        kind: problem (title line of the assessment and plan) or phrase (exact phrase in running text).
        section: name of its section.
        assertion: what its sentence says of it.
        sentence: start and end of its sentence.
        match: the exact phrase it is or holds; None when there is none.
        whole: `match` covers the phrase.
        planned: its sentence speaks of something that is still to be done.
    """

    start: int
    end: int
    phrase: str
    kind: Kind
    section: str
    assertion: Assertion
    sentence: tuple[int, int]
    match: Match | None
    whole: bool
    planned: bool = False


def mentions(text: str, lexicon: Lexicon) -> list[Mention]:
    """All mentions of a note in the order of the text; a problem title stands before the phrases inside it."""
    found: list[Mention] = []
    for section in sections(text):
        for sentence in sentences(text, section):
            titles = list(_problems(text, sentence, lexicon)) if section.name in ("assessment", "plan") else []
            found.extend(titles)
            covered = [(title.start, title.end) for title in titles]
            words = text[sentence.start : sentence.end]
            for match in lexicon.matches(words, sentence.start):
                if any(start <= match.start and match.end <= end for start, end in covered):
                    continue
                said = assertion(words, match.start - sentence.start, match.end - sentence.start, section.name)
                phrase = text[match.start : match.end]
                if section.name == "allergies" or phrase.lower() in _TITLE_ONLY:
                    continue
                found.append(
                    Mention(
                        match.start,
                        match.end,
                        phrase,
                        "phrase",
                        section.name,
                        said,
                        (sentence.start, sentence.end),
                        match,
                        True,
                        bool(_PLANNED.search(words)),
                    )  # fmt: skip
                )
    return found


def _problems(text: str, sentence: Sentence, lexicon: Lexicon) -> Iterator[Mention]:
    """The problems that a title line names; nothing for a sentence of prose."""
    words = text[sentence.start : sentence.end]
    if sentence.listed or not sentence.first or _OPENERS.match(words) or len(words) > 140 or ":" in words[:-1] and len(words.split()) > 14:
        return
    stem = _UNCERTAIN_TAIL.sub("", words).rstrip(" .,:;")
    if not stem or len(stem.split()) > 16 or (_VERBS.search(stem) and len(stem.split()) > 4):
        return
    for start, end in _parts(stem, lexicon):
        phrase = stem[start:end]
        while (cut := _STATUS_TAIL.sub("", phrase).rstrip(" .,:;-")) and cut != phrase:
            phrase = cut
        said: Assertion = "historical" if _PAST.match(phrase) else assertion(words, start, end, sentence.section)
        whole = lexicon.lookup(phrase)
        inside = [] if whole else lexicon.matches(phrase, sentence.start + start)
        match = whole or max(inside, key=lambda m: m.end - m.start, default=None)
        yield Mention(
            sentence.start + start, sentence.start + end, phrase, "problem", sentence.section, said,
            (sentence.start, sentence.end), match, whole is not None,
        )  # fmt: skip


def _parts(stem: str, lexicon: Lexicon) -> list[tuple[int, int]]:
    """A title as a whole, or its parts when each part around "and", "with" or a comma is a phrase of its own."""
    if lexicon.lookup(stem):
        return [(0, len(stem))]
    for separator in (r"\s*(?:,\s*and\b|\band\b|&|/|,|;)\s*", r"\s*\bwith\b\s*"):
        cuts = list(re.finditer(separator, stem))
        if cuts:
            edges = [0, *(edge for cut in cuts for edge in (cut.start(), cut.end())), len(stem)]
            parts = [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2) if edges[i + 1] > edges[i]]
            if len(parts) > 1 and all(lexicon.matches(stem[a:b]) for a, b in parts):
                return parts
    return [(0, len(stem))]
