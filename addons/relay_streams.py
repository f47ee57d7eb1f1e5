"""Own the provider's side of every LLM stream, so that it can be re-delivered, resumed, retried, rerouted and healed.

    mitmdump -s addons/relay_streams.py

Each LLM request is answered by the relay, in mitmdump's own event loop: in a provider's own form without a connection, in any
other by way of its HTTP server on a loopback port; the flow is given its real address back before anybody looks at it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from dataclasses import replace

from mitmproxy import connection, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import events, mode_specs, server_hooks
from mitmproxy.proxy.layers import http as layers

from midstream import connect, flows, held, hooks
from midstream import ledger as ledgers
from midstream.config.in_force import InForce
from midstream.dialects import registry
from midstream.dialects.base import RequestFacts
from midstream.relay import access, ask, asked, heads, intercept, tickets
from midstream.relay.direct import Mitmproxy
from midstream.relay.drain import drain, passed_on
from midstream.relay.inlet import Handler, Inlet
from midstream.relay.intercept import Original
from midstream.relay.job import GatewayJob, Intercepted, Job
from midstream.relay.server import Relay
from midstream.relay.upstream import UpstreamOptions, UpstreamRequest

log = logging.getLogger(__name__)

TCP_TIMEOUT = 24 * 3600
"""Seconds. mitmproxy's 600 would cut a model that thinks for longer; the relay has time-outs of its own."""

POLL = 1.0
"""Seconds between two looks at whether midstream.toml has changed."""

START_WAIT = 10.0
"""Seconds that a request waits for the relay to start."""

MITMPROXY = Mitmproxy(connection, http, events, layers)
Headers = flows.remembering(http.Headers)

GATEWAY = "midstream.gateway"
"""Key of flow.metadata: a request to the gateway."""


class RelayStreams:
    """The addon: points LLM requests at the relay, and gives the flows their real face back."""

    def __init__(self) -> None:
        self._relay: Relay | None = None
        self._started = asyncio.Event()
        self._ledger: ledgers.Ledger | None = None
        self._originals: dict[str, Original] = {}
        self._arrivals: dict[str, GatewayJob] = {}
        self._passing: set[str] = set()
        self._in_force = InForce.of("")
        self._poller: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.DB_OPTION)
        loader.add_option(*flows.CONFIG_OPTION)

    def configure(self, updated: set[str]) -> None:
        with flows.refused_as(exceptions.OptionsError):
            if "midstream_config" in updated:
                self._in_force = flows.in_force(ctx.options)
            if "midstream_db" in updated and self._ledger is None:
                self._ledger = ledgers.Ledger.of(flows.db_path(ctx.options.midstream_db))
                self._ledger.retain(lambda: self._in_force.config.retention.keep_days)

    async def running(self) -> None:
        if self._ledger is None:
            return
        # Eager would dial the provider on CONNECT, and fail there for one that is down, before anything could reroute.
        ctx.options.update(connection_strategy="lazy", tcp_timeout=max(ctx.options.tcp_timeout, TCP_TIMEOUT))
        hooks.streamline(ctx.master.addons)
        relay = Relay(UpstreamOptions.of(ctx.options), self._ledger, lambda: self._in_force.config)
        await relay.start()
        self._relay = relay
        gc.freeze()  # all that was loaded stays: it need not be looked at, 30 ms long, whenever streams have made garbage
        self._started.set()
        self._poller = asyncio.create_task(self._poll())
        log.info("midstream relays LLM streams")

    async def _poll(self) -> None:
        """Take over what was changed in midstream.toml, or say what is wrong with it, also while nothing passes."""
        while True:
            await asyncio.sleep(POLL)
            _ = self._in_force.config

    def client_connected(self, client: connection.Client) -> None:
        mode = client.proxy_mode
        if isinstance(mode, mode_specs.ReverseMode) and mode.address[0] == access.GATEWAY_HOST:
            handler = held.handler(ctx, client)
            if handler is not None:
                handler.layer.context.options = flows.KeepingHost(ctx.options)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        flows.start_anew(flow)
        if flow.live and self._ledger is not None and not self._started.is_set():
            with contextlib.suppress(TimeoutError):  # mitmproxy's listeners are up before its addons are
                await asyncio.wait_for(self._started.wait(), START_WAIT)
        request = flow.request
        if flow.response or flow.error or not flow.live or request.host.lower().rstrip(".") != access.GATEWAY_HOST:
            return
        job = self._arrivals[flow.id] = _gateway_job(flow)
        limit = self._in_force.config.gateway.body_limit
        if not asked.is_short(request.headers, limit, may_be_empty=not request.is_http2):
            flow.request.stream = True  # the relay counts it, and nothing is buffered here
            self._point_at_gateway(flow, job)

    def request(self, flow: http.HTTPFlow) -> None:
        arrival = self._arrivals.pop(flow.id, None)
        if flow.response or flow.error or not flow.live or self._relay is None or flow.metadata.get(flows.RELAYED):
            return
        request = flow.request
        if request.stream and arrival is None:  # beyond stream_large_bodies: it is on its way to its provider already
            return
        if arrival is not None:
            return self._point_at_gateway(flow, arrival)
        upgrade = "websocket" if flows.is_handshake(request) else ""
        read = flows.recognise_chat_socket if upgrade else flows.recognise
        match = read(flow, self._in_force.whose)
        if match is None:
            return
        body = None if upgrade else flows.body_of(request)
        delivery = None
        if upgrade or request.method == "POST":  # a GET asks for no chat: there is nothing to be asked anew
            delivery = asked.other_delivery_of(match.dialect, request.headers.get("accept", ""), upgrade)
        if delivery is not None:
            self._point_at_redelivery(flow, delivery, match, body or b"")
        elif not upgrade:
            self._point_at_relay(flow, self._job(flow, match, body))

    def _job(self, flow: http.HTTPFlow, match: registry.Match, body: bytes | None) -> Job:
        account = flows.account(flow, match, match.facts.model)
        account.prompt = lambda: flows.prompt_of(match, body)
        gauge = held.gauge(held.handler(ctx, flow.client_conn), flow)
        question = ask.intercepted(self._in_force.config, _upstream_request(flow), match, body or b"")
        return Job(ask=question, account=account, held=gauge)

    def _point_at_redelivery(
        self, flow: http.HTTPFlow, delivery: asked.Delivery, match: registry.Match, body: bytes
    ) -> None:
        request, headers = replace(_upstream_request(flow), body=body), flow.request.headers
        wanted = Intercepted(delivery, request, match, lambda m: flows.account(flow, m, m.facts.model, headers))
        job = _gateway_job(flow, wanted)
        self._point_at_gateway(flow, job) if delivery == "websocket" else self._point_at_relay(flow, job)

    def _point_at_relay(self, flow: http.HTTPFlow, job: Job | GatewayJob) -> None:
        if (relay := self._relay) is None:
            return
        handler = held.handler(ctx, flow.client_conn)
        if isinstance(job, Job) and relay.directs.lay(MITMPROXY, handler, flow, lambda: self._as_it_is_now(flow, job)):
            return self._hand_over(flow, Original.keep(flow, job))
        self._redirect(flow, job, http.Headers(host="midstream", content_length="0"))
        flow.request.data.content, flow.request.data.path = b"", b"/"

    def _as_it_is_now(self, flow: http.HTTPFlow, job: Job) -> Job:
        """What to do for a flow when it is sent: an addon behind this one, or whoever held it, may have changed what is asked."""
        original = self._originals[flow.id]
        if not original.edited(flow):
            return job
        original.put_back(flow)
        match = flows.recognise(flow, self._in_force.whose)
        if match is None:  # it is no LLM's any more: let its provider say so
            match = registry.Match(job.ask.dialect, job.ask.provider, job.account.prices, RequestFacts())
        job = self._job(flow, match, flows.body_of(flow.request))
        self._originals[flow.id] = Original.keep(flow, job)
        return job

    def _point_at_gateway(self, flow: http.HTTPFlow, job: GatewayJob) -> None:
        """The gateway is in the relay, and gets the request as it is, if every HTTP server would read it alike."""
        data = flow.request.data
        fault = heads.fault_of(data.method, data.path, flow.request.headers.fields)
        if fault is not None:
            flow.request.stream, flow.response = False, http.Response.make(*heads.answer(fault))
            return
        flow.metadata[GATEWAY] = True
        headers = flow.request.headers.copy()
        headers["host"] = "midstream"
        if length := heads.countable(headers, None if flow.request.stream else flow.request.raw_content):
            headers["content-length"] = length
        self._redirect(flow, job, headers)

    def _redirect(self, flow: http.HTTPFlow, job: Job | GatewayJob, headers: http.Headers) -> None:
        """By way of the relay's port, with a ticket."""
        if (relay := self._relay) is None:
            return
        headers[tickets.HEADER] = relay.admit(job)
        if flow.client_conn.alpn == b"h2":
            headers["connection"] = "close"  # mitmproxy never reuses an HTTP/1 connection for an HTTP/2 client
        self._hand_over(flow, Original.point(flow, job, headers, relay.address))

    def _hand_over(self, flow: http.HTTPFlow, original: Original) -> None:
        held.bound(held.handler(ctx, flow.client_conn), flow.client_conn)
        flow.metadata[flows.RELAYED] = True
        self._passing.add(flow.id)
        self._originals[flow.id] = original

    def client_disconnected(self, client: connection.Client) -> None:
        if self._relay is not None:
            self._relay.directs.left(client)

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        if self._relay is not None and data.server.address == self._relay.address and data.client.alpn == b"h2":
            data.server.address = connect.Fresh(self._relay.address)

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        relay, server = self._relay, data.server
        if relay is None or not server.sockname or server.peername != relay.address:
            return
        if (handler := Handler.of(held.handler(ctx, data.client))) is not None:
            relay.inlets[server.sockname] = Inlet(handler, server, events.DataReceived)

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        relay, address = self._relay, data.server.sockname
        if relay is not None and address and (inlet := relay.inlets.pop(address, None)) is not None:
            inlet.shut()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        original = self._originals.pop(flow.id, None)
        if original is None:
            self._hide_credential(flow)
        if original is None or flow.response is None:
            return
        _restore(flow, original)
        flow.metadata[flows.STREAM] = original.job.stream
        flow.response.stream = flow.response.stream or flow.response.status_code != 101
        flow.response.headers = Headers(flow.response.headers.fields)
        intercept.complete(flow, original.job.head)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get(GATEWAY) and flow.websocket is not None:
            del flow.websocket.messages[:-1]  # mitmproxy keeps every message for as long as the flow

    def response(self, flow: http.HTTPFlow) -> None:
        self._is_over(flow)
        if (original := self._originals.pop(flow.id, None)) is not None:  # another addon has answered
            _restore(flow, original)

    def error(self, flow: http.HTTPFlow) -> None:
        self._is_over(flow)
        self._arrivals.pop(flow.id, None)
        original = self._originals.pop(flow.id, None)
        if original is None:
            self._hide_credential(flow)
        else:
            _restore(flow, original)

    def _is_over(self, flow: http.HTTPFlow) -> None:
        self._passing.discard(flow.id)
        if self._relay is not None:
            self._relay.directs.over(flow)

    def _hide_credential(self, flow: http.HTTPFlow) -> None:
        """Of a request that went to its provider past the relay, which has it by now: from here on flows are saved and logged."""
        if self._in_force.whose(flows.host_of(flow)) is not None:
            flow.request.path = asked.split_secrets(flow.request.path)[0]

    async def done(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
        if self._ledger is not None:
            await drain(self._ledger, self._in_force.config.streams.drain)
        if self._relay is not None:
            await self._relay.stop()
            await passed_on(self._passing)
        if self._ledger is not None:
            self._ledger.shut()


def _restore(flow: http.HTTPFlow, original: Original) -> None:
    original.restore(flow)
    shown = connection.Server(address=(original.host, original.port))
    shown.timestamp_start = flow.server_conn.timestamp_start
    flow.server_conn = shown


def _gateway_job(flow: http.HTTPFlow, intercepted: Intercepted | None = None) -> GatewayJob:
    gauge = held.gauge(held.handler(ctx, flow.client_conn), flow)
    modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
    return intercept.gateway_job(flow, gauge, modes, ctx.options.upstream_auth or "", intercepted)


def _upstream_request(flow: http.HTTPFlow) -> UpstreamRequest:
    return intercept.upstream_request(flow, ctx.options.upstream_auth or "")


addons = [RelayStreams()]
