"""Segments of HL7 v2 and X12 that were pasted into a note: names, record numbers and member numbers by their place.

Sources: HL7 v2.8 chapters 3 (PID, NK1, PV1, MRG), 4 (ORC, OBR) and 6 (GT1, IN1); ASC X12 005010 NM1 (NM102 is 1 for a person, NM108 MI for a member
number and 34 for a social security number). A name between carets that stands in a sentence is left to the names of each language.
"""

from __future__ import annotations

from nosology.deid.patterns import Patterns, Rule, rule

_FIELD = r"(?:[^|\r\n]{0,200}\|)"
# segment -> fields that hold a name, whole with its repetitions
_NAMES = {"PID": (5, 6, 9), "NK1": (2,), "GT1": (3,), "IN1": (16,), "MRG": (7,)}
# those with the number of a person before the name
_NUMBERED_NAMES = {"PV1": (7, 8, 9, 17), "OBR": (16,), "ORC": (10, 11, 12)}


def _in(segment: str, field: int, value: str) -> str:
    return rf"(?<![A-Za-z0-9]){segment}\|{_FIELD}{{{field - 1}}}{value}"


def _rules() -> tuple[Rule, ...]:
    name, number = r"(?P<v>[^\W\d_][^|\r\n]{1,250})", r"(?P<v>[A-Za-z0-9][^|^~&\s]{1,30})"
    return (
        *(rule("NAME", _in(segment, field, name), score=1.0) for segment, fields in _NAMES.items() for field in fields),
        *(
            rule("NAME", _in(segment, field, r"(?:\w{0,20}\^)?(?P<v>[^\W\d_][^|\r\n]{1,250})"), score=1.0)
            for segment, fields in _NUMBERED_NAMES.items()
            for field in fields
        ),
        *(rule("MRN", _in("PID", field, number), score=1.0) for field in (2, 3, 4)),
        rule("NAME", r"(?<![A-Za-z0-9])NM1\*\w{2,3}\*1\*(?P<v>[^*~\r\n]{1,60}(?:\*[^*~\r\n]{0,35}){0,2})", score=1.0),
        rule("BENEFICIARY", r"(?<![A-Za-z0-9])NM1\*[^~\r\n]{4,200}?\*MI\*(?P<v>[\w-]{2,80})", score=1.0),
        rule("SSN", r"(?<![A-Za-z0-9])NM1\*[^~\r\n]{4,200}?\*34\*(?P<v>\d{9})(?!\d)", score=1.0),
    )


class Segments(Patterns):
    """Names and numbers of persons in segments."""

    name = "segments"
    rules = _rules()
