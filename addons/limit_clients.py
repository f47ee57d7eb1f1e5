"""Bound what one connection can cost: heads and messages that never end, and clients that never finish what they began.

    mitmdump -s addons/limit_clients.py

mitmproxy itself has no such limits. And what it cannot handle (trailers in HTTP/1, say) ends the connection, with one line in the
log; by itself mitmproxy prints a traceback, and leaves the connection open with nobody to serve it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from mitmproxy import connection, ctx
from mitmproxy.proxy import commands, events

from midstream import arrivals, clients, held
from midstream.records import clean

log = logging.getLogger(__name__)

LOOK = 64 * 1024
"""Bytes of a connection between two looks at what they have become."""

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
"""To a client without TLS that has begun a request's head; nobody else could be told."""


class LimitClients:
    """The addon: stands in front of the first layer of each client's connection."""

    def __init__(self) -> None:
        self._guards: dict[str, _Guard] = {}
        self._poller: asyncio.Task[None] | None = None
        self._arrivals = arrivals.Arrivals()

    def running(self) -> None:
        self._poller = asyncio.create_task(self._poll())

    async def client_connected(self, client: connection.Client) -> None:
        await self._arrivals.turn()
        handler = held.handler(ctx, client)
        if handler is not None and client.transport_protocol == "tcp":
            self._guards[client.id] = handler.layer = _Guard(handler, client)

    def client_disconnected(self, client: connection.Client) -> None:
        self._guards.pop(client.id, None)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(clients.POLL)
            now = time.monotonic()
            for guard in list(self._guards.values()):
                guard.look_at_the_clock(now)

    def done(self) -> None:
        if self._poller is not None:
            self._poller.cancel()


class _Guard:
    """A connection's first layer, with limits. Whatever else is asked of it, that layer answers."""

    def __init__(self, handler: Any, client: connection.Client) -> None:
        self._layer = handler.layer
        self._handler = handler
        self._client = client
        self._unseen = 0
        self._closing = False
        self.patience = clients.Patience(since=time.monotonic())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def handle_event(self, event: events.Event) -> Iterator[commands.Command]:
        """Pass the event on; close the connection that has sent too much, or what nobody can handle."""
        try:
            yield from self._layer.handle_event(event)
        except Exception as error:  # whatever it is, it is about what a stranger has sent
            reason = f"mitmproxy cannot handle what was sent ({type(error).__name__}: {clean(str(error), 200)!r})"
            log.debug("%s", reason, exc_info=True)
            yield from self._close(self._client, reason)
        if isinstance(event, events.DataReceived):
            size = len(event.data)
            if event.connection is self._client:
                self.patience.received += size
            self._unseen += size
            if self._unseen > LOOK:
                self._unseen = 0
                reason = clients.unfinished(self._layer, event.connection)
                if reason:
                    yield from self._close(event.connection, reason)

    def _close(self, which: connection.Connection, reason: str) -> Iterator[commands.Command]:
        if self._closing:
            return
        self._closing = which is self._client
        self._log(reason, "server" if which is not self._client else "client")
        if self._closing and "head" in reason and not self._client.tls:
            yield commands.SendData(self._client, TOO_LARGE)
        yield commands.CloseConnection(which)

    def look_at_the_clock(self, now: float) -> None:
        """Close a connection whose client takes too long."""
        what = clients.stage(self._layer, self._client)
        reason = self.patience.overdue(what, now)
        if not reason or self._closing:
            return
        self._closing = True
        self._log(reason, "client")
        transport = self._handler.transports.get(self._client)
        if transport is None or transport.handler is None:
            return
        if what is not None and what[0] != "idle" and not self._client.tls and transport.writer is not None:
            with contextlib.suppress(OSError):
                transport.writer.write(TOO_SLOW)
        transport.handler.cancel("too slow")

    def _log(self, reason: str, whose: str) -> None:
        log.warning("closed the %s's connection: %s", whose, reason, extra={"client": self._client.peername})


addons = [LimitClients()]
