from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import ollama
import pytest
from hypothesis import given

from encoded import OPTIONS, arbitrary, encode, events_of, recordings, until_over
from exchanges import Exchange, fold, of
from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.ollama.answer import OllamaEncoder, ollama_done_reason, write_answer, write_error
from midstream.dialects.ollama.chat import OllamaDecoder
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

START = Start("", "qwen3:4b")
HEAD = {"model": "qwen3:4b", "created_at": "2023-11-14T22:13:20Z"}
GENERATE = AnswerOptions(id="st_1", model="asked", created=1_700_000_000, path="/api/generate")


def encoded(*events: Event, options: AnswerOptions = OPTIONS) -> list[Any]:
    frames = encode(OllamaEncoder(options), events)
    assert all(frame == Frame(frame.data) for frame in frames), "frames carry data only"
    assert not any(b"\n" in frame.data for frame in frames)
    return [json.loads(frame.data) for frame in frames]


def messages(*events: Event) -> list[Any]:
    """The messages before the last line."""
    return [line["message"] for line in encoded(START, *events, END)[:-1]]


def said(content: str = "", **more: Any) -> Any:
    return {"role": "assistant", "content": content, **more}


def test_an_answer_from_first_line_to_last() -> None:
    usage = Usage(10, 7, raw={"eval_duration": 5, "total_duration": 9, "prompt_eval_count": 10})
    assert encoded(START, Text('a"\n'), Text("é"), Finish("end_turn"), usage, END) == [
        {**HEAD, "message": said('a"\n'), "done": False},
        {**HEAD, "message": said("é"), "done": False},
        {
            **HEAD,
            "message": said(),
            "done": True,
            "done_reason": "stop",
            "total_duration": 9,
            "eval_duration": 5,
            "prompt_eval_count": 10,
            "eval_count": 7,
        },
    ]


def test_generate_has_a_response_and_no_message() -> None:
    assert encoded(START, Text("a"), Text("b"), Reasoning("t"), ToolCall(0, "", "f"), END, options=GENERATE) == [
        {**HEAD, "response": "a", "done": False},
        {**HEAD, "response": "b", "done": False},
        {**HEAD, "response": "", "thinking": "t", "done": False},
        {**HEAD, "response": "", "done": True, "done_reason": "stop"},
    ]


def test_an_answer_without_content_is_a_whole_one() -> None:
    assert encoded(END) == [{**HEAD, "model": "asked", "message": said(), "done": True, "done_reason": "stop"}]


def test_nothing_follows_the_end() -> None:
    assert len(encoded(END, Text("x"), END, Failure("x"))) == 1


def test_a_broken_answer_is_never_done() -> None:
    lines = encoded(START, Text("a"), Finish("stop"), Failure("gone"), END)
    assert [line.get("done") for line in lines] == [False, None]
    assert lines[1] == {"error": "gone"} == write_error(Failure("gone"))


def test_an_error_without_a_message_still_raises() -> None:
    assert encoded(Failure("")) == [{"error": "the provider sent an error"}]


def test_the_model_does_not_change_once_said() -> None:
    assert {line["model"] for line in encoded(START, Text("a"), Start("", "other"), Text("b"), END)} == {"qwen3:4b"}


def test_calls_are_whole_each_in_a_line() -> None:
    calls = [ToolCall(0, "c1", "f", '{"a"'), ToolCall(0, arguments=":1}"), ToolCall(1, "", "g")]
    assert messages(*calls) == [
        said(tool_calls=[{"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}]),
        said(tool_calls=[{"function": {"index": 1, "name": "g", "arguments": {}}}]),
    ]


def test_a_text_comes_after_its_call() -> None:
    assert [list(m) for m in messages(ToolCall(0, "", "f", "{}"), Text("a"))] == [
        ["role", "content", "tool_calls"],
        ["role", "content"],
    ]


def test_a_call_that_never_became_whole_is_an_error_as_from_ollama_itself() -> None:
    lines = encoded(START, Text("a"), ToolCall(0, "c", "f", '{"a": "b'), Finish("stop"), END)
    assert [list(line) for line in lines[1:]] == [["error"]]


def test_a_call_cut_off_by_the_limit_is_left_out() -> None:
    lines = encoded(START, ToolCall(0, "c", "f", '{"a": "b'), Finish("length"), END)
    assert [(line["done"], line["done_reason"]) for line in lines] == [(True, "length")]


def test_arguments_over_the_limit_end_the_answer_with_an_error() -> None:
    assert [list(line) for line in encoded(ToolCall(0, "c", "f", "x" * (HELD_LIMIT + 1)), END)] == [["error"]]


def test_thinking_and_what_has_no_place() -> None:
    events: list[Event] = [
        Reasoning("hm", signature="s"),
        Refusal("no"),
        Media("audio", 9, "ah"),
        ServerTool("search"),
        OPAQUE,
    ]
    assert messages(*events, Reasoning("", signature="s")) == [said(thinking="hm"), said("no"), said("ah")]


def test_other_choices_are_left_out() -> None:
    assert messages(Text("b", 1), ToolCall(0, "", "f", "{}", 1), Text("a"), Finish("length", 1)) == [said("a")]


def test_half_an_emoji_is_escaped() -> None:
    assert messages(Text("\ud83d"), Text("\ud83d")) == [said("\ud83d"), said("\ud83d")]


@pytest.mark.parametrize("created", [-(10**20), 10**20])
def test_no_time_is_out_of_range(created: int) -> None:
    assert encoded(END, options=AnswerOptions(id="", model="m", created=created))


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("tool_calls", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("load", "load"),
        ("", "stop"),
    ],
)
def test_done_reasons(reason: str, word: str) -> None:
    assert ollama_done_reason(reason) == word


def test_a_whole_answer() -> None:
    events: list[Event] = [
        START,
        Reasoning("h"),
        Reasoning("m"),
        Text("a"),
        Text("b"),
        ToolCall(0, "c", "f"),
        Usage(1, 2),
        END,
    ]
    answer = write_answer(events, OPTIONS)
    call = {"id": "c", "function": {"index": 0, "name": "f", "arguments": {}}}
    assert answer == {
        **HEAD,
        "message": said("ab", thinking="hm", tool_calls=[call]),
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 1,
        "eval_count": 2,
    }
    assert write_answer(events, GENERATE)["response"] == "ab"


def test_half_an_answer_is_an_error() -> None:
    unclosed: list[Event] = [ToolCall(0, "c", "f", "{"), Finish("stop"), END]
    halves: list[list[Event]] = [[START, Text("a"), Failure("x")], [START], unclosed]
    for events in halves:
        with pytest.raises(Unwritable):
            write_answer(events, OPTIONS)


@given(arbitrary())
def test_any_events_make_one_valid_lifecycle(events: list[Event]) -> None:
    for options in (OPTIONS, GENERATE):
        lines = encoded(*events, options=options)
        shape = ollama.GenerateResponse if options is GENERATE else ollama.ChatResponse
        assert all(shape.model_validate(line) for line in lines if "error" not in line)
        assert [line.get("done") for line in lines[:-1]] == [False] * (len(lines) - 1)
        assert lines[-1].get("done") is True or list(lines[-1]) == ["error"]
        assert isinstance(until_over(events)[-1], Failure) <= ("error" in lines[-1])
        with contextlib.suppress(Unwritable):
            write_answer(events, options)


@given(arbitrary())
def test_our_own_decoder_reads_what_was_said(events: list[Event]) -> None:
    before = fold(until_over(events))
    decoder = OllamaDecoder()
    read = [e for frame in encode(OllamaEncoder(OPTIONS), events) for e in decoder.feed(frame)] + decoder.close()
    after = fold(read)
    assert not after.malformed
    assert after.ended <= before.ended
    assert after.reasoning == before.reasoning


def _accumulated(events: list[Event]) -> Any:
    """What Ollama's own SDK makes of the stream."""
    body = b"".join(frame.data + b"\n" for frame in encode(OllamaEncoder(OPTIONS), events))
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    client = ollama.Client(host="http://ollama.test", transport=transport)
    text, calls, line = "", [], None
    for line in client.chat(model="m", messages=[], stream=True):
        text += line.message.content or ""
        calls += [(call.function.name, call.function.arguments) for call in line.message.tool_calls or []]
    return text, calls, line


@pytest.mark.parametrize("exchange", recordings(), ids=lambda e: e.id)
def test_ollamas_sdk_reads_every_recording(exchange: Exchange) -> None:
    events = events_of(exchange)
    told = fold(events)
    expected, broken = whole(told)
    reasons = [e for e in events if isinstance(e, Finish) and e.choice == 0]
    known = openai_finish_reason(reasons[-1].reason, reasons[-1].detail) if reasons else "stop"
    if told.failure is not None or (broken and known != "length"):
        with pytest.raises(ollama.ResponseError) as raised:
            _accumulated(events)
        assert told.failure is None or raised.value.error == told.failure.message
        return
    text, calls, last = _accumulated(events)
    assert text == told.text + told.refusal + told.transcript
    assert calls == [(name, arguments) for _, name, arguments in expected]
    assert last.model == (told.model or "asked")
    assert last.done
    assert last.done_reason in (known.replace("tool_calls", "stop"), told.finish_reason)
    if told.usage_events:
        counted = told.usage_events[-1]
        assert (last.prompt_eval_count, last.eval_count) == (counted.input_tokens, counted.output_tokens)


@pytest.mark.parametrize("exchange", of("api/chat"), ids=lambda e: e.id)
def test_ollamas_own_recordings_are_said_again(exchange: Exchange) -> None:
    events = events_of(exchange)
    decoder = OllamaDecoder()
    again = [e for frame in encode(OllamaEncoder(OPTIONS), events) for e in decoder.feed(frame)] + decoder.close()
    before, after = fold(events), fold(again)
    assert (after.texts, after.reasoning, after.tool_calls) == (before.texts, before.reasoning, before.tool_calls)
    assert (after.finishes, after.usage, after.ended) == (before.finishes, before.usage, before.ended)
