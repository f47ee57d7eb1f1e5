"""A WebSocket: one chat after another on one socket, each a message per event and `[DONE]` at its end.

The client sends a chat body to start, {"type":"cancel"}, or {"type":"resume","stream":ID,"after":N}.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from midstream.events import Failure
from midstream.relay.asked import BINARY, TEXT, after_of, read_object
from midstream.relay.exchange import Exchange, stream_headers, take
from midstream.relay.log import Reader
from midstream.relay.producer import DONE
from midstream.relay.refusal import Refusal, error_body
from midstream.relay.spool import Entry
from midstream.relay.streams import CANCELLED, Stream, Streams
from midstream.relay.turns import QUANTUM, Share, Turns
from midstream.wire.json_text import Json, as_str

REASON_LIMIT = 123
"""Bytes of a close frame's reason (RFC 6455, 5.5)."""

VERSION = "13"
_KEY = re.compile(r"[0-9A-Za-z+/]{21}[AQgw]==")

MESSAGE_COST = QUANTUM // 2
"""Bytes in an HTTP body that cost as much as one message, which mitmproxy shows to its addons one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chats:
    """What a socket can do. start: run a chat; find: the caller's stream of this id. Both raise Refusal or ValueError."""

    start: Callable[[Json], Awaitable[Stream]]
    find: Callable[[str], Stream]


async def deliver(
    exchange: Exchange,
    streams: Streams,
    chats: Chats,
    *,
    opening: tuple[Stream, int, bool] | None,
    binary: bool,
    message_limit: int,
) -> web.StreamResponse:
    """Serve a socket until either side leaves. opening: a stream to send at once, behind which event, and whether resumed. Raises
    Refusal for a handshake that is none."""
    _check_handshake(exchange.request)
    socket = web.WebSocketResponse(
        autoping=True, compress=False, max_msg_size=message_limit, protocols=(BINARY, TEXT), timeout=5.0
    )
    socket.headers.update(exchange.headers | (stream_headers(opening[0]) if opening else {}))
    await socket.prepare(exchange.request)
    session = _Session(exchange, streams, chats, socket, binary)
    if opening is not None:
        session.follow(*opening)
    try:
        await session.serve()
    finally:
        await session.stop()
    return socket


def _check_handshake(request: web.BaseRequest) -> None:
    """RFC 6455, 4.2.1. mitmproxy would let a socket of another version through, and look at none of its messages."""
    if request.headers.get("sec-websocket-version", "") != VERSION:
        raise Refusal(
            426, f"only version {VERSION} of WebSocket is spoken here", headers={"Sec-WebSocket-Version": VERSION}
        )
    if "upgrade" not in request.headers.get("connection", "").lower() or not _KEY.fullmatch(
        request.headers.get("sec-websocket-key", "")
    ):
        raise Refusal(400, "a WebSocket wants Connection: Upgrade, and 16 bytes in base64 as Sec-WebSocket-Key")


class _Session:
    def __init__(
        self, exchange: Exchange, streams: Streams, chats: Chats, socket: web.WebSocketResponse, binary: bool
    ) -> None:
        self._exchange = exchange
        self._streams = streams
        self._chats = chats
        self._socket = socket
        self._binary = binary
        self._stream: Stream | None = None
        self._pump: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Take the client's messages until it leaves, or is closed for one that is too large (1009)."""
        async for message in self._messages():
            try:
                await self._obey(message)
            except Refusal as refusal:
                await self._send(error_body(refusal.failure))
            except ValueError as error:
                await self._send(error_body(Failure(str(error), code="invalid_request", status=400)))

    async def stop(self) -> None:
        """The client has left: its stream goes on for the grace time."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _messages(self) -> AsyncIterator[str | bytes]:
        async for message in self._socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                yield message.data

    async def _obey(self, message: str | bytes) -> None:
        body = read_object(message)
        kind = as_str(body.get("type"))
        if kind == "cancel":
            self._cancel()
        elif kind == "resume":
            self._free()
            stream = self._chats.find(as_str(body.get("stream")))
            self.follow(stream, after_of(body.get("after", 0)), True)
        elif kind:
            raise ValueError("type: expected cancel or resume, or none and a chat's model and messages")
        else:
            self._free()
            self.follow(await self._chats.start(body), 0, False)

    def _free(self) -> None:
        """Raises Refusal while a chat runs."""
        if self._pump is not None and not self._pump.done():
            raise Refusal(409, "a chat runs on this socket: cancel it, or wait for its [DONE]", code="chat_running")

    def _cancel(self) -> None:
        if self._stream is None or self._pump is None or self._pump.done():
            raise Refusal(409, "no chat runs on this socket", code="no_chat_running")
        self._streams.cancel(self._stream)

    def follow(self, stream: Stream, after: int, resumed: bool) -> None:
        """Send a stream's events from behind `after`."""
        reading = contextlib.ExitStack()
        reader = reading.enter_context(self._streams.attach(stream, after, "websocket", resumed=resumed))
        self._stream = stream
        self._pump = asyncio.create_task(self._send_all(stream, reader, reading))

    async def _send_all(self, stream: Stream, reader: Reader, reading: contextlib.ExitStack) -> None:
        last, share, turns = b"", Share(), Turns.here()
        with reading, contextlib.suppress(ConnectionResetError):
            while entries := await take(reader, self._socket.ping):
                for entry in entries:
                    if len(entries) > 1:  # it is behind
                        await turns.take(share, MESSAGE_COST)
                    await self._send(_message(stream.id, entry))
                last = entries[-1].data
            if _interrupted(stream):
                await self._close(stream)
            elif last != DONE:  # after a refusal or a cancellation, or a resume that has nothing left to send
                await self._send(DONE)

    async def _close(self, stream: Stream) -> None:
        """An answer that broke off does not look like one that ended: the socket goes with it."""
        assert stream.failure is not None  # noqa: S101 - what `_interrupted` says
        code = WSCloseCode.SERVICE_RESTART if stream.failure.type == "interrupted" else WSCloseCode.INTERNAL_ERROR
        reason = stream.failure.message.encode("utf-8", "replace")[:REASON_LIMIT].decode("utf-8", "ignore")
        await self._socket.close(code=code, message=reason.encode())

    async def _send(self, message: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client has closed the socket")
        if self._binary:
            await self._exchange.send(self._socket.send_bytes(message))
        else:
            await self._exchange.send(self._socket.send_str(message.decode("utf-8", "replace")))


def _interrupted(stream: Stream) -> bool:
    """Whether it failed in the midst of its answer, and not because its reader said so."""
    return stream.failure is not None and not stream.refused and stream.failure.type != CANCELLED


def _message(stream_id: str, entry: Entry) -> bytes:
    """An event with its place in its stream, so that a client can resume."""
    if entry.data == DONE:
        return DONE
    return b'%b,"sequence_number":%d,"stream":"%b"}' % (entry.data[:-1], entry.n, stream_id.encode())
