"""One chat has the same text, tool calls, usage and finish reason over every delivery, and from each dialect's provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_answers import CALLS, CONFIG, DIALECTS, HOSTS, IS_CUT, STOPS, WORDS, Dialect, Said
from end_to_end.gateway_chats import Answer, Events, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Handler, Provider, Proxy, running
from midstream.dialects import registry
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions
from midstream.dialects.openai.chat_answer import ChatEncoder
from midstream.events import Failure
from midstream.recording import Recording, read

TEXT = "".join(WORDS)
MESSAGES = [{"role": "user", "content": "Weather?"}]
ROOT = Path(__file__).parent.parent.parent
BY_NAME = {dialect.name: dialect for dialect in reversed(registry.DIALECTS)}
each = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@pytest.fixture(scope="module")
def everyone(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=HOSTS)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, everyone: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    proxy = chats.gateway_proxy(tmp_path_factory.mktemp("dialects"), authority, everyone, confdir, CONFIG)
    with running(proxy):
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return chats.url_of(proxy)


def comparable(answer: Answer) -> Answer:
    """Without the spaces that one JSON has and another has not."""
    for call in answer.calls.values():
        call["arguments"] = json.dumps(json.loads(call["arguments"]))
    return answer


def wanted(said: Said) -> Answer:
    calls = {0: {"id": "call_1", "name": "weather", "arguments": '{"city": "Bern"}'}} if said.calls else {}
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    return Answer(TEXT, calls, usage, said.finish, "gpt-4o-mini-2024")


async def over_text(session: aiohttp.ClientSession, url: str, body: Any) -> str:
    async with session.post(f"{url}/v1/chat/stream", json=body, headers={"accept": "text/plain"}) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        return await response.text()


async def over_get(session: aiohttp.ClientSession, url: str, body: Any) -> Answer:
    """As a browser's EventSource asks."""
    query = {"model": body["model"], "messages": json.dumps(body["messages"])}
    async with session.get(f"{url}/v1/chat/stream", params=query) as response:
        events = await Events(response).rest()
    assert events[-1].data == "[DONE]"
    return chats.read([json.loads(event.data) for event in events[:-1]])


DELIVERIES = (chats.over_sse, over_get, chats.over_lines, chats.over_websocket)


@pytest.mark.parametrize("said", [CALLS, STOPS, IS_CUT], ids=lambda said: said.finish)
@each
def test_one_answer_over_all_deliveries_from_each_provider(
    url: str, everyone: Provider, dialect: Dialect, said: Said
) -> None:
    everyone.handler = answering(*dialect.pieces(said), content_type=dialect.content_type)
    everyone.requests.clear()

    async def ask(session: aiohttp.ClientSession) -> None:
        body = {"model": f"{dialect.provider}/m-1", "messages": MESSAGES}
        for deliver in DELIVERIES:
            assert comparable(await deliver(session, url, body)) == wanted(said), deliver.__name__
        assert await over_text(session, url, body) == TEXT

    run(ask, authorization="Bearer sk-mine")
    assert {request.path for request in everyone.requests} == {dialect.path}
    assert len(everyone.requests) == len(DELIVERIES) + 1


OWN_WORDS = {
    "openai_chat": "tool_calls",
    "openai_responses": "completed",
    "anthropic_messages": "tool_use",
    "gemini": "STOP",
    "ollama": "stop",
}
"""How each provider itself words that an answer ended in a tool call: so it is in the row."""


@each
def test_rows_say_who_answered(proxy: Proxy, url: str, everyone: Provider, dialect: Dialect) -> None:
    everyone.handler = answering(*dialect.pieces(CALLS), content_type=dialect.content_type)
    app = f"rows-{dialect.provider}"

    async def ask(session: aiohttp.ClientSession) -> None:
        await chats.over_lines(session, url, {"model": f"{dialect.provider}/m-1", "messages": MESSAGES})

    run(ask, **{"user-agent": app, "authorization": "Bearer sk-mine"})
    (row,) = proxy.rows(1, f"app = '{app}' and outcome is not null")
    said = {name: row[name] for name in ("provider", "dialect", "delivery", "outcome", "finish_reason", "usage_source")}
    assert said == {
        "provider": dialect.provider,
        "dialect": dialect.name,
        "delivery": "chunked",
        "outcome": "complete",
        "finish_reason": OWN_WORDS[dialect.name],
        "usage_source": "provider",
    }
    assert (row["input_tokens"], row["output_tokens"]) == (9, 7)


def _recorded(*, whole: bool) -> Iterator[Any]:
    """The recordings of the five dialects that were answered, and to the end; or those that failed on the way."""
    for dialect in DIALECTS:
        for file in sorted((ROOT / "recordings" / dialect.name).glob("*.jsonl")):
            recording = read(file)
            if recording.header.response.status == 200:
                said = expected(dialect, recording)
                if whole is (said.failure is None):
                    yield pytest.param(dialect, recording, said, id=f"{dialect.name}-{file.stem}")


@dataclass(frozen=True)
class Expected:
    """What our own decoder makes of a recording, without any network."""

    chunks: list[Any]
    failure: Failure | None

    @property
    def text(self) -> str:
        """Of the first choice, which is all that plain text has."""
        firsts = [choice for chunk in self.chunks for choice in chunk["choices"] if not choice["index"]]
        return "".join(choice["delta"]["content"] for choice in firsts)


def expected(dialect: Dialect, recording: Recording) -> Expected:
    content_type = recording.header.response.headers.get("content-type", "")
    decoder = AnswerDecoder(BY_NAME[dialect.name], content_type=content_type)
    events = [*decoder.feed(recording.body), *decoder.close()]
    failure = next((event for event in events if isinstance(event, Failure)), None)
    encoder = ChatEncoder(AnswerOptions(id="x", model="x", created=1))
    frames = [frame.data for event in events for frame in encoder.feed(event) if frame.data != b"[DONE]"]
    chunks = [json.loads(data) for data in frames]
    return Expected([chunk for chunk in chunks if "error" not in chunk], failure)


def replaying(recording: Recording) -> Handler:
    content_type = recording.header.response.headers.get("content-type", "")
    return answering(*(chunk.data for chunk in recording.chunks), content_type=content_type)


@pytest.mark.parametrize(("dialect", "recording", "said"), [*_recorded(whole=True)])
def test_recorded_answers_over_all_deliveries(
    url: str, everyone: Provider, dialect: Dialect, recording: Recording, said: Expected
) -> None:
    everyone.handler = replaying(recording)
    answers: list[Answer] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        body = {"model": f"{dialect.provider}/m-1", "messages": MESSAGES}
        answers.extend([await deliver(session, url, body) for deliver in DELIVERIES])
        assert await over_text(session, url, body) == said.text

    run(ask, authorization="Bearer sk-mine")
    whole = chats.read(said.chunks)
    for answer in answers:
        assert (answer.text, answer.finish, answer.usage) == (whole.text, whole.finish, whole.usage)
        assert list(answer.calls) == list(whole.calls)
        for call, same in zip(answer.calls.values(), whole.calls.values(), strict=True):
            assert call["id"]
            assert (call["name"], call["arguments"]) == (same["name"], same["arguments"])


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain", "websocket"])
@pytest.mark.parametrize(("dialect", "recording", "said"), [*_recorded(whole=False)])
def test_recorded_failures_over_all_deliveries(
    proxy: Proxy, everyone: Provider, dialect: Dialect, recording: Recording, said: Expected, accept: str
) -> None:
    """What came before the failure, then the provider's own message, once; never a clean end."""
    steps = Steps(tuple(chunk.data for chunk in recording.chunks))
    everyone.handler = steps.handler
    steps.go(len(recording.chunks) - 2)
    body = {"model": f"{dialect.provider}/m-1", "messages": MESSAGES}
    assert said.failure is not None
    message, path = said.failure.message, f"{chats.url_of(proxy)}/v1/chat/stream"
    app = f"failed-{len(recording.chunks)}-{accept.replace('/', '-')}"

    def check(items: list[Any]) -> None:
        assert ["error" in item for item in items] == [False] * (len(items) - 1) + [True]
        assert items[-1]["error"]["message"] == message
        assert chats.read(items[:-1]).text == said.text

    async def ask(session: aiohttp.ClientSession) -> None:
        if accept == "websocket":
            async with session.ws_connect(path) as socket:
                await socket.send_json(body)
                first = await socket.receive_json(timeout=DEADLINE)
                steps.go_on()
                last = [json.loads(message.data) async for message in socket]  # its end is a close, never [DONE]
                assert socket.close_code == 1011
                return check([first, *last])
        async with session.post(path, json=body, headers={"accept": accept}) as response:
            assert response.status == 200
            steps.go_on()
            if accept == "text/event-stream":
                return check([json.loads(event.data) for event in await Events(response).rest()])
            lines = await broken_off(response)
            check([json.loads(line) for line in lines.splitlines()]) if accept != "text/plain" else None
            assert accept != "text/plain" or lines.decode() == said.text

    run(ask, **{"authorization": "Bearer sk-mine", "user-agent": app})
    (row,) = proxy.rows(1, f"app = '{app}' and outcome is not null")
    assert (row["outcome"], row["error"]) == ("failed", message)


async def broken_off(response: aiohttp.ClientResponse) -> bytes:
    """A body that is not ended as HTTP wants it."""
    got = b""
    with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - what came before the break counts
        while piece := await response.content.readany():
            got += piece
    return got


@dataclass(frozen=True)
class Intercepted:
    """A request to a provider itself. asked: the URL that it gets from us, which must be one that streams."""

    dialect: Dialect
    url: str
    credential: tuple[str, str]
    body: dict[str, Any]
    asked: str = ""


GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/m-1"
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}], "safetySettings": []}
INTERCEPTED = (
    Intercepted(
        DIALECTS[1],
        "https://api.openai.com/v1/responses",
        ("authorization", "Bearer sk-own"),
        {"model": "m-1", "input": "Weather?", "store": False, "service_tier": "flex"},
    ),
    Intercepted(
        DIALECTS[3],
        f"{GOOGLE}:generateContent",
        ("x-goog-api-key", "AIza-own"),
        CONTENTS,
        f"{GOOGLE}:streamGenerateContent?alt=sse",
    ),
    Intercepted(
        DIALECTS[3],
        f"{GOOGLE}:streamGenerateContent?alt=sse",
        ("x-goog-api-key", "AIza-own"),
        CONTENTS,
        f"{GOOGLE}:streamGenerateContent?alt=sse",
    ),
    Intercepted(
        DIALECTS[4],
        "https://ollama.com/api/chat",
        ("authorization", "Bearer ollama-own"),
        {"model": "m-1", "messages": MESSAGES, "keep_alive": "5m"},
    ),
)
redelivered = pytest.mark.parametrize(
    "case", INTERCEPTED, ids=[c.url.rpartition("/")[2].replace("?", "-") for c in INTERCEPTED]
)


def through(proxy: Proxy) -> dict[str, Any]:
    return {"proxy": proxy.url, "ssl": proxy.client_context()}


@redelivered
def test_an_intercepted_request_in_every_delivery(proxy: Proxy, everyone: Provider, case: Intercepted) -> None:
    dialect = case.dialect
    everyone.handler = answering(*dialect.pieces(CALLS), content_type=dialect.content_type)
    everyone.requests.clear()
    own = dict([case.credential])
    answers: list[Answer] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        headers = own | {"accept": "application/x-ndjson"}
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            assert response.status == 200, await response.text()
            if dialect.name == "ollama":  # these are its own lines
                assert await response.read() == b"".join(dialect.pieces(CALLS))
            else:
                answers.append(chats.read([json.loads(line) for line in (await response.text()).splitlines()]))
        headers = own | {"accept": "text/plain"}
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            assert (response.status, response.content_type) == (200, "text/plain")
            assert await response.text() == TEXT
        if dialect.name == "openai_responses":  # its API has a WebSocket of its own, which stays the provider's
            return
        async with session.ws_connect(case.url.replace("https:", "wss:"), headers=own, **through(proxy)) as socket:
            for _ in range(2):
                await socket.send_json(case.body)
                answers.append(chats.read(await chats.chat_on(socket)))

    run(ask)
    count = {"openai_responses": 1, "gemini": 3, "ollama": 2}[dialect.name]
    assert [comparable(answer) for answer in answers] == [wanted(CALLS)] * count
    assert len(everyone.requests) == (2 if dialect.name == "openai_responses" else 4)
    for request in everyone.requests:
        name, secret = case.credential
        assert request.headers[name] == secret
        assert f"https://{request.headers['host']}{request.path_qs}" == (case.asked or case.url)


@redelivered
def test_a_redelivered_request_says_all_that_its_client_said(
    proxy: Proxy, everyone: Provider, case: Intercepted
) -> None:
    steps = Steps(case.dialect.pieces(CALLS))
    everyone.handler = steps.handler
    steps.go_on()

    async def ask(session: aiohttp.ClientSession) -> None:
        headers = dict([case.credential]) | {"accept": "text/plain"}
        async with session.post(case.url, json=case.body, headers=headers, **through(proxy)) as response:
            assert await response.text() == TEXT

    run(ask)
    streams = (
        {"stream": True} if case.dialect.name == "openai_responses" else {}
    )  # Gemini's path says it, Ollama always does
    assert steps.bodies == [case.body | streams]
