"""An intercepted request asks for a stream and its usage; all else of it stays as the client said it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midstream.relay.prepare import BY_NAME
from midstream.relay.provider_request import streaming
from midstream.relay.upstream import UpstreamRequest

HI = [{"role": "user", "content": "Hi"}]
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def asked(dialect: str, url: str, body: Any, *headers: tuple[bytes, bytes]) -> UpstreamRequest:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return streaming(UpstreamRequest(method="GET", url=url, headers=headers, body=text), BY_NAME[dialect])


@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": True}])
def test_a_chat_streams_and_tells_its_usage(stream: dict[str, bool]) -> None:
    body = {"model": "m", "messages": HI, "seed": 1, "unheard_of": {"a": [1]}} | stream
    sent = asked("openai_chat", "https://x.test/deployments/d/chat/completions?api-version=1", body)
    assert sent.method == "POST"
    assert sent.url == "https://x.test/deployments/d/chat/completions?api-version=1"
    assert json.loads(sent.body) == body | {"stream": True, "stream_options": {"include_usage": True}}


def test_gemini_says_it_in_the_path() -> None:
    sent = asked("gemini", f"{GEMINI}:generateContent?key=k", CONTENTS)
    assert sent.url == f"{GEMINI}:streamGenerateContent?key=k&alt=sse"
    assert json.loads(sent.body) == CONTENTS
    streams = f"{GEMINI}:streamGenerateContent?alt=sse"
    assert asked("gemini", streams, CONTENTS).url == streams


def test_ollama_streams_unless_told_otherwise() -> None:
    sent = asked("ollama", "http://x.test/api/chat", {"model": "m", "messages": HI, "stream": False, "keep_alive": 5})
    assert json.loads(sent.body) == {"model": "m", "messages": HI, "stream": True, "keep_alive": 5}


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"messages": 5}', b""])
def test_what_cannot_be_read_goes_out_as_it_is(body: bytes) -> None:
    assert asked("anthropic_messages", "https://x.test/v1/messages", body).body == body


def test_a_request_keeps_its_headers_but_those_of_the_other_delivery() -> None:
    kept = ((b"X-Api-Key", b"k"), (b"anthropic-beta", b"b"), (b"Host", b"x.test"), (b"Cookie", b"c"))
    gone = tuple(
        (name, b"v")
        for name in (
            b"Accept",
            b"Accept-Encoding",
            b"Content-Encoding",
            b"Range",
            b"Last-Event-ID",
            b"Sec-WebSocket-Key",
        )
    )
    sent = asked("anthropic_messages", "https://x.test/v1/messages", {"messages": HI}, *kept, *gone)
    names = {name.lower() for name, _ in sent.headers}
    assert tuple(sent.headers[:4]) == kept
    assert names == {b"x-api-key", b"anthropic-beta", b"host", b"cookie", b"accept", b"content-type"}
