"""The stream log: the numbered frames of one stream, for any number of readers; it outlives a client that drops.

The newest frames are in memory (`window` bytes), the older ones in a spool file (`spool` bytes). When both are full, the oldest
are forgotten as soon as every reader has them; until then `append` waits, which pauses the provider. What a reader is far behind
with goes to disk no faster than `SpoolRate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from midstream.relay.spool import Entry, Spool
from midstream.relay.spool_rate import SpoolRate
from midstream.relay.turns import QUANTUM, Share, Turns

WINDOW = 128 * 1024
"""Bytes of a stream kept in memory by default: some 600 chunks."""

SPOOL = 64 * 1024 * 1024
"""Bytes of a stream kept on disk by default; longer than any text answer, shorter than a disk."""


class Expired(Exception):
    """The frames asked for are no longer kept."""


class StreamLog:
    """One writer, many readers, one event loop."""

    def __init__(self, *, window: int = WINDOW, spool: int = SPOOL, folder: Path | None = None) -> None:
        self.last = 0
        """Number of the newest frame."""
        self.first = 1
        """Number of the oldest frame still kept."""
        self.closed = False
        self.paused = 0.0
        """Seconds the writer waited for slow readers."""
        self._window = window
        self._recent: deque[bytes] = deque()  # no objects: there are thousands, and the garbage collector looks at each
        self._recent_size = 0
        self._spool = Spool(spool, folder)
        self._readers: set[Reader] = set()
        self._changed = asyncio.Event()

    @property
    def readers(self) -> int:
        """How many readers are attached."""
        return len(self._readers)

    @property
    def memory(self) -> int:
        """Bytes of frames held in memory."""
        return self._recent_size

    async def append(self, data: bytes) -> int:
        """Add a frame and return its number; wait while the log is full of what a reader has yet to take."""
        if self._recent_size + len(data) > self._window and self._recent:
            await self._make_room(len(data))
        self.last += 1
        self._recent.append(data)
        self._recent_size += len(data)
        self._wake()
        return self.last

    def finish(self, data: bytes) -> None:
        """Add the last frame, beyond the bounds if need be (it is small, and must wait for nobody), and close."""
        self.last += 1
        self._recent.append(data)
        self._recent_size += len(data)
        self.close()

    def close(self) -> None:
        """No more frames will come: readers end once they have all."""
        self.closed = True
        self._wake()

    def reader(self, after: int = 0) -> Reader:
        """Attach a reader that starts behind frame `after`. Raises Expired if that is forgotten, ValueError if yet to come."""
        if after > self.last:
            raise ValueError(f"frame {after} has not been written: the newest is {self.last}")
        if after + 1 < self.first:
            raise Expired(f"frame {after + 1} is no longer kept: the oldest is {self.first}")
        reader = Reader(self, after)
        self._readers.add(reader)
        self._wake()  # with nobody reading all is kept, and the writer may wait; this one may not need the oldest
        return reader

    def discard(self) -> None:
        """Forget everything; the spool file goes."""
        self.close()
        self.first = self.last + 1
        self._recent.clear()
        self._recent_size = 0
        self._spool.discard()

    async def _make_room(self, size: int) -> None:
        """Move the older half of the window to the spool; wait for readers if that is full as well."""
        while self._recent_size + size > self._window and self._recent:
            moving = list(_at_most(max(self._window // 2, size), self._from(self._first_recent)))
            await self._wait_behind(moving)
            await self._make_spool_room()
            await self._spool.write(moving)
            for _ in moving:
                self._recent_size -= len(self._recent.popleft())

    async def _wait_behind(self, moving: list[Entry]) -> None:
        """Where a reader has yet to come so far, there is no hurry: let the streams that are followed closely go first."""
        size = sum(len(entry.data) for entry in moving)
        rate, started = SpoolRate.here(), time.monotonic()
        until, last = rate.book(size, started), moving[-1].n
        try:
            while self._needed() <= last and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)
        finally:
            if time.monotonic() < until:
                rate.give_back(size)
            self.paused += time.monotonic() - started

    async def _make_spool_room(self) -> None:
        started = time.monotonic()
        try:
            while not self._spool.make_room(before=self._needed()):
                await self._changed.wait()
        finally:  # also when cancelled, as when the slow reader leaves
            self.paused += time.monotonic() - started
        self.first = self._spool.first

    @property
    def _first_recent(self) -> int:
        """Number of the oldest frame in memory; of the next one, if there is none."""
        return self.last - len(self._recent) + 1

    def _from(self, n: int) -> Iterator[Entry]:
        """The frames in memory from number n on."""
        return map(Entry, count(n), islice(self._recent, n - self._first_recent, None))

    def _needed(self) -> int:
        """The oldest frame that somebody still has to take. With nobody reading everything is kept for whoever comes back."""
        return min((reader.position + 1 for reader in self._readers), default=self.first)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _read(self, after: int) -> list[Entry]:
        """Return frames behind `after`, some QUANTUM bytes from memory or a BLOCK from disk; [] if there are none yet."""
        if after + 1 < self.first:
            raise Expired(f"frame {after + 1} is no longer kept")
        if after + 1 >= self._first_recent:
            return list(_at_most(QUANTUM, self._from(after + 1)))
        return await self._spool.read(after)


class Reader:
    """Takes frames in order, exactly once each; `close` it (or use it as a context manager) to stop holding the log back."""

    def __init__(self, log: StreamLog, after: int) -> None:
        self._log = log
        self.position = after
        """Number of the last frame taken."""
        self._share = Share()
        self._ahead: list[Entry] = []
        """Read from the spool, and not yet taken."""

    async def take(self) -> list[Entry]:
        """Wait for frames and return what there is, some QUANTUM bytes at most; [] at the end of the stream."""
        while True:
            changed = self._log._changed
            entries = self._ahead or await self._log._read(self.position)
            if entries:
                return await self._taken(entries)
            if self._log.closed and self.position >= self._log.last:
                return []
            await changed.wait()

    async def _taken(self, entries: list[Entry]) -> list[Entry]:
        """Cancelled before its turn has come, a reader has taken nothing."""
        taken = list(_at_most(QUANTUM, iter(entries)))
        await Turns.here().take(self._share, sum(len(entry.data) for entry in taken))
        self._ahead = entries[len(taken) :]
        self.position = taken[-1].n
        self._log._wake()
        return taken

    def close(self) -> None:
        self._log._readers.discard(self)
        self._log._wake()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _at_most(size: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        size -= len(entry.data)
        if size <= 0:
            return
