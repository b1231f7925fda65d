"""ZIP codes: what stays of them, by list."""

import pytest
from nosology.deid.zips import SMALL_AREAS, zip3

# The 17 areas of 20,000 people or fewer that HHS names in its guidance on de-identification (26 November 2012), from the Census of 2000
RESTRICTED_BY_HHS = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
# Populations of the Census of 2020 (table P1, sum of the 5-digit ZCTAs), the smallest areas and those just above
IN_2020 = {
    "036": 13153, "059": 3352, "102": 15082, "202": 0, "203": 772, "204": 60, "205": 44, "369": 17596, "556": 16415, "692": 8626, "753": 0,
    "772": 4280, "821": 392, "823": 14702, "878": 17364, "879": 16082, "884": 16740, "893": 10701, "576": 20310, "999": 21178, "831": 22228,
    "994": 22324, "516": 22642, "830": 22696, "822": 23706, "414": 23807, "669": 24077, "690": 24128, "418": 26653, "739": 28352,
    "792": 29177, "679": 29222, "051": 29470, "266": 29730,
}  # fmt: skip
# Areas beside one of them, or with its digits in another order, that neither list has
NEAR_MISSES = "035 037 058 062 064 101 103 201 206 361 557 691 693 789 791 820 822 824 829 832 877 880 883 891 894 906"


@pytest.mark.parametrize("area", RESTRICTED_BY_HHS.split())
@pytest.mark.parametrize("rest", ["", "44", "44-4307", "444307"])
def test_a_small_zip_area_is_000(area, rest):
    assert zip3(area + rest) == zip3(area + rest, 2000) == "000"


@pytest.mark.parametrize("area", NEAR_MISSES.split())
def test_a_near_miss_of_a_small_zip_area_keeps_its_digits(area):
    assert {zip3(area + "44", which) for which in SMALL_AREAS} == {area}


@pytest.mark.parametrize(("area", "people"), IN_2020.items())
def test_the_list_of_2020_follows_its_census(area, people):
    assert zip3(area, 2020) == ("000" if people <= 20_000 else area)


def test_the_lists_differ_and_the_union_is_both():
    assert len(SMALL_AREAS[2000]) == 17 and SMALL_AREAS["union"] == SMALL_AREAS[2000] | SMALL_AREAS[2020]
    assert (zip3("83011", 2000), zip3("83011", 2020), zip3("83011")) == ("000", "830", "000")
    assert (zip3("36901", 2000), zip3("36901", 2020), zip3("36901")) == ("369", "000", "000")
    assert (zip3("09012", 2000), zip3("09012", 2020)) == ("090", "000")  # a military address: nobody in a Census area


def test_forms_of_a_zip():
    assert zip3("02139") == "021" and zip3("02139-4307") == "021" and zip3("021394307") == "021" and zip3("021") == "021"
    assert zip3("560001") is None and zip3("B0J 2H0") is None and zip3(None) is None


@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u0966"])
def test_digits_of_another_script_are_digits(zero):
    """Full width, Arabic-Indic, Devanagari: a small area is one in any of them, and three digits come out in ASCII."""

    def written(digits):
        return "".join(chr(ord(zero) + int(c)) if c.isdigit() else c for c in digits)

    assert zip3(written("03601")) == zip3(written("036")) == "000" and zip3(written("02139-4307")) == "021"
    assert zip3(written("560001")) is None
