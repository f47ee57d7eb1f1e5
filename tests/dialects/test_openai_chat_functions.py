from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from encoded import OPTIONS, encode
from midstream.dialects.base import Unwritable
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.chat_functions import uses_functions
from midstream.events import END, Event, Failure, Finish, Text, ToolCall, Usage

LEGACY = replace(OPTIONS, functions=True)
CALL: list[Event] = [
    ToolCall(0, "toolu_1", "weather", ""),
    ToolCall(0, arguments='{"city":'),
    ToolCall(0, arguments='"Bonn"}'),
]
ENDING: list[Event] = [Finish("tool_use"), Usage(3, 2), END]


def chunks(*events: Event) -> list[Any]:
    assert OPENAI_CHAT.encoder is not None
    frames = encode(OPENAI_CHAT.encoder(LEGACY), events)
    return [json.loads(frame.data) for frame in frames if frame.data != b"[DONE]"]


def answer(*events: Event) -> Any:
    assert OPENAI_CHAT.write_answer is not None
    return OPENAI_CHAT.write_answer(events, LEGACY)


@pytest.mark.parametrize(
    ("body", "legacy"),
    [
        ({"functions": [{"name": "f"}]}, True),
        ({"functions": [{"name": "f"}], "tools": [{"type": "function"}]}, False),
        ({"functions": []}, False),
        ({"functions": "x"}, False),
        ({}, False),
    ],
)
def test_who_uses_functions(body: Any, legacy: bool) -> None:
    assert uses_functions(body) is legacy


def test_a_streamed_call_is_a_function_call() -> None:
    said = [chunk["choices"][0] for chunk in chunks(Text("a"), *CALL, *ENDING) if chunk["choices"]]
    functions = [choice["delta"]["function_call"] for choice in said if "function_call" in choice["delta"]]
    assert functions[0]["name"] == "weather"
    assert "".join(function["arguments"] for function in functions) == '{"city":"Bonn"}'
    assert [choice["finish_reason"] for choice in said if choice["finish_reason"]] == ["function_call"]
    assert not any("tool_calls" in choice["delta"] for choice in said)


def test_a_whole_call_is_a_function_call() -> None:
    choice = answer(*CALL, *ENDING)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city":"Bonn"}'}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]


def test_openais_sdk_takes_them() -> None:
    for chunk in chunks(Text("a"), *CALL, *ENDING):
        ChatCompletionChunk.model_validate(chunk)
    completion = ChatCompletion.model_validate(answer(*CALL, *ENDING))
    assert completion.choices[0].message.function_call is not None


def test_a_call_without_arguments_has_empty_ones() -> None:
    functions = [chunk["choices"][0]["delta"].get("function_call") for chunk in chunks(ToolCall(0, "x", "f"), END)[:-1]]
    assert "".join(function["arguments"] for function in functions if function) == "{}"


def test_of_several_calls_the_first_is_said() -> None:
    second = ToolCall(1, "toolu_2", "time", "{}")
    names = [c["choices"][0]["delta"].get("function_call", {}).get("name") for c in chunks(*CALL, second, END)]
    assert [name for name in names if name] == ["weather"]
    assert answer(*CALL, second, *ENDING)["choices"][0]["message"]["function_call"]["name"] == "weather"


def test_a_text_that_speaks_of_tool_calls_stays() -> None:
    text = 'Say {"tool_calls": []} and "tool_calls"'
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks(Text(text), Text(text), END)) == text * 2


def test_an_error_stays_an_error() -> None:
    assert chunks(Failure("sorry"))[0]["error"]["message"] == "sorry"
    with pytest.raises(Unwritable, match="sorry"):
        answer(Failure("sorry"))


def test_other_clients_get_tool_calls() -> None:
    assert OPENAI_CHAT.write_answer is not None
    message = OPENAI_CHAT.write_answer([*CALL, *ENDING], OPTIONS)["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "weather"
