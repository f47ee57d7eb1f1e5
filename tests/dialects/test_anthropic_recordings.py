"""Every recorded exchange of Anthropic's APIs, against its `expect` and against what Anthropic's SDK makes of the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.beta import BetaMessage

import exchanges
from midstream.dialects.anthropic.messages import ANTHROPIC_COMPLETE, ANTHROPIC_MESSAGES, read_answer, read_request
from midstream.events import End, Failure, Reasoning, ServerTool, Usage

STREAMS = exchanges.of("messages")
ERRORS = exchanges.of("messages", "complete-legacy", kind="error")
REQUESTS = [exchange for exchange in STREAMS if isinstance(exchange.request.get("body"), dict)]
LEGACY = exchanges.of("complete-legacy")
COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def check(said: exchanges.Said, expect: dict[str, Any]) -> None:
    assert said.text == expect["text"]
    assert (said.reasoning or None) == expect["reasoning"]
    assert said.refusal == ""
    assert said.tool_calls == [call for call in expect["tool_calls"] if "kind" not in call]
    assert said.usage == expect["usage"]
    assert said.finish_reason == expect["finish_reason"]
    assert said.model == expect["model"]
    assert said.malformed == []
    assert said.failure is None
    assert said.ended


def blocks(exchange: exchanges.Exchange) -> Iterator[dict[str, Any]]:
    """The content blocks on the wire, found without our decoder."""
    for line in exchange.body.decode().splitlines():
        if line.startswith("data:") and '"content_block_start"' in line:
            yield json.loads(line[5:])


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    whole = exchanges.decode(ANTHROPIC_MESSAGES, exchange, len(exchange.body))
    check(exchanges.fold(whole), exchange.expect)
    assert [e for e in whole if isinstance(e, End)] == [End()]
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(ANTHROPIC_MESSAGES, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_tool_of_the_provider_is_told(exchange: exchanges.Exchange) -> None:
    """Its name: the arguments, which `expect` has too, are for Anthropic's eyes."""
    events = exchanges.decode(ANTHROPIC_MESSAGES, exchange, len(exchange.body))
    told = {event.block: event.name for event in events if isinstance(event, ServerTool)}
    kinds = {event["index"]: event["content_block"]["type"] for event in blocks(exchange)}
    started = [name for block, name in told.items() if kinds[block].endswith("_tool_use")]
    assert started == [call["name"] for call in exchange.expect["tool_calls"] if "kind" in call]
    results = {i: kind.removesuffix("_tool_result") for i, kind in kinds.items() if kind.endswith("_tool_result")}
    assert {block: name for block, name in told.items() if not kinds[block].endswith("_tool_use")} == results


def sdk(exchange: exchanges.Exchange) -> anthropic.Anthropic:
    answer = httpx2.Response(
        exchange.status, headers={"content-type": exchange.content_type or "text/event-stream"}, content=exchange.body
    )
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)


def accumulate(exchange: exchanges.Exchange) -> BetaMessage:
    with sdk(exchange).beta.messages.stream(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]
    ) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_sdk_accumulates(exchange: exchanges.Exchange) -> None:
    events = exchanges.decode(ANTHROPIC_MESSAGES, exchange, len(exchange.body))
    said = exchanges.fold(events)
    message = accumulate(exchange).to_dict()
    content: Any = message["content"]
    assert said.model == message["model"]
    assert said.finish_reason == message["stop_reason"]
    assert said.text == "".join(block["text"] for block in content if block["type"] == "text")
    assert said.reasoning == "".join(block["thinking"] for block in content if block["type"] == "thinking")
    signatures = "".join(event.signature for event in events if isinstance(event, Reasoning))
    assert signatures == "".join(block.get("signature") or block.get("data") or "" for block in content)
    calls = [(call["id"], call["name"], json.loads(call["arguments"] or "{}")) for call in said.tool_calls]
    assert calls == [(b["id"], b["name"], b["input"]) for b in content if b["type"] == "tool_use"]
    usage: Any = message["usage"]
    assert said.usage is not None
    for key in (*COUNTS, "server_tool_use", "output_tokens_details", "iterations"):
        assert said.usage.get(key) == usage.get(key)
    whole = exchanges.fold(read_answer(message))
    assert (whole.text, whole.reasoning, whole.finish_reason) == (said.text, said.reasoning, said.finish_reason)
    assert [(c["id"], c["name"], json.loads(c["arguments"] or "{}")) for c in whole.tool_calls] == calls
    assert whole.ended


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_input_is_counted_with_its_cache(exchange: exchanges.Exchange) -> None:
    usage = [e for e in exchanges.decode(ANTHROPIC_MESSAGES, exchange, len(exchange.body)) if isinstance(e, Usage)][-1]
    raw = exchange.expect["usage"]
    cache = (raw.get("cache_read_input_tokens", 0), raw.get("cache_creation_input_tokens", 0))
    assert usage.input_tokens == raw["input_tokens"] + sum(cache)
    assert usage.output_tokens == raw["output_tokens"]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_before_its_last_event(exchange: exchanges.Exchange) -> None:
    at = exchange.body.rfind(b"event: message_stop")
    assert at > 0
    for cut in {0, 1, at // 2, at}:
        events = exchanges.decode(ANTHROPIC_MESSAGES, replace(exchange, body=exchange.body[:cut]), max(cut, 1))
        assert isinstance(events[-1], Failure)
        assert events[-1].type == "truncated"
        assert not any(isinstance(event, End) for event in events)


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error"])
def test_an_error_in_the_stream_fails_as_the_sdk_raises(kind: str) -> None:
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    )
    start += b'"content":[],"model":"c","stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    error = json.dumps({"type": "error", "error": {"type": kind, "message": "Overloaded"}}).encode()
    body = start + b"event: error\ndata: " + error + b"\n\n"
    headers = {"content-type": "text/event-stream"}
    exchange = exchanges.Exchange("", "", "", "stream", "sse", "", (), {}, 200, headers, body, [], {})
    with pytest.raises(anthropic.APIStatusError) as raised:
        accumulate(exchange)
    failure = exchanges.fold(exchanges.decode(ANTHROPIC_MESSAGES, exchange, 7)).failure
    assert failure is not None
    assert raised.value.body == {"type": "error", "error": failure.raw}
    assert (failure.type, failure.message) == (kind, "Overloaded")


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_read(exchange: exchanges.Exchange) -> None:
    for size in exchanges.sizes(exchange.body):
        failure = exchanges.fold(exchanges.decode(ANTHROPIC_MESSAGES, exchange, size)).failure
        assert failure is not None
        assert failure.status == exchange.status
        assert {"type": failure.type, "message": failure.message} == exchange.expect["error"]


@pytest.mark.parametrize("exchange", LEGACY, ids=lambda e: e.id)
def test_every_recorded_completion_says_what_is_expected(exchange: exchanges.Exchange) -> None:
    for size in exchanges.sizes(exchange.body):
        check(exchanges.fold(exchanges.decode(ANTHROPIC_COMPLETE, exchange, size)), exchange.expect)


@pytest.mark.parametrize("exchange", REQUESTS, ids=lambda e: e.id)
def test_every_recorded_request_asks_for_a_stream(exchange: exchanges.Exchange) -> None:
    facts = read_request(exchange.request["url"].partition("?")[0], exchange.request["body"])
    assert facts.stream
    assert facts.model
