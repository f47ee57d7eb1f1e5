"""The pauses between one content event and the next: their percentiles, in bounded memory."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

GAPS = 4096
"""Gaps kept exactly; of a longer stream a uniform sample of as many (reservoir sampling, Vitter's algorithm R)."""


class Gaps:
    """One stream's gaps, in any unit. together: events that came with another one: gaps of nothing, counted but not kept."""

    __slots__ = ("_count", "_kept", "largest", "together")

    def __init__(self) -> None:
        self.together = 0
        self.largest = 0.0
        self._kept = array("d")
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._count or self.together)

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def add(self, gap: float) -> None:
        self._count += 1
        if gap > self.largest:  # noqa: PLR1730 - max() takes twice as long
            self.largest = gap
        if self._count <= GAPS:
            self._kept.append(gap)
        elif (slot := random.randrange(self._count)) < GAPS:  # noqa: S311 - a sample, not a secret
            self._kept[slot] = gap

    @property
    def total(self) -> float:
        """Their sum; of a sample, what it stands for."""
        return sum(self._kept) * self._count / len(self._kept) if self._kept else 0.0

    def counts(self, bounds: Sequence[float]) -> list[int]:
        """How many gaps lie in each bucket: up to and with each bound, ascending from above 0, and beyond the last."""
        ordered, share = sorted(self._kept), self._count / max(len(self._kept), 1)
        below = [round(bisect_right(ordered, bound) * share) + self.together for bound in bounds]
        return [b - a for a, b in pairwise((0, *below, self._count + self.together))]

    def percentile(self, q: float) -> float:
        """Over all gaps: those of nothing come first in their order, the sample stands for the others."""
        at = q * (self.together + self._count - 1) - self.together
        if at < 0 or not self._count:
            return 0.0
        return percentile(sorted(self._kept), at / max(self._count - 1, 1))


def percentile(ordered: list[float], q: float) -> float:
    """The q-quantile of a sorted, non-empty list, by linear interpolation (as numpy's default)."""
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
