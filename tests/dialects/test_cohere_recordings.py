"""Every recorded Cohere exchange, against its `expect` and against what Cohere's SDK reads in the same bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import cohere
import httpx
import pytest

import exchanges
from midstream.dialects.base import Dialect
from midstream.dialects.cohere.v2 import COHERE, COHERE_V1
from midstream.events import (
    END,
    End,
    Failure,
    Finish,
)

V2 = exchanges.of("v2/chat")
V1 = [exchange for exchange in exchanges.of("v1/chat") if exchange.provider == "cohere"]
ERRORS = [e for e in exchanges.of("v2/chat", "v1/chat", kind="error") if e.provider == "cohere"]


@pytest.mark.parametrize(
    ("dialect", "exchange"),
    [*((COHERE, e) for e in V2), *((COHERE_V1, e) for e in V1)],
    ids=lambda e: getattr(e, "id", ""),
)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(
    dialect: Dialect, exchange: exchanges.Exchange
) -> None:
    whole = exchanges.decode(dialect, exchange, len(exchange.body))
    told, expect = exchanges.fold(whole), exchange.expect
    assert (told.text, told.reasoning or None, told.refusal) == (expect["text"], expect["reasoning"], "")
    assert told.tool_calls == expect["tool_calls"]
    assert (told.usage, told.finish_reason) == (expect["usage"], expect["finish_reason"])
    assert (told.model or None, told.failure, told.malformed) == (expect["model"], None, [])
    assert [event for event in whole if isinstance(event, End)] == [END]
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(dialect, exchange, size) == whole


def transport(exchange: exchanges.Exchange) -> httpx.Client:
    headers = {"content-type": exchange.content_type or "text/event-stream"}
    answer = httpx.Response(exchange.status, headers=headers, content=exchange.body)
    return httpx.Client(transport=httpx.MockTransport(lambda request: answer))


@pytest.mark.parametrize("exchange", V2, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_sdk_reads(exchange: exchanges.Exchange) -> None:
    text = thinking = ""
    calls: list[Any] = []
    end: Any = None
    for event in cohere.ClientV2("none", httpx_client=transport(exchange)).chat_stream(model="m", messages=[]):
        one: Any = event
        if one.type in ("content-start", "content-delta"):
            text += one.delta.message.content.text or ""
            thinking += one.delta.message.content.thinking or ""
        elif one.type == "tool-call-start":
            call = one.delta.message.tool_calls
            calls.append({"id": call.id, "name": call.function.name, "arguments": call.function.arguments})
        elif one.type == "tool-call-delta":
            calls[one.index]["arguments"] += one.delta.message.tool_calls.function.arguments
        elif one.type == "message-end":
            end = one.delta
    told = exchanges.fold(exchanges.decode(COHERE, exchange, len(exchange.body)))
    assert (told.text, told.reasoning, told.tool_calls) == (text, thinking, calls)
    assert told.finish_reason == end.finish_reason
    usage = told.usage_events[-1]
    assert (usage.input_tokens, usage.output_tokens) == (end.usage.tokens.input_tokens, end.usage.tokens.output_tokens)


@pytest.mark.parametrize("exchange", V1, ids=lambda e: e.id)
def test_every_recorded_v1_stream_says_what_the_sdk_reads(exchange: exchanges.Exchange) -> None:
    events: list[Any] = list(cohere.Client("none", httpx_client=transport(exchange)).chat_stream(message="m"))
    told = exchanges.fold(exchanges.decode(COHERE_V1, exchange, len(exchange.body)))
    assert told.text == "".join(event.text for event in events if event.event_type == "text-generation")
    assert told.text == events[-1].response.text
    assert told.finish_reason == events[-1].finish_reason


@pytest.mark.parametrize("exchange", [*V2, *V1], ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_before_its_last_event(exchange: exchanges.Exchange) -> None:
    dialect = COHERE if exchange in V2 else COHERE_V1
    last = max(exchange.body.rfind(b"event: message-end"), exchange.body.rfind(b'{"is_finished":true'))
    assert last > 0
    for at in {0, 1, last // 2, last}:
        events = exchanges.decode(dialect, replace(exchange, body=exchange.body[:at]), max(at, 1))
        assert isinstance(events[-1], Failure)
        assert events[-1].type == "truncated"
        assert not any(isinstance(event, End | Finish) for event in events)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_read(exchange: exchanges.Exchange) -> None:
    dialect = COHERE_V1 if urlsplit(exchange.request["url"]).path == "/v1/chat" else COHERE
    for size in exchanges.sizes(exchange.body):
        failure = exchanges.fold(exchanges.decode(dialect, exchange, size)).failure
        assert failure is not None
        assert (failure.status, failure.raw) == (exchange.status, exchange.expect["error"])
        assert failure.message == exchange.expect["error"]["message"]
        assert failure.type == exchange.expect["error"].get("error_type", "")
