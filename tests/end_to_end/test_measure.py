"""measure_streams through a real mitmdump over TLS: bytes untouched and unbuffered, and a truthful row for each stream."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from aiohttp import web

from end_to_end.harness import Authority, Gate, Provider, Proxy, chunks, clean_environment, cut_after, running

CHAT = "https://api.openai.com/v1/chat/completions"
ASK = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Say hello"}]}


def chat_chunk(**delta: Any) -> bytes:
    return _sse(
        {
            "id": "c1",
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        }
    )


def _sse(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ROLE = chat_chunk(role="assistant", content="")
STOP = _sse(
    {"id": "c1", "model": "gpt-4o-mini-2024-07-18", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
)
USAGE = _sse(
    {
        "id": "c1",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
)
DONE = b"data: [DONE]\n\n"
WHOLE = (ROLE, chat_chunk(content="Hello"), chat_chunk(content=" there"), STOP, USAGE, DONE)


@pytest.fixture
def app(request: pytest.FixtureRequest) -> str:
    """A User-Agent of the test's own, so that it finds its own rows."""
    return "test-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]


def rows_of(proxy: Proxy, app: str, count: int = 1) -> list[dict[str, Any]]:
    return proxy.rows(count, f"app = '{app}'")


async def post(proxy: Proxy, url: str, body: Any, app: str, **headers: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(
            url, json=body, proxy=proxy.url, ssl=proxy.client_context(), headers={"user-agent": f"{app}/1.0"} | headers
        ) as response,
    ):
        return response.status, await response.read()


def ask(proxy: Proxy, app: str, url: str = CHAT, body: Any = None, **headers: str) -> tuple[int, bytes]:
    return asyncio.run(post(proxy, url, body or ASK, app, **headers))


@contextlib.contextmanager
def openai_client(proxy: Proxy, app: str) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(proxy=proxy.url, verify=proxy.client_context())
    with openai.OpenAI(
        api_key="sk-secret", http_client=http, default_headers={"user-agent": f"{app}/1.0"}, max_retries=0
    ) as c:
        yield c


def test_openai_sdk_gets_each_token_when_the_provider_sends_it(proxy: Proxy, provider: Provider, app: str) -> None:
    gates = [Gate() for _ in WHOLE]

    async def one_by_one(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece, gate in zip(WHOLE, gates, strict=True):
            await response.write(piece)
            await gate.wait()
        return response

    provider.handler = one_by_one
    with openai_client(proxy, app) as client:
        got = []
        gates[0].open()
        for chunk, gate in zip(client.chat.completions.create(**ASK), gates, strict=False):  # type: ignore[call-overload]
            got.append(chunk)
            gate.open()  # only now does the provider go on: a proxy that buffered would hang here
        gates[-1].open()
    assert "".join(c.choices[0].delta.content or "" for c in got if c.choices) == "Hello there"
    row = rows_of(proxy, app)[0]
    assert row["outcome"] == "complete"
    assert (row["provider"], row["dialect"], row["delivery"]) == ("openai", "openai_chat", "native")
    assert (row["model_requested"], row["model_served"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (9, 3, 4)
    assert (row["usage_source"], row["finish_reason"], row["http_status"], row["chunks"]) == (
        "provider",
        "stop",
        200,
        2,
    )
    assert 0 < row["ttft_ms"] <= row["duration_ms"]
    assert row["gap_max_ms"] >= row["gap_p50_ms"] > 0
    assert row["cost_usd"] > 0
    assert row["client"] == "127.0.0.1"


def test_anthropic_sdk(proxy: Proxy, provider: Provider, app: str) -> None:
    def event(type_: str, **fields: Any) -> bytes:
        return f"event: {type_}\ndata: {json.dumps({'type': type_} | fields)}\n\n".encode()

    message = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 0}
    provider.handler = chunks(
        event("message_start", message=message | {"usage": usage}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
        event("message_stop"),
    )
    http = anthropic.DefaultHttpxClient(proxy=proxy.url, verify=proxy.client_context())
    with (
        anthropic.Anthropic(api_key="k", http_client=http, default_headers={"user-agent": f"{app}/1.0"}) as client,
        client.messages.stream(
            model="claude-haiku-4-5", max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        assert stream.get_final_text() == "Hi"
    row = rows_of(proxy, app)[0]
    assert (row["dialect"], row["outcome"], row["finish_reason"]) == ("anthropic_messages", "complete", "end_turn")
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (12, 2, 7)


def test_cut_by_the_provider_is_truncated_and_the_client_is_told(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = cut_after(ROLE, chat_chunk(content="Hello"))
    with pytest.raises(aiohttp.ClientError):
        ask(proxy, app)
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["error_type"], row["chunks"]) == ("truncated", "connection_error", 1)


def test_an_end_without_the_terminal_event_is_truncated(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(ROLE, chat_chunk(content="Hello"))
    assert ask(proxy, app) == (200, ROLE + chat_chunk(content="Hello"))
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["error_type"]) == ("truncated", "truncated")


def test_a_client_that_leaves(proxy: Proxy, provider: Provider, app: str) -> None:
    gate = Gate()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ROLE + chat_chunk(content="Hello"))
        await gate.wait()
        return response

    async def leave() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT, json=ASK, proxy=proxy.url, ssl=proxy.client_context(), headers={"user-agent": f"{app}/1"}
            ) as response,
        ):
            await response.content.readany()
            response.close()

    provider.handler = endless
    asyncio.run(leave())
    row = rows_of(proxy, app)[0]
    gate.open()
    assert (row["outcome"], row["chunks"]) == ("client_gone", 1)


def test_a_client_that_hangs_up_after_the_terminal_event_had_it_all(proxy: Proxy, provider: Provider, app: str) -> None:
    """Codex resets its connection right after `response.completed`."""
    gate = Gate()

    async def lingering(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(WHOLE))
        await gate.wait()
        return response

    async def leave() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT, json=ASK, proxy=proxy.url, ssl=proxy.client_context(), headers={"user-agent": f"{app}/1"}
            ) as response,
        ):
            body = b""
            while b"[DONE]" not in body:
                body += await response.content.readany()
            response.close()

    provider.handler = lingering
    asyncio.run(leave())
    row = rows_of(proxy, app)[0]
    gate.open()
    assert row["outcome"] == "complete"


def test_http_error_before_the_stream(proxy: Proxy, provider: Provider, app: str) -> None:
    body = json.dumps(
        {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
    ).encode()
    provider.handler = chunks(body, status=429, content_type="application/json", retry_after="2")
    assert ask(proxy, app) == (429, body)
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["http_status"], row["error_type"]) == ("failed", 429, "requests")
    assert row["error"] == "Rate limit reached"
    assert row["ttft_ms"] is None


def test_a_provider_that_does_not_answer_at_all(proxy: Proxy, provider: Provider, app: str) -> None:
    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    provider.handler = reset
    assert ask(proxy, app)[0] == 502
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["error_type"], row["http_status"]) == ("failed", "connection_error", None)


def test_usage_is_counted_where_the_provider_reports_none(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(
        ROLE, chat_chunk(content="hello"), chat_chunk(content=" wor"), chat_chunk(content="ld"), STOP, DONE
    )
    ask(proxy, app)
    row = rows_of(proxy, app)[0]
    assert (row["output_tokens"], row["usage_source"]) == (2, "tiktoken")
    assert row["input_tokens"] == 2 + 4 + 3  # "Say hello", its message, and what begins the answer


def test_a_model_without_a_public_tokenizer_is_estimated(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(
        *(p.replace(b"gpt-4o-mini-2024-07-18", b"mystery-1") for p in (chat_chunk(content="hello world"), STOP, DONE))
    )
    ask(proxy, app, "https://vllm.test/v1/chat/completions", ASK | {"model": "mystery-1"})
    row = rows_of(proxy, app)[0]
    assert (row["provider"], row["usage_source"], row["output_tokens"], row["cost_usd"]) == (
        "vllm.test",
        "estimate",
        2,
        None,
    )


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_an_encoded_stream_passes_as_it_is_and_is_read(
    proxy: Proxy, provider: Provider, app: str, encoding: str
) -> None:
    body = _encoders()[encoding](b"".join(WHOLE))
    provider.handler = chunks(*(body[i : i + 20] for i in range(0, len(body), 20)), content_encoding=encoding)
    assert ask(proxy, app) == (200, body)
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["output_tokens"], row["bytes"]) == ("complete", 3, len(body))


def _encoders() -> dict[str, Callable[[bytes], bytes]]:
    import zlib

    import brotli
    import zstandard

    return {
        "gzip": gzip.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
        "deflate": zlib.compress,
    }


BAD = {
    "malformed_json": (ROLE, b"data: {oops\n\n", chat_chunk(content="Hello"), STOP, DONE),
    "invalid_utf8": (
        ROLE,
        b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n',
        chat_chunk(content="Hello"),
        STOP,
        DONE,
    ),
    "frame_over_limit": (ROLE, b"data: " + b"x" * (17 << 20) + b"\n\n", chat_chunk(content="Hello"), STOP, DONE),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_frame_passes_untouched_and_the_row_says_so(
    proxy: Proxy, provider: Provider, app: str, what: str
) -> None:
    provider.handler = chunks(*BAD[what])
    assert ask(proxy, app) == (200, b"".join(BAD[what]))
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["finish_reason"], row["error_type"]) == ("complete", "stop", "malformed")
    assert "1 malformed" in row["error"]


def test_a_broken_gzip_body_passes_untouched(proxy: Proxy, provider: Provider, app: str) -> None:
    body = gzip.compress(b"".join(WHOLE))[:60] + b"garbage" * 10
    provider.handler = chunks(body, content_encoding="gzip")
    assert ask(proxy, app) == (200, body)
    row = rows_of(proxy, app)[0]
    assert row["outcome"] == "truncated"
    assert "gzip" in row["error"]


def test_a_lying_content_type(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE, content_type="application/json")
    assert ask(proxy, app) == (200, b"".join(WHOLE))
    assert rows_of(proxy, app)[0]["outcome"] == "complete"


def test_html_from_a_provider(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(b"<html>maintenance</html>", content_type="text/html")
    assert ask(proxy, app) == (200, b"<html>maintenance</html>")
    assert rows_of(proxy, app)[0]["outcome"] == "truncated"


def test_a_whole_answer_is_measured_too(proxy: Proxy, provider: Provider, app: str) -> None:
    answer = {
        "id": "c1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
    provider.handler = chunks(json.dumps(answer).encode(), content_type="application/json")
    ask(proxy, app, body=ASK | {"stream": False})
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["output_tokens"], row["finish_reason"]) == ("complete", 1, "stop")


def test_what_is_no_llm_traffic_has_no_row_and_no_buffer(proxy: Proxy, provider: Provider, app: str) -> None:
    """An event stream that is no LLM's (MCP) is not held back either: its first event arrives while the second waits."""
    gate = Gate()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await gate.wait()
        await response.write(b"data: two\n\n")
        return response

    async def read() -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.get("https://mcp.test/sse", proxy=proxy.url, ssl=proxy.client_context()) as response,
        ):
            first = await response.content.readany()
            gate.open()
            return first + await response.content.read()

    provider.handler = events
    assert asyncio.run(read()) == b"data: one\n\ndata: two\n\n"
    provider.handler = chunks(*WHOLE)
    ask(proxy, app)
    rows_of(proxy, app)
    assert proxy.rows(0, "provider = 'mcp.test'") == []


def test_an_unknown_streaming_api_of_a_known_provider(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(
        b'event: thread.message.delta\ndata: {"delta":{"content":[{"index":0,"type":"text","text":{"value":"Hi"}}]}}\n\n',
        b"event: done\ndata: [DONE]\n\n",
    )
    ask(proxy, app, "https://api.openai.com/v1/threads/t1/runs", {"assistant_id": "a", "stream": True})
    row = rows_of(proxy, app)[0]
    assert (row["dialect"], row["outcome"], row["chunks"]) == ("unknown", "complete", 1)


def test_credentials_reach_no_row(proxy: Proxy, provider: Provider, app: str) -> None:
    body = json.dumps(
        {"error": {"message": "Incorrect API key provided: sk-abcdefghijklmnop1234.", "code": "invalid_api_key"}}
    )
    provider.handler = chunks(body.encode(), status=401, content_type="application/json")
    ask(proxy, app, f"{CHAT}?key=sk-querysecret1234567", authorization="Bearer sk-headersecret1234567")
    row = rows_of(proxy, app)[0]
    assert "sk-" not in json.dumps(row)
    assert row["error"].startswith("Incorrect API key")


def test_websocket_session_has_a_row_for_each_answer(proxy: Proxy, provider: Provider, app: str) -> None:
    def answer(n: int) -> list[dict[str, Any]]:
        usage = {"input_tokens": 4, "output_tokens": n, "total_tokens": 4 + n}
        response = {
            "id": f"r{n}",
            "object": "response",
            "model": "gpt-5",
            "status": "completed",
            "usage": usage,
            "output": [],
        }
        return [
            {"type": "response.created", "response": {"id": f"r{n}", "model": "gpt-5", "status": "in_progress"}},
            {
                "type": "response.output_text.delta",
                "item_id": "i",
                "output_index": 0,
                "content_index": 0,
                "delta": "Hi",
            },
            {"type": "response.completed", "response": response},
        ]

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        count = 0
        async for _ in socket:
            count += 1
            for message in answer(count):
                await socket.send_json(message)
        return socket

    async def talk() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                "https://api.openai.com/v1/responses",
                proxy=proxy.url,
                ssl=proxy.client_context(),
                headers={"user-agent": f"{app}/1.0"},
            ) as socket,
        ):
            for _ in range(2):
                await socket.send_json({"type": "response.create", "model": "gpt-5", "input": "Hi"})
                while (await socket.receive_json())["type"] != "response.completed":
                    pass

    provider.handler = serve
    asyncio.run(talk())
    rows = rows_of(proxy, app, 2)
    assert [(r["outcome"], r["output_tokens"], r["delivery"], r["dialect"]) for r in rows] == [
        ("complete", 1, "websocket", "openai_responses"),
        ("complete", 2, "websocket", "openai_responses"),
    ]


def test_open_streams_are_interrupted_when_mitmdump_is_told_to_stop(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    gate = Gate()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ROLE + chat_chunk(content="Hello"))
        await gate.wait()
        return response

    async def stop_midway(proxy: Proxy) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT, json=ASK, proxy=proxy.url, ssl=proxy.client_context(), headers={"user-agent": f"{app}/1"}
            ) as response,
        ):
            await response.content.readany()
            await asyncio.to_thread(proxy.stop)

    provider.handler = endless
    proxy = Proxy(tmp_path, confdir=confdir, trust=authority.file, upstream=f"::127.0.0.1:{provider.port}")
    with running(proxy):
        with contextlib.suppress(aiohttp.ClientError):
            asyncio.run(stop_midway(proxy))
        gate.open()
        assert [row["outcome"] for row in rows_of(proxy, app)] == ["interrupted"]


def test_a_locked_database_costs_the_client_nothing(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    ask(proxy, app)
    rows_of(proxy, app)
    with contextlib.closing(sqlite3.connect(proxy.db)) as other:
        other.execute("begin immediate")
        assert ask(proxy, app)[1] == b"".join(WHOLE)
        other.rollback()
    assert len(rows_of(proxy, app, 2)) == 2


def test_clean_environment_hides_the_machines_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/somewhere")
    monkeypatch.setenv("https_proxy", "http://somewhere")
    assert not {"SSL_CERT_FILE", "https_proxy"} & clean_environment().keys()
