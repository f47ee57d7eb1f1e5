"""The way back into mitmproxy: what the relay answers is handed to mitmproxy's connection handler, in the same event loop. It
does not go through the system to be read again.

So a chunk costs one send and one receive less, and comes a turn or two of the event loop sooner: the more is going on, the longer
these take. Requests come over the loopback socket, which also begins and ends a connection. Knows mitmproxy's objects by their
shape only (as of 12.2), so that the library needs no mitmproxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Self

type Address = tuple[str, int]

CROWDED = 64 * 1024
"""Bytes that wait for a client from which on the relay writes no more: where asyncio pauses a writer, too."""


class Handler:
    """mitmproxy's handler of one client's connection, to be told of what happens elsewhere."""

    @classmethod
    def of(cls, handler: Any) -> Self | None:
        """None where nobody could tell how far behind the client is: one that comes by mitmproxy's local or WireGuard mode."""
        client = handler.transports.get(handler.client) if handler is not None else None
        transport = getattr(getattr(client, "writer", None), "transport", None)
        return cls(handler, transport) if transport is not None else None

    def __init__(self, handler: Any, client: asyncio.WriteTransport) -> None:
        self.transports: MutableMapping[Any, Any] = handler.transports
        self._handler = handler
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._queued = set[asyncio.Task[None]]()

    def tell(self, event: Any) -> None:
        """Have mitmproxy take this event: at once, unless others wait for its lock; then this one does, too, in its turn."""
        task = asyncio.Task(self._handler.server_event(event), loop=self._loop, eager_start=True)
        if not task.done():
            self._queued.add(task)
            task.add_done_callback(self._queued.discard)

    @property
    def busy(self) -> bool:
        """Whether it has yet to take what it was told."""
        return bool(self._queued)

    @property
    def waiting(self) -> int:
        """Bytes that the system has yet to take for the client."""
        return self._client.get_write_buffer_size()

    async def drain(self) -> None:
        """Return once it has taken most of them, or the client is gone: mitmproxy's own way to wait for it."""
        await self._handler.drain_writers()


class Inlet:
    """mitmproxy's end of one connection to the relay.

    server: as mitmproxy knows that connection. received: its DataReceived.
    """

    def __init__(self, handler: Handler, server: Any, received: Callable[[Any, bytes], Any]) -> None:
        self.handler = handler
        self._server = server
        self._received = received

    def feed(self, data: bytes) -> None:
        """Have mitmproxy take this as if it had read it; nothing if it has given the connection up."""
        if self._server in self.handler.transports:
            self.handler.tell(self._received(self._server, data))

    def shut(self) -> None:
        """mitmproxy is through with the connection. Cancelled once more while it waits for its lock, it leaves the socket open
        (12.3, `handle_connection`), and whoever holds its handler, as this does, keeps it so."""
        left = self.handler.transports.pop(self._server, None)
        if left is not None and left.writer is not None:
            left.writer.close()


type Inlets = MutableMapping[Address, Inlet]
"""By mitmproxy's own address of a connection to the relay, which is what the relay sees as the peer's."""


class Arrival(asyncio.Protocol):
    """A new connection to the relay: from here on `protocol`'s, whose writes take the inlet, if there is one."""

    def __init__(self, protocol: asyncio.Protocol, inlets: Inlets) -> None:
        self._protocol = protocol
        self._inlets = inlets

    def connection_made(self, transport: Any) -> None:
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(_Transport(transport, self._inlets))


class _Transport(asyncio.Transport):
    """The connection as its protocol writes to it. All but what it writes is the socket's own transport's."""

    def __init__(self, socket: asyncio.Transport, inlets: Inlets) -> None:
        super().__init__()
        self._socket = socket
        self._inlets = inlets
        self._inlet: Inlet | None = None
        self._sought = False
        self._draining: asyncio.Task[None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._sought:  # mitmproxy has told of its end by the time that it asks for anything
            self._sought, self._inlet = True, self._inlets.get(self._socket.get_extra_info("peername"))
        inlet = self._inlet
        if inlet is None:
            self._socket.write(data)
        elif not self._socket.is_closing():
            inlet.feed(bytes(data))
            if self._draining is None and inlet.handler.waiting > CROWDED:
                self._draining = asyncio.get_running_loop().create_task(self._drain(inlet))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    async def _drain(self, inlet: Inlet) -> None:
        protocol = self._socket.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - what Arrival has set
        protocol.pause_writing()
        try:
            await inlet.handler.drain()
        finally:
            self._draining = None
            protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size() if self._inlet is None else self._inlet.handler.waiting

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        self._socket.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)

    def is_reading(self) -> bool:
        return self._socket.is_reading()

    def pause_reading(self) -> None:
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._socket.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._socket.get_protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._socket.set_protocol(protocol)
