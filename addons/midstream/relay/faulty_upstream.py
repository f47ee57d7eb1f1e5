"""Breaks the provider's side of relayed streams on purpose: stands between the relay and `Upstream`, with the same face."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from midstream.dialects import registry
from midstream.dialects.registry import Match, Whose
from midstream.faults.answer import CHANGED_HEADERS, FaultyAnswer, Step, Strike
from midstream.faults.errors import http_error
from midstream.faults.rules import Fault, Faults
from midstream.observation import NAME_LENGTH, clean
from midstream.providers import provider_of
from midstream.relay.upstream import BREAKING, UpstreamError, UpstreamRequest, UpstreamResponse
from midstream.relay.upstream_headers import Headers
from midstream.wire.content_encoding import ContentDecoder

type Send = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]

log = logging.getLogger(__name__)


def announce(stream: str, match: Match, fault: Fault) -> None:
    """Say in the log what was done. stream: the id of its row; "" where there is none."""
    named = f"stream {clean(stream, NAME_LENGTH)}" if stream else "a stream"
    whose = clean(f"{match.provider} {match.facts.model}".strip(), NAME_LENGTH)
    log.info("midstream broke %s on purpose: %s (%s)", named, fault.said, whose)


class FaultyUpstream:
    """Answers for `Upstream.open` while it is installed. whose: whose a host is."""

    def __init__(self, faults: Faults, whose: Whose = provider_of) -> None:
        self._faults = faults
        self._whose = whose

    def install(self) -> None:
        """From now on every relay of this process sends through this."""
        BREAKING.append(self.open)

    def remove(self) -> None:
        if self.open in BREAKING:
            BREAKING.remove(self.open)

    async def open(self, request: UpstreamRequest, stream: str, send: Send) -> UpstreamResponse:
        """Send a request, or do what a provider does that fails. Raises UpstreamError."""
        host, match = _recognise(request, self._whose)
        fault = self._faults.choose(host, match, time.monotonic()) if match is not None else None
        if match is None or fault is None:
            return await send(request)
        if fault.in_stream or (fault.kind == "slow" and match.facts.stream):
            return self._wrap(await send(request), request, fault, match, stream)
        announce(stream, match, fault)
        match fault.kind:
            case "status" | "flapping":
                return _MadeUp(fault, match)
            case "reset":
                raise UpstreamError("connection_error", f"{host}: Server disconnected")
            case "silence":
                await asyncio.Event().wait()  # until whoever asked gives up, and cancels this
            case "slow":
                await asyncio.sleep(fault.seconds)
        return await send(request)

    def _wrap(
        self, response: UpstreamResponse, request: UpstreamRequest, fault: Fault, match: Match, stream: str
    ) -> UpstreamResponse:
        if response.status != 200:
            return response
        answer = FaultyAnswer(
            fault,
            match.dialect,
            struck=lambda: announce(stream, match, fault),
            content_type=response.header("content-type"),
            content_encoding=response.header("content-encoding"),
            model=match.facts.model,
            path=urlsplit(request.url).path,
        )
        return _Faulty(response, answer, fault)


class _MadeUp(UpstreamResponse):
    """An answer that no provider gave."""

    def __init__(self, fault: Fault, match: Match) -> None:
        headers, self._body = http_error(fault, match.dialect)
        self.status = fault.status
        self.reason = HTTPStatus(fault.status).phrase if fault.status in set(HTTPStatus) else ""
        self.headers: Headers = [(name.encode(), value.encode()) for name, value in headers]

    def header(self, name: str) -> str:
        return next((value.decode() for key, value in self.headers if key.decode() == name.lower()), "")

    def pieces(self) -> AsyncIterator[bytes]:
        return _Resumable(self._whole())

    async def _whole(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        """There is no connection."""


class _Resumable:
    """What a generator yields; waiting for it can be cancelled and taken up again, as it can for a provider's own body."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._next: asyncio.Task[bytes | None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._next is None:
            self._next = asyncio.ensure_future(self._one())
        await asyncio.wait({self._next})  # which leaves it running when it is cancelled itself
        task, self._next = self._next, None
        piece = task.result()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _one(self) -> bytes | None:
        return await anext(self._pieces, None)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()


class _Faulty(UpstreamResponse):
    """A provider's answer, broken on its way."""

    def __init__(self, response: UpstreamResponse, answer: FaultyAnswer, fault: Fault) -> None:
        self._inner = response
        self._answer = answer
        self._fault = fault
        self._left = _Resumable(self._broken())
        self.status, self.reason = response.status, response.reason
        self.headers = [(k, v) for k, v in response.headers if k.decode("latin-1").lower() not in CHANGED_HEADERS]

    def header(self, name: str) -> str:
        return "" if name.lower() in CHANGED_HEADERS else self._inner.header(name)

    def pieces(self) -> AsyncIterator[bytes]:
        """What is left of the body. Raises UpstreamError where it is cut off."""
        return self._left

    async def _broken(self) -> AsyncIterator[bytes]:
        async for piece in self._inner.pieces():
            for step in self._answer.feed(piece):
                if step is Strike.END:
                    return
                if data := await self._do(step):
                    yield data
        for step in self._answer.close():
            if data := await self._do(step):
                yield data

    async def _do(self, step: Step) -> bytes:
        match step:
            case bytes():
                return step
            case Strike.WAIT:
                await asyncio.sleep(self._fault.seconds)
            case Strike.CUT:
                raise UpstreamError("connection_error", "the provider broke off: Connection lost")
            case Strike.STALL:
                self._inner.close()  # nobody shall pay for what nobody gets
                await asyncio.Event().wait()
            case Strike.END:
                pass
        return b""

    def close(self) -> None:
        self._left.close()
        self._inner.close()


def _recognise(request: UpstreamRequest, whose: Whose) -> tuple[str, Match | None]:
    parts = urlsplit(request.url)
    host, path = parts.hostname or "", parts.path + (f"?{parts.query}" if parts.query else "")
    if request.method == "GET":
        return host, registry.recognise_get(host, path, whose)
    return host, registry.recognise(host, path, _plain_body(request), whose)


def _plain_body(request: UpstreamRequest) -> bytes:
    encoding = next((v.decode("latin-1") for k, v in request.headers if k.lower() == b"content-encoding"), "")
    if not encoding:
        return request.body
    decoder = ContentDecoder(encoding)
    return decoder.feed(request.body) + decoder.close()
