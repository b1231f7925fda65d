import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import DeidConfig
from nosology.deid.calendar_dates import shifted, year_of
from nosology.deid.rewrite import rewrite
from nosology.deid.secret import Secret, load_secret
from nosology.deid.zips import zip3
from nosology.errors import ConfigError
from nosology.records import Span

SECRET = Secret(b"k" * 32)


def spans_of(text, *values):
    return [Span(start=text.index(v), end=text.index(v) + len(v), label=label) for v, label in values]


def done(text, *values, patient="p", reference=datetime.date(2020, 1, 1), **config):
    return rewrite(text, spans_of(text, *values), DeidConfig(**config), SECRET, patient=patient, reference=reference)


def test_tags_keep_the_year_the_age_band_and_three_digits():
    text = "Jane Doe, 92, seen 03/14/2019, ZIP 02139 and 03601."
    new = done(text, ("Jane Doe", "NAME"), ("92", "AGE"), ("03/14/2019", "DATE"), ("02139", "ZIP"), ("03601", "ZIP"))
    assert new.text == "[NAME], 90+, seen 2019, ZIP 021 and 000."


def test_a_year_that_tells_an_age_over_89_goes():
    assert done("born 1928-05-05", ("1928-05-05", "DATE"), reference=datetime.date(2019, 1, 1)).text == "born [DATE]"
    assert done("born 1930-05-05", ("1930-05-05", "DATE"), reference=datetime.date(2019, 1, 1)).text == "born 1930"


def test_mask_keeps_the_length():
    text = "Jane Doe came"
    assert done(text, ("Jane Doe", "NAME"), rewrite="mask").text == "******** came"


def test_surrogates_keep_form_and_person():
    text = "Jane Doe called; Ms. DOE left MRN AB-1234."
    new = done(text, ("Jane Doe", "NAME"), ("DOE", "NAME"), ("AB-1234", "MRN"), rewrite="surrogates").text
    first, last = new.split()[:2]
    assert f"Ms. {last.upper()} left" in new and first != "Jane"
    code = new.rstrip(".").split()[-1]
    assert code != "AB-1234" and code[2] == "-" and code[:2].isupper() and code[3:].isdigit()
    assert new == done(text, ("Jane Doe", "NAME"), ("DOE", "NAME"), ("AB-1234", "MRN"), rewrite="surrogates").text
    other = done(text, ("Jane Doe", "NAME"), ("DOE", "NAME"), ("AB-1234", "MRN"), rewrite="surrogates", patient="q").text
    assert other != new


@given(
    st.sampled_from(["NAME", "LOCATION", "ORGANIZATION", "PHONE", "MRN", "EMAIL", "URL", "IP", "ID"]),
    st.text(alphabet="abcdeXYZ 0123456789-.", min_size=3, max_size=20),
)
def test_a_surrogate_is_never_the_value(label, value):
    if not any(c.isalnum() for c in value):
        return
    new = rewrite(value, [Span(start=0, end=len(value), label=label)], DeidConfig(rewrite="surrogates"), SECRET, patient="p").text
    assert new != value


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=8))
def test_offsets_map_onto_the_same_characters(text, cuts):
    places = sorted({min(c, len(text)) for c in cuts})
    spans = [Span(start=a, end=b, label="NAME") for a, b in zip(places[::2], places[1::2], strict=False) if a < b]
    new = rewrite(text, spans, DeidConfig(), SECRET, patient="p")
    inside = {i for s in spans for i in range(s.start, s.end)}
    for i, character in enumerate(text):
        if i in inside:
            assert new.text[new.moved(i) :].startswith("[NAME]")
        else:
            assert new.text[new.moved(i)] == character
    assert new.moved(len(text)) == len(new.text)


@pytest.mark.parametrize(
    ("value", "days", "expected"),
    [
        ("03/14/2019", 20, "04/03/2019"),
        ("3/14/19", 1, "3/15/19"),
        ("2020-02-28", 1, "2020-02-29"),
        ("14.03.2019", 1, "15.03.2019"),
        ("March 14, 2019", 20, "April 3, 2019"),
        ("14 Mar 2019", 20, "3 Apr 2019"),
        ("20190314", 1, "20190315"),
        ("2019-12-31T23:00:00", 1, "2020-01-01T23:00:00"),
        ("March 14", 3, None),
        ("Easter", 3, None),
    ],
)
def test_shifted_dates_keep_their_form(value, days, expected):
    assert shifted(value, days) == expected


@given(st.dates(datetime.date(1950, 1, 1), datetime.date(2030, 1, 1)), st.integers(0, 400))
def test_shift_keeps_order_and_interval(day, gap):
    days = SECRET.shift_days("p")
    later = day + datetime.timedelta(days=gap)
    moved = [datetime.date.fromisoformat(shifted(d.isoformat(), days)) for d in (day, later)]
    assert (moved[1] - moved[0]).days == gap and moved[0] != day


def test_year_of():
    assert (year_of("3/14/19"), year_of("3/14/87"), year_of("in 2011"), year_of("20190314"), year_of("March 3")) == (
        2019,
        1987,
        2011,
        2019,
        None,
    )


# The 17 areas of 20,000 people or fewer that HHS names in its guidance on de-identification (26 November 2012), from the Census of 2000
RESTRICTED_BY_HHS = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
# Areas beside one of them, or with its digits in another order, that the guidance does not name
NEAR_MISSES = "035 037 058 062 064 101 103 201 206 361 555 557 691 693 789 791 820 822 824 829 832 877 880 883 889 891 894 906"


@pytest.mark.parametrize("area", RESTRICTED_BY_HHS.split())
@pytest.mark.parametrize("rest", ["", "44", "44-4307", "444307"])
def test_a_small_zip_area_is_000(area, rest):
    assert zip3(area + rest) == "000"


@pytest.mark.parametrize("area", NEAR_MISSES.split())
def test_a_near_miss_of_a_small_zip_area_keeps_its_digits(area):
    assert zip3(area + "44") == area


def test_forms_of_a_zip():
    assert zip3("02139") == "021" and zip3("02139-4307") == "021" and zip3("021394307") == "021" and zip3("021") == "021"
    assert zip3("560001") is None and zip3("B0J 2H0") is None and zip3(None) is None


def test_key_file_is_private_and_stays(tmp_path):
    config = DeidConfig(key_file=str(tmp_path / "keys" / "k"))
    first, second = load_secret(config), load_secret(config)
    assert first == second and (tmp_path / "keys" / "k").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["k"]
    assert first.key.hex() not in repr(first)
    (tmp_path / "keys" / "k").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secret(config)
    (tmp_path / "short").write_text("abcd")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(ConfigError, match="expected 32"):
        load_secret(DeidConfig(key_file=str(tmp_path / "short")))


def test_other_key_other_pseudonyms():
    other = Secret(b"l" * 32)
    assert SECRET.pseudonym("1") == SECRET.pseudonym("1") != other.pseudonym("1")
    assert SECRET.fingerprint != other.fingerprint
    shifts = {SECRET.shift_days(str(n)) for n in range(2000)}
    assert 0 not in shifts and min(shifts) >= -364 and max(shifts) <= 364 and len(shifts) > 600
