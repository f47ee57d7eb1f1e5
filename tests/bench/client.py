"""The clients that ask through whatever is compared: as cheap as can be, so that they are not what is measured."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from pathlib import Path
from typing import NamedTuple

from contender import Contender, Provider

READ = 1 << 18
"""Bytes read at once by a client that reads as fast as it can."""

STAMP = re.compile(rb" token (\d{19})")
STAMP_LENGTH = 25
"""Bytes of a chunk that may yet become a stamp: one less than it has, so that none is seen twice."""

type Reader = asyncio.StreamReader
type Writer = asyncio.StreamWriter


def body(query: str = "", *, stream: bool = True) -> bytes:
    """A chat. The query stands in the message, where every proxy leaves it as it is."""
    content = f"Hi ?{query}" if query else "Hi"
    return json.dumps(
        {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": content}]}
    ).encode()


def request(query: str, port: int, origin: str = "", fields: tuple[str, ...] = (), *, stream: bool = True) -> bytes:
    """HTTP/1.1 to the host at this port; in absolute form for a proxy: `origin` is then `http://127.0.0.1:PORT`."""
    said = body(query, stream=stream)
    head = (f"host: 127.0.0.1:{port}", "content-type: application/json", f"content-length: {len(said)}", *fields)
    return f"POST {origin}/v1/chat/completions HTTP/1.1\r\n{'\r\n'.join(head)}\r\n\r\n".encode() + said


def request_of(contender: Contender, provider: Provider, query: str, *, stream: bool = True) -> bytes:
    """The request as this contender wants it: proxies are asked for the provider, gateways for themselves."""
    if contender.peer is not None:
        return request(query, contender.port, "", contender.peer.fields(provider.port), stream=stream)
    return request(query, provider.port, f"http://127.0.0.1:{provider.port}", stream=stream)


async def connect(contender: Contender, provider: Provider) -> tuple[Reader, Writer]:
    return await asyncio.open_connection("127.0.0.1", contender.port or provider.port, limit=1 << 20)


async def connect_tls(contender: Contender, port: int, authority: Path) -> tuple[Reader, Writer]:
    """A new TLS connection to the provider at this port, through the proxy if there is one."""
    context = ssl.create_default_context(cafile=contender.certificate if contender.port else authority)
    if not contender.port:
        return await asyncio.open_connection("127.0.0.1", port, ssl=context)
    reader, writer = await tunnel(contender, port)
    await writer.start_tls(context, server_hostname="127.0.0.1")
    return reader, writer


async def tunnel(contender: Contender, port: int) -> tuple[Reader, Writer]:
    """CONNECT to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", contender.port)
    writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"{contender.name} refused CONNECT: {head!r}")
    return reader, writer


class Heard(NamedTuple):
    """first_ms: to the first content. count: chunks received. delays_ms: of each chunk with a stamp, since it was sent."""

    first_ms: float
    count: int
    delays_ms: list[float]


async def ask(reader: Reader, writer: Writer, asked: bytes) -> Heard:
    """One request on a connection, read to the end of a chunked answer."""
    started, first, count, delays = time.perf_counter(), 0.0, 0, list[float]()
    writer.write(asked)
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        data = await reader.read(READ)
        now = time.monotonic_ns()
        if not data:
            raise SystemExit("the connection was closed within an answer")
        seen = tail + data
        if not first and b"content" in seen.partition(b"\r\n\r\n")[2]:
            first = (time.perf_counter() - started) * 1000
        count += data.count(b" token")
        delays += [(now - int(sent)) / 1e6 for sent in STAMP.findall(seen)]
        tail = seen[-STAMP_LENGTH:] if first else seen
    return Heard(first, count, delays)


async def stream(contender: Contender, provider: Provider, query: str) -> Heard:
    """One request on a connection of its own."""
    reader, writer = await connect(contender, provider)
    try:
        return await ask(reader, writer, request_of(contender, provider, query))
    finally:
        writer.close()


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))] if ordered else 0.0
