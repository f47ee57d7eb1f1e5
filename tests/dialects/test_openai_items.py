"""What the events about output items mean, and that nothing is told twice or lost."""

from __future__ import annotations

from typing import Any

import pytest

import exchanges
from midstream.dialects.openai.items import ITEMS_LIMIT, PARTS_LIMIT
from midstream.dialects.openai.responses import ResponsesDecoder
from midstream.events import (
    OPAQUE,
    Event,
    Media,
    Reasoning,
    Refusal,
    ServerTool,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire.json_text import Json
from openai_events import (
    START,
    WHOLE,
    added,
    call,
    completed,
    created,
    decode,
    delta,
    done,
    frame,
    message,
)


def test_text_deltas_are_text_of_their_item() -> None:
    said = decode(
        created(), delta("output_text", "Hi", 2, obfuscation="xyzzy"), delta("output_text", " you", 3), completed()
    )
    assert said == [START, Text("Hi", 0, 2), Text(" you", 0, 3), *WHOLE]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("refusal", Refusal("x")),
        ("reasoning_text", Reasoning("x")),
        ("reasoning_summary_text", Reasoning("x")),
        ("code_interpreter_call_code", ServerTool("code_interpreter")),
        ("mcp_call_arguments", ServerTool("mcp")),
        ("shell_call_output_content", ServerTool("shell")),
    ],
)
def test_each_kind_of_delta_has_its_event(kind: str, said: Event) -> None:
    assert decode(created(), delta(kind, "x"), completed()) == [START, said, *WHOLE]


@pytest.mark.parametrize("empty", ["", None, 5, {"stdout": "x"}])
def test_a_delta_that_is_no_text_says_nothing(empty: Any) -> None:
    assert decode(created(), delta("output_text", empty), completed()) == [START, *WHOLE]


def test_tool_calls_are_numbered_by_appearance_and_named_by_their_item() -> None:
    said = decode(
        created(),
        added(call(7), at=1),
        added(call(8), at=2),
        delta("function_call_arguments", '{"a"', 2),
        delta("function_call_arguments", "{}", 1),
        delta("function_call_arguments", ":1}", 2),
        done(call(7, "{}"), at=1),
        done(call(8, '{"a":1}'), at=2),
        completed(call(7, "{}"), call(8, '{"a":1}')),
    )
    assert said == [
        START,
        ToolCall(0, "call_7", "tool_7", "", 0, 1),
        ToolCall(1, "call_8", "tool_8", "", 0, 2),
        ToolCall(1, "", "", '{"a"', 0, 2),
        ToolCall(0, "", "", "{}", 0, 1),
        ToolCall(1, "", "", ":1}", 0, 2),
        *WHOLE,
    ]


def test_a_custom_tool_is_called_with_its_input() -> None:
    item = call(1, "", "custom_tool_call", "input")
    said = decode(added(item), delta("custom_tool_call_input", "SELECT"), done(item | {"input": "SELECT"}), completed())
    assert said[:-3] == [ToolCall(0, "call_1", "tool_1"), ToolCall(0, "", "", "SELECT")]


def test_arguments_before_their_item_are_named_later() -> None:
    said = decode(delta("function_call_arguments", "{}"), done(call(1, "{}")), completed())
    assert said[:-3] == [ToolCall(0, "", "", "{}"), ToolCall(0, "call_1", "tool_1")]


def test_items_without_output_index_are_told_apart_by_their_ids() -> None:
    """llama.cpp leaves out `output_index`, and its calls have a `call_id` only, which its deltas name as `item_id`."""
    first, second = ({key: v for key, v in call(at).items() if key != "id"} for at in (1, 2))
    said = decode(
        {"type": "response.output_item.added", "item": first},
        {"type": "response.output_item.added", "item": second},
        {"type": "response.function_call_arguments.delta", "item_id": "call_1", "delta": "[1]"},
        {"type": "response.function_call_arguments.delta", "item_id": "call_2", "delta": "[2]"},
        {"type": "response.output_item.done", "item": first | {"arguments": "[1]"}},
        completed(),
    )
    folded = exchanges.fold(said)
    assert [(c["id"], c["arguments"]) for c in folded.tool_calls] == [("call_1", "[1]"), ("call_2", "[2]")]


def test_deltas_without_output_index_belong_to_the_item_of_their_id() -> None:
    said = decode(
        added(call(1), at=4),
        added(call(2), at=7),
        {"type": "response.function_call_arguments.delta", "item_id": "fc_2", "delta": "{}"},
        completed(),
    )
    assert said[2] == ToolCall(1, "", "", "{}", 0, 7)


@pytest.mark.parametrize("kind", ["web_search_call", "file_search_call", "mcp_call", "shell_call", "apply_patch_call"])
def test_tools_that_are_not_the_clients_are_server_tools(kind: str) -> None:
    tool = ServerTool(kind.removesuffix("_call"))
    assert decode(added({"type": kind}), done({"type": kind}), completed())[:-3] == [tool, tool]


@pytest.mark.parametrize("kind", ["message", "reasoning", "mcp_list_tools", "shell_call_output", "compaction", 5, None])
def test_an_item_that_only_begins_is_no_content(kind: Any) -> None:
    assert decode(created(), added({"type": kind}), completed()) == [START, *WHOLE]


def test_images_are_measured_not_kept() -> None:
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": "AAAA"}
    item = {"type": "image_generation_call", "result": "AAAAAAAA"}
    assert decode(partial, done(item), completed())[:-3] == [Media("image", 4), Media("image", 8)]


def test_encrypted_reasoning_is_a_signature() -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    assert decode(created(), added(item), done(item), completed(item)) == [START, Reasoning("", 0, 0, "gAAA"), *WHOLE]


def test_usage_that_no_count_can_be_is_none() -> None:
    usage = {"input_tokens": 2**70, "output_tokens": -1, "output_tokens_details": {"reasoning_tokens": 2**53}}
    assert Usage(raw=usage) in decode(completed(usage=usage))


def test_usage_has_its_details() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    assert Usage(10, 20, 4, 2, 5, usage) in decode(completed(usage=usage))


# Repetitions


def test_what_deltas_said_is_not_counted_twice() -> None:
    said = decode(
        created(),
        delta("output_text", "Hel"),
        delta("output_text", "lo"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"},
        done(message("Hello")),
        completed(message("Hello")),
    )
    assert said == [START, Text("Hel"), Text("lo"), *WHOLE]


def test_an_item_whose_parts_are_numbered_otherwise_is_not_counted_twice() -> None:
    said = decode(delta("output_text", "Hello", content_index=1), done(message("Hello")), completed())
    assert said[:-3] == [Text("Hello")]


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"}],
        [done(message("Hello"))],
        [done(message("Hel", "lo"))],
        [],
    ],
    ids=["text done", "item done", "two parts", "response completed"],
)
def test_text_that_no_delta_said_is_not_lost(events: list[Json]) -> None:
    said = exchanges.fold(decode(created(), *events, completed(message("Hello"))))
    assert (said.text, said.finish_reason) == ("Hello", "completed")


@pytest.mark.parametrize(
    "events",
    [
        [added(call()), {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"}],
        [added(call()), done(call(1, "{}"))],
        [done(call(1, "{}"))],
        [],
    ],
    ids=["arguments done", "item done", "item done only", "response completed"],
)
def test_arguments_that_no_delta_said_are_not_lost(events: list[Json]) -> None:
    said = exchanges.fold(decode(created(), *events, completed(message("Hello"), call(1, "{}"))))
    assert said.tool_calls == [{"id": "call_1", "name": "tool_1", "arguments": "{}"}]
    assert said.text == "Hello"


def test_a_refusal_that_no_delta_said_is_not_lost() -> None:
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    once = {"type": "response.refusal.done", "output_index": 0, "content_index": 0, "refusal": "no"}
    for events in ([once, done(item)], [done(item)], []):
        assert exchanges.fold(decode(created(), *events, completed(item))).refusal == "no"


def test_reasoning_and_its_summary_are_not_both_told_of_a_whole_item() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}],
    }
    assert exchanges.fold(decode(done(item), completed(item))).reasoning == "long"


# Bounds


def test_the_parts_remembered_are_bounded_and_deltas_still_count() -> None:
    decoder = ResponsesDecoder()
    for at in range(PARTS_LIMIT + 10):
        assert decoder.feed(frame(delta("output_text", "x", at))) == [Text("x", 0, at)]
    items = decoder._answer._items
    assert len(items._seen) == PARTS_LIMIT
    assert len(items._spoken) == PARTS_LIMIT
    assert decoder.feed(frame(done(message("x"), at=PARTS_LIMIT + 5))) == [OPAQUE]


def test_the_calls_and_ids_remembered_are_bounded() -> None:
    decoder = ResponsesDecoder()
    for at in range(ITEMS_LIMIT + 10):
        decoder.feed(frame(added(call(at) | {"id": f"{at}" * 1000}, at=at)))
        decoder.feed(frame({"type": "response.output_text.delta", "item_id": f"x{at}", "delta": "x"}))
    items = decoder._answer._items
    assert len(items._calls) == ITEMS_LIMIT
    assert len(items._slots) == ITEMS_LIMIT
    assert max(map(len, items._slots)) <= 256
