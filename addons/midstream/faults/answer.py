"""One answer's body as a fault leaves it: the provider's bytes in, what the client shall get of them out. Pure.

Until the fault has struck, whole frames alone are passed on. A body with a content encoding is
decoded first, for it could be cut between two frames no other way; so its head must lose `CHANGED_HEADERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Dialect, Encoder
from midstream.events import CONTENT, End, Event, Finish
from midstream.faults.errors import error_frame, failure_of
from midstream.faults.rules import Fault
from midstream.wire import FRAME_LIMIT
from midstream.wire.content_encoding import ContentDecoder
from midstream.wire.framing import Framing, FramingName

CHANGED_HEADERS = frozenset(("content-length", "content-encoding"))
"""Headers that say of the body what is no longer true."""

GARBAGE = b'{"midstream": made this malformed}'
"""No JSON, but with as many brackets opened as closed: in a JSON array the next element is found again."""

_FINISH_IS_LAST = frozenset(("gemini", "bedrock_converse", "bedrock_invoke"))
"""Dialects without a terminal event but the finish itself (and, at most, usage behind it)."""


class Strike(Enum):
    """What the fault does besides bytes. WAIT: pause here (`fault.seconds`), then go on. CUT: break the connection off. STALL:
    nothing more comes, the connection stays. END: the body ends cleanly. Behind the last three comes nothing more."""

    WAIT = auto()
    CUT = auto()
    STALL = auto()
    END = auto()


type Step = bytes | Strike


class FaultyAnswer:
    """Incremental: `feed` the body's bytes as they were on the wire, `close` at its end; never raises.

    struck: called once, when the fault strikes. An answer that is over before it could passes whole.
    """

    def __init__(
        self,
        fault: Fault,
        dialect: Dialect,
        *,
        struck: Callable[[], None],
        content_type: str = "",
        content_encoding: str = "",
        model: str = "",
        path: str = "",
    ) -> None:
        self._fault = fault
        self._dialect = dialect
        self._struck = struck
        self._content = ContentDecoder(content_encoding)
        self._decoder = AnswerDecoder(dialect, content_type=content_type)
        self._encoder: Encoder | None = None
        if fault.kind == "error" and dialect.encoder is not None and dialect.write_failure is None:
            self._encoder = dialect.encoder(AnswerOptions(id="", model=model, created=0, path=path))
        self._held = bytearray()  # a frame that is not whole yet: the fault may take its place
        self._offset = 0  # of the first held byte, in the decoded body
        self._count = 0
        self._begun = False  # whether a frame has passed
        self._inert = self._over = False

    def feed(self, data: bytes) -> list[Step]:
        """Return what follows from these bytes; [] if they complete nothing."""
        return [] if self._over else self._take(self._content.feed(data))

    def close(self) -> list[Step]:
        """The provider's body has ended: return what is left."""
        if self._over:
            return []
        steps = self._take(self._content.close())
        if not self._over and not self._inert:
            steps += self._frames(self._decoder.close_frames()[:-1])
        return steps if self._over else steps + self._rest()

    def _take(self, plain: bytes) -> list[Step]:
        if self._inert:
            return [plain] if plain else []
        self._held += plain
        frames = self._decoder.feed_frames(plain)
        if self._fault.after == 0 and self._decoder.framing not in (None, "whole"):
            return self._break()
        steps = self._frames(frames)
        too_much = len(self._held) > 2 * FRAME_LIMIT  # no frame is that long
        if not self._over and (self._decoder.framing == "whole" or too_much):
            self._inert = True
        return steps + self._rest() if self._inert else steps

    def _frames(self, frames: list[tuple[int, list[Event]]]) -> list[Step]:
        steps: list[Step] = []
        at = 0
        for end, events in frames:
            if self._over or self._inert:
                break
            edge = max(end - self._offset, at)
            steps += self._frame(bytes(self._held[at:edge]), events)
            at = edge
        del self._held[: None if self._over else at]
        self._offset += at
        return [step for step in steps if step != b""]

    def _rest(self) -> list[Step]:
        rest = bytes(self._held)
        self._offset += len(rest)
        self._held.clear()
        return [rest] if rest else []

    def _frame(self, piece: bytes, events: list[Event]) -> list[Step]:
        """One frame, or (without events) comments between two."""
        if not events:
            return [piece]
        match self._fault.kind:
            case "cut" | "stall" | "error":
                return self._after(piece, events)
            case "malformed":
                return self._malformed(piece)
            case "slow":
                return self._slow(piece, events)
            case "unterminated":
                return self._unterminated(piece, events)
            case _:
                return [piece]

    def _after(self, piece: bytes, events: list[Event]) -> list[Step]:
        self._count += sum(isinstance(event, CONTENT) for event in events)
        enough = self._count >= self._fault.after
        if enough and any(isinstance(event, End | Finish) for event in events):
            return self._break()  # with this frame the answer would be whole
        if (encoder := self._encoder) is not None:
            for event in events:
                encoder.feed(event)  # so that the error goes on with its ids and numbers
        self._begun = True
        return [piece, *self._break()] if enough else [piece]

    def _break(self) -> list[Step]:
        self._strike(over=True)
        if self._fault.kind == "cut":
            return [Strike.CUT]
        return [Strike.STALL] if self._fault.kind == "stall" else [self._error(), Strike.END]

    def _error(self) -> bytes:
        name = self._framing
        if self._encoder is not None:
            frames = self._encoder.feed(failure_of(self._fault))
        else:
            frames = [error_frame(self._fault, self._dialect, name)]
        framing = Framing(name, begun=self._begun)
        return framing.write(frames) + framing.close()

    def _malformed(self, piece: bytes) -> list[Step]:
        self._count += 1
        if self._count < self._fault.frame:
            return [piece]
        self._strike()
        return [_malformed(piece, self._framing)]

    def _slow(self, piece: bytes, events: list[Event]) -> list[Step]:
        if not any(isinstance(event, CONTENT) for event in events):
            return [piece]
        self._strike()
        return [Strike.WAIT, piece]

    def _unterminated(self, piece: bytes, events: list[Event]) -> list[Step]:
        last = Finish if self._dialect.name in _FINISH_IS_LAST else End
        if not any(isinstance(event, last) for event in events):
            return [piece]
        self._strike(over=True)
        return [Strike.END]

    def _strike(self, *, over: bool = False) -> None:
        self._over, self._inert = over, not over
        self._struck()

    @property
    def _framing(self) -> FramingName:
        return self._decoder.framing or "sse"  # there has been a frame, so it is known


def _malformed(frame: bytes, framing: FramingName) -> bytes:
    """The frame with its payload spoilt; its neighbours can still be told apart."""
    match framing:
        case "sse":
            kept = [line for line in frame.splitlines() if line.startswith((b"event:", b"id:"))]
            return b"\n".join([*kept, b"data: " + GARBAGE, b"", b""])
        case "ndjson":
            return GARBAGE + b"\n"
        case "json_array":
            return frame[: max(frame.find(b"{"), 0)] + GARBAGE
        case "eventstream":
            return frame[:-5] + bytes(byte ^ 0xFF for byte in frame[-5:-4]) + frame[-4:]  # its checksum is wrong now
        case "whole":
            return GARBAGE
