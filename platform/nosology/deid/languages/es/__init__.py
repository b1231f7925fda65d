"""Spanish, of Spain and of Latin America.

The default classes are those of the MEDDOCAN guideline (CNIO, Plan TL, 2019): Safe Harbor's and age, sex, relatives and profession.
"""

from __future__ import annotations

from nosology.deid.languages.es.keep import keeps
from nosology.deid.languages.es.names import EPONYMS, ORDINARY, is_eponym

__all__ = ["EPONYMS", "ORDINARY", "RECOGNIZERS", "is_eponym", "keeps"]

RECOGNIZERS: dict[str, str] = {
    "dates": "nosology.deid.languages.es.dates:Dates",
    "identifiers": "nosology.deid.languages.es.identifiers:Identifiers",
    "names": "nosology.deid.languages.es.names:Names",
    "phones": "nosology.deid.languages.es.phones:Phones",
    "places": "nosology.deid.languages.es.places:Places",
    "subjects": "nosology.deid.languages.es.subjects:Subjects",
}
