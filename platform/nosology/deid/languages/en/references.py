"""Codes behind a word that names their kind without "number" (`chart RO/66-204`, `plate GXR 118`, `lot MNTK7Q`), and by their build.

45 CFR 164.514(b)(2)(i)(H) to (M), (P) to (R). The word alone is ordinary language ("lot of pain", "case is stable"), so what follows has
to look like a code: letters and digits together, or digits in groups.
"""

from __future__ import annotations

import re

from nosology.deid.languages.en.lists import COMMON, EVERYDAY
from nosology.deid.patterns import Patterns, rule
from nosology.deid.quantities import QUANTITY

START = r"(?<![A-Za-z0-9[])"  # not the tag that an earlier pass put there
LINK = (
    r"\W{0,3}(?i:(?:numbers?|no|nr|num|id|ids|ref|refs|code|is|was|file|files|card|on file|enrollment|ending|for the stay|#)\b\W{0,3}){0,3}"
)
UNIT = (
    r"\s?(?:%|mg|mcg|µg|ug|g|kg|lbs?|ml|l|dl|cc|cm|mm|m|iu|units?|meq|mmol|bpm|mmhg|hrs?|h|days?|d|weeks?|wks?|months?|mos?|years?|yrs?|y"
    r"|y/?o|am|pm|min|minutes|fr|gauge|tabs?|pills?|doses?|puffs?|x)\b"
)
GROUP = r"(?:[A-Za-z]+(?:[./_-][A-Za-z]+)*[./_-]?)?\d[A-Za-z0-9]*(?:[./_-][A-Za-z0-9]+)*"  # a digit in it
# a code; behind capitals or before more digits it may hold blanks
CODE = (
    rf"(?P<v>(?:[A-Z]{{1,4}}[ ./-]){{0,2}}{GROUP}(?: \d[\dA-Z-]{{0,9}}\b(?!{UNIT})){{0,3}}(?: [A-Z]{{1,3}}\b(?=\W|$)(?! [a-z]))?)(?![\w/-])"
)

_YEAR = re.compile(r"(?:19|20)\d\d")
_UNIT = re.compile(UNIT, re.I)
_QUANTITY = re.compile(QUANTITY)
_COUNTED = re.compile(r"\s?(?:of|to|and|or|with|out|per)\b", re.I)  # what follows a small number in a sentence
_CLINICAL = re.compile(
    r"[A-TV-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?|[A-Z]\d{4}|\d{4,5}[A-Z]?(?:-\d\d)?|[CTLSD]\d{1,2}(?:[-/][CTLSD]?\d{1,2})+|[A-Z]{1,4}-?\d{1,3}[a-z]?"
    r"|\d{1,3}(?:[./-]\d{1,3})*[a-z]*|rs\d+|[NX][MPCR]_\d+(?:\.\d+)?|(?:NCT|PMC|PMID|ISRCTN|EUDRACT|RRID)\W?\d+|M\d{4}/\d",
)
_PUBLIC = re.compile(
    r"(?:snomed|sct|rxnorm|rxcui|loinc|ndc|icd(?:-?\w{1,3})?|cpt|hcpcs|drg|pmid|pmc|doi|nct|umls|cui|taxonomy|din|atc|gene|snp|variant|transcript"
    r"|exon|allele|strain|serotype|version|iso|grant|trial|protocol|guideline|chapter|table|figure|fig|section|page|category|class|stage|grade"
    r"|type|dsm|hpo|omim|ec|cas|model|box|route|rte|highway|hwy|score|gcs|code[sd]?|study)\W{0,3}$",
    re.I,
)


def _code(match: re.Match[str]) -> bool:
    """At least two digits beside letters or a separator, or four digits; no year, measure, clinical or public code."""
    value = match["v"]
    digits = sum(c.isdigit() for c in value)
    if digits < 2 or len(value) < 4 or _YEAR.fullmatch(value) or _UNIT.match(match.string, match.end("v")):
        return False
    if digits < 4 and _COUNTED.match(match.string, match.end("v")):
        return False
    if re.fullmatch(r"\d{1,2}[/.-]\d{1,2}(?:[/.-]\d{2,4})?|\d{1,2}:\d\d|\d+\.\d+|(?:19|20)\d\d(?:[-/](?:19|20)?\d\d)?", value):
        return False
    first, _, rest = value.partition(" ")
    if _QUANTITY.fullmatch(first) and not any(c.isdigit() for c in rest) or re.fullmatch(r"\d{1,3}-?[a-z]+(?:-[a-z]+)*", value):
        return False
    return digits >= 4 or any(not c.isdigit() for c in value)


def _built(match: re.Match[str]) -> bool:
    """A code by its build alone: a run of four digits or more that is no year, or six digits in three groups, among capitals."""
    value = match["v"]
    runs = re.findall(r"\d+", value)
    if _CLINICAL.fullmatch(value) or _PUBLIC.search(match.string, max(0, match.start("v") - 24), match.start("v")):
        return False
    if value.upper().startswith(
        ("NCT", "PMC", "PMID", "ICD-", "CPT", "COVID", "SARS", "ISO", "DSM", "ENST", "ENSG", "GRCH", "LOINC", "NDC", "FY", "CY")
    ):
        return False
    if re.search(r"[a-z]", value):
        return False
    return any(len(run) >= 4 and not (len(run) == 4 and _YEAR.fullmatch(run)) for run in runs) or (
        len(runs) >= 3 and sum(map(len, runs)) >= 6
    )


def _handle(match: re.Match[str]) -> bool:
    """No word that notes put behind an @ (`pain @rest`, `5 mg @bedtime`)."""
    return match["v"].lower() not in COMMON and match["v"].lower() not in EVERYDAY


def _referred(label: str, names: str) -> tuple[str, str]:
    return label, rf"{START}(?i:(?:{names})(?:'s)?)(?![A-Za-z]){LINK}{CODE}"


REFERRED = (
    _referred("MRN", r"chart|mrn|hosp|record|medical record|unit number|face ?sheet"),
    _referred(
        "BENEFICIARY",
        r"group|subscriber|member|policy|plan|medicaid|medi-?cal|medicare|mbi|supplement|medigap|insurance(?: \w+)?|coverage|payer|benefit card"
        r"|tricare|champva|health plan",
    ),
    _referred(
        "ACCOUNT",
        r"account|acct|claim|comp claim|auth|prior auth(?:orization)?|preauth|authorization|encounter|visit|invoice|bill(?: to)?|statement"
        r"|guarantor|case|compensation case|denial|appeal|referral|order|accession|check|ledger|folio|rx|prescription",
    ),
    _referred("LICENSE", r"licen[sc]e|lic|licensure|certificate|cert|registration|permit|dea|npi|passport|credential|driver'?s licen[sc]e"),
    _referred(
        "VEHICLE",
        r"(?:licen[sc]e )?plates?|tags?(?= [A-Z0-9]{2,4}[ -]?[A-Z0-9]{2,5}\b)|hull number|hull|tail(?: number)?|my car|vehicle|helicopter|aircraft|by air",
    ),
    _referred(
        "BIOMETRIC",
        r"biometric|finger ?prints?|thumb ?prints?|prints|foot ?prints?(?: taken)?|palm ?(?:vein|print)(?: failed)?|iris|retina(?:l scan)?|voice ?(?:print|sample)|hand geometry|face ?id|gait",
    ),
    _referred("PHOTO", r"photos?|photographs?|pictures?|images?(?: stored as)?|camera|snapshot|facial image|video|film|selfie|headshot"),
    _referred(
        "DEVICE",
        r"lot|serial|s/n|sn|ref(?= [A-Z0-9-]{6,})|device(?: log)?|implant|generator|lead|pump|valve|stent|graft lot|screws lot|plate lot|pacer|icd(?= [A-Z]{2,4}\d{4,})|cgm|probe|transmitter|sensor|receiver|model",
    ),
    _referred(
        "ID",
        r"badge|study|subject|participant|donor|recipient|unos|optn|specimen|block|slide|band|umbilical band|wristband|report|ticket|token|case file"
        r"|docket|leave|employee|emp|student|inmate|booking|unit|bag|kit|barcode|tracking|reference|confirmation|cohort|enrollee|user(?:name)?|login"
        r"|handle|id",
    ),
)


class References(Patterns):
    """Codes behind the name of their kind, codes by their build, aircraft, handles."""

    name = "references"
    rules = (
        *(rule(label, pattern, check=_code, score=0.8) for label, pattern in REFERRED),
        rule(
            "ID", r"(?<![\w./-])(?P<v>(?=[\w/.-]{0,30}\d)[A-Z][A-Z0-9]{0,9}(?:[/-][A-Z0-9]{1,12}){1,5})(?![\w/-])", check=_built, score=0.4
        ),
        rule("ID", r"(?<![\w./-])(?P<v>[A-Z]{1,4}\d{2}-\d{4,8}(?:-[A-Z0-9]{1,4})?)(?![\w/-])", check=_built, score=0.4),
        rule("ID", r"(?<![\w./-])(?P<v>\d{2,9}-[A-Z]{1,5}-?\d{2,9}(?:-[A-Z0-9]{1,6})*)(?![\w/-])", check=_built, score=0.4),
        rule("ID", r"(?<![\w./-])(?P<v>[A-Z]{2}\d{2}[A-Z0-9]{0,3}\d{4,12})(?![\w/-])", check=_built, score=0.4),
        rule(
            "VEHICLE",
            rf"{START}(?i:plates?|tags?|registration){LINK}(?P<v>[A-Z]{{1,3}}[ -]\d{{2,4}}[ -][A-Z]{{2,3}}|\d{{1,4}}[ -][A-Z]{{2,3}}[ -]\d{{1,4}})(?!\w)",
            score=0.8,
        ),
        rule("VEHICLE", r"(?<![\w-])N[1-9]\d{1,3}[A-HJ-NP-Z]{2}(?![\w-])", score=0.6),
        rule("ID", r"(?<![\w@./])@(?P<v>[A-Za-z]{5,30})\b(?![.@])", check=_handle, score=0.5),
        rule(
            "SSN",
            r"(?i:\b(?:ssn|social(?: security)?)\b\W{0,3}(?:number )?(?:ending(?: in)?|ends (?:in|with)|last ?(?:4|four))\W{0,3})(?P<v>\d{4})\b",
        ),
    )
