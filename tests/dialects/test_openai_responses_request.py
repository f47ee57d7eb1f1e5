from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    Message,
    OutputFormat,
    ReasoningPart,
    ReasoningSettings,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.openai import chat_request as openai_chat_request
from midstream.dialects.openai.responses import OPENAI_RESPONSES
from midstream.dialects.openai.responses_request import read_conversation, write_request

PNG = "data:image/png;base64,aGk="
HI = Message("user", (TextPart("hi"),))


def read(items: Any = "hi", **fields: Any) -> Conversation:
    return read_conversation("/v1/responses", {"model": "m", "input": items, **fields})


def plain(conversation: Conversation) -> Conversation:
    """The same without the body it was read from, so that it is written anew."""
    return replace(conversation, extras=dict(conversation.extras))


def foreign(*messages: Message, model: str = "m", **fields: Any) -> Conversation:
    return Conversation(model=model, messages=messages or (HI,), dialect="anthropic_messages", **fields)


def bodies() -> list[Any]:
    recorded = exchanges.of("responses") + exchanges.of("responses", kind="error")
    read = [(e.id, e.request.get("body")) for e in recorded]
    return [pytest.param(body, id=id_) for id_, body in read if isinstance(body, dict)]


@pytest.mark.parametrize("body", bodies())
def test_a_recorded_request_is_written_as_it_was_read(body: dict[str, Any]) -> None:
    conversation = read_conversation("/v1/responses", body)
    assert write_request(conversation).body == body
    assert write_request(conversation).dropped == ()


@pytest.mark.parametrize("body", bodies())
def test_a_recorded_request_means_the_same_when_written_anew(body: dict[str, Any]) -> None:
    conversation = plain(read_conversation("/v1/responses", body))
    written = write_request(conversation)
    again = read_conversation("", json.loads(json.dumps(written.body)))
    unsigned = [p for m in conversation.messages for p in m.parts if isinstance(p, ReasoningPart) and not p.signature]
    assert ("reasoning of earlier turns" in written.dropped) == bool(unsigned)
    messages = tuple(
        replace(m, parts=tuple(p for p in m.parts if not isinstance(p, ReasoningPart) or p.signature))
        for m in conversation.messages
    )
    assert replace(again, extras={}) == replace(conversation, extras={}, messages=messages)
    assert again.extras.keys() == {name for name in conversation.extras if "." not in name}


def test_every_field() -> None:
    body = {
        "model": "gpt-5",
        "input": "hi",
        "instructions": "be kind",
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "max_output_tokens": 99,
        "temperature": 1,
        "top_p": 0.5,
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "user": "u",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    conversation = read_conversation("", body)
    assert conversation == Conversation(
        model="gpt-5",
        messages=(Message("system", (TextPart("be kind"),)), HI),
        tools=(Tool("f", "d", {"type": "object"}, True),),
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
        max_tokens=99,
        temperature=1,
        top_p=0.5,
        output_format=OutputFormat("json_schema", {"type": "object"}, "s", True),
        reasoning=ReasoningSettings("low", summary=True),
        user="u",
        stream=True,
        include_usage=True,
        dialect="openai_responses",
        extras={"store": False, "include": ["reasoning.encrypted_content"]},
    )
    assert write_request(conversation).body == body
    assert write_request(plain(conversation)).body == {**body, "input": [{"role": "user", "content": "hi"}]}


ITEMS = [
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": PNG, "detail": "auto"}],
    },
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAAA"},
    {"role": "assistant", "content": "let me see"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"},
    {
        "type": "function_call_output",
        "call_id": "c2",
        "output": [{"type": "input_image", "image_url": PNG, "detail": "auto"}],
    },
    {"role": "user", "content": "and?"},
]
IMAGE = MediaPart("image", "image/png", "aGk=", detail="auto")


def test_what_one_answer_said_is_one_message() -> None:
    conversation = read(ITEMS)
    assert conversation.messages == (
        Message("user", (TextPart("a"), IMAGE)),
        Message(
            "assistant",
            (
                ReasoningPart("hm", "gAAAA", "openai_responses"),
                TextPart("let me see"),
                ToolUsePart("c1", "f", "{}"),
                ToolUsePart("c2", "f", "{}"),
            ),
        ),
        Message("user", (ToolResultPart("c1", (TextPart("1"),)), ToolResultPart("c2", (IMAGE,)))),
        Message("user", (TextPart("and?"),)),
    )
    assert write_request(plain(conversation)).body["input"] == ITEMS


def test_files() -> None:
    parts = [
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_file", "file_url": "https://x.test/a.pdf"},
    ]
    conversation = read([{"role": "user", "content": parts}])
    assert conversation.messages[0].parts == (
        MediaPart("file", "application/pdf", "aGk=", name="a.pdf"),
        MediaPart("file", url="https://x.test/a.pdf"),
    )
    assert write_request(plain(conversation)).body["input"] == [{"role": "user", "content": parts}]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
    ],
)
def test_what_only_openai_can_find_rules_every_other_target_out(item: Any) -> None:
    conversation = read([{"role": "user", "content": "hi"}, item])
    assert write_request(conversation).body["input"][1] == item
    with pytest.raises(Inexpressible):
        openai_chat_request.write_request(conversation)


def test_records_of_a_servers_tools_stay_in_place_and_are_dropped_for_others() -> None:
    items = [
        {"role": "user", "content": "a"},
        {"type": "web_search_call", "id": "ws"},
        {"role": "user", "content": "b"},
    ]
    conversation = read(items)
    assert conversation.messages == (Message("user", (TextPart("a"),)), Message("user", (TextPart("b"),)))
    more = replace(conversation, messages=(*conversation.messages, Message("assistant", (TextPart("so far"),))))
    assert write_request(more).body["input"] == [*items, {"role": "assistant", "content": "so far"}]
    assert "input[].web_search_call" in openai_chat_request.write_request(conversation).dropped


def test_instructions_stay_where_messages_are_added() -> None:
    conversation = read(instructions="be kind")
    more = replace(conversation, messages=(*conversation.messages, Message("assistant", (TextPart("so far"),))))
    body = write_request(more).body
    assert (body["instructions"], body["input"]) == (
        "be kind",
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so far"}],
    )


@pytest.mark.parametrize(
    "extra",
    [{"previous_response_id": "r"}, {"conversation": "c"}, {"background": True}, {"tools": [{"type": "web_search"}]}],
)
def test_what_only_openai_can_do_is_kept_and_rules_chat_out(extra: Any) -> None:
    conversation = read(**extra)
    assert conversation.extras == extra
    assert write_request(conversation).body == {"model": "m", "input": "hi", **extra}
    with pytest.raises(Inexpressible):
        openai_chat_request.write_request(conversation)


def test_a_stored_prompt_may_name_the_model_and_the_input() -> None:
    body = {"prompt": {"id": "p"}}
    assert write_request(read_conversation("", body)).body == body


def test_settings_of_the_text_stay_beside_a_new_format() -> None:
    conversation = read(text={"verbosity": "low", "format": {"type": "json_object"}})
    assert conversation.extras == {"text.verbosity": "low"}
    changed = replace(conversation, output_format=None)
    assert write_request(changed).body["text"] == {"verbosity": "low"}


# --- from other dialects


def test_a_foreign_request_is_not_stored() -> None:
    assert write_request(foreign()).body == {
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
        "stream": True,
        "store": False,
    }


def test_leading_system_messages_are_instructions() -> None:
    body = write_request(
        foreign(Message("system", (TextPart("a"), TextPart("b"))), HI, Message("system", (TextPart("c"),)))
    ).body
    assert body["instructions"] == "a\n\nb"
    assert body["input"] == [{"role": "user", "content": "hi"}, {"role": "system", "content": "c"}]


def test_a_system_message_alone_is_input() -> None:
    body = write_request(foreign(Message("system", (TextPart("a"),)))).body
    assert body["input"] == [{"role": "system", "content": "a"}]
    assert "instructions" not in body


def test_tools_are_not_strict_unless_they_were() -> None:
    tools = write_request(foreign(tools=(Tool("f"), Tool("g", strict=True)))).body["tools"]
    assert [tool["strict"] for tool in tools] == [False, True]
    assert "strict" not in write_request(plain(read(tools=[{"type": "function", "name": "f"}]))).body["tools"][0]


@pytest.mark.parametrize("fields", [{"stop": ("x",)}, {"choices": 2}, {"extras": {"mcp_servers": [1]}}])
def test_what_would_change_the_answer_rules_responses_out(fields: Any) -> None:
    with pytest.raises(Inexpressible):
        write_request(foreign(**fields))


def test_what_is_dropped_is_named() -> None:
    written = write_request(foreign(seed=1, top_k=2, presence_penalty=0.1, max_tokens=1, extras={"metadata": 1}))
    assert written.dropped == ("max_tokens", "metadata", "presence_penalty", "seed", "top_k")
    assert written.body["max_output_tokens"] == 16


def test_audio_rules_it_out() -> None:
    with pytest.raises(Inexpressible):
        write_request(foreign(Message("user", (MediaPart("audio", "audio/wav", "aGk="),))))


# --- bad input


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"input": "hi"}, "model is missing"),
        ({"model": "m"}, "input is missing"),
        ({"model": "m", "input": 5}, "input must be an array, not a number"),
        ({"model": "m", "input": []}, "input is missing"),
        ({"model": "m", "input": ["hi"]}, r"input\[0\] must be an object, not a string"),
        ({"model": "m", "input": [{"role": "bot", "content": "a"}]}, r"input\[0\]\.role must be one of"),
        ({"model": "m", "input": [{"role": "user"}]}, r"input\[0\]\.content is missing"),
        ({"model": "m", "input": [{"type": "function_call", "name": "f"}]}, r"input\[0\]\.call_id is missing"),
        ({"model": "m", "input": "hi", "tools": [{"type": "function"}]}, r"tools\[0\]\.name is missing"),
        (
            {"model": "m", "input": "hi", "tool_choice": "maybe"},
            "tool_choice must be auto, none, required or an object",
        ),
        ({"model": "m", "input": "hi", "text": {"format": {"type": "json_schema"}}}, r"text\.format must be"),
        ({"model": "m", "input": "hi", "reasoning": "high"}, "reasoning must be an object, not a string"),
    ],
)
def test_bad_input_names_the_field_and_what_would_be_right(body: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read_conversation("/v1/responses", body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "function", "input_text", "auto", "user"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(["message", "reasoning", "function_call", "function_call_output", "web_search_call", "odd"])
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES,
        **dict.fromkeys(("role", "content", "summary", "call_id", "name", "arguments", "output", "id"), JSON),
    },
)
FIELDS = ("instructions", "tools", "tool_choice", "text", "reasoning", "prompt", "conversation", "stream", "odd")


BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "input": st.lists(ITEM, max_size=3) | JSON}, optional=dict.fromkeys(FIELDS, JSON)
)


@given(BODY)
def test_any_body_is_read_or_is_a_value_error(body: Any) -> None:
    try:
        conversation = read_conversation("", body)
    except ValueError:
        return
    assert write_request(conversation).body == body


def test_the_dialect_has_them() -> None:
    assert (OPENAI_RESPONSES.read_conversation, OPENAI_RESPONSES.write_request) == (read_conversation, write_request)
