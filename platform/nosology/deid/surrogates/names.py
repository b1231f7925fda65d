"""Invented names of people.

A name is rewritten word by word, and the word alone (without case and accents) and the patient decide: so `John Smith`, `SMITH, JOHN`,
`Mr. Smith` and `John` stay one person in every note of the patient. What the word shows is kept: given or family name, sex, culture or
script, capitals, a hyphen, two surnames; titles, degrees and particles (`de la`, `van`) stay as they are. Initials follow too: a
patient's key maps each letter to another, names are drawn among those with that initial, so `J. Smith` has the initial of the
one who is John; the initial itself says nothing of the real one.

Two different names of a patient: with nothing remembered between notes they can meet in one invented name. In one note they never do: the
later in alphabetical order takes its next choice there, as does one whose choice is a name of somebody in that note; in another note
each has its first. Between notes, measured on 20,000 pairs of listed names a row: English family names 0.5 % where both begin alike and
0.02 % else (132 to 231 inventions an initial), Spanish ones 1.6 % and 0.5 %, given names, which follow the initial, 7 to 14 % and 0.5 to 0.8 %.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from nosology.deid.surrogates.draw import Draw, Stream, fold
from nosology.deid.surrogates.lists import by_initial, invented, known, marked, sections
from nosology.deid.titles import PARTICLES, is_suffix, is_title

TOKEN = re.compile(r"[^\s^,.;:()\[\]{}\"“”/\\_|<>+*=~#@!?&-]+")
INITIALS = "ABCDEFGHLMNPRST"  # with which there are enough invented names
_ARTICLES = frozenset(("de", "la", "las", "los", "del", "y"))
_MARKS = (("slavic", "łđ"), ("nordic", "øæ"), ("turkish", "ı"))  # what `fold` leaves; other accents come and go between two notes
_ENDINGS = (
    (re.compile(r"(?:[^aeiou]|u|gu|qu)ez$"), "es"), (re.compile(r"(?:ski|ska|sky|czyk|wicz|vic|kov|ova|nov|enko|chuk)$"), "slavic"),
    (re.compile(r"(?:sen|sson)$"), "nordic"), (re.compile(r"(?:oglu)$"), "turkish"), (re.compile(r"(?:eira|inho|ães)$"), "pt"),
)  # fmt: skip
_BY_SYLLABLE = {"Hani": "given", "Hang": "given"}
_SCRIPTS = {"CYRILLIC": "Cyrl", "ARABIC": "Arab", "CJK": "Hani", "HANGUL": "Hang", "DEVANAGARI": "Deva", "GREEK": "Grek", "HEBREW": "Hebr"}


def words_of(value: str, language: str = "en") -> list[str]:
    """Folded words of a name that must not come back: no title, degree, particle or single letter."""
    return [
        fold(word)
        for token, keep in _tokens(value, language)
        if not keep and len(word := _bare(token)[0]) > 1 and any(map(str.isalnum, word))
    ]


def _tokens(value: str, language: str) -> list[tuple[str, bool]]:
    """The words of a name, and whether each stays: a title before a word, a degree after one, a particle between."""
    tokens = TOKEN.findall(value)
    marked = []
    for number, token in enumerate(tokens):
        word, before, after = token.lower(), number > 0, number + 1 < len(tokens)
        stays = (
            (after and is_title(word, language))
            or (before and is_suffix(token, value))
            or (after and word in _ARTICLES)
            or (after and word in PARTICLES and (before or token.islower()))
        )
        marked.append((token, stays))
    if all(stays for _, stays in marked):
        return [(token, False) for token in tokens]
    return marked


def _bare(token: str) -> tuple[str, str]:
    """A word and the possessive at its end."""
    match = re.search(r"['’][sS]?$", token)
    return (token[: match.start()], match[0]) if match and match.start() else (token, "")


@dataclass(slots=True)
class Names:
    """Invented names of one text."""

    draw: Draw
    _made: dict[str, str | None] = field(default_factory=dict)  # by folded word; None: there is none to give
    _taken: set[str] = field(default_factory=set)  # folded, of `_made`
    _initials: dict[str, str] = field(default_factory=dict)

    def of(self, value: str) -> str | None:
        """The name in another name's words; None when there is none to give."""
        tokens = iter(_tokens(value, self.draw.language))
        failed = False

        def other(match: re.Match[str]) -> str:
            nonlocal failed
            token, stays = next(tokens)
            if stays or not any(c.isalnum() for c in token):
                return token
            word, possessive = _bare(token)
            new = self.word(word)
            failed = failed or new is None
            return f"{new}{possessive}"

        new = TOKEN.sub(other, value)
        return None if failed or new == value else new

    def prepare(self, words: set[str]) -> None:
        """Choose for all names of the text, in the order of the alphabet: so the order in the text decides nothing."""
        for word in sorted(words):
            if not any(c.isdigit() for c in word):
                self._chosen(word)

    def word(self, word: str) -> str | None:
        """One word in another's place, in its case."""
        if any(c.isdigit() for c in word):
            return self.draw.first("name code", word, lambda stream: _scrambled(word, stream))
        if len(word) == 1 and word.isascii():
            initial = self.initial(word)
            return initial if word.isupper() else initial.lower()
        if word.isupper() and word.isascii() and len(word) <= 3 and not set(word) & set("AEIOUY") and fold(word) not in known():
            return "".join(map(self.initial, word))  # JS, JSM
        new = self._chosen(fold(word))
        if new is None:
            return None
        usual = known().get(fold(word), ("", "", ""))[2]
        if not word.isascii():
            new = marked().get(fold(new), new)  # Nguyễn with its accents
        elif not usual.isascii() or fold(word) in marked():  # Garcia without its accent
            new = _plain(new)
        return new.upper() if word.isupper() else new.lower() if word.islower() else new

    def initial(self, letter: str) -> str:
        """The capital that stands for a letter of this patient; never the letter."""
        plain = fold(letter)[0]
        if plain not in self._initials:
            choices = INITIALS.replace(plain.upper(), "")
            self._initials[plain] = choices[self.draw.secret.number(f"surrogate initial {self.draw.patient}", plain, len(choices))]
        return self._initials[plain]

    def _chosen(self, word: str) -> str | None:
        if word not in self._made:
            culture, role, _ = known().get(word) or (_culture(word, self.draw.language), "family", "")
            candidates = self.draw.candidates("name", word, lambda stream: self._name(word, culture, role, stream))
            self._made[word] = new = next((one for one in candidates if fold(one) not in self._taken), None)
            if new is not None:
                self._taken.add(fold(new))
        return self._made[word]

    def _name(self, word: str, culture: str, role: str, stream: Stream) -> str:
        if culture in _BY_SYLLABLE and len(word) > 1 or role == "given":
            return _by_syllable(word, culture, stream)
        if (culture, role) not in sections("names.txt"):
            return _scrambled(word, stream)
        if culture in _SCRIPTS.values():
            return _one(sections("names.txt")[culture, role], stream)
        initial = self.initial(word)
        if (culture, role) == ("en", "family"):
            stems, endings = invented("en", "name", initial)
            return _one(stems, stream) + _one(endings, stream)
        return _one(by_initial(culture, role, initial), stream)


def _one(choices: tuple[str, ...], stream: Stream) -> str:
    return choices[stream.below(len(choices))]


def _culture(word: str, language: str) -> str:
    """Culture of a word that no list has: by its script, its letters, its ending, else by the language of the text."""
    first = next((c for c in word if c.isalpha()), " ")
    script = unicodedata.name(first, "").split(" ")[0]
    if script != "LATIN":
        return _SCRIPTS.get(script, script)
    for culture, marks in _MARKS:
        if any(mark in word for mark in marks):
            return culture
    return next((culture for ending, culture in _ENDINGS if ending.search(word)), "es" if language == "es" else "en")


def _by_syllable(word: str, culture: str, stream: Stream) -> str:
    """A name that is written without a blank, family name first: sign by sign."""
    names = sections("names.txt")
    return _one(names[culture, "family"], stream) + "".join(_one(names[culture, "given"], stream) for _ in word[1:])


def _scrambled(word: str, stream: Stream) -> str:
    """Digits for digits, letters for letters; of a script without a list, the letters beside in its block."""

    def other(c: str) -> str:
        if c.isdigit():
            return str(stream.below(10))
        if not c.isalpha():
            return c
        if c.isascii():
            return chr((65 if c.isupper() else 97) + stream.below(26))
        base = ord(c) - ord(c) % 16
        near = [chr(code) for code in range(base, base + 16) if unicodedata.category(chr(code)) == unicodedata.category(c)]
        return near[stream.below(len(near))]

    return "".join(map(other, word))


def _plain(word: str) -> str:
    """A word without accents, a D without its stroke."""
    word = word.translate({ord("đ"): "d", ord("Đ"): "D"})
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
