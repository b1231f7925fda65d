"""Geographic units below a state, and the places of care or work that name them (45 CFR 164.514(b)(2)(i)(B))."""

from __future__ import annotations

import re
from pathlib import Path

from nosology.deid.patterns import Patterns, rule, words

HERE = Path(__file__).parent

STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN"
    "|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA"
    "|WV|WI|WY|PR|VI|GU|AS|MP"
)
# MD, PA, MA, DO and the like after a comma are as often a degree; without a ZIP code they do not make a place
PLAIN_STATES = "|".join(s for s in STATES.split("|") if s not in {"MD", "PA", "MA", "OR", "IN", "ME", "DE", "AL", "LA", "ID", "AS", "MS"})
STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware"
    "|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana"
    "|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana"
    "|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York"
    "|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island"
    "|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia"
    "|Washington|West Virginia|Wisconsin|Wyoming"
)
WORD = r"(?:St\.[ \t]+|Mt\.[ \t]+|Ft\.[ \t]+)?[A-ZÀ-ÖØ-Þ][\w'’-]{0,40}"
STREET = (
    r"(?:Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court"
    r"|Ct|Circle|Cir|Place|Pl|Square|Sq|Terrace|Ter|Trail|Trl|Way|Parkway|Pkwy"
    r"|Highway|Hwy|Turnpike|Tpke|Pike|Alley|Plaza|Loop|Row|Crescent|Close|Mews|Expressway|Route|Rte)"
)
UNIT = r"(?:\s{0,8},?\s{0,8}(?:Apt|Apartment|Suite|Ste|Unit|Room|Rm|Floor|Fl|Bldg|Building|#)\b\.?\s{0,8}#?\s?\w{1,6}|\s{0,8},?\s{0,8}#\s?\w{1,5})"
FACILITY = (
    r"(?:Hospitals?|Medical Cent(?:er|re)|Health Cent(?:er|re)|Clinics?|Nursing Home"
    r"|Health System|Healthcare|Health Care|Hospice|Rehabilitation Cent(?:er"
    r"|re)"
    r"|Rehab|Infirmary|Pharmacy|Surgery Cent(?:er|re)|Cancer Cent(?:er|re)|Heart Institute"
    r"|Medical Group|Family Practice|Sanatorium|VA|VAMC"
    r"|Assisted Living|Senior Living|Manor|Elementary School|High School|Middle School|University|College|Memorial)"
)
GENERIC = words(HERE / "kinds_of_place.txt")


def _named(match: re.Match[str]) -> bool:
    """True when a word before the kind of place is a name."""
    return any(word.strip(".,").lower() not in GENERIC for word in match["n"].split())


class Places(Patterns):
    """Streets, boxes, cities with their state, ZIP codes, and institutions by name."""

    name = "places"
    rules = (
        rule(
            "LOCATION",
            r"(?<![\w.])\d{1,6}[A-Za-z]?(?:\s{1,8}(?:[NSEW]|NE|NW|SE|SW)\b\.?)?(?:[ \t]{1,8}"
            rf"(?:{WORD}|(?:[A-Z]|Jr|Sr|St|Dr|Mt)\.|\d{{1,3}}(?:st|nd|rd|th)|of|de|la|del)){{1,6}}?[ \t]{{1,8}}{STREET}\b\.?"
            rf"(?!\s{{0,8}}[A-Z]?[a-z]+\s{{1,8}}(?:Score|Scale))(?:\s{{1,8}}(?:[NSEW]|NE|NW|SE|SW)\b\.?)?{UNIT}?",
        ),
        rule("LOCATION", rf"\b\d{{2,5}} block of (?:[NSEW]\.? )?{WORD}(?: {WORD}){{0,3}}"),
        rule("LOCATION", r"\b(?:P\.?\s?O\.?\s?Box|Post Office Box|POB)\s*#?\s?\d{1,6}\b", flags=re.I, score=1.0),
        rule(
            "LOCATION",
            r"\b(?:PSC|CMR|Unit)\s?\d{1,5},?\s+Box\s+\d{1,5}\s*,?\s*(?:[AFD]PO,?\s+(?:AA"
            r"|AE|AP)(?:\s+\d{5}(?:-\d{4})?)?)?",
            score=1.0,
        ),
        rule(  # an address in lines of which the third holds the state behind a comma, or what a program put for none
            "LOCATION",
            rf"(?<=\w\n), ?(?P<v>(?:[A-Za-z]{{1,3}}|\d{{1,2}})?[ \t]?\n[ \t]{{0,8}}(?:{WORD}[ \t]{{1,2}}){{0,3}}\d{{3,6}}(?:-\d{{3,4}})?)(?![\w/-])",
        ),
        rule("LOCATION", r"\b(?:Apt|Apartment|Suite|Ste)\b\.?\s*#?\s?(?=\w{0,3}\d)\w{1,6}\b"),
        rule("LOCATION", rf"\b(?P<v>{WORD}(?:[ \t]+{WORD}){{0,2}}),?\s+(?:{STATES})\.?\s+(?=\d{{5}}\b)"),
        rule(
            "LOCATION",
            rf"\b(?!(?:[A-Z]{{2,5}}),)(?P<v>{WORD}(?:[ \t]+{WORD}){{0,2}}),\s?(?:(?:{PLAIN_STATES})\b(?!\s*"
            rf"(?:\d{{1,3}}\b|[a-z]+\s*[:=]))|(?:{STATE_NAMES})\b)",
        ),
        rule(
            "LOCATION",
            rf"\b(?:the )?(?:corner|intersection) of (?:[\w.'’-]+[ \t]+){{1,6}}?"
            rf"and (?:\d{{1,5}} )?(?:{WORD}|\w+)(?:[ \t]+(?:{WORD}|\d{{1,5}}\b\.?))*",
        ),
        rule("LOCATION", rf"\b(?P<v>(?P<n>{WORD}(?:[ \t]+{WORD}){{0,2}})[ \t]+(?:County|Township|Borough|Parish))\b", check=_named),
        rule("LOCATION", r"\b(?:[Pp]recinct|[Cc]ensus [Tt]ract|[Cc]ongressional [Dd]istrict)[ \t]+(?:[Nn]o\.?[ \t]*)?#?\d[\d.]{0,7}\b"),
        rule("ZIP", rf"\b(?:{STATES})\.?,?\s+(?P<v>\d{{5}}(?:-\d{{4}})?)\b(?![-/])"),
        rule("ZIP", rf"\b(?:{STATE_NAMES}),?\s+(?P<v>\d{{5}}(?:-\d{{4}})?)\b(?![-/])"),
        rule(
            "ZIP",
            r"\b(?:zip|postal|post)[\s_]{0,8}(?:code)?\b\s{0,8}(?:is|was)?\s{0,8}[:=#]?\s{0,8}(?P<v>"
            r"(?=[A-Z]{0,2}\d)[A-Z0-9]{2,8}(?:[ -][A-Z0-9]{2,4})?)\b",
            flags=re.I,
        ),
        rule("ORGANIZATION", rf"\b(?P<n>{WORD}(?:[ \t]+(?:{WORD}|of|and|&|the)){{0,4}}?)[ \t]+{FACILITY}\b", check=_named),
        rule(
            "LOCATION",
            r"\b(?:(?:live[sd]?|living|resid(?:es|ed|ing)|grew up|raised|born|work(?:s"
            r"|ed|ing))\s+in|resident of|native of|originally from|moved (?:here )?(?:from"
            r"|to)|(?:he|she|patient|they|I|I'?m) (?:is|are|was|am)?\s?(?:originally )?from"
            r"|travel(?:l?ed|s|ing)? (?:to|from)|(?:flew|drove|trip|vacation(?:ing|ed)?) "
            rf"(?:to|from|in))\s+(?P<v>{WORD}(?:[ \t]+{WORD}){{0,2}})(?=[\s,.;!?]|$)",
        ),
    )
