"""Days written `3/14`, which is also how a score, a strength, a fraction and a scale are written.

Each `a/b` of a text that can be a day is looked at once. What the words around it call a ratio stays (`is_ratio`, which the tagger's finds
are asked too). It is a day where its numbers, its place or a word beside it say so; and where a note has such days, so is another that
nothing in its line calls a ratio. Most notes have neither, and are left after a look for a slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nosology.records import Span

_DAY = re.compile(
    r"(?<![^\W_])(?<![./:%\\])(?P<a>\d{1,2})/(?P<b>\d{1,2})(?:\s?[-–]\s?(?P<c>\d{1,2})(?:/(?P<d>\d{1,2}))?(?![\d/%]|[.:]\d|[^\W\d_]))?"
    r"(?![\d/%]|[^\W\d_]|[.:]\d)"
)
_FRACTIONS = frozenset({(1, 2), (1, 3), (2, 3), (1, 4), (3, 4)})
_TOTAL = 10  # of strengths, reflexes, murmurs and pain the second number is no larger
_TOKEN = re.compile(r"[^\W\d_](?:[\w&'’/-]*\w)?|\d{1,2}/\d{1,2}|\d+|[^\w\s]")
_BEFORE, _LINE, _AFTER = 64, 160, 40  # characters that are looked at: before a day, of its line before it, behind it


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# what a ratio has before it: two numbers of their own; a score out of a total of any size, or of at most `_TOTAL`
_PAIRS = _words("ratio vision acuity cup c/d settings fio2 iop iddsi scale")
_SCORES = _words(
    """gcs mmse moca bishop gds bdi ymrs madrs ciwa cows fim barthel ishihara phq gad score scores scored nihss braden kps slums epworth apache sofa
    nodes correct quality step page item question trial session cycle fraction"""
)
_SMALL_SCORES = _words(
    """apgar apgars pain strength motor power tone dtr dtrs reflex reflexes pulse pulses grade graded rated murmur ecog aldrete rpe edema mallampati nyha
    tonsil tonsils clonus babinski criteria stage centor wells ranson flacc oriented recall severity intensity patellar achilles brachioradialis radial
    pedal femoral dp weakness weak flexion extension abduction adduction"""
)
_EYES = _words("va od os ou ps sc cc eye")  # other words too, so that they count right before an acuity alone (20/x, 6/x)
_LIMBS = """rue lue rle lle ue ues les arm arms leg legs hand hands grip wrist wrists deltoid deltoids biceps triceps hip hips knee knees ankle ankles quad quads
    hamstring hamstrings iliopsoas ehl dorsiflexion plantarflexion extremity extremities limb limbs muscle muscles"""
_SCORED = _PAIRS | _SCORES | _SMALL_SCORES | _words(_LIMBS) | _words(
    "rom dose cranial s1 s2 asa ns d5 saline tab tabs borg tanner station effaced visual eye eyes lens"
)  # fmt: skip
# what a day has before it: words of time, what is done on it, what is said of it (of a score too), tests and operations
_WHEN = _words("on since date dated until til till by from starting through thru due around before after between effective eff")
_NEAR = _words(
    """last next of early late wk week weekend night morning evening today yesterday tomorrow mon tue tues wed thu thur thurs fri sat sun monday tuesday
    wednesday thursday friday saturday sunday"""
)
_DONE = _words(
    """admit admitted admission adm discharge discharged dc dc'd dcd d/c d/c'd d/cd seen visit visited dos doa dod dob surgery surgeries sched scheduled
    appointment appt expire expires expired exp lmp edd died deceased passed fell fall falls fallen intubated extubated reintubated self-extubated signed
    cosigned called paged start started starts stop stopped stops held resumed restarted began begun begin begins end ended ends complete completed finished
    received ordered placed removed out inserted changed replaced drawn sent collected resulted repaired performed tested retested done given taken booked
    transfused return returned returns rtc fu f/u follow-up followup followed postop post-op note notes written reviewed dictated transcribed transferred
    moved arrived presented diagnosed biopsied resected delivered born vaccinated injected infused dialyzed dialysed weaned trached cathed scoped stented
    imaged scanned x-rayed xrayed faxed mailed updated onset pulled opened closed missed canceled cancelled printed filled refilled back planned implanted
    hospitalized hospitalised occurred happened cx bcx ucx culture cultures trough peak"""
)
_SAID = _words(
    """found noted see says check checked recheck rechecked repeat repeated report reported exam examined consult consulted consultation eval evaluated level
    read admin administered better worse"""
)
_TESTS = _words(
    """cxr kub ct cta mri mra u/s echo tte tee ekg ecg eeg emg egd ercp colo cath lhc rhc pci cabg tka tha tkr thr orif i&d bx biopsy pap mammo dexa hida v/q pft
    pfts holter mibi xr xray xrays x-ray x-rays film films scan doppler dopplers duplex angio ua cbc bmp cmp lab labs a1c psa tsh inr trop trops troponin
    lactate abg vbg op procedure clinic office pharmacy vaccine shot booster dialysis chemo csection c-section delivery imaging ultrasound swab study"""
)
_CAPITALS = _words("US LP PET OR HD")  # in small letters they are other words
_OPERATION = re.compile(
    r"\w{2,14}(?:ectomy|otomy|ostomy|oscopy|plasty|pexy|desis|centesis)|(?:hospital|catheter|immun)ization"
    r"|\w{0,12}(?:mammo|angio|arterio|veno|cysto|cardio|sono|arthro|myelo|cholangio)gra(?:m|phy)"
)
_CUES = _WHEN | _NEAR | _DONE | _SAID | _TESTS
_BOUNDS = _words("from by around between through")  # of scores too: `pain from 8/10 to 3/10`
_TIMED = _WHEN - _BOUNDS | _DONE  # `pain since 3/4` is no score
_HOME = _words("dc d/c discharged went sent got back")
_MOVED = _words("moved changed rescheduled resched postponed pushed delayed extended prior")
_DOSED = _words("last next first am pm evening morning")
_PARTED = _words("of by around last next about")  # a half as well
_WEAK = _words("to and or for but")  # before what is no part of a total
_LINKS = _words("is was of at to now as and") | _BOUNDS
_MARKS = frozenset("([:=#-.")
_SHORT = _words("adm exp eff appt sched resched dc d/c f/u wk mon tue tues wed thu thurs fri sat sun approx")  # with a point
# and behind it
_TESTED = _TESTS | _words("note notes visit appt admission discharge surgery consult eval showed showing")
_ANALYTES = _words(
    """k na cr creat creatinine bun hgb hb hct wbc plt plts glucose bg bnp crp esr ast alt tbili lipase phos alb tsh a1c inr ptt trop troponin lactate ck ldh
    ferritin psa cea"""
)
_LIMB = (
    rf"(?:(?:the|both|all|her|his|bilateral|upper|lower|left|right)\s){{0,3}}(?:left|right|[lr]|upper|lower|{'|'.join(_words(_LIMBS))})\b"
)
_SCORE_BEHIND = re.compile(
    r"\s{0,4}(?:scale|(?:lymph )?nodes?\b|cores?\b|biopsies|teeth|points?\b|correct|mg\b"
    r"|(?:patient|subject|case|system|item|trial|visit|session|symptom|domain|dose|joint|follicle|page|image|slide|demand|cycle|treatment|round|course|fraction"
    r"|infusion|injection|pill|vaccine|letter|goal|meal|day|week|month)s\b|level\b|\(?\d{1,3}(?:\.\d)?\s?%|=\s?\d|/)",
    re.I,
)
_SMALL_BEHIND = re.compile(
    rf"\s{{0,4}}(?:strength|motor|murmur|power|pain|systolic|diastolic|reflex|pulse|bilateral|throughout|in\s(?:all|both|{_LIMB})|{_LIMB}"
    r"|(?:blood )?(?:cultures|bottles|sets|bcx)\b|tubes|criteria|edema|clonus|sutures?|staples?|recall|quadrants|fields|positive|negative)",
    re.I,
)
_PART_BEHIND = re.compile(
    r"[\s-]{0,2}(?:tabs?|tablets?|pills?|caps?|capsules?|dose|ns\b|normal|saline|cups?|packs?|ppd|inch|in\b(?!\s[a-z])|miles?|hours?|hrs?|days?|years?|yrs?|life"
    r"|way|the\b|of\b|lit(?:er|re)s?|l\b|bottles?|amps?|glass|pint|cans?|beers?|size|teaspoons?|tsp|tbsp|full|empty|thickness|circle)",
    re.I,
)
_WORD_BEHIND = re.compile(r"\s{1,2}(?:[ap]m\s)?(?P<w>[^\W\d_](?:[\w&/-]*\w)?)(?P<n>\s?(?:of\s|was\s|[:=]\s?)?\d)?", re.I)
_HOUR_BEHIND = re.compile(r",?\s?(?:@|at)\s?(?:\d{1,2}:\d\d|[0-2]\d[0-5]\d\b|\d{1,2}\s?[ap]\.?m)|\s\d{1,2}:\d\d", re.I)
_LASTING = re.compile(r"(?:\bx|×|\bfor|\d-)\s?$", re.I)  # `x 3/7`: three days
_LINE_START = re.compile(r"[^\w\n]{0,4}")
_LINE_MARK = re.compile(rf"\s?(?::|[-–](?=\s))(?!\d|\s{{0,3}}{_LIMB})", re.I)
_POSTOP_DAY = re.compile(r"\bpod\s?#?\d{1,2},?\s$", re.I)
_VALUE = re.compile(r"(?<![\d/])(\d+(?:\.\d+)?)\s?(?:[a-zA-Z/%µ]{1,8}\s?)?\($")
_JOINT = re.compile(r"\s{0,2}[,;]?\s{0,2}(?:and|&|or|to|through|thru|until|then|[-–])?\s{0,3}", re.I)
_RANGE = re.compile(r"\s?(?:-|to)\s?\d{1,3}(?![/\d-])")
_STOP = r"\s{0,2}(?:$|[.,;)\]\n–-]|:(?!\d))"
_STOPPED = re.compile(_STOP)
_CLOSED = re.compile(rf"{_STOP}|\s(?:in|at|by|with|w/|per|for|from|to|due|after|and|but|pt|patient|was|had|will|showed|s/p|when)\b", re.I)


def is_ratio(text: str, start: int, end: int) -> bool:
    """Whether the words around `a/b` make it a score out of a total, a visual acuity, a strength or a part."""
    found = re.search(r"(\d{1,2})\D(\d{1,2})", text[start:end])
    return found is not None and _is_ratio(text, start, end, int(found[1]), int(found[2]))


def _is_ratio(text: str, start: int, end: int, a: int, b: int) -> bool:
    words = _TOKEN.findall(text[_line(text, start, _BEFORE) : start].lower())
    small = a <= b <= _TOTAL
    if _follows(words, _PAIRS, 1) or a <= b and (_follows(words, _SCORES, 1) or _SCORE_BEHIND.match(text, end)):
        return True
    if small and (_follows(words, _SCORES | _SMALL_SCORES, 4) or _SMALL_BEHIND.match(text, end)):
        return True
    beside = next((word for word in reversed(words) if word not in _MARKS), "")
    if a in (6, 20) and beside in _EYES or b == a + 1 and beside in ("c", "t", "l", "s"):  # of an eye, of a level of the spine
        return True
    return (a, b) in _FRACTIONS and _PART_BEHIND.match(text, end) is not None


def _follows(words: Sequence[str], scores: frozenset[str], spare: int) -> bool:
    """Whether what comes behind the words belongs to one of the scores: no more other words or ratios than `spare`, no number, no word of
    time and no end of a sentence stand between."""
    for word in reversed(words):
        if word.rstrip("0123456789").rstrip("-") in scores:
            return True
        if word in (".", "?", "!") or word in _TIMED or word.isdigit():
            return False
        if word not in _LINKS and word[0].isalnum():
            if not spare:
                return False
            spare -= 1
    return False


def _can_be(first: str, second: str) -> bool:
    """A month and a day, or a day and a month where only that is possible."""
    a, b = int(first), int(second)
    return 0 < a <= 12 and 0 < b <= 31 or 12 < a <= 31 and 0 < b <= 12


def _by_numbers(first: str, second: str) -> bool:
    """Whether two numbers are likelier a day than anything else: one is too large for a scale, or a zero stands before one."""
    if len(first) == len(second) == 2 and "0" in (first[0], second[0]):
        return True
    return int(second) > 12 or int(first) > 12 and len(second) == 2


def _cued(words: Sequence[str]) -> bool:
    """Whether the last of the words before a day tells it."""
    if words and words[-1] in "~@":
        return True
    pointed = False
    while words and words[-1] in _MARKS:
        pointed, words = pointed or words[-1] == ".", words[:-1]
    if not words or pointed and words[-1].lower() not in _SHORT:
        return False
    last, before = words[-1].lower(), words[-2].lower() if len(words) > 1 else ""
    if last in _CUES or words[-1] in _CAPITALS or _OPERATION.fullmatch(last):
        return True
    phrased = last == "home" and before in _HOME or last == "to" and before in _MOVED or last == "dose" and before in _DOSED
    return phrased or last == "up" and before == "follow" or before in ("last", "next") and last[0].isalpha()


def _is_told(match: re.Match[str]) -> bool:
    """Whether the numbers, the place or a word beside it make it a day."""
    text, start, end = match.string, match.start(), match.end("b")
    first, second = match["a"], match["b"]
    a, b = int(first), int(second)
    before = text[max(0, start - _BEFORE) : start]
    words = _TOKEN.findall(before)
    beside = words[-1].lower() if words else ""
    if first == second == "2":  # `secondary to` more often than a day
        return beside in _WHEN or _cued(words) and _STOPPED.match(text, end) is not None
    if _cued(words) and not ((a, b) in _FRACTIONS and beside in _PARTED) or _POSTOP_DAY.search(before):
        return True
    if _by_numbers(first, second) or match["d"] and _end(match) > end and _by_numbers(match["c"], match["d"]):
        return _end(match) > end or not _RANGE.match(text, end)
    if before[-1:] == "-" and before[-2:-1].isdigit():  # a level of the spine, a range
        return False
    behind = _WORD_BEHIND.match(text, end)
    if behind and (behind["w"].lower() in _TESTED or behind["w"] in _CAPITALS or behind["n"] and behind["w"].lower() in _ANALYTES
                   or _OPERATION.fullmatch(behind["w"].lower())):  # fmt: skip
        return True
    if _HOUR_BEHIND.match(text, end) or a > b and beside in _WEAK:
        return True
    line = text[_line(text, start) : start]
    if _LINE_START.fullmatch(line) and _LINE_MARK.match(text, end):
        return True
    value = _VALUE.search(before)
    return bool(
        value and text[end : end + 1] in (")", ",", ";") and float(value[1]) != a and _SCORED.isdisjoint(_TOKEN.findall(line.lower()))
    )


def _line(text: str, start: int, most: int = _LINE) -> int:
    """Where the line of a place begins, or so many characters before it."""
    begin = max(0, start - most)
    return max(text.rfind("\n", begin, start) + 1, begin)


def _may_be(match: re.Match[str]) -> bool:
    """Whether nothing in its line makes it a ratio, so that it is a day in a note that has others."""
    text, start, end = match.string, match.start(), match.end("b")
    a, b = int(match["a"]), int(match["b"])
    if a == b or a > 12 or (a, b) in _FRACTIONS or _LASTING.search(text, max(0, start - 4), start):
        return False
    line = _line(text, start)
    if not (_CLOSED.match(text, end) or _LINE_START.fullmatch(text, line, start)):
        return False
    words = _TOKEN.findall(text[line : end + _AFTER].lower())
    same = sum(word.endswith(f"/{b}") for word in words)  # a total that stands twice is one
    return same < 2 and _SCORED.isdisjoint(words)


class ShortDates:
    """A `Recognizer`. The span is the day, or the first and the last one of a range."""

    name = "short_dates"

    def find(self, text: str) -> Iterator[Span]:
        """Every day that its surroundings tell, in order."""
        if "/" not in text:
            return
        days = [one for one in _DAY.finditer(text) if _can_be(one["a"], one["b"])]
        days = [one for one in days if not _is_ratio(text, one.start(), one.end("b"), int(one["a"]), int(one["b"]))]
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
