"""The word lists of this folder."""

from __future__ import annotations

import functools
from pathlib import Path

from nosology.deid.surrogates.draw import fold


@functools.cache
def sections(file: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Words by the heading before their colon."""
    found: dict[tuple[str, ...], list[str]] = {}
    current: list[str] = []
    for line in (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        head, colon, rest = line.partition(":")
        if colon:
            current = found.setdefault(tuple(head.split()), [])
        current += (rest if colon else line).split()
    return {head: tuple(dict.fromkeys(words)) for head, words in found.items()}


@functools.cache
def known() -> dict[str, tuple[str, str, str]]:
    """Culture, role and usual spelling of a folded name. One of several cultures or roles counts in the first that has it, so that it
    tells the same wherever it stands."""
    found: dict[str, tuple[str, str, str]] = {}
    for (culture, role), names in sections("names.txt").items():
        for name in names:
            found.setdefault(fold(name), (culture, role, name))
    return found


@functools.cache
def marked() -> dict[str, str]:
    """The spelling with its marks of each folded name that the lists have both with and without."""
    names = {name for found in sections("names.txt").values() for name in found}
    plain = {fold(name) for name in names if name.isascii()}
    return {fold(name): name for name in sorted(names) if not name.isascii() and fold(name) in plain}


@functools.cache
def by_initial(culture: str, role: str, initial: str) -> tuple[str, ...]:
    """Names of a culture and role, those with this folded initial alone where there are enough to choose from. Family names tell persons
    apart, so of them there must be more."""
    names = sections("names.txt")[culture, role]
    fitting = tuple(name for name in names if fold(name)[0] == initial.lower())
    return fitting if len(fitting) >= (16 if role == "family" else 4) else names


@functools.cache
def _alike(language: str) -> dict[str, tuple[str, ...]]:
    """All countries by the folded name of each, and all states."""
    lists = [
        tuple(one.replace("_", " ") for one in sections("stems.txt").get((language, "place", kind), ())) for kind in ("states", "countries")
    ]
    return {fold(name): names for names in lists for name in names}


@functools.cache
def _abbreviated(language: str) -> dict[str, tuple[str, ...]]:
    """Abbreviations of countries by each that is as long, and those of states."""
    codes = {kind: sections("stems.txt").get((language, "place", kind), ()) for kind in ("country_codes", "state_codes")}
    found = {name: codes["state_codes"] for name in codes["state_codes"]}
    return found | {name: tuple(one for one in codes["country_codes"] if len(one) == len(name)) for name in codes["country_codes"]}


def abbreviated(language: str, name: str) -> tuple[str, ...]:
    """The abbreviations of countries or of states, where a name in capitals is one of them."""
    return _abbreviated(language).get(name, ())


def alike(language: str, name: str) -> tuple[str, ...]:
    """The countries or the states, where a folded name is one of them."""
    return _alike(language).get(name, ())


@functools.cache
def invented(language: str, kind: str, initial: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Beginnings (with this initial) and endings of invented names (`name`) or places (`place`)."""
    stems = sections("stems.txt")[language, kind, "stems"]
    fitting = tuple(stem for stem in stems if initial is None or stem[0] == initial)
    return fitting or stems, sections("stems.txt")[language, kind, "endings"]
