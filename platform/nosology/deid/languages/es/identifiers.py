"""Numbers that name a person in Spain and Latin America: by their checksum, or by the label before them.

Sources: DNI and NIE, Real Decreto 1553/2005 and Orden INT/2058/2008 (letter = number mod 23); NAF/NASS, Seguridad Social (last two
digits = the others mod 97); CURP (DOF, 18 October 2021) and RFC (SAT), by their form; NSS of the IMSS (Luhn); RUT, Servicio de Registro Civil of
Chile (mod 11); CUIL/CUIT, ANSES and AFIP (mod 11).
"""

from __future__ import annotations

import re

from nosology.deid.checksums import luhn, with_dni
from nosology.deid.patterns import Patterns, rule
from nosology.deid.public_codes import called_code, is_public


def _dni(match: re.Match[str]) -> bool:
    code = re.sub(r"[\s.-]", "", match[0]).upper()
    return with_dni(code) == code


def _nass(match: re.Match[str]) -> bool:
    """Two digits of the province, eight of the number, two of control (a number below ten million joins the province without its zeros)."""
    digits = re.sub(r"\D", "", match[0])
    province, number, control = digits[:2], int(digits[2:-2]), int(digits[-2:])
    whole = int(province) * 10_000_000 + number if number < 10_000_000 else int(province + digits[2:-2])
    return 1 <= int(province) <= 66 and whole % 97 == control


def _rut(match: re.Match[str]) -> bool:
    digits = re.sub(r"[.-]", "", match[0]).upper()
    total = sum(int(c) * (2 + place % 6) for place, c in enumerate(reversed(digits[:-1])))
    return "0123456789K0"[11 - total % 11 if total % 11 else 11] == digits[-1]


def _cuil(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    rest = sum(int(c) * w for c, w in zip(digits[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=True)) % 11
    return (11 - rest) % 11 == int(digits[10])


def _imss(match: re.Match[str]) -> bool:
    return luhn(re.sub(r"\D", "", match["v"]))


def _segments(match: re.Match[str]) -> bool:
    """At least five digits, eight without letters, and no code of a trial, a paper, an antigen or a code system."""
    code = match[0].upper()
    digits = sum(c.isdigit() for c in code)
    if re.fullmatch(r"(?:19|20)\d\d[-/](?:19|20)\d\d", code):
        return False
    if digits < (5 if any(c.isalpha() for c in code) else 8) or code.startswith(("PMID", "ICD", "CIE", "COVID", "SARS", "RD")):
        return False
    return not is_public(match.string, match.start(), match.end())


def _number(match: re.Match[str]) -> bool:
    return not called_code(match.string, match.start(), match.end())


def _value(match: re.Match[str]) -> bool:
    """A labelled value with digits, at least three characters, no year, no measurement."""
    value = str(match["v"])
    return (
        len(value) >= 3 and any(c.isdigit() for c in value) and not re.fullmatch(r"(?:[A-Z]+ )?(?:19|20)\d\d|\d{1,3}(?:[.,]\d{1,2})", value)
    )


LINK = r"(?:[ \t]{0,3}(?:n[úu]mero|n[úu]m|n[ºo°]|n\.\s?[ºo°]|nro|no\.|#))?\.?[ \t]{0,3}(?:es|:|=|#|-|\()?[ \t]{0,3}"
VALUE = r"(?P<v>(?=[\w./-]{0,12}\d|(?-i:[A-Z]{1,8}) \d)(?:(?-i:[A-Z]{1,8})[ ](?=\d))?[A-Za-z0-9][\w./+-]*(?:[ -]\d[\w./-]*){0,4}(?:(?<=\w)[ ](?-i:[A-Z]{2})\b(?![ ]?[a-z:\d]))?(?<=\w))(?!\w)(?!\s?(?:mg|mcg|ml|kg|cm|mm|%|años|meses|d[ií]as)\b)"
START = r"(?<![A-Za-z0-9áéíóúñ])"
# behind words that are ordinary too: what follows looks like a code
CODED = r"(?=\s{0,3}(?:n[º°o]\.?\s|n[úu]m|:\s{0,3}[A-Z\d]{2,}[-\d]|#|ref|[A-Z]{1,4}-?[A-Z]{0,3}\d{2,}|[A-Z]{2,5}-\d|\d{2,}-))"
LABELLED = (
    (
        "MRN",
        r"n\.?h\.?c|nhc|(?:n[º°o]?\.?\s*(?:de\s+)?)?h(?:istoria|\.ª|ª)?\.?\s*cl[ií]nica|n[º°]?\.?\s*(?:de\s+)?historia|hc(?=\s*[:nN#\d])|expediente(?:\s+cl[ií]nico)?"
        r"|registro(?=\s*(?:n|:|#))|ficha(?=\s*(?:n|:|#|cl[ií]nica|[A-Z]+[ -]?\d|\d))|historia(?=\s*(?:n[ºo°]|:\s*\d|[A-Z]{1,4}-?\d))|identificaci[óo]n del paciente",
    ),
    (
        "BENEFICIARY",
        r"nass|n[º°o]?\.?\s*(?:de\s+)?(?:la\s+)?(?:seguridad social|s\.?s\.?)|(?:n[úu]mero|n[º°.]+)\s+(?:de\s+)?(?:la\s+)?seguridad\s+social|seguridad social|(?:n[úu]mero|n[úu]m\.?|n[º°o]\.?)\s+(?:de\s+)?seguro\s+social|seg(?:uridad|\.)?\s*soc(?:ial|\.)|n\.?u\.?s\.?s|nss|n\.?a\.?f(?=\W)|n[º°o]?\.?\s*afiliaci[óo]n|afiliaci[óo]n|afiliad[oa]"
        r"|p[óo]liza|tarjeta\s+(?:sanitaria|individual)(?:\s+individual)?|tsi|tis|cipa?|cip[- ]?sns|sip|nuhsa|nusa|asegurado|carn[ée]|beneficiario(?=\s*(?:n|:|#))|isapre|seguro(?=\s*(?:n|:|#|[A-Z]{2,}-?\s?\d))|sis(?=\s*\d)|eps(?=\s*\d)",
    ),
    (
        "BIOMETRIC",
        rf"huellas?(?:\s+(?:dactilar(?:es)?|digital(?:es)?|plantar(?:es)?|palmar(?:es)?|de\s+voz|vocal(?:es)?))?{CODED}|(?:esc[áa]ner\s+(?:de\s+)?|patr[óo]n\s+(?:de\s+)?)?(?:iris|retina){CODED}|registro\s+de\s+voz|(?:muestra\s+de\s+)?voz{CODED}"
        rf"|(?:plantilla|dato|identificador|registro)s?\s+biom[ée]tric[oa]s?|biometr[ií]a{CODED}|reconocimiento\s+facial|palmas?{CODED}|geometr[ií]a\s+de\s+la\s+mano",
    ),
    (
        "PHOTO",
        rf"foto(?:s|graf[ií]as?)?(?:\s+(?:facial(?:es)?|cl[ií]nicas?|del?\s+rostro)){{0,2}}{CODED}|retratos?{CODED}|im[áa]gen(?:es)?(?:\s+facial(?:es)?)?{CODED}|v[ií]deos?{CODED}",
    ),
    (
        "ID",
        r"d\.?n\.?i|nif|n\.?i\.?e|c[ée]dula(?:\s+de\s+(?:ciudadan[ií]a|identidad|extranjer[ií]a))?|c\.?c|c\.?i(?=\.?\s*[:\d])|rut|run|cui[lt]|curp|rfc|clave\s+[úu]nica|pasaporte|identificaci[óo]n|documento(?:\s+(?:de\s+identidad|nacional\s+de\s+identidad))?(?=\s*(?:n|:|#|\d))"
        r"|dui|dpi|cui(?=\s*:?\s*\d)|identidad(?=\s*[:n])|n[º°]\s*identificaci[óo]n|radicado|gu[ií]a(?=\s*(?:n[º°]|:|\d{3}))|brazalete|pulsera(?=\s*(?:n|:|#|\d|[A-Z]))|permiso(?=,?\s*n)|id(?:\s+(?:paciente|pac))?(?=\s*[:#])|c[óo]digo\s+(?:de\s+)?(?:paciente|identificaci[óo]n)|usuario(?=\s*[:#])|ref(?:erencia)?\.?(?=\s*[:#n])",
    ),
    (
        "LICENSE",
        r"(?:(?:n[úu]mero|n[úu]m|n[º°o])\.?\s*)?(?:de\s+)?col(?:egiad[oa]|egiaci[óo]n|\.|(?=\s*:))(?:\s*n[º°o]\.?|\s*n[úu]m(?:ero)?\.?)?|colegiatura|cmp(?=\s*:)|c[ée]dula\s+profesional|c[ée]d\.?\s*prof\.?|matr[ií]cula\s*(?:profesional|nacional|provincial)|m\.?[np]\.?(?=\s*[:\d])|registro\s+(?:m[ée]dico|profesional)|registro(?=\s+[A-Z]{2,}\s\d)|tarjeta\s+profesional|licencia(?=\s*(?:n|:|#|m[ée]dica))",
    ),
    (
        "ACCOUNT",
        r"episodio(?:\s+(?:asistencial|del\s+paciente))?|n[º°]?\.?\s*(?:de\s+)?(?:episodio|proceso|solicitud|petici[óo]n|muestra|biopsia|pedido|factura|orden)|proceso(?=\s*(?:n[º°]|:\s*\d))|solicitud(?=\s*(?:n[º°]|:\s*\w?\d))|petici[óo]n(?=\s*(?:n[º°]|:\s*\w?\d))|muestra(?=\s*(?:n[º°]|:\s*\w*\d))|biopsia(?=\s*n[º°])|icu|parte(?=\s*n[º°])|cuenta(?=\s*(?:n|:|#))|(?:factura|recibo|pedido|orden)(?=\s*n[º°])|folio",
    ),
    ("VEHICLE", r"matr[ií]cula(?:\s+del\s+(?:veh[ií]culo|coche))?|placas?(?=\s*(?:n[º°o]|:|#|(?-i:[A-Z]{1,3})[- ]?\d|(?-i:[A-Z]{3})))|patente(?=\s*(?:n|:|#|[A-Z]{2})|\s+del)|bastidor"),
    ("DEVICE", r"n[º°]?\.?\s*(?:de\s+)?serie|n[úu]mero\s+de\s+serie|s/n(?=\s*:)|lote(?:\s+de\s+(?:la\s+|el\s+)?\w+(?:\s\w{4,})?)?(?=\s*(?:n|:|#|[A-Z]+[- ]?[A-Z]?\d|\d))|serie(?=\s*(?:n[º°]|:|[A-Z]+[- ]?\d|\d{4}))|referencia(?=\s*(?:n|:|#))"),
)  # fmt: skip


class Identifiers(Patterns):
    """Codes behind a label, and codes that a checksum proves."""

    name = "identifiers_es"
    rules = (
        *(rule(label, rf"{START}(?:{names}){LINK}{VALUE}", check=_value, flags=re.I) for label, names in LABELLED),
        # colleges and registers of Latin America by their letters; the reference of a print behind more words
        rule("LICENSE", rf"{START}(?:JVPM|RCM|MPPS|COV|CMP|RNE|MSDS|COP)[ .:]{{1,3}}(?P<v>\d{{1,3}}(?:\.\d{{3}})+(?:-\d)?|\d{{3,7}})(?![\w%]|[.,]\d)", score=0.9),
        rule("BIOMETRIC", rf"{START}(?i:huellas?|iris|voz|palmas?)[ ][^.\n\d]{{0,30}}?[,(:]?[ ]?(?P<v>[A-Z]{{2,12}}(?:-[A-Z]{{1,4}})?[ -]\d{{3,}}(?:-[A-Z\d]{{1,6}}){{0,3}})(?![\w-])", score=0.9),
        rule("VEHICLE", r"(?i:helic[óo]ptero|avi[óo]n|avioneta|aeronave)[ ](?P<v>[A-Z]{1,2}-[A-Z0-9]{3,5})(?![\w-])", score=0.9),
        # a check digit of theirs is that of a payment card too
        rule("DEVICE", rf"{START}(?:imei|udi){LINK}{VALUE}", check=_value, flags=re.I, score=1.0),
        rule("ID", r"(?<![\w.,/-])(?:\d{8}|\d{2}\.\d{3}\.\d{3})[ -]?[A-HJ-NP-TV-Z](?![\w-])", check=_dni, flags=re.I, score=1.0),
        rule("ID", r"(?<![\w.-])[XYZ][ -]?\d{7}[ -]?[A-HJ-NP-TV-Z](?![\w-])", check=_dni, flags=re.I, score=1.0),
        rule("BENEFICIARY", r"(?<![\w.,/-])\d{2}([ /-]?)\d{8}\1\d{2}(?![\w/-])", check=_nass, score=1.0),
        rule("BENEFICIARY", r"(?<![\w.,/-])\d{2}[ /-]\d{7,8}[ /-]\d{2}(?![\w/-])", score=0.7),
        rule("LICENSE", r"(?<![\w.,/-])(?:0[1-9]|[1-4]\d|5[0-2])([ /-])(?:0[1-9]|[1-4]\d|5[0-2])\1\d{4,6}(?![\w/-])", score=0.7),
        rule("BENEFICIARY", r"(?<![\w-])[B-DF-HJ-NP-TV-Z]{4}\d{10,12}(?![\w-])", score=1.0),
        rule("BENEFICIARY", r"(?<![\w-])AN\d{10}(?![\w-])", score=1.0),
        rule("ID", r"(?<![\w-])[A-Z][AEIOUX][A-Z]{2}\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[HMX][A-Z]{5}[A-Z0-9]\d(?![\w-])", flags=re.I, score=1.0),
        rule("ID", r"(?<![\w-])[A-ZÑ&]{4}\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-?[A-Z0-9]{3}(?![\w-])", score=0.9),
        rule("ID", r"(?<![\w.,/-])(?:\d{1,2}\.\d{3}\.\d{3}|\d{7,8})-[\dKk](?![\w-])", check=_rut, score=1.0),
        rule("ID", r"(?<![\w.,/-])(?:20|23|24|25|26|27|30|33|34)-\d{8}-\d(?![\w-])", check=_cuil, score=1.0),
        rule("BENEFICIARY", r"\bNSS\W{0,4}(?P<v>\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?\d{4}[ -]?\d)(?!\d)", check=_imss, score=1.0),
        rule("VEHICLE", r"(?<![\w-])\d{4}[ -]?[BCDFGHJKLMNPRSTVWXYZ]{3}(?![\w-])", score=0.8),
        # a code in segments, and the name of an image file
        rule("ID", r"(?<![\w.,/-])[A-Z]{1,9}(?:[-/][A-Z]{0,4})?\d[\dA-Z]*(?:[-/.][\dA-Z]+){1,4}(?![\w/-])", check=_segments, score=0.7),
        rule("ID", r"(?<![\w.,/-])[A-Z]{1,9}-[A-Z]?\d{4,12}[A-Z]?(?![\w/-])", check=_segments, score=0.7),
        rule("ID", r"(?<![\w.,/+-])\d{1,10}(?:-\d{1,10}){1,4}(?:-[\dA-Z])?(?![\w/-]|[.,]\d)", check=_segments, score=0.6),
        rule("ID", r"(?<![\w.,/-])\d{3,4}[ ]\d{3,4}[ ]\d{3,4}(?:[ ]\d{3,4})?(?![\w/-]|[.,]\d)", score=0.6),
        rule("ID", r"(?<![\w.,/-])[A-Z]{2,8}(?:-[A-Z]{2,8})+-\d{2,6}(?![\w/-])", score=0.6),
        rule("PHOTO", r"(?<![\w.-])[A-Z]{2,}\w*\d\w*_\w+(?:\.\w{3,4})?(?!\w)", score=0.8),
        rule("ID", r"(?<![\w.,/-])\d{6,19}(?![\w%/-])(?![.,]\d)(?!\s?(?:mg|UI|U/|c[ée]l|leuc|plaq|copias|hemat|/|mm)\b)", check=_number, score=0.5, flags=re.I),
    )  # fmt: skip
