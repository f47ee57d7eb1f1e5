"""Fifty streams at once, a tenth of them broken by each fault: every text right, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web

from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running
from end_to_end.healing import answer, fails, healing_proxy, resets

STREAMS, WORDS = 50, 40
FAULTS = ("status", "reset", "silence", "cut", "stall", "malformed", "error", "unterminated")

ROUTE = """
[healing]
failures = 1000
retry_budget = 1.0

[[routes]]
model = "hasty"
targets = ["openai", "backup/gpt-backup"]
attempts = 3
timeouts = { first_token = 3, idle = 3 }
on_break = "continue"

[[routes]]
targets = ["openai", "backup/gpt-backup"]
attempts = 3
backoff = { base = 0.05, max = 1.0 }
timeouts = { connect = 30, first_token = 60, idle = 60 }
on_break = "continue"
"""


def words_of(stream: str) -> list[str]:
    return [f"{stream}:{n} " for n in range(WORDS)]


class Unreliable:
    """Says `words_of` the name in the question, from behind what it said before; every tenth question meets the fault once."""

    def __init__(self, fault: str, seed: int) -> None:
        self.fault = fault
        self.broken: set[str] = set()
        self._random = random.Random(seed)
        self._gate = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = body["messages"][0]["content"]
        words = words_of(name)
        if len(body["messages"]) > 1:
            said = body["messages"][1]["content"]
            words = words[said.count(":") :]
        faulty = int(name) % 10 == 0 and name not in self.broken
        if faulty:
            self.broken.add(name)
            return await self._fail(request, words)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in answer(tuple(words)):
            await response.write(piece)
        return response

    async def _fail(self, request: web.Request, words: list[str]) -> web.StreamResponse:
        if self.fault == "status":
            return await fails(503)(request)
        if self.fault == "reset":
            return await resets(request)
        if self.fault == "silence":
            await asyncio.sleep(DEADLINE)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        pieces = list(answer(tuple(words)))
        at = self._random.randrange(2, WORDS)
        if self.fault == "malformed":
            pieces.insert(at, b"data: {\n\n")
        elif self.fault == "unterminated":
            pieces.pop()
        else:
            del pieces[at:]
        for piece in pieces:
            await response.write(piece)
        await self._end(request, response)
        return response

    async def _end(self, request: web.Request, response: web.StreamResponse) -> None:
        assert request.transport is not None
        if self.fault == "cut":
            await response.write(b'data: {"choices":[{"index":0,"del')
            request.transport.abort()
        elif self.fault == "stall":
            await asyncio.sleep(DEADLINE)
        elif self.fault == "error":
            await response.write(b'data: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n')


@pytest.fixture(scope="module")
def backup(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, backup: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(healing_proxy(tmp_path_factory.mktemp("load"), authority, provider, backup, ROUTE)) as proxy:
        yield proxy


HASTY = ("silence", "stall")
"""Faults that only a time-out ends. On a slow machine it may end others as well, whose text must be as right."""


async def ask_all(proxy: Proxy, fault: str) -> list[tuple[str, bool]]:
    """Each stream's text, and whether it had a finish reason."""
    http = httpx2.AsyncClient(
        proxy=proxy.url, verify=proxy.client_context(), timeout=60, limits=httpx2.Limits(max_connections=STREAMS)
    )
    async with openai.AsyncOpenAI(api_key="sk-test", max_retries=0, http_client=http) as client:

        async def ask(number: int) -> tuple[str, bool]:
            text, finished = "", False
            stream: Any = await client.chat.completions.create(
                model="hasty" if fault in HASTY else "gpt-4o",
                stream=True,
                messages=[{"role": "user", "content": str(number)}],
            )
            async for chunk in stream:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finished = finished or choice.finish_reason == "stop"
            return text, finished

        return await asyncio.gather(*map(ask, range(STREAMS)))


def open_files(proxy: Proxy) -> int:
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


@pytest.mark.parametrize("fault", FAULTS)
def test_no_wrong_text_and_nothing_left_behind(
    proxy: Proxy, provider: Provider, backup: Provider, fault: str, tmp_path: Path
) -> None:
    before = len(proxy._query("select id from streams"))
    provider.handler = primary = Unreliable(fault, seed=7)
    backup.handler = spare = Unreliable(fault, seed=8)
    spare.broken.update(str(n) for n in range(STREAMS))  # it never fails
    said = asyncio.run(ask_all(proxy, fault))
    assert said == [("".join(words_of(str(n))), True) for n in range(STREAMS)]
    assert len(primary.broken) == STREAMS // 10
    rows = proxy.rows(before + STREAMS)[before:]
    assert {row["outcome"] for row in rows} == {"complete"}
    retried = fault not in ("malformed", "unterminated")
    again = sum(row["attempts"] > 1 for row in rows)
    assert again == (STREAMS // 10 if retried else 0) or (fault in HASTY and again > STREAMS // 10)
    assert proxy._query("select * from in_flight") == []
    until = time.monotonic() + DEADLINE
    while open_files(proxy) > 2 * STREAMS + 60 and time.monotonic() < until:
        time.sleep(0.05)  # polls another process
    assert open_files(proxy) <= 2 * STREAMS + 60  # pooled connections to the providers, and the process's own
