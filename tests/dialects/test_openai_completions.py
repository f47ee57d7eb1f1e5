"""The legacy completions API, and Writer's stream of values."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from exchanges import Exchange, decode, fold
from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.completions import OPENAI_COMPLETIONS
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame

STREAMS = exchanges.of("completions")


def run(*chunks: Any, close: bool = False) -> list[Event]:
    """Feed chunks (objects, or raw bytes) to a new decoder; Start is left out."""
    assert OPENAI_COMPLETIONS.decoder is not None
    new = OPENAI_COMPLETIONS.decoder()
    events: list[Event] = []
    for chunk in chunks:
        more = new.feed(Frame(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()))
        assert more
        events += more
    events += new.close() if close else []
    return [e for e in events if not isinstance(e, Start)]


def chunk(text: Any, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **more}


def test_a_stream_as_openai_documents_it() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert run(chunk("This"), chunk(" is", "length"), chunk("", usage=usage), b"[DONE]", close=True) == [
        Text("This"),
        Text(" is"),
        Finish("length"),
        Usage(5, 2, raw=usage),
        END,
    ]


def test_several_choices() -> None:
    assert run(chunk("a"), chunk("b", "stop", index=1), close=True) == [
        Text("a"),
        Text("b", 1),
        Finish("stop", 1),
        TRUNCATED,
    ]


def test_mistrals_fill_in_the_middle_answers_in_chats_shape() -> None:
    assert run({"choices": [{"index": 0, "delta": {"content": "x"}}]}) == [Text("x")]
    whole = {"choices": [{"index": 0, "message": {"content": "xy"}, "finish_reason": "stop"}]}
    assert OPENAI_COMPLETIONS.read_answer(whole)[1:] == [Text("xy"), Finish("stop"), END]


def test_writers_values_end_with_their_body() -> None:
    assert run({"value": "Sure"}, {"value": ""}, {"value": "!"}, close=True) == [Text("Sure"), OPAQUE, Text("!"), END]


def test_an_error_ends_writers_stream_too() -> None:
    error = {"message": "m", "type": "t"}
    assert run({"value": "Sure"}, {"error": error}, close=True) == [Text("Sure"), Failure("m", "t", raw=error)]


def test_a_body_that_holds_nothing_is_truncated() -> None:
    assert run(close=True) == [TRUNCATED]
    assert run({"values": "x"}, {"value": 5}, close=True) == [OPAQUE, OPAQUE, TRUNCATED]


def test_a_whole_answer() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert OPENAI_COMPLETIONS.read_answer(chunk("\n\nThis", "length", usage=usage)) == [
        Start("cmpl-1", "m", 1),
        Text("\n\nThis"),
        Finish("length"),
        Usage(5, 2, raw=usage),
        END,
    ]


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/v1/completions", True),
        ("/beta/completions", True),
        ("/v1/fim/completions", True),
        ("/openai/deployments/davinci/completions", True),
        ("/v1/engines/davinci/completions/", True),
        ("/v1/chat/completions", False),
        ("/v1/completions/x", False),
        ("/v1/complete", False),
    ],
)
def test_paths(path: str, ours: bool) -> None:
    assert any(p.search(path) for p in OPENAI_COMPLETIONS.paths) == ours


def test_read_request() -> None:
    facts = OPENAI_COMPLETIONS.read_request("/v1/engines/davinci/completions", {"prompt": "x", "stream": True})
    assert (facts.model, facts.stream) == ("davinci", True)
    facts = OPENAI_COMPLETIONS.read_request("/v1/completions", {"model": "babbage", "prompt": "x"})
    assert (facts.model, facts.stream) == ("babbage", False)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"prompt": "one"}, ["one"]),
        ({"prompt": ["one", "", "two"]}, ["one", "two"]),
        ({"prompt": "def f(", "suffix": "return x"}, ["def f(", "return x"]),
        ({"prompt": [15339, 1917]}, []),
        ({"prompt": {"a": 1}}, []),
        ({}, []),
    ],
)
def test_prompt(body: dict[str, Any], texts: list[str]) -> None:
    assert OPENAI_COMPLETIONS.prompt(body) == texts


SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
CHOICE = st.fixed_dictionaries({}, optional=dict.fromkeys(("text", "index", "finish_reason", "delta", "message"), JSON))
CHUNK = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(CHOICE | JSON, max_size=3) | JSON, "value": JSON, "usage": JSON, "error": JSON}
)


@given(st.lists(CHUNK | JSON, max_size=5))
def test_any_json_as_frames(values: list[Any]) -> None:
    events = run(*(json.dumps(v).encode() for v in values), close=True)
    assert END in events or any(isinstance(e, Failure) for e in events)


@given(st.binary(max_size=40))
def test_any_bytes_as_a_frame(data: bytes) -> None:
    run(data, close=True)


def test_a_frame_that_is_no_json_object_is_malformed() -> None:
    assert all(isinstance(e, Malformed) for e in run(b"", b"{", b"hello", b"[1]", b"5", b"\xff"))


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_a_recording_says_what_it_should(exchange: Exchange) -> None:
    events = decode(OPENAI_COMPLETIONS, exchange, len(exchange.body))
    said = fold(events)
    expect = exchange.expect
    assert said.texts == {int(n): t for n, t in (expect.get("texts") or {0: expect["text"]}).items() if t}
    finishes = expect.get("finish_reasons") or {0: expect["finish_reason"]}
    assert said.finishes == {int(n): r for n, r in finishes.items() if r}
    assert said.usage == expect["usage"]
    assert said.model == (expect["model"] or "")
    assert (said.reasoning, said.refusal, said.tool_calls, said.failure) == ("", "", [], expect["error"])
    assert said.malformed == []
    assert said.ended
    for size in exchanges.sizes(exchange.body):
        assert decode(OPENAI_COMPLETIONS, exchange, size) == events, f"in pieces of {size} bytes"


@pytest.mark.parametrize("exchange", exchanges.of("completions", kind="error"), ids=lambda e: e.id)
def test_an_http_error_says_what_it_should(exchange: Exchange) -> None:
    failure = fold(decode(OPENAI_COMPLETIONS, exchange, 7)).failure
    error = exchange.expect["error"]
    assert failure is not None
    assert (failure.raw, failure.message, failure.type) == (error, error["message"], error["type"])
    assert failure.status == exchange.status


@pytest.mark.parametrize("exchange", [e for e in STREAMS if e.provider == "openai"], ids=lambda e: e.id)
def test_a_recording_says_what_openais_sdk_makes_of_it(exchange: Exchange) -> None:
    headers = {"content-type": "text/event-stream"}
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=exchange.body))
    client = openai.OpenAI(
        api_key="k", base_url="http://provider.test/v1", max_retries=0, http_client=httpx2.Client(transport=answer)
    )
    texts: dict[int, str] = {}
    finishes: dict[int, str] = {}
    usage = None
    for part in client.completions.create(model="m", prompt="p", stream=True):
        usage = part.usage.to_dict() if part.usage else usage
        for choice in part.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                finishes[choice.index] = choice.finish_reason
    said = fold(decode(OPENAI_COMPLETIONS, exchange, 4096))
    assert (said.texts, said.finishes, said.usage) == (texts, finishes, usage)
