"""Age, sex, relatives and profession of the patient: what the MEDDOCAN guideline (2019, 28 pages) names beside Safe Harbor."""

from __future__ import annotations

import re

from nosology.deid.languages.es.lists import listed
from nosology.deid.patterns import Patterns, rule

ONES = r"(?:un|uno|una|dos|tres|cuatro|cinco|seis|siete|ocho|nueve)"
NUMBER_WORD = rf"(?:cien(?:to(?:[ ](?:{ONES}|diez|once|doce))?)?|diez|once|doce|trece|catorce|quince|diecis[ée]is|diecisiete|dieciocho|diecinueve|veinte|veinti\w{{2,8}}|(?:treinta|cuarenta|cincuenta|sesenta|setenta|ochenta|noventa)(?:[ ]y[ ]{ONES})?|{ONES})"
UNIT = r"(?:años|año|a[ñn]itos|anos|meses|mes|semanas|d[ií]as|horas)"
AMOUNT = rf"(?:\d{{1,3}}(?:[,.]\d)?|{NUMBER_WORD})"
AGE = rf"{AMOUNT}[ ]*(?:{UNIT})(?:[ ]y[ ](?:medio|media|{AMOUNT}[ ](?:meses|d[ií]as|mes)))?(?![\w])"
SUBJECT = r"(?:var[óo]n|mujer|hombre|niñ[oa]|ninos?|paciente|lactante|ancian[oa]|señora?|chic[oa]|joven|adolescente|escolar|reci[ée]n nacid[oa]|neonato|rn|masculino|femenin[oa]|hij[oa]|madre|padre|herman[oa]s?|bebé|preescolar|enferm[oa]|gestante|prim[oa]s?|t[ií][oa]|abuel[oa]|espos[oa]|marido|pareja|caucásic[oa]|raza \w+|sexo \w+|usuari[oa]|trabajador[a]?|mayor|menor|gemel[oa]|nacid[oa]|diabétic[oa]|fumador[a]?|hipertens[oa]|multípara|primigesta|nulípara|embarazada|residente)"
# what follows a length of time that is no age
LASTING = r"(?!\s*(?:de\s+(?:evoluci|tratam|segui|duraci|antig|matrim|histor|supervi|diagn|inicio|reposo|ingreso|estancia|terapia|consumo|h[áa]bito|embarazo|gestaci|diferencia|latencia|experiencia)\w*|atr[áa]s|antes|despu[ée]s|previos?|m[áa]s tarde|post|con\s+(?:buena|mala))|-)"
RELATIVE = r"(?:madres?|padres?|progenitor[a]?(?:es)?|hij[oa]s?|herman[oa]s?|hermanastr[oa]s?|espos[oa]|marido|c[óo]nyuge|abuel[oa]s?|bisabuel[oa]s?|t[ií][oa]s?[ ](?:matern|patern)[oa]s?|sobrin[oa]s?|niet[oa]s?|cu[ñn]ad[oa]s?|suegr[oa]s?|nuera|yerno|mamá|papá|hijastr[oa]|exmarido|ex-marido|exmujer|viud[oa] de|madrastra|padrastro)"

BIRTH_YEAR = r"(?P<v>(?:18|19)\d\d)\b(?![-/.]\d|\s?(?:g|gr|gramos|h|horas)\b)"


JOB = "|".join(re.escape(job) for job in listed("occupations.txt"))
# a length of time follows these, no age
PERIOD = re.compile(
    r"(?i)per[ií]odo|mayores|menores|pacientes|poblaci[óo]n|plazo|seguimiento|m[áa]s|menos|evoluci[óo]n|historia|antig[üu]edad|duraci[óo]n|\w*fumadora?|cerca|supervivencia|intervalo|tiempo"
    r"|esperanza|cabo|final|partir|tratamiento|remisi[óo]n|control|revisi[óo]n|experiencia|consumo|matrimonio|estancia|condena|tras|media|riesgo|sistema|dosis|paquetes"
)


def _no_period(match: re.Match[str]) -> bool:
    return not PERIOD.fullmatch(match["w"])


def _no_stem(match: re.Match[str]) -> bool:
    """Not stem cells ("células madre"), not a street (Hermanos Falcó)."""
    before = match.string[max(0, match.start() - 12) : match.start()].lower()
    after = match.string[match.end() : match.end() + 3]
    return not re.search(r"(?:c[ée]lulas?|cuerpos?|lengua|dura|placa)\s+$", before) and not (
        match[0][0].isupper() and re.match(r"s? [A-ZÁÉÍÓÚ]", match[0][-1:] + after) is not None and match[0].lower().startswith("herman")
    )


_THING = re.compile(
    r"(?:edificio|hospital|[áa]rbol|olivo|casa|casona|iglesia|escuela|fundaci[óo]n|empresa|tradici[óo]n|instituci[óo]n|puente|club|el|primer|segundo|tercer)\s+$",
    re.I,
)


def _no_thing(match: re.Match[str]) -> bool:
    """A person of a hundred years, not a building or the year of a feast."""
    return not _THING.search(match.string, max(0, match.start() - 16), match.start()) or match[0][:4].lower() == "nona"


class Subjects(Patterns):
    """Ages that are no lengths of time, words for the patient's sex, relatives, professions behind their field."""

    name = "subjects_es"
    rules = (
        rule("AGE", rf"\b{SUBJECT}(?:\s+\w+){{0,3}}?,?\s+(?:de|con|tiene|cuenta con|y)\s+(?:unos\s+|casi\s+)?(?P<v>{AGE}){LASTING}", flags=re.I, score=0.9),
        rule("AGE", r"(?<!mayores )(?<!menores )\bde\s+(?P<v>\d{1,3}(?:[,.]\d)?\s?(?:años|año|a[ñn]os)(?:\s+y\s+(?:medio|\d+\s+meses))?)(?=,|\s+(?:de\s+edad|con\b|que\b|sin\b|y\s+sexo|natural|procedente|diagnosticad|remitid|ingresad|derivad|sometid|intervenid|afect|fumador|hipertens|diab|al[ée]rgic|portador))", flags=re.I, score=0.9),
        rule("AGE", rf"\b(?P<v>{AGE})\s+de\s+(?:edad|vida)\b", flags=re.I, score=0.95),
        rule("AGE", rf"\bedad\b(?:\s+(?:del?\s+(?:la\s+)?paciente|actual|cronol[óo]gica))?\s*(?::|=|-|de|es de)?\s*(?P<v>{AGE}|\d{{1,3}}(?:[,.]\d)?(?:\s?(?:a\b\.?|m\b\.?|d\b))?)(?!\s?[%/\d])", flags=re.I, score=0.95),
        rule("AGE", rf"\btiene\s+(?P<v>\d{{1,3}}\s+años)\b{LASTING}", flags=re.I, score=0.8),
        rule("AGE", r"\bedad[\"'’]?\s{0,3}(?:\((?:en\s)?(?:años|a)\)|\(?a[ñn]os\)?)?[\"'’]?\s{0,3}[:=|>]\s{0,8}[\"'’]?(?P<v>(?:[1-9]?\d|1[01]\d)(?:\.\d)?)(?![\w%/]|[.,]\d)", flags=re.I, score=0.95),
        rule("AGE", r"(?<![\w.,/-])(?P<v>[1-9]\d|1[01]\d)\s?(?:a\.?|años)?\s?/\s?[HMFV](?![\w/])", score=0.8),
        rule("AGE", r"(?<![\w])(?:[HMVF]|[Vv]ar[óo]n|[Mm]ujer|[Hh]ombre)[ ,/-]{1,3}(?P<v>\d{1,3}\s?(?:a|años)?)(?![\w.,/%])", score=0.8),
        rule("AGE", rf"\b(?P<w>\w+),?\s+de\s+(?:\d{{1,2}}\s+y\s+)?(?P<v>(?:[1-9]\d|10\d)\s+años)\b{LASTING}", check=_no_period, score=0.8),
        rule("AGE", r"\bde\s+(?P<v>\d{1,2}(?:,\s\d{1,2})?)\s+y\s+\d{1,2}\s+años\b", score=0.8),
        rule("AGE", r"(?:[,.;:(–—|·-]\s*|^)(?P<v>(?:[1-9]\d|10\d)\s+años)(?=\s*[,.;)–—|·-])", flags=re.M, score=0.7),
        rule("AGE", rf"\b(?:ten[ií]a|con|[Cc]umpli[óo]|tiene|de)\s+(?P<v>\d{{1,2}}\s+años)(?=\s*(?:[,.]|\s(?:y|cuando|al|en)\b))(?<!hace ){LASTING}", check=lambda m: m[0][:2] != "de", score=0.7),
        # what tells of an age over 89 without its number
        rule("AGE", r"\bnonagenari[oa]s?\b|\b(?:super)?centenari[oa]s?\b(?!\s+de(?:l)?\b)", check=_no_thing, flags=re.I, score=0.9),
        rule("AGE", r"\b(?:d[ée]cima|und[ée]cima)\s+d[ée]cada\s+de\s+(?:la|su)\s+vida\b", flags=re.I, score=0.9),
        # years of birth, of which the policy takes those that tell such an age
        rule("AGE", rf"\b(?:F\.?\s?N\b\.?|(?:f(?:echa\b|\.)\s?(?:de\s)?|a[ñn]o\s(?:de\s)?)?nac(?:imiento\b|\.|\b)|nacid[oa]s?\b)[\"'’]?\W{{0,5}}(?:(?:en|el|del|de|a[ñn]o)\s){{0,3}}{BIRTH_YEAR}", flags=re.I, score=0.9),
        rule("AGE", rf"\b[Nn]acid[oa]s?\s(?:y\s(?:criad|residente)\w*\s)?(?:en|de)\s(?:[A-ZÁÉÍÓÚÑ][\w.'’-]{{0,20}},?\s(?:del?\s(?:l[ao]s?\s)?)?){{1,4}}(?:\([^()\n]{{1,24}}\),?\s)?(?:en\s)?(?:el\s)?(?:a[ñn]o\s)?\(?{BIRTH_YEAR}", score=0.9),
        rule("SEX", r"(?<=[,–—|·/-])\s*(?P<v>masculin[oa]|femenin[oa]|hembra)(?=\s*[,.;–—|·/-])", flags=re.I, score=0.9),
        rule("SEX", r"\b(?:sexo|g[ée]nero)\s*(?:[:.=-]\s*){0,2}(?P<v>[HMFV]\b|var[óo]n|mujer|hombre|masculin[oa]|femenin[oa]|niñ[oa]|indeterminado)", flags=re.I, score=1.0),
        rule("SEX", r"(?<![\w-])(?:var[óo]n|mujer|hombre|niñ[oa]|ancian[oa]|VARON|NIÑ[OA])(?![\w-])", flags=re.I, score=0.8),
        rule("SEX", r"\b(?:paciente|lactante|reci[ée]n nacid[oa]|adolescente|joven|escolar|adulto|RN|neonato)\s+(?P<v>masculin[oa]|femenin[oa]|hembra|macho)\b", flags=re.I, score=0.9),
        rule("RELATIVE", rf"(?<![\w-])(?:(?:un|una|dos|tres|cuatro|cinco|\d)[ ])?{RELATIVE}(?:\s+(?:matern|patern)[oa]s?|\s+(?:mayor|menor|gemel[oa]|var[óo]n|mediano|[úu]nic[oa]|pequeñ[oa])(?:es|s)?)?(?![\w-])", check=_no_stem, flags=re.I, score=0.8),
        rule("RELATIVE", r"\b(?:su|sus|la|una|un|dos|tres|mi)\s+(?P<v>(?:t[ií][oa]s?|prim[oa]s?(?:\s+herman[oa]s?)?|parejas?|novi[oa]|familia(?!\s+de)|familiares))(?![\w-])(?!\s+de\s+(?:los|las|prim))", flags=re.I, score=0.7),
        rule("RELATIVE", r"\b(?:el|del|al|los|varios|un)\s+(?P<v>familiar(?:es)?)\s+(?:que|lo|la|le|refiere|comenta|fallecid|responsable|acompa|del paciente|de la paciente)", flags=re.I, score=0.7),
        rule("AGE", r"(?<![\w-])(?:lactante|adolescente|reci[ée]n nacid[oa](?:s)?|neonato)(?![\w-])", flags=re.I, score=0.7),
        rule("AGE", r"\b(?:a|desde|hasta) los\s+(?P<v>\d{1,2}\s+años)\b(?!\s+(?:del?|tras|despu|post|y\s+medio\s+de|desde)\b(?!\s+edad))", flags=re.I, score=0.7),
        rule("RELATIVE", r"\b(?:prim[oa]s?|t[ií][oa]s?)\s+(?:herman[oa]s?|matern[oa]s?|patern[oa]s?|segund[oa]s?)\b", flags=re.I, score=0.8),
        rule("PROFESSION", r"\b(?:profesi[óo]n|ocupaci[óo]n|puesto de trabajo|oficio|ocupaci[óo]n laboral)\s*:\s*(?P<v>[^\n.;,|]{3,50}?)(?=\s*(?:[\n.;,|]|$|\b(?:Estado|Sexo|Edad|Tel|NHC|DNI|Direcci|Domicilio)\b))", flags=re.I, score=0.9),
        rule("PROFESSION", rf"(?<![\w-])(?:{JOB})(?:\s+(?:jubilad[oa]|retirad[oa]|en paro|agr[ií]cola|textil|met[áa]lic[oa]))?(?![\w-])", flags=re.I, score=0.7),
        rule("PROFESSION", r"\b(?:de profesi[óo]n|de oficio|trabaja como|trabaja de|trabajaba como|trabajaba de|trabaj[óo] como|labora como|ejerce (?:como|de)|jubilad[oa] de)\s+(?P<v>\w{4,}(?:\s+(?:de|en|del)\s+(?:la\s+)?\w{4,}(?:\s+(?:metálica|de\s+\w+))?)?)", flags=re.I, score=0.8),
    )  # fmt: skip
