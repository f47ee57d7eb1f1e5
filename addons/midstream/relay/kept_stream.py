"""An intercepted stream that outlives its client's connection: the provider's side in a task of its own, which writes into a
stream log, and the clients' sides, which read from there."""

from __future__ import annotations

import asyncio
import logging
import time

from midstream.observation import Outcome
from midstream.relay import native
from midstream.relay.catching_up import catch_up
from midstream.relay.client import Client
from midstream.relay.healing import Healing, Means
from midstream.relay.job import Head, Job
from midstream.relay.log import Reader, StreamLog
from midstream.relay.native_sink import NativeSink
from midstream.relay.same_request import identity
from midstream.relay.shown import Shown
from midstream.relay.spool import Entry

log = logging.getLogger(__name__)


class KeptStream:
    """The provider's side of one stream. Its row is settled once, by whoever learns first how it ended.

    key: see same_request.identity. begun: set once there is a head, or the whole answer in `answered`. failed: it ends without
    an end. keepalive: what readers may be sent in a long silence.
    """

    def __init__(self, job: Job, frames: StreamLog, means: Means) -> None:
        assert job.ask.sent is not None  # noqa: S101 - only intercepted requests can be sent again
        self.key = identity(job.ask.sent)
        self.account = job.account
        self.log = frames
        self.begun = asyncio.Event()
        self.head: Head | None = None
        self.keepalive = b""
        self.answered: tuple[Head, bytes] | None = None
        self.failed = False
        self.settled = False
        self.task: asyncio.Task[None] | None = None
        self._ledger = means.ledger
        self._ended_at: float | None = None
        shown = Shown(job.ask, job.account, means.ledger, NativeSink(job.ask, job.stream, self))
        self._healing = Healing(shown, means)

    @property
    def of_use(self) -> bool:
        """Whether a retry would be served well: it can have all of it, and it is no failure, which asking anew may mend."""
        refused = self.head is not None and self.head.status >= 400
        over = self.settled or refused or self.failed or self.answered is not None
        return not over and self.account.observation.failure is None and self.log.first == 1

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def whole(self, delivered: int) -> bool:
        """Whether a client with so many frames has the answer to its end, though the provider has yet to close the body."""
        return self.account.observation.ended and delivered >= self.log.last

    async def run(self) -> None:
        try:
            await self._healing.run()
            self._ended_at = time.monotonic()
            if (failure := self._healing.failure) is not None:
                self.failed = True
                kind = failure.type or failure.code or str(failure.status or "error")
                self.settle("truncated" if self.head is not None else "failed", kind, failure.message)
        except asyncio.CancelledError:
            if not self._ledger.stopping:
                raise
            await self._healing.stop()
        except Exception:
            log.exception("an intercepted stream failed")
            self.failed = True
            self.settle("failed", "internal_error", "midstream failed")

    async def begin(self, head: Head, keepalive: bytes) -> None:
        self.head, self.keepalive = head, keepalive
        self.begun.set()

    async def write(self, data: bytes) -> None:
        await self.log.append(data)
        await asyncio.sleep(0)  # the readers send first: parsing must not delay a token

    async def end(self) -> None:
        """Its log is closed when the task is over."""

    async def break_off(self) -> None:
        self.failed = True

    async def answer(self, head: Head, body: bytes) -> None:
        self.answered = head, body
        self.begun.set()

    def over(self) -> None:
        """The task has ended, even before it began: nobody shall wait for it any longer."""
        if self.task is not None and self.task.cancelled():
            self.failed = True
        self.begun.set()
        self.log.close()

    def settle(self, outcome: Outcome, error_type: str = "", error: str = "", *, at: float | None = None) -> None:
        if self.settled:
            return
        self.settled = True
        self.account.observation.record.paused_ms = self.log.paused * 1000
        self.account.observation.settle(outcome, at or time.monotonic(), error_type=error_type, error=error)
        self._ledger.close(self.account)

    def settle_unread(self) -> None:
        """Its client does not have all of it: not complete, even if the provider's answer was."""
        if self.settled:
            return
        self.account.observation.ended = False
        if self._ledger.stopping:
            self.settle("interrupted", "interrupted", "mitmdump was told to stop", at=self._ended_at)
        else:
            self.settle(
                "client_gone", "client_disconnected", "the client left, and did not come back", at=self._ended_at
            )


class Follower:
    """One client's connection that reads a stream from its first byte. delivered: number of the last frame it has."""

    def __init__(self, stream: KeptStream, job: Job) -> None:
        self.delivered = 0
        self._stream = stream
        self._job = job
        self._reader: Reader = stream.log.reader()
        self._between_frames = True

    async def run(self, client: Client) -> None:
        """Deliver to the end. A provider that breaks off takes the client's connection with it: never a clean end."""
        stream = self._stream
        await stream.begun.wait()
        if stream.answered is not None:
            stream.settle("complete")
            return await client.answer(*stream.answered)
        if stream.head is None:
            raise ConnectionResetError("the stream was cancelled before it began")
        await client.begin(stream.head)
        whole = await self._deliver(client)
        if whole:
            stream.settle("complete")
            await client.end()
        else:
            client.break_off()

    async def _deliver(self, client: Client) -> bool:
        """Return whether all of the answer was written: not if the provider broke off, or the client stopped reading."""
        while entries := await self._take(client):
            data = b"".join(entry.data for entry in entries)
            try:
                async with asyncio.timeout(native.READ_TIMEOUT):
                    await client.write(data)
                    await catch_up(self._job.held)
            except TimeoutError:
                return False
            self._between_frames = data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
            self.delivered = entries[-1].n
        return not self._stream.failed

    async def _take(self, client: Client) -> list[Entry]:
        """What there is to send; a keepalive goes out after each KEEPALIVE of silence between two frames."""
        while True:
            try:
                async with asyncio.timeout(native.KEEPALIVE if self._stream.keepalive else None):
                    return await self._reader.take()
            except TimeoutError:
                if self._between_frames:
                    await client.write(self._stream.keepalive)

    def close(self) -> None:
        self._reader.close()
