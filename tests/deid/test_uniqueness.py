"""k of the quasi-identifiers, against a plain count."""

import datetime
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nosology.config import ProofConfig
from nosology.deid import uniqueness
from nosology.deid.uniqueness import COLUMNS, People
from nosology.records import CLEAN_TABLES, arrow_schema

ALL = ProofConfig().quasi_identifiers


def part(table, *rows):
    schema = arrow_schema(CLEAN_TABLES[table])
    key = {"source_digest": "d", "source_row": 0, "source_format": "t"}
    return pa.Table.from_pylist([{**key, **row} for row in rows], schema=schema).select(COLUMNS[table])


def day(year):
    return datetime.date(year, 1, 1)


def test_every_table_tells_its_part():
    people = People()
    people.add("patients", part("patients", *({"patient_id": p, "birth_date": day(1980), "sex": "female", "state": "MA", "postal_code": "021"}
                                              for p in ("a", "b", "c"))))  # fmt: skip
    known = dict.fromkeys(ALL, 1.0) | {"first_service_year": 0.0}
    sizes = {"k": 3, "unique": 0, "unique_share": 0.0, "below_11_share": 1.0}
    assert people.groups(ALL) == {"columns": list(ALL), "persons": 3, "known": known, **sizes}
    people.add("claims", part("claims", {"claim_id": "x", "patient_id": "a", "form": "dental", "service_from": day(2020), "sex": "male"}))
    people.add("encounters", part("encounters", {"encounter_id": "e", "patient_id": "a", "start_date": day(2018)},
                                  {"encounter_id": "f", "patient_id": "b", "start_date": day(2018)}))  # fmt: skip
    found = people.groups(ALL)
    assert (found["persons"], found["k"], found["unique"], found["unique_share"]) == (3, 1, 1, 0.3333), "a, b since 2018; c never"
    assert people.groups(("sex",))["k"] == 3, "the patient's own record counts before a claim's"
    people.add("documents", part("documents", {"document_id": "n", "text": "", "date": day(2021), "age": 41.5, "sex": "male"}))
    assert people.groups(("birth_year",))["persons"] == 4 and people.groups(("birth_year",))["k"] == 4, "2021 less 41 is 1980"


def test_no_person_no_figure():
    assert People().groups(ALL) is None
    people = People()
    people.add("patients", part("patients"))
    people.add("documents", part("documents", {"document_id": "n", "text": "a cough"}))
    assert people.groups(ALL) is None, "of a person of whom nothing is known there is nothing to tell apart by"


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["male", "female", None]), st.sampled_from(["021", "100"])), min_size=1, max_size=60
    )
)
def test_groups_are_those_of_a_plain_count(rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uniqueness, "_PENDING_ROWS", 7)
        people = People()
        for start in range(0, len(rows), 5):
            people.add("patients", part("patients", *({"patient_id": str(p), "sex": s, "postal_code": z} for p, s, z in rows[start : start + 5])))  # fmt: skip
        first = {}
        for person, sex, area in rows:
            known = first.setdefault(person, [sex, area])
            known[0] = known[0] or sex
        sizes = Counter(map(tuple, first.values()))
        found = people.groups(("sex", "postal_code"))
    assert (found["persons"], found["k"], found["unique"]) == (len(first), min(sizes.values()), sum(n == 1 for n in sizes.values()))
