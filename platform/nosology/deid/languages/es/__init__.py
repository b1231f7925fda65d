"""Spanish, of Spain and of Latin America."""

from __future__ import annotations

from pathlib import Path

from nosology.deid.languages import Language
from nosology.deid.languages.es.days import CALENDAR
from nosology.deid.languages.es.keep import COMMON, keeps
from nosology.deid.languages.es.names import AS_WORDS, BORNE, EPONYMS, FAMILY, GIVEN, ORDINARY, is_eponym, shows_person

HERE = Path(__file__).parent

KINDS = """informe nota alta ingreso evolución consulta urgencias epicrisis historia clínica hoja resumen interconsulta enfermería radiología
    laboratorio anatomía patológica quirúrgico quirúrgica derivación de del y"""

LANGUAGE = Language(
    code="es",
    policy="meddocan",
    policies=("meddocan", "safe_harbor"),
    calendar=CALENDAR,
    recognizers={
        "dates": "nosology.deid.languages.es.dates:Dates",
        "identifiers": "nosology.deid.languages.es.identifiers:Identifiers",
        "names": "nosology.deid.languages.es.names:Names",
        "phones_es": "nosology.deid.languages.es.phones:Phones",
        "places": "nosology.deid.languages.es.places:Places",
        "subjects": "nosology.deid.languages.es.subjects:Subjects",
    },
    tagger=HERE / "tagger",
    keeps=keeps,
    is_eponym=is_eponym,
    shows_person=shows_person,
    ordinary=ORDINARY,
    kinds=frozenset(KINDS.split()),
    label_words=ORDINARY | (COMMON - GIVEN - FAMILY),
    sure_eponyms=EPONYMS,
    borne=BORNE,
    forenames=frozenset(),
    everyday=AS_WORDS | COMMON,
    listed={},
    code_labels=("NHC", "DNI", "NIE", "NASS", "VIN", "IMEI", "UDI", "ID"),
    keeps_zip=False,
)
