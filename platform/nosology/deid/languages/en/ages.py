"""Ages over 89 and what implies them (45 CFR 164.514(b)(2)(i)(C)). Younger ages are kept."""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

OLD = r"(?:9\d|1[01]\d|12[0-4])"
MONTHS = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?"
)
ONES = r"(?:one|two|three|four|five|six|seven|eight|nine)"
OLD_WORDS = rf"(?:ninety(?:[- ]{ONES})?|(?:one|a) hundred(?: and)?(?: (?:{ONES}|ten))?)"
KIN = r"(?:(?:[Gg]reat-?)?[Gg]rand(?:mother|father|ma|pa)|[Mm]other|[Ff]ather|[Mm]om|[Dd]ad|[Aa]unt|[Uu]ncle|[Ww]ife|[Hh]usband|[Ss]ister|[Bb]rother)"

# behind a number that is no age
MEASURED = (
    r"(?:%|(?:percent|per cent|kgs?|lbs?|pounds|cm|mm|mg|mcg|ml|g|bpm|beats|degrees|days?|weeks?|months?|hours?|minutes?|times|of|over|to"
    r"|systolic|and (?:regular|stable|irregular)|sats?|saturat\w*|on (?:ra|room air|air|o2|oxygen|nc|bipap|cpap|hfnc)"
    r"|(?:male |female )?(?:patients|subjects|participants|women|men|cases|units|points))\b)"
)


class Ages(Patterns):
    """The number alone is the span, so that `90+` can stand in its place."""

    name = "ages"
    rules = (
        rule(
            "AGE",
            rf"(?<![\d./-])(?P<v>{OLD})(?:\s*-?\s*(?:year|yr)s?\.?[\s-]*(?:and \d+ months? )?"
            r"(?:of age|old\b|o\b|young\b)|[\s-]*y[./]?\s?o\b|\s?(?:y/o|yo)\b)",
            flags=re.I,
            score=1.0,
        ),
        rule("AGE", rf"(?<![\d./-])(?P<v>{OLD})\s?[MF]\b(?!\w)"),
        rule("AGE", rf"\bage[ds]?\b\s*(?:is|was|of|at|:|=)?\s*(?P<v>{OLD})(?![\d.%/+])", flags=re.I, score=1.0),
        rule(
            "AGE",
            rf"\b(?:turn(?:ed|s|ing)?|is|was|now|at)\s+(?P<v>{OLD})\s+(?:years\b|when\b|and (?:still|lives|walks|is|has)\b"
            rf"|on (?:\w+day|\w+ \d|the)\b|next\b|this (?:year|month|week)\b|in (?:{'Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec'})"
            r"|last\b)",
            flags=re.I,
        ),
        rule("AGE", rf"\bturn(?:ed|s|ing)\s+(?P<v>{OLD})(?![\d.%/+])", flags=re.I),
        rule(
            "AGE",
            rf"\b(?:he|she|who|patient|pt|{KIN})(?:['’]s|\s(?:is|was))\s(?:now\s|almost\s|only\s|already\s|about\s)?(?P<v>{OLD})(?![\d.%/+:-]|\s?{MEASURED})",
            flags=re.I,
        ),
        rule(
            "AGE",
            rf"(?<![\d./-])(?P<v>{OLD})[\s-](?:year |yr |yo )?(?:fe)?male\b(?!\s(?:patients|subjects|participants|controls|nurses|mice|rats|cases)\b)",
            flags=re.I,
        ),
        rule(
            "AGE",
            rf"\b(?:died|dead|deceased|passed(?:\saway)?|lives|lived|living|alone|independent|widowed)\sat\s(?:age\s)?(?P<v>{OLD})(?![\d.%/+-]|\s?{MEASURED})",
            flags=re.I,
        ),
        rule("AGE", rf"\b(?P<v>{OLD_WORDS})[\s-]*(?:year|yr)s?[\s-]*(?:old|of age)\b", flags=re.I, score=1.0),
        rule(
            "AGE",
            rf"(?<=[a-zà-ÿ.],\s)(?P<v>{OLD})(?=,\s(?:who|a|an|with|lives|living|on|of|from|and|widow|retired|in|is|was|now|still|has|had|admitted|seen|naps)\b)",
        ),
        rule("AGE", rf"(?<![\d./-])\b(?P<v>{OLD_WORDS})\s+(?:years|yrs|y/?o|yo)\b", flags=re.I),
        rule(
            "AGE", rf"(?<![\d./-])(?P<v>{OLD})\s?(?:yrs?|y)\b(?!\s+(?:ago|of|later|later|after|prior|history|hx|post|follow))", flags=re.I
        ),
        rule(
            "AGE",
            rf"\b(?:(?:grand|great-grand)?(?:mother|father|ma|pa|mom|dad|aunt|uncle|wife|husband|sister|brother)|patient|pt|he|she)\W{{1,3}}(?:is |age |now )?(?P<v>{OLD})"
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
        rule(
            "AGE",
            r"\b(?:dob|yob|born|birth year|year of birth)\W{1,4}(?P<v>(?:18|19)\d\d)\b(?![-/.]\d)",
            flags=re.I,
        ),
        rule("AGE", r"\b(?:nonagenarian|centenarian|supercentenarian)s?\b", flags=re.I),
        rule(
            "AGE",
            rf"\b(?P<v>{OLD}(?:st|nd|rd|th)|ninet(?:ieth|y[- ](?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth))|(?:one )?hundredth)[ ]birthday\b",
            flags=re.I,
        ),
        rule("AGE", r"\b(?:in|of|her|his|their|the)[ ](?P<v>(?:tenth|eleventh)[ ]decade)\b", flags=re.I),
        rule("AGE", r"\bborn\s+(?:in\s+)?(?P<v>(?:18|19)\d\d)\b", flags=re.I),
    )
