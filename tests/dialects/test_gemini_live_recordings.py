"""Every recorded Live session, against its `expect` and against what Google's SDK makes of the same messages."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from google.genai import types
from google.genai.live import AsyncSession

import exchanges
from google_sdk import client
from midstream.dialects.gemini.live import LiveSession
from midstream.events import (
    END,
    OPAQUE,
    Asked,
    Event,
    Finish,
    Media,
    Start,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

SESSIONS = exchanges.of("live", kind="websocket")


def bytes_of(message: Json) -> bytes:
    data = message["data"]
    return data.encode() if message["opcode"] == "text" else base64.b64decode(data)


def play(exchange: exchanges.Exchange) -> list[Event]:
    decoder = LiveSession()
    return [
        event
        for message in exchange.ws_frames
        for event in decoder.feed(Frame(bytes_of(message)), from_client=message["direction"] == "sent")
    ]


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_recorded_session_says_what_is_expected(exchange: exchanges.Exchange) -> None:
    expect = exchange.expect
    events = play(exchange)
    said = exchanges.fold(events)
    assert said.text == (expect["text"] or "")
    assert said.transcript == expect["audio_transcript"]
    assert (said.reasoning or None) == expect["reasoning"]
    assert said.usage == expect["usage"]
    assert [event.reason for event in events if isinstance(event, Finish)] == expect["finish_reasons"]
    assert (said.model or None) == expect["model"]
    calls = [{**call, "arguments": json.loads(call["arguments"])} for call in said.tool_calls]
    assert calls == [{key: call[key] for key in ("id", "name", "arguments")} for call in expect["tool_calls"]]
    assert (said.failure, said.malformed, said.ended) == (None, [], True)


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_recorded_session_is_turns(exchange: exchanges.Exchange) -> None:
    events = [event for event in play(exchange) if event != OPAQUE]
    model = json.loads(bytes_of(exchange.ws_frames[0]))["setup"]["model"].rpartition("/")[2]
    assert events[:2] == [Asked(model), Start()]
    assert events[-1] == END
    assert sum(isinstance(event, Asked | Start) or event == END for event in events) == 3 * len(
        exchange.expect["finish_reasons"]
    )


class Socket:
    """What the SDK reads from: the messages the server sent."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._messages = list(messages)

    async def recv(self, *, decode: bool = True) -> bytes:
        return self._messages.pop(0)


async def received(exchange: exchanges.Exchange) -> list[types.LiveServerMessage]:
    frames = [bytes_of(message) for message in exchange.ws_frames if message["direction"] == "received"]
    sdk = AsyncSession(client(200, "", b"")._api_client, cast("Any", Socket(frames[1:])))  # the first: setupComplete
    messages: list[types.LiveServerMessage] = []
    while not messages or not messages[-1].server_content or not messages[-1].server_content.turn_complete:
        messages += [message async for message in sdk.receive()]
    return messages


@pytest.mark.parametrize("exchange", SESSIONS, ids=lambda e: e.id)
def test_every_recorded_session_says_what_the_sdk_makes_of_it(exchange: exchanges.Exchange) -> None:
    events = play(exchange)
    said = exchanges.fold(events)
    messages = asyncio.run(received(exchange))
    contents = [message.server_content for message in messages if message.server_content]
    transcripts = [content.output_transcription for content in contents if content.output_transcription]
    assert said.transcript == "".join(transcript.text or "" for transcript in transcripts)
    parts = [part for content in contents if content.model_turn for part in content.model_turn.parts or []]
    assert said.text == "".join(part.text or "" for part in parts if not part.thought)
    assert said.reasoning == "".join(part.text or "" for part in parts if part.thought)
    heard = sum(1 for event in events if isinstance(event, Media) and event.size)
    assert heard == sum(1 for part in parts if part.inline_data)
    calls = [call for message in messages if message.tool_call for call in message.tool_call.function_calls or []]
    assert [(call["id"], call["name"], json.loads(call["arguments"])) for call in said.tool_calls] == [
        (call.id, call.name, call.args) for call in calls
    ]
    usage, sdk = said.usage_events[-1], messages[-1].usage_metadata
    assert sdk is not None
    assert usage.input_tokens == sdk.prompt_token_count
    assert usage.reasoning_tokens == sdk.thoughts_token_count
