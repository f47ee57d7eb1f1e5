"""What mitmproxy holds of a stream that its client has yet to take: buffers without a bound, which it tells nobody about, so this
looks inside. Knows mitmproxy's objects by their shape only (as of 12.2), so that the library needs no mitmproxy.

HTTP/1 clients need none of this: mitmproxy waits for them to read.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

DEPTH_LIMIT = 50
"""Layers of a connection that are looked through: a proxied TLS connection has some ten."""

UNSENT_LIMIT = 64 * 1024
"""Bytes on their way to a client that the system takes from mitmproxy beyond those it can send at once."""


def handler(ctx: Any, client: Any) -> Any:
    """mitmproxy's handler of a client's connection, or None. ctx: mitmproxy's."""
    server = ctx.master.addons.get("proxyserver")
    connections = server.connections if server is not None else {}
    found = connections.get(client.id)  # QUIC's have another key
    return found or next((handler for handler in connections.values() if handler.client is client), None)


def bound(handler: Any, client: Any) -> None:
    """Have the system take no more for this client than UNSENT_LIMIT ahead of it: left alone it takes some 4 MB, which would all
    be fetched, read and passed on for a client that hardly reads. What is in flight, and so a fast client's rate, is not bounded.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
    writer: Any = getattr(handler.transports.get(client), "writer", None) if handler is not None else None
    sock = writer.get_extra_info("socket") if option is not None and hasattr(writer, "transport") else None
    if sock is not None:
        with contextlib.suppress(OSError):  # it has just been closed
            sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_LIMIT)


def gauge(handler: Any, flow: Any) -> Callable[[], int]:
    """How to see how many bytes of this flow's response mitmproxy holds. handler: of the client's connection; None: unknown.

    For an HTTP/2 client it buffers what flow control holds back (`BufferedH2Connection.stream_buffers`). Of a WebSocket it
    queues what arrives while a message is shown to the addons, and then writes it out without waiting for the client.
    """
    is_http2, upgrade = flow.client_conn.alpn == b"h2", flow.request.headers.get("upgrade", "").lower()
    if handler is None or not (is_http2 or upgrade == "websocket") or (found := find(handler.layer, flow)) is None:
        return _nothing
    layer, number, stream = found
    if is_http2:
        buffers = getattr(getattr(layer.connections.get(flow.client_conn), "h2_conn", None), "stream_buffers", {})
        return lambda: sum(len(piece.data) for piece in buffers.get(number, ()))
    client = getattr(handler.transports[flow.client_conn].writer, "transport", None)  # the local mode's has none
    return lambda: _queued(stream) + (client.get_write_buffer_size() if client is not None else 0)


def has_left(handler: Any, flow: Any) -> bool:
    """Whether the client has left while an addon keeps the flow waiting: mitmproxy tells of it only when the hook is done."""
    found = find(handler.layer, flow) if handler is not None else None
    queue = getattr(found[2], "_paused_event_queue", ()) if found is not None else ()
    return not flow.client_conn.connected or any(type(event).__name__ == "RequestProtocolError" for event in queue)


def find(top: Any, flow: Any) -> tuple[Any, int, Any] | None:
    """The HTTP layer that has this flow, and its stream there."""
    for layer in layers(top):
        streams = getattr(layer, "streams", None)
        if isinstance(streams, dict):
            for number, stream in streams.items():
                if getattr(stream, "flow", None) is flow:
                    return layer, number, stream
    return None


def _queued(stream: Any) -> int:
    queue = getattr(getattr(stream, "child_layer", None), "_paused_event_queue", ())
    return sum(len(getattr(event, "data", b"")) for event in queue)


def layers(top: Any) -> Iterator[Any]:
    """The layers of a connection, the outermost first: under the layer that took a CONNECT, and that of TLS. top: its first."""
    return under((top, *getattr(getattr(top, "context", None), "layers", ())))


def under(some: Iterable[Any]) -> Iterator[Any]:
    """These layers, and those below them."""
    waiting, seen = deque(some), set[int]()
    for _ in range(DEPTH_LIMIT):
        if not waiting:
            return
        layer = waiting.popleft()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        waiting += _below(layer)
        streams = getattr(layer, "streams", None)
        if isinstance(streams, dict):
            waiting += [s for s in streams.values() if getattr(s, "child_layer", None) is not None]


def _below(layer: Any) -> list[Any]:
    """The layers that a layer passes its events to. Some keep no name for theirs: they only take on its handler."""
    handler = getattr(getattr(layer, "_handle_event", None), "__self__", None)
    named = [getattr(layer, name, None) for name in ("child_layer", "layer")]
    return [below for below in (*named, handler) if below is not None and below is not layer]


def _nothing() -> int:
    return 0
