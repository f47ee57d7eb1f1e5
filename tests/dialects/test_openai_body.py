from __future__ import annotations

from typing import Any

import pytest

from midstream.conversation import Conversation, Inexpressible, Message, TextPart
from midstream.dialects.openai_body import LOST_LIMIT, Lost, Turn, write_turns
from midstream.dialects.openai_chat_request import write_request
from midstream.dialects.openai_fields import Fields
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


@pytest.mark.parametrize(
    ("name", "value", "binds"),
    [
        ("modalities", ["text"], False),
        ("modalities", ["text", "audio"], True),
        ("generationConfig.responseModalities", ["TEXT"], False),
        ("generationConfig.responseModalities", ["IMAGE"], True),
        ("background", False, False),
        ("background", True, True),
        ("metadata", {"a": 1}, False),
    ],
)
def test_which_extras_of_another_dialect_bind(name: str, value: Any, binds: bool) -> None:
    conversation = Conversation(model="m", messages=(said("a"),), dialect="other", extras={name: value})
    if binds:
        with pytest.raises(Inexpressible, match=name):
            write_request(conversation)
    else:
        assert write_request(conversation).dropped == (name,)
