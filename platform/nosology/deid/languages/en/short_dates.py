"""Days written `3/14`, which is also how a score, a strength, a fraction and a scale are written.

Each `a/b` of a text that can be a day is looked at once. What the words around it call a ratio stays (`is_ratio`, which the tagger's finds
are asked too). It is a day where its numbers, its place or a word beside it say so; and where a note has such days, so is another that
nothing in its line calls a ratio. Most notes have neither, and are left after a look for a slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nosology.records import Span

_DAY = re.compile(
    r"(?<![^\W_])(?<![./:%\\])(?<!\d-)(?P<a>\d{1,2})/(?P<b>\d{1,2})(?:\s?[-–]\s?(?P<c>\d{1,2})(?:/(?P<d>\d{1,2}))?(?![\d/.:%]|[^\W\d_]))?"
    r"(?![\d/%]|[^\W\d_]|[.:]\d)"
)
_FRACTIONS = frozenset({(1, 2), (1, 3), (2, 3), (1, 4), (3, 4)})
_TOTAL = 10  # of strengths, reflexes, murmurs and pain the second number is no larger

# what a ratio has before it: of any size, or of at most `_TOTAL`
_SCORE = (
    r"gcs|mmse|moca|bishop|phq-?\d*|gad-?\d*|scores?|scored|scale|vision|acuity|bp|ratio|ldl|hdl|cup|c/d|nihss|braden|kps|slums|epworth|apache|sofa|nodes"
    r"|settings|fio2|correct|quality|step|page|item|question|trial|session|cycle|fraction"
)
_SMALL = (
    r"apgars?|pain|strength|motor|power|tone|dtrs?|reflex(?:es)?|pulses?|grade|rated|murmur|ecog|aldrete|rpe|edema|mallampati|nyha|tonsils?|clonus|babinski"
    r"|criteria|stage|centor|wells|ranson|flacc|oriented|recall|severity|intensity|patellar|achilles|brachioradialis|radial|pedal|femoral|dp"
)
_LIMBS = (
    r"rue|lue|rle|lle|ues?|les|arms?|legs?|hands?|grip|wrists?|deltoids?|biceps|triceps|hips?|knees?|ankles?|quads?|hamstrings?|iliopsoas|ehl|dorsiflex\w*"
    r"|plantar\w*|extremit\w*|limbs?|muscles?"
)
_LIMB = rf"(?:(?:the|both|all|her|his|bilateral|upper|lower|left|right)\s){{0,3}}(?:left|right|[lr]|upper|lower|{_LIMBS})\b"
# what a day has beside it: words of time, what is done on it, what is said of it (of a score too), tests and operations
_WHEN = (
    r"on|since|dated?|until|til+|by|from|starting|through|thru|as of|due|around|before|after|between|week of|effective"
    r"|(?:moved|changed|resched\w*|postponed|pushed|delayed|extended|prior) to"
)
_NEAR = (
    r"last|next|of|early|late|wk|week|weekend|night|morning|evening|today|yesterday|tomorrow|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
)
_DONE = (
    r"admi(?:t(?:ted)?|ssion)|adm|discharged?|dc'?d?|d/c'?d?|(?:dc|d/c|discharged|went|sent|got|back)\shome|seen|visit(?:ed)?|dos|doa|dod|dob|surger(?:y|ies)|sched(?:uled)?"
    r"|appointment|appt|expires?|expired|exp|lmp|edd|died|deceased|passed|fell|falls?|fallen|(?:re|self-)?(?:in|ex)tubated|signed|cosigned|called|paged"
    r"|(?:last|first|next|am|pm|evening|morning)\sdose|start(?:ed|s)?|stop(?:ped|s)?|held|resumed|restarted|began|begun|begins?|end(?:ed|s)?|completed?|finished|received"
    r"|ordered|placed|removed|out|inserted|changed|replaced|drawn|sent|collected|resulted|repaired|performed|done|given|taken|booked|transfused|return(?:ed|s)?|rtc|f/?u|follow(?:ed)?[- ]?up"
    r"|post-?op|notes?|written|reviewed|dictated|transcribed|transferred|moved|arrived|presented|diagnosed|biopsied|resected|delivered|born|vaccinated|injected|infused"
    r"|dialy[sz]ed|weaned|trached|cathed|scoped|stented|imaged|scanned|x-?rayed|faxed|mailed|updated|onset|pulled|opened|closed|occurred|happened|(?:b|u)?cx|cultures?|trough|peak|pod\s?#?\d{1,2}"
)
_SAID = (
    r"found|noted|see|says|(?:re)?check(?:ed)?|repeat(?:ed)?|report(?:ed)?|exam(?:ined)?|consult(?:ed|ation)?|eval(?:uated)?|level|read|admin(?:istered)?"
    r"|better|worse"
)
_TEST = (
    r"cxr|kub|ct|cta|mri|mra|(?-i:US)|u/s|echo|tte|tee|ekg|ecg|eeg|emg|egd|ercp|colo|cath|lhc|rhc|pci|cabg|tka|tha|tkr|thr|orif|i&d|(?-i:LP)|bx|biopsy|pap|mammo|dexa|(?-i:PET)"
    r"|hida|v/q|pfts?|holter|mibi|xr|x-?rays?|films?|scan|dopplers?|duplex|angio|ucx|ua|cbc|bmp|cmp|labs?|a1c|psa|tsh|inr|trop(?:s|onins?)?|lactate|abg|vbg"
    r"|op|procedure|(?-i:OR)|clinic|office|pharmacy|vaccine|shot|booster|(?-i:HD)|dialysis|chemo|c-?section|delivery|imaging|ultrasound|swab|study|(?:hospital|catheter|immun)ization"
    r"|\w{2,14}(?:ectomy|otomy|ostomy|oscopy|plasty|pexy|desis|centesis)|\w{0,12}(?:mammo|angio|arterio|veno|cysto|cardio|sono|arthro|myelo|cholangio)gra(?:m|phy)"
)
_ANALYTE = r"(?:k|na|cr|creat(?:inine)?|bun|hgb|hb|hct|wbc|plts?|glucose|bg|bnp|crp|esr|ast|alt|tbili|lipase|phos|alb|tsh|a1c|inr|ptt|trop(?:onin)?|lactate|ck|ldh|ferritin|psa|cea)"
_CUE = re.compile(
    rf"(?:(?<![^\W_])(?<!-)(?:{_WHEN}|{_NEAR}|{_DONE}|{_SAID}|{_TEST})\.?,?[ \t]{{0,4}}[:=#-]?\s{{0,4}}[(\[]?|[~@]\s?)$", re.I
)
_WHEN_BEFORE = re.compile(rf"(?<![^\W_])(?:{_WHEN})[ \t]{{1,4}}$", re.I)
_PART_BEFORE = re.compile(r"\b(?:of|by|around|last|next|about)\s{1,4}$", re.I)  # a half as well
_CUE_BEHIND = re.compile(
    rf"\s{{1,2}}(?:(?:am|pm)\s)?(?:{_TEST}|notes?|visit|appt|admission|discharge|surgery|consult|eval|showed|showing)\b"
    rf"|\s{_ANALYTE}\s?(?:of\s|was\s|[:=]\s?)?\d|,?\s?(?:@|at)\s?(?:\d{1, 2}:\d\d|[0-2]\d[0-5]\d\b|\d{1, 2}\s?[ap]\.?m)|\s\d{1, 2}:\d\d",
    re.I,
)
_NO_TIME = rf"(?!(?:{_WHEN}|{_DONE})\b)"  # `pain since 3/4` is no score
_LINK = r"\b[^\w\n]{0,3}(?:(?:is|was|of|at|score|to|now)\W{0,2})?"
_SCORE_BEFORE = re.compile(rf"\b(?:{_SCORE}){_LINK}(?:(?:\d{{1,2}}/\d{{1,2}}|{_NO_TIME}[a-z]+)[\s,;]{{1,2}})?$", re.I)
_SMALL_BEFORE = re.compile(rf"\b(?:{_SCORE}|{_SMALL}){_LINK}(?:(?:\d{{1,2}}/\d{{1,2}}|{_NO_TIME}[a-z]+)[ ,:;=-]{{1,3}}){{0,4}}$", re.I)
# abbreviations that are other words too count right before their numbers alone: of an eye, of a level of the spine
_EYE_BEFORE = re.compile(r"\b(?:va|od|os|ou|ps|sc|cc|eye)[^\w\n]{0,3}$", re.I)
_SPINE_BEFORE = re.compile(r"(?<!\w)[CTLS][ -]?$")
_SCORE_BEHIND = re.compile(
    r"\s{0,4}(?:scale|(?:lymph )?nodes?\b|cores?\b|biopsies|teeth|points?\b|correct|mg\b|(?:patient|subject|case|system|item|trial|visit|session|symptom|domain|dose|joint|follicle|page|image|slide)s\b|/)",
    re.I,
)
_SMALL_BEHIND = re.compile(
    rf"\s{{0,4}}(?:strength|motor|murmur|power|pain|systolic|diastolic|reflex|pulse|bilateral|throughout|in\s(?:all|both|{_LIMB})|{_LIMB}"
    r"|(?:blood )?(?:cultures|bottles|sets|bcx)\b|tubes|criteria|edema|clonus|sutures?|staples?|recall|quadrants|fields|positive|negative)",
    re.I,
)
_PART_BEHIND = re.compile(
    r"[\s-]{0,2}(?:tabs?|tablets?|pills?|caps?|capsules?|dose|ns\b|normal|saline|cups?|packs?|ppd|inch|in\b(?!\s[a-z])|miles?|hours?|hrs?|days?|years?|yrs?|life|way|the\b|of\b"
    r"|lit(?:er|re)s?|l\b|bottles?|amps?|glass|pint|cans?|beers?|size|teaspoons?|tsp|tbsp|full|empty|thickness|circle)",
    re.I,
)
_SCORED_LINE = re.compile(
    rf"\b(?:{_SCORE}|{_SMALL}|{_LIMBS}|rom|dose|cranial|s[12]|asa|ns|d5|saline|tabs?|borg|tanner|station|effaced|visual|eyes?|lens)\b", re.I
)
_LINE_START = re.compile(r"[^\w\n]{0,4}")
_LINE_MARK = re.compile(rf"\s?(?::|[-–](?=\s))(?!\d|\s{{0,3}}{_LIMB})", re.I)
_VALUE = re.compile(r"(?<![\d/])(\d+(?:\.\d+)?)\s?(?:[a-zA-Z/%µ]{1,8}\s?)?\($")
_JOINT = re.compile(r"\s{0,2}[,;]?\s{0,2}(?:and|&|or|to|through|thru|until|then|[-–])?\s{0,3}", re.I)
_RANGE = re.compile(r"\s?(?:-|to)\s?\d")
_STOP = r"\s{0,2}(?:$|[.,;)\]\n–-]|:(?!\d))"
_STOPPED = re.compile(_STOP)
_CLOSED = re.compile(rf"{_STOP}|\s(?:in|at|by|with|w/|per|for|from|to|due|after|and|but|pt|patient|was|had|will|showed|s/p|when)\b", re.I)
_BEFORE, _LINE = 64, 160  # characters before a day, of its line, that are looked at


def is_ratio(text: str, start: int, end: int) -> bool:
    """Whether the words around `a/b` make it a score out of a total, a visual acuity, a strength or a part."""
    found = re.search(r"(\d{1,2})\D(\d{1,2})", text[start:end])
    if found is None:
        return False
    a, b = int(found[1]), int(found[2])
    before, small = text[max(0, start - _BEFORE) : start], max(a, b) <= _TOTAL
    if _SCORE_BEHIND.match(text, end) or (_SMALL_BEFORE if small else _SCORE_BEFORE).search(before):
        return True
    if a in (6, 20) and _EYE_BEFORE.search(before) or b == a + 1 and _SPINE_BEFORE.search(before):
        return True
    return bool(small and _SMALL_BEHIND.match(text, end) or (a, b) in _FRACTIONS and _PART_BEHIND.match(text, end))


def _can_be(first: str, second: str) -> bool:
    """A month and a day, or a day and a month where only that is possible."""
    a, b = int(first), int(second)
    return 0 < a <= 12 and 0 < b <= 31 or 12 < a <= 31 and 0 < b <= 12


def _is_told(match: re.Match[str]) -> bool:
    """Whether the numbers, the place or a word beside it make it a day."""
    text, start, end = match.string, match.start(), match.end("b")
    first, second = match["a"], match["b"]
    a, b = int(first), int(second)
    before = text[max(0, start - _BEFORE) : start]
    if first == second == "2":  # `secondary to` more often than a day
        return bool(_WHEN_BEFORE.search(before) or (_CUE.search(before) and _STOPPED.match(text, end)))
    if _CUE.search(before) and not ((a, b) in _FRACTIONS and _PART_BEFORE.search(before)):
        return True
    if len(first) == len(second) == 2 and "0" in (first[0], second[0]):
        return True
    if (b > 12 or a > 12 and len(second) == 2) and (_end(match) > end or not _RANGE.match(text, end)):
        return True
    if _CUE_BEHIND.match(text, end):
        return True
    line = text[max(text.rfind("\n", 0, start) + 1, start - _LINE) : start]
    if _LINE_START.fullmatch(line) and _LINE_MARK.match(text, end):
        return True
    value = _VALUE.search(before)
    return bool(value and text[end : end + 1] in (")", ",", ";") and float(value[1]) != a and not _SCORED_LINE.search(line))


def _may_be(match: re.Match[str]) -> bool:
    """Whether nothing in its line makes it a ratio, so that it is a day in a note that has others."""
    text, start, end = match.string, match.start(), match.end("b")
    a, b = int(match["a"]), int(match["b"])
    line = max(text.rfind("\n", 0, start) + 1, start - _LINE)
    if a == b or max(a, b) > 12 or (a, b) in _FRACTIONS or not (_CLOSED.match(text, end) or _LINE_START.fullmatch(text, line, start)):
        return False
    return not _SCORED_LINE.search(text, line, min(len(text), end + 24))


class ShortDates:
    """A `Recognizer`. The span is the day, or the first and the last one of a range."""

    name = "short_dates"

    def find(self, text: str) -> Iterator[Span]:
        """Every day that its surroundings tell, in order."""
        if "/" not in text:
            return
        days = [one for one in _DAY.finditer(text) if _can_be(one["a"], one["b"]) and not is_ratio(text, one.start(), one.end("b"))]
        told = [_is_told(one) for one in days]
        if not any(told):
            return
        for number, one in enumerate(days):
            if not told[number]:
                after = number > 0 and told[number - 1] and _JOINT.fullmatch(text, _end(days[number - 1]), one.start())
                before = number + 1 < len(days) and told[number + 1] and _JOINT.fullmatch(text, _end(one), days[number + 1].start())
                told[number] = bool(after or before) or _may_be(one)
            if told[number]:
                yield Span(start=one.start(), end=_end(one), label="DATE", score=0.9, source=self.name)


def _end(day: re.Match[str]) -> int:
    """Where a day ends, or its range where that is one (`3/14-3/20`, `3/14-16`)."""
    if day["d"]:
        return day.end() if _can_be(day["c"], day["d"]) else day.end("b")
    return day.end() if day["c"] and int(day["b"]) < int(day["c"]) <= 31 else day.end("b")
