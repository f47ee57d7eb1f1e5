"""How many chunks per second go through, what a proxy adds to the first token, and whether a long answer is kept in memory."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict

from contender import PROXIES, Contender, Provider, ask, connect, request, running, stream

FLOOD = 20_000
"""Chunks in all, however many streams share them."""

BIG = 20 * 1024 * 1024 // 230
"""Chunks of a 20 MB answer."""


async def flood(contender: Contender, provider: Provider, streams: int) -> float:
    """Return chunks per second."""
    n = FLOOD // streams
    started = time.perf_counter()
    heard = await asyncio.gather(*(stream(contender, provider, f"n={n}") for _ in range(streams)))
    took = time.perf_counter() - started
    if any(h.count < n * 0.99 for h in heard):  # a token cut in two by a read is not counted
        raise SystemExit(f"{contender.name}: chunks were lost: {heard}")
    return n * streams / took


async def first_tokens(contenders: list[Contender], provider: Provider, requests: int) -> dict[str, float]:
    """Requests in turn, on one kept connection each, so that a slow moment of the machine hits everybody."""
    asked = request("n=3&pace=0.002", provider.port, f"http://127.0.0.1:{provider.port}")
    pairs = [(c, await connect(c, provider)) for c in contenders]
    first = defaultdict[str, list[float]](list)
    for i in range(requests + 5):
        for contender, (reader, writer) in pairs:
            heard = await ask(reader, writer, asked)
            if i >= 5:
                first[contender.name].append(heard.first_ms)
    for _, (_, writer) in pairs:
        writer.close()
    return {name: statistics.median(values) for name, values in first.items()}


async def growth(contender: Contender, provider: Provider) -> int:
    """Return by how many KiB one 20 MB answer makes the process grow."""
    before = most = contender.rss_kib()
    task = asyncio.create_task(stream(contender, provider, f"n={BIG}"))
    while not task.done():
        await asyncio.wait([task], timeout=0.05)
        most = max(most, contender.rss_kib())
    return most - before


async def _measure(contenders: list[Contender], provider: Provider, rounds: int) -> None:
    for contender in contenders:  # warm up: imports, pools
        await stream(contender, provider, "n=200")
    await asyncio.sleep(2)  # the tokenizer is loaded in the background at the start
    speed = defaultdict[tuple[str, int], list[float]](list)
    for number in range(rounds):
        for streams in (1, 20):
            for contender in contenders:
                speed[contender.name, streams].append(await flood(contender, provider, streams))
        print(f"floods: round {number + 1} of {rounds}", file=sys.stderr)
    first = await first_tokens(contenders, provider, 40 * rounds)
    for contender in contenders:
        for streams in (1, 20):
            mine, base = speed[contender.name, streams], speed["plain", streams]
            label = "1 stream" if streams == 1 else f"{streams} streams"
            contender.results[f"chunks/s, {label}"] = statistics.median(mine)
            contender.results[f"÷ plain, {label}"] = statistics.median(m / b for m, b in zip(mine, base, strict=True))
        contender.results["first token p50, ms"] = first[contender.name]
        contender.results["- plain, ms"] = first[contender.name] - first["plain"]
        contender.results["KiB grown over 20 MB"] = await growth(contender, provider)


def run(provider: Provider, rounds: int) -> list[Contender]:
    with running(PROXIES, provider) as contenders:
        asyncio.run(_measure(contenders, provider, rounds))
    return contenders
