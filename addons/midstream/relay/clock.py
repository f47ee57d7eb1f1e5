"""How long an attempt may make no progress. Progress is marked for every chunk, so marking costs two assignments."""

from __future__ import annotations

import asyncio


class ProgressClock:
    """Lets an asyncio.Timeout expire once nothing was marked for too long. Event loop's time, in seconds.

    A timer is set once and looks, when it fires, whether the deadline has moved meanwhile.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.kind = "first_token_timeout"
        """What has run out, if anything has: the failure's type."""
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None
        self._last: float | None = None
        self._paused_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expiring = False

    def allow(self, seconds: float | None, kind: str) -> None:
        """The next progress must come within so many seconds; None: whenever it comes."""
        self.kind = kind
        self._until = None if seconds is None else self._loop.time() + seconds
        self._arm()

    def limit(self, seconds: float | None) -> None:
        """All must be over within so many seconds from now, progress or not."""
        self._last = None if seconds is None else self._loop.time() + seconds
        self._arm()

    def pause(self) -> None:
        """The client is to blame from here: writing to it takes as long as it does.

        What came in the very turn of the event loop in which time was up came in time: cancelled here, it would be lost."""
        if self._until is not None:
            self._paused_at = self._loop.time()
        if self._expiring and not self._timeout.expired():
            self._expiring = False
            self._timeout.reschedule(None)

    def go_on(self) -> None:
        """It has taken what it was sent."""
        if self._paused_at is not None and self._until is not None:
            self._until += self._loop.time() - self._paused_at
        self._paused_at = None
        if self._timer is None and not (self._until is None and self._last is None):
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _deadline(self) -> float | None:
        until = None if self._paused_at is not None else self._until
        if until is None or self._last is None:
            return self._last if until is None else until
        return min(until, self._last)

    def _arm(self) -> None:
        """Set the timer, unless one is set that fires in time."""
        deadline = self._deadline()
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return
        self.stop()
        self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        deadline = self._deadline()
        if self._paused_at is not None and deadline is None:
            self._timer = self._loop.call_later(0.1, self._look)
        elif deadline is not None and deadline > self._loop.time():
            self._timer = self._loop.call_at(deadline, self._look)
        elif deadline is not None:
            if self._last is not None and deadline >= self._last:
                self.kind = "total_timeout"
            self._expiring = True
            self._timeout.reschedule(self._loop.time())
