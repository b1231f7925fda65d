"""Addresses, postal codes, places and houses of care in Spanish notes (45 CFR 164.514(b)(2)(i)(B))."""

from __future__ import annotations

import re

from nosology.deid.languages.es.lists import HEAD, PARTICLE, UPPER, WORD, listed
from nosology.deid.patterns import Patterns, rule

STREET = (
    r"(?:[Cc]alle|CALLE|[Cc]/\.?|Avda\.?|avda\.?|AVDA\.?|Av\.|av\.|AV\.|Avd\.|Avenid[ao]|avenida|AVENIDA|Paseo|PASEO|Pso\.?|Avinguda|Apartado(?:\s+de\s+[Cc]orreos)?|Pz\.?(?=\s)|P[ºo°]\.?(?=\s[A-Zd])|Plaza|PLAZA"
    r"|Plza\.?|Pza\.?|Pl\.|Camino|CAMINO|Carretera|Ctra\.?|Crta\.?|Ronda|Traves[ií]a|Trav\.|Glorieta|Rambla|Bulevar|Boulevard|Urbanizaci[óo]n|Urb\.|Urb(?=\s[A-Z])"
    r"|Pasaje|Passeig|Pg\.|Callej[óo]n|Cuesta|Carrer|R[úu]a|Pol[ií]gono|Jir[óo]n|Jr\.|Cra\.|Carrera(?=\s\d)|Calzada|Diagonal|Transversal|Gran V[ií]a|Alameda|Costanilla|Barrio|Barriada"
    r"|V[ií]a(?=\s[A-Z]|\sde\s[A-Z])|Privada|Prolongaci[óo]n|Blvd\.?|Autov[ií]a|Autopista|Vial|Parque|Cl\.)"
)
NAME = r"[^\W\d_][\w'’´`.ºª/-]*"
NUMBER = (
    r"(?:[ \t]{0,3},?[ \t]{0,3}(?:n[ ]?\.?[º°]?o?\.?[ \t]{0,3}|n[úu]m(?:ero|\.)?[ \t]{0,3}|N[º°][ \t]{0,3}|#[ \t]{0,3})\d{1,5}(?:[ ]?-[ ]?\d{1,4})?(?:[ ]?(?:bis|[A-Z]\b))?|[ \t]{0,3},?[ \t]{0,3}s[ ]?/[ ]?n[ºo°]?(?![a-z])|[ \t]{0,3},?[ \t]{0,3}[Kk][Mm]\.?[ \t]{0,3}\d+(?:[.,]\d+)?"
    r"|[ \t]{0,3},?[ \t]{0,3}\d{1,4}(?![\d./]\d|º)(?:[ ]?[-–][ ]?(?:\d{1,4}|[A-Z])\b)?(?:[ ]?(?:bis|[A-Z]\b(?!\.)))?)"
)
FLOOR = (
    r"(?:[ \t]{0,3}[,.-]?[ \t]{0,3}(?:(?:[Pp]iso|[Pp]lanta|[Pp]uerta|[Pp]ta\.?|[Pp]ortal|[Ee]sc(?:alera)?\.?|[Bb]loque|[Bb]lq\.?|[Bb]ajo|[Bb]j\.?|[Áá]tico|[Dd]e?pto\.?|[Dd]epartamento|[Aa]pto\.?|[Aa]partamento|[Ii]nt(?:erior)?\.?|[Ll]ocal|[Ll]etra|[Cc]asa|[Mm]anzana|[Mm]z\.?|[Ll]ote|[Tt]orre|[Ee]dif(?:icio)?\.?)(?![a-z])[ \t]{0,3}[\wº°ª]{0,6}"
    r"|\d{1,2}\.?[ ]?[ºª°o](?![a-z])(?:[ \t]{0,3}[,-]?[ \t]{0,3}(?:[A-Z]\b|\d{1,2}[ ]?ª|dcha\.?|izda\.?|izq\.?|drcha\.?|der\.?|centro|ctro))?|(?<=,)[ ]?\d{1,2}[ ]?[-,]?[ ]?[A-Z]\b|(?<=,)[ ]?\d{1,2}(?=[.\n]|[ \t]{0,3}$)|[Dd]cha\.?|[Ii]zq(?:da)?\.?|[Ii]zda\.?))"
)
CARE = (
    r"(?:Hospitais|Hospital(?:es|ari[ao])?|HOSPITAL|H\.\s?U\.|HU(?=\s[A-Z])|Complejo\s+(?:Hospitalario|Asistencial|Universitario)|Complexo|Cl[ií]nica(?!\s(?:y|Estruct|Compat|Sugest))|CL[IÍ]NICA|Policl[ií]nic[ao]|Sanatorio|Centro\s+(?:de\s+)?(?:Salud|Especialidades|M[ée]dico|Penitenciario|Hospitalario|Nacional|Oncol[óo]gico|Oftalmol[óo]gico|Sanitario|Cultural|Educativo|de\s+Rehabilitaci[óo]n|de\s+Transfusi[óo]n|de\s+D[ií]a|de\s+Investigaci[óo]n)|CENTRO\s+DE\s+SALUD|centro\s+de\s+salud"
    r"|C\.\s?S\.|CS(?=\s[A-Z][a-z])|CAP(?=\s[A-Z][a-z])|Ambulatori[oa]?|Consultorio|Maternidad|Materno[ -]?Infantil|Residencia|Instituto|Institut|Universidad(?:e)?|Universitat|Facultad|Escuela|Colegio|Fundaci[óo]n?|Fundaci[óo]|Mutua|Laboratorios?|Consorci[o]?|Corporaci[óo]n?|Corporaci[óo]|Servicio\s+(?:Andaluz|Gallego|Vasco|Murciano|Navarro|Madrile[ñn]o|Castellano|Extreme[ñn]o|C[áa]ntabro|Canario|Aragon[ée]s)|Ayuntamiento|UMF|IMSS(?=\s[A-Z])|IES(?=\s[A-Z])|CEIP|Parc|Xarxa|EPS|IPS|Posta|Transportes|Tecnol[óo]gico|Hogar(?=\s(?:de\s)?[A-Z])|Empresa|Constructora|Talleres|Cooperativa|Seguros|Aseguradora|Banco|Club|Supermercados?|Maquilas?|Ingenio|Preparatoria|Preescolar|Guarder[ií]a|Liceo|Spa(?=\s[A-Z])|Ministerio|Secretar[ií]a\s+de|Banco\s+de\s+Sangre)"
)
# what a house of care is named with: capitals, particles between them, numbers as in "12 de Octubre"
AFTER = rf"(?:[ ]+(?!(?:Servi|Servei|Depart|Dpto|Unidad|Secci|C/|Calle|Avd|Avenid|E-mail|Email|Correo|Tel|Ctra|Paseo|Plaza))(?:(?:{PARTICLE}|d['’´]|de\s+l['’´]|l['’´])[ ]*){{0,3}}(?:[\"“«'‘]?(?:{WORD}|{UPPER}{{2,}}|12[ ](?:de[ ])?[Oo]ctubre|N[º°]?\s?\d+|\d+[ ]de[ ]{UPPER}\w+)[\"”»'’]?))"
ORDINARY_CARE = re.compile(
    r"(?i)(?:hospital|cl[ií]nica|centro|residencia|servicio|colegio|sociedad)(?: de(?:l)?)? (?:d[ií]a|dolor|referencia|salud|urgencias|origen|m[ée]dico|terciario|habitual)"
)
PLACES = "|".join(re.escape(place) for place in listed("places.txt"))
COUNTRIES = "|".join(re.escape(country) for country in listed("countries.txt"))
EDGE = r"(?![\w-])"
STOP_FIELD = r"(?=\s{0,8}(?:[\n;|]|$|\.\s{0,8}(?:\n|$)|[.,]?\s{0,8}\b(?:C\.?\s?P\b|C\.P|Localidad|LOCALIDAD|Poblaci|POBLACI|Tel|TEL|Tfno|Tlf|M[óo]vil|Ciudad|Municipio|Provincia|PROVINCIA|Pa[ií]s|Email|E-mail|Correo|Fecha|Edad|Sexo|NHC|DNI|NASS|Nacionalidad|Comuna|Colonia|Estado\b|C[óo]digo)))"
FIELD = r"[^\n;|]{2,90}?"


def _address(match: re.Match[str]) -> bool:
    return any(c.isalpha() for c in match["v"]) and not re.match(r"(?i)\s*(?:desconocid|no consta)", match["v"])


def _care(match: re.Match[str]) -> bool:
    """More than the kind of house: a name follows it."""
    return not ORDINARY_CARE.fullmatch(match[0].strip())


def _no_method(match: re.Match[str]) -> bool:
    """Neither the name of a score (Barcelona Clinic Liver Cancer) nor a person's family name behind a given name."""
    after = match.string[match.end() : match.end() + 8]
    before = match.string[max(0, match.start() - 14) : match.start()].lower()
    return not after.startswith((" Clinic ", " clinic ", " criteria")) and not re.search(
        r"(?:criterios|clasificaci[óo]n|escala|consenso|protocolo) de $", before
    )


def _town(match: re.Match[str]) -> bool:
    """No house, drug or maker: one to four words without the head of a house of care."""
    return not re.match(rf"(?:{CARE}|{HEAD})", str(match["v"]))


def _postal(match: re.Match[str]) -> bool:
    return 1 <= int(str(match["v"])[-5:-3]) <= 52


class Places(Patterns):
    """Streets with their number, postal codes, fields of an address, hospitals and institutions by name, cities and countries of the lists."""

    name = "places_es"
    rules = (
        rule(
            "LOCATION",
            rf"(?<![\w/.-]){STREET}[ ]*(?:(?:(?:{NAME},?|[-–])[ ]+){{0,7}}?{NAME}|(?:\d{{1,2}}[ ]de[ ]\w+)|\d{{1,3}}\w{{0,2}}(?:[ ]?(?:#|[Nn][º°o]\.?)[ ]?\d+)?)[ ]*{NUMBER}{FLOOR}{{0,3}}",
            score=1.0,
        ),
        rule("LOCATION", rf"(?<![\w/.-])(?:[Cc]alle|[Cc]/|Avda\.?|Avenida|Paseo de|Plaza de|Ctra\. de)\s*(?:{PARTICLE}\s+){{0,2}}{WORD}(?:[ ]+(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,3}}"),
        rule("LOCATION", r"(?<![\w/.-])(?:Carrera|Calle|Cl\.?|Cra\.?|Cr\.|Kr\.?|Diagonal|Dg\.?|Transversal|Tv\.?|Avenida|Av\.?)\s*\d{1,3}\s?[A-Z]?(?:\s?[Bb]is)?\s?(?:#|[Nn][º°o]\.?)\s?\d{1,3}\s?[A-Z]?\s?-\s?\d{1,3}(?:\s(?:Sur|Norte|Este|Oeste))?", score=1.0),
        rule("LOCATION", rf"\b(?:Domicilio(?:\s{{1,8}}(?:habitual|actual))?|DOMICILIO|Direcci[óo]n(?:\s{{1,8}}postal)?|DIRECCI[ÓO]N|Dir\.|Lugar de residencia|Residencia(?=:))\s{{0,8}}:\s{{0,8}}(?P<v>{FIELD}){STOP_FIELD}", check=_address, score=1.0),
        rule(
            "LOCATION",
            rf"\b(?i:localidad(?:\s{{0,8}}/\s{{0,8}}provincia|\s{{1,8}}y\s{{1,8}}provincia)?|poblaci[óo]n|ciudad|municipio|provincia|comuna|colonia|barrio|distrito|departamento|estado(?=\s{{0,8}}:\s{{0,8}}[A-ZÁ])|regi[óo]n|natural de|lugar de nacimiento|pa[ií]s(?:\s{{1,8}}de\s{{1,8}}(?:nacimiento|origen|residencia))?|nacionalidad|procedencia|origen)\s{{0,8}}:\s{{0,8}}(?P<v>{FIELD}){STOP_FIELD}",
            check=lambda m: any(c.isalpha() for c in m["v"]) and len(m["v"]) < 50 and not re.search(r"(?i)civil|general|grave|estable|\d{{3}}|casad|solter", m["v"]),
            score=0.9,
        ),
        rule("ZIP", r"\b(?i:c\.?\s?p\.?|c[óo]d(?:igo|\.)?\s*postal)\s*[.:=-]?\s*(?P<v>[A-Z]?\d{4,7}(?:-\d{4})?)(?!\d)", score=1.0),
        rule("ZIP", rf"(?<![\d.,/-])(?P<v>(?:E-|D-)?\d{{5}})[ ,.-]{{1,3}}(?:\(?(?:{PLACES}|{COUNTRIES}){EDGE})", check=_postal, score=1.0),
        rule("ZIP", rf"{NUMBER}(?:{FLOOR}){{0,2}}\s*[,.-]?\s+(?P<v>(?:E-)?\d{{5}})\s*[-,.]?\s*\(?{UPPER}[a-zñáéíóú]", check=_postal, score=0.9),
        rule("ZIP", rf"(?:{PLACES})\s*[,(-]?\s*(?P<v>\d{{5}})(?![\d.,]\d|\d)", check=_postal, score=0.8),
        rule(
            "LOCATION",
            rf"(?<![\w-])(?:[Bb]arrio|[Cc]olonia|[Cc]ol\.|[Vv]ereda|[Ff]inca|[Cc]aser[ií]o|[Uu]rbanizaci[óo]n|[Rr]esidencial|[Aa]ldea|[Pp]arroquia|[Cc]orregimiento|[Ee]jido|[Pp]oblaci[óo]n|[Cc]omunidad|[Rr]ancher[ií]a|[Ff]raccionamiento|[Cc]ant[óo]n|[Pp]edan[ií]a|[Rr]egi[óo]n|[Pp]rovincia|[Dd]epartamento|[Cc]omuna|r[ií]o|pueblo)[ ](?:de[ ](?:la[ ]|las[ ]|los[ ])?|del[ ])?{WORD}(?:[ ]+(?!{HEAD})(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,3}}",
            check=lambda m: not re.match(r"(?i)(?:departamento|comunidad|poblaci[óo]n|regi[óo]n) (?:de |del )?(?:medic|salud|cirug|aut[óo]n|general|pedi|ur|anato|admi|anest|radi|neuro|pato|gine|obste|oft|nefro|cardi|derma|inmu|micro|bio|farma|enfer|onco|onkol|hemat|psiq|psic|reuma|rehab|trauma|ortop|otorr|odonto|estoma|fisio|c[oó]|gen[ée]t|endoc|nutri|diges)", m[0]),
            score=0.8,
        ),
        rule("LOCATION", r"(?<![\w-])(?:manzan[ao]|mz\.|solar|casa|interior|apto\.?|departamento|depto\.?|consultorio|torre|bloque|villa|km\.?|kil[óo]metro)[ ](?:n\.?[º°][ ]?)?\d{1,4}(?:[ ]?[A-Z]\b|-\w{1,3})?(?![\w.]\d)", flags=re.I, score=0.7),
        # a street without its kind, known by the postal code behind its number
        rule("LOCATION", rf"(?<![\w-])(?P<v>(?!{HEAD}){WORD}(?:[ ]+(?!{HEAD})(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,4}}{NUMBER}(?:{FLOOR}){{0,2}})(?=[ .,–-]{{1,5}}(?:E-)?(?:\d{{5}}\b|(?:{PLACES}){EDGE}))", score=0.8),
        rule("ZIP", rf"(?<=[.,–-][ ])(?P<v>\d{{4}}|\d{{6}})[ ]+(?:{PLACES}|{COUNTRIES}){EDGE}", score=0.7),
        # what stands between a postal code and a province or country is the town
        rule("LOCATION", rf"(?:{NUMBER}(?:{FLOOR}){{0,2}}|[Ss]/[Nn])[ ]*[,.–-]*[ ]+(?P<v>(?:E-)?\d{{5}}[ ,.–-]{{0,4}}(?!{HEAD}){WORD}(?:[ ]+(?!{HEAD})(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,3}})", score=0.9),
        rule("LOCATION", rf"(?<![\d.,/-])(?P<v>\d{{5}}[ ,.–-]{{1,4}}{WORD}(?:[ ]+(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,3}})[ ]?[,.]?[ ]?\(?(?:{PLACES}|{COUNTRIES}){EDGE}", score=0.9),
        rule("LOCATION", rf"(?<![\w-])(?P<v>(?!{HEAD}){WORD}(?:[ ]+(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,2}}),[ ](?:{PLACES}|{COUNTRIES}){EDGE}", check=_town, score=0.6),
        rule("LOCATION", rf"(?<![\w-])(?P<v>(?!{HEAD}){WORD}(?:[ ]+(?:{PARTICLE}[ ]+){{0,2}}(?!{HEAD}){WORD}){{0,2}})[ ]?\((?:{PLACES}|{COUNTRIES})\)", check=_town, score=0.7),
        rule("ORGANIZATION", rf"(?<![\w-]){CARE}{AFTER}{{1,7}}", check=_care, score=0.9),
        rule("ORGANIZATION", rf"(?<![\w-])(?i:hospital|cl[ií]nica|sanatorio)[ ]+(?:de[ ]+)?[\"“«]{WORD}(?:(?![”»])[^\"\n]){{0,40}}[\"”»]", score=0.9),
        rule("LOCATION", rf"(?<![\w-])(?:{COUNTRIES}){EDGE}", check=_no_method, score=0.9),
        rule("LOCATION", rf"(?<![\w-])(?:{PLACES}){EDGE}", check=_no_method, score=0.8),
        rule("LOCATION", rf"(?i:\b(?:natural|procedente|residente|vecin[oa]|originari[oa]|oriund[oa]|domiciliad[oa]|nacid[oa]|reside|vive|resid[ií]a|viaj[óe] a|viaje a)[ ](?:de|en|a)?[ ]?)(?P<v>{WORD}(?:[ ]+(?!{HEAD})(?:{PARTICLE}[ ]+){{0,2}}{WORD}){{0,3}})", score=0.8),
    )  # fmt: skip
