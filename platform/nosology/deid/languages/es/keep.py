"""What a tagger may mark in a Spanish note and no rule names: bare years, lengths of time, doses, eponyms, clinical codes, plain words."""

from __future__ import annotations

import re

from nosology.deid.calendar_words import HOURS
from nosology.deid.languages.es.dates import HOLIDAY, WEEKDAY
from nosology.deid.languages.es.lists import MONTH, words
from nosology.deid.languages.es.names import EPONYMS, FAMILY, GIVEN, ORDINARY, is_eponym, shows_person
from nosology.deid.quantities import QUANTITY
from nosology.records import Span

COMMON = words("common_words.txt")
PLACES = words("places.txt") | words("countries.txt")
BARE_YEAR = re.compile(
    r"(?:(?:en|de|del|desde|hasta|el|año|años|en el año|del año|a[nñ]o)\s+)*'?(?:(?:1[89]|20)\d\d|[5-9]0)(?:\s?(?:-|–|a|y|/)\s?(?:(?:1[89]|20)\d\d|\d\d))?",
    re.I,
)
DATE_WORD = re.compile(
    rf"\d|\b(?:{MONTH}|ene|feb|abr|ago|sept?|oct|nov|dic|lunes|martes|mi[ée]rcoles|jueves|viernes|s[áa]bado|domingo|navidad|nochebuena)",
    re.I,
)
DURATION = re.compile(
    r"(?:\w+[ -])?\d+(?:[,.]\d+)?(?:\s?(?:-|a|y|o)\s?\d+)?[ -]?(?:segundos?|minutos?|min|horas?|h|d[ií]as?|semanas?|meses|mes|años?|mg|mcg|µg|g|ml|cc|kg|cm|mm|ui|lpm|rpm|%)(?!\w)(?:[ -](?-i:[a-záéíóúñü]+)\.?){0,5}",
    re.I,
)
NAMED_DAY = re.compile(rf"\b(?:{MONTH}|{WEEKDAY}|{HOLIDAY})(?!\w)", re.I)
NO_DATE = re.compile(
    rf"{HOURS}|"
    r"/?\d{1,3}/?|\d{1,2}:\d\d|(?:ciclo|semana|fase|grado|dosis|nivel)s?\s\d+|\d{1,3}(?:[.,]\d{1,3}){0,2}%?|(?:3[2-9]|[4-9]\d|\d{3})/\d+|\d+/(?:3[2-9]|[4-9]\d|\d{3})",
    re.I,
)
CLINICAL_CODE = re.compile(
    r"[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|(?!(?:\D?\d){8})\d{1,3}(?:[./,]\d{1,3})*|[A-Z]{1,4}\d{0,2}"
    rf"|{QUANTITY}"
    r"|[CTLSD]\d{1,2}(?:[-/][CTLSD]?\d{1,2})?|p?T\d\w?N\w?M\w?",
    re.A,
)
# before the length of something that is no age
LASTING = re.compile(
    r"\b(?:tratamiento|pauta|ciclos?|reposo|seguimiento|evoluci[óo]n|duraci[óo]n|ingreso|estancia|control|revisi[óo]n)\s(?:de|a los|en|durante)\s(?:unos?\s|unas\s)?$"
    r"|\b(?:durante|cada|en|desde hace|hace|dentro de)\s(?:unos\s|unas\s|los siguientes\s|las siguientes\s)?$",
    re.I,
)
# a score out of a total, right behind its name, or behind the side or limb that it is of
SCORE = re.compile(r"(\d{1,2})/(\d{1,2})")
TOTALS = frozenset([3, 4, 5, 10, 15, 20, 30])
SCORED = re.compile(
    r"\b(?:dolor|eva|fuerza|balance muscular|bm|reflejos|rot|glasgow|gcs|apgar|norton|barthel|daniels|mrc|mmse|minimental|braden|bishop|silverman|gleason"
    r"|(?:agudeza visual|av)|(?:escala|test|puntuaci[óo]n)(?: (?:de|del))?(?: [^\W\d_]{2,15}){0,2})"
    r"(?:[ :=,]{1,3}(?:(?:de|del|es|en|y|a|muscular|motora?|proximal|distal|der(?:ech[oa])?|dcho|izq(?:uierd[oa])?|brazos?|piernas?|manos?|hombros?"
    r"|mmss|mmii|ms[di]|mi[di]|od|oi|ao|bilateral(?:es)?|conservad[oa]s?|rotulian[oa]s?|aqu[íi]le[oa]s?)\b|\d{1,2}/\d{1,2})){0,6}[ :=]{0,3}$",
    re.I,
)
SEX = re.compile(
    r"(?i)var[óo]n|mujer|hombre|niñ|nena|masculin|femenin|hembra|macho|se[ñn]ora?|ancian|joven|chic[oa]|\b[hmfv]\b|reci[ée]n|lactante|muchach"
)
KIN = re.compile(
    r"(?i)madre|padre|mam[áa]|pap[áa]|progenitor|hij[oa]|herman|espos|marido|mujer|c[óo]nyuge|abuel|t[íi][oa]s?\b|prim[oa]s?\b|sobrin|niet|cu[ñn]ad|suegr|nuera|yerno|pareja"
    r"|novi[oa]|familia|matern|patern|viud|gemel|mell|tutor|cuidador|casad|solter|padrastro|madrastra"
)


def _duration(value: str) -> bool:
    """A length of time or a measure, without the name of a month or a day in it."""
    return bool(DURATION.fullmatch(value)) and not NAMED_DAY.search(value)


def _marked_year(value: str) -> bool:
    """A year alone behind a word that is no part of a date."""
    return re.fullmatch(r"[^\W\d_]{2,20} (?:de |del )?(?:19|20)\d\d", value) is not None and not NAMED_DAY.search(value)


def _score(text: str, at: int, value: str) -> bool:
    """A score out of a total, which no day and month can be, or behind its name."""
    if not (found := SCORE.fullmatch(value)):
        return False
    of, total = int(found[1]), int(found[2])
    return of > 12 and total > 12 or of <= total and total in TOTALS and SCORED.search(text, max(0, at - 90), at) is not None


def _plain(value: str) -> bool:
    """Every word of it is one that notes write small, a short number or a letter, and none stands in a list of names or places."""
    found = [w.lower() for w in re.findall(r"\w+", value)]
    if value.lower() in PLACES:
        return False
    return all(
        (w in COMMON or w in ORDINARY or w in EPONYMS) and w not in GIVEN and w not in FAMILY or len(w) < 3 or w.isdigit() and len(w) < 5
        for w in found
    )


def _small(text: str, span: Span) -> bool:
    """No capital in it, in a passage that uses capitals."""
    return not any(c.isupper() for c in text[span.start : span.end]) and any(
        c.isupper() for c in text[max(0, span.start - 200) : span.end + 200]
    )


def _borne(value: str) -> bool:
    """A given name of the list in it, or two family names, that notes do not write small as words: a name that lost its capitals."""
    found = [w for w in re.findall(r"[^\W\d_]+", value.lower()) if w not in COMMON and w not in ORDINARY]
    return any(w in GIVEN for w in found) or sum(w in FAMILY for w in found) > 1


def keeps(text: str, span: Span) -> bool:
    """True for a span of a tagger that holds nothing to remove."""
    value = text[span.start : span.end].strip(" .,;:()[]=\"'¿?¡!")
    if not any(c.isalnum() for c in value):
        return True
    at = text.index(value, span.start)
    if span.label == "DATE":
        return (
            _duration(value)
            or _marked_year(value)
            or _score(text, at, value)
            or bool(NO_DATE.fullmatch(value))
            or not DATE_WORD.search(value)
        )
    if span.label == "AGE":
        if (
            re.search(r"(?i)gestaci[óo]n|embarazo|amenorrea|prematuro|edad gestacional", text[max(0, span.start - 25) : span.end + 20])
            and "semana" in value.lower()
        ):
            return True
        if value.lower() in ("año", "años", "mes", "meses", "semana", "semanas", "día", "días"):
            return True  # the unit alone
        if LASTING.search(text, max(0, at - 30), at):
            return True
        number = re.search(r"\d+", value)
        return int(number[0]) > 120 if number else not re.search(r"(?i)años?|mes|d[ií]as|semanas|lactante|adolescente|nacid|neonato", value)
    if span.label == "SEX":
        return not SEX.search(value)
    if span.label == "RELATIVE":
        return not KIN.search(value) and (_plain(value) or _small(text, span))
    if span.label == "NAME":
        if shows_person(text, at, at + len(value)):
            return False
        return is_eponym(text, span.start, span.end) or _plain(value) or (_small(text, span) and not _borne(value))
    if span.label in ("LOCATION", "ORGANIZATION"):
        return _plain(value) or _small(text, span) and not re.search(r"\d", value)
    if span.label in ("ID", "PHONE"):
        if re.search(r"\s@|@\s|@$|^\d{1,3}@", value) and not re.search(r"\w\.\w{2,}|^@", value):
            return True  # `2 l @ 40 ml/h`: no address without a domain
        return not any(c.isdigit() for c in value) or bool(BARE_YEAR.fullmatch(value) or _duration(value) or CLINICAL_CODE.fullmatch(value))
    return False
