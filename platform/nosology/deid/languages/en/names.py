"""Names of people where context shows that they are names (45 CFR 164.514(b)(2)(i)(A)); the tagger finds the others."""

from __future__ import annotations

import re
from pathlib import Path

from nosology.deid.patterns import Patterns, rule, words
from nosology.deid.titles import CREDENTIAL, PARTICLES, TITLES, alternation

HERE = Path(__file__).parent

CAP = r"[A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĖĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽȘȚ]"
WORD = rf"{CAP}[\w'’-]{{0,40}}"  # longer is no word, and a row of hyphens would be walked through from each of them
PARTICLE = alternation(PARTICLES)
NAME = rf"{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?){{0,3}}"
FULL_NAME = rf"{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?){{1,3}}"
LAST_FIRST = rf"{WORD}(?:[ -]{WORD})?,[ \t]*{WORD}(?:[ \t]+{CAP}\b\.?)?"
TITLE = alternation(map(str.capitalize, TITLES))
ROLE = (
    r"(?:patient(?:[\s_]*(?:full[\s_])?name)?|pt(?:[\s_]name)?|name|full[\s_]name"
    r"|first[\s_]name|last[\s_]name|surname|given[\s_]name|maiden[\s_]name|provider"
    r"|physician|attending(?:[\s_]physician)?"
    r"|surgeon|assistant|anesthesiologist|pcp|primary care(?: physician| provider)?"
    r"|referring(?: physician| provider| md)?|consultant|author|signed(?: by)?"
    r"|electronically signed(?: by)?"
    r"|e-signed by|dictated by|transcribed by|reviewed by|read by|verified by"
    r"|ordered by|performed by|cc|emergency contact|next of kin|nok|guardian"
    r"|insured|subscriber|guarantor"
    r"|policy[\s_]?holder|radiologist|pathologist|technologist|interpreter|case manager"
    r"|social worker|resident|fellow|clinician|cardholder|account holder|contact"
    r"|witness|informant)"
)

STOP = words(HERE / "ordinary_words.txt")
# Other eponyms count as such only before a clinical noun (`EPONYM_NOUN`).
SURE_EPONYMS = words(HERE / "eponyms.txt")
EPONYM_NOUN = re.compile(
    r"(?:['’]s)?[ -]+(?:disease|syndrome|sign|test|catheter|score|scale|fracture"
    r"|cyst|palsy|procedure|drain|point|tumou?r|lymphoma|maneuver|manoeuvre|criteria"
    r"|thyroiditis|esophagus|oesophagus|sarcoma|phenomenon|contracture|classification"
    r"|grade|stage|index|reflex|law|triad|law|hernia|node|nodule|gland|tube"
    r"|line|forceps|clamp|retractor|splint|stain|reaction|cell|cells|body|bodies"
    r"|angle|ulcer|esophagitis|anemia|purpura|chorea|ataxia|dystrophy|neuroma"
    r"|duct|ophthalmopathy|orbitopathy|dermopathy|nomogram|facies|incision|technique|spots|plaques?|triangle|foramen|fossa|plexus|crypts"
    r"|islets|corpuscles?|agar|speculum|laryngoscope|calculator|quotient|tetralogy|pentad|numbers"
    r"|formula|equation|rule|position|splint|collar|brace|bandage|monitor|ganglion"
    r"|canal|membrane|muscle|ligament|tendon|aneurysm|area|palsy|jaundice|respirations?)\b",
    re.I,
)


def is_eponym(text: str, start: int, end: int) -> bool:
    """True when text[start:end] is the eponym of a disease, sign, device or score rather than a person."""
    words = re.sub(r"['’]s?$", "", text[start:end]).lower().replace("’", "'").split()
    bare = [w.strip(".,") for w in words if w not in ("von", "van", "de", "la", "and")]
    if bare and ("_".join(words) in SURE_EPONYMS or all(w in SURE_EPONYMS for w in bare)):
        return True
    return bool(EPONYM_NOUN.match(text, end)) and len(words) <= 2


def _person(match: re.Match[str]) -> bool:
    """A title makes a person of any word that is not ordinary, Dr. Parkinson too."""
    return str(match["v"]).split()[0].strip(".,:").lower() not in STOP


def _persons(match: re.Match[str]) -> bool:
    """No word of it is an ordinary capitalised word; clinical headings are such."""
    return not any(w.strip(".,:").lower() in STOP for w in match["v"].split()) and not is_eponym(match.string, *match.span("v"))


class Names(Patterns):
    """Names behind a title, a label, a degree, a signature; names that a sentence introduces."""

    name = "names"
    rules = (
        rule(
            "NAME",
            rf"\b{TITLE}(?:\.[ \t]*|[ \t]+)(?P<v>(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}"
            rf"(?:{CAP}\.(?=[ \t]+{CAP}[a-zà-ÿ])|(?!(?:{'|'.join(sorted(w.capitalize() for w in STOP if w.isalpha()))})\b){WORD}))*)",
            check=_person,
            score=1.0,
        ),
        rule("NAME", r"(?i:\b(?:dr|mr|mrs|ms)\.?)[ \t]+(?P<v>[a-zA-Z][a-z'’-]{2,})(?=\b)", check=_person),
        rule(
            "NAME",
            rf"(?i:(?<![A-Za-z]){ROLE})(?:\s*[:=]\s*|\s+is\s*:\s*)(?:{TITLE}\.?[ \t]+)?"
            rf"(?P<v>{LAST_FIRST}|{FULL_NAME})",
            check=_persons,
        ),
        rule(
            "NAME",
            r"(?i:(?<![A-Za-z])(?:(?:patient|full|first|last|given|maiden|family|preferred)[\s_]*name"
            r"|name|surname|electronically signed by|dictated by|pcp|emergency contact"
            rf"|next of kin))\s*[:=]\s*(?:{TITLE}\.?[ \t]+)?(?P<v>{NAME})",
            check=_persons,
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
        rule("NAME", rf"/s/\s*(?P<v>{NAME})", check=_person),
        rule(
            "NAME",
            r"(?i:\b(?:my name is|name is|named|i am called|goes by|known as|his name was"
            rf"|her name was|maiden name was))[ \t]+(?P<v>{NAME})",
            check=_persons,
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
    )
