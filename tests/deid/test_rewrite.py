import datetime
import re

import pytest
from deid_tables import ROWS
from hypothesis import given
from hypothesis import strategies as st
from nosology.config import DeidConfig, load
from nosology.deid.calendar_dates import Anchor
from nosology.deid.calendar_shift import shifted
from nosology.deid.detect import Detector
from nosology.deid.rewrite import rewrite
from nosology.deid.secret import Secret, load_secret
from nosology.deid.surrogates.draw import compact
from nosology.errors import ConfigError
from nosology.records import Span

SECRET = Secret(b"k" * 32)
DAYS = SECRET.shift_days("p")
AS_OF = datetime.date(2026, 6, 1)


def spans_of(text, *values):
    spans, at = [], 0
    for value, label in values:
        at = text.index(value, at)
        spans.append(Span(start=at, end=at + len(value), label=label))
        at += len(value)
    return spans


def done(text, *values, patient="p", reference=datetime.date(2020, 1, 1), language="en", **config):
    spans = spans_of(text, *values)
    return rewrite(text, spans, DeidConfig(**config, language=language), SECRET, patient=patient, reference=reference)


def test_tags_keep_the_year_the_age_band_and_three_digits():
    text = "Jane Doe, 92, seen 03/14/2019, ZIP 02139 and 03601."
    new = done(text, ("Jane Doe", "NAME"), ("92", "AGE"), ("03/14/2019", "DATE"), ("02139", "ZIP"), ("03601", "ZIP"))
    assert new.text == "[NAME], 90+, seen 2019, ZIP 021 and 000."


def test_the_zip_list_is_the_policys():
    assert done("83011", ("83011", "ZIP"), zip_list=2020).text == "830" and done("83011", ("83011", "ZIP")).text == "000"
    assert load(overrides=["deid.zip_list=2000"]).deid.zip_list == 2000
    with pytest.raises(ConfigError, match="zip_list"):
        load(overrides=["deid.zip_list=2010"])


@pytest.mark.parametrize("reference", [None, datetime.date(2015, 5, 1), datetime.date(2026, 5, 1)])
@pytest.mark.parametrize(("value", "language"), [("3/4/{}", "en"), ("03/04/{}", "en"), ("March of {}", "en"), ("3 de abril de {}", "es")])
@pytest.mark.parametrize("dates", ["year", "shift"])
def test_a_year_that_tells_an_age_over_89_goes(value, language, reference, dates):
    """By the run's day, whatever the note's, and whatever else stands in the note."""
    for year, goes in ((1936, True), (1937, False)):
        written = value.format(year)
        new = done(f"born {written}", (written, "DATE"), reference=reference, language=language, dates=dates, as_of=AS_OF).text
        assert (new == "born [DATE]") == goes and (goes or "19" in new)


def test_a_note_from_after_the_runs_day_tells_ages_by_its_own():
    values = ("born 3/4/1940", ("3/4/1940", "DATE"))
    assert done(*values, reference=datetime.date(2030, 1, 1), as_of=AS_OF).text == "born [DATE]"
    assert done(*values, reference=datetime.date(2029, 1, 1), as_of=AS_OF).text == "born 1940"


def test_a_span_of_dates_goes_with_its_first_year_and_a_marked_year_too():
    assert done("1/1/1920-2/2/2019", ("1/1/1920-2/2/2019", "DATE")).text == "[DATE]"
    assert done("born in 1928", dates="shift").text == "born in [DATE]"


def test_two_digits_are_read_by_the_date_of_the_note():
    assert done("seen 3/4/19", ("3/4/19", "DATE"), reference=datetime.date(2020, 1, 1)).text == "seen 2019"
    assert done("born 3/4/37", ("3/4/37", "DATE"), reference=None, as_of=AS_OF).text == "born 1937"
    assert done("born 3/4/30", ("3/4/30", "DATE"), reference=datetime.date(2015, 1, 1), as_of=AS_OF).text == "born [DATE]"


def test_a_range_keeps_both_years():
    assert done("12/30/2018 - 1/2/2019", ("12/30/2018 - 1/2/2019", "DATE")).text == "2018-2019"
    assert done("el 3 de marzo de 2019", ("3 de marzo de 2019", "DATE"), language="es").text == "el 2019"


def test_mask_keeps_the_length():
    text = "Jane Doe came on March 3"
    assert done(text, ("Jane Doe", "NAME"), ("March 3", "DATE"), rewrite="mask").text == "******** came on *******"


def test_surrogates_keep_form_and_person():
    text = "Jane Doe called; Ms. DOE left MRN AB-1234."
    values = (("Jane Doe", "NAME"), ("DOE", "NAME"), ("AB-1234", "MRN"))
    new = done(text, *values, rewrite="surrogates").text
    first, last = new.split()[:2]
    assert f"Ms. {last.rstrip(';').upper()} left" in new and first != "Jane"
    code = new.rstrip(".").split()[-1]
    assert code != "AB-1234" and code[2] == "-" and code[:2].isupper() and code[3:].isdigit()
    assert new == done(text, *values, rewrite="surrogates").text
    assert new != done(text, *values, rewrite="surrogates", patient="q").text


def test_a_value_without_a_surrogate_gets_its_tag():
    assert done("id --- here", ("---", "ID"), rewrite="surrogates").text == "id [ID] here"


def test_every_date_of_a_patient_moves_by_the_same_days():
    text = "Seen 03/14/2019 and March 20; born in 1960, ill since 2018, 2019 guidelines, in 2000 mg; next Monday, last spring."
    spans = [("03/14/2019", "DATE"), ("March 20", "DATE"), ("Monday", "DATE"), ("last spring", "DATE")]
    reference = datetime.date(2019, 3, 14)
    new = done(text, *spans, dates="shift", reference=reference).text
    expected = text
    for value in ("03/14/2019", "March 20", "Monday"):
        expected = expected.replace(value, shifted(value, DAYS, near=Anchor(reference, 60), latest=2019))
    for year in ("1960", "2018"):
        expected = expected.replace(f" {year}", f" {shifted(year, DAYS, latest=2019)}")
    assert new == expected.replace("last spring", "[DATE]") and "Monday" not in new
    assert "2019 guidelines" in new and "in 2000 mg" in new


def test_a_year_alone_stays_on_its_side_of_a_day():
    for patient in map(str, range(40)):
        new = done(
            "in 2019 and 01/01/2020 and 12/31/2018", ("01/01/2020", "DATE"), ("12/31/2018", "DATE"), dates="shift", patient=patient
        ).text
        year, after, before = int(new[3:7]), int(new[18:22]), int(new[33:37])
        assert before <= year <= after


@given(st.lists(st.tuples(st.sampled_from(["in 2018", "by 1999", "Ann", " "]), st.booleans()), max_size=12))
def test_marked_years_are_those_outside_of_spans(pieces):
    """Each is moved once, whatever stands around it; one in a span goes with it."""
    text, spans = "", []
    for value, marked in pieces:
        if marked and value.strip():
            spans.append(Span(start=len(text), end=len(text) + len(value), label="NAME"))
        text += value + ", "
    new = rewrite(text, spans, DeidConfig(dates="shift"), SECRET, patient="p", reference=datetime.date(2020, 1, 1))
    years = {year: shifted(year, DAYS, latest=2020) for year in ("2018", "1999")}
    expected = "".join(
        ("[NAME]" if marked and value.strip() else value.replace("2018", years["2018"]).replace("1999", years["1999"])) + ", "
        for value, marked in pieces
    )
    assert new.text == expected


def moved(text, **given):
    """The years that stand in a text under each of many shifts, next to those that stood there."""
    for patient in map(str, range(60)):
        new = done(text, dates="shift", patient=patient, **given).text
        yield [int(year) for year in re.findall(r"\d{4}", new)], new


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("in 2012, 2013 and 2014", "en"),
        ("in 2012, 2013, 2014", "en"),
        ("in 2012 and 2014", "en"),
        ("in 2012-2014", "en"),
        ("from 2015 to 2018", "en"),
        ("from 2015 through 2018", "en"),
        ("between 2015 and 2018", "en"),
        ("2016: stroke\n2018 - fall\n", "en"),
        ("* 2016-2018: smoker", "en"),
        ("en 2012, 2013 y 2014", "es"),
        ("de 2015 a 2018", "es"),
        ("desde 2015 hasta 2018", "es"),
        ("2016: ictus", "es"),
    ],
)
def test_a_marked_year_takes_the_rest_of_its_list_with_it(text, language):
    before = [int(year) for year in re.findall(r"\d{4}", text)]
    found = [years for years, _ in moved(text, language=language)]
    assert {tuple(b - a for a, b in zip(before, years, strict=True)) for years in found} == {(by,) * len(before) for by in (-1, 0, 1)}, (
        "all of them by the same, and not never"
    )


def test_a_short_year_of_a_span_moves_too():
    assert {new for _, new in moved("in 2012-14")} == {"in 2011-13", "in 2012-14", "in 2013-15"}


@pytest.mark.parametrize(
    "text",
    [
        "BNP rose from 1900 to 2050", "calories up from 1850 to 2000", "from 2050 to 1900", "in 2012 patients, 2000 mg", "2000: VS stable\n0630: asleep",
        "2100: asleep", "1930: asleep", "1930: meds given\n0630: asleep", "2016 guidelines", "scores of 1999 and 2001", "pasó de 1900 a 2050",
    ],
)  # fmt: skip
def test_what_is_no_year_stays(text):
    assert {new for _, new in moved(text)} == {text}


def test_days_without_a_year_keep_their_interval_across_new_year():
    text, spans = "Admitted 12/30, discharged 1/2", (("12/30", "DATE"), ("1/2", "DATE"))
    for patient in map(str, range(200)):
        new = done(text, *spans, dates="shift", patient=patient, reference=datetime.date(2021, 1, 3)).text
        first, last = (tuple(map(int, value.split("/"))) for value in re.findall(r"\d+/\d+", new))
        shift = datetime.timedelta(SECRET.shift_days(patient))
        for told, day in ((first, datetime.date(2020, 12, 30)), (last, datetime.date(2021, 1, 2))):
            assert told == ((day + shift).month, (day + shift).day)


def test_the_shift_is_never_a_whole_week():
    shifts = {SECRET.shift_days(str(n)) for n in range(4000)}
    assert all(days % 7 for days in shifts) and min(shifts) == -363 and max(shifts) == 363 and len(shifts) > 600


LABELLED = st.tuples(
    st.text("abXY 019-./@", min_size=1, max_size=12),
    st.sampled_from(["NAME", "LOCATION", "ORGANIZATION", "PHONE", "MRN", "EMAIL", "URL", "IP", "ID"]),
)


@given(st.lists(st.tuples(st.text("qrs ", max_size=5), LABELLED), max_size=6))
def test_a_surrogate_is_no_identifier_of_its_text(pieces):
    text, spans = "", []
    for before, (value, label) in pieces:
        text += before
        spans.append(Span(start=len(text), end=len(text) + len(value), label=label))
        text += value
    new = rewrite(text, spans, DeidConfig(rewrite="surrogates"), SECRET, patient="p")
    # one letter is nobody's: of 26 initials one may be another's
    values = {value for value in (compact(text[s.start : s.end]) for s in spans) if len(value) > 1}
    for span, (a, b, c, d) in zip(spans, new.edits, strict=True):
        assert (a, b) == (span.start, span.end) and new.text[c:d] != text[a:b]
        assert compact(new.text[c:d]) not in values or new.text[c:d] == f"[{span.label}]"


@given(
    st.text(max_size=40),
    st.lists(st.integers(0, 40), max_size=8),
    st.sampled_from(["tags", "mask", "surrogates"]),
    st.sampled_from(["year", "shift"]),
    st.sampled_from(["NAME", "DATE", "ZIP", "LOCATION"]),
)
def test_offsets_map_onto_the_same_characters(text, cuts, mode, dates, label):
    places = sorted({min(c, len(text)) for c in cuts})
    spans = [Span(start=a, end=b, label=label) for a, b in zip(places[::2], places[1::2], strict=False) if a < b]
    new = rewrite(text, spans, DeidConfig(rewrite=mode, dates=dates), SECRET, patient="p")
    inside = {i for a, b, _, _ in new.edits for i in range(a, b)}
    for i, character in enumerate(text):
        if i not in inside:
            assert new.text[new.moved(i)] == character and new.back(new.moved(i)) == i
    assert {i for s in spans for i in range(s.start, s.end)} <= inside
    assert new.moved(len(text)) == len(new.text) and new.back(len(new.text)) == len(text)


NOTE = """Patient: Smith, John    DOB: 03/14/1950    MRN: 00412345
Mr. Smith, 92 years old, was seen on March 3, 2021 by Dr. Okonkwo at Mercy General Hospital, 12 Main Street, Springfield, IL 62704.
Call 415-555-0134 or mail john.smith@gmail.com. SSN 123-45-6789. Parkinson disease, 3/5 strength, metformin 500 mg."""


@pytest.mark.parametrize("mode", ["tags", "mask"])
def test_cleaning_a_clean_text_changes_nothing(mode):
    config = DeidConfig(rewrite=mode)
    detector = Detector(config, rules_only=True)
    first = rewrite(NOTE, detector.find([NOTE])[0], config, SECRET, patient="p").text
    second = rewrite(first, detector.find([first])[0], config, SECRET, patient="p").text
    assert first == second != NOTE and "Parkinson disease, 3/5 strength, metformin 500 mg" in first
    for value in ("Smith", "03/14", "00412345", "March", "Okonkwo", "62704", "0134", "gmail", "6789"):
        assert value not in first


@pytest.mark.parametrize("mode", ["tags", "mask"])
@pytest.mark.parametrize(("code", "share"), [("en", 0.01), ("es", 0.035)])
def test_cleaning_the_tables_once_more(code, share, mode):
    """Every text of the tables: by rules nothing changes; the tagger takes one more word in a few, each short and without what stood there."""
    config, texts = DeidConfig(language=code, rewrite=mode), list(dict.fromkeys(row.text for row in ROWS if row.code == code))
    for rules_only, most in ((True, 0), (False, share * len(texts))):
        detector = Detector(config, rules_only=rules_only)

        def cleaned(given, detector=detector):
            return [rewrite(a, found, config, SECRET, patient="p").text for a, found in zip(given, detector.find(given), strict=True)]

        once = cleaned(texts)
        changed = [one for one, again in zip(once, cleaned(once), strict=True) if one != again]
        assert len(changed) <= most, changed


def test_names_beside_tags_and_masks_are_found():
    """What an earlier pass left is found as if the tags were not there, so that a text of another tool's tags is searched like any other."""
    detector = Detector(DeidConfig())
    for put in ("[NAME]", "[LOCATION]", "[DATE]", "****", "**********"):
        for text in (f"Seen with {put} Adaeze Nwosu today", f"the cousin of {put}, Tadeusz, called", f"adaeze nwosu {put} labs"):
            found = " ".join(text[s.start : s.end] for s in detector.find([text])[0]).lower()
            assert "adaeze nwosu" in found or "tadeusz" in found, text
            assert put.strip("[]*").lower() not in found or "*" in put, text


def test_a_year_alone_is_cut_to_itself():
    """Under a policy that takes it, with its words: no second pass finds less."""
    for text, value in (("Control del 2020.", "del 2020"), ("entre 2018 y 2019", "2018 y 2019"), ("2018-2019", "2018-2019")):
        assert done(text, (value, "DATE"), language="es").text == text
    assert done("nacido en 1928", ("1928", "DATE"), language="es").text == "nacido en [DATE]"


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
