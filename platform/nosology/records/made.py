"""What stages make of records: what was removed, what is learned from, what is predicted."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from nosology.records.parts import Sourced, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An identifier found in a text. Offsets count Unicode characters, end exclusive."""

    start: int = column("first character")
    end: int = column("one past the last character")
    label: str = column("Safe Harbor class, for instance NAME, DATE, MRN")
    score: float = column("0 to 1", default=1.0)
    source: str = column("recognizer that found it", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal(Span):
    """An identifier that was replaced, and where what stands in its place is. Other places of the text map by these (`deid.offsets.Rewritten`)."""

    new_start: int = column("first character of what stands in its place, in the text after")
    new_end: int = column("one past its last character")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeidAudit(Sourced):
    """What was removed from one document. Holds no text of it."""

    document_id: str = column("pseudonym of the document")
    num_characters: int = column("length of the text before")
    spans: tuple[Removal, ...] = column("what was replaced, in order, offsets into the text before and the one after")
    policy: str = column("policy of the run, for instance safe_harbor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed(Sourced):
    """What turns one clean record back, encrypted (`deid.sealing`). Only where `deid.reversible` is on; nothing in it can be read without the key."""

    table: str = column("table of the record")
    record_id: str | None = column("pseudonym of the record", default=None)
    patient_id: str | None = column("pseudonym of its patient", default=None)
    policy: str = column("SHA-256 of the policy that it was cleaned under")
    nonce: bytes = column("96 bits that no other record has")
    content: bytes = column("AES-256-GCM of the ids, the changed fields and the replaced values")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A training pair made from Clean records or from the code set."""

    example_id: str = column("id, stable across runs")
    patient_id: str | None = column("pseudonym; None where no patient stands behind it", default=None)
    task: str = column("task that reads it, for instance choose_code")
    split: str = column("train, validation or test")
    instruction: str = column("system instruction")
    prompt: str = column("question")
    answer: str = column("the right answer; the loss counts its tokens only")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBlock:
    """Several examples in one row of `context_tokens` tokens."""

    block_id: int = column("number of the block in its split, from 0")
    split: str = column("train, validation or test")
    input_ids: tuple[int, ...] = column("tokens, padded at the end")
    labels: tuple[int, ...] = column("input_ids where the loss counts, -100 elsewhere")
    position_ids: tuple[int, ...] = column("position within the example; restarts at 0 with each example")
    segment_ids: tuple[int, ...] = column("number of the example in the block from 1; 0 is padding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A question with a right answer and a wrong one that is near it, as tokens."""

    example_id: str = column("id of the example, stable across runs")
    split: str = column("train, validation or test")
    prompt_ids: tuple[int, ...] = column("tokens that serving sends")
    chosen_ids: tuple[int, ...] = column("tokens of the right answer, with its end of turn")
    rejected_ids: tuple[int, ...] = column("tokens of the wrong answer, with its end of turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedText:
    """A phrase or a note, and the codes that it stands for."""

    text_id: str = column("id, stable across runs")
    patient_id: str | None = column("pseudonym; None where no patient stands behind it", default=None)
    split: str = column("train, validation or test")
    text: str = column("the phrase, or the note")
    context: str | None = column("the sentence that a phrase stands in, where it comes from a note", default=None)
    codes: tuple[str, ...] = column("its codes")
    title: str | None = column("official title of a phrase's one code; None for a note", default=None)
    negatives: tuple[str, ...] = column("titles that retrieval found for a phrase and that are wrong, the nearest first", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The words a code stands on; offsets count Unicode characters of the note, end exclusive."""

    start: int = column("first character")
    end: int = column("one past the last character")
    text: str = column("note[start:end], verbatim", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCode:
    """One code given to a note."""

    code: str = column("ICD-10-CM code with its dot, billable on the date of service")
    title: str = column("official title")
    confidence: float = column("calibrated probability that a coder would accept it, 0 to 1")
    route: str = column("auto, review or reject")
    assertion: str = column("present, historical … of the mention that it stands on")
    section: str = column("section of the note")
    trail: tuple[str, ...] = column("rules that led to it, in order", default=())
    evidence: tuple[Evidence, ...] = column("verbatim spans, at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """A difference between what was billed and what the note supports, or a fault of the billed code itself."""

    code: str = column("the code")
    kind: str = column("billed_not_supported, supported_not_billed, agrees, unknown_code, not_billable, not_in_force, other_system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Sourced):
    """What the coder says of one note, or of one claim without a note."""

    document_id: str | None = column("the note; None for a claim without one", "id", default=None)
    claim_id: str | None = column("the claim", "id", default=None)
    encounter_id: str | None = column("the encounter", "id", default=None)
    date_of_service: datetime.date | None = column("date that chose the release", "date", default=None)
    release: str = column("code-set release, for instance 2026-04")
    codes: tuple[PredictedCode, ...] = column("codes in sequence, first-listed first", default=())
    discrepancies: tuple[Discrepancy, ...] = column("comparison with the billed codes", default=())
    route: str = column("auto when every code is, else review; reject when nothing could be coded")
