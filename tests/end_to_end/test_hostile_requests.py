"""Hostile requests to the gateway: each gets a clear error, and the next client its answer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import WHOLE, answering
from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.hostile import CHAT, memory, request, say, warm_up

BODY_LIMIT = 2_000_000
CONFIG = f"[gateway]\nbody_limit = {BODY_LIMIT}\n"
HANDSHAKE = ("upgrade: websocket", "sec-websocket-version: 13")
KEY = "sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg=="


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    proxy = chats.gateway_proxy(tmp_path_factory.mktemp("hostile"), authority, provider, confdir, CONFIG)
    with running(proxy):
        warm_up(proxy, provider)
        yield proxy


@pytest.fixture
def port(proxy: Proxy, provider: Provider) -> Iterator[int]:
    """The gateway's; at the test's end it still answers."""
    asked = len(provider.requests)
    port = int(chats.url_of(proxy).rpartition(":")[2])
    yield port
    assert say(port, request("GET /healthz")).status == 200
    assert len(provider.requests) == asked, "a request that was refused reached a provider"


HEADS = {
    "a NUL in the path": (request(b"GET /\0"), 400),
    "a control character in the path": (request(b"GET /v1/streams/a\x1b[2J"), 400),
    "raw bytes in the path": (request(b"GET /\xff\xfe"), 400),
    "an asterisk": (request("GET *"), 400),
    "a method with an escape": (request(b"G\x1bT /"), 400),
    "a path of 100 KB": (request("GET /" + "a" * 100_000), 414),
    "a header of 200 KB": (request("GET /v1/streams", "x: " + "y" * 200_000), 431),
    "2000 headers": (request("GET /v1/streams", *(f"x{n}: y" for n in range(2000))), 431),
    "a NUL in a header": (request("GET /v1/streams", "x: a\0b"), 400),
    "a bare CR in a header": (request("GET /v1/streams", "x: a\rb"), 400),
    "a folded header": (request("GET /v1/streams", "x: a\r\n b"), 400),
    "dots in the path": (request("GET /v1/streams/../../etc/passwd"), 404),
    "encoded dots in the path": (request("GET /v1/streams/%2e%2e%2f%2e%2e/passwd"), 404),
    "an encoded line end in the path": (request("GET /v1/streams/a%0d%0ax:%20y"), 404),
    "two slashes": (request("GET //v1/chat/stream"), 404),
    "a foreign host in absolute form": (request("GET http://169.254.169.254/latest"), 404),
    "a Content-Length beyond every number": (
        request("POST /v1/chat/stream", "content-length: " + "9" * 30, body=b""),
        413,
    ),
    "a WebSocket of another version": (
        request("GET /v1/chat/stream", "upgrade: websocket", "sec-websocket-version: 8", KEY),
        426,
    ),
    "a WebSocket without a key": (request("GET /v1/chat/stream", *HANDSHAKE), 400),
}


@pytest.mark.parametrize("what", HEADS)
def test_a_hostile_head_gets_a_clear_error(port: int, what: str) -> None:
    raw, status = HEADS[what]
    reply = say(port, raw)
    assert reply.status == status
    assert reply.error["message"]
    assert reply.headers["cache-control"] == "no-store"


SMUGGLED = b"0\r\n\r\nGET /v1/streams HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
FRAMINGS = {
    "both framings": ("content-length: 4", "transfer-encoding: chunked"),
    "an unknown transfer coding": ("transfer-encoding: xchunked",),
    "two transfer codings": ("transfer-encoding: chunked", "transfer-encoding: identity"),
    "two lengths": ("content-length: 4", "content-length: 5"),
    "a negative length": ("content-length: -4",),
    "a length with a sign": ("content-length: +4",),
    "a length in other digits": ("content-length: \xd9\xa2",),
    "a space before the colon": ("content-length : 4",),
}


@pytest.mark.parametrize("what", FRAMINGS)
def test_a_request_of_doubtful_framing_is_refused_whole(port: int, what: str) -> None:
    """mitmproxy's own refusals: what stands behind them is never read as another request."""
    reply = say(port, request("POST /v1/chat/stream", *FRAMINGS[what]) + SMUGGLED)
    assert reply.status == 400
    assert b"HTTP/1.1" not in reply.body
    assert b'"object"' not in reply.body


def test_what_a_client_says_of_tickets_and_streams_counts_for_nothing(port: int) -> None:
    lines = ("x-midstream-ticket: a", "x-stream-id: b", "x-midstream-dropped: c", "x-forwarded-host: d")
    reply = say(port, request("GET /v1/streams", *lines))
    assert (reply.status, json.loads(reply.body)) == (200, {"object": "list", "data": []})
    assert not {"x-stream-id", "x-midstream-ticket", "x-midstream-dropped"} & reply.headers.keys()


def test_the_relays_own_port_serves_nobody_else(proxy: Proxy, port: int) -> None:
    """Its number is in no secret: any program of this machine may find it."""
    say(port, request("GET /v1/streams"))
    inner = next(int(line.rpartition(":")[2]) for line in proxy.log if "server connect 127.0.0.1:" in line)
    for lines in ((), ("x-midstream-ticket: ",), ("x-midstream-ticket: " + "a" * 43,)):
        for line in ("GET /v1/streams", "POST /v1/chat/stream", "GET /healthz", "GET http://midstream.internal/"):
            assert say(inner, request(line, *lines)).status == 403
    for raw in (
        b"\0" * 100 + b"\r\n\r\n",
        request(b"GET /\0"),
        request("GET /", "host: b"),
        request("GET /", "x: " + "y" * 200_000),
    ):
        assert say(inner, raw).status in (400, 0)


# --- bodies

NESTED = b'{"model":"gpt-4o","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "NUL bytes": b"\0" * 1000,
    "a list": b"[]",
    "nested too deeply": NESTED,
    "a lone surrogate for a model": b'{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}',
    "a number of 5000 digits": b'{"model":"gpt-4o","max_tokens":'
    + b"9" * 5000
    + b',"messages":[{"role":"user","content":"x"}]}',
    "values without end": b"[" + b"[]," * 600_000 + b"[]]",
    "an infinite temperature": b'{"model":"gpt-4o","temperature":1e999,"messages":[{"role":"user","content":"x"}]}',
    "no number": b'{"model":"gpt-4o","temperature":NaN,"messages":[{"role":"user","content":"x"}]}',
}


PASSES_AS_IT_IS = ("an infinite temperature", "no number")
"""On a provider's own path: the provider says what it thinks of it."""


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("path", ["/v1/chat/stream", "/v1/chat/completions", "/v1/messages"])
def test_a_hostile_body_gets_a_clear_error(port: int, path: str, what: str) -> None:
    if path == "/v1/chat/completions" and what in PASSES_AS_IT_IS:
        pytest.skip("a native request passes as it is")
    reply = say(port, request(f"POST {path}", body=BODIES[what]))
    assert 400 <= reply.status < 500
    assert reply.error["message"]


def test_a_body_over_the_limit_is_refused_before_it_is_held(proxy: Proxy, port: int) -> None:
    before = memory(proxy, "VmHWM")
    declared = say(port, request("POST /v1/chat/stream", f"content-length: {1 << 40}"), b"x" * 100_000)
    assert declared.status == 413
    piece = b"%x\r\n%b\r\n" % (1 << 16, b"x" * (1 << 16))
    endless = say(port, request("POST /v1/chat/stream", "transfer-encoding: chunked"), *[piece] * 2000)
    assert endless.status in (413, 0)  # closed upon somebody who goes on sending: the answer may be lost to a reset
    assert memory(proxy, "VmHWM") - before < 40 << 20


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 6),
    "deflate": lambda data: zlib.compress(data, 6),
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_compression_bomb_in_a_request_is_refused(proxy: Proxy, port: int, encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(100 << 20))
    assert len(bomb) < BODY_LIMIT
    before = memory(proxy, "VmHWM")
    for path in ("/v1/chat/stream", "/v1/chat/completions"):
        reply = say(port, request(f"POST {path}", f"content-encoding: {encoding}", body=bomb))
        assert reply.status == 413
    assert memory(proxy, "VmHWM") - before < 40 << 20


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("gzip", 400), ("br", 400), ("zstd", 400), ("x-unheard-of", 415), ("gzip, gzip, gzip", 415)],
)
def test_a_body_that_cannot_be_decoded_is_refused(port: int, encoding: str, status: int) -> None:
    body = json.dumps(CHAT).encode()
    assert say(port, request("POST /v1/chat/stream", f"content-encoding: {encoding}", body=body)).status == status
    cut = gzip.compress(body)[:-4]
    assert say(port, request("POST /v1/chat/stream", "content-encoding: gzip", body=cut)).status == 400


@pytest.mark.parametrize("encoding", ENCODERS)
def test_an_honest_encoded_body_is_read(proxy: Proxy, provider: Provider, encoding: str) -> None:
    provider.handler = answering(*WHOLE)
    port = int(chats.url_of(proxy).rpartition(":")[2])
    body = ENCODERS[encoding](json.dumps(CHAT).encode())
    reply = say(port, request("POST /v1/chat/stream", f"content-encoding: {encoding}", body=body))
    assert reply.status == 200
    assert b"[DONE]" in reply.body
