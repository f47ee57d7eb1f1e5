"""Content encodings, decoded as the bytes arrive: gzip, deflate, br, zstd, and two of them stacked.

Providers compress streams for clients that accept it; undici, httpx and Claude Code ask for br and zstd.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli
import zstandard

OUTPUT_LIMIT = 32 * 1024 * 1024
"""Bytes that one feed may become: two frames of the largest size. A feed is what one read gave, some 64 KiB."""
RATIO_LIMIT = 256
"""How many times the body may grow. Measured on chat chunks: 20 where each event is flushed, 55 compressed in one go; only
one word for ever, in one go, comes to 256 with gzip and to thousands with br and zstd."""
RATIO_GRACE = 8 * 1024 * 1024
"""Bytes that a body may become whatever its ratio: 40000 chunks of one word for ever."""
STACK_LIMIT = 2
"""Encodings on top of one another. Nobody needs two; each lets a bomb grow once more."""
ZSTD_WINDOW = 8 * 1024 * 1024
"""RFC 9659: the largest window that a zstd body over HTTP may ask for."""
_ZSTD_SLICE = 256
"""zstandard has no bound on what one call returns; a block of 4 bytes makes 128 KiB, so 256 make 8 MiB at most."""


class ContentDecoder:
    """Incremental; never raises. `encoding` is the Content-Encoding header; `limit`, the bytes that the whole body may become
    where that is less than what a bomb is known by.

    A broken body, a bomb or an unknown encoding is one damage reason; after it every feed gives b"". `damaged` says that
    the reason waits to be taken; `bomb` and `unknown`, which of them it was.
    """

    def __init__(self, encoding: str, limit: int = sys.maxsize) -> None:
        names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        self.damaged = self.bomb = False
        self._damage: list[str] = []
        self._stages: list[_Stage] = []
        self._limit = limit
        self._taken = 0
        self._broken = False
        unknown = [name for name in names if name not in _STAGES]
        self.unknown = bool(unknown) or len(names) > STACK_LIMIT
        if unknown:
            self._break(f"unknown content encoding {unknown[0][:40]!r}")
        elif len(names) > STACK_LIMIT:
            self._break(f"{len(names)} content encodings, over the limit of {STACK_LIMIT}")
        else:
            self._stages = [_Stage(name) for name in reversed(names)]

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes become; `data` itself where nothing is encoded."""
        if self._broken:
            return b""
        if not self._stages:
            return data
        self._taken += len(data)
        budget = min(self._limit, RATIO_GRACE + RATIO_LIMIT * self._taken)
        for stage in self._stages:
            data = stage.feed(data, budget)
            if stage.reason and not self._broken:
                self.bomb = stage.bomb
                self._break(stage.reason)
        return data

    def close(self) -> bytes:
        """Return the rest; a body that is not whole is damage."""
        if not self._broken and self._taken:
            cut = next((stage for stage in self._stages if not stage.whole()), None)
            if cut is not None:
                self._break(f"the {cut.name} body is cut off")
        self._broken = True
        return b""

    def take_damage(self) -> list[str]:
        """Return what is wrong with the body, once."""
        damage, self._damage = self._damage, []
        self.damaged = False
        return damage

    def _break(self, reason: str) -> None:
        self._broken = self.damaged = True
        self._damage.append(reason)


class _Bomb(Exception):
    """The output is over its limit."""


class _Output:
    """What one call to one stage gives, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Raise _Bomb where the limit is passed."""
        self.left -= len(part)
        if self.left < 0:
            raise _Bomb
        if part:
            self.parts.append(part)


class _Codec(Protocol):
    def decode(self, data: bytes, out: _Output) -> None:
        """Put what the data becomes into `out`; raise _Bomb or the library's own error."""

    def whole(self) -> bool:
        """May the body end here?"""
        ...


class _Stage:
    """One encoding of a body: a codec, what is wrong with its body, and how much came out so far."""

    def __init__(self, name: str) -> None:
        self.name = name.removeprefix("x-")
        self.reason = ""
        self.bomb = False
        self._codec = _STAGES[name]()
        self._given = 0

    def feed(self, data: bytes, budget: int) -> bytes:
        """budget: the bytes that may come out of this stage in the whole life of the body."""
        limit = min(OUTPUT_LIMIT, budget - self._given)
        out = _Output(limit)
        try:
            if data:
                self._codec.decode(data, out)
        except _Bomb:
            self.bomb = True
            self.reason = f"the {self.name} body becomes more than {self._given + limit} bytes"
        except (zlib.error, brotli.error, zstandard.ZstdError):
            self.reason = f"the {self.name} body is broken"
        data = out.parts[0] if len(out.parts) == 1 else b"".join(out.parts)
        self._given += len(data)
        return data

    def whole(self) -> bool:
        return self._codec.whole()


class _Zlib:
    """gzip with its members one after the other (RFC 1952 2.2), or deflate, which some servers send without zlib's header."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip else None
        self._head = b""

    def decode(self, data: bytes, out: _Output) -> None:
        if self._inner is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(data) else -zlib.MAX_WBITS)
            self._head = b""
        while data:
            if self._inner.eof:
                data = data.lstrip(b"\0")  # padding, as gzip itself allows
                if not data:
                    return
                if not self._is_gzip:
                    raise zlib.error("bytes after the end")
                self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            out.add(self._inner.decompress(data, out.left + 1))
            data = self._inner.unconsumed_tail or self._inner.unused_data

    def whole(self) -> bool:
        return self._inner is not None and self._inner.eof


def _has_zlib_header(data: bytes) -> bool:
    """RFC 1950 2.2: method 8, and the first two bytes a multiple of 31."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def decode(self, data: bytes, out: _Output) -> None:
        out.add(self._inner.process(data, output_buffer_limit=out.left + 1))
        while not self._inner.can_accept_more_data():
            out.add(self._inner.process(b"", output_buffer_limit=out.left + 1))

    def whole(self) -> bool:
        return bool(self._inner.is_finished())


class _Zstd:
    """Frames one after the other (RFC 8878 3)."""

    def __init__(self) -> None:
        self._library = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self._inner = self._library.decompressobj()

    def decode(self, data: bytes, out: _Output) -> None:
        for at in range(0, len(data), _ZSTD_SLICE):
            part = data[at : at + _ZSTD_SLICE]
            while part:
                if self._inner.eof:
                    self._inner = self._library.decompressobj()
                out.add(self._inner.decompress(part))
                part = self._inner.unused_data

    def whole(self) -> bool:
        return bool(self._inner.eof)


_STAGES: Mapping[str, Callable[[], _Codec]] = {
    "gzip": lambda: _Zlib(is_gzip=True),
    "x-gzip": lambda: _Zlib(is_gzip=True),
    "deflate": lambda: _Zlib(is_gzip=False),
    "br": _Brotli,
    "zstd": _Zstd,
}
