"""Whose turn it is: many streams share one event loop, and a token that is due must not wait behind the backlog of others.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): of those that wait, whoever has had least is next, and being idle
saves up next to nothing. So a stream at its model's pace goes before all that are being filled as fast as they can be.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from midstream.relay.per_loop import PerLoop

QUANTUM = 16 * 1024
"""Bytes that have their turn in one turn of the event loop. Some 70 chunks: under a millisecond to read, write and pass on."""

SMALL = 2 * 1024
"""Bytes that need no turn: several chunks, more than a model says at once."""

CREDIT = QUANTUM
"""Bytes that a stream which was idle may catch up. With none it would queue behind all that began when it did; and one that
has just had its turn, and is about to ask for more, would count as idle."""


class Share:
    """One stream's part. until: what it had, on the clock of `Turns`."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = 0


class Turns(PerLoop):
    """Of one event loop; its clock counts the bytes that the most backward stream has had."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._number = count()
        self._clock = 0
        self._left = QUANTUM
        self._turning = False

    async def take(self, share: Share, size: int) -> None:
        """Return once these bytes, or what costs as much, may be worked upon."""
        if size <= SMALL:
            return
        start = max(self._clock - CREDIT, share.until)
        share.until = start + size
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn)
        if self._left > 0 and not self._waiting:
            self._grant(start, size)
            return
        waiting = loop.create_future()
        heapq.heappush(self._waiting, (start, next(self._number), size, waiting))
        await waiting

    def _grant(self, start: int, size: int) -> None:
        self._clock = max(self._clock, start)
        self._left -= size

    def _turn(self) -> None:
        """The event loop has come round."""
        if not self._waiting and self._left == QUANTUM:
            self._turning = False
            return
        self._left = QUANTUM
        while self._waiting and self._left > 0:
            start, _, size, waiting = heapq.heappop(self._waiting)
            if not waiting.done():  # cancelled
                self._grant(start, size)
                waiting.set_result(None)
        asyncio.get_running_loop().call_soon(self._turn)
