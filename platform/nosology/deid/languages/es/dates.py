"""Dates in Spanish notes; the bare year stays (45 CFR 164.514(b)(2)(i)(C))."""

from __future__ import annotations

import re

from nosology.deid.languages.es.lists import MONTH
from nosology.deid.patterns import Patterns, rule

SHORT = r"(?:ene|feb|mar|abr|may|jun|jul|ago|sept?|set|oct|nov|dic)"
YEAR = r"(?:(?:19|20)\d\d|\d\d)"
OF_YEAR = rf"(?:\s{{0,8}},?\s{{0,8}}(?:de(?:l)?(?:\s{{1,8}}(?:año|a[nñ]o))?\s{{1,8}}|[-/.]\s?)?{YEAR}(?!\d|\s?[%º°]|[.,]\d))"
DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:\.?[ºo°])?"
WEEKDAY = r"(?:lunes|martes|mi[ée]rcoles|jueves|viernes|s[áa]bado|domingo)"
# fiestas of Spain (artículo 37.2 del Estatuto de los Trabajadores; Real Decreto 2001/1983, 45) and of Latin America
_FEAST = r"(?:[Dd][ií]as?|[Nn]oche|[Vv][ií]spera|[Ff]iestas?|[Ff]estividad|[Ff]estivo|[Pp]uente|[Vv]erbena|[Ff]eria)"
HOLIDAY = (
    rf"(?:(?:{_FEAST}[ ]de[ ])?(?:Navidad(?:es)?|NAVIDAD|Nochebuena|Nochevieja|A[ñn]o[ ]Nuevo|Semana[ ]Santa|(?:Todos[ ]los|los)[ ](?:Santos|Fieles[ ]Difuntos)|Carnaval(?:es)?|Corpus[ ]Christi|Pentecost[ée]s|Ramad[áa]n|Yom[ ]Kipp?ur)"
    rf"|{_FEAST}[ ](?:de[ ])?(?:la[ ]|los[ ]|las[ ]|el[ ])?(?:Reyes(?:[ ]Magos)?|Epifan[ií]a|Inocentes|San[ ](?:Juan|Jos[ée]|Isidro|Valent[ií]n|Ferm[ií]n)|Sant[ ]Jordi|Inmaculada|Constituci[óo]n|Hispanidad|Raza|Pilar|Asunci[óo]n|(?:[Mm]adre|[Pp]adre|[Tt]rabajo|[Tt]rabajador|[Nn]iño)\b|Muertos|Independencia|Patrias|Patronales|Trabajo)"
    rf"|{_FEAST}[ ]del[ ](?:Pilar|[Pp]adre|[Tt]rabajo|[Tt]rabajador|[Nn]iño)|(?:Jueves|Viernes|S[áa]bado|Lunes|Martes|Mi[ée]rcoles|Domingo)[ ](?:Santo|de[ ](?:Ramos|Resurrecci[óo]n|Pascua|Ceniza|Carnaval))"
    r"|(?:[Ff]in|[Ff]inal)[ ]de[ ]A[ñn]o|[Ff]iestas[ ](?:[Pp]atrias|[Pp]atronales|[Nn]avideñas)|Sanfermines|[Ll]as[ ]Posadas|Reyes[ ]Magos|Primero[ ]de[ ]Mayo|Hanuk[aá]h?)"
)


def _numeric(match: re.Match[str]) -> bool:
    """A day and a month in either order; with full stops a version or a section number is likelier, so both need two digits."""
    first, second = int(match["a"]), int(match["b"])
    if match["s"] == "." and (len(match["a"]) < 2 or len(match["b"]) < 2):
        return len(match["y"]) == 4 and 1 <= first <= 31 and 1 <= second <= 12
    return 1 <= first <= 31 and 1 <= second <= 31 and min(first, second) <= 12


class Dates(Patterns):
    """Numeric dates, days and months in words, months with a year, weekdays with a day."""

    name = "dates_es"
    rules = (
        rule(
            "DATE",
            r"(?<![\d/.,-])(?P<a>\d{1,2})\s?(?P<s>[/.-])\s?(?P<b>\d{1,2})\s?(?P=s){1,2}\s?(?P<y>\d{4}|\d\d)(?![\d/]|[.,-]\d)",
            check=_numeric,
            score=1.0,
        ),
        rule("DATE", r"(?<![\d/.-])(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?!\d)", score=1.0),
        rule(
            "DATE",
            rf"(?<![\d/.,-])(?:{WEEKDAY}\s{{0,8}},?\s{{1,8}})?(?:d[ií]a\s{{1,8}})?(?:{DAY}|primero|uno)\s{{0,8}}(?:de\s{{1,8}}|[-/.]\s?|\s){MONTH}\b{OF_YEAR}?",
            flags=re.I,
            score=1.0,
        ),
        rule("DATE", r"(?<![\w/.,-])(?:0?[1-9]|[12]\d|3[01])([-/.])(?:XI{0,2}|IX|IV|V?I{1,3}|V)\1(?:19|20)\d\d(?!\w)", flags=re.I, score=1.0),
        rule("DATE", rf"(?<![\w/.,-])(?:0?[1-9]|[12]\d|3[01])(?:{SHORT}|jan|apr|aug|dec)(?:19|20)\d\d(?!\w)", flags=re.I, score=1.0),
        rule(
            "DATE",
            rf"(?<![\d/.,-])(?:{DAY},\s{{1,4}}){{0,5}}{DAY}\s{{0,8}}(?:,|y|e|al|a|-|hasta el|y el|y del)\s{{0,8}}(?:d[ií]a\s{{1,8}})?{DAY}\s{{1,8}}de\s{{1,8}}{MONTH}\b{OF_YEAR}?",
            flags=re.I,
            score=1.0,
        ),
        rule("DATE", rf"(?<![\d/.,-]){DAY}(?:\s{{0,8}}de\s{{0,8}}|[-/. ]){SHORT}\.?(?:\s{{0,8}}del?\s{{0,8}}|[-/. ]){YEAR}(?!\d)", flags=re.I, score=1.0),
        rule("DATE", rf"\b{MONTH}\s{{1,8}}{DAY}\s{{0,8}},\s{{0,8}}(?:19|20)\d\d\b", flags=re.I, score=1.0),
        rule("DATE", rf"\b{SHORT}\.?\s{{1,8}}{DAY},\s{{0,8}}(?:19|20)\d\d\b", flags=re.I, score=1.0),
        rule("DATE", rf"\b(?:(?:{MONTH}\s{{0,8}}(?:-|/|y|a)\s{{0,8}})?{MONTH}){OF_YEAR}", flags=re.I, score=1.0),
        rule("DATE", rf"\b{SHORT}\.?[-/’'](?:19|20)?\d\d\b", flags=re.I),
        rule("DATE", r"(?<![\d/.,-])(?:0?[1-9]|1[0-2])\s?/\s?(?:19|20)\d\d(?![\d/])", score=0.95),
        rule("DATE", rf"(?:\b(?:en|desde|hasta|de|el|pasado|finales de|principios de|mediados de)\s{{1,8}})(?P<v>(?:mes\s{{1,8}}de\s{{1,8}})?{MONTH})\b", flags=re.I),
        rule("DATE", rf"\b(?P<v>(?:pasado\s{{1,8}}|pr[óo]ximo\s{{1,8}})?{WEEKDAY}\s{{0,8}},?\s{{1,8}}(?:d[ií]a\s{{1,8}})?{DAY})(?!\d|[/.,:]\d|\s?(?:mg|ml|h\b|horas|veces|comp|d[ií]as))", flags=re.I),
        rule("DATE", rf"\b(?:el|del|al|d[ií]a|fecha:?|con fecha)\s{{1,8}}(?P<v>{DAY}[/-](?:0[1-9]|1[0-2]))(?![\d/-])", flags=re.I),
        rule(
            "DATE",
            r"\b(?:el|del|al)\s+(?P<v>d[ií]a\s+(?:[1-9]|[12]\d|3[01]))"
            r"(?!\d|[.,/]\d|\s?(?:de(?:l)?\s+(?:ingreso|vida|evoluci|tratam|post|ciclo)|\s?post|\+))",
            flags=re.I,
        ),
        rule("DATE", rf"\b(?:el|del|al)\s+(?P<v>(?:pasado\s+|pr[óo]ximo\s+)?{WEEKDAY}(?:\s+santo|\s+pasado|\s+pr[óo]ximo)?)\b", flags=re.I, score=0.7),
        rule("DATE", rf"\b{MONTH}\s{{1,8}}(?:pasado|pr[óo]ximo)\b", flags=re.I),
        rule("DATE", rf"(?<![\d/.,-]){DAY}\s{{1,8}}(?:de\s{{1,8}})?{SHORT}\b(?![\w.]?\w)", check=lambda m: not m[0].endswith(("mar", "set")) or "(" in m.string[max(0, m.start() - 1) : m.start()]),
        rule(
            "DATE",
            r"(?<![\d/.,-])(?:1[3-9]|2\d|3[01])/(?:0[1-9]|1[0-2])(?![\d/]|[.,]\d|\s?(?:mm|mg|%))",
            check=lambda m: not m[0].startswith("20/1") and not re.search(r"(?i)(?:AV|visual|OD|OI|TA)\W{0,4}(?:de\s)?$", m.string[max(0, m.start() - 12) : m.start()]),
            score=0.7,
        ),
        rule(
            "DATE",
            r"\b(?:termin\w+|extubad[oa]|intubad[oa]|ingres\w+|alta|operad[oa]|retirad[oa]|d[ií]as,|semanas?,|visto|vista|control)\s+(?P<v>el\s+(?:[1-9]|[12]\d|3[01]))(?=[.,;)](?!\d|[IVX]{1,4}\.))",
            flags=re.I,
            score=0.7,
        ),
        rule("DATE", rf"(?<![\w-]){HOLIDAY}(?![\w-])(?:\s+de(?:l)?\s+(?:19|20)\d\d\b)?", score=1.0),
    )  # fmt: skip
