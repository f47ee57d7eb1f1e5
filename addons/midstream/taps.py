"""Compose the callables that mitmproxy streams a body through (`flow.response.stream`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

type StreamCallable = Callable[[bytes], bytes | Iterable[bytes]]

logger = logging.getLogger(__name__)


def chain(previous: StreamCallable | bool | None, tap: Callable[[bytes], None]) -> StreamCallable:
    """Return a stream callable that shows the tap each chunk, as it came in, and does to it what `previous` did.

    previous: what stood in `flow.response.stream`; True, False and None pass the data through.
    tap: sees every chunk and, at the body's end, b"". One that raises is logged, once, and not called again: mitmproxy would
    lose the chunk. The end itself passes as no chunk at all: a b"" of ours would end a chunked body twice.
    """
    through = previous if callable(previous) else None
    working = True

    def stream(data: bytes) -> bytes | Iterable[bytes]:
        nonlocal working
        if working:
            try:
                tap(data)
            except Exception:  # whatever it is, the client's bytes come first
                working = False
                logger.exception("a tap on a stream failed; the stream goes on without it")
        return through(data) if through else data or []

    return stream
