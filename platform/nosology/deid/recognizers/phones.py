"""Telephone numbers of every country that libphonenumber knows (ITU-T E.164), found around runs of digits only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nosology.deid.recognizers.contacts import is_fax
from nosology.records import Span

# what libphonenumber may take for a number: seven digits or more with its separators between them
_RUN = re.compile(r"[+(\[]{0,3}\d(?:[\s().\[\]/~\u2010-\u2015\u2212x-]{0,4}\d){6,30}")
# forms that the patterns of contacts, dates and identifiers find for less: American numbers, ISO dates, social security numbers
_FOUND = re.compile(r"(?:\+?1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])\d{3}[-. ]\d{4}|(?:19|20)\d\d-\d\d-\d\d|\d{3}-\d\d-\d{4}")
MARGIN = 40  # characters around it: what a number must not touch, and an extension


class Phones:
    """`phonenumbers` (Apache-2.0) at its leniency VALID.

    Args:
        region: ISO 3166 code of the country whose numbers need no international prefix.
    """

    name = "phones"
    region = "US"

    def find(self, text: str) -> Iterator[Span]:
        """Valid numbers."""
        import phonenumbers

        done = 0
        for run in _RUN.finditer(text):
            if _FOUND.fullmatch(run[0]):
                continue
            first = max(done, run.start() - MARGIN)
            part = text[first : run.end() + MARGIN]
            for match in phonenumbers.PhoneNumberMatcher(part, self.region, leniency=phonenumbers.Leniency.VALID):
                start, end = first + match.start, first + match.end
                # a row of single digits is a scale or a table
                if start >= done and re.search(r"\d{3}", text[start:end]):
                    yield Span(start=start, end=end, label="FAX" if is_fax(text, start, end) else "PHONE", score=0.6, source=self.name)
                    done = end
