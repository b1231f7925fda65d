"""Spanish recognizers: what they must find, near misses that must stay, and how long a hostile text may hold them up."""

from __future__ import annotations

import pytest
from nosology.deid.languages import language
from nosology.records import Span

SPANISH = language("es")


def found(text: str) -> list[tuple[str, str]]:
    """Label and value of every finding of every recognizer."""
    spans = []
    for name in SPANISH.recognizers:
        spans += list(SPANISH.recognizer(name).find(text))
    return [(span.label, text[span.start : span.end]) for span in spans]


FINDS = [
    # dates
    ("Ingresa el 12-04-19 por disnea.", "DATE", "12-04-19"),
    ("Nacido el 3 de marzo de 2019 en casa.", "DATE", "3 de marzo de 2019"),
    ("Visto en abril de 2015 por fiebre.", "DATE", "abril de 2015"),
    ("Acudió el pasado lunes 5 con su madre.", "DATE", "pasado lunes 5"),
    ("Revisión el martes, 14 de mayo.", "DATE", "martes, 14 de mayo"),
    ("Control del 3 al 15 de junio de 2020.", "DATE", "3 al 15 de junio de 2020"),
    ("TAC (12-MAR-2018) normal.", "DATE", "12-MAR-2018"),
    ("Alta: 2021-07-30.", "DATE", "2021-07-30"),
    ("Desde diciembre-08 con dolor.", "DATE", "diciembre-08"),
    ("Ingresó en noviembre por sepsis.", "DATE", "noviembre"),
    # identifiers; every number with a checksum is made up and passes it
    ("DNI 12345678Z.", "ID", "12345678Z"),
    ("aporta 12.345.678-Z al ingreso", "ID", "12.345.678-Z"),
    ("extranjera, X1234567L, sin seguro", "ID", "X1234567L"),
    ("NASS: 28 12345678 40.", "BENEFICIARY", "28 12345678 40"),
    ("Nº Seguridad Social: 281234567840", "BENEFICIARY", "281234567840"),
    ("CIP: ABCD123456789012", "BENEFICIARY", "ABCD123456789012"),
    ("NHC: 2569870.", "MRN", "2569870"),
    ("Nº de historia clínica: HC-88231", "MRN", "HC-88231"),
    ("Médico: Ana Ruiz NºCol: 28 28 20943.", "LICENSE", "28 28 20943"),
    ("Colegiado nº 282867345", "LICENSE", "282867345"),
    ("Episodio: 7345609", "ACCOUNT", "7345609"),
    ("matrícula 4821 KLM", "VEHICLE", "4821 KLM"),
    ("clave GODE561231HDFRRN00 del INE", "ID", "GODE561231HDFRRN00"),
    ("figura 28 12345678 40 en el volante", "BENEFICIARY", "28 12345678 40"),
    ("consta 20-12345678-6 en la ficha", "ID", "20-12345678-6"),
    ("RUT 12.345.678-5, FONASA", "ID", "12.345.678-5"),
    ("CUIL 20-12345678-6", "ID", "20-12345678-6"),
    ("cédula de ciudadanía 52.345.678 de Cali", "ID", "52.345.678"),
    # telephones
    ("Tel.: 948 255 400", "PHONE", "948 255 400"),
    ("avisar al 612 34 56 78 si fiebre", "PHONE", "612 34 56 78"),
    ("Fax: 93 260 79 82", "FAX", "93 260 79 82"),
    ("móvil +52 55 1234 5678", "PHONE", "+52 55 1234 5678"),
    # places
    ("Domicilio: Calle Carmen Romero, 23, 1D.", "LOCATION", "Calle Carmen Romero, 23, 1D"),
    ("vive en Avda. de la Constitución nº 14, 3º izda.", "LOCATION", "Avda. de la Constitución nº 14, 3º izda"),
    ("Carrera 54 # 46-12 Sur", "LOCATION", "Carrera 54 # 46-12 Sur"),
    ("Plaza de Cruces, s/n", "LOCATION", "Plaza de Cruces, s/n"),
    ("CP: 28035.", "ZIP", "28035"),
    ("País: España.", "LOCATION", "España"),
    ("natural de Villaharta, acude", "LOCATION", "Villaharta"),
    ("trasladado al Hospital Universitario 12 de Octubre", "ORGANIZATION", "Hospital Universitario 12 de Octubre"),
    ("remitida del Centro de Salud Las Calesas", "ORGANIZATION", "Centro de Salud Las Calesas"),
    ("Hospital Virgen de la Macarena", "ORGANIZATION", "Hospital Virgen de la Macarena"),
    # names
    ("Nombre: Pedro.", "NAME", "Pedro"),
    ("Apellidos: De Miguel Rivera.", "NAME", "De Miguel Rivera"),
    ("Remitido por: Dra. Estefanía Romero Selas. Email", "NAME", "Estefanía Romero Selas"),
    ("lo comenta la Dra. Parkinson", "NAME", "Parkinson"),
    ("D. Anselmo Quintela refiere", "NAME", "Anselmo Quintela"),
    ("viene con su madre (María)", "NAME", "María"),
    ("su esposo, Diego Maldonado Jimenez, llamó", "NAME", "Diego Maldonado Jimenez"),
    ("Fdo.: Begoña Iza", "NAME", "Begoña Iza"),
    # the patient
    ("Varón de 53 años sin antecedentes", "AGE", "53 años"),
    ("Edad: 47 Sexo: H.", "AGE", "47"),
    ("Edad: 47 Sexo: H.", "SEX", "H"),
    ("niña de 9 meses de vida", "AGE", "9 meses"),
    ("mujer de cuarenta y dos años", "AGE", "cuarenta y dos años"),
    ("su hermana mayor padece asma", "RELATIVE", "hermana mayor"),
    ("Profesión: soldador.", "PROFESSION", "soldador"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "label", "value"), FINDS)
def test_finds(text: str, label: str, value: str) -> None:
    covered = [v for got, v in found(text) if got == label and value in v]
    assert covered, f"no {label} over its value"
    assert min(len(v) for v in covered) <= len(value) + 3, "marks more than the value"


STAYS = [
    "Enfermedad de Parkinson desde hace 5 años, sin temblor.",
    "Se coloca sonda de Foley y se cursa analítica.",
    "Test de Apgar 9/10. Escala de Glasgow 15/15.",
    "Serología de Chagas negativa; signo de Murphy positivo.",
    "Dosis de 500 mg cada 8 horas durante 7 días.",
    "Código CIE-10: I10 y E11.9.",
    "Diagnosticado en 2014, operado en el año 2000.",
    "Disnea de 2 años de evolución.",
    "TA 120/80 mmHg, FC 80 lpm, saturación 98 %.",
    "Déficit de vitamina D. Ingresó en planta.",
    "Trasplante de células madre sin complicaciones.",
    "La vía aérea es permeable; vía oral tolerada.",
    "Clínica compatible con apendicitis. Hospital de día.",
    "Plaquetas 394.000/mm3, leucocitos 12.500, Hb 13,2 g/dl.",
    "Fuerza del 4/5 en brazo derecho, reflejos 2/4.",
    "Baile de San Vito y fuego de San Antonio.",
    "Evolución y comentarios: buena tolerancia.",
    "Enucleación según técnica de T. Millin.",
    "Cultivo con E. Coli y H. Pylori.",
    "I.N.R. de 2,45 y P.C.R. normal.",
    "Departamento de Radiología y Unidad de Nutrición.",
    "CHA2DS2-VASc 4, CD117 positivo, COVID-19 negativa, CA-125 normal.",
    "Criterios de Roma IV. Clasificación de Atlanta. Protocolo 2018-2020.",
    "Los pacientes mayores de 65 años con fibrilación reciben anticoagulación.",
    "Agudeza visual 20/40, dolor 8/10.",
]


@pytest.mark.parametrize("text", STAYS)
def test_near_misses_stay(text: str) -> None:
    assert found(text) == []


KEPT = [
    ("hace 3 meses de la cirugía", "3 meses", "DATE"),
    ("Enfermedad de Crohn activa", "Crohn", "NAME"),
    ("tinción de Ziehl-Neelsen", "Ziehl-Neelsen", "NAME"),
    ("Servicio de Urología", "Servicio", "ORGANIZATION"),
    ("código I10 en el alta", "I10", "ID"),
    ("dosis de 500 mg", "500 mg", "ID"),
    ("Evolución favorable al alta", "Evolución", "NAME"),
    ("dolor en el ciclo 6 de quimioterapia", "ciclo 6", "DATE"),
    ("tensión 128/78 de pie", "128/78", "DATE"),
    ("gestación de 38 semanas por ecografía", "38 semanas", "AGE"),
    ("Dolor que cede con reposo", "reposo", "RELATIVE"),
    ("Presenta fiebre alta", "fiebre", "SEX"),
    ("Exploración sin hallazgos", "sin hallazgos", "LOCATION"),
]


@pytest.mark.parametrize(("text", "value", "label"), KEPT)
def test_what_a_tagger_marks_and_stays(text: str, value: str, label: str) -> None:
    start = text.index(value)
    assert SPANISH.keeps(text, Span(start=start, end=start + len(value), label=label, source="tagger"))


REMOVED = [
    ("ingresó en marzo de 2014 por asma", "marzo de 2014", "DATE"),
    ("acompañado de Crisanta", "Crisanta", "NAME"),
    ("reside en Quilicura", "Quilicura", "LOCATION"),
    ("expediente 88231-7", "88231-7", "ID"),
    ("varón de 53 años", "53 años", "AGE"),
    ("vive con su ahijado", "su ahijado", "PROFESSION"),
    ("su prima Yolanda", "prima", "RELATIVE"),
    ("paciente femenina", "femenina", "SEX"),
    ("en todo minúsculas: crisanta vive en quilicura", "quilicura", "LOCATION"),
    ("trasladado a Rosario", "Rosario", "LOCATION"),
]


@pytest.mark.parametrize(("text", "value", "label"), REMOVED)
def test_what_a_tagger_marks_and_goes(text: str, value: str, label: str) -> None:
    start = text.index(value)
    assert not SPANISH.keeps(text, Span(start=start, end=start + len(value), label=label, source="tagger"))


@pytest.mark.parametrize("wrong", ["12345678A", "X1234567A", "12.345.678-9"])
def test_a_wrong_check_digit_proves_nothing(wrong: str) -> None:
    """Without a label a code with a wrong check digit is at most a bare number."""
    assert ("ID", wrong) not in found(f"valor {wrong} en la muestra")


@pytest.mark.parametrize(
    "unit", ["A", "Aa ", "1 ", "Calle ", "de ", "Calle de ", "María ", ", ", "12/", "Hospital de la ", "\n", "Dr. ", " ", "-", "%", "_"]
)
def test_what_stands_behind_a_hostile_repetition_is_found(unit: str) -> None:
    """A pattern that backtracks without bound would not come back from these."""
    assert ("ID", "12345678Z") in found(unit * 3000 + "\nDNI: 12345678Z")
