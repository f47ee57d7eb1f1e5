"""A busy day at the proxy: providers that answer at their own pace, apps that ask them, and a month of history before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from midstream.records import AttemptRecord, StreamRecord, utc
from midstream.store import rows
from midstream.store.database import open_writer

CONFIG = """
[providers.openai]
api_key = "sk-of-the-scene"
[providers.anthropic]
api_key = "sk-of-the-scene"
[providers.groq]
api_key = "sk-of-the-scene"

[[routes]]
model = "gpt-4o*"
targets = ["openai", "anthropic/claude-sonnet-4-6"]
on_break = "continue"
timeouts = { idle = 6 }
backoff = { base = 0.3, max = 1.0 }

[[routes]]
model = "claude-*"
targets = ["anthropic", "openai/gpt-4o"]
on_break = "continue"
timeouts = { idle = 6 }
backoff = { base = 0.3, max = 1.0 }

[[routes]]
model = "llama-*"
targets = ["groq/llama-3.3-70b-versatile", "openai/gpt-4o-mini"]
on_break = "continue"
timeouts = { idle = 6 }
backoff = { base = 0.2, max = 0.5 }
"""
BREAKS = (
    "cut after=60 p=0.14 model=gpt-4o*",
    "status=429 p=0.12 model=claude-haiku*",
    "stall after=30 p=0.03 model=claude-*",
    "unterminated p=0.05 model=gemini-*",
    "reset provider=groq",
    "seed=7",
)
HOSTS = (
    "localhost",
    "127.0.0.1",
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "api.groq.com",
)
WORDS = (
    "Language models produce their answers one token at a time, and each token depends on all that came before it, so there "
    "is nothing to send at once: a server that waited for the end would keep its reader waiting for all of it. Streaming shows "
    "every token as soon as it is known. What a reader then feels is the time to the first token and the pace after it. "
)


@dataclass(frozen=True)
class Model:
    """first: seconds to the first token, median. pace: tokens a second. price: of a million output tokens."""

    name: str
    provider: str
    dialect: str
    first: float
    pace: float
    price: float


MODELS = (
    Model("gpt-4o", "openai", "openai_chat", 0.55, 62, 10.0),
    Model("gpt-4o-mini", "openai", "openai_chat", 0.38, 88, 0.6),
    Model("claude-sonnet-4-6", "anthropic", "anthropic_messages", 0.95, 54, 15.0),
    Model("claude-haiku-4-5", "anthropic", "anthropic_messages", 0.5, 110, 5.0),
    Model("gemini-2.5-flash", "gemini", "gemini", 0.62, 130, 2.5),
    Model("llama-3.3-70b-versatile", "groq", "openai_chat", 0.2, 190, 0.79),
)
APPS = (
    "support-chat",
    "code-review",
    "OpenAI/Python",
    "Anthropic/Python",
    "search-agent",
    "nightly-report",
    "claude-cli",
)
_BY_NAME = {model.name: model for model in MODELS}


async def answer(request: web.Request) -> web.StreamResponse:
    """As the provider of the path's API, at the model's pace; the answer's length is asked for in `user`, or a few hundred."""
    body = await request.json()
    name = str(body.get("model") or request.path.partition("models/")[2].partition(":")[0])
    model = _BY_NAME.get(name, MODELS[0])
    count = random.randint(150, 900)
    await asyncio.sleep(model.first * random.lognormvariate(0, 0.5))
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for piece in _frames(request.path, name, count):
            await response.write(piece)
            await asyncio.sleep(random.expovariate(model.pace) if random.random() > 0.004 else random.uniform(0.5, 2.6))
    return response


def _frames(path: str, model: str, count: int) -> Iterator[bytes]:
    words = [f"{word} " for word in WORDS.split()]
    tokens = [words[n % len(words)] for n in range(count)]
    if "/messages" in path:
        yield from _anthropic(model, tokens)
    elif ":streamGenerateContent" in path:
        for token in tokens:
            yield _data({"candidates": [{"content": {"role": "model", "parts": [{"text": token}]}, "index": 0}]})
        usage = {"promptTokenCount": 120, "candidatesTokenCount": count, "totalTokenCount": count + 120}
        yield _data(
            {"candidates": [{"content": {"parts": [{"text": "."}]}, "finishReason": "STOP"}], "usageMetadata": usage}
        )
    else:
        yield from _openai(model, tokens)


def _data(body: Any, event: str = "") -> bytes:
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {json.dumps(body)}\n\n".encode()


def _openai(model: str, tokens: list[str]) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": model}
    for token in tokens:
        yield _data(head | {"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}]})
    yield _data(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 120, "completion_tokens": len(tokens), "total_tokens": len(tokens) + 120}
    yield _data(head | {"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _anthropic(model: str, tokens: list[str]) -> Iterator[bytes]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
    }
    yield _data(
        {"type": "message_start", "message": message | {"usage": {"input_tokens": 120, "output_tokens": 1}}},
        "message_start",
    )
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield _data(block, "content_block_start")
    for token in tokens:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}}
        yield _data(delta, "content_block_delta")
    yield _data({"type": "content_block_stop", "index": 0}, "content_block_stop")
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(tokens)}}
    yield _data(end, "message_delta")
    yield _data({"type": "message_stop"}, "message_stop")


def _request(model: Model) -> tuple[str, dict[str, Any]]:
    said = [{"role": "user", "content": "Why do answers arrive word by word?"}]
    if model.dialect == "anthropic_messages":
        body = {"model": model.name, "max_tokens": 4000, "stream": True, "messages": said}
        return "https://api.anthropic.com/v1/messages", body
    if model.dialect == "gemini":
        url = f"https://generativelanguage.googleapis.com/v1beta/models/{model.name}:streamGenerateContent?alt=sse"
        return url, {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]}
    host = "api.groq.com/openai" if model.provider == "groq" else "api.openai.com"
    body = {"model": model.name, "stream": True, "messages": said, "stream_options": {"include_usage": True}}
    return f"https://{host}/v1/chat/completions", body


class Traffic:
    """So many streams at any time, through the proxy, until cancelled; some over the gateway, whose readers drop and resume."""

    def __init__(self, proxy: str, gateway: str, trust: ssl.SSLContext, *, streams: int) -> None:
        self._proxy, self._gateway, self._trust, self._streams = proxy, gateway, trust, streams

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            await asyncio.gather(*(self._app(session, n) for n in range(self._streams)))

    async def _app(self, session: aiohttp.ClientSession, n: int) -> None:
        await asyncio.sleep(random.uniform(0, 4))
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                await (self._chat(session) if n % 6 == 5 else self._ask(session))
            await asyncio.sleep(random.uniform(0.1, 1.5))

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        model = random.choices(MODELS, (4, 5, 4, 3, 2, 1))[0]
        url, body = _request(model)
        headers = {"user-agent": f"{random.choice(APPS)} 2.1", "authorization": "Bearer sk-x", "x-api-key": "sk-x"}
        left = random.random() < 0.05
        async with session.post(url, json=body, headers=headers, proxy=self._proxy) as response:
            async for _ in response.content.iter_any():
                if left and random.random() < 0.02:
                    return

    async def _chat(self, session: aiohttp.ClientSession) -> None:
        body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Why?"}]}
        headers = {"user-agent": "web-app 1.0", "accept": "text/event-stream"}
        async with session.post(f"{self._gateway}/v1/chat/stream", json=body, headers=headers) as response:
            stream, last = response.headers.get("X-Stream-Id", ""), ""
            async for line in response.content:
                last = line.decode().removeprefix("id: ").strip() if line.startswith(b"id: ") else last
                if last and random.random() < 0.004:
                    break
        if last and stream:
            await asyncio.sleep(random.uniform(0.2, 1.5))
            headers["last-event-id"] = last
            async with session.get(f"{self._gateway}/v1/streams/{stream}", headers=headers) as response:
                await response.read()


def seed(db: Path, *, days: int = 30, now: datetime | None = None) -> None:
    """A month of streams: more by day than by night, one bad hour, and a few that broke."""
    chance, now = random.Random(7), now or datetime.now(UTC)
    streams, attempts = [], []
    for minute in range(days * 24 * 60):
        at = now - timedelta(minutes=minute, seconds=1)
        busy = (
            0.14
            + 0.12 * math.sin((at.hour - 9) / 24 * 2 * math.pi)
            + (0.9 if minute < 180 else 0.1 if minute < 1440 else 0)
        )
        for _ in range(int(busy) + (chance.random() < busy % 1)):
            record = _past(at - timedelta(seconds=chance.uniform(0, 59)), chance, bad=600 < minute < 660)
            streams.append(rows.fit(rows.stream_values(record)))
            attempts += [rows.fit(rows.attempt_values(one)) for one in _tries(record, chance)]
    opened = open_writer(db)
    with contextlib.closing(opened.conn) as conn, conn:
        conn.executemany(rows.INSERT_STREAM, streams)
        conn.executemany(rows.INSERT_ATTEMPT, attempts)


def _past(at: datetime, chance: random.Random, *, bad: bool) -> StreamRecord:
    model = chance.choices(MODELS, (4, 5, 4, 3, 2, 1))[0]
    slow = (1 + 0.25 * math.sin(at.timestamp() / 9000)) * (2.4 if bad else 1)
    first = model.first * 1000 * slow * chance.lognormvariate(0, 0.42)
    pace, count = model.pace / slow * chance.lognormvariate(0, 0.12), int(chance.lognormvariate(5.6, 0.7))
    lot = chance.random()
    failed, healed = lot < (0.12 if bad else 0.012), 0.9 < lot < (1.2 if bad else 0.93)
    outcome: Any = (
        "failed" if failed else "truncated" if 0.05 < lot < 0.055 else "client_gone" if 0.1 < lot < 0.12 else "complete"
    )
    asked = chance.randint(60, 2400)
    cached = asked // 2 if chance.random() < 0.4 else 0
    return StreamRecord(
        id=f"{int(at.timestamp() * 1000):011x}{chance.getrandbits(64):016x}",
        started_at=utc(at),
        client="127.0.0.1",
        app=chance.choice(APPS),
        provider=model.provider,
        dialect=model.dialect,
        model_requested=model.name,
        model_served=model.name,
        http_status=503 if failed else 200,
        outcome=outcome,
        finish_reason=None if failed else "stop",
        attempts=2 if healed or failed else 1,
        breaks=int(healed),
        ttft_ms=None if failed else first,
        duration_ms=900 if failed else first + count / pace * 1000,
        tokens_per_s=None if failed else pace,
        gap_p50_ms=None if failed else 900 / pace,
        gap_p95_ms=None if failed else 2600 / pace,
        gap_max_ms=None if failed else 2600 / pace * chance.lognormvariate(0.8, 0.5),
        chunks=0 if failed else count,
        input_tokens=asked,
        cached_tokens=cached,
        output_tokens=0 if failed else count,
        usage_source="provider",
        cost_usd=(count * model.price + asked * model.price / 5) / 1e6,
        error_type="server_error" if failed else None,
    )


def _tries(record: StreamRecord, chance: random.Random) -> Iterator[AttemptRecord]:
    for n in range(1, record.attempts + 1):
        last = n == record.attempts
        yield AttemptRecord(
            stream_id=record.id,
            n=n,
            provider=record.provider,
            model=record.model_requested,
            started_at=record.started_at,
            http_status=record.http_status,
            ttft_ms=record.ttft_ms,
            duration_ms=record.duration_ms,
            output_tokens=record.output_tokens,
            cost_usd=record.cost_usd,
            ended=("complete" if record.outcome == "complete" else "server_error") if last else "connection_error",
        )
