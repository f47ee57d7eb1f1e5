from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from openai.lib.streaming.chat import ChatCompletionStreamState

import exchanges
from encoded import OPTIONS, arbitrary, client, dialects, encode, events_of, recordings, sse, until_over
from exchanges import Exchange, Said, decode, fold
from midstream.dialects.base import AnswerOptions, Dialect, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.chat_answer import ChatEncoder, write_answer, write_error
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
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

START = Start("chatcmpl-9", "gpt", 7)


def encoded(*events: Event, options: AnswerOptions = OPTIONS) -> list[Any]:
    """The chunks, parsed; `[DONE]` as it is."""
    frames = encode(ChatEncoder(options), events)
    assert all(frame == Frame(frame.data) for frame in frames), "frames carry data only"
    return [frame.data if frame.data == b"[DONE]" else json.loads(frame.data) for frame in frames]


def deltas(*events: Event) -> list[Any]:
    """The deltas between the chunk that opens the answer and END's."""
    return [chunk["choices"][0]["delta"] for chunk in encoded(*events)[1:]]


def test_an_answer_from_first_chunk_to_last() -> None:
    def chunk(delta: Any, reason: str | None = None) -> Any:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**head, "choices": [choice]}

    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 7, "model": "gpt"}
    usage = Usage(10, 5, cached_tokens=4, reasoning_tokens=2)
    assert encoded(START, Text('a"\n'), Text("é"), Finish("stop"), usage, END) == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": 'a"\n'}),
        chunk({"content": "é"}),
        chunk({"content": ""}, "stop"),
        {
            **head,
            "choices": [],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
        b"[DONE]",
    ]


def test_an_answer_without_content_is_a_whole_one() -> None:
    role, finish, done = encoded(END)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert done == b"[DONE]"


def test_nothing_is_written_before_the_first_content() -> None:
    assert encoded(START, OPAQUE, Malformed("x"), ServerTool("search"), Usage(1, 1)) == []


def test_a_later_start_names_what_the_first_left_empty() -> None:
    chunk = encoded(Start(), Start("chatcmpl-2", "served", 3), Text("a"))[-1]
    assert (chunk["id"], chunk["model"], chunk["created"]) == ("chatcmpl-2", "served", 3)


def test_the_first_attempts_names_stay() -> None:
    chunk = encoded(START, Text("a"), Start("chatcmpl-other", "other", 8), Text("b"))[-1]
    assert (chunk["id"], chunk["model"], chunk["created"]) == ("chatcmpl-9", "gpt", 7)


@pytest.mark.parametrize("id_", ["", "msg_01", "resp_1", "gen-3"])
def test_an_id_of_another_shape_is_replaced(id_: str) -> None:
    chunk = encoded(Start(id_, "m"), Text("a"))[0]
    assert (chunk["id"], chunk["created"]) == ("chatcmpl-st_1", OPTIONS.created)


def test_the_options_id_is_kept_where_it_has_the_shape() -> None:
    options = AnswerOptions(id="chatcmpl-mine", model="m", created=1)
    assert encoded(Text("a"), options=options)[0]["id"] == "chatcmpl-mine"


def test_reasoning_is_reasoning_content() -> None:
    assert deltas(START, Reasoning("hm"), Reasoning("", signature="s")) == [{"content": "", "reasoning_content": "hm"}]


def test_a_refusal() -> None:
    assert deltas(START, Refusal("no")) == [{"content": "", "refusal": "no"}]


def test_a_transcript_is_audios() -> None:
    said = deltas(START, Media("audio", 100), Media("audio", 0, "hi"), Media("image", 9))
    assert said == [{"content": "", "audio": {"transcript": "hi"}}]


def test_tool_calls_in_fragments() -> None:
    said = deltas(
        START,
        ToolCall(0, "c1", "f"),
        ToolCall(0, arguments='{"a"'),
        ToolCall(1, "c2", "g", "{}"),
        ToolCall(0, arguments=":1}"),
    )
    assert [delta["content"] for delta in said] == [""] * 4
    assert [delta["tool_calls"] for delta in said] == [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    ]


def test_calls_without_an_id_get_ones_of_their_own_and_short_enough_to_be_sent_back() -> None:
    options = AnswerOptions(id="x" * 99, model="m", created=1)
    chunks = encoded(ToolCall(0, "", "f"), ToolCall(1, "", "f"), ToolCall(0, "", "f", choice=1), options=options)
    ids = [call["id"] for c in chunks for call in c["choices"][0]["delta"].get("tool_calls", ())]
    assert len(set(ids)) == 3
    assert all(id_.startswith("call_") and len(id_) <= 40 for id_ in ids)


def test_a_call_without_arguments_gets_empty_ones_before_the_finish() -> None:
    *_, empty, finish = encoded(START, ToolCall(0, "c", "f"), Finish("tool_use"))
    assert empty["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]
    assert finish["choices"][0]["finish_reason"] == "tool_calls"


def test_several_choices_each_open_and_finish() -> None:
    chunks = encoded(START, Text("a", 1), Text("b"), Finish("stop", 1), Finish("length", 0), END)
    said = [(c["choices"][0]["index"], c["choices"][0]["delta"], c["choices"][0]["finish_reason"]) for c in chunks[:-1]]
    assert said == [
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "a"}, None),
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"content": "b"}, None),
        (1, {"content": ""}, "stop"),
        (0, {"content": ""}, "length"),
    ]


def test_a_finish_is_told_at_once_and_again_where_content_follows_it() -> None:
    reasons = [c["choices"][0]["finish_reason"] for c in encoded(Text("a"), Finish("length"), Text("b"), END)[:-1]]
    assert reasons == [None, None, "length", None, "length"]


def test_a_missing_finish_is_added_at_the_end() -> None:
    assert encoded(Text("a"), END)[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "events", [(Usage(1, 2), Finish("stop")), (Finish("stop"), Usage(1, 2)), (Usage(9, 9), Usage(1, 2))]
)
def test_usage_is_told_once_after_the_finish_wherever_it_came(events: tuple[Event, ...]) -> None:
    *_, finish, usage, done = encoded(Text("a"), *events, END)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert done == b"[DONE]"


def test_counts_that_nobody_reported_are_left_out() -> None:
    assert encoded(Text("a"), Usage(output_tokens=2), END)[-2]["usage"] == {"completion_tokens": 2}
    assert encoded(Text("a"), Usage(), END)[-2]["choices"] != []


def test_usage_that_was_not_asked_for_is_left_out() -> None:
    options = AnswerOptions(id="i", model="m", created=1, include_usage=False)
    assert not [
        c for c in encoded(Text("a"), Usage(1, 2), END, options=options) if isinstance(c, dict) and "usage" in c
    ]


def test_a_failure_is_the_last_frame_and_no_done_follows() -> None:
    chunks = encoded(Text("a"), Failure("overloaded", "overloaded_error", "x", 529), Text("b"), END)
    assert len(chunks) == 3
    assert chunks[-1] == {
        "error": {"message": "overloaded", "type": "overloaded_error", "param": None, "code": "x"},
    }


def test_nothing_follows_the_end() -> None:
    encoder = ChatEncoder(OPTIONS)
    encoder.feed(END)
    assert [encoder.feed(event) for event in (Text("a"), END, Failure("x"), Usage(1, 1))] == [[], [], [], []]


def test_half_an_emoji_is_escaped() -> None:
    frames = encode(ChatEncoder(OPTIONS), [Text("\ud83d"), Text("\ud83d"), Text("\ude00😀")])
    assert [json.loads(f.data)["choices"][0]["delta"]["content"] for f in frames] == [
        "",
        "\ud83d",
        "\ud83d",
        "\ude00😀",
    ]
    assert all(json.loads(f.data.decode()) for f in frames)


@pytest.mark.parametrize(
    ("word", "detail", "reason"),
    [
        ("stop", "", "stop"),
        ("end_turn", "", "stop"),
        ("stop_sequence", "", "stop"),
        ("STOP", "", "stop"),
        ("COMPLETE", "", "stop"),
        ("FINISH", "", "stop"),
        ("completed", "", "stop"),
        ("length", "", "length"),
        ("max_tokens", "", "length"),
        ("MAX_TOKENS", "", "length"),
        ("model_length", "", "length"),
        ("incomplete", "", "length"),
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("incomplete", "unheard-of", "length"),
        ("cancelled", "", "length"),
        ("tool_calls", "", "tool_calls"),
        ("tool_use", "", "tool_calls"),
        ("TOOL_CALL", "", "tool_calls"),
        ("function_call", "", "tool_calls"),
        ("content_filter", "", "content_filter"),
        ("content_filtered", "", "content_filter"),
        ("SAFETY", "", "content_filter"),
        ("refusal", "", "content_filter"),
        ("guardrail_intervened", "", "content_filter"),
        ("", "", "stop"),
        ("unheard-of", "", "stop"),
    ],
)
def test_finish_reasons_in_openais_words(word: str, detail: str, reason: str) -> None:
    assert openai_finish_reason(word, detail) == reason


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "tool_calls"),
        ("STOP", "tool_calls"),
        ("completed", "tool_calls"),
        ("length", "length"),
        ("SAFETY", "content_filter"),
    ],
)
def test_an_answer_that_stopped_with_tool_calls_stopped_for_them(word: str, reason: str) -> None:
    assert openai_finish_reason(word, called=True) == reason


@pytest.mark.parametrize("dialect", dialects(), ids=lambda d: d.name)
def test_a_dialects_own_table_says_the_same(dialect: Dialect) -> None:
    assert dialect.finish_reasons
    differs = {
        word: (openai_finish_reason(word), own)
        for word, own in dialect.finish_reasons.items()
        if openai_finish_reason(word) != own
        and word not in ("cancelled", "USER_CANCEL")  # not whole: `length` for a client, `stop` in a row
    }
    assert differs == {}


@given(arbitrary())
def test_any_events_make_a_valid_stream(events: list[Event]) -> None:
    chunks = encoded(*events)
    heads = {(c["id"], c["model"], c["created"], c["object"]) for c in chunks if isinstance(c, dict) and "id" in c}
    assert len(heads) <= 1
    last: dict[int, Any] = {}
    for chunk in (c for c in chunks if isinstance(c, dict)):
        for choice in chunk.get("choices", ()):
            number, delta = choice["index"], choice["delta"]
            assert isinstance(delta["content"], str)
            assert (delta.get("role") == "assistant") == (number not in last), (
                "the first chunk of a choice, and only it"
            )
            last[number] = choice["finish_reason"]
    failed = isinstance(until_over(events)[-1], Failure)
    if failed:
        assert list(chunks[-1]) == ["error"]
        assert b"[DONE]" not in chunks
        return
    assert last
    assert all(reason in ("stop", "length", "tool_calls", "content_filter") for reason in last.values())
    assert chunks.index(b"[DONE]") == len(chunks) - 1
    assert [c for c in chunks if isinstance(c, dict) and "usage" in c] in ([], chunks[-2:-1])


@given(arbitrary())
def test_any_events_say_the_same_when_read_again(events: list[Event]) -> None:
    """Our decoder of our encoder: nothing lost, nothing twice."""
    assert OPENAI_CHAT.decoder is not None
    decoder = OPENAI_CHAT.decoder()
    again = fold([e for frame in encode(ChatEncoder(OPTIONS), events) for e in decoder.feed(frame)])
    said = fold(until_over(events))
    assert (again.texts, again.reasoning, again.refusal) == (said.texts, said.reasoning, said.refusal)
    assert again.transcript == said.transcript
    for choice in range(3):
        told, was = calls_of(again, choice), calls_of(said, choice)
        assert told == (was if again.ended else was[: len(told)])


def calls_of(said: Said, choice: int) -> list[str]:
    """The arguments of a choice's calls, in order of appearance."""
    return [call["arguments"] or "{}" for (number, _), call in said.tools.items() if number == choice]


def test_a_text_delta_is_cheap() -> None:
    """At most four times a json.dumps of the text alone, which is far below the 3 µs that are the aim."""
    encoder, text = ChatEncoder(OPTIONS), Text(" and some words more")
    encoder.feed(text)

    def best(run: Any) -> float:
        times = []
        for _ in range(7):
            begun = time.perf_counter()
            for _ in range(2000):
                run()
            times.append(time.perf_counter() - begun)
        return min(times)

    assert best(lambda: encoder.feed(text)) < 4 * best(lambda: json.dumps({"content": text.text}, ensure_ascii=False))


# --- write_answer, write_error


def test_a_whole_answer() -> None:
    answer = write_answer(
        [
            START,
            Reasoning("hm"),
            Text("a"),
            Text("b"),
            ToolCall(0, "c", "f", "{"),
            ToolCall(0, arguments="}"),
            Finish("STOP"),
            Usage(1, 2),
            END,
        ],
        OPTIONS,
    )
    assert answer == {
        "id": "chatcmpl-9",
        "object": "chat.completion",
        "created": 7,
        "model": "gpt",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def test_a_whole_answer_of_several_choices() -> None:
    answer = write_answer([Text("b", 1), Text("a"), Finish("stop"), Finish("length", 1), END], OPTIONS)
    said = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in answer["choices"]]
    assert said == [(0, "a", "stop"), (1, "b", "length")]


def test_an_answer_that_failed_is_an_error() -> None:
    with pytest.raises(Unwritable, match="broke"):
        write_answer([Text("a"), Failure("broke")], OPTIONS)


def test_content_is_null_only_where_something_else_was_said() -> None:
    said = [
        write_answer([event, END], OPTIONS)["choices"][0]["message"]["content"]
        for event in (ToolCall(0, "c", "f"), Refusal("no"), Text("a"), OPAQUE)
    ]
    assert said == [None, None, "a", ""]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_the_sdk_raises_an_error_with_our_words(status: int, raised: type[openai.APIStatusError]) -> None:
    body = write_error(Failure("sorry", code="why", status=status))
    with pytest.raises(raised) as caught:
        client(lambda _: httpx2.Response(status, json=body)).chat.completions.create(model="m", messages=[])
    assert (caught.value.body, caught.value.code) == (body["error"], "why")
    assert caught.value.type


@given(arbitrary())
def test_any_events_make_a_whole_answer_or_an_error(events: list[Event]) -> None:
    with contextlib.suppress(Unwritable):
        said, again = fold(events), fold(OPENAI_CHAT.read_answer(write_answer(events, OPTIONS)))
        assert (again.texts, again.reasoning, again.refusal) == (said.texts, said.reasoning, said.refusal)


# --- what the official SDK makes of every recording, whoever's it is


def sdk_says(body: bytes) -> dict[str, Any]:
    state = ChatCompletionStreamState()
    for chunk in client(body).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(chunk)
    snapshot = state.current_completion_snapshot
    assert snapshot.id.startswith("chatcmpl-")
    assert snapshot.created
    calls = snapshot.choices[0].message.tool_calls or []
    return {
        "model": snapshot.model,
        "texts": {c.index: c.message.content for c in snapshot.choices if c.message.content},
        "refusal": snapshot.choices[0].message.refusal or "",
        "reasoning": getattr(snapshot.choices[0].message, "reasoning_content", None) or "",
        "calls": [(t.id, t.function.name, t.function.arguments) for t in calls],
        "finishes": {c.index: c.finish_reason for c in snapshot.choices},
        "usage": snapshot.usage.to_dict() if snapshot.usage else None,
    }


@pytest.mark.parametrize("exchange", recordings(), ids=lambda e: e.id)
def test_the_sdk_reads_every_recording_as_openais_own(exchange: Exchange) -> None:
    events = events_of(exchange)
    said = fold(events)
    body = sse(encode(ChatEncoder(OPTIONS), events))
    if said.failure is not None:
        with pytest.raises(openai.APIError) as caught:
            sdk_says(body)
        assert caught.value.message == said.failure.message
        return
    sdk = sdk_says(body)
    assert sdk["model"] == (said.model or "asked")
    assert (sdk["texts"], sdk["refusal"], sdk["reasoning"]) == (said.texts, said.refusal, said.reasoning)
    for (id_, name, arguments), call in zip(sdk["calls"], said.tool_calls, strict=True):
        assert (name, arguments) == (call["name"], call["arguments"] or "{}")
        assert id_ == call["id"] or (not call["id"] and id_.startswith("call_"))
    details = {e.choice: e for e in events if isinstance(e, Finish)}
    called = {choice for choice, _ in said.tools}
    assert sdk["finishes"] == {
        n: openai_finish_reason(
            details[n].reason if n in details else "", details[n].detail if n in details else "", called=n in called
        )
        for n in sdk["finishes"]
    }
    assert (sdk["usage"] or {}).get("prompt_tokens") == (
        said.usage_events[-1].input_tokens if said.usage_events else None
    )
    assert (sdk["usage"] or {}).get("completion_tokens") == (
        said.usage_events[-1].output_tokens if said.usage_events else None
    )


@pytest.mark.parametrize(
    "exchange", [e for e in exchanges.of("chat.completions") if e.provider == "openai"], ids=lambda e: e.id
)
def test_openais_own_recordings_come_out_as_they_went_in(exchange: Exchange) -> None:
    """The same events in, and, read again, the same out."""
    events = [e for e in decode(OPENAI_CHAT, exchange, 4096) if e != OPAQUE]
    assert OPENAI_CHAT.decoder is not None
    decoder = OPENAI_CHAT.decoder()
    again = fold([e for frame in encode(ChatEncoder(OPTIONS), events) for e in decoder.feed(frame)])
    said = fold(events)
    called = bool(said.tools)
    assert (again.texts, again.refusal, again.ended) == (said.texts, said.refusal, said.ended)
    assert again.finishes == {
        n: openai_finish_reason(said.finishes.get(n, ""), called=called and n == 0) for n in again.finishes
    }
    assert again.model == said.model
