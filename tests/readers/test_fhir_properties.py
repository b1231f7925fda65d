"""FHIR: whatever stands in the place of any element, a resource is rows, skipped or a dead letter, and no value is in a reason."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import reader_samples as samples
import test_fhir_notes as notes
import test_fhir_releases as releases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUIET = settings(deadline=None, max_examples=120, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
CANARY = "Xyzzy9"
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8).map(lambda text: CANARY + text),
    st.sampled_from([CANARY, "", "2024-02-30" + CANARY, "Patient/" + CANARY, "../" + CANARY, "Binary/" + CANARY, "entered-in-error", "1e999"]),
)  # fmt: skip
ANY = st.recursive(LEAF, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["coding", "code", "system", "reference", "value", "start", "data", "url", "text"]),
                                                 inner, max_size=3)), max_leaves=6)  # fmt: skip

RESOURCES = {
    **{f"STU3 {kind}": one for kind, one in releases.STU3.items()},
    "Patient": samples.PATIENT, "Encounter": samples.ENCOUNTER, "Condition": samples.CONDITION, "DocumentReference": samples.document(),
    "Claim": samples.FHIR_CLAIM, "ExplanationOfBenefit": samples.BENEFIT, "Composition": notes.COMPOSITION,
    "DiagnosticReport": notes.report(conclusion="x", presentedForm=[{"data": "UGxhaW4="}]),
    "Bundle": samples.bundle(samples.PATIENT, samples.CONDITION, samples.FHIR_CLAIM, notes.referring("Binary/b"), notes.binary("b", b"x")),
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


def put(resource: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(resource)
    held = made
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = new
    return made


@pytest.mark.parametrize("name", RESOURCES)
@given(data=st.data())
@QUIET
def test_any_value_in_place_of_any_element(name: str, data: st.DataObject, read: Any) -> None:
    resource = RESOURCES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(resource))))
        resource = put(resource, path, data.draw(ANY))
        if not isinstance(resource, dict | list):
            break
    line = json.dumps(resource).encode()
    found = read(samples.lines(samples.PATIENT) + line + b"\n" + samples.lines(samples.ENCOUNTER))
    assert len(found.of("RawPatient")) >= 1 and len(found.of("RawEncounter")) >= 1, "the neighbours stand"
    for letter in found.of("DeadLetter"):
        assert CANARY not in repr(letter) and re.fullmatch(r"[\w.:/-]+", letter.field or "x", re.ASCII)
        assert letter.rule and "Xyz" not in letter.rule
    for item in found.items:
        if type(item).__name__ == "Skipped":
            assert CANARY not in item.kind or re.fullmatch("[A-Za-z]+", item.kind)


@given(kinds=st.lists(st.sampled_from(["note", "far", "binary", "other", "broken"]), max_size=12), bundled=st.booleans())
@QUIET
def test_binaries_in_any_order(kinds: list[str], bundled: bool, read: Any) -> None:
    """A note has its text wherever in the file the Binary lies, and no other record moves."""
    made: list[Any] = []
    for at, kind in enumerate(kinds):
        made.append({"note": notes.referring("Binary/b", key=f"n{at}"), "far": notes.referring("Binary/none", key=f"f{at}"),
                     "binary": notes.binary("b", b"Seen."), "other": {**samples.PATIENT, "id": f"p{at}"}, "broken": {"resourceType": 5}}[kind])  # fmt: skip
    if bundled:
        found = read(json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in made]}).encode())
    else:
        found = read(samples.lines(samples.ENCOUNTER, *made))
    expected = [
        {"note": "RawDocument" if "binary" in kinds else "DeadLetter", "far": "DeadLetter", "binary": "Skipped", "other": "RawPatient",
         "broken": "DeadLetter"}[kind] for kind in kinds
    ]  # fmt: skip
    assert [type(item).__name__ for item in found.items] == ([] if bundled else ["RawEncounter"]) + expected


def nested(key: str | None, depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = [found] if key is None else {key: found}
    return found


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("key", [None, "concept", "reference", "section", "resource", "coding"])
def test_values_as_deep_as_json_may_be(name: str, key: str | None, read: Any) -> None:
    deep = nested(key, 900)
    found = read(samples.lines(*[put(RESOURCES[name], path, deep) for path in places(RESOURCES[name]) if path]))
    assert found.counts.records + found.counts.skipped >= sum(1 for path in places(RESOURCES[name]) if path)
