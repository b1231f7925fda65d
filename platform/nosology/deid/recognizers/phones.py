"""Telephone numbers of every country that libphonenumber knows (ITU-T E.164), found around runs of digits only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nosology.deid.recognizers.contacts import FOREIGN, is_fax, is_foreign
from nosology.records import Span

# libphonenumber's separators, up to four; between the digits of a run white space of every kind too
_SIGNS = r"-x\u2010-\u2015\u2212\u30fc\uff0d-\uff0f\xad\u200b\u2060\u3000()\uff08\uff09\uff3b\uff3d.\[\]/~\u2053\u223c\uff5e"
_GAP = rf"[{_SIGNS} \xa0]{{0,4}}"
# what libphonenumber may take for a number: seven digits or more with its separators between them
_RUN = re.compile(rf"\d(?:[{_SIGNS}\s]{{0,4}}\d){{6,30}}")
_LEAD = re.compile(rf"(?:[+\uff0b(\[\uff08\uff3b]{_GAP}){{1,2}}\Z")
# what needs no second look: American numbers where the pattern of contacts takes them, and ISO dates, social security numbers, addresses
# of IPv4 and spans of months, which are no numbers
_FOUND = re.compile(
    r"(?<![\w.+-])(?:\+?1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])\d{3}[-. ]\d{4}(?![\w-])|(?:19|20)\d\d-\d\d-\d\d|\d{3}-\d\d-\d{4}"
    r"|(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\d{1,2}/(?:19|20)\d\d-\d{1,2}/(?:19|20)\d\d"
)
_FOREIGN = re.compile(FOREIGN)  # nor those that contacts take by the code of their country
LEAD = 10  # characters before a run in which its plus and bracket stand
MARGIN = 40  # characters around it: what a number must not touch, and an extension

# Without one of these in a run libphonenumber finds no number there that is valid in the United States, in a hundred times the time: a
# country code, digits that are not ASCII, 011 before a foreign number, or the whole number (ten digits, or 310 and four, which is Canada's)
_MAY_BE = re.compile(
    rf"[+\uff0b]|(?![0-9])\d|(?<!\d)(?:0{_GAP}1{_GAP}1|(?:1{_GAP}){{0,3}}(?:[2-9](?:{_GAP}\d){{9}}|3{_GAP}1{_GAP}0(?:{_GAP}\d){{4}})(?!\d))",
    re.I,
)


def _taken(text: str, begin: int, end: int) -> bool:
    """Whether the rules of contacts, or of dates and numbers, take the whole run."""
    if (found := _FOUND.match(text, begin)) and found.end() == end:
        return True
    foreign = _FOREIGN.match(text, begin)
    return foreign is not None and foreign.end() == end and is_foreign(foreign)


class Phones:
    """`phonenumbers` (Apache-2.0) at its leniency VALID, for texts of the United States: what has no country code is a number there."""

    name = "phones"

    def find(self, text: str) -> Iterator[Span]:
        """Valid numbers."""
        import phonenumbers

        done = last = 0
        for run in _RUN.finditer(text):
            lead = _LEAD.search(text, max(last, run.start() - LEAD), run.start())
            begin = lead.start() if lead else run.start()
            last = run.end()
            if not _MAY_BE.search(text, begin, last) or _taken(text, begin, last):
                continue
            first = max(done, begin - MARGIN)
            part = text[first : last + MARGIN]
            for match in phonenumbers.PhoneNumberMatcher(part, "US", leniency=phonenumbers.Leniency.VALID):
                start, end = first + match.start, first + match.end
                # a row of single digits is a scale or a table
                if start >= done and re.search(r"\d{3}", text[start:end]):
                    yield Span(start=start, end=end, label="FAX" if is_fax(text, start, end) else "PHONE", score=0.6, source=self.name)
                    done = end
