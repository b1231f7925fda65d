"""ZIP codes under 45 CFR 164.514(b)(2)(i)(B): the first three digits, or 000 where the area holds 20,000 people or fewer.

The rule asks for "the current publicly available data from the Bureau of the Census". Two lists, and their union, which is the default:

2000   the 17 areas that HHS names in its Guidance Regarding Methods for De-identification of Protected Health Information (26 November 2012,
       section "When can ZIP codes be included in de-identified information?"), from the Census of 2000.
2020   the sum of the population of all ZIP code tabulation areas (ZCTA) with the same three digits, in the Census of 2020: Demographic and
       Housing Characteristics File, table P1 (data.census.gov, DECENNIALDHC2020.P1, by 5-digit ZCTA), 33,774 areas with 334,726,586 people
       in the states, the District of Columbia and Puerto Rico. 18 groups hold 20,000 people or fewer, the largest of them 369 with 17,596;
       the smallest above is 576 with 20,310. The Census of 2010 (Gazetteer file of ZCTAs, 33,120 areas, 312,462,997 people) gives the
       same 18. Three digits with which no area begins (military and business addresses, unused ones) hold nobody, and become 000 too.

The rule and its lists speak of codes of the United States. Of another country's nothing stays: the first two digits of a Spanish code are
its province, the third is often a single town, and no list says how few people live there. Which country's they are, the language tells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from nosology.deid.languages import language
from nosology.deid.spelling import fold

if TYPE_CHECKING:
    from nosology.config import DeidConfig

ZipList = Literal[2000, 2020, "union"]

_OF_2000 = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
_OF_2020 = "036 059 102 202 203 204 205 369 556 692 753 772 821 823 878 879 884 893"
_WITHOUT_PEOPLE = """000 001 002 003 004 005 008 055 090 091 092 093 094 095 096 097 098 099 192 213 269 311 332 340 343 345 348 353 375 399 419 428
    429 459 509 517 518 519 529 533 536 552 555 568 569 578 579 589 621 632 642 643 649 659 663 682 694 695 696 697 698 699 702 709 715 732
    733 742 771 817 818 819 839 842 848 849 854 858 861 862 866 867 868 869 872 876 885 886 887 888 889 892 896 899 901 909 929 938 942 962
    963 964 965 966 969 987"""
SMALL_AREAS: dict[ZipList, frozenset[str]] = {
    2000: frozenset(_OF_2000.split()),
    2020: frozenset(f"{_OF_2020} {_WITHOUT_PEOPLE}".split()),
    "union": frozenset(f"{_OF_2000} {_OF_2020} {_WITHOUT_PEOPLE}".split()),
}


def zip3(value: str | None, which: ZipList = "union") -> str | None:
    """The three digits that may stay, in ASCII; None for what is no US ZIP code (5 or 9 digits, or 3 that an earlier pass left).

    Args:
        which: `deid.zip_list`.
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d{3})(?:\d{2}(?:[- ]?\d{4})?)?", fold(value.strip()), re.A)  # the lists are of ASCII digits
    if match is None:
        return None
    return "000" if match[1] in SMALL_AREAS[which] else match[1]


def postal_code(value: str | None, config: DeidConfig) -> str | None:
    """What may stay of a postal code in a note or a table of `deid.language`: three digits of a ZIP code, nothing of any other."""
    return zip3(value, config.zip_list) if language(config.language).keeps_zip else None
