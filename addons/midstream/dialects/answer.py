"""One answer's body, as it comes off the wire → events: content encoding, framing and dialect joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from midstream.dialects.base import Decoder, Dialect
from midstream.events import Event, Failure, Malformed
from midstream.wire import FRAME_LIMIT, Damage, Frame, FrameDecoder
from midstream.wire.content_encoding import ContentDecoder
from midstream.wire.eventstream import EventStreamDecoder
from midstream.wire.framing import FramingName
from midstream.wire.json_array import JsonArrayDecoder
from midstream.wire.json_text import parse_json
from midstream.wire.ndjson import NdjsonDecoder
from midstream.wire.sse import SseDecoder

ERROR_LIMIT = 256 * 1024
"""Bytes of an HTTP error's body that are kept to be read; providers' errors are a few hundred."""

START_LIMIT = 1024
"""Bytes of white space that may come before the byte that tells the framing."""
BOM = b"\xef\xbb\xbf"
LINES_TYPES = frozenset(
    ("application/x-ndjson", "application/jsonl", "application/jsonlines", "application/stream+json")
)
_NAMES: Mapping[type[FrameDecoder], FramingName] = {
    SseDecoder: "sse",
    NdjsonDecoder: "ndjson",
    JsonArrayDecoder: "json_array",
    EventStreamDecoder: "eventstream",
}
SSE_STARTS = frozenset((b":", b"d", b"e", b"i", b"r"))
"""What an SSE body may begin with: a comment, or a field's name (data, event, id, retry)."""


class AnswerDecoder:
    """Incremental: `feed` the body's bytes, `close` at its end; never raises.

    The body's first byte decides the framing, since content types lie (OpenAI once sent SSE as application/json); the
    content type decides only what the first byte leaves open.
    """

    def __init__(
        self, dialect: Dialect, *, status: int = 200, content_type: str = "", content_encoding: str = ""
    ) -> None:
        self._dialect = dialect
        self._status = status
        self._content_type = content_type.partition(";")[0].strip().lower()
        self._content = ContentDecoder(content_encoding)
        self._encoded = content_encoding.strip().lower() not in ("", "identity")
        self._start = b""
        self._chosen: tuple[FrameDecoder, Decoder] | None = None
        self._size = self._boundary = 0

    @property
    def framing(self) -> FramingName | None:
        """How the body is framed; None until a byte has told."""
        return _NAMES.get(type(self._chosen[0]), "whole") if self._chosen else None

    @property
    def decoder(self) -> Decoder | None:
        """The dialect's own decoder, for `Dialect.resume`; None until a byte has told the framing."""
        return self._chosen[1] if self._chosen else None

    @property
    def between_frames(self) -> bool:
        """Whether something can be written behind the bytes so far; False where nobody can tell. By `feed_frames` none but whole
        frames are passed on. Of SSE only who sees the bytes knows: lines may end in three ways."""
        framing = self._chosen[0] if self._chosen and not self._encoded else None
        if isinstance(framing, NdjsonDecoder | EventStreamDecoder):
            return self._size > 0 or not framing.within_frame
        return self._size > 0 and framing is not None

    def feed(self, data: bytes) -> list[Event]:
        """Return what these bytes, as they were on the wire, complete."""
        plain = self._content.feed(data)
        if self._content.damaged:
            return self._content_damage() + self._plain(plain)
        return self._plain(plain)

    def close(self) -> list[Event]:
        """The body has ended: return what its end completes, [Failure(type="truncated")] included if it came too early."""
        events = self._plain(self._content.close()) + self._content_damage()
        framing, decoder = self._chosen or self._choose()
        return events + _decode(framing.close(), decoder) + decoder.close()

    def feed_frames(self, data: bytes) -> list[tuple[int, list[Event]]]:
        """Return, for each frame that these bytes complete, the offset in the body just past it, and its events: so whoever
        passes the body on can cut it between two frames. A last entry without events is past comments behind the last frame.

        Instead of `feed`, from the first byte on, and only for a body without a content encoding: offsets are in what is decoded.
        """
        self._size += len(data)
        if self._chosen is None:
            self._start += data
            if not _is_telling(self._start):
                return []
            self._chosen = self._choose()
            data, self._start = self._start, b""
        framing, decoder = self._chosen
        frames = _by_frame(framing.feed(data), decoder)
        if type(framing) is SseDecoder and framing.boundary > (frames[-1][0] if frames else self._boundary):
            frames.append((framing.boundary, []))
        if frames:
            self._boundary = frames[-1][0]
        return frames

    def close_frames(self) -> list[tuple[int, list[Event]]]:
        """Instead of `close`, after `feed_frames`: a last frame that nothing ended (an SSE event without its blank line, a line
        without LF), and, as the last entry, the size of the body with what its end means."""
        framing, decoder = self._chosen or self._choose()
        return [*_by_frame(framing.close(), decoder), (self._size, decoder.close())]

    def _plain(self, data: bytes) -> list[Event]:
        if self._chosen is None:
            self._start += data
            if not _is_telling(self._start):
                return []
            self._chosen = self._choose()
            data, self._start = self._start, b""
        framing, decoder = self._chosen
        return _decode(framing.feed(data), decoder)

    def _content_damage(self) -> list[Event]:
        return [Malformed(reason) for reason in self._content.take_damage()]

    def _choose(self) -> tuple[FrameDecoder, Decoder]:
        dialect = self._dialect
        if self._status >= 400:
            return _Whole(ERROR_LIMIT), _ErrorReader(dialect, self._status)
        framing = _framing_of(self._start, self._content_type, object_lines=dialect.object_lines)
        if framing is None or dialect.decoder is None:
            return _Whole(FRAME_LIMIT), _AnswerReader(dialect)
        return framing, dialect.decoder()


def _decode(frames: list[Frame | Damage], decoder: Decoder) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        match frame:
            case Frame():
                events += decoder.feed(frame)
            case Damage():
                events.append(Malformed(frame.reason))
            case _:
                assert_never(frame)
    return events


def _by_frame(frames: list[Frame | Damage], decoder: Decoder) -> list[tuple[int, list[Event]]]:
    return [
        (frame.end, decoder.feed(frame) if isinstance(frame, Frame) else [Malformed(frame.reason)]) for frame in frames
    ]


def _is_telling(start: bytes) -> bool:
    """Whether these first bytes hold one that tells the framing: not only a BOM, or a piece of it, and white space."""
    if len(start) >= START_LIMIT:
        return True
    return not BOM.startswith(start) and bool(start.removeprefix(BOM).strip())


def _framing_of(start: bytes, content_type: str, *, object_lines: bool) -> FrameDecoder | None:
    """Choose by the first byte; None: one whole JSON answer."""
    first = start.removeprefix(BOM).lstrip()[:1]
    if first == b"[":
        return JsonArrayDecoder()
    if first == b"{":
        return NdjsonDecoder() if object_lines or content_type in LINES_TYPES else None
    if first == b"\0" or content_type == "application/vnd.amazon.eventstream":
        return EventStreamDecoder()
    if content_type == "application/json" and first not in SSE_STARTS:
        return None
    return SseDecoder()


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
