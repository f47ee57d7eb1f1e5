"""Bedrock's InvokeModel: each model's shape, metrics, guardrails, exceptions, requests, and hostile input."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import EventStreamError
from hypothesis import example, given
from hypothesis import strategies as st

import exchanges
from bedrock_sdk import client_of, exchange_of, message
from google_sdk import ANYTHING, confused, frame
from midstream.dialects.base import TRUNCATED
from midstream.dialects.bedrock.converse import EVENTS
from midstream.dialects.bedrock.invoke import BEDROCK_INVOKE, GUARDRAIL, METRICS, InvokeDecoder, prompt
from midstream.dialects.bedrock.models import CHOICE_LIMIT, read_answer
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, ToolCall, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json

COUNTS = {"inputTokenCount": 3, "outputTokenCount": 8, "invocationLatency": 9, "firstByteLatency": 5}
LAST = {METRICS: COUNTS}
ENDED = [Usage(3, 8, raw=COUNTS), END]


def chunk(inner: Any) -> Frame:
    return frame({"bytes": base64.b64encode(json.dumps(inner).encode()).decode(), "p": "abc"}, "chunk")


def decode(*chunks: Any) -> list[Event]:
    """Every chunk's meaning, without what means nothing, and the end of the body's."""
    decoder = InvokeDecoder()
    told = [said for inner in chunks for said in decoder.feed(chunk(inner))]
    return [said for said in told if said != OPAQUE] + decoder.close()


# Models


def test_anthropics_messages_end_with_their_own_word_and_their_own_usage() -> None:
    usage = {"input_tokens": 3, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": usage}}
    block = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}
    stop = {"type": "message_stop"} | LAST
    told = [Start("m", "claude"), Usage(3, 1, raw=usage), Text("a")]
    assert decode(start, block, stop) == [*told, END]
    assert decode(start, block) == [*told, TRUNCATED]
    assert decode(block, stop) == [Text("a"), *ENDED]


def test_anthropics_completions() -> None:
    pieces: tuple[Json, ...] = (
        {"type": "completion", "completion": " a", "stop_reason": None},
        {"type": "completion", "completion": "", "stop_reason": "stop_sequence", "stop": "\n\nHuman:"} | LAST,
    )
    assert decode(*pieces) == [Start(), Text(" a"), Finish("stop_sequence", 0, "\n\nHuman:"), *ENDED]
    untyped = [{key: value for key, value in piece.items() if key != "type"} for piece in pieces]
    assert decode(*untyped) == [Start(), Text(" a"), Finish("stop_sequence"), *ENDED]


def test_nova_speaks_converse_in_chunks() -> None:
    usage = {"inputTokens": 3, "outputTokens": 8}
    chunks: list[Json] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "tool_use"}},
    ]
    told = [Start(), ToolCall(0, "t", "f"), ToolCall(0, arguments="{}"), Finish("tool_use")]
    assert decode(*chunks, {"metadata": {"usage": usage}} | LAST) == [*told, Usage(3, 8, raw=usage), END]
    assert decode(*chunks) == [*told, END]
    assert decode(*chunks[:-1]) == [*told[:-1], TRUNCATED]


def test_chunks_with_choices_are_openais() -> None:
    delta = {"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    stop = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert decode(delta, stop, LAST) == [Start("c"), Text("a"), Finish("stop"), *ENDED]
    assert decode(delta, stop) == [Start("c"), Text("a"), Finish("stop"), END]
    assert decode(delta) == [Start("c"), Text("a"), TRUNCATED]


def test_mistrals_choices_have_messages_and_stop_reasons() -> None:
    pieces: list[Json] = [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "stop_reason": None}]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "b"}, "stop_reason": "stop"}]} | LAST,
    ]
    said = [event for event in decode(*pieces) if not isinstance(event, Start)]
    assert said == [Text("a"), Text("b"), Finish("stop"), *ENDED]


@pytest.mark.parametrize(
    ("key", "reason"),
    [("outputText", "completionReason"), ("generation", "stop_reason"), ("text", "finish_reason")],
)
def test_plain_texts_and_their_reasons_to_stop(key: str, reason: str) -> None:
    pieces: tuple[Json, ...] = ({key: "a", reason: None, "index": 1}, {key: "", reason: "LENGTH"} | LAST)
    assert decode(*pieces) == [Start(), Text("a"), Finish("LENGTH"), *ENDED]
    assert decode({key: "a"}, {key: "b", reason: "LENGTH"}) == [Start(), Text("a"), Text("b"), Finish("LENGTH"), END]
    assert decode(pieces[0]) == [Start(), Text("a"), TRUNCATED]


def test_mistrals_outputs() -> None:
    assert decode({"outputs": [{"text": "a", "stop_reason": "stop"}]}, LAST) == [
        Start(),
        Text("a"),
        Finish("stop"),
        *ENDED,
    ]


def test_coheres_several_answers_are_choices() -> None:
    pieces: list[Json] = [
        {"index": 0, "is_finished": False, "text": "a"},
        {"index": 1, "is_finished": False, "text": "b"},
        {"index": CHOICE_LIMIT, "is_finished": False, "text": "c"},
        {"is_finished": True, "finish_reason": "MAX_TOKENS"} | LAST,
    ]
    told = decode(*pieces)
    assert isinstance(told.pop(3), Malformed)
    assert told == [Start(), Text("a"), Text("b", 1), Finish("MAX_TOKENS"), *ENDED]


def test_cohere_command_r_speaks_v1() -> None:
    meta = {"billed_units": {"input_tokens": 3, "output_tokens": 8}}
    pieces: list[Json] = [
        {"event_type": "text-generation", "text": "a", "is_finished": False},
        {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": {"meta": meta}}
        | LAST,
    ]
    assert decode(*pieces) == [Text("a"), Usage(3, 8, raw=meta), Finish("COMPLETE"), END]
    assert decode(pieces[0]) == [Text("a"), TRUNCATED]


# The service


def test_metrics_alone_end_an_answer_of_an_unknown_model() -> None:
    assert decode({"novel": 1}, LAST, {"text": "late"}) == ENDED
    assert decode({"novel": 1}) == [TRUNCATED]
    assert decode() == [TRUNCATED]


def test_metrics_count_the_cache_beside_the_input() -> None:
    counts = COUNTS | {"cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 7}
    assert decode({METRICS: counts}) == [Usage(15, 8, 5, 7, None, counts), END]


def test_a_guardrail_that_blocks_ends_an_answer() -> None:
    blocked = {"outputText": "Input blocked", GUARDRAIL: "INTERVENED"}
    assert decode(blocked) == [Start(), Text("Input blocked"), END]
    assert decode(blocked | {GUARDRAIL: "NONE"}) == [Start(), Text("Input blocked"), TRUNCATED]


def test_an_exception_is_a_failure_as_boto_raises_it() -> None:
    payload = {"message": "slow"}
    exchange = exchange_of(message("modelTimeoutException", payload, "exception"), message("chunk", {"bytes": ""}))
    failure = Failure("slow", "modelTimeoutException", "", 408, payload)
    assert exchanges.decode(BEDROCK_INVOKE, exchange, 5) == [failure, OPAQUE]
    with pytest.raises(EventStreamError) as raised:
        list(client_of(exchange).invoke_model_with_response_stream(modelId="m", body=b"{}")["body"])
    assert raised.value.response["Error"] == {"Code": failure.type, "Message": failure.message}


def test_an_error_of_the_models_own_is_a_failure_with_or_without_metrics() -> None:
    error = {"type": "overloaded_error", "message": "no"}
    failure = Failure("no", "overloaded_error", "", 529, error)
    assert decode({"type": "error", "error": error}) == [failure]
    assert decode({"type": "error", "error": error} | LAST) == [failure, Usage(3, 8, raw=COUNTS)]


@pytest.mark.parametrize(
    "payload", [{}, {"bytes": 7}, {"bytes": "é"}, {"bytes": "e"}, {"bytes": "WzFd"}, {"bytes": ""}, [1]]
)
def test_what_is_no_base64_of_an_object_is_malformed(payload: Any) -> None:
    told = InvokeDecoder().feed(frame(payload, "chunk"))
    assert [type(event) for event in told] == [Malformed]


# Whole answers and requests

PROMPT_COUNTS = {"prompt_token_count": 3, "generation_token_count": 8}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"type": "message", "id": "m", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
            [Start("m"), Text("a"), Finish("end_turn")],
        ),
        (
            {"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": "end_turn"},
            [Start(), Text("a"), Finish("end_turn")],
        ),
        (
            {"choices": [{"index": 0, "message": {"content": "a"}, "stop_reason": "stop"}]},
            [Start(), Text("a"), Finish("stop")],
        ),
        (
            {"inputTextTokenCount": 3, "results": [{"tokenCount": 8, "outputText": "a", "completionReason": "FINISH"}]},
            [Start(), Usage(3, 8, raw={"inputTextTokenCount": 3, "tokenCount": 8}), Text("a"), Finish("FINISH")],
        ),
        (
            {"generation": "a", "stop_reason": "stop", **PROMPT_COUNTS},
            [Start(), Usage(3, 8, raw=PROMPT_COUNTS), Text("a"), Finish("stop")],
        ),
        (
            {"generations": [{"text": "a", "finish_reason": "COMPLETE"}, {"text": "b"}]},
            [Start(), Text("a"), Finish("COMPLETE"), Text("b", 1)],
        ),
        (
            {"completions": [{"data": {"text": "a"}, "finishReason": {"reason": "endoftext"}}]},
            [Start(), Text("a"), Finish("endoftext")],
        ),
        ({"completion": "a", "stop_reason": "stop_sequence"}, [Start(), Text("a"), Finish("stop_sequence")]),
        (
            {"text": "a", "finish_reason": "COMPLETE", "generation_id": "g", "chat_history": []},
            [Start("g"), Text("a"), Finish("COMPLETE")],
        ),
        ({"embedding": [0.5], "inputTextTokenCount": 3}, [Start(), Usage(3, raw={"inputTextTokenCount": 3})]),
    ],
)
def test_whole_answers_of_every_model(answer: Json, said: list[Event]) -> None:
    told = [e for e in read_answer(answer) if not (isinstance(e, Start) and "choices" in answer)]
    assert told == [*(e for e in said if not (isinstance(e, Start) and "choices" in answer)), END]


def test_a_whole_answer_that_is_a_message_alone_is_a_failure() -> None:
    assert read_answer({"message": "no"}) == [Failure("no", "invalid_response", raw={"message": "no"})]


@pytest.mark.parametrize("body", [{"system": "be", "messages": [{"content": "a"}]}, {"prompt": "be", "message": "a"}])
def test_the_prompt_is_every_text_of_any_models_request(body: Json) -> None:
    assert prompt(body) == ["be", "a"]


def test_the_prompt_of_nova_and_its_tools() -> None:
    body = {"system": [{"text": "be"}], "messages": [{"content": [{"text": "a"}]}], "toolConfig": {"tools": [{}]}}
    assert prompt(body) == ["be", "[{}]", "a"]


# Hostile input

KEYS = (
    *EVENTS,
    *(METRICS, GUARDRAIL, "INTERVENED", "type", "message_start", "message_stop", "content_block_delta", "error"),
    *("choices", "delta", "message", "content", "stop_reason", "finish_reason", "finishReason", "completionReason"),
    *("outputText", "generation", "generations", "text", "completion", "outputs", "results", "completions", "data"),
    *("index", "is_finished", "event_type", "stream-end", "usage", "inputTokenCount", "output", "chat_history"),
)


@given(st.lists(ANYTHING | confused(*KEYS), max_size=12))
@example([{METRICS: {"inputTokenCount": -1, "outputTokenCount": 2**60}}])
def test_any_json_in_a_chunk_is_read_and_says_something(values: list[Any]) -> None:
    decoder = InvokeDecoder()
    for value in values:
        told = decoder.feed(chunk(value))
        assert told
        for usage in (event for event in told if isinstance(event, Usage)):
            assert (usage.input_tokens or 0) >= 0
        assert read_answer(value)
        if isinstance(value, dict):
            prompt(value)
    assert decoder.close() in ([], [END], [TRUNCATED])


@given(st.sampled_from(("chunk", "", "throttlingException", "other")), ANYTHING | st.binary(max_size=64))
def test_any_message_is_read_and_says_something(name: str, payload: Any) -> None:
    one = Frame(payload, event=name) if isinstance(payload, bytes) else frame(payload, name)
    assert InvokeDecoder().feed(one)
