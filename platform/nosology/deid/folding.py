"""A text as ASCII, a byte a character, for scans that know nothing else."""

from __future__ import annotations

import codecs


class _Folding(dict[str, str]):
    """What stands for a character beyond ASCII. Letters keep their case, so that a class or a literal of a pattern matches in the folded
    text whatever it matches in the text, when the pattern is folded too. So do the four that `re` takes for an ASCII letter, case apart."""

    def __missing__(self, letter: str) -> str:
        if letter.isspace():
            kind = " "
        elif letter.isdecimal():
            kind = "0"
        elif letter.isalnum():
            kind = "A" if letter.isupper() else "a"
        else:
            kind = "\x7f"
        self[letter] = kind
        return kind


_FOLDING = _Folding({"İ": "I", "ı": "i", "ſ": "s", "\N{KELVIN SIGN}": "K"})


def _fold(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_FOLDING.__getitem__, error.object[error.start : error.end])), error.end


# blanks to `str` and to `re`, not to Hyperscan
_SEPARATORS = bytes.maketrans(b"\x1c\x1d\x1e\x1f", b"    ")
codecs.register_error("nosology.fold", _fold)


def folded(text: str) -> bytes:
    """The text as ASCII, a byte a character."""
    return text.encode("ascii", "nosology.fold").translate(_SEPARATORS)
