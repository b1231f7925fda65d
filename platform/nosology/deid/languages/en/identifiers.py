"""Numbers and codes behind their label (`MRN: `, `Acct #`, `POLICY_NUMBER=`), and American ones by their form.

45 CFR 164.514(b)(2)(i)(G) to (M), (P) to (R). Medicare beneficiary identifier: CMS, "Understanding the MBI format".
"""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

# a code after its label: at least one digit, no unit behind it
# (?<![A-Za-z]): a label that goes on in letters is another word (HARS2, death)
VALUE = r"(?P<v>(?:(?<![A-Za-z])[A-Za-z][A-Za-z_./-]{0,15})?\d(?:[\w/.-]{0,38}\w)?(?: \d{3,6}){0,4})(?!\w)(?!\s?(?:mg|mcg|ml|kg|lbs?|cm|mm|%)\b)"
LINK = r"(?:[\s_]{0,4}(?:numbers?|num|no(?![A-Za-z0-9])\.?|nbr|ids?(?![A-Za-z0-9])|identifiers?|code|#)){0,4}[\s_]{0,8}(?:is|was)?\s{0,8}[:=#-]{0,2}\s{0,8}"
START = r"(?<![A-Za-z0-9[])"  # not the tag that an earlier pass put there


def _value(match: re.Match[str]) -> bool:
    """A labelled value of at least three characters that is no vital sign, dose, score or plain small number."""
    value = match["v"]
    return len(value) >= 3 and not re.fullmatch(r"\d{1,3}(?:[./]\d{1,3})?|(?:19|20)\d\d", value)


def labelled(label: str, names: str, score: float = 0.9) -> tuple[str, str, float]:
    """Class, pattern and score of values behind one of `names`."""
    return label, rf"{START}(?:{names}){LINK}{VALUE}", score


LABELLED = (
    labelled(
        "MRN",
        r"mrn|emrn|medical[\s_]record|med[\s_]?rec|chart(?=[\s_]*(?:no|num|id|#|:))"
        r"|hospital(?=[\s_]*(?:no|num|id|#))|unit(?=[\s_]*(?:no\.|num|#))|patient"
        r"(?=[\s_]*(?:id|no\.|num|#))|pt(?=[\s_]*(?:id|#))|nhc|record(?=[\s_]*(?:no\."
        r"|num|#|id))",
    ),
    labelled("SSN", r"ssn|ss#|ss[\s_]no|social[\s_]security"),
    labelled(
        "BENEFICIARY",
        r"member(?=[\s_]*(?:id|no|num|#))|subscriber(?=[\s_]*(?:id|no|num|#))|policy"
        r"(?=[\s_]*(?:id|no|num|#|:|=))|insurance(?=[\s_]*(?:id|no|num|#|:))|(?:health[\s_]plan[\s_])?beneficiary"
        r"(?=[\s_]*(?:id|no|num|#|:|=))|medicaid(?=[\s_]*(?:id|no|num|#|:))|medicare"
        r"(?=[\s_]*(?:id|no|num|#|:))|mbi|hicn?(?=[\s_]*(?:id|no|num|#|:))|group"
        r"(?=[\s_]*(?:no\.|num|#))|nhs(?=[\s_]*(?:no|num|#))|aadhaar|abha",
    ),
    labelled(
        "ACCOUNT",
        r"acc(?:oun)?t|har|csn|encounter(?=[\s_]*(?:no|num|id|#))|visit(?=[\s_]*"
        r"(?:no\.|num|id|#))|fin(?=[\s_]*(?:no|num|#|:))|invoice|claim(?=[\s_]*(?:no"
        r"|num|id|#|:))|case(?=[\s_]*(?:no\.|num|id|#))|accession|specimen(?=[\s_]*"
        r"(?:no\.|num|id|#))|order(?=[\s_]*(?:no\.|num|id|#))|requisition|referral"
        r"(?=[\s_]*(?:no\.|num|id|#))|authorization(?=[\s_]*(?:no\.|num|id|#|:))"
        r"|rx(?=[\s_]*(?:no\.|num|#))|prescription(?=[\s_]*(?:no\.|num|id|#))|(?:credit"
        r"|debit)?[\s_]?card(?=[\s_]*(?:no|num|#|:|\d))|iban|routing|cc",
    ),
    labelled(
        "LICENSE",
        r"(?:certificate[\s_]*)?licen[sc]e(?![\s_]*plate)|lic(?=[\s_.]*(?:no|num"
        r"|#|:))|dea|npi|certificate(?=[\s_]*(?:no|num|id|#|:))|driver'?s?[\s_]licen[sc]e"
        r"|dl(?=[\s_]*(?:no|num|#|:))|passport|upin|tin(?=[\s_]*(?:no|num|#|:))|ein",
    ),
    labelled(
        "VEHICLE",
        r"vin(?=[\s_]*(?:no|num|#|:|=|\s\w{17}))|vehicle(?=[\s_]*(?:id|no|num|#|:"
        r"|=))|(?:licen[sc]e[\s_])?plates?(?=[\s_]*(?:no|num|#|:|=|\s[A-Z0-9]))|registration[\s_]plate",
    ),
    labelled("DEVICE", r"udi|imei", 1.0),  # a check digit of theirs is that of a payment card too
    labelled(
        "DEVICE",
        r"serial|s/n|sn(?=[\s_]*[:#=])|device(?=[\s_]*(?:id|no\.|num|#))"
        r"|lot(?=[\s_]*(?:no\.|num|#|:))|implant(?=[\s_]*(?:id|no\.|num|#))|pacemaker"
        r"(?=[\s_]*(?:id|no\.|num|#))|model(?=[\s_]*(?:no\.|num|#))|mac[\s_]address",
    ),
    labelled(
        "BIOMETRIC",
        r"biometric|fingerprint(?=[\s_]*(?:id|no|#|:|=))|retina(?:l[\s_]scan)?(?=[\s_]*"
        r"(?:id|no|#|=))|voice[\s_]?print|iris[\s_]scan",
    ),
    labelled(
        "PHOTO",
        r"(?:full[\s_]face[\s_])?photo(?:graph)?(?=[\s_]*(?:id|no\.|ref|#|:|=))|facial[\s_]image"
        r"|image(?=[\s_]*(?:id|ref|#))",
    ),
    labelled(
        "ID",
        r"(?:unique[\s_])?identifier|(?:[a-z]{2,12}[\s_])?id(?=[\s_]*(?:no|num|#"
        r"|:|=))|study[\s_]id|subject(?=[\s_]*(?:id|no\.|num|#))|participant(?=[\s_]*"
        r"(?:id|no\.|num|#))|reference(?=[\s_]*(?:no\.|num|#|:))|confirmation(?=[\s_]*"
        r"(?:no|num|code|#))|pan(?=[:=])|cpf|nif|dni|nass|ticket(?=[\s_]*(?:no|num"
        r"|#))|tracking(?=[\s_]*(?:no|num|#))|badge(?=[\s_]*(?:no|num|id|#))|employee"
        r"(?=[\s_]*(?:no|num|id|#))|api[\s_]key|token(?=[:=])|nrp",
    ),
)


class Identifiers(Patterns):
    """Codes with a label, social security numbers and Medicare beneficiary identifiers."""

    name = "identifiers"
    rules = (
        *(rule(label, pattern, check=_value, score=score, flags=re.I) for label, pattern, score in LABELLED),
        rule(
            "ID",
            r"\b(?:user[\s_]?name|login|user[\s_]?id|password|passcode|pin(?=[\s_]*(?:no"
            r"|num|#|code|:|=)))\s*(?:is\s*)?[:=]\s*(?P<v>[^\s,;]{3,40})",
            flags=re.I,
        ),
        rule("ID", r"\b(?:login|user[\s_]?name|handle)\s(?:is\s)?(?P<v>@?(?=[\w-]{0,30}[\d_.@]\w)[\w.@-]{2,39}\w)", flags=re.I),
        rule("SSN", r"(?<![\w-])(?!000|666|9\d\d)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])", score=1.0),
        rule("SSN", r"(?<![\w-])[xX*#•]{3}[- ]?[xX*#•]{2}[- ]?(?P<v>\d{4})(?![\w-])"),  # all but the last four digits are masked
        rule(
            "SSN",
            r"\b(?:last (?:four|4)(?: digits)?(?: of)?(?: (?:the|his|her|their))? (?:ssn"
            r"|social(?: security(?: number)?)?))\W{0,4}(?:is\s|are\s)?(?P<v>\d{4})\b",
            flags=re.I,
        ),
        rule(
            "BENEFICIARY",
            r"(?<![\w-])[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}"
            r"(?![\w-])",
            score=1.0,
        ),
        rule("MRN", r"MRN[-#]?\w{0,6}-?\d{3,12}\b"),
        rule("ACCOUNT", r"\bACCT[-#]\w{3,20}\b"),
    )
