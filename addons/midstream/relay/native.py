"""Native delivery: the provider's own bytes, as they arrive, with nobody able to resume them."""

from __future__ import annotations

import asyncio
import contextlib
import time

from aiohttp import web

from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import SSE_COMMENT, Dialect
from midstream.ledger import SPILL, Account, Ledger
from midstream.observation import Outcome
from midstream.relay.job import Head, Job
from midstream.relay.upstream import Upstream, UpstreamError, UpstreamResponse
from midstream.wire.json_text import dump_json

HELD_LIMIT = 64 * 1024
"""Bytes that one HTTP/2 client's stream may leave waiting in mitmproxy before its provider is paused."""

HELD_POLL = 0.02
"""Seconds between looks at whether a slow HTTP/2 client has caught up: mitmproxy has no event for it."""

KEEPALIVE = 15.0
"""Seconds of silence after which a client gets a sign of life, so that nothing on the way takes its connection for dead."""

READ_TIMEOUT = 300.0
"""Seconds after which a client that reads nothing, while there is something to read, is dropped."""

COMMENT = SSE_COMMENT


async def deliver(job: Job, request: web.BaseRequest, upstream: Upstream, ledger: Ledger) -> web.StreamResponse:
    """Fetch the provider's answer and pass it on; settle the stream's row whatever happens."""
    ledger.open(job.account)
    try:
        response = await upstream.open(job.request)
    except UpstreamError as error:
        _settle(job.account, ledger, "failed", error.kind, str(error))
        return refusal(job, error)
    except asyncio.CancelledError:
        _settle_left(job.account, ledger, "the client left before the answer began")
        raise
    delivery = _Delivery(job, response, ledger)
    try:
        return await delivery.run(request)
    finally:
        response.close()


class _ClientStalled(Exception):
    """The client does not read."""


class _Delivery:
    def __init__(self, job: Job, response: UpstreamResponse, ledger: Ledger) -> None:
        self._job = job
        self._response = response
        self._ledger = ledger
        self._observation = job.account.observation
        self._observation.record.http_status = response.status
        self._decoder = AnswerDecoder(
            job.match.dialect,
            status=response.status,
            content_type=response.header("content-type"),
            content_encoding=response.header("content-encoding"),
        )
        self._keepalive = keepalive_of(job.match.dialect, response)
        self._between_frames = True

    async def run(self, request: web.BaseRequest) -> web.StreamResponse:
        """Deliver to the end. A provider that breaks off takes the client's connection with it: never a clean end."""
        out = await begin(self._job, self._response, request)
        keeper = asyncio.create_task(self._keep_alive(out)) if self._keepalive else None
        try:
            async for piece in self._response.pieces():
                await self._pass_on(out, piece)
            self._between_frames = False
            self._end("complete")
            await out.write_eof()
        except UpstreamError as error:
            self._end("truncated", error.kind, str(error))
            if request.transport is not None:
                request.transport.abort()
        except _ClientStalled:
            self._end("client_gone", "client_stalled", f"the client read nothing for {READ_TIMEOUT:.0f} s")
            if request.transport is not None:
                request.transport.abort()
        except (asyncio.CancelledError, ConnectionResetError):
            self._observation.feed(self._decoder.close(), time.monotonic())
            _settle_left(self._job.account, self._ledger, "the client left")
            raise
        finally:
            if keeper is not None:
                keeper.cancel()
        return out

    async def _pass_on(self, out: web.StreamResponse, piece: bytes) -> None:
        """Send first, then read: parsing must not delay a token."""
        now = time.monotonic()
        self._between_frames = piece.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))  # first: the write may wait for long
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await out.write(piece)
                if self._job.held() > HELD_LIMIT:
                    await self._catch_up()
        except TimeoutError:
            raise _ClientStalled from None
        finally:
            waited = time.monotonic() - now
            if waited > 0.001:
                self._observation.record.paused_ms += waited * 1000
        self._observation.record.bytes += len(piece)
        self._observe(piece, now)

    def _observe(self, piece: bytes, now: float) -> None:
        if self._observation.feed(self._decoder.feed(piece), now):
            self._ledger.first_content(self._job.account)
        if self._observation.text_size > SPILL:
            self._ledger.spill(self._job.account)

    async def _catch_up(self) -> None:
        while self._job.held() > HELD_LIMIT // 2:  # noqa: ASYNC110 - mitmproxy has no event for it
            await asyncio.sleep(HELD_POLL)

    async def _keep_alive(self, out: web.StreamResponse) -> None:
        """After each KEEPALIVE of silence between two frames, send what the client's SDK takes for nothing."""
        with contextlib.suppress(ConnectionResetError):  # the delivery itself learns that the client has left
            while True:
                seen = self._observation.record.bytes
                await asyncio.sleep(KEEPALIVE)
                if self._between_frames and self._observation.record.bytes == seen:
                    await out.write(self._keepalive)

    def _end(self, outcome: Outcome, error_type: str = "", error: str = "") -> None:
        self._observation.feed(self._decoder.close(), time.monotonic())
        _settle(self._job.account, self._ledger, outcome, error_type, error)


def keepalive_of(dialect: Dialect, response: UpstreamResponse) -> bytes:
    """What may be sent between two frames of this response; b"" if nothing: into no encoded body, nor one of a known length."""
    fixed = response.header("content-encoding") or response.header("content-length")
    return dialect.keepalive if "text/event-stream" in response.header("content-type") and not fixed else b""


async def begin(job: Job, response: UpstreamResponse, request: web.BaseRequest) -> web.StreamResponse:
    """Send the provider's head on."""
    job.head = Head(response.status, response.reason, response.headers)
    out = web.StreamResponse(status=response.status)
    length = response.header("content-length")
    if length.isdigit():
        out.content_length = int(length)
    elif response.status not in (204, 304):
        out.enable_chunked_encoding()
    await out.prepare(request)
    return out


def _settle(account: Account, ledger: Ledger, outcome: Outcome, error_type: str = "", error: str = "") -> None:
    account.observation.settle(outcome, time.monotonic(), error_type=error_type, error=error)
    ledger.close(account)


def _settle_left(account: Account, ledger: Ledger, error: str) -> None:
    if ledger.stopping:
        _settle(account, ledger, "interrupted", "interrupted", "mitmdump was told to stop")
    else:
        _settle(account, ledger, "client_gone", "client_disconnected", error)


def refusal(job: Job, error: UpstreamError) -> web.Response:
    """The provider could not be reached: an error in the form its SDK reads."""
    status = 504 if error.kind.endswith("timeout") else 502
    body = dump_json({"error": {"message": f"midstream: {error}", "type": error.kind, "code": error.kind}}).encode()
    job.head = Head(status, "", [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
    return web.Response(status=status, body=body, content_type="application/json")
