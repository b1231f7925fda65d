"""Surrogates: same class and form, one for an entity of a patient, never an identifier of the text."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.deid.checksums import luhn
from nosology.deid.secret import Secret
from nosology.deid.surrogates import Surrogates, places
from nosology.deid.surrogates import names as people
from nosology.deid.surrogates.draw import compact, fold
from nosology.deid.surrogates.lists import by_initial, invented, known, sections
from nosology.deid.zips import zip3

SECRET = Secret(b"k" * 32)
CODES = ["SSN", "MRN", "BENEFICIARY", "ACCOUNT", "LICENSE", "VEHICLE", "DEVICE", "BIOMETRIC", "PHOTO", "ID"]


def made(*pairs, patient="p", language="en", secret=SECRET):
    maker = Surrogates(secret, patient, pairs, lambda value: zip3(value) or "000", language)
    return [maker.of(value, label) for value, label in pairs]


def one(value, label, **options):
    return made((value, label), **options)[0]


def name(value, *others, **options):
    return made((value, "NAME"), *((other, "NAME") for other in others), **options)[0]


def shape(value):
    return "".join("9" if c.isdigit() else "a" if c.islower() else "A" if c.isupper() else c for c in value)


def test_the_forms_of_one_person_go_together():
    full, last, title, initial, first, lower, hyphen = made(
        *((v, "NAME") for v in ("John Smith", "SMITH, JOHN", "Mr. Smith", "J. Smith", "John", "john smith's", "Smith-Jones"))
    )
    given_name, family = full.split()
    assert {given_name, family}.isdisjoint({"John", "Smith"})
    assert last == f"{family.upper()}, {given_name.upper()}" and title == f"Mr. {family}" and first == given_name
    assert initial == f"{given_name[0]}. {family}" and lower == f"{given_name.lower()} {family.lower()}'s"
    assert hyphen.startswith(f"{family}-") and hyphen != f"{family}-Jones"


def test_every_note_of_a_patient_agrees_and_other_patients_and_keys_do_not():
    whole = name("John Smith", "Ann Lee", "Dr. Harlow")
    assert name("John") == whole.split()[0] and name("Smith") == whole.split()[1] and name("SMITH") == whole.split()[1].upper()
    assert name("John Smith", patient="q") != whole != name("John Smith", secret=Secret(b"l" * 32))
    assert one("john.smith@gmail.com", "EMAIL") != one("john.smith@gmail.com", "EMAIL", patient="q")


def test_a_name_is_chosen_once_in_a_text_also_where_there_is_none_to_give(monkeypatch):
    """Thousands of names of one letter take all that there are; notes name the same people again and again."""
    pairs = [(f"B{a}{b}{c}son", "NAME") for a in "aeiou" for b in "bdfglmnprst" for c in "aeiouy"]
    asked = []
    plain = people.Names._name
    monkeypatch.setattr(people.Names, "_name", lambda *given: asked.append(given[1]) or plain(*given))
    maker = Surrogates(SECRET, "p", pairs, str)
    chosen = len(asked)
    again = [maker.of(value, label) for value, label in pairs * 3]
    assert None in again and len(set(again) - {None}) > 50
    assert len(asked) == chosen


def test_names_in_an_address_are_those_of_the_longest_name_with_two_initials_at_most():
    names = [("Ann Lee", "NAME"), ("Banlee", "NAME")]
    name, lee, other = made(("jblee@x.example", "EMAIL"), ("Lee", "NAME"), ("jbanlee@x.example", "EMAIL"), *names)[:3]
    assert fold(lee) == name.partition("@")[0][2:] and fold(lee) not in other.partition("@")[0][2:]


@pytest.mark.parametrize(
    ("value", "culture", "role"),
    [
        ("Margaret", "en", "female"),
        ("Harold", "en", "male"),
        ("Guadalupe", "es", "female"),
        ("Joaquín", "es", "male"),
        ("Joaquin", "es", "male"),
        ("Rodríguez", "es", "family"),
        ("Svetlana", "slavic", "female"),
        ("Kowalski", "slavic", "family"),
        ("Okonkwo", "african", "family"),
        ("Priya", "indian", "female"),
        ("Nguyen", "vietnamese", "family"),
        ("Takahashi", "japanese", "family"),
        ("Khadija", "arabic", "female"),
        ("Ольга", "Cyrl", "female"),
        ("محمد", "Arab", "male"),
        ("שמעון", "Hebr", "male"),
    ],
)
def test_sex_and_culture_stay(value, culture, role):
    plain = {fold(one) for one in sections("names.txt")[culture, role]}
    for patient in map(str, range(20)):
        new = name(value, patient=patient)
        assert fold(new) in plain and fold(new) != fold(value)
        assert not value.isascii() or known()[fold(value)][2].isascii() or new.isascii()


def test_a_vietnamese_name_stays_one():
    """Accents where the name has them, none where it has none; `Thị` and `Văn` say the sex and stay."""
    families, women, men = ({fold(one) for one in sections("names.txt")["vietnamese", role]} for role in ("family", "female", "male"))
    for patient in map(str, range(20)):
        woman, bare, man = (name(value, patient=patient) for value in ("Nguyễn Thị Mai", "Nguyen Thi Huong", "Trần Văn Hùng"))
        family, middle, own = woman.split()
        assert middle == "Thị" and fold(family) in families and fold(own) in women
        assert not any(fold(one) == fold(plain) and one.isascii() and not plain.isascii()
                       for one in (family, own) for plain in sections("names.txt")["vietnamese", "family"])  # fmt: skip
        assert bare.isascii() and bare.split()[1] == "Thi" and fold(bare.split()[0]) == fold(family).replace("đ", "d")
        assert man.split()[1] == "Văn" and fold(man.split()[2]) in men
    assert name("Đặng Quỳnh").split()[0] != "Đặng" and "Thi" not in name("Thi Mai")


def test_a_country_or_state_in_letters_stays_one():
    states = sections("stems.txt")["en", "place", "state_codes"]
    for patient in map(str, range(20)):
        clinic, country, state, letters = made(
            ("UK clinic", "ORGANIZATION"), ("USA", "LOCATION"), ("NY", "LOCATION"), ("MGH", "ORGANIZATION"), patient=patient
        )
        assert clinic in ("US clinic", "NZ clinic") and country in ("UAE", "KSA", "RSA") and state in states and state != "NY"
        assert letters not in ("MGH", "USA")


def test_what_the_form_of_a_name_shows_stays():
    new = name("María García López")
    assert len(new.split()) == 3 and {fold(w) for w in new.split()[1:]} <= {fold(w) for w in sections("names.txt")["es", "family"]}
    assert name("de la Cruz, Ana").startswith("de la ") and name("Ludwig van Beethoven").split()[1] == "van"
    assert re.fullmatch(r"Dr\. \w+ Jr", name("Dr. O'Brien Jr")) and re.fullmatch(r"[A-Z]{3}", name("JSM"))
    assert re.fullmatch(r"\w+, MD", name("Smith, MD")) and "Van" not in name("Van Le")
    assert "DO" not in name("VAN MINH DO") and "Don" not in name("Don Larkspire") and name("Don Anselmo", language="es").startswith("Don ")
    assert re.fullmatch(r"Sister \w+", name("Sister Larkspire")) and "DOE" not in name("DOE^JANE^A") and name("DOE^JANE^A").count("^") == 2
    assert len(name("王小明")) == 3 and len(name("김민수")) == 3 and name("王小明") != "王小明"
    assert re.fullmatch(r"[a-z]{6}\d\d", name("jsmith42"))


def test_a_letter_never_stands_for_itself_and_there_are_names_for_each_initial():
    for patient in map(str, range(30)):
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            assert name(f"{letter}.", patient=patient) not in (f"{letter}.", None)
    for initial in people.INITIALS:
        assert min(len(by_initial(c, r, initial)) for c in ("en", "es") for r in ("female", "male")) >= 4
        assert all(fold(n)[0] == initial.lower() for c in ("en", "es") for r in ("female", "male") for n in by_initial(c, r, initial))
        assert len(invented("en", "name", initial)[0]) * len(invented("en", "name", initial)[1]) >= 100


NAMES = sorted(known())


@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True), st.sampled_from("pqrs"))
def test_two_names_of_a_text_never_meet_in_one(words, patient):
    new = made(*((word.title(), "NAME") for word in words), patient=patient)
    assert None not in new and len({fold(one) for one in new}) == len(words)


def test_two_names_of_a_patient_in_two_notes_meet_as_rarely_as_the_docstring_says():
    """Pairs of family names that no list has and that begin alike."""
    pairs = [(f"Q{a}zor", f"Q{b}mil") for a in "aeiou" for b in "aeiou"]
    met = sum(name(a, patient=str(p)) == name(b, patient=str(p)) for p in range(80) for a, b in pairs)
    assert met <= 0.02 * 80 * len(pairs)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("415-555-0134", r"\d{3}-555-01\d\d"),
        ("(617) 726-2000 x123", r"\(\d{3}\) 555-01\d\d x\d{3}"),
        ("+1 617.726.2000", r"\+1 \d{3}\.555\.01\d\d"),
        ("6177262000", r"\d{3}55501\d\d"),
        ("726-2000", r"555-01\d\d"),
        ("+34 612 345 678", r"\+34 6\d\d \d{3} \d{3}"),
        ("+44 7911 123456", r"\+44 7700 900\d{3}"),
        ("912 345 678", r"9\d\d \d{3} \d{3}"),
        ("1-800-FLOWERS", r"1-8(00|33|44|55|66|77|88)-[A-Z]{7}"),
        ("1-888-GO-FEDEX", r"1-8(00|33|44|55|66|77|88)-[A-Z]{2}-[A-Z]{5}"),
        ("(617) GET-HELP", r"\([2-9][0-8]\d\) [A-Z]{3}-[A-Z]{4}"),
        ("726-HELP", r"\d{3}-[A-Z]{4}"),
    ],
)
def test_telephones_keep_their_form_and_belong_to_nobody(value, pattern):
    for label in ("PHONE", "FAX"):
        new = one(value, label)
        assert re.fullmatch(pattern, new) and new != value
    assert one(value, "PHONE") == one(value, "FAX")


def test_addresses_are_of_ranges_for_documentation():
    first, email, short, url, bare, v4, v6, mac = made(
        ("John Smith", "NAME"), ("john.smith@gmail.com", "EMAIL"), ("jsmith@mgh.harvard.edu", "EMAIL"), ("https://www.foo.com/a?x=1", "URL"),
        ("foo.health", "URL"), ("10.1.2.3", "IP"), ("2001:470::1", "IP"), ("00:1b:44:11:3a:b7", "DEVICE"),
    )  # fmt: skip
    given_name, family = first.lower().split()
    assert email == f"{given_name}.{family}@example.com" and short == f"{given_name[0]}{family}@example.org"
    assert re.fullmatch(r"https://www\.example\.com/[0-9a-f]{10}", url) and re.fullmatch(r"[a-z]+\.example\.org", bare)
    assert re.fullmatch(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}", v4) and v6.startswith("2001:db8:") and len(v6.split(":")) == 8
    assert re.fullmatch(r"00:00:5e:00:53:[0-9a-f]{2}", mac)


def test_places_keep_their_kind():
    street, town, calle, hospital, letters, saint = made(
        ("742 Evergreen Terrace, Springfield, IL 62704-1234", "LOCATION"), ("NEW YORK", "LOCATION"), ("Calle Mayor 5, 28013 Madrid", "LOCATION"),
        ("Massachusetts General Hospital", "ORGANIZATION"), ("MGH", "ORGANIZATION"), ("St. Mary's Hospital", "ORGANIZATION"),
    )  # fmt: skip
    assert re.fullmatch(r"[1-9]\d\d [A-Z][a-z]+ Terrace, [A-Z][a-z]+, IL 627", street) and re.fullmatch(r"[A-Z]+", town)
    assert re.fullmatch(r"Calle [A-Z]\w+ \d, \d{5} [A-Z]\w+", calle) and re.fullmatch(r"[A-Z][a-z]+ General Hospital", hospital)
    assert re.fullmatch(r"[A-Z]{3}", letters) and re.fullmatch(r"St\. [A-Z]\w+ Hospital", saint)
    doors = one("Calle Villa de Marín 6, 12 F", "LOCATION")
    assert re.fullmatch(r"Calle \w+ de \w+ \d, [1-9]\d [A-Z]", doors) and "Marín" not in doors
    countries = sections("stems.txt")["es", "place", "countries"]
    assert one("España", "LOCATION", language="es") in set(countries) - {"España"} and one("08025", "LOCATION") != "08025"
    assert one("South Dakota", "LOCATION").replace(" ", "_") in sections("stems.txt")["en", "place", "states"]
    assert one("Springfield", "LOCATION") == street.split(", ")[1]
    assert one("12 Fargo Road, Nome, AK 03601", "LOCATION").endswith(", AK 000")


DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def _npi(v):
    return luhn("80840" + v)


def _dea(v):
    d = [int(c) for c in v[2:]]
    return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]


def _vin(v):
    values = {
        **{str(n): n for n in range(10)},
        **dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9], strict=True)),
    }
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    return "0123456789X"[sum(w * values[c] for w, c in zip(weights, v, strict=True)) % 11] == v[8]


DATE = r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"


def _dated(v):
    """Made before it expires."""
    return v[20:24] < v[30:34]


def _iban(v):
    v = compact(v)
    return int("".join(str(int(c, 36)) for c in v[4:] + v[:4])) % 97 == 1


@pytest.mark.parametrize(
    ("value", "label", "holds", "pattern"),
    [
        ("1234567893", "LICENSE", _npi, r"1\d{9}"),
        ("AB1234563", "LICENSE", _dea, r"[A-Z]{2}\d{7}"),
        ("4111 1111 1111 1111", "ACCOUNT", lambda v: luhn(compact(v)), r"4\d{3}( \d{4}){3}"),
        ("378282246310005", "ACCOUNT", luhn, r"3\d{14}"),
        ("1HGCM82633A004352", "VEHICLE", _vin, r"[A-HJ-NPR-Z0-9]{17}"),
        ("GB82 WEST 1234 5698 7654 32", "ACCOUNT", _iban, r"GB\d\d [A-Z]{4}( \d{4}){3} \d\d"),
        ("ES9121000418450200051332", "ACCOUNT", _iban, r"ES\d{22}"),
        ("12345678Z", "ID", lambda v: v[-1] == DNI[int(v[:8]) % 23], r"\d{8}[A-Z]"),
        ("12345678-z", "ID", lambda v: v[-1].upper() == DNI[int(v[:8]) % 23], r"\d{8}-[a-z]"),
        ("X1234567L", "ID", lambda v: v[-1] == DNI[int(v[1:8]) % 23], r"X\d{7}[A-Z]"),
        ("281234567840", "ID", lambda v: int(v[:10]) % 97 == int(v[10:]), r"28\d{10}"),
        ("1EG4-TE5-MK73", "BENEFICIARY", bool, r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y]{2}\d\d"),
        ("123-45-6789", "SSN", bool, r"9\d\d-(0[1-9]|[1-4]\d)-\d{4}"),
        ("123456789", "SSN", bool, r"9\d\d(0[1-9]|[1-4]\d)\d{4}"),
        ("(01)00884521012344(17)251231", "DEVICE", bool, rf"\(01\)\d{{14}}\(17\){DATE}"),
        ("(01)00884521012344(11)141120(17)171100(10)4471A", "DEVICE", _dated, rf"\(01\)\d{{14}}\(11\){DATE}\(17\)\d\d(0[1-9]|1[0-2])00\(10\)\d{{4}}[A-Z]"),
        ("(01)00884521012344(17)149920(21)141120", "DEVICE", bool, r"\(01\)\d{14}\(17\)\d{6}\(21\)\d{6}"),  # no date, and no field for one
        ("IMG_2231.jpg", "PHOTO", bool, r"IMG_\d{4}\.jpg"),
        ("DSC01234.JPG", "PHOTO", bool, r"DSC\d{5}\.JPG"),
        ("scan-1234.dcm", "PHOTO", bool, r"scan-\d{4}\.dcm"),
        ("clip7731.mp4", "PHOTO", bool, r"clip\d{4}\.mp4"),
        ("P1090022.heic", "PHOTO", bool, r"P\d{7}\.heic"),
        ("smith_02.tiff", "PHOTO", bool, r"[a-z]{5}_\d\d\.tiff"),
        ("PH-2209-1", "PHOTO", bool, r"[A-Z]{2}-\d{4}-\d"),
        ("123e4567-e89b-12d3-a456-426614174000", "ID", bool, r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"),
        ("MRN12345", "MRN", bool, r"MRN\d{5}"),
        ("AB-1234.c", "MRN", bool, r"[A-Z]{2}-\d{4}\.[a-z]"),
    ],
)  # fmt: skip
def test_codes_keep_their_form_and_checksum(value, label, holds, pattern):
    assert holds(value)
    for patient in map(str, range(30)):
        new = one(value, label, patient=patient)
        assert re.fullmatch(pattern, new) and holds(new) and new != value


def test_a_code_is_one_however_it_is_written():
    plain, dashed, labelled = one("AB1234", "MRN"), one("AB-1234", "MRN"), one("ab 1234", "ID")
    assert compact(plain) == compact(dashed) == compact(labelled)


WORDS = st.sampled_from(
    [n.title() for n in NAMES[::7]] + ["Alderbourne", "Maplewood", "Birchside", "Fuenteclara", "Fairfield", "Thornbury"]
)
PEOPLE = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
VALUES = st.one_of(
    st.tuples(PEOPLE, st.just("NAME")),
    st.tuples(PEOPLE, st.sampled_from(["LOCATION", "ORGANIZATION"])),
    st.tuples(
        st.text("abXY 0123456789-.", min_size=3, max_size=20),
        st.sampled_from([*CODES, "PHONE", "FAX", "EMAIL", "URL", "IP", "NAME", "LOCATION"]),
    ),
    st.tuples(st.from_regex(r"\A[0-9]{3}-555-01[0-9]{2}\Z"), st.just("PHONE")),
    st.tuples(st.from_regex(r"\A192\.0\.2\.[1-9]\Z"), st.just("IP")),
)


@settings(max_examples=200)
@given(st.lists(VALUES, min_size=1, max_size=8), st.sampled_from("pqr"))
def test_no_surrogate_is_an_identifier_of_the_text(pairs, patient):
    values = {compact(value) for value, _ in pairs} - {""}
    identifying = {word for value, label in pairs if label == "NAME" for word in people.words_of(value)}
    identifying |= {w for value, label in pairs if label in ("LOCATION", "ORGANIZATION") for w in places.words_of(value, label)}
    for (value, label), new in zip(pairs, made(*pairs, patient=patient), strict=True):
        if new is None:  # a tag
            continue
        assert new != value and compact(new) not in values
        if label == "NAME":
            assert identifying.isdisjoint(people.words_of(new))
        if label in ("LOCATION", "ORGANIZATION"):
            assert identifying.isdisjoint(places.words_of(new, label))


@given(
    st.text(min_size=1, max_size=25), st.sampled_from([*CODES, "PHONE", "FAX", "EMAIL", "URL", "IP", "NAME", "LOCATION", "ORGANIZATION"])
)
def test_any_text_gets_another_or_none(value, label):
    assert one(value, label) != value


@given(st.from_regex(r"\A[A-Za-z0-9]{3,8}(-[A-Za-z0-9]{2,6}){0,2}\Z"), st.sampled_from(["MRN", "ACCOUNT", "ID"]))
def test_any_code_keeps_its_shape(value, label):
    new = one(value, label)
    assert new is None or shape(new) == shape(value) or value.startswith("MRN")
