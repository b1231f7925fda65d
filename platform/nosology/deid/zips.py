"""ZIP codes under 45 CFR 164.514(b)(2)(i)(B): the first three digits, or 000 where the area holds 20,000 people or fewer."""

from __future__ import annotations

import re

# The union of two tables is the careful reading of "currently publicly available data": the 17 areas that HHS names in its guidance
# on de-identification (26 November 2012), from the Census of 2000, and those of 20,000 or fewer in the ZCTA populations of 2010.
_OF_2000 = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
_OF_2010 = "036 059 102 202 203 204 205 369 556 692 753 772 821 823 878 879 884 893"
SMALL_AREAS = frozenset(f"{_OF_2000} {_OF_2010}".split())


def zip3(value: str | None) -> str | None:
    """The three digits that may stay; None for what is no US ZIP code (5 or 9 digits, or 3 that an earlier pass left)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{3})(?:\d{2}(?:[- ]?\d{4})?)?", value.strip())
    if match is None:
        return None
    return "000" if match[1] in SMALL_AREAS else match[1]
