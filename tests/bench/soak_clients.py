"""The clients of the soak: each asks for one stream in one way, and says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import httpx
import soak_answers
from soak_provider import words

from end_to_end.fault_clients import _BODIES, _KEYS, _READERS, _URLS, GATEWAY, Got, Refused, _read_lines
from end_to_end.fault_matrix import FORMS
from end_to_end.sdk_clients import PROMPT
from translated import ANTHROPIC, CHAT, GOOGLE

type Verdict = Literal["whole", "honest error", "left", "wrong"]

HANGS = 600.0
"""Seconds by which every answer must have ended, one way or another. A machine may be slow: what hangs, hangs for ever."""

PREFIX = {CHAT: "openai", ANTHROPIC: "anthropic", GOOGLE: "gemini"}
"""Whom a chat on the gateway can be sent to, by dialect."""


class Wrong(Exception):
    """What must not be."""


@dataclass
class Asked:
    """One request. app: its name in the rows. left: the client goes before the end."""

    number: int
    policy: str
    fault: str
    size: int
    dialect: str
    chance: random.Random
    left: bool = False
    got: str = ""
    rows: int = 1
    stream: str = ""

    @property
    def app(self) -> str:
        return f"soak{self.number}"

    @property
    def model(self) -> str:
        return f"{self.policy}-{self.fault}-{self.size}"

    @property
    def prompt(self) -> str:
        return f"ask-{self.number}"

    @property
    def text(self) -> str:
        return "".join(words(self.size))

    @property
    def headers(self) -> dict[str, str]:
        named = _KEYS.get(self.dialect, "authorization")
        return {"user-agent": f"{self.app}/1", named: f"{'' if named != 'authorization' else 'Bearer '}sk-soak"}

    @property
    def body(self) -> dict[str, Any]:
        asked = json.dumps(_BODIES[self.dialect]).replace(PROMPT, self.prompt)
        body = {"model": self.model, **json.loads(asked)}
        return body if self.dialect in ("ollama", GOOGLE) else body | {"stream": True}

    @property
    def url(self) -> str:
        return _URLS[self.dialect].format(model=self.model)


@dataclass
class Via:
    """How the proxy is reached."""

    proxy: str
    context: Any
    session: aiohttp.ClientSession

    @property
    def how(self) -> dict[str, Any]:
        return {"proxy": self.proxy, "ssl": self.context}


async def native(asked: Asked, via: Via) -> None:
    """The provider's own stream, read to its end, perhaps slowly."""
    slow = asked.size > 500 and asked.chance.random() < 0.5
    async with via.session.post(asked.url, json=asked.body, headers=asked.headers, **via.how) as response:
        await _hear(asked, response, slow=slow)


async def _hear(asked: Asked, response: aiohttp.ClientResponse, *, slow: bool = False) -> None:
    if response.status >= 400:
        await response.read()
        raise Refused(f"HTTP {response.status}")
    body, broken = bytearray(), None
    try:
        while data := await response.content.read(4096 if slow else 65536):
            body += data
            if slow:
                await asyncio.sleep(0.01)
    except aiohttp.ClientError as error:
        broken = error
    _judge(asked, bytes(body), broken)


def _judge(asked: Asked, body: bytes, broken: Exception | None) -> None:
    told = soak_answers.read(asked.dialect, body)
    asked.got = told.text
    if told.error or broken:
        raise Refused(told.error or str(broken))
    if not told.ended:
        raise Wrong(f"a clean end without a terminal event: {body[-200:]!r}")


async def leave(asked: Asked, via: Via) -> None:
    """The provider's own stream, left half-way."""
    asked.left = True
    async with via.session.post(asked.url, json=asked.body, headers=asked.headers, **via.how) as response:
        await response.content.readany()
        response.close()


async def again(asked: Asked, via: Via) -> None:
    """Left half-way, then asked for again as an SDK does: attached to what runs still, or, rightly, asked anew."""
    asked.rows = 0  # one, or two
    with contextlib.suppress(aiohttp.ClientError):
        async with via.session.post(asked.url, json=asked.body, headers=asked.headers, **via.how) as response:
            await response.content.readany()
            response.close()
    headers = asked.headers | {"x-stainless-retry-count": "1"}
    async with via.session.post(asked.url, json=asked.body, headers=headers, **via.how) as response:
        await _hear(asked, response)


async def http2(asked: Asked, via: Via) -> None:
    """The same over HTTP/2, on a connection of its own; every fourth client leaves."""
    asked.left = asked.chance.random() < 0.25
    slow, body, broken = asked.size > 500, bytearray(), None
    async with (
        httpx.AsyncClient(http2=True, proxy=via.proxy, verify=via.context, timeout=HANGS) as client,
        client.stream("POST", asked.url, json=asked.body, headers=asked.headers) as response,
    ):
        if response.status_code >= 400:
            await response.aread()
            raise Refused(f"HTTP {response.status_code}")
        try:
            async for data in response.aiter_raw():
                body += data
                if asked.left:
                    return
                if slow:
                    await asyncio.sleep(0.01)
        except httpx.TransportError as error:
            broken = error
    _judge(asked, bytes(body), broken)


async def redelivered(asked: Asked, via: Via) -> None:
    """A provider's stream in another form."""
    asked.dialect = asked.chance.choice(list(FORMS))
    form = asked.chance.choice(FORMS[asked.dialect])
    headers = asked.headers | ({} if form == "websocket" else {"accept": _ACCEPT[form]})
    body = {k: v for k, v in asked.body.items() if k != "stream"}
    got = Got()
    try:
        await _READERS[form](_With(via.session, headers), asked.url, via.how, body, got)
    finally:
        asked.got = got.text
    if not got.whole:
        raise Wrong("not whole")


_ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}


@dataclass
class _With:
    """A session with headers of its own."""

    session: aiohttp.ClientSession
    headers: dict[str, str]

    def post(self, url: str, **more: Any) -> Any:
        return self.session.post(url, headers=self.headers, **more)

    def ws_connect(self, url: str, **more: Any) -> Any:
        return self.session.ws_connect(url, headers=self.headers, **more)


def _chat(asked: Asked) -> dict[str, Any]:
    """A chat for the gateway, sent to one of three providers."""
    provider = PREFIX[asked.chance.choice(list(PREFIX))]
    return {"model": f"{provider}/{asked.model}", "messages": [{"role": "user", "content": asked.prompt}]}


async def gateway(asked: Asked, via: Via) -> None:
    form = asked.chance.choice(list(_READERS))
    headers = {"user-agent": f"{asked.app}/1"} | ({} if form == "websocket" else {"accept": _ACCEPT[form]})
    got = Got()
    try:
        await _READERS[form](_With(via.session, headers), GATEWAY, via.how, _chat(asked), got)
    finally:
        asked.got = got.text
    if not got.whole:
        raise Wrong("not whole")


async def resumed(asked: Asked, via: Via) -> None:
    """Server-sent events, cut off again and again, each time resumed by Last-Event-ID: every event exactly once."""
    headers = {"user-agent": f"{asked.app}/1", "accept": "text/event-stream"}
    ask: dict[str, Any] = {"json": _chat(asked)}
    lines: list[str] = []
    for cut in (*(asked.chance.randrange(1, 30) for _ in range(3)), None):
        async with via.session.post(GATEWAY, headers=headers, **ask, **via.how) as response:
            if response.status == 204:
                break
            if response.status >= 400:
                raise Refused(f"HTTP {response.status}")
            name, over = await _events(response, lines, cut)
        ask = {}
        headers["last-event-id"] = name
        if over:
            break
    got = Got()
    try:
        _read_lines("text/event-stream", lines, got)
    finally:
        asked.got = got.text
    if not got.whole:
        raise Wrong(f"not whole: {lines[-3:]}")


async def _events(response: aiohttp.ClientResponse, lines: list[str], cut: int | None) -> tuple[str, bool]:
    """Whole events until there are so many; the last one's id."""
    name, pending, count = "", "", 0
    async for raw in response.content:
        line = raw.decode().strip("\r\n")
        if line.startswith("data: "):
            pending = line
        elif line.startswith("id: "):
            name = line[4:]
            if pending:
                lines.append(pending)
                pending, count = "", count + 1
                if count == cut:
                    response.close()
                    return name, False
    return name, True


async def resumed_socket(asked: Asked, via: Via) -> None:
    """A WebSocket, closed half-way, and gone on with on another."""
    said: list[str] = []
    headers = {"user-agent": f"{asked.app}/1"}
    first: dict[str, Any] = _chat(asked)
    for cut in (asked.chance.randrange(1, 30), 1 << 30):
        async with via.session.ws_connect(GATEWAY, headers=headers, **via.how) as socket:
            await socket.send_json(first)
            while len(said) < cut and (not said or said[-1] != "[DONE]"):
                message = await socket.receive(timeout=HANGS)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                said.append(message.data)
        if said and (said[-1] == "[DONE]" or "sequence_number" not in said[-1] or '"error"' in said[-1]):
            break
        last = json.loads(said[-1])
        first = {"type": "resume", "stream": last["stream"], "after": last["sequence_number"]}
    got = Got()
    try:
        _read_lines("text/event-stream", [f"data: {one}" for one in said], got)
    finally:
        asked.got = got.text
    if not got.whole:
        raise Wrong(f"not whole: {said[-3:]}")


async def abandoned(asked: Asked, via: Via) -> None:
    """A chat on the gateway that nobody comes back to, or that is cancelled."""
    asked.left = True
    headers = {"user-agent": f"{asked.app}/1", "prefer": "respond-async"}
    async with via.session.post(GATEWAY, headers=headers, json=_chat(asked), **via.how) as response:
        place = response.headers.get("location", "")
        await response.read()
    if asked.chance.random() < 0.5 and place:
        async with via.session.delete(f"http://midstream.internal{place}", **via.how) as response:
            await response.read()


async def provider_path(asked: Asked, via: Via) -> None:
    """A provider's own API, on the gateway."""
    asked.dialect = asked.chance.choice([CHAT, ANTHROPIC])
    path = "/v1/chat/completions" if asked.dialect == CHAT else "/v1/messages"
    body = asked.body | {"model": f"{PREFIX[asked.dialect]}/{asked.model}"}
    headers = {"user-agent": f"{asked.app}/1"}
    async with via.session.post(f"http://midstream.internal{path}", json=body, headers=headers, **via.how) as response:
        await _hear(asked, response)


KINDS: dict[Callable[[Asked, Via], Awaitable[None]], int] = {
    native: 6, leave: 2, again: 2, http2: 2, redelivered: 3, gateway: 4, resumed: 3, resumed_socket: 2,
    abandoned: 1, provider_path: 2,
}  # fmt: skip
"""How often each is drawn."""


async def ask(kind: Callable[[Asked, Via], Awaitable[None]], asked: Asked, via: Via) -> tuple[Verdict, str]:
    """Do it, and judge. A healthy provider's answer must be whole; any other whole, or an honest error."""
    raised: BaseException | None = None
    try:
        async with asyncio.timeout(HANGS):
            await kind(asked, via)
    except (Refused, aiohttp.ClientError, httpx.HTTPError) as error:
        raised = error
    except (Wrong, TimeoutError, AssertionError, ValueError, KeyError, TypeError) as error:
        return "wrong", f"{type(error).__name__}: {error}"
    if asked.left:
        return "left", ""
    if not asked.text.startswith(asked.got):
        return "wrong", f"another text: {asked.got[:60]!r} … {asked.got[-60:]!r}"
    if raised is not None:
        said = f"{type(raised).__name__}: {raised}"
        return ("wrong" if asked.fault == "none" else "honest error"), said
    return ("whole", "") if asked.got == asked.text else ("wrong", f"ended at {asked.got[-20:]!r}")
