"""Dates: every element but the year (45 CFR 164.514(b)(2)(i)(C)). A bare year is no identifier. Days written `3/14`: see `short_dates`."""

from __future__ import annotations

import re

from nosology.deid.patterns import Patterns, rule

FULL_MONTHS = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
MONTH = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|r?\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?|july?|aug(?:ust|\.)?|sept?(?:ember|\.)?"
    r"|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
SPANISH_MONTH = r"(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre)"
WEEKDAY = r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
ANY_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?:day)?\b\.?)"
ORDINAL = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)"
# what an ordinal may count that is no day of a month
NO_DAY = (
    r"(?!\s+(?:rib|ribs|percentile|grade|week|weeks|day|days|month|trimester|nerve|cranial|digit|digits|toe|finger|metatarsal|metacarpal|century"
    r"|edition|floor|time|dose|degree|intercostal|ventricle|line|attempt|visit|cycle|round|generation|decade|leading|most|and \d|to \d"
    r"|(?:st|street|ave|avenue|rd|road)\b))"
)
SEASON = r"(?:spring|summer|fall|autumn|winter)"
HOLIDAY = (
    r"(?:Christmas(?: Eve| Day)?|Thanksgiving(?: Day)?|New Year['’]?s(?: Eve| Day)|Easter(?: Sunday| Monday)?|Halloween|Labor Day|Memorial Day"
    r"|Independence Day|(?:the )?(?:4th|Fourth) of July|Valentine['’]?s Day|Hanukkah|Chanukah|Ramadan|Yom Kippur|Rosh Hashanah|Passover|Purim"
    r"|Sukkot|Diwali|Holi|Onam|Vishu|Pongal|Navratri|Nowruz|Eid(?: al-(?:Fitr|Adha))?|Lunar New Year|Chinese New Year|Mother['’]?s Day"
    r"|Father['’]?s Day|Veterans Day|Columbus Day|Presidents['’]? Day|Indigenous Peoples['’]? Day|Flag Day|May ?day|Juneteenth|Groundhog Day"
    r"|MLK Day|Martin Luther King Day|Cinco de Mayo|St\.? Patrick['’]?s Day|Mardi Gras|Ash Wednesday|Good Friday|Palm Sunday|Maundy Thursday"
    r"|Pentecost|All Saints['’]? Day|All Souls['’]? Day|Boxing Day|Canada Day|Anzac Day|Australia Day|Waitangi Day|Guy Fawkes(?: Night)?"
    r"|Bastille Day|Three Kings Day|Kwanzaa|Midsummer(?: Eve| Day)?|Black Friday|Election Day|Super Bowl Sunday|Patriots['’]? Day)"
)
CLOCK = r"(?:[T ]\s?(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?(?:Z|[+-]\d\d:?\d\d)?)?"
YEAR = r"(?:1[89]|20)\d\d"
SHORT_MONTH = r"(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)"
DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
# several days of a month: `3-5`, `4, 5 and 6`
DAYS = rf"{DAY}(?:(?:,\s?{DAY}(?!\d)){{0,6}},?\s{{0,4}}(?:-|–|&|to|through|and)\s{{0,4}}(?:the\s)?{DAY}(?![\d/]))?"
ROMAN = r"(?:XI{0,2}|IX|IV|V?I{1,3}|V)"


def _numeric(match: re.Match[str]) -> bool:
    """Day and month in either order, and a year of two or four digits."""
    first, second, year = (int(x) for x in match.group("a", "b", "y"))
    if not (0 < first <= 31 and 0 < second <= 31 and min(first, second) <= 12):
        return False
    if len(match["y"]) == 4:
        return 1800 <= year <= 2100
    # "1.2.10" is a version or an outline, "3-4-12" a scale: two-digit years need slashes or two-digit parts
    return match["s"] == "/" or (len(match["a"]) == 2 and len(match["b"]) == 2 and match["s"] == "-")


def _no_version(match: re.Match[str]) -> bool:
    """`v. 1.2.10` and `section 4.2.11` are no dates."""
    return not re.search(
        r"\b(?:v|ver|version|section|sec|chapter|release|fig|table|protocol|grade|\w*pack)\W{0,2}$",
        match.string[max(0, match.start() - 12) : match.start()],
        re.I,
    )


class Dates(Patterns):
    """Calendar dates in the forms that people write, times of day that follow them, holidays, weekdays that name a day."""

    name = "dates"
    rules = (
        rule("DATE", rf"(?<![\d./-]){YEAR}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01]){CLOCK}(?!\d)(?![-/.]\d)", score=1.0),
        rule(
            "DATE",
            r"(?<![\d./-])(?P<a>\d{1,2})(?P<s>[/.-])(?P<b>\d{1,2})(?P=s)(?P<y>\d{4}"
            rf"|\d\d){CLOCK}(?![\d%])(?![/.-]\d)",
            check=_numeric,
            score=1.0,
        ),
        rule("DATE", r"(?<![\d./-])(?:0?[1-9]|1[0-2])[/-](?:19|20)\d\d(?![\d/-])"),
        rule("DATE", r"(?<![\d./-])(?:19|20)\d\d[-/](?:0[1-9]|1[0-2])(?![\d/-])(?!\.\d)"),
        rule(
            "DATE",
            r"(?<![\d./-])(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])\s?[-–]\s?(?:0?[1-9]|[12]\d|3[01])/(?:(?:19|20)\d\d"
            r"|(?<=(?:1[3-9]|2\d|3[01])/)\d\d)(?![\d/])",
        ),
        rule(
            "DATE",
            rf"\b{MONTH}\s{{0,4}}{DAYS}(?!\d)(?!\s?(?:mg|mcg|ml|%|tab))(?:\s{{0,4}}(?:-|–|to|through"
            rf"|and)\s{{0,4}}{MONTH}\s{{0,4}}{DAY}(?![\d/]))?(?:\s{{0,4}},?\s{{0,4}}{YEAR}\b)?{CLOCK}",
            check=lambda m: not m[0].startswith(("may ", "march ")),
            flags=re.I,
        ),
        rule(
            "DATE",
            rf"(?<![\w.])(?:the\s+)?{DAYS}(?:\s+day)?(?:\s+of)?[\s/-]{{1,4}}{MONTH}\b(?:\s{{0,4}},?[\s/-]{{0,4}}"
            rf"(?:{YEAR}|'?\d\d)\b(?!:\d))?{CLOCK}",
            check=lambda m: " may" not in m[0],
            flags=re.I,
        ),
        rule("DATE", rf"(?<![\w.])(?:0?[1-9]|[12]\d|3[01])(?:{SHORT_MONTH}|may)(?:{YEAR}|\d\d)(?!\w)", flags=re.I),
        rule("DATE", rf"\b(?:(?-i:{FULL_MONTHS})|{SHORT_MONTH})\b\.?\s{{0,4}}(?:of\s+|,\s{{0,4}}|-|/)?{YEAR}\b", flags=re.I),
        rule(
            "DATE",
            r"\b(?:[Ii]n|[Ss]ince|[Ll]ast|[Tt]his|[Nn]ext|[Uu]ntil|[Bb]y|[Oo]f|[Dd]uring|[Tt]hrough|[Ff]rom|[Bb]etween|[Bb]eginning)[\s-]+"
            rf"(?P<v>{FULL_MONTHS})\b(?!\s+\d)(?!\s+[A-Z][a-z]+\b)",
        ),
        rule(
            "DATE",
            rf"\b(?:on|last|this|next|by|until|since)\s+(?P<v>{WEEKDAY})\b(?!\s{{0,4}}[,/&]?\s{{0,4}}(?:and\s+)?{WEEKDAY})",
            flags=re.I,
        ),
        rule("DATE", rf"\bthe\s+(?P<v>{DAY}\s+of\s+(?:this|last|next)\s+month)\b", flags=re.I),
        rule(
            "DATE",
            rf"\b(?:(?:(?:the )?(?:day|week|weekend|night|morning|{WEEKDAY}) (?:before|after|of) ))?{HOLIDAY}\b"
            r"(?!\s+(?:disease|tree|factor|Island|card|sockets?))",
        ),
        rule(
            "DATE",
            r"\b(?:born|return|adm|admit|admitted|admission|surgery|due|transfused|visit|discharged|seen)\s{0,4}:?\s{0,4}"
            r"(?P<v>(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\b\.?)(?![\d%])(?!\s?(?:kg|lbs?|g|weeks?|wks?|months?|cm|mm|ml))",
            flags=re.I,
        ),
        # a weekday before or behind its date, in any order and short form
        rule(
            "DATE",
            rf"\b{ANY_WEEKDAY},?\s{{0,4}}(?:the\s+)?(?:night |morning |afternoon |evening )?(?:(?:{MONTH}\.?\s+{DAY}|{DAY}\s+(?:of\s+)?{MONTH})\b\.?"
            rf"(?:\s{{0,4}},?\s{{0,4}}(?:{YEAR}|'\d\d))?|{ORDINAL}|\d{{1,2}}[/.-]\d{{1,2}}(?:[/.-]\d{{2,4}})?)(?![\w/])(?!\s?(?:mc?g|g|kg|m?l|units?|tabs?|cm|mm|%)(?!\w))",
            flags=re.I,
        ),
        rule(
            "DATE",
            r"\b(?:[Ll]ast|[Tt]his|[Nn]ext|[Pp]ast|[Oo]n|[Ss]ince|[Ff]rom|[Bb]y|[Uu]ntil|[Tt]ill|were|was|due|recheck|return)\s+"
            r"(?P<v>(?:Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b\.?)(?!\w)",
        ),
        rule(
            "DATE",
            rf"\b(?:since|from|on|this past|last|over the|until) (?P<v>{WEEKDAY})(?= (?:night|morning|evening|afternoon|at)\b)",
            flags=re.I,
        ),
        # from one month to another
        rule("DATE", r"(?<![\d./-])(?:0?[1-9]|1[0-2])/(?:19|20)\d\d\s?[-–]\s?(?:0?[1-9]|1[0-2])/(?:19|20)\d\d(?![\d/-])"),
        # a month before what happens in it
        rule(
            "DATE",
            rf"\b(?:[Aa]n?|[Tt]he|[Hh]er|[Hh]is|[Mm]y|[Tt]heir|[Oo]ur|[Nn]ext|[Ll]ast|[Tt]his|re:)\s(?P<v>{FULL_MONTHS})\s(?:visits?|appointments?|appts?|labs?|bloodwork"
            r"|admission|surgery|procedure|case|mammogram|scan|MRI|CT|echo|colonoscopy|follow-?up|clinic|cycle|dose|injection|infusion|refill|stay"
            r"|hospitali[sz]ation|note|results?|meeting|deadline|bill|claim|statement)\b",
        ),
        # a day of the month alone
        rule("DATE", rf"\b(?:on|till|until|by|since|from|due|before|after|the week of|for)\s+(?P<v>the\s+{ORDINAL})\b{NO_DAY}", flags=re.I),
        rule("DATE", rf"\b(?P<v>{FULL_MONTHS}\s+the\s+{ORDINAL})\b", flags=re.I),
        rule(
            "DATE",
            rf"\bthe (?:first|second|third|fourth|last|1st|2nd|3rd|4th) (?:day|week|weekend|{WEEKDAY}) (?:of|in) {FULL_MONTHS}\b",
            flags=re.I,
        ),
        # months with a short year, two months, parts of a month or a year
        rule("DATE", rf"\b{MONTH}\.?\s{{0,4}}['’]\d\d\b", flags=re.I),
        rule("DATE", rf"\b{MONTH}\s?(?:-|–|to|/)\s?{MONTH}\.?\s+{YEAR}\b", flags=re.I),
        rule(
            "DATE",
            rf"\b(?:early|mid|late|beginning of|end of|middle of)[ -]{FULL_MONTHS}\b(?!\s+\d)",
            check=lambda m: not re.search(r"\b(?:may|march)$", m[0]),
            flags=re.I,
        ),
        rule("DATE", rf"\b{SEASON}\s+(?:of\s+)?(?:{YEAR}|['’]\d\d)\b", flags=re.I),
        # with a dash a range is likelier, unless the second part begins with 0
        rule("DATE", r"(?<![\w./:-])(?:0?[1-9]|1[0-2])-0[1-9](?![\w/%-])(?!\.\d)"),
        # day, month and short year with dots; day and month in Roman numerals
        rule("DATE", r"(?<![\d.,/-])(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.(?:\d\d)(?![\d.]\d|\d|%)", check=_no_version),
        rule("DATE", rf"(?<![\w./-])(?:0?[1-9]|[12]\d|3[01])[-/]{ROMAN}(?:[-/](?:19|20)\d\d)?(?![\w/])", flags=re.I),
        rule("DATE", rf"(?<![\w./-])(?:0?[1-9]|[12]\d|3[01])\.\s?{ROMAN}\.\s?(?:19|20)\d\d(?!\w)", flags=re.I, score=1.0),
        rule(
            "DATE",
            r"(?<![\w.-])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d"
            r"|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?![\w.-])",
        ),
        rule("DATE", rf"\b{DAY}\s+de\s+{SPANISH_MONTH}\b(?:\s+del?\s+{YEAR})?|\b{SPANISH_MONTH}\s+del?\s+{YEAR}\b", flags=re.I),
    )
