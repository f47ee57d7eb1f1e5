from __future__ import annotations

import pytest

from midstream.cli import charts


def test_a_sparkline_is_a_character_a_value_relative_to_the_largest() -> None:
    assert charts.spark([1, 4, 8]) == "▁▄█"[:0] + charts.BLOCKS[1] + charts.BLOCKS[4] + charts.BLOCKS[7]
    assert charts.spark([4], top=8) == charts.BLOCKS[4]


def test_nothing_has_no_mark_and_a_little_has_the_least() -> None:
    assert charts.spark([0, None, float("nan"), 0.001, 100]) == f"   {charts.BLOCKS[0]}{charts.BLOCKS[-1]}"
    assert charts.spark([]) == ""
    assert charts.spark([0, 0]) == "  "


def test_bins_grow_evenly_by_the_logarithm() -> None:
    assert charts.log_edges(1, 1000, 3) == pytest.approx([1, 10, 100, 1000])


def test_what_lies_four_decades_below_the_most_spreads_no_scale() -> None:
    assert charts.log_edges(0, 1000, 4)[0] == pytest.approx(0.1)


def test_one_value_alone_still_has_a_scale() -> None:
    edges = charts.log_edges(5, 5, 10)
    assert edges[0] < 5 < edges[-1]
    assert sum(charts.histogram([5], edges)) == 1


def test_every_value_is_in_a_bin_also_those_outside() -> None:
    assert charts.histogram([0, 1, 15, 999, 10**6], [1, 10, 100, 1000]) == [2, 1, 2]


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [(3, 30, [5, 10, 20]), (1, 10**6, [1, 10, 100, 1000, 10**4, 10**5, 10**6]), (11, 12, [])],
)
def test_ticks_are_round_numbers(least: float, most: float, ticks: list[float]) -> None:
    assert charts.log_ticks(least, most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.9, 1), (1, 1), (11, 20), (21, 25), (3000, 5000), (float("inf"), 1)]
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert charts.nice_top(value) == pytest.approx(top)


def test_labels_do_not_run_into_one_another() -> None:
    edges = [float(i) for i in range(21)]
    assert charts.axis(edges, [(0, "aaa"), (2, "bbb"), (5, "ccc"), (18, "toolong")]) == "aaa  ccc"
