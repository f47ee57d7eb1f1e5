"""AWS event-stream (`application/vnd.amazon.eventstream`) ⇄ frames; Bedrock streams in it.

A message is a prelude (total length, headers' length, CRC of the two), headers, payload, and the CRC of all before; all
integers big-endian: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html#RESTSelectObjectAppendixMessage
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping

from midstream.wire import FRAME_LIMIT, Damage, Frame
from midstream.wire.json_text import dump_json

type HeaderValue = str | int | bool | bytes

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_OVERHEAD = _PRELUDE.size + _CRC.size
_STRING = 7
_SHORT = struct.Struct("!H")
# Header value types by number; 6 and 7 (bytes, string) have a length before them.
_FIXED: Mapping[int, struct.Struct] = {
    2: struct.Struct("!b"),
    3: struct.Struct("!h"),
    4: struct.Struct("!i"),
    5: struct.Struct("!q"),
    8: struct.Struct("!q"),  # a time in milliseconds
    9: struct.Struct("!16s"),  # a UUID
}


class EventStreamDecoder:
    """Incremental; holds at most `limit` bytes between two calls.

    Frame.event is `:event-type`, `:exception-type` or, of a `:message-type` error, `:error-code`; an error has its text in
    a header, so its frame's data is `{"message": …}`, as an exception's payload is. A message with a wrong checksum, bad
    headers or over the limit is one Damage, and the next one is read. A prelude with a wrong checksum or lengths that
    cannot be leaves no way to find the next message: one Damage, and the rest is ignored.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._offset = 0  # of the first pending byte in the body
        self._need = _PRELUDE.size  # pending bytes without which nothing can be said
        self._skip = 0  # bytes of a message over the limit still to come
        self._lost = False

    @property
    def within_frame(self) -> bool:
        """Whether the bytes so far end in the midst of a frame."""
        return bool(self._pending) or self._skip > 0

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return the frames that these bytes complete."""
        if self._lost:
            return []
        if not self._pending:
            return self._scan(data)
        self._pending += data
        if len(self._pending) < self._need:
            return []
        whole = bytes(self._pending)
        self._pending = bytearray()
        return self._scan(whole)

    def close(self) -> list[Frame | Damage]:
        """Return the damage that a message cut off by the end of the body leaves."""
        if self._lost or not self._pending:
            return []
        self._lost = True
        return [Damage("the body ended within an event-stream message", self._offset + len(self._pending))]

    def _scan(self, data: bytes) -> list[Frame | Damage]:
        frames: list[Frame | Damage] = []
        at, size = 0, len(data)
        while not self._lost:
            step = min(self._skip, size - at)
            self._skip -= step
            at += step
            self._need = _PRELUDE.size
            if size - at < self._need:
                break
            total, headers, crc = _PRELUDE.unpack_from(data, at)
            if crc32(data[at : at + 8]) != crc or headers > total - _OVERHEAD:
                self._lost = True
                frames.append(Damage("a broken event-stream prelude", self._offset + at + _PRELUDE.size))
            elif total > self._limit:
                self._skip = total
                frames.append(
                    Damage(f"a message of {total} bytes is over the limit of {self._limit}", self._offset + at + total)
                )
            elif size - at < total:
                self._need = total
                break
            else:
                frames.append(_read(data[at : at + total], headers, self._offset + at + total))
                at += total
        self._offset += at
        if not self._lost:
            self._pending += data[at:]
        return frames


def _read(message: bytes, headers_size: int, end: int) -> Frame | Damage:
    body = message[: -_CRC.size]
    if crc32(body) != _CRC.unpack_from(message, len(body))[0]:
        return Damage("a wrong event-stream checksum", end)
    start = _PRELUDE.size + headers_size
    try:
        headers = read_headers(body[_PRELUDE.size : start])
    except (ValueError, struct.error, IndexError):
        return Damage("broken event-stream headers", end)
    payload = body[start:]
    match headers.get(":message-type"):
        case "exception":
            event = headers.get(":exception-type")
        case "error":
            event = headers.get(":error-code")
            payload = payload or dump_json({"message": headers.get(":error-message", "")}).encode()
        case _:
            event = headers.get(":event-type")
    return Frame(payload, end, event if isinstance(event, str) else "")


def read_headers(raw: bytes) -> dict[str, HeaderValue]:
    """Read one message's headers. Raises ValueError, struct.error or IndexError where these are none."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        name = raw[at + 1 : name_end].decode()
        if name in headers:
            raise ValueError(f"two headers {name!r}")
        headers[name], at = _read_value(raw[name_end], raw, name_end + 1)
    return headers


def _read_value(kind: int, raw: bytes, at: int) -> tuple[HeaderValue, int]:
    if kind in (0, 1):
        return kind == 0, at
    if kind in _FIXED:
        return _FIXED[kind].unpack_from(raw, at)[0], at + _FIXED[kind].size
    if kind not in (6, 7):
        raise ValueError(f"a header of type {kind}")
    start = at + _SHORT.size
    end = start + _SHORT.unpack_from(raw, at)[0]
    if end > len(raw):
        raise ValueError("a header cut off")
    return (raw[start:end].decode() if kind == _STRING else raw[start:end]), end


def encode_eventstream(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message, its headers all strings. Raises ValueError for a name over 255 or a value over 65535 bytes."""
    block = b"".join(_encode_header(name.encode(), value.encode()) for name, value in headers.items())
    lengths = struct.pack("!II", len(block) + len(payload) + _OVERHEAD, len(block))
    message = lengths + _CRC.pack(crc32(lengths)) + block + payload
    return message + _CRC.pack(crc32(message))


def _encode_header(name: bytes, value: bytes) -> bytes:
    if len(name) > 0xFF or len(value) > 0xFFFF:
        raise ValueError(f"too long for an event-stream header: {name[:40]!r}")
    return bytes((len(name),)) + name + bytes((_STRING,)) + _SHORT.pack(len(value)) + value
