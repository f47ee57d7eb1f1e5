"""An intercepted stream that outlives its client's connection: the provider's side in a task of its own, which writes into a
stream log, and the clients' sides, which read from there."""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import web

from midstream.dialects.answer import AnswerDecoder
from midstream.ledger import SPILL, Ledger
from midstream.observation import Outcome
from midstream.relay import native
from midstream.relay.job import Job
from midstream.relay.log import Reader, StreamLog
from midstream.relay.same_request import identity
from midstream.relay.spool import Entry
from midstream.relay.upstream import Upstream, UpstreamError, UpstreamResponse

log = logging.getLogger(__name__)


class KeptStream:
    """The provider's side of one stream. Its row is settled once, by whoever learns first how it ended.

    key: see same_request.identity. begun: set once there is a response, or an error instead. error: why the provider's answer
    ends without an end.
    """

    def __init__(self, job: Job, frames: StreamLog, ledger: Ledger) -> None:
        self.key = identity(job.request)
        self.account = job.account
        self.log = frames
        self.begun = asyncio.Event()
        self.response: UpstreamResponse | None = None
        self.error: UpstreamError | None = None
        self.settled = False
        self.task: asyncio.Task[None] | None = None
        self._job = job
        self._ledger = ledger
        self._decoder: AnswerDecoder | None = None
        self._ended_at: float | None = None

    @property
    def of_use(self) -> bool:
        """Whether a retry would be served well: it can have all of it, and it is no failure, which asking anew may mend."""
        refused = self.response is not None and self.response.status >= 400
        failed = self.error is not None or self.account.observation.failure is not None
        return not (self.settled or refused or failed) and self.log.first == 1

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def whole(self, delivered: int) -> bool:
        """Whether a client with so many frames has the answer to its end, though the provider has yet to close the body."""
        return self.account.observation.ended and delivered >= self.log.last

    async def run(self, upstream: Upstream) -> None:
        try:
            self.response = response = await upstream.open(self._job.request)
            try:
                await self._read(response)
            finally:
                response.close()
        except UpstreamError as error:
            self.error = error
            self.settle("truncated" if self.response is not None else "failed", error.kind, str(error))
        except Exception:
            log.exception("an intercepted stream failed")
            self.error = UpstreamError("internal_error", "midstream failed")
            self.settle("failed", "internal_error", "midstream failed")

    async def _read(self, response: UpstreamResponse) -> None:
        self.account.observation.record.http_status = response.status
        decoder = self._decoder = AnswerDecoder(
            self._job.match.dialect,
            status=response.status,
            content_type=response.header("content-type"),
            content_encoding=response.header("content-encoding"),
        )
        self.begun.set()
        async for piece in response.pieces():
            now = time.monotonic()
            await self.log.append(piece)
            self.account.observation.record.bytes += len(piece)
            await asyncio.sleep(0)  # the readers send first: parsing must not delay a token
            self._observe(decoder, piece, now)
        self._end()

    def _observe(self, decoder: AnswerDecoder, piece: bytes, now: float) -> None:
        if self.account.observation.feed(decoder.feed(piece), now):
            self._ledger.first_content(self.account)
        if self.account.observation.text_size > SPILL:
            self._ledger.spill(self.account)

    def _end(self) -> None:
        """No more will come: the decoder says what that means."""
        self._ended_at = time.monotonic()
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            self.account.observation.feed(decoder.close(), self._ended_at)

    def over(self) -> None:
        """The task has ended, even before it began: nobody shall wait for it any longer."""
        if self.task is not None and self.task.cancelled():
            self.error = self.error or UpstreamError("interrupted", "the stream was cancelled")
        self.begun.set()
        self.log.close()

    def settle(self, outcome: Outcome, error_type: str = "", error: str = "", *, at: float | None = None) -> None:
        if self.settled:
            return
        self.settled = True
        if self._ended_at is None:
            self._end()
        self.account.observation.record.paused_ms = self.log.paused * 1000
        self.account.observation.settle(outcome, at or time.monotonic(), error_type=error_type, error=error)
        self._ledger.close(self.account)

    def settle_unread(self) -> None:
        """Its client does not have all of it: not complete, even if the provider's answer was."""
        if self.settled:
            return
        ended_at = self._ended_at
        if ended_at is None:
            self._end()
        self.account.observation.ended = False
        if self._ledger.stopping:
            self.settle("interrupted", "interrupted", "mitmdump was told to stop", at=ended_at)
        else:
            self.settle("client_gone", "client_disconnected", "the client left, and did not come back", at=ended_at)


class Follower:
    """One client's connection that reads a stream from its first byte. delivered: number of the last frame it has."""

    def __init__(self, stream: KeptStream, job: Job) -> None:
        self.delivered = 0
        self._stream = stream
        self._job = job
        self._reader: Reader = stream.log.reader()
        self._keepalive = b""
        self._between_frames = True

    async def run(self, request: web.BaseRequest) -> web.StreamResponse:
        """Deliver to the end. A provider that breaks off takes the client's connection with it: never a clean end."""
        stream = self._stream
        await stream.begun.wait()
        if stream.response is None:
            return native.refusal(self._job, stream.error or UpstreamError("internal_error", "midstream failed"))
        out = await native.begin(self._job, stream.response, request)
        self._keepalive = native.keepalive_of(self._job.match.dialect, stream.response)
        whole = await self._deliver(out)
        if whole:
            stream.settle("complete")
            await out.write_eof()
        elif request.transport is not None:
            request.transport.abort()
        return out

    async def _deliver(self, out: web.StreamResponse) -> bool:
        """Return whether all of the answer was written: not if the provider broke off, or the client stopped reading."""
        while entries := await self._take(out):
            data = b"".join(entry.data for entry in entries)
            try:
                async with asyncio.timeout(native.READ_TIMEOUT):
                    await out.write(data)
                    if self._job.held() > native.HELD_LIMIT:
                        await self._catch_up()
            except TimeoutError:
                return False
            self._between_frames = data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
            self.delivered = entries[-1].n
        return self._stream.error is None

    async def _take(self, out: web.StreamResponse) -> list[Entry]:
        """What there is to send; a keepalive goes out after each KEEPALIVE of silence between two frames."""
        while True:
            try:
                async with asyncio.timeout(native.KEEPALIVE if self._keepalive else None):
                    return await self._reader.take()
            except TimeoutError:
                if self._between_frames:
                    await out.write(self._keepalive)

    async def _catch_up(self) -> None:
        while self._job.held() > native.HELD_LIMIT // 2:  # noqa: ASYNC110 - mitmproxy has no event for it
            await asyncio.sleep(native.HELD_POLL)

    def close(self) -> None:
        self._reader.close()
