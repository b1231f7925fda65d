"""Invented places and organisations: the words that say of which kind it is stay, each run of the others becomes one invented name."""

from __future__ import annotations

import re
from collections.abc import Callable

from nosology.deid.surrogates.draw import Draw, Stream, fold
from nosology.deid.surrogates.lists import invented
from nosology.deid.surrogates.names import TOKEN

_STREETS = """street st avenue ave av road rd boulevard blvd lane ln drive dr court ct place pl terrace ter circle cir way parkway pkwy highway
    hwy square sq trail plaza alley row crossing route rt apartment apt suite ste unit floor fl building bldg room rm box po north south east
    west n s e w ne nw se sw county parish city town village township borough district state province near of the and at in"""
_CALLES = """calle c avenida avda av plaza plza paseo pº camino carretera ctra ronda travesía pasaje glorieta urbanización barrio polígono piso
    puerta portal escalera izquierda derecha izda dcha bajo nº núm número km provincia municipio ciudad pueblo de del la las los el y en"""
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
_ZIP = re.compile(r"\b\d{5}(?:-\d{4})?$")
_STATE = re.compile(r"(?<=, )[A-Z]{2}(?=$|,|\s+\d{5}(?:-\d{4})?$)")


def words_of(value: str, label: str) -> list[str]:
    """Folded words of a place that must not come back: none that says its kind, no number, no single letter."""
    return [fold(token) for token, keep in _tokens(value, label) if not keep and len(token) > 1 and not any(c.isdigit() for c in token)]


def _tokens(value: str, label: str) -> list[tuple[str, bool]]:
    generic = _GENERIC[label]
    marked = [(m[0], m[0].lower() in generic or _STATE.match(value, m.start()) is not None) for m in TOKEN.finditer(value)]
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
    pieces: list[str] = []
    at = 0
    run: list[re.Match[str]] = []

    def flush() -> bool:
        nonlocal at
        if not run:
            return True
        words = [m[0] for m in run]
        new = draw.first("place", " ".join(map(fold, words)), lambda stream: _invented(words, spanish, stream))
        pieces.extend((value[at : run[0].start()], new or ""))
        at = run[-1].end()
        run.clear()
        return new is not None

    for match, (token, keep) in zip(TOKEN.finditer(value), tokens, strict=True):
        numbered = any(c.isdigit() for c in token)
        new_run = bool(run) and value[run[-1].end() : match.start()].strip(" -.") != ""
        if (keep or numbered or new_run) and not flush():
            return None
        if numbered:
            new = zip_code(value[end.start() :]) if end and match.start() >= end.start() else _number(token, draw)
            if new is None:
                return None
            if end and match.start() > end.start():  # the last four of ZIP+4, already said
                new, at = "", match.end()
            else:
                pieces.extend((value[at : match.start()], new))
                at = match.end()
        elif not keep:
            run.append(match)
    if not flush():
        return None
    made = "".join(pieces) + value[at:]
    return made if made != value else None


def _invented(words: list[str], spanish: bool, stream: Stream) -> str:
    first = words[0]
    if len(words) == 1 and first.isupper() and first.isascii() and 1 < len(first) <= 5:  # MGH
        return "".join(stream.one("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in first)
    stems, endings = invented("es" if spanish else "en", "place")
    made = stems[stream.below(len(stems))] + endings[stream.below(len(endings))]
    return made.upper() if all(word.isupper() for word in words) else made.lower() if all(word.islower() for word in words) else made


def _number(token: str, draw: Draw) -> str | None:
    """A number of a house or a door: another of as many digits."""

    def make(stream: Stream) -> str:
        digits = iter(range(len(token)))
        made = ""
        for c in token:
            if c.isdigit():
                made += str(1 + stream.below(9) if next(digits) == 0 else stream.below(10))
            else:
                made += c
        return made

    return next((one for one in draw.candidates("number", fold(token), make) if one != token), None)
