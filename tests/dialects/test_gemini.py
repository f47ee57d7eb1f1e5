"""Gemini's generateContent: chunks, ends, errors, whole answers, requests, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import errors
from hypothesis import given
from hypothesis import strategies as st

from gemini_chunks import COUNTED, USAGE, chunk, decode, parts
from google_sdk import ANYTHING, client, confused, frame
from midstream.dialects.base import TRUNCATED, RequestFacts, read_error
from midstream.dialects.gemini.generate import CANDIDATES_LIMIT, GEMINI, GeminiDecoder
from midstream.events import (
    END,
    OPAQUE,
    Failure,
    Finish,
    Malformed,
    Start,
    Text,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

# How an answer ends


def test_end_comes_with_the_usage_of_the_last_chunk() -> None:
    decoder = GeminiDecoder()
    assert decoder.feed(frame(chunk(parts(finish="STOP"), usageMetadata=USAGE)))[-1] == END
    assert decoder.close() == []


def test_without_usage_the_end_of_the_body_is_the_end() -> None:
    assert decode(chunk(parts({"text": "a"}, finish="STOP"))) == [Text("a"), Finish("STOP"), END]


def test_usage_may_come_after_the_finish() -> None:
    assert decode(chunk(parts(finish="STOP")), {"usageMetadata": USAGE}) == [Finish("STOP"), COUNTED, END]


def test_of_repeated_finish_reasons_the_last_counts() -> None:
    events = decode(chunk(parts({"text": "a"}, finish="STOP")), chunk({"finishReason": "RECITATION", "index": 0}))
    assert events == [Text("a"), Finish("STOP"), Finish("RECITATION"), END]


def test_without_a_finish_reason_an_answer_is_truncated() -> None:
    assert decode() == [TRUNCATED]
    assert decode(chunk(parts({"text": "a"}), usageMetadata=USAGE)) == [Text("a"), COUNTED, TRUNCATED]
    assert decode(chunk(parts(finish="FINISH_REASON_UNSPECIFIED"))) == [TRUNCATED]


def test_every_candidate_has_to_finish() -> None:
    both = chunk(parts({"text": "a"}, index=0, finish="STOP"), parts({"text": "b"}, index=1), usageMetadata=USAGE)
    begun = [Text("a"), Finish("STOP"), Text("b", 1), COUNTED]
    assert decode(both) == [*begun, TRUNCATED]
    assert decode(both, chunk(parts(index=1, finish="STOP"))) == [*begun, Finish("STOP", 1), END]


def test_what_follows_the_end_has_to_finish_too() -> None:
    whole = chunk(parts({"text": "a"}, finish="STOP"), usageMetadata=USAGE)
    ended = [Text("a"), Finish("STOP"), COUNTED, END]
    assert decode(whole, chunk(parts({"text": "b"}))) == [*ended, Text("b"), TRUNCATED]
    assert decode(whole, chunk(parts({"text": "b"}, finish="STOP"))) == [*ended, Text("b"), Finish("STOP")]


def test_enums_may_be_numbers() -> None:
    assert decode({"candidates": [{"finishReason": 1}]}) == [Finish("1"), END]
    assert decode({"candidates": [{"finishReason": 0}]}) == [TRUNCATED]


# Errors


def test_a_blocked_prompt_is_a_failure_with_googles_reason() -> None:
    feedback = {"blockReason": "SAFETY", "safetyRatings": []}
    events = decode({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 5}})
    usage, failure = events
    assert usage == Usage(5, raw={"promptTokenCount": 5})
    assert failure == Failure("the prompt was blocked: SAFETY", "prompt_blocked", "SAFETY", None, feedback)
    assert decode({"promptFeedback": feedback | {"blockReasonMessage": "no"}}) == [
        Failure("no", "prompt_blocked", "SAFETY", None, feedback | {"blockReasonMessage": "no"})
    ]
    assert decode({"promptFeedback": {"safetyRatings": []}}) == [TRUNCATED]


OVERLOADED = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}


def test_an_error_in_the_stream_is_what_the_sdk_raises() -> None:
    first = chunk(parts({"text": "a"}))
    events = decode(first, {"error": OVERLOADED})
    failure = Failure("The model is overloaded.", "UNAVAILABLE", "503", 503, OVERLOADED)
    assert events == [Text("a"), failure]
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in (first, {"error": OVERLOADED}))
    with pytest.raises(errors.ServerError) as raised:
        list(client(200, "text/event-stream", body).models.generate_content_stream(model="m", contents="x"))
    assert (raised.value.code, raised.value.status, raised.value.message) == (503, failure.type, failure.message)


def test_an_http_error_may_stand_in_an_array() -> None:
    failure = GEMINI.read_error(503, [{"error": OVERLOADED}])
    assert failure == Failure("The model is overloaded.", "UNAVAILABLE", "503", 503, OVERLOADED)
    assert GEMINI.read_error is read_error


# Wrappers, whole answers, requests


def test_code_assist_wraps_its_chunks() -> None:
    inner = chunk(parts({"text": "a"}, finish="STOP"), usageMetadata=USAGE, modelVersion="m")
    events = GeminiDecoder().feed(frame({"response": inner, "traceId": "t"}))
    assert events == [Start("", "m"), Text("a"), Finish("STOP"), COUNTED, END]


def test_a_whole_answer_ends_with_or_without_a_finish_reason() -> None:
    whole = chunk(parts({"text": "a"}, finish="STOP"), usageMetadata=USAGE)
    assert GEMINI.read_answer(whole) == [Start(), Text("a"), Finish("STOP"), COUNTED, END]
    assert GEMINI.read_answer([whole]) == GEMINI.read_answer(whole)
    assert GEMINI.read_answer(chunk(parts({"text": "a"}))) == [Start(), Text("a"), END]
    (failure,) = GEMINI.read_answer({"error": OVERLOADED})
    assert isinstance(failure, Failure)


@pytest.mark.parametrize("answer", [None, 7, "x", [], {}, {"a": 1}])
def test_what_is_no_answer_is_malformed(answer: Any) -> None:
    (event,) = GEMINI.read_answer(answer)
    assert isinstance(event, Malformed)


VERTEX = "/v1/projects/p/locations/l"


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", RequestFacts("gemini-2.5-pro", True)),
        ("/v1/models/gemini-2.5-pro:generateContent", RequestFacts("gemini-2.5-pro", False)),
        ("/v1beta/models/gemini%2Dpro%3AstreamGenerateContent", RequestFacts("gemini-pro", True)),
        ("/v1beta/tunedModels/mine:generateContent", RequestFacts("tunedModels/mine", False)),
        (
            f"{VERTEX}/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
            RequestFacts("gemini-2.5-pro", True),
        ),
        (f"{VERTEX}/endpoints/123:streamGenerateContent", RequestFacts("endpoints/123", True)),
        ("/v1internal:streamGenerateContent", RequestFacts("body", True)),
    ],
)
def test_the_model_is_in_the_path(path: str, facts: RequestFacts) -> None:
    assert any(pattern.search(path) for pattern in GEMINI.paths)
    assert GEMINI.read_request(path, {"model": "body"}) == facts


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini-2.5-pro:countTokens",
        "/v1beta/models/gemini-2.5-pro:batchGenerateContent",
        "/v1beta/models/gemini-2.5-pro",
        f"{VERTEX}/publishers/anthropic/models/claude:streamRawPredict",
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    ],
)
def test_other_methods_are_not_ours(path: str) -> None:
    assert not any(pattern.search(path) for pattern in GEMINI.paths)


def test_the_prompt_is_every_text_in_order() -> None:
    body = {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"data": "AAAA"}}, {"text": "b"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        ],
        "tools": [{"functionDeclarations": []}],
    }
    call = '{"name":"f","args":{}}'
    texts = ["be brief", '[{"functionDeclarations":[]}]', "a", "b", call]
    assert GEMINI.prompt(body) == texts
    assert GEMINI.prompt({"model": "m", "request": body}) == texts
    assert GEMINI.prompt({"system_instruction": {"parts": {"text": "s"}}, "contents": {"parts": [{"text": "a"}]}}) == [
        "s",
        "a",
    ]


# Hostile input


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7", b"[" * 100_000])
def test_a_frame_that_is_no_object_is_malformed(data: bytes) -> None:
    (event,) = GeminiDecoder().feed(Frame(data))
    assert isinstance(event, Malformed)


def test_openais_terminal_event_means_nothing() -> None:
    assert GeminiDecoder().feed(Frame(b"[DONE]")) == [OPAQUE]


def test_candidates_are_bounded() -> None:
    decoder = GeminiDecoder()
    for index in (-1, CANDIDATES_LIMIT, 10**30):
        assert isinstance(decoder.feed(frame(chunk(parts({"text": "a"}, index=index))))[-1], Malformed)
    assert decoder.close() == [TRUNCATED]


CONFUSED = confused(
    *(
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "thoughtSignature",
        "functionCall",
        "name",
        "args",
        "partialArgs",
    ),
    *(
        "jsonPath",
        "stringValue",
        "willContinue",
        "inlineData",
        "executableCode",
        "finishReason",
        "index",
        "usageMetadata",
    ),
    *("promptTokenCount", "promptFeedback", "blockReason", "error", "response", "responseId", "modelVersion"),
)


@given(st.lists(ANYTHING | CONFUSED, max_size=4))
def test_whatever_comes_it_means_something_and_nothing_raises(chunks: list[Any]) -> None:
    decoder = GeminiDecoder()
    for one in chunks:
        assert decoder.feed(frame(one))
    assert decoder.close() in ([], [END], [TRUNCATED])
    assert GEMINI.read_answer(chunks)


@given(st.dictionaries(st.sampled_from(["systemInstruction", "contents", "tools", "request"]), ANYTHING | CONFUSED))
def test_whatever_is_asked_the_prompt_is_texts(body: Json) -> None:
    assert all(isinstance(text, str) and text for text in GEMINI.prompt(body))


@given(st.binary(max_size=64))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    assert GeminiDecoder().feed(Frame(data))
