"""Every recorded Realtime session (OpenAI, Azure, its voice live, xAI), against its `expect`."""

from __future__ import annotations

import json

import pytest

import exchanges
from midstream.dialects.openai.realtime import RealtimeSession
from midstream.events import (
    OPAQUE,
    Asked,
    End,
    Event,
    Failure,
    Media,
    Start,
)
from midstream.wire import Frame

SESSIONS = exchanges.of("realtime", "realtime-voice-live", kind="websocket")


def events_of(exchange: exchanges.Exchange) -> list[Event]:
    session = RealtimeSession()
    events: list[Event] = []
    for message in exchange.ws_frames:
        if message["opcode"] in ("text", "binary"):
            said = session.feed(Frame(message["data"].encode()), from_client=message["direction"] == "sent")
            assert said
            events += said
    return events


def answers(events: list[Event]) -> list[list[Event]]:
    """The events of each answer; nothing but opaque ones may stand between two."""
    found: list[list[Event]] = []
    inside = False
    for event in events:
        if isinstance(event, Start):
            assert not inside
            found.append([])
            inside = True
        assert inside or event == OPAQUE or isinstance(event, Asked)
        if inside:
            found[-1].append(event)
        inside = inside and not isinstance(event, End | Failure)
    assert not inside
    return found


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_recorded_session_says_what_is_expected(exchange: exchanges.Exchange) -> None:
    expect = exchange.expect
    said = [exchanges.fold(answer) for answer in answers(events_of(exchange))]
    assert "".join(answer.text for answer in said) == expect["text"]
    assert ("".join(answer.transcript for answer in said) or None) == expect["audio_transcript"]
    assert ("".join(answer.reasoning for answer in said) or None) == expect["reasoning"]
    assert [answer.finish_reason for answer in said] == expect["finish_reasons"]
    assert said[-1].finish_reason == expect["finish_reason"]
    assert [call for answer in said for call in answer.tool_calls] == expect["tool_calls"]
    usages = [answer.usage for answer in said if answer.usage is not None]
    assert usages == [told["usage"] for told in expect["usage_events"] if told["usage"]]
    assert (usages[-1] if usages else None) == expect["usage"]
    assert {answer.model for answer in said} == {expect["model"]}
    assert [answer.failure for answer in said if answer.failure] == expect["errors"]
    assert all(answer.ended and not answer.malformed for answer in said)


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_recorded_answer_was_asked_for_just_before(exchange: exchanges.Exchange) -> None:
    told = [event for event in events_of(exchange) if isinstance(event, Asked | Start)]
    assert [type(event) for event in told] == [Asked, Start] * (len(told) // 2)
    assert [event.model for event in told] == [exchange.expect["model"]] * len(told)


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_byte_of_recorded_audio_is_measured(exchange: exchanges.Exchange) -> None:
    kinds = ("response.output_audio.delta", "response.audio.delta")
    sent = [json.loads(m["data"]) for m in exchange.ws_frames if m["direction"] == "received" and m["opcode"] == "text"]
    size = sum(len(event["delta"]) for event in sent if event["type"] in kinds)
    assert sum(event.size for event in events_of(exchange) if isinstance(event, Media)) == size
