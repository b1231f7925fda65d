"""Ages over 89 and what implies them (45 CFR 164.514(b)(2)(i)(C)). Younger ages are kept.

Of a year of birth the rules ask only that it is one: the policy says whether it tells such an age (`policies.Policy.takes`).
"""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

OLD = r"(?:9\d|1[01]\d|12[0-4])"
MONTHS = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?"
)
ONES = r"(?:one|two|three|four|five|six|seven|eight|nine)"
OLD_WORDS = rf"(?:ninety(?:[- ]{ONES})?|(?:one|a) hundred(?: and)?(?: (?:{ONES}|ten))?)"
KIN = (
    r"(?:(?:[Gg]reat-?)?[Gg]rand(?:mother|father|ma|pa|parents?)|[Mm]other|[Ff]ather|[Mm]om|[Dd]ad|[Aa]unts?|[Uu]ncles?|[Ww]ife|[Hh]usband|[Ss]isters?"
    r"|[Bb]rothers?|[Ss]iblings?|[Pp]arents?|[Mm]atriarch|[Pp]atriarch)"
)
# of a person: `a man of 91`
PERSON = r"(?:man|woman|lady|gentleman|male|female|widow(?:er)?|person|patient|pt|resident|veteran|nun|priest|mother|father|sister|brother)"

# behind a number that is no age
MEASURED = (
    r"(?:[%°º]|(?:percent|per cent|percentile|centile|kgs?|lbs?|pounds|cm|mm|mg|mcg|ml|g|gm|grams?|bpm|beats|degrees|deg|days?|weeks?|wks?|months?|mos?|hours?|hrs?"
    r"|minutes?|mins?|times|of|over|to|per|systolic|diastolic|and (?:regular|stable|irregular)|sats?|saturat\w*"
    r"|on (?:ra|room air|air|o2|oxygen|nc|bipap|cpap|hfnc|\d+ ?l)"
    r"|(?:male |female )?(?:patients|subjects|participants|women|men|cases|units|points|steps|feet|meters|yards|calories))\b)"
)
END = rf"(?![\d%+]|[.,/:-]\d|(?:st|nd|rd|th)\b|\s?{MEASURED})"  # of a bare number
YEARS = r"(?:years?|yrs?\.?)"
AND = r"(?:,\s?(?:and\s|or\s)?|\s?&\s?|\s(?:and|or)\s)"  # no range: `for ages 18-95` is of nobody
AGES = rf"\d{{1,3}}(?:{AND}\d{{1,3}}){{1,6}}"
ONE_OLD = rf"(?<!\d){OLD}(?!\d)"
BIRTH_YEAR = r"(?P<v>(?:18|19)\d\d)\b(?![-/.]\d|\s?(?:g|gm|grams?|h|hrs?|hours)\b)"

_VITALS = re.compile(
    r"\b(?:sats?|saturat\w*|spo2|o2|oxygen|hr|heart|pulse|rate|rr|bp|blood|pressure|sbp|dbp|map|t|temp\w*|tmax|febrile|fever\w*|glucose|sugars?|bg|fsbs|fingerstick"
    r"|accu-?check|level|weigh\w*|wt|inr|wbc|plt|platelets?|hgb|na|cl|ldl|score[ds]?|dose|mg|cd4|cr|bun|a1c|ef|peep|fio2|pao2|paco2|phone|room|apt)\b",
    re.I,
)
_HEATED = re.compile(
    r"(?:\b(?:t|tm|tc|temp\w*|tmax|tcurr\w*|\w*febrile|fever\w*|oral(?:ly)?|axillary|rectal|tympanic|vitals?|vs|vss)\b|°)[^\n;]{0,24}$",
    re.I,
)


def _no_vitals(match: re.Match[str]) -> bool:
    """Neither what stands between the words of the match nor before it says that the number is a measure."""
    at = match.start("v")
    return not _VITALS.search(match.string, max(0, match.start() - 24), at)


def _no_heat(match: re.Match[str]) -> bool:
    """`98 F` behind the word for a temperature is none of a woman."""
    return not _HEATED.search(match.string, max(0, match.start() - 32), match.start())


class Ages(Patterns):
    """The number alone is the span, so that `90+` can stand in its place."""

    name = "ages"
    rules = (
        rule(
            "AGE",
            rf"(?<![\d./-])(?P<v>{OLD})(?:\s?1/2|\s?½|\.\d)?(?:\s*-?\s*(?:year|yr)s?\.?[\s-]*(?:and \d+ months? )?"
            r"(?:of age|old\b|o\b|young\b)|[\s-]*y[./-]?\s?o\b|\s?(?:y/o|yo)(?:[mf])?\b)",
            flags=re.I,
            score=1.0,
        ),
        # of a sex, in the short forms of a note's first line: `98F`, `91yM`, `91/M`, `F/91`, `M91 p/w` (`F91 with` may be a code)
        rule("AGE", rf"(?<![\w./-])(?P<v>{OLD})(?:\s?yr?s?)?\s?[MF]\b(?!/|\s?\(\d|[-–]\d)", check=_no_heat),
        rule("AGE", rf"(?<![\w./-])(?P<v>{OLD})\s?(?:y(?:rs?|o)?\s?)?/\s?(?:[MF]|[Mm]ale|[Ff]emale)\b(?!/)", check=_no_heat),
        rule("AGE", rf"(?<![\w/-])[MF]\s?/\s?(?P<v>{OLD}){END}(?!\w)"),
        rule(
            "AGE",
            rf"(?:^|\b(?:[Pp]t|[Pp]atient|[Aa]n?|[Tt]his)\s)[MF](?P<v>{OLD})(?=\s(?:c/o|s/p|p/w|presents?|presented|presenting|here|who|admitted|brought|BIBA?|h/o|hx|fell|lives|came|comes|sent|transferred|referred)(?!\w))",
            flags=re.M,
        ),
        # fields: `Age (years): 91`, `"age": 91`, `Age | 91`, `Age/Sex: 97/F`, `<age>91</age>`
        rule(
            "AGE",
            r"(?:(?<![^\W_])age|(?<=[a-z])(?-i:Age))[ds]?\b[\"'’]?(?:\s?/\s?(?:sex|gender|race)\b)?\s{0,3}(?:\(?(?:in\s)?(?:years|yrs?)\)?)?[\"'’]?\s{0,3}"
            rf"(?:(?:is|was|of|at|now|about|approximately|currently|almost|nearly)\s|[:=|\t-]\s?){{0,2}}\s{{0,12}}[\"'’]?(?P<v>{OLD}(?:\.\d{{1,2}})?){END}",
            flags=re.I,
            score=1.0,
        ),
        rule("AGE", rf"<\w{{0,24}}age(?:\s[^<>\n]{{0,40}})?>\s{{0,3}}(?P<v>{OLD}(?:\.\d{{1,2}})?)\s{{0,3}}<", flags=re.I, score=1.0),
        # lists, of which each one counts
        rule("AGE", rf"\bage[ds]?:?\s(?P<v>{AGES}){END}", flags=re.I, each=ONE_OLD),
        rule("AGE", rf"(?<![\d./-])(?P<v>{AGES})[\s-]*{YEARS}[\s-]*(?:old|of age)\b", flags=re.I, each=ONE_OLD),
        rule("AGE", rf"\b{KIN}(?:,?\s(?:are|were|is|was|died at|ages?|aged)|:)?\s(?P<v>{AGES}){END}", check=_no_vitals, each=ONE_OLD),
        rule(
            "AGE",
            rf"\b(?:turn(?:ed|s|ing)?|is|was|now|at)\s+(?P<v>{OLD})\s+(?:years\b|when\b|and (?:still|lives|walks|is|has)\b"
            r"|on (?:\w+day|\w+ \d|the)\b|next\b|this (?:year|month|week)\b|in (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
            r"|last\b)",
            flags=re.I,
        ),
        rule("AGE", rf"\b(?:turn(?:ed|s|ing)|(?:about to|will|would|going to|soon|[’']ll) turn)\s+(?P<v>{OLD}){END}", flags=re.I),
        rule(
            "AGE",
            rf"\b(?:he|she|who|patient|pt|{KIN})(?:['’]s|\s(?:is|was))\s(?:now\s|almost\s|nearly\s|only\s|already\s|about\s)?(?P<v>{OLD}){END}",
            flags=re.I,
        ),
        rule(
            "AGE",
            rf"(?<![\d./-])(?P<v>{OLD})[\s-](?:year |yr |yo )?(?:fe)?male\b(?!\s(?:patients|subjects|participants|controls|nurses|mice|rats|cases)\b)",
            flags=re.I,
        ),
        rule("AGE", rf"\b{PERSON}\sof\s(?:about\s|nearly\s|some\s)?(?P<v>{OLD}){END}(?!\w)", check=_no_vitals, flags=re.I),
        rule(
            "AGE",
            rf"\b(?:died|dead|deceased|expired|passed(?:\saway)?|lives|lived|living|alone|independent|widowed|healthy|alive(?:\s(?:and|&)\swell)?)\sat\s"
            rf"(?:age\s|the age of\s)?(?P<v>{OLD}){END}",
            flags=re.I,
        ),
        rule(
            "AGE",
            rf"\b(?:died|deceased|expired|passed(?:\saway)?)\sat\s(?P<v>{OLD})(?=\s(?:of|from|after|in|with|due|while|during|following|peacefully)\b)",
            flags=re.I,
        ),
        rule(
            "AGE", rf"\b(?:lived|lives|live|made it)\s(?:to(?:\sbe)?|until|till|past)\s(?:age\s|the age of\s)?(?P<v>{OLD}){END}", flags=re.I
        ),
        # history of a family: `aunt had MI at 92`, `mother CAD (92)`; of the patient: `at 93 she had a CABG`
        rule("AGE", rf"\b{KIN}\b[^.;:()\d\n]{{1,40}}\s(?:at|@)\s(?:age\s|the age of\s)?(?P<v>{OLD}){END}(?!\w)", check=_no_vitals),
        rule("AGE", rf"\b{KIN}\b[^.;()\d\n]{{0,40}}\((?:age\s|died\s(?:at\s)?|d\.\s?|at\s)?(?P<v>{OLD})\)", check=_no_vitals),
        rule("AGE", rf"\b[Aa]t\s(?P<v>{OLD}),?\s(?:he|she|the patient|pt|patient)\s(?!\d)", check=_no_vitals),
        rule("AGE", rf"\b(?P<v>{OLD_WORDS})[\s-]*(?:year|yr)s?[\s-]*(?:old|of age)\b", flags=re.I, score=1.0),
        rule(
            "AGE",
            rf"(?<=[a-zà-ÿ.],\s)(?P<v>{OLD})(?=,\s(?:who|a|an|with|lives|living|on|of|from|and|widow|retired|in|is|was|now|still|has|had|admitted|seen|naps)\b)",
        ),
        rule("AGE", rf"(?<![\d./-])\b(?P<v>{OLD_WORDS})\s+(?:years|yrs|y/?o|yo)\b", flags=re.I),
        rule(
            "AGE",
            rf"(?<![\d./-])(?<!for\s)(?<!the\s)(?<!over\s)(?<!past\s)(?<!last\s)(?<!next\s)(?<!within\s)(?<!every\s)(?<!than\s)(?P<v>{OLD})\s?(?:{YEARS}|y)(?!\w)"
            r"(?!\s+(?:ago|of|later|after|prior|before|since|history|hx|post|follow|in|survival|experience|apart|war)\b)",
            flags=re.I,
        ),
        rule(
            "AGE",
            rf"\b(?:(?:grand|great-grand)?(?:mother|father|ma|pa|mom|dad|aunt|uncle|wife|husband|sister|brother)|patient|pt|he|she)\W{{1,3}}(?:is |age |now |d\. |died )?(?P<v>{OLD})"
            r"(?=[),.;]|\s+(?:and|years|yrs)\b)",
            flags=re.I,
        ),
        rule("AGE", rf"\b{KIN}[ ][A-Z][a-zà-ÿ'’-]+,?[ ](?P<v>{OLD})(?=[),.;])"),
        rule(
            "AGE",
            rf"\b(?P<v>ninety[- ]{ONES})\b(?!\s?(?:%|percent|per cent|minutes|hours|days|weeks|months|degrees|mg|ml|mcg|pounds|times|of|beats|point|over)\b)",
            flags=re.I,
            score=0.6,
        ),
        rule("AGE", rf"\b(?P<v>{OLD})\s+(?:last|this|next|in|on)\s+(?:{MONTHS})\b", flags=re.I),
        rule(
            "AGE",
            rf"\b(?:is|was|turn(?:ed|s|ing)|aged?)\s(?P<v>{OLD_WORDS})\b(?!\s(?:percent|minutes|days|weeks|degrees|mg|ml|pounds|times|of))",
            flags=re.I,
        ),
        rule("AGE", r"\bin (?:her|his|their) (?:mid|early|late)?[- ]?(?P<v>90['’]?s|nineties)\b", flags=re.I),
        rule("AGE", rf"\bage[ds]?\s(?P<v>(?!90\+){OLD}\+)", flags=re.I),
        rule("AGE", r"\b(?:nonagenarian|centenarian|supercentenarian)s?\b", flags=re.I),
        rule(
            "AGE",
            rf"\b(?P<v>{OLD}(?:st|nd|rd|th)|ninet(?:ieth|y[- ](?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth))|(?:one )?hundredth)[ ]birthday\b",
            flags=re.I,
        ),
        rule("AGE", r"\b(?:in|of|her|his|their|the)[ ](?P<v>(?:tenth|eleventh)[ ]decade)\b", flags=re.I),
        # years of birth: of a field, of a sentence, behind the place
        rule(
            "AGE",
            r"\b(?:d\.?o\.?b\.?|y\.?o\.?b\.?|birth[ _-]?(?:date|day|year)|(?:date|year)[ _]of[ _]birth|year[ _]born|born)[\"'’]?(?:\s?\((?:year|yyyy)\))?\W{1,6}"
            rf"(?:(?:in|is|was|year|around|circa|about)\s){{0,2}}{BIRTH_YEAR}",
            flags=re.I,
        ),
        rule(
            "AGE",
            r"\b[Bb]orn\s(?:and\s(?:raised|bred)\s)?(?:in|near|at|outside|on)\s(?:(?:the|a|an|rural|small|upstate)\s){0,2}(?:[A-Z][\w.'’-]{0,20},?\s){1,5}(?:in\s|\()?"
            rf"{BIRTH_YEAR}",
        ),
        rule("AGE", rf"<\w{{0,12}}(?:dob|yob|birth\w{{0,8}})(?:\s[^<>\n]{{0,40}})?>\s{{0,3}}{BIRTH_YEAR}\s{{0,3}}<", flags=re.I),
    )
