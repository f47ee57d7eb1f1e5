"""A native answer's way to mitmproxy that needs no connection: what stands in for the one to the provider is an object.

mitmproxy's HTTP layer has an object for each connection, which takes what is said of HTTP (a request's headers, its end) and says
what arrives (a response's headers, its data). Ours does the relay's work instead of reading a socket: a request costs no
connection, and neither its head nor a chunk is written as HTTP/1.1 to be parsed again. Knows mitmproxy's objects by their shape
only (as of 12.3), so that the library needs no mitmproxy.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from midstream import held
from midstream.relay.client import AT_ONCE, Client, has_body, length_of
from midstream.relay.inlet import Handler
from midstream.relay.job import Head, Job

log = logging.getLogger(__name__)

STOP_WAIT = 1.0
"""Seconds that answers get at mitmdump's end to say that it is theirs."""


@dataclass(frozen=True, slots=True)
class Mitmproxy:
    """Its modules, from who may import them: `connection`, `http`, `proxy.events` and `proxy.layers.http`."""

    connection: Any
    http: Any
    events: Any
    layers: Any


class Own(str):
    """A host's name equal to none but itself: what stands in for a connection to a provider is never taken for one by another
    flow, whose own host has the same name."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


class Direct:
    """One flow's answer: to mitmproxy the connection to a provider, to the relay the client.

    stream: mitmproxy's, of the flow. server: the connection as mitmproxy knows it. on_request: what to do once mitmproxy sends
    the request. Raises AttributeError, TypeError or ValueError where mitmproxy's objects are others than those that we know.
    """

    def __init__(
        self, mitmproxy: Mitmproxy, handler: Handler, stream: Any, on_request: Callable[[Direct], None]
    ) -> None:
        self._mitmproxy = mitmproxy
        self._handler = handler
        self._stream = stream
        self._number: int = stream.stream_id
        self._start: Callable[[Direct], None] | None = on_request
        self._over = False
        self._stored = True
        self._streaming = stream.state_stream_response_body
        self.task: asyncio.Task[None] | None = None
        self.gone = False
        request, before = stream.flow.request, stream.flow.server_conn
        self.server = server = mitmproxy.connection.Server(
            address=(Own(request.host), request.port), transport_protocol=before.transport_protocol
        )
        server.tls, server.via = request.scheme == "https", before.via
        server.state = mitmproxy.connection.ConnectionState.OPEN
        server.timestamp_start = time.time()
        # Left alone it would be an HTTP/1 connection, and such a one mitmproxy gives to one stream of an HTTP/2 client only.
        server.alpn = stream.context.client.alpn
        above = stream.context.layers[: stream.context.layers.index(stream)]
        self._known_to = [layer.connections for layer in above if hasattr(layer, "connections")]
        """What the HTTP layers know of connections: that of a CONNECT tunnel, too, which passes on what happens in it."""
        for layer, below in itertools.pairwise([*above, stream]):
            if hasattr(layer, "connections"):
                layer.connections[server] = self if below is stream else below
        if not callable(stream.make_server_connection):
            raise TypeError("a stream makes its connection in another way")
        stream.make_server_connection = self._connect

    def _connect(self) -> Generator[Any, Any, bool]:
        """mitmproxy's `make_server_connection` of this stream, called once all addons have seen the request: here it is."""
        del self._stream.make_server_connection  # what stands in for it: from here on it is mitmproxy's own again
        self._stream.context.server = self._stream.flow.server_conn = self.server
        return True
        yield

    def handle_event(self, event: Any) -> Iterable[Any]:
        """mitmproxy's: what it tells this connection, or what came of it; what it is to do."""
        if event.__class__ is self._mitmproxy.events.DataReceived:
            said, layers = event.said, self._mitmproxy.layers
            if said.__class__ is layers.ResponseData and self._goes_by:
                return (layers.SendHttp(said, self._stream.context.client),)
            if said is not None:
                return (layers.ReceiveHttp(said),)
            self._forget()
            return ()
        kind = type(event).__name__
        if kind == "RequestEndOfMessage" and self._start is not None:
            start, self._start = self._start, None
            start(self)
        elif kind == "RequestProtocolError":
            self.leave()
        return ()

    @property
    def _goes_by(self) -> bool:
        """Whether mitmproxy's stream would send data to its client as it is, and do nothing else with it: as nearly always."""
        stream = self._stream
        streams = stream.server_state == self._streaming and stream.flow.response.stream is True
        return streams and not stream._paused and not self._stored

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()
        else:
            self._forget()

    def withdraw(self) -> None:
        """mitmproxy is through with the flow: if the answer is not over, or has not begun, nobody waits for it any more."""
        if not self._over:
            self.leave()

    def close(self) -> None:
        """Nothing more will be said."""
        if not self._over and not self.gone:
            self.break_off()
        if self._handler.busy:
            self._pass(None)
        else:
            self._forget()

    def _forget(self) -> None:
        for connections in self._known_to:
            connections.pop(self.server, None)
        self.server.state = self._mitmproxy.connection.ConnectionState.CLOSED

    def _say(self, event: Any) -> None:
        if self.gone:
            raise ConnectionResetError("the client has left")
        self._pass(event)

    def _pass(self, said: Any) -> None:
        """To whoever looks at it on its way here, it is a connection that has brought no bytes."""
        event = self._mitmproxy.events.DataReceived(self.server, b"")
        event.said = said
        self._handler.tell(event)

    def _say_head(self, head: Head, length: int | None) -> None:
        http = self._mitmproxy.http
        named = [(k, v) for k, v in head.headers if k.lower() != b"content-length"]
        self._stored = self._stream.context.options.store_streamed_bodies
        if length is not None:
            named.append((b"content-length", b"%d" % length))
        elif has_body(head) and self._stream.flow.request.http_version != "HTTP/1.0":
            named.append((b"transfer-encoding", b"chunked"))
        response = http.Response(
            b"HTTP/1.1",
            head.status,
            head.reason.encode("latin-1", "replace"),
            http.Headers(named),
            None,
            None,
            time.time(),
            None,
        )
        empty = length == 0 or not has_body(head)
        self._say(self._mitmproxy.layers.ResponseHeaders(self._number, response, empty))

    async def begin(self, head: Head) -> None:
        self._say_head(head, length_of(head))

    def send(self, data: bytes) -> bool:
        if self.gone or len(data) > AT_ONCE or self._handler.waiting:
            return False
        if data:
            self._say(self._mitmproxy.layers.ResponseData(self._number, data))
        return True

    async def write(self, data: bytes) -> None:
        if data:
            self._say(self._mitmproxy.layers.ResponseData(self._number, data))
        await self._handler.drain()

    async def end(self) -> None:
        self._over = True
        self._say(self._mitmproxy.layers.ResponseEndOfMessage(self._number))

    def break_off(self) -> None:
        if self._over or self.gone:
            return
        self._over = True
        layers = self._mitmproxy.layers
        code = layers.ErrorCode.GENERIC_SERVER_ERROR
        self._say(layers.ResponseProtocolError(self._number, "the answer broke off", code))

    async def answer(self, head: Head, body: bytes) -> None:
        self._say_head(head, len(body))
        if body:
            self._say(self._mitmproxy.layers.ResponseData(self._number, body))
        await self.end()

    def abort(self) -> None:
        self.break_off()


type Serve = Callable[[Job, Client], Awaitable[None]]


class Directs:
    """The answers on their way, by their client's connection. serve: the relay's work."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._under_way = defaultdict[str, dict[str, Direct]](dict)

    def lay(self, mitmproxy: Mitmproxy, handler: Any, flow: Any, job: Callable[[], Job]) -> bool:
        """Whether this flow's answer comes by such a way from now on. False: there is none, and only a connection will do.

        handler: mitmproxy's, of the client's connection. job: what is to be done, asked for when mitmproxy sends the request.
        """
        known, found = Handler.of(handler), held.find(handler.layer, flow) if handler is not None else None
        if known is None or found is None:
            return False
        try:
            direct = Direct(mitmproxy, known, found[2], lambda direct: self._begin(direct, job()))
        except (AttributeError, TypeError, ValueError) as error:  # another mitmproxy than those that we know
            log.debug("no direct way: %r", error)
            return False
        self._under_way[flow.client_conn.id][flow.id] = direct
        return True

    def _begin(self, direct: Direct, job: Job) -> None:
        direct.task = asyncio.get_running_loop().create_task(self._run(direct, job), name="midstream-answer")
        direct.task.add_done_callback(lambda _: direct.close())

    async def _run(self, direct: Direct, job: Job) -> None:
        try:
            await self._serve(job, direct)
        except ConnectionResetError:
            pass  # the client has left
        except Exception:
            log.exception("an intercepted stream failed")

    def over(self, flow: Any) -> None:
        """mitmproxy is through with this flow."""
        client = flow.client_conn.id
        under_way = self._under_way.get(client, {})
        if (direct := under_way.pop(flow.id, None)) is not None:
            direct.withdraw()
            if not under_way:
                del self._under_way[client]

    def left(self, client: Any) -> None:
        """A client's connection is over."""
        for direct in self._under_way.pop(client.id, {}).values():
            direct.leave()

    def __len__(self) -> int:
        return sum(map(len, self._under_way.values()))

    async def stop(self) -> None:
        """Return once all are through, or have been ended."""
        tasks = [d.task for under_way in self._under_way.values() for d in under_way.values() if d.task is not None]
        running = [task for task in tasks if not task.done()]
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_WAIT)
            for task in late:
                task.cancel()
