from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import resuming
from encoded import OPTIONS, arbitrary, client, encode
from exchanges import Said
from midstream.dialects.openai.responses import OPENAI_RESPONSES, ResponsesDecoder
from midstream.dialects.openai.responses_written import KEPT_LIMIT, Written
from midstream.events import END, Event, Failure, Finish, Reasoning, Refusal, Start, Text, ToolCall, Usage
from openai_events import CONFUSED, added, delta, done, frame
from resuming import Native

STREAMS = resuming.streams("openai_responses")


def sdk_says(body: bytes) -> dict[str, Any]:
    """What the official SDK accumulates from the deltas, and the response of the last event."""
    texts: dict[Any, str] = {}
    last: Any = None
    with client(body).responses.stream(model="m", input="hi") as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                texts[event.output_index, event.content_index] = event.snapshot
            elif event.type in ("response.completed", "response.incomplete"):
                last = event.response
    items = [item for item in last.output if item.type in ("function_call", "custom_tool_call")]
    reasons = [item for item in last.output if item.type == "reasoning"]
    usage = last.usage
    return {
        "deltas": "".join(texts[place] for place in sorted(texts)),
        "text": last.output_text,
        "calls": [(i.call_id, i.name, getattr(i, "arguments", None) or getattr(i, "input", "")) for i in items],
        "thoughts": "".join(part.text for item in reasons for part in item.summary or item.content or ()),
        "refusals": [
            part.refusal for i in last.output for part in getattr(i, "content", None) or () if part.type == "refusal"
        ],
        "names": (last.id, last.model, last.created_at, last.status, last.instructions, last.tool_choice),
        "usage": usage and (usage.input_tokens, usage.output_tokens, usage.total_tokens),
    }


def readable(expected: dict[str, Any], said: Said) -> bool:
    """Not where the last event says less than those before it (ChatGPT's backend leaves its output out)."""
    calls = [(call["id"], call["name"], call["arguments"]) for call in said.tool_calls]
    return bool(expected["text"] == said.text == expected["deltas"] and expected["calls"] == calls)


def events_of(body: bytes) -> list[Any]:
    lines = [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def check_lifecycle(events: list[Any]) -> None:
    """Every item, and every part, opens and closes once, under one id, and the last event names all that came before."""
    numbers = [event.get("sequence_number") for event in events]
    if None not in numbers:
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created"
    assert kinds.count("response.created") == 1
    assert [kind for kind in kinds if kind in ("response.completed", "response.incomplete")] == kinds[-1:]
    open_: dict[int, Any] = {}
    whole: dict[int, Any] = {}
    parts = set[Any]()
    for event in events:
        index, kind = event.get("output_index"), event["type"]
        if kind == "response.output_item.added":
            assert index == len(open_) + len(whole)
            open_[index] = event["item"].get("id")
        elif kind == "response.output_item.done":
            assert open_.pop(index) == event["item"].get("id")
            assert not [part for part in parts if part[0] == index]
            whole[index] = event["item"]
        elif index is not None:
            assert event.get("item_id", open_[index]) == open_[index]
        if kind.endswith("part.added"):
            parts.add((index, event.get("content_index", event.get("summary_index"))))
        elif kind.endswith("part.done"):
            parts.remove((index, event.get("content_index", event.get("summary_index"))))
    assert not open_
    output = events[-1]["response"]["output"]
    assert output == [whole[index] for index in sorted(whole)]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_a_cut_stream_goes_on_at_every_frame(stream: Native) -> None:
    resuming.check(stream, sdk_says, readable)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_items_open_and_close_once_and_are_all_in_the_last_event(stream: Native) -> None:
    try:
        check_lifecycle(events_of(stream.body))
    except (AssertionError, KeyError):
        pytest.skip("the provider's own stream has another lifecycle")
    for cut in stream.cuts():
        check_lifecycle(events_of(stream.healed(cut)))


CREATED = {
    "type": "response.created",
    "response": {
        "id": "resp_1",
        "model": "m",
        "created_at": 9,
        "instructions": "be brief",
        "output": [],
        "usage": None,
    },
}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
PART = {"type": "output_text", "text": "", "annotations": []}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
OPEN = [CREATED, {"type": "response.in_progress", "response": CREATED["response"]}, added(MESSAGE)]
PART_ADDED = {"type": "response.content_part.added", **PLACE, "part": PART}


def stream_of(*events: Any, first: int = 0) -> Native:
    body = b""
    for number, event in enumerate(events, first):
        data = json.dumps({**event, "sequence_number": number})
        body += f"event: {event['type']}\ndata: {data}\n\n".encode()
    return resuming.native("", OPENAI_RESPONSES, "/v1/responses", "text/event-stream", body)


def follow(stream: Native, *events: Event, blind: bool = False) -> list[Any]:
    """What we write behind all of it."""
    return events_of(stream.healed(len(stream.ends), events, blind=blind)[len(stream.body) :])


def kinds(events: list[Any]) -> list[Any]:
    return [(e["type"].removeprefix("response."), e.get("output_index")) for e in events]


def test_a_response_is_announced_once() -> None:
    said = follow(stream_of(*OPEN[:2]), Start("resp_2", "other"), Text("a"), Finish("stop"), Usage(1, 2), END)
    assert kinds(said)[:3] == [("output_item.added", 0), ("content_part.added", 0), ("output_text.delta", 0)]
    last = said[-1]["response"]
    assert (last["id"], last["model"], last["created_at"], last["instructions"]) == ("resp_1", "m", 9, "be brief")
    assert (last["status"], last["usage"]["total_tokens"]) == ("completed", 3)


def test_numbers_go_on_by_one() -> None:
    said = follow(stream_of(*OPEN, first=100), Text("a"), END)
    assert [event["sequence_number"] for event in said] == list(range(103, 103 + len(said)))


def test_a_failure_that_the_client_has_not_seen_has_no_number() -> None:
    decoder = ResponsesDecoder()
    for number, event in enumerate([*OPEN, {"type": "error", "message": "x"}]):
        decoder.feed(frame({**event, "sequence_number": number}))
    assert decoder.written.sequence == len(OPEN) - 1


def test_an_open_text_goes_on_and_is_told_whole_when_it_closes() -> None:
    """The next attempt numbers its blocks anew."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    place = {**PLACE, "output_index": 1}
    note = {"type": "response.output_text.annotation.added", **place, "annotation_index": 0, "annotation": {"url": "u"}}
    stream = stream_of(
        CREATED,
        added(thought),
        done(thought),
        added(MESSAGE, 1),
        {**PART_ADDED, **place},
        delta("output_text", "ab", 1),
        note,
    )
    piece, text, part, item, last = follow(stream, Text("c"), Finish("stop"), END)
    assert piece["delta"] == "c"
    whole = {"type": "output_text", "text": "abc", "annotations": [{"url": "u"}], "logprobs": []}
    message = {**MESSAGE, "status": "completed", "content": [whole]}
    assert all(said.items() >= place.items() for said in (piece, text, part))
    assert (text["text"], part["part"], item["item"]) == ("abc", whole, message)
    assert last["response"]["output"] == [thought, message]


def test_a_part_that_was_closed_stays_as_it_was() -> None:
    whole = {"type": "output_text", "text": "ab", "annotations": [{"url": "u"}]}
    stream = stream_of(
        *OPEN, PART_ADDED, delta("output_text", "ab"), {"type": "response.content_part.done", **PLACE, "part": whole}
    )
    said = follow(stream, Text("c"), END)
    assert (said[0]["type"], said[0]["content_index"]) == ("response.content_part.added", 1)
    assert said[-1]["response"]["output"][0]["content"][0] == whole
    assert said[-1]["response"]["output"][0]["content"][1]["text"] == "c"


def test_a_refusal_goes_on() -> None:
    part = {"type": "refusal", "refusal": ""}
    stream = stream_of(*OPEN, {**PART_ADDED, "part": part}, delta("refusal", "n"))
    said = follow(stream, Refusal("o"), END)
    assert (said[0]["type"], said[1]["refusal"]) == ("response.refusal.delta", "no")


@pytest.mark.parametrize(
    ("part", "text", "index"),
    [
        ("reasoning_summary_part", "reasoning_summary_text", "summary_index"),
        ("content_part", "reasoning_text", "content_index"),
    ],
)
def test_reasoning_goes_on_in_the_providers_own_parts(part: str, text: str, index: str) -> None:
    place = {"item_id": "rs_1", "output_index": 0, index: 0}
    kind = "summary_text" if index == "summary_index" else "reasoning_text"
    stream = stream_of(
        CREATED,
        added({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": ""}),
        {"type": f"response.{part}.added", **place, "part": {"type": kind, "text": ""}},
        delta(text, "h", **{index: 0}),
    )
    piece, closed, *_, last = follow(stream, Reasoning("m"), Reasoning("", signature="gAAAAsigned"), Text("a"), END)
    assert (piece["type"], closed["type"], closed["text"]) == (f"response.{text}.delta", f"response.{text}.done", "hm")
    item = last["response"]["output"][0]
    assert (item.get("content") or item["summary"]) == [{"type": kind, "text": "hm"}]
    assert item["encrypted_content"] == "gAAAAsigned"


def test_a_call_goes_on_under_its_id() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
    stream = stream_of(CREATED, added(item), delta("function_call_arguments", '{"a":'))
    piece, whole, closed, last = follow(stream, ToolCall(0, arguments="1}"), Finish("tool_use"), END)
    assert [one["item_id"] for one in (piece, whole)] == ["fc_1", "fc_1"]
    assert whole["arguments"] == '{"a":1}'
    assert closed["item"] == {**item, "arguments": '{"a":1}', "status": "completed"}
    assert last["response"]["output"] == [closed["item"]]


def test_a_custom_tools_input_goes_on_as_such() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "f", "input": ""}
    stream = stream_of(CREATED, added(item), delta("custom_tool_call_input", "SEL"))
    piece, whole, closed, _ = follow(stream, ToolCall(0, arguments="ECT"), END)
    assert piece["type"] == "response.custom_tool_call_input.delta"
    assert (whole["type"], whole["input"]) == ("response.custom_tool_call_input.done", "SELECT")
    assert closed["item"]["input"] == "SELECT"


def test_pieces_of_a_call_that_was_closed_are_ignored() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    stream = stream_of(CREATED, added(item), done(item))
    assert follow(stream, ToolCall(0, arguments=" ")) == []
    assert kinds(follow(stream, ToolCall(1, "c", "g", "{}")))[0] == ("output_item.added", 1)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("web_search_call", "failed"), ("code_interpreter_call", "incomplete"), ("apply_patch_call", "in_progress")],
)
def test_a_servers_tool_that_was_broken_off_is_closed_and_counts(kind: str, status: str) -> None:
    item = {"type": kind, "id": "ws_1", "status": "in_progress"}
    said = follow(stream_of(CREATED, added(item)), Text("a"), END)
    assert (said[0]["type"], said[0]["item"]) == ("response.output_item.done", {**item, "status": status})
    assert kinds(said)[1] == ("output_item.added", 1)
    assert [one["type"] for one in said[-1]["response"]["output"]] == [kind, "message"]


def test_a_failure_names_the_items_that_were_whole() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    stream = stream_of(CREATED, added(item), done(item), added(MESSAGE, 1), {**PART_ADDED, "output_index": 1})
    (failed,) = follow(stream, Failure("gone"))
    assert failed["type"] == "response.failed"
    assert failed["response"]["output"] == [item]
    assert failed["response"]["error"]["message"] == "gone"


def test_without_the_decoder_what_was_said_is_told_under_names_of_ours() -> None:
    stream = stream_of(*OPEN, PART_ADDED, delta("output_text", "ab"))
    said = follow(stream, Text("c"), END, blind=True)
    assert kinds(said)[0] == ("output_item.added", 1)
    texts = [part["text"] for item in said[-1]["response"]["output"] for part in item["content"]]
    assert texts == ["ab", "c"]


def test_what_is_kept_of_a_response_is_bounded() -> None:
    """An image is some MB: what does not fit is left out of the last event, and still has its number."""
    written, image = Written(), b"x" * (KEPT_LIMIT // 2)
    for index in range(4):
        written.read("response.output_item.done", {"output_index": index}, image)
    assert (len(written._items), written.count, written.overfull) == (2, 4, True)
    for index in range(2):
        written.read("response.output_item.done", {"output_index": index}, b"{}")
    written.read("response.output_item.done", {"output_index": 5}, image)
    assert 5 in written._items


def test_an_items_other_events_go_once_it_is_whole() -> None:
    written = Written()
    for _ in range(3):
        written.read("response.content_part.added", {"output_index": 0}, b'{"part":{}}')
    written.read("response.output_item.done", {"output_index": 0}, b'{"item":{"id":"a"}}')
    assert written.items() == {0: (True, [{"item": {"id": "a"}}])}


@given(st.lists(CONFUSED, max_size=8), arbitrary())
def test_no_confused_stream_stops_us(chunks: list[Any], events: list[Event]) -> None:
    decoder = ResponsesDecoder()
    told = [e for chunk in chunks for e in decoder.feed(frame(chunk))]
    assert OPENAI_RESPONSES.resume is not None
    encode(OPENAI_RESPONSES.resume(OPTIONS, told, decoder), events)
