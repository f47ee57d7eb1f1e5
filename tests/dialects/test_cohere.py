"""Cohere's v2 and v1 chat: events, ends, whole answers, requests, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from google_sdk import ANYTHING, confused, frame
from midstream.dialects.base import TRUNCATED, Decoder, Dialect, RequestFacts
from midstream.dialects.cohere import v1 as cohere_v1
from midstream.dialects.cohere.v1 import FAILED, CohereV1Decoder
from midstream.dialects.cohere.v2 import COHERE, COHERE_V1, CohereDecoder, prompt, read_answer, read_request
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.tool_calls import TOOL_CALL_LIMIT
from midstream.dialects.registry import recognise
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Reasoning,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

COUNTED = {"billed_units": {"input_tokens": 2, "output_tokens": 7}, "tokens": {"input_tokens": 3, "output_tokens": 8}}


def decode(decoder: Decoder, *events: Any) -> list[Event]:
    """Every event's meaning, without what means nothing, and the end of the body's."""
    told = [said for event in events for said in decoder.feed(frame(event, event.get("type", "")))]
    return [said for said in told if said != OPAQUE] + decoder.close()


def v2(kind: str, index: int | None = None, **message: Any) -> Json:
    return {"type": kind, "index": index, "delta": {"message": message}}


def ended(reason: str = "COMPLETE", **more: Any) -> Json:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": COUNTED, **more}}


def said(*events: Json) -> list[Event]:
    """What an answer with these events in its middle says there."""
    told = decode(CohereDecoder(), {"type": "message-start", "id": "c", "delta": {}}, *events, ended())
    assert told[0] == Start("c")
    assert told[-3:] == [Usage(3, 8, raw=COUNTED), Finish("COMPLETE"), END]
    return told[1:-3]


# v2


def test_text_and_thinking_are_blocks() -> None:
    events = (
        v2("content-start", 0, content={"type": "thinking", "thinking": ""}),
        v2("content-delta", 0, content={"thinking": "hm"}),
        v2("content-end", 0),
        v2("content-start", 1, content={"type": "text", "text": "a"}),
        v2("content-delta", 1, content={"text": "b"}),
    )
    assert said(*events) == [Reasoning("hm"), Text("a", 0, 1), Text("b", 0, 1)]


def test_tool_calls_come_in_pieces() -> None:
    events = [
        v2("tool-call-start", 0, tool_calls={"id": "t", "function": {"name": "f", "arguments": ""}}),
        v2("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"a"'}}),
        v2("tool-call-delta", 0, tool_calls={"function": {"arguments": ":1}"}}),
        v2("tool-call-end", 0),
        v2("tool-call-start", 1, tool_calls={"id": "u", "function": {"name": "g", "arguments": ""}}),
    ]
    assert said(*events) == [
        ToolCall(0, "t", "f"),
        ToolCall(0, arguments='{"a"'),
        ToolCall(0, arguments=":1}"),
        ToolCall(1, "u", "g"),
    ]


def test_the_tool_plan_and_citations_are_opaque() -> None:
    assert said(v2("tool-plan-delta", tool_plan="I will"), v2("citation-start", 0, citations={"text": "a"})) == []


def test_billed_units_stand_in_for_missing_tokens() -> None:
    usage = {"billed_units": COUNTED["billed_units"], "cached_tokens": 1}
    assert decode(CohereDecoder(), ended(usage=usage)) == [Usage(2, 7, 1, raw=usage), Finish("COMPLETE"), END]


@pytest.mark.parametrize("reason", sorted(FAILED))
def test_some_finish_reasons_are_failures(reason: str) -> None:
    told = decode(CohereDecoder(), ended(reason))
    failure = Failure(f"the provider finished with {reason}", type=reason.lower())
    assert told == [Usage(3, 8, raw=COUNTED), Finish(reason), failure]
    assert decode(CohereDecoder(), ended("ERROR", error="no"))[-1] == Failure("no", type="error")


def test_an_answer_without_its_end_is_truncated_and_nothing_after_it_counts() -> None:
    assert decode(CohereDecoder()) == [TRUNCATED]
    assert decode(CohereDecoder(), v2("content-delta", 0, content={"text": "a"}))[-1] == TRUNCATED
    assert decode(CohereDecoder(), ended(), ended())[-2:] == [Finish("COMPLETE"), END]
    assert CohereDecoder().feed(Frame(b"[DONE]")) == [OPAQUE]


def test_an_error_in_the_stream_is_a_failure() -> None:
    body = {"message": "no", "error_type": "TOO_MANY_TOKENS"}
    assert decode(CohereDecoder(), body) == [Failure("no", "TOO_MANY_TOKENS", raw=body)]


def test_a_whole_answer_says_what_its_stream_would() -> None:
    message = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}],
        "tool_plan": "I will",
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
    }
    assert read_answer({"id": "c", "message": message, "usage": COUNTED, "finish_reason": "TOOL_CALL"}) == [
        Start("c"),
        Reasoning("hm"),
        Text("a", 0, 1),
        ToolCall(0, "t", "f", "{}"),
        Usage(3, 8, raw=COUNTED),
        Finish("TOOL_CALL"),
        END,
    ]
    assert [type(event) for event in read_answer({"message": "no"})] == [Failure]


# v1


def test_v1_says_text_and_ends_with_its_meta() -> None:
    events = (
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "text-generation", "text": "a"},
        {"event_type": "citation-generation", "citations": []},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "a", "meta": COUNTED}},
    )
    assert decode(CohereV1Decoder(), *events) == [
        Start("g"),
        Text("a"),
        Usage(3, 8, raw=COUNTED),
        Finish("COMPLETE"),
        END,
    ]
    assert decode(CohereV1Decoder(), *events[:-1])[-1] == TRUNCATED


def test_v1_calls_come_whole_or_in_pieces_never_twice() -> None:
    whole = {"event_type": "tool-calls-generation", "tool_calls": [{"name": "f", "parameters": {"a": 1}}]}
    pieces = [
        {"event_type": "tool-calls-chunk", "text": "I will"},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "f"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": '{"a":1}'}},
    ]
    assert decode(CohereV1Decoder(), whole)[:-1] == [ToolCall(0, "", "f", '{"a":1}')]
    told = decode(CohereV1Decoder(), *pieces, whole)[:-1]
    assert told == [Text("I will"), ToolCall(0, "", "f"), ToolCall(0, arguments='{"a":1}')]


def test_a_whole_answer_of_v1() -> None:
    answer = {"text": "a", "generation_id": "g", "finish_reason": "COMPLETE", "meta": COUNTED}
    assert cohere_v1.read_answer(answer) == [Start("g"), Text("a"), Usage(3, 8, raw=COUNTED), Finish("COMPLETE"), END]


# Requests


@pytest.mark.parametrize(
    ("host", "path", "body", "dialect"),
    [
        ("api.cohere.com", "/v2/chat", {"messages": []}, COHERE),
        ("cohere.example", "/v2/chat", {"messages": []}, COHERE),
        ("api.cohere.com", "/v1/chat", {"message": "a"}, COHERE_V1),
        ("api.writer.com", "/v1/chat", {"messages": []}, OPENAI_CHAT),
        ("cohere.example", "/v2/chat", {}, None),
    ],
)
def test_path_and_body_tell_coheres_requests(host: str, path: str, body: Json, dialect: Dialect | None) -> None:
    match = recognise(host, path, json.dumps(body).encode())
    assert (match.dialect if match else None) is dialect


def test_the_prompt_is_every_text_of_the_request_in_order() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    messages = [{"content": "a"}, {"tool_plan": "p", "tool_calls": calls}, {"content": [{"text": "r"}]}]
    assert prompt({"messages": messages, "tools": [{}]}) == ["[{}]", "a", "p", "f", "{}", "r"]
    assert prompt({"preamble": "be", "chat_history": [{"message": "a"}], "message": "b"}) == ["be", "a", "b"]
    assert read_request("/v2/chat", {"model": "m", "stream": True}) == RequestFacts("m", True)


# Hostile input

KEYS = (
    *("type", "event_type", "index", "delta", "message", "content", "text", "thinking", "tool_calls", "function", "id"),
    *("message-start", "content-delta", "tool-call-start", "tool-call-delta", "message-end", "finish_reason", "ERROR"),
    *("text-generation", "tool-calls-chunk", "tool-calls-generation", "stream-end", "tool_call_delta", "parameters"),
    *("usage", "tokens", "billed_units", "input_tokens", "response", "meta", "name", "arguments", "error", "messages"),
)


@given(st.lists(st.tuples(ANYTHING | confused(*KEYS), st.sampled_from(("", *KEYS))), max_size=12))
@example([({"type": ["x"], "message": 7}, "")])
def test_any_json_is_read_and_says_something(events: list[tuple[Any, str]]) -> None:
    decoders: tuple[Decoder, ...] = (CohereDecoder(), CohereV1Decoder())
    for decoder in decoders:
        for value, name in events:
            assert decoder.feed(frame(value, name))
            assert read_answer(value)
            assert cohere_v1.read_answer(value)
            if isinstance(value, dict):
                prompt(value)
        assert decoder.close() in ([], [TRUNCATED])


@given(st.binary(max_size=64))
def test_any_bytes_are_read_and_say_something(data: bytes) -> None:
    assert CohereDecoder().feed(Frame(data))
    assert CohereV1Decoder().feed(Frame(data))


def test_what_is_no_json_object_is_malformed() -> None:
    for data in (b"", b"[1]", b"{"):
        assert isinstance(CohereDecoder().feed(Frame(data))[0], Malformed)
        assert isinstance(CohereV1Decoder().feed(Frame(data))[0], Malformed)


def test_what_is_remembered_has_an_end() -> None:
    decoder = CohereDecoder()
    for index in range(2 * TOOL_CALL_LIMIT):
        call = {"id": str(index), "function": {"name": "f", "arguments": ""}}
        told = decoder.feed(frame(v2("tool-call-start", index, tool_calls=call)))
        assert isinstance(told[0], ToolCall) == (index < TOOL_CALL_LIMIT)
