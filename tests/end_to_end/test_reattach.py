"""A stream whose client's connection was cut, and the retry that is given that very stream: the provider is asked once."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import h2.connection
import h2.events
import openai
import pytest
from aiohttp import web
from h2.errors import ErrorCodes

from end_to_end.harness import DEADLINE, SETS, Authority, Gate, Provider, Proxy, chunks, running
from end_to_end.test_measure import ASK, CHAT, WHOLE, app, ask, rows_of

__all__ = ["app"]

BODY = b"".join(WHOLE)
RETRY = {"x-stainless-retry-count": "1"}
OTHER = ASK | {"model": "gpt-4o"}


def start(folder: Path, confdir: Path, authority: Authority, provider: Provider, streams: str) -> Proxy:
    file = folder / "midstream.toml"
    file.write_text(f"[streams]\n{streams}\n")
    return Proxy(
        folder,
        "--set",
        f"midstream_config={file}",
        scripts=SETS["relaying"],
        confdir=confdir,
        trust=authority.file,
        upstream=f"::127.0.0.1:{provider.port}",
    )


@pytest.fixture(scope="module")
def relay(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("reattach")
    with running(start(folder, confdir, authority, provider, "reattach = 1000")) as proxy:
        yield proxy


class Cutter:
    """What is between the client and the proxy, and breaks. Lives in the provider's event loop."""

    def __init__(self, provider: Provider, proxy: Proxy) -> None:
        self.silent = False
        """Whether what comes from the proxy is kept from the client."""
        self.swallowed = asyncio.Event()
        """Set once something was."""
        self.again = asyncio.Event()
        """Set once a client came after a cut."""
        self._proxy = proxy
        self._cuts = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._provider = provider
        self.port: int = self._run(self._listen())
        self.url = f"http://127.0.0.1:{self.port}"

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._provider.loop).result(DEADLINE)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cuts:
            self.again.set()
        from_proxy, to_proxy = await asyncio.open_connection("127.0.0.1", self._proxy.port)
        self._writers += (writer, to_proxy)
        back = asyncio.create_task(self._pump(from_proxy, writer, hears=False))
        await self._pump(reader, to_proxy, hears=True)
        await back

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hears: bool) -> None:
        try:
            while data := await reader.read(65536):
                if self.silent and not hears:
                    self.swallowed.set()
                else:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self) -> None:
        self._cuts += 1
        self.silent = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _close(self) -> None:
        self._server.close()

    def close(self) -> None:
        self._run(self._close())


@pytest.fixture
def cutter(relay: Proxy, provider: Provider) -> Iterator[Cutter]:
    cutter = Cutter(provider, relay)
    yield cutter
    cutter.close()


def breaking(cutter: Cutter, pieces: tuple[bytes, ...], *, begun: bool) -> Callable[[web.Request], Any]:
    """A provider during whose first answer the client's connection breaks: before its head, or half-way, where the client has
    seen nothing of it yet. It goes on once the client has come again."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-request-id": "req_1"})
        rest = list(pieces)
        cutter.silent = begun
        if begun:
            await response.prepare(request)
            await response.write(rest.pop(0))
            await asyncio.wait_for(cutter.swallowed.wait(), DEADLINE)
        cutter.cut()
        await asyncio.wait_for(cutter.again.wait(), DEADLINE)
        if not begun:
            await response.prepare(request)
        for piece in rest:
            await response.write(piece)
        return response

    return answer


def check_one_row(relay: Proxy, app: str) -> None:
    (row,) = rows_of(relay, app)
    assert (row["resumes"], row["outcome"], row["error_type"], row["http_status"]) == (1, "complete", None, 200)


@pytest.mark.parametrize("begun", [False, True], ids=["before-the-head", "half-way"])
def test_openai_sdk_whose_connection_is_cut(
    relay: Proxy, provider: Provider, cutter: Cutter, app: str, *, begun: bool
) -> None:
    before = len(provider.requests)
    provider.handler = breaking(cutter, WHOLE, begun=begun)
    http = openai.DefaultHttpxClient(proxy=cutter.url, verify=relay.client_context())
    named = {"user-agent": f"{app}/1"}
    with openai.OpenAI(api_key="sk-1", http_client=http, default_headers=named, max_retries=2) as client:
        got = list(client.chat.completions.create(**ASK))  # type: ignore[call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in got if c.choices) == "Hello there"
    assert len(provider.requests) - before == 1
    check_one_row(relay, app)


def _anthropic(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 1},
}
ANTHROPIC = (
    _anthropic("message_start", message=MESSAGE),
    _anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    _anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
    _anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": " there"}),
    _anthropic("content_block_stop", index=0),
    _anthropic("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3}),
    _anthropic("message_stop"),
)


@pytest.mark.parametrize("begun", [False, True], ids=["before-the-head", "half-way"])
def test_anthropic_sdk_whose_connection_is_cut(
    relay: Proxy, provider: Provider, cutter: Cutter, app: str, *, begun: bool
) -> None:
    before = len(provider.requests)
    provider.handler = breaking(cutter, ANTHROPIC, begun=begun)
    http = anthropic.DefaultHttpxClient(proxy=cutter.url, verify=relay.client_context())
    named = {"user-agent": f"{app}/1"}
    with (
        anthropic.Anthropic(api_key="sk-1", http_client=http, default_headers=named, max_retries=2) as client,
        client.messages.stream(
            model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        assert stream.get_final_text() == "Hello there"
        assert stream.get_final_message().stop_reason == "end_turn"
    assert len(provider.requests) - before == 1
    check_one_row(relay, app)


@dataclass
class HalfWay:
    """A provider that stops half-way in its first answer until told to go on; it answers all later requests at once."""

    on: Gate = field(default_factory=Gate)
    cancelled: Gate = field(default_factory=Gate)
    count: int = 0
    breaks: bool = False

    async def handler(self, request: web.Request) -> web.StreamResponse:
        if (await request.json())["model"] == OTHER["model"]:
            return await chunks(*WHOLE)(request)
        self.count += 1
        if self.count > 1:
            return await chunks(*WHOLE, x_request_id="req_2")(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-request-id": "req_1"})
        try:
            await response.prepare(request)
            await response.write(b"".join(WHOLE[:3]))
            await self.on.wait()
            if self.breaks:
                assert request.transport is not None
                request.transport.abort()
            await response.write(b"".join(WHOLE[3:]))
        except asyncio.CancelledError:
            self.cancelled.open()
            raise
        return response


@pytest.fixture
def half(provider: Provider) -> Iterator[HalfWay]:
    half = HalfWay()
    provider.handler = half.handler
    yield half
    half.on.open()


def leave(relay: Proxy, app: str, body: Any = ASK, **headers: str) -> bytes:
    """Ask, and break the connection after half of the answer, which is returned."""

    async def work() -> bytes:
        got = b""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT,
                json=body,
                proxy=relay.url,
                ssl=relay.client_context(),
                headers={"user-agent": f"{app}/1.0"} | headers,
            ) as response,
        ):
            while len(got) < len(b"".join(WHOLE[:3])):
                got += await response.content.readany()
            response.close()
        return got

    got = asyncio.run(work())
    # Another whole request and its answer: by then the proxy's event loop has long seen that the first connection is gone.
    assert ask(relay, f"{app}-other", body=OTHER) == (200, BODY)
    return got


def test_a_retry_gets_the_whole_stream_from_its_first_byte(relay: Proxy, half: HalfWay, app: str) -> None:
    async def again() -> tuple[bytes, bytes, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT,
                json=ASK,
                proxy=relay.url,
                ssl=relay.client_context(),
                headers={"user-agent": f"{app}/1.0"} | RETRY,
            ) as response,
        ):
            early = b""
            while len(early) < len(seen):
                early += await response.content.readany()
            half.on.open()  # the stream is live: half of it came before the provider went on
            return early, await response.read(), response.headers["x-request-id"]

    seen = leave(relay, app, **{"x-stainless-retry-count": "0"})
    early, rest, request_id = asyncio.run(again())
    assert early == seen
    assert early + rest == BODY
    assert (half.count, request_id) == (1, "req_1")
    check_one_row(relay, app)


def test_a_stream_may_be_cut_and_retried_again(relay: Proxy, half: HalfWay, app: str) -> None:
    leave(relay, app)
    leave(relay, app, **RETRY)
    half.on.open()
    assert ask(relay, app, **{"x-stainless-retry-count": "2"}) == (200, BODY)
    assert half.count == 1
    (row,) = rows_of(relay, app)
    assert (row["resumes"], row["outcome"]) == (2, "complete")


class Http2:
    """One HTTP/2 connection through the proxy, down to its frames: httpx does not reset a stream that it no longer reads."""

    def __init__(self, proxy: Proxy, host: str) -> None:
        tunnel = socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE)
        tunnel.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += tunnel.recv(1)
        assert b" 200 " in answer
        context = proxy.client_context()
        context.set_alpn_protocols(["h2"])
        self._socket = context.wrap_socket(tunnel, server_hostname=host)
        self._host = host
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self._ended: set[int] = set()

    def ask(self, path: str, body: Any, **headers: str) -> int:
        """Put a request on the connection and return its stream's number; `send` sends it."""
        number = self._h2.get_next_available_stream_id()
        self.bodies[number] = b""
        named = {":method": "POST", ":scheme": "https", ":authority": self._host, ":path": path} | headers
        self._h2.send_headers(number, list(named.items()))
        self._h2.send_data(number, json.dumps(body).encode(), end_stream=True)
        return number

    def reset(self, number: int) -> None:
        self._h2.reset_stream(number, ErrorCodes.CANCEL)

    def send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def read(self, number: int, size: int | None = None) -> bytes:
        """Read this much of a stream's body, or to its end."""
        while number not in self._ended and (size is None or len(self.bodies[number]) < size):
            for event in self._h2.receive_data(self._socket.recv(65536)):
                if isinstance(event, h2.events.DataReceived):
                    self.bodies[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self._ended.add(event.stream_id)
            self.send()
        return self.bodies[number]


def test_a_reset_stream_and_its_retry_on_the_same_http2_connection(relay: Proxy, half: HalfWay, app: str) -> None:
    """Both in one breath: the reset counts, though the retry is right behind it."""
    client = Http2(relay, "api.openai.com")
    named = {"user-agent": f"{app}/1.0", "content-type": "application/json"}
    first = client.ask("/v1/chat/completions", ASK, **named)
    client.send()
    client.read(first, len(b"".join(WHOLE[:3])))
    client.reset(first)
    again = client.ask("/v1/chat/completions", ASK, **named | RETRY)
    client.send()
    client.read(again, len(b"".join(WHOLE[:3])))
    half.on.open()
    assert client.read(again) == BODY
    assert half.count == 1
    check_one_row(relay, app)


def test_an_answer_that_ended_while_nobody_read_it_waits_too(
    relay: Proxy, half: HalfWay, provider: Provider, app: str
) -> None:
    leave(relay, app)
    half.on.open()
    assert ask(relay, f"{app}-other", body=OTHER) == (200, BODY)
    assert ask(relay, app, **RETRY) == (200, BODY)
    assert half.count == 1
    check_one_row(relay, app)


def test_what_was_read_to_its_end_is_not_kept(relay: Proxy, half: HalfWay, app: str) -> None:
    half.on.open()
    assert ask(relay, app) == (200, BODY)
    assert ask(relay, app, **RETRY) == (200, BODY)
    assert half.count == 2
    assert [row["resumes"] for row in rows_of(relay, app, 2)] == [0, 0]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"authorization": "Bearer sk-1"}, {"authorization": "Bearer sk-2"} | RETRY),
        ({"authorization": "Bearer sk-1"}, RETRY),
        ({"x-api-key": "1"}, {"x-api-key": "2"} | RETRY),
        ({}, {}),
        ({}, {"x-stainless-retry-count": "0"}),
        ({"idempotency-key": "1"}, {"idempotency-key": "2"} | RETRY),
        ({}, {"accept-encoding": "gzip"} | RETRY),
    ],
)
def test_what_is_not_the_same_senders_retry_is_asked_anew(
    relay: Proxy, half: HalfWay, app: str, first: dict[str, str], again: dict[str, str]
) -> None:
    leave(relay, app, **first)
    assert ask(relay, app, **again) == (200, BODY)
    assert half.count == 2


def test_a_retry_with_another_body_is_asked_anew(relay: Proxy, half: HalfWay, app: str) -> None:
    leave(relay, app)
    assert ask(relay, app, body=ASK | {"seed": 1}, **RETRY) == (200, BODY)
    assert half.count == 2


def test_an_idempotency_key_is_enough(relay: Proxy, half: HalfWay, app: str) -> None:
    leave(relay, app, **{"idempotency-key": "one"})
    half.on.open()
    assert ask(relay, app, **{"idempotency-key": "one"}) == (200, BODY)
    assert half.count == 1
    check_one_row(relay, app)


def test_a_provider_that_breaks_off_ends_the_retry_too_never_cleanly(relay: Proxy, half: HalfWay, app: str) -> None:
    async def again() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT,
                json=ASK,
                proxy=relay.url,
                ssl=relay.client_context(),
                headers={"user-agent": f"{app}/1.0"} | RETRY,
            ) as response,
        ):
            await response.content.readany()
            half.on.open()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

    half.breaks = True
    leave(relay, app)
    asyncio.run(again())
    (row,) = rows_of(relay, app)
    assert (row["resumes"], row["outcome"], row["error_type"]) == (1, "truncated", "connection_error")
    assert ask(relay, app, **RETRY) == (200, BODY)  # it is no use to anybody now
    assert half.count == 2


def test_the_provider_is_cancelled_when_no_retry_comes(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, half: HalfWay, app: str
) -> None:
    with running(start(tmp_path, confdir, authority, provider, "reattach = 0.2")) as proxy:
        leave(proxy, app)
        (row,) = rows_of(proxy, app)
        asyncio.run(asyncio.wait_for(half.cancelled.wait(), DEADLINE))
        assert half.cancelled.is_open
        assert (row["outcome"], row["error_type"], row["resumes"]) == ("client_gone", "client_disconnected", 0)
        assert ask(proxy, app, **RETRY) == (200, BODY)
        assert half.count == 2


def test_a_stream_that_waits_when_mitmdump_stops_was_interrupted(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, half: HalfWay, app: str
) -> None:
    with running(start(tmp_path, confdir, authority, provider, "reattach = 1000")) as proxy:
        leave(proxy, app)
    (row,) = rows_of(proxy, app)
    assert (row["outcome"], row["resumes"]) == ("interrupted", 0)


def test_a_stream_longer_than_what_is_kept_is_cancelled_at_once(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    """Its beginning is forgotten, so no retry could have it."""
    cancelled = threading.Event()

    async def long(request: web.Request) -> web.StreamResponse:
        if (await request.json())["model"] == OTHER["model"]:
            return await chunks(*WHOLE)(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(WHOLE[1] * 100)
        finally:
            cancelled.set()

    async def read_on() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT, json=ASK, proxy=proxy.url, ssl=proxy.client_context(), headers={"user-agent": f"{app}/1.0"}
            ) as response,
        ):
            got = 0
            while got < 4 << 20:
                got += len(await response.content.readany())
            assert not cancelled.is_set()
            response.close()

    provider.handler = long
    settings = "reattach = 1000\nwindow = 16384\nspool = 65536"
    with running(start(tmp_path, confdir, authority, provider, settings)) as proxy:
        asyncio.run(read_on())
        assert cancelled.wait(DEADLINE)
        (row,) = rows_of(proxy, app)
        assert row["outcome"] == "client_gone"
