"""Counts and histograms by label set, bounded in number: one tally feeds Prometheus and OpenTelemetry alike."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from midstream.watch.names import FOLDED, INSTRUMENTS, Instrument

SERIES = 200
"""Label sets of each instrument. Who comes later is counted under `other`: a client that asks for a model of another name each
time would grow memory, the scrape and the bill of whoever stores it. (At most a hundred more by values that are ours.)"""

type Labels = tuple[tuple[str, str | int], ...]
"""Attributes and their values, in the instrument's order; what does not apply is left out."""


@dataclass(slots=True)
class Point:
    """A counter's or a gauge's value; of a histogram the sum, and how many values lie in each bucket and beyond the last."""

    value: float = 0.0
    counts: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.counts)


class Family(NamedTuple):
    """One instrument and all its points, copied at one moment."""

    instrument: Instrument
    points: dict[Labels, Point]


class Tallies:
    """All instruments' points. Any thread may add, any other may read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[Instrument, dict[Labels, Point]] = {one: {} for one in INSTRUMENTS}

    def add(self, instrument: Instrument, labels: Labels, amount: float = 1) -> None:
        """Count. What is no number above zero is not counted: a counter never falls."""
        if amount > 0:
            with self._lock:
                self._point(instrument, labels).value += amount

    def observe(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """One value of a histogram."""
        counts = [0] * (len(instrument.buckets) + 1)
        counts[bisect_left(instrument.buckets, value)] = 1
        self.merge(instrument, labels, counts, value)

    def merge(self, instrument: Instrument, labels: Labels, counts: Sequence[int], total: float) -> None:
        """Many values of a histogram at once: how many lie in each bucket, and their sum."""
        with self._lock:
            point = self._point(instrument, labels)
            point.value += total
            point.counts = [a + b for a, b in zip(point.counts or [0] * len(counts), counts, strict=True)]

    def _point(self, instrument: Instrument, labels: Labels) -> Point:
        return bounded(self._points[instrument], labels)

    def families(self) -> list[Family]:
        """A copy of everything, in the instruments' order."""
        with self._lock:
            return [
                Family(instrument, {labels: Point(p.value, list(p.counts)) for labels, p in points.items()})
                for instrument, points in self._points.items()
                if points
            ]


def bounded(points: dict[Labels, Point], labels: Labels) -> Point:
    """The point of these labels; that of `other` where there are too many."""
    point = points.get(labels)
    if point is None:
        if len(points) >= SERIES:
            labels = folded(labels)
        point = points.setdefault(labels, Point())
    return point


def folded(labels: Iterable[tuple[str, str | int]]) -> Labels:
    """The same without the values that others choose."""
    shown = ((name, FOLDED.get(name, value)) for name, value in labels)
    return tuple((name, value) for name, value in shown if value != "")
