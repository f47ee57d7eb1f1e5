from __future__ import annotations

import json
from base64 import b64encode
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
    Part,
    ReasoningPart,
    ReasoningSettings,
    Role,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.anthropic.request import read_conversation, write_request
from midstream.dialects.openai.chat_request import read_conversation as read_chat
from midstream.dialects.openai.chat_request import write_request as write_chat
from midstream.dialects.prefill import takes_prefill
from midstream.wire.json_text import Json

HI = [{"role": "user", "content": "hi"}]
USER = Message("user", (TextPart("hi"),))
CALLS = Message("assistant", (ToolUsePart("call_1", "f", '{"x":1}'),))
RESULT = Message("user", (ToolResultPart("call_1", (TextPart("r"),)),))
VERTEX = "/v1/projects/p/locations/l/publishers/anthropic/models"
OLD, NEW, NEWEST = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-5-5"


def read(messages: Any = None, **fields: Any) -> Conversation:
    body = {"model": OLD, "max_tokens": 9, "messages": messages or HI, **fields}
    return read_conversation("/v1/messages", {key: value for key, value in body.items() if value is not None})


def plain(conversation: Conversation) -> Conversation:
    """The same without the body it was read from, so that it is written anew."""
    return replace(conversation, extras=dict(conversation.extras))


def foreign(*messages: Message, model: str = OLD, **fields: Any) -> Conversation:
    return Conversation(model=model, messages=messages or (USER,), dialect="openai_chat", **fields)


def written(*messages: Message, **fields: Any) -> Any:
    return write_request(foreign(*messages, **fields)).body


def dropped(*messages: Message, **fields: Any) -> tuple[str, ...]:
    return write_request(foreign(*messages, **fields)).dropped


def bodies() -> list[Any]:
    recorded = exchanges.of("messages") + exchanges.of("messages", kind="error")
    return [
        pytest.param(e.request["url"].split("?")[0], e.request["body"], id=e.id)
        for e in recorded
        if isinstance(e.request.get("body"), dict)
    ]


BODIES = bodies()


@pytest.mark.parametrize(("url", "body"), BODIES)
def test_a_recorded_request_is_written_as_it_was_read(url: str, body: Json) -> None:
    said = write_request(read_conversation(url, body))
    assert said.body == body
    assert said.dropped == ()
    assert url.endswith(said.path)


@pytest.mark.parametrize(("url", "body"), BODIES)
def test_a_recorded_request_means_the_same_when_written_anew(url: str, body: Json) -> None:
    conversation = plain(read_conversation(url, body))
    said = write_request(conversation)
    again = read_conversation(url, json.loads(json.dumps(said.body)))
    assert replace(again, extras={}) == replace(conversation, extras={})
    nested = {name for name in conversation.extras if "." in name}
    assert again.extras.keys() == conversation.extras.keys() - nested


@pytest.mark.parametrize(("url", "body"), BODIES)
def test_a_recorded_request_goes_through_openais_api_and_back(url: str, body: Json) -> None:
    conversation = read_conversation(url, body)
    try:
        there = write_chat(conversation)
    except Inexpressible:
        assert conversation.extras.keys() & {"tools", "mcp_servers"}
        return
    back = read_conversation(
        "", json.loads(json.dumps(write_request(read_chat("", json.loads(json.dumps(there.body)))).body))
    )
    assert texts(back) == texts(conversation)
    assert [(tool.name, tool.description) for tool in back.tools] == [
        (t.name, t.description) for t in conversation.tools
    ]
    assert (back.tool_choice, back.stream) == (conversation.tool_choice, conversation.stream)
    assert (back.max_tokens, back.stop) == (conversation.max_tokens, conversation.stop)


def texts(conversation: Conversation) -> tuple[str, list[Any]]:
    """The system's words, and all else that is said but reasoning."""
    parts = [(message.role, part) for message in conversation.messages for part in message.parts]
    system = "\n\n".join(part.text for role, part in parts if role == "system" and isinstance(part, TextPart))
    return system, [part for role, part in parts if role != "system" and not isinstance(part, ReasoningPart)]


def test_every_field() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = {
        "model": OLD,
        "max_tokens": 9,
        "system": [
            {"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "x"},
        ],
        "messages": HI,
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop_sequences": ["END"],
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}, "task_budget": 7},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "metadata": {"user_id": "u"},
        "stream": True,
        "service_tier": "auto",
        "container": None,
    }
    conversation = read_conversation("", body)
    assert conversation == Conversation(
        model=OLD,
        messages=(Message("system", (TextPart("be"), TextPart("x"))), USER),
        tools=(Tool("f", "d", {"type": "object"}, True),),
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop=("END",),
        output_format=OutputFormat("json_schema", schema),
        reasoning=ReasoningSettings("low", 2000, False),
        user="u",
        stream=True,
        include_usage=True,
        dialect="anthropic_messages",
        extras={
            "service_tier": "auto",
            "system[].cache_control": {"type": "ephemeral"},
            "output_config.task_budget": 7,
        },
    )
    assert write_request(conversation).body == body
    anew = write_request(plain(conversation)).body
    assert replace(read_conversation("", dict(anew)), extras={}) == replace(conversation, extras={})


def test_blocks() -> None:
    said = read(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "cache_control": {}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                    {"type": "document", "source": {"type": "url", "url": "https://x.test/a"}, "title": "t"},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
                    {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "c"}]},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "toolu_2"},
                ],
            },
            {"role": "system", "content": "now be brief"},
        ]
    )
    assert said.messages == (
        Message(
            "user",
            (
                TextPart("a"),
                MediaPart("image", "image/png", "aGk="),
                MediaPart("image", url="https://x.test/a.png"),
                MediaPart("file", "application/pdf", url="https://x.test/a", name="t"),
                MediaPart("file", "text/plain", "aGk="),
                TextPart("t\ns\n\nc"),
            ),
        ),
        Message(
            "assistant",
            (
                ReasoningPart("hm", "s", "anthropic_messages"),
                ReasoningPart("", "d", "anthropic_messages"),
                ToolUsePart("toolu_1", "f", '{"x":1}'),
            ),
        ),
        Message("user", (ToolResultPart("toolu_1", (TextPart("r"),), is_error=True), ToolResultPart("toolu_2", ()))),
        Message("system", (TextPart("now be brief"),)),
    )
    assert set(said.extras) == {
        "messages[].content[].cache_control",
        "messages[].content[].server_tool_use",
        "messages[].content[].web_search_tool_result",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model is missing"),
        ({"max_tokens": None}, "max_tokens is missing"),
        ({"max_tokens": "9"}, "max_tokens must be a whole number, not a string"),
        ({"messages": "hi"}, "messages must be an array, not a string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\].role must be user, assistant or system"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\].content is missing"),
        ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\].content must be a string or an array"),
        ({"messages": [{"role": "user", "content": [{}]}]}, r"messages\[0\].content\[0\].type is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, r"content\[0\].source is missing"),
        ({"system": 7}, "system must be a string or an array of text blocks, not a number"),
        ({"system": [{"type": "image"}]}, r"system\[0\].type must be text"),
        ({"tools": [{"name": "f"}]}, r"tools\[0\].input_schema is missing"),
        ({"tool_choice": "auto"}, "tool_choice must be an object, not a string"),
        ({"tool_choice": {"type": "any_of"}}, "tool_choice.type must be auto, any, tool or none"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name is missing"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens is missing"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format must be of type json_schema"),
        ({"stop_sequences": [1]}, "stop_sequences must be"),
        ({"stream": "yes"}, "stream must be true or false, not a string"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id must be a string, not a number"),
    ],
)
def test_a_wrong_field_is_named(fields: Json, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(**fields)


def test_no_messages_are_none_to_answer() -> None:
    with pytest.raises(ValueError, match="messages must be an array of at least one message"):
        read_conversation("", {"model": "m", "max_tokens": 1, "messages": []})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stream")


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON), st.lists(st.dictionaries(st.sampled_from(["role", "content"]), JSON))
)
def test_any_json_is_read_or_refused_with_a_value_error(body: Json, messages: list[Json]) -> None:
    for candidate in (body, {**body, "model": "m", "max_tokens": 1, "messages": messages}):
        try:
            conversation = read_conversation("/v1/messages", candidate)
        except ValueError:
            continue
        assert write_request(conversation).body.keys() >= {"model", "max_tokens", "messages"}


# --- Vertex AI


@pytest.mark.parametrize(("verb", "stream"), [("streamRawPredict", True), ("rawPredict", False)])
def test_on_vertex_the_path_names_the_model(verb: str, stream: bool) -> None:
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": HI}
    conversation = read_conversation(f"{VERTEX}/claude-3-7-sonnet%4020250219:{verb}", body)
    assert (conversation.model, conversation.stream) == ("claude-3-7-sonnet@20250219", stream)
    said = write_request(replace(conversation, temperature=0.5))
    assert said.path == f"/models/claude-3-7-sonnet@20250219:{verb}"
    assert said.body == {**body, "temperature": 0.5}


# --- write: what is changed of our own


def test_a_message_more_leaves_the_others_as_they_were() -> None:
    first = {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}
    conversation = read([first], system="be", metadata={"user_id": "u", "x": 1})
    more = Message("assistant", (TextPart("so far \n"),))
    said = write_request(replace(conversation, messages=(*conversation.messages, more))).body
    assert said == {
        "model": OLD,
        "max_tokens": 9,
        "system": "be",
        "metadata": {"user_id": "u", "x": 1},
        "messages": [first, {"role": "assistant", "content": [{"type": "text", "text": "so far"}]}],
    }


def test_another_model_is_not_told_what_it_refuses() -> None:
    thought = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "h", "signature": "s"}, {"type": "text", "text": "a"}],
    }
    conversation = read(
        [*HI, thought, *HI], thinking={"type": "enabled", "budget_tokens": 3000}, temperature=0.5, max_tokens=70_000
    )
    assert write_request(conversation).body["messages"][1] == thought
    said = write_request(replace(conversation, model=NEWEST))
    assert said.body == {
        "model": NEWEST,
        "max_tokens": 70_000,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "medium"},
        "messages": [*HI, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, *HI],
    }
    assert said.dropped == ("temperature",)
    assert write_request(replace(conversation, model="claude-3-haiku")).body["max_tokens"] == 4096


def test_thoughts_of_another_provider_are_not_sent_to_claude() -> None:
    unsigned = {"type": "thinking", "thinking": "h", "signature": ""}
    answer = {"role": "assistant", "content": [unsigned, {"type": "text", "text": "a"}]}
    only = {"role": "assistant", "content": [unsigned]}
    said = write_request(read([*HI, answer, only, *HI])).body["messages"]
    assert said == [*HI, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, *HI]
    assert write_request(read([*HI, answer, *HI], model="MiniMax-M2")).body["messages"][1] == answer


# --- write: another dialect's


def test_a_foreign_request() -> None:
    said = write_request(foreign(Message("system", (TextPart("be"),)), USER, stream=True, max_tokens=5, user="u1"))
    assert said.path == "/v1/messages"
    assert said.dropped == ()
    assert said.body == {
        "model": OLD,
        "system": "be",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_tokens": 5,
        "metadata": {"user_id": "u1"},
        "stream": True,
    }


@pytest.mark.parametrize(("model", "tokens"), [(OLD, 64_000), (NEWEST, 128_000), ("glm-5", 8192)])
def test_max_tokens_is_always_said(model: str, tokens: int) -> None:
    assert written(model=model)["max_tokens"] == tokens


def test_more_tokens_than_the_model_writes_are_fewer() -> None:
    said = write_request(foreign(max_tokens=100_000))
    assert (said.body["max_tokens"], said.dropped) == (64_000, ("max_tokens",))


def test_turns_of_one_role_are_merged_with_results_first() -> None:
    said = written(
        USER,
        Message("user", (TextPart(" "), TextPart("there"))),
        Message("assistant", (TextPart("let me"),)),
        CALLS,
        Message("user", (TextPart("hurry"), ToolResultPart("call_1", (TextPart("r"),), is_error=True))),
        Message("assistant", ()),
        Message("user", (ToolResultPart("call_2", ()),)),
    )
    assert said["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "let me"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "r", "is_error": True},
                {"type": "tool_result", "tool_use_id": "call_2"},
                {"type": "text", "text": "hurry"},
            ],
        },
    ]


def test_a_conversation_that_the_assistant_begins_gets_a_users_turn_first() -> None:
    said = write_request(foreign(Message("assistant", (TextPart("Welcome."),)), USER))
    assert [message["role"] for message in said.body["messages"]] == ["user", "assistant", "user"]
    assert said.dropped == ("the assistant's turn as the first",)


def test_a_system_prompt_alone_is_the_users() -> None:
    said = written(Message("system", (TextPart("a"),)))
    assert "system" not in said
    assert said["messages"] == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]


@pytest.mark.parametrize("messages", [(), (Message("user", ()),), (Message("user", (TextPart("\n"),)),)])
def test_a_conversation_without_words_cannot_be_said(messages: tuple[Message, ...]) -> None:
    with pytest.raises(Inexpressible, match="without words"):
        write_request(Conversation(model="m", messages=messages))


LATER = (
    Message("system", (TextPart("a"),)),
    USER,
    Message("system", (TextPart("b"),)),
    USER,
    Message("assistant", (TextPart("c"),)),
    USER,
)


def test_a_later_system_message_keeps_its_place_where_the_model_takes_it() -> None:
    said = write_request(foreign(*LATER, model=NEWEST))
    assert said.body["system"] == "a"
    assert [message["role"] for message in said.body["messages"]] == ["user", "system", "assistant", "user"]
    assert [len(message["content"]) for message in said.body["messages"]] == [2, 1, 1, 1]
    assert said.dropped == ()


def test_elsewhere_it_moves_to_the_system_prompt() -> None:
    said = write_request(foreign(*LATER))
    assert said.body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert [message["role"] for message in said.body["messages"]] == ["user", "assistant", "user"]
    assert said.dropped == ("the place of a system message",)


def test_calls_without_ids_are_answered_in_order_and_by_name() -> None:
    calls = Message("assistant", tuple(ToolUsePart("", name, "") for name in "fgf"))
    results = Message("user", tuple(ToolResultPart("", (), name) for name in ("f", "g", "")))
    said = written(USER, calls, results)["messages"]
    assert [block["id"] for block in said[1]["content"]] == ["toolu_1", "toolu_2", "toolu_3"]
    assert [block["tool_use_id"] for block in said[2]["content"]] == ["toolu_1", "toolu_2", "toolu_3"]


@pytest.mark.parametrize("id_", ["functions.f:0", "call_1|fc_2", "é", "x" * 999])
def test_an_id_that_anthropic_refuses_is_another_the_same_for_both(id_: str) -> None:
    said = written(
        USER, Message("assistant", (ToolUsePart(id_, "f", "{}"),)), Message("user", (ToolResultPart(id_, ()),))
    )["messages"]
    assert said[1]["content"][0]["id"] == said[2]["content"][0]["tool_use_id"]
    assert said[1]["content"][0]["id"].startswith("toolu_")
    assert len(said[1]["content"][0]["id"]) == 30


def test_reasoning_is_resent_only_with_a_signature_of_anthropics() -> None:
    parts: tuple[Part, ...] = (
        ReasoningPart("a", "s", "anthropic_messages"),
        ReasoningPart("", "d", "anthropic_messages"),
        ReasoningPart("b", "", "anthropic_messages"),
        ReasoningPart("c", "g", "gemini"),
        TextPart("t"),
    )
    said = write_request(foreign(USER, Message("assistant", parts), USER))
    assert said.body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "t"},
    ]
    assert said.dropped == ("reasoning of earlier turns",)
    newer = written(USER, Message("assistant", parts), USER, model=NEWEST)
    assert newer["messages"][1]["content"][1] == {"type": "thinking", "thinking": "", "signature": "d"}


def medium(part: MediaPart) -> Any:
    return written(Message("user", (part,)))["messages"][0]["content"][0]


def test_media() -> None:
    inline = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert medium(MediaPart("image", "image/png", "aGk=")) == {"type": "image", "source": inline}
    url = "https://x.test/a"
    assert medium(MediaPart("image", url=url)) == {"type": "image", "source": {"type": "url", "url": url}}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    said = medium(MediaPart("file", "application/pdf", "aGk=", name="a.pdf"))
    assert said == {"type": "document", "source": pdf, "title": "a.pdf"}
    by_url = medium(MediaPart("file", url=url + ".pdf"))
    assert by_url == {"type": "document", "source": {"type": "url", "url": url + ".pdf"}}
    text = medium(MediaPart("file", "text/csv", b64encode("é,1".encode()).decode()))
    assert text == {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é,1"}}


def test_a_result_may_have_images() -> None:
    content = (TextPart("r"), MediaPart("image", "image/png", "aGk="))
    said = written(USER, CALLS, Message("user", (ToolResultPart("call_1", content),)))
    assert [block["type"] for block in said["messages"][2]["content"][0]["content"]] == ["text", "image"]


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (MediaPart("audio", "audio/wav", "aGk="), "audio"),
        (MediaPart("image", "image/tiff", "aGk="), "an image of type image/tiff"),
        (MediaPart("image", url="gs://b/a.png"), "not http"),
        (MediaPart("image", name="an image by file"), "only its own provider"),
        (MediaPart("file", "video/mp4", "aGk="), "PDF and text only"),
        (MediaPart("file", name="content of type x"), "only its own provider"),
        (ToolUsePart("a", "f", "{}"), "assistant's parts"),
    ],
)
def test_a_part_that_cannot_be_said(part: Part, word: str) -> None:
    with pytest.raises(Inexpressible, match=word):
        written(Message("user", (part,)))


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": 2},
        {"stop": ("a", "\n\n")},
        {"output_format": OutputFormat("json_object")},
        {"output_format": OutputFormat("json_schema", {"type": "object"})},
        {"output_format": OutputFormat("json_schema", {"type": "string"}), "model": "claude-3-haiku"},
        {"tools": (Tool("a.b"),)},
        {"tools": (Tool("f"),), "tool_choice": ToolChoice("required"), "model": NEWEST},
        {"extras": {"web_search_options": {"x": 1}}},
    ],
)
def test_what_would_change_the_answers_meaning_rules_the_target_out(fields: Json) -> None:
    with pytest.raises(Inexpressible):
        written(**fields)


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_part_of_the_other_role_cannot_be_said(role: Role) -> None:
    part = ToolUsePart("a", "f", "{}") if role == "user" else ToolResultPart("a", ())
    with pytest.raises(Inexpressible):
        written(USER, Message(role, (part,)))


def test_what_is_dropped_is_named() -> None:
    said = write_request(
        foreign(
            Message("user", (MediaPart("image", url="https://x.test", detail="low"),)),
            seed=1,
            presence_penalty=0.5,
            frequency_penalty=0.0,
            user="a@b.test",
            temperature=1.5,
            top_p=0.5,
            extras={"logit_bias": {}, "messages[].name": "x"},
        )
    )
    assert said.dropped == (
        "image detail",
        "logit_bias",
        "messages[].name",
        "presence_penalty",
        "seed",
        "temperature over 1",
        "top_p",
        "user",
    )
    assert said.body["temperature"] == 1
    assert said.body.keys() == {"model", "messages", "max_tokens", "temperature", "stream"}


@pytest.mark.parametrize(
    ("fields", "body", "lost"),
    [
        ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}, ()),
        ({"temperature": 1.0, "top_p": 0.5}, {"top_p": 0.5}, ()),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, ()),
        ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ("top_p",)),
        ({"temperature": 0, "model": NEWEST}, {}, ("temperature",)),
        ({"temperature": 1, "top_k": 1, "model": NEWEST}, {}, ("top_k",)),
        ({"temperature": 0.5, "top_p": 0.5, "model": "glm-5"}, {"temperature": 0.5, "top_p": 0.5}, ()),
        ({"temperature": 0.5, "reasoning": ReasoningSettings("low"), "model": NEW}, {}, ("temperature",)),
    ],
)
def test_sampling_as_far_as_the_model_takes_it(fields: Json, body: Json, lost: tuple[str, ...]) -> None:
    said = write_request(foreign(**fields))
    assert {key: value for key, value in said.body.items() if key in ("temperature", "top_p", "top_k")} == body
    assert said.dropped == lost


@pytest.mark.parametrize(
    ("model", "settings", "thinking", "effort", "lost"),
    [
        (OLD, ReasoningSettings("low"), {"type": "enabled", "budget_tokens": 1024}, None, ()),
        (OLD, ReasoningSettings("high"), {"type": "enabled", "budget_tokens": 24_576}, None, ()),
        (OLD, ReasoningSettings(budget=50), {"type": "enabled", "budget_tokens": 1024}, None, ()),
        (OLD, ReasoningSettings(budget=9_999_999), {"type": "enabled", "budget_tokens": 63_999}, None, ()),
        (OLD, ReasoningSettings(summary=True), {"type": "enabled", "budget_tokens": 8192}, None, ()),
        (OLD, ReasoningSettings("none"), None, None, ()),
        (
            OLD,
            ReasoningSettings("low", summary=False),
            {"type": "enabled", "budget_tokens": 1024},
            None,
            ("reasoning.summary",),
        ),
        ("claude-3-haiku", ReasoningSettings("low"), None, None, ("reasoning",)),
        (NEW, ReasoningSettings("minimal"), {"type": "adaptive"}, "low", ()),
        (NEW, ReasoningSettings("xhigh"), {"type": "adaptive"}, "high", ()),
        (NEW, ReasoningSettings(budget=4000), {"type": "adaptive"}, "medium", ()),
        (NEW, ReasoningSettings("low", summary=True), {"type": "adaptive", "display": "summarized"}, "low", ()),
        (NEW, ReasoningSettings(budget=0), None, None, ()),
        (NEWEST, ReasoningSettings("xhigh"), {"type": "adaptive"}, "xhigh", ()),
        (NEWEST, ReasoningSettings("odd"), {"type": "adaptive"}, None, ("reasoning",)),
        (NEWEST, ReasoningSettings("none"), None, "low", ("reasoning",)),
        ("claude-opus-5", ReasoningSettings("none"), {"type": "disabled"}, None, ()),
        ("claude-sonnet-5-5", ReasoningSettings(budget=0), {"type": "between_tools"}, None, ()),
    ],
)
def test_reasoning_in_the_words_of_each_generation(
    model: str, settings: ReasoningSettings, thinking: Json | None, effort: str | None, lost: tuple[str, ...]
) -> None:
    said = write_request(foreign(model=model, reasoning=settings))
    assert (said.body.get("thinking"), said.body.get("output_config", {}).get("effort")) == (thinking, effort)
    assert said.dropped == lost


def test_a_budget_is_part_of_max_tokens() -> None:
    high = ReasoningSettings("high")
    assert written(reasoning=high, max_tokens=4000)["thinking"]["budget_tokens"] == 2000
    assert dropped(reasoning=high, max_tokens=2000) == ("reasoning",)
    assert written(reasoning=ReasoningSettings(budget=3000), max_tokens=2500)["thinking"]["budget_tokens"] == 2499


def test_thinking_with_a_budget_cannot_begin_within_an_answer() -> None:
    low = ReasoningSettings("low")
    assert dropped(USER, CALLS, RESULT, reasoning=low) == ("reasoning",)
    assert dropped(USER, Message("assistant", (TextPart("so"),)), reasoning=low) == ("reasoning",)
    assert dropped(USER, CALLS, RESULT, USER, reasoning=low) == ()
    assert written(USER, CALLS, RESULT, reasoning=low, model=NEW)["thinking"] == {"type": "adaptive"}


def test_a_forced_call_leaves_no_room_to_think() -> None:
    forced: Json = {"tools": (Tool("f"),), "tool_choice": ToolChoice("required"), "reasoning": ReasoningSettings("low")}
    assert dropped(**forced) == ("reasoning",)
    said = write_request(foreign(**forced, model=NEW))
    assert ("thinking" in said.body, said.body["output_config"], said.dropped) == (
        False,
        {"effort": "low"},
        ("reasoning",),
    )


@pytest.mark.parametrize(
    ("choice", "parallel", "said"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), True, {"type": "any"}),
        (ToolChoice("named", "f"), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, said: Json | None) -> None:
    fields: Json = {"tool_choice": choice, "parallel_tool_calls": parallel}
    assert written(tools=(Tool("f"),), **fields).get("tool_choice") == said
    assert "tool_choice" not in written(**fields)


def test_tools() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    said = write_request(
        foreign(tools=(Tool("f"), Tool("g", "d", schema, True), Tool("h", "", {"type": "object"}, True)))
    )
    closed = {"type": "integer", "description": "{minimum: 1}"}
    assert said.body["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "g",
            "input_schema": {"type": "object", "properties": {"a": closed}, "additionalProperties": False},
            "description": "d",
            "strict": True,
        },
        {"name": "h", "input_schema": {"type": "object"}},
    ]
    assert said.dropped == ("schema constraints", "strict")
    assert dropped(tools=(Tool("g", "d", schema, True),), model="claude-3-haiku") == ("strict",)


def test_structured_output_stands_beside_the_effort() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    said = written(model=NEW, output_format=OutputFormat("json_schema", schema), reasoning=ReasoningSettings("low"))
    assert said["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {**schema, "additionalProperties": False}},
    }


@pytest.mark.parametrize(
    ("thinking", "output", "settings"),
    [
        ({"type": "disabled"}, None, ReasoningSettings(budget=0)),
        ({"type": "adaptive"}, None, ReasoningSettings(summary=True)),
        ({"type": "adaptive", "display": "omitted"}, None, ReasoningSettings(summary=False)),
        ({"type": "adaptive"}, {"effort": "max"}, ReasoningSettings("max")),
        (None, {"effort": "low"}, ReasoningSettings("low")),
        ({"type": "between_tools"}, None, None),
    ],
)
def test_reasoning_is_read(thinking: Json | None, output: Json | None, settings: ReasoningSettings | None) -> None:
    conversation = read(thinking=thinking, output_config=output)
    assert conversation.reasoning == settings
    assert replace(read_conversation("", dict(write_request(plain(conversation)).body)), extras={}) == replace(
        conversation, extras={}
    )


TEXTS = st.text(alphabet="a \n", max_size=3).map(TextPart)
USERS: st.SearchStrategy[Part] = TEXTS | st.builds(ToolResultPart, st.sampled_from(["c", "d"]), st.tuples(TEXTS))
ASSISTANTS: st.SearchStrategy[Part] = (
    TEXTS
    | st.builds(ToolUsePart, st.sampled_from(["c", "d"]), st.just("f"), st.sampled_from(["", "{}"]))
    | st.builds(
        ReasoningPart,
        st.sampled_from(["", "r"]),
        st.sampled_from(["", "s"]),
        st.sampled_from(["gemini", "anthropic_messages"]),
    )
)


def of(role: Role, parts: st.SearchStrategy[Part]) -> st.SearchStrategy[Message]:
    return st.lists(parts, max_size=3).map(lambda said: Message(role, tuple(said)))


MESSAGES = st.lists(of("user", USERS) | of("assistant", ASSISTANTS) | of("system", TEXTS), max_size=6)


@given(MESSAGES, st.sampled_from([OLD, NEW, NEWEST, "glm-5"]))
def test_any_conversation_makes_turns_that_anthropic_takes(messages: list[Message], model: str) -> None:
    try:
        said = written(*(messages or [USER]), model=model)
    except Inexpressible as error:
        if "nothing said behind" in str(error):
            assert messages[-1].role != "assistant"
            return
        if messages[-1:] and messages[-1].role == "assistant" and takes_prefill("anthropic_messages", model) is False:
            return
        words = [p for m in messages for p in m.parts if not isinstance(p, TextPart) or p.text.strip()]
        assert all(isinstance(part, ReasoningPart) for part in words)
        return
    turns = [message["role"] for message in said["messages"] if message["role"] != "system"]
    assert turns == [("user", "assistant")[n % 2] for n in range(len(turns))]
    roles = [message["role"] for message in said["messages"]]
    for n, role in enumerate(roles):
        if role == "system":
            assert roles[n - 1] == "user"
            assert roles[n + 1 : n + 2] in ([], ["assistant"])
    blocks = [block for message in said["messages"] for block in message["content"]]
    assert all(message["content"] for message in said["messages"])
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    last = said["messages"][-1]
    assert last["role"] != "assistant" or messages[-1].role == "assistant"
    assert last["role"] != "assistant" or last["content"][-1].get("text", "x")[-1:] not in (" ", "\n")
