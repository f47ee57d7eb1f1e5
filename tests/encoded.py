"""Recorded streams of every provider as events, and what the official openai SDK makes of frames of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import httpx2
import openai
from hypothesis import strategies as st

import exchanges
from exchanges import Exchange
from midstream.dialects import registry
from midstream.dialects.base import AnswerOptions, Dialect, Encoder
from midstream.events import (
    CONTENT,
    END,
    OPAQUE,
    Asked,
    End,
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

OPTIONS = AnswerOptions(id="st_1", model="asked", created=1_700_000_000)

_APIS = {
    "chat.completions": "openai_chat",
    "responses": "openai_responses",
    "completions": "openai_completions",
    "messages": "anthropic_messages",
    "streamGenerateContent": "gemini",
    "interactions": "gemini_interactions",
    "api/chat": "ollama",
    "api/generate": "ollama",
    "converse-stream": "bedrock_converse",
    "invoke-with-response-stream": "bedrock_invoke",
    "v2/chat": "cohere",
    "v1/chat": "cohere",
}


@cache
def dialects() -> list[Dialect]:
    """Every dialect that an answer over HTTP may come from."""
    named = [dialect_of(api, "") for api in _APIS]
    return [dialect for n, dialect in enumerate(named) if dialect is not None and dialect not in named[:n]]


@cache
def dialect_of(api: str, provider: str) -> Dialect | None:
    """The dialect of a recording; None where it has none."""
    name = "openai_chat" if (api, provider) == ("v1/chat", "writer") else _APIS.get(api, "")
    return next((dialect for dialect in registry.DIALECTS if dialect.name == name), None)


def recordings() -> list[Exchange]:
    """Every recorded stream that a dialect of ours reads."""
    streams = [e for e in exchanges.corpus() if e.kind == "stream"]
    return [e for e in streams if dialect_of(e.api, e.provider) is not None]


def events_of(exchange: Exchange) -> list[Event]:
    dialect = dialect_of(exchange.api, exchange.provider)
    assert dialect is not None
    return exchanges.decode(dialect, exchange, max(len(exchange.body), 1))


def encode(encoder: Encoder, events: Sequence[Event]) -> list[Frame]:
    return [frame for event in events for frame in encoder.feed(event)]


def sse(frames: Sequence[Frame]) -> bytes:
    """The frames as the SSE delivery writes them."""
    return b"".join(
        (b"event: " + frame.event.encode() + b"\n" if frame.event else b"") + b"data: " + frame.data + b"\n\n"
        for frame in frames
    )


def client(reply: Callable[[httpx2.Request], httpx2.Response] | bytes) -> openai.OpenAI:
    """An official client whose provider answers so; bytes: with this SSE body."""
    if isinstance(reply, bytes):
        body, headers = reply, {"content-type": "text/event-stream"}
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=body))
    else:
        transport = httpx2.MockTransport(reply)
    http = httpx2.Client(transport=transport)
    return openai.OpenAI(api_key="k", base_url="http://provider.test/v1", max_retries=0, http_client=http)


def has_content(events: Sequence[Event]) -> bool:
    return any(isinstance(event, CONTENT) for event in events)


_TEXTS = st.text(min_size=1, max_size=6) | st.sampled_from(["\ud83d", '"\\\n', "\u2028", "é"])
_CHOICES = st.integers(0, 2)
_BLOCKS = st.integers(0, 3)
_COUNTS = st.none() | st.integers(0, 1000)
_IDS = st.sampled_from(["", "chatcmpl-1", "resp_1", "msg_1", "\ud83d"])
_WORDS = st.sampled_from(
    ["stop", "length", "tool_use", "STOP", "MAX_TOKENS", "completed", "incomplete", "refusal", "", "odd", "\ud83d"]
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Start, _IDS, _IDS, st.none() | st.integers(0, 2**40)),
    st.builds(Text, _TEXTS, _CHOICES, _BLOCKS),
    st.builds(Reasoning, _TEXTS | st.just(""), _CHOICES, _BLOCKS, st.sampled_from(["", "gAAAAsigned", "other"])),
    st.builds(
        ToolCall, st.integers(0, 3), _IDS, _IDS, _TEXTS | st.sampled_from(["", "{}", '{"a":']), _CHOICES, _BLOCKS
    ),
    st.builds(ServerTool, _IDS, _CHOICES, _BLOCKS),
    st.builds(Refusal, _TEXTS, _CHOICES, _BLOCKS),
    st.builds(Media, st.sampled_from(["audio", "image"]), st.integers(0, 9), _TEXTS | st.just(""), _CHOICES, _BLOCKS),
    st.builds(Usage, _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS),
    st.builds(Finish, _WORDS, _CHOICES, st.sampled_from(["", "max_output_tokens", "content_filter", "odd"])),
    st.builds(Failure, _TEXTS, _IDS, _IDS, st.none() | st.integers(400, 599)),
    st.just(END) | st.just(OPAQUE) | st.just(Asked("m")) | st.just(Malformed("x")),
)
"""Any event, in no order; `arbitrary` makes an answer of them."""


def arbitrary() -> st.SearchStrategy[list[Event]]:
    """Events in no order, and then the end that every stream has: END or a Failure."""
    ends: st.SearchStrategy[list[Event]] = st.sampled_from([[END], [Failure("broken", type="truncated")]])
    return st.builds(lambda events, end: events + end, st.lists(EVENTS, max_size=25), ends)


def until_over(events: Sequence[Event]) -> list[Event]:
    """The events up to the first that ends the answer."""
    for at, event in enumerate(events):
        if isinstance(event, End | Failure):
            return list(events[: at + 1])
    return list(events)
