"""Recordings as mitmproxy flows: a saved one as `mitmdump -w` leaves it, with what midstream notes beside the body."""

from __future__ import annotations

import json

from mitmproxy import http, websocket
from mitmproxy.test import tflow
from wsproto.frame_protocol import Opcode

from midstream.recording import Recording
from midstream.watch.kept_body import KeptBody
from midstream.watch.readings import NOTES


def flow_of(recording: Recording, *, noted: bool = True) -> http.HTTPFlow:
    header = recording.header
    body = b"" if header.request.body is None else json.dumps(header.request.body).encode()
    flow = tflow.tflow(resp=True)
    flow.live = False
    flow.request = http.Request.make(header.request.method, header.request.url, body, http.Headers())
    flow.request.headers.update(header.request.headers)
    flow.request.timestamp_start = flow.request.timestamp_end = began = 1_700_000_000.0
    flow.response = http.Response.make(header.response.status, b"", http.Headers())
    flow.response.headers.update(header.response.headers)
    flow.response.timestamp_start = began + 0.25
    flow.response.timestamp_end = began + 9
    if header.websocket:
        _converse(flow, recording, began)
    else:
        flow.response.raw_content = recording.body
        if noted:
            flow.metadata[NOTES] = kept(recording).notes()
    return flow


def kept(recording: Recording, limit: int = 1 << 20) -> KeptBody:
    body, now = KeptBody(limit, 0.0), 0.0
    for chunk in recording.chunks:
        now += chunk.pause_ms / 1000
        body.add(chunk.data, now)
    return body


def _converse(flow: http.HTTPFlow, recording: Recording, began: float) -> None:
    flow.request.headers["upgrade"] = "websocket"
    flow.websocket, now = websocket.WebSocketData(), began
    for chunk in recording.chunks:
        now += chunk.pause_ms / 1000
        opcode = Opcode.TEXT if chunk.opcode == "text" else Opcode.BINARY
        message = websocket.WebSocketMessage(opcode, chunk.sender == "client", chunk.data, now)
        flow.websocket.messages.append(message)
