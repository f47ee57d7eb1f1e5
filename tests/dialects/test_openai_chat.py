"""chat.completions and its relatives: chunks in, events out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.events import (
    END,
    OPAQUE,
    Failure,
    Finish,
    Media,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from openai_chat_runs import chunk, decoder, run


def test_a_stream_as_openai_documents_it() -> None:
    start = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-mini"}
    frames = [
        {**start, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {**start, "choices": [{"index": 0, "delta": {"content": "Hello"}, "logprobs": None, "finish_reason": None}]},
        {**start, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]},
    ]
    new = decoder()
    assert [new.feed(Frame(json.dumps(f).encode())) for f in frames] == [
        [Start("chatcmpl-123", "gpt-4o-mini", 1694268190)],
        [Text("Hello")],
        [Finish("stop")],
    ]
    assert new.feed(Frame(b"[DONE]")) == [END]
    assert new.close() == []


def test_start_comes_again_when_azures_second_chunk_names_the_model() -> None:
    new = decoder()
    filters = {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    assert new.feed(Frame(json.dumps(filters).encode())) == [Start()]
    assert new.feed(Frame(json.dumps(chunk({"content": "a"}, created=7)).encode())) == [Start("c", "m", 7), Text("a")]
    assert new.feed(Frame(json.dumps(chunk({"content": "b"}, created=8)).encode())) == [Text("b")]


def test_the_events_of_one_chunk_come_in_order() -> None:
    delta = {
        "function_call": {"name": "old", "arguments": "{}"},
        "audio": {"data": "AAAA", "transcript": "hi"},
        "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}],
        "refusal": "no",
        "content": "text",
        "reasoning_content": "think",
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert run(chunk(delta, "stop", usage=usage)) == [
        Reasoning("think"),
        Text("text"),
        Refusal("no"),
        ToolCall(0, "t", "f"),
        ToolCall(1, "", "old", "{}"),
        Media("audio", 4, "hi"),
        Finish("stop"),
        Usage(1, 2, raw=usage),
    ]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "reasoning_text", "thinking"])
def test_reasoning_has_a_field_by_many_names(key: str) -> None:
    assert run(chunk({key: "why"})) == [Reasoning("why")]


def test_reasoning_sent_twice_in_one_chunk_counts_once() -> None:
    details = [{"type": "reasoning.text", "text": "why", "signature": "sig"}]
    assert run(chunk({"reasoning": "why", "reasoning_content": "why", "reasoning_details": details})) == [
        Reasoning("why", signature="sig")
    ]


def test_reasoning_details_alone_are_reasoning() -> None:
    parts = [
        {"type": "reasoning.summary", "summary": "short"},
        {"type": "reasoning.text", "text": " long"},
        {"type": "reasoning.encrypted", "data": "blob"},
    ]
    assert run(chunk({"content": "", "reasoning": None, "reasoning_details": parts})) == [
        Reasoning("short long", signature="blob")
    ]


def test_mistrals_content_list() -> None:
    content = [
        {
            "type": "thinking",
            "thinking": [{"type": "text", "text": "Hm"}, {"type": "text", "text": "m"}],
            "closed": True,
        },
        {"type": "thinking", "thinking": []},
        {"type": "text", "text": "Yes"},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert run(chunk({"content": content})) == [Reasoning("Hmm"), Text("Yes")]


def test_several_choices_in_one_chunk() -> None:
    both = {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}
    assert run(both) == [Text("a", 0), Text("b", 1)]


def test_openrouters_images_are_media() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert run(chunk({"content": "", "images": [image]})) == [Media("image", 26)]


def test_a_repeated_finish_reason_is_told_once_and_a_changed_one_again() -> None:
    chunks = (chunk({}, "stop"), chunk({}, "stop"), chunk({}), chunk({}, "tool_calls"))
    assert run(*chunks) == [Finish("stop"), OPAQUE, OPAQUE, Finish("tool_calls")]


def test_the_native_finish_reason_is_the_detail() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "end_turn"}
    assert run({"choices": [choice]}) == [Finish("stop", 0, "end_turn")]


def test_a_whole_answer_as_the_only_event_of_a_stream_is_read() -> None:
    message = {"role": "assistant", "content": "all"}
    assert run({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}) == [
        Text("all"),
        Finish("stop"),
    ]


def test_a_message_that_repeats_the_deltas_is_not_read_twice() -> None:
    message = {"choices": [{"index": 0, "message": {"content": "all"}, "finish_reason": "stop"}]}
    assert run(chunk({"content": "all"}), message) == [Text("all"), Finish("stop")]


def test_a_whole_answer() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning_content": "why",
        "tool_calls": [call, call],
    }
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage, "choices": [
        {"index": 0, "message": message, "finish_reason": "tool_calls"},
        {"index": 1, "message": {"content": [{"type": "text", "text": "Yo"}]}, "finish_reason": "stop"},
        {"index": 2, "message": {"content": None, "refusal": "no"}, "finish_reason": "stop"},
    ]}  # fmt: skip
    assert OPENAI_CHAT.read_answer(answer) == [
        Start("c", "m", 1),
        Reasoning("why"),
        Text("Hi"),
        ToolCall(0, "a", "f", "{}"),
        ToolCall(1, "a", "f", "{}"),
        Finish("tool_calls"),
        Text("Yo", 1),
        Finish("stop", 1),
        Refusal("no", 2),
        Finish("stop", 2),
        Usage(9, 12, raw=usage),
        END,
    ]


def test_an_error_in_a_200_has_no_end() -> None:
    error = {"message": "m", "code": 502}
    assert OPENAI_CHAT.read_answer({"error": error}) == [Failure("m", code="502", status=502, raw=error)]
    inside = {"choices": [{"index": 0, "error": error, "message": {"content": "half"}, "finish_reason": "error"}]}
    assert OPENAI_CHAT.read_answer(inside)[1:] == [
        Failure("m", code="502", status=502, raw=error),
        Text("half"),
        Finish("error"),
    ]


@pytest.mark.parametrize("answer", [None, 5, [], "x", {}, {"choices": 5}])
def test_an_answer_that_is_none_fails(answer: Any) -> None:
    (failure,) = OPENAI_CHAT.read_answer(answer)
    assert isinstance(failure, Failure)
    assert failure.type == "invalid_response"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/gpt/chat/completions",
        "/models/chat/completions",
        "/api/v1/chat/completions/",
        "/v1beta/openai/chat/completions",
        "/api/coding/paas/v4/chat/completions",
        "/v1/chat",
    ],
)
def test_paths(path: str) -> None:
    assert any(p.search(path) for p in OPENAI_CHAT.paths)


@pytest.mark.parametrize(
    "path", ["/v1/completions", "/v1/chat/completions/abc", "/v1/chat/stream", "/v2/chat", "/api/chat"]
)
def test_other_paths(path: str) -> None:
    assert not any(p.search(path) for p in OPENAI_CHAT.paths)


def test_the_model_is_azures_deployment_where_the_body_has_none() -> None:
    path = "/openai/deployments/my%20gpt/chat/completions"
    facts = OPENAI_CHAT.read_request(path, {"messages": [], "stream": True})
    assert (facts.model, facts.stream) == ("my gpt", True)
    facts = OPENAI_CHAT.read_request(path, {"model": "gpt-4o", "stream": "yes"})
    assert (facts.model, facts.stream) == ("gpt-4o", False)
    assert OPENAI_CHAT.read_request("/v1/chat/completions", {"model": 5}).model == ""


def test_prompt() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    body = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "what is"}, image, {"type": "text", "text": "this"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "result"},
            "junk",
            {"content": [5, {"text": 5}]},
        ]
    }
    assert OPENAI_CHAT.prompt(body) == ["be brief", "what is", "this", "f", '{"x":1}', "result"]
    assert OPENAI_CHAT.prompt({"messages": 5}) == []


def test_tools_and_the_answers_schema_are_input_that_no_rule_counts_exactly() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
    assert (OPENAI_CHAT.prompt(body), OPENAI_CHAT.template_tokens(body)) == (["hi"], 7)
    said = {
        "tools": [tool],
        "functions": [{"name": "g"}],
        "response_format": {"json_schema": {"name": "s", "schema": {}}},
    }
    texts = [
        '[{"type":"function","function":{"name":"f","parameters":{}}}]',
        '[{"name":"g"}]',
        '{"name":"s","schema":{}}',
    ]
    assert OPENAI_CHAT.prompt(body | said) == [*texts, "hi"]
    for (key, value), text in zip(said.items(), texts, strict=True):
        assert OPENAI_CHAT.prompt(body | {key: value}) == [text, "hi"]
        assert OPENAI_CHAT.template_tokens(body | {key: value}) is None, key
    assert OPENAI_CHAT.prompt(body | {"tools": [], "response_format": {"type": "json_object"}}) == ["hi"]
