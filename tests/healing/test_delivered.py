"""What a client has of an answer: noted event by event, and joined when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import encoded
from encoded import EVENTS, OPTIONS
from midstream.conversation import Conversation, OutputFormat
from midstream.dialects.base import Dialect
from midstream.dialects.registry import DIALECTS
from midstream.events import (
    END,
    OPAQUE,
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.healing import delivered
from midstream.healing.delivered import LIMIT, Delivered, OnBreak

ENCODING = [dialect for dialect in DIALECTS if dialect.encoder is not None]
ANSWERS = st.lists(EVENTS.filter(lambda event: not isinstance(event, End | Failure)), max_size=20)
WHOLE_CALL = ToolCall(0, "c1", "find", '{"a": 1}')


def noted(*events: Event) -> Delivered:
    told = Delivered()
    told.note(events)
    return told


def frames_after(dialect: Dialect, before: Sequence[Event], after: Sequence[Event]) -> list[Any]:
    """What an encoder that has been told something writes of what comes then; without the frames' own numbers."""
    assert dialect.encoder is not None
    encoder = dialect.encoder(OPTIONS)
    encoded.encode(encoder, before)
    frames = [(frame.event, frame.data) for frame in encoded.encode(encoder, after)]
    return [(event, unnumbered(data)) for event, data in frames]


def unnumbered(data: bytes) -> Any:
    try:
        value = json.loads(data)
    except ValueError:
        return data
    return {key: said for key, said in value.items() if key != "sequence_number"} if isinstance(value, dict) else value


def test_fragments_of_one_kind_and_place_are_one_event() -> None:
    told = noted(
        Start("id", "m", 1),
        Reasoning("let "),
        Reasoning("me"),
        Reasoning("", signature="s"),
        Text("Hel", block=1),
        Text("lo", block=1),
        ToolCall(0, "c1", "find", block=2),
        ToolCall(0, arguments='{"a"', block=2),
        ToolCall(0, arguments=": 1}", block=2),
        ToolCall(1, "c2", "find", block=3),
        ServerTool("search"),
        ServerTool("search"),
    )
    assert told.events == [
        Start("id", "m", 1),
        Reasoning("let me"),
        Reasoning("", signature="s"),
        Text("Hello", block=1),
        ToolCall(0, "c1", "find", '{"a": 1}', block=2),
        ToolCall(1, "c2", "find", block=3),
        ServerTool("search"),
    ]


def test_texts_of_two_choices_or_blocks_stay_apart() -> None:
    events: list[Event] = [Text("a"), Text("b", choice=1), Text("c"), Text("d", block=2)]
    assert noted(*events).events == events


def test_what_says_nothing_of_the_answer_is_not_kept() -> None:
    assert noted(OPAQUE, Malformed("x"), Asked("m"), Failure("f"), END).events == []


def test_of_the_usage_the_last_is_kept_and_parts_no_text() -> None:
    told = noted(Text("a"), Usage(1, 1), Text("b"), Usage(1, 2))
    assert told.events == [Text("ab"), Usage(1, 2)]


def test_more_can_be_noted_after_the_events_were_asked_for() -> None:
    told = noted(Text("a"))
    assert told.events == [Text("a")]
    told.note([Text("b")])
    assert told.events == [Text("ab")]
    assert told.text == "ab"


@given(ANSWERS, st.integers(1, 5))
def test_how_events_are_noted_does_not_matter(events: list[Event], size: int) -> None:
    pieces = Delivered()
    for at in range(0, len(events), size):
        pieces.note(events[at : at + size])
        assert pieces.begun == encoded.has_content(events[: at + size])
    assert pieces.events == noted(*events).events


@pytest.mark.parametrize("dialect", ENCODING, ids=lambda dialect: dialect.name)
@given(ANSWERS, ANSWERS)
def test_an_encoder_is_told_as_much_by_the_joined_events(
    dialect: Dialect, before: list[Event], after: list[Event]
) -> None:
    joined = noted(*before).events
    assert frames_after(dialect, joined, [*after, END]) == frames_after(dialect, before, [*after, END])


def test_text_is_the_first_choices() -> None:
    assert noted(Reasoning("hm"), Text("a"), Text("x", choice=1), Text("b", block=3)).text == "ab"


@pytest.mark.parametrize(
    ("events", "finished"),
    [
        ([], False),
        ([Text("a")], False),
        ([Text("a"), Finish("stop")], True),
        ([Finish("stop")], True),
        ([Text("a"), Finish("stop"), Usage(1, 2)], True),
        ([Text("a"), Finish("STOP"), Text("b")], False),
        ([Text("a"), Text("b", choice=1), Finish("stop")], False),
        ([Text("a"), Text("b", choice=1), Finish("stop"), Finish("stop", choice=1)], True),
    ],
)
def test_finished_once_every_choice_is(events: list[Event], finished: bool) -> None:
    assert noted(*events).finished() is finished


@pytest.mark.parametrize("events", [[], [Start("id"), Usage(1, 0), OPAQUE]])
@pytest.mark.parametrize("on_break", ["continue", "restart", "error"])
def test_before_any_content_every_policy_asks_anew(events: list[Event], on_break: OnBreak) -> None:
    assert noted(*events).way(on_break).kind == "anew"


WAYS: dict[str, tuple[list[Event], str, str]] = {
    # what the client has: (events, the way with `continue`, the way with `restart`)
    "text": ([Text("Hello")], "continue", "restart"),
    "reasoning": ([Reasoning("hm")], "anew", "anew"),
    "whole reasoning": ([Reasoning("hm"), Reasoning("", signature="s")], "anew", "anew"),
    "reasoning of two choices": ([Reasoning("hm"), Reasoning("hm", choice=1)], "anew", "anew"),
    "white space": ([Reasoning("hm"), Text("\n\n")], "anew", "anew"),
    "reasoning and text": ([Reasoning("hm"), Text("Hello", block=1)], "continue", "restart"),
    "the name of a call": ([ToolCall(0, "c1", "find")], "restart", "restart"),
    "text and the name of a call": ([Text("Hello"), ToolCall(0, "c1", "find")], "continue", "restart"),
    "a part of a call": ([ToolCall(0, "c1", "find", '{"a')], "impossible", "impossible"),
    "text and a part of a call": ([Text("Hello"), ToolCall(0, "c1", "find", "{")], "impossible", "impossible"),
    "a whole call": ([WHOLE_CALL], "restart", "restart"),
    "a whole call without arguments": ([ToolCall(0, "c1", "find", "null")], "restart", "restart"),
    "text and a whole call": ([Text("Hello"), WHOLE_CALL], "restart", "restart"),
    "a whole call and the name of another": ([WHOLE_CALL, ToolCall(1, "c2", "find")], "restart", "restart"),
    "a whole call and a part of another": ([WHOLE_CALL, ToolCall(1, "c2", "find", "{")], "impossible", "impossible"),
    "a call's name and then a whole call": (
        [ToolCall(0, "c1", "f"), ToolCall(1, "c2", "f", "{}")],
        "restart",
        "restart",
    ),
    "arguments that may go on": ([ToolCall(0, "c1", "sh", "12")], "impossible", "impossible"),
    "arguments that are no JSON (custom tools)": ([ToolCall(0, "c1", "sh", "ls -l")], "impossible", "impossible"),
    "two choices": ([Text("Hello"), Text("Hi", choice=1)], "restart", "restart"),
    "a second choice alone": ([Text("Hi", choice=1)], "restart", "restart"),
    "a refusal": ([Refusal("I can")], "restart", "restart"),
    "what a tool of the provider's own did": ([Text("Hello"), ServerTool("search"), Text("So")], "restart", "restart"),
    "a picture": ([Text("Hello"), Media("image", 9)], "impossible", "impossible"),
    "all": ([Text("Hello"), Finish("stop")], "impossible", "impossible"),
}


@pytest.mark.parametrize(("events", "going_on", "restarted"), WAYS.values(), ids=WAYS)
def test_what_can_follow(events: list[Event], going_on: str, restarted: str) -> None:
    told = noted(*events)
    assert told.way("continue").kind == going_on
    assert told.way("restart").kind == restarted
    assert told.way("error").kind == "impossible"
    assert all(told.way(policy).reason.startswith("the stream broke") for policy in ("continue", "restart", "error"))


def test_the_reason_says_where_it_broke() -> None:
    assert noted(ToolCall(0, "c1", "find", "{")).way("continue").reason == "the stream broke inside a tool call"
    assert noted(ToolCall(0, "c1", "find")).way("continue").reason == "the stream broke at the beginning of a tool call"
    assert noted(Text("a"), Refusal("b")).way("continue").reason == "the stream broke after a refusal"


@pytest.mark.parametrize("more", [{"output_format": OutputFormat("json_object")}, {"choices": 2}])
def test_what_must_be_whole_or_manifold_is_restarted_not_continued(more: dict[str, Any]) -> None:
    told = noted(Text('{"a": '))
    plain = Conversation(model="m", messages=())
    assert told.way("continue", plain).kind == "continue"
    assert told.way("continue", Conversation(model="m", messages=(), **more)).kind == "restart"


@given(ANSWERS)
def test_a_call_that_is_not_whole_is_never_gone_on_with(events: list[Event]) -> None:
    told = noted(*events, ToolCall(9, "c", "f", '{"a": "'))
    assert told.way("continue").kind == told.way("restart").kind == "impossible"


@pytest.mark.parametrize("piece", [Text("x" * 1000), Reasoning("x" * 1000), ToolCall(0, arguments="x" * 1000)])
def test_a_long_answer_is_not_kept_but_known_to_have_begun(piece: Event) -> None:
    told = Delivered()
    for _ in range(LIMIT // 1000):
        told.note([piece])
    assert told.events == [*told.events[:1]] != []
    told.note([piece])
    assert told.overfull
    assert told.events == []
    assert told.begun
    assert told.way("continue").kind == "impossible"
    assert "characters" in told.way("continue").reason


def test_pieces_that_join_nothing_count_more_than_their_characters() -> None:
    told = Delivered()
    for n in range(LIMIT // delivered.RUN_COST + 1):
        told.note([Text("a", choice=n % 2)])
    told.way("restart")
    assert told.overfull


def test_one_huge_event_is_not_kept_until_the_next_batch() -> None:
    told = noted(Text("x" * (LIMIT + 1)))
    assert told.overfull
