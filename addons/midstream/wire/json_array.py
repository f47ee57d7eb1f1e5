"""A JSON array as it grows → one frame an element. Gemini's streamGenerateContent without `alt=sse` sends it."""

from __future__ import annotations

import re
from enum import Enum, auto

from midstream.wire import FRAME_LIMIT, Damage, Frame

type Buffer = bytes | bytearray

_FIRST = re.compile(rb"[^\s\xef\xbb\xbf]")  # a byte order mark may come first
_NEXT = re.compile(rb"[^\s,]")
_SCALAR = re.compile(rb'[^\s,"{}\[\]]*+')
# Up to the next bracket outside a string, whole strings included; stops at a quote that has no partner yet.
_PLAIN = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL)


class _At(Enum):
    BEFORE = auto()
    BETWEEN = auto()
    NESTED = auto()
    STRING = auto()
    SCALAR = auto()
    AFTER = auto()
    LOST = auto()


class JsonArrayDecoder:
    """Incremental; holds at most `limit` bytes between two calls.

    An element is a frame as soon as its last byte is there (`end` is just past it: the comma comes with the next one).
    Commas are not insisted on, and what an element holds is not checked: that is the JSON parser's work. An element over
    the limit becomes one Damage and is skipped. An array that never closes is one Damage at the end; bytes that are no
    array, or follow it, are one Damage, and nothing after them is read.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._at = _At.BEFORE
        self._pending = bytearray()  # the element that has begun
        self._offset = 0  # of the first pending byte in the body
        self._scanned = 0  # how much of the pending bytes has been looked at
        self._start = 0  # of the element, in the bytes at hand
        self._depth = 0
        self._skipping = False
        self._frames: list[Frame | Damage] = []

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return the frames that these bytes complete."""
        self._frames = []
        if self._pending:
            self._pending += data
            self._scan(self._pending)
        else:
            self._scan(data)
        return self._frames

    def close(self) -> list[Frame | Damage]:
        """Return the damage that an unfinished array leaves."""
        end = self._offset + len(self._pending)
        self._pending = bytearray()
        at, self._at = self._at, _At.LOST
        if at in (_At.BEFORE, _At.AFTER, _At.LOST):
            return []
        if self._skipping:
            return [self._too_long(end)]
        return [Damage("the body ended before its JSON array did", end)]

    def _scan(self, data: Buffer) -> None:
        at, size = self._scanned, len(data)
        while at < size:
            match self._at:
                case _At.NESTED:
                    at = self._nested(data, at)
                case _At.STRING:
                    at = self._in_string(data, at)
                case _At.BETWEEN:
                    at = self._between(data, at)
                case _At.SCALAR:
                    at = self._scalar(data, at)
                case _At.BEFORE | _At.AFTER:
                    at = self._outside(data, at)
                case _At.LOST:
                    at = size
        self._keep(data)

    def _nested(self, data: Buffer, at: int) -> int:
        while plain := _PLAIN.match(data, at):  # it always matches, if only nothing
            at = plain.end()
            if at == len(data):
                break
            byte = data[at]
            at += 1
            if byte == 0x22:
                self._at = _At.STRING
                break
            self._depth += 1 if byte in b"{[" else -1
            if not self._depth:
                self._element(data, at)
                break
        return at

    def _in_string(self, data: Buffer, at: int) -> int:
        quote = data.find(b'"', at)
        if quote < 0:
            return len(data)
        if _backslashes(data, quote) % 2 == 0:
            if self._depth:
                self._at = _At.NESTED
            else:
                self._element(data, quote + 1)
        return quote + 1

    def _between(self, data: Buffer, at: int) -> int:
        found = _NEXT.search(data, at)
        if found is None:
            return len(data)
        self._start = at = found.start()
        byte = data[at]
        if byte == 0x5D:
            self._at = _At.AFTER
        elif byte in b"{[":
            self._depth = 1
            self._at = _At.NESTED
        elif byte == 0x22:
            self._at = _At.STRING
        else:
            self._at = _At.SCALAR
        return at + 1

    def _scalar(self, data: Buffer, at: int) -> int:
        rest = _SCALAR.match(data, at)
        end = rest.end() if rest else at  # it always matches, if only nothing
        if end < len(data):
            self._element(data, end)
        return end

    def _outside(self, data: Buffer, at: int) -> int:
        found = (_FIRST if self._at is _At.BEFORE else _NEXT).search(data, at)
        if found is None:
            return len(data)
        if self._at is _At.BEFORE and found[0] == b"[":
            self._at = _At.BETWEEN
        else:
            where = "before" if self._at is _At.BEFORE else "after"
            self._frames.append(Damage(f"bytes {where} the JSON array", self._offset + found.end()))
            self._at = _At.LOST
        return found.end()

    def _element(self, data: Buffer, end: int) -> None:
        if self._skipping or end - self._start > self._limit:
            self._skipping = False
            self._frames.append(self._too_long(self._offset + end))
        else:
            self._frames.append(Frame(bytes(data[self._start : end]), self._offset + end))
        self._at = _At.BETWEEN

    def _keep(self, data: Buffer) -> None:
        """Keep the bytes of the element that has begun, and of one over the limit only whether a backslash is open."""
        size = keep = len(data)
        if self._at in _IN_ELEMENT:
            self._skipping = self._skipping or size - self._start > self._limit
            if not self._skipping:
                keep = self._start
            elif self._at is _At.STRING:
                keep = size - _backslashes(data, size) % 2
        if data is self._pending:
            del self._pending[:keep]
        elif keep < size:
            self._pending += data[keep:]
        self._offset += keep
        self._scanned = size - keep
        self._start = 0

    def _too_long(self, end: int) -> Damage:
        return Damage(f"an element over the limit of {self._limit} bytes", end)


_IN_ELEMENT = frozenset((_At.NESTED, _At.STRING, _At.SCALAR))


def _backslashes(data: Buffer, end: int) -> int:
    """How many stand right before `end`; the string's opening quote is at hand, or the string is being skipped."""
    at = end
    while at > 0 and data[at - 1] == 0x5C:
        at -= 1
    return end - at
