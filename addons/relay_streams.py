"""Own the provider's side of every LLM stream, so that it can be re-delivered, resumed, retried, rerouted and healed.

    mitmdump -s addons/relay_streams.py

Each LLM request is pointed at the relay, an HTTP server on a loopback port inside mitmdump's own event loop; the flow is
given its real address back before anybody looks at it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from mitmproxy import connection, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import layers, mode_specs, server_hooks
from mitmproxy.proxy.layers.http import _http2

from midstream import connect, flows, store
from midstream import ledger as ledgers
from midstream.dialects import registry
from midstream.relay import tickets, upstream
from midstream.relay.job import Job
from midstream.relay.server import Relay

log = logging.getLogger(__name__)

TCP_TIMEOUT = 24 * 3600
"""Seconds. mitmproxy's 600 would cut a model that thinks for longer; the relay has time-outs of its own."""


class _Fresh(tuple[str, int]):
    """An address equal to no other: mitmproxy allows 5 connections per client to one address, which would stall the sixth
    stream of an HTTP/2 client (`ConnectionHandler.max_conns`)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class _Original(NamedTuple):
    """What the flow looked like before it was pointed at the relay. (No dataclass: those fail in a `-s` script.)"""

    job: Job
    scheme: str
    host: str
    port: int
    path: str
    headers: http.Headers
    body: bytes | None
    via: object


class RelayStreams:
    """The addon: points LLM requests at the relay, and gives the flows their real face back."""

    def __init__(self) -> None:
        self._relay: Relay | None = None
        self._ledger: ledgers.Ledger | None = None
        self._originals: dict[str, _Original] = {}

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.DB_OPTION)

    def configure(self, updated: set[str]) -> None:
        if "midstream_db" in updated and self._ledger is None:
            try:
                self._ledger = ledgers.Ledger(store.StoreWriter(flows.db_path(ctx.options.midstream_db)))
            except ValueError as error:
                raise exceptions.OptionsError(str(error)) from error

    async def running(self) -> None:
        if self._ledger is None:
            return
        # Eager would dial the provider on CONNECT, and fail there for one that is down, before anything could reroute.
        ctx.options.update(connection_strategy="lazy", tcp_timeout=max(ctx.options.tcp_timeout, TCP_TIMEOUT))
        relay = Relay(_upstream_options(), self._ledger)
        await relay.start()
        self._relay = relay
        log.info("midstream relays LLM streams")

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.response or flow.error or not flow.live or self._relay is None:
            return
        request = flow.request
        if request.method != "POST" or request.headers.get("upgrade"):
            return
        body = flows.body_of(request)
        match = registry.recognise(flows.host_of(flow), request.path, body)
        if match is not None:
            account = flows.account(flow, match, match.facts.model)
            account.prompt = lambda: flows.prompt_of(match, body)
            self._point_at_relay(
                flow, Job(request=_upstream_request(flow), match=match, account=account, held=_held(flow))
            )

    def _point_at_relay(self, flow: http.HTTPFlow, job: Job) -> None:
        request, relay = flow.request, self._relay
        if relay is None:
            return
        via = flow.server_conn.via
        self._originals[flow.id] = _Original(
            job, request.scheme, request.host, request.port, request.path, request.headers, request.raw_content, via
        )
        flow.metadata[flows.RELAYED] = True
        request.headers = http.Headers(host="midstream", **{tickets.HEADER.replace("-", "_"): relay.admit(job)})
        if flow.client_conn.alpn == b"h2":
            request.headers["connection"] = "close"  # mitmproxy never reuses an HTTP/1 connection for an HTTP/2 client
        request.raw_content = b""
        request.headers["content-length"] = "0"
        request.scheme, request.host, request.port, request.path = "http", *relay.address, "/"
        flow.server_conn.via = None

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        if self._relay is not None and data.server.address == self._relay.address and data.client.alpn == b"h2":
            data.server.address = _Fresh(self._relay.address)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        original = self._originals.pop(flow.id, None)
        if original is None or flow.response is None:
            return
        self._restore(flow, original)
        flow.response.stream = True
        head = original.job.head
        if head is not None:
            framing = {k: v for k in ("transfer-encoding",) if (v := flow.response.headers.get(k))}
            flow.response.status_code, flow.response.reason = head.status, head.reason
            flow.response.headers = http.Headers(head.headers)
            flow.response.headers.update(framing)

    def error(self, flow: http.HTTPFlow) -> None:
        original = self._originals.pop(flow.id, None)
        if original is not None:
            self._restore(flow, original)

    def _restore(self, flow: http.HTTPFlow, original: _Original) -> None:
        """mitmweb, saved flows and logs show the provider, never the loopback."""
        request = flow.request
        request.scheme, request.host, request.port = original.scheme, original.host, original.port
        request.path, request.headers, request.raw_content = original.path, original.headers, original.body
        shown = connection.Server(address=(original.host, original.port))
        shown.timestamp_start = flow.server_conn.timestamp_start
        flow.server_conn = shown

    async def done(self) -> None:
        if self._relay is not None:
            await self._relay.stop()
        if self._ledger is not None:
            self._ledger.shut()


def _upstream_request(flow: http.HTTPFlow) -> upstream.UpstreamRequest:
    request = flow.request
    mode = flow.client_conn.proxy_mode
    proxy = ""
    if isinstance(mode, mode_specs.UpstreamMode):
        proxy = f"{mode.scheme}://{mode.address[0]}:{mode.address[1]}"
    return upstream.UpstreamRequest(
        method=request.method,
        url=flows.url_of(flow),
        headers=list(request.headers.fields),
        body=request.raw_content or b"",
        proxy=proxy,
        proxy_auth=ctx.options.upstream_auth or "",
    )


def _upstream_options() -> upstream.UpstreamOptions:
    options = ctx.options
    return upstream.UpstreamOptions(
        insecure=options.ssl_insecure,
        trusted_ca=options.ssl_verify_upstream_trusted_ca or "",
        trusted_dir=options.ssl_verify_upstream_trusted_confdir or "",
        client_certs=options.client_certs or "",
        connect_to=[connect.parse_spec(spec) for spec in getattr(options, "midstream_connect_to", ())],
    )


def _held(flow: http.HTTPFlow) -> Callable[[], int]:
    """How to see what mitmproxy buffers for this stream. Only HTTP/2 clients have such a buffer, and it has no bound
    (`BufferedH2Connection.stream_buffers`); mitmproxy tells nobody about it, so this looks inside.
    """
    if flow.client_conn.alpn != b"h2":
        return _nothing
    layer = _http_layer(flow.client_conn)
    stream_id = next((n for n, stream in layer.streams.items() if stream.flow is flow), None) if layer else None
    client = layer.connections.get(flow.client_conn) if layer else None
    if not isinstance(client, _http2.Http2Connection) or stream_id is None:
        return _nothing
    buffers = client.h2_conn.stream_buffers
    return lambda: sum(len(piece.data) for piece in buffers.get(stream_id, ()))


def _http_layer(client: connection.Client) -> layers.HttpLayer | None:
    """The HTTP layer of a client's connection: the one layer of its stack that has streams."""
    server = ctx.master.addons.get("proxyserver")
    handler = next((h for h in server.connections.values() if h.client is client), None)
    for layer in handler.layer.context.layers if handler else ():
        if isinstance(layer, layers.HttpLayer):
            return layer
    return None


def _nothing() -> int:
    return 0


addons = [RelayStreams()]
