"""Chats for the gateway's tests: what a provider sends, and how the three deliveries are read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from end_to_end.harness import DEADLINE, Authority, Gate, Handler, Provider, Proxy

SCRIPTS = ("relay_streams.py", "connect_to.py")
WORDS = ("Hel", "lo ", "wörld", " 🌍", "!\n", " end")
TEXT = "".join(WORDS)
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    return sse({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def sse(body: dict[str, Any]) -> bytes:
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024",
    }
    return b"data: " + json.dumps(head | body).encode() + b"\n\n"


def tool(index: int, **fields: Any) -> bytes:
    return chunk(tool_calls=[{"index": index} | fields])


USAGE = sse({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}})
DONE = b"data: [DONE]\n\n"
WHOLE = (chunk(role="assistant", content=""), *(chunk(content=w) for w in WORDS), chunk("stop"), USAGE, DONE)
CALLING = (
    chunk(role="assistant", content="I look it up."),
    tool(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
    tool(0, function={"arguments": '{"city":'}),
    tool(0, function={"arguments": '"Bern"}'}),
    tool(1, id="call_2", type="function", function={"name": "time", "arguments": "{}"}),
    chunk("tool_calls"),
    USAGE,
    DONE,
)


@dataclass
class Steps:
    """A provider that sends one chunk whenever it is told to, and knows whether it was cancelled."""

    pieces: tuple[bytes, ...] = WHOLE
    cancelled: Gate = field(default_factory=Gate)
    asked: Gate = field(default_factory=Gate)
    bodies: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gates = [Gate() for _ in self.pieces]
        self._next = 0

    def go(self, count: int = 1) -> None:
        for gate in self._gates[self._next : self._next + count]:
            gate.open()
        self._next += count

    def go_on(self) -> None:
        self.go(len(self.pieces))

    async def handler(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.asked.open()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            await response.prepare(request)
            for piece, gate in zip(self.pieces, self._gates, strict=True):
                await gate.wait()
                await response.write(piece)
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled.open()
            raise
        return response


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def gateway_proxy(
    folder: Path,
    authority: Authority,
    provider: Provider,
    confdir: Path,
    config: str,
    *args: str,
    at: str = "",
    scripts: tuple[str, ...] = SCRIPTS,
) -> Proxy:
    """A mitmdump with a listener of the gateway's own; its base URL is `gateway_url`. at: the address of that listener."""
    file = folder / "midstream.toml"
    file.write_text(config)
    port = free_port()
    listener = f"{at}:{port}" if at else str(port)
    modes = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{listener}")
    proxy = Proxy(
        folder,
        *modes,
        "--set",
        f"midstream_config={file}",
        *args,
        scripts=scripts,
        confdir=confdir,
        trust=authority.file,
        upstream=f"::127.0.0.1:{provider.port}",
        listening=2,
    )
    proxy.port = next(p for p in proxy.ports if p != port)
    proxy.url = f"http://127.0.0.1:{proxy.port}"
    host = f"[{at}]" if ":" in at else at or "127.0.0.1"
    proxy.gateway_url = f"http://{host}:{port}"  # type: ignore[attr-defined]
    return proxy


def url_of(proxy: Proxy) -> str:
    url: str = proxy.gateway_url  # type: ignore[attr-defined]
    return url


@dataclass
class Event:
    """One server-sent event; n: the number in its id."""

    n: int
    data: str
    stream: str = ""


class Events:
    """Reads server-sent events from a response, one at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._waiting = b""
        self.retry = ""
        self.comments = 0

    async def next(self) -> Event | None:
        """The next event that has data; None at the end."""
        while True:
            block = await self._block()
            if block is None:
                return None
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            self.retry = fields.get("retry", self.retry)
            if "data" in fields:
                stream, _, n = fields["id"].rpartition(":")
                return Event(int(n), fields["data"], stream)

    async def _block(self) -> str | None:
        while b"\n\n" not in self._waiting:
            piece = await self._response.content.readany()
            if not piece:
                return None
            self._waiting += piece
        block, _, self._waiting = self._waiting.partition(b"\n\n")
        return block.decode()

    async def rest(self) -> list[Event]:
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@dataclass
class Answer:
    """What a chat said, whatever its delivery."""

    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    usage: Any = None
    finish: str | None = None
    model: str = ""


def read(chunks: list[Any]) -> Answer:
    answer = Answer()
    for item in chunks:
        answer.usage = item.get("usage") or answer.usage
        answer.model = item["model"]
        for choice in item["choices"]:
            assert isinstance(choice["delta"]["content"], str)
            answer.text += choice["delta"]["content"]
            answer.finish = choice["finish_reason"] or answer.finish
            for call in choice["delta"].get("tool_calls", ()):
                kept = answer.calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                kept["id"] += call.get("id", "")
                kept["name"] += call["function"].get("name", "")
                kept["arguments"] += call["function"].get("arguments", "")
    return answer


async def over_sse(session: aiohttp.ClientSession, url: str, body: Any) -> Answer:
    async with session.post(f"{url}/v1/chat/stream", json=body) as response:
        assert response.status == 200, await response.text()
        events = await Events(response).rest()
    assert events[-1].data == "[DONE]"
    return read([json.loads(event.data) for event in events[:-1]])


async def over_lines(session: aiohttp.ClientSession, url: str, body: Any) -> Answer:
    headers = {"accept": "application/x-ndjson"}
    async with session.post(f"{url}/v1/chat/stream", json=body, headers=headers) as response:
        assert response.content_type == "application/x-ndjson"
        return read([json.loads(line) for line in (await response.text()).splitlines()])


async def over_websocket(session: aiohttp.ClientSession, url: str, body: Any) -> Answer:
    async with session.ws_connect(f"{url}/v1/chat/stream") as socket_:
        await socket_.send_json(body)
        return read(await chat_on(socket_))


async def chat_on(socket_: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """The messages of one chat on a socket, up to its [DONE]."""
    found = []
    while (data := await socket_.receive_str(timeout=DEADLINE)) != "[DONE]":
        found.append(json.loads(data))
    return found


def run(test: Callable[[aiohttp.ClientSession], Awaitable[None]], **headers: str) -> None:
    """Run a test with a client of its own."""

    async def body() -> None:
        timeout = aiohttp.ClientTimeout(total=2 * DEADLINE)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await test(session)

    asyncio.run(body())


def answering(*pieces: bytes, status: int = 200, content_type: str = "text/event-stream") -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=status, headers={"content-type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    return answer
