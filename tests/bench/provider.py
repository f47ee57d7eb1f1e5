"""A provider for the benchmark, as cheap as can be: `python provider.py` prints its port and serves chat streams.

The query says what to send: `n` chunks, `pace` seconds apart (0: as fast as the other side takes them), after `wait` seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _event(**choice: object) -> bytes:
    body = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_0000000000",
        "choices": [{"index": 0, "logprobs": None, **choice}],
    }
    return _chunk(b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = _event(delta={"content": " token"}, finish_reason=None)
TAIL = _event(delta={}, finish_reason="stop") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
BATCH = 64
"""Chunks per write when flooding: the network's own batching, so that the provider is never what is measured."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode("latin-1").split("\r\n")
            length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
            await reader.readexactly(length)
            await _answer(writer, {k: float(v[0]) for k, v in parse_qs(urlsplit(lines[0].split(" ")[1]).query).items()})
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(writer: asyncio.StreamWriter, ask: dict[str, float]) -> None:
    n, pace = int(ask.get("n", 1)), ask.get("pace", 0.0)
    if wait := ask.get("wait", 0.0):
        await asyncio.sleep(wait)
    writer.write(HEAD)
    if pace:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for i in range(n):
            writer.write(TOKEN)
            await asyncio.sleep(max(0.0, start + (i + 1) * pace - loop.time()))
    else:
        for i in range(0, n, BATCH):
            writer.write(TOKEN * min(BATCH, n - i))
            await writer.drain()
    writer.write(TAIL)
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
