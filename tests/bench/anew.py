"""A client that connects anew for each request, to a TLS provider that is 50 ms of round-trip time away.

The way there is a forwarder that delays each direction by 25 ms. Loopback's TCP handshake takes no time, so the first bytes of
a connection wait a round trip more. There is no DNS. The client reaches the proxy over loopback, with CONNECT and TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from client import READ, Reader, Writer, ask, connect_tls, percentile, request
from contender import Contender, Provider, running

ROUND_TRIP = 0.05
REQUESTS = 20
"""Per round."""


class Distance:
    """The forwarder."""

    def __init__(self, target: int) -> None:
        self._target = target

    async def serve(self, near: Reader, near_writer: Writer) -> None:
        far, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        there = self._carry(near, far_writer, handshake=ROUND_TRIP)
        await asyncio.gather(there, self._carry(far, near_writer))

    async def _carry(self, source: Reader, sink: Writer, *, handshake: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        open_at = loop.time() + handshake
        with contextlib.suppress(OSError):
            while data := await source.read(READ):
                loop.call_at(max(loop.time(), open_at) + ROUND_TRIP / 2, self._write, sink, data)
        loop.call_later(ROUND_TRIP / 2, sink.close)

    @staticmethod
    def _write(sink: Writer, data: bytes) -> None:
        if not sink.is_closing():
            sink.write(data)


@contextlib.asynccontextmanager
async def distance(target: int) -> AsyncIterator[int]:
    server = await asyncio.start_server(Distance(target).serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()  # and does not wait for the proxies' idle connections


async def first_token(contender: Contender, provider: Provider, port: int) -> float:
    """Return milliseconds from the decision to connect to the first content."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    reader, writer = await connect_tls(contender, port, provider.authority)
    connected = (loop.time() - started) * 1000
    try:
        return connected + (await ask(reader, writer, request("n=3&pace=0.002", port))).first_ms
    finally:
        writer.close()


async def _measure(contenders: list[Contender], provider: Provider, rounds: int) -> None:
    first = defaultdict[str, list[float]](list)
    async with distance(provider.tls_port) as port:
        for i in range(REQUESTS * rounds + 2):
            for contender in contenders:
                took = await first_token(contender, provider, port)
                if i >= 2:
                    first[contender.name].append(took)
                await asyncio.sleep(0.01)
    for contender in contenders:
        mine = first[contender.name]
        contender.results["connecting anew: first token p50, ms"] = percentile(mine, 50)
        contender.results["connecting anew: p99, ms"] = percentile(mine, 99)
        contender.results["connecting anew: ÷ direct"] = percentile(mine, 50) / percentile(first["direct"], 50)


def run(provider: Provider, rounds: int) -> list[Contender]:
    with running(("direct", "plain", "measuring", "relaying"), provider) as contenders:
        asyncio.run(_measure(contenders, provider, rounds))
    return contenders
