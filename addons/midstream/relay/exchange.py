"""One request to the gateway: what every delivery needs of it, and how fast its client takes the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from midstream.dialects.base import Dialect
from midstream.relay.catching_up import catch_up
from midstream.relay.job import GatewayJob
from midstream.relay.log import Reader
from midstream.relay.native import KEEPALIVE
from midstream.relay.refusal import Refusal, error_body, status_of
from midstream.relay.spool import Entry
from midstream.relay.streams import Stream
from midstream.wire.content_encoding import ContentDecoder
from midstream.wire.json_text import dump_json

HEAD_WAIT = 10.0
"""Seconds that a response's head waits for the first frame, so that an early failure gets a status of its own. Then it goes,
for whoever is waiting should know that the stream runs, and its id."""


class ClientStuck(ConnectionResetError):
    """The client has read nothing for too long."""


@dataclass(slots=True)
class Exchange:
    """headers: what every answer to this request carries (CORS). read_timeout: seconds a client may read nothing."""

    job: GatewayJob
    request: web.BaseRequest
    headers: dict[str, str] = field(default_factory=dict)
    read_timeout: float = 120.0

    def allow(self, *methods: str) -> None:
        """Raises Refusal (405)."""
        if self.request.method not in methods:
            raise Refusal(405, f"only {' and '.join(methods)} here", headers={"Allow": ", ".join(methods)})

    def json(self, status: int, body: object, **headers: str) -> web.Response:
        return self.answer(status, dump_json(body).encode(), "application/json", headers)

    def answer(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        named = {k.replace("_", "-"): v for k, v in (headers or {}).items()}
        common = {"Cache-Control": "no-store", "Content-Type": content_type} | self.headers | named
        if status in (204, 304):
            common.pop("Content-Type", None)
        return web.Response(status=status, body=body or None, headers=common)

    def refuse(self, refusal: Refusal, dialect: Dialect | None = None) -> web.Response:
        body = error_body(refusal.failure, dialect)
        return self.answer(refusal.status, body, "application/json", refusal.headers)

    def failed(self, stream: Stream) -> web.Response:
        """The stream failed before it began: its provider's status, the error in the body."""
        assert stream.failure is not None  # noqa: S101 - what `refused` says
        status = status_of(stream.failure)
        retry = {"Retry-After": str(stream.retry_after)} if stream.retry_after is not None else {}
        body = error_body(stream.failure, stream.dialect)
        return self.answer(status, body, "application/json", stream_headers(stream) | retry)

    async def begin(
        self, stream: Stream, content_type: str, *, status: int = 200, **headers: str
    ) -> web.StreamResponse:
        """Send the head of a streamed answer."""
        common = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Content-Type": content_type}
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        reason = HTTPStatus(status).phrase
        response = web.StreamResponse(
            status=status, reason=reason, headers=common | self.headers | stream_headers(stream) | named
        )
        response.enable_chunked_encoding()
        await response.prepare(self.request)
        return response

    async def send(self, write: Awaitable[None]) -> None:
        """Wait until a write is through and an HTTP/2 client has caught up. Raises ClientStuck if it does not read at all."""
        try:
            async with asyncio.timeout(self.read_timeout):
                await write
            await catch_up(self.job.held, self.read_timeout)
        except TimeoutError:
            self.abort()
            raise ClientStuck("the client does not read") from None

    def break_off(self) -> None:
        """Close the connection behind what was sent, so that the client sees no clean end."""
        if self.request.transport is not None:
            self.request.transport.close()

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be sent."""
        if self.request.transport is not None:
            self.request.transport.abort()


def stream_headers(stream: Stream) -> dict[str, str]:
    """The headers that name a stream, and what its provider could not be told."""
    dropped = {"X-Midstream-Dropped": ", ".join(stream.dropped)} if stream.dropped else {}
    return {"X-Stream-Id": stream.id} | dropped


async def begins(stream: Stream, wait: float = HEAD_WAIT) -> None:
    """Return once the stream has a frame or has ended, or after some seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait):
            await stream.begun.wait()


async def take(reader: Reader, on_silence: Callable[[], Awaitable[None]]) -> list[Entry]:
    """Frames as soon as there are any; [] at the end. Calls `on_silence` every KEEPALIVE seconds until then."""
    while True:
        try:
            async with asyncio.timeout(KEEPALIVE):
                return await reader.take()
        except TimeoutError:
            pass
        await on_silence()


async def read_body(exchange: Exchange, limit: int) -> bytes:
    """The request's body, without its content encoding. Raises Refusal: 413 before more than `limit` bytes of it are held, 408
    where the client is silent for as long as one may be that reads nothing, 400 or 415 for what cannot be decoded."""
    request = exchange.request
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    content = ContentDecoder(request.headers.get("content-encoding", ""), limit)
    _check(content)
    body = bytearray()
    while piece := await _piece(exchange):
        body += content.feed(piece)
        _check(content)
        if len(body) > limit:
            raise _too_large(limit)
    body += content.close()
    _check(content)
    return bytes(body)


async def _piece(exchange: Exchange) -> bytes:
    """What has come of the body; b"" at its end."""
    try:
        async with asyncio.timeout(exchange.read_timeout):
            return await exchange.request.content.readany()
    except TimeoutError:
        waited = f"nothing of the body came for {exchange.read_timeout:g} s"
        raise Refusal(408, waited, headers={"Connection": "close"}) from None
    except web.RequestPayloadError:
        raise Refusal(400, "the body's chunks cannot be read", headers={"Connection": "close"}) from None


def _check(content: ContentDecoder) -> None:
    """Raises Refusal for a body that cannot be decoded, or grows beyond all measure."""
    for reason in content.take_damage():
        status = 413 if content.bomb else 415 if content.unknown else 400
        raise Refusal(status, f"Content-Encoding: {reason}", headers={"Connection": "close"})


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit} bytes", headers={"Connection": "close"})
