"""Gaps → percentiles, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.gaps import GAPS, Gaps, percentile


def test_few_gaps_are_kept_exactly() -> None:
    gaps = Gaps()
    for gap in (100.0, 400.0, 200.0, 300.0):
        gaps.add(gap)
    assert (gaps.percentile(0.0), gaps.percentile(0.5), gaps.largest) == (100, 250, 400)


def test_events_that_came_together_are_gaps_of_nothing() -> None:
    gaps = Gaps()
    gaps.together = 3
    gaps.add(100.0)
    assert gaps
    assert (gaps.percentile(0.5), gaps.percentile(1.0)) == (0, 100)


def test_no_gaps_are_none() -> None:
    assert not Gaps()


def test_of_many_gaps_a_sample_is_kept_and_the_largest_is_known() -> None:
    gaps = Gaps()
    for n in range(4 * GAPS):
        gaps.add(float(n))
    assert len(gaps) == GAPS
    assert gaps.largest == 4 * GAPS - 1
    assert gaps.percentile(0.5) == pytest.approx(2 * GAPS, rel=0.2)  # twelve standard errors


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_lies_within_its_values(values: list[float], q: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= percentile(ordered, q) <= ordered[-1] * (1 + 1e-9)
