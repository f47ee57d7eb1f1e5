"""Server-sent events: `retry` once, then each event with `id: <stream>:<n>`, as an EventSource wants them (WHATWG HTML, 9.2).

Two habits of the npm package `eventsource` 2 shape it. It takes an id for its place as soon as it has read the line, not when it
dispatches the event: so the id comes behind the data, else an event cut in between would be lost. And it goes on dispatching
what one chunk brings after a handler has closed it: so a finish reason ends a chunk, else a client that closes there would
still be handed the usage and [DONE].
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from midstream.dialects.base import SSE_COMMENT
from midstream.relay.exchange import Exchange, begins, take
from midstream.relay.spool import Entry
from midstream.relay.streams import Stream, Streams

RETRY = 1000
"""Milliseconds until a browser reconnects."""

OPENING = b"event: opening\nretry: %d\nid: %b:%d\n\n"
"""An event without data is not dispatched, but its id counts: who loses the connection now need not ask anew. Its name is for
eventsource 2, which keeps the data of an event that a cut left without an id: under that name no handler gets it."""

_FINISH = b'"finish_reason":"'
"""In our JSON no string can contain this: its quotes would be escaped."""


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
        await exchange.send(out.write(OPENING % (RETRY, name, after)))

        async def keep_alive() -> None:
            await exchange.send(out.write(SSE_COMMENT))

        while entries := await take(reader, keep_alive):
            for events in _chunks(name, entries):
                await exchange.send(out.write(events))
        await out.write_eof()
        return out


def _chunks(name: bytes, entries: list[Entry]) -> Iterator[bytes]:
    """The events, as few chunks; one ends behind each finish reason."""
    events: list[bytes] = []
    for entry in entries:
        events.append(b"data: %b\nid: %b:%d\n\n" % (entry.data, name, entry.n))
        if _FINISH in entry.data:
            yield b"".join(events)
            events.clear()
    if events:
        yield b"".join(events)
