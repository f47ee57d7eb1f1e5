"""What healing costs: from a break to the first new token, beyond the target's own time to its first token; and a healthy
stream with a route configured, against the same without, in the same run.

python tests/bench/heal.py --rounds 50
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import ssl
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.healing import WORDS, answer, healing_proxy

HEALED = '[healing]\nfailures = 1000\nretry_budget = 1.0\n[[routes]]\non_break = "continue"\n'
URL = "https://api.openai.com/v1/chat/completions"
FIRST_TOKEN = 0.1
"""Seconds that the provider takes for its first token, each time it is asked."""

BREAK = 20
PAUSE = 0.01
LONG = answer(tuple(f"word {number} " for number in range(3000)))


@dataclass
class Breaking:
    """Breaks off after BREAK tokens, and goes on where it is asked to. In the client's process, so that their clocks are one."""

    broke: float = 0.0
    asked: float = 0.0
    spoke: float = 0.0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked = time.perf_counter()
        again = len((await request.json())["messages"]) > 1
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        head, *pieces = answer(WORDS[BREAK:] if again else WORDS)
        await response.write(head)
        await asyncio.sleep(FIRST_TOKEN)
        self.spoke = time.perf_counter()
        for number, piece in enumerate(pieces):
            if number == BREAK and not again:
                self.broke = time.perf_counter()
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(piece)
            await asyncio.sleep(PAUSE)
        return response


async def long(request: web.Request) -> web.StreamResponse:
    """One token, and after a breath all others as fast as they are read."""
    await request.read()
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for number, piece in enumerate(LONG):
        await response.write(piece)
        if number == 1:
            await asyncio.sleep(0.05)
    return response


@functools.cache
def context_of(proxy: Proxy) -> ssl.SSLContext:
    """One for all requests: connections are kept for it."""
    return proxy.client_context()


async def words(session: aiohttp.ClientSession, proxy: Proxy) -> list[tuple[float, str]]:
    """The texts of an answer, and when each came."""
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Count."}]}
    came: list[tuple[float, str]] = []
    async with session.post(URL, json=body, ssl=context_of(proxy), proxy=proxy.url) as response:
        async for line in response.content:
            now = time.perf_counter()
            if line.startswith(b"data: {"):
                said: Any = json.loads(line[6:])
                came += [(now, one["delta"].get("content") or "") for one in said["choices"]]
    return [(at, text) for at, text in came if text]


async def after_breaks(proxy: Proxy, provider: Provider, rounds: int) -> list[float]:
    """Seconds from a break to the first new token, beyond those that the target took for it."""
    found = []
    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-x"}) as session:
        for _ in range(rounds):
            provider.handler = breaking = Breaking()
            came = await words(session, proxy)
            assert "".join(text for _, text in came) == "".join(WORDS), came
            size, told = len("".join(WORDS[:BREAK]).rstrip()), 0
            for at, text in came:
                told += len(text)
                if told > size + 1:  # behind the last word of the first attempt, and the space after it
                    found.append((at - breaking.broke) - (breaking.spoke - breaking.asked))
                    break
    return found


async def healthy(proxies: dict[str, Proxy], provider: Provider, rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds to the first token, and from the second to the last, medians, of each; they take turns."""
    provider.handler, took = long, {name: list[tuple[float, float]]() for name in proxies}
    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-x"}) as session:
        for number in range(rounds + 2):
            for name, proxy in proxies.items():
                began = time.perf_counter()
                came = await words(session, proxy)
                if number >= 2:  # the first ones open connections
                    took[name].append((came[0][0] - began, came[-1][0] - came[1][0]))
    return {name: (_median(t for t, _ in one), _median(t for _, t in one)) for name, one in took.items()}


def _median(values: Any) -> float:
    return statistics.median(list(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "with", Path(name) / "without"]
        for folder in folders:
            folder.mkdir()
        authority = Authority(Path(name))
        provider = Provider(authority)
        with (
            running(healing_proxy(folders[0], authority, provider, provider, HEALED)) as healed,
            running(healing_proxy(folders[1], authority, provider, provider, "")) as plain,
        ):
            breaks = asyncio.run(after_breaks(healed, provider, rounds + 2))[2:]
            both = asyncio.run(healthy({"with a route": healed, "without": plain}, provider, rounds))
        provider.stop()
    cuts = [cut * 1000 for cut in statistics.quantiles(breaks, n=100)]
    print(f"from a break to the first new token, beyond the target's own: {cuts[49]:.1f} ms p50, {cuts[98]:.1f} ms p99")
    for name, (first, last) in both.items():
        print(f"healthy stream {name}: first token {first * 1000:.2f} ms, {len(LONG) / last:,.0f} chunks/s (medians)")
    (first, last), (first_plain, last_plain) = both["with a route"], both["without"]
    print(f"ratio: first token {first / first_plain:.2f}, throughput {last_plain / last:.2f}")


if __name__ == "__main__":
    main()
