"""Pass 2: a token classifier over windows of a text.

Shapes: T tokens, C classes, K identifier classes and "none".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nosology.deid.classifier import WINDOW_TOKENS, Loaded, Window, load_classifier
from nosology.deid.shapes import shapes
from nosology.deid.spelling import ends_sentence
from nosology.records import Span

OVERLAP_TOKENS = 32
PIECE_CHARACTERS = 1 << 16  # of a long text, tokenized at once
BATCH_WINDOWS = 256


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids and character offsets [N] of a text's tokens, and what is known of them so far."""

    ids_N: NDArray[np.int32]
    starts_N: NDArray[np.int64]
    ends_N: NDArray[np.int64]
    shapes_N: NDArray[np.int8]
    inside_N: NDArray[np.float32]
    kind_N: NDArray[np.int16]


class Tagging:
    """A loaded token classifier.

    Args:
        loaded: model and labels.
        threshold: least probability that a token is inside some identifier; None is the model's own.
        thresholds: of single classes.
        without: classes that it is not asked for; what it takes for one of them counts as no identifier.

    Attributes:
        threshold, thresholds: in force.
        classes: class (None: no identifier, or not asked for) of each of the model's C outputs.
    """

    def __init__(
        self,
        loaded: Loaded,
        threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.threshold = loaded.threshold if threshold is None else threshold
        # one threshold for all takes the place of all that a model recommends
        self.thresholds = {**(loaded.thresholds if threshold is None else {}), **(thresholds or {})}
        self.classes = tuple(None if name in without else name for name in loaded.classes)
        self._loaded = loaded
        self._labels = sorted({label for label in self.classes if label})
        self._groups_CK = np.zeros((len(self.classes), len(self._labels) + 1), np.float32)
        for output, name in enumerate(self.classes):
            self._groups_CK[output, self._labels.index(name) if name else len(self._labels)] = 1
        self._first, self._last = loaded.edges
        self._size = min(WINDOW_TOKENS, loaded.model.max_tokens) - len(self._first) - len(self._last)

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Spans of each text. A window sees `WINDOW_TOKENS` tokens; where windows overlap the larger probability counts."""
        return [self.spans(text, tokens) for text, tokens in zip(texts, self.score(texts), strict=True)]

    def score(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, with what the model says of them; `spans` makes spans of them, at any threshold."""
        tokens = [self._tokens(text) for text in texts]
        todo = [(n, start, end) for n, each in enumerate(tokens) for start, end in _windows(len(each.ids_N), self._size)]
        for at in range(0, len(todo), BATCH_WINDOWS):
            part = todo[at : at + BATCH_WINDOWS]
            outs = self._loaded.model.logits([self._window(tokens[n], start, end) for n, start, end in part])
            for (n, start, end), logits_TC in zip(part, outs, strict=True):
                self._note(tokens[n], start, end, logits_TC[len(self._first) : len(self._first) + end - start])
        return tokens

    def spans(self, text: str, tokens: Tokens, threshold: float | None = None) -> list[Span]:
        """Spans of a text whose tokens are scored. `threshold`: for every class, in the place of those in force."""
        least = self.least(threshold)
        chosen = np.flatnonzero(tokens.inside_N >= min(least.values(), default=2.0))
        bounds = list(zip(tokens.starts_N[chosen].tolist(), tokens.ends_N[chosen].tolist(), strict=True))
        return _spans(text, bounds, tokens.inside_N[chosen].tolist(), [self._labels[k] for k in tokens.kind_N[chosen].tolist()], least)

    def least(self, threshold: float | None = None) -> dict[str, float]:
        """The threshold of each class: those in force, or one for all."""
        return {label: self.thresholds.get(label, self.threshold) if threshold is None else threshold for label in self._labels}

    def _tokens(self, text: str) -> Tokens:
        """A text's tokens, piece by piece of a long one (`_pieces`); the windows of the model run across the pieces."""
        ids: list[NDArray[Any]] = [np.zeros(0, np.int32)]
        offsets: list[NDArray[Any]] = [np.zeros((0, 2), np.int64)]
        forms: list[NDArray[Any]] = [np.zeros(0, np.int8)]
        for start, piece in _pieces(text):
            encoded = self._loaded.tokenizer.encode(piece, add_special_tokens=False)
            ids.append(np.array(encoded.ids, np.int32))
            offsets.append(np.array(encoded.offsets, np.int64).reshape(-1, 2) + start)
            if self._loaded.shaped:
                forms.append(np.array(shapes(piece, encoded.offsets), np.int8))
        ids_N, bounds_N2 = np.concatenate(ids), np.concatenate(offsets)
        shapes_N = np.concatenate(forms) if self._loaded.shaped else np.zeros(len(ids_N), np.int8)
        inside_N, kind_N = np.zeros(len(ids_N), np.float32), np.zeros(len(ids_N), np.int16)
        return Tokens(ids_N, bounds_N2[:, 0], bounds_N2[:, 1], shapes_N, inside_N, kind_N)

    def _window(self, tokens: Tokens, start: int, end: int) -> Window:
        ids = [*self._first, *tokens.ids_N[start:end].tolist(), *self._last]
        return Window(ids, [*[0] * len(self._first), *tokens.shapes_N[start:end].tolist(), *[0] * len(self._last)])

    def _note(self, tokens: Tokens, start: int, end: int, logits_TC: NDArray[np.float32]) -> None:
        """Keep what a window says of a token where it is surer than the windows before it."""
        weights_TC = np.exp(logits_TC - logits_TC.max(axis=1, keepdims=True))
        p_TK = (weights_TC / weights_TC.sum(axis=1, keepdims=True)) @ self._groups_CK
        p_T = 1 - p_TK[:, -1]
        better_T = p_T > tokens.inside_N[start:end]
        tokens.inside_N[start:end][better_T] = p_T[better_T]
        if self._labels:
            tokens.kind_N[start:end][better_T] = p_TK[:, :-1].argmax(axis=1)[better_T]


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Where each piece of a text starts, and the piece: cut before the last white space of its second half, across which no token
    reaches. Half a piece without any is no word of a language with blanks, and is cut wherever the piece ends."""
    at = 0
    while len(text) - at > PIECE_CHARACTERS:
        least, most = at + PIECE_CHARACTERS // 2, at + PIECE_CHARACTERS
        end = next((place for place in range(most, least, -1) if text[place - 1].isspace()), None)
        while end is not None and end > least and text[end - 1].isspace():
            end -= 1
        yield at, text[at : end or most]
        at = end or most
    yield at, text[at:]


def _windows(length: int, size: int = WINDOW_TOKENS - 2) -> list[tuple[int, int]]:
    """First token and end of windows that cover `length` tokens and overlap."""
    step = max(1, size - OVERLAP_TOKENS)
    if length <= size:
        return [(0, length)] if length else []
    starts = list(range(0, length - size, step)) + [length - size]
    return [(start, start + size) for start in starts]


def _spans(
    text: str, offsets: Sequence[tuple[int, int]], inside: Sequence[float], kinds: Sequence[str], least: Mapping[str, float]
) -> list[Span]:
    """Words of which any token is inside; neighbouring words of one class become one span."""
    spans: list[Span] = []
    for (start, end), probability, label in zip(offsets, inside, kinds, strict=True):
        if probability < least[label] or start == end:
            continue
        if not spans or end > spans[-1].end:  # else it is of a word that was seen: a long one of many tokens is walked through once
            while start and text[start].isalnum() and text[start - 1].isalnum():
                start -= 1
            while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
                end += 1
        if spans and start <= spans[-1].end:
            last = spans[-1]
            sure = last if last.score >= probability else Span(start=start, end=end, label=label)
            spans[-1] = Span(
                start=last.start, end=max(end, last.end), label=sure.label, score=max(last.score, probability), source="tagger"
            )
        elif (
            spans
            and spans[-1].label == label
            and text[spans[-1].end : start].strip(" .,-'’/") == ""
            and "\n" not in text[spans[-1].end : start]
            and start - spans[-1].end < 3
            and not ends_sentence(text, spans[-1].end, start)
        ):
            spans[-1] = Span(start=spans[-1].start, end=end, label=label, score=max(spans[-1].score, probability), source="tagger")
        else:
            spans.append(Span(start=start, end=end, label=label, score=probability, source="tagger"))
    return spans


def load_tagging(
    folder: str | Path, threshold: float | None = None, thresholds: Mapping[str, float] | None = None, without: Collection[str] = ()
) -> Tagging:
    """The tagger of a directory. Raises as `load_classifier`."""
    return Tagging(load_classifier(Path(folder)), threshold, thresholds, without)
