"""A thread that hands what it is given to a sink, in batches, and keeps it while the sink fails. Knows nothing of the sink."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Protocol

QUEUE_LIMIT = 10_000
"""Items that may wait, some 1 KB each for a stream's row; beyond it the oldest are dropped."""

BATCH_ITEMS = 500
BATCH_SECONDS = 0.2
"""One batch is what came in this time, or this many items."""

BACKOFF_SECONDS = (0.5, 10.0)
"""The first and the longest pause between tries at a sink that fails."""

CLOSING_PAUSE_SECONDS = 0.05
"""The same while `close` waits."""

log = logging.getLogger(__name__)


class Sink[T](Protocol):
    """Where the batches go. All but `merge` is called on the batcher's thread."""

    def write(self, batch: dict[str, T]) -> None:
        """Write all or nothing; raise if that fails. The first batch is empty: a chance to get ready."""
        ...

    def merge(self, old: T, new: T) -> T:
        """Join two items of one key, of which neither is written."""
        ...

    def explain(self, error: Exception) -> str:
        """Say for the log what could not be done, why, and what to do."""
        ...

    def close(self) -> None:
        """The end: release what is held."""
        ...


class Batcher[T]:
    """Bounded in memory, and never raises into its caller; `put` costs a few microseconds whatever the sink does."""

    def __init__(self, sink: Sink[T], name: str, idle: Callable[[], float | None] = lambda: None) -> None:
        """idle: called on the thread between batches; returns after how many seconds it wants to be called again at the
        latest. It must be short, and raise nothing."""
        self._sink = sink
        self._idle = idle
        self._waiting: dict[str, T] = {}
        self._wake = threading.Condition()
        self._deadline: float | None = None
        self._failures = 0
        self.dropped = 0
        """Items lost since they had nowhere to go."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, key: str, item: T) -> None:
        """Have an item written soon. One of the same key that still waits is merged with it."""
        with self._wake:
            before = self.dropped
            if self._deadline is None:
                old = self._waiting.get(key)
                self._waiting[key] = item if old is None else self._sink.merge(old, item)
                self._trim()
                if len(self._waiting) in (1, BATCH_ITEMS):
                    self._wake.notify()
            else:
                self.dropped += 1
            first = not before and self.dropped
        if first:
            log.error(
                "more than %d rows wait to be written, or one came after the end: the oldest are dropped", QUEUE_LIMIT
            )

    def close(self, timeout: float = 5.0) -> bool:
        """Write what waits and stop; return whether all was written in this time (seconds)."""
        with self._wake:
            self._deadline = time.monotonic() + timeout
            self._wake.notify()
        self._thread.join(timeout + CLOSING_PAUSE_SECONDS)
        if self._waiting or self._thread.is_alive():
            log.error("gave up on rows that could not be written in time: at least %d are lost", len(self._waiting))
            return False
        return True

    def _run(self) -> None:
        batch: dict[str, T] = {}
        while True:
            if self._try(batch):
                batch = self._take()
                if not batch:
                    break
            else:
                self._put_back(batch)
                if not self._pause():
                    break
                batch = self._cut()
        self._sink.close()

    def _try(self, batch: dict[str, T]) -> bool:
        try:
            self._sink.write(batch)
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                kept = f"Streams go on; the rows of up to {QUEUE_LIMIT} are kept and written once it works again."
                log.error("%s %s", self._sink.explain(error), kept)
            return False
        if self._failures:
            log.warning("rows are written again after %d failed tries; %d were lost", self._failures, self.dropped)
            self._failures = self.dropped = 0
        return True

    def _take(self) -> dict[str, T]:
        """Wait for the next batch; {} once there is nothing more to come."""
        waits = True
        while waits:
            pause = self._idle()
            with self._wake:
                waits = not self._wake.wait_for(lambda: self._waiting or self._deadline is not None, pause)
        with self._wake:
            self._wake.wait_for(lambda: len(self._waiting) >= BATCH_ITEMS or self._deadline is not None, BATCH_SECONDS)
        return self._cut()

    def _cut(self) -> dict[str, T]:
        with self._wake:
            batch = dict(islice(self._waiting.items(), BATCH_ITEMS))
            for key in batch:
                del self._waiting[key]
        return batch

    def _put_back(self, batch: dict[str, T]) -> None:
        with self._wake:
            newer, self._waiting = self._waiting, batch
            for key, item in newer.items():
                self._waiting[key] = self._sink.merge(batch[key], item) if key in batch else item
            self._trim()

    def _trim(self) -> None:
        while len(self._waiting) > QUEUE_LIMIT:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1

    def _pause(self) -> bool:
        """Wait before the next try; False once `close` has waited long enough."""
        first, longest = BACKOFF_SECONDS
        with self._wake:
            self._wake.wait_for(
                lambda: self._deadline is not None, min(first * 2 ** min(self._failures - 1, 20), longest)
            )
        if self._deadline is None:
            return True
        left = self._deadline - time.monotonic()
        time.sleep(max(0.0, min(CLOSING_PAUSE_SECONDS, left)))
        return left > 0
