"""Hostile answers, natively and through the gateway: the client gets a clear error, the row is readable, the proxy lives on."""

from __future__ import annotations

import gzip
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import brotli
import pytest
import zstandard
from aiohttp import web

from bedrock_sdk import EVENTSTREAM, message
from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import chunk, sse
from end_to_end.harness import Authority, Handler, Provider, Proxy, clean_environment, running
from end_to_end.hostile import CHAT, memory, request, say, warm_up

WAYS = ("native", "gateway")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\0\ud800<img src=x onerror=alert(1)>=1+1"


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("providers")
    proxy = chats.gateway_proxy(folder, authority, provider, confdir, "", scripts=("all.py",))
    with running(proxy):
        warm_up(proxy, provider)
        yield proxy


@pytest.fixture(autouse=True)
def lives(proxy: Proxy) -> Iterator[None]:
    """At each test's end the gateway still answers."""
    yield
    assert say(int(chats.url_of(proxy).rpartition(":")[2]), request("GET /healthz")).status == 200


def ask(proxy: Proxy, way: str, body: Any = CHAT, app: str = "hostile") -> tuple[int, bytes, int]:
    """Ask for a stream; the status, the beginning of what came, and how much it was."""
    got: tuple[int, bytes, int] = (0, b"", 0)
    more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()} if way == "native" else {}
    url = "https://api.openai.com/v1/chat/completions" if way == "native" else f"{chats.url_of(proxy)}/v1/chat/stream"

    async def send(session: aiohttp.ClientSession) -> None:
        nonlocal got
        post = session.post(
            url, json=body | {"stream": True}, allow_redirects=False, headers={"user-agent": app}, **more
        )
        async with post as response:
            head, size = b"", 0
            async for piece in response.content.iter_any():
                head, size = (head + piece)[:100_000], size + len(piece)
            got = response.status, head, size

    async def plain() -> None:
        async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60)) as session:
            await send(session)

    import asyncio

    asyncio.run(plain())
    return got


def raw(answer: bytes) -> Handler:
    """Answer with these bytes, whatever HTTP says of them, and close."""

    async def handler(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        assert asked.transport is not None
        asked.transport.write(answer)
        asked.transport.close()
        return web.Response()

    return handler


NO_HTTP = {
    "garbage": b"\xff\x00\x1b[2J" * 500,
    "a header of 200 KB": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    "20000 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    "a bare CR in a header": b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\n\r\n",
    "a chunk beyond every number": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    "two framings": b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    + b"x" * 1000,
    "nothing but 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", NO_HTTP)
def test_an_answer_that_is_no_http_is_a_clear_error(proxy: Proxy, provider: Provider, what: str, way: str) -> None:
    provider.handler = raw(NO_HTTP[what])
    status, body, size = ask(proxy, way)
    message = json.loads(body)["error"]["message"]
    assert (status, size < 500) == (502, True)
    assert "127.0.0.1" not in message
    assert message.isprintable()


@pytest.mark.parametrize("way", WAYS)
def test_a_strange_status_line_is_passed_on_clean(proxy: Proxy, provider: Provider, way: str) -> None:
    provider.handler = raw(b"HTTP/1.1 499 \x1b[2J\xff\xe2\x80\xae\r\ncontent-length: 2\r\n\r\nok")
    assert ask(proxy, way)[0] == 499


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(proxy: Proxy, provider: Provider, status: int, way: str) -> None:
    async def elsewhere(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        return web.Response(status=status, headers={"location": "https://vllm.test/latest/meta-data"})

    provider.handler = elsewhere
    before = len(provider.requests)
    answered, body, _ = ask(proxy, way)
    assert answered == (status if way == "native" else 502), body
    assert {asked.path for asked in provider.requests[before:]} == {"/v1/chat/completions"}


# --- bodies without end, and bombs

BEGINNINGS = {
    "an SSE line": (b"data: ", "text/event-stream"),
    "an SSE comment": (b": ", "text/event-stream"),
    "an SSE event of many lines": (b"", "text/event-stream"),
    "a JSON answer": (b'{"a":"', "application/json"),
    "an element of a JSON array": (b'[{"a":"', "application/json"),
    "a line of JSON": (b'{"a":"', "application/x-ndjson"),
}

PIECES = 2560
"""Of 64 KiB each: 160 MiB, more than may ever be kept."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BEGINNINGS)
def test_what_never_ends_is_not_kept(proxy: Proxy, provider: Provider, what: str, way: str) -> None:
    begin, content_type = BEGINNINGS[what]
    piece = b"x" * (1 << 16) if begin else b"data: " + b"x" * (1 << 16) + b"\n"

    async def endless(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        response = web.StreamResponse(headers={"content-type": content_type})
        await response.prepare(asked)
        await response.write(begin)
        for _ in range(PIECES):
            await response.write(piece)
        return response

    provider.handler = endless
    before = memory(proxy)
    status, body, size = ask(proxy, way)
    if way == "native":
        assert (status, size) == (200, len(begin) + PIECES * len(piece))  # nothing is taken from it, nothing added
    else:
        assert status == 502 or b'"error"' in body
    assert memory(proxy) - before < 120 << 20  # a frame of 16 MiB, and the copies that are made of it


BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model/meta.llama3-8b-instruct-v1:0/converse-stream"
LIES = {
    "a frame of 4 GB": (0xFFFFFFFF, 0),
    "a frame shorter than its own beginning": (3, 0),
    "headers longer than their frame": (40, 4000),
}
"""The lengths of an event-stream message, all of it and its headers, in front of its checksum."""


@pytest.mark.parametrize("what", LIES)
def test_lengths_that_lie_end_in_an_honest_row(proxy: Proxy, provider: Provider, what: str) -> None:
    healthy = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
    lengths = struct.pack("!II", *LIES[what])
    body = healthy + lengths + struct.pack("!I", zlib.crc32(lengths)) + b"x" * (1 << 20)

    async def send(asked: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"content-type": EVENTSTREAM})

    provider.handler = send
    before, app = memory(proxy), f"lies{list(LIES).index(what)}"
    command = ["curl", "-sS", "-x", proxy.url, "--cacert", str(proxy.ca), "-A", app, "-d", '{"messages": []}', BEDROCK]
    got = subprocess.run(command, capture_output=True, check=True, timeout=60, env=clean_environment()).stdout
    assert got == body  # nothing is taken from it, nothing added
    (row,) = proxy.rows(1, f"app = '{app}'")
    assert (row["dialect"], row["outcome"], row["chunks"]) == ("bedrock_converse", "truncated", 1)
    assert memory(proxy) - before < 60 << 20  # not the 4 GB that it was told of


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_compression_bomb_in_an_answer_is_not_unpacked(
    proxy: Proxy, provider: Provider, encoding: str, status: int, way: str
) -> None:
    bomb = ENCODERS[encoding](bytes(100 << 20))

    async def send(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        response = web.StreamResponse(
            status=status, headers={"content-type": "text/event-stream", "content-encoding": encoding}
        )
        await response.prepare(asked)
        await response.write(bomb)
        return response

    provider.handler = send
    before = memory(proxy)
    answered, body, size = ask(proxy, way)
    if way == "native":
        assert (answered, size) == (status, len(bomb))
    else:
        assert answered == (500 if status == 500 else 502)
        assert json.loads(body)["error"]
    assert memory(proxy) - before < 90 << 20


# --- words and numbers of a stranger

NUMBERS = [
    {"prompt_tokens": float("inf"), "completion_tokens": -1, "cost": float("nan")},
    {"prompt_tokens": 2**70, "completion_tokens": 2**62, "cost": 1e308},
    {"prompt_tokens": "9", "completion_tokens": [1], "cost": -5},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("usage", NUMBERS)
def test_implausible_usage_is_no_usage(proxy: Proxy, provider: Provider, usage: dict[str, Any], way: str) -> None:
    end = sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    provider.handler = chats.answering(chunk(content="hi"), end, b"data: [DONE]\n\n")
    app = f"numbers{NUMBERS.index(usage)}-{way}"
    assert ask(proxy, way, app=app)[0] == 200
    row = proxy.rows(1, f"app = '{app}' and outcome is not null")[0]
    assert (row["outcome"], row["usage_source"], row["output_tokens"]) == ("complete", "tiktoken", 1)
    assert row["cost_usd"] is None or row["cost_usd"] < 1


def test_a_strangers_words_reach_no_terminal(proxy: Proxy, provider: Provider) -> None:
    """Not the database, from which other tools print; not mitmdump's log; not the command line."""
    body = {"model": HOSTILE, "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": HOSTILE}]}
    answer = b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n"
    error = json.dumps({"error": {"message": HOSTILE, "type": HOSTILE, "code": HOSTILE}}).encode()
    for way in WAYS:
        provider.handler = chats.answering(answer)
        assert ask(proxy, way, CHAT | {"model": "openai/" + HOSTILE}, app="words")[0] in (200, 400)
        provider.handler = chats.answering(error, status=418, content_type="application/json")
        assert ask(proxy, way, app="words")[0] == 418
    rows = proxy.rows(4, "app = 'words' and outcome is not null")
    for row in rows:
        assert all(value.isprintable() for value in row.values() if isinstance(value, str)), row
    shown = "".join(proxy.log)
    for command in (("streams",), ("stats",), ("show", rows[0]["id"]), ("show", rows[-1]["id"]), ("streams", "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "midstream", *command, "--db", str(proxy.db)],
            capture_output=True,
            text=True,
            check=True,
            env=clean_environment(PYTHONPATH="addons"),
            cwd=Path(__file__).parents[2],
        )
        shown += done.stdout + done.stderr
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)


# --- where a request can go

TARGETS = [
    "http://169.254.169.254/latest",
    "//169.254.169.254/latest",
    "openai@evil.test/x",
    "openai:pw@evil.test/gpt",
    "openai/../../evil",
    "openai/http://evil.test/",
    "gemini/../../../admin",
    "gemini/x?key=y#z",
    "gemini/@evil.test:1/",
    "gemini/a:generateContent?alt=media&x=",
    "gemini/%2e%2e%2f%2e%2e%2fadmin",
    "anthropic/\r\nhost: evil.test",
]


def test_a_model_names_no_place(proxy: Proxy, provider: Provider) -> None:
    """A target is only ever a configured provider, at its API's own path."""
    provider.handler = chats.answering(b"{}", status=400, content_type="application/json")
    before = len(provider.requests)
    for model in TARGETS:
        for path in (
            "/v1/chat/stream",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1beta/models/..%2f..%2fadmin:generateContent",
        ):
            body = json.dumps(
                CHAT | {"model": model, "max_tokens": 9, "contents": [{"parts": [{"text": "x"}]}]}
            ).encode()
            reply = say(int(chats.url_of(proxy).rpartition(":")[2]), request(f"POST {path}", body=body))
            assert 400 <= reply.status < 600
    for asked in provider.requests[before:]:
        path = asked.raw_path.partition("?")[0]
        chats_at = r"/v1(beta)?(/openai)?(/v1)?/(chat/completions|messages)"
        generating = r"/v1beta/models/(?!\.)[^/]*:(streamG|g)enerateContent"
        assert asked.host in ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
        assert re.fullmatch(f"{chats_at}|{generating}", path), path
