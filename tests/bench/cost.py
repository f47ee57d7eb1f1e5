"""What a connection, a request and a chunk cost the proxy in processor time: of all figures the one that other programs on the
machine disturb least, and, where hundreds of clients arrive at once, what all of them wait for.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable
from pathlib import Path

from client import ask, connect, request, request_of, stream, tunnel
from contender import Contender, Provider, running

AT_ONCE = 4
"""Clients that ask at the same time."""

SETTLING = 0.4
"""Seconds until what is done behind an answer (counting, writing its row) is done, too."""

CONTENDERS = ("plain", "measuring", "relaying", "all")
ANEW = "CPU per new TLS connection and its request, ms"
KEPT = "CPU per request on a kept connection, ms"
PACED = "CPU at a pace (20 streams, 50 tokens/s), ms per 1000 chunks"
FLOOD = "CPU at most chunks/s (20 streams), ms per 1000 chunks"


@functools.cache
def _trusting(certificate: Path) -> ssl.SSLContext:
    """One for all: to make it takes longer than a handshake."""
    return ssl.create_default_context(cafile=certificate)


async def _used(contender: Contender, work: Awaitable[object]) -> float:
    """Milliseconds of the processor."""
    before = contender.cpu_seconds()
    await work
    await asyncio.sleep(SETTLING)
    return (contender.cpu_seconds() - before) * 1000


async def _ask_anew(contender: Contender, provider: Provider, times: int) -> None:
    """A tunnel, TLS and a short answer, again and again."""
    for _ in range(times):
        reader, writer = await tunnel(contender, provider.tls_port)
        await writer.start_tls(_trusting(contender.certificate), server_hostname="127.0.0.1")
        await ask(reader, writer, request("n=3", provider.tls_port))
        writer.close()


async def _ask_again(contender: Contender, provider: Provider, times: int) -> None:
    reader, writer = await connect(contender, provider)
    for _ in range(times):
        await ask(reader, writer, request_of(contender, provider, "n=3"))
    writer.close()


async def of_requests(contender: Contender, provider: Provider, times: int) -> dict[str, float]:
    """times: requests of each of AT_ONCE clients."""
    costs = {}
    for measure, client in ((ANEW, _ask_anew), (KEPT, _ask_again)):
        clients = asyncio.gather(*(client(contender, provider, times) for _ in range(AT_ONCE)))
        costs[measure] = await _used(contender, clients) / (AT_ONCE * times)
    return costs


async def _of_chunks(contender: Contender, provider: Provider) -> dict[str, float]:
    """Less what opening the streams costs."""
    costs = {}
    for measure, few, many in ((PACED, "n=5&pace=0.02", "n=105&pace=0.02"), (FLOOD, "n=64", "n=1064")):
        used = [
            await _used(contender, asyncio.gather(*(stream(contender, provider, query) for _ in range(20))))
            for query in (few, many)
        ]
        costs[measure] = (used[1] - used[0]) / 20 / (0.1 if measure is PACED else 1.0)
    return costs


async def _measure(contenders: list[Contender], provider: Provider, rounds: int, times: int) -> None:
    values = defaultdict[tuple[str, str], list[float]](list)
    for number in range(rounds + 1):
        for contender in contenders:
            costs = await of_requests(contender, provider, times) | await _of_chunks(contender, provider)
            for measure, value in costs.items() if number else ():  # the first round warms up
                values[measure, contender.name].append(value)
    for contender in contenders:
        for measure in (ANEW, KEPT, PACED, FLOOD):
            contender.results[measure] = statistics.median(values[measure, contender.name])


def run(provider: Provider, rounds: int) -> list[Contender]:
    with running(CONTENDERS, provider) as contenders:
        time.sleep(1)
        asyncio.run(_measure(contenders, provider, rounds, 15))
    return contenders
