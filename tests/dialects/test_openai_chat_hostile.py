"""Whatever a provider may send: no decoder raises, none says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.tool_calls import TOOL_CALL_LIMIT
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from openai_chat_runs import chunk, decoder, run


def calls(*fragments: Any) -> list[Event]:
    """The events of tool call fragments, each in a chunk of its own."""
    return run(*(chunk({"tool_calls": [fragment]}) for fragment in fragments))


def fragment(arguments: str | None = "", name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.integers(10**20, 10**40)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def confused(**shapes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with these keys, each present or not, of the right shape or of any."""
    return st.fixed_dictionaries({}, optional={k: v | JSON for k, v in shapes.items()})


FUNCTION = confused(name=st.text(max_size=3), arguments=st.text(max_size=3), input=JSON)
FRAGMENT = confused(index=st.integers(-1, 3), id=st.sampled_from(["a", "b", ""]), function=FUNCTION, custom=FUNCTION)
PART = confused(
    type=st.sampled_from(["text", "thinking", "image_url", "reasoning.text"]), text=JSON, thinking=JSON, data=JSON
)
PARTS = st.lists(PART | JSON, max_size=3)
DELTA = confused(
    role=st.just("assistant"),
    content=st.text(max_size=3) | PARTS,
    refusal=st.text(max_size=3),
    reasoning=st.text(max_size=3),
    reasoning_content=st.text(max_size=3),
    reasoning_details=PARTS,
    tool_calls=st.lists(FRAGMENT | JSON, max_size=3),
    function_call=FUNCTION,
    audio=confused(data=st.text(max_size=3), transcript=st.text(max_size=3)),
    images=PARTS,
)
CHOICE = confused(
    index=st.integers(-1, 3), delta=DELTA, message=DELTA, finish_reason=st.sampled_from(["stop", "x"]), error=JSON
)
COUNTS = confused(prompt_tokens=JSON, completion_tokens=JSON, total_tokens=JSON, prompt_tokens_details=JSON)
CHUNK = confused(
    id=st.text(max_size=3),
    model=st.text(max_size=3),
    created=st.integers(),
    choices=st.lists(CHOICE | JSON, max_size=3),
    usage=COUNTS,
    x_groq=confused(usage=COUNTS, error=st.text(max_size=3)),
    error=confused(message=st.text(max_size=3), code=JSON, type=JSON),
    object=st.sampled_from(["chat.completion.chunk", "error"]),
    message=st.text(max_size=3),
)


def check(frames: Iterable[Frame]) -> None:
    """Whatever comes: an event at least for each frame, none of them empty or miscounted, and one word at the end."""
    new = decoder()
    seen: list[Event] = []
    for frame in frames:
        events = new.feed(frame)
        assert events
        seen += events
    end = new.close()
    assert end in ([], [END], [TRUNCATED])
    for event in seen + end:
        match event:
            case Text(text) | Refusal(text):
                assert text
            case Reasoning(text, signature=signature):
                assert text or signature
            case ToolCall(index):
                assert 0 <= index < TOOL_CALL_LIMIT
            case Usage():
                assert all(
                    n is None or n >= 0 for n in (event.input_tokens, event.output_tokens, event.reasoning_tokens)
                )
            case _:
                pass
    assert seen.count(END) + end.count(END) <= 1
    assert end or END in seen or any(isinstance(e, Failure) for e in seen)


@given(st.lists(JSON, max_size=4), st.sampled_from(["", "error", "message"]))
def test_any_json_as_frames(values: list[Any], event: str) -> None:
    check(Frame(json.dumps(v).encode(), event=event) for v in values)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_as_frames(frames: list[bytes]) -> None:
    check(Frame(data) for data in frames)


@settings(max_examples=400)
@given(st.lists(CHUNK, max_size=6))
def test_chunks_of_confused_types(chunks: list[Any]) -> None:
    check(Frame(json.dumps(c).encode()) for c in chunks)


@given(CHUNK | JSON)
def test_whole_answers_of_confused_types(answer: Any) -> None:
    events = OPENAI_CHAT.read_answer(answer)
    assert (events[-1] == END) != any(isinstance(e, Failure) for e in events)


@given(CHUNK | JSON)
def test_requests_of_confused_types(body: Any) -> None:
    fields = body if isinstance(body, dict) else {}
    OPENAI_CHAT.read_request("/v1/chat/completions", fields)
    messages = {"messages": [fields, {"content": body, "tool_calls": body, "function_call": body}]}
    assert all(OPENAI_CHAT.prompt(messages))


@pytest.mark.parametrize(
    "shape",
    [
        {"choices": 5},
        {"choices": {"a": 1}},
        {"choices": [5, None, []]},
        {"choices": [{"delta": []}]},
        {"choices": [{"delta": {"tool_calls": {"a": 1}}}]},
        {"choices": [{"delta": {"tool_calls": [5, {"function": "x"}]}}]},
        {"choices": [{"index": "x", "delta": {"content": 5}}]},
        {"choices": [{"delta": {"content": {"a": 1}, "audio": [], "images": {"a": 1}}}]},
        {"choices": [{"finish_reason": {"a": 1}}], "usage": [], "x_groq": 5},
        {"id": 5, "model": [], "created": "x"},
    ],
)
def test_wrong_types_mean_nothing(shape: Any) -> None:
    assert run({"choices": []}, shape) == [OPAQUE]


@pytest.mark.parametrize("index", [-1, 10**30, "x", 1.5, None, [], {}])
def test_a_call_with_a_strange_index_is_still_a_call(index: Any) -> None:
    assert calls(fragment("{", "f", index=index, id="a"), fragment("}", index=index)) == [
        ToolCall(0, "a", "f", "{"),
        ToolCall(0, arguments="}"),
    ]


def test_json_nested_too_deeply() -> None:
    check([Frame(b'{"choices":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), Frame(b"[" * 200_000)])
    deep = b"[" * 900 + b"]" * 900
    check([Frame(b'{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":%s}}]}}]}' % deep)])
