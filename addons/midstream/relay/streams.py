"""The gateway's streams: those that run, and those that ended a while ago and can still be read again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from midstream import config
from midstream.dialects.base import Dialect
from midstream.events import Failure
from midstream.ledger import Account
from midstream.relay.log import Expired, Reader, StreamLog
from midstream.relay.refusal import Refusal

LIVE_LIMIT = 2_000
"""Streams that may run at once, whoever they belong to."""

KEPT_LIMIT = 2_000
"""Finished streams that are kept; the oldest go first."""

KEPT_BYTES = 64 * 1024 * 1024
"""Bytes in memory of all finished streams together; the oldest go first."""

EXPIRED_LIMIT = 10_000
"""Ids of which it is remembered that they expired: 410 instead of 404."""

STOP_WAIT = 1.0
"""Seconds that readers get at mitmdump's end to take the last frame, which says so."""

CANCELLED = "cancelled"
ABANDONED = "abandoned"


@dataclass(slots=True, eq=False, kw_only=True)
class Stream:
    """One chat and its log: chunks of OpenAI's chat API as JSON text, then `[DONE]`, or an error's JSON as the last frame.

    owner: whose it is; see access.Caller. failure: why it has no whole answer. begun: set once there is a frame, or an end.
    read: whether anybody has. dropped: what the provider could not be told. dialect: of the client's errors, None for OpenAI's.
    retry_after: seconds, where its provider said so.
    """

    id: str
    owner: str
    model: str
    account: Account
    log: StreamLog
    key: str | None = None
    dropped: tuple[str, ...] = ()
    dialect: Dialect | None = None
    retry_after: int | None = None
    created: float = field(default_factory=time.time)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Failure | None = None
    read: bool = False
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def live(self) -> bool:
        return not self.log.closed

    @property
    def refused(self) -> bool:
        """Whether it failed before there was anything of an answer: then an HTTP status can say so."""
        return self.failure is not None and self.log.last <= 1

    def fully_read(self, after: int) -> bool:
        """Whether a reader that has everything up to `after` has everything that will ever come."""
        return self.log.closed and after >= self.log.last > 0


class Streams:
    """Starts, finds, keeps and cancels streams. One event loop; `settings` gives the configuration in force."""

    def __init__(self, settings: Callable[[], config.Streams]) -> None:
        self._settings = settings
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._expired: OrderedDict[str, str] = OrderedDict()
        self._changed = asyncio.Event()

    def new_log(self) -> StreamLog:
        settings = self._settings()
        return StreamLog(window=settings.window, spool=settings.spool, folder=settings.spool_folder)

    def start(self, stream: Stream, work: Coroutine[Any, Any, None]) -> None:
        """Run a stream; it is cancelled unless somebody reads it within the grace time. `work` ends its log, come what may.

        Raises Refusal when too many run."""
        if sum(other.live for other in self._streams.values()) >= LIVE_LIMIT:
            work.close()
            raise Refusal(429, "too many streams run at once here")
        self._streams[stream.id] = stream
        stream.task = asyncio.create_task(work, name=f"midstream-{stream.id}")
        stream.task.add_done_callback(lambda _: self._ended(stream))
        self._idle(stream)
        self._wake()

    def find(self, stream_id: str, owner: str) -> Stream:
        """Return a stream of this owner. Raises Refusal: 404, or 410 if it expired."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.owner == owner:
            return stream
        if self._expired.get(stream_id) == owner:
            raise Refusal(410, "this stream has expired and can no longer be read")
        raise Refusal(404, "there is no such stream", code="stream_not_found")

    def knows(self, stream_id: str, owner: str) -> bool:
        """Whether this owner has or had such a stream."""
        stream = self._streams.get(stream_id)
        return (stream is not None and stream.owner == owner) or self._expired.get(stream_id) == owner

    @property
    def read(self) -> bool:
        """Whether anybody reads any of them."""
        return any(stream.log.readers for stream in self._streams.values())

    def live(self, owner: str) -> list[Stream]:
        """The owner's running streams, oldest first."""
        return [stream for stream in self._streams.values() if stream.live and stream.owner == owner]

    def newest(self, owner: str) -> Stream | None:
        """The owner's newest stream that runs, or has ended and was never read."""
        fitting = (s for s in reversed(self._streams.values()) if s.owner == owner and (s.live or not s.read))
        return next(fitting, None)

    async def follow(self, owner: str, wait: float) -> Stream | None:
        """The newest, waiting some seconds for one to start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while (stream := self.newest(owner)) is None:
                    await self._changed.wait()
                return stream
        return None

    @contextlib.contextmanager
    def attach(self, stream: Stream, after: int, delivery: str, *, resumed: bool = False) -> Iterator[Reader]:
        """Read a stream from behind event `after`. Raises Refusal: 400 for a place it has not reached, 410 for one forgotten."""
        try:
            reader = stream.log.reader(after)
        except Expired as error:
            raise Refusal(410, f"too late: {error}") from None
        except ValueError as error:
            raise Refusal(400, f"after: {error}") from None
        self._stop_timer(stream)
        record = stream.account.observation.record
        record.delivery = record.delivery if stream.read else delivery
        record.resumes += resumed
        stream.read = True
        try:
            yield reader
        finally:
            reader.close()
            if not stream.log.readers:
                self._idle(stream)

    def cancel(self, stream: Stream, why: str = CANCELLED) -> None:
        """Stop a stream and its provider; readers get an error as the last frame."""
        if stream.task is not None and not stream.task.done():
            message = "the stream was cancelled" if why == CANCELLED else "nobody read the stream any more"
            stream.failure = stream.failure or Failure(message, type=why, code=why, status=499)
            stream.task.cancel()

    async def stop(self) -> None:
        """Cancel all that runs and forget all."""
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None and not stream.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT):
                while any(stream.log.readers for stream in self._streams.values()):  # noqa: ASYNC110 - at the very end
                    await asyncio.sleep(0.01)
        for stream in list(self._streams.values()):
            self._stop_timer(stream)
            stream.log.discard()
        self._streams.clear()

    def _idle(self, stream: Stream) -> None:
        """Nobody reads it now: let it wait for a reader, but not for ever."""
        self._stop_timer(stream)
        if stream.id not in self._streams:
            return
        loop, settings = asyncio.get_running_loop(), self._settings()
        if stream.live:
            stream.timer = loop.call_later(settings.grace, self.cancel, stream, ABANDONED)
        else:
            stream.timer = loop.call_later(settings.keep, self._forget, stream)

    def _ended(self, stream: Stream) -> None:
        if stream.live:  # its work never began, or broke off: readers must not wait for ever
            stream.log.close()
        stream.begun.set()
        if not stream.log.readers:
            self._idle(stream)
        self._make_room()

    def _make_room(self) -> None:
        kept = [stream for stream in self._streams.values() if not stream.live]
        size = sum(stream.log.memory for stream in kept)
        for count, stream in zip(range(len(kept), 0, -1), kept, strict=True):
            if count <= KEPT_LIMIT and size <= KEPT_BYTES:
                return
            if not stream.log.readers:
                size -= stream.log.memory
                self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._stop_timer(stream)
        if self._streams.pop(stream.id, None) is None:
            return
        stream.log.discard()
        self._expired[stream.id] = stream.owner
        while len(self._expired) > EXPIRED_LIMIT:
            self._expired.popitem(last=False)

    @staticmethod
    def _stop_timer(stream: Stream) -> None:
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
