"""Anthropic's Messages: events, blocks, usage, errors, whole answers, and hostile input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from google_sdk import ANYTHING, confused, frame
from midstream.dialects.anthropic.blocks import OPEN_LIMIT
from midstream.dialects.anthropic.messages import (
    STATUSES,
    USAGE_KEYS,
    USAGE_SIZE,
    AnthropicDecoder,
    prompt,
    read_answer,
    read_request,
)
from midstream.dialects.base import TRUNCATED
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Reasoning,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

COUNTED = {"input_tokens": 3, "output_tokens": 1}
STOP = {"type": "message_stop"}


def started(**usage: Any) -> Json:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "content": [], "usage": usage}}


def finished(reason: str = "end_turn", usage: Json | None = None, **more: Any) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **more}, "usage": usage or {"output_tokens": 8}}


def opened(index: int = 0, **block: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(kind: str, index: int = 0, **more: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def closed(index: int = 0) -> Json:
    return {"type": "content_block_stop", "index": index}


def decode(*events: Json) -> list[Event]:
    """Every event's meaning, without what means nothing, and the end of the body's."""
    decoder = AnthropicDecoder()
    told = [said for event in events for said in decoder.feed(frame(event, event["type"]))]
    return [said for said in told if said != OPAQUE] + decoder.close()


def said(*events: Json) -> list[Event]:
    """What a message says between its start and its end."""
    told = decode(started(**COUNTED), *events, finished(), STOP)
    assert told[:2] == [Start("msg_1", "claude"), Usage(3, 1, raw=COUNTED)]
    assert told[-3:] == [Usage(3, 8, raw={"input_tokens": 3, "output_tokens": 8}), Finish("end_turn"), END]
    return told[2:-3]


# Blocks


def test_text_comes_in_deltas_and_what_a_block_starts_with_counts() -> None:
    events = (opened(1, type="text", text="A"), delta("text_delta", 1, text="b"), delta("text_delta", 1, text=""))
    assert said(*events, closed(1)) == [Text("A", 0, 1), Text("b", 0, 1)]


def test_thinking_is_reasoning_and_its_signature_comes_with_it() -> None:
    events = (
        opened(type="thinking", thinking="", signature=""),
        delta("thinking_delta", thinking="hm"),
        delta("signature_delta", signature="Eu8="),
        closed(),
    )
    assert said(*events) == [Reasoning("hm"), Reasoning("", signature="Eu8=")]


def test_redacted_thinking_is_a_signature_without_text() -> None:
    assert said(opened(type="redacted_thinking", data="Ab=="), closed()) == [Reasoning("", signature="Ab==")]


def test_tool_calls_are_numbered_in_order_and_their_arguments_come_in_pieces() -> None:
    events = (
        opened(1, type="tool_use", id="toolu_1", name="f", input={}),
        delta("input_json_delta", 1, partial_json=""),
        delta("input_json_delta", 1, partial_json='{"a"'),
        delta("input_json_delta", 1, partial_json=":1}"),
        closed(1),
        opened(2, type="tool_use", id="toolu_2", name="g", input={}),
        closed(2),
    )
    assert said(*events) == [
        ToolCall(0, "toolu_1", "f", block=1),
        ToolCall(0, arguments='{"a"', block=1),
        ToolCall(0, arguments=":1}", block=1),
        ToolCall(1, "toolu_2", "g", block=2),
    ]


def test_arguments_that_a_block_starts_with_count_unless_pieces_follow() -> None:
    whole = opened(type="tool_use", id="t", name="f", input={"a": 1})
    assert said(whole, closed()) == [ToolCall(0, "t", "f"), ToolCall(0, arguments='{"a":1}')]
    in_pieces = (whole, delta("input_json_delta", partial_json="{}"), closed())
    assert said(*in_pieces) == [ToolCall(0, "t", "f"), ToolCall(0, arguments="{}")]


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use"])
def test_the_providers_own_tools_are_no_calls_of_the_client(kind: str) -> None:
    events = (
        opened(type=kind, id="srvtoolu_1", name="web_search", input={}),
        delta("input_json_delta", partial_json='{"query":"x"}'),
        closed(),
        opened(1, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
        closed(1),
        opened(2, type="tool_use", id="t", name="f", input={}),
        closed(2),
    )
    search = ServerTool("web_search")
    assert said(*events) == [search, search, ServerTool("web_search", 0, 1), ToolCall(0, "t", "f", block=2)]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ping"},
        delta("citations_delta", citation={"type": "char_location", "cited_text": "x"}),
        opened(type="compaction", content=None),
        delta("compaction_delta", content="Earlier …"),
        {"type": "content_block_delta", "index": 0},
        {"type": "something_new", "text": "x"},
    ],
)
def test_what_has_no_meaning_here_is_opaque(event: Json) -> None:
    decoder = AnthropicDecoder()
    assert decoder.feed(frame(event)) == [OPAQUE]
    assert decoder.close() == [TRUNCATED]


def test_arguments_of_no_open_call_are_malformed() -> None:
    for events in ([], [opened(type="tool_use", id="t", name="f", input={}), closed()], [opened(type="text", text="")]):
        told = said(*events, delta("input_json_delta", partial_json="{"))
        assert isinstance(told[-1], Malformed)


# Usage and the end


def test_the_last_usage_lies_over_the_first_without_its_nulls() -> None:
    first = {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "service_tier": None}
    last = {"output_tokens": 9, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 2}, "x": None}
    told = decode(started(**first), finished(usage=last), STOP)
    assert [event for event in told if isinstance(event, Usage)] == [
        Usage(15, None, 5, 7, None, first),
        Usage(15, 9, 5, 7, 2, first | {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 2}}),
    ]


def test_a_finish_says_which_sequence_stopped_it_or_why_it_was_refused() -> None:
    assert Finish("stop_sequence", 0, "\n") in decode(finished("stop_sequence", stop_sequence="\n"))
    assert Finish("refusal", 0, "cyber") in decode(finished("refusal", stop_details={"category": "cyber"}))


def test_message_stop_ends_once_and_nothing_after_it_counts() -> None:
    assert decode(STOP, STOP, delta("text_delta", text="x"), {"type": "error", "error": {}}) == [END]


def test_a_finish_without_message_stop_is_truncated() -> None:
    assert decode(started(), delta("text_delta", text="x"), finished())[-1] == TRUNCATED
    assert decode() == [TRUNCATED]


# Errors


@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
def test_an_error_in_the_stream_is_a_failure_with_the_status_it_stands_for(kind: str, status: int) -> None:
    error = {"type": kind, "message": "Overloaded"}
    assert decode({"type": "error", "error": error}, STOP) == [Failure("Overloaded", kind, "", status, error)]


def test_an_error_needs_no_json_and_no_type() -> None:
    decoder = AnthropicDecoder()
    assert decoder.feed(Frame(b"upstream died", event="error")) == [Failure("upstream died")]
    assert decoder.close() == []
    assert AnthropicDecoder().feed(frame({"error": {"message": "no"}})) == [Failure("no", raw={"message": "no"})]


def test_the_name_of_an_event_stands_in_for_a_missing_type() -> None:
    assert AnthropicDecoder().feed(frame({}, "message_stop")) == [END]


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[1]", b"7", b'{"type":'])
def test_what_is_no_json_object_is_malformed(data: bytes) -> None:
    assert isinstance(AnthropicDecoder().feed(Frame(data))[0], Malformed)
    assert AnthropicDecoder().feed(Frame(b"[DONE]")) == [OPAQUE]


# Whole answers


def test_a_whole_message_says_what_its_stream_would() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "a"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "u", "name": "g", "input": {}},
    ]
    message = {"type": "message", "id": "msg_1", "model": "claude", "content": content, "usage": COUNTED}
    assert read_answer({**message, "stop_reason": "tool_use"}) == [
        Start("msg_1", "claude"),
        Reasoning("hm", 0, 0, "s"),
        Reasoning("", 0, 1, "r"),
        Text("a", 0, 2),
        ServerTool("web_search", 0, 3),
        ServerTool("web_search", 0, 4),
        ToolCall(0, "t", "f", block=5),
        ToolCall(0, arguments='{"a":1}', block=5),
        ToolCall(1, "u", "g", block=6),
        Usage(3, 1, raw=COUNTED),
        Finish("tool_use"),
        END,
    ]


def test_a_whole_answer_that_is_none_is_a_failure() -> None:
    error = {"type": "overloaded_error", "message": "no"}
    assert read_answer({"type": "error", "error": error}) == [Failure("no", "overloaded_error", "", 529, error)]
    assert [type(event) for event in read_answer([1])] == [Failure]


def test_a_legacy_completion_ends_with_its_stop_reason() -> None:
    events = (
        {"type": "completion", "id": "c", "model": "claude-2.1", "completion": " Hi", "stop_reason": None},
        {"type": "completion", "id": "c", "model": "claude-2.1", "completion": "", "stop_reason": "stop_sequence"},
    )
    ended = [Finish("stop_sequence"), END]
    assert decode(*events) == [Start("c", "claude-2.1"), Text(" Hi"), *ended]
    assert decode(events[0])[-1] == TRUNCATED
    assert read_answer(events[0] | events[1]) == [Start("c", "claude-2.1"), *ended]


# Hostile input

KEYS = (
    *("type", "index", "delta", "content_block", "message", "content", "usage", "error", "text", "thinking"),
    *("signature", "data", "partial_json", "input", "id", "name", "model", "stop_reason", "stop_details"),
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("tool_use", "text_delta", "input_json_delta", "input_tokens", "output_tokens", "completion", "system", "tools"),
)


@given(st.lists(st.tuples(ANYTHING | confused(*KEYS), st.sampled_from(("", *KEYS))), max_size=12))
@example([({"type": ["x"], "error": 7}, ""), ({"type": "content_block_delta", "delta": {"type": {}}}, "")])
def test_any_json_is_read_and_says_something(values: list[tuple[Any, str]]) -> None:
    decoder = AnthropicDecoder()
    for value, name in values:
        assert decoder.feed(frame(value, name))
        assert read_answer(value)
        if isinstance(value, dict):
            prompt(value)
            read_request("/v1/messages", value)
    assert decoder.close() in ([], [TRUNCATED])


@given(st.binary(max_size=64))
def test_any_bytes_are_read_and_say_something(data: bytes) -> None:
    assert AnthropicDecoder().feed(Frame(data))


def test_what_is_remembered_has_an_end() -> None:
    decoder = AnthropicDecoder()
    for index in range(2 * OPEN_LIMIT):
        told = decoder.feed(frame(opened(index, type="tool_use", id=str(index), name="f", input={"a": 1})))
        assert isinstance(told[0], ToolCall if index < OPEN_LIMIT else Malformed)
    for key in range(2 * USAGE_KEYS):
        told = decoder.feed(frame({"type": "message_delta", "usage": {str(key): 1}}))
        assert isinstance(told[0], Usage) == (key < USAGE_KEYS)
    assert decoder.feed(frame({"type": "message_delta", "usage": {"0": "x" * USAGE_SIZE}})) == [OPAQUE]
