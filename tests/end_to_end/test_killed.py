"""mitmdump is killed in the midst of its streams: the next one finds a sound database, and writes down what was in flight."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from pathlib import Path

import aiohttp

from end_to_end.gateway_chats import ASK, WHOLE, Steps
from end_to_end.harness import Authority, Provider, Proxy, running

CHAT = "https://api.openai.com/v1/chat/completions"
IN_FLIGHT = 3
"""Of each kind."""


def start(folder: Path, authority: Authority, provider: Provider, confdir: Path) -> Proxy:
    upstream = f"::127.0.0.1:{provider.port}"
    return Proxy(folder, scripts=("all.py",), confdir=confdir, trust=authority.file, upstream=upstream)


async def ask(proxy: Proxy, session: aiohttp.ClientSession, *, gateway: bool = False) -> aiohttp.ClientResponse:
    if gateway:
        return await session.post("http://midstream.internal/v1/chat/stream", json=ASK, proxy=proxy.url)
    return await session.post(CHAT, json=ASK | {"stream": True}, proxy=proxy.url, ssl=proxy.client_context())


def test_what_was_in_flight_is_interrupted_and_what_was_written_is_there(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    steps = Steps()
    proxy = start(tmp_path, authority, provider, confdir)

    async def until_killed() -> None:
        async with aiohttp.ClientSession() as session:
            steps.go_on()
            async with await ask(proxy, session) as response:
                assert await response.read() == b"".join(WHOLE)
            await asyncio.to_thread(proxy.rows, 1)
            half = Steps()
            half.go(3)
            provider.handler = half.handler
            responses = [await ask(proxy, session, gateway=n % 2 == 1) for n in range(2 * IN_FLIGHT)]
            for response in responses:
                await response.content.readany()
            await asyncio.to_thread(_shown, proxy, 2 * IN_FLIGHT)
            proxy.process.send_signal(signal.SIGKILL)
            for response in responses:
                with contextlib.suppress(aiohttp.ClientError):  # no clean end
                    assert b"[DONE]" not in await response.read()
                response.close()
            half.go_on()

    provider.handler = steps.handler
    try:
        asyncio.run(until_killed())
    finally:
        proxy.process.kill()
        proxy.process.wait()
    with running(start(tmp_path, authority, provider, confdir)) as again:
        rows = again.rows(1 + 2 * IN_FLIGHT)
        assert [row["outcome"] for row in rows] == ["complete"] + ["interrupted"] * 2 * IN_FLIGHT
        assert rows[0]["output_tokens"] == 7
        assert all(row["provider"] == "openai" and row["ttft_ms"] for row in rows)
        assert not _in_flight(again)
        with contextlib.closing(sqlite3.connect(again.db)) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def _in_flight(proxy: Proxy) -> int:
    return len(proxy._query("select id from in_flight where ttft_ms is not null"))


def _shown(proxy: Proxy, count: int) -> None:
    """Until so many streams show in the database, with their first token."""
    proxy.rows(0)
    while _in_flight(proxy) < count:
        assert proxy.process.poll() is None
