"""Spanish: what MEDDOCAN's guideline adds to the 18 categories, and what a tagger may mark. The categories have their tables."""

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
    ("viene con su madre (María)", "NAME", "María"),
    ("su esposo, Diego Maldonado Jimenez, llamó", "NAME", "Diego Maldonado Jimenez"),
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
    ("Pauta de 3 días con corticoide", "3 días con corticoide", "DATE"),
    ("Entró por la puerta", "puerta", "NAME"),
    ("lo ve la Dra. Alta con tratamiento", "Alta", "NAME"),
    ("su madre Parkinson, su padre Crohn", "Parkinson", "NAME"),
    ("Toma 25000ui cada semana", "25000ui", "ID"),
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
    ("con muestra 88213kb", "88213kb", "ID"),
    ("vive con su ahijado", "su ahijado", "PROFESSION"),
    ("su prima Yolanda", "prima", "RELATIVE"),
    ("paciente femenina", "femenina", "SEX"),
    ("en todo minúsculas: crisanta vive en quilicura", "quilicura", "LOCATION"),
    ("trasladado a Rosario", "Rosario", "LOCATION"),
    ("Acude con gertrudis, que la cuida", "gertrudis", "NAME"),
    ("Lo trae fernández quiroga en coche", "fernández quiroga", "NAME"),
    ("vino a los 3 días, el 14 de Mayo", "3 días, el 14 de Mayo", "DATE"),
    ("tras 2 semanas Mayo", "2 semanas Mayo", "DATE"),
    ("lo ve la Dra. Alta.", "Alta", "NAME"),
    ("Paciente: Parkinson", "Parkinson", "NAME"),
    ("con su hijo Wilson", "Wilson", "NAME"),
    ("la enfermera Kelly informa", "Kelly", "NAME"),
]


@pytest.mark.parametrize(("text", "value", "label"), REMOVED)
def test_what_a_tagger_marks_and_goes(text: str, value: str, label: str) -> None:
    start = text.index(value)
    assert not SPANISH.keeps(text, Span(start=start, end=start + len(value), label=label, source="tagger"))


@pytest.mark.parametrize("wrong", ["12345678A", "X1234567A", "12.345.678-9"])
def test_a_wrong_check_digit_proves_nothing(wrong: str) -> None:
    """Without a label a code with a wrong check digit is at most a bare number."""
    assert ("ID", wrong) not in found(f"valor {wrong} en la muestra")
