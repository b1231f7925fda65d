"""Written dates: each form on another day, its years, order and intervals."""

import datetime
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import DeidConfig
from nosology.deid.calendar_dates import Anchor, anchor
from nosology.deid.calendar_dates import years_of as years
from nosology.deid.calendar_shift import shifted as moved_date
from nosology.deid.calendar_words import easter
from nosology.deid.languages import LANGUAGES
from nosology.deid.languages import language as spoken
from nosology.deid.stage import Deidentify
from nosology.errors import ConfigError

shifted = functools.partial(moved_date, latest=2026)
years_of = functools.partial(years, latest=2026)
DAYS = st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31))
SHIFTS = st.integers(-364, 364).filter(lambda n: n % 7 != 0)
NUMBERS = st.sampled_from(["{m}/{d}/{y}", "{m:02d}/{d:02d}/{y}", "{m:02d}-{d:02d}-{y}", "{m:02d}.{d:02d}.{y}"])


@pytest.mark.parametrize(
    ("value", "days", "expected"),
    [
        ("03/14/2019", 20, "04/03/2019"),
        ("3/14/19", 1, "3/15/19"),
        ("3/14/19", 20, "4/3/19"),
        ("12/25/2020", 10, "01/04/2021"),
        ("12/31/99", 1, "01/01/00"),
        ("2020-02-28", 1, "2020-02-29"),
        ("02/29/2020", 365, "02/28/2021"),
        ("02/29/2020", 1, "03/01/2020"),
        ("Feb 29", 1, "Mar 1"),
        ("14.03.2019", 1, "15.03.2019"),
        ("March 14, 2019", 20, "April 3, 2019"),
        ("MARCH 14 2019", 20, "APRIL 3 2019"),
        ("14 Mar 2019", 20, "3 Apr 2019"),
        ("Sept. 3, 2021", 30, "Oct. 3, 2021"),
        ("May 20, 2021", 20, "June 9, 2021"),
        ("3-Mar-21", 4, "7-Mar-21"),
        ("Mar 3 '21", 4, "Mar 7 '21"),
        ("20190314", 1, "20190315"),
        ("03142019", 1, "03152019"),
        ("20190314093000-0500", 1, "20190315093000-0500"),
        ("2019-12-31T23:00:00", 1, "2020-01-01T23:00:00"),
        ("2021-03-13T02:30:00-05:00", 1, "2021-03-14T02:30:00-05:00"),
        ("2021-11-07 01:30 EST", 1, "2021-11-08 01:30 EST"),
        ("March 3, 2021 at 10:30 a.m.", 1, "March 4, 2021 at 10:30 a.m."),
        ("3 Mar 10:30", 3, "6 Mar 10:30"),
        ("March 14", 3, "March 17"),
        ("12/04", 40, "01/13"),
        ("03/85", 20, "04/85"),
        ("the 3rd of May", 18, "the 21st of May"),
        ("September 1st", 1, "September 2nd"),
        ("March 2021", 30, "April 2021"),
        ("December 2021", 30, "January 2022"),
        ("03/2021", 30, "04/2021"),
        ("2021-03", 30, "2021-04"),
        ("March", 20, "April"),
        ("3-5 March 2021", 1, "4-6 March 2021"),
        ("3-5 March 2021", 28, "31 March-2 April 2021"),
        ("March 30-31, 2021", 1, "March 31-April 1, 2021"),
        ("December 30-31, 2020", 1, "December 31, 2020-January 1, 2021"),
        ("30-31 December 2020", 1, "31 December 2020-1 January 2021"),
        ("02/28 - 01/02/2021", 1, "02/29 - 01/03/2021"),
        ("02/28/2019 - 02/28", 1, "03/01/2019 - 03/01"),
        ("12/30 - 1/2/2020", 5, "01/04 - 1/7/2020"),
        ("between March 3 and April 5, 2021", 10, "between March 13 and April 15, 2021"),
        ("3/15-3/17", 5, "3/20-3/22"),
        ("Mon 3/4", 1, "Tue 3/5"),
        ("Monday, March 4, 2019", 6, "Sunday, March 10, 2019"),
        ("15.03.", 20, "04.04."),
        ("March/April 2021", 30, "April/May 2021"),
        ("Mar-Apr 2021", 30, "Apr-May 2021"),
        ("last Monday night", 3, "last Thursday night"),
        ("early March 2021", 30, "early April 2021"),
        ("25/08 /1965", 7, "01/09 /1965"),
        ("FRIDAY", -1, "THURSDAY"),
        ("Christmas of 2020", 10, "January 4, 2021"),
        ("Thanksgiving 2021", 1, "November 26, 2021"),
        ("Memorial Day 2021", 1, "June 1, 2021"),
        ("Labor Day 2021", 1, "September 7, 2021"),
        ("Easter 2024", 1, "April 1, 2024"),
        ("the 4th of July", 3, "July 7"),
        ("2019", 300, "2020"),
        ("2019", -300, "2018"),
        ("2019-2020", 300, "2020-2021"),
        ("2019-20", 300, "2020-21"),
        ("1899-12-31", 1, "1900-01-01"),
        ("December 31, 2150", 1, "January 1, 2151"),
        ("03MAR2021", 30, "02APR2021"),
        ("4/Mar/2021", 1, "5/Mar/2021"),
        ("4-III-2021", 30, "3-IV-2021"),
        ("3.iii.2021", 30, "2.iv.2021"),
        ("12-XI-2019", 1, "13-XI-2019"),
        ("12/24-26/2020", 2, "12/26-28/2020"),
        ("12/24-26/20", 2, "12/26-28/20"),
        ("12/24-26/2020", 7, "12/31/2020-01/02/2021"),
        ("Jan 4, 5 and 6 2021", 1, "Jan 5, 6 and 7 2021"),
        ("Jan 4, 5 and 6, 2021", 26, "Jan 30, 31 and Feb 1, 2021"),
        ("4, 5 and 6 January 2021", 26, "30, 31 January and 1 February 2021"),
        ("week of 3/14", 1, "week of 3/15"),
        ("March 3, 2021 0930", 1, "March 4, 2021 0930"),
        ("March 3, 2021 1930 hrs", 1, "March 4, 2021 1930 hrs"),
        ("3/14 0700-1900", 1, "3/15 0700-1900"),
    ],
)
def test_shifted_dates_keep_their_form(value, days, expected):
    assert shifted(value, days) == expected


@pytest.mark.parametrize(
    ("value", "days", "expected"),
    [
        ("3 de marzo de 2019", 20, "23 de marzo de 2019"),
        ("3 de marzo del 2019", 30, "2 de abril del 2019"),
        ("3 de Marzo", 30, "2 de Abril"),
        ("marzo de 2019", 30, "abril de 2019"),
        ("del 3 al 5 de marzo de 2019", 28, "del 31 de marzo al 2 de abril de 2019"),
        ("lunes 4 de marzo de 2019", 1, "martes 5 de marzo de 2019"),
        ("sábado", 1, "domingo"),
        ("año 2010", 300, "año 2011"),
        ("03/04/2019", 1, "04/04/2019"),
        ("3-abr-19", 30, "3-may-19"),
        ("12/04", 40, "22/05"),
        ("04/13/2019", 1, "04/14/2019"),
        ("Nochebuena de 2020", 1, "25 de diciembre de 2020"),
        ("3 de marzo de 2019 a las 10:30 h", 1, "4 de marzo de 2019 a las 10:30 h"),
        ("March 3, 2019", 1, "March 4, 2019"),
        ("1º de mayo de 2021", 21, "22 de mayo de 2021"),
        ("30 de abril y 1º de mayo", 1, "1 de mayo y 2 de mayo"),
        ("4, 5 y 6 de enero de 2021", 26, "30, 31 de enero y 1 de febrero de 2021"),
        ("3.III.2021", 30, "2.IV.2021"),
        ("03MAR2021", 30, "02ABR2021"),
    ],
)
def test_spanish_dates(value, days, expected):
    assert shifted(value, days, language="es") == expected


@pytest.mark.parametrize(
    "value",
    [
        "02/30/2020",
        "31 April 2021",
        "2021-13-01",
        "13/13/2020",
        "9999-12-31",
        "spring 2020",
        "last month",
        "the 3rd",
        "0700-1900",
        "1900-0700",
        "el día 4",
        "the week before Christmas",
        "the 3rd of this month",
        "Ramadan",
        "POD 2",
        "three days before March 3, 2021",
        "March 3, 2021 with Jane Doe",
        "1980s",
        "",
        "the",
    ],
)
def test_what_is_not_wholly_a_date_is_not_half_shifted(value):
    assert shifted(value, 20) is None


def test_a_language_without_a_calendar_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there are en, es"):
        shifted("03/04/2019", 1, language="xx")
    with pytest.raises(ConfigError, match="deid.language"):
        Deidentify(DeidConfig(language="xx", key_file=str(tmp_path / "k")))


def test_the_order_of_numbers_is_an_argument():
    assert shifted("03/04/2019", 1) == "03/05/2019" and shifted("03/04/2019", 1, order="dmy") == "04/04/2019"


def test_a_day_without_a_year_counts_in_the_given_one():
    leap, common, last = (Anchor(datetime.date(year, 12, 31), 0) for year in (2020, 2021, 2024))
    assert (shifted("Feb 28", 1, near=leap), shifted("Feb 28", 1, near=common)) == ("Feb 29", "Mar 1")
    assert shifted("Easter", 1, near=last) == "April 1"


@pytest.mark.parametrize(
    ("value", "note", "days", "expected"),
    [
        ("12/30", datetime.date(2021, 1, 3), 60, "02/28"),
        ("1/2", datetime.date(2021, 1, 3), 60, "3/3"),
        ("12/30 - 1/2", datetime.date(2021, 1, 3), 62, "03/02 - 3/5"),
        ("1/4 - 3/1", datetime.date(2019, 12, 10), 1, "1/5 - 3/2"),
        ("2/20", datetime.date(2020, 1, 3), 10, "3/1"),
        ("2/20", datetime.date(2020, 12, 28), 10, "3/2"),
        ("2/29", datetime.date(2021, 6, 1), 366, "3/1"),
        ("Christmas", datetime.date(2020, 1, 3), 67, "March 1"),
        ("el día 4", datetime.date(2021, 3, 10), 30, "el día 3"),
        ("el 31", datetime.date(2021, 2, 2), 1, "el 1"),
        ("the 3rd", datetime.date(2021, 3, 10), 20, "the 23rd"),
    ],
)
def test_a_note_tells_the_year_of_a_day(value, note, days, expected):
    """More than 60 days after it, it was in the year before."""
    language = "es" if value.startswith("el ") else "en"
    assert shifted(value, days, near=anchor([value], note=note, year=note.year, latest=note.year), language=language) == expected


@pytest.mark.parametrize(
    ("values", "days", "expected"),
    [
        (("12/31", "1/1"), 60, ["03/01", "3/2"]),  # 2024 has 29 February
        (("1/1", "12/31"), 60, ["3/1", "02/29"]),
        (("12/31/2022", "1/1"), 60, ["03/01/2023", "3/2"]),
        (("1/1/2024", "12/31"), 60, ["3/1/2024", "02/29"]),
    ],
)
def test_days_of_a_text_without_a_date_stay_together(values, days, expected):
    near = anchor(values, note=None, year=2024, latest=2026)
    assert [shifted(value, days, near=near) for value in values] == expected


@given(DAYS, SHIFTS, st.integers(0, 800))
def test_shift_keeps_order_and_interval(day, days, gap):
    try:
        later = day + datetime.timedelta(days=gap)
        expected = [(one + datetime.timedelta(days=days)).isoformat() for one in (day, later)]
    except OverflowError:
        return
    if day.year >= 1000:  # as people write years
        assert [shifted(one.isoformat(), days) for one in (day, later)] == expected


@given(st.dates(datetime.date(1800, 1, 1), datetime.date(2199, 12, 31)), SHIFTS, NUMBERS, st.sampled_from(LANGUAGES))
def test_numbers_name_the_shifted_day(day, days, form, language):
    order = spoken(language).calendar.order
    new = shifted(_numbers(day, form, order), days, language=language)
    moved = day + datetime.timedelta(days=days)
    assert [int(part) for part in new.replace("-", "/").replace(".", "/").split("/")] == [
        int(part) for part in _numbers(moved, form, order).replace("-", "/").replace(".", "/").split("/")
    ]


def _numbers(day, form, order):
    first, second = (day.month, day.day) if order == "mdy" else (day.day, day.month)
    return form.format(m=first, d=second, y=day.year)


@given(st.dates(datetime.date(1002, 1, 1), datetime.date(2997, 1, 1)), SHIFTS, st.sampled_from(LANGUAGES))
def test_words_name_the_shifted_day_and_its_weekday(day, days, language):
    new, moved = shifted(_words(day, language), days, language=language), day + datetime.timedelta(days=days)
    assert new == _words(moved, language) != _words(day, language)


def _words(day, language):
    words = spoken(language).calendar
    month, weekday = words.months[day.month - 1], words.weekdays[day.weekday()]
    return f"{weekday}, {month} {day.day}, {day.year}" if language == "en" else f"{weekday} {day.day} de {month} de {day.year}"


@given(st.integers(1002, 2997), st.integers(1002, 2997), SHIFTS)
def test_years_alone_keep_their_order_among_themselves_and_with_days(one, other, days):
    first, second = sorted((one, other))
    moved = [int(shifted(str(year), days)) for year in (first, second)]
    assert moved[0] <= moved[1] and moved[1] - moved[0] == second - first or abs(moved[1] - moved[0] - (second - first)) <= 1
    new_year, eve = (int(shifted(f"{first}-{rest}", days)[:4]) for rest in ("01-01", "12-31"))
    assert new_year <= moved[0] <= eve


@given(st.integers(1002 * 12, 2900 * 12), st.integers(0, 30), SHIFTS)
def test_months_keep_their_order(start, gap, days):
    moved = [shifted(f"{(start + n) // 12}-{(start + n) % 12 + 1:02d}", days) for n in (0, gap)]
    assert moved[0] <= moved[1]


@given(st.text(max_size=30), SHIFTS)
def test_any_text_is_shifted_or_refused(text, days):
    new = shifted(text, days)
    assert new is None or new.strip()
    assert all(1000 <= year <= 2999 for year in years_of(text))


def test_years():
    assert [years_of(v, latest=2024) for v in ("3/14/19", "3/14/87", "in 2011", "20190314", "March 3", "1850-01-01", "Mar-21")] == [
        [2019], [1987], [2011], [2019], [], [1850], [],
    ]  # fmt: skip
    assert (
        years_of("12/30/2019 - 1/2/2020") == [2019, 2020] and years_of("1925-1926") == [1925, 1926] and years_of("2019-20") == [2019, 2020]
    )
    assert years_of("3/14/30", latest=2024) == [1930] and years_of("3/14/30", latest=2031) == [2030]
    assert years_of("3 Mar 10:30") == [] and years_of("de marzo de 2019", language="es") == [2019]


@pytest.mark.parametrize("value", ["0700-1900", "1900-0700", "March 3 0700-1900 x", "1930 hrs on March 3"])
def test_hours_are_no_years(value):
    assert years_of(value) == [] and years_of("1990-1995") == [1990, 1995] and years_of("seen 1900-1910 x") == [1900, 1910]


def test_easter():
    """Sundays of the tables of the Gregorian calendar."""
    assert [easter(y).isoformat() for y in (1961, 2000, 2019, 2024, 2025)] == [
        "1961-04-02",
        "2000-04-23",
        "2019-04-21",
        "2024-03-31",
        "2025-04-20",
    ]
