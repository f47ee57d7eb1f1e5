"""The relay: an HTTP server on a loopback port that answers only requests with a ticket of this very mitmdump."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator

from aiohttp import http_exceptions, web

from midstream.config import Config
from midstream.connect import OURS
from midstream.healing.breakers import Breaker
from midstream.ledger import Ledger
from midstream.relay import heads, native
from midstream.relay.client import Client, HttpClient
from midstream.relay.direct import Directs
from midstream.relay.gateway import Gateway
from midstream.relay.healing import Means
from midstream.relay.inlet import Arrival, Inlets
from midstream.relay.job import GatewayJob, Job
from midstream.relay.reattach import STOP_WAIT, Reattach
from midstream.relay.redelivery import Redelivery
from midstream.relay.tickets import HEADER, Tickets
from midstream.relay.upstream import Upstream, UpstreamOptions

log = logging.getLogger(__name__)

SEND_BUFFER = 64 * 1024
"""Bytes of each stream on their way to mitmproxy, in the system's hands (Linux doubles it); left alone it takes megabytes."""


LINE_MARGIN = 1024
"""Bytes of a line beside what `heads` counts of it: a method, a name, the protocol's version."""

ADDED_HEADERS = 8
"""Headers that mitmproxy and its addon add to a request on its way here."""

LINGER = 1.0
"""Seconds that a connection takes what still comes of a body that was refused, so that mitmproxy sees why."""

BACKLOG = 512
"""Connections that wait to be taken: all that mitmproxy opens while the event loop goes round once."""

RUNNING: list[Relay] = []
"""The relays of this process, for whoever shows what they do: addons are modules of their own, and meet here."""


def breakers() -> Iterator[tuple[str, str, Breaker]]:
    """Every target that this process asked lately, the latest of a relay last: its provider, its model, its circuit breaker."""
    for relay in RUNNING:
        for target, breaker in relay.means.targets.breakers():
            yield str(getattr(target, "provider", "")), str(getattr(target, "model", "")), breaker


class Relay:
    """Started inside mitmdump's event loop; `address` is where tickets are redeemed."""

    def __init__(self, options: UpstreamOptions, ledger: Ledger, config: Callable[[], Config] = Config.default) -> None:
        self.tickets: Tickets[Job | GatewayJob] = Tickets()
        self.address = ("127.0.0.1", 0)
        self.means = Means(Upstream(options), ledger)
        self._ledger = ledger
        self._gateway = Gateway(config, self.means)
        self._redelivery = Redelivery(config, self._gateway.streams, self.means)
        self._reattach = Reattach(config, self.means)
        server = web.Server(
            self._answer,
            handler_cancellation=True,
            access_log=None,
            logger=_logger(),
            keepalive_timeout=3600,
            auto_decompress=False,  # `read_body` does it, and knows a compression bomb
            lingering_time=LINGER,
            max_line_size=heads.TARGET_LIMIT + LINE_MARGIN,
            max_field_size=heads.FIELD_LIMIT + LINE_MARGIN,
            max_headers=heads.COUNT_LIMIT + ADDED_HEADERS,
        )
        self.directs = Directs(self._serve)
        """The answers that need no connection."""
        self.inlets: Inlets = {}
        """mitmproxy's ends of its connections to here, which the addon keeps up to date."""
        self._server = server
        self._listening: asyncio.Server | None = None
        self._runner = web.ServerRunner(server, shutdown_timeout=1)

    async def start(self) -> None:
        """Listen on a loopback port of the system's choosing."""
        await self._runner.setup()
        listener = socket.create_server((self.address[0], 0), backlog=BACKLOG)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # each connection inherits it
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Arrival(self._server(), self.inlets), sock=listener, backlog=BACKLOG
        )
        self.address = listener.getsockname()
        OURS.add(self.address)
        RUNNING.append(self)
        self._ledger.occupied.append(lambda: self._gateway.streams.read)

    def admit(self, job: Job | GatewayJob) -> str:
        """Return the ticket that makes the relay do this job, once."""
        return self.tickets.issue(job, time.monotonic())

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        job = self.tickets.redeem(request.headers.get(HEADER, ""), time.monotonic())
        if job is None:
            return web.Response(status=403, text="midstream's relay serves its own mitmdump only\n")
        try:
            if isinstance(job, GatewayJob) and job.intercepted is not None:
                return await self._redelivery.answer(job, job.intercepted, request)
            if isinstance(job, GatewayJob):
                return await self._gateway.answer(job, request)
            client = HttpClient(request, job)
            await self._serve(job, client)
            return client.response
        except ConnectionResetError:  # the client has left, which aiohttp would log as an error of ours
            raise asyncio.CancelledError from None

    async def _serve(self, job: Job, client: Client) -> None:
        """Answer a request that was sent to a provider, in the provider's own form."""
        if self._reattach.wants(job):
            await self._reattach.deliver(job, client)
        elif self._ledger.draining:
            await native.refuse(job, client, self._ledger)
        else:
            await native.deliver(job, client, self.means)

    async def stop(self) -> None:
        """Stop listening, end what runs (their rows are settled as interrupted), close the provider connections."""
        self._ledger.stopping = self._ledger.draining = True
        OURS.discard(self.address)
        if self in RUNNING:
            RUNNING.remove(self)
        await self._gateway.stop()
        await self._reattach.stop()
        for task in (delivering := list(self.means.delivering)):
            task.cancel()
        if delivering:
            await asyncio.wait(delivering, timeout=STOP_WAIT)
        await self.directs.stop()
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        await self.means.upstream.close()


def _logger() -> logging.Logger:
    """aiohttp's, for our server: a stranger's bytes are a line of it, and no traceback."""
    logger = logging.getLogger("midstream.relay.http")
    if not logger.filters:
        logger.addFilter(_without_traceback)
    return logger


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, http_exceptions.HttpProcessingError | web.RequestPayloadError):
        record.msg, record.args, record.exc_info = "the relay's port was sent what is no HTTP request", (), None
    return True
