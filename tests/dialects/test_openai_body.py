from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from midstream.conversation import Conversation, Inexpressible, Message, TextPart, ToolUsePart, Written
from midstream.dialects.anthropic.request import write_request as write_messages
from midstream.dialects.body_table import LOST_LIMIT, Lost, Turn, write_turns
from midstream.dialects.openai.chat_request import write_request
from midstream.dialects.openai.responses_request import write_request as write_responses
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json


def said(text: str) -> Message:
    return Message("user", (TextPart(text),))


def turn(text: str) -> Turn:
    return Turn("user", [TextPart(text)], [{"raw": text}])


def write(message: Message) -> list[Json]:
    return [{"new": part.text} for part in message.parts if isinstance(part, TextPart)]


@pytest.mark.parametrize(
    ("now", "written"),
    [
        ("abc", [{"raw": "a"}, {"raw": "b"}, {"raw": "c"}]),
        ("abcx", [{"raw": "a"}, {"raw": "b"}, {"raw": "c"}, {"new": "x"}]),
        ("xabc", [{"new": "x"}, {"raw": "a"}, {"raw": "b"}, {"raw": "c"}]),
        ("ac", [{"raw": "a"}, {"raw": "c"}]),
        ("axc", [{"raw": "a"}, {"new": "x"}, {"raw": "c"}]),
        ("aa", [{"raw": "a"}, {"new": "a"}]),
        ("ca", [{"raw": "c"}, {"new": "a"}]),
        ("", []),
    ],
)
def test_messages_that_were_read_are_written_as_they_came(now: str, written: list[Json]) -> None:
    assert write_turns([turn(text) for text in "abc"], [said(text) for text in now], write) == written


def test_a_turn_without_parts_goes_with_those_beside_it() -> None:
    turns = [turn("a"), Turn("assistant", [], [{"raw": "search"}]), turn("b")]
    assert write_turns(turns, [said("a"), said("b")], write) == [{"raw": "a"}, {"raw": "search"}, {"raw": "b"}]


def test_only_so_many_lost_fields_are_named() -> None:
    lost = Lost()
    lost.note("x[]", Fields({f"field{n}": n for n in range(LOST_LIMIT * 2)}))
    assert len(lost) == LOST_LIMIT


def foreign(*messages: Message, dialect: str = "other", model: str = "m", extras: Json | None = None) -> Conversation:
    return Conversation(model=model, messages=messages or (said("a"),), dialect=dialect, extras=extras or {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text", "audio"]),
        ("generationConfig.responseModalities", ["IMAGE"]),
        ("background", True),
        ("web_search_options", {}),
    ],
)
def test_extras_of_another_dialect_that_bind_rule_a_target_out(name: str, value: Any) -> None:
    with pytest.raises(Inexpressible, match=name):
        write_request(foreign(extras={name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text"]),
        ("generationConfig.responseModalities", ["TEXT"]),
        ("background", False),
        ("tools", []),
    ],
)
def test_what_says_nothing_is_not_told_of(name: str, value: Any) -> None:
    assert write_request(foreign(extras={name: value})).dropped == ()


def test_other_extras_of_another_dialect_are_dropped() -> None:
    assert write_request(foreign(extras={"metadata": {"a": 1}, "seed": None})).dropped == ("metadata", "seed")


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x", "a,b", "é", "x" * 101, "", " ", "\ud83d"])
def test_no_name_of_a_clients_can_break_a_header(name: str) -> None:
    assert write_request(foreign(extras={name: 1})).dropped == ("a field",)


def test_only_so_many_names_are_told() -> None:
    dropped = write_request(foreign(extras={f"field{n}": n for n in range(10_000)})).dropped
    assert len(dropped) == LOST_LIMIT + 1
    assert "other fields" in dropped


BEGUN = Message("assistant", (TextPart("{"),))
HANDED_OVER = Message("assistant", (ToolUsePart("1", "f", "{}"),))


@pytest.mark.parametrize("client", ["anthropic_messages", "gemini", "ollama"])
@pytest.mark.parametrize("write", [write_request, write_responses])
def test_a_prefill_is_no_finished_turn(client: str, write: Callable[[Conversation], Written]) -> None:
    with pytest.raises(Inexpressible, match="prefill"):
        write(foreign(said("a"), BEGUN, dialect=client, model="gpt-4.1"))
    assert write(foreign(said("a"), BEGUN, said("b"), dialect=client, model="gpt-4.1")).dropped == ()


def test_a_finished_turn_is_one_elsewhere_too() -> None:
    assert write_responses(foreign(said("a"), BEGUN, dialect="openai_chat", model="gpt-4.1")).dropped == ()


@pytest.mark.parametrize("last", [Message("assistant", ()), Message("assistant", (TextPart(" "),)), HANDED_OVER])
def test_only_words_are_a_prefill(last: Message) -> None:
    assert write_request(foreign(said("a"), last, dialect="gemini", model="gpt-4.1")).dropped == ()


def test_an_unknown_model_may_take_a_prefill() -> None:
    assert write_request(foreign(said("a"), BEGUN, dialect="anthropic_messages", model="qwen3")).dropped == ()


def test_a_model_that_refuses_a_prefill_is_not_asked() -> None:
    with pytest.raises(Inexpressible, match="prefill"):
        write_messages(foreign(said("a"), BEGUN, dialect="openai_chat", model="claude-opus-4-6"))
    assert write_messages(foreign(said("a"), BEGUN, dialect="openai_chat", model="claude-opus-4-5")).dropped == ()
