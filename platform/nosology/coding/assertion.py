"""What a sentence says of a mention: present, negated, uncertain, hypothetical, family or historical.

Cues act forward or backward to the next terminator, after ConText (Harkema et al. 2009). In outpatient coding an uncertain
diagnosis is not coded (Official Guidelines section IV.H), a condition that no longer exists is not coded as current (IV.J).
"""

from __future__ import annotations

import re
from typing import Literal

Assertion = Literal["present", "negated", "uncertain", "hypothetical", "family", "historical"]


def _cues(*phrases: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(phrases) + r")(?!\w)", re.IGNORECASE)


_BEFORE: dict[Assertion, re.Pattern[str]] = {
    "negated": _cues(
        "no", "not", "denie[sd]", "denying", "without", "negative for", "free of", "absence of", "never", "neither", "nor", "ruled out",
        "rules out", "no evidence of", "lack of", "did not", "does not", "doesn't", "didn't", "declin(?:es|ed)", "none",
        "normal(?= )", "non",
    ),
    "uncertain": _cues(
        "possibl[ey]", "probabl[ey]", "likely", "suspects?", "suspected", "suspicion", "suspicious for",
        "concern(?:s|ed)? (?:for|about|of)",
        "concerning for", "consistent with", "rule out", "r/o", "question of", "versus", "vs\\.?", "differential",
        "may (?:be|have|represent)",
        "might (?:be|have)", "could (?:be|have|represent)", "suggestive of", "suggests?", "compatible with", "presumed", "presumptive",
        "evaluate for", "assess for", "screen(?:ing)? for", "test(?:ed|ing)? for", "check for", "look for", "worr(?:y|ied)", "unclear",
        "questionable", "in line with", "indicative of",
    ),
    "hypothetical": _cues(
        "if", "should (?:he|she|they|the|symptoms|there)", "risks? (?:of|for|include|factors?)", "at risk", "in case",
        "return (?:for|if)", "prevent(?:s|ion of|ing)?",
        "potential", "complications?", "call (?:for|if)", "signs of", "such as", "chance of", "possibility of", "unless",
        "vaccinat(?:ed|ion)", "vaccine", "pandemic", "to rule",
    ),
    "family": _cues(
        "family(?! (?:physician|doctor|medicine|practice))", "mother", "father", "brother", "sister", "sibling",
        "grand(?:mother|father|parents?)", "aunt", "uncle", "cousin",
        "(?:his|her|their) (?:son|daughter|wife|husband|parents?)", "familial", "maternal", "paternal",
    ),
    "historical": _cues(
        "history of", "h/o", "hx of", "previous", "previously", "prior", "past", "status[ -]post", "s/p", "remote", "resolved",
        "in remission",
        "years? ago", "childhood", "used to", "former", "healed", "underwent",
    ),
}  # fmt: skip
_LEADING = re.compile(rf"(?:{'|'.join(_BEFORE[kind].pattern for kind in ('negated', 'uncertain'))})\s+", re.IGNORECASE)
_AFTER: dict[Assertion, re.Pattern[str]] = {
    "negated": _cues(
        "(?:was|were|is|are) (?:negative|absent|ruled out|normal|not)", "negative", "denied", "unlikely", "ruled out", "(?:has|have) not"),
    "uncertain": _cues(
        "(?:is|are|was) (?:possible|suspected|likely|probable|a possibility)", "suspected", "cannot be excluded", "versus", "vs\\.?"),
    "hypothetical": _cues("vaccin(?:e|es|ated|ation)", "testing", "test", "screening", "evaluation centers?", "pandemic"),
    "historical": _cues(
        "(?:years?|months) ago", "(?<!diagnosed )in (?:19|20)\\d\\d", "(?:has|have) (?:since )?resolved", "(?:is|was|were) resolved",
        "resolved", "in (?:the )?past", "in childhood",
                        "as a child"),
}  # fmt: skip
_TERMINATOR = re.compile(
    r"\b(?:but|however|except|although|though|nevertheless|aside from|apart from|which|who|secondary to|and (?:is|has|does|was|reports|"
    r"endorses|states)|"
    r"presents?|due to|for which|he|she|reports?|endorses?|states)\b|[;:]",
    re.IGNORECASE,
)
# A chronic disease in someone's history is still there (Coding Clinic, "history of" chronic conditions).
CHRONIC = re.compile(
    r"hypertens|diabet|copd|asthma|emphysema|heart failure|chf\b|fibrillation|coronary|cad\b|kidney disease|ckd|hypothyroid|depress|"
    r"anxiety|bipolar|"
    r"epilep|parkinson|dementia|hyperlipid|cholesterol|reflux|gerd|arthritis|osteoporosis|lupus|psoria|crohn|colitis|hepatitis|hiv\b|"
    r"sickle|migraine|"
    r"glaucoma|obes|sleep apnea|multiple sclerosis|chronic|pcos|polycystic|adhd|autis|gout",
    re.IGNORECASE,
)
_ORDER: tuple[Assertion, ...] = ("family", "negated", "hypothetical", "uncertain", "historical")


def assertion(sentence: str, start: int, end: int, section: str = "body") -> Assertion:
    """What a sentence says of its characters [start, end).

    Args:
        sentence: text of one sentence.
        start, end: the mention in it.
        section: name of the section; below `family` all mentions are of the family, below `surgical` all are historical.
    """
    if section == "family":
        return "family"
    # A title such as "no pneumonia" or "possible pneumonia" carries its cue inside.
    if inside := _LEADING.match(sentence[start:end]):
        start += inside.end()
    before, after = sentence[:start], sentence[end:]
    stops = [match.end() for match in _TERMINATOR.finditer(before)]
    near_before = before[stops[-1] :] if stops else before
    # Who has the disease, and conditions of time or fear, hold over "who", "she" and "due to" as well.
    scopes: dict[Assertion, str] = {"family": before, "hypothetical": before}
    stop = _TERMINATOR.search(after)
    near_after = after[: stop.start()] if stop else after
    mention = sentence[start:end]
    for kind in _ORDER:
        if _BEFORE[kind].search(scopes.get(kind, near_before)) or (kind in _AFTER and _AFTER[kind].search(near_after[:60])):
            if kind == "historical" and CHRONIC.search(mention):
                continue
            return kind
    return "historical" if section == "surgical" else "present"
