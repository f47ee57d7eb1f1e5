from __future__ import annotations

import json
from typing import Any

import pytest

import resuming
from encoded import client
from exchanges import Said
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
