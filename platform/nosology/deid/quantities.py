"""Numbers with a unit, as they differ from codes that end in small letters: `500mg` and `25000 units`, not `88213b`.

Source: units of the UCUM that notes write behind a number of five digits or more; with fewer, any small letters are taken for a unit.
"""

_LARGE_UNIT = r"(?:iu|units?|u|mg|mcg|[µu]g|ng|kg|lbs?|ml|mm|cfu|copies|cells?|platelets?|k|x|rpm|hz|steps|k?cal|meq|mmol|doses|usd|eur|%)"
LARGE_QUANTITY = rf"\d{{5,}}\s?{_LARGE_UNIT}"
QUANTITY = rf"(?:\d{{1,4}}\s?[a-zµ%]+|{LARGE_QUANTITY})"
