"""Hostile HTTP/2: header fields that would be another request in HTTP/1, floods of resets. The proxy refuses, and lives on."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running
from end_to_end.hostile import memory, request, say, warm_up

type Fields = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("http2")
    proxy = chats.gateway_proxy(folder, authority, provider, confdir, "", scripts=("limit_clients.py", *chats.SCRIPTS))
    with running(proxy):
        warm_up(proxy, provider)
        yield proxy


@pytest.fixture
def port(proxy: Proxy, provider: Provider) -> Iterator[int]:
    asked = len(provider.requests)
    port = int(chats.url_of(proxy).rpartition(":")[2])
    yield port
    assert say(port, request("GET /healthz")).status == 200
    assert len(provider.requests) == asked


@contextlib.contextmanager
def connected(proxy: Proxy, port: int) -> Iterator[tuple[ssl.SSLSocket, h2.connection.H2Connection]]:
    """A client that sends whatever it is told to."""
    context = proxy.client_context()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        unchecked = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        client = h2.connection.H2Connection(unchecked)
        client.initiate_connection()
        yield connection, client


def ask(proxy: Proxy, port: int, fields: Fields) -> int:
    """Send a request of these fields; its status, 0 where the stream or the connection was ended without one."""
    with connected(proxy, port) as (connection, client):
        client.send_headers(1, fields, end_stream=True)
        connection.sendall(client.data_to_send())
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := connection.recv(1 << 16):
                for event in client.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        return int(dict(event.headers or ())[b":status"])
                    if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                        return 0
    return 0


def get(
    path: bytes = b"/v1/streams", *more: tuple[bytes, bytes], authority: bytes = b"localhost", method: bytes = b"GET"
) -> Fields:
    return [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path), *more]


SMUGGLED = b"a\r\nx-midstream-ticket: b"
HOSTILE: dict[str, Fields] = {
    "a line end in a value": get(b"/v1/streams", (b"x", SMUGGLED)),
    "a line end in a name": get(b"/v1/streams", (SMUGGLED, b"x")),
    "a line end in the path": get(b"/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /v1/streams"),
    "a line end in the method": get(method=b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
    "a line end in the authority": get(authority=b"localhost\r\nx: y"),
    "a space in the path": get(b"/a b"),
    "a NUL in a value": get(b"/v1/streams", (b"x", b"a\0b")),
    "no path": [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost")],
    "an unknown pseudo-header": get(b"/v1/streams", (b":x", b"y")),
    "a transfer coding": get(b"/v1/streams", (b"transfer-encoding", b"chunked")),
    "a connection header": get(b"/v1/streams", (b"connection", b"x-midstream-ticket")),
    "a length without a body": get(b"/v1/chat/stream", (b"content-length", b"10"), method=b"POST"),
    "another host": get(authority=b"evil.test"),
    "two hosts": get(b"/v1/streams", (b"host", b"evil.test"), authority=b"localhost"),
    "200 headers": get(b"/v1/streams", *((b"x%d" % n, b"y") for n in range(200))),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_field_that_is_no_field_opens_nothing(proxy: Proxy, port: int, what: str) -> None:
    status = ask(proxy, port, HOSTILE[what])
    assert status == 0 or 400 <= status < 500


def test_requests_that_are_reset_at_once_leave_nothing(proxy: Proxy, port: int) -> None:
    before = memory(proxy)
    with connected(proxy, port) as (connection, client), contextlib.suppress(ConnectionError, ssl.SSLError):
        for n in range(1000):
            client.send_headers(2 * n + 1, get(), end_stream=True)
            client.reset_stream(2 * n + 1)
            connection.sendall(client.data_to_send())
    assert memory(proxy) - before < 60 << 20
