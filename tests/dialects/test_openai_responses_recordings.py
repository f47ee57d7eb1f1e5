"""Every recorded Responses exchange, against its `expect` and against what the official SDK makes of it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import openai
import pytest

import exchanges
from midstream.dialects.openai.responses import OPENAI_RESPONSES, ResponsesDecoder, ResponsesSession
from midstream.events import (
    Asked,
    End,
    Failure,
    Finish,
)
from midstream.wire.json_text import Json
from openai_events import (
    CREATE,
    frame,
    frames_of,
)

STREAMS = exchanges.of("responses")
ERRORS = exchanges.of("responses", kind="error")

EDITED = {
    "openai/responses--vercel--openai-shell-container.1": "its maintainers cut the deltas short, not the repetitions",
    "openai/responses--vercel--fixtures__-openai-phase.1": "its maintainers cut the deltas short, not the repetitions",
}
"""Recordings whose last event says more than their deltas: `expect`, and we, go by the deltas."""


def check(said: exchanges.Said, expect: Json) -> None:
    assert said.text == expect["text"]
    assert (said.reasoning or None) == expect["reasoning"]
    assert (said.refusal or None) == expect["refusal"]
    assert said.usage == expect["usage"]
    assert said.finish_reason == expect["finish_reason"]
    assert said.model == expect["model"]
    assert said.tool_calls == [{k: c[k] for k in ("id", "name", "arguments")} for c in expect["tool_calls"]]
    assert said.failure is None
    assert said.malformed == []
    assert said.ended


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    for size in exchanges.sizes(exchange.body):
        events = exchanges.decode(OPENAI_RESPONSES, exchange, size)
        check(exchanges.fold(events), exchange.expect)
        details = [event.detail for event in events if isinstance(event, Finish)]
        assert details == [exchange.expect.get("finish_reason_detail") or ""]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_without_its_last_event(exchange: exchanges.Exchange) -> None:
    decoder = ResponsesDecoder()
    frames = frames_of(exchange)
    said = [event for f in frames[:-1] for event in decoder.feed(f)]
    assert not any(isinstance(event, End | Finish | Failure) for event in said)
    assert [event.type for event in decoder.close() if isinstance(event, Failure)] == ["truncated"]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_response_says_the_same_whole(exchange: exchanges.Exchange) -> None:
    """The last event holds the whole response: read as an unstreamed answer, and as all that a relay let through."""
    if exchange.id in EDITED:
        pytest.skip(EDITED[exchange.id])
    frames = frames_of(exchange)
    response = json.loads(frames[-1].data)["response"]
    if not response["output"]:
        pytest.skip("ChatGPT's backend leaves the last event's output empty")
    check(exchanges.fold(OPENAI_RESPONSES.read_answer(response)), exchange.expect)
    check(exchanges.fold(ResponsesDecoder().feed(frames[-1])), exchange.expect)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_says_what_is_expected(exchange: exchanges.Exchange) -> None:
    error = exchange.expect["error"]
    fields = error if isinstance(error, dict) else {"message": error}
    for size in exchanges.sizes(exchange.body):
        (said,) = exchanges.decode(OPENAI_RESPONSES, exchange, size)
        assert isinstance(said, Failure)
        assert (said.message, said.status) == (fields["message"], exchange.status)
        assert said.type == fields.get("type", "")
        assert said.code == fields.get("code", said.code)


REFUSED = {
    "github-copilot/responses--rig--reasoning_roundtrip-streaming",
    "github-copilot/responses--rig--reasoning_roundtrip-streaming-1",
}
"""Recordings that the SDK's accumulator refuses ("Lifecycle response identity changed"): every event has another id."""


def by_the_sdk(exchange: exchanges.Exchange) -> tuple[dict[Any, str], dict[int, str], Any]:
    """What the official SDK accumulates: texts and arguments by item, and the response of its last event."""
    import httpx2  # the openai SDK's own transport

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=exchange.body)

    client = openai.OpenAI(
        api_key="none", base_url="http://test/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    texts: dict[Any, str] = defaultdict(str)
    arguments: dict[int, str] = {}
    last: Any = None
    if exchange.id in REFUSED:
        for raw in client.responses.create(model="m", input="hi", stream=True):
            if raw.type == "response.output_text.delta":
                texts[raw.output_index, raw.content_index] += raw.delta
            last = getattr(raw, "response", None)
        return texts, arguments, last
    with client.responses.stream(model="m", input="hi") as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                texts[event.output_index, event.content_index] = event.snapshot
            elif event.type == "response.function_call_arguments.delta":
                arguments[event.output_index] = event.snapshot
            elif event.type in ("response.completed", "response.incomplete"):
                last = event.response
    return texts, arguments, last


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_official_sdk_makes_of_it(exchange: exchanges.Exchange) -> None:
    texts, arguments, last = by_the_sdk(exchange)
    said = exchanges.fold(exchanges.decode(OPENAI_RESPONSES, exchange, 1460))
    assert said.text == "".join(texts.values())
    assert said.finish_reason == last.status
    assert said.usage == last.usage.to_dict(mode="json")
    if not last.output:
        assert [call["arguments"] for call in said.tool_calls] == list(arguments.values())
    elif exchange.id not in EDITED:
        assert said.text == last.output_text
        calls = [(i, i.arguments) for i in last.output if i.type == "function_call"]
        calls += [(i, i.input) for i in last.output if i.type == "custom_tool_call"]
        ours = [(call["id"], call["name"], call["arguments"]) for call in said.tool_calls]
        assert ours == [(item.call_id, item.name, text) for item, text in calls]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_a_recorded_stream_says_the_same_as_a_session(exchange: exchanges.Exchange) -> None:
    """The server's messages are the SSE events' data."""
    frames = frames_of(exchange)
    session, decoder = ResponsesSession(), ResponsesDecoder()
    assert session.feed(frame(CREATE[1]), from_client=True) == [Asked("m")]
    assert [session.feed(f, from_client=False) for f in frames] == [decoder.feed(f) for f in frames]
