"""Values that a record says of its patient, searched for in a text: names, streets and towns, telephones, e-mails, numbers.

A rule finds a name by what stands around it; these are found without. Names are looked for word by word, in any case and with or without
accents (see `persons`). Everything else is compared by letters and digits alone, so that `415.555.0134` is `(415) 555-0134`;
between them only such marks may stand as people put there.

Each value is one `str.find` over the letters and digits of the text, after a look whether the text has its first characters at all: a
regular expression would need a gap that may be there between any two of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nosology.deid.languages import Language
from nosology.deid.persons import Names, is_ordinary
from nosology.deid.spelling import START, Folded, fold
from nosology.records import Span

# kinds of values, and the class of what is found; numbers that no rule tells apart are `id`
KINDS: Mapping[str, str] = {
    "name": "NAME", "found": "NAME", "organization": "ORGANIZATION", "street": "LOCATION", "city": "LOCATION", "phone": "PHONE",
    "email": "EMAIL", "id": "ID", "mrn": "MRN", "beneficiary": "BENEFICIARY", "ssn": "SSN",
}  # fmt: skip
_NUMBERED = frozenset({"id", "mrn", "beneficiary", "ssn"})
# Of a number the rule that sees its context knows the class better, so that one is taken where both find it.
_SCORES = {"ID": 0.8, "MRN": 0.9, "BENEFICIARY": 0.9}

_WORDS = re.compile(r"[^\W_]+")
_DIGIT = re.compile(r"\d")
_SSN = re.compile(r"\d{3}-\d\d-\d{4}", re.A)
_EXTENSION = re.compile(r"\s*(?:x|ext(?:ension)?\.?|#)\s*\d{1,6}\s*$", re.I)
_CUED = re.compile(
    r"(?:\b(?:mrn|id|no|nr|num|number|acct|account|record|chart|member|patient|policy|claim|case|encounter|visit|n[ºo°])|#)\W{0,4}\Z", re.I
)
_PREFIX = re.compile(r"(?<![\d.])(?:\+?1[ .-]{0,2})?\(?\Z")  # of a telephone number
_PLACED = re.compile(r"(?<!\w)(?:in|from|of|near|to|at|de|en)\s\Z", re.I)  # before a town
_STATE = re.compile(r",\s{0,2}(?:[A-Z]{2}\b|[A-Z][a-z]{3,})|\s(?:[A-Z]{2}\s)?\d{5}\b")  # behind it
_PHONE_GAP = re.compile(r"[\s().\-/+·–_]{0,4}")  # noqa: RUF001
_NUMBER_GAP = re.compile(r"[ \t.\-/_#:–]?")  # noqa: RUF001
_PHRASE_GAP = re.compile(r"[\W_]{1,4}")
_KIND = re.compile(r"\s*[^\W\d_]{1,8}[-_#. ]{1,2}(?=\d[\d-]*\s*\Z)")  # before a number of digits alone
_UNIT = re.compile(r"[\s,]{1,3}(?:#\s?|(?:apt|apartment|unit|suite|ste|room|rm|floor|fl|lot|bldg|no)\b\.?\s?#?\s?)\w{1,6}(?!\w)", re.I)
_UNITS = frozenset(["apt", "apartment", "unit", "suite", "ste", "room", "rm", "floor", "fl", "lot", "bldg", "building", "no"])
_STREETS = {  # USPS Publication 28, appendix C1: the usual ones, each with how it is shortened
    "street": "st str", "avenue": "ave av", "road": "rd", "drive": "dr", "lane": "ln", "court": "ct", "boulevard": "blvd", "place": "pl",
    "terrace": "ter terr", "circle": "cir", "highway": "hwy", "parkway": "pkwy", "square": "sq", "trail": "trl", "way": "wy", "alley": "aly",
    "crossing": "xing", "turnpike": "tpke", "expressway": "expy", "heights": "hts", "ridge": "rdg", "point": "pt", "run": "", "row": "",
    "loop": "", "plaza": "plz", "mews": "", "view": "vw", "common": "cmn", "landing": "lndg", "manor": "mnr", "path": "", "pike": "",
    "station": "sta", "trafficway": "trfy", "annex": "anx", "viaduct": "via", "walk": "", "underpass": "upas", "hollow": "holw", "club": "clb",
}  # fmt: skip
_DIRECTIONS = {
    "north": "n", "south": "s", "east": "e", "west": "w", "northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw",
}  # fmt: skip
_WAYS = {
    "calle": "c cl", "avenida": "avda av", "plaza": "pza plza", "paseo": "pso", "camino": "cno", "carretera": "ctra", "travesia": "tva",
}  # fmt: skip


def _alike() -> dict[str, list[str]]:
    """How else a word of an address is written."""
    found: dict[str, set[str]] = {}
    for long, short in [*_STREETS.items(), *_DIRECTIONS.items(), *_WAYS.items()]:
        for word in (long, *short.split()):
            found.setdefault(word, set()).update((long, *short.split()))
    return {word: sorted(forms) for word, forms in found.items()}


_ALIKE = _alike()
_WAY_WORDS = frozenset(word for long, short in _WAYS.items() for word in (long, *short.split()))
_TURNED = frozenset((*_DIRECTIONS, *_DIRECTIONS.values()))
_SUFFIXED = frozenset(word for long, short in _STREETS.items() for word in (long, *short.split()))
_LEGAL_FORMS = frozenset(
    [
        "inc",
        "incorporated",
        "corp",
        "corporation",
        "co",
        "company",
        "llc",
        "llp",
        "lp",
        "ltd",
        "limited",
        "pllc",
        "pc",
        "plc",
        "sl",
        "sa",
        "gmbh",
    ]
)
_MANY = 32  # values, from which on it pays to know first what the text has at all
_MOST_FORMS = 24  # of one address
_LEAST_NUMBER, _LEAST_PHONE = 5, 7  # characters of a number that is looked for; digits of a telephone number


class Value(NamedTuple):
    """What a record says.

    Attributes:
        kind: one of `KINDS`.
        text: as the record has it.
    """

    kind: str
    text: str


class _String(NamedTuple):
    """Letters and digits that are looked for.

    Attributes:
        gap: what may stand between two of them; None: only where the record has a mark itself.
        ends: how many of them stand before a mark or blank of the record.
        phrase: words: nothing stands between two letters of one.
        capital: each word begins with a capital letter.
    """

    kind: str
    gap: re.Pattern[str] | None
    ends: frozenset[int] = frozenset()
    phrase: bool = False
    capital: bool = False


class Known:
    """Values of one patient, or of one record, ready to be searched for.

    Args:
        values: what the records say.
        language: of the texts.
    """

    def __init__(self, values: Iterable[Value], language: Language) -> None:
        self._language = language
        by_kind: dict[str, list[str]] = {}
        for value in dict.fromkeys(values):
            by_kind.setdefault(value.kind, []).append(value.text)
        self._names = Names(by_kind.pop("name", ()), language)
        self._found = Names(by_kind.pop("found", ()), language, found=True)
        self._towns: list[str] = []
        self._strings: dict[str, _String] = {}  # by letters and digits
        for kind, texts in by_kind.items():
            for text in texts:
                self._take(kind, text)

    def _take(self, kind: str, text: str) -> None:
        if kind == "phone":
            for form in _phones(text):
                self._strings.setdefault(form, _String(kind, _PHONE_GAP))
        elif kind == "street":
            for words, bare in _streets(text):
                self._phrase(kind, words, capital=bare)
        elif kind == "organization":
            self._organization(_WORDS.findall(fold(text)))
        elif kind in ("city", "email"):
            words = _WORDS.findall(fold(text))
            if kind == "city" and len(words) == 1:
                self._towns.append(words[0])
            elif len(words) > 1:
                self._phrase(kind, words)
        else:
            for form in _numbers(text):
                gap = _NUMBER_GAP if len(form) > _LEAST_PHONE or not form.isdigit() else None
                kept = "ssn" if kind == "id" and _SSN.fullmatch(text.strip()) else kind
                self._strings.setdefault(form, _String(kept, gap, _breaks(text, form)))

    def _organization(self, words: Sequence[str]) -> None:
        """As the record has it, and without its legal form; a name of ordinary words alone needs the capitals of one then."""
        short = list(words)
        while len(short) > 1 and short[-1] in _LEGAL_FORMS:
            short.pop()
        telling = any(len(word) > 3 and not is_ordinary(word, self._language) for word in short)
        if len(words) > 1 or telling:
            self._phrase("organization", words)
        if len(short) < len(words) and (len(short) > 1 or telling):
            self._phrase("organization", short, capital=not telling)

    def _phrase(self, kind: str, words: Sequence[str], capital: bool = False) -> None:
        ends = frozenset(itertools.accumulate(map(len, words)))
        self._strings.setdefault("".join(words), _String(kind, _PHRASE_GAP, ends, phrase=True, capital=capital))

    def find(self, folded: Folded) -> list[Span]:
        """Where the values stand, in order of kinds; spans may overlap."""
        found = [*self._names.find(folded), *self._found.find(folded)]
        for town in self._towns:
            found += self._town(folded, town)
        starts = folded.starts if len(self._strings) >= _MANY else None
        for form, string in self._strings.items():
            if starts is not None and len(form) >= START and form[:START] not in starts:
                continue
            at = folded.condensed.find(form)
            while at >= 0:
                if span := self._placed(folded, at, at + len(form), string):
                    found.append(span)
                at = folded.condensed.find(form, at + 1)
        return found

    def _placed(self, folded: Folded, at: int, end: int, string: _String) -> Span | None:
        """The span of a string that the letters and digits hold, if it stands there by itself and written as one."""
        places = folded.within(at, end)
        first = places[0]
        while string.kind in _NUMBERED and first and folded.plain[first - 1] == "0":
            first -= 1  # a number that the record has without them
        if not folded.whole(first, places[-1] + 1):
            return None
        for number, (one, other) in enumerate(itertools.pairwise(places), 1):
            if other - one == 1:
                continue
            allowed = _NUMBER_GAP if string.gap is None else string.gap
            if number not in string.ends and (string.phrase or string.gap is None) or not allowed.fullmatch(folded.plain[one + 1 : other]):
                return None
        start, stop = folded.span(first, places[-1] + 1)
        few = string.kind in _NUMBERED and end - at < _LEAST_PHONE and folded.condensed[at:end].isdigit()
        if few and not _CUED.search(folded.text[max(0, start - 16) : start]):
            return None  # `25000 units` is nobody's number
        if string.capital and not all(word[0].isupper() for word in re.findall(r"[^\W\d_]+", folded.text[start:stop])):
            return None
        if string.kind == "phone" and (before := _PREFIX.search(folded.text[max(0, start - 6) : start])):
            start -= len(before[0])
        if string.kind == "street" and (unit := _UNIT.match(folded.text, stop)):
            stop = unit.end()
        label = KINDS[string.kind]
        return Span(start=start, end=stop, label=label, score=_SCORES.get(label, 1.0), source="known")

    def _town(self, folded: Folded, town: str) -> Iterator[Span]:
        """A town of one word; where that is an ordinary word too, or short, only as a name is written and where a place stands."""
        plain_word = len(town) < 4 or is_ordinary(town, self._language)
        at = folded.plain.find(town)
        while at >= 0:
            end = at + len(town)
            if folded.whole(at, end):
                start, stop = folded.span(at, end)
                placed = folded.text[start].isupper() and bool(
                    _PLACED.search(folded.text[max(0, start - 6) : start]) or _STATE.match(folded.text, stop)
                )
                if placed or not plain_word and not self._language.is_eponym(folded.text, start, stop):
                    yield Span(start=start, end=stop, label="LOCATION", score=1.0, source="known")
            at = folded.plain.find(town, end)


def worth(kind: str, text: str) -> bool:
    """Whether a value can be one that is looked for, at a glance: an archive asks for every value."""
    return len(text) >= _LEAST_NUMBER and bool(_DIGIT.search(text)) if kind in _NUMBERED else bool(_WORDS.search(text))


def _phones(text: str) -> list[str]:
    """The digits of a telephone number: as it is, without the code of its country, without that of its area."""
    digits = "".join(c for c in fold(_EXTENSION.split(text)[0]) if c.isdigit())
    if len(digits) < _LEAST_PHONE:
        return []
    forms = {digits}
    if len(digits) == 11 and digits[0] == "1":
        forms.add(digits[1:])
    elif text.lstrip().startswith(("+", "00")):
        forms |= {digits[-9:], digits[-10:]} if len(digits) > 10 else set()
    if len(local := digits.removeprefix("1")) == 10:
        forms |= {local, f"1{local}", local[3:]}
    return sorted(forms)


def _numbers(text: str) -> list[str]:
    """Letters and digits of an identifier: of the whole, of what stands behind the system in a URI, and without letters before a dash (`MRN-`)
    and zeros at its beginning."""
    last = re.split(r"[:/|]", text)[-1]
    forms = set()
    for one in (text, last, bare := _KIND.sub("", last), bare.lstrip("0")):
        form = "".join(c for c in fold(one) if c.isalnum())
        if len(form) >= _LEAST_NUMBER and any(c.isdigit() for c in form):
            forms.add(form)
    return sorted(forms)


def _breaks(text: str, form: str) -> frozenset[int]:
    """Where an identifier has a mark between its characters: how many of them stand before."""
    ends = list(itertools.accumulate(map(len, _WORDS.findall(fold(text)))))
    return frozenset(end - (ends[-1] - len(form)) for end in ends)


def _streets(text: str) -> Iterator[tuple[list[str], bool]]:
    """Ways to write a street: its words, and whether only capitals show that it is one (it has no number)."""
    words = _WORDS.findall(fold(text))
    at = next((n for n, word in enumerate(words) if n > 1 and word in _UNITS), len(words))
    street = words[:at]
    if len(street) < 2:
        return
    numbered = any(c.isdigit() for c in street[0])
    ways: list[tuple[list[str], bool]] = [(street, not any(c.isdigit() for word in street for c in word))]
    if numbered and street[-1] in _SUFFIXED and len(street) > 2:
        ways += [(street[:-1], False), (street[1:], True)]
        if street[1] in _TURNED and len(street) > 3:
            ways += [([street[0], *street[2:]], False), ([street[0], *street[2:-1]], False), (street[2:], True)]
    elif street[0] in _WAY_WORDS and (number := next((n for n, word in enumerate(street) if word[0].isdigit()), 0)) > 1:
        ways += [(street[: number + 1], False), (street[:number], True)]
    for way, bare in ways:
        choices = [_ALIKE.get(word, [word]) for word in way]
        for form in itertools.islice(itertools.product(*choices), _MOST_FORMS):
            yield list(form), bare
