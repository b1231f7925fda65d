"""Codes that name a concept, a study, a sequence, a standard or a section of a text: they are the same in every record, and name no person.

Sources: registers of trials ClinicalTrials.gov, ISRCTN, EU CTR and CTIS; accession numbers of RefSeq (NCBI) and Ensembl, of dbSNP and COSMIC;
HGVS nomenclature 21; names of HLA alleles (WHO Nomenclature Committee); HL7 v2.5.1, table 0396 (names of code systems); of the code systems
the form of their codes.
"""

from __future__ import annotations

import re

from nosology.deid.checksums import with_sctid

_TRIAL = r"(?i:NCT)[ -]?\d{8}|ISRCTN\d{5,8}|ACTRN\d{14}|(?:DRKS|UMIN|JapicCTI-)\d{6,9}"
_SEQUENCE = r"[NXY][CGMPRTWZ]_\d{6,9}(?:\.\d{1,2})?|ENS[GTPE]\d{11}(?:\.\d{1,2})?|LRG_\d{1,4}\w{0,3}|rs\d{3,10}|COS[MV]\d{2,9}"
# amino acids by three letters: Arg248Gln
_ACID = r"(?:Ala|Arg|Asn|Asp|Cys|Gln|Glu|Gly|His|Ile|Leu|Lys|Met|Phe|Pro|Ser|Thr|Trp|Tyr|Val|Ter)"
_PLACE = r"[-*]?\d{1,7}(?:[-+]\d{1,6})?"
_CHANGE = r"(?:[ACGTUacgtu]{1,20}>[ACGTUacgtu]{1,20}|(?:del|dup|ins|inv|con)[A-Za-z]{0,20}|=)"
_VARIANT = (
    rf"[cgmnr]\.\(?{_PLACE}(?:_{_PLACE})?{_CHANGE}\)?|\d{{1,7}}(?:_\d{{1,7}})?(?:del|dup|ins|inv)[A-Za-z]{{0,20}}"
    rf"|(?:p\.\(?)?{_ACID}\d{{1,5}}(?:_{_ACID}\d{{1,5}})?(?:{_ACID}|\*|=|fs|del|dup|ins|ext)(?:{_ACID}|\*|\d){{0,6}}\)?"
    r"|p\.\(?[A-Z]\d{1,5}(?:[A-Z*=]|fs|del)\w{0,6}\)?"
)
_ALLELE = r"HLA-[A-Z]{1,4}\d?(?:\*?\d{1,3}(?::\d{1,3}){0,3})?"
_STANDARD = r"(?:ISO|IEC|ISO/IEC|DIN|ANSI|ASTM|NFPA|UNE)[ -]?\d{3,5}(?:[-:]\d{1,4}){0,2}|(?:FY|CY)[ -]?(?:20)?\d\d(?:[-–/](?:20)?\d\d)?"  # noqa: RUF001
_CONCEPT = r"\d{1,7}-\d\^[^\^|~]{0,60}(?:\^(?:LN|L))?|[A-Z0-9.-]{2,8}\^[^\^|~]{1,60}\^(?:LN|L|SCT|I9|I10|C4|RXNORM|CVX|99\w{2,4})"
_PART = re.compile(rf"{_TRIAL}|{_SEQUENCE}|{_VARIANT}|{_ALLELE}")
_WHOLE = re.compile(rf"{_STANDARD}|{_CONCEPT}|{_ALLELE}")
_CONCEPT_BEHIND = re.compile(r"\d{1,7}-\d\^[^\^|~\n]{1,60}\^LN(?![A-Za-z])")  # a part of it alone was marked
_GENE = re.compile(r"[A-Z][A-Z0-9-]{1,9}")
_SECTION = re.compile(r"\d{1,2}\.\d{1,2}\.\d(?:\.\d{1,2})?")  # of a text: no year has one digit

# names of code systems, which mean other things too (ICD: a defibrillator, SCT: a transplant, DOI: the day of an injury), so that what follows
# must have the form of their codes
_FORMS = {
    r"snomed(?:[ -]?ct)?|sct": r"\d{6,18}",
    r"rxnorm|rxcui": r"\d{2,7}",
    r"loinc": r"\d{1,7}-\d",
    r"ndc": r"\d{4,5}-\d{3,4}(?:-\d{1,2})?|\d{10,11}",
    r"(?:icd|cie)(?:-?(?:9|10|11|o))?(?:-?(?:cm|pcs|mc|es))?": r"-?(?:(?:9|10|11)(?:[- ]?(?:cm|pcs|mc|es))?[ :,]{1,3})?(?:[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|\d{3}\.\d{1,2}|V\d\d(?:\.\d{1,2})?)",
    r"cpt": r"\d{5}(?:-\d\d)?",
    r"hcpcs": r"[A-V]\d{4}",
    r"(?:ms-?)?drg": r"\d{3}",
    r"pmid": r"\d{5,8}",
    r"pmc": r"\d{5,8}",
    r"doi": r"10\.\d{4,9}/\S{1,60}",
    r"nct": r"\d{8}",
    r"umls|cui": r"C\d{7}",
    r"taxonomy": r"\d{3}[A-Z0-9]{6}X",
    r"eudract|ctis|eu ctr": r"\d{4}-\d{6}-\d\d(?:-\d\d)?",
}  # fmt: skip
_BETWEEN = r"\W{0,6}(?:(?:codes?|c[óo]digos?|is|id|no|n[úu]m(?:ero)?|number|ct|us)\W{1,3})?[(\[]?"
_BEFORE = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(f'({names})' for names in _FORMS)}){_BETWEEN}\Z", re.I)
_WITH = [re.compile(rf"(?:{names}){_BETWEEN}(?:{form})", re.I) for names, form in _FORMS.items()]
_OF = [re.compile(form, re.I) for form in _FORMS.values()]
_CODE = re.compile(r"(?:\bcode|c[óo]digo)\W{0,6}[(\[]?\Z", re.I)
_SNOMED = 0  # the place of its names, whose codes have a check digit


def after_system(text: str, start: int, end: int) -> bool:
    """Whether what stands before text[start:end] names the code system that it is a code of."""
    before = _BEFORE.search(text, max(0, start - 32), start)
    if before is None or before.lastindex is None:
        return False
    place, value = before.lastindex - 1, text[start:end]
    if not _OF[place].fullmatch(value):
        return False
    return place != _SNOMED or with_sctid(value) == value


def called_code(text: str, start: int, end: int) -> bool:
    """Whether it is called a code at least, which says enough of a bare number that nothing else marks."""
    return after_system(text, start, end) or _CODE.search(text, max(0, start - 24), start) is not None


def is_public(text: str, start: int, end: int, *, named: bool = True) -> bool:
    """Whether text[start:end] is made of such codes, and of the genes that they belong to.

    Args:
        named: by the name of its system too, before it or in it, and not by its form alone; of what reads as a day such a name says nothing.
    """
    value = text[start:end]
    if _WHOLE.fullmatch(value) or _SECTION.fullmatch(value) or _CONCEPT_BEHIND.match(text, start):
        return True
    if named and (after_system(text, start, end) or any(one.fullmatch(value) for one in _WITH)):
        return True
    parts = [part for part in re.split(r"[\s,;:/]+", value) if part]
    parts = [part.strip("()") if part[0] == "(" else part for part in parts]
    coded = [bool(_PART.fullmatch(part)) for part in parts]
    return any(coded) and all(code or _GENE.fullmatch(part) for code, part in zip(coded, parts, strict=True))
