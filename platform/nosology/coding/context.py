"""What the whole note says that a phrase leaves out: side, encounter, sex, age, and the words that a specific code needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nosology.coding.lexicon import words
from nosology.terminology.codeset import CodeSet

_SIDES = {"right": "right", "left": "left", "bilateral": "bilateral", "both": "bilateral", "bilaterally": "bilateral"}
_SUFFIX = re.compile(r", (initial encounter|subsequent encounter|sequela)\b.*$")
_SIDE = re.compile(r"\b(right|left|bilateral|unspecified)\b", re.IGNORECASE)
_SUBSEQUENT = re.compile(
    r"\b(healing|healed|weeks? (?:post|status post)|post-?op(?:erative)?|cast removal|status post (?:orif|fixation))\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Context:
    """A note as the specificity of a code sees it. `sex` is female, male or None; `age` in years or None."""

    text: str
    sex: str | None
    age: float | None
    words: frozenset[str]

    @classmethod
    def of(cls, text: str, sex: str | None, age: float | None) -> Context:
        if sex is None:
            female = len(re.findall(r"\b(?:she|her|female|woman)\b", text, re.IGNORECASE))
            male = len(re.findall(r"\b(?:he|his|him|male|man)\b", text, re.IGNORECASE))
            sex = "female" if female > male else "male" if male > female else None
        return cls(text, sex[0].lower().replace("f", "female").replace("m", "male") if sex else None, age, _stems(text))

    def side(self, start: int, end: int, phrase: str) -> str | None:
        """Side of a mention: in its words, in its sentence, or the only one that the note gives its body part."""
        own = sided(phrase)
        if own:
            return own
        left = max(self.text.rfind(mark, 0, start) for mark in ("\n", ". "))
        right = min((place for mark in ("\n", ". ") if (place := self.text.find(mark, end)) >= 0), default=len(self.text))
        near = sided(self.text[left + 1 : right])
        if near:
            return near
        found = {
            sided(match[0])
            for word, *_ in words(phrase)
            if len(word) > 2 and word not in ("pain", "fracture", "chronic", "acute", "injury", "tear", "primary")
            for match in re.finditer(rf"\b(right|left|bilateral|both)\s+(?:\w+\s+){{0,2}}{re.escape(word)}", self.text, re.IGNORECASE)
        } - {None}
        if len(found) == 1:
            return found.pop()
        return "bilateral" if {"right", "left"} <= found else None

    def subsequent(self, start: int, end: int) -> bool:
        """The words around a mention tell of healing after active treatment (7th character D)."""
        return bool(_SUBSEQUENT.search(self.text[max(0, start - 60) : end + 60]))


def sided(phrase: str) -> str | None:
    """The side that words name: right, left, bilateral, or None."""
    found = {_SIDES[word.lower()] for word in re.findall(r"\b(?:right|left|bilateral|bilaterally|both)\b", phrase, re.IGNORECASE)}
    return "bilateral" if len(found) > 1 else found.pop() if found else None


def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:6] for word, *_ in words(text))


def stem_of(title: str) -> str:
    """A title without encounter and side: equal for the variants of one condition."""
    return re.sub(r"\s+", " ", _SIDE.sub("", _SUFFIX.sub("", title).lower())).strip(" ,")


# Words of titles that claim a cause, a time of life or a complication: the note must say so (first six letters count).
_CONDITIONAL = frozenset({
    "with", "due", "type", "drug", "induce", "diseas", "elsewh", "newbor", "pregna", "childb", "puerpe", "postpr", "recurr", "juveni",
    "congen", "neonat",
    "remiss", "exacer", "compli", "intrac", "bacter", "viral", "second", "trauma", "open", "benign", "malign", "hemorr", "perfor",
    "obstru", "gangre",
    "coma", "ketoac", "crisis", "failur", "histor", "family", "acute", "chroni", "subacu", "poison", "advers", "underd", "cyclic",
    "menopa", "pathol",
})  # fmt: skip


def fit(title: str, code: str, phrase: str, note: Context, side: str | None, subsequent: bool) -> float:
    """How well the details of a title agree with a note; added to the search score. 0 is neutral, below is worse.

    A detail that the note does not give counts against a code; the unspecified form is preferred then (guideline I.B.18).
    """
    lower, score = title.lower(), 0.0
    said = sided(lower)
    if said or "unspecified" in lower and re.search(r"unspecified (?:side|\w+(?: \w+)?$)", lower):
        score += 0.1 if said is not None and said == side else -0.1 if said is not None else (0.02 if side is None else -0.06)
    suffix = _SUFFIX.search(title)
    if suffix:
        wanted = "subsequent encounter" if subsequent else "initial encounter"
        score += 0.05 if suffix[1] == wanted else -0.1
        if " open fracture" in suffix[0] and "open" not in phrase.lower():
            score -= 0.1
        if re.search(r"delayed|nonunion|malunion", suffix[0]):
            score -= 0.1
    asked = _stems(phrase)
    for stem in _stems(stem_of(title)) - asked:
        score -= 0.05 if stem in _CONDITIONAL and stem not in note.words else 0.02 if stem in _CONDITIONAL else 0.004
    if "unspecified" in lower or code.endswith(".9"):
        score += 0.03
    if re.search(r"\bother\b|elsewhere", lower) and "other" not in asked:
        score -= 0.03
    if code[0] == "O" and (note.sex == "male" or not {"pregna", "gestat", "obstet", "partum"} & note.words):
        score -= 0.5
    if code[0] == "P" and (note.age is None or note.age >= 1):
        score -= 0.5
    if code[0] in "VWXY" or "in diseases classified elsewhere" in lower:
        score -= 0.3
    if (note.sex == "male" and re.search(r"\b(female|vagin|uter|ovar|cervi[xc](?!al (?:disc|spine|region|spond)))", lower)) or (
        note.sex == "female" and re.search(r"\b(male(?!\w)|prostat|testi|penis|scrot)", lower)
    ):
        score -= 0.4
    return score


def variant(code: str, codes: CodeSet, side: str | None, subsequent: bool) -> str:
    """The sibling of a code that agrees with side and encounter; the code itself when there is none."""
    stem = stem_of(codes.title(code))
    best, best_score = code, -9.0
    parent = codes.entries[code].parent or code
    grand = codes.entries[parent].parent or parent
    for other in codes.descendants(grand if len(code) > 5 else parent):
        title = codes.title(other)
        if stem_of(title) != stem:
            continue
        said, suffix, score = sided(title), _SUFFIX.search(title), 0.0
        score += 2.0 if said == side else 1.5 if side == "bilateral" and said == "right" else 1.0 if said is None else 0.0
        if suffix:
            score += 1.0 if suffix[1] == ("subsequent encounter" if subsequent else "initial encounter") else 0.0
            score += 0.5 if "closed" in suffix[0] and not re.search(r"delayed|nonunion|malunion", suffix[0]) else 0.0
        score += 0.1 if other == code else 0.0
        if score > best_score:
            best, best_score = other, score
    return best


def place_side(pattern: str, default: str, codes: CodeSet, side: str | None) -> str:
    """The code of an alias: its `#` replaced by the side where such a code exists, else the default."""
    if "#" in pattern and side:
        code = pattern.replace("#", {"right": "1", "left": "2", "bilateral": "3"}[side])
        if code in codes:
            return code
        if side == "bilateral" and (right := pattern.replace("#", "1")) in codes:
            return right
    return default
