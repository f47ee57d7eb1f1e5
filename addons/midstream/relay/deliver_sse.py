"""Server-sent events: `retry` once, then each event with `id: <stream>:<n>`, as an EventSource wants them (WHATWG HTML, 9.2)."""

from __future__ import annotations

from aiohttp import web

from midstream.relay.exchange import Exchange, begins, take
from midstream.relay.native import COMMENT
from midstream.relay.streams import Stream, Streams

RETRY = 1000
"""Milliseconds until a browser reconnects."""


async def deliver(
    exchange: Exchange, streams: Streams, stream: Stream, after: int, *, resumed: bool = False
) -> web.StreamResponse:
    """Follow a stream from behind event `after`; 204 if there is nothing left of it, which makes an EventSource stop."""
    if stream.fully_read(after):
        return exchange.answer(204, b"", "", {"X-Stream-Id": stream.id})
    with streams.attach(stream, after, "sse", resumed=resumed) as reader:
        await begins(stream)
        if stream.refused and not after:
            return exchange.failed(stream)
        out = await exchange.begin(stream, "text/event-stream; charset=utf-8")
        name = stream.id.encode()
        # An event without data is not dispatched, but its id counts: who loses the connection now need not ask anew.
        await exchange.send(out.write(b"retry: %d\nid: %b:%d\n\n" % (RETRY, name, after)))

        async def keep_alive() -> None:
            await exchange.send(out.write(COMMENT))

        while entries := await take(reader, keep_alive):
            events = b"".join(b"id: %b:%d\ndata: %b\n\n" % (name, entry.n, entry.data) for entry in entries)
            await exchange.send(out.write(events))
        await out.write_eof()
        return out
