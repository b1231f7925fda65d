"""choose_code: which of a few retrieved codes is the code of a phrase. The answer is one letter, so one token."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence
from typing import Final

from nosology.errors import ConfigError
from nosology.tasks import Message

MAX_CANDIDATES: Final = 10
LABELS: Final = string.ascii_uppercase[:MAX_CANDIDATES]

_ANSWER = re.compile(r"\s*(?:answer\s*:?\s*)?[(\[\"'*]*([A-J])(?=\s*$|[.:,)\]\"'*])", re.IGNORECASE)


class ChooseCode:
    """Offers candidates as lettered titles in rank order, best first.

    The question is short: it is asked of a 70B model and of a laptop model of a few million parameters alike.
    Titles, not codes, stand in it: a code says nothing to a model that has not seen the code set.
    """

    name = "choose_code"
    instruction = "Choose the code title that fits the diagnosis. Answer with its letter."

    @property
    def digest(self) -> str:
        """SHA-256 of the form of the question: two runs with another prompt are not one job."""
        messages, _ = self.build("phrase", "context", [("A00.0", "title"), ("A00.1", "title")])
        return hashlib.sha256(repr(messages).encode()).hexdigest()

    def build(self, phrase: str, context: str | None, candidates: Sequence[tuple[str, str]]) -> tuple[list[Message], list[str]]:
        """The question and its labels.

        Args:
            phrase: the diagnosis in the words of the note.
            context: words around it, or None.
            candidates: (code, title) in rank order; 1 to 10 of them.

        Returns:
            The messages (system, user) and one capital letter per candidate, in the same order.

        Raises:
            ConfigError: no candidates, or more than the letters allow.
        """
        if not 1 <= len(candidates) <= MAX_CANDIDATES:
            raise ConfigError(f"choose_code: {len(candidates)} candidates; the question takes 1 to {MAX_CANDIDATES}")
        labels = list(LABELS[: len(candidates)])
        lines = [f"Diagnosis: {_line(phrase)}"]
        if context and context.strip():
            lines.append(f"Context: {_line(context)}")
        lines += [f"{label}. {_line(title)}" for label, (_, title) in zip(labels, candidates, strict=True)]
        return [{"role": "system", "content": self.instruction}, {"role": "user", "content": "\n".join(lines)}], labels

    def parse(self, answer: str, candidates: Sequence[tuple[str, str]]) -> str | None:
        """The code that an answer names: by its letter (`B`, `b.`, `(B)`, `Answer: B`) or as the code itself; else None."""
        bare = answer.strip().rstrip(".").upper()
        for code, _ in candidates:
            if bare == code.upper():
                return code
        match = _ANSWER.match(answer)
        place = LABELS.index(match[1].upper()) if match else len(candidates)
        return candidates[place][0] if place < len(candidates) else None

    def score(self, chosen: Sequence[str | None], right: Sequence[str]) -> dict[str, float]:
        """Shares of questions: `top1` the right code, `category` its first three characters, `answered` any code at all."""
        if len(chosen) != len(right):
            raise ValueError(f"{len(chosen)} answers for {len(right)} questions")
        n = max(1, len(right))
        pairs = list(zip(chosen, right, strict=True))
        return {
            "n": float(len(right)),
            "top1": sum(c == r for c, r in pairs) / n,
            "category": sum(c is not None and c[:3] == r[:3] for c, r in pairs) / n,
            "answered": sum(c is not None for c in chosen) / n,
        }


def _line(text: str) -> str:
    """One line: a line break in a note must not be able to pose as a candidate."""
    return " ".join(text.split())
