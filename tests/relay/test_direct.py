"""An answer that reaches mitmproxy's HTTP layer without a connection (tests/end_to_end: within a real mitmdump)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import SimpleNamespace as Shape
from typing import Any

import pytest
from mitmproxy import connection, http
from mitmproxy.proxy import events
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.test import tflow, tutils

from midstream.relay.client import AT_ONCE, Client
from midstream.relay.direct import Directs, Mitmproxy
from midstream.relay.job import Head, Job

layers: Any = http_layers
MITMPROXY = Mitmproxy(connection, http, events, layers)
HEAD = Head(200, "OK", [(b"content-type", b"text/event-stream")])
JOB: Any = Shape(ask="a question")


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


class Stream(Shape):
    """mitmproxy's, of one flow."""

    def make_server_connection(self) -> Generator[Any, Any, bool]:
        """mitmproxy's own way to a provider."""
        yield "another connection"
        return True


class Setting:
    """mitmproxy's side of one client whose request came through a CONNECT tunnel: what the handler was told, and what of it
    arrived. serve: the relay's work."""

    def __init__(self, serve: Callable[[Any, Client], Awaitable[None]], alpn: bytes | None = None) -> None:
        self.flow = tflow.tflow()
        self.flow.client_conn.alpn = alpn
        self.outer, self.tunnel, self.tls, self.inner = Shape(connections={}), Shape(), Shape(), Shape(connections={})
        options = Shape(store_streamed_bodies=False)
        context = Shape(client=self.flow.client_conn, options=options)
        self.stream = Stream(flow=self.flow, stream_id=3, context=context, _paused=None)
        self.stream.state_stream_response_body = self.stream.server_state = "streaming"
        self.flow.response = tutils.tresp()
        self.flow.response.stream = True
        context.layers = [self.outer, self.tunnel, self.tls, self.inner, self.stream]
        self.inner.streams = {3: self.stream}
        self.size, self.told, self.by_way, self.lock = 0, list[Any](), list[Any](), asyncio.Lock()
        transport = Shape(get_write_buffer_size=lambda: self.size)
        self.handler = Shape(
            client="the client",
            layer=self.inner,
            transports={"the client": Shape(writer=Shape(transport=transport))},
            server_event=self._event,
            drain_writers=self._drain,
        )
        self.directs = Directs(serve)
        self.laid = self.directs.lay(MITMPROXY, self.handler, self.flow, lambda: JOB)

    async def _event(self, event: Any) -> None:
        async with self.lock:
            commands = self.inner.connections[event.connection].handle_event(event)
            for command in commands:
                self.told.append(command.event)
                self.by_way.append(getattr(command, "connection", "the stream"))

    async def _drain(self) -> None:
        self.size = 0

    @property
    def direct(self) -> Any:
        return next(iter(self.inner.connections.values()))

    def ask(self) -> None:
        """What mitmproxy does once all addons have seen the request."""
        assert list(self.stream.make_server_connection()) == []
        assert self.flow.server_conn is self.stream.context.server is self.direct.server
        for event in (layers.RequestHeaders(3, self.flow.request, True), layers.RequestEndOfMessage(3)):
            assert not list(self.direct.handle_event(event))

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.told]

    @property
    def forgotten(self) -> bool:
        """What is kept, at most, is a flow that mitmproxy has yet to be through with."""
        self.directs.over(self.flow)
        return not (self.inner.connections or self.outer.connections or len(self.directs) or self.directs._under_way)


async def whole(job: Job, client: Client) -> None:
    assert job is JOB
    await client.begin(HEAD)
    assert client.send(b"one")
    await client.write(b"two")
    await client.end()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_whole_answer() -> None:
    async def work() -> None:
        setting = Setting(whole)
        assert setting.outer.connections == {setting.direct.server: setting.tunnel}
        setting.ask()
        await turns()
        head, one, two, _ = setting.told
        assert setting.names == ["ResponseHeaders", "ResponseData", "ResponseData", "ResponseEndOfMessage"]
        assert {event.stream_id for event in setting.told} == {3}
        assert (head.response.status_code, dict(head.response.headers.fields)) == (
            200,
            dict(HEAD.headers) | {b"transfer-encoding": b"chunked"},
        )
        assert (head.end_stream, one.data, two.data) == (False, b"one", b"two")
        assert setting.forgotten

    run(work())


@pytest.mark.parametrize("unlike", ["no stream yet", "an addon changes it", "a hook runs", "it is stored"])
def test_data_goes_to_the_client_past_a_stream_that_would_only_send_it(unlike: str) -> None:
    made = list[Setting]()

    async def serve(job: Job, client: Client) -> None:
        (setting,) = made
        await client.begin(HEAD)
        assert client.send(b"one")
        stream = setting.stream
        changed: dict[str, Callable[[], object]] = {
            "no stream yet": lambda: setattr(stream, "server_state", "waiting"),
            "an addon changes it": lambda: setattr(stream.flow.response, "stream", lambda data: data),
            "a hook runs": lambda: setattr(stream, "_paused", "a command"),
            "it is stored": lambda: setattr(setting.direct, "_stored", True),
        }
        changed[unlike]()
        assert client.send(b"two")
        await client.end()

    async def work() -> None:
        setting = Setting(serve)
        made.append(setting)
        setting.ask()
        await turns()
        assert setting.names == ["ResponseHeaders", "ResponseData", "ResponseData", "ResponseEndOfMessage"]
        assert setting.by_way == ["the stream", setting.flow.client_conn, "the stream", "the stream"]

    run(work())


def test_what_is_stored_of_streams_goes_by_the_stream() -> None:
    async def work() -> None:
        setting = Setting(whole)
        setting.stream.context.options.store_streamed_bodies = True
        setting.ask()
        await turns()
        assert set(setting.by_way) == {"the stream"}

    run(work())


@pytest.mark.parametrize(
    ("head", "body", "expected", "empty"),
    [
        (Head(429, "", [(b"Content-Length", b"7")]), b"no more", {"content-length": "7"}, False),
        (Head(200, "", [(b"content-length", b"many")]), b"", {"transfer-encoding": "chunked"}, False),
        (Head(200, "", [(b"content-length", b"0")]), b"", {"content-length": "0"}, True),
        (Head(204, "", []), b"", {}, True),
    ],
)
def test_how_long_a_body_is(head: Head, body: bytes, expected: dict[str, str], *, empty: bool) -> None:
    async def serve(job: Job, client: Client) -> None:
        await client.begin(head)
        await client.write(body)
        await client.end()

    async def work() -> None:
        setting = Setting(serve)
        setting.ask()
        await turns()
        assert dict(setting.told[0].response.headers) == expected
        assert setting.told[0].end_stream is empty
        assert b"".join(getattr(event, "data", b"") for event in setting.told) == body

    run(work())


def test_a_response_of_a_known_body() -> None:
    async def work() -> None:
        setting = Setting(lambda _, client: client.answer(Head(503, "", []), b"closed"))
        setting.ask()
        await turns()
        assert setting.names == ["ResponseHeaders", "ResponseData", "ResponseEndOfMessage"]
        assert dict(setting.told[0].response.headers) == {"content-length": "6"}

    run(work())


@pytest.mark.parametrize(
    "error", [None, ValueError("a fault of ours"), ConnectionResetError(), asyncio.CancelledError()]
)
def test_what_has_no_end_breaks_off(error: BaseException | None) -> None:
    async def serve(job: Job, client: Client) -> None:
        await client.begin(HEAD)
        if error is not None:
            raise error
        client.break_off()
        client.abort()  # once is enough

    async def work() -> None:
        setting = Setting(serve)
        setting.ask()
        await turns()
        assert setting.names == ["ResponseHeaders", "ResponseProtocolError"]
        assert setting.forgotten

    run(work())


def test_a_client_that_leaves_ends_the_work() -> None:
    ended = list[str]()

    async def serve(job: Job, client: Client) -> None:
        await client.begin(HEAD)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
            assert client.gone
            assert not client.send(b"late")
            with pytest.raises(ConnectionResetError):
                await client.write(b"late")

    async def work(leave: Callable[[Setting], object]) -> None:
        setting = Setting(serve)
        setting.ask()
        await turns()
        leave(setting)
        await turns()
        assert setting.names == ["ResponseHeaders"]
        assert setting.forgotten

    error = layers.RequestProtocolError(3, "Client disconnected.", layers.ErrorCode.CLIENT_DISCONNECTED)
    run(work(lambda setting: setting.direct.handle_event(error)))
    run(work(lambda setting: setting.directs.left(setting.flow.client_conn)))
    run(work(lambda setting: setting.directs.over(setting.flow)))  # another addon has killed it
    assert ended == ["cancelled"] * 3


def test_nothing_is_left_of_a_request_that_mitmproxy_never_sends() -> None:
    async def work(end: Callable[[Setting], None]) -> None:
        setting = Setting(whole)
        end(setting)
        await turns()
        assert setting.told == []
        assert setting.forgotten

    run(work(lambda setting: setting.directs.over(setting.flow)))  # another addon has answered it
    run(work(lambda setting: setting.directs.left(setting.flow.client_conn)))


def test_the_order_is_kept_while_mitmproxy_is_at_something_else() -> None:
    async def work() -> None:
        setting = Setting(whole)
        async with setting.lock:
            setting.ask()
            await turns()
            assert setting.told == []
            assert setting.inner.connections  # or what waits would find no connection
        await turns(10)
        assert setting.names == ["ResponseHeaders", "ResponseData", "ResponseData", "ResponseEndOfMessage"]
        assert setting.forgotten

    run(work())


def test_what_would_wait_for_the_client_is_not_sent_at_once() -> None:
    made = list[Setting]()

    async def serve(job: Job, client: Client) -> None:
        (setting,) = made
        await client.begin(HEAD)
        assert not client.send(b"x" * (AT_ONCE + 1))
        setting.size = 1
        assert not client.send(b"x")
        await client.write(b"x")  # returns once there is room
        assert client.send(b"y")
        assert client.send(b"")
        await client.end()

    async def work() -> None:
        setting = Setting(serve)
        made.append(setting)
        setting.ask()
        await turns(10)
        assert [event.data for event in setting.told[1:-1]] == [b"x", b"y"]

    run(work())


def test_each_flow_has_a_connection_of_its_own() -> None:
    async def work() -> None:
        first, second = Setting(whole), Setting(whole, alpn=b"h2")
        assert first.laid
        assert second.laid
        assert first.direct.server.address != second.direct.server.address
        assert (str(first.direct.server.address[0]).encode(), first.flow.request.host) == (b"address", "address")
        assert first.direct.server.connected
        assert second.direct.server.alpn == b"h2"  # else mitmproxy would not take it for an HTTP/2 client's stream

    run(work())


def test_no_other_flow_to_the_same_host_gets_it() -> None:
    async def work() -> None:
        setting = Setting(whole)
        request = setting.flow.request
        asked_for = layers.GetHttpConnection((request.host, request.port), request.scheme == "https", None)
        assert not asked_for.connection_spec_matches(setting.direct.server)
        assert asked_for.connection_spec_matches(connection.Server(address=(request.host, request.port)))
        setting.ask()
        assert list(setting.stream.make_server_connection()) == ["another connection"]  # nor does this one again

    run(work())


def test_who_leaves_before_the_work_begins_leaves_nothing() -> None:
    async def work() -> None:
        setting = Setting(whole)
        setting.ask()
        setting.directs.left(setting.flow.client_conn)  # in the same turn of the event loop
        await turns()
        assert setting.forgotten
        assert setting.told == []

    run(work())


def test_there_is_no_such_way_for_clients_that_nobody_can_wait_for() -> None:
    async def work() -> None:
        setting = Setting(whole)
        lay = setting.directs.lay
        assert lay(MITMPROXY, None, setting.flow, lambda: JOB) is False  # a replayed flow has no handler
        setting.handler.transports["the client"].writer = Shape()  # mitmproxy's local mode has a stream of its own kind
        assert lay(MITMPROXY, setting.handler, setting.flow, lambda: JOB) is False

    run(work())


def test_there_is_no_such_way_in_a_mitmproxy_of_another_kind() -> None:
    async def work() -> None:
        setting = Setting(whole)
        setting.directs.over(setting.flow)
        setting.stream.context.layers.remove(setting.stream)
        assert setting.directs.lay(MITMPROXY, setting.handler, setting.flow, lambda: JOB) is False
        assert setting.forgotten

    run(work())


def test_at_the_end_answers_have_a_moment_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midstream.relay.direct.STOP_WAIT", 0.01)

    async def serve(job: Job, client: Client) -> None:
        await client.begin(HEAD)
        await asyncio.Event().wait()

    async def work() -> None:
        setting = Setting(serve)
        setting.ask()
        await setting.directs.stop()
        await turns()
        assert setting.names == ["ResponseHeaders", "ResponseProtocolError"]

    run(work())
