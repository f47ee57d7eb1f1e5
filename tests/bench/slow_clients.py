"""Clients that take what they are given slowly, each over its protocol."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h2.config
import h2.connection
import h2.events
from client import Reader, Writer, body, request
from contender import Contender, Provider

RECEIVE_BUFFER = 16 * 1024
"""Bytes of each client's socket; Linux doubles it."""


class Client(Protocol):
    async def take(self, size: int) -> int:
        """Read at most so many bytes more; return how many."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """gateway: the port of the gateway's own listener. query: what to ask the provider for."""

    contender: Contender
    provider: Provider
    gateway: int
    query: str


async def _connect(port: int) -> tuple[Reader, Writer]:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=2048)


@dataclass(slots=True)
class _Plain:
    """What arrives is read as it is; TCP holds the sender back."""

    reader: Reader
    writer: Writer

    async def take(self, size: int) -> int:
        return len(await self.reader.read(size))

    def close(self) -> None:
        self.writer.transport.abort()


async def http1(target: Target) -> Client:
    reader, writer = await _connect(target.contender.port)
    port = target.provider.port
    writer.write(request(target.query, port, f"http://127.0.0.1:{port}"))
    return _Plain(reader, writer)


async def sse(target: Target) -> Client:
    """On the gateway."""
    reader, writer = await _connect(target.gateway)
    chat = body(target.query)
    fields = f"accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {len(chat)}"
    writer.write(
        f"POST /v1/chat/stream HTTP/1.1\r\nhost: 127.0.0.1:{target.gateway}\r\n{fields}\r\n\r\n".encode() + chat
    )
    return _Plain(reader, writer)


async def websocket(target: Target) -> Client:
    """On the gateway: a chat in one masked message (RFC 6455 section 5.2; a mask of zeros is one)."""
    reader, writer = await _connect(target.gateway)
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}"
    writer.write(f"GET /v1/chat/stream HTTP/1.1\r\nhost: 127.0.0.1:{target.gateway}\r\n{upgrade}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"the gateway refused a WebSocket: {head!r}")
    message = body(target.query)
    assert len(message) < 126  # longer ones are framed otherwise
    writer.write(b"\x81%c\0\0\0\0%b" % (0x80 | len(message), message))
    return _Plain(reader, writer)


class _Http2:
    """Everything is read at once; what is not yet taken is not acknowledged, so that flow control holds the sender back."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._unread = 0
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._receive())

    def ask(self, port: int, query: str) -> None:
        self._h2.initiate_connection()
        path = f"/v1/chat/completions?{query}"
        head = {":method": "POST", ":scheme": "https", ":authority": f"127.0.0.1:{port}", ":path": path}
        self._h2.send_headers(1, [*head.items(), ("content-type", "application/json")])
        self._h2.send_data(1, body(), end_stream=True)
        self._writer.write(self._h2.data_to_send())

    async def _receive(self) -> None:
        while data := await self._reader.read(65_536):
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self._unread += event.flow_controlled_length
                    self._more.set()
            self._writer.write(self._h2.data_to_send())

    async def take(self, size: int) -> int:
        await self._more.wait()
        size = min(size, self._unread)
        self._unread -= size
        if not self._unread:
            self._more.clear()
        self._h2.acknowledge_received_data(size, 1)
        self._writer.write(self._h2.data_to_send())
        return size

    def close(self) -> None:
        self._task.cancel()
        self._writer.transport.abort()


@functools.cache
def _trusting(certificate: Path) -> ssl.SSLContext:
    """One for all: to make it takes longer than a handshake, in the process whose clock the fast clients go by."""
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    return context


async def http2(target: Target) -> Client:
    port = target.provider.tls_port
    reader, writer = await _connect(target.contender.port)
    writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(_trusting(target.contender.certificate), server_hostname="127.0.0.1")
    client = _Http2(reader, writer)
    client.ask(port, target.query)
    return client


PROTOCOLS = {"HTTP/1.1": http1, "HTTP/2": http2, "gateway SSE": sse, "gateway WebSocket": websocket}
