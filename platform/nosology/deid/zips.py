"""ZIP codes under 45 CFR 164.514(b)(2)(i)(B): the first three digits, or 000 where the area holds 20,000 people or fewer."""

from __future__ import annotations

import re

# HHS guidance on de-identification (26 November 2012), from the Census of 2000: 17 areas. The rest fell to 20,000 or fewer in the
# ZCTA tables of 2010. The union is the careful reading of "currently publicly available data".
SMALL_AREAS = frozenset(
    [
        "036",
        "059",
        "063",
        "102",
        "203",
        "556",
        "692",
        "790",
        "821",
        "823",
        "830",
        "831",
        "878",
        "879",
        "884",
        "890",
        "893",
        "205",
        "369",
        "753",
        "772",
    ]
)


def zip3(value: str | None) -> str | None:
    """The three digits that may stay; None for what is no US ZIP code (5 or 9 digits, or 3 that an earlier pass left)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{3})(?:\d{2}(?:[- ]?\d{4})?)?", value.strip())
    if match is None:
        return None
    return "000" if match[1] in SMALL_AREAS else match[1]
