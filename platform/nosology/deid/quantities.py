"""Numbers with a unit, as they differ from codes that end in small letters: `500mg` and `25000 units`, not `88213b`.

Source: units of the UCUM that notes write behind a number of five digits or more; with fewer, any small letters are taken for a unit.
"""

_LARGE_UNIT = r"(?:iu|units?|mg|mcg|[µu]g|ng|kg|lbs?|ml|mm|cfu|copies|cells?|platelets?|rpm|hz|steps|k?cal|meq|mmol|doses|usd|eur|%)"
LARGE_QUANTITY = rf"\d{{5,}}(?:\s?{_LARGE_UNIT}|\s[ukx])|\d{{2,}}000[ukx]"  # else one letter that touches a number is the end of a code
QUANTITY = rf"(?:\d{{1,4}}\s?[a-zµ%]+|{LARGE_QUANTITY})"
