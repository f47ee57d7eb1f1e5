"""Measure every LLM stream that passes, one row each into SQLite; touches no byte and buffers no answer.

    mitmdump -s addons/measure_streams.py --set midstream_db=~/.midstream/streams.db

`midstream stats`, `midstream streams` and `midstream show ID` read the rows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from midstream import flows, hooks, taps
from midstream import ledger as ledgers
from midstream.config.in_force import InForce
from midstream.dialects import registry
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import SessionDecoder
from midstream.events import Asked, End, Event, Failure, Start
from midstream.observation import Outcome
from midstream.relay.drain import drain
from midstream.relay.refusal import error_body, shutting_down
from midstream.wire import Frame

log = logging.getLogger(__name__)

Headers = flows.remembering(http.Headers)


class _Stream:
    """One open HTTP answer: a tap on its bytes."""

    def __init__(self, match: registry.Match, flow: http.HTTPFlow, ledger: ledgers.Ledger) -> None:
        self._match = match
        self._ledger = ledger
        self._decoder: AnswerDecoder | None = None
        self._unread: list[bytes] = []
        self._arrived = 0.0
        self._opened = False
        self._account = flows.account(flow, match, match.facts.model)
        self._observation = self._account.observation
        request = flow.request
        self._account.prompt = lambda: flows.prompt_of(match, flows.body_of(request))

    def open(self) -> None:
        self._opened = True
        self._ledger.open(self._account)

    def begin(self, response: http.Response) -> None:
        headers = response.headers
        self._observation.record.http_status = response.status_code
        self._decoder = AnswerDecoder(
            self._match.dialect,
            status=response.status_code,
            content_type=headers.get("content-type", ""),
            content_encoding=headers.get("content-encoding", ""),
        )

    def see(self, data: bytes) -> None:
        """Keep the chunk until mitmproxy is done with all that arrived with it: read together they cost half."""
        if not self._unread:
            self._arrived = time.monotonic()
            asyncio.get_running_loop().call_soon(self._read)
        self._unread.append(data)

    def _read(self) -> None:
        data = b"".join(self._unread)
        self._unread.clear()
        if self._decoder is not None and data:
            self._observation.record.bytes += len(data)
            self._feed(self._decoder.feed(data), self._arrived)

    def _feed(self, events: list[Event], now: float) -> None:
        observation = self._observation
        if observation.feed(events, now):
            self._ledger.first_content(self._account)
        if observation.text_size > ledgers.SPILL:
            self._ledger.spill(self._account)

    def forget(self) -> None:
        if self._opened:  # else nobody has heard of it: no reason to wake the store's thread
            self._ledger.forget(self._account)

    def end(self, outcome: Outcome, error_type: str = "", error: str = "", *, http_status: int | None = None) -> None:
        self._observation.record.http_status = http_status or self._observation.record.http_status
        self._read()
        if self._decoder is not None:
            self._feed(self._decoder.close(), time.monotonic())
        self._observation.settle(outcome, time.monotonic(), error_type=error_type, error=error)
        self._ledger.close(self._account)


class _Session:
    """One WebSocket session: a row for each answer in it."""

    def __init__(
        self, match: registry.Match, decoder: SessionDecoder, flow: http.HTTPFlow, ledger: ledgers.Ledger
    ) -> None:
        self._match = match
        self._decoder = decoder
        self._flow = flow
        self._ledger = ledger
        self._model = match.facts.model or flow.request.query.get("model", "")
        self._open: ledgers.Account | None = None

    def see(self, message: bytes, *, from_client: bool) -> None:
        size = 0 if from_client else len(message)
        for event in self._decoder.feed(Frame(message), from_client=from_client):
            if isinstance(event, Asked | Start):
                self._begin(event)
            if self._open is not None:
                self._open.observation.record.bytes += size
                size = 0
                self._take(event, self._open)

    def _begin(self, event: Asked | Start) -> None:
        self._model = event.model or self._model
        if self._open is None:
            self._open = flows.account(self._flow, self._match, self._model)
            self._open.observation.record.delivery = "websocket"
            self._open.observation.record.http_status = 101
            self._ledger.open(self._open)
        elif isinstance(event, Asked):  # asked again before anything came: the later one counts
            self._open.observation.restart(time.monotonic())

    def _take(self, event: Event, account: ledgers.Account) -> None:
        if account.observation.feed([event], time.monotonic()):
            self._ledger.first_content(account)
        if account.observation.text_size > ledgers.SPILL:
            self._ledger.spill(account)
        if isinstance(event, End | Failure):
            self.end("complete" if isinstance(event, End) else "failed")

    def end(self, outcome: Outcome, error_type: str = "", error: str = "") -> None:
        if self._open is not None:
            self._open.observation.settle(outcome, time.monotonic(), error_type=error_type, error=error)
            self._ledger.close(self._open)
            self._open = None


class MeasureStreams:
    """The addon: recognises LLM requests, taps their answers, settles their rows."""

    def __init__(self) -> None:
        self._ledger: ledgers.Ledger | None = None
        self._in_force = InForce.of("")
        self._streams: dict[str, _Stream] = {}
        self._sessions: dict[str, _Session] = {}

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.DB_OPTION)
        loader.add_option(*flows.CONFIG_OPTION)

    def configure(self, updated: set[str]) -> None:
        with flows.refused_as(exceptions.OptionsError):
            if "midstream_config" in updated:
                self._in_force = flows.in_force(ctx.options)
            if "midstream_db" in updated:
                self._record_into(flows.db_path(ctx.options.midstream_db))

    def _record_into(self, path: Path) -> None:
        if self._ledger is not None:
            self._ledger.shut()
        self._ledger = ledgers.Ledger.of(path)
        self._ledger.retain(lambda: self._in_force.config.retention.keep_days)

    def running(self) -> None:
        hooks.streamline(ctx.master.addons)

    def request(self, flow: http.HTTPFlow) -> None:
        if flows.RELAYED in flow.metadata and ctx.master.addons.get("relaystreams") is None:
            flows.start_anew(flow)  # it says so of the time before it was saved, or replayed, when there was a relay
        if flow.response or flow.error or not flow.live or self._ledger is None or flow.metadata.get(flows.RELAYED):
            return
        match = flows.recognise(flow, self._in_force.whose)
        if match is None:
            return
        if self._ledger.draining and ctx.master.addons.get("relaystreams") is None:  # which tells more of them apart
            self._refuse(flow, match, self._ledger)
        elif not flows.is_handshake(flow.request):
            self._streams[flow.id] = _Stream(match, flow, self._ledger)
            asyncio.get_running_loop().call_soon(self._open, flow)
        elif match.dialect.session is not None:
            self._sessions[flow.id] = _Session(match, match.dialect.session(), flow, self._ledger)

    def _refuse(self, flow: http.HTTPFlow, match: registry.Match, ledger: ledgers.Ledger) -> None:
        """mitmdump is being stopped: better an error now, which SDKs ask again after, than one in the midst of the answer."""
        refusal = shutting_down()
        headers = {"content-type": "application/json", **refusal.headers}
        flow.response = http.Response.make(refusal.status, error_body(refusal.failure, match.dialect), headers)
        flow.metadata[flows.RELAYED] = True  # its row is written
        _Stream(match, flow, ledger).end("failed", refusal.failure.type, str(refusal), http_status=refusal.status)

    def _open(self, flow: http.HTTPFlow) -> None:
        """Once all addons have seen the request: a stream that the relay took over would be shown twice until its answer came."""
        if flow.metadata.get(flows.RELAYED):
            self._leave_to_relay(flow)
        elif stream := self._streams.get(flow.id):
            stream.open()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None or flow.websocket or response.status_code == 101 or not flow.live:
            return  # not live: it comes from a file
        if flow.metadata.get(flows.RELAYED):
            self._leave_to_relay(flow)
            return
        stream = self._streams.get(flow.id) or self._late(flow)
        if stream is not None:
            stream.begin(response)
            response.stream = taps.chain(response.stream, stream.see)
            response.headers = Headers(response.headers.fields)
        elif registry.is_stream_type(response.headers.get("content-type", "")):
            response.stream = response.stream or True

    def _late(self, flow: http.HTTPFlow) -> _Stream | None:
        """What only the response shows to be an LLM's."""
        match = flows.recognise_late(flow, self._in_force.whose)
        if match is None or self._ledger is None:
            return None
        stream = self._streams[flow.id] = _Stream(match, flow, self._ledger)
        stream.open()
        return stream

    def _leave_to_relay(self, flow: http.HTTPFlow) -> None:
        """The relay, loaded after this addon, has taken the flow over and measures it itself."""
        stream = self._streams.pop(flow.id, None)
        if stream is not None:
            stream.forget()

    def response(self, flow: http.HTTPFlow) -> None:
        self._end(flow, "complete")

    def error(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get(flows.RELAYED):
            self._leave_to_relay(flow)
            return
        message = flow.error.msg if flow.error else ""
        if flows.client_left(flow, message):
            self._end(flow, "client_gone", "client_disconnected", message)
        elif flow.response is None:
            self._end(flow, "failed", "connection_error", message)
        else:
            self._end(flow, "truncated", "connection_error", message)

    def _end(self, flow: http.HTTPFlow, outcome: Outcome, error_type: str = "", error: str = "") -> None:
        stream = self._streams.pop(flow.id, None)
        if stream is not None:
            stream.end(outcome, error_type, error)
        if flow.id in self._sessions and not flow.websocket:
            del self._sessions[flow.id]  # the provider refused the handshake

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        session = self._sessions.get(flow.id)
        if session is not None and flow.websocket is not None:
            message = flow.websocket.messages[-1]
            session.see(message.content, from_client=message.from_client)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        session = self._sessions.pop(flow.id, None)
        if session is not None and flow.websocket is not None:
            left = flow.websocket.closed_by_client
            reason = f"WebSocket closed with code {flow.websocket.close_code} {flow.websocket.close_reason or ''}"
            session.end("client_gone" if left else "truncated", "websocket_closed", reason)

    async def done(self) -> None:
        if self._ledger is not None:
            await drain(self._ledger, self._in_force.config.streams.drain)
        everything: list[_Stream | _Session] = [*self._streams.values(), *self._sessions.values()]
        for open_ in everything:
            open_.end("interrupted", "interrupted", "mitmdump was told to stop")
        self._streams.clear()
        self._sessions.clear()
        if self._ledger is not None:
            self._ledger.shut()
            self._ledger = None


addons = [MeasureStreams()]
