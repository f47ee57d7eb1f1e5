"""A provider for the benchmark, as cheap as can be. `python provider.py [CERTIFICATE]` prints its port, and that of TLS.

The query of the URL, or that in the request's message, says what to send: `n` chunks, `pace` seconds apart (0: as fast as the
other side takes them), after `wait` seconds. A paced chunk says when it was sent: nanoseconds of time.monotonic, 19 digits.
A chat that is not to be streamed is answered at once, in one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import sys
import time
from urllib.parse import parse_qs

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
QUERY = re.compile(rb"[?]([a-z0-9=.&]+)")


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


TOKENS = tuple(_event(delta={"content": text}, finish_reason=None) for text in (" token", " tokens"))
"""Two in turn: LiteLLM takes a hundred that are alike for a model that repeats itself, and ends the stream."""
BEFORE, _, AFTER = _event(delta={"content": " token " + "9" * 19}, finish_reason=None).partition(b"9" * 19)
TAIL = _event(delta={}, finish_reason="stop") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
WHOLE = json.dumps(
    {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "token"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
    }
).encode()
AT_ONCE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
BATCH = 64
"""Chunks per write when flooding: the network's own batching, so that the provider is never what is measured."""
MANY = b"".join(TOKENS) * (BATCH // 2)

PAUSE_AT = 64 * 1024
"""Bytes that a reader may leave waiting before its paced chunks wait too."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length.group(1)) if length else 0)
            if b'"stream":false' in body.replace(b'": ', b'":') or b'"stream"' not in body:
                writer.write(AT_ONCE)
                continue
            asked = QUERY.search(head.partition(b"\r\n")[0]) or QUERY.search(body)
            query = parse_qs(asked.group(1).decode()) if asked else {}
            await _answer(writer, {k: float(v[0]) for k, v in query.items()})
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        with contextlib.suppress(OSError):
            writer.close()


async def _answer(writer: asyncio.StreamWriter, ask: dict[str, float]) -> None:
    n, pace = int(ask.get("n", 1)), ask.get("pace", 0.0)
    if wait := ask.get("wait", 0.0):
        await asyncio.sleep(wait)
    writer.write(HEAD)
    if pace:
        await Paced(writer, n, pace).over
        await writer.drain()
    else:
        for i in range(0, n, BATCH):
            writer.write(MANY if n - i >= BATCH else b"".join(TOKENS[k % 2] for k in range(n - i)))
            await writer.drain()
    writer.write(TAIL)
    await writer.drain()


class Paced:
    """Chunks at a steady pace, written by a timer alone: with a task for each stream it is the provider that falls behind."""

    def __init__(self, writer: asyncio.StreamWriter, n: int, pace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._transport = writer.transport
        self._left, self._pace, self._due = n, pace, self._loop.time()
        self._write()

    def _write(self) -> None:
        if self._transport.is_closing() or self.over.done():
            self.over.done() or self.over.set_result(None)
            return
        if self._transport.get_write_buffer_size() < PAUSE_AT:
            self._transport.write(b"%b%019d%b" % (BEFORE, time.monotonic_ns(), AFTER))
            self._left -= 1
        self._due += self._pace
        if self._left > 0:
            self._loop.call_at(self._due, self._write)
        else:
            self._loop.call_at(self._due, self.over.set_result, None)


async def main(certificate: str = "") -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    plain = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=500)
    secure = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=500, ssl=context)
    print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
    await asyncio.gather(plain.serve_forever(), secure.serve_forever())


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:2]))
    except KeyboardInterrupt:
        sys.exit(0)
