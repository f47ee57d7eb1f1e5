"""Gemini Live: who asks, turns, ends, recordings, and hostile input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from google_sdk import ANYTHING, confused, frame
from midstream.dialects.base import RequestFacts
from midstream.dialects.gemini.live import GEMINI_LIVE, LiveSession
from midstream.events import (
    CONTENT,
    END,
    OPAQUE,
    Asked,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

USAGE = {"promptTokenCount": 5, "responseTokenCount": 2, "totalTokenCount": 7}
COUNTED = Usage(5, 2, raw=USAGE)
SETUP = {"setup": {"model": "models/gemini-live"}}
ASK = {"clientContent": {"turns": [], "turnComplete": True}}
ASKED = Asked("gemini-live")
COMPLETE = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}
COMPLETED = [COUNTED, Finish("turnComplete"), END]


def told(*parts: Json) -> Json:
    return {"serverContent": {"modelTurn": {"parts": list(parts)}}}


def session(*messages: Json) -> list[Event]:
    """What a session's messages mean, without what means nothing; a client's are those that name a client's field."""
    decoder = LiveSession()
    events = decoder.feed(frame(SETUP), from_client=True)
    for message in messages:
        (key,) = list(message)[:1]
        from_client = key in ("clientContent", "client_content", "realtimeInput", "realtime_input", "toolResponse")
        events += decoder.feed(frame(message), from_client=from_client)
    return [event for event in events if event != OPAQUE]


# Who asks


@pytest.mark.parametrize(
    "message",
    [
        ASK,
        {"client_content": {"turns": [], "turn_complete": True}},
        {"client_content": {"turnComplete": True}},
        {"realtimeInput": {"activityEnd": {}}},
        {"realtime_input": {"activity_end": {}}},
        {"realtimeInput": {"text": "hello"}},
    ],
)
def test_the_client_asks_in_either_spelling(message: Json) -> None:
    assert session(message) == [ASKED]


@pytest.mark.parametrize(
    "message",
    [
        {"clientContent": {"turns": [], "turnComplete": False}},
        {"clientContent": {"turns": []}},
        {"realtimeInput": {"audio": {"data": "AAAA"}}},
        {"realtimeInput": {"activityStart": {}}},
        {"toolResponse": {"functionResponses": []}},
    ],
)
def test_what_only_adds_to_the_turn_does_not_ask(message: Json) -> None:
    assert session(message) == []


def test_where_the_server_listens_an_answer_is_asked_for_with_its_first_message() -> None:
    heard = {"serverContent": {"inputTranscription": {"text": "hello"}}}
    assert session(heard, told({"text": "a"}), COMPLETE) == [ASKED, Start(), Text("a"), *COMPLETED]


def test_the_server_may_say_that_speech_ended() -> None:
    ended = {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}}
    assert session(ended, told({"text": "a"})) == [ASKED, Start(), Text("a")]


# Turns


def test_a_turn_is_told_from_start_to_end_and_another_follows() -> None:
    turn = [ASKED, Start(), Text("a"), *COMPLETED]
    generated = {"serverContent": {"generationComplete": True}}
    assert session(*[ASK, told({"text": "a"}), generated, COMPLETE] * 2) == turn * 2


def test_thoughts_audio_and_transcripts() -> None:
    audio = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA"}}
    transcript = {"serverContent": {"outputTranscription": {"text": "hi"}}}
    events = session(ASK, told({"text": "hm", "thought": True}), told(audio), transcript)
    assert events == [ASKED, Start(), Reasoning("hm"), Media("audio", 4), Media("audio", 0, "hi")]


def test_a_tool_call_and_what_follows_its_response_are_one_turn() -> None:
    call = {"toolCall": {"functionCalls": [{"id": "c", "name": "f", "args": {"a": 1}}]}}
    response = {"toolResponse": {"functionResponses": [{"id": "c"}]}}
    events = session(ASK, call, response, told({"text": "a"}), COMPLETE)
    assert events == [ASKED, Start(), ToolCall(0, "c", "f", '{"a":1}'), Text("a"), *COMPLETED]


def test_calls_are_numbered_from_0_in_each_turn() -> None:
    call = {"toolCall": {"functionCalls": [{"name": "f"}, {"name": "g"}]}}
    events = session(ASK, call, COMPLETE, ASK, call)
    assert [event.index for event in events if isinstance(event, ToolCall)] == [0, 1, 0, 1]


def test_the_reason_of_a_turns_end_is_its_detail() -> None:
    content = {"serverContent": {"turnComplete": True, "turnCompleteReason": "RESPONSE_REJECTED"}}
    assert session(ASK, content) == [ASKED, Start(), Finish("turnComplete", 0, "RESPONSE_REJECTED"), END]


INTERRUPTED = {"serverContent": {"interrupted": True}}


def test_an_interrupted_turn_ends_at_its_turn_complete() -> None:
    events = session(ASK, told({"text": "a"}), INTERRUPTED, INTERRUPTED, COMPLETE)
    assert events == [ASKED, Start(), Text("a"), Finish("interrupted"), COUNTED, END]


def test_what_is_asked_while_a_turn_is_open_stands_after_its_end() -> None:
    first, second = told({"text": "a"}), told({"text": "b"})
    events = session(ASK, first, ASK, INTERRUPTED, COMPLETE, second, COMPLETE)
    interrupted = [ASKED, Start(), Text("a"), Finish("interrupted"), COUNTED, END]
    assert events == [*interrupted, ASKED, Start(), Text("b"), *COMPLETED]


def test_phantom_turns_are_none() -> None:
    """https://github.com/googleapis/python-genai/issues/2333"""
    assert session(INTERRUPTED, {"serverContent": {"turnComplete": True}}, {"usageMetadata": USAGE}) == []


def test_a_silent_turn_that_was_billed_is_one() -> None:
    assert session(COMPLETE) == [ASKED, Start(), *COMPLETED]


def test_an_error_ends_the_turn() -> None:
    error = {"code": 13, "message": "internal", "status": "INTERNAL"}
    events = session(ASK, told({"text": "a"}), {"error": error}, told({"text": "b"}))
    failure = Failure("internal", "INTERNAL", "13", raw=error)
    assert events == [ASKED, Start(), Text("a"), failure, ASKED, Start(), Text("b")]


@pytest.mark.parametrize("key", ["setupComplete", "goAway", "sessionResumptionUpdate", "toolCallCancellation"])
def test_what_is_about_the_session_means_nothing(key: str) -> None:
    assert LiveSession().feed(frame({key: {}}), from_client=False) == [OPAQUE]


@pytest.mark.parametrize(
    "path",
    [
        "////ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
    ],
)
def test_paths(path: str) -> None:
    assert any(pattern.search(path) for pattern in GEMINI_LIVE.websocket_paths)
    assert GEMINI_LIVE.read_request(path, {}) == RequestFacts(stream=True)


def test_music_is_not_ours() -> None:
    path = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic"
    assert not any(pattern.search(path) for pattern in GEMINI_LIVE.websocket_paths)


# Hostile input


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7"])
@pytest.mark.parametrize("from_client", [True, False])
def test_a_message_that_is_no_object_is_malformed(data: bytes, from_client: bool) -> None:
    (event,) = LiveSession().feed(Frame(data), from_client=from_client)
    assert isinstance(event, Malformed)


CONFUSED = confused(
    *("setup", "model", "clientContent", "turnComplete", "realtimeInput", "activityEnd", "text", "serverContent"),
    *("modelTurn", "parts", "functionCall", "toolCall", "functionCalls", "name", "args", "outputTranscription"),
    *("interrupted", "usageMetadata", "promptTokenCount", "error", "voiceActivity", "willContinue", "partialArgs"),
)
KNOWN = st.sampled_from([SETUP, ASK, COMPLETE, INTERRUPTED, told({"text": "a"}), {"error": {}}])


@given(st.lists(st.tuples(KNOWN | ANYTHING | CONFUSED, st.booleans()), max_size=8))
def test_whatever_comes_content_stands_between_start_and_end(messages: list[tuple[Any, bool]]) -> None:
    decoder, is_open = LiveSession(), False
    for message, from_client in messages:
        events = decoder.feed(frame(message), from_client=from_client)
        assert events
        for event in events:
            assert not isinstance(event, Start) or not is_open
            is_open = (is_open or isinstance(event, Start)) and not (isinstance(event, Failure) or event == END)
            assert is_open or not isinstance(event, (*CONTENT, Finish, Usage))
