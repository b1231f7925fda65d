"""What a policy takes of what was found, and what it puts in the place of an age."""

import pytest
from nosology.config import DeidConfig
from nosology.deid.policies import POLICIES, policy_of, told_age
from nosology.deid.rewrite import rewrite
from nosology.deid.secret import Secret
from nosology.records import Span


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("92", "old"), ("97 años", "old"), ("97 meses", "young"), ("110 días de vida", "young"), ("54 años", "young"), ("lactante", "young"),
        ("nonagenarian", None), ("ninety-two", None), ("92 years and 3 months", "old"),
    ],
)  # fmt: skip
def test_what_an_age_says(value, told):
    assert told_age(value) == told


@pytest.mark.parametrize(("value", "new"), [("97 meses", "[AGE]"), ("54 años", "[AGE]"), ("97 años", "90+")])
def test_spanish_ages(value, new):
    span = Span(start=0, end=len(value), label="AGE")
    assert rewrite(value, [span], DeidConfig(language="es"), Secret(b"k" * 32), patient="p").text == new
    assert POLICIES["safe_harbor"].takes(value, span) == (new == "90+")


def test_each_language_has_its_policy():
    assert policy_of(DeidConfig()).name == "safe_harbor" and policy_of(DeidConfig(language="es")).name == "meddocan"
    assert policy_of(DeidConfig(language="es", policy="safe_harbor")).name == "safe_harbor"
    year, sex = Span(start=0, end=4, label="DATE"), Span(start=0, end=4, label="SEX")
    assert POLICIES["meddocan"].takes("2019", year) and not POLICIES["safe_harbor"].takes("2019", year)
    assert POLICIES["meddocan"].takes("niña", sex) and not POLICIES["safe_harbor"].takes("niña", sex)
