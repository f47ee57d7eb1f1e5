"""What the relay writes reaches mitmproxy's handler in order, and waits for slow clients (tests/end_to_end: a real mitmproxy)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace as Shape
from typing import Any

import pytest

from midstream.relay import inlet
from midstream.relay.inlet import CROWDED, Arrival, Inlet, Inlets


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


class Handler:
    """mitmproxy's, of one client: it takes events one by one, under a lock. size: bytes that wait for the client."""

    def __init__(self) -> None:
        self.client, self.server = object(), object()
        self.size = 0
        self.taken = list[bytes]()
        self.lock = asyncio.Lock()
        self.emptied = asyncio.Event()
        transport = Shape(get_write_buffer_size=lambda: self.size)
        self.transports = {self.client: Shape(writer=Shape(transport=transport)), self.server: Shape()}

    async def server_event(self, event: tuple[object, bytes]) -> None:
        async with self.lock:
            assert event[0] is self.server
            self.taken.append(event[1])

    async def drain_writers(self) -> None:
        await self.emptied.wait()

    def inlet(self) -> Inlet:
        known = inlet.Handler.of(self)
        assert known is not None
        return Inlet(known, self.server, received)


def received(server: object, data: bytes) -> tuple[object, bytes]:
    """mitmproxy's event."""
    return server, data


def test_what_is_fed_is_taken_at_once() -> None:
    async def work() -> None:
        handler = Handler()
        handler.inlet().feed(b"abc")
        assert handler.taken == [b"abc"]

    run(work())


def test_there_is_none_where_nobody_knows_how_far_behind_the_client_is() -> None:
    async def work() -> None:
        handler = Handler()
        assert inlet.Handler.of(None) is None
        handler.transports[handler.client] = Shape(
            writer=Shape()
        )  # mitmproxy's local mode has a stream of its own kind
        assert inlet.Handler.of(handler) is None
        del handler.transports[handler.client]  # it has just left
        assert inlet.Handler.of(handler) is None

    run(work())


def test_the_order_is_kept_behind_an_event_that_waits() -> None:
    async def work() -> None:
        handler = Handler()
        end = handler.inlet()
        async with handler.lock:  # as while mitmproxy is at something else
            hook = asyncio.create_task(handler.server_event((handler.server, b"hook")))
            await asyncio.sleep(0)
            end.feed(b"1")
        end.feed(b"2")  # the lock is free, but others wait for it
        await hook
        for _ in range(3):  # turns of the event loop
            await asyncio.sleep(0)
        assert handler.taken == [b"hook", b"1", b"2"]

    run(work())


def test_nothing_is_taken_for_a_connection_that_was_given_up() -> None:
    async def work() -> None:
        handler = Handler()
        end = handler.inlet()
        del handler.transports[handler.server]
        end.feed(b"abc")
        assert handler.taken == []

    run(work())


def test_a_connection_that_mitmproxy_forgot_to_close_is_closed() -> None:
    async def work() -> None:
        handler, closed = Handler(), list[bool]()
        handler.transports[handler.server] = Shape(writer=Shape(close=lambda: closed.append(True)))
        end = handler.inlet()
        end.shut()
        end.shut()  # by now it is known to be closed
        end.feed(b"late")
        assert (closed, handler.taken) == ([True], [])

    run(work())


class Writer(asyncio.Protocol):
    """The relay's side: aiohttp's server, as far as it matters here."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.paused = list[bool]()
        self.lost = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


async def arrived(theirs: socket.socket, inlets: Inlets) -> Writer:
    writer = Writer()
    theirs.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: Arrival(writer, inlets), theirs)
    return writer


def test_a_client_that_falls_behind_pauses_the_relay_until_it_has_caught_up() -> None:
    async def work() -> None:
        handler = Handler()
        with connected() as (ours, theirs):
            writer = await arrived(theirs, {ours.getsockname(): handler.inlet()})
            writer.transport.writelines([b"ab", b"c"])
            assert (handler.taken, writer.transport.get_write_buffer_size()) == ([b"abc"], 0)
            handler.size = CROWDED + 1
            writer.transport.write(b"more")
            writer.transport.write(b"more")
            await asyncio.sleep(0)
            assert (writer.paused, writer.transport.get_write_buffer_size()) == ([True], CROWDED + 1)
            handler.size = 0
            handler.emptied.set()
            for _ in range(3):
                await asyncio.sleep(0)
            assert writer.paused == [True, False]
            writer.transport.close()
            await writer.lost.wait()

    run(work())


@pytest.mark.parametrize("known", [True, False])
def test_a_closed_connection_takes_nothing_more(known: bool) -> None:
    async def work() -> None:
        handler = Handler()
        with connected() as (ours, theirs):
            writer = await arrived(theirs, {ours.getsockname(): handler.inlet()} if known else {})
            writer.transport.abort()
            assert writer.transport.is_closing()
            writer.transport.write(b"late")
            await writer.lost.wait()
            assert handler.taken == []

    run(work())


def test_who_is_not_mitmproxy_is_answered_over_the_socket() -> None:
    async def work() -> None:
        handler = Handler()
        with connected() as (ours, theirs):
            writer = await arrived(theirs, {("127.0.0.1", 1): handler.inlet()})
            writer.transport.write(b"403")
            writer.transport.close()
            await writer.lost.wait()
            assert (ours.recv(99), handler.taken) == (b"403", [])

    run(work())
