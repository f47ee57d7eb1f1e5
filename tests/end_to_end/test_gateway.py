"""The gateway through a real mitmdump: three deliveries of one chat, each resumable at every event, and who may have it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import ASK, CALLING, TEXT, WHOLE, Answer, Event, Events, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, cut_after, running
from end_to_end.test_redelivery import MESSAGES

FOLDER = "gateway"
EVENTS = len(WHOLE)
PIECES_FOR = {1: 2, 9: 10}
"""How many pieces the provider must send for so many events: the role comes with the first word, the usage with the end."""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Without keys: for clients on this machine."""
    config = '[providers.openai]\napi_key = "sk-provider-secret"\n[gateway]\nbody_limit = 100000\n'
    proxy = chats.gateway_proxy(tmp_path_factory.mktemp(FOLDER), authority, provider, confdir, config)
    with running(proxy):
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return chats.url_of(proxy)


@pytest.mark.parametrize("pieces", [WHOLE, CALLING], ids=["text", "tool calls"])
def test_the_same_chat_over_all_deliveries(url: str, provider: Provider, pieces: tuple[bytes, ...]) -> None:
    provider.handler = answering(*pieces)
    answers: list[Answer] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        for deliver in (chats.over_sse, chats.over_lines, chats.over_websocket):
            answers.append(await deliver(session, url, ASK))

    run(ask)
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].usage == {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    assert answers[0].model == "gpt-4o-mini-2024"
    if pieces is WHOLE:
        assert (answers[0].text, answers[0].finish, answers[0].calls) == (TEXT, "stop", {})
    else:
        assert answers[0].calls[0] == {"id": "call_1", "name": "weather", "arguments": '{"city":"Bern"}'}
        assert answers[0].calls[1] == {"id": "call_2", "name": "time", "arguments": "{}"}
        assert (answers[0].text, answers[0].finish) == ("I look it up.", "tool_calls")


def test_plain_text_is_the_tokens_alone(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": "text/plain"}) as response:
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            assert await response.text() == TEXT

    run(ask)


def test_a_get_with_a_prompt_and_its_headers(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler
    steps.go_on()

    async def ask(session: aiohttp.ClientSession) -> None:
        query = {"model": "gpt-4o-mini", "prompt": "Hi", "system": "Be brief", "temperature": "0.5"}
        async with session.get(f"{url}/v1/chat/stream", params=query) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert "no-store" in response.headers["cache-control"]
            assert response.headers["x-accel-buffering"] == "no"
            events = Events(response)
            found = await events.rest()
        assert events.retry == "1000"
        assert [event.n for event in found] == list(range(1, len(found) + 1))
        assert {event.stream for event in found} == {response.headers["x-stream-id"]}

    run(ask)
    assert steps.bodies == [
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_each_token_comes_when_the_provider_sends_it(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(2)
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            events = Events(response)
            while (event := await events.next()) is not None:
                steps.go()  # only now does the provider go on: a gateway that buffered would hang here
                if event.data == "[DONE]":
                    return

    run(ask)


@pytest.mark.parametrize("last", range(1, EVENTS))
def test_killed_at_any_event_and_resumed(url: str, provider: Provider, last: int) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(PIECES_FOR.get(last, last))
        got: list[Event] = []
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            events = Events(response)
            while len(got) < last:
                event = await events.next()
                assert event is not None
                got.append(event)
            response.close()
        steps.go_on()
        headers = {"last-event-id": f"{got[-1].stream}:{got[-1].n}"}
        async with session.get(f"{url}/v1/chat/stream?model=other&prompt=other", headers=headers) as response:
            assert response.status == 200
            got += await Events(response).rest()
        assert [event.n for event in got] == list(range(1, len(got) + 1))
        assert chats.read([json.loads(event.data) for event in got[:-1]]).text == TEXT
        headers = {"last-event-id": f"{got[-1].stream}:{got[-1].n}"}
        async with session.get(f"{url}/v1/chat/stream", headers=headers) as response:
            assert response.status == 204

    run(ask)
    assert len(steps.bodies) == 1


def test_a_websocket_resumes(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        got: list[Any] = []
        steps.go(3)
        async with session.ws_connect(f"{url}/v1/chat/stream?model=gpt-4o-mini&prompt=Hi") as socket:
            for _ in range(2):
                got.append(json.loads(await socket.receive_str(timeout=DEADLINE)))
            assert "x-stream-id" in {k.lower() for k in socket._response.headers}
        steps.go_on()
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            await socket.send_json({"type": "resume", "stream": got[0]["stream"], "after": got[-1]["sequence_number"]})
            got += await chats.chat_on(socket)
        assert [item["sequence_number"] for item in got] == list(range(1, len(got) + 1))
        assert chats.read(got).text == TEXT

    run(ask)
    assert len(steps.bodies) == 1


def test_one_chat_after_another_on_one_socket(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            for _ in range(3):
                await socket.send_json(ASK)
                assert chats.read(await chats.chat_on(socket)).text == TEXT

    run(ask)


def test_binary_messages_on_request(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        for how in (
            {"url": f"{url}/v1/chat/stream?binary=1"},
            {"url": f"{url}/v1/chat/stream", "protocols": ["midstream.binary"]},
        ):
            async with session.ws_connect(**how) as socket:
                await socket.send_bytes(json.dumps(ASK).encode())
                found = []
                while (data := await socket.receive_bytes(timeout=DEADLINE)) != b"[DONE]":
                    found.append(json.loads(data))
                assert chats.read(found).text == TEXT

    run(ask)


def test_a_second_start_is_refused_and_the_first_goes_on(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            await socket.send_json(ASK)
            steps.go(2)
            got = [json.loads(await socket.receive_str(timeout=DEADLINE))]
            await socket.send_json(ASK)
            while "error" not in (item := json.loads(await socket.receive_str(timeout=DEADLINE))):
                got.append(item)
            assert item["error"]["code"] == "chat_running"
            steps.go_on()
            got += await chats.chat_on(socket)
            assert chats.read(got).text == TEXT

    run(ask)
    assert len(steps.bodies) == 1


def test_cancel_on_a_socket(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            await socket.send_json({"type": "cancel"})
            assert json.loads(await socket.receive_str(timeout=DEADLINE))["error"]["code"] == "no_chat_running"
            await socket.send_json(ASK)
            steps.go(2)
            await socket.receive_str(timeout=DEADLINE)
            await socket.send_json({"type": "cancel"})
            assert (await chats.chat_on(socket))[-1]["error"]["code"] == "cancelled"
            await steps.cancelled.wait()
            provider.handler = answering(*WHOLE)
            await socket.send_json(ASK)
            assert chats.read(await chats.chat_on(socket)).text == TEXT

    run(ask)
    assert steps.cancelled.is_open


def test_bad_messages_are_answered_on_the_socket(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    bad = ["{", "[]", '"x"', "{}", '{"model":"gpt-4o-mini"}', '{"type":"dance"}', '{"type":"resume","stream":"nobody"}']
    bad += [
        '{"type":"resume","stream":"nobody","after":-1}',
        '{"model":"unheard-of","messages":[{"role":"user","content":"x"}]}',
    ]
    bad += ['{"model":"gpt-4o-mini","messages":"x"}', '{"model":"gpt-4o-mini","messages":[{"role":7}]}']

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            for message in bad:
                await socket.send_str(message)
                assert json.loads(await socket.receive_str(timeout=DEADLINE))["error"]["message"], message
            await socket.send_json(ASK)
            assert chats.read(await chats.chat_on(socket)).text == TEXT
            await socket.send_str("x" * 200_000)
            closed = await socket.receive(timeout=DEADLINE)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1009)

    run(ask)


def test_delete_cancels_and_the_reader_is_told(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(2)
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            events = Events(response)
            await events.next()
            stream = response.headers["x-stream-id"]
            async with session.get(f"{url}/v1/streams") as listed:
                found = {item["id"]: item for item in (await listed.json())["data"]}
            assert (found[stream]["status"], found[stream]["readers"]) == ("live", 1)
            async with session.delete(f"{url}/v1/streams/{stream}") as deleted:
                assert deleted.status == 200
            rest = await events.rest()
            assert json.loads(rest[-1].data)["error"]["code"] == "cancelled"
        async with session.get(f"{url}/v1/streams") as listed:
            assert stream not in {item["id"] for item in (await listed.json())["data"]}
        await steps.cancelled.wait()

    run(ask)
    assert steps.cancelled.is_open


def test_respond_async_and_read_by_several(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"prefer": "respond-async"}) as response:
            assert response.status == 202
            location = response.headers["location"]
            assert location == f"/v1/streams/{response.headers['x-stream-id']}"
        steps.go(3)
        async with session.get(url + location) as one, session.get(url + location) as other:
            first = await Events(one).next()
            assert first is not None
            steps.go_on()
            assert len(await Events(other).rest()) == EVENTS
            await Events(one).rest()
        async with session.get(f"{url}{location}?after=3") as again:
            assert [event.n for event in await Events(again).rest()] == list(range(4, EVENTS + 1))
        async with session.get(url + location, headers={"accept": "application/x-ndjson"}) as lines:
            assert chats.read([json.loads(line) for line in (await lines.text()).splitlines()]).text == TEXT

    run(ask)
    assert len(steps.bodies) == 1


def test_a_get_without_a_chat_follows_the_newest_stream(url: str, provider: Provider) -> None:
    """The client of the issue: `new EventSource('…/v1/chat/stream', {headers})`."""
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"prefer": "respond-async"}) as started:
            stream = started.headers["x-stream-id"]
        steps.go_on()
        async with session.get(f"{url}/v1/chat/stream") as response:
            assert response.headers["x-stream-id"] == stream
            assert len(await Events(response).rest()) == EVENTS

    run(ask, authorization="Bearer only-mine")


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 12, len(TEXT.encode())])
def test_text_resumes_by_byte(url: str, provider: Provider, offset: int) -> None:
    provider.handler = answering(*WHOLE)
    whole = TEXT.encode()

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": "text/plain"}) as response:
            stream = response.headers["x-stream-id"]
            assert await response.read() == whole
        headers = {"accept": "text/plain", "range": f"bytes={offset}-"}
        async with session.get(f"{url}/v1/streams/{stream}", headers=headers) as response:
            if offset == len(whole):
                assert (response.status, response.headers["content-range"]) == (416, f"bytes */{len(whole)}")
                return
            assert response.status == 206
            assert response.headers["content-range"] == f"bytes {offset}-{len(whole) - 1}/{len(whole)}"
            assert await response.read() == whole[offset:]
        async with session.get(f"{url}/v1/streams/{stream}", headers=headers | {"range": "bytes=999-"}) as response:
            assert response.status == 416
            assert response.headers["content-range"] == f"bytes */{len(whole)}"

    run(ask)


def test_text_resumes_while_it_runs(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": "text/plain"}) as response:
            stream = response.headers["x-stream-id"]
            begun = await response.content.readexactly(4)
            response.close()
        headers = {"accept": "text/plain", "range": "bytes=4-"}
        async with session.get(f"{url}/v1/streams/{stream}", headers=headers) as response:
            assert response.status == 206
            steps.go_on()
            assert (begun + await response.read()).decode() == TEXT

    run(ask)


def test_an_interrupted_answer_has_no_clean_end(url: str, provider: Provider) -> None:
    provider.handler = cut_after(*WHOLE[:4])

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            events = await Events(response).rest()
            assert json.loads(events[-1].data)["error"]["message"]
            headers = {"last-event-id": f"{events[-1].stream}:{events[-1].n}"}
        async with session.get(f"{url}/v1/chat/stream", headers=headers) as response:
            assert response.status == 204
        for accept in ("application/x-ndjson", "text/plain"):
            async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": accept}) as response:
                got = b""
                with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - what came before the break counts
                    while piece := await response.content.readany():
                        got += piece
            last = got.splitlines()[-1]
            assert "error" in json.loads(last) if accept != "text/plain" else got.decode() == "".join(chats.WORDS[:3])
        async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
            await socket.send_json(ASK)
            said = [await socket.receive(timeout=DEADLINE)]
            while said[-1].type == aiohttp.WSMsgType.TEXT:
                said.append(await socket.receive(timeout=DEADLINE))
            assert "error" in json.loads(said[-2].data)
            assert (said[-1].type, said[-1].data) == (aiohttp.WSMsgType.CLOSE, 1011)

    run(ask)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
def test_a_providers_error_keeps_its_status(url: str, provider: Provider, accept: str) -> None:
    error = {
        "error": {"message": "Slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded", "param": None}
    }
    provider.handler = answering(json.dumps(error).encode(), status=429, content_type="application/json")

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"accept": accept}) as response:
            assert response.status == 429
            assert await response.json() == error

    run(ask)


def test_a_provider_that_speaks_something_else_is_502(url: str, provider: Provider) -> None:
    provider.handler = answering(b"<html>It works!</html>", content_type="text/html")

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            assert response.status == 502
            assert (await response.json())["error"]["message"]

    run(ask)


BAD = [
    ("GET", "/v1/chat/stream?prompt=Hi", {}, None, 400, "model"),
    ("GET", "/v1/chat/stream?model=gpt-4o", {}, None, 400, "prompt"),
    ("GET", "/v1/chat/stream?model=gpt-4o&messages=%7B", {}, None, 400, "messages"),
    ("GET", "/v1/chat/stream?model=gpt-4o&prompt=x&temperature=hot", {}, None, 400, "temperature"),
    ("GET", "/v1/chat/stream?model=never-heard-of&prompt=x", {}, None, 404, "never-heard-of"),
    ("GET", "/v1/chat/stream?model=gpt-4o&prompt=x", {"accept": "image/png"}, None, 406, "Accept"),
    ("GET", "/v1/chat/stream", {"last-event-id": "nonsense"}, None, 400, "Last-Event-ID"),
    ("GET", "/v1/chat/stream", {"last-event-id": "nobody:3"}, None, 404, "stream"),
    ("GET", "/v1/streams/nobody", {}, None, 404, "stream"),
    ("GET", "/v1/streams/nobody?after=x", {}, None, 404, "stream"),
    ("DELETE", "/v1/streams/nobody", {}, None, 404, "stream"),
    ("POST", "/v1/chat/stream", {}, b"{", 400, "JSON"),
    ("POST", "/v1/chat/stream", {}, b"[1]", 400, "object"),
    ("POST", "/v1/chat/stream", {}, b"{}", 400, "model"),
    ("POST", "/v1/chat/stream", {}, b'{"model":"gpt-4o"}', 400, "messages"),
    ("POST", "/v1/chat/stream", {}, b'{"model":"gpt-4o","messages":[3]}', 400, "messages"),
    ("POST", "/v1/chat/stream", {}, b"x" * 200_000, 413, "larger"),
    ("PUT", "/v1/chat/stream", {}, b"{}", 405, "GET"),
    ("POST", "/v1/chat/completions", {}, b"{", 400, "JSON"),
    ("POST", "/v1/chat/completions", {}, b'{"messages":[]}', 400, "model"),
    ("POST", "/v1/messages", {}, b'{"messages":[]}', 400, "model"),
    ("POST", "/v1/messages", {}, b'{"model":"never-heard-of","messages":[]}', 404, "never-heard-of"),
    ("GET", "/nowhere", {}, None, 404, "nowhere"),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "said"), BAD)
def test_bad_requests(  # noqa: PLR0917 - a table
    url: str,
    provider: Provider,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    status: int,
    said: str,
) -> None:
    before = len(provider.requests)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.request(method, url + path, headers=headers, data=body) as response:
            assert response.status == status
            assert said in (await response.json())["error"]["message"]

    run(ask)
    assert len(provider.requests) == before


def test_an_oversized_body_of_unknown_length_is_refused(url: str) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", data=endless()) as response:
            assert response.status == 413

    run(ask)


def test_a_chunked_body_is_read(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def pieces() -> Any:
        for byte in json.dumps(ASK).encode():
            yield bytes([byte])

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", data=pieces()) as response:
            assert response.status == 200
            assert len(await Events(response).rest()) == EVENTS

    run(ask)


def test_after_beyond_the_end_is_400(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK) as response:
            stream = response.headers["x-stream-id"]
            await response.read()
        for path in (f"/v1/streams/{stream}?after=x", f"/v1/streams/{stream}?after=-1"):
            async with session.get(url + path) as response:
                assert response.status == 400
        headers = {"accept": "application/x-ndjson"}
        async with session.get(f"{url}/v1/streams/{stream}?after=999", headers=headers) as response:
            assert response.status == 400
        async with session.get(f"{url}/v1/streams/{stream}", headers={"last-event-id": "other:1"}) as response:
            assert response.status == 400

    run(ask)


def test_through_the_proxy_too(proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        for base in ("http://midstream.internal", "https://midstream.internal"):
            context = proxy.client_context()
            async with session.post(f"{base}/v1/chat/stream", json=ASK, proxy=proxy.url, ssl=context) as response:
                assert len(await Events(response).rest()) == EVENTS
            async with session.ws_connect(f"{base}/v1/chat/stream", proxy=proxy.url, ssl=context) as socket:
                await socket.send_json(ASK)
                assert chats.read(await chats.chat_on(socket)).text == TEXT

    run(ask)


def test_provider_apis_on_the_gateway(url: str, provider: Provider, proxy: Proxy) -> None:
    import openai

    seen = provider.requests
    provider.handler = answering(*WHOLE)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-mine", max_retries=0) as client:
        for model in ("gpt-4o-mini", "openai/gpt-4o-mini"):
            answer = client.chat.completions.create(
                model=model, stream=True, messages=[{"role": "user", "content": "x"}]
            )
            assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == TEXT
            assert seen[-1].headers["authorization"] == "Bearer sk-provider-secret"
            assert seen[-1].headers["host"] == "api.openai.com"
            assert seen[-1].path == "/v1/chat/completions"
        provider.handler = answering(*MESSAGES)
        answer = client.chat.completions.create(
            model="claude-haiku-4-5", stream=True, messages=[{"role": "user", "content": "x"}]
        )
        assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == "Hello wörld 🌍, I look."
        assert (seen[-1].path, seen[-1].headers["host"]) == ("/v1/messages", "api.anthropic.com")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(
                model="never-heard-of", stream=True, messages=[{"role": "user", "content": "x"}]
            )


def test_rows_of_the_gateway(url: str, provider: Provider, proxy: Proxy) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        await chats.over_sse(session, url, ASK)
        await chats.over_lines(session, url, ASK)
        await chats.over_websocket(session, url, ASK)

    run(ask, **{"user-agent": "rows-of-the-gateway/1"})
    rows = proxy.rows(3, "app = 'rows-of-the-gateway' and outcome is not null")
    assert [row["delivery"] for row in rows] == ["sse", "chunked", "websocket"]
    for row in rows:
        assert (row["outcome"], row["finish_reason"], row["http_status"]) == ("complete", "stop", 200)
        assert (row["provider"], row["model_requested"], row["model_served"]) == (
            "openai",
            "gpt-4o-mini",
            "gpt-4o-mini-2024",
        )
        assert (row["input_tokens"], row["output_tokens"], row["key"]) == (9, 7, None)


def test_web_pages_of_other_origins(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    path = f"{url}/v1/chat/stream"

    async def ask(session: aiohttp.ClientSession) -> None:
        good, bad = {"origin": "http://localhost:3000"}, {"origin": "https://evil.example"}
        async with session.post(path, json=ASK, headers=good) as response:
            assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
            assert "X-Stream-Id" in response.headers["access-control-expose-headers"]
            await response.read()
        async with session.post(path, json=ASK, headers=bad) as response:
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        async with session.options(path, headers=good | asked) as response:
            assert response.status == 204
            assert response.headers["access-control-allow-headers"] == "authorization,content-type"
            assert "POST" in response.headers["access-control-allow-methods"]
        async with session.options(path, headers=bad | asked) as response:
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(path, headers=bad)
        async with session.get(f"{path}?model=gpt-4o&prompt=x", headers={"sec-fetch-site": "cross-site"}) as response:
            assert response.status == 403

    run(ask)


def test_dns_rebinding_is_refused(url: str, provider: Provider) -> None:
    before = len(provider.requests)

    async def ask(session: aiohttp.ClientSession) -> None:
        for host in ("evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example"):
            async with session.post(f"{url}/v1/chat/stream", json=ASK, headers={"host": host}) as response:
                assert response.status == 403, host
        async with session.get(f"{url}/v1/streams", headers={"x-forwarded-for": "203.0.113.9"}) as response:
            assert response.status == 403
        async with session.get(f"{url}/v1/streams", headers={"host": "localhost:8081"}) as response:
            assert response.status == 200

    run(ask)
    assert len(provider.requests) == before
