"""What a connection is in the midst of, and what mitmproxy holds of it that is not whole yet: buffers and waits without a bound,
so this looks inside. Knows mitmproxy's objects by their shape only (as of 12.2), so that the library needs no mitmproxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from midstream.held import layers, under

HEAD_LIMIT = 256 * 1024
"""Bytes of a request's or a response's head, or of anything else that HTTP/1 cannot make sense of before there is more."""

MESSAGE_LIMIT = 32 * 1024 * 1024
"""Bytes of one WebSocket message, its fragments together. OpenAI's Realtime API takes 15 MiB."""

FRAGMENT_COST = 64
"""Bytes that a fragment takes beside its own."""

HEAD_WAIT = 60.0
"""Seconds in which a client completes a TLS handshake, or a request's head."""

BODY_WAIT = 120.0
"""Seconds that a request's body may take whatever its size: before they are over even one byte a second is fast enough."""

BODY_RATE = 1024
"""Bytes a second that a request's body comes at, at least, once BODY_WAIT is over."""

IDLE_WAIT = 600.0
"""Seconds that a client may keep a connection on which nothing is asked; mitmproxy's own default for silence."""

POLL = 5.0
"""Seconds between two looks at what clients take their time for."""

type What = Literal["head", "body", "idle"]

_NOT_HTTP = frozenset(("TCPLayer", "DNSLayer"))
_BODIES = ("state_consume_request_body", "state_stream_request_body")


@dataclass(slots=True)
class Patience:
    """How long one client's connection has been in the midst of one thing. Clock values are handed in."""

    now: tuple[What, int] | None = None
    since: float = 0.0
    received: int = 0
    """Bytes from this client in its whole life."""
    _before: int = 0

    def overdue(self, what: tuple[What, int] | None, now: float) -> str:
        """Take note of what it is in the midst of; return what it has taken too long for, if anything."""
        if what != self.now:
            self.now, self.since, self._before = what, now, self.received
        if what is None:
            return ""
        waited, came = now - self.since, self.received - self._before
        match what[0]:
            case "head":
                return f"no whole request in {HEAD_WAIT:.0f} s" if waited > HEAD_WAIT else ""
            case "body":
                return f"a body of {came} bytes in {waited:.0f} s" if waited > BODY_WAIT + came / BODY_RATE else ""
            case "idle":
                return f"nothing asked for {IDLE_WAIT:.0f} s" if waited > IDLE_WAIT else ""


def stage(top: Any, client: Any) -> tuple[What, int] | None:
    """What a client's connection is in the midst of, and which one of these; None: an answer, or nothing that we may end.

    top: the first of its layers.
    """
    if getattr(client, "timestamp_tls_setup", None) is None and getattr(client, "tls", False):
        return "head", 0
    below = list(layers(top))
    if any(type(layer).__name__ in _NOT_HTTP for layer in below):
        return None
    found: tuple[What, int] | None = ("head", 0)  # nothing asked yet
    for http in _http(below):
        server = http.connections.get(client)
        if server is None:
            continue
        doing = getattr(getattr(server, "state", None), "__name__", "")
        if hasattr(server, "h2_conn"):
            found = _stage_of_many(http)
        elif doing == "read_headers":
            found = ("head" if len(server.buf) else "idle"), server.stream_id
        else:
            found = ("body", server.stream_id) if doing == "read_body" else None
    return found


def _stage_of_many(http: Any) -> tuple[What, int] | None:
    """HTTP/2: the oldest stream whose body is still to come; idle where there is no stream."""
    if not http.streams:
        return "idle", 0
    states = {n: getattr(getattr(stream, "client_state", None), "__name__", "") for n, stream in http.streams.items()}
    return next((("body", n) for n, state in states.items() if state in _BODIES), None)


def unfinished(top: Any, connection: Any) -> str:
    """What came on this connection and is over its limit before it is whole; "" where nothing is."""
    for http in _http(layers(top)):
        mine = http.connections.get(connection)  # for a provider over TLS that layer, and HTTP's below it
        held = sum(len(getattr(layer, "buf", b"")) for layer in under((mine,))) if mine is not None else 0
        if held > HEAD_LIMIT:
            return f"an HTTP head of {held} bytes"
        for stream in http.streams.values():
            socket = getattr(stream, "child_layer", None)
            for side in (getattr(socket, "client_ws", None), getattr(socket, "server_ws", None)):
                if side is not None and side.conn is connection and _size(side.frame_buf) > MESSAGE_LIMIT:
                    return f"a WebSocket message over {MESSAGE_LIMIT} bytes"
    return ""


def _size(fragments: list[bytes]) -> int:
    return sum(map(len, fragments)) + FRAGMENT_COST * len(fragments)


def _http(below: Iterable[Any]) -> Iterator[Any]:
    """The HTTP layers, the outermost first."""
    return (layer for layer in below if isinstance(getattr(layer, "streams", None), dict))
