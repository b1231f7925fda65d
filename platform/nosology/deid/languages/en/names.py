"""Names of people where context shows that they are names (45 CFR 164.514(b)(2)(i)(A)); the tagger finds the others."""

from __future__ import annotations

import re

from nosology.deid.languages.en.lists import EVERYDAY, FORENAMES, NAMELESS, PLAIN, STOP, SURE_EPONYMS, TOLD
from nosology.deid.languages.en.persons import KIN, MET, ROLE, SPEAKS, after_title, can_be_name, labelled, may_be_name, shows_person
from nosology.deid.patterns import Patterns, rule
from nosology.deid.titles import CREDENTIAL, PARTICLES, TITLES, alternation

CAP = r"[A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĖĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽȘȚ]"
WORD = rf"{CAP}[\w'’-]{{0,40}}"  # longer is no word, and a row of hyphens would be walked through from each of them
PARTICLE = alternation(PARTICLES)
PART = rf"(?:{CAP}[\w'’-]{{0,2}}\.|{WORD})"  # the point behind a longer word ends the sentence
NAME = rf"{PART}(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{PART}){{0,3}}"
FULL_NAME = rf"{PART}(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{PART}){{1,3}}"
LAST_FIRST = rf"{WORD}(?:[ -]{WORD})?,[ \t]*{WORD}(?:[ \t]+{CAP}\b\.?)?"
TITLE = alternation(map(str.capitalize, TITLES))
FORENAME = alternation(map(str.capitalize, FORENAMES))
CARETS = rf"(?<![\w^|&~*]){CAP}[\w'-]{{1,30}}\^{CAP}[\w'-]{{0,30}}(?:\^[A-Za-z][\w.'-]{{0,20}}){{0,2}}(?![\w^])"  # as HL7 parts a name


SHORT = rf"{CAP}[a-zà-ÿ'’-]{{2,30}}"  # a word as names are written
# of persons: race and sex, orders, answers
_NO_INITIALS = frozenset(
    [
        "WM",
        "WF",
        "BM",
        "BF",
        "HM",
        "HF",
        "AF",
        "AM",
        "AAM",
        "AAF",
        "AA",
        "DNR",
        "DNI",
        "DNC",
        "AMA",
        "NPO",
        "ICU",
        "ED",
        "ER",
        "OR",
        "OB",
        "PCP",
        "VA",
        "US",
        "UK",
    ]
)

_GROUPS = frozenset(
    [
        "primip",
        "multip",
        "nullip",
        "marine",
        "filipino",
        "filipina",
        "samoan",
        "tongan",
        "hawaiian",
        "jamaican",
        "cuban",
        "dominican",
        "nigerian",
        "kenyan",
        "ethiopian",
    ]
)


def _titled(match: re.Match[str]) -> bool:
    return after_title(match.string, match, *match.span("v"))


_SCAN = re.compile(r"\w*(?:graphy|grams?|scop\w+|metry)|head|lumbar|relapsing")


def _titled_small(match: re.Match[str]) -> bool:
    """Behind a title in any case: no clinical word behind an ms or mr without its point, and no verb (`dr says`)."""
    word, pointed, short = str(match["v"]).lower(), "." in match[0], match["t"].lower() in ("ms", "mr")
    if short and _SCAN.fullmatch(word):
        return False
    if not pointed and word not in STOP and (short and word in PLAIN or SPEAKS.fullmatch(word)):
        return False
    return _titled(match)


def _titled_capitals(match: re.Match[str]) -> bool:
    """In a text in capitals a sentence can end with the abbreviation (`HISTORY OF MS. WALKS`)."""
    word = str(match["v"]).lower()
    clinical = match["t"] in ("MR", "MS") and (word in PLAIN and word not in STOP or _SCAN.fullmatch(word))
    return not clinical and _titled(match)


def _persons(match: re.Match[str]) -> bool:
    """No word of it is an ordinary capitalised word; clinical headings are such."""
    return can_be_name(match.string, *match.span("v"))


def _introduced(match: re.Match[str]) -> bool:
    return str(match["v"]).lower() in FORENAMES or _persons(match)


def _labelled(match: re.Match[str]) -> bool:
    return labelled(match.string, *match.span("v"))


def _shown(match: re.Match[str]) -> bool:
    return may_be_name(str(match["v"]).split()) and shows_person(match.string, *match.span("v"))


def _met(match: re.Match[str]) -> bool:
    return all(word.lower() in TOLD for word in match["v"].split()) and _shown(match)


def _eponymous(match: re.Match[str]) -> bool:
    """Of a word alone: an eponym that is a name too. Others are left to the tagger."""
    return str(match["v"]).lower() in TOLD and _labelled(match)


def _parted(match: re.Match[str]) -> bool:
    """A name between carets, and no coded element (`GLU^Glucose^L`)."""
    words = [word for word in match[0].split("^") if len(word) > 1]
    return not any(word.lower() in NAMELESS or word.lower() in EVERYDAY for word in words)


def _unusual(match: re.Match[str]) -> bool:
    """No word of it is one that text writes small, nor an eponym or a group of people."""
    words = match["v"].lower().split()
    return not any(word in PLAIN or word in SURE_EPONYMS or word in _GROUPS for word in words)


def _initials(match: re.Match[str]) -> bool:
    return match["v"] not in _NO_INITIALS


class Names(Patterns):
    """Names behind a title, a label, a degree, a signature; names that a sentence introduces."""

    name = "names"
    rules = (
        rule(
            "NAME",
            rf"\b(?P<t>{TITLE})(?:\.[ \t]*|[ \t]+)(?P<v>(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}"
            rf"(?:{CAP}\.(?=[ \t]+{CAP}[a-zà-ÿ])|(?!(?:{'|'.join(sorted(w.capitalize() for w in STOP if w.isalpha()))})\b){WORD}))*)",
            check=_titled,
            score=1.0,
        ),
        # MS in capitals is a disease
        rule("NAME", r"(?<![\w/-])(?<!\d )(?P<t>[Dd]r|[Mm]rs?|[Mm]s|DR|MRS?)\b\.?[ \t]+(?P<v>[a-zA-Z][a-z'’-]{2,})\b", check=_titled_small),
        rule(
            "NAME",
            rf"(?<![\w/-])(?P<t>DR|MRS?|MS|PROF)\.[ \t]+(?P<v>{CAP}{{2,30}}(?:['’-]{CAP}{{1,30}})?)(?![\w-])",
            check=_titled_capitals,
        ),
        rule(
            "NAME",
            rf"(?i:(?<![A-Za-z]){ROLE})(?:\s*[:=]\s*|\s+is\s*:\s*)(?:{TITLE}\.?[ \t]+)?"
            rf"(?P<v>{LAST_FIRST}|{FULL_NAME})",
            check=_labelled,
        ),
        rule(
            "NAME",
            r"(?i:(?<![A-Za-z])(?:(?:patient|full|first|last|given|maiden|family|preferred)[\s_]*name"
            r"|name|surname|electronically signed by|dictated by|pcp|emergency contact"
            rf"|next of kin))\s*[:=]\s*(?:{TITLE}\.?[ \t]+)?(?P<v>{NAME})",
            check=_labelled,
        ),
        rule(
            "NAME",
            rf"\b(?P<v>{WORD}\.?[ \t]+(?:{CAP}\.?[ \t]+)?{WORD}(?:-{WORD})?),?[ \t]+{CREDENTIAL}(?:-[A-Z]{{1,3}})?(?![\w])",
            check=_persons,
        ),
        rule(
            "NAME",
            r"(?i:\b(?:sincerely|regards|respectfully|respectfully submitted|yours truly"
            rf"|thank you|warmly|best))\s*,?\s*\n\s*(?P<v>{FULL_NAME})",
            check=_persons,
        ),
        rule("NAME", rf"/s/\s*(?P<v>{NAME})", check=_persons),
        rule(
            "NAME",
            r"(?i:\b(?:my name is|name is|named|i am called|goes by|known as|his name was"
            rf"|her name was|maiden name was))[ \t]+(?P<v>{NAME})",
            check=_introduced,
        ),
        rule(
            "NAME",
            rf"(?m:^|(?<=[.:\n]\s)|(?<=^))(?P<v>{FULL_NAME})(?=\s+(?:is|was)\s+an?\s+"
            r"(?:\w+\s+){0,3}\d{1,3}[\s-]*(?:year|yr|month|week|day|y\.?o))",
            check=_persons,
            cue=r"\s(?:is|was)\s+an?\s+(?:\w+\s+){0,3}\d",
            flags=re.M,
        ),
        rule(
            "NAME",
            rf"(?m:^)(?P<v>{FULL_NAME})(?=,\s*(?:an?\s+)?\d{{1,3}}[\s-]*(?:year|yr|y\.?o|y/o))",
            check=_persons,
            flags=re.M,
            cue=r",\s*(?:an?\s+)?\d{1,3}[\s-]*y",
        ),
        rule("NAME", rf"\b{CAP}[a-zà-ÿ'’-]+\d{{1,4}}(?:[ \t]+{CAP}[a-zà-ÿ'’-]+\d{{1,4}})+\b", score=1.0),
        rule(
            "NAME",
            r"\b(?:[Pp]atient|[Pp]t\.?|[Hh]usband|[Ww]ife|[Ss]on|[Dd]aughter|[Bb]rother"
            r"|[Ss]ister|[Mm]other|[Ff]ather|[Ff]riend|[Ss]pouse|[Pp]artner|[Aa]unt|[Uu]ncle"
            rf"|[Cc]aregiver|[Gg]uardian),?[ \t]+(?P<v>{CAP}[a-zà-ÿ'’-]{{2,}}[ \t]+{CAP}[a-zà-ÿ'’-]{{2,}})\b",
            check=_persons,
        ),
        rule("NAME", rf"(?i:(?<![A-Za-z]){ROLE})\s*[:=]\s*(?:{TITLE}\.?[ \t]+)?(?P<v>{WORD})(?![\w.'’-])", check=_eponymous),
        rule("NAME", rf"\b(?i:{MET})[ \t]{{1,2}}(?P<v>{WORD}[ \t]{WORD})(?![\w-])", check=_met),
        rule("NAME", rf"\b(?i:{MET})[ \t]{{1,2}}(?P<v>{WORD})(?![\w-])", check=_met),
        rule("NAME", rf"(?<![\w-])(?P<v>{FORENAME}[ \t]{CAP}[a-zà-ÿ'’-]{{1,40}})(?![\w-])", check=_shown),
        rule("NAME", rf"(?<![\w-])(?P<v>{FORENAME})(?![\w-])", check=_shown),
        rule("NAME", CARETS, check=_parted),
        rule(
            "NAME",
            rf"(?<![\w./-])\d{{1,3}}[ ]?[MF],?[ ](?P<v>{SHORT}(?:[ ]{SHORT})?)(?=[ ](?:w/|with|p/w|c/o|h/o|s/p|here|presents?|presenting|presented|who|is|was|has|BIBA)\b"
            r"|[ ](?:w/|c/o|s/p)|[ ]?[,.;\n]|$)",
            check=_unusual,
        ),
        rule("NAME", rf"\b(?:FOB|MOB|bf|gf),?[ ]\(?(?P<v>{SHORT}(?:[ ]{SHORT})?)(?![\w'’-])", check=_unusual),
        rule("NAME", rf"\b(?i:{KIN})[ ]?\((?P<v>{SHORT}(?:[ ]{SHORT})?)(?=[ ]?[,)])", check=_unusual),
        rule("NAME", r"\b(?:[Ii]nitials|INITIALS)(?:[ ]are)?[ ]?[:=]?[ ](?P<v>[A-Z](?:\.?[ ]?[A-Z]){1,3})(?![\w-])"),
        rule(
            "NAME",
            r"\b(?:[Pp]atient|[Pp]t\.?|PT|PATIENT)[ ](?P<v>[A-Z]{2,3})(?=,[ ](?:an?[ ])?\d{1,3}[ -]?(?:y/?o|yo|yr|year)s?\b)",
            check=_initials,
        ),
    )
