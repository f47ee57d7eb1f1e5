"""Which call a fragment belongs to."""

from __future__ import annotations

from typing import Any

from midstream.dialects.openai.chunks import CHOICE_LIMIT
from midstream.dialects.openai.tool_calls import TOOL_CALL_LIMIT
from midstream.events import (
    OPAQUE,
    Event,
    Text,
    ToolCall,
)
from openai_chat_runs import chunk, run


def calls(*fragments: Any) -> list[Event]:
    """The events of tool call fragments, each in a chunk of its own."""
    return run(*(chunk({"tool_calls": [fragment]}) for fragment in fragments))


def fragment(arguments: str | None = "", name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


def test_a_call_in_fragments() -> None:
    assert calls(
        fragment("", "f", index=0, id="a", type="function"), fragment('{"x"', index=0), fragment(":1}", index=0)
    ) == [ToolCall(0, "a", "f", ""), ToolCall(0, arguments='{"x"'), ToolCall(0, arguments=":1}")]


def test_parallel_calls_interleaved() -> None:
    parts = [
        fragment("", "f", index=0, id="a"),
        fragment("", "g", index=1, id="b"),
        fragment("{0", index=0),
        fragment("{1", index=1),
    ]
    assert [(e.index, e.arguments) for e in calls(*parts)[2:] if isinstance(e, ToolCall)] == [(0, "{0"), (1, "{1")]


def test_calls_are_numbered_by_appearance_not_by_the_providers_index() -> None:
    assert calls(fragment("{}", "f", index=1, id="a"), fragment("{}", "g", index=7, id="b")) == [
        ToolCall(0, "a", "f", "{}"),
        ToolCall(1, "b", "g", "{}"),
    ]


def test_calls_of_each_choice_are_numbered_apart() -> None:
    one = {"tool_calls": [fragment("{}", "f", index=0, id="a")]}
    assert run(chunk(one, index=0), chunk(one, index=1)) == [
        ToolCall(0, "a", "f", "{}", choice=0),
        ToolCall(0, "a", "f", "{}", choice=1),
    ]


def test_a_call_without_an_index_is_told_by_its_id() -> None:
    parts = [
        fragment('{"a"', "f", id="a"),
        fragment("{}", "f", id="b"),
        fragment(":1}", id="a"),
        fragment(" ", index=None, id=""),
    ]
    assert calls(*parts) == [
        ToolCall(0, "a", "f", '{"a"'),
        ToolCall(1, "b", "f", "{}"),
        ToolCall(0, arguments=":1}"),
        ToolCall(1, arguments=" "),
    ]


def test_a_name_begins_a_call_that_has_neither_index_nor_id() -> None:
    assert calls(fragment("{", "f"), fragment("}"), fragment("{}", "f")) == [
        ToolCall(0, "", "f", "{"),
        ToolCall(0, arguments="}"),
        ToolCall(1, "", "f", "{}"),
    ]


def test_an_index_reused_with_a_new_id_and_name_is_a_new_call() -> None:
    parts = [fragment("{}", "f", index=0, id="a"), fragment("{", "f", index=0, id="b"), fragment("}", index=0)]
    assert calls(*parts) == [ToolCall(0, "a", "f", "{}"), ToolCall(1, "b", "f", "{"), ToolCall(1, arguments="}")]


def test_a_new_id_without_a_name_goes_on_with_the_call() -> None:
    assert calls(fragment("{", "f", index=0, id="a"), fragment("}", index=0, id="other")) == [
        ToolCall(0, "a", "f", "{"),
        ToolCall(0, arguments="}"),
    ]


def test_a_repeated_id_and_name_are_told_once() -> None:
    same = fragment("", "f", index=0, id="0")
    assert calls(same, same, fragment("{}", "f", index=0, id="0")) == [
        ToolCall(0, "0", "f"),
        OPAQUE,
        ToolCall(0, arguments="{}"),
    ]


def test_an_id_that_comes_late_is_told() -> None:
    assert calls(fragment("", "f", index=0), fragment("{}", index=0, id="a")) == [
        ToolCall(0, "", "f"),
        ToolCall(0, "a", "", "{}"),
    ]


def test_arguments_sent_as_an_object_become_text() -> None:
    assert calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}) == [
        ToolCall(0, "a", "f", '{"x":[1]}')
    ]


def test_a_custom_tools_input_is_its_arguments() -> None:
    assert calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}) == [
        ToolCall(0, "a", "sql", "SELECT 1")
    ]


def test_the_legacy_function_call() -> None:
    parts = ({"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}})
    assert run(*(chunk(p) for p in parts)) == [ToolCall(0, "", "f", "{"), ToolCall(0, arguments="}")]


def test_tool_calls_over_the_limit_are_opaque() -> None:
    events = calls(*(fragment("{}", "f", index=n, id=str(n)) for n in range(TOOL_CALL_LIMIT + 2)))
    assert events[-3:] == [ToolCall(TOOL_CALL_LIMIT - 1, str(TOOL_CALL_LIMIT - 1), "f", "{}"), OPAQUE, OPAQUE]


def test_choices_over_the_limit_are_opaque() -> None:
    events = run(*(chunk({"content": "x"}, index=n) for n in range(CHOICE_LIMIT + 1)), chunk({"content": "y"}, index=0))
    assert events[-3:] == [Text("x", CHOICE_LIMIT - 1), OPAQUE, Text("y", 0)]


def test_a_fragment_that_says_nothing_begins_no_call() -> None:
    assert calls(fragment(None, index=0), fragment("{}", "f", index=0, id="a")) == [ToolCall(0, "a", "f", "{}")]
