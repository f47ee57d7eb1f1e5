"""Frames → the bytes of a body in one of the framings, from its beginning or behind what somebody else wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from midstream.wire import Frame
from midstream.wire.eventstream import encode_eventstream
from midstream.wire.sse import encode_sse

type FramingName = Literal["sse", "ndjson", "json_array", "eventstream", "whole"]
"""`whole`: no stream, one JSON text."""

CONTENT_TYPES: Mapping[FramingName, str] = {
    "sse": "text/event-stream; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "json_array": "application/json; charset=utf-8",
    "eventstream": "application/vnd.amazon.eventstream",
    "whole": "application/json",
}


class Framing:
    """One body: `write` frames, `close` at its end. `whole` is for one frame alone.

    begun: whether the body has a frame already (a native one): a JSON array then goes on with a comma. What stands before must
    end at a frame's edge.
    """

    def __init__(self, name: FramingName, *, begun: bool = False) -> None:
        self.name: FramingName = name
        self._begun = begun
        self._closed = False

    @property
    def content_type(self) -> str:
        """The header's value for a body that is written from its beginning."""
        return CONTENT_TYPES[self.name]

    def write(self, frames: Sequence[Frame]) -> bytes:
        """Return the bytes of these frames."""
        match self.name:
            case "sse":
                return b"".join(map(_sse, frames))
            case "ndjson":
                return b"".join(frame.data + b"\n" for frame in frames)
            case "json_array":
                return b"".join(map(self._element, frames))
            case "eventstream":
                return b"".join(map(_message, frames))
            case "whole":
                return b"".join(frame.data for frame in frames)

    def close(self) -> bytes:
        """Return what the end of the body needs: a JSON array's bracket. Only once."""
        if self.name != "json_array" or self._closed:
            return b""
        self._closed = True
        return b"\n]" if self._begun else b"[]"

    def _element(self, frame: Frame) -> bytes:
        before, self._begun = b",\n" if self._begun else b"[", True
        return before + frame.data


def _sse(frame: Frame) -> bytes:
    data, event = frame.data, frame.event
    if b"\n" in data or b"\r" in data or "\n" in event or "\r" in event:
        return encode_sse(data, event=event)
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data) if event else b"data: %b\n\n" % data


def _message(frame: Frame) -> bytes:
    """An exception where the event's name says so, as all of AWS's do. https://smithy.io/2.0/aws/amazon-eventstream.html"""
    kind = "exception" if frame.event.endswith("Exception") else "event"
    headers = {f":{kind}-type": frame.event, ":content-type": "application/json", ":message-type": kind}
    return encode_eventstream(headers, frame.data)
