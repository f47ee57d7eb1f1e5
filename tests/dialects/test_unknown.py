"""APIs without a dialect: what their frames seem to mean, and that nothing in them can do harm."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from google_sdk import ANYTHING
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.unknown import DEPTH, UNKNOWN, read
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json


def fed(*bodies: Any, event: str = "") -> list[Event]:
    assert UNKNOWN.decoder is not None
    decoder = UNKNOWN.decoder()
    frames = [b if isinstance(b, bytes) else json.dumps(b).encode() for b in bodies]
    return [e for data in frames for e in decoder.feed(Frame(data, event=event))] + decoder.close()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"text": "a"}, "a"),
        ({"response": "a"}, "a"),
        ({"generated_text": "a"}, "a"),
        ({"outputText": "a"}, "a"),
        ({"token": {"text": "a"}}, "a"),  # Hugging Face's text generation
        ({"output": {"choices": [{"message": {"content": "a"}}]}}, "a"),  # DashScope
        ({"output": {"text": "a"}}, "a"),
        ({"results": [{"generated_text": "a"}]}, "a"),  # watsonx
        ({"delta": {"content": [{"text": {"value": "a"}}]}}, "a"),  # OpenAI's assistants
        ({"bytes": base64.b64encode(b"a").decode()}, "a"),  # Bedrock's agents
        ({"bytes": "no base64!"}, "no base64!"),
    ],
)
def test_text_is_found_where_apis_have_it(body: Json, text: str) -> None:
    assert read(body) == [Text(text)]


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 3, "output_tokens": 5},
        {"prompt_tokens": 3, "completion_tokens": 5},
        {"inputTokens": 3, "outputTokens": 5},
        {"promptTokenCount": 3, "candidatesTokenCount": 5},
        {"input_token_count": 3, "generated_token_count": 5},
    ],
)
def test_usage_is_found_by_the_names_apis_have_for_it(usage: Json) -> None:
    expected = [Usage(3, 5, raw=usage)]
    assert read({"usage": usage}) == expected
    assert read({"usageMetadata": usage}) == expected
    assert read({"output": {"data": {"usage_metadata": usage}}}) == expected
    assert read(usage) == expected


def test_usage_may_be_half_of_one_and_zero_is_a_count() -> None:
    assert read({"usage": {"output_tokens": 0}}) == [Usage(None, 0, raw={"output_tokens": 0})]
    assert read({"usage": {"total_tokens": 5}}) == []
    assert read({"usage": {"input_tokens": "many"}}) == [Usage(None, None, raw={"input_tokens": "many"})]


def test_a_frame_says_model_text_finish_and_usage_in_this_order() -> None:
    body = {"model": "m", "text": "a", "finish_reason": "stop", "usage": {"output_tokens": 1}}
    assert read(body) == [Start(model="m"), Text("a"), Finish("stop"), Usage(None, 1, raw={"output_tokens": 1})]


@pytest.mark.parametrize("reason", ["null", "not_finished", "", None, 7])
def test_a_reason_that_is_none_finishes_nothing(reason: Any) -> None:
    assert read({"finish_reason": reason}) == []


@pytest.mark.parametrize("event", ["thread.message.completed", "transcript.text.done", "thread.message.created"])
def test_an_event_that_says_all_again_adds_no_text(event: str) -> None:
    assert read({"text": "the whole"}, event=event) == []
    assert read({"text": "the whole"}, event="thread.message.delta") == [Text("the whole")]


def test_an_error_is_a_failure_and_nothing_else() -> None:
    [failure] = read({"error": {"message": "no", "type": "t"}, "text": "a"})
    assert isinstance(failure, Failure)
    assert (failure.message, failure.type) == ("no", "t")
    assert [type(e) for e in read({"message": "no"}, event="error")] == [Failure]
    assert read({"error": False, "text": "a"}) == [Text("a")]


def test_a_body_that_ends_as_http_wants_it_is_whole_and_an_empty_one_is_not() -> None:
    assert fed({"text": "a"}) == [Text("a"), END]
    assert fed({"text": "a"}, b"[DONE]") == [Text("a"), END]
    assert fed({"x": 1}) == [OPAQUE, END]
    assert fed() == [TRUNCATED]
    assert [type(e) for e in fed({"error": {"message": "no"}})] == [Failure]


def test_what_is_no_json_is_malformed() -> None:
    assert fed(b"{") == [Malformed("not JSON"), END]


def test_the_search_ends_at_its_depth() -> None:
    deep: Json = {"text": "a"}
    for _ in range(DEPTH):
        deep = {"output": deep}
    assert read(deep) == [Text("a")]
    assert read({"output": deep}) == []


def test_a_request_tells_its_model_and_whether_it_streams() -> None:
    assert UNKNOWN.read_request("/x", {"model": "m", "stream": True}) == RequestFacts(model="m", stream=True)
    assert UNKNOWN.read_request("/x", {"model": 1, "stream": "yes"}) == RequestFacts(model="", stream=False)
    assert UNKNOWN.read_answer({"text": "a"}) == [Text("a"), END]
    assert UNKNOWN.read_answer(None) == [END]


KEYS = ("text", "content", "delta", "output", "choices", "usage", "input_tokens", "error", "bytes", "model", "results")


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING), st.text(max_size=9))
def test_no_object_raises(body: Json, event: str) -> None:
    read(body, event=event)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_arbitrary_bytes_never_raise(frames: list[bytes]) -> None:
    assert fed(*frames)
