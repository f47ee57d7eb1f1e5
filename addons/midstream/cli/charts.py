"""Charts of characters: sparklines and histograms; and the scales that all charts share. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = ".:-=+*%@"
"""The same from little to much, where the output's encoding has no blocks. Nothing at all is a space."""

DECADES = 10_000.0
"""Largest over smallest value of a logarithmic scale: over more of them nothing could be told apart."""

STEPS = (1.0, 2.0, 5.0)
"""Of a decade: the marks of an axis."""


def spark(values: Sequence[float | None], marks: str = BLOCKS, top: float | None = None) -> str:
    """A character a value, its height relative to the largest, or to `top`; nothing for 0 and None, the least mark for little."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    highest = top if top is not None else max(known, default=0.0)
    return "".join(_mark(value, highest, marks) for value in values)


def _mark(value: float | None, highest: float, marks: str) -> str:
    if value is None or not value > 0 or not highest > 0 or not math.isfinite(value):
        return " "
    return marks[min(int(value / highest * len(marks)), len(marks) - 1)]


def log_edges(least: float, most: float, bins: int) -> list[float]:
    """The bins' edges, evenly spread over the logarithm: one more than bins. What lies four decades below the most, and 0,
    belongs to the first."""
    low, high = math.log(max(least, most / DECADES, 1e-3)), math.log(max(most, 2e-3))
    if high - low < 1e-9:
        low, high = low - 0.1, high + 0.1
    return [math.exp(low + (high - low) * i / bins) for i in range(bins + 1)]


def histogram(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    """How many values lie in each bin; what lies outside, in the one next to it."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(max(bisect_right(edges, value) - 1, 0), len(counts) - 1)] += 1
    return counts


def log_ticks(least: float, most: float) -> list[float]:
    """Round numbers (1, 2, 5, 10 ...) within a range; fewer to a decade where it spans many."""
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    steps = STEPS if len(decades) <= 4 else STEPS[:1]
    return [tick for decade in decades for step in steps if least <= (tick := step * 10.0**decade) <= most]


def nice_top(value: float) -> float:
    """The round number (1, 2, 2.5, 5, 10 ...) at or above a value: where an axis from 0 ends."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * decade >= value * (1 - 1e-9))


def axis(edges: Sequence[float], labels: Sequence[tuple[float, str]]) -> str:
    """A line of labels, each beginning at its value's bin; those that would run into the one before are left out."""
    width, line = len(edges) - 1, ""
    for value, text in labels:
        at = min(max(bisect_right(edges, value) - 1, 0), width - 1)
        if at + len(text) <= width and (not line or at > len(line)):
            line = line.ljust(at) + text
    return line
