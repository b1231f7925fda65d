"""How words are written, which an uncased encoder does not see, and the classes of the shipped taggers."""

from __future__ import annotations

# inside-outside tagging: one class a kind of identifier, the first is "none"
CLASSES = ("O", "NAME", "LOCATION", "ORGANIZATION", "DATE", "ID", "PHONE")
NUM_SHAPES = 8


def shape(word: str) -> int:
    """How a word is written: 1 lower, 2 Capital, 3 ALL CAPS, 4 miXed, 5 digits, 6 digits and letters, 7 other; 0 is no word."""
    if not word:
        return 0
    if word.isalpha():
        return 1 if word.islower() else _capitals(word)
    if word.isdigit():
        return 5
    has_digit, has_letter = any(c.isdigit() for c in word), any(c.isalpha() for c in word)
    if has_digit:
        return 6 if has_letter else 5
    if not has_letter:
        return 7
    return 1 if word.islower() else _capitals(word)


def _capitals(word: str) -> int:
    if word.isupper():
        return 2 if len(word) == 1 else 3
    return 2 if word[0].isupper() and word[1:].islower() else 4


def shapes(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """The shape of the word (a run of letters and digits) in which each token stands."""
    found, start, end, value = [], 0, 0, 0
    for first, last in offsets:
        if first == last:
            found.append(0)
            continue
        if not (start <= first and last <= end):
            start = end = first
            while start and text[start - 1].isalnum():
                start -= 1
            end = last
            while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
                end += 1
            value = shape(text[start:end])
        found.append(value)
    return found
