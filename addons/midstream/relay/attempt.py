"""One attempt: a provider's response as it comes, in pieces that can be passed on, with what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from midstream.dialects.answer import ERROR_LIMIT, AnswerDecoder
from midstream.events import END, Event, Failure, Malformed
from midstream.healing.failures import Kind, kind_of, retry_after
from midstream.relay.clock import ProgressClock
from midstream.relay.job import Head
from midstream.relay.prepare import Prepared
from midstream.relay.sink import Refused
from midstream.relay.upstream import UpstreamError, UpstreamRequest, UpstreamResponse

_PLAIN = (b"accept-encoding", b"identity")

DRAIN_WAIT = 0.1
"""Seconds that the body may take to end behind the terminal event: read to its end, the connection can be used again."""

REST_WAIT = 1.0
"""Seconds that the end of a body may take behind an error in it, so that the client can be given the whole of it."""


class Broken(Exception):
    """The attempt has failed. rejected: the target said so in an HTTP status, so that it answered nothing at all. asked: False
    where it could not even be asked."""

    def __init__(
        self, refused: Refused, *, rejected: bool = False, kind: Kind | None = None, asked: bool = True
    ) -> None:
        super().__init__(refused.failure.message)
        self.refused = refused
        self.kind: Kind = kind or kind_of(refused.failure)
        self.rejected = rejected
        self.asked = asked


def broken(kind: str, message: str) -> Broken:
    """A failure that no provider has worded."""
    return Broken(Refused(Failure(message, type=kind, code=kind)))


@dataclass(slots=True)
class Batch:
    """What arrived at once. data: whole frames alone, where they can be cut. bad: the failure that comes behind it."""

    data: bytes
    events: list[Event]
    bad: Failure | None = None

    @property
    def before_failure(self) -> list[Event]:
        """The events less the failure, which is another's to tell, and what came behind it."""
        return self.events[: self.events.index(self.bad)] if self.bad in self.events else self.events


def plainly(request: UpstreamRequest) -> UpstreamRequest:
    """The same request for a body without content encoding: one that can be cut between two frames."""
    kept = [(k, v) for k, v in request.headers if k.lower() != b"accept-encoding"]
    return replace(request, headers=[*kept, _PLAIN])


@dataclass(slots=True)
class Attempt:
    """A response and its decoder. cut: batches are whole frames, healthy ones, so that something else may follow them. sealed:
    its body is encoded, and cannot be cut."""

    prepared: Prepared
    response: UpstreamResponse
    clock: ProgressClock
    cut: bool
    sealed: bool = field(init=False)
    decoder: AnswerDecoder = field(init=False)
    _rest: bytearray = field(default_factory=bytearray)
    _at: int = 0

    def __post_init__(self) -> None:
        response = self.response
        encoding = response.header("content-encoding")
        self.sealed = encoding not in ("", "identity")
        self.cut = self.cut and not self.sealed
        self.decoder = AnswerDecoder(
            self.prepared.dialect,
            status=response.status,
            content_type=response.header("content-type"),
            content_encoding=encoding,
        )

    @property
    def head(self) -> Head:
        return Head(self.response.status, self.response.reason, self.response.headers)

    @property
    def head_to_show(self) -> Head:
        """Without the length of a body that may become another: gone on from, or with a frame left out."""
        if not self.cut or self.decoder.framing == "whole":
            return self.head
        kept = [(name, value) for name, value in self.response.headers if name.lower() != b"content-length"]
        return Head(self.response.status, self.response.reason, kept)

    @property
    def uncut(self) -> bytes:
        """What no batch has had of what was taken: the failure's own frame, and what came with it."""
        return bytes(self._rest)

    def take(self, piece: bytes) -> Batch:
        """What this piece completes."""
        if not self.cut:
            events = self.decoder.feed(piece)
            return Batch(piece, events, failure_in(events))
        self._rest += piece
        return self._batch(self.decoder.feed_frames(piece))

    def close(self) -> tuple[Batch, list[Event]]:
        """The body has ended: what its last bytes were, and what it means that there are no more."""
        if self.sealed:
            return Batch(b"", []), self.decoder.close()
        frames = self.decoder.close_frames()
        tail = frames[-1][1]
        if not self.cut:  # the bytes have gone on their way
            events = [event for _, said in frames[:-1] for event in said]
            return Batch(b"", events, failure_in(events)), tail
        last = self._batch(frames[:-1])
        if self.decoder.framing == "json_array" and last.bad is None and not (END in tail or failure_in(tail)):
            # What closes the array is part of no frame.
            last.data += bytes(self._rest) if b"]" in self._rest else b"\n]"
        return last, tail

    def _batch(self, frames: list[tuple[int, list[Event]]]) -> Batch:
        """Whole frames. One that cannot be read is left out: of what the official SDKs cannot parse they make an error."""
        events: list[Event] = []
        start, end, bad, kept = self._at, self._at, None, b""
        for past, said in frames:
            bad = failure_in(said)
            if bad is not None:  # what else its frame says is not passed on either
                break
            events += said
            if said and said[0].__class__ is Malformed:
                kept += self._rest[start - self._at : end - self._at]
                start = past
            end = past
        data = kept + self._rest[start - self._at : end - self._at]
        del self._rest[: end - self._at]
        self._at = end
        return Batch(bytes(data), events, bad)

    async def rejection(self, pieces: AsyncIterator[bytes]) -> Broken:
        """Read the body of an HTTP error, or of a redirection, which is the client's to follow."""
        body, raw = [], bytearray()
        async for piece in pieces:
            raw += piece[: ERROR_LIMIT + 1 - len(raw)]
            body += self.decoder.feed(piece)
        body += self.decoder.close()
        status = self.response.status
        said = failure_in(body) if status >= 400 else None
        failure = said or Failure(f"HTTP {status}", status=status)
        names = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.response.headers}
        head = self.head if self.prepared.own and len(raw) <= ERROR_LIMIT else None
        wait = retry_after(names, failure, time.time())
        return Broken(Refused(replace(failure, status=status), head, bytes(raw), wait), rejected=True)


def failure_in(events: list[Event]) -> Failure | None:
    """The failure that is among them."""
    return next((event for event in events if isinstance(event, Failure)), None)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what stands behind the terminal event: nothing, as a rule, but the end of the body."""
    with contextlib.suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_WAIT):
            async for _ in pieces:
                pass


async def rest_of(pieces: AsyncIterator[bytes], limit: int) -> tuple[bytes, bool]:
    """What comes behind an error, and whether that is all."""
    rest = bytearray()
    try:
        async with asyncio.timeout(REST_WAIT):
            async for piece in pieces:
                rest += piece
                if len(rest) > limit:
                    return b"", False
    except (TimeoutError, UpstreamError):
        return bytes(rest), False
    return bytes(rest), True
