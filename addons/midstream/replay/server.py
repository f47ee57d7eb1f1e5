"""Serve recordings as a provider: the recorded status, headers and chunks, at the recorded pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from midstream.recording import Chunk, Recording
from midstream.replay.catalogue import Catalogue, wanted
from midstream.replay.throwaway_ca import ThrowawayCA
from midstream.wire.json_text import parse_json

REQUEST_LIMIT = 64 * 1024 * 1024
"""Bytes of a request's body: providers take some 30 MB, with images inline."""

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of one WebSocket message from a client: a few seconds of audio are well under one."""

_NOT_REPLAYED = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "alt-svc",  # names ports of the provider's that nobody serves here
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    )
)

type Served = Callable[[str, str, Recording | None], None]


class ReplayServer:
    """An async context manager: `async with ReplayServer(recordings) as server: … server.port …`.

    speed: 2 is twice as fast as recorded, 0 without pauses. ca: serve TLS with its certificates (for the recordings' hosts
    and loopback); None: plain HTTP. served: told (method, path, recording or None) of each request.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        speed: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        ca: ThrowawayCA | None = None,
        served: Served | None = None,
    ) -> None:
        self.catalogue = Catalogue(recordings)
        self.port = port
        self._host = host
        self._speed = speed
        self._ca = ca
        self._served = served or (lambda method, path, recording: None)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards. Raises OSError when the port is taken."""
        app = web.Application(client_max_size=REQUEST_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        context = self._ca.server_context(self.catalogue.hosts) if self._ca else None
        try:
            await web.TCPSite(self._runner, self._host, self.port, ssl_context=context).start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        websocket = request.headers.get("upgrade", "").lower() == "websocket"
        url = f"{request.scheme}://{request.host}{request.raw_path}"
        body = _json(await request.read())
        recording = self.catalogue.find(wanted(request.method, url, body, websocket=websocket))
        self._served(request.method, request.raw_path, recording)
        if recording is None:
            return self._nothing(request)
        pacer = _Pacer(self._speed)
        try:
            if websocket:
                return await _play_session(request, recording, pacer)
            return await _play_body(request, recording, pacer)
        except ConnectionResetError:  # the client has left, which aiohttp would log as an error of ours
            raise asyncio.CancelledError from None

    def _nothing(self, request: web.Request) -> web.Response:
        message = (
            f"midstream replay: no recording of {request.method} {request.path} (host {request.host}) is served here"
        )
        error = {"message": message, "type": "no_such_recording", "recordings": self.catalogue.listing()}
        return web.json_response({"error": error}, status=404)


class _Pacer:
    """Waits out pauses against one clock, so that the time spent sending does not add up."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._due = asyncio.get_running_loop().time()

    async def pause(self, ms: float) -> None:
        if self._speed <= 0:
            return
        self._due += ms / 1000 / self._speed
        late_by = asyncio.get_running_loop().time() - self._due
        if late_by < 0:
            await asyncio.sleep(-late_by)

    def restart(self) -> None:
        """Count from now: what comes next answers something that came now."""
        self._due = asyncio.get_running_loop().time()


async def _play_body(request: web.Request, recording: Recording, pacer: _Pacer) -> web.StreamResponse:
    response = web.StreamResponse(status=recording.header.response.status, headers=_headers(recording))
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    for chunk in recording.chunks:
        await pacer.pause(chunk.pause_ms)
        if not response.prepared:
            await response.prepare(request)
        await response.write(chunk.data)
    await pacer.pause(recording.end_pause_ms)
    if not response.prepared:
        await response.prepare(request)
    if recording.end != "complete":
        _cut(request)
    await response.write_eof()
    return response


async def _play_session(request: web.Request, recording: Recording, pacer: _Pacer) -> web.StreamResponse:
    offered = request.headers.get("sec-websocket-protocol", "")
    protocols = [name.strip() for name in offered.split(",") if name.strip()]
    session = web.WebSocketResponse(protocols=protocols[:1], max_msg_size=MESSAGE_LIMIT)
    session.headers.extend(_headers(recording))
    await session.prepare(request)
    for chunk in recording.chunks:
        if chunk.sender == "client":
            if not await _heard(session):
                return session
            pacer.restart()
        else:
            await pacer.pause(chunk.pause_ms)
            await _say(session, chunk)
    await pacer.pause(recording.end_pause_ms)
    if recording.end != "complete":
        _cut(request)
    await session.close()
    return session


async def _heard(session: web.WebSocketResponse) -> bool:
    """Wait for the client's next message; False when it has left."""
    message = await session.receive()
    return message.type in (WSMsgType.TEXT, WSMsgType.BINARY)


async def _say(session: web.WebSocketResponse, chunk: Chunk) -> None:
    if chunk.opcode == "text":
        await session.send_str(chunk.data.decode("utf-8", "replace"))
    else:
        await session.send_bytes(chunk.data)


def _cut(request: web.Request) -> None:
    """Close without the body's or the session's end; what was written before still arrives (an abort could lose it)."""
    if request.transport is not None:
        request.transport.close()
    raise ConnectionResetError("the recording ends here, cut off")


def _headers(recording: Recording) -> CIMultiDict[str]:
    headers = recording.header.response.headers.items()
    return CIMultiDict((name, value) for name, value in headers if name.lower() not in _NOT_REPLAYED)


def _json(body: bytes) -> Any:
    try:
        return parse_json(body) if body else None
    except ValueError:
        return None
