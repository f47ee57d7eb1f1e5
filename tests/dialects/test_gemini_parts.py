"""Gemini's content parts and usage, and prompts."""

from __future__ import annotations

from typing import Any

import pytest

from gemini_chunks import COUNTED, USAGE, chunk, decode, parts
from google_sdk import frame
from midstream.dialects.base import TRUNCATED
from midstream.dialects.gemini.generate import GeminiDecoder
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Finish,
    Media,
    Reasoning,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire.json_text import Json


def said(*given: Json) -> list[Event]:
    """What parts mean in an answer that is whole."""
    *events, finish, usage, end = decode(chunk(parts(*given, finish="STOP"), usageMetadata=USAGE))
    assert [finish, usage, end] == [Finish("STOP"), COUNTED, END]
    return events


# Chunks


def test_start_comes_once_and_again_for_what_was_missing() -> None:
    decoder = GeminiDecoder()
    assert decoder.feed(frame(chunk(parts({"text": "a"}), responseId="r"))) == [Start("r"), Text("a")]
    assert decoder.feed(frame(chunk(responseId="r", modelVersion="m"))) == [Start("", "m")]
    assert decoder.feed(frame(chunk(responseId="r", modelVersion="m"))) == [OPAQUE]


def test_thoughts_are_reasoning_and_signatures_stand_before_what_they_sign() -> None:
    thought = {"text": "hm", "thought": True, "thoughtSignature": "s1"}
    call = {"functionCall": {"name": "f", "args": {"b": 1, "a": "x"}, "id": "c"}, "thoughtSignature": "s2"}
    assert said(thought, {"text": "yes"}, call, {"text": "", "thoughtSignature": "s3"}) == [
        Reasoning("hm", signature="s1"),
        Text("yes"),
        Reasoning("", signature="s2"),
        ToolCall(0, "c", "f", '{"b":1,"a":"x"}'),
        Reasoning("", signature="s3"),
    ]


def test_media_counts_its_bytes_as_encoded() -> None:
    audio = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAAAAAA"}}
    assert said(audio, image) == [Media("audio", 4), Media("image", 8)]


def test_tools_that_google_runs_are_server_tools() -> None:
    code, result = {"executableCode": {"code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}
    search = {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}}
    assert said(code, result, search) == [
        ServerTool("code_execution"),
        ServerTool("code_execution"),
        ServerTool("GOOGLE_SEARCH_WEB"),
    ]


def test_a_call_without_args_has_none() -> None:
    assert said({"functionCall": {"name": "f"}}) == [ToolCall(0, "", "f", "{}")]


def test_calls_are_numbered_for_each_candidate() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    events = decode(chunk(parts(call, call, index=0), parts(call, index=1)))
    assert [(e.choice, e.index) for e in events if isinstance(e, ToolCall)] == [(0, 0), (0, 1), (1, 0)]


def test_candidates_without_an_index_go_by_their_place() -> None:
    events = decode(chunk(parts({"text": "a"}), parts({"text": "b"})))
    assert events[:2] == [Text("a", 0), Text("b", 1)]


def streamed(**call: Any) -> Json:
    return {"functionCall": call}


PLACE = {"jsonPath": "$.place", "stringValue": "Rome"}


def test_arguments_in_pieces_are_one_call() -> None:
    events = said(
        streamed(name="f", willContinue=True),
        streamed(partialArgs=[PLACE | {"willContinue": True}], willContinue=True),
        streamed(partialArgs=[PLACE | {"stringValue": ""}], willContinue=True),
        streamed(),
        streamed(name="f", willContinue=True),
        streamed(),
    )
    pieces = ['{"place":"Rome', '"', "}"]
    assert events == [
        ToolCall(0, "", "f"),
        *[ToolCall(0, arguments=piece) for piece in pieces],
        ToolCall(1, "", "f"),
        ToolCall(1, arguments="{}"),
    ]


@pytest.mark.parametrize("after", [{"name": "g", "args": {}}, {"name": "f", "willContinue": True}])
def test_a_new_call_ends_the_one_before(after: Json) -> None:
    events = said(streamed(name="f", partialArgs=[PLACE], willContinue=True), streamed(**after))
    assert events[:3] == [ToolCall(0, "", "f"), ToolCall(0, arguments='{"place":"Rome"'), ToolCall(0, arguments="}")]
    assert [e.index for e in events if isinstance(e, ToolCall) and e.name] == [0, 1]


def test_a_call_ends_with_the_piece_that_says_so_or_else_with_the_finish() -> None:
    last = parts(streamed(name="f", partialArgs=[PLACE]))
    ended = [ToolCall(0, "", "f"), ToolCall(0, arguments='{"place":"Rome"'), ToolCall(0, arguments="}")]
    assert decode(chunk(last), chunk(parts({"text": "a"}))) == [*ended, Text("a"), TRUNCATED]
    open_ = parts(streamed(name="f", partialArgs=[PLACE], willContinue=True))
    assert decode(chunk(open_), chunk(parts(finish="STOP"))) == [*ended, Finish("STOP"), END]


def test_a_call_that_repeats_its_id_goes_on() -> None:
    part = streamed(name="f", id="c", partialArgs=[PLACE], willContinue=True)
    more = streamed(name="f", id="c", partialArgs=[{"jsonPath": "$.n", "numberValue": 1}])
    assert [e.index for e in said(part, more) if isinstance(e, ToolCall)] == [0, 0, 0, 0]


def test_a_call_cut_off_stays_open() -> None:
    events = decode(chunk(parts(streamed(name="f", partialArgs=[PLACE], willContinue=True))))
    assert events == [ToolCall(0, "", "f"), ToolCall(0, arguments='{"place":"Rome"'), TRUNCATED]


# Usage


def test_usage_counts_thoughts_as_output_and_tool_results_as_input() -> None:
    raw = {
        "promptTokenCount": 147,
        "candidatesTokenCount": 108,
        "thoughtsTokenCount": 168,
        "toolUsePromptTokenCount": 360,
        "cachedContentTokenCount": 40,
        "totalTokenCount": 783,
    }
    (usage,) = [e for e in decode(chunk(usageMetadata=raw)) if isinstance(e, Usage)]
    assert usage == Usage(507, 276, 40, None, 168, raw)
    assert raw["totalTokenCount"] == 507 + 276


def test_usage_that_no_count_can_be_is_none() -> None:
    raw = {"promptTokenCount": 2**70, "candidatesTokenCount": -1, "responseTokenCount": 7, "thoughtsTokenCount": 2**53}
    (usage,) = [e for e in decode(chunk(usageMetadata=raw)) if isinstance(e, Usage)]
    assert usage == Usage(None, 7, None, None, None, raw)


def test_usage_that_counts_nothing_is_none() -> None:
    assert decode(chunk(usageMetadata={"trafficType": "ON_DEMAND"})) == [TRUNCATED]
