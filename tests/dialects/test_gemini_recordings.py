"""Every recorded generateContent exchange, against its `expect` and against what Google's SDK makes of the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from google.genai import errors, types

import exchanges
from google_sdk import client_of
from midstream.dialects.gemini.generate import GEMINI
from midstream.events import End, Failure, Finish, Media, ServerTool, Usage

STREAMS = exchanges.of("streamGenerateContent")
ERRORS = exchanges.of("streamGenerateContent", "generateContent", kind="error")
SSE = [exchange for exchange in STREAMS if exchange.framing == "sse"]

PIECES: dict[str, list[tuple[str, Any]]] = {
    "gemini/streamGenerateContent--vercel--google-stream-tool-call-arguments": [
        ("getWeather", {"location": "Boston"}),
        ("getWeather", {"location": "San Francisco"}),
    ],
    "gemini/streamGenerateContent--vercel--google-stream-tool-call-array-arguments-missing-terminal-function-call": [
        (
            "writeItems",
            {
                "operations": [
                    {"action": "add", "description": "Fresh red apple", "itemid": "apple_001", "price": 0.5},
                    {"action": "add", "description": "Ripe yellow banana", "itemid": "banana_001", "price": 0.3},
                ]
            },
        )
    ],
    "vertex/streamGenerateContent--vercel--google-vertex-stream-tool-call-arguments-nested.1": [("cookRecipe", None)],
}
"""Calls whose arguments come in pieces: `expect` lists every piece as a call of its own, without a name or arguments, since
that is what is on the wire. Here is what they say together (None: checked by `leaves` alone)."""

BLOCKED = {
    "gemini/streamGenerateContent--firebase--streaming-failure-prompt-blocked-safety",
    "vertex/streamGenerateContent--firebase--streaming-failure-prompt-blocked-safety-with-message",
}
"""The prompt is blocked: no candidate, no finishReason; a failure."""

UNFINISHED = {
    "vertex/streamGenerateContent--firebase--streaming-failure-empty-content",
    "vertex/streamGenerateContent--firebase--streaming-failure-invalid-json",
    "vertex/streamGenerateContent--firebase--streaming-success-quotes-escaped",
}
"""No candidate finishes: nothing tells these bodies (one by hand, one cut by its maintainers) from truncated ones."""


def check(exchange: exchanges.Exchange, said: exchanges.Said) -> None:
    expect = exchange.expect
    assert said.text == expect["text"]
    assert (said.reasoning or None) == expect["reasoning"]
    assert said.usage == expect["usage"]
    reason = expect["finish_reason"]
    assert said.finish_reason == (None if reason is None else str(reason))  # an enum may be asked for as a number
    assert (said.model or None) == expect["model"]
    assert said.malformed == []
    check_calls(exchange, said)
    check_end(exchange, said)


def check_calls(exchange: exchanges.Exchange, said: exchanges.Said) -> None:
    calls = [(call["id"], call["name"], json.loads(call["arguments"])) for call in said.tool_calls]
    if exchange.id not in PIECES:
        assert calls == [(call["id"] or "", call["name"], call["arguments"]) for call in exchange.expect["tool_calls"]]
        return
    for (id_, name, arguments), (wanted, value) in zip(calls, PIECES[exchange.id], strict=True):
        assert (id_, name) == ("", wanted)
        assert value is None or arguments == value


def check_end(exchange: exchanges.Exchange, said: exchanges.Said) -> None:
    if exchange.id in BLOCKED:
        assert said.failure is not None
        assert (said.failure.type, said.failure.code) == ("prompt_blocked", exchange.expect["block_reason"])
    elif exchange.id in UNFINISHED:
        assert said.failure is not None
        assert said.failure.type == "truncated"
    else:
        assert said.failure is None
    assert said.ended == (said.failure is None)


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    whole = exchanges.decode(GEMINI, exchange, len(exchange.body))
    check(exchange, exchanges.fold(whole))
    assert [e for e in whole if isinstance(e, End)] == [End()] * (exchange.id not in BLOCKED | UNFINISHED)
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(GEMINI, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_reports_each_usage_verbatim(exchange: exchanges.Exchange) -> None:
    usages = [e for e in exchanges.decode(GEMINI, exchange, len(exchange.body)) if isinstance(e, Usage)]
    told = [one["usage"] for one in exchange.expect["usage_events"] or []]
    assert [usage.raw for usage in usages] == [raw for raw in told if any(key.endswith("TokenCount") for key in raw)]
    for usage in usages:
        total = usage.raw.get("totalTokenCount")
        if total is not None and usage.output_tokens is not None:
            assert (usage.input_tokens or 0) + usage.output_tokens == total


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_before_its_first_finish_reason(exchange: exchanges.Exchange) -> None:
    body = exchange.body[: exchange.body.find(b'"finishReason"')] if b'"finishReason"' in exchange.body else b""
    cut = exchanges.decode(GEMINI, replace(exchange, body=body), max(len(body), 1))
    assert isinstance(cut[-1], Failure)
    assert cut[-1].type == "truncated"
    assert not any(isinstance(event, End | Finish) for event in cut)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_what_the_sdk_raises(exchange: exchanges.Exchange) -> None:
    (failure,) = exchanges.decode(GEMINI, exchange, 64)
    assert isinstance(failure, Failure)
    assert failure.raw == exchange.expect["error"]
    with pytest.raises(errors.APIError) as raised:
        list(client_of(exchange).models.generate_content_stream(model="m", contents="x"))
    error = raised.value
    assert (failure.status, failure.type, failure.message) == (error.code, error.status, error.message)


def parts_of(chunks: list[types.GenerateContentResponse]) -> list[types.Part]:
    """Candidate 0's parts, as the SDK read them."""
    contents = [chunk.candidates[0].content for chunk in chunks if chunk.candidates]
    return [part for content in contents if content is not None for part in content.parts or []]


@pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning")  # enums that the SDK does not know
@pytest.mark.parametrize("exchange", SSE, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_sdk_makes_of_it(exchange: exchanges.Exchange) -> None:
    events = exchanges.decode(GEMINI, exchange, len(exchange.body))
    said = exchanges.fold(events)
    chunks = list(client_of(exchange).models.generate_content_stream(model="m", contents="x"))
    parts = parts_of(chunks)
    assert said.text == "".join(part.text or "" for part in parts if not part.thought)
    assert said.reasoning == "".join(part.text or "" for part in parts if part.thought)
    assert sum(isinstance(e, ServerTool) for e in events) == sum(
        1 for p in parts if p.executable_code or p.code_execution_result or p.tool_call or p.tool_response
    )
    assert sum(isinstance(e, Media) for e in events) == sum(1 for p in parts if p.inline_data)
    reasons = [c.candidates[0].finish_reason for c in chunks if c.candidates and c.candidates[0].finish_reason]
    assert said.finish_reason == (reasons[-1].value if reasons else None)
    assert (said.model or None) == next((c.model_version for c in chunks if c.model_version), None)
    check_sdk_calls(said, [part.function_call for part in parts if part.function_call])
    check_sdk_usage(said.usage_events, [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata])


def check_sdk_calls(said: exchanges.Said, calls: list[types.FunctionCall]) -> None:
    """The SDK leaves pieces of a call as they came: they have the same names, and the same values at their paths."""
    assert [call["name"] for call in said.tool_calls] == [call.name for call in calls if call.name]
    pieces = [piece for call in calls for piece in call.partial_args or []]
    arguments = [json.loads(call["arguments"]) for call in said.tool_calls]
    if pieces:
        assert [value for one in arguments for value in leaves(one)] == list(values(pieces))
    else:
        assert arguments == [call.args or {} for call in calls]


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for one in inner for leaf in leaves(one)]
    return [value]


def values(pieces: list[types.PartialArg]) -> list[Any]:
    """The scalars that the SDK's partial arguments add up to, in order."""
    found: list[Any] = []
    open_path: str | None = None
    for piece in pieces:
        if piece.string_value is None:
            found.append(piece.number_value if piece.number_value is not None else piece.bool_value)
        elif piece.json_path == open_path:
            found[-1] += piece.string_value
        else:
            found.append(piece.string_value)
        open_path = piece.json_path if piece.will_continue else None
    return found


def check_sdk_usage(usages: list[Usage], metadata: list[types.GenerateContentResponseUsageMetadata]) -> None:
    if not usages:
        return
    usage, sdk = usages[-1], metadata[-1]
    assert usage.cached_tokens == sdk.cached_content_token_count
    assert usage.reasoning_tokens == sdk.thoughts_token_count
    assert usage.input_tokens == (sdk.prompt_token_count or 0) + (sdk.tool_use_prompt_token_count or 0)
    assert usage.output_tokens == (sdk.candidates_token_count or 0) + (sdk.thoughts_token_count or 0)
