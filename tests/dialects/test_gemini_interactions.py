"""Gemini's Interactions: events, ends, errors, whole answers, requests, recordings, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from google_sdk import ANYTHING, confused, frame
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.gemini.interactions import (
    ARGUMENTS_LIMIT,
    CALLS_LIMIT,
    GEMINI_INTERACTIONS,
    InteractionsDecoder,
)
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

RAW = {
    "total_input_tokens": 5,
    "total_output_tokens": 2,
    "total_thought_tokens": 3,
    "total_tool_use_tokens": 1,
    "total_cached_tokens": 4,
    "total_tokens": 11,
}
COUNTED = Usage(6, 5, 4, None, 3, RAW)


def started(step: Json, index: int = 0) -> Json:
    return {"event_type": "step.start", "index": index, "step": step}


def delta(index: int = 0, **delta: Any) -> Json:
    return {"event_type": "step.delta", "index": index, "delta": delta}


def stopped(index: int = 0) -> Json:
    return {"event_type": "step.stop", "index": index}


def completed(status: str = "completed", **more: Any) -> Json:
    interaction = {"id": "v1_1", "model": "m", "status": status, "usage": RAW, **more}
    return {"event_type": "interaction.completed", "interaction": interaction}


CREATED = {"event_type": "interaction.created", "interaction": {"id": "v1_1", "model": "m", "status": "in_progress"}}
CALL = {"type": "function_call", "id": "c", "name": "f", "arguments": {}}
ENDED = [COUNTED, Finish("completed"), END]


def decode(*events: Json) -> list[Event]:
    """Every event's meaning, without what means nothing, and the end of the body's."""
    decoder = InteractionsDecoder()
    told = [said for event in events for said in decoder.feed(frame(event, event.get("event_type", "")))]
    return [said for said in told if said != OPAQUE] + decoder.close()


# Events


def test_steps_are_blocks_and_thoughts_are_reasoning() -> None:
    events = decode(
        CREATED,
        started({"type": "thought"}),
        delta(type="thought_summary", content={"type": "text", "text": "hm"}),
        delta(type="thought_signature", signature="s"),
        stopped(),
        started({"type": "model_output"}, 1),
        delta(1, type="text", text="a"),
        delta(1, type="text", text="b"),
        delta(1, type="text_annotation_delta", annotations=[]),
        stopped(1),
        completed(),
    )
    thoughts = [Reasoning("hm"), Reasoning("", signature="s")]
    assert events == [Start("v1_1", "m"), *thoughts, Text("a", 0, 1), Text("b", 0, 1), *ENDED]


def test_a_call_is_named_at_its_start_and_its_arguments_are_deltas() -> None:
    events = decode(
        started(CALL, 1),
        delta(1, type="arguments_delta", arguments='{"a"'),
        delta(1, type="arguments_delta", arguments=":1}"),
        stopped(1),
        started(CALL | {"id": "d"}, 2),
        stopped(2),
        completed("requires_action"),
    )
    pieces = [ToolCall(0, arguments=piece, block=1) for piece in ('{"a"', ":1}")]
    second = [ToolCall(1, "d", "f", block=2), ToolCall(1, arguments="{}", block=2)]
    assert events[:5] == [ToolCall(0, "c", "f", block=1), *pieces, *second]


def test_arguments_at_the_start_count_where_no_delta_comes() -> None:
    whole = CALL | {"arguments": {"a": 1}}
    said = [ToolCall(0, "c", "f"), ToolCall(0, arguments='{"a":1}')]
    assert decode(started(whole), stopped(), completed())[:2] == said
    assert decode(started(whole), completed())[:2] == said
    pieces = decode(started(whole), delta(type="arguments_delta", arguments="{}"), stopped())
    assert pieces == [said[0], ToolCall(0, arguments="{}"), TRUNCATED]


def test_media_and_server_tools() -> None:
    events = decode(
        delta(type="image", data="AAAA", mime_type="image/png"),
        delta(type="audio", data="AA", mime_type="audio/wav"),
        started({"type": "google_search_call", "id": "x"}, 1),
        delta(1, type="google_search_result", result=[]),
        started({"type": "mcp_server_tool_call", "name": "look"}, 2),
        started({"type": "user_input", "content": [{"type": "text", "text": "echo"}]}, 3),
    )
    tools = [ServerTool("google_search", block=1), ServerTool("google_search", block=1), ServerTool("look", block=2)]
    assert events == [Media("image", 4), Media("audio", 2), *tools, TRUNCATED]


def test_the_events_name_will_do_for_its_type() -> None:
    event = {"index": 0, "delta": {"type": "text", "text": "a"}}
    assert InteractionsDecoder().feed(frame(event, "step.delta")) == [Text("a")]


def test_the_apis_first_months_are_read_too() -> None:
    call = {"type": "function_call", "id": "c", "name": "f", "arguments": {"a": 1}}
    events = decode(
        CREATED | {"event_type": "interaction.start"},
        {"event_type": "content.start", "index": 0, "content": {"type": "text"}},
        {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "a"}},
        {"event_type": "content.delta", "index": 1, "delta": call},
        completed() | {"event_type": "interaction.complete"},
    )
    calls = [ToolCall(0, "c", "f", block=1), ToolCall(0, arguments='{"a":1}', block=1)]
    assert events == [Start("v1_1", "m"), Text("a"), *calls, *ENDED]


# How an answer ends


def test_the_status_is_the_finish_reason() -> None:
    assert decode(completed("incomplete")) == [COUNTED, Finish("incomplete"), END]


def test_a_completion_that_says_what_no_delta_said_counts() -> None:
    steps = [{"type": "model_output", "content": [{"type": "text", "text": "a"}]}]
    assert decode(completed(steps=steps)) == [Text("a"), *ENDED]
    assert decode(delta(type="text", text="a"), completed(steps=steps)) == [Text("a"), *ENDED]


def test_an_interaction_still_running_has_not_ended() -> None:
    assert decode(completed("in_progress")) == [TRUNCATED]


def test_without_its_completion_an_answer_is_truncated_even_after_done() -> None:
    decoder = InteractionsDecoder()
    decoder.feed(frame(delta(type="text", text="a")))
    assert decoder.feed(Frame(b"[DONE]", event="done")) == [OPAQUE]
    assert decoder.close() == [TRUNCATED]


def test_failed_is_a_failure_with_its_usage() -> None:
    assert decode(completed("failed")) == [COUNTED, Failure("the interaction failed")]


def test_an_error_event_is_a_failure() -> None:
    error = {"code": "gateway_timeout", "message": "Deadline expired"}
    assert decode({"event_type": "error", "error": error}) == [
        Failure("Deadline expired", "", "gateway_timeout", raw=error)
    ]
    assert decode({"error": "no"}) == [Failure("no", raw="no")]


def test_nothing_means_anything_after_the_end() -> None:
    assert decode(completed(), delta(type="text", text="late"), completed()) == ENDED


# Whole answers and requests


def test_a_whole_answer() -> None:
    steps = [
        {"type": "thought", "signature": "s", "summary": [{"type": "text", "text": "hm"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "a"}]},
        CALL | {"arguments": {"a": 1}},
    ]
    events = GEMINI_INTERACTIONS.read_answer(completed("requires_action", steps=steps)["interaction"])
    calls = [ToolCall(0, "c", "f", block=2), ToolCall(0, arguments='{"a":1}', block=2)]
    said = [Reasoning("hm", signature="s"), Text("a", block=1), *calls]
    assert events == [Start("v1_1", "m"), *said, COUNTED, Finish("requires_action"), END]


def test_a_background_answer_is_whole_without_a_finish() -> None:
    assert GEMINI_INTERACTIONS.read_answer({"id": "v1_1", "status": "in_progress"}) == [Start("v1_1"), END]


@pytest.mark.parametrize("answer", [None, [], {}, {"id": "x"}])
def test_what_is_no_interaction_is_malformed(answer: Any) -> None:
    (event,) = GEMINI_INTERACTIONS.read_answer(answer)
    assert isinstance(event, Malformed)


@pytest.mark.parametrize("path", ["/v1beta/interactions", "/v1beta1/projects/p/locations/l/interactions"])
def test_requests_name_a_model_or_an_agent(path: str) -> None:
    assert any(pattern.search(path) for pattern in GEMINI_INTERACTIONS.paths)
    assert GEMINI_INTERACTIONS.read_request(path, {"model": "m", "stream": True}) == RequestFacts("m", True)
    assert GEMINI_INTERACTIONS.read_request(path, {"agent": "deep-research"}) == RequestFacts("deep-research", False)


def test_the_prompt_is_every_text_in_order() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "image", "data": "AAAA"}]},
        {"type": "function_result", "result": {"x": 1}},
    ]
    assert GEMINI_INTERACTIONS.prompt({"system_instruction": "s", "input": turns}) == ["s", "a", "b", '{"x":1}']
    assert GEMINI_INTERACTIONS.prompt({"input": "a"}) == ["a"]
    assert GEMINI_INTERACTIONS.prompt({"input": {"type": "text", "text": "a"}}) == ["a"]


# Hostile input


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7"])
def test_a_frame_that_is_no_object_is_malformed(data: bytes) -> None:
    (event,) = InteractionsDecoder().feed(Frame(data))
    assert isinstance(event, Malformed)


def test_open_calls_are_bounded() -> None:
    decoder = InteractionsDecoder()
    told = [decoder.feed(frame(started(CALL, index)))[-1] for index in range(CALLS_LIMIT + 2)]
    assert [isinstance(event, Malformed) for event in told] == [False] * CALLS_LIMIT + [True] * 2


def test_long_arguments_are_not_held_back() -> None:
    text = json.dumps("x" * ARGUMENTS_LIMIT)
    events = decode(started(CALL | {"arguments": {"a": "x" * ARGUMENTS_LIMIT}}), stopped())
    assert events == [ToolCall(0, "c", "f", f'{{"a":{text}}}'), TRUNCATED]


def test_arguments_of_no_call_are_malformed() -> None:
    (event, _) = decode(delta(type="arguments_delta", arguments="{}"))
    assert isinstance(event, Malformed)


NAMES = ("step.start", "step.delta", "step.stop", "interaction.created", "interaction.completed", "error")
TYPES = ("text", "function_call", "arguments_delta", "thought_summary", "model_output", "image", "code_execution_call")
CONFUSED = confused(
    *(
        "event_type",
        "interaction",
        "step",
        "delta",
        "index",
        "type",
        "text",
        "content",
        "summary",
        "signature",
        "arguments",
    ),
    *("name", "id", "steps", "outputs", "usage", "status", "error", "code", "total_input_tokens", *NAMES, *TYPES),
)
EVENTS = st.fixed_dictionaries(
    {"event_type": st.sampled_from(NAMES)},
    optional={
        "index": st.integers(-1, 2) | ANYTHING,
        "step": st.fixed_dictionaries(
            {"type": st.sampled_from(TYPES)}, optional={"arguments": ANYTHING, "content": CONFUSED}
        ),
        "delta": st.fixed_dictionaries(
            {"type": st.sampled_from(TYPES)}, optional={"arguments": ANYTHING, "text": CONFUSED}
        ),
        "interaction": CONFUSED,
        "error": ANYTHING,
    },
)


@given(st.lists(EVENTS | ANYTHING | CONFUSED, max_size=6))
def test_whatever_comes_it_means_something_and_nothing_raises(events: list[Any]) -> None:
    decoder = InteractionsDecoder()
    for event in events:
        assert decoder.feed(frame(event))
    assert decoder.close() in ([], [TRUNCATED])
    for event in events:
        assert GEMINI_INTERACTIONS.read_answer(event)


@given(st.dictionaries(st.sampled_from(["system_instruction", "input", "tools"]), ANYTHING | CONFUSED))
def test_whatever_is_asked_the_prompt_is_texts(body: Json) -> None:
    assert all(isinstance(text, str) and text for text in GEMINI_INTERACTIONS.prompt(body))
