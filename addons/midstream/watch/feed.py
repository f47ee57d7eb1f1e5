"""Looks at the ledger some times a second while somebody watches, and hands what changed to all who do: one look for all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from midstream.ledger import Account, Ledger
from midstream.relay.refusal import Refusal
from midstream.watch.board import Board, Target

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks while somebody watches: more often than that nobody can read."""

IDLE = 0.5
"""Seconds between two looks while nobody does: sparklines and stalls are there once somebody comes."""

KEEPALIVE = 15.0
"""Seconds of silence after which a page is told that the connection is alive."""

READERS = 100
"""Pages that may watch at once."""

type Message = tuple[str, int, bytes]
"""An event's name, its number, and its JSON; no name: nothing but a sign of life."""


class Feed:
    """One for each addon. `run` it as a task."""

    def __init__(self, ledger: Ledger, targets: Callable[[], Sequence[Target]], content: Callable[[], bool]) -> None:
        self.board = Board()
        self._ledger = ledger
        self._targets = targets
        self._content = content
        self._readers = 0
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        self._ledger.watchers.append(self._told)
        try:
            while not self._ledger.stopping:
                if self._look():
                    self._wake()
                await self._pause()
        finally:
            self._ledger.watchers.remove(self._told)
            self._wake()

    def _look(self) -> bool:
        try:
            return self.board.look(self._ledger.live, self._targets(), time.monotonic(), time.time())
        except Exception:  # a page that stands still must not be the end of it
            log.exception("the live page could not be brought up to date")
            return False

    async def _pause(self) -> None:
        if self._readers:
            await asyncio.sleep(TICK)
            return
        self._wanted.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE):
                await self._wanted.wait()

    def _told(self, account: Account) -> None:
        """In the counting thread: a stream is over."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are we
            self._loop.call_soon_threadsafe(self.board.end, account.observation)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, run: str, n: int) -> AsyncGenerator[list[Message]]:
        """What to tell a page that has seen change `n` of this run; everything, if that is another's. Raises Refusal (429)."""
        if self._readers >= READERS:
            raise Refusal(429, "too many pages watch at once")
        self._readers += 1
        self._wanted.set()
        try:
            at = n if run == self.board.run else -1
            while not self._ledger.stopping:
                changed = self._changed
                messages = self._behind(at)
                if messages:
                    at = messages[-1][1]
                    yield messages
                elif not await _within(changed, KEEPALIVE):
                    yield [("", at, b"")]
        finally:
            self._readers -= 1

    def _behind(self, at: int) -> list[Message]:
        changes = self.board.since(at) if at >= 0 else None
        if changes is None:
            return [("whole", self.board.last, self.board.whole(time.time(), content=self._content()))]
        return [("change", number, data) for number, data in changes]


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
