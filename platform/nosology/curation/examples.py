"""Training pairs: a phrase, words around it, and its code; from the code set, from coded conditions, and from notes with coded claims.

Candidates and terms come from outside (`Lookup`), so that nothing here loads a model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nosology.curation.split import Splitter
from nosology.errors import RecordError
from nosology.records import Example
from nosology.tasks.coding import LABELS, ChooseCode

SYSTEM: Final = "ICD-10-CM"
MAX_CONTEXT_CHARACTERS: Final = 300
_STRICTNESS: Final = {"train": 0, "validation": 1, "test": 2}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class Lookup(Protocol):
    """What the terminology knows. `search` must not index the phrases that it is asked for, else the right code is always first."""

    def search(self, phrases: Sequence[str], k: int) -> Sequence[Sequence[tuple[str, str]]]:
        """(code, title) of the best `k` codes of each phrase, best first."""
        ...

    def terms(self, code: str) -> Sequence[str]:
        """Words that a note may use for a code: its title and inclusion terms; empty for what is no billable code."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A phrase whose code is known.

    Attributes:
        owner: whom it belongs to: the patient, else the encounter, claim or document; None for the code set.
        patient_id: pseudonym, where there is one.
        split: given split, or None to let the splitter decide.
    """

    phrase: str
    code: str
    context: str | None = None
    owner: str | None = None
    patient_id: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A pair that became no example: `not_retrieved`, `held_out_category`, `not_mentioned`."""

    split: str
    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a pair.

    Attributes:
        pair: what it was made of.
        example: its answer is empty where the right code is not among the candidates: nothing to choose, and the more for retrieval to learn.
        question: what makes it a duplicate of another (phrase and context, without candidates).
        candidates: (code, title), best first.
    """

    pair: Pair
    example: Example
    question: str
    candidates: Sequence[tuple[str, str]]


def phrase_pair(row: Mapping[str, Any]) -> Pair:
    """The pair of a row `{"phrase", "code"}`, optionally with `context` and `split`.

    Raises:
        RecordError: a field is missing or empty.
    """
    for name in ("phrase", "code"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise RecordError("missing_field", name, "a text that is not empty")
    if row.get("split") not in (None, "train", "validation", "test"):
        raise RecordError("bad_value", "split", "train, validation or test")
    return Pair(row["phrase"], row["code"].strip().upper(), row.get("context"), split=row.get("split"))


def condition_pairs(row: Mapping[str, Any]) -> list[Pair]:
    """Pairs of a CleanCondition that carries exactly one ICD-10-CM code: each display of its codings is a phrase for it."""
    codes = {coding["code"] for coding in row["codings"] if coding.get("system") == SYSTEM}
    if len(codes) != 1:
        return []
    code = codes.pop()
    phrases = dict.fromkeys(coding["display"].strip() for coding in row["codings"] if coding.get("display") and coding["display"].strip())
    owner = row.get("patient_id") or row.get("encounter_id") or row.get("condition_id")
    return [Pair(phrase, code, None, owner or row_key(row), row.get("patient_id")) for phrase in phrases]


def linked_codes(conditions: Iterable[Mapping[str, Any]], claims: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """ICD-10-CM codes of each encounter and claim, keys `encounter:ID` and `claim:ID`, each list in order and without repeats."""
    found: dict[str, dict[str, None]] = {}

    def add(kind: str, key: str | None, codes: Iterable[str]) -> None:
        if key:
            found.setdefault(f"{kind}:{key}", {}).update(dict.fromkeys(codes))

    for row in conditions:
        add("encounter", row.get("encounter_id"), (c["code"] for c in row["codings"] if c.get("system") == SYSTEM))
    for row in claims:
        codes = [d["code"] for d in row["diagnoses"] if d.get("system") == SYSTEM]
        add("claim", row.get("claim_id"), codes)
        add("encounter", row.get("encounter_id"), codes)
    return {key: list(codes) for key, codes in found.items() if codes}


def coded(row: Mapping[str, Any], links: Mapping[str, Sequence[str]]) -> list[str]:
    """The codes of a document's claim and encounter, in order, each once."""
    kinds = [kind for kind in ("claim", "encounter") if row.get(f"{kind}_id")]
    return list(dict.fromkeys(code for kind in kinds for code in links.get(f"{kind}:{row[f'{kind}_id']}", ())))


def document_pairs(row: Mapping[str, Any], links: Mapping[str, Sequence[str]], lookup: Lookup) -> tuple[list[Pair], list[str]]:
    """Pairs of a CleanDocument whose encounter or claim is coded, and the codes that the note does not name.

    A code counts where the note names it by its title or an inclusion term, whole words, case apart; the context is the sentence.
    """
    codes = coded(row, links)
    owner = row.get("patient_id") or row.get("encounter_id") or row.get("claim_id") or row["document_id"]
    pairs, absent = [], []
    for code in codes:
        place = _mention(row["text"], lookup.terms(code))
        if place is None:
            absent.append(code)
            continue
        start, end = place
        pairs.append(Pair(row["text"][start:end], code, _sentence(row["text"], start, end), owner, row.get("patient_id")))
    return pairs, absent


def build_examples(pairs: Sequence[Pair], lookup: Lookup, splitter: Splitter, num_candidates: int) -> tuple[list[Made], list[Drop]]:
    """A choose_code example for each pair, its right code at the rank at which it was retrieved.

    A pair whose code is not among its candidates has no answer and is counted by split, never repaired: the right code put in by hand
    would teach ranks that serving does not send. A patient's pair stays out of train and validation where its category is measured.
    """
    task = ChooseCode()
    made, dropped, open_pairs = [], [], []
    for pair in pairs:
        category_split = splitter.of_code(pair.code)
        split = pair.split or (category_split if pair.owner is None else splitter.of_patient(pair.owner))
        if _STRICTNESS[category_split] > _STRICTNESS[split]:
            dropped.append(Drop(split, "held_out_category"))
        else:
            open_pairs.append((pair, split))
    found = lookup.search([pair.phrase for pair, _ in open_pairs], num_candidates) if open_pairs else []
    for (pair, split), candidates in zip(open_pairs, found, strict=True):
        codes = [code for code, _ in candidates]
        retrieved = pair.code in codes
        if not retrieved:
            dropped.append(Drop(split, "not_retrieved"))
        asked = [message["content"] for message in task.build(pair.phrase, pair.context, candidates)[0]] if candidates else ["", ""]
        answer = LABELS[codes.index(pair.code)] if retrieved else ""
        question = pair.phrase if not pair.context else f"{pair.phrase}\n{pair.context}"
        key = "\0".join((task.name, pair.owner or "", pair.phrase, pair.context or "", pair.code))
        made.append(Made(pair, Example(
            example_id=hashlib.sha256(key.encode()).hexdigest()[:24], patient_id=pair.patient_id, task=task.name, split=split,
            instruction=asked[0], prompt=asked[1], answer=answer), question, candidates))  # fmt: skip
    return made, dropped


def _mention(text: str, terms: Sequence[str]) -> tuple[int, int] | None:
    """Offsets of the first mention of the longest term that the text holds."""
    for term in sorted((t for t in terms if t.strip()), key=len, reverse=True):
        words = r"\s+".join(re.escape(word) for word in term.split())
        match = re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE)
        if match:
            return match.span()
    return None


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence or line around a mention; words at its far ends are left out above `MAX_CONTEXT_CHARACTERS`."""
    left = max((m.end() for m in _SENTENCE_END.finditer(text, 0, start)), default=0)
    after = _SENTENCE_END.search(text, end)
    right = after.start() if after else len(text)
    spare = max(0, MAX_CONTEXT_CHARACTERS - (end - start)) // 2
    if start - left > spare:
        left = _word_start(text, start - spare, start)
    if right - end > spare:
        right = max(end, text.rfind(" ", end, end + spare + 1))
    return text[left:right].strip()


def _word_start(text: str, place: int, limit: int) -> int:
    space = text.find(" ", place, limit)
    return space + 1 if space >= 0 else limit


def row_key(row: Mapping[str, Any]) -> str:
    """What a row is called: its file, by digest, and its number there."""
    return f"{row['source_digest']}:{row['source_row']}"
