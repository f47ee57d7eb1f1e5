"""Every recorded Converse exchange, against its `expect` and against what boto3 makes of the same bytes."""

from __future__ import annotations

from collections import defaultdict
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

import exchanges
from bedrock_sdk import client_of, cut
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.bedrock.converse import BEDROCK_CONVERSE, read_request
from midstream.events import (
    END,
    End,
    Finish,
    ServerTool,
)

STREAMS = exchanges.of("converse-stream")
ERRORS = exchanges.of("converse-stream", "converse", kind="error")

SERVER_TOOLS = {
    "bedrock/converse-stream--pydai--test_bedrock_model_code_execution_tool_stream": ["nova_code_interpreter"]
}
"""`expect` lists Nova's own interpreter among the client's calls; the wire says `"type": "server_tool_use"`, and brings the
tool's result itself."""


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    whole = exchanges.decode(BEDROCK_CONVERSE, exchange, len(exchange.body))
    told, expect = exchanges.fold(whole), exchange.expect
    servers = SERVER_TOOLS.get(exchange.id, [])
    assert (told.text, told.reasoning or None, told.refusal) == (expect["text"], expect["reasoning"], "")
    assert told.tool_calls == [call for call in expect["tool_calls"] if call["name"] not in servers]
    assert {event.name for event in whole if isinstance(event, ServerTool)} == set(servers)
    assert (told.usage, told.finish_reason) == (expect["usage"], expect["finish_reason"])
    assert read_request(urlsplit(exchange.request["url"]).path, {}) == RequestFacts(expect["model"], True)
    assert (told.failure, told.malformed) == (None, [])
    assert [event for event in whole if isinstance(event, End)] == [END]
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(BEDROCK_CONVERSE, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_boto_reads(exchange: exchanges.Exchange) -> None:
    events = list(client_of(exchange).converse_stream(modelId="m", messages=[])["stream"])
    text, names, inputs = "", {}, defaultdict[int, str](str)
    for event in events:
        delta, start = event.get("contentBlockDelta", {}), event.get("contentBlockStart", {})
        text += delta.get("delta", {}).get("text", "")
        if use := delta.get("delta", {}).get("toolUse"):
            inputs[delta["contentBlockIndex"]] += use["input"]
        if (use := start.get("start", {}).get("toolUse")) and use.get("type") != "server_tool_use":
            names[start["contentBlockIndex"]] = (use["toolUseId"], use["name"])
    told = exchanges.fold(exchanges.decode(BEDROCK_CONVERSE, exchange, len(exchange.body)))
    assert told.text == text
    assert [(c["id"], c["name"], c["arguments"]) for c in told.tool_calls] == [(*names[i], inputs[i]) for i in names]
    assert told.finish_reason == next(e["messageStop"]["stopReason"] for e in events if "messageStop" in e)
    usage = next(e["metadata"]["usage"] for e in events if "metadata" in e)
    assert (told.usage or {}).items() >= {
        key: value for key, value in usage.items() if key != "serverToolUsage"
    }.items()
    assert told.usage_events[-1].input_tokens == usage["totalTokens"] - usage["outputTokens"]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_before_it_stops(exchange: exchanges.Exchange) -> None:
    stop = exchange.body.rfind(b"messageStop")
    for at_ in {0, 1, stop // 2, stop}:
        events = exchanges.decode(BEDROCK_CONVERSE, cut(exchange, at_), max(at_, 1))
        assert events[-1] == TRUNCATED
        assert not any(isinstance(event, End | Finish) for event in events)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_read(exchange: exchanges.Exchange) -> None:
    with pytest.raises(ClientError) as raised:
        client_of(exchange).converse(modelId="m", messages=[])
    for size in exchanges.sizes(exchange.body):
        failure = exchanges.fold(exchanges.decode(BEDROCK_CONVERSE, exchange, size)).failure
        assert failure is not None
        assert (failure.status, failure.raw) == (exchange.status, exchange.expect["error"])
        assert failure.message == raised.value.response["Error"]["Message"]
