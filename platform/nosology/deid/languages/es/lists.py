"""The word lists of this folder, and the Spanish forms that several recognizers share."""

from __future__ import annotations

from pathlib import Path

MONTH = r"(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|setiembre|octubre|noviembre|diciembre)"
UPPER = r"[A-ZÁÉÍÓÚÜÑÀÈÌÒÙÇÂÊÎÔÛÄËÏÖ]"
LETTER = r"[A-Za-zÁÉÍÓÚÜÑÀÈÌÒÙÇÂÊÎÔÛÄËÏÖáéíóúüñàèìòùçâêîôûäëïöªº·'’´`]"
WORD = rf"{UPPER}{LETTER}*(?:-{UPPER}?{LETTER}+)?"
# what begins another field, a department or an address, and so ends a name
HEAD = (
    r"(?:Ser[vV]i[cv]i[oa]|Servei|SERVICIO|Hospita|HOSPITAL|Unidad|UNIDAD|Unitat|Departament|Dpto|Depto|Secci[óo]n|Cl[ií]nica|Centro|Complejo|Consulta|Universi|Facultad|Fundaci|Institut|Calle\b|Avda|Avenid|Paseo|Plaza"
    r"|Residente|M[ée]dic[oa]|Jef[ea]\b|Adjunt[oa]|Supervisora|Email|E-mail|Correo|Tel(?:\b|[ée]f)|Tfno|Fax|N[º°]|No(?:\.|\s?[Cc]ol|\s\d)|Col\.|Colegiad|DNI|NHC|NASS|CIP|CP|Edad|Sexo|Fecha|Pa[ií]s\s*:|Domicilio|Direcci|Localidad|Apellido|Nombre\b|Especial|Episodio"
    r"|Edificio|Barrio\b|Colonia|Urbaniz|Historia|Informe|Antecedentes|Motivo|Paciente|Cirug|Patolog|Anatom|Urolog|Dr\b|Dra\b|Residencia|Planta|Psic|Onco|Cardio|Neuro|Derma|Oftalmo|Enferm|El\b|La\b|Se\b|Los\b|Las\b|En\b|Un\b|Una\b|Ante\b|Tras\b|No\b)"
)
PARTICLE = r"(?:de la|de las|de los|de|del|la|las|los|el|y|i|e|da|do|dos|van|von|San|Santa)"


def words(file: str) -> frozenset[str]:
    """The entries of a list, one a line, lower case; lines that start with # are comments."""
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip().lower() for line in lines if line.strip() and not line.startswith("#"))


def listed(file: str) -> tuple[str, ...]:
    """The entries of a list as they stand, the longest first, for a pattern that tries them in turn."""
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    return tuple(sorted((line.strip() for line in lines if line.strip() and not line.startswith("#")), key=lambda w: (-len(w), w)))
