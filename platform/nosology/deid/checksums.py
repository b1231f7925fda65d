"""Check digits of numbers that name somebody: each function gives a code, written without separators and in capitals, the right ones.

A code is valid where its function changes nothing. Recognizers ask that, and surrogates are mended by it.
"""

from __future__ import annotations

DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
VIN_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
VIN_VALUES = dict(zip(VIN_LETTERS, (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
VERHOEFF = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)  # what a digit counts one place farther to the left


def luhn(digits: str) -> bool:
    """Whether digits end in the check digit of ISO/IEC 7812."""
    return with_luhn(digits) == digits


def luhn_digit(digits: str) -> str:
    """The check digit that ISO/IEC 7812 puts behind some digits."""
    doubled = [int(c) * (2 if place % 2 == 0 else 1) for place, c in enumerate(reversed(digits))]
    return str(-sum(n - 9 if n > 9 else n for n in doubled) % 10)


def with_luhn(text: str) -> str:
    """Payment cards and the like: ISO/IEC 7812."""
    return text[:-1] + luhn_digit(text[:-1])


def with_npi(text: str) -> str:
    """National provider identifier: 45 CFR 162.406, ISO/IEC 7812 over 80840 and the number."""
    return text[:-1] + luhn_digit("80840" + text[:-1])


def with_gtin(text: str) -> str:
    """GS1: weights 3 and 1 from the right."""
    return text[:-1] + str(-sum(int(c) * (3 if place % 2 == 0 else 1) for place, c in enumerate(reversed(text[:-1]))) % 10)


def with_loinc(text: str) -> str:
    """LOINC codes, their dash taken out: mod 10, each digit and its double in turn from the right (LOINC Users' Guide, appendix C)."""
    return text[:-1] + luhn_digit(text[:-1])


def with_sctid(text: str) -> str:
    """SNOMED CT identifiers: Verhoeff's scheme over the dihedral group of ten (SNOMED CT Release File Specifications, 6.6)."""
    found, counts = 0, list(VERHOEFF)
    for c in reversed(text[:-1]):
        found = _turned(found, counts[int(c)])
        counts = [VERHOEFF[n] for n in counts]
    return text[:-1] + str(found if found >= 5 else -found % 5)  # its inverse: a reflection is its own


def _turned(one: int, other: int) -> int:
    """The product of two elements of that group; 0 to 4 are turns, 5 to 9 reflections."""
    turn = (one + other) % 5 if one < 5 else (one - other) % 5
    return turn if (one < 5) == (other < 5) else turn + 5


def with_dea(text: str) -> str:
    """DEA registration."""
    d = [int(c) for c in text[2:8]]
    return f"{text[:8]}{(d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10}"


def with_vin(text: str) -> str:
    """Vehicle identification number: 49 CFR 565.15(c)."""
    total = sum(weight * (int(c) if c.isdigit() else VIN_VALUES[c]) for c, weight in zip(text, VIN_WEIGHTS, strict=True))
    return f"{text[:8]}{'0123456789X'[total % 11]}{text[9:]}"


def with_iban(text: str) -> str:
    """ISO 13616."""
    number = int("".join(str(int(c, 36)) for c in f"{text[4:]}{text[:2]}00"))
    return f"{text[:2]}{98 - number % 97:02d}{text[4:]}"


def with_dni(text: str) -> str:
    """Spanish DNI and NIE: the letter is that of the number mod 23; X, Y, Z of a foreigner's number count 0, 1, 2."""
    return text[:-1] + DNI_LETTERS[int(text[:-1].translate(str.maketrans("XYZ", "012"))) % 23]


def with_nuss(text: str) -> str:
    """Spanish social security number of twelve digits: mod 97."""
    return f"{text[:10]}{int(text[:10]) % 97:02d}"
