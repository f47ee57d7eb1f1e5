"""Ollama's chat and generate: lines, ends, errors, requests, recordings, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from google_sdk import ANYTHING, confused, frame
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import TRUNCATED, RequestFacts
from midstream.dialects.ollama.chat import OLLAMA, OllamaDecoder
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json

STREAMS = exchanges.of("api/chat", "api/generate")
ERRORS = exchanges.of("api/chat", "api/generate", kind="error")
COUNTERS = {"total_duration": 9, "prompt_eval_count": 5, "eval_count": 2, "eval_duration": 3}


def chat(**message: Any) -> Json:
    return {
        "model": "m",
        "created_at": "2025-01-01T00:00:00Z",
        "message": {"role": "assistant", **message},
        "done": False,
    }


def done(**more: Any) -> Json:
    return {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **more}


ENDED = [Usage(5, 2, raw=COUNTERS), Finish("stop"), END]


def decode(*lines: Json) -> list[Event]:
    decoder = OllamaDecoder()
    return [event for line in lines for event in decoder.feed(frame(line))] + decoder.close()


# Lines


def test_a_chat_thinks_says_and_ends() -> None:
    events = decode(chat(content="", thinking="hm"), chat(content="a"), chat(content="b"), done(**COUNTERS))
    assert events == [Start(model="m"), Reasoning("hm"), Text("a"), Text("b"), *ENDED]


def test_generate_says_response_and_its_context_is_no_usage() -> None:
    lines = [
        {"model": "m", "response": "a", "thinking": "hm", "done": False},
        {"response": "", "done": True, **COUNTERS},
    ]
    assert decode(*lines) == [Start(model="m"), Reasoning("hm"), Text("a"), ENDED[0], END]
    assert decode(lines[0], lines[1] | {"context": [1, 2]}) == decode(*lines)


def test_tool_calls_are_whole_and_numbered_across_lines() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    bare = {"function": {"index": 0, "name": "g", "arguments": {}}}
    events = decode(chat(content="", tool_calls=[call, bare]), chat(tool_calls=[call]), done(**COUNTERS))
    one, two = ToolCall(0, "c", "f", '{"a":1}'), ToolCall(1, "", "g", "{}")
    assert events == [Start(model="m"), one, two, ToolCall(2, "c", "f", '{"a":1}'), *ENDED]


def test_images_are_media() -> None:
    events = decode({"model": "x", "image": "AAAA", "done": False}, done(**COUNTERS))
    assert Media("image", 4) in events


def test_an_answer_not_streamed_is_one_line() -> None:
    line = {**chat(content="a"), **COUNTERS, "done": True, "done_reason": "stop"}
    whole = [Start(model="m"), Text("a"), *ENDED]
    assert decode(line) == OLLAMA.read_answer(line) == whole
    decoder = AnswerDecoder(OLLAMA, content_type="application/json; charset=utf-8")
    assert decoder.feed(json.dumps(line).encode()) + decoder.close() == whole


def test_progress_means_nothing() -> None:
    assert OllamaDecoder().feed(frame({"completed": 1, "total": 2})) == [OPAQUE]
    assert OllamaDecoder().feed(frame(chat(content="")))[1:] == []


# How an answer ends


def test_without_done_an_answer_is_truncated() -> None:
    assert decode() == [TRUNCATED]
    assert decode(chat(content="a")) == [Start(model="m"), Text("a"), TRUNCATED]
    assert OLLAMA.read_answer(chat(content="a"))[-1] == TRUNCATED


def test_a_count_that_is_left_out_is_not_known() -> None:
    raw = {"eval_count": 2}
    assert decode(done(**raw))[1:] == [Usage(None, 2, raw=raw), Finish("stop"), END]
    assert decode(done(load_duration=1))[1:] == [Finish("stop"), END]


def test_nothing_means_anything_after_the_end() -> None:
    decoder = OllamaDecoder()
    decoder.feed(frame(done()))
    assert decoder.feed(frame(chat(content="late"))) == [OPAQUE]


def test_an_error_in_the_stream_is_what_the_client_raises() -> None:
    line = {"error": "an error was encountered while running the model"}
    events = decode(chat(content="a"), line)
    assert events == [Start(model="m"), Text("a"), Failure(line["error"], raw=line)]
    body = b"".join(json.dumps(one).encode() + b"\n" for one in (chat(content="a"), line))
    with pytest.raises(ollama.ResponseError) as raised:
        list(client_of(200, body).chat("m", [], stream=True))
    assert raised.value.error == line["error"]


def test_an_error_may_be_an_object() -> None:
    (failure,) = decode({"error": {"message": "no", "type": "t", "code": 7}})
    assert failure == Failure("no", "t", "7", raw={"message": "no", "type": "t", "code": 7})


# Requests


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/proxy/ollama/api/chat"])
def test_it_streams_unless_told_not_to(path: str) -> None:
    assert any(pattern.search(path) for pattern in OLLAMA.paths)
    assert OLLAMA.read_request(path, {"model": "m"}) == RequestFacts("m", True)
    assert OLLAMA.read_request(path, {"model": "m", "stream": False}) == RequestFacts("m", False)


@pytest.mark.parametrize("path", ["/api/pull", "/api/chats", "/api/embed", "/v1/chat/completions"])
def test_other_paths_are_not_ours(path: str) -> None:
    assert not any(pattern.search(path) for pattern in OLLAMA.paths)


def test_the_prompt_is_every_text_in_order() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}]
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    texts = ["a", '[{"function":{"name":"f","arguments":{}}}]']
    assert OLLAMA.prompt({"messages": messages, "tools": [{"a": 1}]}) == ['[{"a":1}]', *texts]
    assert OLLAMA.prompt({"system": "s", "prompt": "p", "suffix": "x"}) == ["s", "p", "x"]


# Recordings


def client_of(status: int, body: bytes) -> ollama.Client:
    return ollama.Client(transport=httpx.MockTransport(lambda request: httpx.Response(status, content=body)))


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_is_expected_at_every_chunk_size(exchange: exchanges.Exchange) -> None:
    expect = exchange.expect
    whole = exchanges.decode(OLLAMA, exchange, len(exchange.body))
    said = exchanges.fold(whole)
    assert said.text == expect["text"]
    assert (said.reasoning or None) == expect["reasoning"]
    assert said.usage == expect["usage"]
    assert said.finish_reason == expect["finish_reason"]
    assert said.model == expect["model"]
    calls = [{**call, "arguments": json.loads(call["arguments"])} for call in said.tool_calls]
    assert calls == [{key: call[key] for key in ("id", "name", "arguments")} for call in expect["tool_calls"]]
    assert (said.failure, said.malformed, said.ended) == (None, [], True)
    for size in exchanges.sizes(exchange.body):
        assert exchanges.decode(OLLAMA, exchange, size) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_says_what_the_client_makes_of_it(exchange: exchanges.Exchange) -> None:
    said = exchanges.fold(exchanges.decode(OLLAMA, exchange, len(exchange.body)))
    client = client_of(exchange.status, exchange.body)
    last: ollama.ChatResponse | ollama.GenerateResponse
    if exchange.api == "api/chat":
        answers = list(client.chat("m", [], stream=True))
        text = "".join(answer.message.content or "" for answer in answers)
        thinking = "".join(answer.message.thinking or "" for answer in answers)
        calls = [(c.function.name, c.function.arguments) for answer in answers for c in answer.message.tool_calls or []]
        last = answers[-1]
    else:
        lines = list(client.generate("m", "x", stream=True))
        text, thinking, calls = "".join(line.response or "" for line in lines), "", []
        last = lines[-1]
    assert (said.text, said.reasoning) == (text, thinking)
    assert [(call["name"], json.loads(call["arguments"])) for call in said.tool_calls] == calls
    (usage,) = said.usage_events
    assert (usage.input_tokens, usage.output_tokens) == (last.prompt_eval_count, last.eval_count)
    assert (said.finish_reason, said.model) == (last.done_reason, last.model)


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_every_recorded_stream_is_truncated_without_its_last_line(exchange: exchanges.Exchange) -> None:
    decoder = AnswerDecoder(OLLAMA, content_type=exchange.content_type)
    cut = decoder.feed(exchange.body[: exchange.body.rstrip().rfind(b"\n") + 1]) + decoder.close()
    assert cut[-1] == TRUNCATED
    assert not any(isinstance(event, Finish) or event == END for event in cut)


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda e: e.id)
def test_every_recorded_error_is_what_the_client_raises(exchange: exchanges.Exchange) -> None:
    (failure,) = exchanges.decode(OLLAMA, exchange, 16)
    assert isinstance(failure, Failure)
    assert (failure.message, failure.status) == (exchange.expect["error"], exchange.status)
    with pytest.raises(ollama.ResponseError) as raised:
        client_of(exchange.status, exchange.body).chat("m", [])
    assert (raised.value.error, raised.value.status_code) == (failure.message, failure.status)


# Hostile input


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"[]", b"null", b'"x"', b"7", b"[DONE]"])
def test_a_line_that_is_no_object_is_malformed(data: bytes) -> None:
    (event,) = OllamaDecoder().feed(Frame(data))
    assert isinstance(event, Malformed)


CONFUSED = confused(
    *("model", "message", "content", "thinking", "tool_calls", "function", "name", "arguments", "id", "images"),
    *("response", "image", "done", "done_reason", "eval_count", "prompt_eval_count", "error", "code"),
)


@given(st.lists(ANYTHING | CONFUSED, max_size=4))
def test_whatever_comes_it_means_something_and_nothing_raises(lines: list[Any]) -> None:
    decoder = OllamaDecoder()
    for line in lines:
        assert decoder.feed(frame(line))
    assert decoder.close() in ([], [TRUNCATED])
    assert OLLAMA.read_answer(lines)


@given(st.dictionaries(st.sampled_from(["system", "messages", "tools", "prompt", "suffix"]), ANYTHING | CONFUSED))
def test_whatever_is_asked_the_prompt_is_texts(body: Json) -> None:
    assert all(isinstance(text, str) and text for text in OLLAMA.prompt(body))
