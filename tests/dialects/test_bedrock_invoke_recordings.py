"""Every recorded InvokeModel exchange, against its `expect` and against what boto3 makes of the same bytes."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

import exchanges
from bedrock_sdk import client_of, cut
from google_sdk import frame
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.bedrock.invoke import BEDROCK_INVOKE, InvokeDecoder, read_request
from midstream.events import END, End
from midstream.wire import Frame

STREAMS = exchanges.of("invoke-with-response-stream")
ERRORS = exchanges.of("invoke-with-response-stream", "invoke", kind="error")

SEVERAL_ANSWERS = "bedrock/invoke-with-response-stream--ddpy--cohere_invoke_stream_multi_output"
"""`expect.text` joins both answers of one request, though `text` is to be the first one's. Here is what each says."""
ANSWERS = {
    0: " In machine learning and natural language processing, Long Short",
    1: " A large language model (LLM) chain refers",
}


def chunk(inner: Any) -> Frame:
    return frame({"bytes": base64.b64encode(json.dumps(inner).encode()).decode()}, "chunk")


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    whole = exchanges.decode(BEDROCK_INVOKE, exchange, len(exchange.body))
    told, expect = exchanges.fold(whole), exchange.expect
    if exchange.id == SEVERAL_ANSWERS:
        assert told.texts == ANSWERS
        assert expect["text"] == "".join(ANSWERS.values())
    else:
        assert told.text == expect["text"]
    assert ((told.reasoning or None), told.refusal) == (expect["reasoning"], "")
    assert told.tool_calls == expect["tool_calls"]
    assert (told.usage, told.finish_reason) == (expect["usage"], expect["finish_reason"])
    facts = read_request(urlsplit(exchange.request["url"]).path, {})
    assert facts == RequestFacts(expect["model_from_url"], True)
    assert (told.model or facts.model) == expect["model"]
    assert (told.failure, told.malformed) == (None, [])
    assert [event for event in whole if isinstance(event, End)] == [END]
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(BEDROCK_INVOKE, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_its_chunks_say_through_boto(exchange: exchanges.Exchange) -> None:
    body = client_of(exchange).invoke_model_with_response_stream(modelId="m", body=b"{}")["body"]
    decoder = InvokeDecoder()
    told = [said for event in body for said in decoder.feed(chunk(json.loads(event["chunk"]["bytes"])))]
    assert told + decoder.close() == exchanges.decode(BEDROCK_INVOKE, exchange, len(exchange.body))


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_in_its_first_half(exchange: exchanges.Exchange) -> None:
    half = len(exchange.body) // 2
    for at in {0, 1, half}:
        events = exchanges.decode(BEDROCK_INVOKE, cut(exchange, at), max(at, 1))
        assert events[-1] == TRUNCATED
        assert not any(isinstance(event, End) for event in events)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_read(exchange: exchanges.Exchange) -> None:
    for size in exchanges.sizes(exchange.body):
        failure = exchanges.fold(exchanges.decode(BEDROCK_INVOKE, exchange, size)).failure
        assert failure is not None
        assert (failure.status, failure.raw) == (exchange.status, exchange.expect["error"])
        assert failure.message == exchange.expect["error"]["message"]
