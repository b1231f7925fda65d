"""Codes that name a concept, a study, a sequence, a standard or a section of a text: they are the same in every record, and name no person.

Sources: registers of trials ClinicalTrials.gov, ISRCTN, EU CTR and CTIS; accession numbers of RefSeq (NCBI) and Ensembl, of dbSNP and COSMIC;
HGVS nomenclature 21; names of HLA alleles (WHO Nomenclature Committee); HL7 v2.5.1, table 0396 (names of code systems).
"""

from __future__ import annotations

import re

_TRIAL = r"(?i:NCT)[ -]?\d{8}|ISRCTN\d{5,8}|(?i:EudraCT)\W{0,3}\d{4}-\d{6}-\d\d|ACTRN\d{14}|(?:DRKS|UMIN|JapicCTI-)\d{6,9}"
_SEQUENCE = r"[NXY][CGMPRTWZ]_\d{6,9}(?:\.\d{1,2})?|ENS[GTPE]\d{11}(?:\.\d{1,2})?|LRG_\d{1,4}\w{0,3}|rs\d{3,10}|COS[MV]\d{2,9}"
# amino acids by three letters: Arg248Gln
_ACID = r"(?:Ala|Arg|Asn|Asp|Cys|Gln|Glu|Gly|His|Ile|Leu|Lys|Met|Phe|Pro|Ser|Thr|Trp|Tyr|Val|Ter)"
_VARIANT = rf"[cgmnrp]\.\(?[*\w>+=?-]+\)?|\d+(?:_\d+)?(?:del|dup|ins|fs)\w*|{_ACID}\d{{1,5}}(?:{_ACID}|\*|=|fs)(?:\*?\d{{0,4}})?"
_ALLELE = r"HLA-[A-Z]{1,4}\d?(?:\*?\d{1,3}(?::\d{1,3}){0,3})?"
_STANDARD = r"(?:ISO|IEC|ISO/IEC|DIN|ANSI|ASTM|NFPA|UNE)[ -]?\d{3,5}(?:[-:]\d{1,4}){0,2}|(?:FY|CY)[ -]?(?:20)?\d\d(?:[-–/](?:20)?\d\d)?"  # noqa: RUF001
_CONCEPT = r"\d{1,7}-\d\^[^\^|~]{0,60}(?:\^(?:LN|L))?|[A-Z0-9.-]{2,8}\^[^\^|~]{1,60}\^(?:LN|L|SCT|I9|I10|C4|RXNORM|CVX|99\w{2,4})"
_PART = re.compile(rf"{_TRIAL}|{_SEQUENCE}|{_VARIANT}|{_ALLELE}")
_WHOLE = re.compile(rf"{_STANDARD}|{_CONCEPT}|{_ALLELE}")
_CONCEPT_BEHIND = re.compile(r"\d{1,7}-\d\^[^\^|~\n]{1,60}\^LN(?![A-Za-z])")  # a part of it alone was marked
_GENE = re.compile(r"[A-Z][A-Z0-9-]{1,9}")
_SECTION = re.compile(r"\d{1,2}\.\d{1,2}\.\d(?:\.\d{1,2})?")  # of a text: no year has one digit
_NAMED = r"snomed(?:[ -]?ct)?|sct|rxnorm|rxcui|loinc|ndc|(?:icd|cie)(?:-?\w{1,3})?|cpt|hcpcs|(?:ms-)?drg|pmid|pmc|doi|nct|umls|cui|taxonomy|eudract|ctis"
_BETWEEN = r"\W{0,6}(?:\w{1,4}\W{1,3})?[(\[]?$"
_SYSTEM = re.compile(rf"(?:{_NAMED}){_BETWEEN}", re.I)
_CODE = re.compile(rf"(?:{_NAMED}|code|c[óo]digo){_BETWEEN}", re.I)
_OF_A_SYSTEM = re.compile(rf"(?:{_NAMED})\W{{1,3}}(?:(?:codes?|c[óo]digos?)\W{{1,2}})?[A-Z]?\d[\w.-]*", re.I)
_NUMBER = re.compile(r"\d[\d.-]{0,20}")
_EDITION = re.compile(r"(?:icd|cie)\W?$", re.I)
_OF_AN_EDITION = re.compile(r"-?(?:9|10|11)(?:[- ]?(?:CM|MC|ES|PCS))?[ :,]{1,3}[A-Z]?\d[\dA-Z]{1,3}(?:\.[\dA-Z]{1,4})?")


def after_system(text: str, start: int) -> bool:
    """Whether what stands before text[start] names the code system that a number belongs to, or calls it a code."""
    return _CODE.search(text, max(0, start - 24), start) is not None


def is_public(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is made of such codes, and of the genes that they belong to."""
    value = text[start:end]
    if _WHOLE.fullmatch(value) or _OF_A_SYSTEM.fullmatch(value) or _SECTION.fullmatch(value) or _CONCEPT_BEHIND.match(text, start):
        return True
    if _NUMBER.fullmatch(value) and _SYSTEM.search(text, max(0, start - 24), start):
        return True
    if _OF_AN_EDITION.fullmatch(value):
        return _EDITION.search(text, max(0, start - 5), start) is not None
    parts = [part for part in re.split(r"[\s,;:/]+", value) if part]
    parts = [part.strip("()") if part[0] == "(" else part for part in parts]
    coded = [bool(_PART.fullmatch(part)) for part in parts]
    return any(coded) and all(code or _GENE.fullmatch(part) for code, part in zip(coded, parts, strict=True))
