"""OpenAI's background mode: a Responses stream that broke is read on exactly where it broke, in the very same response."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web

from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.healing import WHOLE, WORDS, Scripted, fails, healing_proxy
from midstream.dialects.base import AnswerOptions
from midstream.dialects.openai.responses_answer import ResponsesEncoder
from midstream.events import END, Event, Finish, Start, Text, ToolCall, Usage
from midstream.wire.framing import Framing

ROUTE = '[[routes]]\nmodel = "gpt-5*"\non_break = "continue"\nattempts = 3\nbackoff = { base = 0.05 }\n'


def frames() -> list[bytes]:
    """A whole response: text, then a tool call."""
    encoder = ResponsesEncoder(AnswerOptions(id="resp_first", model="gpt-5", created=1))
    said: list[Event] = [
        Start("resp_first", "gpt-5-2026"),
        *(Text(word) for word in WORDS),
        ToolCall(0, "call_1", "weather", '{"city":', block=1),
        ToolCall(0, arguments='"Bern"}', block=1),
        Usage(input_tokens=7, output_tokens=66),
        Finish("stop"),
        END,
    ]
    return [Framing("sse").write([frame]) for event in said for frame in encoder.feed(event)]


FRAMES = frames()


@pytest.fixture(scope="module")
def backup(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority)
    yield provider
    provider.stop()


@pytest.fixture
def proxy(authority: Authority, provider: Provider, backup: Provider, tmp_path: Path) -> Iterator[Proxy]:
    with running(healing_proxy(tmp_path, authority, provider, backup, ROUTE)) as proxy:
        yield proxy


class Background:
    """Breaks off behind each of `cuts` frames; reads on from where it is asked to."""

    def __init__(self, *cuts: int) -> None:
        self.asked: list[str] = []
        self._cuts = list(cuts)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        first = 0
        if request.method == "GET":
            assert request.headers["authorization"] == "Bearer sk-test"
            first = int(request.query["starting_after"]) + 1
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        until = self._cuts.pop(0) if self._cuts else len(FRAMES)
        await response.write(b"".join(FRAMES[first:until]))
        if until < len(FRAMES):
            assert request.transport is not None
            await response.write(FRAMES[until][:20])
            request.transport.close()
        return response


def ask(proxy: Proxy) -> list[Any]:
    http = httpx2.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=45)
    client = openai.OpenAI(api_key="sk-test", max_retries=0, http_client=http)
    return list(client.responses.create(model="gpt-5", input="Count.", background=True, stream=True))


@pytest.mark.parametrize("cuts", [(20,), (len(FRAMES) - 4,), (5, 30, len(FRAMES) - 1)])
def test_it_is_read_on_exactly(proxy: Proxy, provider: Provider, backup: Provider, cuts: tuple[int, ...]) -> None:
    """Also inside a tool call, where nothing else would help."""
    background = Background(*cuts)
    Scripted(provider, background)
    Scripted(backup, fails(500))
    said = ask(proxy)
    assert [event.sequence_number for event in said] == list(range(len(FRAMES)))
    assert [json.loads(frame.partition(b"data: ")[2])["type"] for frame in FRAMES] == [event.type for event in said]
    assert "".join(event.delta for event in said if event.type == "response.output_text.delta") == WHOLE
    assert background.asked == [
        "POST /v1/responses",
        *(f"GET /v1/responses/resp_first?stream=true&starting_after={cut - 1}" for cut in cuts),
    ]
    row = proxy.rows(1)[-1]
    assert (row["outcome"], row["attempts"], row["output_tokens"]) == ("complete", len(cuts) + 1, 66)


def test_a_response_that_is_gone_is_gone_on_from_otherwise(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    """The provider no longer has it: then as any other stream."""
    seen: list[str] = []
    rest = ResponsesEncoder(AnswerOptions(id="resp_second", model="gpt-5", created=1))
    events: list[Event] = [Start("resp_second", "gpt-5"), *(Text(word) for word in WORDS[20:]), Finish("stop"), END]
    pieces = [Framing("sse").write(rest.feed(event)) for event in events]

    async def script(request: web.Request) -> web.StreamResponse:
        seen.append(request.method)
        if request.method == "GET":
            return await fails(404)(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        broken = len(seen) == 1
        upto = next(n for n, f in enumerate(FRAMES) if b'"delta":"w20 "' in f)
        await response.write(b"".join(FRAMES[:upto] if broken else pieces))
        if broken:
            assert request.transport is not None
            request.transport.close()
        return response

    Scripted(provider, script)
    Scripted(backup, fails(500))
    said = ask(proxy)
    assert seen == ["POST", "GET", "POST"]
    assert said[-1].type == "response.completed"
    assert said[-1].response.output_text == WHOLE
