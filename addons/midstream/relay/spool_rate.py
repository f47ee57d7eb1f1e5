"""How fast streams that nobody follows closely go to disk: what is read for them takes processor time that others need now."""

from __future__ import annotations

from midstream.relay.per_loop import PerLoop

RATE = 4 * 1024 * 1024
"""Bytes a second of all streams of one event loop together: a thousand times what a model says, a fifth of a slow core."""

BURST = 16 * 1024 * 1024
"""Bytes that may go at once when there was nothing for a while."""


class SpoolRate(PerLoop):
    """A leaky bucket (ITU-T I.371's virtual scheduling): first come, first served."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._booked = float("-inf")
        """When all that was booked would have gone at this rate."""

    def book(self, size: int, now: float) -> float:
        """When so many bytes may go; in the past: now. Seconds of the caller's clock."""
        self._booked = max(self._booked, now) + size / self._rate
        return self._booked - self._burst / self._rate

    def give_back(self, size: int) -> None:
        """They went without."""
        self._booked -= size / self._rate
