"""An intercepted provider request whose client wants JSON lines, plain text or a WebSocket: the same answer, from that very
provider, asked with the client's own credential."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import Answer, Steps, run
from end_to_end.harness import Authority, Provider, Proxy, chunks, running
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Dialect
from midstream.dialects.openai.chat_answer import ChatEncoder
from midstream.relay.prepare import BY_NAME

TEXT = "Hello wörld 🌍, I look."
LINES = {"accept": "application/x-ndjson"}


def event(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event({"type": "content_block_start", "index": index, "content_block": start}),
        *(event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
        event({"type": "content_block_stop", "index": index}),
    ]


STARTED = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
MESSAGES = (
    event({"type": "message_start", "message": STARTED | {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
    *block(
        0,
        {"type": "text", "text": ""},
        *({"type": "text_delta", "text": t} for t in ("Hello ", "wörld 🌍", ", I look.")),
    ),
    *block(
        1,
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
        *({"type": "input_json_delta", "partial_json": part} for part in ('{"city":', '"Bern"}')),
    ),
    event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}),
    event({"type": "message_stop"}),
)
CHAT = (
    chats.chunk(role="assistant", content=""),
    *(chats.chunk(content=t) for t in ("Hello ", "wörld 🌍", ", I look.")),
    chats.tool(0, id="toolu_1", type="function", function={"name": "weather", "arguments": '{"city":'}),
    chats.tool(0, function={"arguments": '"Bern"}'}),
    chats.chunk("tool_calls"),
    chats.USAGE,
    chats.DONE,
)


@dataclass(frozen=True)
class Case:
    dialect: str
    url: str
    pieces: tuple[bytes, ...]
    credential: tuple[str, str]
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return dict([self.credential])


ASK = {"messages": [{"role": "user", "content": "Weather?"}], "max_tokens": 99, "metadata": {"user_id": "u1"}}
CASES = [
    Case(
        "openai_chat",
        "https://api.openai.com/v1/chat/completions",
        CHAT,
        ("authorization", "Bearer sk-own"),
        ASK | {"model": "gpt-4o-mini"},
    ),
    Case(
        "anthropic_messages",
        "https://api.anthropic.com/v1/messages?beta=true",
        MESSAGES,
        ("x-api-key", "sk-ant-own"),
        ASK | {"model": "claude-haiku-4-5"},
    ),
]
both = pytest.mark.parametrize("case", CASES, ids=lambda case: case.dialect)


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    proxy = chats.gateway_proxy(tmp_path_factory.mktemp("redelivery"), authority, provider, confdir, "")
    with running(proxy):
        yield proxy


def through(proxy: Proxy) -> dict[str, Any]:
    return {"proxy": proxy.url, "ssl": proxy.client_context()}


def of_native(dialect: Dialect, body: bytes) -> Answer:
    """The provider's own bytes, read by our decoder: what every other delivery must say too."""
    decoder = AnswerDecoder(dialect, content_type="text/event-stream")
    encoder = ChatEncoder(AnswerOptions(id="x", model="x", created=1))
    frames = [f.data for e in [*decoder.feed(body), *decoder.close()] for f in encoder.feed(e)]
    assert frames[-1] == b"[DONE]"
    return chats.read([json.loads(data) for data in frames[:-1]])


@both
def test_the_same_answer_in_every_delivery(proxy: Proxy, provider: Provider, case: Case) -> None:
    provider.handler = chunks(*case.pieces)
    provider.requests.clear()
    named = case.headers | {"user-agent": "deliveries"}
    answers: list[Answer] = []
    texts: list[str] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        streamed = case.body | {"stream": True}
        if case.dialect == "openai_chat":
            streamed |= {"stream_options": {"include_usage": True}}
        async with session.post(case.url, json=streamed, headers=named, **through(proxy)) as response:
            native = await response.read()
        assert native == b"".join(case.pieces)
        answers.append(of_native(BY_NAME[case.dialect], native))
        async with session.post(case.url, json=case.body, headers=named | LINES, **through(proxy)) as response:
            assert (response.status, response.content_type) == (200, "application/x-ndjson")
            assert response.headers["x-stream-id"]
            answers.append(chats.read([json.loads(line) for line in (await response.text()).splitlines()]))
        headers = named | {"accept": "text/plain"}
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            assert (response.status, response.content_type) == (200, "text/plain")
            texts.append(await response.text())
        url = case.url.replace("https:", "wss:")
        async with session.ws_connect(url, headers=named, **through(proxy)) as socket:
            for _ in range(2):  # one chat after another
                await socket.send_json(case.body)
                answers.append(chats.read(await chats.chat_on(socket)))

    run(ask)
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert texts == [answers[0].text] == [TEXT]
    assert answers[0].calls == {0: {"id": "toolu_1", "name": "weather", "arguments": '{"city":"Bern"}'}}
    assert (answers[0].finish, answers[0].usage["total_tokens"]) == ("tool_calls", 16)
    assert len(provider.requests) == 5
    name, secret = case.credential
    for request in provider.requests:
        assert request.headers[name] == secret
        assert (request.method, f"https://{request.headers['host']}{request.path_qs}") == ("POST", case.url)
        assert "sec-websocket-key" not in request.headers
        assert request.headers["content-type"] == "application/json"
    rows = proxy.rows(5, f"dialect = '{case.dialect}' and outcome = 'complete' and app = 'deliveries'")
    assert sorted(row["delivery"] for row in rows) == ["chunked", "chunked", "native", "websocket", "websocket"]
    assert {(row["output_tokens"], row["app"]) for row in rows} == {(7, "deliveries")}


@both
def test_all_that_was_asked_reaches_the_provider(proxy: Proxy, provider: Provider, case: Case) -> None:
    steps = Steps(case.pieces)
    provider.handler = steps.handler
    steps.go_on()

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(case.url, json=case.body, headers=case.headers | LINES, **through(proxy)) as response:
            await response.read()

    run(ask)
    usage = {"stream_options": {"include_usage": True}} if case.dialect == "openai_chat" else {}
    assert steps.bodies == [case.body | {"stream": True} | usage]


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "application/json",
        "*/*",
        "application/json, text/plain, */*",
        "application/x-ndjson;q=0.5, */*",
    ],
)
@both
def test_whoever_takes_the_providers_own_form_gets_it(
    proxy: Proxy, provider: Provider, case: Case, accept: str
) -> None:
    provider.handler = chunks(*case.pieces)

    async def ask(session: aiohttp.ClientSession) -> None:
        headers = case.headers | {"accept": accept}
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            assert await response.read() == b"".join(case.pieces)
            assert "x-stream-id" not in response.headers

    run(ask)


@pytest.mark.parametrize("by", ["gateway", "provider"])
@both
def test_cut_and_resumed_nothing_twice_nothing_lost(proxy: Proxy, provider: Provider, case: Case, by: str) -> None:
    steps = Steps(case.pieces)
    provider.handler = steps.handler
    headers = case.headers | LINES

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(4)
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            first = [await response.content.readline() for _ in range(2)]
            stream = response.headers["x-stream-id"]
            response.close()
        steps.go_on()
        if by == "gateway":
            resumed = session.get(f"{chats.url_of(proxy)}/v1/streams/{stream}?after=2", headers=headers)
        else:
            headers["last-event-id"] = f"{stream}:2"
            resumed = session.post(case.url, json=case.body, headers=headers, **through(proxy))
        async with resumed as response:
            assert response.status == 200
            rest = (await response.read()).splitlines()
        answer = chats.read([json.loads(line) for line in [*first, *rest]])
        assert (answer.text, answer.finish, answer.usage["total_tokens"]) == (TEXT, "tool_calls", 16)
        assert answer.calls[0]["arguments"] == '{"city":"Bern"}'
        other = {case.credential[0]: "Bearer sk-other"} | LINES
        async with session.get(f"{chats.url_of(proxy)}/v1/streams/{stream}?after=2", headers=other) as response:
            assert response.status == 404

    run(ask)
    assert len(steps.bodies) == 1


@both
def test_a_websocket_cancels_and_resumes(proxy: Proxy, provider: Provider, case: Case) -> None:
    steps = Steps(case.pieces)
    provider.handler = steps.handler
    url = case.url.replace("https:", "wss:")

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        async with session.ws_connect(url, headers=case.headers, **through(proxy)) as socket:
            await socket.send_json(case.body)
            first = await socket.receive_json()
        async with session.ws_connect(url, headers=case.headers, **through(proxy)) as socket:
            await socket.send_json({"type": "resume", "stream": first["stream"], "after": first["sequence_number"]})
            second = await socket.receive_json()
            assert second["sequence_number"] == first["sequence_number"] + 1
            await socket.send_json({"type": "cancel"})
            rest = await chats.chat_on(socket)
            assert rest[-1]["error"]["code"] == "cancelled"
        await steps.cancelled.wait()

    run(ask)
    assert steps.cancelled.is_open


@both
def test_a_providers_refusal_keeps_its_status(proxy: Proxy, provider: Provider, case: Case) -> None:
    error = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    provider.handler = chunks(error, status=429, content_type="application/json")

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(case.url, json=case.body, headers=case.headers | LINES, **through(proxy)) as response:
            assert response.status == 429
            assert (await response.json())["error"]["message"] == "slow down"
        url = case.url.replace("https:", "wss:")
        async with session.ws_connect(url, headers=case.headers, **through(proxy)) as socket:
            await socket.send_str("no json")
            assert "not valid JSON" in (await socket.receive_json())["error"]["message"]
            await socket.send_json(case.body)
            assert (await chats.chat_on(socket))[-1]["error"]["message"] == "slow down"

    run(ask)


def test_a_page_of_another_origin_opens_no_websocket(proxy: Proxy, provider: Provider) -> None:
    case = CASES[0]

    async def ask(session: aiohttp.ClientSession) -> None:
        url, headers = case.url.replace("https:", "wss:"), case.headers | {"origin": "https://evil.example"}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers=headers, **through(proxy))
        assert refused.value.status == 403

    run(ask)
