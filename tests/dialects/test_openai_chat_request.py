from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from exchanges import Exchange
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
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.chat_request import read_conversation, write_request
from midstream.dialects.openai.responses_request import read_conversation as read_responses
from midstream.dialects.openai.responses_request import write_request as write_request_to_responses

HI = [{"role": "user", "content": "hi"}]
PNG = "data:image/png;base64,aGk="


def read(messages: Any = None, **fields: Any) -> Conversation:
    return read_conversation("/v1/chat/completions", {"model": "m", "messages": messages or HI, **fields})


def plain(conversation: Conversation) -> Conversation:
    """The same without the body it was read from, so that it is written anew."""
    return replace(conversation, extras=dict(conversation.extras))


def foreign(*messages: Message, model: str = "m", **fields: Any) -> Conversation:
    messages = messages or (Message("user", (TextPart("hi"),)),)
    return Conversation(model=model, messages=messages, dialect="anthropic_messages", **fields)


MALFORMED = "llamacpp/error400-chat.completions--rig--malformed_request_field"


UNSAYABLE = {"file": ("video/mp4",), "audio": ("",), "image": ()}
"""Media that only their provider's own words can say: OpenRouter's video, Mistral's audio of no named format."""


def bodies() -> list[Any]:
    recorded = exchanges.of("chat.completions") + exchanges.of("chat.completions", kind="error")
    read = [(e.id, e.request.get("body")) for e in recorded if e.id != MALFORMED]
    return [pytest.param(body, id=id_) for id_, body in read if isinstance(body, dict)]


BODIES = bodies()


@pytest.mark.parametrize("body", BODIES)
def test_a_recorded_request_is_written_as_it_was_read(body: dict[str, Any]) -> None:
    conversation = read_conversation("/v1/chat/completions", body)
    assert write_request(conversation).body == body
    assert write_request(conversation).dropped == ()


@pytest.mark.parametrize("body", BODIES)
def test_a_recorded_request_means_the_same_when_written_anew(body: dict[str, Any]) -> None:
    conversation = plain(read_conversation("/v1/chat/completions", body))
    media = [part for m in conversation.messages for part in m.parts if isinstance(part, MediaPart)]
    if any(part.media_type in UNSAYABLE[part.kind] for part in media):
        with pytest.raises(Inexpressible):
            write_request(conversation)
        return
    written = write_request(conversation)
    again = read_conversation("", json.loads(json.dumps(written.body)))
    assert replace(again, extras={}) == replace(conversation, extras={})
    nested = {name for name in conversation.extras if "." in name}
    assert again.extras.keys() == conversation.extras.keys() - nested


@pytest.mark.parametrize("exchange", [e for e in exchanges.corpus() if e.id == MALFORMED], ids=lambda e: e.id)
def test_a_request_that_its_provider_refused_as_malformed_is_refused(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match="temperature must be a number, not a string"):
        read_conversation("/v1/chat/completions", exchange.request["body"])


@pytest.mark.parametrize("body", BODIES)
def test_a_recorded_request_goes_through_the_responses_api_and_back(body: dict[str, Any]) -> None:
    conversation = read_conversation("/v1/chat/completions", body)
    try:
        there = write_request_to_responses(conversation)
    except Inexpressible:
        assert conversation.choices > 1 or conversation.stop or has_media(conversation)
        return
    again = read_responses("", json.loads(json.dumps(there.body)))
    back = read_conversation("", json.loads(json.dumps(write_request(again).body)))
    assert texts(back) == texts(conversation)
    assert [tool.name for tool in back.tools] == [tool.name for tool in conversation.tools]
    assert [tool.parameters for tool in back.tools if tool.parameters.get("properties")] == [
        tool.parameters for tool in conversation.tools if tool.parameters.get("properties")
    ]
    assert (back.tool_choice, back.stream, back.output_format) == (
        conversation.tool_choice,
        conversation.stream,
        conversation.output_format,
    )


def has_media(conversation: Conversation) -> bool:
    return any(isinstance(part, MediaPart) for message in conversation.messages for part in message.parts)


def texts(conversation: Conversation) -> tuple[str, list[Any]]:
    """The system's words, and all else that is said but reasoning."""
    parts = [(message.role, part) for message in conversation.messages for part in message.parts]
    system = "\n\n".join(part.text for role, part in parts if role == "system" and isinstance(part, TextPart))
    return system, [part for role, part in parts if role != "system" and not isinstance(part, ReasoningPart)]


def test_every_field() -> None:
    body = {
        "model": "gpt-4o",
        "messages": HI,
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1,
        "top_k": 3,
        "stop": "END",
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "n": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True},
        },
        "reasoning_effort": "low",
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"50256": -100},
        "store": None,
    }
    conversation = read_conversation("", body)
    assert conversation == Conversation(
        model="gpt-4o",
        messages=(Message("user", (TextPart("hi"),)),),
        tools=(Tool("f", "d", {"type": "object"}, True),),
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
        max_tokens=9,
        temperature=0.5,
        top_p=1,
        top_k=3,
        stop=("END",),
        seed=4,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        choices=2,
        output_format=OutputFormat("json_schema", {"type": "object"}, "s", True),
        reasoning=ReasoningSettings("low"),
        user="u",
        stream=True,
        include_usage=True,
        dialect="openai_chat",
        extras={"logit_bias": {"50256": -100}},
    )
    anew = {**body, "stop": ["END"]}
    del anew["store"]
    assert write_request(plain(conversation)).body == anew
    assert write_request(conversation).body == body


def messages(*written: Any) -> tuple[Message, ...]:
    return read(list(written)).messages


def test_system_and_developer_messages_are_system_messages() -> None:
    said = messages(
        {"role": "developer", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "b"}]}
    )
    assert said == (Message("system", (TextPart("a"),)), Message("system", (TextPart("b"),)))


def test_media() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    conversation = read([{"role": "user", "content": parts}])
    assert conversation.messages[0].parts == (
        MediaPart("image", "image/png", "aGk=", detail="low"),
        MediaPart("image", url="https://x.test/a.png"),
        MediaPart("audio", "audio/mpeg", "aGk="),
        MediaPart("file", "application/pdf", "aGk=", name="a.pdf"),
    )
    assert write_request(plain(conversation)).body["messages"] == [{"role": "user", "content": parts}]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_tool_results_that_stand_together_are_one_user_message() -> None:
    written = [
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "user", "content": "and?"},
    ]
    conversation = read(written)
    assert conversation.messages == (
        Message("assistant", (ToolUsePart("c1", "f", '{"a":1}'), ToolUsePart("c2", "f", '{"a":1}'))),
        Message("user", (ToolResultPart("c1", (TextPart("1"),)), ToolResultPart("c2", (TextPart("2"),)))),
        Message("user", (TextPart("and?"),)),
    )
    assert write_request(plain(conversation)).body["messages"] == written


def test_legacy_functions() -> None:
    written = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    ]
    conversation = read(written, functions=[{"name": "f", "parameters": {}}], function_call={"name": "f"})
    assert conversation.tools == (Tool("f"),)
    assert conversation.tool_choice == ToolChoice("named", "f")
    assert conversation.messages[1:] == (
        Message("assistant", (ToolUsePart("call_1", "f", "{}"),)),
        Message("user", (ToolResultPart("call_1", (TextPart("1"),), "f"),)),
    )
    assert write_request(conversation).body["functions"] == [{"name": "f", "parameters": {}}]
    anew = write_request(plain(conversation)).body
    assert anew["tools"][0]["function"]["name"] == "f"
    assert "functions" not in anew
    assert anew["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "1"}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_of_an_earlier_turn(field: str) -> None:
    said = messages(*HI, {"role": "assistant", "content": "a", field: "hm"})[1]
    assert said.parts == (ReasoningPart("hm", dialect="openai_chat"), TextPart("a"))


def test_a_refusal_of_an_earlier_turn_is_text() -> None:
    assert messages(*HI, {"role": "assistant", "content": None, "refusal": "no"})[1].parts == (TextPart("no"),)


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
    ],
)
def test_tool_choices(choice: str, read_as: ToolChoice) -> None:
    assert read(tool_choice=choice).tool_choice == read_as


def test_the_model_may_be_in_the_path() -> None:
    conversation = read_conversation("/openai/deployments/my%20gpt/chat/completions", {"messages": HI})
    assert conversation.model == "my gpt"
    assert write_request(conversation).body == {"model": "my gpt", "messages": HI}


@pytest.mark.parametrize(("field", "value"), [("max_completion_tokens", 5), ("max_tokens", 5)])
def test_the_most_tokens_keep_the_clients_name_for_them(field: str, value: int) -> None:
    conversation = read(**{field: value})
    assert conversation.max_tokens == value
    assert write_request(replace(conversation, max_tokens=3)).body == {"model": "m", "messages": HI, field: 3}


def test_what_changed_is_written_anew_and_the_rest_stays_in_the_clients_words() -> None:
    name = {"role": "developer", "content": "a", "name": "n"}
    custom = {"role": "user", "content": [{"type": "odd", "x": 1}]}
    conversation = read([name, custom], tools=[{"type": "custom", "custom": {"name": "c"}}], n=1, logit_bias={})
    more = Message("assistant", (TextPart("so far"),))
    changed = replace(
        conversation, model="other", messages=(*conversation.messages, more), stream=True, include_usage=True
    )
    assert write_request(changed).body == {
        "model": "other",
        "messages": [name, custom, {"role": "assistant", "content": "so far"}],
        "tools": [{"type": "custom", "custom": {"name": "c"}}],
        "n": 1,
        "logit_bias": {},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_extras_can_be_changed() -> None:
    conversation = read(logprobs=True, store=True)
    assert conversation.extras == {"logprobs": True, "store": True}
    kept = type(conversation.extras)({"store": False, "metadata": {}}, conversation.extras.body)  # type: ignore[call-arg, attr-defined]
    assert write_request(replace(conversation, extras=kept)).body == {
        "model": "m",
        "messages": HI,
        "store": False,
        "metadata": {},
    }


def test_stream_options_are_left_out_of_what_is_not_streamed() -> None:
    conversation = read(stream=True, stream_options={"include_usage": True})
    assert write_request(replace(conversation, stream=False)).body == {"model": "m", "messages": HI, "stream": False}


def test_fields_inside_messages_are_named_as_extras() -> None:
    conversation = read(
        [{"role": "user", "name": "n", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]
    )
    assert conversation.extras == {"messages[].name": "n", "messages[].content[].cache_control": {}}


def test_tools_of_other_types_are_extras() -> None:
    tool = {"type": "web_search"}
    assert read(tools=[tool]).extras == {"tools": [tool]}


# --- from other dialects


def test_a_foreign_request_asks_for_usage() -> None:
    assert write_request(foreign()).body["stream_options"] == {"include_usage": True}


def test_foreign_calls_without_ids_and_with_long_ones_fit_their_results() -> None:
    long = "x" * 100
    calls = Message("assistant", (ToolUsePart("", "f", ""), ToolUsePart("", "g", "{}"), ToolUsePart(long, "h", "{}")))
    results = Message(
        "user", (ToolResultPart("", (TextPart("2"),), "g"), ToolResultPart("", (), "f"), ToolResultPart(long, ()))
    )
    said = write_request(foreign(calls, results)).body["messages"]
    f, g, h = (call["id"] for call in said[0]["tool_calls"])
    assert said[0]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert [m["tool_call_id"] for m in said[1:]] == [g, f, h]
    assert len({f, g, h}) == 3
    assert len(h) <= 40


def test_long_ids_of_the_dialects_own_servers_stay() -> None:
    call = {"id": "x" * 100, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    conversation = read([*HI, {"role": "assistant", "content": None, "tool_calls": [call]}])
    result = Message("user", (ToolResultPart("x" * 100, (TextPart("1"),)),))
    more = write_request(replace(conversation, messages=(*conversation.messages, result)))
    assert more.body["messages"][2]["tool_call_id"] == "x" * 100


def test_an_image_of_a_tools_result_goes_into_the_users_words() -> None:
    image = MediaPart("image", "image/png", "aGk=")
    said = write_request(
        foreign(Message("user", (ToolResultPart("c", (TextPart("see"), image)), TextPart("and?"))))
    ).body
    assert said["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "see"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "and?"}],
        },
    ]


def test_reasoning_that_another_signed_is_not_resent() -> None:
    turn = Message("assistant", (ReasoningPart("hm", "sig", "anthropic_messages"), TextPart("a")))
    written = write_request(foreign(turn))
    assert written.body["messages"] == [{"role": "assistant", "content": "a"}]
    assert written.dropped == ("reasoning of earlier turns",)


def test_a_text_file_is_text() -> None:
    file = MediaPart("file", "text/plain", b64encode("né".encode()).decode())
    assert write_request(foreign(Message("user", (file,)))).body["messages"] == [{"role": "user", "content": "né"}]


@pytest.mark.parametrize(
    "part",
    [
        MediaPart("audio", url="https://x.test/a.mp3"),
        MediaPart("audio", "audio/ogg", "aGk="),
        MediaPart("file", "application/zip", "aGk="),
        MediaPart("file", "application/pdf", url="https://x.test/a.pdf"),
        MediaPart("image", url="gs://bucket/a"),
        MediaPart("image"),
        ReasoningPart("x"),
    ],
)
def test_parts_that_openai_cannot_take_rule_it_out(part: Any) -> None:
    with pytest.raises(Inexpressible):
        write_request(foreign(Message("user", (part,))))


@pytest.mark.parametrize(
    "extra", [{"mcp_servers": [1]}, {"tools": [{"type": "web_search"}]}, {"previous_response_id": "r"}]
)
def test_foreign_extras_that_change_the_answer_rule_it_out(extra: Any) -> None:
    with pytest.raises(Inexpressible):
        write_request(foreign(extras=extra))


def test_what_is_dropped_is_named() -> None:
    written = write_request(
        foreign(
            top_k=3, extras={"metadata": {}, "truncation": "auto"}, reasoning=ReasoningSettings(budget=0, summary=True)
        )
    )
    assert written.dropped == ("metadata", "reasoning", "reasoning.summary", "top_k", "truncation")
    assert "top_k" not in written.body


def test_reasoning_models_take_no_temperature_and_the_newer_name() -> None:
    written = write_request(
        foreign(model="o4-mini", temperature=0.5, max_tokens=9, reasoning=ReasoningSettings(budget=9000))
    )
    assert written.body["max_completion_tokens"] == 9
    assert written.body["reasoning_effort"] == "medium"
    assert written.dropped == ("temperature",)


def test_other_models_take_no_effort() -> None:
    written = write_request(foreign(model="gpt-4o-mini", temperature=0.5, reasoning=ReasoningSettings("high")))
    assert (written.body["temperature"], written.dropped) == (0.5, ("reasoning",))


def test_more_stop_sequences_than_openai_takes_rule_it_out() -> None:
    assert write_request(foreign(stop=tuple("abcd"))).body["stop"] == ["a", "b", "c", "d"]
    with pytest.raises(Inexpressible):
        write_request(foreign(stop=tuple("abcde")))


# --- bad input


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"messages": HI}, "model is missing"),
        ({"model": 1, "messages": HI}, "model must be a string, not a number"),
        ({"model": "m"}, "messages must be an array of at least one message"),
        ({"model": "m", "messages": "hi"}, "messages must be an array, not a string"),
        ({"model": "m", "messages": []}, "messages must be an array of at least one message"),
        ({"model": "m", "messages": ["hi"]}, r"messages\[0\] must be an object, not a string"),
        ({"model": "m", "messages": [{"content": "a"}]}, r"messages\[0\]\.role is missing"),
        ({"model": "m", "messages": [{"role": "bot", "content": "a"}]}, r"messages\[0\]\.role must be one of system, "),
        ({"model": "m", "messages": [{"role": "user"}]}, r"messages\[0\]\.content is missing"),
        (
            {"model": "m", "messages": [{"role": "user", "content": 5}]},
            r"messages\[0\]\.content must be a string or an array of parts, not a number",
        ),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{}]}]},
            r"messages\[0\]\.content\[0\]\.type is missing",
        ),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            r"content\[0\]\.image_url is missing",
        ),
        ({"model": "m", "messages": [{"role": "tool", "content": "a"}]}, r"messages\[0\]\.tool_call_id is missing"),
        (
            {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}]},
            r"tool_calls\[0\]\.function is missing",
        ),
        ({"model": "m", "messages": HI, "tools": {}}, "tools must be an array, not an object"),
        ({"model": "m", "messages": HI, "tools": [{"type": "function"}]}, r"tools\[0\]\.function is missing"),
        ({"model": "m", "messages": HI, "temperature": "hot"}, "temperature must be a number, not a string"),
        ({"model": "m", "messages": HI, "max_tokens": 1.5}, "max_tokens must be a whole number, not a number"),
        ({"model": "m", "messages": HI, "stream": 1}, "stream must be true or false, not a number"),
        ({"model": "m", "messages": HI, "stop": [1]}, "stop must be a string or an array of strings, not an array"),
        ({"model": "m", "messages": HI, "tool_choice": "maybe"}, "tool_choice must be auto, none, required"),
        ({"model": "m", "messages": HI, "n": 0}, "n must be at least 1"),
        (
            {"model": "m", "messages": HI, "response_format": {"type": "json_schema"}},
            r"response_format\.json_schema\.schema is missing",
        ),
    ],
)
def test_bad_input_names_the_field_and_what_would_be_right(body: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read_conversation("/v1/chat/completions", body)


def test_an_error_never_quotes_the_prompt() -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        read([{"role": "user", "content": {"secret": "s3cret"}}])
    assert "s3cret" not in str(caught.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "function", "text", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "name", "function", "url"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CONTENT = JSON | st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "video_url", "thinking", "odd"])},
        optional=dict.fromkeys(("text", "image_url", "input_audio", "file", "video_url", "thinking"), JSON),
    ),
    max_size=2,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]) | JSON},
    optional={
        "content": CONTENT,
        **dict.fromkeys(("tool_calls", "function_call", "tool_call_id", "name", "reasoning", "refusal", "audio"), JSON),
    },
)
FIELDS = (
    "tools",
    "tool_choice",
    "functions",
    "stop",
    "response_format",
    "reasoning",
    "stream_options",
    "n",
    "seed",
    "stream",
    "odd",
)


@given(
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": st.lists(MESSAGES, max_size=3) | JSON}, optional=dict.fromkeys(FIELDS, JSON)
    )
)
def test_any_body_is_read_or_is_a_value_error(body: Any) -> None:
    try:
        conversation = read_conversation("", body)
    except ValueError:
        return
    assert write_request(conversation).body == body


def test_the_dialect_has_them() -> None:
    assert (OPENAI_CHAT.read_conversation, OPENAI_CHAT.write_request) == (read_conversation, write_request)
