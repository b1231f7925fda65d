"""Geocodes: places of the earth by numbers or words (45 CFR 164.514(b)(2)(i)(B): "and their equivalent geocodes").

Decimal degrees and degrees, minutes, seconds (ISO 6709, its annex D for what people write); Open Location Code (plus codes) by its
alphabet; three words behind `///`.
"""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

BETWEEN = r"\s{0,2}[,;/ ]\s{0,2}"
LONG = r"\W{1,4}(?:and |y )?lon(?:g(?:itude?|itud|\.)?|\.)?\W{0,4}"
ARC = r"(?:\.\d{1,9})?\s?°\s?(?:\d{1,2}(?:\.\d{1,6})?\s?['′’]\s?(?:\d{1,2}(?:\.\d{1,4})?\s?(?:[\"″”]|''))?)?\s?"  # behind whole degrees
LATITUDE, LONGITUDE = r"[-+]?\d{1,2}\.\d{LEAST,9}", r"[-+]?1?\d{1,2}\.\d{LEAST,9}"
CUE = r"\b(?:gps|geo[- ]?(?:code|location|tag)|coord(?:inate)?s?|coordenadas|location pin|ubicaci[óo]n|map pin)\W{1,4}"
PLUS = "23456789CFGHJMPQRVWX"


def _pair(least: int, between: str) -> str:
    return LATITUDE.replace("LEAST", str(least)) + between + LONGITUDE.replace("LEAST", str(least))


def _on_earth(match: re.Match[str]) -> bool:
    latitude, longitude = re.findall(r"[-+]?\d+\.\d+", match[0])[-2:]
    return abs(float(latitude)) <= 90 and abs(float(longitude)) <= 180


def _far(match: re.Match[str]) -> bool:
    """Two small numbers without a sign are rather laboratory values."""
    return _on_earth(match) and any(one[0] in "-+" or float(one) >= 20 for one in re.findall(r"[-+]?\d+\.\d+", match[0]))


class Coordinates(Patterns):
    """Pairs of coordinates, plus codes, three words."""

    name = "coordinates"
    rules = (
        # four decimals each: fewer are laboratory values too
        rule("LOCATION", rf"(?<![\w.,/+-]){_pair(4, BETWEEN)}(?![\w.]|,\d)", check=_far, score=0.9),
        rule("LOCATION", rf"{CUE}(?P<v>{_pair(1, BETWEEN)})(?![\w.])", check=_on_earth, flags=re.I, score=1.0),
        rule(
            "LOCATION",
            rf"\blat(?:itude?|itud|\.)?\W{{0,4}}(?P<v>{_pair(1, LONG)})(?![\w.])(?!\s?[cm]?m\b)",
            flags=re.I,
            score=1.0,
        ),
        rule(
            "LOCATION",
            rf"(?<![\w.])\d{{1,2}}{ARC}[NS]\s{{0,2}}[,;/]?\s{{0,2}}\d{{1,3}}{ARC}[EWO](?!\w)",
            score=1.0,
        ),
        rule("LOCATION", rf"(?<![\w+])[{PLUS}]{{8}}\+[{PLUS}]{{2,4}}(?![\w+])", score=0.9),
        rule("LOCATION", r"(?<![\w/])///[^\W\d_]{3,20}\.[^\W\d_]{3,20}\.[^\W\d_]{3,20}(?![\w.])", score=1.0),
    )
