"""Break LLM streams on purpose, to see what an app does when its provider fails.

    mitmdump -s addons/break_streams.py --set midstream_break='cut after=40 p=0.2 model=gpt-4o*'

More rules: docs/faults.md. With relay_streams.py the break comes between the provider and the relay, which heals it. Load it
after measure_streams.py, so that the rows show what the client got.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Sequence

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from midstream import flows, held, taps
from midstream.config.in_force import InForce
from midstream.dialects.registry import Match
from midstream.faults.answer import CHANGED_HEADERS, FaultyAnswer, Step, Strike
from midstream.faults.errors import http_error
from midstream.faults.rules import Fault, Faults, RuleError
from midstream.relay.faulty_upstream import FaultyUpstream, announce

log = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between looks at whether the client of a silent stream has left: while a hook waits, mitmproxy does not tell."""


class _Broken:
    """One flow that is to be broken: its fault, and what the fault has done to its answer."""

    def __init__(self, flow: http.HTTPFlow, match: Match, fault: Fault) -> None:
        self.match = match
        self.fault = fault
        self.struck: Strike | None = None
        self._flow = flow
        self._answer: FaultyAnswer | None = None
        self._before: taps.StreamCallable | None = None

    def announce(self) -> None:
        announce(str(self._flow.metadata.get(flows.STREAM, "")), self.match, self.fault)

    def begin(self, response: http.Response) -> None:
        """Stand before whoever looks at the answer's bytes: for them, too, it is the provider who breaks."""
        headers = response.headers
        self._answer = FaultyAnswer(
            self.fault,
            self.match.dialect,
            struck=self.announce,
            content_type=headers.get("content-type", ""),
            content_encoding=headers.get("content-encoding", ""),
            model=self.match.facts.model,
            path=self._flow.request.path,
        )
        for name in CHANGED_HEADERS:
            headers.pop(name, None)
        if self._flow.request.http_version == "HTTP/1.1":  # else the end of the connection would be a rightful end
            response.http_version, headers["transfer-encoding"] = "HTTP/1.1", "chunked"
        self._before = response.stream if callable(response.stream) else None
        response.stream = self._stream

    def _stream(self, data: bytes) -> Iterable[bytes]:
        if self._answer is None:
            return [data]
        steps = self._answer.feed(data) if data else self._answer.close()
        passed = [piece for step in steps for piece in self._take(step)]
        if not data:
            passed += self._through(b"")
        return passed

    def _take(self, step: Step) -> list[bytes]:
        if isinstance(step, bytes):
            return self._through(step)
        self.struck = step
        if step is Strike.CUT:
            _hang_up(self._flow)
        return []

    def _through(self, data: bytes) -> list[bytes]:
        """What whoever came before makes of it; never b"", which would end the body."""
        if self._before is None:
            return [data] if data else []
        made = self._before(data)
        return [piece for piece in ([made] if isinstance(made, bytes) else made) if piece]


class BreakStreams:
    """The addon: chooses the requests, breaks them, or has the relay's provider side do it."""

    def __init__(self) -> None:
        self._faults = Faults([])
        self._in_force = InForce.of("")
        self._upstream: FaultyUpstream | None = None
        self._broken: dict[str, _Broken] = {}
        self._stopping = False

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.CONFIG_OPTION)
        loader.add_option(
            "midstream_break",
            Sequence[str],
            [],
            "Break LLM streams on purpose, by rules such as 'cut after=40 p=0.2 model=gpt-4o*'.",
        )

    def configure(self, updated: set[str]) -> None:
        with flows.refused_as(exceptions.OptionsError):
            if "midstream_config" in updated:
                self._in_force = flows.in_force(ctx.options)
        try:
            if "midstream_break" in updated:
                self._faults = Faults(ctx.options.midstream_break)
        except RuleError as error:
            raise exceptions.OptionsError(f"midstream_break: {error}") from None
        self._remove()
        if self._faults:
            self._upstream = FaultyUpstream(self._faults, self._in_force.whose)
            self._upstream.install()

    def running(self) -> None:
        names = list(ctx.master.addons.lookup)
        after = names[names.index("breakstreams") :] if "breakstreams" in names else []
        if self._faults and "measurestreams" in after:
            log.warning("midstream: rows do not show what is broken: load break_streams.py after measure_streams.py")

    async def request(self, flow: http.HTTPFlow) -> None:
        if not self._faults or flow.response or flow.error or not flow.live or flow.request.stream:
            return
        if ctx.master.addons.get("relaystreams") is not None:  # breaks it at the provider's side
            return
        match = None if flows.is_handshake(flow.request) else flows.recognise(flow, self._in_force.whose)
        fault = self._faults.choose(flows.host_of(flow), match, time.monotonic()) if match is not None else None
        if match is None or fault is None:
            return
        broken = _Broken(flow, match, fault)
        if fault.in_stream:
            self._broken[flow.id] = broken
            return
        broken.announce()
        await self._break(flow, broken)

    async def _break(self, flow: http.HTTPFlow, broken: _Broken) -> None:
        """A fault that comes before the answer."""
        fault = broken.fault
        match fault.kind:
            case "status" | "flapping":
                headers, body = http_error(fault, broken.match.dialect)
                flow.response = http.Response.make(fault.status, body, dict(headers))
            case "reset":
                flow.kill()
            case "silence":
                await self._wait(flow)
                if self._stopping or not flow.client_conn.connected:  # else mitmproxy finds it reset
                    _kill(flow)
            case "slow":
                await self._wait(flow, fault.seconds)

    async def _wait(self, flow: http.HTTPFlow, seconds: float = float("inf")) -> None:
        """Until the client leaves, or mitmdump stops, or for so long."""
        handler, until = held.handler(ctx, flow.client_conn), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:  # mitmproxy has no event for it
            if self._stopping or held.has_left(handler, flow):
                break
            await asyncio.sleep(min(left, POLL))

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        broken = self._broken.get(flow.id)
        if broken is not None and flow.response is not None and flow.response.status_code == 200:
            broken.begin(flow.response)

    async def response(self, flow: http.HTTPFlow) -> None:
        """The provider's answer has ended; what the client has of it has not."""
        broken = self._broken.pop(flow.id, None)
        if broken is not None and broken.struck is Strike.STALL:
            await self._wait(flow)
        if broken is not None and broken.struck in (Strike.CUT, Strike.STALL):
            _kill(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._broken.pop(flow.id, None)

    def _remove(self) -> None:
        if self._upstream is not None:
            self._upstream.remove()
            self._upstream = None

    def done(self) -> None:
        self._stopping = True
        self._remove()


def _kill(flow: http.HTTPFlow) -> None:
    with contextlib.suppress(exceptions.ControlException):  # it is dead already
        flow.kill()


def _hang_up(flow: http.HTTPFlow) -> None:
    """Close the provider's connection: mitmproxy then does to the client what a provider that breaks off does."""
    handler = held.handler(ctx, flow.client_conn)
    io = handler.transports.get(flow.server_conn) if handler is not None else None
    transport = getattr(getattr(io, "writer", None), "transport", None)
    if transport is not None:
        transport.abort()


addons = [BreakStreams()]
