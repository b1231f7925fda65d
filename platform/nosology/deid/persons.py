"""Names of persons that are known, looked for in a text word by word: in any case, with or without accents, whatever stands around.

A word that is an ordinary one too (Grant, May, Rose), or has three letters or fewer, counts only in the case of a name; the ordinary one
besides only beside another word of the name, behind a title, where the sentence shows a person (`May came`; see `Language.shows_person`), or
with its capital behind a word in small letters, if clinical texts hardly write it so (`seen with Grant`, but not `in May`).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from nosology.deid.languages import Language, language
from nosology.deid.spelling import Folded, fold
from nosology.deid.titles import PARTICLES, TITLES, alternation, is_suffix, is_title
from nosology.records import Span

_SPACES = re.compile(r"[\s,;/^*_|-]+")
_TITLE = re.compile(rf"(?<!\w){alternation(TITLES)}\.?\s{{1,2}}\Z", re.I)
_WITHIN = re.compile(r"(?<!\w)[a-zà-ÿ]{1,20} \Z")  # a word in small letters before
_GROUP = re.compile(
    r"-| (?:man|woman|male|female|boy|girl|patients?|adults?|people|americans?|hispanic|coat)\b", re.I
)  # of a white or black person
_INITIAL_BEHIND, _INITIAL_BEFORE = re.compile(r",? ([A-Z])\b\.?"), re.compile(r"(?<!\w)([A-Z])\.? ?\Z")
_LETTERS = re.compile(r"[^\W\d_]+")
_BETWEEN = re.compile(r"[ ,.'-](?:[^\W\d_]|[ .'-])*")  # initials and particles between two words
MOST_BETWEEN = 24
_GAP = re.compile(r"[ \t\n]?[,'/^_|-]?[ \t\n]{0,2}|\.")  # between two words of one name


@dataclass(slots=True)
class _Word:
    """A word of a name.

    Attributes:
        sure: enough by itself in any case of letters.
        short: three letters or fewer: enough as a name is written (Ng, not NG).
        ordinary: an ordinary word too: never enough.
        accented: only where the text has a letter beyond ASCII (Mueller stands as Müller).
        exact: enough in this form, whatever the rest says: a note has it so.
        of: names that have it.
    """

    sure: bool = False
    short: bool = False
    ordinary: bool = False
    accented: bool = False
    exact: set[str] = field(default_factory=set)
    of: set[int] = field(default_factory=set)


# How much a word says of itself that it is the name: an ordinary word in small letters, one with a capital, a short word, one that is enough.
_SMALL, _ORDINARY, _SHORT, _SURE = range(4)


class _Hit(NamedTuple):
    start: int
    end: int
    key: str
    strength: int


class Names:
    """Words of names, to be searched for.

    Args:
        values: names.
        language: whose ordinary words count as such.
        found: they were found in a note, and not said by a record: words that the language calls ordinary and that nobody is called are left
            out; those that are everyday words count in the form in which they were found.
    """

    def __init__(self, values: Iterable[str], language: Language, *, found: bool = False) -> None:
        self._language, self._found = language, found
        self._words: dict[str, _Word] = {}
        self._between: set[str] = set()  # particles and initials
        for place, value in enumerate(values):
            self._take(value, place)

    def __bool__(self) -> bool:
        return bool(self._words)

    def _take(self, value: str, place: int) -> None:
        pieces = [
            (piece, part)
            for part, words in enumerate(value.split(","))
            for piece in (word.strip('."“”()[]*') for word in _SPACES.split(words))
            if any(c.isalpha() for c in piece)
        ]
        while len(pieces) > 1 and is_title(fold(pieces[0][0]).strip("."), self._language.code):
            del pieces[0]
        while len(pieces) > 1 and is_suffix(pieces[-1][0], value):
            del pieces[-1]
        for number, (piece, part) in enumerate(pieces):
            key = fold(piece)
            bare = key.replace("'", "").replace(".", "")
            # the last word before a comma or the end is a name, if it looks like a particle (Le, Do)
            particle = bare in PARTICLES and number + 1 < len(pieces) and pieces[number + 1][1] == part
            if len(bare) > 1 and not particle:
                for one, written in self._forms(key, piece):
                    self._add(one, written, place, several=len(pieces) > 1)
                for one in _respelled(piece, key):
                    if one not in self._words and not is_ordinary(one, self._language):
                        self._words[one] = _Word(sure=True, accented=one in _shrunk(key), of={place})
            if bare:
                self._between.add(bare if particle else bare[0])

    def _forms(self, key: str, piece: str) -> Iterator[tuple[str, str]]:
        """A word, without its apostrophe, and what stands behind that."""
        yield key, piece
        if "'" in key:
            yield key.replace("'", ""), re.sub(r"['’]", "", piece)
            last = key.rpartition("'")[2]
            if len(last) >= 4:
                yield last, piece[-len(last) :]

    def _add(self, key: str, piece: str, number: int, several: bool) -> None:
        ordinary, short = is_ordinary(key, self._language), len(key) <= 3 and key != key.upper()
        if self._found and not self._again(key, piece, several):
            return
        word = self._words.setdefault(key, _Word(sure=not ordinary and not short, short=short, ordinary=ordinary))
        word.accented = False  # another value's accents, which are not asked for where one is written so itself
        word.of.add(number)
        if self._found and (ordinary or short) and not self._common(key, piece):
            word.exact |= {piece}

    def _common(self, key: str, piece: str) -> bool:
        """Whether a word is an ordinary one or an eponym to the language, whatever its case."""
        spoken = self._language
        return any(word in words for word in (key, piece.lower()) for words in (spoken.ordinary, spoken.sure_eponyms))

    def _again(self, key: str, piece: str, several: bool) -> bool:
        """Whether a word of a name that was found in a note is looked for elsewhere."""
        nameless = self._common(key, piece) and piece.lower() not in self._language.borne
        return piece[:1].isupper() and not nameless and (len(key) > 2 or several)

    def find(self, folded: Folded) -> list[Span]:
        """Where the names stand; a possessive 's is left."""
        hits = sorted(self._hits(folded), key=lambda hit: (hit.start, -hit.end))
        spans: list[Span] = []
        run: list[_Hit] = []
        for hit in hits:
            if run and hit.end <= run[-1].end:
                run[-1] = run[-1]._replace(strength=max(hit.strength, run[-1].strength))
                continue
            if run and (any(hit.key == one.key for one in run) or not self._joins(folded, run[-1], hit)):
                spans += self._span(folded, run)
                run = []
            run.append(hit)
        return [*spans, *self._span(folded, run)] if run else spans

    def _hits(self, folded: Folded) -> Iterator[_Hit]:
        plain = folded.plain
        for key, word in self._words.items():
            at = plain.find(key)
            while at >= 0:
                end = at + len(key)
                if folded.whole(at, end):
                    start, stop = folded.span(at, end)
                    if (strength := self._strength(folded.text[start:stop], word, folded, at, end)) is not None:
                        yield _Hit(at, end, key, strength)
                at = plain.find(key, end)

    def _strength(self, written: str, word: _Word, folded: Folded, at: int, end: int) -> int | None:
        """How much a word that stands there says; None: nothing."""
        if word.accented and written.isascii():
            return None
        weak = _SHORT if not word.ordinary else _ORDINARY if written[:1].isupper() else _SMALL
        sure = word.sure or written in word.exact or weak == _SHORT and written[:1].isupper() and written[1:].islower()
        if self._found and written.lower() in self._language.sure_eponyms:  # of what a record says: `is_ordinary` has them
            sure = sure and not self._language.is_eponym(folded.text, *folded.span(at, end))
        return _SURE if sure else weak

    def _written(self, folded: Folded, hit: _Hit) -> str:
        return folded.text[slice(*folded.span(hit.start, hit.end))]

    def _joins(self, folded: Folded, one: _Hit, other: _Hit) -> bool:
        """Whether two words, with what stands between them, can be of one name."""
        if _SMALL in (one.strength, other.strength) and any(self._written(folded, hit)[:1].isupper() for hit in (one, other)):
            return False  # `Doe will come` of a Will Doe
        gap = folded.plain[one.end : other.start]
        if _GAP.fullmatch(gap):
            return "," not in gap and "\n" not in gap or "," in gap and not self._words[one.key].of.isdisjoint(self._words[other.key].of)
        words = _LETTERS.findall(gap)
        return (
            len(gap) <= MOST_BETWEEN
            and 0 < len(words) <= 3
            and _BETWEEN.fullmatch(gap) is not None
            and all(word in self._between or len(word) == 1 for word in words)
        )

    def _span(self, folded: Folded, run: list[_Hit]) -> list[Span]:
        """The span of words that stand together, with an initial on either side; none where they are not enough."""
        start, end = run[0].start, run[-1].end
        first, last = folded.span(start, end)
        strongest = max(hit.strength for hit in run)
        others = {hit.key for hit in run if strongest == _SHORT or hit.strength >= _ORDINARY}
        if strongest != _SURE and len(others) < 2 and not self._shown(folded.text, first, last):
            return []
        behind = _INITIAL_BEHIND.match(folded.text, last)
        if behind and fold(behind[1]) in self._between:
            last = behind.end()
        before = _INITIAL_BEFORE.search(folded.text[max(0, first - 4) : first])
        if before and fold(before[1]) in self._between:
            first -= len(before[0])
        return [Span(start=first, end=last, label="NAME", score=1.0, source="known")]

    def _shown(self, text: str, start: int, end: int) -> bool:
        """Whether a word that is an ordinary one too stands as a name: behind a title, where the language sees a person, or with a capital within
        a sentence. Words of the language's own lists and those of two letters (symbols) stand so in headings and formulas as well."""
        if not text[start].isupper():
            return False
        if _TITLE.search(text[max(0, start - 12) : start]) or self._language.shows_person(text, start, end):
            return True
        word = text[start:end]
        return (
            word.istitle()
            and len(word) > 2
            and not self._common(fold(word), word)
            and bool(_WITHIN.search(text[max(0, start - 24) : start]))
            and not _GROUP.match(text, end)
            and not self._language.is_eponym(text, start, end)
        )


@functools.cache
def _ordinary_of(code: str) -> frozenset[str]:
    """Words of a language, folded, that small letters do not tell from a name."""
    spoken = language(code)
    return frozenset(map(fold, spoken.ordinary | spoken.everyday | spoken.sure_eponyms))


def is_ordinary(word: str, spoken: Language) -> bool:
    """Whether a folded word is an ordinary one of the language."""
    return word in _ordinary_of(spoken.code)


_WIDE = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
_NARROW = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("aa", "a"))


def _respelled(piece: str, key: str) -> set[str]:
    """Other spellings of a word: letters that take a diacritic or an e behind them (Müller, Mueller, Muller)."""
    if len(key) < 5:
        return set()
    wide = "".join(_WIDE.get(c, c) for c in unicodedata.normalize("NFC", piece.lower()))
    return ({fold(wide)} | _shrunk(key)) - {key}


def _shrunk(key: str) -> set[str]:
    found = key
    for wide, narrow in _NARROW:
        found = found.replace(wide, narrow)
    return {found} - {key}
