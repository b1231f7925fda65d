"""What a tagger may mark in a Spanish note and no rule names: bare years, lengths of time, doses, eponyms, clinical codes."""

from __future__ import annotations

import re

from nosology.deid.languages.es.lists import MONTH
from nosology.deid.languages.es.names import EPONYMS, ORDINARY, is_eponym
from nosology.records import Span

BARE_YEAR = re.compile(
    r"(?:(?:en|de|del|desde|hasta|el|año|años|en el año|del año|a[nñ]o)\s+)*'?(?:(?:1[89]|20)\d\d|[5-9]0)(?:\s?(?:-|–|a|y|/)\s?(?:(?:1[89]|20)\d\d|\d\d))?",
    re.I,
)
DATE_WORD = re.compile(
    rf"\d|\b(?:{MONTH}|ene|feb|abr|ago|sept?|oct|nov|dic|lunes|martes|mi[ée]rcoles|jueves|viernes|s[áa]bado|domingo|navidad|nochebuena)",
    re.I,
)
DURATION = re.compile(
    r"(?:\w+[ -])?\d+(?:[,.]\d+)?(?:\s?(?:-|a|y|o)\s?\d+)?[ -]?(?:segundos?|minutos?|min|horas?|h|d[ií]as?|semanas?|meses|mes|años?|mg|mcg|µg|g|ml|cc|kg|cm|mm|ui|lpm|rpm|%)\b.*",
    re.I,
)
PLAIN = re.compile(r"\d{1,2}|\d{1,3}(?:[.,/]\d{1,3}){0,2}%?")
CLINICAL_CODE = re.compile(
    r"[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|\d{1,3}(?:[./,]\d{1,3})*|[A-Z]{1,4}\d{0,2}|\d+\s?[a-zµ%]+|[CTLSD]\d{1,2}(?:[-/][CTLSD]?\d{1,2})?|p?T\d\w?N\w?M\w?",
    re.A,
)


def keeps(text: str, span: Span) -> bool:
    """True for a span of a tagger that holds nothing to remove."""
    value = text[span.start : span.end].strip(" .,;:()[]=\"'")
    if not any(c.isalnum() for c in value):
        return True
    words = [w.strip(".,'’:()") for w in value.lower().split()]
    if span.label == "DATE":
        return bool(
            BARE_YEAR.fullmatch(value) or DURATION.fullmatch(value) or PLAIN.fullmatch(value) and "/" not in value
        ) or not DATE_WORD.search(value)
    if span.label == "AGE":
        return not any(c.isdigit() for c in value) and not re.search(r"(?i)años?|meses|d[ií]as|semanas", value)
    if span.label == "NAME":
        return is_eponym(text, span.start, span.end) or all(w in ORDINARY or len(w) < 2 for w in words)
    if span.label in ("LOCATION", "ORGANIZATION"):
        return all(w in ORDINARY or w in EPONYMS or len(w) < 2 for w in words)
    if span.label in ("ID", "PHONE"):
        return not any(c.isdigit() for c in value) or bool(
            BARE_YEAR.fullmatch(value) or DURATION.fullmatch(value) or CLINICAL_CODE.fullmatch(value)
        )
    return False
