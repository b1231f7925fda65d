"""The coder: a note in, codes with evidence, confidence and route out. Used by the batch and by the server alike."""

from __future__ import annotations

import datetime
import functools
import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.coding.candidates import Candidate, candidates
from nosology.coding.compare import check_codes, compare
from nosology.coding.confidence import Calibration, calibration, features
from nosology.coding.context import Context
from nosology.coding.decide import Found, apply_rules, codable, propose
from nosology.coding.lexicon import Lexicon, lexicon_of
from nosology.coding.mentions import Mention, mentions
from nosology.config import CodingConfig, TerminologyConfig
from nosology.engines.encoder import load_encoder
from nosology.errors import RecordError
from nosology.records import Evidence, PredictedCode, Prediction
from nosology.terminology.codeset import CodeSet, code_set
from nosology.terminology.index import Index, open_index

if TYPE_CHECKING:
    from nosology.engines import Engine

Note = Mapping[str, Any]
YEARS = range(1900, 2101)


class Coder:
    """Codes notes. Safe to call from several threads: the search and the lexicon are read only, the engine is called under a lock.

    Args:
        config: setting, number of candidates, thresholds.
        terminology: code set, index, what is left out.
        engine: chooses among the candidates of a problem that is no exact phrase; None leaves the choice to the encoder's search.
        encoder: directory of the encoder; None is the default one.
        index: an opened index to use in place of the cached one (tests).
    """

    def __init__(
        self, config: CodingConfig, terminology: TerminologyConfig, engine: Engine | None = None, *, encoder: str | None = None,
        index: Index | None = None,
    ) -> None:  # fmt: skip
        self.config, self.engine = config, engine
        self.codes: CodeSet = index.codes if index else code_set()
        self.index = index or open_index(self.codes, load_encoder(encoder), terminology)
        self.lexicon: Lexicon = lexicon_of(self.codes)
        self._lock = threading.Lock()

    @functools.cached_property
    def calibration(self) -> Calibration:
        """The fitted confidence that the package carries."""
        return calibration()

    @functools.cached_property
    def _auto(self) -> float:
        return max(self.calibration.threshold(self.config.precision_target), self.config.review_threshold)

    def code(self, notes: Sequence[Note]) -> list[Prediction]:
        """Predictions for notes, in order.

        A note is a mapping with `text` and, where known, `id` or `document_id`, `sex`, `age`, `date_of_service` or `date` (a date or
        YYYY-MM-DD), `claim_id`, `encounter_id`, `billed` (diagnoses with `code` and `system`), `source_digest`,
        `source_row`, `source_format`.

        Raises:
            RecordError: `missing_field`, `empty_note` or `impossible_date`, for the first note that is at fault.
        """
        return [self._predict(note) for note in notes]

    def _predict(self, note: Note) -> Prediction:
        text, date = _text(note), service_date(note)
        found = self.proposals(note)
        release = self.codes.release_on(date)
        dated = date is not None and release.in_force
        stand_in = [] if dated else [f"release {release.name} stands in for the date of service"]
        rated = {code: self.calibration.probability(features(proposal, found, text, self.codes)) for code, proposal in found.items()}
        kept = {code: value for code, value in rated.items() if value >= self.config.review_threshold}
        picked = []
        for code in _sequence(found, kept):
            proposal = found[code]
            first = proposal.mentions[0] if proposal.mentions else None
            picked.append(
                PredictedCode(
                    code=code,
                    title=self.codes.title(code),
                    confidence=round(kept[code], 4),
                    route="auto" if kept[code] >= self._auto and dated else "review",
                    assertion=first.assertion if first else "present",
                    section=first.section if first else "body",
                    trail=(*proposal.trail, *stand_in),
                    evidence=tuple(Evidence(start=a, end=b, text=text[a:b]) for a, b in proposal.evidence),
                )
            )
        billed = note.get("billed")
        return Prediction(
            **_key(note),
            document_id=_name(note.get("document_id", note.get("id"))),
            claim_id=_name(note.get("claim_id")),
            encounter_id=_name(note.get("encounter_id")),
            date_of_service=date,
            release=release.name,
            codes=tuple(picked),
            discrepancies=tuple(compare(billed, [code.code for code in picked], date, self.codes)) if billed else (),
            route=_route(picked),
        )

    def proposals(self, note: Note) -> Found:
        """Codes that a note may support, before confidence: mentions, candidates, choice, rules."""
        text = _text(note)
        context = Context.of(text, _sex(note.get("sex")), _age(note.get("age")))
        named = mentions(text, self.lexicon)
        offered = candidates(named, context, self.codes, self.index, min(self.config.candidates, 10))
        found = propose(text, named, offered, self._choose(named, offered), self.config.setting)
        return apply_rules(found, text, self.codes)

    def _choose(self, named: Sequence[Mention], offered: Sequence[Sequence[Candidate]]) -> list[Sequence[float] | None]:
        """The engine's probabilities for mentions with more than one candidate that could be coded; None for the others."""
        asked = [
            i
            for i, row in enumerate(offered)
            if len(row) > 1 and any(codable(named[i], candidate.code, self.config.setting) for candidate in row)
        ]
        chosen: list[Sequence[float] | None] = [None] * len(offered)
        if self.engine is None or not asked:
            return chosen
        from nosology.tasks.coding import ChooseCode

        task = ChooseCode()
        prompts, labels = [], []
        for i in asked:
            messages, letters = task.build(named[i].phrase, None, [(c.code, self.codes.title(c.code)) for c in offered[i]])
            prompts.append(messages)
            labels.append(letters)
        with self._lock:
            answers = self.engine.choose(prompts, labels)
        for i, answer in zip(asked, answers, strict=True):
            if len(answer) == len(offered[i]):
                chosen[i] = answer
        return chosen


def check_claim(claim: Mapping[str, Any], codes: CodeSet) -> Prediction:
    """A claim that has no note: its diagnoses against the code set on its date of service.

    Args:
        claim: a row of the claims table (`claim_id`, `service_from`, `diagnoses`, its key).

    Raises:
        RecordError: `impossible_date`.
    """
    date = service_date({"date": claim.get("service_from")})
    faults = check_codes(claim.get("diagnoses") or (), date, codes)
    return Prediction(
        **_key(claim),
        document_id=None,
        claim_id=_name(claim.get("claim_id")),
        encounter_id=_name(claim.get("encounter_id")),
        date_of_service=date,
        release=codes.release_on(date).name,
        discrepancies=tuple(faults),
        route="review" if any(fault.kind != "other_system" for fault in faults) else "auto",
    )


def service_date(note: Note) -> datetime.date | None:
    """The date of service of a note; None when it gives none.

    Raises:
        RecordError: `impossible_date` for a value that is no date of the years 1900 to 2100.
    """
    field = "date_of_service" if note.get("date_of_service") is not None else "date"
    value = note.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, str):
        try:
            value = datetime.date.fromisoformat(value[:10]) if re.fullmatch(r"\d{4}-\d\d-\d\d(?:[T ].*)?|\d{8}", value) else None
        except ValueError:
            value = None
    if not isinstance(value, datetime.date) or value.year not in YEARS:
        raise RecordError("impossible_date", field, "a calendar date YYYY-MM-DD of the years 1900 to 2100")
    return value


def _text(note: Note) -> str:
    text = note.get("text")
    if not isinstance(text, str):
        raise RecordError("missing_field", "text", "the note as text")
    if not text.strip():
        raise RecordError("empty_note", "text", "a note with at least one visible character")
    return text


def _key(row: Note) -> dict[str, Any]:
    return {
        "source_digest": str(row.get("source_digest") or ""),
        "source_row": int(row.get("source_row") or 0),
        "source_format": str(row.get("source_format") or "request"),
    }


def _name(value: object) -> str | None:
    return None if value is None else str(value)


def _sex(value: object) -> str | None:
    first = str(value).strip().lower()[:1] if value is not None else ""
    return {"f": "female", "w": "female", "m": "male"}.get(first)


def _age(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _sequence(found: Found, kept: Mapping[str, float]) -> list[str]:
    """First-listed first (IV.G): general examinations, problems in the order of the note, other codes, status and history."""

    def order(code: str) -> tuple[int, int, str]:
        proposal = found[code]
        titles = [mention.start for mention in proposal.mentions if mention.kind == "problem"]
        group = 0 if code.startswith("Z00.0") else 3 if code.startswith(("Z7", "Z8", "Z9")) else 1 if titles else 2
        return group, min(titles or [start for start, _ in proposal.evidence]), code

    return sorted(kept, key=order)


def _route(codes: Sequence[PredictedCode]) -> str:
    if not codes:
        return "reject"
    return "auto" if all(code.route == "auto" for code in codes) else "review"
