"""Names of people where the words around them show it, and given names of the list with a family name behind."""

from __future__ import annotations

import re

from nosology.deid.languages.es.lists import HEAD, MONTH, PARTICLE, UPPER, WORD, words
from nosology.deid.patterns import Patterns, rule

ORDINARY = words("ordinary_words.txt")
EPONYMS = words("eponyms.txt")
GIVEN = words("given_names.txt")
FAMILY = words("family_names.txt")
AS_WORDS = frozenset(word for line in words("names_as_words.txt") for word in line.split())
BORNE = AS_WORDS | EPONYMS  # ordinary words and eponyms that are names too
NEXT = rf"(?:[ ]+(?!{HEAD})(?:{PARTICLE}[ ]+){{0,2}}(?!{HEAD})(?:{WORD}|{UPPER}\.))"
NAME = rf"(?:(?:[Dd]e|[Dd]el|[Dd]e la)[ ]+)?(?!{HEAD})(?:M\.[ªa][ ]|M[ªa][ ]|{UPPER}\.[ ]?)?(?:{WORD}|{UPPER}\.){NEXT}{{0,4}}"
FULL = rf"(?!{HEAD})(?![IVX]\.)(?:{WORD}|{UPPER}\.)(?:{NEXT}){{1,4}}"
LAST_FIRST = rf"{WORD}(?:[ ]+(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,2}},[ ]*{WORD}(?:[ ]+{WORD})?"
TITLE = r"(?:D(?:octor(?:es|a|as)?|res|ras|ra|r)|DRA?|DRES|Prof(?:esora?|a)?|D[ñn]a|D[ªa]|Don|Do[ñn]a|DON|DO[ÑN]A|Sra|Srta|Sr|SRA?|Se[ñn]or(?:a|ita)?|se[ñn]or(?:a|ita)?|don|do[ñn]a|doctora?|dra?|Lic|Lcd[oa]|Enf|DUE)"
RELATIVE = r"(?:madre|padre|mamá|papá|espos[oa]|marido|mujer|pareja|herman[oa]|hij[oa]|abuel[oa]|t[ií][oa]|prim[oa]|sobrin[oa]|niet[oa]|cu[ñn]ad[oa]|suegr[oa]|nuera|yerno|novi[oa]|tutora?|c[óo]nyuge|cuidadora?|familiar|acompa[ñn]ante|vecin[oa]|amig[oa])"
FIELD = (
    r"(?:nombre(?:\s+(?:y\s+apellidos?|completo|del?\s+(?:la\s+)?paciente))?|apellidos?(?:\s+y\s+nombres?)?|paciente|m[ée]dic[oa](?:\s+(?:responsable|adjunt[oa]|tratante|solicitante|de\s+(?:familia|cabecera|referencia)))?|responsable(?:\s+cl[ií]nic[oa])?|facultativ[oa](?:\s+responsable)?|remitid[oa]\s+por"
    r"|enviad[oa]\s+por|derivad[oa]\s+por|firmad[oa](?:\s+por)?|firma|fdo|atendid[oa]\s+por|informad[oa]\s+por|redactad[oa]\s+por|elaborad[oa]\s+por|validad[oa]\s+por|revisad[oa]\s+por|realizad[oa]\s+por|cirujan[oa]s?|ayudantes?|anestesi(?:sta|[óo]log[oa])s?|enfermer[oa]|auxiliar|matrona|instrumentista|solicitante|autor(?:a|es)?|contacto|persona\s+de\s+contacto"
    r"|familiar(?:\s+responsable)?|acompa[ñn]ante|acudiente|tutora?|representante(?:\s+legal)?|correspondencia|residente|especialista|psic[óo]log[oa]|trabajador[a]?\s+social|pat[óo]log[oa]|radi[óo]log[oa]|madre|padre|esposo|esposa|titular|interesad[oa]|usuari[oa]|afiliad[oa]|asegurad[oa]|autoriza|notifica|entrevistad[oa]|informante|cuidadora?|beneficiari[oa])"
)


# what an eponym follows, and hardly a person; a fracture, a test or a catheter can be a person's
_METHOD = re.compile(
    r"(?i)(?:t[ée]cnica|m[ée]todo|signo|escala|clasificaci[óo]n|s[íi]ndrome|enfermedad|maniobra|[íi]ndice|criterios?|tinci[óo]n"
    r"|f[óo]rmula|ley|protocolo|procedimiento|operaci[óo]n|modificad[oa]|según)"
    r"(?:\s+quir[úu]rgic[oa])?\s+(?:modificad[oa]\s+)?(?:de\s+(?:la\s+)?|del\s+)?$"
)


def is_eponym(text: str, start: int, end: int) -> bool:
    """True when text[start:end] is the eponym of a disease, sign, device, score or technique rather than a person."""
    if _METHOD.search(text, max(0, start - 40), start):
        return True
    found = [w.strip(".,;:()'’\"").lower() for w in re.split(r"[\s-]+", text[start:end]) if w not in ("y", "de", "del", "e")]
    return bool(found) and all(w in EPONYMS for w in found if w)


_NO_TITLE = re.compile(r"(?i)(?:vitamina|vit\.?|grupo|tipo|hepatitis|grado|clase|factor|plan|anti)\s*$")


_PARTICLES = frozenset(["de", "del", "la", "las", "el", "los", "y"])
# what may stand behind a name, and hardly behind the first word of a sentence (`lo ve la Dra. Alta con tratamiento`)
_STANDS = re.compile(
    r"[ ]*(?:$|[,;:.()/\r\n–—-])|[ ]+(?:y|e|que|quien|quienes|[a-záéíóúñ]{2,20}(?:ó|aron|ieron)|indica|informa|recomienda|solicita|decide|valora|pauta"
    r"|refiere|comenta|acude|remite|deriva|explica|confirma|propone|realiza|opera)(?!\w)"
)
_TITLED = re.compile(rf"(?<![\w./-]){TITLE}(?:[.:][ ]{{0,2}}|[ ]{{1,2}})\Z")
_LABELLED = re.compile(rf"(?<!\w){FIELD}[ ]{{0,2}}\.?:[ ]{{0,2}}\Z", re.I)
_OF_KIN = re.compile(rf"\b(?:{RELATIVE}|enfermer[oa]|auxiliar|matrona|fisioterapeuta|trabajador[a]? social)[ ]?(?:,[ ]|\([ ]?|[ ])\Z")


def _words(value: str) -> list[str]:
    return [word for word in (w.strip(".,:;()").lower() for w in value.split()) if word and word not in _PARTICLES]


def _after_title(text: str, start: int, end: int) -> bool:
    """A title makes a person of any word that is not ordinary; of those that are, where they are names too, if no clause can begin with them."""
    words = re.split(r"[\s.]+", text[start:end])
    first = next((word.lower() for word in words if word.lower() not in _PARTICLES), "")
    if _NO_TITLE.search(text, max(0, start - 18), start):
        return False
    return first not in ORDINARY or first in BORNE and text[start].isupper() and bool(_STANDS.match(text, end))


def shows_person(text: str, start: int, end: int) -> bool:
    """Whether what stands before text[start:end] shows that a person is meant, of words that can be a name: a title, a label, a relative, a nurse."""
    words = _words(text[start:end])
    if not words or any(word in ORDINARY and word not in BORNE for word in words):
        return False
    if _TITLED.search(text, max(0, start - 14), start):
        return _after_title(text, start, end)
    if _LABELLED.search(text, max(0, start - 40), start):
        return all(word not in ORDINARY for word in words)
    return bool(_OF_KIN.search(text, max(0, start - 24), start)) and all(word in EPONYMS and word in GIVEN | FAMILY for word in words)


def _person(match: re.Match[str]) -> bool:
    return _after_title(match.string, *match.span("v"))


def _labelled(match: re.Match[str]) -> bool:
    """No word of it is an ordinary capitalised one, unless it is a name too and stands beside one; an eponym alone ends the field."""
    words = _words(match["v"].replace(",", " "))
    if len(words) == 1 and words[0] in EPONYMS and re.match(r"[ ]+[a-záéíóúñ]", match.string[match.end("v") : match.end("v") + 3]):
        return False
    ordinary = [word for word in words if word in ORDINARY]
    return not ordinary or all(word in BORNE for word in ordinary) and any(word in GIVEN | FAMILY for word in words if word not in ordinary)


def _persons(match: re.Match[str]) -> bool:
    """No word of it is an ordinary capitalised word or an eponym."""
    found = [w.strip(".,:").lower() for w in str(match["v"]).split()]
    return not any(w in ORDINARY for w in found if w not in ("la", "el", "los", "las", "del", "y", "de", "d")) and not is_eponym(
        match.string, *match.span("v")
    )


_SPECIES = frozenset(
    [
        "coli",
        "aureus",
        "pylori",
        "difficile",
        "albicans",
        "pneumoniae",
        "faecalis",
        "epidermidis",
        "aeruginosa",
        "mirabilis",
        "tuberculosis",
        "cruzi",
    ]
)


def _initials(match: re.Match[str]) -> bool:
    """Initials and a family name, not a germ, an eponym or the end of a sentence behind one letter (vitamina D. La)."""
    found = str(match["v"]).split()[-1].lower()
    return found not in _SPECIES and not _NO_TITLE.search(match.string, max(0, match.start() - 12), match.start()) and _persons(match)


def _listed(match: re.Match[str]) -> bool:
    """A given name of the list first, or a family name of the list second."""
    found = str(match["v"]).split()
    second = next((w for w in found[1:] if w[0].isupper()), "")
    return (found[0].lower() in GIVEN or second.strip(".").lower() in FAMILY) and _persons(match)


class Names(Patterns):
    """Names behind a title, a field or a relative; a given name of the list with a family name; a family name pair."""

    name = "names_es"
    rules = (
        rule("NAME", rf"(?<![\w./-]){TITLE}(?:[.:][ ]*|[ ]+)(?:(?:[Dd]ra?|D|D[ñn]a)\.[ ]*)?(?P<v>{NAME})", check=_person, score=1.0),
        rule("NAME", rf"(?<![\w./-])(?<!Vitamina )(?<!vitamina )(?<!Vit\. )D\.[ ]*(?P<v>{FULL})", check=_persons, score=0.9),
        rule("NAME", rf"(?<![\w./-])(?:Dres|Dras|[Dd]octor(?:es|as))\.?[ ]+(?P<v>{WORD}(?:[ ]{WORD})*(?:,[ ]{WORD}(?:[ ]{WORD})*){{0,5}}(?:[ ]+(?:y|e)[ ]+{WORD}(?:[ ]{WORD})?)?)", score=1.0),
        rule("NAME", rf"(?<![\w])(?i:{FIELD})[ \t]*\.?:[ \t]*:?(?:\n[ \t]*)?(?:{TITLE}[.:]?[ ]+)?(?P<v>{LAST_FIRST}|{NAME})", check=_labelled, score=0.95),
        rule("NAME", rf"(?<![\w])(?i:firmado|fdo|remitido|derivado|enviado|atendido|informado)\.?:?[ ]+(?:por[ ]+)?(?:(?:el|la)[ ]+)?(?:{TITLE}[.:]?[ ]+)(?P<v>{NAME})", check=_person, score=1.0),
        rule("NAME", rf"\b{RELATIVE}(?:[ ](?:mayor|menor|matern[oa]|patern[oa]|gemel[oa]))?[ ]?(?:,[ ]|\([ ]?|[ ])(?P<v>{FULL})", check=_persons, score=0.7),
        rule("NAME", rf"\b(?i:se llama|llamad[oa]|de nombre|me llamo|conocid[oa] como|a nombre de|doctora?|enfermer[oa]|paciente)[ ]+(?P<v>{FULL})", check=_persons, score=0.8),
        # looks ahead, so that a word at the start of a sentence takes no name with it
        rule("NAME", rf"(?<![\w-])(?=(?P<v>{FULL})(?![\w])){WORD}", check=_listed, score=0.8),
        # the name of a relative alone, between commas or right behind the word
        rule("NAME", rf"\b{RELATIVE}(?:[ ](?:mayor|menor|matern[oa]|patern[oa]|gemel[oa]|herman[oa]|pol[ií]tic[oa]))?[ ]?(?:,[ ]|\([ ]?|[ ])(?P<v>{WORD})(?=[ ]?[,.;:)\n]|[ ](?:y|e|que|no|ya|de|con|en|fue|es|refiere|recoger|trabaj|tiene|naci)\w*)", check=_persons, score=0.8),
        rule("NAME", rf"\b(?:\w+(?:[óo]log[oa]|iatra|ist[ao]|r[ií]cia|sor[a]?)|obstetri[zx]|matrona|partera|comadrona|cirujan[oa]|enfermer[oa]|auxiliar|asistente social|trabajadora? social|TENS|DUE|TCAE|int[ée]rprete|residente|intern[oa]|m[ée]dic[oa]|pediatra|internista|abogad[oa]|camiller[oa])(?:[ ](?:de[ ])?(?:guardia|turno|planta))?,?[ ](?P<v>{FULL})", check=_persons, score=0.8),
        rule("NAME", rf"(?<![\w])(?P<v>{FULL})(?=[ ]?[,–—(-][ ]?(?:de[ ])?(?:masculin|femenin|var[óo]n\b|mujer\b|hombre\b|niñ[oa]\b|\d{{1,3}}[ ](?:años|meses|a\b)|casad[oa]|solter[oa]|viud[oa]|divorciad|nacid[oa]|natural|vecin[oa]|DNI|RUN|RUT|C\.?I\b|C\.?C\b|c[ée]dula|con[ ](?:DNI|c[ée]dula|NIE|domicilio)))", check=_persons, score=0.9),
        rule("NAME", rf"(?<![\w.])(?P<v>(?![IVX]\.)(?:{UPPER}\.[ ]?){{1,2}}{UPPER}[a-záéíóúñü]{{2,}}(?:[ -]{WORD})?)(?=[ ]?[,;:.\n)(])", check=_initials, score=0.6),
        rule("NAME", rf"\b(?i:nombre de|llamar[áa]|se llamaba|se llamar[áa])[ ]+(?P<v>{NAME})", check=_persons, score=0.8),
        rule("NAME", rf"(?m:^)(?P<v>{LAST_FIRST})(?=\s*[|;\n]|\s+\d)", check=lambda m: _persons(m) and not re.search(rf"(?i){MONTH}", m["v"]), score=0.7),
        rule("NAME", rf"(?<![\w])(?P<v>{FULL})(?=[ ,]+(?:[Nn]\.?[º°o]\.?\s?[Cc]ol|[Cc]olegiad[oa]|N[ºo°]?\s?Col|[Cc]ol\.))", check=_persons, score=0.9),
        rule("NAME", rf"(?<![\w])(?P<v>{FULL})(?=,[ ](?:de[ ])?\d{{1,3}}[ ](?:años|meses))", check=_persons, score=0.8),
    )  # fmt: skip
