"""Every recorded interaction, against its `expect` and against what Google's SDK makes of the same bytes."""

from __future__ import annotations

from typing import Any

import pytest

import exchanges
from google_sdk import client_of
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import TRUNCATED
from midstream.dialects.gemini.interactions import GEMINI_INTERACTIONS

STREAMS = exchanges.of("interactions")


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    expect = exchange.expect
    whole = exchanges.decode(GEMINI_INTERACTIONS, exchange, len(exchange.body))
    said = exchanges.fold(whole)
    assert said.text == (expect["text"] or "")
    assert (said.reasoning or None) == expect["reasoning"]
    assert said.usage == expect["usage"]
    assert said.finish_reason == expect["finish_reason"]
    assert said.model == expect["model"]
    assert said.tool_calls == [{key: call[key] for key in ("id", "name", "arguments")} for call in expect["tool_calls"]]
    assert (said.failure, said.malformed, said.ended) == (None, [], True)
    (usage,) = said.usage_events
    assert (usage.input_tokens or 0) + (usage.output_tokens or 0) == usage.raw["total_tokens"]
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(GEMINI_INTERACTIONS, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_sdk_makes_of_it(exchange: exchanges.Exchange) -> None:
    said = exchanges.fold(exchanges.decode(GEMINI_INTERACTIONS, exchange, len(exchange.body)))
    stream: Any = client_of(exchange).interactions.create(model="m", input="x", stream=True)
    events = [event.model_dump() for event in stream]
    deltas = [event["delta"] for event in events if event["event_type"] == "step.delta"]
    assert said.text == "".join(one["text"] for one in deltas if one.get("type") == "text")
    summaries = [one["content"]["text"] for one in deltas if one.get("type") == "thought_summary"]
    assert said.reasoning == "".join(summaries)
    steps = [event["step"] for event in events if event["event_type"] == "step.start"]
    calls = [(step["id"], step["name"]) for step in steps if step["type"] == "function_call"]
    assert [(call["id"], call["name"]) for call in said.tool_calls] == calls
    arguments = "".join(one["arguments"] for one in deltas if one.get("type") == "arguments_delta")
    assert "".join(call["arguments"] for call in said.tool_calls) == arguments
    last = events[-1]["interaction"]
    assert (said.finish_reason, said.model) == (last["status"], last["model"])
    assert said.usage_events[-1].cached_tokens == last["usage"]["total_cached_tokens"]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_without_its_completion(exchange: exchanges.Exchange) -> None:
    body = exchange.body[: exchange.body.index(b"event: interaction.completed")]
    decoder = AnswerDecoder(GEMINI_INTERACTIONS, content_type=exchange.content_type)
    assert (decoder.feed(body) + decoder.close())[-1] == TRUNCATED
