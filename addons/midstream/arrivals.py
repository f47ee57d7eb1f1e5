"""New clients come in one by one while the event loop is busy: whose stream runs does not wait for all who arrive at once.

A connection costs mitmproxy 5 to 15 ms (CONNECT, TLS, hooks), in a dozen turns of the event loop. Where 100 arrive together, each
turn takes a step of every one, and a token that is due takes several turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

LOOK = 0.001
"""Seconds until a look at whether the event loop has time."""

QUIET = 0.003
"""Seconds of the processor that the event loop may have worked until then. Not how late the look is: on a machine that is busy
with something else nobody would gain by waiting."""

AT_MOST = 0.05
"""Seconds that one who has come in keeps the next waiting however busy the event loop is: 20 come in a second at the least."""


class Arrivals:
    """A queue. Who finds it empty, and the event loop at leisure, comes in at once."""

    def __init__(self, worked: Callable[[], float] = time.thread_time) -> None:
        """worked: seconds of the processor that the event loop's thread has had."""
        self._worked = worked
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since: float | None = None
        """When the last one came in; None: it has had its time."""

    async def turn(self) -> None:
        """Return once it is this one's turn."""
        loop = asyncio.get_running_loop()
        if self._since is None:
            self._come_in(loop)
            return
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _come_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self._since = loop.time()
        self._look_soon(loop)

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(LOOK, self._look, loop, self._worked())

    def _look(self, loop: asyncio.AbstractEventLoop, worked: float) -> None:
        since = self._since or 0.0
        if self._worked() - worked > QUIET and loop.time() - since < AT_MOST:
            self._look_soon(loop)
            return
        self._since = None
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # cancelled
                waiting.set_result(None)
                self._come_in(loop)
                return
