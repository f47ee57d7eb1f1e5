"""Chunked bodies: JSON lines, one chunk object each, or plain text, the tokens alone. Only a whole answer ends them cleanly."""

from __future__ import annotations

from aiohttp import web

from midstream.relay.exchange import Exchange, begins, take
from midstream.relay.log import Reader
from midstream.relay.producer import DONE
from midstream.relay.refusal import Refusal
from midstream.relay.spool import Entry
from midstream.relay.streams import Stream, Streams
from midstream.wire.json_text import as_dict, as_list, as_str, parse_json

ENDLESS = (1 << 53) - 1
"""The last position of a range whose end nobody knows yet (RFC 8673)."""


async def deliver_lines(
    exchange: Exchange, streams: Streams, stream: Stream, after: int, *, resumed: bool = False
) -> web.StreamResponse:
    """JSON lines from behind event `after`. An error is the last line, and the body is broken off."""
    with streams.attach(stream, after, "chunked", resumed=resumed) as reader:
        await begins(stream)
        if stream.refused and not after:
            return exchange.failed(stream)
        out = await exchange.begin(stream, "application/x-ndjson; charset=utf-8")

        async def keep_alive() -> None:
            await exchange.send(out.write(b" "))  # white space before the next line's JSON

        while entries := await take(reader, keep_alive):
            if lines := b"".join(entry.data + b"\n" for entry in entries if entry.data != DONE):
                await exchange.send(out.write(lines))
        return await _end(exchange, stream, out)


async def deliver_text(exchange: Exchange, streams: Streams, stream: Stream, offset: int | None) -> web.StreamResponse:
    """The answer's text alone, from byte `offset` on (None: no range was asked for)."""
    with streams.attach(stream, 0, "chunked", resumed=bool(offset)) as reader:
        await begins(stream)
        if stream.refused:
            return exchange.failed(stream)
        size = None if offset is None or stream.live else await _size(stream)
        rest = await _skip(reader, offset or 0, stream)
        if offset is not None and size is not None and offset >= size:
            raise _unsatisfiable(size)
        ranged = {} if offset is None else {"Content_Range": _content_range(offset, size)}
        out = await exchange.begin(
            stream, "text/plain; charset=utf-8", status=206 if ranged else 200, Accept_Ranges="bytes", **ranged
        )
        if rest:
            await exchange.send(out.write(rest))
        while entries := await take(reader, _nothing):
            if text := text_of(entries):
                await exchange.send(out.write(text))
        return await _end(exchange, stream, out)


async def _nothing() -> None:
    """Plain text has no room for a keepalive."""


async def _end(exchange: Exchange, stream: Stream, out: web.StreamResponse) -> web.StreamResponse:
    if stream.failure is not None:
        exchange.break_off()
    else:
        await out.write_eof()
    return out


async def _skip(reader: Reader, offset: int, stream: Stream) -> bytes:
    """Read past the first `offset` bytes and return what was read beyond them. Raises Refusal (416) if there are not so many."""
    passed = 0
    while passed < offset:
        entries = await reader.take() if reader.position < stream.log.last else []
        if not entries:
            raise _unsatisfiable(passed)
        text = text_of(entries)
        passed += len(text)
        if passed > offset:
            return text[offset - passed :]
    return b""


async def _size(stream: Stream) -> int:
    """Bytes of an ended stream's text."""
    size, reader = 0, stream.log.reader(0)
    try:
        while entries := await reader.take():
            size += len(text_of(entries))
    finally:
        reader.close()
    return size


def _content_range(offset: int, size: int | None) -> str:
    return f"bytes {offset}-{ENDLESS}/*" if size is None else f"bytes {offset}-{size - 1}/{size}"


def _unsatisfiable(size: int) -> Refusal:
    return Refusal(416, f"Range: the text has {size} bytes so far", headers={"Content-Range": f"bytes */{size}"})


def text_of(entries: list[Entry]) -> bytes:
    """What the first choice of these chunks says."""
    return "".join(_content(entry.data) for entry in entries).encode("utf-8", "replace")


def _content(data: bytes) -> str:
    if data == DONE:
        return ""
    try:
        choices = as_list(as_dict(parse_json(data)).get("choices"))
    except ValueError:
        return ""
    return "".join(
        as_str(as_dict(choice.get("delta")).get("content"))
        for choice in map(as_dict, choices)
        if not choice.get("index")
    )
