"""One answer's body, as it comes off the wire → events: content encoding, framing and dialect joined."""

from __future__ import annotations

from typing import assert_never

from midstream.dialects.base import Decoder, Dialect
from midstream.events import Event, Failure, Malformed
from midstream.wire import FRAME_LIMIT, Damage, Frame, FrameDecoder
from midstream.wire.content_encoding import ContentDecoder
from midstream.wire.eventstream import EventStreamDecoder
from midstream.wire.json_array import JsonArrayDecoder
from midstream.wire.json_text import parse_json
from midstream.wire.ndjson import NdjsonDecoder
from midstream.wire.sse import SseDecoder

ERROR_LIMIT = 256 * 1024
"""Bytes of an HTTP error's body that are kept to be read; providers' errors are a few hundred."""


class AnswerDecoder:
    """Incremental: `feed` the body's bytes, `close` at its end; never raises.

    The body's first byte decides the framing, since content types lie (OpenAI once sent SSE as application/json); the
    content type decides only what the first byte leaves open.
    """

    def __init__(self, dialect: Dialect, *, status: int = 200, content_type: str = "", content_encoding: str = "") -> None:
        self._dialect = dialect
        self._status = status
        self._content_type = content_type.partition(";")[0].strip().lower()
        self._content = ContentDecoder(content_encoding)
        self._framing: FrameDecoder | None = None
        self._decoder: Decoder | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return what these bytes, as they were on the wire, complete."""
        plain = self._content.feed(data)
        events = self._content_damage()
        if plain:
            events += self._plain(plain)
        return events

    def close(self) -> list[Event]:
        """The body has ended: return what its end completes, [Failure(type="truncated")] included if it came too early."""
        rest = self._content.close()
        events = self._plain(rest) if rest else []
        events += self._content_damage()
        if self._framing is None:
            self._choose(b"")
        assert self._framing is not None
        assert self._decoder is not None
        events += self._frames(self._framing.close())
        return events + self._decoder.close()

    def _plain(self, data: bytes) -> list[Event]:
        if self._framing is None:
            self._choose(data)
            assert self._framing is not None
        return self._frames(self._framing.feed(data))

    def _frames(self, frames: list[Frame | Damage]) -> list[Event]:
        assert self._decoder is not None
        events: list[Event] = []
        for frame in frames:
            match frame:
                case Frame():
                    events += self._decoder.feed(frame)
                case Damage():
                    events.append(Malformed(frame.reason))
                case _:
                    assert_never(frame)
        return events

    def _content_damage(self) -> list[Event]:
        return [Malformed(reason) for reason in self._content.take_damage()]

    def _choose(self, start: bytes) -> None:
        if self._status >= 400:
            self._framing, self._decoder = _Whole(ERROR_LIMIT), _ErrorReader(self._dialect, self._status)
            return
        framing = _framing_of(start, self._content_type, object_lines=self._dialect.object_lines)
        if framing is None or self._dialect.decoder is None:
            self._framing, self._decoder = _Whole(FRAME_LIMIT), _AnswerReader(self._dialect)
        else:
            self._framing, self._decoder = framing, self._dialect.decoder()


def _framing_of(start: bytes, content_type: str, *, object_lines: bool) -> FrameDecoder | None:
    """Choose by the first byte; None: one whole JSON answer."""
    first = start.lstrip()[:1]
    if first == b"[":
        return JsonArrayDecoder()
    if first == b"{":
        lines = object_lines or content_type in ("application/x-ndjson", "application/jsonl", "application/jsonlines")
        return NdjsonDecoder() if lines else None
    if first == b"\0" or content_type == "application/vnd.amazon.eventstream":
        return EventStreamDecoder()
    if content_type == "application/json" and not _looks_like_sse(start):
        return None
    return SseDecoder()


def _looks_like_sse(start: bytes) -> bool:
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:8]
    return head.startswith((b":", b"data", b"event", b"id:", b"retry")) or b"data:".startswith(head[:5])


class _Whole:
    """A framing of one frame: the whole body, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._body = bytearray()
        self._limit = limit
        self._size = 0

    def feed(self, data: bytes) -> list[Frame | Damage]:
        self._size += len(data)
        if self._size <= self._limit:
            self._body += data
        else:
            self._body.clear()
        return []

    def close(self) -> list[Frame | Damage]:
        if self._size > self._limit:
            return [Damage(f"a body of {self._size} bytes is over the limit of {self._limit}", self._size)]
        return [Frame(bytes(self._body), self._size)]


class _AnswerReader:
    """The decoder of a whole, not streamed, answer."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._done = False

    def feed(self, frame: Frame) -> list[Event]:
        try:
            answer = parse_json(frame.data)
        except ValueError:
            return [Malformed("the body is not valid JSON")]
        self._done = True
        return self._dialect.read_answer(answer)

    def close(self) -> list[Event]:
        return [] if self._done else [Failure("the body is no whole answer", type="truncated")]


class _ErrorReader:
    """The decoder of an HTTP error's body."""

    def __init__(self, dialect: Dialect, status: int) -> None:
        self._dialect = dialect
        self._status = status
        self._done = False

    def feed(self, frame: Frame) -> list[Event]:
        self._done = True
        try:
            body = parse_json(frame.data)
        except ValueError:
            body = frame.data.decode("utf-8", "replace")
        return [self._dialect.read_error(self._status, body)]

    def close(self) -> list[Event]:
        return [] if self._done else [Failure(f"HTTP {self._status}", status=self._status)]
