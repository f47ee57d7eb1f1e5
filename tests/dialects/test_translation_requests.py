"""Whole requests from each of five dialects to each: the target's official SDK takes them, and they say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    ReasoningPart,
    TextPart,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
    Written,
)
from sdk_requests import CHECKS
from translated import (
    ANTHROPIC,
    CHAT,
    DIALECTS,
    FEATURES,
    GOOGLE,
    MODELS,
    OLLAMAS,
    PNG,
    RESPONSES,
    SCHEMA,
    Body,
    again,
    body_of,
    calls_of,
    path_of,
    read,
    roles,
    tools_of,
    turns,
    write,
)

SYSTEM, QUESTION, PLAN, ANSWER, THANKS = (
    "Be brief.",
    "What is this, and where?",
    "Let me see.",
    "A cat.",
    "Thanks. And now?",
)
WEATHER = {"city": "Bonn"}
PICTURE = f"data:image/png;base64,{PNG}"


def chat() -> Body:
    def call(id_: str, name: str, arguments: str) -> Body:
        return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}

    asks = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    calls = [call("call_1", "weather", '{"city": "Bonn"}'), call("call_2", "weather", "{}")]
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": asks},
            {"role": "assistant", "content": PLAN, "reasoning_content": "hm", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": '{"sun": true}'},
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": THANKS},
        ],
        "max_tokens": 500,
        "temperature": 0.5,
    }


def responses() -> Body:
    asks = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]
    said = {"id": "msg_1", "status": "completed", "role": "assistant"}
    call = {"type": "function_call", "name": "weather"}
    return {
        "instructions": SYSTEM,
        "input": [
            {"role": "user", "content": asks},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
            {"type": "message", **said, "content": [{"type": "output_text", "text": PLAN, "annotations": []}]},
            {**call, "id": "fc_1", "call_id": "call_1", "arguments": '{"city": "Bonn"}'},
            {**call, "id": "fc_2", "call_id": "call_2", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {"type": "function_call_output", "call_id": "call_2", "output": '{"sun": true}'},
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": THANKS},
        ],
        "max_output_tokens": 500,
        "temperature": 0.5,
    }


def anthropic() -> Body:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    use = {"type": "tool_use", "name": "weather"}
    result = {"type": "tool_result"}
    return {
        "system": [{"type": "text", "text": SYSTEM}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, image]},
            {
                "role": "assistant",
                "content": [
                    thought,
                    {"type": "text", "text": PLAN},
                    {**use, "id": "toolu_1", "input": WEATHER},
                    {**use, "id": "toolu_2", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {**result, "tool_use_id": "toolu_1", "content": "rain"},
                    {**result, "tool_use_id": "toolu_2", "content": [{"type": "text", "text": '{"sun": true}'}]},
                ],
            },
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": THANKS},
        ],
        "max_tokens": 500,
        "temperature": 0.5,
    }


def gemini() -> Body:
    call = {"name": "weather"}
    return {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [
            {"role": "user", "parts": [{"text": QUESTION}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": PLAN},
                    {"functionCall": {**call, "args": WEATHER}, "thoughtSignature": "c2ln"},
                    {"functionCall": {**call, "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {**call, "response": {"output": "rain"}}},
                    {"functionResponse": {**call, "response": {"sun": True}}},
                ],
            },
            {"role": "model", "parts": [{"text": ANSWER}]},
            {"role": "user", "parts": [{"text": THANKS}]},
        ],
        "generationConfig": {"maxOutputTokens": 500, "temperature": 0.5},
    }


def ollama() -> Body:
    calls = [{"function": {"name": "weather", "arguments": arguments}} for arguments in (WEATHER, {})]
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": QUESTION, "images": [PNG]},
            {"role": "assistant", "content": PLAN, "thinking": "hm", "tool_calls": calls},
            {"role": "tool", "tool_name": "weather", "content": "rain"},
            {"role": "tool", "tool_name": "weather", "content": '{"sun": true}'},
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": THANKS},
        ],
        "options": {"num_predict": 500, "temperature": 0.5},
    }


LONG = {CHAT: chat, RESPONSES: responses, ANTHROPIC: anthropic, GOOGLE: gemini, OLLAMAS: ollama}
PAIRS = [(source, target) for source in DIALECTS for target in DIALECTS]
OTHERS = [(source, target) for source, target in PAIRS if source != target]
NEWER = {
    CHAT: "gpt-5.2",
    RESPONSES: "gpt-5.2",
    ANTHROPIC: "claude-opus-5",
    GOOGLE: "gemini-3-flash",
    OLLAMAS: "gpt-oss:20b",
}
MODELS_OF = [MODELS, NEWER]


def said(conversation: Conversation) -> list[tuple[str, ...]]:
    """All that was said, in order, without how it stands in messages; a result by the name and the number of its call."""
    numbers: dict[str, str] = {}
    told: list[tuple[str, ...]] = []
    for role, part in ((m.role, part) for m in conversation.messages for part in m.parts):
        match part:
            case TextPart(text=text):
                told.append((role, text))
            case MediaPart(kind=kind, data=data, media_type=media_type):
                told.append((kind, media_type, data))
            case ToolUsePart(id=id_, name=name, arguments=arguments):
                numbers[id_] = str(len(numbers))
                told.append(("call", name, arguments.replace(" ", "")))
            case ToolResultPart(id=id_, content=content):
                texts = [p.text for p in content if isinstance(p, TextPart)]
                told.append(("result", numbers[id_], "".join(texts).replace(" ", "")))
            case ReasoningPart():
                pass
    return told


def offered(conversation: Conversation) -> list[Any]:
    return [(tool.name, tool.description, dict(tool.parameters)) for tool in conversation.tools]


FIELDS = ("max_tokens", "temperature", "top_p", "stop", "tool_choice", "parallel_tool_calls", "stream")


def check(source: Conversation, target: str, model: str, written: Written) -> None:
    """The target's SDK takes it, and its reader finds in it what the source said, but for what was dropped."""
    CHECKS[target](without_stream(written.body))
    back = again(target, written, model)
    assert said(back) == said(source)
    assert offered(back) == offered(source)
    for name in FIELDS:
        if not any(name in dropped for dropped in written.dropped):
            assert getattr(back, name) == getattr(source, name), name


def without_stream(body: Any) -> Body:
    return {name: value for name, value in body.items() if name != "stream"}


@pytest.mark.parametrize("source", DIALECTS)
def test_the_requests_are_what_each_sdk_sends(source: str) -> None:
    body = {**body_of(source), **LONG[source](), **tools_of(source)}
    if source == CHAT:  # DeepSeek's
        del body["messages"][2]["reasoning_content"]
    CHECKS[source](body)


@pytest.mark.parametrize("models", MODELS_OF, ids=["usual", "newer"])
@pytest.mark.parametrize(("source", "target"), OTHERS)
def test_a_long_conversation_with_tools_and_an_image(source: str, target: str, models: dict[str, str]) -> None:
    conversation = read(source, body_of(source, **LONG[source](), **tools_of(source)))
    written = write(target, conversation, models[target])
    check(conversation, target, models[target], written)
    allowed = {"reasoning of earlier turns", "temperature"} if models is NEWER else {"reasoning of earlier turns"}
    assert "reasoning of earlier turns" in written.dropped
    assert set(written.dropped) <= allowed


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_it_is_written_anew_in_its_own_dialect_too(source: str, target: str) -> None:
    """As when an answer is continued: what was read, and two turns more."""
    conversation = read(source, body_of(source, **LONG[source](), **tools_of(source)))
    more = read(
        CHAT, {"model": "m", "messages": [{"role": "assistant", "content": "So"}, {"role": "user", "content": "on"}]}
    )
    longer = replace(conversation, messages=(*conversation.messages, *more.messages))
    written = write(target, longer)
    assert said(again(target, written)) == said(longer)
    if source != target:  # its own fields (reasoning_content) may be none of the SDK's
        CHECKS[target](without_stream(written.body))


SAID = [(feature, *pair) for feature, said in FEATURES.items() for pair in OTHERS if pair[0] in said.says]


@pytest.mark.parametrize("models", MODELS_OF, ids=["usual", "newer"])
@pytest.mark.parametrize(("feature", "source", "target"), SAID)
def test_the_targets_sdk_takes_every_feature(source: str, target: str, feature: str, models: dict[str, str]) -> None:
    conversation = read(source, body_of(source, **FEATURES[feature].says[source]))
    try:
        written = write(target, conversation, models[target])
    except Inexpressible:
        return
    CHECKS[target](without_stream(written.body))


@pytest.mark.parametrize(("source", "target"), OTHERS)
def test_structured_output(source: str, target: str) -> None:
    says = FEATURES["JSON by a schema"].says[source]
    conversation = read(source, body_of(source, **LONG[source](), **says) if source != GOOGLE else with_schema(says))
    conversation = replace(conversation, messages=conversation.messages[-1:])
    written = write(target, conversation)
    check(conversation, target, MODELS[target], written)
    back = again(target, written).output_format
    assert back is not None
    assert (back.kind, back.schema) == ("json_schema", SCHEMA)


def with_schema(says: Body) -> Body:
    body = gemini()
    return {**body, "generationConfig": {**body["generationConfig"], **says["generationConfig"]}}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_whether_to_stream_is_said(source: str, target: str) -> None:
    for stream in (True, False):
        written = write(target, replace(read(source, body_of(source)), stream=stream))
        if target == GOOGLE:
            assert written.path.endswith(":streamGenerateContent?alt=sse" if stream else ":generateContent")
        else:
            assert written.body.get("stream", target == OLLAMAS) is stream


@pytest.mark.parametrize(("source", "target"), OTHERS)
def test_the_path_is_one_that_the_target_reads(source: str, target: str) -> None:
    written = write(target, read(source, body_of(source)))
    patterns = DIALECTS[target].paths
    assert any(pattern.search("/v1" + written.path.partition("?")[0]) for pattern in patterns)
    assert read(target, dict(written.body), MODELS[target]).model == MODELS[target]
    assert path_of(target, MODELS[target]).endswith(written.path.partition("?")[0])


LIMITS = {
    CHAT: r".{1,40}",
    RESPONSES: r".{1,40}",
    ANTHROPIC: r"[a-zA-Z0-9_-]{1,128}",
    GOOGLE: r".{0,128}",
    OLLAMAS: r".{0,128}",
}
ODD_IDS = ["call:1/é", "x" * 64, "call_" + "y" * 200, "functions.weather:0"]


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("id_", ODD_IDS)
def test_any_id_of_a_call_is_one_that_the_target_takes(target: str, id_: str) -> None:
    """Kimi's, Mistral's and LiteLLM's ids are no OpenAI ids; the same on the call and on its result."""
    source = CHAT if target != CHAT else RESPONSES
    body: Body = {**body_of(source), **LONG[source](), **tools_of(source)}
    conversation = renamed(read(source, body), "call_1", id_)
    written = write(target, conversation)
    ids = [
        part.id
        for m in again(target, written).messages
        for part in m.parts
        if isinstance(part, ToolUsePart | ToolResultPart)
    ]
    assert len(ids) == 4
    assert sorted(ids[:2]) == sorted(ids[2:])
    assert len(set(ids)) == 2
    if target in (CHAT, RESPONSES, ANTHROPIC):
        assert all(re.fullmatch(LIMITS[target], said_id) for said_id in ids)


@pytest.mark.parametrize("source", [CHAT, RESPONSES, OLLAMAS])
@pytest.mark.parametrize("target", [ANTHROPIC, GOOGLE])
@pytest.mark.parametrize("content", ["", " \n"])
def test_a_last_word_that_says_nothing_makes_no_prefill_of_the_answer_before_it(
    source: str, target: str, content: str
) -> None:
    said = read(source, body_of(source, **turns(source, ("user", "hi"), ("assistant", "hello"), ("user", content))))
    if target == GOOGLE and content:
        assert roles(again(target, write(target, said)))[-1] == ("user", content)
        return
    with pytest.raises(Inexpressible, match="nothing said behind the assistant's turn"):
        write(target, said)
    begun = read(source, body_of(source, **turns(source, ("user", "hi"), ("user", content))))
    assert roles(again(target, write(target, begun))) == [("user", "hi")]


@pytest.mark.parametrize("target", [ANTHROPIC, GOOGLE])
def test_a_system_message_at_the_end_makes_no_prefill_of_the_answer_before_it(target: str) -> None:
    said = read(CHAT, body_of(CHAT, **turns(CHAT, ("user", "hi"), ("assistant", "hello"), ("system", "be brief"))))
    with pytest.raises(Inexpressible, match="nothing said behind the assistant's turn"):
        write(target, said)


def named(source: str, name: str, how: str) -> Conversation:
    """A conversation with a tool of this name: offered, called before, or the one to call."""
    said = read(source, body_of(source, **(calls_of(source) if how == "called" else tools_of(source))))
    if how == "offered":
        return replace(said, tools=(replace(said.tools[0], name=name),))
    if how == "chosen":
        return replace(said, tool_choice=ToolChoice("named", name))
    messages = [
        replace(m, parts=tuple(replace(p, name=name) if isinstance(p, ToolUsePart) else p for p in m.parts))
        for m in said.messages
    ]
    return replace(said, messages=tuple(messages))


@pytest.mark.parametrize("how", ["offered", "called", "chosen"])
@pytest.mark.parametrize("name", ["weather.get:v1", "m" * 65])
@pytest.mark.parametrize("target", [CHAT, RESPONSES])
def test_a_tools_name_that_openai_refuses_rules_its_models_out(target: str, name: str, how: str) -> None:
    for source in (CHAT, RESPONSES, ANTHROPIC, GOOGLE):
        said = named(source, name, how)
        if source == target:
            assert name in str(write(target, said).body)
            continue
        for model in ("gpt-4.1", "openai/o3", "ft:gpt-4o:org"):
            with pytest.raises(Inexpressible, match="a tool's name"):
                write(target, said, model)
        for model in ("qwen3", "openai/gpt-oss-120b"):
            assert name in str(write(target, said, model).body)
        assert "m" * 64 in str(write(target, named(source, "m" * 64, how)).body)


def renamed(conversation: Conversation, old: str, new: str) -> Conversation:
    """The conversation with another id for a call and its result."""
    messages = tuple(
        replace(
            message,
            parts=tuple(
                replace(part, id=new) if isinstance(part, ToolUsePart | ToolResultPart) and part.id == old else part
                for part in message.parts
            ),
        )
        for message in conversation.messages
    )
    return replace(conversation, messages=messages)
