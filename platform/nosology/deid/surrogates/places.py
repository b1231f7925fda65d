"""Invented places and organisations: the words that say of which kind it is stay, each run of the others becomes one invented name."""

from __future__ import annotations

import re
from collections.abc import Callable

from nosology.deid.surrogates.draw import Draw, Stream, fold
from nosology.deid.surrogates.lists import abbreviated, alike, invented
from nosology.deid.surrogates.names import TOKEN

_STREETS = """street st avenue ave av road rd boulevard blvd lane ln drive dr court ct place pl terrace ter circle cir way parkway pkwy highway
    hwy square sq trail plaza alley row crossing route rt apartment apt suite ste unit floor fl building bldg room rm box po north south east
    west n s e w ne nw se sw county parish city town village township borough district state province near of the and at in"""
_CALLES = """calle c avenida avda av plaza plza paseo pº camino carretera ctra ronda travesía pasaje glorieta urbanización barrio polígono piso
    puerta portal escalera izquierda derecha izda dcha bajo nº no núm número km provincia municipio ciudad pueblo de del la las los el y en"""
_KINDS = """hospital hospitals clinic clinics medical center centre health healthcare care group associates university college school high
    elementary department institute foundation laboratory laboratories lab pharmacy nursing home hospice rehabilitation rehab surgery surgical
    cancer heart children childrens women womens veterans va memorial general regional community system services service company co inc llc ltd
    corp corporation bank church police fire office agency insurance hotel restaurant st saint san santa saints of the and for at in de del la
    los las el y general centro salud clínica hospitalario universitario ambulatorio residencia instituto fundación colegio universidad
    escuela empresa sa sl servicio unidad facultad complejo consultorio"""
_GENERIC = {
    "LOCATION": frozenset(f"{_STREETS} {_CALLES}".split()),
    "ORGANIZATION": frozenset(_KINDS.split()),
}  # fmt: skip
_CENTROS = "centro salud clínica hospitalario universitario ambulatorio residencia"
_SPANISH = (frozenset(_CALLES.split()) - frozenset(_STREETS.split())) | frozenset(_CENTROS.split())
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ZIP = re.compile(r"\b\d{5}(?:-\d{4})?$")
_STATE = re.compile(r"(?<=, )[A-Z]{2}(?=$|,|\s+\d{5}(?:-\d{4})?$)")


def words_of(value: str, label: str) -> list[str]:
    """Folded words of a place that must not come back: none that says its kind, no number, no single letter."""
    return [fold(token) for token, keep in _tokens(value, label) if not keep and len(token) > 1 and not any(c.isdigit() for c in token)]


def _tokens(value: str, label: str) -> list[tuple[str, bool]]:
    generic = _GENERIC[label]
    whole = [
        m.span() for m in re.finditer(r"[^,;\n]+", value) if any(alike(one, fold(m[0].strip())) for one in ("en", "es"))
    ]  # South Dakota
    marked = [
        (
            m[0],
            _STATE.match(value, m.start()) is not None
            or (m[0].lower() in generic and not any(start <= m.start() < end for start, end in whole)),
        )
        for m in TOKEN.finditer(value)
    ]
    if all(keep for _, keep in marked):
        return [(token, False) for token, _ in marked]
    return marked


def place(value: str, label: str, draw: Draw, zip_code: Callable[[str], str]) -> str | None:
    """An invented place or organisation of the same kind; None when there is none to give.

    Args:
        zip_code: what stays of a ZIP code at its end.
    """
    tokens = _tokens(value, label)
    spanish = draw.language == "es" or not _SPANISH.isdisjoint(token.lower() for token, _ in tokens)
    end = _ZIP.search(value) if label == "LOCATION" and len(tokens) > 1 else None
    stop = end.start() if end else len(value)
    pieces: list[str | None] = []
    at = 0
    run: list[re.Match[str]] = []

    def flush() -> None:
        nonlocal at
        if run:
            pieces.extend((value[at : run[0].start()], _named([m[0] for m in run], label, spanish, draw)))
            at = run[-1].end()
            run.clear()

    for match, (token, keep) in zip(TOKEN.finditer(value), tokens, strict=True):
        if match.start() >= stop:
            break
        numbered = len(token) == 1 or any(c.isdigit() for c in token)
        if keep or numbered or (run and value[run[-1].end() : match.start()].strip(" -.")):
            flush()
        if numbered and not keep:
            pieces.extend((value[at : match.start()], _number(token, draw)))
            at = match.end()
        elif not keep:
            run.append(match)
    flush()
    pieces += [value[at:stop], zip_code(end[0]) if end else ""]
    made = "".join(piece or "" for piece in pieces)
    return None if None in pieces or made == value else made


def _named(words: list[str], label: str, spanish: bool, draw: Draw) -> str | None:
    """One invented name for the words of a place: another country or state for one of these, also where it is abbreviated; other letters for
    any other abbreviation."""
    key = " ".join(map(fold, words))
    language = "es" if spanish else "en"
    same = (alike(language, key) if label == "LOCATION" else ()) or (abbreviated(language, words[0]) if len(words) == 1 else ())
    stems, endings = invented(language, "place")
    short = len(words) == 1 and words[0].isupper() and words[0].isascii() and len(words[0]) <= (5 if label == "ORGANIZATION" else 3)

    def make(stream: Stream) -> str:
        if same:
            return same[stream.below(len(same))]
        if short:
            return "".join(stream.one(_LETTERS) for _ in words[0])
        return stems[stream.below(len(stems))] + endings[stream.below(len(endings))]

    new = draw.first("place", key, make)
    if new is None:
        return None
    return new.upper() if all(word.isupper() for word in words) else new.lower() if all(word.islower() for word in words) else new


def _number(token: str, draw: Draw) -> str | None:
    """The number or letter of a house or a door: another of as many digits."""

    def other(c: str, first: bool, stream: Stream) -> str:
        if c.isdigit():
            return str(1 + stream.below(9) if first and c != "0" else stream.below(10))
        if len(token) > 1 or not c.isalpha():
            return c
        return stream.one(_LETTERS) if c.isupper() else stream.one(_LETTERS).lower()

    made = draw.candidates("number", token, lambda stream: "".join(other(c, place == 0, stream) for place, c in enumerate(token)))
    return next((one for one in made if one != token), None)
