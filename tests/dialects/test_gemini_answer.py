from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from google.genai import errors, types
from hypothesis import given

import google_sdk
from encoded import OPTIONS, arbitrary, encode, events_of, recordings, sse, until_over
from exchanges import Exchange, fold, of
from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.gemini.answer import GeminiEncoder, write_answer
from midstream.dialects.gemini.generate import GEMINI, GeminiDecoder
from midstream.dialects.gemini.words import gemini_finish_reason, write_error
from midstream.dialects.whole_calls import HELD_LIMIT
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Media,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from whole_tool_calls import whole

START = Start("kaVuaPDnI5aQmtkP8ZOeqAE", "gemini-2.5-flash")
NAMES = {"modelVersion": "gemini-2.5-flash", "responseId": "kaVuaPDnI5aQmtkP8ZOeqAE"}


def encoded(*events: Event, options: AnswerOptions = OPTIONS) -> list[Any]:
    frames = encode(GeminiEncoder(options), events)
    assert all(frame == Frame(frame.data) for frame in frames), "frames carry data only"
    return [json.loads(frame.data) for frame in frames]


def parts(*events: Event) -> list[Any]:
    """The parts of candidate 0 before the last chunk."""
    chunks = encoded(START, *events, END)[:-1]
    return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]


def last(*events: Event) -> Any:
    return encoded(START, *events, END)[-1]


def candidate(part: Any, index: int = 0) -> Any:
    return {"content": {"parts": [part], "role": "model"}, "index": index}


def test_an_answer_from_first_chunk_to_last() -> None:
    usage = Usage(10, 7, cached_tokens=4, reasoning_tokens=2)
    counts = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "totalTokenCount": 17,
        "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 2,
    }
    assert encoded(START, Text('a"\n'), Text("é"), Finish("end_turn"), usage, END) == [
        {"candidates": [candidate({"text": 'a"\n'})], **NAMES},
        {"candidates": [candidate({"text": "é"})], **NAMES},
        {"candidates": [{**candidate({"text": ""}), "finishReason": "STOP"}], **NAMES, "usageMetadata": counts},
    ]


def test_an_answer_without_content_is_a_whole_one() -> None:
    chunk = {**candidate({"text": ""}), "finishReason": "STOP"}
    assert encoded(END) == [{"candidates": [chunk], "modelVersion": "asked", "responseId": "st_1"}]


def test_a_reason_and_usage_wait_for_the_end() -> None:
    assert encoded(START, Finish("stop"), Usage(1, 2)) == []


def test_nothing_follows_the_end() -> None:
    assert len(encoded(END, Text("x"), END, Failure("x"))) == 1


def test_a_broken_answer_has_no_finish_reason() -> None:
    chunks = encoded(START, Text("a"), Finish("stop"), Failure("gone", type="truncated"), END)
    assert [list(chunk) for chunk in chunks] == [["candidates", "modelVersion", "responseId"], ["error"]]
    assert "finishReason" not in chunks[0]["candidates"][0]


def test_an_id_of_another_shape_is_replaced_and_the_model_is_the_providers() -> None:
    chunk = encoded(Start("chatcmpl-1", "gpt-4o"), Text("a"))[0]
    assert (chunk["responseId"], chunk["modelVersion"]) == ("st_1", "gpt-4o")


def test_names_do_not_change_once_said() -> None:
    chunks = encoded(START, Text("a"), Start("AAAAAAAAAAAAAAAAAAAAAA", "other"), Text("b"), END)
    assert {(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks} == {tuple(NAMES.values())[::-1]}


def test_a_call_is_held_until_the_next_one_begins() -> None:
    encoder = GeminiEncoder(OPTIONS)
    assert encode(encoder, [START, ToolCall(0, "c1", "f", '{"a"'), ToolCall(0, arguments=":1}")]) == []
    (frame,) = encode(encoder, [ToolCall(1, "c2", "g")])
    call = {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}
    assert json.loads(frame.data)["candidates"] == [candidate(call)]


def test_interleaved_calls_keep_their_order_and_their_arguments() -> None:
    said = parts(
        ToolCall(0, "c1", "f", '{"a":'),
        ToolCall(1, "c2", "g", '{"b":'),
        ToolCall(0, arguments="1}"),
        ToolCall(1, arguments="2}"),
    )
    assert [part["functionCall"] for part in said] == [
        {"id": "c1", "name": "f", "args": {"a": 1}},
        {"id": "c2", "name": "g", "args": {"b": 2}},
    ]


def test_a_call_without_arguments_has_none_and_a_text_comes_after_its_call() -> None:
    assert parts(ToolCall(0, "", "f")) == [{"functionCall": {"name": "f", "args": {}}}]
    assert [list(part) for part in parts(ToolCall(0, "", "f", "{}"), Text("a"))] == [["functionCall"], ["text"]]


@pytest.mark.parametrize(
    ("reason", "word"),
    [("tool_calls", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS"), ("", "MALFORMED_FUNCTION_CALL")],
)
def test_a_call_that_never_became_whole_is_left_out_and_told(reason: str, word: str) -> None:
    events: list[Event] = [ToolCall(0, "c", "f", '{"a": "b'), Finish(reason)]
    assert parts(*events) == []
    assert last(*events)["candidates"][0]["finishReason"] == word


def test_arguments_that_are_no_object_are_malformed() -> None:
    assert last(ToolCall(0, "c", "f", "[1]"))["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_arguments_over_the_limit_end_the_answer_with_an_error() -> None:
    piece = "x" * (HELD_LIMIT // 2)
    chunks = encoded(ToolCall(0, "c", "f", piece), ToolCall(0, arguments=piece), ToolCall(0, arguments="y"), END)
    assert [list(chunk) for chunk in chunks] == [["error"]]


def test_thoughts_are_parts_of_their_own() -> None:
    assert parts(Reasoning("hm"), Text("a")) == [{"text": "hm", "thought": True}, {"text": "a"}]


def test_a_signature_goes_with_the_part_it_signs() -> None:
    signed: list[Event] = [
        Reasoning("", signature="s1"),
        ToolCall(0, "", "f", "{}"),
        Reasoning("t", signature="s2"),
        Text("a"),
    ]
    assert parts(*signed) == [
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s1"},
        {"text": "t", "thought": True, "thoughtSignature": "s2"},
        {"text": "a"},
    ]
    assert last(Reasoning("", signature="s"))["candidates"][0]["content"]["parts"] == [
        {"text": "", "thoughtSignature": "s"}
    ]


def test_a_signature_of_a_tool_that_google_ran_is_not_put_on_another_part() -> None:
    assert parts(Reasoning("", signature="s"), ServerTool("search"), Text("a")) == [{"text": "a"}]


def test_two_signatures_in_a_row_are_two_parts() -> None:
    assert parts(Reasoning("", signature="s1"), Reasoning("", signature="s2"), Text("a")) == [
        {"text": "", "thoughtSignature": "s1"},
        {"text": "a", "thoughtSignature": "s2"},
    ]


def test_another_models_signature_is_not_passed_on() -> None:
    chunks = encoded(Start("", "claude-sonnet-4"), Reasoning("t", signature="EqoB"), Reasoning("", signature="x"), END)
    assert "thoughtSignature" not in json.dumps(chunks)


def test_refusals_and_transcripts_are_texts_and_what_has_no_place_is_left_out() -> None:
    assert parts(Refusal("no"), Media("audio", 9, "ah"), Media("image", 9), ServerTool("search"), OPAQUE) == [
        {"text": "no"},
        {"text": "ah"},
    ]


def test_candidates_end_together_in_the_last_chunk() -> None:
    chunks = encoded(START, Text("b", 1), Text("a"), Finish("length", 1), Finish("stop"), END)
    assert [c["index"] for chunk in chunks[:-1] for c in chunk["candidates"]] == [1, 0]
    assert [(c["index"], c["finishReason"]) for c in chunks[-1]["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]


def test_half_an_emoji_is_escaped() -> None:
    assert parts(Text("\ud83d"), Text("\ud83d")) == [{"text": "\ud83d"}, {"text": "\ud83d"}]


def test_code_assist_wraps_each_chunk_but_no_error() -> None:
    options = AnswerOptions(id="a", model="m", created=1, path="/v1internal:streamGenerateContent")
    chunks = encoded(Text("a"), Text("b"), Failure("x"), options=options)
    assert [list(chunk) for chunk in chunks] == [["response"], ["response"], ["error"]]
    assert chunks[1]["response"]["candidates"] == [candidate({"text": "b"})]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("max_tokens", "MAX_TOKENS"),
        ("tool_use", "STOP"),
        ("content_filter", "SAFETY"),
        ("RECITATION", "RECITATION"),
        ("2", "MAX_TOKENS"),
        ("COMPLETE", "STOP"),
        ("SOME_NEW_WORD", "OTHER"),
        ("", "STOP"),
    ],
)
def test_finish_reasons_in_geminis_words(reason: str, word: str) -> None:
    assert gemini_finish_reason(reason) == word


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure("slow down", "rate_limit_error", "rate", 429), (429, "RESOURCE_EXHAUSTED")),
        (Failure("cut", "truncated"), (503, "UNAVAILABLE")),
        (Failure("x", "FAILED_PRECONDITION", "400", 400), (400, "FAILED_PRECONDITION")),
        (Failure("x", "overloaded_error", "", 529), (529, "UNAVAILABLE")),
        (Failure("x", "", "418"), (418, "INVALID_ARGUMENT")),
        (Failure("x", "", "context_length_exceeded"), (500, "INTERNAL")),
    ],
)
def test_errors_in_geminis_words(failure: Failure, error: tuple[int, str]) -> None:
    assert write_error(failure) == {"error": {"code": error[0], "message": failure.message, "status": error[1]}}


def test_googles_own_error_keeps_its_details() -> None:
    raw = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}
    assert write_error(Failure("m", "RESOURCE_EXHAUSTED", "429", 429, raw)) == {"error": raw}


def test_a_blocked_prompt_is_an_answer_without_candidates() -> None:
    (chunk,) = encoded(START, Failure("no", "prompt_blocked", "SAFETY"))
    assert chunk == {"promptFeedback": {"blockReason": "SAFETY"}, **NAMES}


def test_a_whole_answer() -> None:
    events: list[Event] = [
        START,
        Reasoning("h"),
        Reasoning("m"),
        Text("a"),
        Text("b"),
        ToolCall(0, "c", "f", "{}"),
        Finish("stop"),
        Usage(1, 2),
        END,
    ]
    said = write_answer(events, OPTIONS)
    assert said == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "ab"},
                        {"functionCall": {"id": "c", "name": "f", "args": {}}},
                    ],
                    "role": "model",
                },
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        **NAMES,
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
    }
    assert types.GenerateContentResponse.model_validate(said).text == "ab"


def test_half_an_answer_is_an_error() -> None:
    with pytest.raises(Unwritable, match="x"):
        write_answer([START, Text("a"), Failure("x")], OPTIONS)


@given(arbitrary())
def test_any_events_make_one_valid_lifecycle(events: list[Event]) -> None:
    chunks = encoded(*events)
    assert all(types.GenerateContentResponse.model_validate(c) for c in chunks if "error" not in c)
    finished = [chunk for chunk in chunks if "finishReason" in json.dumps(chunk.get("candidates"))]
    failed = [chunk for chunk in chunks if "error" in chunk or "promptFeedback" in chunk]
    assert len(finished) + len(failed) == 1
    assert (finished or failed) == chunks[-1:]
    if finished:
        assert all(c["finishReason"] for c in chunks[-1]["candidates"])
    with contextlib.suppress(Unwritable):
        write_answer(events, OPTIONS)


@given(arbitrary())
def test_our_own_decoder_reads_what_was_said(events: list[Event]) -> None:
    before = fold(until_over(events))
    decoder = GeminiDecoder()
    read = [e for frame in encode(GeminiEncoder(OPTIONS), events) for e in decoder.feed(frame)] + decoder.close()
    after = fold(read)
    assert not after.malformed
    assert after.ended == before.ended
    assert after.reasoning == before.reasoning


def _accumulated(events: list[Event]) -> Any:
    """What Google's own SDK makes of the stream."""
    body = sse(encode(GeminiEncoder(OPTIONS), events))
    client = google_sdk.client(200, "text/event-stream", body)
    text, calls, finish, usage, model = "", [], None, None, None
    for chunk in client.models.generate_content_stream(model="m", contents="hi"):
        model = chunk.model_version
        usage = chunk.usage_metadata or usage
        for one in chunk.candidates or []:
            if one.index == 0:
                finish = one.finish_reason or finish
                for part in (one.content and one.content.parts) or []:
                    text += "" if part.thought else part.text or ""
                    calls += [part.function_call] if part.function_call else []
    return text, calls, finish, usage, model


@pytest.mark.parametrize("exchange", recordings(), ids=lambda e: e.id)
def test_googles_sdk_reads_every_recording(exchange: Exchange) -> None:
    events = events_of(exchange)
    said = fold(events)
    if said.failure is not None:
        if said.failure.type == "prompt_blocked":
            return
        with pytest.raises(errors.APIError) as raised:
            _accumulated(events)
        assert raised.value.message == said.failure.message
        return
    text, calls, finish, usage, model = _accumulated(events)
    assert text == said.text + said.refusal + said.transcript
    expected, broken = whole(said)
    assert [(call.id or "", call.name, call.args) for call in calls] == expected
    assert model == (said.model or "asked")
    reasons = [e for e in events if isinstance(e, Finish) and e.choice == 0]
    reason, detail = (reasons[-1].reason, reasons[-1].detail) if reasons else ("", "")
    known = openai_finish_reason(reason, detail)
    if broken and known != "length":
        assert finish.value == "MALFORMED_FUNCTION_CALL"
    else:
        assert GEMINI.finish_reasons.get(finish.value, "stop") == known.replace("tool_calls", "stop")
    if said.usage_events:
        counted = said.usage_events[-1]
        assert usage.prompt_token_count == counted.input_tokens
        if counted.output_tokens is not None:
            thoughts = counted.reasoning_tokens or 0
            assert usage.candidates_token_count == max(counted.output_tokens - thoughts, 0)


@pytest.mark.parametrize("exchange", of("streamGenerateContent"), ids=lambda e: e.id)
def test_geminis_own_recordings_are_said_again(exchange: Exchange) -> None:
    """Text, thoughts, signatures, calls, usage and finish reasons, as the decoder read them the first time."""
    events = events_of(exchange)
    decoder = GeminiDecoder()
    again = [e for frame in encode(GeminiEncoder(OPTIONS), events) for e in decoder.feed(frame)] + decoder.close()
    before, after = fold(events), fold(again)
    assert (after.texts, after.reasoning, after.tool_calls) == (before.texts, before.reasoning, before.tool_calls)
    assert after.finishes == {n: gemini_finish_reason(reason) for n, reason in before.finishes.items()}
    assert after.ended == before.ended
    signatures = [[e.signature for e in side if isinstance(e, Reasoning) and e.signature] for side in (events, again)]
    if not any(isinstance(event, ServerTool) for event in events):
        assert signatures[0] == signatures[1]
    if before.usage_events:
        counts = [
            (u.input_tokens, u.output_tokens, u.cached_tokens)
            for u in (before.usage_events[-1], after.usage_events[-1])
        ]
        assert counts[0] == counts[1]
