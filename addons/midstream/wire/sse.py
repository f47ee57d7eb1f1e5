"""Server-Sent Events ⇄ frames, by WHATWG's rules: https://html.spec.whatwg.org/multipage/server-sent-events.html

Two deviations, both on the side of showing more: an event that the end of the body cuts before its blank line is
dispatched by `close` if it has data (servers do end so, and Google's SDKs, which read line by line, take it); and a
`retry` in an event without data comes with the next frame, since it speaks of the connection and not of an event.
"""

from __future__ import annotations

from collections.abc import Iterator

from midstream.wire import FRAME_LIMIT, Damage, Frame

BOM = b"\xef\xbb\xbf"
_RETRY_DIGITS = 15
"""More are no delay anyone means, and int() refuses thousands of them."""
_LONGEST_END = 3
"""`\\n\\r` may still become `\\n\\r\\n`, and the line before it may have ended in CRLF."""


class SseDecoder:
    """Incremental; holds at most `limit` bytes between two calls.

    An event over the limit becomes one Damage and is skipped to its end. Frame.id is the last event id, which lasts
    until another one, as the specification has it. `end` is past the blank line's CRLF, so where a chunk ends between
    the two the event waits for the LF; an event that ended in CR CR does not wait, and ends there.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._offset = 0  # of the first pending byte in the body
        self._skipping = False
        self._id = ""
        self._retry: int | None = None

    @property
    def boundary(self) -> int:
        """Offset in the body past the last complete event, one without data (a comment) included; 0 while one is skipped."""
        return 0 if self._skipping else self._offset

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return the frames that these bytes complete."""
        pending = self._pending
        if not pending:
            return self._scan(data)
        seen = len(pending)
        pending += data
        # Only what is new is searched, and only a complete event is copied: small chunks stay linear.
        if not _ends_event(pending, max(seen - 2, 0)):
            self._bound()
            return []
        self._pending = bytearray()
        return self._scan(bytes(pending))

    def close(self) -> list[Frame | Damage]:
        """Return the event that the end of the body left pending, if it has data."""
        rest = bytes(self._pending)
        start, end = self._offset, self._offset + len(rest)
        self._pending = bytearray()
        self._offset = end
        if self._skipping or len(rest.rstrip(b"\r\n")) > self._limit:
            self._skipping = False
            return [self._too_long(end)]
        frame = self._read(rest, start, end)
        ended = rest.endswith(b"\n\r")  # waited for the LF of a CRLF
        return [frame] if frame is not None and (frame.data or ended) else []

    def _scan(self, data: bytes) -> list[Frame | Damage]:
        frames: list[Frame | Damage] = []
        if b"\r" not in data:
            start = self._scan_uniform(data, b"\n\n", frames)
        elif data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
            start = self._scan_uniform(data, b"\r\n\r\n", frames)
        else:
            start = self._scan_mixed(data, frames)
        self._offset += start
        if start < len(data):
            self._pending += data[start:]
            self._bound()
        return frames

    def _scan_uniform(self, data: bytes, blank: bytes, frames: list[Frame | Damage]) -> int:
        """The hot path, kept flat: all lines end alike, and nearly every event is one `data` line."""
        blocks = data.split(blank)
        blocks.pop()  # what comes after the last blank line
        at, width, id_ = self._offset, len(blank), self._id
        plain = self._is_plain(data)
        for block in blocks:
            after = at + len(block) + width
            if plain and block[:6] == b"data: " and b"\n" not in block:
                frames.append(Frame(block[6:], after, "", id_))
            else:
                self._add(block, at, after, frames)
                plain, id_ = self._is_plain(data), self._id
            at = after
        return at - self._offset

    def _is_plain(self, data: bytes) -> bool:
        """Whether nothing is pending that an event's first look would miss, and no event in here can be over the limit."""
        return not self._skipping and self._retry is None and len(data) <= self._limit

    def _scan_mixed(self, data: bytes, frames: list[Frame | Damage]) -> int:
        start, base = 0, self._offset
        for end, after in _mixed_blank_lines(data, 0):
            self._add(data[start:end], base + start, base + after, frames)
            start = after
        return start

    def _add(self, block: bytes, start: int, end: int, frames: list[Frame | Damage]) -> None:
        if self._skipping or len(block) > self._limit:
            self._skipping = False
            frames.append(self._too_long(end))
            return
        frame = self._read(block, start, end)
        if frame is not None:
            frames.append(frame)

    def _bound(self) -> None:
        """Give up an event that has outgrown the limit; its last bytes stay, since they may begin its end."""
        excess = len(self._pending) - 2
        if self._skipping or excess > self._limit + _LONGEST_END:
            self._skipping = True
            if excess > 0:
                self._offset += excess
                del self._pending[:excess]

    def _too_long(self, end: int) -> Damage:
        return Damage(f"an SSE event over the limit of {self._limit} bytes", end)

    def _read(self, block: bytes, start: int, end: int) -> Frame | None:
        """Read one event's lines; None: it has no data field."""
        if start == 0:
            block = block.removeprefix(BOM)
        event = ""
        lines: list[bytes] = []
        for line in block.splitlines():  # of bytes: at CR, LF and CRLF, nothing else
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                lines.append(value)
            elif name == b"event":
                event = value.decode("utf-8", "replace")
            else:
                self._connection_field(name, value)
        if not lines:
            return None
        retry, self._retry = self._retry, None
        return Frame(lines[0] if len(lines) == 1 else b"\n".join(lines), end, event, self._id, retry)

    def _connection_field(self, name: bytes, value: bytes) -> None:
        if name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)


def _ends_event(data: bytearray, start: int) -> bool:
    """Does an event's blank line begin at `start` or after it?"""
    if data.find(b"\n\n", start) >= 0:
        return True
    return data.find(b"\r", start) >= 0 and next(_mixed_blank_lines(data, start), None) is not None


def _mixed_blank_lines(data: bytes | bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each event's text ends, and where the blank line after it does, whatever the line ends are.

    Two line ends in a row hold one of three pairs of bytes: LF LF, LF CR, CR CR.
    """
    size = len(data)
    lf_lf = lf_cr = cr_cr = -1
    while True:
        if lf_lf < start:
            lf_lf = _find(data, b"\n\n", start)
        if lf_cr < start:
            lf_cr = _find(data, b"\n\r", start)
        if cr_cr < start:
            cr_cr = _find(data, b"\r\r", start)
        end = min(lf_lf, lf_cr, cr_cr)
        after = end + 2
        if end == size or (end == lf_cr and after == size):
            return  # the LF of a CRLF may follow
        if end == lf_cr and data[after] == 0x0A:
            after += 1
        is_crlf = end > start and data[end - 1] == 0x0D
        yield end - is_crlf, after
        start = after


def _find(data: bytes | bytearray, pair: bytes, start: int) -> int:
    place = data.find(pair, start)
    return place if place >= 0 else len(data)


def encode_sse(data: str | bytes, *, event: str = "", id: str = "", retry: int | None = None) -> bytes:
    """One event. A line end of any kind in the data begins another `data` line, so a decoder gives LF back.

    Never raises and never lets a field break out of its line: line ends are removed from `event` and `id`, an id with NUL
    is left out (a client would ignore it), and lone surrogates become U+FFFD.
    """
    out = bytearray()
    if event:
        out += b"event: " + _one_line(event) + b"\n"
    if id and "\0" not in id:
        out += b"id: " + _one_line(id) + b"\n"
    if retry is not None:
        out += b"retry: %d\n" % retry
    raw = data if isinstance(data, bytes) else _utf8(data)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    out += b"data: " + raw.replace(b"\n", b"\ndata: ") + b"\n\n"
    return bytes(out)


def _one_line(text: str) -> bytes:
    return _utf8(text.replace("\r", "").replace("\n", ""))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
