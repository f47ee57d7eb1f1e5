"""Clients that never finish what they began, and connections that send without end: closed, and the proxy serves the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import TEXT, WHOLE, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Gate, Provider, Proxy, running
from end_to_end.hostile import CHAT, memory, parse, request, say, warm_up

IMPATIENT = """
from midstream import clients

clients.HEAD_WAIT = clients.BODY_WAIT = clients.IDLE_WAIT = 1.0
clients.BODY_RATE = 1000
clients.POLL = 0.2
clients.MESSAGE_LIMIT = 4_000_000
"""
"""An addon script: the waits that users cannot configure, short enough to be waited for."""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("clients")
    script = folder / "impatient_clients.py"
    script.write_text(IMPATIENT)
    scripts = ("limit_clients.py", *chats.SCRIPTS)
    proxy = chats.gateway_proxy(folder, authority, provider, confdir, "", "-s", str(script), scripts=scripts)
    with running(proxy):
        warm_up(proxy, provider)
        yield proxy


@pytest.fixture
def port(proxy: Proxy) -> Iterator[int]:
    port = int(chats.url_of(proxy).rpartition(":")[2])
    yield port
    assert say(port, request("GET /healthz")).status == 200


def trickle(client: socket.socket, data: bytes) -> bytes:
    """Send a byte every 0.1 s, until the other side closes; what it said."""
    client.settimeout(0.1)
    until = time.monotonic() + DEADLINE
    sent, got = 0, b""
    while time.monotonic() < until:
        try:
            client.sendall(data[sent : sent + 1] or data[-1:])
            sent += 1
            piece = client.recv(1 << 16)
        except TimeoutError:
            continue
        except OSError:
            return got
        if not piece:
            return got
        got += piece
    raise AssertionError("the proxy waits for ever")


SLOW = {
    "nothing": b"",
    "a head": b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 1000,
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(1000),
    "a body": request("POST /v1/chat/stream", "content-length: 5000") + b" " * 1000,
    "a body of unknown length": request("POST /v1/chat/stream", "transfer-encoding: chunked") + b"1\r\n \r\n" * 1000,
    "the body of an intercepted request": request(
        "POST http://api.openai.com/v1/chat/completions", "content-length: 900"
    )
    + b" " * 1000,
}


@pytest.mark.parametrize("what", SLOW)
def test_a_client_that_trickles_is_closed(port: int, what: str) -> None:
    head, _, rest = SLOW[what].rpartition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        if head and what != "a body of unknown length":
            client.sendall(head + b"\r\n\r\n")
        elif head:
            rest = SLOW[what]
        got = trickle(client, rest) if SLOW[what] else client.recv(1 << 16)
    assert got == b"" or parse(got).status == 408


def test_an_idle_connection_is_closed_and_one_with_an_answer_is_not(
    proxy: Proxy, provider: Provider, port: int
) -> None:
    go_on = Gate()

    async def slowly(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(asked)
        await response.write(b"".join(WHOLE[:2]))
        await go_on.wait()
        await response.write(b"".join(WHOLE[2:]))
        return response

    provider.handler = slowly
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        got = b""
        while not got.endswith(b"}"):
            got += idle.recv(1 << 16)
        assert parse(got).status == 200

        async def ask(session: aiohttp.ClientSession) -> None:
            async with session.post(f"{chats.url_of(proxy)}/v1/chat/stream", json=CHAT) as answer:
                # some time later, with nothing asked meanwhile
                assert await asyncio.to_thread(idle.recv, 1 << 16) == b""
                go_on.open()
                assert b"[DONE]" in await answer.read()

        run(ask)


def test_all_of_many_who_arrive_at_once_are_served(port: int) -> None:
    """They come in one by one; those who leave meanwhile keep nobody waiting."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) for _ in range(60)]
    for number, client in enumerate(clients):
        client.sendall(request("GET /healthz"))
        if number % 3 == 0:
            client.close()
    assert all(client.recv(12) == b"HTTP/1.1 200" for number, client in enumerate(clients) if number % 3)
    for client in clients:
        client.close()


def test_a_head_without_end_is_refused(proxy: Proxy, port: int) -> None:
    before = memory(proxy)
    for start in (b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n"):
        piece = b"x: y\r\n" * 10_000 if start.endswith(b"\n") else b"y" * 60_000
        assert say(port, start, *[piece] * 500).status in (431, 0)  # closed upon somebody who goes on sending
    assert memory(proxy) - before < 30 << 20


def test_requests_piled_up_behind_one_that_runs_are_not_kept(proxy: Proxy, provider: Provider, port: int) -> None:
    steps = Steps()
    provider.handler = steps.handler
    first = request("POST /v1/chat/completions", body=json.dumps(CHAT | {"stream": True}).encode())
    before = memory(proxy)
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(first.replace(b"connection: close", b"connection: keep-alive"))
        asyncio.run(steps.asked.wait())
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 3000)
    asyncio.run(steps.cancelled.wait())
    assert steps.cancelled.is_open  # what ran for this client has gone with it
    steps.go_on()
    assert memory(proxy) - before < 30 << 20


@pytest.mark.parametrize("where", ["gateway", "proxy"])
def test_trailers_end_in_no_traceback(proxy: Proxy, port: int, where: str) -> None:
    """mitmproxy raises NotImplementedError on them, and would leave the connection hanging."""
    line = "POST /v1/chat/stream" if where == "gateway" else "POST http://api.openai.com/v1/chat/completions"
    body = b"2\r\n{}\r\n0\r\nx: y\r\n\r\n"
    reply = say(port if where == "gateway" else proxy.port, request(line, "transfer-encoding: chunked") + body)
    assert reply.status in (0, 400)
    until = time.monotonic() + DEADLINE
    while not any("cannot handle what was sent" in entry for entry in proxy.log):
        assert time.monotonic() < until
        time.sleep(0.02)  # another thread reads the log
    proxy.log.clear()


# --- WebSocket


def frame(data: bytes, opcode: int, *, fin: bool) -> bytes:
    """A client's frame, masked with nought (RFC 6455, 5.2)."""
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(data)
    length = (
        bytes([0x80 | size])
        if size < 126
        else b"\xfe" + size.to_bytes(2)
        if size < 1 << 16
        else b"\xff" + size.to_bytes(8)
    )
    return head + length + bytes(4) + data


OPENING = request(
    "GET /v1/chat/stream",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==",
).replace(b"connection: close", b"connection: upgrade")


@pytest.mark.parametrize("what", ["large fragments", "small fragments", "one frame"])
def test_a_message_without_end_closes_its_socket(proxy: Proxy, port: int, what: str) -> None:
    before = memory(proxy)
    if what == "one frame":
        pieces = [frame(b"", 1, fin=True)[:1] + b"\xff" + (1 << 40).to_bytes(8) + bytes(4), *[b"x" * 60_000] * 500]
    elif what == "large fragments":
        pieces = [frame(b"x" * 60_000, 1, fin=False), *[frame(b"x" * 60_000, 0, fin=False)] * 500]
    else:
        pieces = [frame(b"x", 1, fin=False), *[frame(b"x", 0, fin=False) * 5000] * 100]
    reply = say(port, OPENING, *pieces)
    assert reply.status in (101, 0)
    assert memory(proxy) - before < 40 << 20


def test_a_flood_of_pings_hurts_nobody(proxy: Proxy, provider: Provider, port: int) -> None:
    provider.handler = answering(*WHOLE)
    before = memory(proxy)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{chats.url_of(proxy)}/v1/chat/stream") as socket_:
            for _ in range(3000):
                await socket_.ping(b"p" * 100)
            await socket_.send_json(CHAT)
            assert chats.read(await chats.chat_on(socket_)).text == TEXT

    run(ask)
    assert memory(proxy) - before < 40 << 20


# --- the provider's side of what the relay does not own


def test_a_head_without_end_from_another_server_is_cut(authority: Authority, provider: Provider, proxy: Proxy) -> None:
    async def endless(asked: web.Request) -> web.StreamResponse:
        assert asked.transport is not None
        asked.transport.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(500):
            asked.transport.write(b"x: y\r\n" * 10_000)
            await asyncio.sleep(0)
        asked.transport.close()
        return web.Response()

    provider.handler = endless
    before = memory(proxy)

    async def ask(session: aiohttp.ClientSession) -> None:
        more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()}
        async with session.get("https://mcp.test/", **more) as response:
            assert response.status == 502

    run(ask)
    assert memory(proxy) - before < 40 << 20
