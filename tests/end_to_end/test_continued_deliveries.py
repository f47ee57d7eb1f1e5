"""A stream that breaks after 40 of 60 tokens, in each form in which midstream itself delivers it: whole, or with an end that
nobody takes for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from end_to_end import gateway_chats as chats
from end_to_end import sdk_clients
from end_to_end.dialect_answers import ALL, Answer, Break, Model, Mounted, configured
from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.healing import WORDS, routed_proxy
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, MODELS, OLLAMAS

SIXTY = Answer(words=WORDS, output=60)
CALLING = Answer(words=ALL.words, arguments=ALL.arguments)
NEXT = dict(zip(DIALECTS, [*list(DIALECTS)[1:], next(iter(DIALECTS))], strict=True))
"""Whom to ask after a provider of this dialect."""

PAGES = {CHAT: "https://api.openai.com/v1/chat/completions", ANTHROPIC: "https://api.anthropic.com/v1/messages"}
"""Where a request is intercepted, by its dialect."""


@dataclass(frozen=True)
class Asking:
    """A chat to be asked for. options: of the HTTP client."""

    url: str
    body: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)

    def accepting(self, accept: str) -> dict[str, Any]:
        return {"json": self.body, "headers": {"accept": accept}} | self.options


@dataclass
class Got:
    """What came: the chunks, or of plain text the text; and the error behind it, or how else it ended."""

    chunks: list[Any] = field(default_factory=list)
    text: str = ""
    error: str = ""

    def take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            assert not self.error
            self.error = chunk["error"]["message"]
        else:
            assert not self.error, "nothing follows an error"
            self.chunks.append(chunk)


type Seen = Callable[[], None]
type Reader = Callable[[aiohttp.ClientSession, Asking, Seen], Awaitable[Got]]


async def over_sse(session: aiohttp.ClientSession, asking: Asking, seen: Seen) -> Got:
    """An error is the last event, of a body that ends as HTTP wants it: else an EventSource would ask again."""
    got, ended = Got(), False
    async with session.post(asking.url, **asking.accepting("text/event-stream")) as response:
        assert response.status == 200, await response.text()
        events = chats.Events(response)
        while (event := await events.next()) is not None:
            assert not ended
            seen()
            if event.data == "[DONE]":
                ended = True
            else:
                got.take(json.loads(event.data))
    assert ended is not bool(got.error)
    return got


async def over_lines(session: aiohttp.ClientSession, asking: Asking, seen: Seen) -> Got:
    """An error is the last line, and the body has no end."""
    got, torn = Got(), False
    async with session.post(asking.url, **asking.accepting("application/x-ndjson")) as response:
        assert response.status == 200, await response.text()
        try:
            while line := await response.content.readline():
                seen()
                got.take(json.loads(line))
        except aiohttp.ClientPayloadError:
            torn = True
    assert torn is bool(got.error)
    return got


async def over_text(session: aiohttp.ClientSession, asking: Asking, seen: Seen) -> Got:
    """There is no room for an error's words: the body has no end."""
    got = Got()
    async with session.post(asking.url, **asking.accepting("text/plain")) as response:
        assert response.status == 200, await response.text()
        said = b""
        try:
            while piece := await response.content.readany():
                seen()
                said += piece
        except aiohttp.ClientPayloadError:
            got.error = "aborted"
    got.text = said.decode()
    return got


async def over_websocket(session: aiohttp.ClientSession, asking: Asking, seen: Seen) -> Got:
    """An error is the last message, and then the socket is closed for an internal error (1011)."""
    got = Got()
    async with session.ws_connect(asking.url.replace("https:", "wss:"), **asking.options) as socket:
        await socket.send_json(asking.body)
        message = await socket.receive(timeout=30)
        while message.type == aiohttp.WSMsgType.TEXT and message.data != "[DONE]":
            seen()
            got.take(json.loads(message.data))
            message = await socket.receive(timeout=30)
        if got.error:
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
        else:
            assert message.data == "[DONE]"
    return got


READERS: dict[str, Reader] = {
    "sse": over_sse,
    "ndjson": over_lines,
    "text": over_text,
    "websocket": over_websocket,
}
deliveries = pytest.mark.parametrize("delivery", READERS)
redeliveries = pytest.mark.parametrize("delivery", [name for name in READERS if name != "sse"])
firsts = pytest.mark.parametrize("first", DIALECTS)
intercepted = pytest.mark.parametrize("first", PAGES)


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, primary: Provider, spares: Mounted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder, port = tmp_path_factory.mktemp("deliveries"), chats.free_port()
    modes = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{port}")
    proxy = routed_proxy(folder, authority, primary, toml(spares.provider.port), *modes, listening=2)
    proxy.port = next(listening for listening in proxy.ports if listening != port)
    proxy.url = f"http://127.0.0.1:{proxy.port}"
    proxy.gateway_url = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
    with running(proxy):
        yield proxy


def toml(port: int) -> str:
    tables = ["[healing]\nfailures = 1000\nretry_budget = 1.0\n", *(configured(dialect, port) for dialect in DIALECTS)]
    rules = 'on_break = "continue"\nattempts = 1\nbackoff = { base = 0.01, max = 0.01 }\n'
    for first, second in NEXT.items():
        spare = f'"spare-{second}/{MODELS[second]}"'
        tables.append(
            f'[[routes]]\nmodel = "gateway-{first}"\ntargets = ["spare-{first}/{MODELS[first]}", {spare}]\n{rules}'
        )
        if first in PAGES:
            own = sdk_clients.PROVIDERS[first]
            tables.append(f'[[routes]]\nprovider = "{own}"\nmodel = "asked"\ntargets = ["{own}", {spare}]\n{rules}')
    return "\n".join(tables)


def ask(proxy: Proxy, delivery: str, first: Model, *, through_gateway: bool) -> Got:
    """Ask for a chat whose provider goes on only when its reader has something of it."""
    body = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 99}
    if through_gateway:
        asking = Asking(f"{chats.url_of(proxy)}/v1/chat/stream", body | {"model": f"gateway-{first.dialect}"})
    else:
        options = {"proxy": proxy.url, "ssl": proxy.client_context()}
        asking = Asking(PAGES[first.dialect], body | {"model": "asked"}, options)

    async def read() -> Got:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            return await READERS[delivery](session, asking, first.gate.open)

    return asyncio.run(read())


def check_whole(got: Got, delivery: str, answer: Answer) -> None:
    assert not got.error
    if delivery == "text":
        assert got.text == answer.text
        return
    said = chats.read(got.chunks)
    assert said.text == answer.text
    assert [json.loads(call["arguments"]) for call in said.calls.values()] == [{"city": "Bern"}] * bool(
        answer.arguments
    )
    assert said.finish == ("tool_calls" if answer.arguments else "stop")
    assert said.usage["completion_tokens"] > 5
    assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in got.chunks}) == 1
    finished = [choice["finish_reason"] for chunk in got.chunks for choice in chunk["choices"]]
    assert [reason for reason in finished if reason] == [finished[-1]]


def check_honest(got: Got, delivery: str) -> None:
    """Forty tokens, and no end of an answer."""
    assert got.error
    text = got.text if delivery == "text" else chats.read(got.chunks).text
    assert text == "".join(WORDS[:40])
    assert not any(choice["finish_reason"] for chunk in got.chunks for choice in chunk["choices"])


@deliveries
@firsts
def test_a_gateway_chat_is_gone_on_from(proxy: Proxy, spares: Mounted, first: str, delivery: str) -> None:
    broken = Model(first, SIXTY, breaks=[Break(41, seen=True)], fails=True)
    spares.handlers[first], spares.handlers[NEXT[first]] = broken, Model(NEXT[first], SIXTY)
    check_whole(ask(proxy, delivery, broken, through_gateway=True), delivery, SIXTY)


@deliveries
@firsts
def test_a_gateway_chat_without_anybody_left_ends_honestly(
    proxy: Proxy, spares: Mounted, first: str, delivery: str
) -> None:
    broken = Model(first, SIXTY, breaks=[Break(41, seen=True)], fails=True)
    spares.handlers[first], spares.handlers[NEXT[first]] = broken, Model(NEXT[first], SIXTY, breaks=[Break(1)] * 9)
    check_honest(ask(proxy, delivery, broken, through_gateway=True), delivery)


@deliveries
@firsts
def test_a_gateway_chat_that_broke_in_a_tool_call_never_yields_half_of_it(
    proxy: Proxy, spares: Mounted, first: str, delivery: str
) -> None:
    """Where the client has half of the arguments, only an error can follow; where its provider tells calls whole, all is well."""
    broken = Model(first, CALLING, breaks=[Break(len(CALLING.words) + 2, seen=True)])
    spares.handlers[first], spares.handlers[NEXT[first]] = broken, Model(NEXT[first], CALLING)
    got = ask(proxy, delivery, broken, through_gateway=True)
    if first in (GOOGLE, OLLAMAS):
        check_whole(got, delivery, CALLING)
    else:
        assert got.error
        assert not any(choice["finish_reason"] for chunk in got.chunks for choice in chunk["choices"])


@redeliveries
@intercepted
def test_an_intercepted_stream_in_another_form_is_gone_on_from(
    proxy: Proxy, primary: Provider, spares: Mounted, first: str, delivery: str
) -> None:
    broken = Model(first, SIXTY, breaks=[Break(41, seen=True)], fails=True)
    primary.handler, spares.handlers[NEXT[first]] = broken, Model(NEXT[first], SIXTY)
    check_whole(ask(proxy, delivery, broken, through_gateway=False), delivery, SIXTY)


@redeliveries
@intercepted
def test_an_intercepted_stream_in_another_form_ends_honestly(
    proxy: Proxy, primary: Provider, spares: Mounted, first: str, delivery: str
) -> None:
    broken = Model(first, SIXTY, breaks=[Break(41, seen=True)], fails=True)
    primary.handler, spares.handlers[NEXT[first]] = broken, Model(NEXT[first], SIXTY, breaks=[Break(1)] * 9)
    check_honest(ask(proxy, delivery, broken, through_gateway=False), delivery)
