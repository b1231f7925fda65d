"""Words beside and within names, English and Spanish: titles of address, degrees behind a name, particles. One list of each for rules, for known
names and for surrogates.

Sources: Chicago Manual of Style 17, 10.15-10.24; AMA Manual of Style 11, 2.2; Ortografía de la lengua española (RAE 2010), appendix 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ADDRESS = "mr mrs ms miss mx sr sra srta señor señora señorita doña dña"  # of anybody: they hardly stand without a name
_OFFICE = "dr drs dra prof professor doctor doctora nurse rev reverend sir sgt lt capt col hon rabbi pastor imam sister uncle aunt"
ADDRESS = frozenset(_ADDRESS.split())
# before a name in a sentence, in small letters and without its point
TITLES = ADDRESS | frozenset(_OFFICE.split())
# before a name in a field alone: in a sentence `Fr` is the size of a catheter, and Maj a name
FIELD_TITLES = TITLES | {"fr", "maj", "dona", "dna", "senor", "senora", "senorita"}
SPANISH_TITLES = frozenset(["don"])  # in English a given name

# as they are printed; the points may be missing
_DEGREES = """M.D. D.O. R.N. N.P. P.A.-C. P.A. D.P.M. Ph.D. D.D.S. D.M.D. L.C.S.W. A.P.R.N. F.N.P. C.R.N.A. O.T. O.T.R. P.T. D.P.T. Pharm.D. M.B.B.S.
    D.N.P. M.P.H. M.B.A. M.S.N. B.S.N. FACS FACC LPN CNM CNP RPh O.D. Esq"""
DEGREES = tuple(_DEGREES.split())
GENERATIONS = frozenset(["jr", "sr", "ii", "iii", "iv"])
# behind a name, in small letters without points
SUFFIXES = frozenset(re.sub(r"\W", "", degree).lower() for degree in DEGREES) | GENERATIONS | {"ms"}

# the last three say a Vietnamese's sex
_PARTICLES = (
    """de la las los del della di da das do dos du van der den von zu zur bin bint ibn al el ter ten y e af av le lo st thị thi văn"""
)
PARTICLES = frozenset(_PARTICLES.split())


def is_title(word: str, language: str) -> bool:
    """Whether a word, in small letters and without its point, is a title where another word follows in the field of a name."""
    return word in FIELD_TITLES or language == "es" and word in SPANISH_TITLES


def is_suffix(word: str, name: str) -> bool:
    """Whether the last word of a name is a degree or a generation, as they are written: M.D., PhD, Jr; `Do` is a family name. Where the case of
    the whole name tells nothing, all but that count."""
    plain = re.sub(r"\W", "", word)
    if plain.lower() not in SUFFIXES:
        return False
    if name.isupper() or name.islower():
        return plain.lower() != "do"
    return plain.lower() in ("jr", "sr", "esq") or sum(c.isupper() for c in plain) > 1


def alternation(words: Iterable[str]) -> str:
    """A pattern of any of the words; of those that begin alike the longer is tried first."""
    return "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")"


# a degree as text has it, with or without its points
CREDENTIAL = alternation(degree.replace(".", r"\.?") for degree in DEGREES)
