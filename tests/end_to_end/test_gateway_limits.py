"""What ends a stream or refuses it: clients that read nothing, long silences, places that are not there, messages too large."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import h2.connection
import openai
import pytest
import wsproto
from aiohttp import web
from wsproto import events

from end_to_end import gateway_chats as chats
from end_to_end.gateway_answers import DIALECTS, STOPS, Dialect
from end_to_end.gateway_chats import ASK, TEXT, WHOLE, Events, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Gate, Handler, Provider, Proxy, running

CONFIG = """
[streams]
grace = 0.2
keep = 0.5
spool = 1000000

[gateway]
body_limit = 100000
read_timeout = 1
"""
IMPATIENT = """
import midstream.relay.exchange as exchange
import midstream.relay.gateway as gateway
import midstream.relay.native as native

exchange.KEEPALIVE = native.KEEPALIVE = 0.2
exchange.begins.__defaults__ = (0.2,)
gateway.FOLLOW_WAIT = 0.2
native.READ_TIMEOUT = 1.0
"""
"""An addon script: the waits that users cannot configure, short enough to be waited for."""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("limits")
    script = folder / "impatient_relay.py"
    script.write_text(IMPATIENT)
    proxy = chats.gateway_proxy(folder, authority, provider, confdir, CONFIG, "-s", str(script))
    with running(proxy):
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return chats.url_of(proxy)


# --- clients that read nothing


def endless(cancelled: threading.Event) -> Handler:
    """A provider that sends for as long as anybody takes it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(chats.chunk(content="token " * 1000))
        finally:
            cancelled.set()

    return answer


UPGRADE = (
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


@contextlib.contextmanager
def deaf(port: int, extra: str) -> Iterator[socket.socket]:
    """A client that asks, and from then on reads nothing."""
    query = "model=gpt-4o-mini&prompt=x"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET /v1/chat/stream?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n{extra}\r\n".encode())
        yield client


def until_closed(client: socket.socket) -> int:
    """Read what is left, up to the connection's end; how much it was."""
    client.settimeout(DEADLINE)
    size = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 20):
            size += len(piece)
    return size


@pytest.mark.parametrize("delivery", ["text/event-stream", "application/x-ndjson", "text/plain", "websocket"])
def test_a_client_that_reads_nothing_is_dropped(proxy: Proxy, url: str, provider: Provider, delivery: str) -> None:
    cancelled, app = threading.Event(), f"deaf-{delivery.replace('/', '-')}"
    provider.handler = endless(cancelled)
    extra = f"user-agent: {app}\r\n" + (UPGRADE if delivery == "websocket" else f"accept: {delivery}\r\n")
    with deaf(int(url.rpartition(":")[2]), extra) as client:
        assert cancelled.wait(DEADLINE)  # while the client is still connected
        row = proxy.rows(1, f"app = '{app}' and outcome is not null")[0]
        assert (row["outcome"], row["error_type"]) == ("client_gone", "abandoned")
        assert row["paused_ms"] > 0
        until_closed(client)


def test_an_http2_client_that_reads_nothing_is_dropped(proxy: Proxy, url: str, provider: Provider) -> None:
    """It takes what comes, but never opens its flow-control window."""
    cancelled = threading.Event()
    provider.handler = endless(cancelled)
    path = "/v1/chat/stream?model=gpt-4o-mini&prompt=x"
    with http2(proxy, int(url.rpartition(":")[2]), path, "deaf-http2"):
        assert cancelled.wait(DEADLINE)
        row = proxy.rows(1, "app = 'deaf-http2' and outcome is not null")[0]
    assert (row["outcome"], row["error_type"]) == ("client_gone", "abandoned")


@contextlib.contextmanager
def http2(proxy: Proxy, port: int, path: str, app: str) -> Iterator[ssl.SSLSocket]:
    context = proxy.client_context()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        client = h2.connection.H2Connection()
        client.initiate_connection()
        headers = [(":method", "GET"), (":authority", "localhost"), (":scheme", "https"), (":path", path)]
        client.send_headers(1, [*headers, ("user-agent", app)], end_stream=True)
        connection.sendall(client.data_to_send())
        yield connection


def test_a_native_client_that_reads_nothing_is_dropped(proxy: Proxy, url: str, provider: Provider) -> None:
    cancelled = threading.Event()
    provider.handler = endless(cancelled)
    body = json.dumps(ASK | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: deaf-native\r\ncontent-length: {len(body)}"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        client.sendall(f"{head}\r\n\r\n".encode() + body)
        assert cancelled.wait(DEADLINE)
        row = proxy.rows(1, "app = 'deaf-native' and outcome is not null")[0]
        assert (row["outcome"], row["error_type"]) == ("client_gone", "client_stalled")


# --- silence


class Silent:
    """A provider that is silent before its first token, and again behind it, until it is told to go on."""

    def __init__(self, pieces: tuple[bytes, ...], *, first: int = 2, content_type: str = "text/event-stream") -> None:
        self._pieces = pieces
        self._first = first
        self._content_type = content_type
        self.begin, self.go_on = Gate(), Gate()

    async def handler(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": self._content_type})
        await response.prepare(request)
        await self.begin.wait()
        await response.write(b"".join(self._pieces[: self._first]))
        await self.go_on.wait()
        await response.write(b"".join(self._pieces[self._first :]))
        return response


COMMENT = b": keepalive\n\n"
SIGNS = {"text/event-stream": COMMENT, "application/x-ndjson": b" "}


@pytest.mark.parametrize("accept", SIGNS)
def test_silence_is_kept_alive(url: str, provider: Provider, accept: str) -> None:
    silent = Silent(WHOLE)
    provider.handler = silent.handler
    sign = SIGNS[accept]

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": accept}) as response:
            for gate in (silent.begin, silent.go_on):
                got = b""
                while not got.endswith(sign * 2):
                    got += await asyncio.wait_for(response.content.readany(), DEADLINE)
                gate.open()
            rest = await response.text()
        if accept == "text/event-stream":
            assert rest.count("data: [DONE]") == 1
        else:
            assert [json.loads(line) for line in rest.splitlines()][-1]["usage"]

    run(ask)


def test_a_silent_websocket_is_pinged(url: str, provider: Provider) -> None:
    silent = Silent(WHOLE)
    provider.handler = silent.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}/v1/chat/stream", autoping=False) as socket_:
            await socket_.send_json(ASK)
            for _ in range(2):
                assert (await socket_.receive(timeout=DEADLINE)).type is aiohttp.WSMsgType.PING
            silent.begin.open()
            silent.go_on.open()
            got = []
            while (message := await socket_.receive(timeout=DEADLINE)).data != "[DONE]":
                if message.type is aiohttp.WSMsgType.TEXT:
                    got.append(json.loads(message.data))
            assert chats.read(got).text == TEXT

    run(ask)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_silent_native_stream_is_kept_alive_in_its_dialect(
    proxy: Proxy, provider: Provider, dialect: Dialect
) -> None:
    """Between two frames: less what was added, the bytes are the provider's own."""
    pieces = dialect.pieces(STOPS)
    silent = Silent(pieces, content_type=dialect.content_type)
    silent.begin.open()
    provider.handler = silent.handler
    host = {"gemini": "generativelanguage.googleapis.com", "anthropic_messages": "api.anthropic.com"}
    path = f"{dialect.path}?alt=sse" if dialect.name == "gemini" else dialect.path
    target = f"https://{host.get(dialect.name, 'api.openai.com')}{path}"
    body = {"model": "m-1", "stream": True, "messages": ASK["messages"], "input": "x", "contents": [{"parts": []}]}
    sign = SIGN_OF.get(dialect.name, COMMENT)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(target, json=body, proxy=proxy.url, ssl=proxy.client_context()) as response:
            got = b""
            while sign and got.count(sign) < 2:
                got += await asyncio.wait_for(response.content.readany(), DEADLINE)
            silent.go_on.open()
            got += await response.read()
        assert (got.replace(sign, b"") if sign else got) == b"".join(pieces)

    run(ask)


SIGN_OF = {"anthropic_messages": b'event: ping\ndata: {"type": "ping"}\n\n', "ollama": b""}
"""What each SDK takes for nothing; where a dialect has no such thing, silence stays silence."""


def test_sdks_read_on_through_silence(proxy: Proxy, url: str, provider: Provider) -> None:
    for dialect in (DIALECTS[0], DIALECTS[2]):
        silent = Silent(dialect.pieces(STOPS), first=3)
        silent.begin.open()
        provider.handler = silent.handler
        timer = threading.Timer(1.0, silent.go_on.open)  # some five signs of life
        timer.start()
        if dialect.name == "openai_chat":
            with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-mine", max_retries=0) as client:
                answer = client.chat.completions.create(
                    model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "x"}]
                )
                text = "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
        else:
            asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": ASK["messages"]}
            with (
                anthropic.Anthropic(base_url=url, api_key="sk-mine", max_retries=0) as claude,
                claude.messages.stream(**asked) as stream,
            ):
                text = stream.get_final_text()
        timer.join()
        assert text == "Hello wörld 🌍, I look."


# --- errors before the first frame, in the client's form

ANTHROPIC_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
OPENAI_ERROR = {"error": {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
REFUSED = [
    ("https://api.openai.com/v1/chat/completions", "gpt-4o-mini", 429, OPENAI_ERROR),
    ("https://api.anthropic.com/v1/messages", "claude-haiku-4-5", 529, ANTHROPIC_ERROR),
]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/plain"])
@pytest.mark.parametrize(("target", "model", "status", "error"), REFUSED, ids=["openai", "anthropic"])
def test_a_redelivered_refusal_has_its_dialects_form_and_its_retry_after(
    proxy: Proxy, provider: Provider, target: str, model: str, status: int, error: dict[str, Any], accept: str
) -> None:
    provider.handler = refusing(status, error, "3600")  # longer than is waited for

    async def ask(session: aiohttp.ClientSession) -> None:
        body = {"model": model, "max_tokens": 9, "messages": ASK["messages"]}
        more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()}
        async with session.post(target, json=body, headers={"accept": accept}, **more) as response:
            assert (response.status, response.headers["retry-after"]) == (status, "3600")
            said = await response.json()
        assert said["error"]["message"] == error["error"]["message"]
        assert said["error"]["type"] == error["error"]["type"]
        assert (said.get("type") == "error") is ("anthropic" in target)
        async with session.ws_connect(target.replace("https", "wss"), **more) as socket_:
            await socket_.send_json(body)
            assert (await chats.chat_on(socket_))[-1]["error"]["message"] == error["error"]["message"]

    run(ask, authorization="Bearer sk-own")


def refusing(status: int, error: Any, after: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(error, status=status, headers={"retry-after": after})

    return answer


# --- places that are not there


FORMS = ("sse", "ndjson", "text", "websocket", "resume")


async def refusal(session: aiohttp.ClientSession, url: str, stream: str, form: str) -> tuple[int, str]:
    """Ask for a stream in one of all ways; the status of the refusal and its code."""
    accept = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
    if form == "resume":
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket_:
            await socket_.send_json({"type": "resume", "stream": stream, "after": 1})
            error = (await socket_.receive_json(timeout=DEADLINE))["error"]
            return (404 if error["code"] == "stream_not_found" else 410), error["code"]
    headers = (
        {"accept": accept[form]} if form in accept else dict(line.split(": ") for line in UPGRADE.strip().split("\r\n"))
    )
    async with session.get(f"{url}/v1/streams/{stream}", headers=headers) as response:
        first = response.status, (await response.json())["error"]["code"]
    headers["last-event-id"] = f"{stream}:1"
    async with session.get(f"{url}/v1/chat/stream", headers=headers) as response:
        assert first == (response.status, (await response.json())["error"]["code"])
    return first


def test_nothing_to_follow_is_404(url: str) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/v1/chat/stream") as response:
            assert response.status == 404
            assert "no stream of yours" in (await response.json())["error"]["message"]

    run(ask, authorization="Bearer nobody-else")


@pytest.mark.parametrize("form", FORMS)
def test_unknown_is_404_and_expired_410_over_every_delivery(url: str, provider: Provider, form: str) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        assert await refusal(session, url, "nobody", form) == (404, "stream_not_found")
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            await response.read()
            stream = response.headers["x-stream-id"]
        async with asyncio.timeout(DEADLINE):
            status = 200
            while status != 410:
                await asyncio.sleep(0.7)  # longer than it is kept; each look at it keeps it anew
                async with session.delete(f"{url}/v1/streams/{stream}") as response:
                    status = response.status
        assert await refusal(session, url, stream, form) == (410, "stream_expired")

    run(ask)


BAD_IDS = [
    "x",
    ":",
    ":1",
    "a:",
    "a:-1",
    "a:1.5",
    "a:x",
    "a: 1",
    "a b:1",
    "ä:1",
    "../x:1",
    f"{'a' * 65}:1",
    f"a:{'9' * 16}",
]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_bad_last_event_id_is_400(proxy: Proxy, url: str, provider: Provider, bad: str, accept: str) -> None:
    before = len(provider.requests)
    own = "https://api.openai.com/v1/chat/completions"
    more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()}

    async def ask(session: aiohttp.ClientSession) -> None:
        headers = {"last-event-id": bad, "accept": accept}
        calls: list[tuple[str, str, Any]] = [("POST", f"{url}/v1/chat/stream", {})]
        calls += [("GET", f"{url}/v1/chat/stream?model=gpt-4o&prompt=x", {})]
        calls += [("POST", own, more)] if accept != "text/event-stream" else []
        for method, target, through in calls:
            body = ASK if method == "POST" else None
            async with session.request(method, target, json=body, headers=headers, **through) as response:
                assert response.status == 400
                assert "Last-Event-ID" in (await response.json())["error"]["message"]

    run(ask)
    assert len(provider.requests) == before  # a reader that is lost starts no new chat


def test_a_place_that_was_not_reached_is_400(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            events = Events(response)
            event = await events.next()
            assert event is not None
            async with session.get(f"{url}/v1/chat/stream", headers={"last-event-id": f"{event.stream}:99"}) as refused:
                assert refused.status == 400
            async with session.ws_connect(f"{url}/v1/chat/stream") as socket_:
                await socket_.send_json({"type": "resume", "stream": event.stream, "after": 99})
                assert "after" in (await socket_.receive_json(timeout=DEADLINE))["error"]["message"]
            steps.go_on()
            assert (await events.rest())[-1].data == "[DONE]"  # the stream itself took no harm

    run(ask)


# --- messages on a socket


@pytest.mark.parametrize("how", ["text", "binary", "redelivered"])
def test_a_message_too_large_closes_the_socket_and_its_chat_goes_on(
    proxy: Proxy, url: str, provider: Provider, how: str
) -> None:
    steps = Steps()
    provider.handler = steps.handler
    own = "wss://api.openai.com/v1/chat/completions"
    more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()} if how == "redelivered" else {}

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(own if how == "redelivered" else f"{url}/v1/chat/stream", **more) as socket_:
            await socket_.send_json(ASK)
            steps.go(2)
            first = await socket_.receive_json(timeout=DEADLINE)
            path = f"{url}/v1/streams/{first['stream']}?after={first['sequence_number']}"
            # opened before: how long a stream waits for its next reader is a short time here
            response = await session.get(path, headers={"accept": "application/x-ndjson"})
            assert response.status == 200
            await send_too_much(socket_, how)
            async with asyncio.timeout(DEADLINE):
                while (message := await socket_.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        steps.go_on()
        rest = [json.loads(line) for line in (await response.text()).splitlines()]
        assert chats.read([first, *rest]).text == TEXT

    run(ask, authorization="Bearer sk-own")
    assert len(steps.bodies) == 1


async def send_too_much(socket_: aiohttp.ClientWebSocketResponse, how: str) -> None:
    if how == "binary":
        await socket_.send_bytes(b"x" * 200_000)
    else:
        await socket_.send_str("x" * 200_000)


def test_a_message_in_fragments_is_as_large_as_they_are_together(url: str) -> None:
    """Each of them is within the limit."""
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(protocol.send(events.Request(host="127.0.0.1", target="/v1/chat/stream")))
        protocol.receive_data(client.recv(65536))
        assert isinstance(next(protocol.events()), events.AcceptConnection)
        for _ in range(20):
            client.sendall(protocol.send(events.TextMessage("x" * 10_000, message_finished=False)))
        client.sendall(protocol.send(events.TextMessage("x")))
        closed = None
        while closed is None:
            protocol.receive_data(client.recv(65536))
            closed = next((e for e in protocol.events() if isinstance(e, events.CloseConnection)), None)
    assert closed.code == 1009


def test_a_redelivering_socket_refuses_what_it_cannot_read(proxy: Proxy, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler
    bad = [
        "{",
        "[]",
        "7",
        '"x"',
        '{"type":"dance"}',
        '{"type":"cancel"}',
        '{"type":"resume","stream":"nobody","after":0}',
    ]

    async def ask(session: aiohttp.ClientSession) -> None:
        more: dict[str, Any] = {"proxy": proxy.url, "ssl": proxy.client_context()}
        async with session.ws_connect("wss://api.openai.com/v1/chat/completions", **more) as socket_:
            for message in bad:
                await socket_.send_str(message)
                assert (await socket_.receive_json(timeout=DEADLINE))["error"]["message"], message
            await socket_.send_json(ASK)
            steps.go(2)
            got = [await socket_.receive_json(timeout=DEADLINE)]
            await socket_.send_json(ASK)  # while one runs
            while "error" not in (item := await socket_.receive_json(timeout=DEADLINE)):
                got.append(item)
            assert item["error"]["code"] == "chat_running"
            steps.go_on()
            assert chats.read(got + await chats.chat_on(socket_)).text == TEXT

    run(ask, authorization="Bearer sk-own")
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("path", ["/v1/realtime?model=gpt-realtime", "/v1/responses"])
def test_a_providers_own_websocket_api_is_not_served(url: str, path: str) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url + path)
        assert refused.value.status == 501

    run(ask)
