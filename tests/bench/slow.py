"""200 clients that read 10 KB/s of a 20 MB answer, and five fast ones beside them: HTTP/1.1 and HTTP/2, SSE and WebSocket of the
gateway.

Each client takes part of its answer only: all of it would last half an hour. What counts is that memory stops growing long
before the answer is in it. The slow clients' receive buffers are small: on a slow link, little is on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from client import percentile, stream
from contender import Contender, Provider, free_port, running
from slow_clients import PROTOCOLS, Client, Target

CLIENTS, FAST, PACE = 200, 5, 0.02
OPENING, SETTLING, BESIDE, AFTER = 4.0, 8.0, 10.0, 3.0
"""Seconds in which the slow clients come, and fill what there is to fill; in which the fast ones are heard beside them; and
from when the slow ones have left until the memory is read a last time."""

BIG = 20 * 1024 * 1024 // 230
"""Chunks of a 20 MB answer."""

SPOOL = 256 * 1024
"""Bytes of each gateway stream that may go to disk: so little that it is full, and the provider paused, within the run."""


async def fast_delays(contender: Contender, provider: Provider) -> list[float]:
    """Return the delays of all chunks of fast clients, in milliseconds."""
    query = f"n={int(BESIDE / PACE)}&pace={PACE}"
    heard = await asyncio.gather(*(stream(contender, provider, query) for _ in range(FAST)))
    return [delay for h in heard for delay in h.delays_ms]


async def slow_client(opener: Callable[[Target], Awaitable[Client]], target: Target, number: int) -> None:
    """Read 1000 bytes every tenth of a second until cancelled."""
    await asyncio.sleep(number * OPENING / CLIENTS)
    client = await opener(target)
    try:
        while await client.take(1000):  # noqa: ASYNC110 - its pace
            await asyncio.sleep(0.1)
        raise SystemExit("a slow client's answer ended early")
    finally:
        client.close()


async def watch(contender: Contender, seen: list[int]) -> None:
    """Note the process's memory ten times a second."""
    while True:
        seen.append(contender.rss_kib())
        await asyncio.sleep(0.1)


async def _protocol(name: str, target: Target) -> None:
    contender, results = target.contender, target.contender.results
    alone = await fast_delays(contender, target.provider)
    seen = [contender.rss_kib()]
    started = time.time()
    watcher = asyncio.create_task(watch(contender, seen))
    slow = [asyncio.create_task(slow_client(PROTOCOLS[name], target, number)) for number in range(CLIENTS)]
    coming = asyncio.create_task(fast_delays(contender, target.provider))
    await asyncio.wait(slow, timeout=OPENING + SETTLING)
    while_coming = await coming
    beside = await fast_delays(contender, target.provider)
    if failed := [task for task in slow if task.done()]:
        raise SystemExit(f"{name}: {len(failed)} slow clients were cut off: {failed[0].exception()!r}")
    watcher.cancel()
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    await asyncio.sleep(AFTER)
    label = f"{CLIENTS} slow {name} clients"
    results[f"{label}: MiB before"] = seen[0] / 1024
    results[f"{label}: MiB at most"] = max(seen) / 1024
    results[f"{label}: MiB grown in the last 5 s"] = (seen[-1] - seen[-50]) / 1024
    results[f"{label}: MiB after"] = contender.rss_kib() / 1024
    for when, delays in (("alone", alone), ("while they come", while_coming), ("beside them", beside)):
        results[f"{label}: fast clients' chunk delay p50, {when}, ms"] = percentile(delays, 50)
        results[f"{label}: fast clients' chunk delay p99, {when}, ms"] = percentile(delays, 99)
    rows, paused = paused_rows(contender, started)
    results[f"{label}: rows"] = rows
    results[f"{label}: rows with paused_ms > 1000"] = paused


def paused_rows(contender: Contender, since: float) -> tuple[int, int]:
    """Return how many streams were left by their client since, and how many of them say that it held them back."""
    query = "select count(*), coalesce(sum(paused_ms > 1000), 0) from streams where outcome != 'complete' and started_at >= ?"
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    with contextlib.closing(sqlite3.connect(f"file:{contender.database}?mode=ro", uri=True)) as connection:
        rows, paused = connection.execute(query, (moment,)).fetchone()
    return rows, paused


async def _measure(contender: Contender, provider: Provider, gateway: int) -> None:
    target = Target(contender, provider, gateway, f"n={BIG}")
    await stream(contender, provider, "n=200&pace=0.005")
    await asyncio.sleep(2)
    for name in PROTOCOLS:
        await _protocol(name, target)
        print(f"slow: {name}", file=sys.stderr)


def run(provider: Provider, rounds: int) -> list[Contender]:
    """Of the relay only: plain mitmdump would hold four gigabytes for HTTP/2 clients."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "midstream.toml"
        base = f'[providers.openai]\nbase_url = "http://127.0.0.1:{provider.port}/v1"\n'
        file.write_text(f'{base}[streams]\ngrace = 0\nspool = {SPOOL}\nspool_dir = "{folder}"\n')
        more = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{port}")
        with running(("relaying",), provider, *more, "--set", f"midstream_config={file}") as contenders:
            asyncio.run(_measure(contenders[0], provider, port))
    return contenders
