"""OpenAI Realtime: what each message means, when an answer is asked for, how it ends, and hostile input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.dialects.openai.realtime import OPENAI_REALTIME, RealtimeSession
from midstream.events import (
    END,
    OPAQUE,
    Asked,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json
from openai_events import ANYTHING, CONFUSED, SESSION_EVENTS, call, frame


def session_of(*messages: tuple[str, Json]) -> list[Event]:
    """Every message's meaning, without what means nothing."""
    session = RealtimeSession()
    said = [e for side, event in messages for e in session.feed(frame(event), from_client=side == "client")]
    return [event for event in said if event != OPAQUE]


def server(kind: str, **more: Any) -> tuple[str, Json]:
    return "server", {"type": kind, **more}


def opened(model: str = "m", **more: Any) -> tuple[str, Json]:
    return server("session.created", session={"type": "realtime", "model": model, **more})


def created(id_: str = "r1") -> tuple[str, Json]:
    return server("response.created", response={"id": id_, "status": "in_progress"})


def done(status: str = "completed", id_: str = "r1", **more: Any) -> tuple[str, Json]:
    return server("response.done", response={"id": id_, "status": status, **more})


def delta(kind: str, text: str, id_: str = "r1") -> tuple[str, Json]:
    return server(f"response.{kind}.delta", response_id=id_, output_index=0, content_index=0, delta=text)


CREATE = ("client", {"type": "response.create", "event_id": "e1"})
STOPPED = server("input_audio_buffer.speech_stopped", audio_end_ms=900)
WHOLE = [Finish("completed"), END]
VAD = {"type": "server_vad", "create_response": True}


def test_an_answer_is_asked_for_by_the_client() -> None:
    said = session_of(opened(), CREATE, created(), delta("output_text", "Hi"), done())
    assert said == [Asked("m"), Start("r1", "m"), Text("Hi"), *WHOLE]


@pytest.mark.parametrize("kind", ["output_text", "text"])
def test_text_deltas_of_both_generations(kind: str) -> None:
    assert session_of(created(), delta(kind, "x"), done()) == [Start("r1"), Text("x"), *WHOLE]


@pytest.mark.parametrize("prefix", ["output_audio", "audio"])
def test_audio_is_measured_as_encoded_and_its_transcript_is_told(prefix: str) -> None:
    said = session_of(created(), delta(prefix, "AAAA"), delta(f"{prefix}_transcript", "Hi"), done())
    assert said == [Start("r1"), Media("audio", 4), Media("audio", 0, "Hi"), *WHOLE]


def test_a_transcript_repeated_when_it_is_done_counts_once() -> None:
    part = {"type": "output_audio", "transcript": "Hi"}
    item = {"type": "message", "content": [part]}
    said = session_of(
        created(),
        delta("output_audio_transcript", "Hi"),
        server(
            "response.output_audio_transcript.done", response_id="r1", output_index=0, content_index=0, transcript="Hi"
        ),
        server("response.output_item.done", response_id="r1", output_index=0, item=item),
        done(output=[item]),
    )
    assert said == [Start("r1"), Media("audio", 0, "Hi"), *WHOLE]


def test_a_tool_call_and_the_answer_to_its_result_are_two_answers() -> None:
    item = {"response_id": "r1", "output_index": 0}
    said = session_of(
        CREATE,
        created(),
        server("response.output_item.added", item=call(), **item),
        delta("function_call_arguments", "{}"),
        server("response.function_call_arguments.done", call_id="call_1", name="tool_1", arguments="{}", **item),
        done(output=[call(1, "{}")]),
        CREATE,
        created("r2"),
        server("response.output_item.added", item=call(2), output_index=0, response_id="r2"),
        done(id_="r2"),
    )
    first = [Asked(), Start("r1"), ToolCall(0, "call_1", "tool_1"), ToolCall(0, "", "", "{}"), *WHOLE]
    assert said == [*first, Asked(), Start("r2"), ToolCall(0, "call_2", "tool_2"), *WHOLE]


# When an answer is asked for


@pytest.mark.parametrize("session", [{"audio": {"input": {"turn_detection": VAD}}}, {"turn_detection": VAD}])
def test_the_end_of_speech_asks_where_the_server_answers_it(session: Json) -> None:
    committed = server("input_audio_buffer.committed")
    assert session_of(opened(**session), STOPPED, committed, created(), done()) == [
        Asked("m"),
        Start("r1", "m"),
        *WHOLE,
    ]


@pytest.mark.parametrize(
    "session",
    [
        {"turn_detection": None},
        {"turn_detection": {"type": None}},
        {"turn_detection": {"type": "server_vad", "create_response": False}},
        {"audio": {"input": {"turn_detection": VAD}}, "type": "transcription"},
    ],
)
def test_the_end_of_speech_asks_nothing_where_nobody_answers_it(session: Json) -> None:
    assert session_of(opened(**session), STOPPED) == []


def test_the_end_of_speech_asks_where_the_session_was_not_seen_to_begin() -> None:
    """A sideband connection to a WebRTC call, or a proxy that was started in between."""
    assert session_of(STOPPED) == [Asked()]


def test_nothing_is_asked_while_an_answer_is_open() -> None:
    assert session_of(created(), CREATE, STOPPED, done()) == [Start("r1"), *WHOLE]


def test_speech_again_before_the_answer_starts_asks_again() -> None:
    assert session_of(STOPPED, STOPPED, created()) == [Asked(), Asked(), Start("r1")]


def test_a_clients_commit_asks_nothing() -> None:
    assert session_of(("client", {"type": "input_audio_buffer.commit"}), server("input_audio_buffer.committed")) == []


def test_words_about_response_create_ask_nothing() -> None:
    assert session_of(("client", {"type": "conversation.item.create", "item": "response.create"})) == []


# How an answer ends


@pytest.mark.parametrize(
    ("status", "reason"), [("cancelled", "turn_detected"), ("incomplete", "max_output_tokens"), ("completed", "")]
)
def test_an_end_says_how_and_why(status: str, reason: str) -> None:
    said = session_of(created(), done(status, status_details={"type": status, "reason": reason}))
    assert said == [Start("r1"), Finish(status, 0, reason), END]


def test_failed_is_a_failure_after_its_usage() -> None:
    error = {"type": "server_error", "code": "x", "message": "sorry"}
    said = session_of(created(), done("failed", status_details={"error": error}, usage={"total_tokens": 1}))
    assert said == [Start("r1"), Usage(raw={"total_tokens": 1}), Failure("sorry", "server_error", "x", raw=error)]


def test_details_that_are_no_object_say_nothing() -> None:
    """xAI writes `"status_details": "unimplemented"` and `"usage": {}`."""
    assert session_of(created(), done(status_details="unimplemented", usage={})) == [Start("r1"), *WHOLE]


def test_usage_has_its_details() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "input_token_details": {"cached_tokens": 4, "audio_tokens": 6},
        "output_token_details": {"reasoning_tokens": 5},
    }
    assert Usage(10, 20, 4, None, 5, usage) in session_of(created(), done(usage=usage))


# Errors


def error(code: str = "c", event_id: str | None = None) -> tuple[str, Json]:
    return server("error", error={"type": "invalid_request_error", "code": code, "message": "m", "event_id": event_id})


def failures(*messages: tuple[str, Json]) -> list[str]:
    return [event.code for event in session_of(*messages) if isinstance(event, Failure)]


def test_an_error_about_the_request_for_an_answer_ends_it() -> None:
    assert failures(CREATE, error("refused", "e1"), error("again", "e1")) == ["refused"]


def test_an_error_without_an_event_ends_a_request_without_one() -> None:
    assert failures(("client", {"type": "response.create"}), error("refused")) == ["refused"]


@pytest.mark.parametrize(
    "messages",
    [
        [error()],
        [CREATE, error("c", "e7")],
        [CREATE, created(), error("c", "e1")],
        [CREATE, created(), error("conversation_already_has_active_response")],
        [CREATE, created(), done(), error("c", "e1")],
        [error("session_expired")],
    ],
)
def test_an_error_that_ends_no_answer_is_opaque(messages: list[tuple[str, Json]]) -> None:
    assert failures(*messages) == []


@pytest.mark.parametrize(
    "messages", [[CREATE, error("session_expired")], [created(), error("session_expired"), done()]]
)
def test_the_end_of_the_session_ends_its_answer(messages: list[tuple[str, Json]]) -> None:
    said = session_of(*messages)
    assert [event.code for event in said if isinstance(event, Failure)] == ["session_expired"]
    assert END not in said


# Answers out of band


def test_an_answer_beside_the_open_one_is_told_from_where_that_ends() -> None:
    said = session_of(
        created("r1"),
        created("r2"),
        delta("output_text", "one", "r1"),
        delta("output_text", "two", "r2"),
        done(id_="r1"),
        delta("output_text", "three", "r2"),
        done(id_="r2"),
    )
    assert said == [Start("r1"), Text("one"), *WHOLE, Start("r2"), Text("three"), *WHOLE]


def test_what_comes_late_of_an_ended_answer_begins_none() -> None:
    assert session_of(created(), done(), delta("output_text", "late"), done()) == [Start("r1"), *WHOLE]


def test_events_of_no_answer_begin_none() -> None:
    assert session_of(server("response.output_text.delta", delta="x"), server("response.done")) == []


# The path, and hostile input


@pytest.mark.parametrize("path", ["/v1/realtime", "/openai/v1/realtime", "/openai/realtime", "/voice-live/realtime"])
def test_the_path_is_known_on_any_prefix(path: str) -> None:
    assert any(pattern.search(path) for pattern in OPENAI_REALTIME.websocket_paths)


def test_requests_over_http_are_not_realtime() -> None:
    assert (OPENAI_REALTIME.paths, OPENAI_REALTIME.decoder) == ((), None)


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7"])
def test_a_servers_message_that_is_no_object_is_malformed(data: bytes) -> None:
    (said,) = RealtimeSession().feed(Frame(data), from_client=False)
    assert isinstance(said, Malformed)


@given(st.lists(st.tuples(st.booleans(), ANYTHING | CONFUSED | SESSION_EVENTS), max_size=10))
def test_arbitrary_json_never_raises_and_always_means_something(messages: list[tuple[bool, Any]]) -> None:
    session = RealtimeSession()
    for from_client, body in messages:
        assert session.feed(frame(body), from_client=from_client)


@given(st.binary(max_size=40), st.booleans())
def test_arbitrary_bytes_never_raise(data: bytes, from_client: bool) -> None:
    assert RealtimeSession().feed(Frame(data), from_client=from_client)


def test_what_a_session_remembers_is_bounded() -> None:
    session = RealtimeSession()
    long = "x" * 10_000
    for side, event in (
        opened(long),
        ("client", {"type": "response.create", "event_id": long}),
        created(long),
        done(id_=long),
    ):
        session.feed(frame(event), from_client=side == "client")
        kept = [session._model, session._asked_by or "", session._id, session._ended]
        assert max(map(len, kept)) <= 256
