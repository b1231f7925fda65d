"""Names of people where context shows that they are names (45 CFR 164.514(b)(2)(i)(A)); the tagger finds the others."""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

CAP = r"[A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĖĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽȘȚ]"
WORD = rf"{CAP}[\w'’-]*"
PARTICLE = r"(?:de|la|las|los|del|della|di|da|dos|van|der|den|von|zu|bin|ibn|al|el|ter|ten|y|e)"
NAME = rf"{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?){{0,3}}"
FULL_NAME = rf"{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}{WORD}\.?){{1,3}}"
LAST_FIRST = rf"{WORD}(?:[ -]{WORD})?,[ \t]*{WORD}(?:[ \t]+{CAP}\b\.?)?"
TITLE = r"(?:Drs?|Mr|Mrs|Ms|Miss|Mx|Prof(?:essor)?|Doctor|Nurse|Sr|Sra|Dra|Rev|Reverend|Sgt|Lt|Capt|Col|Hon|Rabbi|Pastor|Imam|Sister|Uncle|Aunt)"
CREDENTIAL = r"(?:M\.?D\.?|D\.?O\.?|R\.?N\.?|N\.?P\.?|PA-C|P\.?A\.?|D\.?P\.?M\.?|Ph\.?D\.?|D\.?D\.?S\.?|D\.?M\.?D\.?|L\.?C\.?S\.?W\.?|A\.?P\.?R\.?N\.?|F\.?N\.?P\.?(?:-\w+)?|C\.?R\.?N\.?A\.?|O\.?T\.?R?|P\.?T\.?|D\.?P\.?T\.?|Pharm\.?D\.?|M\.?B\.?B\.?S\.?|FACS|FACC|LPN|CNM|CNP|RPh|O\.?D\.?|Esq)"
ROLE = (
    r"(?:patient(?:[\s_]*(?:full[\s_])?name)?|pt(?:[\s_]name)?|name|full[\s_]name|first[\s_]name|last[\s_]name|surname|given[\s_]name|maiden[\s_]name|provider|physician|attending(?:[\s_]physician)?"
    r"|surgeon|assistant|anesthesiologist|pcp|primary care(?: physician| provider)?|referring(?: physician| provider| md)?|consultant|author|signed(?: by)?|electronically signed(?: by)?"
    r"|e-signed by|dictated by|transcribed by|reviewed by|read by|verified by|ordered by|performed by|cc|emergency contact|next of kin|nok|guardian|insured|subscriber|guarantor"
    r"|policy[\s_]?holder|radiologist|pathologist|technologist|interpreter|case manager|social worker|resident|fellow|clinician|cardholder|account holder|contact|witness|informant)"
)  # fmt: skip

# Capitalised words that follow a title or a label without being names.
STOP = frozenset(
    """the he she they it we i you his her their our my your this that these those a an and or but of on in at to for from with by as is was are were be has had
    have no not none yes new old all any who what when where patient patients pt doctor nurse dr mr mrs ms md office clinic hospital team service department
    unit emergency surgery medicine medical history physical exam examination assessment plan chief complaint present illness past family social review systems
    allergies medications vital signs labs results impression diagnosis diagnoses procedure procedures discharge admission admitted date time age sex gender male
    female dob mrn ssn phone fax address email name number id room bed status alert oriented denies reports states presents seen noted continue continues follow
    followup return call will today yesterday tomorrow please thank thanks sincerely regards signed electronically unknown other self wife husband son daughter
    mother father brother sister parents spouse guardian good okay ok well right left hi hello hey sure also then so if still just let there here left right
    negative positive normal abnormal stable blood pressure heart lung chest abdomen pain fever cough diabetes hypertension cancer per january february march
    april may june july august september october november december monday tuesday wednesday thursday friday saturday sunday n/a na tbd provider physician
    attending surgeon consultant resident fellow radiologist services notes note report nos am pm did does do can could would should may might must""".split()
)
# Eponyms: diseases, signs, devices, scores. `SURE` are hardly ever a patient's name; the others count as eponyms only before a clinical noun.
SURE_EPONYMS = frozenset(
    """parkinson parkinsons alzheimer alzheimers foley apgar babinski crohn crohns hodgkin hodgkins non-hodgkin hashimoto hashimotos romberg mcburney glasgow marfan klinefelter addison
    cushing cushings raynaud raynauds sjogren sjögren sjogrens wernicke korsakoff kaposi tourette guillain barre barré guillain-barre guillain-barré kawasaki jackson-pratt swan-ganz
    hickman lachman phalen tinel spurling homans kernig brudzinski rinne snellen child-pugh gleason fuhrman mallampati trendelenburg valsalva heimlich kegel
    epley dix-hallpike doppler holter bovie billroth nissen colles lisfranc monteggia achilles papanicolaou coombs kleihauer westergren charcot
    charcot-marie-tooth duchenne ehlers-danlos gilbert huntington huntingtons creutzfeldt-jakob menière meniere menieres dupuytren peyronie asperger ringer ringers
    kussmaul cheyne-stokes bartholin skene braxton leopold ortolani tanner denver likert braden karnofsky ecog zubrod breslow killip framingham
    whipple roux-en-y kocher mayfield penrose blakemore sengstaken dobhoff yankauer groshong tenckhoff quinton broviac mahurkar medtronic epogen lasix tylenol""".split()
)
EPONYM_NOUN = re.compile(
    r"(?:['’]s)?[ -]+(?:disease|syndrome|sign|test|catheter|score|scale|fracture|cyst|palsy|procedure|drain|point|tumou?r|lymphoma|maneuver|manoeuvre|criteria"
    r"|thyroiditis|esophagus|oesophagus|sarcoma|phenomenon|contracture|classification|grade|stage|index|reflex|law|triad|law|hernia|node|nodule|gland|tube"
    r"|line|forceps|clamp|retractor|splint|stain|reaction|cell|cells|body|bodies|angle|ulcer|esophagitis|anemia|purpura|chorea|ataxia|dystrophy|neuroma|duct"
    r"|formula|equation|rule|position|splint|collar|brace|bandage|monitor|ganglion|canal|membrane|muscle|ligament|tendon|aneurysm|area|palsy|jaundice|respirations?)\b",
    re.I,
)
EPONYM_POSSESSIVE = re.compile(r"['’]s?\b", re.I)


def is_eponym(text: str, start: int, end: int) -> bool:
    """True when text[start:end] is the eponym of a disease, sign, device or score rather than a person."""
    words = re.sub(r"['’]s?$", "", text[start:end]).lower().replace("’", "'").split()
    if words and all(w.strip(".,") in SURE_EPONYMS for w in words):
        return True
    return bool(EPONYM_NOUN.match(text, end)) and len(words) <= 2


def _trimmed(value: str) -> str:
    """The name without trailing words that are no names."""
    words = value.split()
    while words and words[-1].strip(".,").lower() in STOP:
        words.pop()
    return " ".join(words)


def _person(match: re.Match[str]) -> bool:
    first = match["v"].split()[0].strip(".,:").lower()
    return first not in STOP and not is_eponym(match.string, *match.span("v"))


def _persons(match: re.Match[str]) -> bool:
    """No word of it is an ordinary capitalised word; clinical headings are such."""
    return not any(w.strip(".,:").lower() in STOP for w in match["v"].split()) and not is_eponym(match.string, *match.span("v"))


class Names(Patterns):
    """Names behind a title, a label, a degree, a signature; names that a sentence introduces."""

    name = "names"
    rules = (
        rule("NAME", rf"\b{TITLE}(?:\.[ \t]*|[ \t]+)(?P<v>{WORD}\.?(?:[ \t]+(?:{PARTICLE}[ \t]+){{0,2}}(?!(?:{'|'.join(sorted(w.capitalize() for w in STOP if w.isalpha()))})\b){WORD})*)", check=_person, score=1.0),
        rule("NAME", rf"(?i:\b(?:dr|mr|mrs|ms)\.?)[ \t]+(?P<v>[a-zA-Z][a-z'’-]{{2,}})(?=\b)", check=_person),
        rule("NAME", rf"(?i:(?<![A-Za-z]){ROLE})(?:\s*[:=]\s*|\s+is\s*:\s*)(?:{TITLE}\.?[ \t]+)?(?P<v>{LAST_FIRST}|{FULL_NAME})", check=_persons),
        rule("NAME", rf"(?i:(?<![A-Za-z])(?:(?:patient|full|first|last|given|maiden|family|preferred)[\s_]*name|name|surname|electronically signed by|dictated by|pcp|emergency contact|next of kin))\s*[:=]\s*(?:{TITLE}\.?[ \t]+)?(?P<v>{NAME})", check=_persons),
        rule("NAME", rf"\b(?P<v>{WORD}\.?[ \t]+(?:{CAP}\.?[ \t]+)?{WORD}(?:-{WORD})?),?[ \t]+{CREDENTIAL}(?![\w])", check=_persons),
        rule("NAME", rf"(?i:\b(?:sincerely|regards|respectfully|respectfully submitted|yours truly|thank you|warmly|best))\s*,?\s*\n\s*(?P<v>{FULL_NAME})", check=_persons),
        rule("NAME", rf"/s/\s*(?P<v>{NAME})", check=_person),
        rule("NAME", rf"(?i:\b(?:my name is|name is|named|i am called|goes by|known as|his name was|her name was|maiden name was))[ \t]+(?P<v>{NAME})", check=_persons),
        rule("NAME", rf"(?m:^|(?<=[.:\n]\s)|(?<=^))(?P<v>{FULL_NAME})(?=\s+(?:is|was)\s+an?\s+(?:\w+\s+){{0,3}}\d{{1,3}}[\s-]*(?:year|yr|month|week|day|y\.?o))", check=_persons, flags=re.M),
        rule("NAME", rf"(?m:^)(?P<v>{FULL_NAME})(?=,\s*(?:an?\s+)?\d{{1,3}}[\s-]*(?:year|yr|y\.?o|y/o))", check=_persons, flags=re.M),
        rule("NAME", rf"\b{CAP}[a-zà-ÿ'’-]+\d{{1,4}}(?:[ \t]+{CAP}[a-zà-ÿ'’-]+\d{{1,4}})+\b", score=1.0),
        rule("NAME", rf"\b(?:[Pp]atient|[Pp]t\.?|[Hh]usband|[Ww]ife|[Ss]on|[Dd]aughter|[Bb]rother|[Ss]ister|[Mm]other|[Ff]ather|[Ff]riend|[Ss]pouse|[Pp]artner|[Aa]unt|[Uu]ncle|[Cc]aregiver|[Gg]uardian),?[ \t]+(?P<v>{CAP}[a-zà-ÿ'’-]{{2,}}[ \t]+{CAP}[a-zà-ÿ'’-]{{2,}})\b", check=_persons),
    )  # fmt: skip
