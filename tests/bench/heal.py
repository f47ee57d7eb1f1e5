"""How long a break takes: from the last token before it to the first one after it, beyond the target's own time to first token.

python tests/bench/heal.py --rounds 50
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from end_to_end.harness import Authority, Provider, running
from end_to_end.healing import WORDS, answer, healing_proxy

ROUTE = '[healing]\nfailures = 1000\nretry_budget = 1.0\n[[routes]]\non_break = "continue"\n'
FIRST_TOKEN = 0.1
"""Seconds that the provider takes for its first token, each time it is asked."""

BREAK = 20
PAUSE = 0.01


class Breaking:
    """Breaks off after BREAK tokens, and goes on where it is asked to."""

    def __init__(self, *, breaks: bool) -> None:
        self.breaks = breaks
        self.broke_at = 0.0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        again = len(body["messages"]) > 1
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(FIRST_TOKEN)
        pieces = answer(WORDS[BREAK:] if again else WORDS)
        for number, piece in enumerate(pieces):
            if self.breaks and not again and number == BREAK + 1:
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(piece)
            await asyncio.sleep(PAUSE)
        return response


async def gaps(session: aiohttp.ClientSession, url: str, context: ssl.SSLContext, proxy: str) -> tuple[float, float]:
    """Seconds to the first token, and the longest gap after it."""
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Count."}]}
    began = last = time.perf_counter()
    first, longest, text = 0.0, 0.0, ""
    async with session.post(url, json=body, ssl=context, proxy=proxy) as response:
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            said: Any = json.loads(line[6:])
            content = said["choices"][0]["delta"].get("content") if said["choices"] else None
            if not content:
                continue
            now = time.perf_counter()
            first, longest = first or now - began, max(longest, now - last if first else 0.0)
            text, last = text + content, now
    assert text == "".join(WORDS), text
    return first, longest


async def measure(proxy: Any, provider: Provider, rounds: int) -> tuple[list[float], list[float]]:
    """Added seconds: of a first token through the proxy, and of a first token after a break."""
    url, context = "https://api.openai.com/v1/chat/completions", proxy.client_context()
    plain, healed = [], []
    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-x"}) as session:
        for _ in range(rounds):
            provider.handler = Breaking(breaks=False)
            plain.append((await gaps(session, url, context, proxy.url))[0] - FIRST_TOKEN)
            provider.handler = Breaking(breaks=True)
            healed.append((await gaps(session, url, context, proxy.url))[1] - FIRST_TOKEN)
    return plain, healed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        provider = Provider(authority)
        with running(healing_proxy(folder, authority, provider, provider, ROUTE)) as proxy:
            plain, healed = asyncio.run(measure(proxy, provider, rounds))
        provider.stop()
    for label, values in (("first token of a stream", plain), ("first token after a break", healed)):
        cuts = statistics.quantiles(values, n=100)
        print(f"{label}: {cuts[49] * 1000:.1f} ms p50, {cuts[98] * 1000:.1f} ms p99 beyond the provider's own")


if __name__ == "__main__":
    main()
