from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import ollama
import pytest
from hypothesis import given

import google_sdk
from exchanges import Exchange, corpus
from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    ReasoningPart,
    ReasoningSettings,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
    Written,
)
from midstream.dialects.ollama.request import read_conversation, write_request

CHAT = "/api/chat"
USER = Message("user", (TextPart("hi"),))
HI = {"model": "qwen3", "messages": [{"role": "user", "content": "hi"}]}
PNG = "iVBORw0KGgoAAAANSUhEUg=="
TOOL = Tool("f", "does f", {"type": "object", "properties": {"a": {"type": "integer"}}})


def write(*messages: Message, **more: Any) -> Written:
    named = {"model": "qwen3", "dialect": "openai_chat", **more}
    return write_request(Conversation(messages=messages or (USER,), **named))


def said(*parts: Part, role: Any = "user") -> Message:
    return Message(role, parts)


def test_a_minimal_request_says_whether_to_stream() -> None:
    assert write() == Written(CHAT, {**HI, "stream": True})
    assert write(stream=False).body == {**HI, "stream": False}


def test_system_messages_keep_their_place() -> None:
    messages = write(said(TextPart("a"), TextPart("b"), role="system"), USER, said(TextPart("c"), role="system")).body
    assert [(m["role"], m["content"]) for m in messages["messages"]] == [
        ("system", "a\nb"),
        ("user", "hi"),
        ("system", "c"),
    ]


def test_images_go_beside_the_text() -> None:
    (message,) = write(said(TextPart("a"), MediaPart("image", "image/png", PNG))).body["messages"]
    assert message == {"role": "user", "content": "a", "images": [PNG]}


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (MediaPart("image", url="https://x.test/a.png"), "image by URL"),
        (MediaPart("audio", "audio/wav", "QQ=="), "audio/wav"),
        (MediaPart("file", "application/pdf", "QQ==", name="a.pdf"), r"a\.pdf"),
    ],
)
def test_media_that_ollama_cannot_take_rule_it_out(part: MediaPart, what: str) -> None:
    with pytest.raises(Inexpressible, match=what):
        write(said(part))


def test_calls_and_results() -> None:
    written = write(
        said(TextPart("x"), ToolUsePart("c1", "f", '{"a":1}'), ToolUsePart("c2", "g", ""), role="assistant"),
        said(ToolResultPart("c1", (TextPart("5"),)), ToolResultPart("c2", (), is_error=True), TextPart("and?")),
    )
    assert written.body["messages"] == [
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "5", "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": "", "tool_name": "g", "tool_call_id": "c2"},
        {"role": "user", "content": "and?"},
    ]
    assert written.dropped == ("is_error",)


def test_a_result_without_its_call_rules_ollama_out() -> None:
    with pytest.raises(Inexpressible, match="without its call"):
        write(said(ToolResultPart("c", ())))


def test_reasoning_is_resent_to_ollama_alone() -> None:
    own, foreign = (said(ReasoningPart("hm", dialect=d), TextPart("a"), role="assistant") for d in ("ollama", "gemini"))
    written = write(own, foreign)
    assert written.body["messages"] == [
        {"role": "assistant", "content": "a", "thinking": "hm"},
        {"role": "assistant", "content": "a"},
    ]
    assert written.dropped == ("reasoning of earlier turns",)


def test_tools_and_their_choice() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    declared = [{"type": "function", "function": {"name": "f", "description": "does f", "parameters": parameters}}]
    assert write(tools=(TOOL,)).body["tools"] == declared
    assert write(tools=(TOOL,), tool_choice=ToolChoice("auto")).body["tools"] == declared
    assert "tools" not in write(tools=(TOOL,), tool_choice=ToolChoice("none")).body
    assert write(tools=(replace(TOOL, strict=True),)).dropped == ("strict",)


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("named", "f")])
def test_a_call_that_must_be_made_rules_ollama_out(choice: ToolChoice) -> None:
    with pytest.raises(Inexpressible, match="tool_choice"):
        write(tools=(TOOL,), tool_choice=choice)


def test_options() -> None:
    written = write(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        stop=("a",),
        user="u",
        parallel_tool_calls=False,
        extras={"logprobs": True},
    )
    assert written.body["options"] == {
        "num_predict": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 3,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "stop": ["a"],
    }
    assert written.dropped == ("logprobs", "parallel_tool_calls", "user")


def test_more_than_one_choice_rules_ollama_out() -> None:
    with pytest.raises(Inexpressible, match="choice"):
        write(choices=2)


def test_response_formats() -> None:
    assert write(output_format=OutputFormat("json_object")).body["format"] == "json"
    assert write(output_format=OutputFormat("json_schema", {"type": "object"})).body["format"] == {"type": "object"}
    with pytest.raises(Inexpressible, match="together"):
        write(tools=(TOOL,), output_format=OutputFormat("json_object"))


@pytest.mark.parametrize(
    ("model", "settings", "think", "dropped"),
    [
        ("qwen3", ReasoningSettings("high"), None, ("reasoning",)),
        ("qwen3", ReasoningSettings("none"), False, ()),
        ("qwen3", ReasoningSettings(budget=0), False, ()),
        ("gpt-oss:20b", ReasoningSettings("minimal"), "low", ()),
        ("gpt-oss:20b", ReasoningSettings("xhigh"), "high", ()),
        ("gpt-oss:20b", ReasoningSettings(budget=4000), "medium", ()),
        ("gpt-oss:20b", ReasoningSettings(budget=0), "low", ("reasoning",)),
    ],
)
def test_how_much_to_think(model: str, settings: ReasoningSettings, think: Any, dropped: Any) -> None:
    written = write(model=model, reasoning=settings)
    assert (written.body.get("think"), written.dropped) == (think, dropped)


@pytest.mark.parametrize("think", [True, False, "low"])
def test_ollamas_own_think_comes_back(think: Any) -> None:
    read = read_conversation(CHAT, {**HI, "think": think})
    assert write_request(replace(read, extras={})).body["think"] == think


def test_generate_is_read_as_a_chat() -> None:
    body = {"model": "m", "system": "s", "prompt": "p", "images": [PNG], "options": {"num_ctx": 9}, "keep_alive": 5}
    read = read_conversation("/api/generate", body)
    assert read.messages == (
        said(TextPart("s"), role="system"),
        said(TextPart("p"), MediaPart("image", "image/png", PNG)),
    )
    assert write_request(read).body == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p", "images": [PNG]}],
        "options": {"num_ctx": 9},
        "keep_alive": 5,
        "stream": True,
    }


def test_results_without_ids_belong_to_the_calls_of_their_name_in_order() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}, {"function": {"name": "g", "arguments": {}}}]
    messages = [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_name": "g", "content": "2"},
        {"role": "tool", "content": "1"},
    ]
    read = read_conversation(CHAT, {"model": "m", "messages": messages})
    first, second = read.messages[0].parts
    results = read.messages[1].parts
    assert isinstance(first, ToolUsePart)
    assert isinstance(second, ToolUsePart)
    assert [r.id for r in results if isinstance(r, ToolResultPart)] == [second.id, first.id]
    assert [r.name for r in results if isinstance(r, ToolResultPart)] == ["g", "f"]
    assert "id" not in json.dumps(write_request(replace(read, extras={})).body)


def test_no_limit_is_kept_for_ollama_alone() -> None:
    read = read_conversation(CHAT, {**HI, "options": {"num_predict": -1}})
    assert read.max_tokens is None
    assert write_request(replace(read, extras=dict(read.extras))).body["options"] == {"num_predict": -1}


def test_what_is_changed_is_written_anew_and_the_rest_is_kept() -> None:
    body = {**HI, "keep_alive": "5m", "options": {"num_ctx": 99}, "stream": True}
    read = read_conversation(CHAT, body)
    more = said(TextPart("ab"), role="assistant")
    written = write_request(replace(read, messages=(*read.messages, more), model="other"))
    expected = [*HI["messages"], {"role": "assistant", "content": "ab"}]
    assert written.body == {**body, "model": "other", "messages": expected}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, {}, "model"),
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, {"model": "m", "messages": [{"content": "x"}]}, r"messages\[0\].role"),
        (CHAT, {"model": "m", "messages": [{"role": "robot"}]}, r"messages\[0\].role"),
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": []}]}, r"messages\[0\].content"),
        (CHAT, {"model": "m", "messages": [{"role": "user", "images": [5]}]}, r"messages\[0\].images"),
        (CHAT, {**HI, "options": []}, "options"),
        (CHAT, {**HI, "options": {"temperature": "hot"}}, "options.temperature"),
        (CHAT, {**HI, "format": "xml"}, "format"),
        (CHAT, {**HI, "think": 5}, "think"),
        (CHAT, {**HI, "tools": [{}]}, r"tools\[0\].function"),
        (CHAT, {**HI, "stream": "yes"}, "stream"),
        ("/api/generate", {"model": "m"}, "prompt"),
        ("/api/generate", {"model": "m", "prompt": "p", "suffix": "s"}, "suffix"),
        ("/api/generate", {"model": "m", "prompt": "p", "context": [1]}, "context"),
    ],
)
def test_a_wrong_field_is_named(path: str, body: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        read_conversation(path, body)


KEYS = "model messages role content options tools function name tool_calls arguments format think images user prompt"


@given(google_sdk.confused(*KEYS.split(), "assistant", "tool"))
def test_whatever_a_client_sends_is_read_or_refused(body: Any) -> None:
    for path in (CHAT, "/api/generate"):
        try:
            read = read_conversation(path, {"model": "m", **body} if isinstance(body, dict) else body)
            write_request(replace(read, extras=dict(read.extras)))
            write_request(read)
        except (ValueError, Inexpressible):
            continue


def _requests() -> list[Exchange]:
    return [e for e in corpus() if e.api in ("api/chat", "api/generate") and e.request.get("body")]


def _read(exchange: Exchange) -> Conversation:
    return read_conversation(urlsplit(exchange.request["url"]).path, exchange.request["body"])


@pytest.mark.parametrize("exchange", [e for e in _requests() if e.api == "api/chat"], ids=lambda e: e.id)
def test_every_recorded_chat_is_written_as_it_was_read(exchange: Exchange) -> None:
    body = exchange.request["body"]
    assert write_request(_read(exchange)) == Written(CHAT, {"stream": True, **body})


@pytest.mark.parametrize("exchange", _requests(), ids=lambda e: e.id)
def test_every_recorded_request_written_anew_means_the_same(exchange: Exchange) -> None:
    body = exchange.request["body"]
    read = _read(exchange)
    written = write_request(replace(read, extras=dict(read.extras)))
    again = read_conversation(CHAT, dict(written.body))
    assert replace(again, extras=dict(again.extras)) == replace(read, extras=dict(read.extras))
    assert not written.dropped
    messages = body.get("messages") or [{"role": "user", "content": body["prompt"]}]
    assert [(m["role"], m["content"]) for m in written.body["messages"]] == [
        (m["role"], m.get("content") or "") for m in messages
    ]
    assert written.body.get("options", {}) == body.get("options", {})
    assert written.body.get("tools", []) == body.get("tools", [])


def test_ollamas_sdk_takes_what_is_written() -> None:
    """Its own ChatRequest sends the same body."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"message": {"role": "assistant", "content": ""}, "done": True})

    written = write(
        said(TextPart("s"), role="system"),
        said(TextPart("a"), MediaPart("image", "image/png", PNG)),
        said(ToolUsePart("", "f", '{"a":1}'), role="assistant"),
        said(ToolResultPart("", (TextPart("5"),), name="f")),
        tools=(TOOL,),
        temperature=0.5,
        stream=False,
    )
    client = ollama.Client(host="http://ollama.test", transport=httpx.MockTransport(answer))
    client.chat(**dict(written.body))
    assert _without_nulls(sent[0]) == _without_nulls(written.body)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner not in (None, [], "")}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
