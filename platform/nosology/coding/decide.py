"""From mentions to a list of codes: what may be coded, the choice among candidates, and the rules between codes.

Rules cite the ICD-10-CM Official Guidelines for Coding and Reporting, FY2026, by section.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nosology.coding.candidates import Candidate
from nosology.coding.mentions import Mention
from nosology.terminology.codeset import CodeSet

# p(code) = (1 - ENGINE_WEIGHT) * softmax(search score / TEMPERATURE) + ENGINE_WEIGHT * p(engine)
ENGINE_WEIGHT, TEMPERATURE = 0.5, 0.05
SEARCH_FLOOR = 0.4  # below it the search has found nothing like the phrase
EVIDENCE_CHARACTERS = 200
OPENING_CHARACTERS = 600  # the purpose of a visit stands in its first lines


@dataclass
class Proposal:
    """A code that the note may support.

    Attributes:
        code: billable.
        score: best score of its candidates, 0 to about 1.
        margin: distance to the next candidate of the best mention.
        source: where the best candidate came from (alias, exact, inside, search) or `rule`.
        mentions: mentions that lead to it, best first.
        evidence: spans of the note.
        trail: rules that led to it.
    """

    code: str
    score: float
    margin: float
    source: str
    mentions: list[Mention]
    evidence: list[tuple[int, int]]
    trail: list[str] = field(default_factory=list)


def codable(mention: Mention, code: str, setting: str) -> bool:
    """Whether a mention may carry a code at all.

    Uncertain diagnoses are not coded for outpatients (IV.H) and are coded for inpatients at discharge (II.H); negated, feared and family
    mentions never; conditions of the past only as status or history (chapter 21, IV.J).
    """
    if mention.assertion == "present":
        return not (code.startswith(("Z90", "Z96", "Z98")) and mention.planned)
    if mention.assertion == "uncertain":
        return setting == "inpatient" and mention.section == "assessment"
    return mention.assertion == "historical" and code.startswith("Z")


def fuse(offered: Sequence[Candidate], chosen: Sequence[float] | None) -> list[float]:
    """Probability of each candidate from its search score and, where an engine was asked, the engine's probability."""
    top = max(candidate.score for candidate in offered)
    weights = [math.exp((candidate.score - top) / TEMPERATURE) for candidate in offered]
    base = [weight / sum(weights) for weight in weights]
    if chosen is None:
        return base
    return [(1 - ENGINE_WEIGHT) * p + ENGINE_WEIGHT * q for p, q in zip(base, chosen, strict=True)]


def propose(
    text: str, mentions: Sequence[Mention], offered: Sequence[Sequence[Candidate]], choices: Sequence[Sequence[float] | None], setting: str
) -> dict[str, Proposal]:
    """One proposal a code, from the best candidate of each mention that may be coded.

    Args:
        offered: candidates of each mention.
        choices: probabilities of an engine over them, or None where none was asked.
    """
    found: dict[str, Proposal] = {}
    for mention, row, chosen in zip(mentions, offered, choices, strict=True):
        if not row:
            continue
        fused = fuse(row, chosen)
        best = max(range(len(row)), key=lambda i: (fused[i], -i))
        candidate = row[best]
        if candidate.source == "search" and candidate.score < SEARCH_FLOOR:
            continue
        if not codable(mention, candidate.code, setting):
            continue
        rest = [other.score for i, other in enumerate(row) if i != best]
        margin = candidate.score - max(rest) if rest else candidate.score
        trail = [f"{mention.kind} in {mention.section}", candidate.source] + (["choice of the generator"] if chosen is not None else [])
        for code in (candidate.code, candidate.other_side):
            if code is None:
                continue
            proposal = Proposal(code, candidate.score, margin, candidate.source, [mention], [evidence(text, mention)], list(trail))
            found[code] = _joined(found[code], proposal) if code in found else proposal
    return found


def _joined(known: Proposal, new: Proposal) -> Proposal:
    better = (new.mentions[0].kind == "problem", new.score) > (known.mentions[0].kind == "problem", known.score)
    first, second = (new, known) if better else (known, new)
    first.mentions += second.mentions
    first.evidence += [span for span in second.evidence if span not in first.evidence]
    return first


def evidence(text: str, mention: Mention) -> tuple[int, int]:
    """The span a mention stands on: its sentence, or the mention alone when the sentence is long."""
    start, end = mention.sentence
    return (start, end) if end - start <= EVIDENCE_CHARACTERS else (mention.start, min(mention.end, mention.start + EVIDENCE_CHARACTERS))


Found = dict[str, Proposal]
Rule = Callable[[Found, str, CodeSet], None]


def apply_rules(found: Found, text: str, codes: CodeSet) -> Found:
    """The proposals after all rules, in the order of `RULES`. No rule adds a code that is not in the code set."""
    for rule in RULES:
        rule(found, text, codes)
    return {code: proposal for code, proposal in found.items() if code in codes}


def _with(found: Found, *prefixes: str) -> list[Proposal]:
    return [proposal for code, proposal in found.items() if code.startswith(prefixes)]


def _replace(found: Found, old: Sequence[Proposal], code: str, trail: str) -> None:
    """Puts a combination code in the place of `old`: their mentions and evidence stand behind it."""
    for proposal in old:
        found.pop(proposal.code, None)
    first = old[0]
    mentions = [mention for proposal in old for mention in proposal.mentions]
    spans = list(dict.fromkeys(span for proposal in old for span in proposal.evidence))
    score = max(proposal.score for proposal in old)
    known = found.get(code)
    if known is None or known.score < score:
        found[code] = Proposal(code, score, first.margin, first.source, mentions, spans, [*first.trail, trail])


def _add(found: Found, code: str, source: Proposal | None, span: tuple[int, int], trail: str) -> None:
    if code not in found:
        mentions = source.mentions if source else []
        found[code] = Proposal(code, source.score if source else 0.8, 0.5, "rule", list(mentions), [span], [trail])


def _line(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence around a place, at most `EVIDENCE_CHARACTERS` long."""
    stop = text.rfind(". ", 0, start)
    left = max(text.rfind("\n", 0, start) + 1, stop + 2 if stop >= 0 else 0)
    stops = [place for mark in ("\n", ". ") if (place := text.find(mark, end)) >= 0]
    right = min(stops, default=len(text))
    return (left, right) if right - left <= EVIDENCE_CHARACTERS else (start, end)


def _taken(text: str, drug: str) -> tuple[int, int] | None:
    """The sentence in which a drug is taken or prescribed; None when it is only refused, stopped or an allergy."""
    for match in re.finditer(rf"(?<!non-)(?<!non )\b(?:{drug})\b(?![- ](?:resistan|sensitiv|level|naive))", text, re.IGNORECASE):
        start, end = _line(text, match.start(), match.end())
        if not re.search(
            r"\b(?:no|not|denies|allerg\w*|stop(?:ped)?|discontinue[d]?|previously|never|off of|avoid)\b",
            text[start : match.end()],
            re.IGNORECASE,
        ):
            return start, end
    return None


def hypertension_with(found: Found, text: str, codes: CodeSet) -> None:
    """I.C.9.a: hypertension with heart failure is I11.0, with chronic kidney disease I12.9, with both I13.0."""
    pressure, heart, kidney = found.get("I10"), _with(found, "I50"), _with(found, "N18.1", "N18.2", "N18.3", "N18.4", "N18.5", "N18.9")
    if pressure and (heart or kidney):
        code = "I13.0" if heart and kidney else "I11.0" if heart else "I12.9"
        _replace(found, [pressure], code, "I.C.9.a hypertension with heart or kidney disease")
        found[code].evidence += [span for span in (heart + kidney)[0].evidence if span not in found[code].evidence]


def diabetes_with(found: Found, text: str, codes: CodeSet) -> None:
    """I.A.15 and I.C.4.a: diabetes with chronic kidney disease, neuropathy or hyperglycaemia is the combination code."""
    plain = found.get("E11.9")
    if plain is None:
        return
    kidney, nerve = _with(found, "N18."), _with(found, "G62.9", "G60.9")
    sugar = re.search(
        r"\bhyperglyc[a-z]+|\buncontrolled (?:type (?:2|ii) )?diabetes|"
        r"diabetes[^.\n]{0,40}\b(?:uncontrolled|poorly controlled|out of control)",
        text,
        re.I,
    )
    ulcer = _with(found, "L97.4", "L97.5")
    if kidney:
        _replace(found, [plain], "E11.22", "I.A.15 diabetes with chronic kidney disease")
    if ulcer:
        _replace(found, [plain], "E11.621", "I.A.15 diabetes with foot ulcer")
        found["E11.621"].evidence += [span for span in ulcer[0].evidence if span not in found["E11.621"].evidence]
    if nerve and "E11.9" in found:
        _replace(found, [plain, *nerve], "E11.42" if "polyneuropathy" in text.lower() else "E11.40", "I.A.15 diabetes with neuropathy")
    if (
        sugar
        and "E11.9" in found
        and not re.search(r"\b(?:no|denies|without)\b[^.\n]*$", text[max(0, sugar.start() - 30) : sugar.start()], re.IGNORECASE)
    ):
        _replace(found, [plain], "E11.65", "I.C.4.a diabetes with hyperglycemia")
        found["E11.65"].evidence.append(_line(text, sugar.start(), sugar.end()))


def long_term_drugs(found: Found, text: str, codes: CodeSet) -> None:
    """I.C.4.a.3: oral drugs for diabetes are Z79.84, insulin Z79.4; anticoagulants are Z79.01 with the disease they treat."""
    diabetes = _with(found, "E11", "E13", "E08")
    if diabetes:
        oral = _taken(
            text,
            "metformin|glipizide|glimepiride|glyburide|januvia|sitagliptin|jardiance|empagliflozin|farxiga|actos|pioglitazone|glucophage",
        )
        if oral:
            _add(found, "Z79.84", diabetes[0], oral, "I.C.4.a.3 oral hypoglycemic drug")
        insulin = _taken(text, "insulin|lantus|humalog|novolog|levemir|glargine|lispro")
        if insulin:
            _add(found, "Z79.4", diabetes[0], insulin, "I.C.4.a.3 insulin")
    rhythm = _with(found, "I48", "I26", "I82", "Z86.71")
    blood = _taken(text, "warfarin|coumadin|eliquis|apixaban|xarelto|rivaroxaban|pradaxa|dabigatran") if rhythm else None
    if rhythm and blood:
        _add(found, "Z79.01", rhythm[0], blood, "I.C.21.c.3 anticoagulant")


def heart_failure_type(found: Found, text: str, codes: CodeSet) -> None:
    """I.C.9 and category I50: diastolic or systolic, chronic or acute, where the note says so."""
    plain = found.get("I50.9")
    if plain is None:
        return
    kind = re.search(
        r"\bdiastolic (?:dysfunction|heart failure|chf|congestive)|\bhfpef\b|"
        r"\bsystolic (?:dysfunction|heart failure|chf|congestive)|\bhfref\b",
        text,
        re.I,
    )
    if kind is None:
        return
    time = re.search(r"\b(acute on chronic|acute|chronic)\b[^.\n]{0,40}\b(?:heart failure|chf)", text, re.IGNORECASE)
    last = {"acute": "1", "chronic": "2", "acute on chronic": "3"}[time[1].lower()] if time else "0"
    stem = "I50.3" if re.match(r"diastolic|hfpef", kind[0], re.IGNORECASE) else "I50.2"
    _replace(found, [plain], stem + last, "I50 type of heart failure")
    found[stem + last].evidence.append(_line(text, kind.start(), kind.end()))


def back_pain_site(found: Found, text: str, codes: CodeSet) -> None:
    """M54.9 is not for a site that the note gives: low back pain is M54.50."""
    plain, place = found.get("M54.9"), re.search(r"\blow(?:er)? back\b|\blumbar\b", text, re.IGNORECASE)
    if plain and place:
        _replace(found, [plain], "M54.50", "site of the pain")
        found["M54.50"].evidence.append(_line(text, place.start(), place.end()))


def ureter(found: Found, text: str, codes: CodeSet) -> None:
    """A stone that the note places in the ureter is N20.1; with stones in the kidney too N20.2."""
    stone = found.get("N20.0")
    place = re.search(
        r"\b(?:ureteral|ureterovesical|ureter|uvj|upj|ureteropelvic)\b[^.\n]*\b(?:stone|calcul|kidney)|(?:stone|calcul)[a-z]*(?:[^.\n]|\.\d)*\bureter(?!oscop)",
        text,
        re.IGNORECASE,
    )
    if stone and place:
        _replace(found, [stone], "N20.1", "site of the stone")
        found["N20.1"].evidence.append(_line(text, place.start(), place.end()))


def annual_exam(found: Found, text: str, codes: CodeSet) -> None:
    """I.C.21.c.13: a general examination is first-listed; Z00.01 when there is something abnormal to code, else Z00.00."""
    visit = re.search(
        r"\b(?:annual|yearly|routine|preventive)[- ](?:wellness |physical |medicare wellness |health )?"
        r"(?:exam|examination|physical|visit|check-?up)\b",
        text,
        re.IGNORECASE,
    )
    named = [proposal for proposal in _with(found, "Z00.0") if proposal.source != "search"]
    for proposal in _with(found, "Z00.0"):
        found.pop(proposal.code)
    if visit is not None and visit.start() > OPENING_CHARACTERS and not named:
        visit = None
    if visit is None and not named:
        return
    abnormal = any(
        proposal.mentions and proposal.mentions[0].kind == "problem" for code, proposal in found.items() if not code.startswith("Z")
    )
    span = named[0].evidence[0] if named else _line(text, visit.start(), visit.end()) if visit else (0, 0)
    _add(found, "Z00.01" if abnormal else "Z00.00", named[0] if named else None, span, "I.C.21.c.13 general examination")


def both_sides(found: Found, text: str, codes: CodeSet) -> None:
    """I.B.13: right and left of one condition are the bilateral code where there is one."""
    for code in list(found):
        if code in found and len(code) > 5 and code[-1] == "1" and (other := found.get(code[:-1] + "2")):
            title, pair, both = codes.title(code), codes.title(other.code), code[:-1] + "3"
            if both in codes and "right" in title and title.replace("right", "left") == pair and "bilateral" in codes.title(both).lower():
                _replace(found, [found[code], other], both, "I.B.13 both sides")


def specific_over_unspecified(found: Found, text: str, codes: CodeSet) -> None:
    """I.B.18: an unspecified code gives way to a specific one of the same category; one without a side to one with it."""
    for code in list(found):
        title = codes.title(code)
        if "unspecified" not in title.lower() and not code.endswith(".9"):
            continue
        for other in list(found):
            if other != code and other[:3] == code[:3] and "unspecified" not in codes.title(other).lower() and not other.endswith(".9"):
                found[other].evidence += [span for span in found[code].evidence if span not in found[other].evidence]
                found[other].trail.append("I.B.18 specific over unspecified")
                del found[code]
                break


def integral_symptom(found: Found, text: str, codes: CodeSet) -> None:
    """I.B.5: signs and symptoms that belong to a diagnosis are not coded beside it: those of running text go when a problem is named."""
    diagnosed = [p for p in found.values() if p.mentions and p.mentions[0].kind == "problem" and not _symptom(p.code)]
    for code in list(found):
        proposal = found[code]
        if diagnosed and _symptom(code) and all(mention.kind == "phrase" for mention in proposal.mentions) and proposal.source != "rule":
            del found[code]


def _symptom(code: str) -> bool:
    return code.startswith(("R", "M25.5", "M25.4", "M25.6", "M79.6", "M54.2", "M54.5", "M54.6", "M54.9"))


RULES: tuple[Rule, ...] = (
    ureter, back_pain_site, heart_failure_type, diabetes_with, hypertension_with, long_term_drugs, both_sides,
    specific_over_unspecified, integral_symptom, annual_exam,
)  # fmt: skip
