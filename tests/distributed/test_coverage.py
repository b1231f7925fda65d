"""Interval arithmetic against plain sets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nosology.distributed.coverage import Coverage, Group, Job

RANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 12)), max_size=25)


@given(RANGES)
def test_coverage_is_a_set_of_units(ranges):
    coverage, units = Coverage(), set()
    for file, start, length in ranges:
        wanted = {(file, unit) for unit in range(start, start + length)}
        if wanted & units:
            before = json.dumps(coverage.ranges)
            with pytest.raises(ValueError, match="overlap"):
                coverage.add(file, start, start + length)
            assert json.dumps(coverage.ranges) == before
        else:
            coverage.add(file, start, start + length)
            units |= wanted
    assert coverage.num_units == len(units)
    for file in range(3):
        missing = {unit for start, stop in coverage.missing(file, 60) for unit in range(start, stop)}
        assert missing == {unit for unit in range(60) if (file, unit) not in units}
        spans = coverage.ranges.get(file, [])
        assert all(left[1] < right[0] for left, right in zip(spans, spans[1:], strict=False))  # merged: no two touch
        for start, stop in [(0, 5), (10, 11), (7, 30)]:
            assert coverage.holds(file, start, stop) == all((file, unit) in units for unit in range(start, stop))


@pytest.mark.parametrize("bad", [(0, 3, 3), (0, 4, 3), (0, -1, 2)])
def test_coverage_refuses_what_is_no_range(bad):
    with pytest.raises(ValueError, match="not a range"):
        Coverage().add(*bad)


def test_coverage_of_50_million_rows_is_small():
    coverage = Coverage()
    for start in range(0, 50_000_000, 10_000):
        coverage.add(0, start, start + 10_000)
    assert coverage.ranges == {0: [(0, 50_000_000)]}


@given(st.integers(1, 9), st.integers(1, 70), st.data())
def test_intervals_keep_their_borders_after_a_resume(batch_rows, num_units, data):
    job = Job("v", {}, "", batch_rows, (), {})
    whole = list(job.intervals(0, 0, num_units))
    assert [unit for i in whole for unit in range(i.start, i.stop)] == list(range(num_units))
    coverage = Coverage()
    done = [i for i in whole if data.draw(st.booleans())]
    for interval in done:
        coverage.add(0, interval.start, interval.stop)
    again = [i for start, stop in coverage.missing(0, num_units) for i in job.intervals(0, start, stop)]
    assert again == [i for i in whole if i not in done]


def test_group_survives_json():
    group = Group(Coverage({3: [(0, 4), (8, 12)]}), sum=5)
    again = Group.of(json.loads(json.dumps(group.to_json())))
    assert again == group or (again.coverage.ranges == group.coverage.ranges and again.sum == 5 and again.tally == group.tally)
