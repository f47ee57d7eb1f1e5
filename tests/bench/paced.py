"""100 streams at 50 tokens/s, opened over two seconds: what a proxy adds to each chunk, and holds of each stream.

The provider writes into each chunk when it was sent; the client subtracts (one machine, one monotonic clock). What `direct`
shows is the machine's own delay, of client and provider: the proxies' figures contain it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

from contender import PROXIES, Contender, Heard, Provider, percentile, running, stream

STREAMS, OPENING, PACE, CHUNKS = 100, 2.0, 0.02, 400
"""CHUNKS: of each stream, 8 seconds long."""


async def paced(contender: Contender, provider: Provider) -> tuple[list[Heard], float]:
    """Return what each stream's client heard, and the KiB that the process grew by, per open stream."""
    before = contender.rss_kib()

    async def one(number: int) -> Heard:
        await asyncio.sleep(number * OPENING / STREAMS)
        return await stream(contender, provider, f"n={CHUNKS}&pace={PACE}")

    tasks = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    await asyncio.sleep(OPENING + 4)
    grown = (contender.rss_kib() - before) / STREAMS
    return await asyncio.gather(*tasks), grown


async def _measure(contenders: list[Contender], provider: Provider, rounds: int) -> None:
    for contender in contenders:  # imports, pools
        await asyncio.gather(*(stream(contender, provider, "n=50&pace=0.002") for _ in range(5)))
    await asyncio.sleep(2)
    delays, firsts = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for number in range(rounds):
        for contender in contenders:
            heard, grown = await paced(contender, provider)
            delays[contender.name] += [delay for h in heard for delay in h.delays_ms]
            firsts[contender.name] += [h.first_ms for h in heard]
            if number == 0 and contender.name != "direct":
                contender.results["KiB per open stream"] = grown
        print(f"paced: round {number + 1} of {rounds}", file=sys.stderr)
    for contender in contenders:
        for name, values in (("chunk delay", delays[contender.name]), ("first token", firsts[contender.name])):
            contender.results[f"{name} p50, ms"] = percentile(values, 50)
            contender.results[f"{name} p99, ms"] = percentile(values, 99)


def run(provider: Provider, rounds: int) -> list[Contender]:
    with running(("direct", *PROXIES), provider) as contenders:
        asyncio.run(_measure(contenders, provider, rounds))
    return contenders
