from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given

import midstream.dialects.openai.responses_answer as module
from encoded import OPTIONS, arbitrary, client, encode, events_of, recordings, sse, until_over
from exchanges import Exchange, fold
from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.openai.responses import OPENAI_RESPONSES, ResponsesDecoder
from midstream.dialects.openai.responses_answer import ResponsesEncoder, write_answer
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

START = Start("resp_9", "gpt", 7)


def encoded(*events: Event, options: AnswerOptions = OPTIONS) -> list[Any]:
    """The events, parsed, less what numbers them; the numbers are checked here."""
    frames = encode(ResponsesEncoder(options), events)
    said = [json.loads(frame.data) for frame in frames]
    assert [event.pop("sequence_number") for event in said] == list(range(len(said)))
    assert [frame.event for frame in frames] == [event["type"] for event in said]
    return said


def kinds(*events: Event) -> list[str]:
    return [event["type"].removeprefix("response.") for event in encoded(*events)]


def response(*events: Event) -> Any:
    """The last event's response."""
    return encoded(*events)[-1]["response"]


def test_a_message_from_first_event_to_last() -> None:
    created, begun, *said, completed = encoded(
        START, Text("a"), Text("b"), Finish("stop"), Usage(3, 2, cached_tokens=1), END
    )
    item = {"id": "msg_st1_0", "type": "message", "role": "assistant"}
    place = {"item_id": "msg_st1_0", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}
    done = {**item, "status": "completed", "content": [part]}
    assert said == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "a", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": "b", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "ab", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
    ]
    ends = [event["type"] for event in (created, begun, completed)]
    assert ends == ["response.created", "response.in_progress", "response.completed"]
    assert created["response"] == begun["response"]
    changed = {"status": "completed", "output": [done], "usage": completed["response"]["usage"]}
    assert created["response"] | changed == completed["response"]
    head = created["response"]
    assert (head["id"], head["model"], head["created_at"]) == ("resp_9", "gpt", 7)
    assert completed["response"]["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }


def test_reasoning_then_text_then_a_call_are_three_items() -> None:
    events: list[Event] = [
        START,
        Reasoning("hm"),
        Text("a", block=1),
        ToolCall(0, "c", "f", "{}", block=2),
        Finish("tool_use"),
        END,
    ]
    assert kinds(*events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    thought, said, called = response(*events)["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert said["content"][0]["text"] == "a"
    assert (called["call_id"], called["name"], called["arguments"], called["status"]) == ("c", "f", "{}", "completed")


def test_another_block_is_another_part_and_a_servers_tool_begins_another_message() -> None:
    output = response(Text("a"), Text("b", block=1), ServerTool("search", block=2), Text("c", block=3), END)["output"]
    assert [[part["text"] for part in item["content"]] for item in output] == [["a", "b"], ["c"]]


def test_a_refusal_is_a_part_of_its_own() -> None:
    parts = response(Text("a"), Refusal("n"), Refusal("o"), END)["output"][0]["content"]
    assert parts[1] == {"type": "refusal", "refusal": "no"}


def test_calls_that_take_turns_stay_whole() -> None:
    events: list[Event] = [
        ToolCall(0, "c0", "f", '{"a"'),
        ToolCall(1, "c1", "g", '{"b"'),
        ToolCall(0, arguments=":1}"),
        ToolCall(1, arguments=":2}"),
        END,
    ]
    output = response(*events)["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [
        ("c0", '{"a":1}'),
        ("c1", '{"b":2}'),
    ]


def test_a_whole_call_closes_when_the_next_opens() -> None:
    said = kinds(ToolCall(0, "c0", "f", "{}"), ToolCall(1, "c1", "g", "{}"))
    assert said.index("output_item.done") < len(said) - 1 - said[::-1].index("output_item.added")


def test_a_call_without_arguments_gets_empty_ones() -> None:
    assert response(ToolCall(0, "c", "f"), END)["output"][0]["arguments"] == "{}"


def test_a_call_without_an_id_gets_one() -> None:
    assert response(ToolCall(0, "", "f"), ToolCall(1, "", "f"), END)["output"][1]["call_id"] == "call_st1_0_1"


def test_openais_encrypted_reasoning_is_kept_and_anothers_is_not() -> None:
    ours, theirs = Reasoning("", signature="gAAAAx"), Reasoning("", signature="EqQB")
    output = response(Reasoning("hm"), ours, Text("a"), theirs, END)["output"]
    assert [item.get("encrypted_content") for item in output] == ["gAAAAx", None]
    assert response(ours, END)["output"] == [
        {"id": "rs_st1_0", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAx"}
    ]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        (Finish("end_turn"), "completed", None),
        (Finish("completed"), "completed", None),
        (Finish("MAX_TOKENS"), "incomplete", "max_output_tokens"),
        (Finish("incomplete", detail="content_filter"), "incomplete", "content_filter"),
        (Finish("SAFETY"), "incomplete", "content_filter"),
    ],
)
def test_how_it_ended(finish: Finish, status: str, reason: str | None) -> None:
    last = encoded(Text("a"), finish, END)[-1]
    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert last["response"]["incomplete_details"] == (reason and {"reason": reason})
    assert last["response"]["output"][0]["status"] == status


def test_nothing_is_written_before_the_first_content() -> None:
    assert encoded(START, OPAQUE, Malformed("x"), ServerTool("search"), Usage(1, 1), Finish("stop")) == []


def test_an_answer_without_content_is_a_whole_one() -> None:
    assert kinds(END) == ["created", "in_progress", "completed"]


def test_an_id_of_another_shape_is_replaced_and_the_first_attempts_stays() -> None:
    said = encoded(Start("chatcmpl-1", "m"), Text("a"), Start("resp_2", "other"), END)
    assert {(e["response"]["id"], e["response"]["model"]) for e in said if "response" in e} == {("resp_st_1", "m")}


def test_a_failure_ends_the_response_with_what_was_whole() -> None:
    last = encoded(Text("a"), ToolCall(0, "c", "f", "{"), Failure("broke", status=429))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "rate_limit_exceeded", "message": "broke"}
    assert [item["type"] for item in last["response"]["output"]] == ["message"]


def test_nothing_follows_the_end() -> None:
    encoder = ResponsesEncoder(OPTIONS)
    encoder.feed(END)
    assert [encoder.feed(event) for event in (Text("a"), END, Failure("x"))] == [[], [], []]


def test_other_choices_have_no_place() -> None:
    assert response(Text("a"), Text("b", 1), Finish("length", 1), END)["output"][0]["content"][0]["text"] == "a"


def test_usage_that_is_not_whole_is_left_out() -> None:
    assert response(Text("a"), Usage(output_tokens=3), END)["usage"] is None


def test_an_answer_over_the_limit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXT_LIMIT", 5)
    for event in (Text("abc"), Reasoning("abc"), ToolCall(0, "c", "f", "abc")):
        said = encoded(event, event, END)
        assert said[-1]["type"] == "response.failed"
        assert "over the limit" in said[-1]["response"]["error"]["message"]


def test_half_an_emoji_is_escaped() -> None:
    assert response(Text("\ud83d"), Text("\ud83d"), END)["output"][0]["content"][0]["text"] == "\ud83d\ud83d"


def lifecycle(said: list[Any]) -> None:
    """Items open in order, parts within them, deltas within those; everything that opened closes, once."""
    opened: dict[int, Any] = {}
    closed: dict[int, Any] = {}
    parts: dict[int, Any] = {}
    for event in said[2:-1]:
        kind, index = event["type"].removeprefix("response."), event["output_index"]
        assert "item_id" not in event or event["item_id"] == opened[index]["id"]
        if kind == "output_item.added":
            assert index == len(opened)
            opened[index] = event["item"]
            continue
        assert index in opened
        assert index not in closed
        if kind == "output_item.done":
            assert index not in parts
            assert event["item"]["id"] == opened[index]["id"]
            closed[index] = event["item"]
        elif kind.endswith("_part.added"):
            assert index not in parts
            parts[index] = ""
        elif kind.endswith(".delta"):
            parts[index] = parts.get(index, "") + event["delta"]
        elif kind.endswith("_part.done"):
            assert parts.pop(index) in (event["part"].get("text"), event["part"].get("refusal"))
        elif kind == "function_call_arguments.done":
            assert parts.pop(index) == event["arguments"]
        else:
            assert parts[index] in (event.get("text"), event.get("refusal"))
    output = said[-1]["response"]["output"]
    assert output == [closed[index] for index in sorted(closed)]
    assert said[-1]["type"] == "response.failed" or closed.keys() == opened.keys()
    assert len({item["id"] for item in opened.values()}) == len(opened)


@given(arbitrary())
def test_any_events_make_a_valid_stream(events: list[Event]) -> None:
    said = encoded(*events)
    assert [event["type"] for event in said[:2]] == ["response.created", "response.in_progress"]
    failed = isinstance(until_over(events)[-1], Failure)
    assert (said[-1]["type"] == "response.failed") == failed
    lifecycle(said)


@given(arbitrary())
def test_any_events_say_the_same_when_read_again(events: list[Event]) -> None:
    decoder = ResponsesDecoder()
    again = fold([e for frame in encode(ResponsesEncoder(OPTIONS), events) for e in decoder.feed(frame)])
    said = until_over(events)
    spoken = (Text, Media)
    text = "".join(
        e.text if isinstance(e, Text) else e.transcript for e in said if isinstance(e, spoken) and not e.choice
    )
    assert again.text == text
    assert (again.reasoning, again.refusal) == (fold(said).reasoning, fold(said).refusal)
    assert len(again.tool_calls) == len(fold(said).tool_calls)


# --- write_answer


def test_a_whole_answer_is_what_the_stream_ends_with() -> None:
    events: list[Event] = [START, Text("a"), Finish("stop"), Usage(1, 2), END]
    assert write_answer(events, OPTIONS) == response(*events)


def test_an_answer_that_failed_is_an_error() -> None:
    with pytest.raises(Unwritable, match="broke"):
        write_answer([Text("a"), Failure("broke", "t")], OPTIONS)


def test_an_answer_over_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXT_LIMIT", 3)
    assert write_answer([Text("abc"), END], OPTIONS)["status"] == "completed"
    for over in (Text("abcd"), ToolCall(0, "c", "f", "{}  ")):
        with pytest.raises(Unwritable, match="over the limit"):
            write_answer([over, END], OPTIONS)


@given(arbitrary())
def test_any_events_make_a_whole_answer_or_an_error(events: list[Event]) -> None:
    with contextlib.suppress(Unwritable):
        answer = write_answer(events, OPTIONS)
        assert answer["output"] is not None
        assert not answer["error"]


# --- what the official SDK makes of every recording, whoever's it is


def sdk_says(body: bytes) -> Any:
    with client(body).responses.stream(model="m", input="hi") as stream:
        for _ in stream:
            pass
        return stream.get_final_response()


@pytest.mark.parametrize("exchange", recordings(), ids=lambda e: e.id)
def test_the_sdk_reads_every_recording_as_openais_own(exchange: Exchange) -> None:
    events = events_of(exchange)
    said = fold(events)
    frames = encode(ResponsesEncoder(OPTIONS), events)
    lifecycle([json.loads(frame.data) for frame in frames])
    if said.failure is not None:
        last = json.loads(frames[-1].data)
        assert last["response"]["error"]["message"] == said.failure.message
        return
    finish = next((e for e in reversed(events) if isinstance(e, Finish) and not e.choice), Finish(""))
    reason = openai_finish_reason(finish.reason, finish.detail)
    if reason not in ("stop", "tool_calls"):  # the SDK's stream() returns no response for these
        final = json.loads(frames[-1].data)["response"]
        assert final["status"] == "incomplete"
        assert fold(OPENAI_RESPONSES.read_answer(final)).text == said.text
        return
    final = sdk_says(sse(frames))
    assert final.output_text == said.text
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(c.name, c.arguments) for c in calls] == [(c["name"], c["arguments"] or "{}") for c in said.tool_calls]
    assert all(c.call_id == was["id"] or not was["id"] for c, was in zip(calls, said.tool_calls, strict=True))
    thoughts = [part.text for item in final.output if item.type == "reasoning" for part in item.summary]
    assert "".join(thoughts) == said.reasoning
    assert final.model == (said.model or "asked")
    usage = said.usage_events[-1] if said.usage_events else Usage()
    if usage.input_tokens is not None and usage.output_tokens is not None:
        assert (final.usage.input_tokens, final.usage.output_tokens) == (usage.input_tokens, usage.output_tokens)


def test_frames_name_their_event_for_sse() -> None:
    frame = ResponsesEncoder(OPTIONS).feed(Text("a"))[0]
    assert isinstance(frame, Frame)
    assert frame.event == "response.created"


def test_the_dialect_has_them() -> None:
    assert (OPENAI_RESPONSES.encoder, OPENAI_RESPONSES.write_answer) == (ResponsesEncoder, write_answer)
