"""Bedrock's Converse: events, exceptions, whole answers, requests, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from bedrock_sdk import client_of, exchange_of, message
from google_sdk import ANYTHING, confused, frame
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.bedrock.converse import (
    BEDROCK_CONVERSE,
    EVENTS,
    OPEN_LIMIT,
    ConverseDecoder,
    prompt,
    read_answer,
    read_request,
)
from midstream.dialects.bedrock.fields import STATUSES, read_error
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

COUNTED = {"inputTokens": 3, "outputTokens": 8, "totalTokens": 11}


def at(index: int = 0, **more: Any) -> Json:
    return {"contentBlockIndex": index, "p": "abc", **more}


START = ("messageStart", {"role": "assistant"})
STOP = ("messageStop", {"stopReason": "end_turn"})
METADATA = ("metadata", {"usage": COUNTED, "metrics": {"latencyMs": 9}})


def decode(*events: tuple[str, Any]) -> list[Event]:
    """Every event's meaning, without what means nothing, and the end of the body's."""
    decoder = ConverseDecoder()
    told = [said for name, payload in events for said in decoder.feed(frame(payload, name))]
    return [said for said in told if said != OPAQUE] + decoder.close()


def said(*events: tuple[str, Any]) -> list[Event]:
    """What an answer with these events in its middle says there."""
    told = decode(START, *events, STOP, METADATA)
    assert told[0] == Start()
    assert told[-3:] == [Finish("end_turn"), Usage(3, 8, raw=COUNTED), END]
    return told[1:-3]


# Events


def test_text_has_no_block_start() -> None:
    deltas = [("contentBlockDelta", at(1, delta={"text": text})) for text in ("a", "", "b")]
    assert said(*deltas, ("contentBlockStop", at(1))) == [Text("a", 0, 1), Text("b", 0, 1)]


def test_reasoning_its_signature_and_redacted_reasoning() -> None:
    contents: list[Json] = [{"text": "hm"}, {"signature": "s"}, {"redactedContent": "Ab=="}]
    deltas = [("contentBlockDelta", at(delta={"reasoningContent": content})) for content in contents]
    assert said(*deltas) == [Reasoning("hm"), Reasoning("", signature="s"), Reasoning("", signature="Ab==")]


def test_tool_calls_are_numbered_in_order_and_their_input_comes_in_pieces() -> None:
    events: list[tuple[str, Any]] = []
    for index, name in ((1, "f"), (3, "g")):
        events.append(("contentBlockStart", at(index, start={"toolUse": {"toolUseId": name, "name": name}})))
        events += [
            ("contentBlockDelta", at(index, delta={"toolUse": {"input": piece}})) for piece in ("", '{"a"', ":1}")
        ]
        events.append(("contentBlockStop", at(index)))
    assert said(*events) == [
        ToolCall(0, "f", "f", block=1),
        ToolCall(0, arguments='{"a"', block=1),
        ToolCall(0, arguments=":1}", block=1),
        ToolCall(1, "g", "g", block=3),
        ToolCall(1, arguments='{"a"', block=3),
        ToolCall(1, arguments=":1}", block=3),
    ]


def test_the_providers_own_tools_are_no_calls_of_the_client() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "nova_code_interpreter", "type": "server_tool_use"}}
    result = {"toolResult": {"toolUseId": "t", "type": "nova_code_interpreter_result"}}
    events = (
        ("contentBlockStart", at(0, start=use)),
        ("contentBlockDelta", at(0, delta={"toolUse": {"input": "{}"}})),
        ("contentBlockStop", at(0)),
        ("contentBlockStart", at(1, start=result)),
        ("contentBlockDelta", at(1, delta={"toolResult": [{"json": {}}]})),
        ("contentBlockStop", at(1)),
    )
    name = "nova_code_interpreter"
    assert said(*events) == [ServerTool(name)] * 2 + [ServerTool(name, 0, 1)] * 2


def test_images_are_media_and_citations_are_opaque() -> None:
    assert said(("contentBlockStart", at(start={"image": {"format": "png"}}))) == [Media("image")]
    image = {"image": {"source": {"bytes": "aGk="}}}
    assert said(("contentBlockDelta", at(delta=image))) == [Media("image", 4)]
    assert said(("contentBlockDelta", at(delta={"citation": {"title": "t"}})), ("somethingNew", {"x": 1})) == []


def test_arguments_of_no_open_call_are_malformed() -> None:
    assert [type(e) for e in said(("contentBlockDelta", at(delta={"toolUse": {"input": "{"}})))] == [Malformed]


def test_cached_tokens_count_as_input() -> None:
    usage = {"inputTokens": 11, "outputTokens": 2, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7}
    assert Usage(23, 2, 5, 7, None, usage) in decode(STOP, ("metadata", {"usage": usage}))


def test_an_answer_ends_with_its_metadata_or_without_it() -> None:
    ended = [Start(), Finish("end_turn"), Usage(3, 8, raw=COUNTED), END]
    assert decode(START, STOP, METADATA) == ended
    assert decode(START, STOP) == [Start(), Finish("end_turn"), END]
    assert decode(START, METADATA) == [Start(), ended[2], TRUNCATED]
    assert decode(START, STOP, METADATA, METADATA, ("throttlingException", {})) == ended
    assert decode() == [TRUNCATED]


# Exceptions


def test_the_status_of_an_exception_is_the_services_own() -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    members = model.shape_for("ConverseStreamOutput").members | model.shape_for("ResponseStream").members
    errors = {name: shape.metadata["error"] for name, shape in members.items() if shape.metadata.get("exception")}
    assert {name: error["httpStatusCode"] for name, error in errors.items()} == STATUSES


@pytest.mark.parametrize("name", sorted(STATUSES.keys() - {"modelTimeoutException"}))  # which is InvokeModel's alone
def test_an_exception_is_a_failure_as_boto_raises_it(name: str) -> None:
    payload = {"message": "Too many", "originalStatusCode": 503}
    exchange = exchange_of(message(*START), message(name, payload, "exception"), message(*STOP))
    failure = Failure("Too many", name, "503", STATUSES[name], payload)
    assert exchanges.decode(BEDROCK_CONVERSE, exchange, 5) == [Start(), failure, OPAQUE]
    with pytest.raises(EventStreamError) as raised:
        list(client_of(exchange).converse_stream(modelId="m", messages=[])["stream"])
    assert raised.value.response["Error"]["Code"] == name
    assert raised.value.response["Error"]["Message"] == "Too many"


def test_an_error_of_any_name_is_a_failure() -> None:
    assert decode(("InternalFailure", {"message": "no"})) == [Failure("no", "InternalFailure", raw={"message": "no"})]
    assert decode(("newException", {})) == [Failure("newException", "newException", raw={})]
    decoder = ConverseDecoder()
    assert decoder.feed(Frame(b"", event="throttlingException")) == [
        Failure("throttlingException", "throttlingException", status=429, raw={})
    ]
    assert decoder.close() == []


def test_an_http_error_may_name_its_type_in_the_body() -> None:
    body = {"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "expired"}
    assert read_error(403, body) == Failure("expired", "ExpiredTokenException", "", 403, body)


# Whole answers and requests


def test_a_whole_answer_says_what_its_stream_would() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"text": "a"},
        {"citationsContent": {"content": [{"text": "b"}], "citations": []}},
        {"toolUse": {"toolUseId": "s", "name": "web", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s", "type": "web_result"}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "u", "name": "g", "input": {}}},
        {"image": {"source": {"bytes": "aGk="}}},
    ]
    answer = {"output": {"message": {"content": content}}, "stopReason": "tool_use", "usage": COUNTED}
    assert read_answer(answer) == [
        Start(),
        Reasoning("hm", 0, 0, "s"),
        Text("a", 0, 1),
        Text("b", 0, 2),
        ServerTool("web", 0, 3),
        ServerTool("web", 0, 4),
        ToolCall(0, "t", "f", '{"a":1}', 0, 5),
        ToolCall(1, "u", "g", "{}", 0, 6),
        Media("image", 4, block=7),
        Usage(3, 8, raw=COUNTED),
        Finish("tool_use"),
        END,
    ]
    assert [type(event) for event in read_answer({"message": "no"})] == [Failure]


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse-stream", RequestFacts("amazon.nova-lite-v1:0", True)),
        ("/model/amazon.nova-lite-v1:0/converse", RequestFacts("amazon.nova-lite-v1:0", False)),
        ("/model/arn%3Aaws%3Abedrock%3Aprofile%2Fx/converse", RequestFacts("arn:aws:bedrock:profile/x", False)),
        ("/model/arn:aws:bedrock:profile/x/converse", RequestFacts("arn:aws:bedrock:profile/x", False)),
    ],
)
def test_the_model_and_whether_to_stream_are_in_the_path(path: str, facts: RequestFacts) -> None:
    assert any(pattern.search(path) for pattern in BEDROCK_CONVERSE.paths)
    assert read_request(path, {"modelId": "other"}) == facts


def test_the_prompt_is_every_text_of_the_request_in_order() -> None:
    use = {"toolUse": {"name": "f", "input": {"x": 1}}}
    result = {"toolResult": {"content": [{"text": "r"}, {"json": {"y": 2}}, {"image": {}}]}}
    messages = [{"content": [{"text": "a"}]}, {"content": [use]}, {"content": [result]}]
    body = {"system": [{"text": "be"}], "toolConfig": {"tools": [{"toolSpec": {}}]}, "messages": messages}
    assert prompt(body) == ["be", '[{"toolSpec":{}}]', "a", "f", '{"x":1}', "r", '{"y":2}']


# Hostile input

KEYS = (
    *EVENTS,
    *("contentBlockIndex", "delta", "start", "text", "toolUse", "toolResult", "reasoningContent", "input", "name"),
    *("image", "source", "bytes", "stopReason", "usage", "inputTokens", "outputTokens", "message", "output", "content"),
    *("citationsContent", "reasoningText", "signature", "throttlingException", "originalStatusCode", "type", "json"),
)


@given(st.lists(st.tuples(st.sampled_from(("", *KEYS)), ANYTHING | confused(*KEYS)), max_size=12))
def test_any_json_is_read_and_says_something(events: list[tuple[str, Any]]) -> None:
    decoder = ConverseDecoder()
    for name, payload in events:
        assert decoder.feed(frame(payload, name))
        assert read_answer(payload)
        assert read_error(500, payload).message
        if isinstance(payload, dict):
            prompt(payload)
    assert decoder.close() in ([], [END], [TRUNCATED])


@given(st.binary(max_size=64), st.sampled_from(KEYS))
def test_any_bytes_are_read_and_say_something(data: bytes, name: str) -> None:
    assert ConverseDecoder().feed(Frame(data, event=name))


def test_what_is_remembered_has_an_end() -> None:
    decoder = ConverseDecoder()
    for index in range(2 * OPEN_LIMIT):
        use = {"toolUse": {"toolUseId": "t", "name": json.dumps(index)}}
        told = decoder.feed(frame(at(index, start=use), "contentBlockStart"))
        assert isinstance(told[0], ToolCall if index < OPEN_LIMIT else Malformed)
