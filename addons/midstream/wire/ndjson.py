"""Lines of JSON → frames: https://github.com/ndjson/ndjson-spec. Ollama and Cohere's v1 send them."""

from __future__ import annotations

from midstream.wire import FRAME_LIMIT, Damage, Frame

_BOM = b"\xef\xbb\xbf"


class NdjsonDecoder:
    """Incremental; holds at most `limit` bytes between two calls.

    A line ends at LF; white space around it is dropped and a blank line gives nothing. The last line needs no LF. A line
    over the limit becomes one Damage and is skipped to its end.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._offset = 0  # of the first byte not yet returned, in the body
        self._skipping = False

    @property
    def within_frame(self) -> bool:
        """Whether the bytes so far end in the midst of a frame."""
        return bool(self._pending) or self._skipping

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return the frames that these bytes complete."""
        if self._pending or self._skipping:
            if b"\n" not in data:
                self._hold(data)
                return []
            self._pending += data
            data = bytes(self._pending)
            self._pending = bytearray()
        return self._scan(data)

    def close(self) -> list[Frame | Damage]:
        """Return the last line, if no LF ended it."""
        rest = bytes(self._pending)
        self._pending = bytearray()
        end = self._offset + len(rest)
        frame = self._line(rest, end)
        self._offset = end
        return [] if frame is None else [frame]

    def _scan(self, data: bytes) -> list[Frame | Damage]:
        frames: list[Frame | Damage] = []
        base, start = self._offset, 0
        end = data.find(b"\n")
        while end >= 0:
            frame = self._line(data[start:end], base + end + 1)
            if frame is not None:
                frames.append(frame)
            start = end + 1
            self._offset = base + start
            end = data.find(b"\n", start)
        if start < len(data):
            self._hold(data[start:])
        return frames

    def _hold(self, data: bytes) -> None:
        self._pending += data
        if self._skipping or len(self._pending) > self._limit:
            self._skipping = True
            self._offset += len(self._pending)
            self._pending.clear()

    def _line(self, line: bytes, end: int) -> Frame | Damage | None:
        if self._skipping or len(line) > self._limit:
            self._skipping = False
            return Damage(f"a line over the limit of {self._limit} bytes", end)
        if self._offset == 0:
            line = line.removeprefix(_BOM)
        line = line.strip()
        return Frame(line, end) if line else None
