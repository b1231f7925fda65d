"""Whether a word that is an eponym or an ordinary word means a person where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nosology.deid.languages.en.lists import BORNE, COMMON, EVERYDAY, FORENAMES, NAMELESS, PLAIN, STOP, SURE_EPONYMS, is_sure_eponym
from nosology.deid.titles import ADDRESS, GENERATIONS, SUFFIXES, TITLES, alternation, is_suffix

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
KIN = (
    r"(?:husband|wife|son|daughter|brother|sister|mother|father|mom|mum|dad|friend|spouse|partner|aunt|uncle|cousin|niece|nephew"
    r"|(?:grand|step)(?:mother|father|son|daughter)|grandma|grandpa|caregiver|guardian|girlfriend|boyfriend|fianc[ée]e?|roommate|neighbor"
    r"|twin|FOB|MOB|bf|gf)"
)

# what hardly stands behind a name but behind an eponym, whatever that is
_OF_SCIENCE = (
    r"disease|syndrome|sign|maneuver|manoeuvre|criteria|phenomenon|contracture|classification|reflex|law|triad|tetralogy|pentad|sarcoma|stain"
    r"|thyroiditis|esophagitis|purpura|chorea|ataxia|dystrophy|ophthalmopathy|orbitopathy|dermopathy|nomogram|facies|triangle|foramen|fossa|plexus"
    r"|crypts|islets|corpuscles?|agar|speculum|laryngoscope|forceps|retractor|calculator|quotient|numbers|equation|ganglion"
)
# what a person has too (`Tran's incision`, `Hernandez test pending`): behind the eponyms of the list alone
_OF_A_PERSON = (
    r"test|catheter|score|scale|fracture|cyst|palsy|procedure|drain|point|tumou?r|lymphoma|esophagus|oesophagus|grade|stage|index|hernia|node|nodule"
    r"|gland|tube|line|clamp|splint|reaction|cells?|body|bodies|angle|ulcer|anemia|neuroma|duct|incision|technique|spots|plaques?|formula|rule|position"
    r"|collar|brace|bandage|monitor|canal|membrane|muscle|ligament|tendon|aneurysm|area|jaundice|respirations?|crisis|insufficiency"
)
_SCIENCE_BEHIND = re.compile(rf"(?:['’]s?)?[ -]+(?:{_OF_SCIENCE})\b", re.I)
EPONYM_NOUN = re.compile(rf"(?:['’]s?)?[ -]+(?:{_OF_SCIENCE}|{_OF_A_PERSON})\b", re.I)

_SPEECH = (
    r"(?:says|said|states|stated|denies|agrees|wants|thinks|feels|tells|told|asks|asked|verbalizes|verbalized|endorses|complains|complained"
    r"|phoned|texted|wrote)"
)
_DEEDS = (
    r"(?:calls|called|lives|works|came|comes|went|left|arrived|arrives|returned|returns|presents|presented|reports|reported|agreed|wanted|needs|declined|declines"
    r"|refused|refuses|requested|requests|cancelled|canceled|lived|worked|drove|drives|tolerated|missed|slept|ate|walked|fell"
    r"|(?:is|was) (?!when|where|why|the\b|on\b|in\b|at\b|also\b|over\b|a\b|an\b)(?:\w+ing|\w+ed|seen|brought|given|told|here|able|alert|awake|not|very|still|now)"
    r"|(?:is|was) an? |has (?:an?|no|not|had|never|been \w+ing) )"
)
# what may stand behind the subject or object of a sentence, and hardly behind the first word of one
_STANDS = re.compile(
    r"['’]s\b|[ \t]*(?:$|[,;:.()/\r\n–—-])|[ \t]+(?:and|or|&|who|whom|whose|for|from|at|in|on|with|w/|re|regarding|about|via|by|as|that|is|was"
    r"|has|had|will|would|can|could|did|does|should|may|might|also|then|today|yesterday|tomorrow|saw|sees|sent|gave|took|told|spoke|met|went|came"
    rf"|read|put|kept|began|made|(?!need|feed|bleed|seed)[a-z]{{2,20}}(?:ed|ly)|recommends|advises|notes|suggests|orders|plans|believes|reviews|prefers|{_SPEECH}|{_DEEDS})\b"
)
_GOES_ON, _ENDS = re.compile(r"[ \t]+[a-z]"), re.compile(r"[ \t]*(?:$|[\r\n,;|(\d])")
_TITLED = re.compile(rf"(?<!\w)(?P<t>{alternation(TITLES)})\.?[ \t]{{1,2}}\Z", re.I)
_MODAL = re.compile(r" (?:may|might|can|could|should|will|would|did|has|had|is|as)\b")  # `call Dr. You may shower`
_WORK = frozenset(["lt", "rev", "col", "capt", "sgt", "nurse", "sister", "aunt", "uncle"])  # titles that are other words or short forms too
_RELATIVES = frozenset(["sister", "uncle", "aunt"])  # of the titles
_DETERMINER = re.compile(
    r"\b(?:the|an?|his|her|their|our|my|your|this|that|another|any|some|each|every|which|other|outside)\s{1,3}\Z", re.I
)
_LABELLED = re.compile(rf"(?<![A-Za-z]){ROLE}\s{{0,3}}[:=]\s{{0,3}}\Z", re.I)
_COPY = re.compile(r"\bcc\s{0,3}[:=]\s{0,3}\Z", re.I)  # a chief complaint, as often
_NAMED = re.compile(r"name\s{0,3}(?:[:=]|is:?)\s{0,3}(?:\w{1,9}\.?\s{1,2})?\Z", re.I)
# names of things: `Device name: Foley`
_THING = re.compile(
    r"\b(?:drug|medication|medicine|brand|generic|trade|test|procedure|operation|device|study|product|sign|lab|order|disease|condition|score|scale"
    r"|instrument|clinic|facility|hospital|pharmacy|vaccine|formula|organism|plan|payer|file|trial|protocol)[ \t_]{1,2}name\s{0,3}[:=]\s{0,3}\Z",
    re.I,
)
MET = (
    r"(?:(?:spoke|speaking|speak|talked|talking|met|conferred|discussed|reviewed)(?: again| today| directly| briefly| at length)? (?:with|to)"
    r"|(?:told|asked|informed|notified|thanked|advised|reminded|counseled)"
    r"|(?:accompanied|seen|evaluated|examined|called|brought in|driven|interviewed|raised|assisted|consented|signed|witnessed|dictated) by)"
)
_MET = re.compile(rf"\b{MET}[ \t]{{1,2}}\Z", re.I)
_OF_KIN = re.compile(rf"\b{KIN}[,:]?[ \t]{{1,2}}\(?\Z", re.I)
SPEAKS = re.compile(_SPEECH)
_SAYS = re.compile(
    rf"[ \t]+(?:also |then |now |still )?{_SPEECH}\b(?! ?\d)|,? (?:is |was )?an? (?:\w{{1,12}} )?\d{{1,3}}[ -]?(?:year|yr|y/?o)"
)
_DOES = re.compile(rf"[ \t]+(?:also |then |now |still )?{_DEEDS}")
_IS_KIN = re.compile(
    rf"[ \t]?\((?:the |her |his |pt'?s |patient['’]?s )?{KIN}\b|['’]s[ \t]{KIN}\b|[ \t]and[ \t](?:her|his|their)[ \t]{KIN}\b"
    rf"|,[ \t](?:her|his|the|their|pt'?s|patient['’]?s)[ \t](?:\w{{1,12}}[ \t])?{KIN}\b"
)
_DEGREE = re.compile(r",[ \t]?(?:M\.?D\.?|D\.?O\.?|Ph\.?D\.?|PA-C|M\.?B\.?B\.?S\.?)[ \t]*(?:$|[\r\n,;.)])")
# a month or another noun, not the subject
_GOVERNED = re.compile(r"\b(?:in|since|last|until|till|by|of|early|late|mid|this|next|during|from|through|between|end|each|every|before|after|around|living|\d)[ \t-]{1,2}\Z", re.I)  # fmt: skip


def _words(value: str) -> list[str]:
    bare = re.sub(r"['’]s?$", "", value).replace("’", "'").split()
    return [word for word in (word.strip(".,:;()") for word in bare) if word]


def is_eponym(text: str, start: int, end: int) -> bool:
    """True when text[start:end] is the eponym of a disease, sign, device or score rather than a person."""
    words = _words(text[start:end])
    named = [word for word in words if word.lower() not in ("von", "van", "de", "la", "and")]
    if named and ("_".join(words).lower() in SURE_EPONYMS or all(map(is_sure_eponym, named))):
        return True
    return len(words) <= 2 and _SCIENCE_BEHIND.match(text, end) is not None


def may_be_name(words: Sequence[str]) -> bool:
    """Whether the words can be a name: not one of them, longer than an initial, that nobody is called, nor in small letters an everyday one."""
    longer = [word for word in words if len(word) > 1]
    return bool(longer) and not any(
        word.lower() in NAMELESS or word.islower() and word in EVERYDAY and word not in BORNE for word in longer
    )


def after_title(text: str, title: re.Match[str], start: int, end: int) -> bool:
    """Whether text[start:end] behind a title (group `t` of the match) is a name: any word that is not ordinary, Dr. Parkinson too; of the ordinary
    ones those that are names (Dr. May), unless the title ends a clause and they open the next (`the Dr. May go home`)."""
    first = text[start:end].split()[0].strip(".,:")
    opening, _, rest = text[start : end + 2].partition("-")
    if rest[:1].islower() and opening.lower() in STOP:
        return False  # `Dr. On-call`
    short = first.isupper() and 1 < len(first) <= 4 and not title["t"].isupper()
    first, said = first.lower(), title["t"].lower()
    if said in _WORK and short:
        return False  # `Lt MCA`
    if said in _RELATIVES and (first in SURE_EPONYMS or EPONYM_NOUN.match(text, end)):
        return False  # `aunt Hodgkin`, `sister Mary Joseph nodule`
    if first not in STOP:
        return said in ADDRESS or not (said in _WORK and (first in COMMON or first in EVERYDAY) and first not in BORNE)
    if first not in BORNE or not text[start].isupper() or said == "sr":
        return False
    if said in ADDRESS and said != "miss":
        return True
    at = title.start("t")
    if said in _RELATIVES:
        return bool(_STANDS.match(text, end))
    if first == "you" and _MODAL.match(text, end):
        return False
    return not _DETERMINER.search(text, max(0, at - 12), at) and bool(_STANDS.match(text, end))


def _real(words: Sequence[str]) -> bool:
    """Whether one of the words is hardly anything but a name."""
    return any(len(word) > 1 and word not in PLAIN and word not in SURE_EPONYMS for word in words)


def can_be_name(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] can be the name that its place asks for: no ordinary word but a given name before another; no eponym of things, nor one
    before its noun."""
    value = text[start:end]
    words = _words(value.replace(",", " "))
    lower = [word.lower() for word in words]
    if any(word in STOP for word in lower[1:]) or lower[0] in STOP and not (lower[0] in FORENAMES and _real(lower)):
        return False
    return not _of_things(text, start, end, words)


def _of_things(text: str, start: int, end: int, words: Sequence[str]) -> bool:
    first = start + len(text[start:end].split()[0])
    if is_sure_eponym(words[0]) and (EPONYM_NOUN.match(text, first) or EPONYM_NOUN.match(text, end)):
        return True
    if all(map(is_sure_eponym, words)):
        return not all(word.lower() in BORNE for word in words)
    return is_eponym(text, start, end)


def labelled(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] can be the name that the label before it announces. Ordinary words that are names too count where the label says `name`
    or the line ends behind them, and a comma parts two or another is hardly anything but a name (Do, May; Nguyen, To)."""
    value = text[start:end]
    words = _words(value.replace(",", " "))
    lower = [word.lower() for word in words]
    parted = "," in value
    if parted and lower[-1] in SUFFIXES - GENERATIONS and (is_suffix(words[-1], value) or len(value.partition(",")[0].split()) > 1):
        return False  # `Jane Doe, DO` is no family name with a given one behind
    if any(word in STOP for word in lower):
        if len(words) == 1 and _GOES_ON.match(text, end):
            return False  # `Name: Call light`
        ends = _ENDS.match(text, end)
        said = _NAMED.search(text, max(0, start - 24), start)
        forename = lower[0] in FORENAMES
        told = said or ends and (parted or _real(lower) or forename and len(lower) == 1) or forename and _real(lower)
        if not told or not all(word in BORNE for word in lower if word in STOP):
            return False
    if _of_things(text, start, end, words):
        return False
    if all(map(is_sure_eponym, words)):
        return (
            not (len(words) == 1 and _GOES_ON.match(text, end))
            and not _COPY.search(text, max(0, start - 8), start)
            and not _THING.search(text, max(0, start - 24), start)
        )
    return True


def shows_person(text: str, start: int, end: int) -> bool:
    """Whether what stands around text[start:end] shows that a person is meant: a title, a label, a degree, a relative, a verb of a person. That the
    words can be a name is for the caller to know. A verb that a disease or a device can have as well does not show it of an eponym (`Foley came
    out`), and of an ordinary word that is no given name a title or a label alone does (`Still reports pain`)."""
    title = _TITLED.search(text, max(0, start - 14), start)
    if title and ((told := after_title(text, title, start, end)) or title["t"].lower() not in _RELATIVES):
        return told
    words = _words(text[start:end])
    lower = [word.lower() for word in words]
    if not words or is_sure_eponym(words[0]) and EPONYM_NOUN.match(text, end):
        return False
    if _LABELLED.search(text, max(0, start - 40), start) and labelled(text, start, end):
        return True
    forename, eponym = lower[0] in FORENAMES, all(map(is_sure_eponym, words))
    if all(word in STOP for word in lower) and not forename:
        return False
    if len(lower) > 1 and forename and lower[-1] in BORNE and lower[-1] not in STOP:
        return lower[0] not in STOP or bool(_STANDS.match(text, end))
    if _MET.search(text, max(0, start - 40), start) and (_STANDS.match(text, end) or text.startswith(" to ", end)):
        return True
    if lower[0] in STOP and _GOVERNED.search(text, max(0, start - 10), start):
        return False
    if _SAYS.match(text, end) or _DEGREE.match(text, end) or not eponym and _DOES.match(text, end):
        return True
    of_kin = _IS_KIN.match(text, end) or _OF_KIN.search(text, max(0, start - 16), start) and _STANDS.match(text, end)
    return bool(of_kin) and (forename or not eponym)
