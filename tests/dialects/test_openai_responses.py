"""OpenAI Responses: how answers end, whole answers, requests, WebSocket sessions, and hostile input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.dialects.openai.responses import OPENAI_RESPONSES, ResponsesDecoder, ResponsesSession
from midstream.events import (
    END,
    OPAQUE,
    Asked,
    Event,
    Failure,
    Finish,
    Malformed,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json
from openai_events import (
    ANYTHING,
    CONFUSED,
    CREATE,
    ITEMS,
    RESPONSES,
    START,
    WHOLE,
    added,
    call,
    completed,
    created,
    decode,
    delta,
    done,
    frame,
    message,
)

# How an answer ends


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_incomplete_says_why(reason: str) -> None:
    ended = {"type": "response.incomplete", "response": {"incomplete_details": {"reason": reason}}}
    assert decode(created(), ended) == [START, Finish("incomplete", 0, reason), END]


def test_cancelled_is_an_end() -> None:
    assert decode(created(), {"type": "response.cancelled", "response": {}}) == [START, Finish("cancelled"), END]


def test_failed_is_a_failure_with_its_usage() -> None:
    error = {"code": "server_error", "message": "sorry"}
    response = {"status": "failed", "error": error, "usage": {"input_tokens": 1}}
    said = decode(created(), {"type": "response.failed", "response": response})
    assert said == [START, Usage(1, raw={"input_tokens": 1}), Failure("sorry", code="server_error", raw=error)]


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        ({"type": "error", "code": "c", "message": "m"}, Failure("m", code="c")),
        ({"type": "error", "error": {"type": "t", "code": "c", "message": "m"}}, Failure("m", "t", "c")),
        ({"type": "error", "status": 429, "error": {"type": "t", "message": "m"}}, Failure("m", "t", status=429)),
        ({"error": {"code": 502, "message": "m"}}, Failure("m", code="502")),
        ({"type": "error", "error": "m"}, Failure("m")),
        ({"type": "error"}, Failure("the provider sent an error event")),
    ],
)
def test_error_events_of_every_shape_are_failures(event: Json, failure: Failure) -> None:
    (said,) = decode(event)
    assert isinstance(said, Failure)
    assert (said.message, said.type, said.code, said.status) == (
        failure.message,
        failure.type,
        failure.code,
        failure.status,
    )


def test_an_events_type_may_stand_in_the_frame_only() -> None:
    decoder = ResponsesDecoder()
    assert decoder.feed(frame({"delta": "x"}, "response.output_text.delta")) == [Text("x")]
    assert isinstance(decoder.feed(frame({"message": "m"}, "error"))[0], Failure)


def test_nothing_means_anything_after_the_end() -> None:
    decoder = ResponsesDecoder()
    decoder.feed(frame({"type": "error", "message": "m"}))
    for late in ({"type": "response.failed", "response": {}}, delta("output_text", "x"), completed()):
        assert decoder.feed(frame(late)) == [OPAQUE]
    assert decoder.feed(Frame(b"[DONE]")) == [OPAQUE]
    assert decoder.close() == []


def test_without_a_terminal_event_an_answer_is_truncated_even_after_done() -> None:
    decoder = ResponsesDecoder()
    decoder.feed(frame(delta("output_text", "x")))
    decoder.feed(frame(done(message("x"))))
    assert decoder.feed(Frame(b"[DONE]")) == [OPAQUE]
    assert [type(event) for event in decoder.close()] == [Failure]


def test_start_comes_again_only_for_what_was_missing() -> None:
    said = decode(created(model=None), created(), created(), completed())
    assert said == [Start("resp_1", "", 9), START, *WHOLE]


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7"])
def test_a_frame_that_is_no_object_is_malformed(data: bytes) -> None:
    (said,) = ResponsesDecoder().feed(Frame(data))
    assert isinstance(said, Malformed)


# Whole answers, requests


def test_a_whole_answer() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2}
    answer = completed(message("Hi"), call(1, "{}"), usage=usage)["response"]
    assert OPENAI_RESPONSES.read_answer(answer) == [
        Start("resp_1", "m"),
        Text("Hi"),
        ToolCall(0, "call_1", "tool_1", "{}", 0, 1),
        Usage(1, 2, raw=usage),
        *WHOLE,
    ]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_answer_under_way_ends_without_a_finish(status: str) -> None:
    assert OPENAI_RESPONSES.read_answer({"id": "resp_1", "status": status}) == [Start("resp_1"), END]


def test_a_whole_answer_that_failed_is_a_failure() -> None:
    said = OPENAI_RESPONSES.read_answer({"id": "r", "status": "failed", "error": {"code": "c", "message": "m"}})
    assert said == [Start("r"), Failure("m", code="c", raw={"code": "c", "message": "m"})]


@pytest.mark.parametrize("body", [None, [], 5, "x", {}, {"id": "x"}])
def test_what_is_no_response_is_malformed(body: Any) -> None:
    (said,) = OPENAI_RESPONSES.read_answer(body)
    assert isinstance(said, Malformed)


def test_an_error_with_status_200_is_a_failure() -> None:
    (said,) = OPENAI_RESPONSES.read_answer({"error": {"message": "m"}})
    assert isinstance(said, Failure)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses",
        "/responses",
        "/openai/v1/responses",
        "/openai/responses",
        "/backend-api/codex/responses",
        "/api/v1/responses/",
    ],
)
def test_the_path_is_known_on_any_prefix(path: str) -> None:
    for patterns in (OPENAI_RESPONSES.paths, OPENAI_RESPONSES.websocket_paths):
        assert any(pattern.search(path) for pattern in patterns)


@pytest.mark.parametrize(
    "path", ["/v1/responses/resp_1/cancel", "/v1/responses/input_tokens", "/v1/chat/completions", "/xresponses"]
)
def test_other_paths_are_not(path: str) -> None:
    assert not any(pattern.search(path) for pattern in OPENAI_RESPONSES.paths)


def test_the_prompt_is_the_instructions_and_every_text_of_the_input() -> None:
    assert OPENAI_RESPONSES.prompt({"input": "Hi"}) == ["Hi"]
    items = [
        {"role": "user", "content": "one"},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "data:…"}],
        },
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "three"},
        {"type": "function_call_output", "output": [{"type": "input_text", "text": "four"}]},
        {"type": "reasoning", "summary": [{"text": "five"}], "encrypted_content": "gAAA"},
    ]
    texts = OPENAI_RESPONSES.prompt({"instructions": "zero", "input": items})
    assert texts == ["zero", "one", "two", "f", "{}", "three", "four", "five"]


def test_tools_and_the_answers_schema_are_input() -> None:
    said = {
        "tools": [{"type": "function", "name": "f"}],
        "text": {"format": {"type": "json_schema", "schema": {"x": 1}}},
    }
    texts = ["zero", '[{"type":"function","name":"f"}]', '{"x":1}', "hi"]
    assert OPENAI_RESPONSES.prompt({"instructions": "zero", "input": "hi", **said}) == texts
    assert OPENAI_RESPONSES.prompt({"input": "hi", "text": {"format": {"type": "text"}}, "tools": []}) == ["hi"]


# Over WebSocket


def session_of(*messages: tuple[str, Json]) -> list[Event]:
    session = ResponsesSession()
    said = [e for side, event in messages for e in session.feed(frame(event), from_client=side == "client")]
    return [event for event in said if event != OPAQUE]


def test_a_session_carries_one_answer_after_another() -> None:
    answer = [("server", e) for e in (created(), added(call()), delta("function_call_arguments", "{}"), completed())]
    once = [Asked("m"), START, ToolCall(0, "call_1", "tool_1"), ToolCall(0, "", "", "{}"), *WHOLE]
    assert session_of(CREATE, *answer, CREATE, *answer) == once * 2


def test_an_error_ends_the_answer_that_was_asked_for() -> None:
    error = {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "m"}}
    said = session_of(CREATE, ("server", error), ("server", created()), ("server", error))
    assert [type(event) for event in said] == [Asked, Failure, Start, Failure]


def test_an_error_between_answers_is_opaque() -> None:
    assert session_of(("server", {"type": "error", "error": {"message": "60 minutes are over"}})) == []


def test_asking_while_an_answer_is_open_begins_nothing() -> None:
    said = session_of(CREATE, ("server", created()), CREATE, ("server", completed()), ("server", created()))
    assert said == [Asked("m"), START, *WHOLE, START]


def test_other_messages_are_opaque() -> None:
    assert session_of(
        ("client", {"type": "response.cancel"}),
        ("client", {"type": "ping"}),
        ("server", {"type": "codex.rate_limits"}),
        ("server", delta("output_text", "stray")),
    ) == []  # fmt: skip


# Hostile input


@given(st.lists(ANYTHING | CONFUSED, max_size=8))
def test_arbitrary_json_never_raises_and_always_means_something(bodies: list[Any]) -> None:
    decoder, session = ResponsesDecoder(), ResponsesSession()
    for body in bodies:
        assert decoder.feed(frame(body))
        assert session.feed(frame(body), from_client=False)
        assert session.feed(frame(body), from_client=True)
    assert len(decoder.close()) <= 1


@given(st.binary(max_size=40))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    assert ResponsesDecoder().feed(Frame(data))
    assert ResponsesSession().feed(Frame(data), from_client=True)


@given(RESPONSES | ANYTHING)
def test_arbitrary_whole_answers_never_raise(body: Any) -> None:
    assert OPENAI_RESPONSES.read_answer(body)


@given(st.fixed_dictionaries({}, optional={"input": ANYTHING | st.lists(ITEMS, max_size=2), "instructions": ANYTHING}))
def test_arbitrary_requests_never_raise(body: Json) -> None:
    OPENAI_RESPONSES.read_request("/v1/responses", body)
    assert all(isinstance(text, str) and text for text in OPENAI_RESPONSES.prompt(body))
