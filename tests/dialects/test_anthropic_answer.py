from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.beta import BetaMessage
from hypothesis import given
from pydantic_core import from_json

import exchanges
from encoded import OPTIONS, arbitrary, encode, events_of, recordings, sse, until_over
from exchanges import Exchange, Said, fold
from midstream.dialects.anthropic.answer import MessagesEncoder, write_answer
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES, read_answer
from midstream.dialects.anthropic.output import HELD_LIMIT
from midstream.dialects.anthropic.words import stop_of, usage_of, write_error
from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.events import (
    END,
    OPAQUE,
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
from midstream.wire import Frame

START = Start("msg_9", "claude-haiku-4-5", 7)
NO_USAGE = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


def parse(frames: list[Frame]) -> list[Any]:
    """The events; each frame names its own."""
    events = [json.loads(frame.data) for frame in frames]
    assert [frame.event for frame in frames] == [event["type"] for event in events]
    return events


def encoded(*events: Event, options: AnswerOptions = OPTIONS) -> list[Any]:
    return parse(encode(MessagesEncoder(options), events))


def deltas(*events: Event) -> list[Any]:
    """The deltas of blocks, as (index, delta)."""
    return [(e["index"], e["delta"]) for e in encoded(*events) if e["type"] == "content_block_delta"]


def blocks(*events: Event) -> list[Any]:
    """The content blocks as they start."""
    return [e["content_block"] for e in encoded(*events) if e["type"] == "content_block_start"]


def check_lifecycle(events: list[Any]) -> None:
    """message_start, blocks one after another and numbered from 0, message_delta, message_stop; or an error that ends it all."""
    kinds = [event["type"] for event in events]
    if "error" in kinds:
        assert kinds.index("error") == len(kinds) - 1
        events = events[:-1]
        if not events:
            return
    assert kinds[0] == "message_start"
    assert kinds.count("message_start") == 1
    count, open_ = 0, None
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert open_ is None
                assert event["index"] == count
                open_, count = event["content_block"]["type"], count + 1
            case "content_block_delta":
                assert event["index"] == count - 1
                assert (open_, event["delta"]["type"]) in DELTAS
            case "content_block_stop":
                assert open_ is not None
                assert event["index"] == count - 1
                open_ = None
            case "message_delta" | "message_stop":
                assert open_ is None
            case kind:
                raise AssertionError(f"an event of type {kind}")
    if kinds[-1] != "error":
        assert kinds[-2:] == ["message_delta", "message_stop"]
        assert kinds.count("message_delta") == kinds.count("message_stop") == 1


DELTAS = {
    ("text", "text_delta"),
    ("thinking", "thinking_delta"),
    ("thinking", "signature_delta"),
    ("tool_use", "input_json_delta"),
}


def test_an_answer_from_first_event_to_last() -> None:
    early, late = Usage(14, 1, cached_tokens=3, cache_write_tokens=1), Usage(14, 5, 3, 1, 2)
    counts = {"input_tokens": 10, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 3}
    assert encoded(START, early, Text('a"\n'), Text("é"), Finish("end_turn"), late, END) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_9",
                "type": "message",
                "role": "assistant",
                "model": "claude-haiku-4-5",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {**counts, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 'a"\n'}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {**counts, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}},
        },
        {"type": "message_stop"},
    ]


def test_an_answer_without_content_is_a_whole_one() -> None:
    start, delta, stop = encoded(END)
    assert (start["message"]["id"], start["message"]["model"]) == ("msg_st_1", "asked")
    assert delta == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": NO_USAGE,
    }
    assert stop == {"type": "message_stop"}


def test_nothing_is_written_before_the_first_content() -> None:
    events = (START, OPAQUE, Malformed("x"), ServerTool("search"), Usage(1, 1), Media("image", 9), Finish("stop"))
    assert encoded(*events) == []


def test_a_later_start_names_what_the_first_left_empty_and_none_after_the_first_frame() -> None:
    start = encoded(Start(), Start("msg_2", "served"), Text("a"), Start("msg_3", "other"))[0]["message"]
    assert (start["id"], start["model"]) == ("msg_2", "served")


@pytest.mark.parametrize("id_", ["", "chatcmpl-1", "resp_1", "gen-3"])
def test_an_id_of_another_shape_is_replaced(id_: str) -> None:
    assert encoded(Start(id_, "m"), Text("a"))[0]["message"]["id"] == "msg_st_1"


def test_text_is_one_block_whatever_its_provider_numbers_it() -> None:
    assert deltas(Text("a", block=0), Text("b", block=1), Refusal("c", block=2), Media("audio", 0, "d")) == [
        (0, {"type": "text_delta", "text": text}) for text in "abcd"
    ]


def test_what_a_tool_of_the_providers_stood_between_is_two_blocks() -> None:
    assert [index for index, _ in deltas(Text("a"), ServerTool("search"), ServerTool("search"), Text("b"))] == [0, 1]


def test_a_thought_is_told_before_its_signature() -> None:
    said = encoded(START, Reasoning("h"), Reasoning("m"), Reasoning("", signature="sig"), Text("a"))[1:]
    assert said[:6] == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    ]


def test_a_signature_in_pieces_is_told_once_and_whole() -> None:
    said = deltas(START, Reasoning("h", signature="a"), Reasoning("", signature="b"), END)
    assert said[1:] == [(0, {"type": "signature_delta", "signature": "ab"})]


def test_each_thought_with_a_number_of_its_own_is_a_block() -> None:
    said = deltas(START, Reasoning("a", signature="1"), Reasoning("b", block=1, signature="2"), END)
    assert [(index, delta["type"]) for index, delta in said] == [
        (0, "thinking_delta"),
        (0, "signature_delta"),
        (1, "thinking_delta"),
        (1, "signature_delta"),
    ]


def test_a_signature_without_a_thought_is_redacted_or_omitted_as_the_model_does_it() -> None:
    assert blocks(START, Reasoning("", signature="data"), END) == [{"type": "redacted_thinking", "data": "data"}]
    newer = Start("msg_9", "claude-opus-5")
    assert blocks(newer, Reasoning("", signature="s"), END) == [{"type": "thinking", "thinking": "", "signature": ""}]
    assert deltas(newer, Reasoning("", signature="s"), END) == [(0, {"type": "signature_delta", "signature": "s"})]


def test_another_providers_signature_is_left_out_since_clients_send_it_back() -> None:
    start = Start("x", "gpt-5")
    assert deltas(start, Reasoning("h", signature="gAAAA"), Reasoning("", signature="gAAAA"), END) == [
        (0, {"type": "thinking_delta", "thinking": "h"})
    ]
    assert [e["type"] for e in encoded(start, Reasoning("", signature="gAAAA"), END)] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_a_second_attempt_by_another_model_signs_nothing_more() -> None:
    said = deltas(START, Reasoning("a", signature="1"), Start("", "gemini-3"), Reasoning("b", 0, 1, "2"), END)
    assert [delta.get("signature") for _, delta in said] == [None, "1", None]


def test_tool_calls_one_after_another() -> None:
    events: list[Event] = [
        START,
        ToolCall(0, "toolu_1", "f"),
        ToolCall(0, arguments='{"a"'),
        ToolCall(0, arguments=":1}"),
        ToolCall(1, "call_2", "g", "{}"),
    ]
    assert blocks(*events) == [
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        {"type": "tool_use", "id": "toolu_st1_1", "name": "g", "input": {}},
    ]
    assert [(index, delta["partial_json"]) for index, delta in deltas(*events)] == [(0, '{"a"'), (0, ":1}"), (1, "{}")]


def test_a_call_without_arguments_gets_empty_ones() -> None:
    said = deltas(ToolCall(0, "a", "f"), ToolCall(1, "b", "g"), Finish("tool_calls"), END)
    assert said == [(n, {"type": "input_json_delta", "partial_json": "{}"}) for n in (0, 1)]


@pytest.mark.parametrize("pieces", [["null"], [" ", "null\n"], ["\n"]])
def test_arguments_that_say_nothing_are_empty_ones(pieces: list[str]) -> None:
    said = deltas(ToolCall(0, "a", "f"), *(ToolCall(0, "", "", piece) for piece in pieces), Finish("tool_calls"), END)
    assert said == [(0, {"type": "input_json_delta", "partial_json": "{}"})]


@pytest.mark.parametrize("arguments", ["SELECT 1", "[1]", "7", "nullify"])
def test_arguments_that_are_no_object_are_an_error(arguments: str) -> None:
    for events in ([ToolCall(0, "a", "f", arguments)], [ToolCall(0, "a", "f"), ToolCall(1, "b", "g", arguments), END]):
        said = encoded(*events)
        check_lifecycle(said)
        assert said[-1]["error"]["message"] == "a tool call's arguments are no JSON object"


def test_calls_side_by_side_are_told_one_after_another() -> None:
    events: list[Event] = [
        ToolCall(0, "a", "f", '{"x":'),
        ToolCall(1, "b", "g", '{"y":'),
        Text("t"),
        ToolCall(1, "", "", "2}"),
        ToolCall(0, "", "", '"}\\"{'),
        ToolCall(0, "", "", '"}'),
        Text("u"),
    ]
    assert [index for index, _ in deltas(*events[:4])] == [0]
    said = deltas(*events)
    assert [(index, delta.get("partial_json") or delta["text"]) for index, delta in said] == [
        (0, '{"x":'),
        (0, '"}\\"{'),
        (0, '"}'),
        (1, '{"y":'),
        (1, "2}"),
        (2, "t"),
        (2, "u"),
    ]


@pytest.mark.parametrize("cut", range(1, 20))
def test_arguments_in_any_two_pieces_are_whole_at_their_end(cut: int) -> None:
    arguments = '{"a":"\\"}{","b":[{}]}'
    said = deltas(ToolCall(0, "a", "f", arguments[:cut]), Text("t"), ToolCall(0, "", "", arguments[cut:]), Text("u"))
    assert [index for index, _ in said] == [0, 0, 1, 1]


def test_what_was_held_is_told_at_the_end_even_if_the_call_never_was_whole() -> None:
    events = encoded(ToolCall(0, "a", "f", "{"), Text("t"), ToolCall(1, "b", "g", "{}"), Finish("length"), END)
    check_lifecycle(events)
    assert [e["content_block"]["type"] for e in events if e["type"] == "content_block_start"] == [
        "tool_use",
        "text",
        "tool_use",
    ]


def test_more_than_the_limit_side_by_side_is_an_error() -> None:
    encoder = MessagesEncoder(OPTIONS)
    half = "x" * (HELD_LIMIT // 2)
    frames = encode(encoder, [ToolCall(0, "a", "f", "{"), Text(half), Text(half), Text("t"), END])
    assert parse(frames)[-1]["error"]["message"] == f"tool calls side by side are over {HELD_LIMIT} characters"
    check_lifecycle(parse(frames))


def test_one_choice_alone() -> None:
    events = encoded(Text("b", 1), Text("a"), Finish("stop"), Finish("length", 1), END)
    check_lifecycle(events)
    assert [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"] == ["a"]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"


def test_a_failure_is_the_last_event() -> None:
    events = encoded(Text("a"), Failure("too much", "overloaded_error", "", 529), Text("b"), END)
    check_lifecycle(events)
    assert events[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}
    assert encoded(Failure("x"))[0]["type"] == "error"


def test_nothing_follows_the_end() -> None:
    encoder = MessagesEncoder(OPTIONS)
    encoder.feed(END)
    assert [encoder.feed(event) for event in (Text("a"), END, Failure("x"), Usage(1, 1))] == [[], [], [], []]


def test_half_an_emoji_is_escaped() -> None:
    said = deltas(Text("\ud83d"), Text("\ud83d"), Text("\ude00😀"))
    assert [delta["text"] for _, delta in said] == ["\ud83d", "\ud83d", "\ude00😀"]


@pytest.mark.parametrize(
    ("word", "detail", "called", "reason"),
    [
        ("stop", "", False, "end_turn"),
        ("stop", "", True, "tool_use"),
        ("end_turn", "", True, "tool_use"),
        ("length", "", True, "max_tokens"),
        ("tool_calls", "", True, "tool_use"),
        ("STOP", "", True, "tool_use"),
        ("SAFETY", "", False, "refusal"),
        ("content_filter", "", False, "refusal"),
        ("incomplete", "max_output_tokens", False, "max_tokens"),
        ("pause_turn", "", False, "pause_turn"),
        ("model_context_window_exceeded", "", False, "model_context_window_exceeded"),
        ("", "", False, "end_turn"),
        ("odd", "", False, "end_turn"),
    ],
)
def test_finish_reasons_in_anthropics_words(word: str, detail: str, called: bool, reason: str) -> None:
    assert stop_of(Finish(word, 0, detail), called=called, refused=False)["stop_reason"] == reason


def test_the_stop_sequence_and_the_kind_of_refusal_are_told() -> None:
    sequence = stop_of(Finish("stop_sequence", 0, "```"), called=False, refused=False)
    assert sequence == {"stop_reason": "stop_sequence", "stop_sequence": "```"}
    refusal = stop_of(Finish("refusal", 0, "bio"), called=False, refused=False)
    assert refusal["stop_details"] == {"type": "refusal", "category": "bio", "explanation": None}
    assert stop_of(Finish("stop"), called=False, refused=True)["stop_reason"] == "refusal"


def test_usage_of_another_provider_leaves_cached_tokens_out_of_the_input() -> None:
    assert usage_of(Usage(7, 8, cached_tokens=161)) == {**NO_USAGE, "cache_read_input_tokens": 7, "output_tokens": 8}
    assert usage_of(Usage(cached_tokens=1)) == {**NO_USAGE, "cache_read_input_tokens": 1}
    assert usage_of(Usage(10, 2, cached_tokens=4)) == {
        **NO_USAGE,
        "input_tokens": 6,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
    }
    assert usage_of(None) == NO_USAGE


def with_objects(events: list[Event]) -> list[Event]:
    """The same, but a call's arguments begin as an object."""
    begun, changed = set[Any](), list[Event]()
    for event in events:
        match event:
            case ToolCall(arguments=arguments, choice=choice, index=index) if (
                arguments and (choice, index) not in begun
            ):
                begun.add((choice, index))
                changed.append(replace(event, arguments=arguments if arguments[0] == "{" else f'{{"{arguments}'))
            case _:
                changed.append(event)
    return changed


ARBITRARY = arbitrary().map(with_objects)


@given(arbitrary())
def test_any_events_make_a_valid_stream(events: list[Event]) -> None:
    check_lifecycle(encoded(*events))


@given(ARBITRARY)
def test_only_a_failure_makes_an_error(events: list[Event]) -> None:
    said = encoded(*events)
    check_lifecycle(said)
    assert (said[-1]["type"] == "error") == isinstance(until_over(events)[-1], Failure)


@given(ARBITRARY)
def test_any_events_say_the_same_when_read_again(events: list[Event]) -> None:
    """Our decoder of our encoder: nothing lost of the first choice, nothing twice. Held pieces are lost where it failed."""
    assert ANTHROPIC_MESSAGES.decoder is not None
    decoder = ANTHROPIC_MESSAGES.decoder()
    again = fold([e for frame in encode(MessagesEncoder(OPTIONS), events) for e in decoder.feed(frame)])
    before = until_over(events)
    said = fold([e for e in before if getattr(e, "choice", 0) == 0])
    if again.ended:
        assert sorted(again.text) == sorted(spoken(before))
        assert sorted(again.reasoning) == sorted(said.reasoning)
        assert len(again.tool_calls) == len(said.tool_calls)
    else:
        assert again.failure is not None
    order = list(dict.fromkeys(e.index for e in before if isinstance(e, ToolCall) and e.choice == 0))
    for index, told in zip(order, again.tool_calls, strict=False):
        assert is_told(told, said.tools[0, index], whole=again.ended)


def spoken(events: list[Event]) -> str:
    """The text of the first choice; Anthropic has no other place for refusals and transcripts."""
    pieces = []
    for event in events:
        match event:
            case Text(text=text, choice=0) | Refusal(text=text, choice=0) | Media(transcript=text, choice=0):
                pieces.append(text)
            case _:
                pass
    return "".join(pieces)


def is_told(told: dict[str, str], said: dict[str, str], *, whole: bool) -> bool:
    """Whether a call's arguments are the same; what came after they were whole is left out."""
    if told["arguments"] == (said["arguments"] or "{}"):
        return True
    begun = said["arguments"].startswith(told["arguments"])
    return begun and (not whole or told["arguments"].count("{") <= told["arguments"].count("}"))


def test_a_text_delta_is_cheap() -> None:
    """At most five times a json.dumps of the text alone, which is far below the 3 µs that are the aim."""
    encoder, text = MessagesEncoder(OPTIONS), Text(" and some words more")
    encoder.feed(text)

    def best(run: Any) -> float:
        times = []
        for _ in range(7):
            begun = time.perf_counter()
            for _ in range(2000):
                run()
            times.append(time.perf_counter() - begun)
        return min(times)

    assert best(lambda: encoder.feed(text)) < 5 * best(lambda: json.dumps({"text": text.text}, ensure_ascii=False))


# --- write_answer, write_error


def test_a_whole_answer() -> None:
    events: list[Event] = [
        START,
        Usage(1, 1),
        Reasoning("hm", signature="s"),
        Text("a", block=1),
        Text("b", block=1),
        ToolCall(0, "toolu_1", "f", '{"x":', block=2),
        ToolCall(0, arguments="1}", block=2),
        Finish("tool_use"),
        Usage(1, 2),
        END,
    ]
    assert write_answer(events, OPTIONS) == {
        "id": "msg_9",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "ab"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {**NO_USAGE, "input_tokens": 1, "output_tokens": 2},
    }


def test_an_answer_that_failed_is_an_error() -> None:
    with pytest.raises(Unwritable, match="broke") as raised:
        write_answer([Text("a"), Failure("broke", "t")], OPTIONS)
    assert raised.value.failure == Failure("broke", "t")


def test_arguments_that_are_no_json_are_an_error_unless_the_limit_cut_them_off() -> None:
    cut = ToolCall(0, "a", "f", '{"x":[1,2')
    assert write_answer([cut, Finish("length"), END], OPTIONS)["content"][0]["input"] == {"x": [1, 2]}
    wrong: list[list[Event]] = [[cut, Finish("stop"), END], [ToolCall(0, "a", "f", "7"), Finish("length"), END]]
    for events in wrong:
        with pytest.raises(Unwritable, match="arguments are no JSON object"):
            write_answer(events, OPTIONS)


@given(ARBITRARY)
def test_any_events_make_a_whole_answer_or_an_error(events: list[Event]) -> None:
    try:
        answer = write_answer(events, OPTIONS)
    except Unwritable:
        return
    json.dumps(answer)
    streamed = fold([e for e in decoded(encode(MessagesEncoder(OPTIONS), events)) if not isinstance(e, Finish | Usage)])
    whole = fold(read_answer(answer))
    assert (whole.text, whole.reasoning) == (streamed.text, streamed.reasoning)


def decoded(frames: list[Frame]) -> list[Event]:
    assert ANTHROPIC_MESSAGES.decoder is not None
    decoder = ANTHROPIC_MESSAGES.decoder()
    return [event for frame in frames for event in decoder.feed(frame)]


def test_signatures_and_finish_survive_being_written_and_read() -> None:
    events: list[Event] = [
        START,
        Reasoning("h", signature="s"),
        Text("a", block=1),
        Finish("stop_sequence", 0, "x"),
        END,
    ]
    assert decoded(encode(MessagesEncoder(OPTIONS), events))[:-2] == [
        Start("msg_9", "claude-haiku-4-5"),
        Usage(0, 0, 0, 0, None, NO_USAGE),
        OPAQUE,
        Reasoning("h"),
        Reasoning("", signature="s"),
        OPAQUE,
        OPAQUE,
        Text("a", block=1),
        OPAQUE,
        Usage(0, 0, 0, 0, None, NO_USAGE),
    ]


def client(answer: httpx2.Response) -> anthropic.Anthropic:
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    return anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)


@pytest.mark.parametrize(
    ("status", "raised", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (502, anthropic.InternalServerError, "api_error"),
        (503, anthropic.ServiceUnavailableError, "overloaded_error"),
        (504, anthropic.DeadlineExceededError, "timeout_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_the_sdk_raises_an_error_with_our_words(status: int, raised: type[anthropic.APIStatusError], kind: str) -> None:
    body = write_error(Failure("sorry", "server_error", status=status))
    with pytest.raises(raised) as caught:
        client(httpx2.Response(status, json=body)).messages.create(model="m", max_tokens=1, messages=[])
    assert caught.value.body == {"type": "error", "error": {"type": kind, "message": "sorry"}}


def test_an_own_type_says_more_than_the_status() -> None:
    assert write_error(Failure("x", "overloaded_error", status=500))["error"]["type"] == "overloaded_error"
    assert write_error(Failure("cut", "truncated"))["error"]["type"] == "api_error"


# --- what the official SDK makes of every recording, whoever's it is


def sdk_message(body: bytes) -> BetaMessage:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    ask: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    with client(answer).beta.messages.stream(**ask) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("exchange", recordings(), ids=lambda e: e.id)
def test_the_sdk_reads_every_recording_as_anthropics_own(exchange: Exchange) -> None:
    events = events_of(exchange)
    first = [e for e in events if getattr(e, "choice", 0) == 0]
    said, frames = fold(first), encode(MessagesEncoder(OPTIONS), events)
    check_lifecycle(parse(frames))
    if said.failure is not None:
        with pytest.raises(anthropic.APIStatusError) as caught:
            sdk_message(sse(frames))
        body: Any = caught.value.body
        assert body["error"]["message"] == said.failure.message
        return
    if any(call["arguments"].lstrip()[:1] not in ("", "{", "n") for call in said.tool_calls):
        assert parse(frames)[-1]["error"]["message"] == "a tool call's arguments are no JSON object"
        return
    assert_same(sdk_message(sse(frames)).to_dict(), said, first)
    assert_same(write_answer(events, OPTIONS), said, first)


def assert_same(message: Any, said: Said, events: list[Event]) -> None:
    content: Any = message["content"]
    assert message["id"].startswith("msg_")
    assert message["model"] == (said.model or "asked")
    assert "".join(b["text"] for b in content if b["type"] == "text") == spoken(events)
    assert "".join(b["thinking"] for b in content if b["type"] == "thinking") == said.reasoning
    calls = [b for b in content if b["type"] == "tool_use"]
    assert [(b["name"], b["input"]) for b in calls] == [
        (call["name"], from_json(call["arguments"] or "{}", allow_partial=said.finish_reason == "length") or {})
        for call in said.tool_calls
    ]
    for block, call in zip(calls, said.tool_calls, strict=True):
        assert block["id"] == call["id"] or (not call["id"].startswith("toolu_") and block["id"].startswith("toolu_"))
    finish = ([Finish(""), *(e for e in events if isinstance(e, Finish))])[-1]
    expected = stop_of(finish, called=bool(calls), refused=bool(said.refusal))
    assert message["stop_reason"] == expected["stop_reason"]
    counted = said.usage_events[-1] if said.usage_events else Usage()
    usage = message["usage"]
    inputs = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    assert inputs == (counted.input_tokens or 0)
    assert usage["output_tokens"] == (counted.output_tokens or 0)


@pytest.mark.parametrize("exchange", exchanges.of("messages"), ids=lambda e: e.id)
def test_anthropics_own_recordings_come_out_as_they_went_in(exchange: Exchange) -> None:
    """Also what only Anthropic can verify; but not its own tools, nor citations, nor where one text ends and another begins."""
    events = events_of(exchange)
    own: Any = sdk_message(exchange.body).to_dict()
    ours: Any = sdk_message(sse(encode(MessagesEncoder(OPTIONS), events))).to_dict()
    assert kept(ours) == kept(own)
    assert (ours["id"], ours["model"], ours["stop_reason"]) == (own["id"], own["model"], own["stop_reason"])
    for key in ("input_tokens", "output_tokens"):
        assert ours["usage"][key] == own["usage"][key]


def kept(message: Any) -> list[Any]:
    keys = ("type", "id", "name", "input", "thinking", "signature", "data")
    own = ("thinking", "redacted_thinking", "tool_use")
    return [{key: block.get(key) for key in keys} for block in message["content"] if block["type"] in own]
