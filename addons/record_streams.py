"""Write every LLM stream that passes to a file, with its chunk edges and pauses; touches no byte.

    mitmdump -s addons/record_streams.py --set midstream_recordings=~/recordings

Files are <folder>/<dialect>/<time>-<id>.jsonl, for their owner's eyes only; `midstream replay FILE` serves them as a provider.
Credentials are taken out of headers, queries and bodies. Prompts and answers are in there: that is what a recording is.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from midstream import flows, taps
from midstream.config.in_force import InForce
from midstream.dialects import registry
from midstream.recording import Chunk, Ending, Header, Opcode, RecordedRequest, RecordedResponse, Side
from midstream.replay import recorder
from midstream.wire.json_text import parse_json

RECORDING_LIMIT = 256 * 1024 * 1024
"""Bytes of one recording's chunks."""


class _Take:
    """One exchange being recorded: takes the times and hands everything to the writer."""

    def __init__(self, flow: http.HTTPFlow, match: registry.Match, folder: Path, writer: recorder.Writer) -> None:
        self._flow = flow
        self._match = match
        self._folder = folder / match.dialect.name
        self._stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
        self._writer = writer
        self._take: recorder.Take | None = None
        self._size = 0
        self._last = time.monotonic()
        # as the client sent it: an addon may point the request elsewhere before the response comes
        request = flow.request
        self._method, self._url, self._headers = request.method, request.pretty_url, _joined(request.headers)
        self._body = flows.body_of(request)

    def _begin(self, response: http.Response) -> recorder.Take:
        """The first of its body is here. Not before: the relay, an addon after this one, gives a flow its row's id and the
        response its provider's head."""
        name = re.sub(r"[^\w.-]", "", str(self._flow.metadata.get(flows.STREAM) or self._flow.id))
        take = self._take = recorder.Take(self._folder / f"{self._stamp}-{name}.jsonl")
        take.websocket = response.status_code == 101
        asked = RecordedRequest(method=self._method, url=self._url, headers=self._headers, body=_json(self._body))
        header = Header(
            source="recorded by midstream",
            dialect=self._match.dialect.name,
            provider=self._match.provider,
            request=asked,
            response=RecordedResponse(status=response.status_code, headers=_joined(response.headers)),
        )
        self._put(header, len(self._body or b""))
        self._body = None
        return take

    def see(self, data: bytes) -> None:
        """A piece of the body passed."""
        if data:
            self._put(Chunk(self._pause(), data), len(data))

    def message(self, data: bytes, sender: Side, opcode: Opcode) -> None:
        """A message of a WebSocket session passed."""
        self._put(Chunk(self._pause(), data, sender, opcode), len(data))

    def end(self, how: Ending) -> None:
        """It is over; one that got no response leaves no file."""
        if self._flow.response is not None:
            self._put((how, self._pause()), 0)

    def _pause(self) -> float:
        now = time.monotonic()
        pause, self._last = (now - self._last) * 1000, now
        return pause

    def _put(self, step: recorder.Step, size: int) -> None:
        assert self._flow.response is not None  # noqa: S101 - nothing comes of a response before its head
        take = self._take or self._begin(self._flow.response)
        self._size += size
        if self._size > RECORDING_LIMIT:
            take.lost = take.lost or f"it is over {RECORDING_LIMIT} bytes"
        if not take.lost or isinstance(step, tuple):  # the end of a lost one lets the writer clean up
            self._writer.put(recorder.Job(take, step), size)


class RecordStreams:
    """The addon: recognises LLM requests and keeps a take of each until it ends."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._in_force = InForce.of("")
        self._writer = recorder.Writer()
        self._takes: dict[str, _Take] = {}

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "midstream_recordings", str, "", "Folder to record LLM streams into, one file each. Empty: off."
        )
        loader.add_option(*flows.CONFIG_OPTION)

    def configure(self, updated: set[str]) -> None:
        if "midstream_config" in updated:
            with flows.refused_as(exceptions.OptionsError):
                self._in_force = flows.in_force(ctx.options)
        if "midstream_recordings" not in updated:
            return
        option = ctx.options.midstream_recordings
        folder = Path(option).expanduser() if option else None
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as e:
            raise exceptions.OptionsError(
                f"midstream_recordings: cannot use {option!r} as a folder: {e.strerror}"
            ) from e
        self._folder = folder

    def request(self, flow: http.HTTPFlow) -> None:
        if self._folder is None or flow.response or flow.error or not flow.live:
            return
        match = flows.recognise(flow, self._in_force.whose)
        if match is not None:
            self._take(flow, match, self._folder)

    def _take(self, flow: http.HTTPFlow, match: registry.Match, folder: Path) -> _Take:
        take = _Take(flow, match, folder, self._writer)
        self._takes[flow.id] = take
        return take

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None or flow.response.status_code == 101:
            return
        take = self._takes.get(flow.id) or self._late(flow)
        if take is not None:
            flow.response.stream = taps.chain(flow.response.stream, take.see)

    def _late(self, flow: http.HTTPFlow) -> _Take | None:
        """What only the response shows to be an LLM's."""
        if self._folder is None or flow.metadata.get(flows.RELAYED) or not flow.live:
            return None
        match = flows.recognise_late(flow, self._in_force.whose)
        return self._take(flow, match, self._folder) if match else None

    def response(self, flow: http.HTTPFlow) -> None:
        if not flow.websocket:
            self._end(flow, "complete")

    def error(self, flow: http.HTTPFlow) -> None:
        left = flows.client_left(flow, flow.error.msg if flow.error else "")
        self._end(flow, "client_gone" if left else "truncated")

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        take = self._takes.get(flow.id)
        if take is not None and flow.websocket is not None:
            message = flow.websocket.messages[-1]
            take.message(
                message.content,
                "client" if message.from_client else "provider",
                "text" if message.is_text else "binary",
            )

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        data = flow.websocket
        if data is not None:
            self._end(flow, _session_end(data.close_code, closed_by_client=bool(data.closed_by_client)))

    def _end(self, flow: http.HTTPFlow, how: Ending) -> None:
        take = self._takes.pop(flow.id, None)
        if take is not None:
            take.end(how)

    def done(self) -> None:
        for take in self._takes.values():
            take.end("truncated")
        self._takes.clear()
        self._writer.stop()


def _session_end(code: int | None, *, closed_by_client: bool) -> Ending:
    if code in (1000, 1001, 1005):  # normal, going away, no code given
        return "complete"
    return "client_gone" if closed_by_client else "truncated"


def _json(body: bytes | None) -> Any:
    """The body if it is JSON: of anything else nobody could say where its credentials are."""
    try:
        return parse_json(body) if body else None
    except ValueError:
        return None


def _joined(headers: http.Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.items(multi=True):
        joined[name.lower()] = f"{joined[name.lower()]}, {value}" if name.lower() in joined else value
    return joined


addons = [RecordStreams()]
