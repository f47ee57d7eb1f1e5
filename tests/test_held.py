"""What mitmproxy holds of a stream: looked up in objects of its shape (tests/end_to_end has the real ones)."""

from __future__ import annotations

import socket
from types import SimpleNamespace as Shape
from typing import Any

import pytest

from midstream import held


def flow_of(alpn: bytes | None, **headers: str) -> Any:
    return Shape(client_conn=Shape(alpn=alpn), request=Shape(headers=headers))


def through_connect(inner: Any) -> Any:
    """A handler whose client came by CONNECT: an HTTP layer, under it TLS, under that the HTTP layer that counts."""
    tls = Shape(child_layer=Shape(layer=inner))
    connect = Shape(flow="the CONNECT", child_layer=Shape(layer=tls))
    return Shape(child_layer=Shape(streams={1: connect}))


def test_what_flow_control_holds_back_of_an_http2_stream() -> None:
    flow = flow_of(b"h2")
    buffers = {3: [Shape(data=b"abc"), Shape(data=b"de")], 5: [Shape(data=b"other")]}
    connection = Shape(h2_conn=Shape(stream_buffers=buffers))
    inner = Shape(streams={3: Shape(flow=flow)}, connections=ByIdentity(flow.client_conn, connection))
    gauge = held.gauge(Shape(layer=through_connect(inner)), flow)
    assert gauge() == 5
    del buffers[3]
    assert gauge() == 0


def test_what_waits_of_a_websocket() -> None:
    flow = flow_of(None, upgrade="WebSocket")
    layer = Shape(_paused_event_queue=[Shape(data=b"12345"), Shape()])
    stream = Shape(flow=flow, child_layer=None)
    transport = Shape(get_write_buffer_size=lambda: 100)
    handler = Shape(
        layer=Shape(child_layer=Shape(streams={1: stream})),
        transports=ByIdentity(flow.client_conn, Shape(writer=Shape(transport=transport))),
    )
    gauge = held.gauge(handler, flow)
    assert gauge() == 100  # before the upgrade
    stream.child_layer = layer
    assert gauge() == 105
    handler.transports[flow.client_conn].writer = Shape()  # mitmproxy's local mode has a stream of its own kind
    assert held.gauge(handler, flow)() == 5


def test_nothing_is_known_of_http1_or_of_strange_layers() -> None:
    flow = flow_of(None)
    assert held.gauge(None, flow)() == 0
    assert held.gauge(Shape(layer=Shape()), flow)() == 0
    loop = Shape()
    loop.child_layer = loop
    assert held.gauge(Shape(layer=loop), flow)() == 0


class ByIdentity:
    """A table with one entry, found by identity: the shapes here have no hash."""

    def __init__(self, key: Any, value: Any) -> None:
        self._key, self._value = key, value

    def get(self, key: Any) -> Any:
        return self._value if key is self._key else None

    def __getitem__(self, key: Any) -> Any:
        return self.get(key)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such option")
def test_the_system_takes_no_more_for_a_client_than_it_can_send_soon() -> None:
    client = Shape()
    with socket.socket() as sock:
        writer = Shape(transport=Shape(), get_extra_info={"socket": sock}.get)
        held.bound(Shape(transports=ByIdentity(client, Shape(writer=writer))), client)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == held.UNSENT_LIMIT
    held.bound(Shape(transports=ByIdentity(client, Shape(writer=writer))), client)  # closed: nothing to do, no error


def test_a_client_without_a_socket_of_this_process_is_left_alone() -> None:
    """As those of mitmproxy's local and WireGuard modes are."""
    client = Shape()
    for writer in (None, Shape(), Shape(transport=Shape(), get_extra_info={}.get)):
        held.bound(Shape(transports=ByIdentity(client, Shape(writer=writer))), client)
    held.bound(None, client)
    held.bound(Shape(transports=ByIdentity(Shape(), None)), client)
