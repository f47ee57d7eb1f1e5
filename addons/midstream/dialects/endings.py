"""The honest end of a stream that cannot go on: the bytes that make the client's SDK raise."""

from __future__ import annotations

from midstream.dialects.base import Dialect, Encoder
from midstream.events import Failure
from midstream.wire.framing import Framing, FramingName


def failure_bytes(
    dialect: Dialect, framing: FramingName, failure: Failure, encoder: Encoder | None = None, *, begun: bool = True
) -> bytes:
    """Return what says this failure behind whole frames of a stream.

    b"" where nothing does: then all that is left is to break off the connection, without a clean end of the body.
    encoder: what has written the stream, or goes on behind what the provider wrote (`Dialect.resume`). begun: whether the body
    has a frame already.
    """
    if framing == "whole":
        return b""
    if encoder is not None:
        frames = encoder.feed(failure)
    else:
        frames = [dialect.write_failure(failure)] if dialect.write_failure is not None else []
    body = Framing(framing, begun=begun)
    return body.write(frames) + body.close() if frames else b""
